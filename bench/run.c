/* run.c: see run.h.
 *
 * Path    reader ready ► writers ready ► go, to all, with one time to begin ► each writer's counts ► the reader, which
 *         waits for as many ► its report ► all are ended
 * Owners  This process opens no peer and has no threads: everything measured is in the others (but with --threads).
 * I1      Every wait is for any of the processes: whichever fails ends the run at once, with its own sentence.
 * I2      Nobody waits for ever: a run in which nothing has been received for STUCK and no writer has reported is given
 *         up.
 */
#include "run.h"

#include <stdio.h>
#include <string.h>

#include "queue/memory.h"
#include "queue/thread.h"

#define SECOND        UINT64_C(1000000000)
#define READY_TIMEOUT (60 * SECOND)
#define STUCK         (20 * SECOND)
#define READER_TOO    UINT64_C(100000000) /* how long a reader that failed may take to say so */
#define ASK_EVERY     SECOND
#define PATIENCE_MS   5000u

struct run {
    struct plan plan;
    const struct run_watch *watch;
    struct process *processes; /* the reader first, then the writers, then the idle one */
    unsigned count;
    unsigned readers; /* 1, or 0 with a target */
    struct packet packet;
    uint64_t begin;
    uint64_t asked;
    uint64_t shown;
    uint64_t received;
    uint64_t moved;   /* when `received` changed last */
    bool question;    /* the reader owes an answer */
    uint64_t *sent;   /* for each stream */
    uint64_t flushed; /* when the last writer's flush returned */
    uint64_t bytes;   /* that the writers have sent */
    unsigned reported;
};

static unsigned run_number; /* of this process's runs: names are unique */

static void look(struct run *run, enum run_phase phase)
{
    if (run->watch == NULL || run->watch->look == NULL) {
        return;
    }
    uint64_t now = clock_now();
    struct run_moment moment = {
        .phase = phase,
        .elapsed = run->begin != 0 && now > run->begin ? now - run->begin : 0,
        .received = run->received,
        .reader = run->readers == 0 ? NULL : run->processes,
        .writers = run->processes + run->readers,
        .writer_count = run->count - run->readers,
    };
    run->watch->look(run->watch->context, &moment);
}

static const char *role_of(const struct run *run, size_t index, char *text, size_t size)
{
    if (index < run->readers) {
        snprintf(text, size, "the reader's process");
    } else if (index - run->readers < run->plan.writers) {
        snprintf(text, size, "writer %zu", index - run->readers + 1);
    } else {
        snprintf(text, size, "the idle writers' process");
    }
    return text;
}

/* Keeps what a process said about its failure as this thread's last error. */
static int failed(const struct run *run, size_t index)
{
    char role[64];
    struct task_failure failure = {0};
    if (run->packet.length != sizeof(failure)) {
        return status_fail(MR_E_PROTOCOL, 0, "%s sent something strange", role_of(run, index, role, sizeof(role)));
    }
    memcpy(&failure, run->packet.body, sizeof(failure));
    /* MR_E_TIMEOUT means something else to who waits for packets. */
    return status_fail(failure.status == MR_E_TIMEOUT ? MR_E_SYSTEM : failure.status, failure.os_error, "%s, %s: %s",
                       run->plan.peer_name, role_of(run, index, role, sizeof(role)), failure.text);
}

/* Takes a writer's counts. */
static int take_report(struct run *run, size_t index, struct run_result *result)
{
    struct writer_report report;
    const char *body = run->packet.body;
    size_t streams = (size_t) plan_connections(&run->plan) * run->plan.peer.levels;
    char role[64];
    if (run->packet.length < sizeof(report)) {
        return status_fail(MR_E_PROTOCOL, 0, "%s sent half a report", role_of(run, index, role, sizeof(role)));
    }
    memcpy(&report, body, sizeof(report));
    for (uint32_t i = 0; i < report.streams; i++) {
        struct stream_count count;
        memcpy(&count, body + sizeof(report) + i * sizeof(count), sizeof(count));
        if (count.stream < streams) {
            run->sent[count.stream] = count.sent;
        }
    }
    result->writer_time += report.processor_time;
    result->writer_waits += report.waits;
    result->late_p50 = report.late_p50 > result->late_p50 ? report.late_p50 : result->late_p50;
    result->late_p99 = report.late_p99 > result->late_p99 ? report.late_p99 : result->late_p99;
    if (report.punctuality < (uint32_t) result->punctuality) {
        result->punctuality = (enum punctuality) report.punctuality;
    }
    run->flushed = report.flushed > run->flushed ? report.flushed : run->flushed;
    run->bytes += report.bytes;
    run->reported++;
    return MR_OK;
}

