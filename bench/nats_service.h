/* nats_service.h: a nats-server of the bench's own, on a free port of the loopback interface. */
#ifndef BENCH_NATS_SERVICE_H
#define BENCH_NATS_SERVICE_H

#include <stdbool.h>

#include "peer.h"

/* Starts nats-server with its files in `directory` and waits until it takes connections; `address` gets its URL. With
 * `jetstream` it stores streams there. Errors say what to install, or where its log is. */
int nats_service_start(void **service, const char *directory, char *address, bool jetstream);
/* Ends it by its process id and waits for its end. */
void nats_service_stop(void *service);

#endif
