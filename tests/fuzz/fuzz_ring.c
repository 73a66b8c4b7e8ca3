/* fuzz_ring.c: the ring alone (src/slots/ring.h), between two ends that do any of its operations in any order, and
 * somebody who changes the shared memory at any time, also between the peek and the copy.
 *
 * Path    first step: which end is hostile, capacity, fences, where positions begin > a step each > the reader drains
 * I1      Whoever is hostile: an honest end touches no byte outside of its level's, takes no record that breaks a rule of
 *         ring.h, and none of its own figures leave their ranges. The checks are this file's own, not the ring's.
 * I2      With nobody hostile: every message that was committed is taken, whole, once and in order; ring_claim refuses
 *         only what has no room; no wake-up is lost, in either direction.
 * I3      Draining ends after as many records as there is room for.
 */
#include <stdlib.h>
#include <string.h>

#include "program.h"
#include "slots/ring.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISONING
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define POISONING
#endif
#ifdef POISONING
#include <sanitizer/asan_interface.h>
#define FORBID(at, size) __asan_poison_memory_region(at, size)
#define ALLOW(at, size)  __asan_unpoison_memory_region(at, size)
#else
#define FORBID(at, size) ((void) (at), (void) (size))
#define ALLOW(at, size)  ((void) (at), (void) (size))
#endif

enum { NOBODY, WRITER, READER, PLACES }; /* who is hostile */

/* Three levels, of which the one in the middle is used, so that a step over its edge is noticed. */
#define LEVELS 3u
#define LEVEL  1u
#define MOST   (RING_CAPACITY_MIN / 4) /* records of 8 bytes, in twice the smallest ring */

struct sent {
    enum ring_kind kind;
    size_t length;
    uint64_t number;
};

static struct {
    unsigned hostile;
    struct ring_geometry geometry;
    char *memory;
    unsigned char *data;
    struct ring_control *control;
    struct ring_writer writer;
    struct ring_reader reader;
    bool stopped; /* the reader has found a violation, and is through with this memory */

    /* Committed and not taken. */
    struct sent sent[MOST];
    uint64_t sent_first;
    uint64_t sent_end;
    uint64_t number; /* of the next message */

    /* Ends of the records that were taken and not released. */
    uint64_t taken[MOST];
    uint64_t taken_first;
    uint64_t taken_end;

    bool armed; /* since the doorbell was rung last: the next commit has to ring, and none after it */
    bool asked; /* the writer has said where it waits for head, and not been told since: */
    uint64_t awaited;
    bool waiting; /* … and has not seen it there by itself */
} w;

/* ---- the beginning ---- */

static void world_place(uint32_t capacity)
{
    static char *memory;
    size_t whole = RING_CONTROL_BYTES + 4 * (size_t) RING_CAPACITY_MIN;
    if (memory == NULL)
        memory = guarded_memory(whole);
    ALLOW(memory, whole);
    w.geometry = (struct ring_geometry){.levels = LEVELS, .capacity = {RING_CAPACITY_MIN, capacity, RING_CAPACITY_MIN}};
    DEMAND(ring_geometry_valid(&w.geometry) && ring_memory_bytes(&w.geometry) <= whole);
    w.memory = memory;
    memset(memory, 0, whole);
    w.control = (struct ring_control *) (void *) (memory + LEVEL * RING_CONTROL_STRIDE);
    w.data = (unsigned char *) memory + RING_CONTROL_BYTES + RING_CAPACITY_MIN;
    FORBID(memory, RING_CONTROL_STRIDE);
    FORBID(memory + (size_t) (LEVEL + 1) * RING_CONTROL_STRIDE,
           RING_CONTROL_BYTES - (LEVEL + 1) * RING_CONTROL_STRIDE + RING_CAPACITY_MIN);
    FORBID(w.data + capacity, RING_CAPACITY_MIN);
}

static void world_make(const struct step *first)
{
    w.hostile = first->operation % PLACES;
    world_place(first->what & 1 ? 2 * RING_CAPACITY_MIN : RING_CAPACITY_MIN);
    ring_writer_init(&w.writer, w.memory, &w.geometry, LEVEL);
    ring_reader_init(&w.reader, w.memory, &w.geometry, LEVEL);
    w.writer.fence = (first->what & 2) != 0;
    if (first->what & 8) { /* not long before the numbers go round */
        uint64_t start = -(uint64_t) (first->small & ~7u);
        w.writer.tail = w.writer.head = w.writer.clear = start;
        ring_reader_begin_at(&w.reader, start);
        atomic_store(&w.control->tail, start);
        atomic_store(&w.control->head, start);
    } else if (first->what & 16) {
        w.writer.span = w.writer.capacity / (first->what & 32 ? 4 : 2); /* until some step makes it larger */
        w.writer.halves = (first->what & (32 | 64)) == 64;
    }
    w.stopped = w.armed = w.asked = w.waiting = false;
    w.sent_first = w.sent_end = w.number = w.taken_first = w.taken_end = 0;
}

