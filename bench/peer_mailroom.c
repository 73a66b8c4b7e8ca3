/* peer_mailroom.c: Mailroom's own lanes as peers, through the public interface alone.
 *
 * Path    mr_writer_write ► lane ► a worker of the reader's port ► on_message ► the sink
 * I1      The lane that was asked for is the one that is measured: a message that comes by another is an error of the
 *         run.
 */
#include <stdio.h>
#include <string.h>

#include <mailroom/mailroom.h>

#include "cli/slot_pattern.h"
#include "peer.h"
#include "queue/memory.h"
#include "queue/thread.h"

#define FULL_TIMEOUT_MS 20000u /* a reader that takes nothing for so long is an error, and not a slow one */

struct host_slot {
    struct host *host;
    mr_reader *reader;
    unsigned number;
    mr_lane lane; /* these three are the host's, at hand */
    peer_sink sink;
    void *context;
};

struct host {
    mr_port *port;
    struct host_slot *slots;
    unsigned count;
    mr_lane lane;
    _Atomic uint64_t strays; /* messages by another lane than the one asked for */
    _Atomic int stray_lane;
    mutex lock;
    condition changed;
    bool woken;
};

struct end {
    mr_writer *writer;
    uint64_t sent;
};

static int slot_name(char *text, size_t size, const struct peer_options *options, unsigned slot)
{
    struct slot_pattern pattern;
    if (options->target[0] == '\0') {
        snprintf(text, size, "%s/%u", options->name, slot);
        return MR_OK;
    }
    const char *wrong = slot_pattern_parse(options->target, &pattern);
    if (wrong != NULL || !slot_pattern_name(&pattern, slot, text, size)) {
        return status_fail(MR_E_NAME, 0, "the target '%s': %s", options->target,
                           wrong != NULL ? wrong : "too long a name");
    }
    return MR_OK;
}

static void on_message(mr_reader *reader, const mr_message *message, void *context)
{
    struct host_slot *slot = context;
    (void) reader;
    if (message->lane != slot->lane) {
        atomic_store_explicit(&slot->host->stray_lane, (int) message->lane, memory_order_relaxed);
        atomic_fetch_add_explicit(&slot->host->strays, 1, memory_order_relaxed);
    }
    slot->sink(slot->context, slot->number, message->data, message->length);
}

static void host_close(void *reader)
{
    struct host *host = reader;
    for (unsigned s = 0; host->slots != NULL && s < host->count; s++) {
        mr_reader_close(host->slots[s].reader, NULL);
    }
    mr_port_close(host->port);
    condition_destroy(&host->changed);
    mutex_destroy(&host->lock);
    memory_free(host->slots);
    memory_free(host);
}

/* Opens the slots with their readers paused: nothing is delivered before there is a sink. */
static int slots_open(struct host *host, const struct peer_options *options)
{
    char name[MR_NAME_MAX];
    mr_reader_options reader = MR_READER_OPTIONS_INIT;
    reader.port = host->port;
    reader.on_message = on_message;
    reader.levels = options->levels;
    reader.max_message = options->size > MR_MESSAGE_MAX_DEFAULT ? options->size : 0;
    reader.queue_messages = options->depth;
    reader.connections_per_uid = options->connections + 64;
    for (unsigned s = 0; s < options->slots; s++) {
        struct host_slot *slot = &host->slots[s];
        *slot = (struct host_slot){.host = host, .number = s};
        reader.context = slot;
        int status = slot_name(name, sizeof(name), options, s);
        if (status == MR_OK) {
            status = mr_reader_open(&slot->reader, name, &reader);
        }
        if (status != MR_OK) {
            return status;
        }
        host->count = s + 1;
        mr_reader_pause(slot->reader);
    }
    return MR_OK;
}

static int host_open(void **reader, const struct peer_options *options, mr_lane lane)
{
    mr_port_options port = MR_PORT_OPTIONS_INIT;
    struct status_memo memo;
    struct host *host = memory_zalloc(sizeof(*host));
    if (host == NULL) {
        return status_fail(MR_E_MEMORY, 0, "no memory for the reader");
    }
    mutex_init(&host->lock);
    condition_init(&host->changed);
    host->lane = lane;
    host->slots = memory_calloc(options->slots, sizeof(*host->slots));
    port.concurrency = options->workers;
    int status = host->slots == NULL ? status_fail(MR_E_MEMORY, 0, "no memory for %u slots", options->slots)
                                     : mr_port_open(&host->port, &port);
    if (status == MR_OK) {
        status = slots_open(host, options);
    }
    if (status == MR_OK) {
        *reader = host;
        return MR_OK;
    }
    status_save(&memo);
    host_close(host);
    status_restore(&memo);
    return status;
}

static int host_run(void *reader, peer_sink sink, void *context, const atomic_bool *stop)
{
    struct host *host = reader;
    for (unsigned s = 0; s < host->count; s++) {
        host->slots[s].lane = host->lane;
        host->slots[s].sink = sink;
        host->slots[s].context = context;
    }
    for (unsigned s = 0; s < host->count; s++) {
        mr_reader_resume(host->slots[s].reader);
    }
    mutex_lock(&host->lock);
    while (!host->woken && !atomic_load_explicit(stop, memory_order_acquire)) {
        condition_wait(&host->changed, &host->lock);
    }
    mutex_unlock(&host->lock);
    uint64_t strays = atomic_load_explicit(&host->strays, memory_order_relaxed);
    if (strays != 0) {
        int lane = atomic_load_explicit(&host->stray_lane, memory_order_relaxed);
        return status_fail(MR_E_PROTOCOL, 0, "%llu messages came by the lane %s instead of %s",
                           (unsigned long long) strays, mr_lane_name((mr_lane) lane), mr_lane_name(host->lane));
    }
    return MR_OK;
}

