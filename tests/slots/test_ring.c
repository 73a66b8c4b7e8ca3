/* test_ring.c: the ring itself: both ends on one memory, and a memory that breaks the rules. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../queue/random.h"
#include "queue/memory.h"
#include "slots/ring.h"
#include "test.h"

struct both {
    struct ring_geometry geometry;
    unsigned char *memory;
    struct ring_writer writer;
    struct ring_reader reader;
};

static void both_begin(struct both *both, uint32_t capacity)
{
    both->geometry = (struct ring_geometry){.levels = 1, .capacity = {capacity}};
    CHECK(ring_geometry_valid(&both->geometry));
    size_t size = ring_memory_bytes(&both->geometry);
    both->memory = memory_aligned(4096, size);
    CHECK(both->memory != NULL);
    memset(both->memory, 0, size);
    ring_writer_init(&both->writer, both->memory, &both->geometry, 0);
    ring_reader_init(&both->reader, both->memory, &both->geometry, 0);
}

/* As if so many bytes had gone through it already. */
static void both_move(struct both *both, uint64_t position)
{
    struct ring_control *control = both->writer.control;
    atomic_store(&control->tail, position);
    atomic_store(&control->head, position);
    both->writer.tail = both->writer.head = both->writer.clear = position;
    ring_reader_begin_at(&both->reader, position);
}

static void both_end(struct both *both)
{
    memory_aligned_free(both->memory);
}

static bool put(struct both *both, enum ring_kind kind, const void *data, size_t length)
{
    void *place = ring_claim(&both->writer, length);
    if (place == NULL)
        return false;
    if (length > 0)
        memcpy(place, data, length);
    (void) ring_commit(&both->writer, kind, length);
    CHECK(ring_writer_valid(&both->writer));
    return true;
}

static struct ring_record get(struct both *both)
{
    struct ring_record record;
    CHECK_EQ(ring_peek(&both->reader, &record), RING_RECORD);
    ring_hand(&both->reader, record.end);
    ring_advance(&both->reader, record.end);
    return record;
}

TEST(ring, geometry)
{
    struct ring_geometry geometry = {.levels = 2, .capacity = {(uint32_t) 256 << 10, (uint32_t) 64 << 10}};
    CHECK(ring_geometry_valid(&geometry));
    CHECK_EQ(ring_memory_bytes(&geometry), 4096 + (320 << 10));
    geometry.capacity[2] = RING_CAPACITY_MIN;
    CHECK(!ring_geometry_valid(&geometry)); /* not among its levels */
    geometry.levels = 3;
    CHECK(ring_geometry_valid(&geometry));
    geometry.capacity[2] = RING_CAPACITY_MIN / 2;
    CHECK(!ring_geometry_valid(&geometry));
    geometry.capacity[2] = RING_CAPACITY_MAX;
    CHECK(ring_geometry_valid(&geometry));
    geometry.capacity[2] = RING_CAPACITY_MIN + 8;
    CHECK(!ring_geometry_valid(&geometry));
    geometry.levels = 0;
    CHECK(!ring_geometry_valid(&geometry));
    geometry.levels = UINT32_MAX;
    CHECK(!ring_geometry_valid(&geometry));
}

TEST(ring, levels_do_not_touch_each_other)
{
    struct ring_geometry geometry = {.levels = 3, .capacity = {65536, 16384, 32768}};
    unsigned char *memory = memory_aligned(4096, ring_memory_bytes(&geometry));
    CHECK(memory != NULL);
    memset(memory, 0, ring_memory_bytes(&geometry));
    for (uint32_t level = 0; level < 3; level++) {
        struct ring_writer w;
        ring_writer_init(&w, memory, &geometry, level);
        for (size_t length = geometry.capacity[level] / 4 - 8, n = 0; n < 4; n++) {
            void *place = ring_claim(&w, length);
            CHECK(place != NULL);
            memset(place, (int) level + 1, length);
            (void) ring_commit(&w, RING_DATA, length);
        }
        CHECK(ring_claim(&w, 0) == NULL);
    }
    for (uint32_t level = 0; level < 3; level++) {
        struct ring_reader r;
        struct ring_record record;
        ring_reader_init(&r, memory, &geometry, level);
        for (int n = 0; n < 4; n++) {
            CHECK_EQ(ring_peek(&r, &record), RING_RECORD);
            for (size_t i = 0; i < record.length; i++)
                CHECK_EQ(record.payload[i], level + 1);
            ring_advance(&r, record.end);
        }
        CHECK_EQ(ring_peek(&r, &record), RING_NOTHING);
    }
    memory_aligned_free(memory);
}

