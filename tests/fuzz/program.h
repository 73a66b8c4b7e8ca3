/* program.h: an input of a fuzzer, read as a program of steps of one size, and what all fuzzers share.
 *
 * Path    libFuzzer, or replay.c with the kept corpus > LLVMFuzzerTestOneInput (the fuzzer's own file) > program_next …
 *         libFuzzer > LLVMFuzzerCustomMutator, LLVMFuzzerCustomCrossOver (program.c): whole steps come, go, and move
 *
 * Every input is a program: what a step does not need is ignored, a number out of range is taken modulo. So no mutation is
 * wasted, and an input without its last steps does what it did before them.
 */
#ifndef TEST_FUZZ_PROGRAM_H
#define TEST_FUZZ_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct step {
    uint8_t operation;
    uint8_t what;
    uint16_t small;
    uint32_t large;
};

struct program {
    const uint8_t *bytes;
    size_t left;
};

static inline struct program program_of(const uint8_t *bytes, size_t size)
{
    return (struct program){bytes, size / sizeof(struct step)};
}

/* False: at the end. */
static inline bool program_next(struct program *program, struct step *step)
{
    if (program->left == 0)
        return false;
    const uint8_t *b = program->bytes;
    *step = (struct step){.operation = b[0],
                          .what = b[1],
                          .small = (uint16_t) (b[2] | b[3] << 8),
                          .large = b[4] | (uint32_t) b[5] << 8 | (uint32_t) b[6] << 16 | (uint32_t) b[7] << 24};
    program->bytes += sizeof *step;
    program->left--;
    return true;
}

/* What must hold, whatever the input: else says so and aborts, which both libFuzzer and the replay take for a finding. */
#define DEMAND(expression)                                  \
    do {                                                    \
        if (!(expression))                                  \
            demand_failed(__FILE__, __LINE__, #expression); \
    } while (0)

_Noreturn void demand_failed(const char *file, int line, const char *text);

/* A byte that tells places of messages, and messages, apart. */
static inline unsigned char pattern_byte(uint64_t seed, size_t at)
{
    return (unsigned char) ((seed * 131 + at * 7 + (at >> 8)) ^ (seed >> 8));
}

void pattern_fill(void *data, size_t length, uint64_t seed);
bool pattern_matches(const void *data, size_t length, uint64_t seed);

/* `size` bytes that can be read and written, all zeros, with memory on both sides that cannot be touched. Kept for ever. */
void *guarded_memory(size_t size);

/* Of the fuzzer, and called by libFuzzer or the replay. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#endif
