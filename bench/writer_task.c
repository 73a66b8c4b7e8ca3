/* writer_task.c: a writer's process: opens its connections, sends what the plan says, and reports what it has sent.
 *
 * Path    ready ► go(time) ► load_flat_out | load_paced ► load_send ► the peer's writer ► flush ► done
 * Owners  One thread, that of the task.
 *
 * Open loop: at a stated rate every message has a time at which it is due, set by the rate alone. It carries that time,
 * and latency counts from there: a writer that was held up sends what has become due meanwhile at once, and the delay
 * of each shows. Nothing is left out because an earlier one was slow.
 *
 * Keeping time: a writer sleeps until plan.lead before its next message is due, and looks at the clock for the rest: a
 * sleep that ends late would otherwise be counted as the peer's latency. What it was late all the same is reported.
 * Beside a writer that floods, a sleeper that is due may wait for a processor until the system's next tick, which says
 * nothing of the peer: a punctual one asks for a real-time priority.
 * Above 5,000 messages a second for one writer, messages are due in groups, 5,000 times a second.
 */
#include <string.h>

#include "message_head.h"
#include "peer.h"
#include "queue/memory.h"
#include "queue/thread.h"
#include "task.h"

#define GROUPS_A_SECOND  5000.0
#define LOOK_AT_CLOCK    64u /* messages, when sending flat out */
#define FLUSH_TIMEOUT_MS 30000u
#define MIX_PARTS        1000u

struct load_end {
    void *writer;
    unsigned connection;
    unsigned slot;
    uint64_t sent[PLAN_LEVELS_MAX];
};

struct load {
    const struct plan *plan;
    const struct peer *peer;
    struct message_maker maker;
    struct load_end *ends;
    unsigned count;
    unsigned at;
    unsigned in_turn;
    bool one_size;
    uint64_t random;
    uint64_t limit; /* messages for this writer, UINT64_MAX: by duration */
    uint64_t sent;
    uint64_t bytes;
    uint8_t levels[MIX_PARTS]; /* which level a part goes to */
    struct histogram late;
};

static void load_close(struct load *load)
{
    for (unsigned i = 0; load->ends != NULL && i < load->count; i++) {
        if (load->ends[i].writer != NULL) {
            load->peer->writer_close(load->ends[i].writer);
        }
    }
    memory_free(load->ends);
    message_maker_close(&load->maker);
    histogram_close(&load->late);
}

static int load_open(struct load *load, const struct plan *plan, unsigned index)
{
    *load = (struct load){.plan = plan, .peer = peer_find(plan->peer_name)};
    load->random = plan->seed ^ ((uint64_t) index + 1) * UINT64_C(0x9E3779B97F4A7C15);
    load->one_size = plan_smallest(plan) == plan_largest(plan);
    load->limit = UINT64_MAX;
    if (plan->messages != 0) {
        load->limit = plan->messages / plan->writers + (index < plan->messages % plan->writers ? 1 : 0);
    }
    unsigned part = 0;
    for (unsigned l = 0; l < PLAN_LEVELS_MAX; l++) {
        for (unsigned i = 0; i < plan->mix[l] && part < MIX_PARTS; i++) {
            load->levels[part++] = (uint8_t) l;
        }
    }
    unsigned count = plan_writer_connections(plan, index);
    load->ends = memory_calloc(count, sizeof(*load->ends));
    if (load->ends == NULL || !message_maker_open(&load->maker, plan_largest(plan)) ||
        !histogram_open(&load->late, 5)) {
        return status_fail(MR_E_MEMORY, 0, "no memory for a writer");
    }
    for (unsigned k = 0; k < count; k++) {
        struct load_end *end = &load->ends[k];
        end->connection = plan_writer_connection(plan, index, k);
        end->slot = plan_slot(plan, end->connection);
        int status = load->peer->writer_open(&end->writer, &plan->peer, end->slot, end->connection);
        if (status != MR_OK) {
            end->writer = NULL;
            return status;
        }
        load->count = k + 1;
    }
    return MR_OK;
}

