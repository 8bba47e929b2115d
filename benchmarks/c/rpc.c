/* An echo server and a closed-loop client: the exchange of an ION rpc, without ION.
 *
 * Request: topic exchange <system>.xs, mandatory, confirmed, transient, with type, content type,
 * correlation id and reply-to. Answer: default exchange to the reply queue, transient, confirmed.
 * The request is acknowledged once the broker has confirmed its answer; acks are coalesced while
 * more input is waiting. With confirm=0 the acknowledgement follows the answer directly.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "wire.h"

#define MAX_WINDOW 1024
#define MAX_SAMPLES 4000000
#define ACK_EVERY 64
#define MAX_UNACKED 65536
#define PATIENCE 10.0 /* seconds without any event before a peer gives up */

static void publish(wire *w, const char *exchange, const char *key, int mandatory,
                    amqp_basic_properties_t *p, const char *body, size_t size) {
  amqp_bytes_t bytes = {size, (void *)body};
  int status = amqp_basic_publish(w->state, PUBLISH_CHANNEL, amqp_cstring_bytes(exchange),
                                  amqp_cstring_bytes(key), mandatory, 0, p, bytes);
  if (status != AMQP_STATUS_OK) die("basic.publish");
}

static amqp_basic_properties_t properties(const char *correlation_id) {
  amqp_basic_properties_t p;
  memset(&p, 0, sizeof p);
  p._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_TYPE_FLAG |
             AMQP_BASIC_CORRELATION_ID_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG;
  p.content_type = amqp_cstring_bytes("application/msgpack");
  p.type = amqp_cstring_bytes("echo");
  p.correlation_id = amqp_cstring_bytes(correlation_id);
  p.delivery_mode = 1;
  return p;
}

static void answer(wire *w, const event *request) {
  amqp_basic_properties_t p = properties(request->correlation_id);
  publish(w, "", request->reply_to, 0, &p, request->body, request->size);
}

static void consume(wire *w, const char *queue, int no_ack, int prefetch) {
  if (!no_ack) {
    amqp_basic_qos(w->state, CONSUME_CHANNEL, 0, (uint16_t)prefetch, 0);
    wire_check(w, "basic.qos");
  }
  amqp_basic_consume(w->state, CONSUME_CHANNEL, amqp_cstring_bytes(queue), amqp_empty_bytes, 0,
                     no_ack, 0, amqp_empty_table);
  wire_check(w, "basic.consume");
}

static void say_ready(void) {
  printf("ready\n");
  fflush(stdout);
}

/* Answers go out in the order of the requests, so number n of both belong together. */
typedef struct {
  wire w;
  const options *o;
  unsigned char confirmed[MAX_UNACKED];
  uint64_t answered, settled, acked;
} server;

static void on_confirm(server *s, const event *e) {
  if (e->multiple && e->tag > s->settled) {
    while (s->settled < e->tag) s->confirmed[++s->settled % MAX_UNACKED] = 0;
  } else {
    s->confirmed[e->tag % MAX_UNACKED] = 1;
  }
  while (s->confirmed[(s->settled + 1) % MAX_UNACKED])
    s->confirmed[++s->settled % MAX_UNACKED] = 0;
}

static void ack_settled(server *s) {
  if (!s->o->ack || s->settled == s->acked) return;
  if (s->settled - s->acked < ACK_EVERY && wire_pending(&s->w)) return;
  amqp_basic_ack(s->w.state, CONSUME_CHANNEL, s->settled, 1);
  s->acked = s->settled;
}

static void server_open(server *s, const options *o) {
  char queue[160];
  if (o->prefetch >= MAX_UNACKED) die("prefetch too large");
  s->o = o;
  wire_open(&s->w, o);
  wire_channel(&s->w, PUBLISH_CHANNEL);
  wire_channel(&s->w, CONSUME_CHANNEL);
  wire_declare_service(&s->w, o);
  if (o->confirm) amqp_confirm_select(s->w.state, PUBLISH_CHANNEL);
  wire_check(&s->w, "confirm.select");
  snprintf(queue, sizeof queue, "%s.%s", o->system, o->key);
  consume(&s->w, queue, !o->ack, o->prefetch);
}

int rpc_server(const options *o) {
  static server s;
  event e;
  server_open(&s, o);
  say_ready();
  while (getppid() != 1) {
    if (!wire_next(&s.w, &e, 1.0)) continue;
    if (e.kind == EVENT_DELIVERY) {
      answer(&s.w, &e);
      s.answered++;
      if (!o->confirm) s.settled = s.answered;
    } else if (e.kind == EVENT_CONFIRM) {
      on_confirm(&s, &e);
    }
    ack_settled(&s);
  }
  return 0;
}

