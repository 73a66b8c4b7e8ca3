/* peer_tools.h: what several peers need: the place of a slot's socket, and a thread per slot for libraries that know no
 * other way of waiting for many sockets. */
#ifndef BENCH_PEER_TOOLS_H
#define BENCH_PEER_TOOLS_H

#include "peer.h"

/* How long a wait for a message lasts before *stop is looked at, where a peer's library has no way of being woken. */
#define PEER_LOOK_MS 50

/* PREFIX + "<directory>/<kind>-<number>" into `text`, which has `room` bytes. MR_OK, or MR_E_NAME: too long. */
int peer_path(char *text, size_t room, const char *prefix, const struct peer_options *options, const char *kind,
              unsigned number);

/* Runs `receive` once for each slot, the first on this thread and each other one on a thread of its own, until all have
 * returned. The first error, with its sentence, or MR_OK. */
typedef int (*slot_receive)(void *reader, unsigned slot, peer_sink sink, void *context, const atomic_bool *stop);
int slot_threads_run(unsigned slots, slot_receive receive, void *reader, peer_sink sink, void *context,
                     const atomic_bool *stop);

/* At most `most` messages, at least `least`, and no more than `bytes` of them: how deep a queue of messages of `size` may be
 * so that memory stays bounded. */
unsigned depth_for(size_t size, size_t bytes, unsigned least, unsigned most);

#endif
