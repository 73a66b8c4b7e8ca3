/* ring_backlog.c: see ring_backlog.h. A record is a word (length in 32 bits, kind in 8, flags in 8) and its payload,
 * padded to 8: as long as in a ring, so that what fits there fits here. */
#include "slots/ring_backlog.h"

#include <assert.h>
#include <string.h>

#include "queue/memory.h"

bool backlog_reserve(struct backlog *b, size_t bytes)
{
    assert(bytes % 8 == 0);
    if (bytes <= b->room - b->end)
        return true;
    size_t used = backlog_bytes(b);
    size_t room = used + bytes;
    if (room <= b->room && b->begin >= b->room / 2) { /* so that moving pays */
        memmove(b->data, b->data + b->begin, used);
    } else {
        room += used / 2 / 8 * 8;
        unsigned char *data = memory_alloc(room);
        if (data == NULL)
            return false;
        if (used > 0)
            memcpy(data, b->data + b->begin, used);
        memory_free(b->data);
        b->data = data;
        b->room = room;
    }
    b->begin = 0;
    b->end = used;
    return true;
}

void backlog_append(struct backlog *b, const struct backlog_record *record)
{
    bool data = record->kind == RING_DATA;
    size_t length = data ? record->length : sizeof record->number;
    const void *payload = data ? (const void *) record->payload : &record->number;
    uint64_t word = (uint64_t) length | (uint64_t) record->kind << 32 | (uint64_t) record->flags << 40;
    assert(length <= UINT32_MAX && ring_record_bytes(length) <= b->room - b->end);
    memcpy(b->data + b->end, &word, sizeof word);
    if (length > 0)
        memcpy(b->data + b->end + RING_HEADER, payload, length);
    b->end += (size_t) ring_record_bytes(length);
    b->numbers += record->kind == RING_GAP ? record->number : 1;
    b->messages += record->kind != RING_GAP;
}

bool backlog_prepend(struct backlog *b, struct backlog *first)
{
    if (!backlog_reserve(first, backlog_bytes(b)))
        return false;
    if (!backlog_empty(b))
        memcpy(first->data + first->end, b->data + b->begin, backlog_bytes(b));
    first->end += backlog_bytes(b);
    first->numbers += b->numbers;
    first->messages += b->messages;
    backlog_clear(b);
    *b = *first;
    *first = (struct backlog){0};
    return true;
}

/* The record at `at`; returns where the next one is. */
static size_t record_at(const struct backlog *b, size_t at, struct backlog_record *record)
{
    uint64_t word;
    memcpy(&word, b->data + at, sizeof word);
    size_t length = (size_t) (uint32_t) word;
    *record = (struct backlog_record){.payload = b->data + at + RING_HEADER,
                                      .length = length,
                                      .kind = (enum ring_kind)(word >> 32 & 0xff),
                                      .flags = (uint32_t) (word >> 40)};
    if (record->kind != RING_DATA)
        memcpy(&record->number, record->payload, sizeof record->number);
    return at + (size_t) ring_record_bytes(length);
}

bool backlog_peek(const struct backlog *b, struct backlog_record *record)
{
    if (backlog_empty(b))
        return false;
    (void) record_at(b, b->begin, record);
    return true;
}

void backlog_drop(struct backlog *b)
{
    struct backlog_record record;
    assert(!backlog_empty(b));
    b->begin = record_at(b, b->begin, &record);
    b->numbers -= record.kind == RING_GAP ? record.number : 1;
    b->messages -= record.kind != RING_GAP;
    if (backlog_empty(b))
        backlog_clear(b);
}

void backlog_clear(struct backlog *b)
{
    memory_free(b->data);
    *b = (struct backlog){0};
}

uint64_t backlog_layout(const struct backlog *b, uint64_t capacity, uint64_t position, uint64_t *handed)
{
    struct backlog_record record;
    *handed = position;
    for (size_t at = b->begin; at < b->end;) {
        at = record_at(b, at, &record);
        bool whole = record.kind == RING_DATA && record.length <= ring_payload_max(capacity);
        uint64_t size = ring_record_bytes(whole ? record.length : sizeof(uint64_t));
        uint64_t rest = capacity - (position & (capacity - 1));
        position += size > rest ? rest + size : size;
        if ((record.flags & BACKLOG_HANDED) != 0)
            *handed = position;
    }
    return position;
}