/* ---- what holds at any time ---- */

static uint64_t released(void)
{
    return atomic_load_explicit(&w.reader.head, memory_order_relaxed);
}

static void world_check(void)
{
    const struct ring_writer *writer = &w.writer;
    const struct ring_reader *reader = &w.reader;
    DEMAND(writer->tail - writer->head <= writer->capacity && writer->tail % 8 == 0 && writer->head % 8 == 0);
    DEMAND(reader->tail - released() <= reader->capacity && reader->position - released() <= reader->tail - released());
    DEMAND(reader->position % 8 == 0 && reader->tail % 8 == 0);
    if (w.hostile == NOBODY) {
        DEMAND(ring_writer_valid(writer) && ring_reader_valid(reader));
        DEMAND(!writer->broken && !w.stopped);
    }
}

/* ---- the writer's steps ---- */

static void check_room(const unsigned char *room, size_t length)
{
    size_t offset = (size_t) (room - w.data);
    uint64_t capacity = w.writer.capacity;
    DEMAND(room >= w.data + RING_HEADER && offset % 8 == 0 && offset + length <= capacity);
    /* In free-running numbers: behind everything that is not acknowledged, as the writer knows it. */
    uint64_t end = w.writer.claimed + ring_record_bytes(length);
    DEMAND((w.writer.claimed & (capacity - 1)) + RING_HEADER == offset);
    DEMAND(w.writer.claimed - w.writer.tail < capacity && end - w.writer.head <= capacity);
}

/* I2: there was really no room. */
static void check_no_room(size_t length)
{
    uint64_t want = ring_want_room(&w.writer, length);
    if (w.hostile == NOBODY)
        DEMAND(released() - want > UINT64_MAX / 2);
    else if (!w.writer.broken)
        DEMAND(!ring_reached(&w.writer, want));
}

static size_t length_of(const struct step *step)
{
    size_t most = ring_payload_max(w.writer.span);
    switch (step->what >> 6) {
    case 0:
        return step->small % 64;
    case 1:
        return most - step->small % 64;
    default:
        return step->small % (most + 1);
    }
}

static void record_fill(void *room, const struct sent *message)
{
    if (message->kind == RING_DATA)
        pattern_fill(room, message->length, message->number);
    else
        memcpy(room, &message->number, sizeof message->number);
}

static void writer_write(const struct step *step, bool commit)
{
    struct sent message = {.kind = RING_DATA, .length = length_of(step), .number = w.number + 1};
    if (step->what % 8 >= 6) {
        message.kind = step->what % 8 == 6 ? RING_LARGE : RING_GAP;
        message.length = sizeof message.number;
    }
    if (w.sent_end - w.sent_first == MOST)
        return;
    bool was_broken = w.writer.broken;
    unsigned char *room = ring_claim(&w.writer, message.length);
    if (room == NULL) {
        check_no_room(message.length);
        return;
    }
    check_room(room, message.length);
    record_fill(room, &message);
    if (!commit)
        return;
    w.number++;
    bool ring = ring_commit(&w.writer, message.kind, message.length);
    if (w.hostile == NOBODY)
        DEMAND(ring == w.armed); /* I2 */
    DEMAND(!was_broken || w.writer.broken);
    w.armed = false;
    w.sent[w.sent_end++ % MOST] = message;
}

static void writer_want(const struct step *step)
{
    uint64_t want = step->what & 1 ? w.writer.tail : ring_want_room(&w.writer, length_of(step));
    if (want == 0 ||
        ring_reached(&w.writer, want)) /* 0, nowhere: comes after 2^64 bytes, and here with the numbers' end */
        return;
    ring_want(&w.writer, want);
    bool honest = ring_refresh(&w.writer);
    DEMAND(honest == !w.writer.broken);
    w.waiting = honest && !ring_reached(&w.writer, want);
    w.asked = true;
    w.awaited = want;
}

/* ---- the reader's steps ---- */

static void hostile_step(const struct step *step);