/* How often the reader is asked how far it is. */
static uint64_t pace(const struct run *run)
{
    return run->watch != NULL && run->watch->every != 0 && run->watch->every < ASK_EVERY ? run->watch->every
                                                                                         : ASK_EVERY;
}

static int ask(struct run *run, uint64_t now)
{
    if (run->readers == 0 || run->question || now - run->asked < pace(run)) {
        return MR_OK;
    }
    run->asked = now;
    run->question = true;
    return channel_send(&run->processes[0].channel, PACKET_PROGRESS, NULL, 0);
}

static void take_progress(struct run *run)
{
    uint64_t received;
    memcpy(&received, run->packet.body, sizeof(received));
    run->question = false;
    if (received != run->received) {
        run->received = received;
        run->moved = clock_now();
    }
}

/* A writer has failed. Where the reader has too, or has ended, that came first and is what is told. */
static int failed_writer(struct run *run, size_t index)
{
    struct status_memo memo;
    size_t reader = 0;
    char role[64];
    int status = failed(run, index);
    if (index < run->readers || run->readers == 0) {
        return status;
    }
    status_save(&memo);
    while (process_wait(run->processes, 1, 0, clock_now() + READER_TOO, &reader) == MR_OK) {
        int received = channel_receive(&run->processes[0].channel, &run->packet, CLOCK_NEVER);
        if (received != MR_OK) {
            return status_fail(MR_E_GONE, 0, "%s, the reader's process ended without a word; %s: %s",
                               run->plan.peer_name, role_of(run, index, role, sizeof(role)), memo.text);
        }
        if (run->packet.kind == PACKET_FAILED) {
            return failed(run, 0);
        }
    }
    status_restore(&memo);
    return status;
}

/* Waits for the next packet of any process up to the deadline. MR_E_TIMEOUT then. Progress is taken and not
 * returned. */
static int next_packet(struct run *run, uint64_t deadline, size_t *index)
{
    size_t after = 0;
    char role[64];
    for (;;) {
        int status = process_wait(run->processes, run->count, after, deadline, index);
        if (status != MR_OK) {
            return status == MR_E_STOPPED ? status_fail(MR_E_STOPPED, 0, "ended by a signal") : status;
        }
        after = *index + 1;
        status = channel_receive(&run->processes[*index].channel, &run->packet, CLOCK_NEVER);
        if (status == MR_E_GONE) {
            return status_fail(MR_E_GONE, 0, "%s, %s ended without a word", run->plan.peer_name,
                               role_of(run, *index, role, sizeof(role)));
        }
        if (status != MR_OK) {
            return status;
        }
        if (run->packet.kind == PACKET_FAILED) {
            return failed_writer(run, *index);
        }
        if (run->packet.kind != PACKET_PROGRESS) {
            return MR_OK;
        }
        take_progress(run);
    }
}

/* Waits until `ready` processes more have said that they are. */
static int await_ready(struct run *run, unsigned ready)
{
    uint64_t deadline = clock_now() + READY_TIMEOUT;
    while (ready > 0) {
        size_t index;
        int status = next_packet(run, deadline, &index);
        if (status == MR_E_TIMEOUT) {
            return status_fail(MR_E_TIMEOUT, 0, "%s: %u of the run's processes did not get ready", run->plan.peer_name,
                               ready);
        }
        if (status != MR_OK) {
            return status;
        }
        ready -= run->packet.kind == PACKET_READY;
    }
    return MR_OK;
}

static int start_one(struct run *run, enum task_role role, unsigned index)
{
    struct task task = {.role = role, .index = index, .plan = run->plan};
    int status = process_start(&run->processes[run->count], &task, run->plan.threads);
    run->count += status == MR_OK;
    return status;
}