/* Sends the next message: due at `time`, or 0. */
static inline int load_send(struct load *load, uint64_t time)
{
    const struct plan *plan = load->plan;
    struct load_end *end = &load->ends[load->at];
    size_t length = plan->sizes.maximum;
    unsigned level = 0;
    if (++load->in_turn >= plan->turn) {
        load->in_turn = 0;
        load->at = load->at + 1 == load->count ? 0 : load->at + 1;
    }
    if (!load->one_size) {
        length = sizes_pick(&plan->sizes, random_next(&load->random));
    }
    if (plan->peer.levels > 1) {
        level = load->levels[random_next(&load->random) % MIX_PARTS];
    }
    struct message_note note = {end->connection, level, end->sent[level], time};
    message_make(&load->maker, length, end->slot, &note);
    int status = load->peer->writer_send(end->writer, load->maker.data, length, level);
    if (status == MR_OK) {
        end->sent[level]++;
        load->sent++;
        load->bytes += length;
    }
    return status;
}

/* As many messages as load_send would send to the same end before it goes on to the next one. */
static uint64_t load_left(const struct load *load)
{
    if (load->count == 1) {
        return UINT64_MAX;
    }
    return load->plan->turn > load->in_turn ? load->plan->turn - load->in_turn : 1;
}

/* Sends `count` messages of the one size, at the one level, to one end, of which there are so many left: the same as so many
 * times load_send, but that what stays the same is looked up once. */
static int load_send_alike(struct load *load, uint64_t count)
{
    int (*send)(void *, const void *, size_t, unsigned) = load->peer->writer_send;
    const struct load_end *end = &load->ends[load->at];
    const size_t length = load->plan->sizes.maximum;
    const unsigned connection = end->connection;
    const unsigned slot = end->slot;
    void *writer = end->writer;
    struct message_maker maker = load->maker;
    uint64_t number = end->sent[0];
    const uint64_t last = number + count;
    int status = MR_OK;
    for (; number < last; number++) {
        make_plainly(&maker, length, slot, connection, number);
        status = send(writer, maker.data, length, 0);
        if (status != MR_OK) {
            break;
        }
    }
    uint64_t sent = number - end->sent[0];
    load->ends[load->at].sent[0] = number;
    load->sent += sent;
    load->bytes += sent * length;
    if (load->count > 1 && (load->in_turn += (unsigned) sent) >= load->plan->turn) {
        load->in_turn = 0;
        load->at = load->at + 1 == load->count ? 0 : load->at + 1;
    }
    return status;
}

static int load_flat_out(struct load *load, uint64_t begin)
{
    uint64_t end = begin + load->plan->duration;
    bool timed = load->limit == UINT64_MAX;
    bool alike = load->one_size && load->plan->peer.levels == 1;
    uint64_t count = 1;
    for (uint64_t n = 0; n < load->limit; n += count) {
        if (timed && n % LOOK_AT_CLOCK == 0 && clock_now() >= end) {
            break;
        }
        if (alike) {
            uint64_t left = load_left(load);
            count = LOOK_AT_CLOCK - n % LOOK_AT_CLOCK;
            count = count < left ? count : left;
            count = count < load->limit - n ? count : load->limit - n;
        }
        int status = alike ? load_send_alike(load, count) : load_send(load, 0);
        if (status != MR_OK) {
            return status;
        }
    }
    return MR_OK;
}

static int load_paced(struct load *load, uint64_t begin, unsigned index)
{
    const struct plan *plan = load->plan;
    unsigned paced = plan->writers - plan->floods;
    double rate = plan->rate / paced;
    unsigned group = plan->burst;
    if (group <= 1) {
        group = rate > GROUPS_A_SECOND ? (unsigned) (rate / GROUPS_A_SECOND + 0.999) : 1;
    }
    double interval = 1e9 * group / rate;
    /* Bursts of all writers come at once; otherwise they take turns. */
    double offset = plan->burst > 1 ? 0 : interval * (index - plan->floods) / paced;
    for (uint64_t k = 0;; k++) {
        double after = offset + (double) k * interval;
        if ((load->limit == UINT64_MAX && after >= (double) plan->duration) || load->sent >= load->limit) {
            return MR_OK;
        }
        uint64_t due = begin + (uint64_t) after;
        uint64_t late;
        if (wait_due(due, plan->lead, &late)) {
            histogram_record(&load->late, late);
        }
        for (unsigned i = 0; i < group && load->sent < load->limit; i++) {
            int status = load_send(load, due);
            if (status != MR_OK) {
                return status;
            }
        }
        /* A rate that cannot be held is given up after twice the time: what was sent is less than was due, and told. */
        if (load->limit == UINT64_MAX && clock_now() > begin + 2 * plan->duration) {
            return MR_OK;
        }
    }
}

static int load_flush(struct load *load)
{
    for (unsigned i = 0; load->peer->writer_flush != NULL && i < load->count; i++) {
        int status = load->peer->writer_flush(load->ends[i].writer, FLUSH_TIMEOUT_MS);
        if (status != MR_OK) {
            return status;
        }
    }
    return MR_OK;
}

