/* One way: a publisher that sends as fast as it may, and a consumer that counts for a while.
 *
 * The publisher writes frames that were built once, many to a system call; only the confirms are
 * read through librabbitmq. That is as little as a publisher can do.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire.h"

#define ACK_EVERY 64
#define PATIENCE 10.0
#define BATCH_BYTES 65536 /* unconfirmed: at least one message and this much at once */
#define WARM_UP 0.25 /* seconds after the first message before the count begins */

static volatile sig_atomic_t stopping;

static void on_signal(int number) {
  (void)number;
  stopping = 1;
}

static void write_all(int socket, const char *bytes, size_t size) {
  while (size && !stopping) {
    ssize_t sent = send(socket, bytes, size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN) { /* librabbitmq's sockets do not block */
      struct pollfd writable = {socket, POLLOUT, 0};
      poll(&writable, 1, 1000);
      continue;
    }
    if (sent < 0) die("send");
    bytes += sent;
    size -= (size_t)sent;
  }
}

/* Wait until at most `room` messages are unconfirmed. */
static uint64_t await_confirms(wire *w, uint64_t published, uint64_t confirmed, int room) {
  while (published - confirmed > (uint64_t)room && !stopping) {
    event e;
    if (!wire_next(w, &e, PATIENCE)) die("no confirm");
    if (e.kind == EVENT_RETURN) die("the message was returned: no such queue");
    if (e.tag > confirmed) confirmed = e.tag;
  }
  return confirmed;
}

int one_way_pub(const options *o) {
  wire w;
  char exchange[128];
  uint64_t published = 0, confirmed = 0;
  size_t each;
  int at_once = o->window ? o->window : BATCH_BYTES / o->size + 1;
  signal(SIGTERM, on_signal);
  wire_open(&w, o);
  wire_channel(&w, PUBLISH_CHANNEL);
  snprintf(exchange, sizeof exchange, "%s.xs", o->system);
  if (o->window) {
    amqp_confirm_select(w.state, PUBLISH_CHANNEL);
    wire_check(&w, "confirm.select");
  }
  char *messages = message_frames(o, exchange, at_once, &each);
  while (!stopping && getppid() != 1) {
    uint64_t room = (uint64_t)at_once;
    if (o->window) {
      confirmed = await_confirms(&w, published, confirmed, o->window - 1);
      room -= published - confirmed;
    }
    write_all(amqp_get_sockfd(w.state), messages, room * each);
    published += room;
  }
  return 0;
}

static void settle(wire *w, const options *o, const event *e, int *unacked) {
  if (!o->ack) return;
  if (++*unacked < ACK_EVERY && wire_pending(w)) return;
  amqp_basic_ack(w->state, CONSUME_CHANNEL, e->tag, 1);
  *unacked = 0;
}

static void subscribe(wire *w, const options *o) {
  char queue[160];
  wire_open(w, o);
  wire_channel(w, PUBLISH_CHANNEL);
  wire_channel(w, CONSUME_CHANNEL);
  wire_declare_service(w, o);
  snprintf(queue, sizeof queue, "%s.%s", o->system, o->key);
  if (o->ack) {
    amqp_basic_qos(w->state, CONSUME_CHANNEL, 0, (uint16_t)o->prefetch, 0);
    wire_check(w, "basic.qos");
  }
  amqp_basic_consume(w->state, CONSUME_CHANNEL, amqp_cstring_bytes(queue), amqp_empty_bytes, 0,
                     !o->ack, 0, amqp_empty_table);
  wire_check(w, "basic.consume");
  printf("ready\n");
  fflush(stdout);
}

int one_way_sub(const options *o) {
  wire w;
  event e;
  int unacked = 0;
  uint64_t count = 0;
  double first = 0, begun = 0, at;
  subscribe(&w, o);
  for (;;) {
    if (!wire_next(&w, &e, PATIENCE)) die("no message");
    if (e.kind != EVENT_DELIVERY) continue;
    if (e.size != (size_t)o->size) die("wrong size");
    settle(&w, o, &e, &unacked);
    at = now();
    if (!first) first = at;
    if (!begun) {
      if (at - first >= WARM_UP) begun = at;
      continue;
    }
    count++;
    if (at - begun >= o->seconds) break;
  }
  printf("{\"rate\": %.1f, \"mb_s\": %.2f}\n", (double)count / (at - begun),
         (double)count * o->size / (at - begun) / 1e6);
  return 0;
}
