/* message.c: see message.h for the layout.
 *
 * I1, I2  The checksums: message_head.h.
 * I3      A run is what lies between two marks: words 64 n to 64 n + 62. Word j of a run is
 *         message_pattern[64 n % PERIOD + j % 64], so a run is compared with one piece of the table.
 */
#include "message.h"

#include <string.h>

#include "message_head.h"
#include "queue/memory.h"

#define RUN        64u /* words, the mark included, which is the last */
#define MARK_PLACE (RUN - 1)

/* A prime: what is displaced by any power of two stands beside another part of the pattern. */
#define PERIOD 509u

/* Evaluated by the compiler. */
#define SPREAD(place) ((uint64_t) ((place) % PERIOD) * UINT64_C(0x9E3779B97F4A7C15) + UINT64_C(0x2545F4914F6CDD1D))
#define WORD(place)   ((SPREAD(place) ^ SPREAD(place) >> 29) * UINT64_C(0xBF58476D1CE4E5B9))
#define WORDS_4(at)   WORD(at), WORD((at) + 1), WORD((at) + 2), WORD((at) + 3)
#define WORDS_16(at)  WORDS_4(at), WORDS_4((at) + 4), WORDS_4((at) + 8), WORDS_4((at) + 12)
#define WORDS_64(at)  WORDS_16(at), WORDS_16((at) + 16), WORDS_16((at) + 32), WORDS_16((at) + 48)

/* The period, and as much of the next as a run that begins at its end needs. */
const struct message_pattern message_pattern = {.word = {WORDS_64(0u), WORDS_64(64u), WORDS_64(128u), WORDS_64(192u),
                                                         WORDS_64(256u), WORDS_64(320u), WORDS_64(384u), WORDS_64(448u),
                                                         WORDS_64(512u)}};
_Static_assert((offsetof(struct message_pattern, word) + MESSAGE_FULL + 8) % sizeof(message_pair) == 0, "aligned");
_Static_assert(MESSAGE_PLAIN_MOST == MARK_PLACE * 8 && MESSAGE_SMALL_MOST <= MESSAGE_PLAIN_MOST, "no mark in them");
_Static_assert(MESSAGE_PATTERN >= PERIOD + RUN - 1, "a run is one piece of it");

static inline uint64_t mark_of(const struct message_note *note, size_t place)
{
    return (note->number * UINT64_C(0xD6E8FEB86659FD93)) ^ ((uint64_t) note->connection << 20) ^ note->level ^ place;
}

/* Where in the table word `place` stands (I3). */
static inline const uint64_t *pattern_at(size_t place)
{
    return &message_pattern.word[place / RUN * RUN % PERIOD + place % RUN];
}

bool message_maker_open(struct message_maker *maker, size_t size)
{
    size_t words = size / 8 + 1 > MESSAGE_FULL / 8 ? size / 8 + 1 : MESSAGE_FULL / 8;
    *maker = (struct message_maker){.data = memory_zalloc(words * 8), .size = size};
    if (maker->data == NULL) {
        return false;
    }
    for (size_t j = 0; j < words; j++) {
        memcpy(maker->data + j * 8, pattern_at(j), 8);
    }
    return true;
}

void message_maker_close(struct message_maker *maker)
{
    memory_free(maker->data);
    *maker = (struct message_maker){0};
}

void message_make(struct message_maker *maker, size_t length, unsigned slot, const struct message_note *note)
{
    uint8_t *data = maker->data;
    for (size_t j = MARK_PLACE; j * 8 < length; j += RUN) { /* whole, also where the length ends within it */
        uint64_t mark = mark_of(note, j);
        memcpy(data + j * 8, &mark, 8);
    }
    if (length >= MESSAGE_FULL) {
        head_make(data, source_of(note), note->number, note->time, length, slot);
    } else if (length >= MESSAGE_SHORT) {
        uint64_t word = ((note->connection | note->level << 13) & 0xFFFFu) | (note->number & UINT32_MAX) << 16;
        uint64_t first = word << 16 | short_sum(word, length, slot);
        memcpy(data, &first, 8);
        memcpy(data + 8, &message_pattern.word[1],
               MESSAGE_FULL - 8); /* again, where a longer message has its head's rest */
    }
}

/* What comes behind the head, marks included. */
static bool runs_stand(const uint8_t *data, size_t head, size_t length, bool all, const struct message_note *note)
{
    size_t mark = MARK_PLACE;
    size_t begin = 0; /* pattern_at(mark - MARK_PLACE) */
    size_t at = head; /* of the first run */
    for (; length >= RUN * 8; length -= RUN * 8) {
        const uint8_t *right = (const uint8_t *) &message_pattern.word[begin];
        if ((all && memcmp(data + at, right + at, MARK_PLACE * 8 - at) != 0) ||
            word_load(data + MARK_PLACE * 8) != mark_of(note, mark)) {
            return false;
        }
        data += RUN * 8;
        mark += RUN;
        begin = begin + RUN < PERIOD ? begin + RUN : begin + RUN - PERIOD;
        at = 0;
    }
    if (length == 0) {
        return true;
    }
    size_t end = length < MARK_PLACE * 8 ? length : MARK_PLACE * 8;
    uint64_t value = mark_of(note, mark);
    return (!all || memcmp(data + at, (const uint8_t *) &message_pattern.word[begin] + at, end - at) == 0) &&
           memcmp(data + end, &value, length - end) == 0;
}

static inline bool body_stands(const uint8_t *data, size_t head, size_t length, bool all,
                               const struct message_note *note)
{
    if (length <= MARK_PLACE * 8) {
        return !all || memcmp(data + head, (const uint8_t *) message_pattern.word + head, length - head) == 0;
    }
    return runs_stand(data, head, length, all, note);
}

bool body_is_right(const uint8_t *data, size_t length, const struct message_note *note)
{
    return body_stands(data, MESSAGE_FULL, length, true, note);
}

bool message_read(const void *data, size_t length, unsigned slot, enum message_check check, struct message_note *note)
{
    uint64_t first = word_load(data);
    if (length >= MESSAGE_FULL) {
        const uint8_t *bytes = data;
        uint64_t source = first >> 32;
        *note = note_of(source, word_load(bytes + 8), word_load(bytes + 16));
        return (uint32_t) first == head_sum(head_base(source, length, slot), note->number, note->time) &&
               body_stands(data, MESSAGE_FULL, length, check == MESSAGE_ALL, note);
    }
    uint64_t word = first >> 16;
    *note = (struct message_note){word & 0x1FFFu, word >> 13 & 7u, first >> 32, 0};
    return (first & 0xFFFFu) == short_sum(word, length, slot) &&
           body_stands(data, MESSAGE_SHORT, length, check == MESSAGE_ALL, note);
}
