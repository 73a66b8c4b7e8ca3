/* test_ring_backlog.c: what a link keeps between two sessions, against a plain array, and its layout against a ring. */
#include <stdlib.h>
#include <string.h>

#include "queue/memory.h"
#include "slots/ring_backlog.h"
#include "test.h"

enum { MOST = 400, LONGEST = 100 };

/* A record as the plain array has it. */
struct plain {
    enum ring_kind kind;
    uint32_t flags;
    size_t length;
    uint64_t number;
    unsigned char data[LONGEST];
};

struct model {
    struct plain records[MOST];
    size_t count;
};

static uint64_t state;

static uint64_t random_below(uint64_t bound)
{
    state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (state >> 33) % bound;
}

static struct plain plain_make(void)
{
    struct plain record = {.kind = (enum ring_kind)(RING_DATA + random_below(3)),
                           .flags = (uint32_t) random_below(2) * BACKLOG_OFFERED,
                           .number = 1 + random_below(1000)};
    if (record.kind == RING_DATA) {
        record.length = (size_t) random_below(LONGEST + 1);
        for (size_t n = 0; n < record.length; n++)
            record.data[n] = (unsigned char) random_below(256);
    }
    return record;
}

static size_t plain_bytes(const struct plain *record)
{
    return (size_t) ring_record_bytes(record->kind == RING_DATA ? record->length : sizeof record->number);
}

static void append(struct backlog *b, struct model *m, const struct plain *record)
{
    CHECK(backlog_reserve(b, plain_bytes(record)));
    backlog_append(b, &(struct backlog_record){.payload = record->data,
                                               .length = record->length,
                                               .number = record->number,
                                               .kind = record->kind,
                                               .flags = record->flags});
    m->records[m->count++] = *record;
}

static void check(const struct backlog *b, const struct model *m)
{
    uint64_t numbers = 0, messages = 0;
    size_t bytes = 0;
    for (size_t n = 0; n < m->count; n++) {
        numbers += m->records[n].kind == RING_GAP ? m->records[n].number : 1;
        messages += m->records[n].kind != RING_GAP;
        bytes += plain_bytes(&m->records[n]);
    }
    CHECK_EQ(b->numbers, numbers);
    CHECK_EQ(b->messages, messages);
    CHECK_EQ(backlog_bytes(b), bytes);
    CHECK(b->begin <= b->end && b->end <= b->room);
}

static void drop(struct backlog *b, struct model *m)
{
    struct backlog_record record;
    CHECK(backlog_peek(b, &record));
    CHECK_EQ(record.kind, m->records[0].kind);
    CHECK_EQ(record.flags, m->records[0].flags);
    if (record.kind == RING_DATA) {
        CHECK_EQ(record.length, m->records[0].length);
        CHECK_MEM(record.payload, m->records[0].data, record.length);
    } else {
        CHECK_EQ(record.number, m->records[0].number);
    }
    backlog_drop(b);
    memmove(m->records, m->records + 1, --m->count * sizeof m->records[0]);
}

TEST(ring_backlog, it_is_what_a_plain_array_is)
{
    static struct model m, added;
    struct backlog b = {0};
    state = test_seed();
    for (unsigned step = 0; step < 60000; step++) {
        unsigned what = (unsigned) random_below(step / 500 % 2 == 0 ? 10 : 20); /* it grows, then it shrinks */
        if (what < 6 && m.count < MOST / 2) {
            struct plain record = plain_make();
            append(&b, &m, &record);
        } else if (what == 6 && m.count < MOST / 2) { /* what a session has left goes before it */
            struct backlog first = {0};
            added.count = 0;
            for (uint64_t n = random_below(20); n > 0; n--) {
                struct plain record = plain_make();
                append(&first, &added, &record);
            }
            memcpy(added.records + added.count, m.records, m.count * sizeof m.records[0]);
            added.count += m.count;
            m = added;
            CHECK(backlog_prepend(&b, &first));
            CHECK(backlog_empty(&first) && first.data == NULL);
        } else if (m.count > 0) {
            drop(&b, &m);
        } else {
            struct backlog_record record;
            CHECK(backlog_empty(&b));
            CHECK(!backlog_peek(&b, &record));
        }
        check(&b, &m);
    }
    while (m.count > 0)
        drop(&b, &m);
    CHECK(b.data == NULL); /* an empty one holds no memory */
    struct plain record = plain_make();
    append(&b, &m, &record);
    backlog_clear(&b);
    CHECK(backlog_empty(&b) && b.numbers == 0);
}

TEST(ring_backlog, its_layout_is_where_a_ring_puts_it)
{
    static const struct ring_geometry geometry = {.levels = 1, .capacity = {RING_CAPACITY_MIN}};
    void *memory = aligned_alloc(4096, ring_memory_bytes(&geometry));
    CHECK(memory != NULL);
    state = test_seed();
    for (unsigned round = 0; round < 200; round++) {
        static struct model m;
        struct backlog b = {0};
        struct ring_writer w;
        struct backlog_record record;
        memset(memory, 0, ring_memory_bytes(&geometry));
        ring_writer_init(&w, memory, &geometry, 0);
        m.count = 0;
        size_t handed_count = (size_t) random_below(100);
        for (size_t n = 0; n < 150; n++) {
            struct plain made = plain_make();
            made.flags = n < handed_count ? BACKLOG_OFFERED | BACKLOG_HANDED : 0;
            append(&b, &m, &made);
        }
        uint64_t handed, handed_is = 0;
        uint64_t end = backlog_layout(&b, w.capacity, 0, &handed);
        for (size_t n = 0; backlog_peek(&b, &record); n++) {
            size_t length = record.kind == RING_DATA ? record.length : sizeof record.number;
            while (ring_claim(&w, length) == NULL)
                atomic_store_explicit(&w.control->head, w.tail, memory_order_release);
            (void) ring_commit(&w, record.kind, length);
            if (n + 1 == handed_count)
                handed_is = w.tail;
            backlog_drop(&b);
        }
        CHECK_EQ(end, w.tail);
        CHECK_EQ(handed, handed_is);
    }
    free(memory);
}
