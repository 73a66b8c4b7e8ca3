/* task.c: see task.h. */
#include "task.h"

#include <stdio.h>

#include <mailroom/status.h>

#include "queue/thread.h"

const double latency_percents[LATENCY_CURVE] = {0,    10, 20, 30, 40, 50,   60,    70,   75,    80,    85,     90,
                                                92.5, 95, 97, 98, 99, 99.5, 99.75, 99.9, 99.95, 99.99, 99.999, 100};

void task_run(const struct task *task, struct channel *channel)
{
    switch (task->role) {
    case TASK_READER:
        reader_task(&task->plan, channel);
        break;
    case TASK_WRITER:
        writer_task(&task->plan, task->index, channel);
        break;
    case TASK_IDLE:
        idle_task(&task->plan, channel);
        break;
    case TASK_LIMIT:
        limit_task(&task->plan, channel);
        break;
    }
}

void task_fail(struct channel *channel, int status, const char *about)
{
    struct task_failure failure = {.status = status, .os_error = mr_last_os_error()};
    const char *sentence = mr_last_error_text();
    char system[128];
    if (sentence[0] == '\0') {
        sentence = mr_status_text(status);
    }
    if (failure.os_error > 0 && failure.os_error < 4096) {
        os_error_text(failure.os_error, system, sizeof(system));
        snprintf(failure.text, sizeof(failure.text), "%s: %s: %s (%s)", about, sentence, system,
                 mr_status_name(status));
    } else {
        snprintf(failure.text, sizeof(failure.text), "%s: %s (%s)", about, sentence, mr_status_name(status));
    }
    /* Where the bench has gone there is nobody left to be told. */
    (void) channel_send(channel, PACKET_FAILED, &failure, sizeof(failure));
}

void limit_task(const struct plan *plan, struct channel *channel)
{
    struct limit_result result = {0};
    const struct limit *limit = limit_find(plan->peer_name);
    int status = limit == NULL ? status_fail(MR_E_ARGUMENT, 0, "there is no limit of that name")
                               : limit->measure(plan->peer.size, (double) plan->duration / 1e9, plan->lead, &result);
    if (status != MR_OK) {
        task_fail(channel, status, plan->peer_name);
        return;
    }
    (void) channel_send(channel, PACKET_DONE, &result, sizeof(result));
}

bool wait_due(uint64_t due, uint64_t lead, uint64_t *late)
{
    uint64_t now = clock_now();
    if (now >= due) {
        return false;
    }
    if (due - now > lead) {
        sleep_until(due - lead);
    }
    do {
        now = clock_now();
    } while (now < due);
    *late = now - due;
    return true;
}

void latency_fill(struct latency *latency, const struct histogram *histogram)
{
    *latency = (struct latency){.count = histogram->total};
    if (histogram->total == 0) {
        return;
    }
    latency->mean = histogram_mean(histogram);
    latency->minimum = histogram_percentile(histogram, 0);
    latency->p50 = histogram_percentile(histogram, 50);
    latency->p90 = histogram_percentile(histogram, 90);
    latency->p99 = histogram_percentile(histogram, 99);
    latency->p999 = histogram_percentile(histogram, 99.9);
    latency->maximum = histogram_percentile(histogram, 100);
    for (unsigned i = 0; i < LATENCY_CURVE; i++) {
        latency->curve[i] = histogram_percentile(histogram, latency_percents[i]);
    }
}
