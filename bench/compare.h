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

/* What has become of an entry. All but the first say why. */
enum entry_state {
    ENTRY_MEASURED = 0,
    ENTRY_MISSING = 1, /* the peer was not found when this was built, or what it needs is not here */
    ENTRY_UNABLE = 2,  /* the peer, or the system, does not do this: not the run's failure */
    ENTRY_FAILED = 3
};

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
    enum entry_state state;
    char why[400]; /* "" where it was measured */
};

struct comparison {
    struct options options;
    struct load_peer loads[OPTIONS_LIST_MAX]; /* of the peers that were asked for, missing ones included */
    char missing[OPTIONS_LIST_MAX][400];      /* why a peer is; "" */
    unsigned load_count;
    struct entry *entries; /* by size, slots and writers, then by peer */
    unsigned count;
    double latency_seconds;
    uint64_t begun;
    uint64_t deadline; /* with --quick: no repetition is begun, or gone on with, after it */
    unsigned step;     /* for the progress bar */
    unsigned steps;
};

/* The same size and numbers of slots and writers. */
bool entry_same_load(const struct entry *a, const struct entry *b);

/* "64 B, 50 slots, 8 writers"; slots where they were asked for. */
const char *entry_circumstances(const struct comparison *comparison, const struct entry *entry, char text[64]);

/* A row for each entry: for people, on standard output; as JSON. */
void comparison_print(const struct comparison *comparison);
void comparison_json(const struct comparison *comparison, FILE *stream);

/* Draws the comparison into a folder: BENCH_DONE or BENCH_ERROR. */
int plot_comparison(const struct comparison *comparison, const char *directory);

#endif
