/* program.c: see program.h. */
#include "program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define STEP  sizeof(struct step)
#define GUARD ((size_t) 1 << 20)

void demand_failed(const char *file, int line, const char *text)
{
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, text);
    abort();
}

void pattern_fill(void *data, size_t length, uint64_t seed)
{
    for (size_t at = 0; at < length; at++)
        ((unsigned char *) data)[at] = pattern_byte(seed, at);
}

bool pattern_matches(const void *data, size_t length, uint64_t seed)
{
    for (size_t at = 0; at < length; at++) {
        if (((const unsigned char *) data)[at] != pattern_byte(seed, at))
            return false;
    }
    return true;
}

void *guarded_memory(size_t size)
{
    char *whole = mmap(NULL, size + 2 * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    DEMAND(whole != MAP_FAILED);
    DEMAND(mprotect(whole + GUARD, size, PROT_READ | PROT_WRITE) == 0);
    return whole + GUARD;
}

/* ---- mutation ---- */

/* libFuzzer's own mutations, of single bytes and of what it has learned from comparisons. */
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t size, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t room, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *one, size_t one_size, const uint8_t *other, size_t other_size,
                                 uint8_t *out, size_t room, unsigned seed);

#ifdef FUZZ_MUTATE

static uint32_t random_next(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static size_t random_below(uint32_t *state, size_t bound)
{
    return bound == 0 ? 0 : random_next(state) % bound;
}

/* Mostly a small number, or a power of two or its neighbour. */
static uint32_t random_number(uint32_t *state)
{
    switch (random_next(state) % 4) {
    case 0:
        return random_next(state) % 16;
    case 1:
        return (UINT32_C(1) << random_next(state) % 32) + random_next(state) % 3 - 1;
    case 2:
        return 0;
    default:
        return random_next(state);
    }
}

static void step_random(uint8_t *bytes, uint32_t *state)
{
    uint32_t small = random_number(state), large = random_number(state);
    bytes[0] = (uint8_t) random_next(state);
    bytes[1] = (uint8_t) (random_next(state) % 2 == 0 ? random_next(state) : random_next(state) % 4 * 64);
    memcpy(bytes + 2, &small, sizeof(uint16_t));
    memcpy(bytes + 4, &large, sizeof large);
}

/* Makes room for `count` steps at step `at`; returns the new size, or the old one if there is no room. */
static size_t steps_insert(uint8_t *bytes, size_t size, size_t room, size_t at, size_t count)
{
    if (count * STEP > room - size)
        return size;
    memmove(bytes + (at + count) * STEP, bytes + at * STEP, size - at * STEP);
    return size + count * STEP;
}

static size_t steps_remove(uint8_t *bytes, size_t size, size_t at, size_t count)
{
    memmove(bytes + at * STEP, bytes + (at + count) * STEP, size - (at + count) * STEP);
    return size - count * STEP;
}

static size_t steps_repeat(uint8_t *bytes, size_t size, size_t room, uint32_t *state)
{
    uint8_t copy[8 * STEP];
    size_t steps = size / STEP;
    size_t from = random_below(state, steps);
    size_t count = 1 + random_below(state, 8);
    if (count > steps - from)
        count = steps - from;
    memcpy(copy, bytes + from * STEP, count * STEP);
    size_t to = random_below(state, steps + 1);
    size_t grown = steps_insert(bytes, size, room, to, count);
    if (grown > size)
        memcpy(bytes + to * STEP, copy, count * STEP);
    return grown;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t room, unsigned seed)
{
    uint32_t state = seed * 2654435761u + 1;
    if (state == 0)
        state = 1;
    size -= size % STEP;
    for (unsigned rounds = 1 + random_next(&state) % 3; rounds > 0; rounds--) {
        size_t steps = size / STEP;
        size_t at = random_below(&state, steps);
        size_t grown;
        switch (steps == 0 ? 0 : random_next(&state) % 8) {
        case 0:
        case 1:
            at = random_below(&state, steps + 1);
            grown = steps_insert(bytes, size, room, at, 1);
            if (grown > size)
                step_random(bytes + at * STEP, &state);
            size = grown;
            break;
        case 2:
            size = steps_remove(bytes, size, at, 1 + random_below(&state, steps - at < 4 ? steps - at : 4));
            break;
        case 3:
            size = steps_repeat(bytes, size, room, &state);
            break;
        case 4: /* one number of one step */
            step_random(bytes + at * STEP, &state);
            break;
        case 5:
            bytes[at * STEP + random_below(&state, STEP)] = (uint8_t) random_next(&state);
            break;
        default:
            (void) LLVMFuzzerMutate(bytes + at * STEP, STEP, STEP);
            break;
        }
    }
    return size > 0 ? size : (memset(bytes, 0, STEP), STEP);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *one, size_t one_size, const uint8_t *other, size_t other_size,
                                 uint8_t *out, size_t room, unsigned seed)
{
    uint32_t state = seed * 2246822519u + 1;
    if (state == 0)
        state = 1;
    size_t head = random_below(&state, one_size / STEP + 1) * STEP;
    size_t skip = random_below(&state, other_size / STEP + 1) * STEP;
    size_t tail = other_size - other_size % STEP - skip;
    if (head > room)
        head = room - room % STEP;
    if (tail > room - head)
        tail = (room - head) - (room - head) % STEP;
    memcpy(out, one, head);
    memcpy(out + head, other + skip, tail);
    return head + tail;
}

#endif
