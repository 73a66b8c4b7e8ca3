/* compare.h: what a comparison has measured, for those who print or draw it. */
#ifndef BENCH_COMPARE_H
#define BENCH_COMPARE_H

#include <stdio.h>

#include "load.h"
#include "series.h"

/* Messages above this size are checked by their marks in comparisons (message.h): all bytes would measure the
 * checksum. */
#define COMPARE_CHECK_ALL ((size_t) 4096)
/* Messages a second, of all writers together, at which comparisons take latencies. */
#define COMPARE_LATENCY_RATE 2000.0

/* One peer or limit with one size and numbers of slots and writers. */
struct entry {
    const char *name;
    struct load_peer *load;    /* NULL for a limit */
    const struct limit *limit; /* NULL for a peer */
    size_t size;
    unsigned slots;
    unsigned writers;
    struct series rates;
    struct series ratios; /* of peer_base's rate to this one's, in the same repetition */
    struct series p50_us;
    struct series p99_us;
    struct series resident;     /* of the reader's process, bytes, when all had been counted */
    struct series waits;        /* of both sides' processes, for each message: how often they slept */
    uint64_t threads;           /* of the reader's process */
    struct tally_counts counts; /* of all runs */
    struct latency latency;     /* of the last latency run */
    double rate_now;            /* in this repetition; 0: none */
    char failure[400];          /* of the first run that failed; "" */
    bool unable;                /* it failed because the system does not let this peer do it: not the run's failure */
};

struct comparison {
    struct options options;
    struct load_peer loads[OPTIONS_LIST_MAX];
    unsigned load_count;
    struct entry *entries; /* by size, slots and writers, then by peer */
    unsigned count;
    double latency_seconds;
    uint64_t begun;
    uint64_t deadline; /* with --quick: no repetition is begun, or gone on with, after it */
    unsigned step;     /* for the progress bar */
    unsigned steps;
};

/* Writes it as JSON. */
void comparison_json(const struct comparison *comparison, FILE *stream);

/* Draws the comparison into a folder: BENCH_DONE or BENCH_ERROR. */
int plot_comparison(const struct comparison *comparison, const char *directory);

#endif