/* I1: a record as the rules want it, whatever the memory says now. */
static void check_record(const struct ring_record *record, uint64_t before)
{
    uint64_t capacity = w.reader.capacity, mask = capacity - 1, head = released();
    uint64_t start = record->end - ring_record_bytes(record->length);
    DEMAND(record->length <= ring_payload_max(capacity));
    DEMAND(record->kind == RING_DATA || record->kind == RING_LARGE || record->kind == RING_GAP);
    DEMAND(w.reader.position == start && (start == before || (start & mask >> 1) == 0));
    DEMAND(start - before < capacity && record->end - head <= w.reader.tail - head);
    DEMAND(record->payload == w.data + ((start + RING_HEADER) & mask) || record->length == 0);
    DEMAND(record->length == 0 || ((start & mask) + RING_HEADER + record->length <= capacity));
    if (record->kind != RING_DATA)
        DEMAND(record->number != 0 && record->length == sizeof record->number);
}

/* I2 */
static void check_content(const struct ring_record *record, const unsigned char *copy)
{
    DEMAND(w.sent_first != w.sent_end);
    const struct sent *message = &w.sent[w.sent_first++ % MOST];
    DEMAND(record->kind == message->kind && record->length == message->length);
    if (message->kind == RING_DATA)
        DEMAND(pattern_matches(copy, record->length, message->number));
    else
        DEMAND(record->number == message->number);
}

/* Takes the next record; up to `meddling` of the program's next steps happen between peek and copy. */
static bool reader_take(struct program *program, unsigned meddling)
{
    struct ring_record record;
    if (w.stopped || w.taken_end - w.taken_first == MOST)
        return false;
    uint64_t before = w.reader.position;
    enum ring_look look = ring_peek(&w.reader, &record);
    if (look == RING_VIOLATION)
        w.stopped = true;
    if (look == RING_NOTHING)
        DEMAND(w.reader.position == w.reader.tail && (w.hostile != NOBODY || w.sent_first == w.sent_end));
    if (look != RING_RECORD)
        return false;
    check_record(&record, before);
    struct step step;
    while (meddling-- > 0 && program != NULL && program_next(program, &step))
        hostile_step(&step);
    unsigned char *copy = malloc(record.length);
    DEMAND(copy != NULL || record.length == 0);
    if (record.length > 0)
        memcpy(copy, record.payload, record.length);
    if (w.hostile == NOBODY)
        check_content(&record, copy);
    free(copy);
    ring_hand(&w.reader, record.end);
    ring_advance(&w.reader, record.end);
    w.taken[w.taken_end++ % MOST] = record.end;
    return true;
}

static void reader_look(void)
{
    bool tell = ring_release_look(&w.reader, w.reader.position);
    if (w.hostile != NOBODY)
        return;
    bool reached = w.asked && released() - w.awaited <= UINT64_MAX / 2;
    DEMAND(!tell || reached); /* also where the writer saw it by itself: it takes no notice then */
    /* I2: with nothing left to deliver, or half of what is used of the ring free, it has to be told. */
    uint64_t span = atomic_load_explicit(&w.reader.span, memory_order_relaxed);
    if (w.waiting && reached && (w.reader.position == w.writer.tail || w.writer.tail - released() <= span / 2))
        DEMAND(tell);
    if (tell)
        w.waiting = w.asked = false;
}

static void reader_release(unsigned count)
{
    uint64_t head = released();
    for (; count > 0 && w.taken_first != w.taken_end; count--)
        head = w.taken[w.taken_first++ % MOST];
    ring_release(&w.reader, head);
}

static void reader_sleep(void)
{
    if (w.stopped)
        return;
    ring_arm(&w.reader);
    bool sleeps = ring_arm_look(&w.reader);
    if (w.hostile == NOBODY)
        DEMAND(sleeps == (w.reader.position == w.writer.tail));
    w.armed = true; /* also where it goes on: then the writer rings once too often */
}

/* ---- the hostile steps ---- */

static uint64_t word_of(const struct step *step)
{
    const uint64_t bases[] = {
        w.reader.position,
        w.reader.tail,
        released(),
        w.writer.tail,
        w.writer.head,
        released() + w.reader.capacity,
        (uint64_t) step->small << 48,
        w.reader.position - (w.reader.position & (w.reader.capacity - 1)) + w.reader.capacity,
    };
    uint64_t base = bases[step->what % 8];
    switch (step->what / 8 % 4) {
    case 0:
        return base + 8 * (uint64_t) (step->large % 4096);
    case 1:
        return base - 8 * (uint64_t) (step->large % 4096);
    case 2:
        return base + step->large;
    default:
        return base - step->large;
    }
}

