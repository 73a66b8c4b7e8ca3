/* message.c: see message.h for the layout.
 *
 * I1  sum(message) = seed(length, slot) + Σ word[j] × key(j) over the covered words, modulo 2^64, with the checksum's
 *     own bits taken as 0. Maker and reader compute the same sum: the maker from `prefix` and what it changed, the
 *     reader from the bytes that came.
 * I2  key(j) = KEY + j × KEY_STEP is odd, because KEY is odd and KEY_STEP even: word × key is then a bijection, and a
 *     single changed word always changes the sum.
 */
#include "message.h"

#include <string.h>

#include "queue/memory.h"

#define KEY        UINT64_C(0x9E3779B97F4A7C15)
#define KEY_STEP   UINT64_C(0xD1B54A32D192ED02)
#define LANES      4u
#define MARK_EVERY 64u
#define MARK_PLACE 63u

static inline uint64_t word_load(const uint8_t *data)
{
    uint64_t word;
    memcpy(&word, data, sizeof(word));
    return word;
}

static inline uint64_t word_partial(const uint8_t *data, size_t length)
{
    uint64_t word = 0;
    memcpy(&word, data, length);
    return word;
}

static inline uint64_t key_at(size_t place)
{
    return KEY + place * KEY_STEP;
}

static inline uint64_t seed_of(size_t length, unsigned slot)
{
    return ((uint64_t) length + 1) * UINT64_C(0xBF58476D1CE4E5B9) + (uint64_t) slot * UINT64_C(0x94D049BB133111EB);
}

