/* amqp_bench MODE name=value...: the raw limit, in C on librabbitmq (see wire.h for the options). */
#include <stdio.h>
#include <string.h>

#include "wire.h"

int main(int argc, char **argv) {
  const char *mode = argc > 1 ? argv[1] : "";
  if (!strcmp(mode, "version")) return printf("%s\n", amqp_version()) < 0;
  options o = parse_options(argc, argv);
  if (!strcmp(mode, "server")) return rpc_server(&o);
  if (!strcmp(mode, "client")) return rpc_client(&o);
  if (!strcmp(mode, "sub")) return one_way_sub(&o);
  if (!strcmp(mode, "pub")) return one_way_pub(&o);
  fprintf(stderr, "usage: amqp_bench server|client|sub|pub|version [name=value]...\n");
  return 2;
}
