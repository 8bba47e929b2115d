/* Options, connection and frame loop of the C peers (librabbitmq). */
#include "wire.h"

#include <amqp_tcp_socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void die(const char *what) {
  fprintf(stderr, "amqp_bench: %s\n", what);
  exit(1);
}

double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void set_text(char *to, size_t room, const char *value) {
  if (strlen(value) >= room) die("option value too long");
  strcpy(to, value);
}

static void set_option(options *o, const char *name, const char *value) {
  if (!strcmp(name, "url")) set_text(o->url, sizeof o->url, value);
  else if (!strcmp(name, "system")) set_text(o->system, sizeof o->system, value);
  else if (!strcmp(name, "key")) set_text(o->key, sizeof o->key, value);
  else if (!strcmp(name, "body")) set_text(o->body_file, sizeof o->body_file, value);
  else if (!strcmp(name, "windows")) set_text(o->windows, sizeof o->windows, value);
  else if (!strcmp(name, "seconds")) o->seconds = atof(value);
  else if (!strcmp(name, "size")) o->size = atoi(value);
  else if (!strcmp(name, "window")) o->window = atoi(value);
  else if (!strcmp(name, "persistent")) o->persistent = atoi(value);
  else if (!strcmp(name, "confirm")) o->confirm = atoi(value);
  else if (!strcmp(name, "ack")) o->ack = atoi(value);
  else if (!strcmp(name, "prefetch")) o->prefetch = atoi(value);
  else die("unknown option");
}

options parse_options(int argc, char **argv) {
  options o = {.url = "", .system = "bench", .key = "echo", .windows = "1,64,256",
               .seconds = 1.0, .size = 1024, .confirm = 1, .ack = 1, .prefetch = 256};
  for (int i = 2; i < argc; i++) {
    char *equals = strchr(argv[i], '=');
    if (!equals) die("options are name=value");
    *equals = 0;
    set_option(&o, argv[i], equals + 1);
  }
  if (o.size > MAX_BODY) die("size too large");
  return o;
}

char *read_body(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  char *body = malloc(MAX_BODY);
  if (!file || !body) die("cannot read the body file");
  *size = fread(body, 1, MAX_BODY, file);
  fclose(file);
  return body;
}

void wire_check(wire *w, const char *what) {
  if (amqp_get_rpc_reply(w->state).reply_type != AMQP_RESPONSE_NORMAL) die(what);
}

void wire_open(wire *w, const options *o) {
  char *url = strdup(o->url); /* amqp_parse_url writes into it */
  struct amqp_connection_info info;
  memset(w, 0, sizeof *w);
  w->state = amqp_new_connection();
  amqp_socket_t *socket = amqp_tcp_socket_new(w->state);
  if (amqp_parse_url(url, &info) || amqp_socket_open(socket, info.host, info.port))
    die("cannot reach the broker");
  amqp_rpc_reply_t login = amqp_login(w->state, info.vhost, 0, FRAME_MAX, 0,
                                      AMQP_SASL_METHOD_PLAIN, info.user, info.password);
  if (login.reply_type != AMQP_RESPONSE_NORMAL) die("login refused");
  free(url);
}

void wire_channel(wire *w, int channel) {
  amqp_channel_open(w->state, (amqp_channel_t)channel);
  wire_check(w, "cannot open a channel");
  w->in[channel].body = malloc(MAX_BODY);
}

/* The queue of a service exactly as ION declares it, so that the broker does the same work. */
void wire_declare_service(wire *w, const options *o) {
  char exchange[128], queue[160], dead[128];
  snprintf(exchange, sizeof exchange, "%s.xs", o->system);
  snprintf(queue, sizeof queue, "%s.%s", o->system, o->key);
  snprintf(dead, sizeof dead, "%s.dlx", o->system);
  amqp_table_entry_t arguments[3];
  memset(arguments, 0, sizeof arguments);
  const char *names[3] = {"x-dead-letter-exchange", "x-dead-letter-routing-key", "x-expires"};
  for (int i = 0; i < 3; i++) arguments[i].key = amqp_cstring_bytes(names[i]);
  for (int i = 0; i < 2; i++) arguments[i].value.kind = AMQP_FIELD_KIND_UTF8;
  arguments[0].value.value.bytes = amqp_cstring_bytes(dead);
  arguments[1].value.value.bytes = amqp_cstring_bytes(o->key);
  arguments[2].value.kind = AMQP_FIELD_KIND_I32;
  arguments[2].value.value.i32 = 86400000;
  amqp_table_t table = {3, arguments};
  amqp_exchange_declare(w->state, PUBLISH_CHANNEL, amqp_cstring_bytes(exchange),
                        amqp_cstring_bytes("topic"), 0, 1, 0, 0, amqp_empty_table);
  wire_check(w, "exchange.declare");
  amqp_queue_declare(w->state, PUBLISH_CHANNEL, amqp_cstring_bytes(queue), 0, 1, 0, 0, table);
  wire_check(w, "queue.declare");
  amqp_queue_bind(w->state, PUBLISH_CHANNEL, amqp_cstring_bytes(queue),
                  amqp_cstring_bytes(exchange), amqp_cstring_bytes(o->key), amqp_empty_table);
  wire_check(w, "queue.bind");
}