TEST(ring, kinds_and_their_numbers)
{
    struct both both;
    both_begin(&both, RING_CAPACITY_MIN);
    uint64_t number = 77;
    CHECK(put(&both, RING_DATA, "", 0));
    CHECK(put(&both, RING_GAP, &number, sizeof number));
    number = UINT64_MAX;
    CHECK(put(&both, RING_LARGE, &number, sizeof number));
    struct ring_record record = get(&both);
    CHECK_EQ(record.kind, RING_DATA);
    CHECK_EQ(record.length, 0);
    record = get(&both);
    CHECK_EQ(record.kind, RING_GAP);
    CHECK_EQ(record.number, 77);
    record = get(&both);
    CHECK_EQ(record.kind, RING_LARGE);
    CHECK_EQ(record.number, UINT64_MAX);
    CHECK_EQ(atomic_load(&both.writer.control->handed), both.writer.tail);
    CHECK_EQ(atomic_load(&both.writer.control->head), 0);
    ring_release(&both.reader, record.end);
    CHECK(ring_refresh(&both.writer));
    CHECK_EQ(both.writer.head, both.writer.tail);
    both_end(&both);
}

TEST(ring, a_claim_that_is_forgotten_is_as_if_it_had_not_been)
{
    struct both both;
    both_begin(&both, RING_CAPACITY_MIN);
    both_move(&both, RING_CAPACITY_MIN - 64);
    unsigned char *begin = both.writer.data;
    unsigned char *last = begin + RING_CAPACITY_MIN - 64;
    for (unsigned i = 0; i < 3; i++) {
        CHECK(ring_claim(&both.writer, 100) == begin + RING_HEADER); /* behind a wrap record */
        CHECK(ring_claim(&both.writer, 40) == last + RING_HEADER);
    }
    CHECK(put(&both, RING_DATA, "abcdefgh", 8));
    CHECK(ring_claim(&both.writer, 40) == last + 16 + RING_HEADER);
    CHECK(ring_claim(&both.writer, 41) == begin + RING_HEADER);
    CHECK(put(&both, RING_DATA, last, 48));
    CHECK_EQ(both.writer.tail, RING_CAPACITY_MIN + 56);
    CHECK(ring_claim(&both.writer, 8) == begin + 56 + RING_HEADER);
    CHECK_EQ(get(&both).length, 8);
    CHECK_EQ(get(&both).length, 48);
    both_end(&both);
}

TEST(ring, the_doorbell_is_asked_for_once_for_a_sleep)
{
    for (int fence = 0; fence < 2; fence++) {
        struct both both;
        both_begin(&both, RING_CAPACITY_MIN);
        both.writer.fence = fence;
        CHECK(ring_claim(&both.writer, 8) != NULL);
        CHECK(!ring_commit(&both.writer, RING_DATA, 8)); /* never slept */
        (void) get(&both);
        for (int sleep = 0; sleep < 3; sleep++) {
            ring_arm(&both.reader);
            CHECK(ring_arm_look(&both.reader));
            CHECK(ring_claim(&both.writer, 8) != NULL);
            CHECK(ring_commit(&both.writer, RING_DATA, 8));
            CHECK(ring_claim(&both.writer, 8) != NULL);
            CHECK(!ring_commit(&both.writer, RING_DATA, 8));
            ring_arm(&both.reader);
            CHECK(!ring_arm_look(&both.reader)); /* something has come meanwhile */
            (void) get(&both);
            (void) get(&both);
        }
        both_end(&both);
    }
}

