/* seed_slot.h: the slot that the peer seed reads from and writes to: on Linux the kind of socket that the plain lane uses, on
 * Windows a native mailslot. A call is a read or a write of one message, as the article's own are. */
#ifndef BENCH_SEED_SLOT_H
#define BENCH_SEED_SLOT_H

#include <stddef.h>

#include "peer.h"

struct seed_slot;
struct seed_end;

/* The peer's one line. */
extern const char seed_slot_summary[];

/* The article's "Creating a mailslot". */
int seed_slot_create(struct seed_slot **slot, const struct peer_options *options, unsigned number);
/* Waits for one message, up to `room` bytes, and reads it. *length is 0 once seed_slot_stop was called. */
int seed_slot_read(struct seed_slot *slot, void *buffer, size_t room, size_t *length);
/* Any thread: the stop event of the article's reads. Every wait ends, now and later. */
void seed_slot_stop(struct seed_slot *slot);
void seed_slot_close(struct seed_slot *slot);

/* The article's "Connecting to a mailslot". */
int seed_end_connect(struct seed_end **end, const struct peer_options *options, unsigned number);
/* Waits for room and writes one message. */
int seed_end_write(struct seed_end *end, const void *data, size_t length);
void seed_end_close(struct seed_end *end);

#endif
