/* ring.h: bounded single-producer, single-consumer byte ring in shared memory, one per writer and priority.
 *
 * Path    link_send > ring_claim > copy > ring_commit > (true: ring the doorbell)
 *         worker > ring_peek > copy to a pooled buffer > ring_hand > callback > ring_release > ring_release_look
 *         nothing left > ring_arm > barrier > ring_arm_look > asleep
 * Memory  One memfd of the writer's: a page of controls, RING_CONTROL_STRIDE bytes for each level, then each level's
 *         bytes. How large they are is said in the hello (struct ring_geometry), never in the memory itself.
 * Owners  tail, wanted, and the bytes outside of [head, tail): the writer. head, handed, asleep: the reader. The bytes in
 *         [head, tail) are the reader's to read and nobody's to change.
 * Records Begin at multiples of 8 with a header of one word: length (32 bits), kind (8), zeros (24); then the payload,
 *         padded to 8. A record does not go round the end: a RING_WRAP fills what is left there. The writer may turn back
 *         before the end, at its `span` or by I5: memory that it has never written to costs nothing, and memory that was
 *         written to a moment ago is in the processor's cache. The positions run on over what is left out, so that I1
 *         alone keeps the bytes apart. A header of zeros is no record, so a hole punched into the memory is a violation.
 *
 * Positions are free-running 64-bit numbers of bytes; only differences of them are looked at.
 * I1      0 <= tail - head <= capacity. All three are multiples of 8.
 * I2      head <= position <= stop <= tail (the reader's own), and nothing from position to stop goes round the end. What lies
 *         in [head, handed) may have been seen by a callback.
 * I3      head and tail never go back.
 * I4      (the writer's own) A record that ends at `clear` or before it goes to `tail` without a look at anything: it does
 *         not go round the end, and its room is free by the head that was seen last. Where the next one has to be looked
 *         at in any case (behind a wrap record, and at first), `clear` is not beyond tail.
 * I5      (the writer's own) With `halves`, at every 16 KiB of a half, and with three quarters of what lies before it in that
 *         half free again, the next record goes to the beginning of the other half (RING_HALF, RING_WRAP). So a reader
 *         that keeps up is sent everything through two times 16 KiB; and as what is left out is less than half of the
 *         ring, at least as much as before has room when it no longer does.
 * I6      (the writer's own) At its span's end, with more than a quarter of the span still occupied, it goes on into twice as
 *         much, as long as that is not more than `most`: what is left out would be room that a reader who is behind does
 *         not give back soon.
 * W1/R1   ring_commit stores tail with release; ring_peek loads it with acquire. Without the pair the reader could see a
 *         length whose payload has not arrived.
 * H1/F1   ring_release stores head with release; ring_refresh loads it with acquire. Without the pair the writer could
 *         write over bytes that are still being copied.
 * S1/S2   Sleeping: the reader stores `asleep` (a new epoch), then looks at tail again (ring_arm, ring_arm_look); the
 *         writer stores tail, then looks at `asleep` (ring_commit). At least one sees the other, so a message is seen
 *         or the doorbell is rung, once for an epoch.
 * N1/N2   Waiting: the writer stores `wanted` (the position that head must reach), then looks at head again (ring_want,
 *         ring_refresh); the reader stores head, then looks at `wanted` (ring_release_look). At least one sees the other.
 *         Each position is told once; one that is lower than what was told has been reached already.
 * B       For S and N a store has to be visible before the following load is made. For N both sides say so (seq_cst): the
 *         reader looks once for many messages. For S either both do (`fence`), or only the side that does it rarely: it
 *         has every other processor pass a barrier between its store and its load (ring_barrier_linux.h), and the
 *         writer, who looks at every commit, needs none but the compiler's.
 * Hostile Neither side trusts a word that the other one stores. The reader validates tail and each header once, in its own
 *         copy; a length is never loaded again. The writer validates head. What breaks a rule is a violation: the caller
 *         drops that peer.
 */
#ifndef SLOTS_RING_H
#define SLOTS_RING_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "queue/kill_point.h"
#include "queue/seldom.h"

#define RING_LEVELS_MAX     8u
#define RING_CONTROL_BYTES  ((size_t) 4096)
#define RING_CONTROL_STRIDE ((size_t) 512)
#define RING_CAPACITY_MIN   ((uint32_t) 16 << 10)
#define RING_CAPACITY_MAX   ((uint32_t) 64 << 20)
#define RING_HEADER         ((size_t) 8)