TEST(ring, who_waits_is_told_once_and_not_too_early)
{
    struct both both;
    unsigned char data[1016] = {0};
    both_begin(&both, RING_CAPACITY_MIN);
    while (put(&both, RING_DATA, data, sizeof data)) {} /* 16 of 1,024 bytes */
    uint64_t wanted = ring_want_room(&both.writer, sizeof data);
    CHECK_EQ(wanted, 1024);
    ring_want(&both.writer, wanted);
    for (int i = 0; i < 8; i++) {
        CHECK(!ring_release_look(&both.reader, both.reader.position));
        ring_release(&both.reader, get(&both).end);
    }
    CHECK(ring_release_look(&both.reader, both.reader.position)); /* half of it is free */
    CHECK(!ring_release_look(&both.reader, both.reader.position));
    CHECK(ring_refresh(&both.writer));
    CHECK(ring_reached(&both.writer, wanted));
    for (int i = 0; i < 8; i++)
        CHECK(put(&both, RING_DATA, data, sizeof data));
    ring_want(&both.writer, ring_want_room(&both.writer, sizeof data));
    for (int i = 0; i < 16; i++)
        (void) get(&both); /* all delivered … */
    CHECK(!ring_release_look(&both.reader, both.reader.position));
    ring_release(&both.reader, both.reader.head + 1024); /* … one acknowledged: nothing more would come of itself */
    CHECK(ring_release_look(&both.reader, both.reader.position));
    both_end(&both);
}

/* ---- a memory that breaks the rules ---- */

static void raw(struct both *both, uint64_t header, uint64_t bytes)
{
    struct ring_writer *w = &both->writer;
    atomic_store((_Atomic uint64_t *) (void *) (w->data + (w->tail & (w->capacity - 1))), header);
    w->tail += bytes;
    atomic_store(&w->control->tail, w->tail);
}

#define HEADER(length, kind) ((uint64_t) (length) | (uint64_t) (kind) << 32)

TEST(violation, of_every_kind_is_found)
{
    static const struct {
        const char *what;
        uint64_t header, bytes;
    } cases[] = {
        {"zeros", 0, 64},
        {"an unknown kind", HEADER(8, 6), 64},
        {"kind in the wrong bits", HEADER(8, RING_DATA) | UINT64_C(1) << 63, 64},
        {"beyond tail by a word", HEADER(57, RING_DATA), 64},
        {"beyond tail", HEADER(4000, RING_DATA), 64},
        {"more than a quarter", HEADER(RING_CAPACITY_MIN / 4 + 1, RING_DATA), RING_CAPACITY_MIN / 2},
        {"4 GiB", HEADER(UINT32_MAX, RING_DATA), 64},
        {"a gap of 0", HEADER(8, RING_GAP), 16},
        {"a gap too short", HEADER(7, RING_GAP), 16},
        {"a gap too long", HEADER(9, RING_GAP), 24},
        {"a gap without its number", HEADER(8, RING_GAP), 8},
        {"a large one of 0", HEADER(8, RING_LARGE), 16},
        {"a wrap at the beginning", HEADER(0, RING_WRAP), RING_CAPACITY_MIN},
        {"half a wrap at the beginning", HEADER(0, RING_HALF), RING_CAPACITY_MIN},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct both both;
        struct ring_record record;
        both_begin(&both, RING_CAPACITY_MIN);
        raw(&both, cases[i].header, cases[i].bytes);
        CHECK_MSG(ring_peek(&both.reader, &record) == RING_VIOLATION, "%s", cases[i].what);
        CHECK_MSG(ring_peek(&both.reader, &record) == RING_VIOLATION, "%s, a second time", cases[i].what);
        both_end(&both);
    }
}

