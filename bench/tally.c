/* tally.c: see tally.h for path, owners and invariants. */
#include "tally.h"

#include <limits.h>
#include <string.h>

#include "message_head.h"
#include "queue/memory.h"
#include "queue/thread.h"

/* Taking the time costs as much as taking some small messages: without send times it is done for one in so many, or in more
 * where they come so fast that this many take less than SAMPLE_NS. */
#define SAMPLE_EVERY 64u
#define SAMPLE_MOST  4096u
#define SAMPLE_NS    UINT64_C(2000)
/* What is called for each small message has nothing to save on the stack where all other calls are its last act. */
#define NOINLINE __attribute__((noinline))
#define INLINE   inline __attribute__((always_inline))
/* Up to so many histograms are fine ones: 1 % of a value; above that 3 %, for the memory's sake. */
#define FINE_MAX    32u
#define BITS_FINE   7u
#define BITS_COARSE 5u

static unsigned latency_bits(const struct plan *plan)
{
    return plan->peer.slots * plan->peer.levels <= FINE_MAX ? BITS_FINE : BITS_COARSE;
}

static bool latencies_open(struct tally *tally)
{
    for (unsigned s = 0; s < tally->plan->peer.slots; s++) {
        struct tally_slot *slot = &tally->slots[s];
        slot->latencies = memory_calloc(tally->levels, sizeof(*slot->latencies));
        if (slot->latencies == NULL) {
            return false;
        }
        for (unsigned l = 0; l < tally->levels; l++) {
            if (!histogram_open(&slot->latencies[l], latency_bits(tally->plan))) {
                return false;
            }
        }
    }
    return true;
}

bool tally_open(struct tally *tally, const struct plan *plan)
{
    size_t streams = (size_t) plan_connections(plan) * plan->peer.levels;
    *tally = (struct tally){.plan = plan, .connections = plan_connections(plan), .levels = plan->peer.levels};
    tally->streams = memory_aligned(_Alignof(struct tally_stream), streams * sizeof(*tally->streams));
    tally->slots = memory_aligned(_Alignof(struct tally_slot), plan->peer.slots * sizeof(*tally->slots));
    if (tally->streams != NULL) {
        memset(tally->streams, 0, streams * sizeof(*tally->streams));
        for (size_t i = 0; i < streams; i++) {
            tally->streams[i].slot = plan_slot(plan, (unsigned) (i / plan->peer.levels));
        }
    }
    for (unsigned s = 0; tally->slots != NULL && s < plan->peer.slots; s++) {
        memset(&tally->slots[s], 0, sizeof(tally->slots[s]));
        atomic_init(&tally->slots[s].received, 0);
        tally->slots[s].length = TALLY_NO_LENGTH;
        tally->slots[s].every = tally->slots[s].due = SAMPLE_EVERY;
    }
    if (tally->streams == NULL || tally->slots == NULL || (plan_stamped(plan) && !latencies_open(tally))) {
        tally_close(tally);
        return false;
    }
    return true;
}

void tally_close(struct tally *tally)
{
    size_t streams = tally->streams == NULL ? 0 : (size_t) tally->connections * tally->levels;
    for (size_t i = 0; i < streams; i++) {
        memory_free(tally->streams[i].gaps);
    }
    for (unsigned s = 0; tally->slots != NULL && s < tally->plan->peer.slots; s++) {
        for (unsigned l = 0; tally->slots[s].latencies != NULL && l < tally->levels; l++) {
            histogram_close(&tally->slots[s].latencies[l]);
        }
        memory_free(tally->slots[s].latencies);
    }
    memory_aligned_free(tally->streams);
    memory_aligned_free(tally->slots);
    *tally = (struct tally){0};
}

static void gap_add(struct tally_stream *stream, uint64_t first, uint64_t end)
{
    stream->missing += end - first;
    if (stream->gap_count == stream->gap_room && stream->gap_room < TALLY_GAPS_MAX) {
        uint32_t room = stream->gap_room == 0 ? 16 : stream->gap_room * 2;
        struct tally_gap *gaps = memory_realloc(stream->gaps, room * sizeof(*gaps));
        if (gaps != NULL) {
            stream->gaps = gaps;
            stream->gap_room = room;
        }
    }
    if (stream->gap_count == stream->gap_room) {
        if (stream->gap_room == 0) {
            return; /* no memory at all: given up, and lost */
        }
        stream->gap_count--; /* the oldest is given up */
        memmove(&stream->gaps[0], &stream->gaps[1], stream->gap_count * sizeof(stream->gaps[0]));
    }
    stream->gaps[stream->gap_count++] = (struct tally_gap){first, end};
}

