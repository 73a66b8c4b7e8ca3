/* tally.h: which of the messages that were sent have come, in which order, and as they were written.
 *
 * Path    a peer's sink ► tally_take ► (when the run is over, with what the writers say they sent) ► tally_result
 * Owners  A slot's counters and its connections' streams belong to whichever thread takes that slot's messages: one at
 *         a time. tally_received may look at any time; tally_result when nobody takes any more.
 * I1      A stream is what one connection sends at one level. Numbers below `next` have come once, or stand in a gap.
 * I2      A number that comes again is `repeated`; one that comes after a higher one, `reordered`, and leaves its gap;
 *         one that has not come in the end is `lost`. Each message is in one of these at most.
 * I3      A garbled message says nothing of where it belongs. So it is not lost as well: lost = missing - garbled.
 * I4      Where all of a message is checked: unless `stream` of a slot is NULL, it is the one that the slot's last message
 *         belongs to, which is one of this slot's, and `source` is what the head said of it; unless `length` is
 *         TALLY_NO_LENGTH, it is that of a small message of the stream, and `base` what follows from these
 *         (message_head.h). So the next message in order, of the same stream and length, is counted without looking
 *         anything up.
 * T1      tally_take stores `received` last, with release; tally_received loads it with acquire. Who has seen a message
 *         counted sees everything else that was counted with it.
 */
#ifndef BENCH_TALLY_H
#define BENCH_TALLY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"
#include "plan.h"
#include "queue/histogram.h"

/* Numbers [first, end) of a stream that were passed over. */
struct tally_gap {
    uint64_t first;
    uint64_t end;
};

/* Gaps that are kept for each stream; what the oldest still misses beyond that is lost for good. */
#define TALLY_GAPS_MAX 4096u

struct tally_stream {
    _Alignas(64) uint64_t next;
    uint64_t repeated;
    uint64_t reordered;
    uint64_t missing; /* numbers in the gaps, and in those that were given up */
    struct tally_gap *gaps;
    uint32_t gap_count;
    uint32_t gap_room;
    uint32_t slot; /* that it goes to, whoever says otherwise */
};

/* No message is so long; one of 0 bytes may come. */
#define TALLY_NO_LENGTH SIZE_MAX

struct tally_slot {
    _Alignas(64) _Atomic uint64_t received;
    uint64_t bytes;
    struct tally_stream *stream; /* I4 */
    size_t length;
    uint64_t base;
    uint32_t source;
    uint64_t due; /* the message at which `last` is set next, without a send time, … */
    uint64_t garbled;
    uint64_t every;              /* … and how many there are from one to the next */
    uint64_t sampled;            /* times that `last` was set */
    uint64_t last;               /* clock_now at one of the latest messages */
    struct histogram *latencies; /* one for each level, or NULL: not measured */
};

struct tally {
    const struct plan *plan;
    struct tally_stream *streams; /* [connection × levels + level] */
    struct tally_slot *slots;
    unsigned connections;
    unsigned levels;
};

struct tally_counts {
    uint64_t sent;
    uint64_t received; /* repeated and garbled ones too */
    uint64_t bytes;
    uint64_t lost;
    uint64_t repeated;
    uint64_t reordered;
    uint64_t garbled;
};

/* False when there is no memory; then there is nothing to close. The plan is borrowed. */
bool tally_open(struct tally *tally, const struct plan *plan);
void tally_close(struct tally *tally);

/* A message that has come from `slot`. A sink (peer.h): `context` is a struct tally. */
void tally_take(void *context, unsigned slot, const void *data, size_t length);

/* How many messages have come so far. Any thread. */
uint64_t tally_received(const struct tally *tally);

/* The latest time at which a message came, 0 where too few came to know it. */
uint64_t tally_last(const struct tally *tally);

/* `sent` has a number for each stream, [connection × levels + level]. */
struct tally_counts tally_result(const struct tally *tally, const uint64_t *sent);

/* Adds up the latencies of a level, or of all (UINT_MAX). False where there are none, or no memory. */
bool tally_latencies(const struct tally *tally, unsigned level, struct histogram *sum);

/* Adds the counts of another run. */
void tally_add(struct tally_counts *to, const struct tally_counts *counts);

/* Anything but received as sent. */
bool tally_damaged(const struct tally_counts *counts);

#endif