static void copy_text(char *to, size_t room, amqp_bytes_t from) {
  size_t size = from.len < room - 1 ? from.len : room - 1;
  memcpy(to, from.bytes, size);
  to[size] = 0;
}

static void begin(inbound *in, event_kind kind, uint64_t tag) {
  in->active = 1;
  in->kind = kind;
  in->tag = tag;
  in->want = in->have = 0;
  in->correlation_id[0] = in->reply_to[0] = 0;
}

static int on_method(inbound *in, const amqp_method_t *method, event *out) {
  if (method->id == AMQP_BASIC_DELIVER_METHOD) {
    begin(in, EVENT_DELIVERY, ((amqp_basic_deliver_t *)method->decoded)->delivery_tag);
  } else if (method->id == AMQP_BASIC_RETURN_METHOD) {
    begin(in, EVENT_RETURN, 0);
  } else if (method->id == AMQP_BASIC_ACK_METHOD) {
    amqp_basic_ack_t *ack = method->decoded;
    out->kind = EVENT_CONFIRM;
    out->tag = ack->delivery_tag;
    out->multiple = ack->multiple;
    return 1;
  } else {
    die("unexpected method (channel or connection closed, or a nack)");
  }
  return 0;
}

static int finished(inbound *in, event *out) {
  if (in->have < in->want) return 0;
  in->active = 0;
  out->kind = in->kind;
  out->tag = in->tag;
  out->body = in->body;
  out->size = in->have;
  memcpy(out->correlation_id, in->correlation_id, sizeof out->correlation_id);
  memcpy(out->reply_to, in->reply_to, sizeof out->reply_to);
  return 1;
}

static int on_header(inbound *in, const amqp_frame_t *frame, event *out) {
  amqp_basic_properties_t *p = frame->payload.properties.decoded;
  in->want = frame->payload.properties.body_size;
  if (in->want > MAX_BODY) die("body too large");
  if (p->_flags & AMQP_BASIC_CORRELATION_ID_FLAG)
    copy_text(in->correlation_id, sizeof in->correlation_id, p->correlation_id);
  if (p->_flags & AMQP_BASIC_REPLY_TO_FLAG)
    copy_text(in->reply_to, sizeof in->reply_to, p->reply_to);
  return finished(in, out);
}

static int on_body(inbound *in, amqp_bytes_t part, event *out) {
  memcpy(in->body + in->have, part.bytes, part.len);
  in->have += part.len;
  return finished(in, out);
}

static int on_frame(wire *w, const amqp_frame_t *frame, event *out) {
  if (frame->channel >= MAX_CHANNELS) die("frame on an unknown channel");
  inbound *in = &w->in[frame->channel];
  if (frame->frame_type == AMQP_FRAME_METHOD) return on_method(in, &frame->payload.method, out);
  if (!in->active) die("content without a method");
  if (frame->frame_type == AMQP_FRAME_HEADER) return on_header(in, frame, out);
  return on_body(in, frame->payload.body_fragment, out);
}

int wire_next(wire *w, event *out, double timeout) {
  struct timeval limit = {(time_t)timeout, (suseconds_t)((timeout - (time_t)timeout) * 1e6)};
  for (;;) {
    amqp_frame_t frame;
    int status = wire_pending(w) /* the deadline costs some calls of the clock */
                     ? amqp_simple_wait_frame(w->state, &frame)
                     : amqp_simple_wait_frame_noblock(w->state, &frame, &limit);
    if (status == AMQP_STATUS_TIMEOUT) return 0;
    if (status != AMQP_STATUS_OK) die(amqp_error_string2(status));
    int whole = on_frame(w, &frame, out);
    amqp_maybe_release_buffers_on_channel(w->state, frame.channel);
    if (whole) return 1;
  }
}

int wire_pending(wire *w) {
  return amqp_frames_enqueued(w->state) || amqp_data_in_buffer(w->state);
}