/* Takes `number` out of the gap it stands in. False where it stands in none. */
static bool gap_fill(struct tally_stream *stream, uint64_t number)
{
    for (uint32_t i = 0; i < stream->gap_count; i++) {
        struct tally_gap *gap = &stream->gaps[i];
        if (number < gap->first || number >= gap->end) {
            continue;
        }
        uint64_t end = gap->end;
        stream->missing--;
        if (number == gap->first) {
            gap->first++;
        } else {
            gap->end = number;
            if (number + 1 < end) {
                stream->missing -= end - number - 1; /* gap_add counts them again */
                gap_add(stream, number + 1, end);
            }
            return true;
        }
        if (gap->first == gap->end) {
            stream->gap_count--;
            memmove(gap, gap + 1, (stream->gap_count - i) * sizeof(*gap));
        }
        return true;
    }
    return false;
}

static void stream_take(struct tally_stream *stream, uint64_t number)
{
    if (number == stream->next) {
        stream->next++;
    } else if (number > stream->next) {
        gap_add(stream, stream->next, number);
        stream->next = number + 1;
    } else if (gap_fill(stream, number)) {
        stream->reordered++;
    } else {
        stream->repeated++;
    }
}

/* For the message that is the `received`th. */
static void slot_time(struct tally_slot *slot, uint64_t received, uint64_t time, uint32_t level)
{
    uint64_t now = clock_now();
    uint64_t passed = now - slot->last;
    if (passed < SAMPLE_NS && slot->every < SAMPLE_MOST) {
        slot->every *= 2;
    } else if (passed > 4 * SAMPLE_NS && slot->every > SAMPLE_EVERY) {
        slot->every /= 2;
    }
    slot->due = received + slot->every;
    slot->last = now;
    slot->sampled++;
    if (slot->latencies != NULL && time != 0) {
        histogram_record(&slot->latencies[level], now > time ? now - time : 0);
    }
}

/* False where the message is garbled. */
static bool stream_count(struct tally *tally, unsigned slot, const void *data, size_t length, struct message_note *note)
{
    if (!message_read(data, length, slot, tally->plan->check, note) || note->connection >= tally->connections ||
        note->level >= tally->levels) {
        return false;
    }
    struct tally_stream *stream = &tally->streams[note->connection * tally->levels + note->level];
    if (stream->slot != slot) {
        return false;
    }
    if (length < MESSAGE_FULL) {
        /* 32 bits of the number came: the nearest number that ends in them is meant. */
        note->number =
            stream->next + (uint64_t) (int64_t) (int32_t) ((uint32_t) note->number - (uint32_t) stream->next);
    }
    stream_take(stream, note->number);
    if (length >= MESSAGE_FULL && tally->plan->check == MESSAGE_ALL) {
        struct tally_slot *place = &tally->slots[slot]; /* I4 */
        place->stream = stream;
        place->source = head_source(data);
        place->length = TALLY_NO_LENGTH;
    }
    return true;
}

/* Any message. */
static NOINLINE void take_any(struct tally *tally, struct tally_slot *place, const void *data, size_t length)
{
    unsigned slot = (unsigned) (place - tally->slots);
    struct message_note note = {0};
    uint64_t received = atomic_load_explicit(&place->received, memory_order_relaxed) + 1;
    place->bytes += length;
    if (length >= MESSAGE_SHORT && !stream_count(tally, slot, data, length, &note)) {
        place->garbled++;
    } else if (note.time != 0 || received >= place->due) {
        slot_time(place, received, note.time, note.level);
    }
    atomic_store_explicit(&place->received, received, memory_order_release); /* T1 */
}

/* The end of take_next where the time is taken. */
static NOINLINE void take_timed(struct tally_slot *place, uint64_t time, uint32_t level)
{
    uint64_t received = atomic_load_explicit(&place->received, memory_order_relaxed) + 1;
    slot_time(place, received, time, level);
    atomic_store_explicit(&place->received, received, memory_order_release); /* T1 */
}

/* Counts what is right, and the next of its stream. */
static INLINE void take_next(struct tally_slot *place, uint64_t number, uint64_t time, size_t length)
{
    uint64_t received = atomic_load_explicit(&place->received, memory_order_relaxed) + 1;
    place->stream->next = number + 1;
    place->bytes += length;
    if (time != 0 || received >= place->due) {
        take_timed(place, time, place->source >> 24);
        return;
    }
    atomic_store_explicit(&place->received, received, memory_order_release); /* T1 */
}

