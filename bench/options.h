/* options.h: the options of all commands, each read and checked in one way. A command says which of them it takes. */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "peer.h"
#include "plan.h"

#define OPTIONS_LIST_MAX 32u
#define OPTIONS_SIZE_MAX ((uint64_t) 1 << 30) /* of a message, bytes */

struct command {
    const char *name;
    const char *summary; /* one line for --help */
    const char *help;    /* what stands before the list of its options */
    uint64_t takes;      /* a bit for each option, OPTION_BIT(OPTION_…) */
    int (*run)(int argc, char **argv);
};

enum option_id {
    OPTION_HELP,
    OPTION_SLOTS,
    OPTION_WRITERS,
    OPTION_SIZE,
    OPTION_RATE,
    OPTION_MIX,
    OPTION_DURATION,
    OPTION_MESSAGES,
    OPTION_LANE,
    OPTION_PEER,
    OPTION_WORKERS,
    OPTION_DEPTH,
    OPTION_RING_BYTES,
    OPTION_THREADS,
    OPTION_TARGET,
    OPTION_EVERY,
    OPTION_TURN,
    OPTION_BURST,
    OPTION_IDLE,
    OPTION_FLOODS,
    OPTION_PUNCTUAL,
    OPTION_CHECK,
    OPTION_LEAD,
    OPTION_SETTLE,
    OPTION_SEED,
    OPTION_JSON,
    OPTION_QUICK,
    OPTION_NO_LATENCY,
    OPTION_SIZES,
    OPTION_WRITER_LIST,
    OPTION_SLOT_LIST,
    OPTION_PEERS,
    OPTION_SECONDS,
    OPTION_REPEAT,
    OPTION_PLOT,
    OPTION_ONLY,
    OPTION_COUNT
};
#define OPTION_BIT(option) (UINT64_C(1) << (option))

struct options {
    struct plan plan;
    bool json;
    bool quick;
    bool no_latency;
    bool given[OPTION_COUNT];
    double seconds;
    unsigned repeat;
    const char *plot; /* a folder, or NULL */
    size_t sizes[OPTIONS_LIST_MAX];
    unsigned size_count;
    unsigned writers[OPTIONS_LIST_MAX];
    unsigned writer_count;
    unsigned slots[OPTIONS_LIST_MAX];
    unsigned slot_count;
    const char *names[OPTIONS_LIST_MAX]; /* of peers and limits */
    unsigned name_count;
    const char *only; /* rows: what to measure, comma-separated */
};

/* What holds where nothing is said: one slot, one writer, 64 bytes, one second, Mailroom's own best lane. */
void options_default(struct options *options);

/* Reads the arguments behind the command's name into `options`, which has defaults in it. -1: go on. Otherwise the exit
 * code: BENCH_DONE after --help, BENCH_USAGE with an error printed. */
int options_read(const struct command *command, int argc, char **argv, struct options *options);

/* The plan's peer, completed and checked: exists, is there, takes these sizes and slots. -1, or BENCH_USAGE or
 * BENCH_ERROR with an error printed. */
int options_complete(const struct command *command, struct options *options);

/* Readers of single values, for options_read and the tests. NULL, or what is wrong in words that follow the option. */
const char *options_sizes(const char *text, struct sizes *sizes);
const char *options_mix(const char *text, unsigned mix[PLAN_LEVELS_MAX]);
const char *options_real(const char *text, double minimum, double maximum, double *number);
const char *options_count(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *number);
/* The number in [from, end). */
const char *options_part(const char *from, const char *end, uint64_t minimum, uint64_t maximum, uint64_t *number);

#endif