/* Each side's words in cache lines of their own, two of them, because processors fetch pairs. */
struct ring_control {
    _Alignas(128) _Atomic uint64_t tail;   /* the writer's: end of what is committed */
    _Atomic uint64_t left_out;             /* the writer's: bytes that it has turned back over; for figures alone */
    _Alignas(128) _Atomic uint64_t asleep; /* the reader's: number of this sleep; 0: never slept */
    _Alignas(128) _Atomic uint64_t head;   /* the reader's: everything before it is acknowledged */
    _Atomic uint64_t handed;               /* the reader's: everything from here on has been seen by no callback */
    _Alignas(
        128) _Atomic uint64_t wanted; /* the writer's: where head is waited for; 0: nowhere. Apart from tail, because
                                            * the reader looks at it whenever it moves head */
    uint64_t unused[15];
};
_Static_assert(sizeof(struct ring_control) == RING_CONTROL_STRIDE, "the memory's layout");
_Static_assert(RING_LEVELS_MAX *RING_CONTROL_STRIDE <= RING_CONTROL_BYTES, "one page of controls");
_Static_assert(sizeof(_Atomic uint64_t) == sizeof(uint64_t) && ATOMIC_LLONG_LOCK_FREE == 2,
               "an atomic word is just the word, also in shared memory");

enum ring_kind {
    RING_INVALID,
    RING_DATA,  /* a message */
    RING_LARGE, /* a message that comes beside the ring; payload: its length in bytes (64 bits) */
    RING_GAP,   /* payload: how many messages were dropped here by the writer (64 bits, not 0) */
    RING_WRAP,  /* length 0: nothing up to the ring's end */
    RING_HALF   /* length 0, in the first half: nothing up to its end */
};

/* Sizes in bytes. A capacity is a power of two from RING_CAPACITY_MIN to RING_CAPACITY_MAX. */
struct ring_geometry {
    uint32_t levels; /* 1 to RING_LEVELS_MAX */
    uint32_t capacity[RING_LEVELS_MAX];
};

/* Whether the geometry is in its ranges (the unused capacities being 0). */
bool ring_geometry_valid(const struct ring_geometry *geometry);
/* Of the whole memory; the geometry is valid. */
size_t ring_memory_bytes(const struct ring_geometry *geometry);

/* The largest payload of a RING_DATA. */
static inline size_t ring_payload_max(uint64_t capacity)
{
    return (size_t) (capacity / 4);
}

static inline uint64_t ring_record_bytes(size_t length)
{
    return ((uint64_t) length + RING_HEADER + 7) & ~(uint64_t) 7;
}

/* ---- the writer's end ---- */

/* Private to the writer. Zeroed and made by ring_writer_init. */
struct ring_writer {
    struct ring_control *control;
    unsigned char *data;
    uint64_t capacity;
    uint64_t span;  /* so much of it is used: at least four times the largest record, at most capacity; may only grow */
    uint64_t most;  /* up to this, by itself (I6) */
    bool halves;    /* span is half of the capacity, or less, and either half is used as far as it is needed (I5) */
    uint64_t tail;  /* committed */
    uint64_t clear; /* I4 */
    uint64_t claimed;  /* where the claimed record begins */
    uint64_t turned;   /* where it turned back last, … */
    uint64_t skipped;  /* … and over how many bytes; 0: never */
    uint64_t left_out; /* and before that, over all of them */
    uint64_t head;     /* as last seen, and found valid */
    uint64_t rung;     /* the epoch for which the doorbell has been rung */
    bool fence;        /* B: the reader makes no barrier for us */
    bool broken;       /* head was stored by somebody who breaks I1 or I3: nothing more is written */
};

/* `memory` has ring_memory_bytes, all zeros. */
void ring_writer_init(struct ring_writer *w, void *memory, const struct ring_geometry *geometry, uint32_t level);

/* Loads head anew (F1). False: the reader has broken the rules (`broken`). */
bool ring_refresh(struct ring_writer *w);

/* How much of what is used lies behind the tail. */
static inline uint64_t ring_rest(const struct ring_writer *w)
{
    uint64_t offset = w->tail & (w->capacity - 1);
    return w->span - (w->halves ? offset & (w->capacity / 2 - 1) : offset);
}

/* What is left out before a record of `size` bytes, so that it does not go round the end. */
static inline uint64_t ring_skip(const struct ring_writer *w, uint64_t size)
{
    return size > ring_rest(w) ? w->capacity - (w->tail & (w->capacity - 1)) : 0;
}

/* I4: does a record of `size` bytes go to `tail` as it is? */
static inline bool ring_is_clear(const struct ring_writer *w, uint64_t size)
{
    return w->clear - w->tail - size <= UINT64_MAX / 2;
}

/* ring_claim, for a record of `size` bytes for which that is not so. */
void *ring_claim_anew(struct ring_writer *w, uint64_t size);

