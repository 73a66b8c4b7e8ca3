/* message_head.h: what message.c does with a head, and with the rest of a small message, for who does it in line for every
 * message: writer_task.c and tally.c. The layout: message.h.
 *
 * A message of MESSAGE_FULL to MESSAGE_PLAIN_MOST bytes consists of a full head and the pattern, and of nothing else.
 *
 * I1      The checksum of a head of three words is the upper half of ((a × K + number) × K + time) × K, modulo 2^64. The
 *         lower half of `a` is connection and level, the upper one is made from length and slot. K is odd, so a single
 *         changed word always changes the product; and it is such that a single changed bit of any of the three always
 *         changes the upper half: no 32 bits in a row of K, K², K³, at any place, are all equal, with zeros behind them.
 * I2      The same of a short head, the upper 16 bits of (word × K + length and slot) × K.
 */
#ifndef BENCH_MESSAGE_HEAD_H
#define BENCH_MESSAGE_HEAD_H

#include <string.h>

#include "message.h"

#define MESSAGE_KEY      UINT64_C(0x9E3779B97F4A7C15)
#define MESSAGE_SLOT_KEY UINT32_C(0x94D049BB)

#define MESSAGE_PLAIN_MOST 504u

/* Messages of this and up to that are compared word by word; more is better done by the system's memcmp. */
#define MESSAGE_SMALL_LEAST 40u
#define MESSAGE_SMALL_MOST  256u

/* Word j of a message, all but the head and the marks, is word[j] of this one. Aligned for pairs. */
#define MESSAGE_PATTERN 576u
struct message_pattern {
    _Alignas(16) uint64_t word[MESSAGE_PATTERN];
};
extern const struct message_pattern message_pattern;

static inline uint64_t word_load(const uint8_t *data)
{
    uint64_t word;
    memcpy(&word, data, sizeof(word));
    return word;
}

static inline uint32_t place_of(size_t length, unsigned slot)
{
    return (uint32_t) length + slot * MESSAGE_SLOT_KEY;
}

/* The part of I1 that `source` (connection and level, as the head's first word has it in its upper half), length and slot
 * decide. */
static inline uint64_t head_base(uint64_t source, size_t length, unsigned slot)
{
    return (source | (uint64_t) place_of(length, slot) << 32) * MESSAGE_KEY;
}

static inline uint32_t head_source(const uint8_t *data)
{
    return (uint32_t) (word_load(data) >> 32);
}

/* I1 */
static inline uint32_t head_sum(uint64_t base, uint64_t number, uint64_t time)
{
    return (uint32_t) ((((base + number) * MESSAGE_KEY + time) * MESSAGE_KEY) >> 32);
}

/* A full head. */
static inline void head_make(uint8_t *data, uint64_t source, uint64_t number, uint64_t time, size_t length,
                             unsigned slot)
{
    uint64_t first = source << 32 | head_sum(head_base(source, length, slot), number, time);
    memcpy(data, &first, 8);
    memcpy(data + 8, &number, 8);
    memcpy(data + 16, &time, 8);
}

/* message_make, for one at level 0 that does not state a time. */
static inline void make_plainly(struct message_maker *maker, size_t length, unsigned slot, unsigned connection,
                                uint64_t number)
{
    if (length >= MESSAGE_FULL && length <= MESSAGE_PLAIN_MOST) {
        head_make(maker->data, connection, number, 0, length, slot);
    } else {
        message_make(maker, length, slot, &(struct message_note){connection, 0, number, 0});
    }
}

/* I2. `word` is the head without the checksum, shifted to the right. */
static inline uint32_t short_sum(uint64_t word, size_t length, unsigned slot)
{
    return (uint32_t) (((word * MESSAGE_KEY + place_of(length, slot)) * MESSAGE_KEY) >> 48);
}

/* `source` of a note. */
static inline uint64_t source_of(const struct message_note *note)
{
    return note->connection | note->level << 24;
}

/* The note that a full head's words say. */
static inline struct message_note note_of(uint64_t source, uint64_t number, uint64_t time)
{
    return (struct message_note){source & 0xFFFFFFu, (uint32_t) (source >> 24), number, time};
}

/* Whether everything behind a full head is right, in a message that says `note` of itself. */
bool body_is_right(const uint8_t *data, size_t length, const struct message_note *note);

/* Two words at a time; memory is looked at through it. */
typedef uint64_t message_pair __attribute__((vector_size(16), may_alias));

static inline message_pair pair_load(const void *data)
{
    message_pair pair;
    memcpy(&pair, data, sizeof(pair));
    return pair;
}

/* Of the pattern, aligned. */
static inline const message_pair *pair_at(const uint8_t *right)
{
    return (const message_pair *) (const void *) right;
}

/* The same of a small one, from MESSAGE_SMALL_LEAST to MESSAGE_SMALL_MOST bytes, which has no mark. The pairs lie as most
 * copies are made: a processor that has just stored two pairs is slow to load what is half of either. */
static inline bool small_is_right(const uint8_t *data, size_t length)
{
    const size_t step = sizeof(message_pair);
    const uint8_t *right = (const uint8_t *) message_pattern.word;
    message_pair differ = pair_load(data + length - step) ^ pair_load(right + length - step); /* some of it again */
    uint64_t odd = word_load(data + MESSAGE_FULL) ^ message_pattern.word[MESSAGE_FULL / 8];
    for (size_t at = MESSAGE_FULL + 8; at + step < length; at += step) {
        differ |= pair_load(data + at) ^ *pair_at(right + at);
    }
    return (differ[0] | differ[1] | odd) == 0;
}

#endif
