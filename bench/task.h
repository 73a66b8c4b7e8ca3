/* task.h: what the processes of a run do, and what they tell each other.
 *
 *     reader   ready ►   ◄ expect   ► (progress …) counted   ◄ go   ► result   ◄ (end of channel)
 *     writer   ready ►   ◄ go       ► done                  ◄ (end of channel)
 *     limit    done ►
 * Any of them may send `failed`, with a status and a sentence, and ends. The writers keep their connections, and the
 * reader its slots, until their channel ends: the run's counting comes first.
 */
#ifndef BENCH_TASK_H
#define BENCH_TASK_H

#include <stdint.h>

#include "plan.h"
#include "process.h"
#include "tally.h"

enum task_role { TASK_READER = 1, TASK_WRITER = 2, TASK_IDLE = 3, TASK_LIMIT = 4 };

struct task {
    enum task_role role;
    unsigned index; /* of a writer */
    struct plan plan;
};

enum packet_kind {
    PACKET_READY = 1,    /* no body */
    PACKET_FAILED = 2,   /* struct task_failure */
    PACKET_GO = 3,       /* uint64_t: when to begin, clock_now; to the reader: stop now, without a body */
    PACKET_DONE = 4,     /* struct writer_report, then its counts; or struct limit_result */
    PACKET_EXPECT = 5,   /* uint64_t for each stream: what was sent */
    PACKET_PROGRESS = 6, /* from the reader: uint64_t received so far; to it: no body, the question */
    PACKET_RESULT = 7,   /* struct reader_report */
    PACKET_COUNTED = 8   /* uint64_t received: all has come, and the peer still runs, to be looked at */
};

struct task_failure {
    int32_t status;
    int64_t os_error;
    char text[400];
};

/* Latencies in nanoseconds. */
#define LATENCY_CURVE 24
struct latency {
    uint64_t count;
    double mean;
    uint64_t minimum;
    uint64_t p50;
    uint64_t p90;
    uint64_t p99;
    uint64_t p999;
    uint64_t maximum;
    uint64_t curve[LATENCY_CURVE]; /* at latency_percents */
};
extern const double latency_percents[LATENCY_CURVE];

struct writer_report {
    uint64_t begun; /* clock_now at the first and after the last message, and when the flush had returned */
    uint64_t ended;
    uint64_t flushed;
    uint64_t processor_time; /* between begun and ended, nanoseconds */
    uint64_t waits;          /* the same: how often the process slept */
    uint64_t late_p50;       /* how late it awoke for a message though nothing held it up, nanoseconds */
    uint64_t late_p99;
    uint64_t bytes;
    uint32_t streams;     /* connection × levels + level follows streams times, each with the number sent */
    uint32_t punctuality; /* enum punctuality, of one that was asked to be punctual */
};

struct stream_count {
    uint64_t stream;
    uint64_t sent;
};

struct reader_report {
    struct tally_counts counts;
    uint64_t last; /* when the last message came, clock_now */
    uint64_t processor_time;
    uint64_t waits;
    struct latency latency;
    struct latency levels[PLAN_LEVELS_MAX];
};

/* Runs a task to its end, in its own process or thread. */
void task_run(const struct task *task, struct channel *channel);

/* Its parts, a file for each. */
void reader_task(const struct plan *plan, struct channel *channel);
void writer_task(const struct plan *plan, unsigned index, struct channel *channel);
void idle_task(const struct plan *plan, struct channel *channel);
void limit_task(const struct plan *plan, struct channel *channel);

/* Tells the bench what the library has kept about `status` on this thread; `about` is what was being done. */
void task_fail(struct channel *channel, int status, const char *about);

/* Keeps time: sleeps until `lead` before `due`, looks at the clock for the rest, and says how late it became all the same.
 * False, at once: it is late already, because something has held the caller up. */
bool wait_due(uint64_t due, uint64_t lead, uint64_t *late);

void latency_fill(struct latency *latency, const struct histogram *histogram);

#endif