static int start_all(struct run *run)
{
    int status = MR_OK;
    if (run->plan.peer.target[0] == '\0') {
        status = start_one(run, TASK_READER, 0);
        run->readers = status == MR_OK;
        if (status != MR_OK || (status = await_ready(run, 1)) != MR_OK) {
            return status;
        }
    }
    for (unsigned w = 0; w < run->plan.writers && status == MR_OK; w++) {
        status = start_one(run, TASK_WRITER, w);
    }
    if (run->plan.idle > 0 && status == MR_OK) {
        status = start_one(run, TASK_IDLE, 0);
    }
    return status == MR_OK ? await_ready(run, run->count - run->readers) : status;
}

/* Writers are ready as soon as they have opened; that their reader has let them in, no peer tells. Some 30 µs are what
 * Mailroom's takes for each of many: idle ones are to be idle, and not coming in, while others are measured. */
#define COMING_IN UINT64_C(200000)

static int go(struct run *run)
{
    run->begin = clock_now() + 2000000 + (uint64_t) run->plan.writers * 20000 + (uint64_t) run->plan.idle * COMING_IN;
    run->moved = run->begin;
    for (unsigned w = 0; w < run->plan.writers; w++) {
        int status =
            channel_send(&run->processes[run->readers + w].channel, PACKET_GO, &run->begin, sizeof(run->begin));
        if (status != MR_OK) {
            return status;
        }
    }
    return MR_OK;
}

/* While the run goes on: the next packet that is not progress. */
static int going(struct run *run, size_t *index)
{
    for (;;) {
        uint64_t now = clock_now();
        if (run->watch != NULL && run->watch->every != 0 && now - run->shown >= run->watch->every) {
            run->shown = now;
            look(run, RUN_GOING);
        }
        int status = ask(run, now);
        if (status == MR_OK) {
            status = next_packet(run, now + pace(run), index);
        }
        if (status != MR_E_TIMEOUT) {
            return status;
        }
        now = clock_now();
        uint64_t still = now > run->begin + run->plan.duration ? now - run->moved : 0;
        if (still > STUCK + run->plan.settle && run->readers > 0) {
            return status_fail(
                MR_E_TIMEOUT, 0,
                "%s: nothing has come for %.0f s, with %u of %u writers still sending; %llu messages had",
                run->plan.peer_name, (double) still / 1e9, run->plan.writers - run->reported, run->plan.writers,
                (unsigned long long) run->received);
        }
    }
}

static int collect(struct run *run, struct run_result *result)
{
    size_t streams = (size_t) plan_connections(&run->plan) * run->plan.peer.levels;
    size_t index;
    while (run->reported < run->plan.writers) {
        int status = going(run, &index);
        if (status == MR_OK && run->packet.kind == PACKET_DONE) {
            status = take_report(run, index, result);
        }
        if (status != MR_OK) {
            return status;
        }
    }
    if (run->readers == 0) {
        for (size_t i = 0; i < streams; i++) {
            result->counts.sent += run->sent[i];
        }
        return MR_OK;
    }
    int status = channel_send(&run->processes[0].channel, PACKET_EXPECT, run->sent, streams * sizeof(*run->sent));
    while (status == MR_OK) {
        status = going(run, &index);
        if (status == MR_OK && run->packet.kind == PACKET_COUNTED) {
            memcpy(&run->received, run->packet.body, sizeof(run->received));
            process_memory(&run->processes[0], &result->reader_memory);
            look(run, RUN_COUNTED);
            status = channel_send(&run->processes[0].channel, PACKET_GO, NULL, 0);
        } else if (status == MR_OK && run->packet.kind == PACKET_RESULT) {
            break;
        }
    }
    return status;
}