/* Room for a record with `length` bytes of payload (at most ring_payload_max of the span): where to write them. NULL: no room now
 * (or `broken`). Forgotten unless it is committed. */
static inline void *ring_claim(struct ring_writer *w, size_t length)
{
    uint64_t size = ring_record_bytes(length);
    assert(length <= ring_payload_max(w->span));
    if (!ring_is_clear(w, size))
        return ring_claim_anew(w, size);
    w->claimed = w->tail;
    KILL_POINT(writer, claim);
    return w->data + (w->claimed & (w->capacity - 1)) + RING_HEADER;
}

/* ring_commit, of the record at `record`, which begins at the position `begin`. */
static inline bool ring_publish(struct ring_writer *w, unsigned char *record, uint64_t begin, enum ring_kind kind,
                                size_t length)
{
    _Atomic uint64_t *header = (_Atomic uint64_t *) (void *) record;
    atomic_store_explicit(header, (uint64_t) length | (uint64_t) kind << 32, memory_order_relaxed);
    w->tail = begin + ring_record_bytes(length);
    KILL_POINT(writer, commit);
    uint64_t epoch;
    if (w->fence) {
        atomic_store_explicit(&w->control->tail, w->tail, memory_order_seq_cst); /* W1 S2 */
        KILL_POINT(writer, committed);
        epoch = atomic_load_explicit(&w->control->asleep, memory_order_seq_cst);
    } else {
        atomic_store_explicit(&w->control->tail, w->tail, memory_order_release); /* W1 */
        KILL_POINT(writer, committed);
        atomic_signal_fence(memory_order_seq_cst);                               /* B: the compiler's */
        epoch = atomic_load_explicit(&w->control->asleep, memory_order_relaxed); /* S2 */
    }
    if (epoch == w->rung)
        return false;
    w->rung = epoch;
    return true;
}

/* Commits the claimed record with what was written. True: the reader sleeps, and its doorbell is to be rung now. */
static inline bool ring_commit(struct ring_writer *w, enum ring_kind kind, size_t length)
{
    return ring_publish(w, w->data + (w->claimed & (w->capacity - 1)), w->claimed, kind, length);
}

/* How far head has to come until a record of `length` bytes fits, and no further: who takes its messages and acknowledges
 * them only when more have come may never free half of the ring. */
uint64_t ring_want_room(const struct ring_writer *w, size_t length);

/* N1: asks to be told when head has reached `position`. The caller then calls ring_refresh and looks at ring_reached,
 * before it waits. */
void ring_want(struct ring_writer *w, uint64_t position);

static inline bool ring_reached(const struct ring_writer *w, uint64_t position)
{
    return w->head - position <= UINT64_MAX / 2;
}

/* ---- the reader's end ---- */

/* Private to the reader. Zeroed and made by ring_reader_init. */
struct ring_reader {
    struct ring_control *control;
    const unsigned char *data;
    uint64_t capacity;
    uint64_t position; /* of the next record */
    uint64_t stop;     /* in the piece up to here a record is checked by one comparison */
    uint64_t tail;     /* as last seen, and found valid */
    _Atomic uint64_t
        head;       /* as published. Whoever releases may be another thread than the one that peeks: a tail that was
                            * loaded (R1) was committed after the head that made room for it, so this is no older */
    uint64_t epoch; /* of the last sleep */
    uint64_t told;  /* the last `wanted` that was answered */
    uint64_t due; /* where head has to come for enough of the ring to be free, by the last look that found it was not */
    _Atomic uint64_t span; /* where the writer turned back last, for an estimate alone; read by whoever releases */
    uint64_t left_out;     /* bytes that it has turned back over before `position` */
};

struct ring_record {
    const unsigned char *payload; /* may change under us: copy it once, then look at the copy */
    size_t length;
    enum ring_kind kind; /* RING_DATA, RING_LARGE or RING_GAP */
    uint64_t end;        /* position behind it */
    uint64_t number;     /* RING_LARGE: bytes of the message; RING_GAP: messages */
};

enum ring_look {
    RING_RECORD,
    RING_NOTHING,
    RING_VIOLATION /* the memory breaks the rules */
};

/* The reader begins at position 0, … */
void ring_reader_init(struct ring_reader *r, void *memory, const struct ring_geometry *geometry, uint32_t level);
/* … or here, everything before having been acknowledged, and nothing behind seen. */
void ring_reader_begin_at(struct ring_reader *r, uint64_t position);

