/* nats_end.h: what the peers nats and jetstream share: connections, subjects and the library's errors. */
#ifndef BENCH_NATS_END_H
#define BENCH_NATS_END_H

#include <nats/nats.h>

#include "peer.h"

#define SUBJECT_ROOM 96

/* MR_E_SYSTEM with the library's sentence. */
int nats_failed(const char *what, natsStatus error);

/* A connection to options->address. `asap`: what is published leaves at once instead of within the 1 ms that the library
 * gives it to gather more. It does not reconnect: a server that ends is an error. */
int nats_connect(natsConnection **connection, const struct peer_options *options, bool asap);
void nats_disconnect(natsConnection *connection);

/* A slot's subject is "<name>.<slot>", all of a reader's "<name>.*". */
void nats_subject(char *subject, const struct peer_options *options, unsigned slot);
void nats_subject_all(char *subject, const struct peer_options *options);

/* Hands the message over for the slot that its subject, of `prefix` bytes before the number, says. */
int nats_deliver(natsMsg *message, size_t prefix, unsigned slots, peer_sink sink, void *context);

#endif