static void host_wake(void *reader)
{
    struct host *host = reader;
    mutex_lock(&host->lock);
    host->woken = true;
    condition_signal(&host->changed);
    mutex_unlock(&host->lock);
}

static int end_open(void **writer, const struct peer_options *options, unsigned slot, mr_lane lane)
{
    char name[MR_NAME_MAX];
    mr_writer_options open = MR_WRITER_OPTIONS_INIT;
    struct end *end = memory_zalloc(sizeof(*end));
    if (end == NULL) {
        return status_fail(MR_E_MEMORY, 0, "no memory for a writer");
    }
    open.levels = options->levels;
    open.timeout_ms = FULL_TIMEOUT_MS;
    open.require_slot = 1;
    open.lane = lane;
    open.ring_bytes = options->ring_bytes;
    int status = slot_name(name, sizeof(name), options, slot);
    if (status == MR_OK) {
        status = mr_writer_open(&end->writer, name, &open);
    }
    if (status != MR_OK) {
        memory_free(end);
        return status;
    }
    *writer = end;
    return MR_OK;
}

static int end_send(void *writer, const void *data, size_t length, unsigned priority)
{
    struct end *end = writer;
    int status = mr_writer_write(end->writer, data, length, priority);
    end->sent += status == MR_OK;
    return status;
}

/* Everything handed over, and the library's own count says so too. */
static int end_flush(void *writer, uint32_t timeout_ms)
{
    struct end *end = writer;
    mr_writer_statistics statistics = {.size = sizeof(statistics)};
    int status = mr_writer_flush(end->writer, timeout_ms);
    if (status == MR_OK) {
        status = mr_writer_get_statistics(end->writer, &statistics);
    }
    if (status != MR_OK) {
        return status;
    }
    uint64_t dropped = statistics.dropped_newest + statistics.dropped_oldest + statistics.dropped_refused;
    if (statistics.written != end->sent || dropped + statistics.undelivered + statistics.waiting != 0) {
        return status_fail(
            MR_E_DROPPED, 0,
            "of %llu messages the writer counts %llu written, %llu dropped, %llu undelivered, %llu waiting",
            (unsigned long long) end->sent, (unsigned long long) statistics.written, (unsigned long long) dropped,
            (unsigned long long) statistics.undelivered, (unsigned long long) statistics.waiting);
    }
    return MR_OK;
}

static void end_close(void *writer)
{
    struct end *end = writer;
    mr_writer_close(end->writer, NULL);
    memory_free(end);
}

static int plain_reader_open(void **reader, const struct peer_options *options)
{
    return host_open(reader, options, MR_LANE_PLAIN);
}

static int plain_writer_open(void **writer, const struct peer_options *options, unsigned slot, unsigned connection)
{
    (void) connection;
    return end_open(writer, options, slot, MR_LANE_PLAIN);
}

static int ring_reader_open(void **reader, const struct peer_options *options)
{
    return host_open(reader, options, MR_LANE_RING);
}

static int ring_writer_open(void **writer, const struct peer_options *options, unsigned slot, unsigned connection)
{
    (void) connection;
    return end_open(writer, options, slot, MR_LANE_RING);
}

static int native_reader_open(void **reader, const struct peer_options *options)
{
    return host_open(reader, options, MR_LANE_NATIVE);
}

static int native_writer_open(void **writer, const struct peer_options *options, unsigned slot, unsigned connection)
{
    (void) connection;
    return end_open(writer, options, slot, MR_LANE_NATIVE);
}

/* On Windows. */
const struct peer peer_mailroom_native = {
    .name = "mailroom-native",
    .summary = "Mailroom on native mailslots; mr_writer_write, on_message on a completion port",
    .reader_open = native_reader_open,
    .reader_run = host_run,
    .reader_wake = host_wake,
    .reader_close = host_close,
    .writer_open = native_writer_open,
    .writer_send = end_send,
    .writer_flush = end_flush,
    .writer_close = end_close,
};

/* These on Linux. */
const struct peer peer_mailroom_ring = {
    .name = "mailroom-ring",
    .summary = "Mailroom's ring lane: shared memory; mr_writer_write, on_message on a completion port",
    .reader_open = ring_reader_open,
    .reader_run = host_run,
    .reader_wake = host_wake,
    .reader_close = host_close,
    .writer_open = ring_writer_open,
    .writer_send = end_send,
    .writer_flush = end_flush,
    .writer_close = end_close,
};

const struct peer peer_mailroom_plain = {
    .name = "mailroom-plain",
    .summary = "Mailroom's plain lane: a Unix socket; mr_writer_write, on_message on a completion port",
    .size_max = 200000,
    .reader_open = plain_reader_open,
    .reader_run = host_run,
    .reader_wake = host_wake,
    .reader_close = host_close,
    .writer_open = plain_writer_open,
    .writer_send = end_send,
    .writer_flush = end_flush,
    .writer_close = end_close,
};
