/* run.h: one measured run: starts the processes, lets them begin together, waits until everything sent has been
 * counted. */
#ifndef BENCH_RUN_H
#define BENCH_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "plan.h"
#include "task.h"

struct run_result {
    struct tally_counts counts;
    double seconds; /* from the common start to the last message */
    double rate;    /* messages received a second */
    double due;     /* with a stated rate: how many should have been sent; 0: none stated */
    struct latency latency;
    struct latency levels[PLAN_LEVELS_MAX];
    uint64_t reader_time; /* of the processors, nanoseconds */
    uint64_t writer_time; /* of all writers together */
    uint64_t reader_waits;
    uint64_t writer_waits;
    uint64_t late_p50; /* of the writer that kept time worst, nanoseconds */
    uint64_t late_p99;
    enum punctuality punctuality;        /* the least that a writer with a rate was given, where the plan asks for it */
    struct process_memory reader_memory; /* when all had been counted */
};

enum run_phase { RUN_CONNECTED = 0, RUN_GOING = 1, RUN_COUNTED = 2 };

struct run_moment {
    enum run_phase phase;
    uint64_t elapsed; /* nanoseconds since the common start */
    uint64_t received;
    struct process *reader; /* NULL with a target */
    struct process *writers;
    unsigned writer_count; /* processes, with the one that holds the idle connections */
};

/* What watches a run: called in each phase, and every `every` nanoseconds while it is going (0: never then). */
struct run_watch {
    void (*look)(void *context, const struct run_moment *moment);
    void *context;
    uint64_t every;
};

/* Carries out the plan (plan_complete has been called, peer.name and peer.directory are filled in by it), in a folder
 * below `parent`. MR_OK: the result is whole, what it says of lost messages and such included. Otherwise nothing was
 * measured: MR_E_STOPPED where the user ended it, or what a process of the run said, as mr_last_error_text. `watch` may
 * be NULL. */
int run_execute(const struct plan *plan, const char *parent, const struct run_watch *watch, struct run_result *result);

/* The same for a limit; `lead` as in a plan. */
int run_limit(const char *name, size_t size, double seconds, uint64_t lead, struct limit_result *result);

#endif
