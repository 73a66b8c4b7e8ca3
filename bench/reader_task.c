/* reader_task.c: the reader's process: opens the peer's reader, counts what comes, and tells the bench.
 *
 * Path    peer's reader ► tally_take; the bench's questions ► answer; the writers' counts ► await ► report
 * Owners  The peer runs on a thread of its own and on its own threads. This thread answers the channel. Both may write
 *         to it (the other one only to say that it failed), under `lock`.
 * I1      The peer runs until the bench has looked at the process: with its threads, and what they hold.
 * I2      Counting ends when as many messages have come as were sent, and a moment later, so that a repeated last one
 *         is seen; or when none has come for plan.settle.
 *
 * The counts are per slot so that counting costs no shared cache line; that is why this thread looks at them every now
 * and then in the end, instead of being woken by the last message.
 */
#include <limits.h>
#include <stdatomic.h>

#include "peer.h"
#include "queue/thread.h"
#include "task.h"

#define LOOK_EVERY UINT64_C(200000)  /* nanoseconds */
#define AFTERWARDS UINT64_C(5000000) /* for what should not come any more */

struct reader_side {
    const struct plan *plan;
    const struct peer *peer;
    struct channel *channel;
    void *reader;
    struct tally tally;
    mutex lock;
    atomic_bool stop;
};

static void run_peer(void *argument)
{
    struct reader_side *side = argument;
    int status = side->peer->reader_run(side->reader, tally_take, &side->tally, &side->stop);
    if (status != MR_OK) {
        mutex_lock(&side->lock);
        task_fail(side->channel, status, "reader");
        mutex_unlock(&side->lock);
    }
}

static int answer(struct reader_side *side)
{
    uint64_t received = tally_received(&side->tally);
    mutex_lock(&side->lock);
    int status = channel_send(side->channel, PACKET_PROGRESS, &received, sizeof(received));
    mutex_unlock(&side->lock);
    return status;
}

/* Waits for the writers' counts; *packet has them. False where the run has been given up. */
static bool await_counts(struct reader_side *side, struct packet *packet)
{
    for (;;) {
        if (channel_receive(side->channel, packet, CLOCK_NEVER) != MR_OK) {
            return false;
        }
        if (packet->kind == PACKET_EXPECT) {
            return true;
        }
        if (answer(side) != MR_OK) {
            return false;
        }
    }
}

/* Waits until all of it has come. *noticed is when. */
static bool await_messages(struct reader_side *side, uint64_t expected, uint64_t *noticed)
{
    struct packet packet = {0};
    uint64_t before = tally_received(&side->tally);
    uint64_t changed = clock_now();
    bool going_on = true;
    for (;;) {
        uint64_t received = tally_received(&side->tally);
        uint64_t now = clock_now();
        if (received != before) {
            before = received;
            changed = now;
        }
        if (received >= expected || now - changed > side->plan->settle) {
            *noticed = received >= expected ? now : changed;
            break;
        }
        int status = channel_receive(side->channel, &packet, now + LOOK_EVERY);
        if (status != MR_E_TIMEOUT && (status != MR_OK || answer(side) != MR_OK)) {
            going_on = false;
            break;
        }
    }
    sleep_until(clock_now() + AFTERWARDS);
    packet_free(&packet);
    return going_on;
}

static void report_fill(struct reader_side *side, struct reader_report *report, const uint64_t *sent)
{
    struct histogram sum;
    report->counts = tally_result(&side->tally, sent);
    if (tally_latencies(&side->tally, UINT_MAX, &sum)) {
        latency_fill(&report->latency, &sum);
        histogram_close(&sum);
    }
    for (unsigned l = 0; l < side->plan->peer.levels; l++) {
        if (tally_latencies(&side->tally, l, &sum)) {
            latency_fill(&report->levels[l], &sum);
            histogram_close(&sum);
        }
    }
}

/* With the reader running. False where the run has been given up. */
static bool count_run(struct reader_side *side, struct reader_report *report, struct packet *counts)
{
    uint64_t time_before;
    uint64_t waits_before;
    uint64_t noticed = 0;
    uint64_t expected = 0;
    process_usage(&time_before, &waits_before);
    if (channel_send(side->channel, PACKET_READY, NULL, 0) != MR_OK || !await_counts(side, counts)) {
        return false;
    }
    const uint64_t *sent = counts->body;
    for (size_t i = 0; i < counts->length / sizeof(*sent); i++) {
        expected += sent[i];
    }
    if (!await_messages(side, expected, &noticed)) {
        return false;
    }
    process_usage(&report->processor_time, &report->waits);
    report->processor_time -= time_before;
    report->waits -= waits_before;
    report->last = noticed;
    return true;
}

/* Tells the bench that all has been counted, and waits until it has looked at this process (I1). */
static bool show_self(struct reader_side *side, struct packet *packet)
{
    uint64_t received = tally_received(&side->tally);
    mutex_lock(&side->lock);
    int status = channel_send(side->channel, PACKET_COUNTED, &received, sizeof(received));
    mutex_unlock(&side->lock);
    while (status == MR_OK && (status = channel_receive(side->channel, packet, CLOCK_NEVER)) == MR_OK &&
           packet->kind != PACKET_GO) {}
    return status == MR_OK;
}

void reader_task(const struct plan *plan, struct channel *channel)
{
    struct reader_side side = {.plan = plan, .peer = peer_find(plan->peer_name), .channel = channel};
    struct reader_report report = {0};
    struct packet counts = {0};
    struct packet packet = {0};
    thread runner;
    if (!tally_open(&side.tally, plan)) {
        task_fail(channel, status_fail(MR_E_MEMORY, 0, "no memory for the counts"), "reader");
        return;
    }
    mutex_init(&side.lock);
    atomic_init(&side.stop, false);
    int status = side.peer->reader_open(&side.reader, &plan->peer);
    if (status != MR_OK) {
        task_fail(channel, status, "opening the reader");
        goto closed;
    }
    status = thread_start(&runner, "bench-reader", run_peer, &side);
    if (status != MR_OK) {
        task_fail(channel, status, "starting the reader's thread");
        goto opened;
    }
    bool counted = count_run(&side, &report, &counts) && show_self(&side, &packet);
    atomic_store_explicit(&side.stop, true, memory_order_release);
    if (side.peer->reader_wake != NULL) {
        side.peer->reader_wake(side.reader);
    }
    thread_join(runner);
    if (counted) {
        uint64_t last = tally_last(&side.tally);
        report_fill(&side, &report, counts.body);
        report.last = last != 0 && last < report.last ? last : report.last;
        if (channel_send(channel, PACKET_RESULT, &report, sizeof(report)) == MR_OK) {
            (void) channel_receive(channel, &counts, CLOCK_NEVER); /* until it ends */
        }
    }
opened:
    side.peer->reader_close(side.reader);
closed:
    tally_close(&side.tally);
    mutex_destroy(&side.lock);
    packet_free(&counts);
    packet_free(&packet);
}