typedef struct {
  wire w;
  const options *o;
  char exchange[128], reply_queue[128];
  char *body;
  size_t size;
  double sent_at[MAX_WINDOW];
  uint64_t published, confirmed;
  float *samples; /* microseconds */
  size_t count;
} client;

static void request(client *c, int slot) {
  char id[32];
  snprintf(id, sizeof id, "%d-%llu", slot, (unsigned long long)c->published);
  amqp_basic_properties_t p = properties(id);
  p._flags |= AMQP_BASIC_REPLY_TO_FLAG;
  p.reply_to = amqp_cstring_bytes(c->reply_queue);
  c->sent_at[slot] = now();
  publish(&c->w, c->exchange, c->o->key, c->o->confirm, &p, c->body, c->size);
  c->published++;
}

/* Handle one event; return the slot that was answered, or -1. */
static int take(client *c) {
  event e;
  if (!wire_next(&c->w, &e, PATIENCE)) die("no answer");
  if (e.kind == EVENT_RETURN) die("the request was returned: no such queue");
  if (e.kind == EVENT_CONFIRM) {
    if (e.tag > c->confirmed) c->confirmed = e.tag;
    return -1;
  }
  if (e.size != c->size || memcmp(e.body, c->body, e.size)) die("wrong answer");
  return atoi(e.correlation_id);
}

static void record(client *c, int slot) {
  if (c->count < MAX_SAMPLES) c->samples[c->count++] = (float)((now() - c->sent_at[slot]) * 1e6);
}

/* Keep `window` calls under way for `seconds`; then collect what is still owed. */
static double run(client *c, int window, double seconds) {
  double begun = now(), end = begun + seconds, ended = begun;
  int under_way = window;
  c->count = 0;
  for (int slot = 0; slot < window; slot++) request(c, slot);
  while (under_way) {
    int slot = take(c);
    if (slot < 0) continue;
    if (now() < end) {
      record(c, slot);
      ended = now();
      request(c, slot);
    } else {
      under_way--;
    }
  }
  while (c->o->confirm && c->confirmed < c->published) take(c);
  return ended - begun;
}

static int by_value(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

static double cpu_seconds(void) {
  struct rusage r;
  getrusage(RUSAGE_SELF, &r);
  return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
         (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1e-6;
}

static void report(client *c, int window, double elapsed, double cpu, int last) {
  size_t n = c->count;
  if (!n) die("no call finished");
  qsort(c->samples, n, sizeof *c->samples, by_value);
  printf("\"%d\": {\"rate\": %.1f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"cpu_us\": %.2f}%s", window,
         (double)n / elapsed, c->samples[n / 2], c->samples[n * 99 / 100], cpu * 1e6 / (double)n,
         last ? "" : ", ");
}

static void client_open(client *c, const options *o) {
  memset(c, 0, sizeof *c);
  c->o = o;
  c->body = read_body(o->body_file, &c->size);
  c->samples = malloc(MAX_SAMPLES * sizeof *c->samples);
  snprintf(c->exchange, sizeof c->exchange, "%s.xs", o->system);
  snprintf(c->reply_queue, sizeof c->reply_queue, "%s.c%d.reply", o->system, (int)getpid());
  wire_open(&c->w, o);
  wire_channel(&c->w, PUBLISH_CHANNEL);
  wire_channel(&c->w, CONSUME_CHANNEL);
  amqp_table_entry_t expires = {.key = amqp_cstring_bytes("x-expires")};
  expires.value.kind = AMQP_FIELD_KIND_I32;
  expires.value.value.i32 = 300000;
  amqp_table_t table = {1, &expires};
  amqp_queue_declare(c->w.state, PUBLISH_CHANNEL, amqp_cstring_bytes(c->reply_queue), 0, 1, 0, 0,
                     table);
  wire_check(&c->w, "queue.declare");
  consume(&c->w, c->reply_queue, 1, 0);
  if (o->confirm) amqp_confirm_select(c->w.state, PUBLISH_CHANNEL);
  wire_check(&c->w, "confirm.select");
}

int rpc_client(const options *o) {
  static client c;
  char windows[64];
  client_open(&c, o);
  strcpy(windows, o->windows);
  run(&c, 8, o->seconds / 4); /* warm up */
  printf("{");
  for (char *word = strtok(windows, ","); word;) {
    int window = atoi(word);
    if (window < 1 || window > MAX_WINDOW) die("window out of range");
    double cpu = cpu_seconds();
    double elapsed = run(&c, window, o->seconds);
    cpu = cpu_seconds() - cpu;
    word = strtok(NULL, ",");
    report(&c, window, elapsed, cpu, !word);
  }
  printf("}\n");
  amqp_queue_delete(c.w.state, PUBLISH_CHANNEL, amqp_cstring_bytes(c.reply_queue), 0, 0);
  return 0;
}
