/* load.h: one run as a command makes it: with its progress on the terminal, and its errors told. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "bench.h"
#include "run.h"

/* What most commands take. */
#define LOAD_OPTIONS                                                                                                   \
    (OPTION_BIT(OPTION_SLOTS) | OPTION_BIT(OPTION_WRITERS) | OPTION_BIT(OPTION_SIZE) | OPTION_BIT(OPTION_RATE) |       \
     OPTION_BIT(OPTION_MIX) | OPTION_BIT(OPTION_DURATION) | OPTION_BIT(OPTION_MESSAGES) | OPTION_BIT(OPTION_LANE) |    \
     OPTION_BIT(OPTION_PEER) | OPTION_BIT(OPTION_WORKERS) | OPTION_BIT(OPTION_DEPTH) | OPTION_BIT(OPTION_RING_BYTES) | \
     OPTION_BIT(OPTION_THREADS) | OPTION_BIT(OPTION_CHECK) | OPTION_BIT(OPTION_SETTLE) | OPTION_BIT(OPTION_SEED) |     \
     OPTION_BIT(OPTION_TURN) | OPTION_BIT(OPTION_IDLE) | OPTION_BIT(OPTION_LEAD) | OPTION_BIT(OPTION_JSON))

/* A peer's own service, and what runs of the peer need: load_begin before the first run, load_end after the last. */
struct load_peer {
    const struct peer *peer;
    void *service;
    char address[PEER_TEXT_ROOM];
    char directory[PEER_TEXT_ROOM];
};
/* MR_OK, or an error with its sentence. */
int load_begin(struct load_peer *load, const struct peer *peer);
void load_end(struct load_peer *load);

/* Runs the plan: -1, or an exit code with the error printed. `watch` may be NULL. */
int load_run(const struct load_peer *load, struct plan *plan, const struct run_watch *watch, struct run_result *result);

/* How long a run takes, for the progress bar: seconds. */
double load_seconds(const struct plan *plan);

#endif
