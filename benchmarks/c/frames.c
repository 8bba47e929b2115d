/* One whole message as bytes: basic.publish, content header, body frames of at most FRAME_MAX. */
#include <stdlib.h>
#include <string.h>

#include "wire.h"

#define FRAME_END 0xCE
#define FRAME_OVERHEAD 8
#define HAS_CONTENT_TYPE (1 << 15)
#define HAS_DELIVERY_MODE (1 << 12)
#define HAS_TYPE (1 << 5)

static char *put(char *at, uint64_t value, int bytes) {
  for (int i = bytes - 1; i >= 0; i--) *at++ = (char)(value >> (8 * i));
  return at;
}

static char *put_text(char *at, const char *text) {
  at = put(at, strlen(text), 1);
  memcpy(at, text, strlen(text));
  return at + strlen(text);
}

static char *begin_frame(char *at, int type) {
  at = put(at, (uint64_t)type, 1);
  at = put(at, PUBLISH_CHANNEL, 2);
  return at + 4; /* the size follows in end_frame */
}

static char *end_frame(char *frame, char *at) {
  put(frame + 3, (uint64_t)(at - frame - 7), 4);
  return put(at, FRAME_END, 1);
}

static char *method_frame(char *frame, const char *exchange, const char *key, int mandatory) {
  char *at = begin_frame(frame, 1);
  at = put(at, 60, 2); /* basic */
  at = put(at, 40, 2); /* publish */
  at = put(at, 0, 2);
  at = put_text(at, exchange);
  at = put_text(at, key);
  at = put(at, mandatory ? 1 : 0, 1);
  return end_frame(frame, at);
}

static char *header_frame(char *frame, size_t size, int persistent) {
  char *at = begin_frame(frame, 2);
  at = put(at, 60, 2);
  at = put(at, 0, 2);
  at = put(at, size, 8);
  at = put(at, HAS_CONTENT_TYPE | HAS_DELIVERY_MODE | HAS_TYPE, 2);
  at = put_text(at, "application/msgpack");
  at = put(at, persistent ? 2 : 1, 1);
  at = put_text(at, "take");
  return end_frame(frame, at);
}

static char *body_frames(char *frame, size_t size) {
  while (size) {
    size_t part = size < FRAME_MAX - FRAME_OVERHEAD ? size : FRAME_MAX - FRAME_OVERHEAD;
    char *at = begin_frame(frame, 3);
    memset(at, 0, part);
    frame = end_frame(frame, at + part);
    size -= part;
  }
  return frame;
}

char *message_frames(const options *o, const char *exchange, int copies, size_t *each) {
  char *buffer = malloc((size_t)copies * ((size_t)o->size + 4096));
  if (!buffer) die("no memory");
  char *at = method_frame(buffer, exchange, o->key, o->confirm);
  at = header_frame(at, (size_t)o->size, o->persistent);
  at = body_frames(at, (size_t)o->size);
  *each = (size_t)(at - buffer);
  for (int i = 1; i < copies; i++) memcpy(buffer + (size_t)i * *each, buffer, *each);
  return buffer;
}
