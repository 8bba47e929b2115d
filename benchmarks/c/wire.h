/* What the C peers share: options, a connection, and a frame loop that yields whole events. */
#ifndef ION_BENCH_WIRE_H
#define ION_BENCH_WIRE_H

#include <amqp.h>
#include <amqp_framing.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_CHANNELS 4
#define PUBLISH_CHANNEL 1
#define CONSUME_CHANNEL 2
#define MAX_BODY (2 << 20)
#define FRAME_MAX 131072

typedef struct {
  char url[256];      /* amqp://user:password@host:port/vhost */
  char system[64];    /* sysname: exchange <system>.xs, queue <system>.<key> */
  char key[64];       /* routing key of the service */
  char body_file[256]; /* the encoded request, read once */
  char windows[64];   /* "1,64,256": calls under way at once */
  double seconds;     /* length of one measurement */
  int size;           /* bytes of a one-way body */
  int window;         /* one way: unconfirmed messages at once; 0 = no confirms */
  int persistent;     /* delivery mode 2 */
  int confirm;        /* requests are confirmed and mandatory */
  int ack;            /* consumer acknowledges (coalesced); 0 = no_ack */
  int prefetch;
} options;

typedef enum { EVENT_DELIVERY, EVENT_CONFIRM, EVENT_RETURN } event_kind;

typedef struct {
  event_kind kind;
  uint64_t tag;           /* delivery tag, or the confirmed tag */
  int multiple;           /* of a confirm */
  char correlation_id[64];
  char reply_to[256];
  const char *body;       /* valid until the next event */
  size_t size;
} event;

typedef struct {
  int active;
  event_kind kind;
  uint64_t tag;
  size_t want, have;
  char correlation_id[64];
  char reply_to[256];
  char *body;
} inbound;

typedef struct {
  amqp_connection_state_t state;
  inbound in[MAX_CHANNELS];
} wire;

void die(const char *what);
double now(void);
options parse_options(int argc, char **argv);
void wire_open(wire *w, const options *o);
void wire_channel(wire *w, int channel);
void wire_declare_service(wire *w, const options *o);
void wire_check(wire *w, const char *what);
/* Read one event; 0 where none came within timeout seconds. */
int wire_next(wire *w, event *out, double timeout);
/* Whether an event can be read without asking the socket. */
int wire_pending(wire *w);
/* The frames of a message of o->size zero bytes, `copies` times; *each is the length of one. */
char *message_frames(const options *o, const char *exchange, int copies, size_t *each);
char *read_body(const char *path, size_t *size);

int rpc_server(const options *o);
int rpc_client(const options *o);
int one_way_sub(const options *o);
int one_way_pub(const options *o);

#endif
