/* message.c: see message.h for the layout.
 *
 * I1  The checksum is seed(length, slot) + Σ word[j] × key[j] over the words of the head, modulo 2^64, with the
 *     checksum's own bits taken as 0, folded to its width. The keys are odd: word × key is then a bijection, and a single
 *     changed word always changes the sum.
 * I2  A run is what lies between two marks: words 64 n to 64 n + 62. Word j of a run is pattern[64 n % PERIOD + j % 64],
 *     so a run is compared with one piece of the table.
 */
#include "message.h"

#include <string.h>

#include "queue/memory.h"
#include "queue/seldom.h"

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
static const uint64_t pattern[9 * RUN] = {WORDS_64(0u),   WORDS_64(64u),  WORDS_64(128u),
                                          WORDS_64(192u), WORDS_64(256u), WORDS_64(320u),
                                          WORDS_64(384u), WORDS_64(448u), WORDS_64(512u)};
_Static_assert(sizeof(pattern) / sizeof(pattern[0]) >= PERIOD + RUN - 1, "a run is one piece of it");

static const uint64_t keys[MESSAGE_FULL / 8] = {UINT64_C(0x9E3779B97F4A7C15), UINT64_C(0x6FEAF3E4D20B0E17),
                                                UINT64_C(0x41A06BF42A9CA019)};

static inline uint64_t word_load(const uint8_t *data)
{
    uint64_t word;
    memcpy(&word, data, sizeof(word));
    return word;
}

static inline uint64_t seed_of(size_t length, unsigned slot)
{
    return ((uint64_t) length + 1) * UINT64_C(0xBF58476D1CE4E5B9) + (uint64_t) slot * UINT64_C(0x94D049BB133111EB);
}

static inline uint64_t mark_of(const struct message_note *note, size_t place)
{
    return (note->number * UINT64_C(0xD6E8FEB86659FD93)) ^ ((uint64_t) note->connection << 20) ^ note->level ^ place;
}

static inline uint32_t fold_32(uint64_t sum)
{
    return (uint32_t) (sum ^ (sum >> 32));
}

static inline uint16_t fold_16(uint64_t sum)
{
    uint32_t half = fold_32(sum);
    return (uint16_t) (half ^ (half >> 16));
}

/* Where in the table word `place` stands (I2). */
static inline const uint64_t *pattern_at(size_t place)
{
    return &pattern[place / RUN * RUN % PERIOD + place % RUN];
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
    uint64_t sum = seed_of(length, slot);
    if (length >= MESSAGE_FULL) {
        uint64_t source = (uint64_t) (note->connection | note->level << 24) << 32;
        sum += source * keys[0] + note->number * keys[1] + note->time * keys[2];
        uint64_t first = source | fold_32(sum);
        memcpy(data, &first, 8);
        memcpy(data + 8, &note->number, 8);
        memcpy(data + 16, &note->time, 8);
    } else if (length >= MESSAGE_SHORT) {
        uint64_t source = (uint64_t) ((note->connection | note->level << 13) & 0xFFFFu) << 16;
        uint64_t first = source | (note->number & UINT32_MAX) << 32;
        first |= fold_16(sum + first * keys[0]);
        memcpy(data, &first, 8);
        memcpy(data + 8, &pattern[1], MESSAGE_FULL - 8); /* again, where a longer message has the rest of its head */
    }
}

/* What comes behind the head, if all of it belongs to a message that says `note` of itself. */
static SELDOM bool runs_stand(const uint8_t *data, size_t head, size_t length, bool all,
                              const struct message_note *note)
{
    for (size_t run = 0; run * 8 < length; run += RUN) {
        size_t at = run == 0 ? head : run * 8;
        size_t mark = run + MARK_PLACE;
        size_t end = mark * 8 < length ? mark * 8 : length;
        if (all && memcmp(data + at, pattern_at(at / 8), end - at) != 0) {
            return false;
        }
        uint64_t value = mark_of(note, mark);
        size_t rest = length - end;
        if (memcmp(data + end, &value, rest < 8 ? rest : 8) != 0) {
            return false;
        }
    }
    return true;
}

static inline bool body_stands(const uint8_t *data, size_t head, size_t length, bool all,
                               const struct message_note *note)
{
    if (length <= MARK_PLACE * 8) {
        return !all || memcmp(data + head, (const uint8_t *) pattern + head, length - head) == 0;
    }
    return runs_stand(data, head, length, all, note);
}

bool message_read(const void *data, size_t length, unsigned slot, enum message_check check, struct message_note *note)
{
    uint64_t first = word_load(data);
    uint64_t sum = seed_of(length, slot);
    if (length >= MESSAGE_FULL) {
        const uint8_t *bytes = data;
        uint64_t source = first >> 32;
        *note = (struct message_note){source & 0xFFFFFFu, (uint32_t) (source >> 24), word_load(bytes + 8),
                                      word_load(bytes + 16)};
        sum += (source << 32) * keys[0] + note->number * keys[1] + note->time * keys[2];
        return (uint32_t) first == fold_32(sum) && body_stands(data, MESSAGE_FULL, length, check == MESSAGE_ALL, note);
    }
    uint32_t source = (uint32_t) (first >> 16) & 0xFFFFu;
    *note = (struct message_note){source & 0x1FFFu, source >> 13, first >> 32, 0};
    sum += (first & ~(uint64_t) 0xFFFFu) * keys[0];
    return (first & 0xFFFFu) == fold_16(sum) && body_stands(data, MESSAGE_SHORT, length, check == MESSAGE_ALL, note);
}