/* Loads tail anew (R1) and validates it. False: a violation. */
bool ring_reload(struct ring_reader *r);
/* At the piece's end: finds the next one. Whether there is anything. */
enum ring_look ring_stretch(struct ring_reader *r);
/* The rare kinds, and what is no record at all. */
enum ring_look ring_peek_other(struct ring_reader *r, uint64_t header, struct ring_record *record);

/* The next record, left in place. */
static inline enum ring_look ring_peek(struct ring_reader *r, struct ring_record *record)
{
    uint64_t position = r->position;
    uint64_t left = r->stop - position;
    *record = (struct ring_record){0};
    if (RARELY(left == 0)) {
        enum ring_look look = ring_stretch(r);
        if (look != RING_RECORD)
            return look;
        left = r->stop - position;
    }
    const unsigned char *at = r->data + (position & (r->capacity - 1));
    uint64_t header = atomic_load_explicit((const _Atomic uint64_t *) (const void *) at, memory_order_relaxed);
    if (RARELY(header >> 32 != RING_DATA)) {
        struct ring_record other; /* else `record` could not stay in registers */
        enum ring_look look = ring_peek_other(r, header, &other);
        *record = other;
        return look;
    }
    size_t length = (size_t) (uint32_t) header;
    uint64_t size = ring_record_bytes(length);
    if (length > ring_payload_max(r->capacity) || size > left) /* I2 */
        return RING_VIOLATION;
    *record =
        (struct ring_record){.payload = at + RING_HEADER, .length = length, .kind = RING_DATA, .end = position + size};
    return RING_RECORD;
}

/* Bytes that the writer has committed beyond `position`, by which it says it has left out `left_out` of the ring. */
static inline uint64_t ring_waiting(const struct ring_control *control, uint64_t capacity, uint64_t position,
                                    uint64_t left_out)
{
    uint64_t skipped = atomic_load_explicit(&control->left_out, memory_order_relaxed) - left_out;
    uint64_t bytes = atomic_load_explicit(&control->tail, memory_order_relaxed) - position;
    bytes = bytes < capacity ? bytes : capacity; /* nothing is known of its words */
    return skipped < bytes ? bytes - skipped : bytes;
}

/* Is there anything beyond `position`, by one look at tail that commits to nothing? */
static inline bool ring_glance(const struct ring_reader *r)
{
    return r->position != r->tail || atomic_load_explicit(&r->control->tail, memory_order_relaxed) != r->tail;
}

/* The record up to `end` is going to a callback now (I2). */
static inline void ring_hand(struct ring_reader *r, uint64_t end)
{
    atomic_store_explicit(&r->control->handed, end, memory_order_relaxed);
}

/* Steps over the record that was peeked: the next peek sees the one behind it. */
static inline void ring_advance(struct ring_reader *r, uint64_t end)
{
    r->position = end;
}

/* Everything before `head` is acknowledged: its room is the writer's. Never behind what was released before. */
static inline void ring_release(struct ring_reader *r, uint64_t head)
{
    KILL_POINT(reader, release);
    atomic_store_explicit(&r->head, head, memory_order_relaxed);
    atomic_store_explicit(&r->control->head, head, memory_order_release); /* H1 */
    KILL_POINT(reader, released);
}

/* N2: after releases, before the reader turns to something else, and whenever the ring is found empty (the last delivery
 * may be what was missing): is the writer to be told that head has come where it waits for it? At most once for a wait;
 * with half of the ring free, or more of a large one, for fewer wake-ups, or with nothing left to deliver. `position` is the
 * reader's own, given here because whoever releases may be another thread; ring_release and this one are called by one
 * thread at a time. */
bool ring_release_look(struct ring_reader *r, uint64_t position);

/* Before a callback, which may take its time: does it seem that ring_release_look would say yes? A hint that costs next to
 * nothing, because N2's fence is left out: a writer that begins to wait in this very instant may be overlooked, and is told
 * by the ring_release_look that comes in any case. By the thread that releases. */
static inline bool ring_release_due(const struct ring_reader *r)
{
    uint64_t wanted = atomic_load_explicit(&r->control->wanted, memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    return wanted != r->told && head - wanted <= UINT64_MAX / 2 && head - r->due <= UINT64_MAX / 2;
}

/* S1: the ring was found empty, and is going to sleep. Then the caller passes its barrier (B), once for as many rings as
 * it likes, … */
void ring_arm(struct ring_reader *r);
/* … and looks: true, it sleeps, and the doorbell will be rung; false, something has come meanwhile. (Also a violation,
 * which the next peek finds.) */
bool ring_arm_look(struct ring_reader *r);

/* The invariants, for tests. */
bool ring_writer_valid(const struct ring_writer *w);
bool ring_reader_valid(const struct ring_reader *r);

#endif