TEST(violation, wraps_must_lead_to_a_record)
{
    for (int which = 0; which < 9; which++) {
        struct both both;
        struct ring_record record;
        both_begin(&both, RING_CAPACITY_MIN);
        both_move(&both, which < 6 ? RING_CAPACITY_MIN - 64 : RING_CAPACITY_MIN / 2 - 64);
        switch (which) {
        case 0: /* nothing behind it */
            raw(&both, HEADER(0, RING_WRAP), 64);
            break;
        case 1: /* not even to the end */
            raw(&both, HEADER(0, RING_WRAP), 8);
            break;
        case 2: /* a length of its own */
            raw(&both, HEADER(8, RING_WRAP), 64);
            raw(&both, HEADER(8, RING_DATA), 16);
            break;
        case 3: /* another one */
            raw(&both, HEADER(0, RING_WRAP), 64);
            raw(&both, HEADER(0, RING_WRAP), 64);
            break;
        case 4: /* a record round the end */
            raw(&both, HEADER(100, RING_DATA), 112);
            break;
        case 5: /* to the end of the half that it is not in */
            raw(&both, HEADER(0, RING_HALF), 64);
            raw(&both, HEADER(8, RING_DATA), 16);
            break;
        case 6: /* the same with nothing behind it */
            raw(&both, HEADER(0, RING_HALF), 64);
            break;
        case 7: /* another one */
            raw(&both, HEADER(0, RING_HALF), 64);
            raw(&both, HEADER(0, RING_HALF), 64);
            break;
        case 8: /* round and round */
            raw(&both, HEADER(0, RING_HALF), 64);
            raw(&both, HEADER(0, RING_WRAP), RING_CAPACITY_MIN / 2);
            raw(&both, HEADER(0, RING_HALF), RING_CAPACITY_MIN / 2 - 64);
            break;
        }
        CHECK_MSG(ring_peek(&both.reader, &record) == RING_VIOLATION, "case %d", which);
        both_end(&both);
    }
}

TEST(violation, tails_that_cannot_be)
{
    static const int64_t moves[] = {-8, 4, 1, RING_CAPACITY_MIN + 8, INT64_MAX - 7, INT64_MIN};
    for (size_t i = 0; i < sizeof moves / sizeof moves[0]; i++) {
        struct both both;
        struct ring_record record;
        both_begin(&both, RING_CAPACITY_MIN);
        CHECK(put(&both, RING_DATA, "12345678", 8));
        CHECK(put(&both, RING_DATA, "12345678", 8));
        (void) get(&both);
        (void) get(&both);
        atomic_fetch_add(&both.writer.control->tail, (uint64_t) moves[i]);
        CHECK_MSG(ring_peek(&both.reader, &record) == RING_VIOLATION, "tail moved by %lld", (long long) moves[i]);
        both_end(&both);
    }
}

TEST(violation, heads_that_cannot_be)
{
    static const int64_t moves[] = {-8, 4, 24, RING_CAPACITY_MIN, INT64_MAX - 7};
    for (size_t i = 0; i < sizeof moves / sizeof moves[0]; i++) {
        struct both both;
        both_begin(&both, RING_CAPACITY_MIN);
        CHECK(put(&both, RING_DATA, "12345678", 8));
        CHECK(put(&both, RING_DATA, "12345678", 8));
        ring_release(&both.reader, get(&both).end);
        CHECK(ring_refresh(&both.writer));
        atomic_fetch_add(&both.writer.control->head, (uint64_t) moves[i]);
        CHECK_MSG(!ring_refresh(&both.writer), "head moved by %lld", (long long) moves[i]);
        CHECK(both.writer.broken);
        atomic_store(&both.writer.control->head, both.writer.head);
        CHECK(!ring_refresh(&both.writer)); /* for good */
        both_end(&both);
    }
}

/* ---- model ---- */

struct entry {
    enum ring_kind kind;
    size_t length;
    uint64_t number;
    uint64_t end;
    unsigned char seed;
};

#define MODEL_MOST 4096u