static int send_report(struct load *load, struct channel *channel, struct writer_report *report)
{
    unsigned levels = load->plan->peer.levels;
    size_t length = sizeof(*report) + (size_t) load->count * levels * sizeof(struct stream_count);
    uint8_t *body = memory_alloc(length);
    if (body == NULL) {
        return status_fail(MR_E_MEMORY, 0, "no memory for a writer's report");
    }
    struct stream_count *counts = (struct stream_count *) (void *) (body + sizeof(*report));
    report->streams = load->count * levels;
    memcpy(body, report, sizeof(*report));
    for (unsigned k = 0; k < load->count; k++) {
        for (unsigned l = 0; l < levels; l++) {
            counts[k * levels + l] =
                (struct stream_count){(uint64_t) load->ends[k].connection * levels + l, load->ends[k].sent[l]};
        }
    }
    int status = channel_send(channel, PACKET_DONE, body, length);
    memory_free(body);
    return status;
}

/* Taken before the writer is ready, not at the go: where it takes time, the common start is not missed. */
struct usage {
    uint64_t processor_time;
    uint64_t waits;
};

/* From the go to the report. *about says what was being done where it fails. */
static int load_run(struct load *load, struct channel *channel, uint64_t begin, unsigned index,
                    const struct usage *before, const char **about)
{
    struct writer_report report = {0};
    sleep_until(begin);
    report.begun = clock_now();
    *about = "sending";
    bool paced = load->plan->rate > 0 && index >= load->plan->floods;
    report.punctuality = paced && load->plan->punctual ? sleep_punctually() : PUNCTUAL_REAL_TIME;
    int status = paced ? load_paced(load, begin, index) : load_flat_out(load, begin);
    report.ended = clock_now();
    if (status != MR_OK) {
        return status;
    }
    *about = "flushing";
    status = load_flush(load);
    if (status != MR_OK) {
        return status;
    }
    report.flushed = clock_now();
    process_usage(&report.processor_time, &report.waits);
    report.processor_time -= before->processor_time;
    report.waits -= before->waits;
    report.bytes = load->bytes;
    report.late_p50 = histogram_percentile(&load->late, 50);
    report.late_p99 = histogram_percentile(&load->late, 99);
    *about = "reporting";
    return send_report(load, channel, &report);
}

void writer_task(const struct plan *plan, unsigned index, struct channel *channel)
{
    struct load load;
    struct packet packet = {0};
    struct usage before = {0};
    const char *about = "opening a writer";
    int status = load_open(&load, plan, index);
    if (status == MR_OK) {
        sleep_exactly();
        process_usage(&before.processor_time, &before.waits);
        status = channel_send(channel, PACKET_READY, NULL, 0);
    }
    if (status == MR_OK && (status = channel_receive(channel, &packet, CLOCK_NEVER)) == MR_OK) {
        uint64_t begin;
        memcpy(&begin, packet.body, sizeof(begin));
        status = load_run(&load, channel, begin, index, &before, &about);
    }
    if (status == MR_OK) {
        (void) channel_receive(channel, &packet, CLOCK_NEVER); /* until it ends */
    } else if (status != MR_E_GONE || load.sent > 0) {
        task_fail(channel, status, about);
    }
    load_close(&load);
    packet_free(&packet);
}

void idle_task(const struct plan *plan, struct channel *channel)
{
    const struct peer *peer = peer_find(plan->peer_name);
    struct packet packet = {0};
    unsigned active = plan_connections(plan);
    unsigned opened = 0;
    int status = MR_OK;
    void **writers = memory_calloc(plan->idle, sizeof(*writers));
    if (writers == NULL) {
        status = status_fail(MR_E_MEMORY, 0, "no memory for %u idle writers", plan->idle);
    }
    while (status == MR_OK && opened < plan->idle) {
        status = peer->writer_open(&writers[opened], &plan->peer, plan_slot(plan, active + opened), active + opened);
        opened += status == MR_OK;
    }
    if (status == MR_OK) {
        status = channel_send(channel, PACKET_READY, NULL, 0);
    } else {
        task_fail(channel, status, "opening an idle writer");
    }
    if (status == MR_OK) {
        (void) channel_receive(channel, &packet, CLOCK_NEVER); /* until it ends */
    }
    while (opened > 0) {
        peer->writer_close(writers[--opened]);
    }
    memory_free(writers);
    packet_free(&packet);
}