static inline uint64_t pattern_at(size_t place)
{
    uint64_t word = (uint64_t) place * UINT64_C(0x9E3779B97F4A7C15) + UINT64_C(0x2545F4914F6CDD1D);
    word ^= word >> 29;
    return word * UINT64_C(0xBF58476D1CE4E5B9);
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

/* Words that the head takes: 3 of a full one, 1 of a short one. */
static inline size_t head_words(size_t length)
{
    return length >= MESSAGE_FULL ? MESSAGE_FULL / 8 : MESSAGE_SHORT / 8;
}

bool message_maker_open(struct message_maker *maker, size_t size, enum message_check check)
{
    size_t words = size / 8 + 1 > MESSAGE_FULL / 8 ? size / 8 + 1 : MESSAGE_FULL / 8;
    *maker = (struct message_maker){.size = size, .check = check};
    maker->data = memory_zalloc(words * 8);
    maker->prefix = memory_calloc(words + 1, sizeof(*maker->prefix));
    if (maker->data == NULL || maker->prefix == NULL) {
        message_maker_close(maker);
        return false;
    }
    for (size_t j = 0; j < words; j++) {
        uint64_t word = pattern_at(j);
        memcpy(maker->data + j * 8, &word, sizeof(word));
        maker->prefix[j + 1] = maker->prefix[j] + (j % MARK_EVERY == MARK_PLACE ? 0 : word * key_at(j));
    }
    return true;
}

void message_maker_close(struct message_maker *maker)
{
    memory_free(maker->data);
    memory_free(maker->prefix);
    *maker = (struct message_maker){0};
}

/* Writes the marks below `words` and returns their part of the sum. */
static uint64_t marks_make(struct message_maker *maker, size_t words, const struct message_note *note)
{
    uint64_t sum = 0;
    for (size_t j = MARK_PLACE; j < words; j += MARK_EVERY) {
        uint64_t word = mark_of(note, j);
        memcpy(maker->data + j * 8, &word, sizeof(word));
        sum += word * key_at(j);
    }
    return sum;
}

void message_make(struct message_maker *maker, size_t length, unsigned slot, const struct message_note *note)
{
    if (length < MESSAGE_SHORT) {
        return;
    }
    uint8_t *data = maker->data;
    size_t words = length / 8;
    size_t head = head_words(length);
    for (size_t j = head; j < MESSAGE_FULL / 8; j++) {
        uint64_t word = pattern_at(j); /* stands again where a longer message has the rest of its head */
        memcpy(data + j * 8, &word, sizeof(word));
    }
    uint64_t sum = seed_of(length, slot) + marks_make(maker, words, note);
    if (maker->check == MESSAGE_ALL) {
        sum += maker->prefix[words] - maker->prefix[head];
        if (length % 8 != 0) {
            sum += word_partial(data + words * 8, length % 8) * key_at(words);
        }
    }
    if (length >= MESSAGE_FULL) {
        uint64_t source = (uint64_t) (note->connection | note->level << 24) << 32;
        sum += source * key_at(0) + note->number * key_at(1) + note->time * key_at(2);
        uint64_t first = source | fold_32(sum);
        memcpy(data, &first, 8);
        memcpy(data + 8, &note->number, 8);
        memcpy(data + 16, &note->time, 8);
    } else {
        uint64_t source = (uint64_t) ((note->connection | note->level << 13) & 0xFFFFu) << 16;
        uint64_t first = source | (note->number & UINT32_MAX) << 32;
        sum += first * key_at(0);
        first |= fold_16(sum);
        memcpy(data, &first, 8);
    }
}

/* The sum over the words from `first` up to `words`. Blocks of LANES words need no multiplication: with a the sum of a
 * lane's words and b the sum of a after each block, Σ i × word[i] = blocks × a - b, and I1's sum is KEY × Σ word[j] +
 * KEY_STEP × Σ j × word[j]. Lanes by name, so that compilers keep them in registers. */
static uint64_t words_sum(const uint8_t *data, size_t first, size_t words)
{
    uint64_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
    uint64_t b0 = 0, b1 = 0, b2 = 0, b3 = 0;
    size_t blocks = (words - first) / LANES;
    const uint8_t *at = data + first * 8;
    for (const uint8_t *end = at + blocks * LANES * 8; at < end; at += LANES * 8) {
        b0 += a0 += word_load(at);
        b1 += a1 += word_load(at + 8);
        b2 += a2 += word_load(at + 16);
        b3 += a3 += word_load(at + 24);
    }
    uint64_t sum = a0 * key_at(first) + a1 * key_at(first + 1) + a2 * key_at(first + 2) + a3 * key_at(first + 3);
    sum += (blocks * (a0 + a1 + a2 + a3) - (b0 + b1 + b2 + b3)) * LANES * KEY_STEP;
    for (size_t j = first + blocks * LANES; j < words; j++) {
        sum += word_load(data + j * 8) * key_at(j);
    }
    return sum;
}

/* The same over the marks alone. Each must be this message's own, whatever the sum says. */
static uint64_t marks_sum(const uint8_t *data, size_t words, const struct message_note *note, bool *own)
{
    uint64_t sum = 0;
    for (size_t j = MARK_PLACE; j < words; j += MARK_EVERY) {
        uint64_t word = word_load(data + j * 8);
        *own &= word == mark_of(note, j);
        sum += word * key_at(j);
    }
    return sum;
}

bool message_read(const void *data, size_t length, unsigned slot, enum message_check check, struct message_note *note)
{
    const uint8_t *bytes = data;
    size_t words = length / 8;
    bool full = length >= MESSAGE_FULL;
    uint64_t first = word_load(bytes);
    uint64_t mask = full ? UINT32_MAX : 0xFFFFu;
    uint64_t sum = seed_of(length, slot) + (first & ~mask) * key_at(0);
    if (full) {
        uint32_t source = (uint32_t) (first >> 32);
        *note = (struct message_note){source & 0xFFFFFFu, source >> 24, word_load(bytes + 8), word_load(bytes + 16)};
    } else {
        uint32_t source = (uint32_t) (first >> 16) & 0xFFFFu;
        *note = (struct message_note){source & 0x1FFFu, source >> 13, first >> 32, 0};
    }
    bool own = true;
    if (check == MESSAGE_MARKS) {
        sum += full ? note->number * key_at(1) + note->time * key_at(2) : 0;
        sum += marks_sum(bytes, words, note, &own);
    } else {
        sum += words_sum(bytes, 1, words);
        if (length % 8 != 0) {
            sum += word_partial(bytes + words * 8, length % 8) * key_at(words);
        }
    }
    return own && (first & mask) == (full ? fold_32(sum) : fold_16(sum));
}