/* Random operations on a ring against a plain queue of what was put in. */
static void model(uint64_t seed, uint64_t start, uint32_t capacity, unsigned operations, bool halves)
{
    struct random random = {seed};
    struct both both;
    struct entry *queue = calloc(MODEL_MOST, sizeof *queue);
    unsigned char *data = malloc(capacity / 4);
    size_t written = 0, taken = 0, released = 0;
    uint64_t refused = 0, turns_back = 0, unread = 0;
    CHECK(queue != NULL && data != NULL);
    both_begin(&both, capacity);
    both_move(&both, start);
    both.writer.span = (start & (capacity - 1)) == 0 ? capacity >> seed % 4 : capacity; /* part of it, and later more */
    if (halves) {
        both.writer.span = capacity / 2;
        both.writer.halves = true;
    }
    for (unsigned i = 0; i < operations; i++) {
        if (both.writer.span < capacity && random_below(&random, operations / 4) == 0) {
            both.writer.span *= 2;
            both.writer.halves = false;
        }
        /* Where it may turn back, the reader keeps up half of the time. */
        uint64_t choice = halves && i / 1000 % 2 != 0 ? 3 + random_below(&random, 7) : random_below(&random, 10);
        if (choice < 5 && written - released < MODEL_MOST) {
            struct entry entry = {.kind = RING_DATA, .seed = (unsigned char) i};
            uint64_t scale = random_below(&random, 4) == 0 ? both.writer.span / 4 : 100;
            entry.length = (size_t) random_below(&random, scale + 1);
            if (choice == 0) {
                entry.kind = random_below(&random, 2) == 0 ? RING_GAP : RING_LARGE;
                entry.number = random_next(&random) | 1;
                entry.length = sizeof entry.number;
                memcpy(data, &entry.number, sizeof entry.number);
            } else {
                memset(data, entry.seed, entry.length);
            }
            uint64_t before = both.writer.tail;
            if (put(&both, entry.kind, data, entry.length)) {
                uint64_t half = capacity / 2;
                turns_back +=
                    (before & (half - 1)) < half - both.writer.span / 4 && both.writer.tail - before > half / 4;
                entry.end = both.writer.tail;
                unread += ring_record_bytes(entry.length);
                queue[written++ % MODEL_MOST] = entry;
            } else {
                refused++;
                /* Room is refused only where there is none, by the model's own count of what is unreleased. */
                uint64_t low = released < written && released > 0 ? queue[(released - 1) % MODEL_MOST].end : start;
                if (released == written && written > 0)
                    low = queue[(written - 1) % MODEL_MOST].end;
                uint64_t rest = capacity - (before & (capacity - 1));
                uint64_t size = ring_record_bytes(entry.length);
                bool turns = size > ring_rest(&both.writer);
                CHECK_MSG(before - low + (turns ? rest : 0) + size > capacity, "seed %llu, operation %u",
                          (unsigned long long) seed, i);
            }
        } else if (choice < 9) {
            struct ring_record record;
            enum ring_look look = ring_peek(&both.reader, &record);
            CHECK_MSG(look == (taken == written ? RING_NOTHING : RING_RECORD), "seed %llu, operation %u: look %d",
                      (unsigned long long) seed, i, (int) look);
            if (look == RING_NOTHING)
                continue;
            const struct entry *entry = &queue[taken++ % MODEL_MOST];
            CHECK_EQ(record.kind, entry->kind);
            CHECK_EQ(record.length, entry->length);
            CHECK_EQ(record.end, entry->end);
            if (entry->kind != RING_DATA)
                CHECK_EQ(record.number, entry->number);
            for (size_t at = 0; entry->kind == RING_DATA && at < record.length; at++)
                CHECK_EQ(record.payload[at], entry->seed);
            ring_advance(&both.reader, record.end);
            unread -= ring_record_bytes(record.length);
        } else if (released < taken) {
            released += 1 + random_below(&random, taken - released);
            ring_release(&both.reader, queue[(released - 1) % MODEL_MOST].end);
        }
        CHECK(ring_writer_valid(&both.writer));
        CHECK(ring_reader_valid(&both.reader));
        CHECK_EQ(ring_waiting(both.reader.control, capacity, both.reader.position, both.reader.left_out), unread);
    }
    CHECK(written > 100);
    CHECK(refused > 0);
    CHECK(!halves || turns_back > 2);
    both_end(&both);
    free(queue);
    free(data);
}

TEST(model, agrees_with_a_plain_queue)
{
    unsigned runs = test_campaign() ? 2000 : 40;
    for (unsigned run = 0; run < runs; run++)
        model(test_seed() + run, 0, RING_CAPACITY_MIN << run % 3, 20000, false);
}

TEST(model, agrees_where_the_writer_turns_back_to_what_was_read_a_moment_ago)
{
    unsigned runs = test_campaign() ? 400 : 40;
    for (unsigned run = 0; run < runs; run++)
        model(test_seed() + run, 0, RING_CAPACITY_MIN << (2 + run % 3), 20000, true);
}

TEST(model, agrees_near_the_end_of_all_numbers)
{
    for (unsigned run = 0; run < 20; run++)
        model(test_seed() + run, UINT64_MAX - 7 - (uint64_t) run * 2048, RING_CAPACITY_MIN, 20000, false);
}
