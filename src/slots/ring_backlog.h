/* ring_backlog.h: messages of one level that a link has taken and that are in no ring now: in private memory, in order.
 *
 *   a session ends     what is left in its ring ► backlog          (nobody else can reach it from then on)
 *   no slot is live    link_keep ► backlog
 *   a session begins   backlog ► its ring, as there is room
 *
 * Owners  The link's. One thread at a time.
 * I1      begin <= end <= room; all three multiples of 8; [begin, end) is whole records.
 * I2      `numbers` is how many numbers of the sequence the records stand for, `messages` how many of them are
 *         messages.
 * I3      Records with BACKLOG_HANDED come before all others.
 */
#ifndef SLOTS_RING_BACKLOG_H
#define SLOTS_RING_BACKLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "slots/ring.h"

enum backlog_flag {
    BACKLOG_OFFERED = 1, /* has been in a ring before */
    BACKLOG_HANDED = 2   /* … and perhaps in a callback */
};

struct backlog {
    unsigned char *data;
    size_t begin;
    size_t end;
    size_t room;
    uint64_t numbers;
    uint64_t messages;
};

struct backlog_record {
    const unsigned char *payload; /* RING_DATA */
    size_t length;
    uint64_t number; /* RING_GAP: how many; RING_LARGE: which (the link's) */
    enum ring_kind kind;
    uint32_t flags; /* enum backlog_flag */
};

static inline bool backlog_empty(const struct backlog *b)
{
    return b->begin == b->end;
}

static inline size_t backlog_bytes(const struct backlog *b)
{
    return b->end - b->begin;
}

/* Makes room for records that take `bytes` in a ring. False: no memory, nothing has changed. */
bool backlog_reserve(struct backlog *b, size_t bytes);
/* There is room. */
void backlog_append(struct backlog *b, const struct backlog_record *record);
/* Puts all of `first`, which is empty afterwards, before what is in `b`. False: no memory, nothing has changed. */
bool backlog_prepend(struct backlog *b, struct backlog *first);

/* The first record, which stays; false: there is none. */
bool backlog_peek(const struct backlog *b, struct backlog_record *record);
void backlog_drop(struct backlog *b);
void backlog_clear(struct backlog *b);

/* Where the records end in a ring of this capacity that is written from `position` on; *handed: where those with
 * BACKLOG_HANDED do. */
uint64_t backlog_layout(const struct backlog *b, uint64_t capacity, uint64_t position, uint64_t *handed);

#endif