static void hostile_word(const struct step *step)
{
    _Atomic uint64_t *words[] = {&w.control->tail, &w.control->asleep, &w.control->head, &w.control->handed,
                                 &w.control->wanted};
    atomic_store(words[step->what / 32 % 5], word_of(step));
}

/* A header, well formed or not, at a place where one may be expected. */
static void hostile_header(const struct step *step)
{
    uint64_t place = step->what & 64 ? w.reader.position + 8 * (uint64_t) (step->small % 2048)
                                     : w.reader.position + 8 * (uint64_t) (step->small % 4);
    uint64_t header = step->large | (uint64_t) (step->what % 8) << 32;
    if (step->what & 8) {
        const uint64_t most = ring_payload_max(w.reader.capacity);
        const uint64_t lengths[] = {sizeof(uint64_t), 0,        most,        most + 1,
                                    most + 8,         2 * most, step->small, step->large % 8192};
        header = lengths[step->large % 8] | (uint64_t) (step->what % 8) << 32;
    }
    if (step->what & 16)
        header |= (uint64_t) step->large << 32;
    if (step->what & 32) /* no further than the end of the ring, or just beyond */
        header = (header & ~(uint64_t) UINT32_MAX) |
                 (uint32_t) (w.reader.capacity - (place & (w.reader.capacity - 1)) - 12 + step->large % 16);
    memcpy(w.data + (place & (w.reader.capacity - 1)), &header, sizeof header);
}

static void hostile_bytes(const struct step *step)
{
    size_t at = (step->what & 1 ? (size_t) w.reader.position + step->small : step->small) & (w.reader.capacity - 1);
    size_t length = step->large % 64;
    for (size_t i = 0; i < length; i++)
        w.data[(at + i) & (w.reader.capacity - 1)] = (unsigned char) (step->large >> 8);
}

static void hostile_step(const struct step *step)
{
    if (w.hostile == NOBODY)
        return;
    switch (step->operation % 4) {
    case 0:
    case 1:
        hostile_word(step);
        break;
    case 2:
        hostile_header(step);
        break;
    default:
        hostile_bytes(step);
        break;
    }
}

/* ---- a program ---- */

static void world_step(struct program *program, const struct step *step)
{
    switch (step->operation % 16) {
    case 0:
    case 1:
    case 2:
        writer_write(step, true);
        break;
    case 3:
        writer_write(step, false);
        break;
    case 4:
        writer_want(step);
        break;
    case 5:
        (void) ring_refresh(&w.writer);
        if ((step->what & 1) != 0 && w.writer.span < w.writer.capacity) {
            w.writer.span *= 2;
            w.writer.halves = false;
        }
        break;
    case 6:
    case 7:
        (void) reader_take(program, step->what % 4);
        break;
    case 8:
        for (unsigned i = 0; i < step->small % 1024 && reader_take(program, 0); i++) {}
        break;
    case 9:
        reader_release(step->what & 1 ? 1 : step->small);
        break;
    case 10:
        reader_look();
        break;
    case 11:
        reader_sleep();
        break;
    case 12: /* a glance misses nothing */
        if (!ring_glance(&w.reader) && w.hostile == NOBODY)
            DEMAND(w.reader.position == w.writer.tail);
        break;
    default:
        hostile_step(step);
        break;
    }
}

/* I3, and I2's last word. */
static void world_end(void)
{
    uint64_t records = 0;
    reader_release(MOST);
    while (reader_take(NULL, 0)) {
        DEMAND(++records <= w.reader.capacity / RING_HEADER);
        reader_release(MOST);
        world_check();
    }
    if (w.hostile != NOBODY)
        return;
    DEMAND(w.sent_first == w.sent_end && released() == w.writer.tail);
    reader_look();
    DEMAND(!w.waiting);
    DEMAND(ring_refresh(&w.writer) && w.writer.head == w.writer.tail);
    reader_sleep();
    DEMAND(ring_claim(&w.writer, 0) != NULL && ring_commit(&w.writer, RING_DATA, 0)); /* the reader sleeps: rung */
    DEMAND(ring_claim(&w.writer, 0) != NULL && !ring_commit(&w.writer, RING_DATA, 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct program program = program_of(bytes, size);
    struct step step;
    if (!program_next(&program, &step))
        return 0;
    world_make(&step);
    while (program_next(&program, &step)) {
        world_step(&program, &step);
        world_check();
    }
    world_end();
    return 0;
}