static void conclude(struct run *run, struct run_result *result)
{
    const struct plan *plan = &run->plan;
    uint64_t last = run->flushed;
    if (run->readers > 0) {
        struct reader_report report;
        memcpy(&report, run->packet.body, sizeof(report));
        result->counts = report.counts;
        result->latency = report.latency;
        memcpy(result->levels, report.levels, sizeof(result->levels));
        result->reader_time = report.processor_time;
        result->reader_waits = report.waits;
        last = report.last;
        run->received = report.counts.received;
    }
    result->seconds = last > run->begin ? (double) (last - run->begin) / 1e9 : 0;
    uint64_t done = run->readers > 0 ? result->counts.received : result->counts.sent;
    if (run->readers == 0) {
        result->counts.bytes = run->bytes;
    }
    result->rate = result->seconds > 0 ? (double) done / result->seconds : 0;
    if (plan->rate > 0 && plan->floods == 0) {
        result->due = plan->messages != 0 ? (double) plan->messages : plan->rate * (double) plan->duration / 1e9;
    }
}

static int run_all(struct run *run, struct run_result *result)
{
    int status = start_all(run);
    if (status != MR_OK) {
        return status;
    }
    look(run, RUN_CONNECTED);
    status = go(run);
    if (status == MR_OK) {
        status = collect(run, result);
    }
    if (status != MR_OK) {
        return status;
    }
    conclude(run, result);
    if (run->readers == 0) {
        look(run, RUN_COUNTED);
    }
    return MR_OK;
}

int run_execute(const struct plan *plan, const char *parent, const struct run_watch *watch, struct run_result *result)
{
    struct run run = {.plan = *plan, .watch = watch};
    size_t streams = (size_t) plan_connections(plan) * plan->peer.levels;
    struct status_memo memo;
    *result = (struct run_result){.punctuality = PUNCTUAL_REAL_TIME};
    snprintf(run.plan.peer.name, sizeof(run.plan.peer.name), "bench-%u-%u", process_id(), ++run_number);
    run.plan.peer.prompt = plan_stamped(plan);
    int status = directory_make_in(parent, run.plan.peer.name, run.plan.peer.directory);
    if (status == MR_OK && plan->peer.target[0] == '\0') {
        status = directory_use(run.plan.peer.directory);
    }
    if (status != MR_OK) {
        return status;
    }
    run.processes = memory_calloc((size_t) plan->writers + 2, sizeof(*run.processes));
    run.sent = memory_calloc(streams, sizeof(*run.sent));
    if (run.processes == NULL || run.sent == NULL) {
        status = status_fail(MR_E_MEMORY, 0, "no memory for the run");
    } else {
        status = run_all(&run, result);
    }
    status_save(&memo);
    /* The writers first: what a reader does when its writers go is not measured, and when its reader has gone a writer
     * may have to wait. A failed run is not worth waiting for. */
    for (unsigned i = run.readers; i < run.count; i++) {
        process_hang_up(&run.processes[i]);
    }
    while (run.count > 0) {
        process_close(&run.processes[--run.count], status == MR_OK ? PATIENCE_MS : 0, NULL);
    }
    memory_free(run.processes);
    memory_free(run.sent);
    packet_free(&run.packet);
    directory_remove(run.plan.peer.directory);
    status_restore(&memo);
    return status;
}

int run_limit(const char *name, size_t size, double seconds, uint64_t lead, struct limit_result *result)
{
    struct task task = {.role = TASK_LIMIT};
    struct process process;
    struct packet packet = {0};
    size_t index;
    snprintf(task.plan.peer_name, sizeof(task.plan.peer_name), "%s", name);
    task.plan.peer.size = size;
    task.plan.lead = lead;
    task.plan.duration = (uint64_t) (seconds * 1e9);
    int status = process_start(&process, &task, false);
    if (status != MR_OK) {
        return status;
    }
    status = process_wait(&process, 1, 0, clock_now() + task.plan.duration + READY_TIMEOUT, &index);
    if (status == MR_OK) {
        status = channel_receive(&process.channel, &packet, CLOCK_NEVER);
    }
    if (status == MR_OK && packet.kind == PACKET_FAILED) {
        struct task_failure failure;
        memcpy(&failure, packet.body, sizeof(failure));
        status = status_fail(failure.status, failure.os_error, "%s", failure.text);
    } else if (status == MR_OK) {
        memcpy(result, packet.body, sizeof(*result));
    }
    struct status_memo memo;
    status_save(&memo);
    process_close(&process, status == MR_OK ? PATIENCE_MS : 0, NULL);
    packet_free(&packet);
    status_restore(&memo);
    return status;
}