static NOINLINE void take_other(struct tally *tally, struct tally_slot *place, const void *data, size_t length)
{
    const uint8_t *bytes = data;
    unsigned slot = (unsigned) (place - tally->slots);
    bool small = length >= MESSAGE_SMALL_LEAST && length <= MESSAGE_SMALL_MOST;
    if (length < MESSAGE_FULL || place->stream == NULL || head_source(bytes) != place->source) {
        take_any(tally, place, data, length);
        return;
    }
    struct message_note note = note_of(place->source, word_load(bytes + 8), word_load(bytes + 16));
    uint64_t base = head_base(place->source, length, slot);
    if (note.number != place->stream->next || (uint32_t) word_load(bytes) != head_sum(base, note.number, note.time) ||
        !(small ? small_is_right(bytes, length) : body_is_right(bytes, length, &note))) {
        take_any(tally, place, data, length);
        return;
    }
    if (small) { /* I4 */
        place->length = length;
        place->base = base;
    }
    take_next(place, note.number, note.time, length);
}

/* Other calls at the end only: so a message like the one before costs no frame on the stack. */
void tally_take(void *context, unsigned slot, const void *data, size_t length)
{
    struct tally *tally = context;
    struct tally_slot *place = &tally->slots[slot];
    const uint8_t *bytes = data;
    if (length != place->length) {
        take_other(tally, place, data, length);
        return;
    }
    uint64_t number = word_load(bytes + 8);
    uint64_t time = word_load(bytes + 16);
    if (head_source(bytes) != place->source || (uint32_t) word_load(bytes) != head_sum(place->base, number, time) ||
        number != place->stream->next || !small_is_right(bytes, length)) {
        take_other(tally, place, data, length);
        return;
    }
    take_next(place, number, time, length);
}

uint64_t tally_received(const struct tally *tally)
{
    uint64_t received = 0;
    for (unsigned s = 0; s < tally->plan->peer.slots; s++) {
        received += atomic_load_explicit(&tally->slots[s].received, memory_order_acquire); /* T1 */
    }
    return received;
}

uint64_t tally_last(const struct tally *tally)
{
    uint64_t last = 0;
    uint64_t sampled = 0;
    for (unsigned s = 0; s < tally->plan->peer.slots; s++) {
        sampled += tally->slots[s].sampled;
        last = tally->slots[s].last > last ? tally->slots[s].last : last;
    }
    return sampled >= 16 ? last : 0;
}

struct tally_counts tally_result(const struct tally *tally, const uint64_t *sent)
{
    struct tally_counts counts = {.received = tally_received(tally)};
    uint64_t missing = 0;
    size_t streams = (size_t) tally->connections * tally->levels;
    for (unsigned s = 0; s < tally->plan->peer.slots; s++) {
        counts.bytes += tally->slots[s].bytes;
        counts.garbled += tally->slots[s].garbled;
    }
    for (size_t i = 0; i < streams; i++) {
        const struct tally_stream *stream = &tally->streams[i];
        counts.sent += sent[i];
        counts.repeated += stream->repeated;
        counts.reordered += stream->reordered;
        missing += stream->missing;
        if (sent[i] >= stream->next) {
            missing += sent[i] - stream->next;
        } else {
            counts.garbled += stream->next - sent[i]; /* numbers that nobody has sent */
        }
    }
    if (plan_smallest(tally->plan) < MESSAGE_SHORT) {
        counts.repeated = counts.received > counts.sent ? counts.received - counts.sent : 0;
        missing = counts.sent > counts.received ? counts.sent - counts.received : 0;
    }
    counts.lost = missing > counts.garbled ? missing - counts.garbled : 0;
    return counts;
}

bool tally_latencies(const struct tally *tally, unsigned level, struct histogram *sum)
{
    if (!plan_stamped(tally->plan) || !histogram_open(sum, latency_bits(tally->plan))) {
        return false;
    }
    for (unsigned s = 0; s < tally->plan->peer.slots; s++) {
        for (unsigned l = 0; l < tally->levels; l++) {
            if (level == UINT_MAX || level == l) {
                histogram_merge(sum, &tally->slots[s].latencies[l]);
            }
        }
    }
    return true;
}

void tally_add(struct tally_counts *to, const struct tally_counts *counts)
{
    to->sent += counts->sent;
    to->received += counts->received;
    to->bytes += counts->bytes;
    to->lost += counts->lost;
    to->repeated += counts->repeated;
    to->reordered += counts->reordered;
    to->garbled += counts->garbled;
}

bool tally_damaged(const struct tally_counts *counts)
{
    return counts->lost != 0 || counts->repeated != 0 || counts->reordered != 0 || counts->garbled != 0;
}
