/* reader_view.c: what is seen of a reader: the statistics page, information, statistics, writers, handles, the name.
 *
 * Owners and invariants are in reader.c. Everything here looks under the lock; the lanes' counts, and those of messages
 * that went directly to on_message, are atomic and may be one message ahead.
 * V1      slot_publish, slot_waiting and slot_writers are not called during a slot_rename: `renaming` is set with the
 *         lock held, and looked at with the lock held until they have returned.
 */
#include <string.h>

#include "queue/status.h"
#include "slots/process.h"
#include "slots/reader_private.h"

/* The writers' figures are brought to the page no more often than this: there may be a thousand of them. */
#define PUBLISH_WRITERS_NS UINT64_C(100000000)

void reader_publish(mr_reader *reader)
{
    if (reader->renaming)
        return; /* V1; the rename publishes when it is done */
    struct slot_counts counts;
    slot_get_counts(reader->slot, &counts);
    uint64_t direct = atomic_load_explicit(&reader->direct_messages, memory_order_relaxed);
    uint64_t direct_bytes = atomic_load_explicit(&reader->direct_bytes, memory_order_relaxed);
    const struct queue_node *next = queue_peek(&reader->queue);
    struct slot_figures figures = {
        .max_message = reader->max_message,
        .waiting = reader->queue.messages,
        .waiting_bytes = reader->queue.bytes,
        .next_size = next == NULL ? UINT64_MAX : next->bytes,
        .waiting_peak = reader->queue.messages_high,
        .messages = reader->messages + direct,
        .bytes = reader->bytes + direct_bytes,
        .dropped = counts.dropped_too_big + counts.dropped_violation + counts.dropped_unread + counts.dropped_refused,
        .refused = counts.refused_access + counts.refused_quota + counts.refused_descriptors,
        .connections = counts.connections,
        .rings = counts.rings,
        .dropped_by_writers = counts.dropped_by_writers,
        .redelivered = counts.redelivered,
        .unacknowledged = counts.unacknowledged,
        .waits = counts.waits,
        .doorbells = counts.doorbells,
    };
    slot_publish(reader->slot, &figures);
    uint64_t now = clock_coarse();
    reader->published_at = now;
    if (now - reader->published_writers_at >= PUBLISH_WRITERS_NS) {
        reader->published_writers_at = now;
        slot_publish_writers(reader->slot);
    }
}

void reader_publish_sometimes(mr_reader *reader)
{
    if (clock_coarse() - reader->published_at >= PUBLISH_NS)
        reader_publish(reader);
}

void reader_signal(mr_reader *reader)
{
    if (reader->on_message != NULL)
        return;
    bool halted = reader_halted(reader) || reader->starved;
    bool takeable = reader->queue.messages > 0 || (!halted && slot_holds(reader->slot));
    slot_signal(reader->slot, takeable, halted);
}

/* Takes everything that there is room for, so that the count is what a read would find. */
static void reader_look(mr_reader *reader)
{
    struct pool_cache *cache = process_cache_borrow();
    enum slot_taken taken = SLOT_MORE;
    reader->inside++;
    while (taken == SLOT_MORE && !reader_halted(reader) && !reader->starved && reader_has_room(reader)) {
        size_t wanted;
        if (reader->taking)
            condition_wait(&reader->changed, &reader->lock);
        else
            taken = reader_take(reader, cache, reader->queue_messages, reader->queue_bytes, 0, &wanted);
    }
    reader_signal(reader);
    reader_publish(reader);
    reader->inside--;
    process_cache_return(cache);
}

int mr_reader_info(mr_reader *reader, mr_reader_information *information)
{
    int status = reader_usable(reader, "mr_reader_info");
    if (status != MR_OK)
        return status;
    if (information == NULL)
        return status_fail(MR_E_ARGUMENT, 0, "mr_reader_info needs a place for the information");
    mutex_lock(&reader->lock);
    if (reader->on_message == NULL)
        reader_look(reader); /* with on_message the workers take, and the queue is what waits */
    const struct queue_node *next = queue_peek(&reader->queue);
    uint64_t beyond = 0, beyond_next = UINT64_MAX;
    if (!reader->renaming)
        slot_waiting(reader->slot, &beyond, &beyond_next);
    information->max_message = reader->max_message;
    information->next_size = next != NULL ? next->bytes : beyond > 0 ? (size_t) beyond_next : MR_NO_MESSAGE;
    information->count = reader->queue.messages + beyond;
    information->timeout_ms = reader->timeout_ms;
    if (reader->closing)
        condition_broadcast(&reader->changed);
    mutex_unlock(&reader->lock);
    return MR_OK;
}

int mr_reader_get_statistics(mr_reader *reader, mr_reader_statistics *statistics)
{
    int status = reader_usable(reader, "mr_reader_get_statistics");
    if (status != MR_OK)
        return status;
    if (statistics == NULL || statistics->size != sizeof *statistics)
        return status_fail(MR_E_ARGUMENT, 0, "mr_reader_statistics.size must be the size of the struct");
    struct slot_counts counts;
    mutex_lock(&reader->lock);
    slot_get_counts(reader->slot, &counts);
    uint64_t direct = atomic_load_explicit(&reader->direct_messages, memory_order_relaxed);
    *statistics = (mr_reader_statistics){
        .size = sizeof *statistics,
        .messages = reader->messages + direct,
        .bytes = reader->bytes + atomic_load_explicit(&reader->direct_bytes, memory_order_relaxed),
        .delivered = reader->delivered + direct,
        .dropped_too_big = counts.dropped_too_big,
        .dropped_violation = counts.dropped_violation,
        .dropped_unread = counts.dropped_unread,
        .dropped_refused = counts.dropped_refused,
        .refused_access = counts.refused_access,
        .refused_quota = counts.refused_quota,
        .refused_descriptors = counts.refused_descriptors,
        .violations = counts.violations,
        .connections = counts.connections,
        .waiting = reader->queue.messages,
        .waiting_bytes = reader->queue.bytes,
        .waiting_peak = reader->queue.messages_high,
        .rings = counts.rings,
        .ring_bytes = counts.ring_bytes,
        .dropped_by_writers = counts.dropped_by_writers,
        .redelivered = counts.redelivered,
        .unacknowledged = counts.unacknowledged,
        .doorbells = counts.doorbells,
        .waits = counts.waits,
    };
    mutex_unlock(&reader->lock);
    return MR_OK;
}

int mr_reader_get_writers(mr_reader *reader, mr_reader_writer *writers, size_t room, size_t *count)
{
    int status = reader_usable(reader, "mr_reader_get_writers");
    if (status != MR_OK)
        return status;
    if (count == NULL || (writers == NULL && room > 0))
        return status_fail(MR_E_ARGUMENT, 0, "mr_reader_get_writers needs a place for the count, and one for writers");
    mutex_lock(&reader->lock);
    reader->inside++;
    while (reader->renaming)
        condition_wait(&reader->changed, &reader->lock); /* V1; short */
    *count = slot_writers(reader->slot, writers, room);
    if (--reader->inside == 0 && reader->closing)
        condition_broadcast(&reader->changed);
    mutex_unlock(&reader->lock);
    return MR_OK;
}

/* For a foreign loop. */
static int reader_handle(mr_reader *reader, const char *function, enum slot_handle_kind kind, intptr_t *handle)
{
    int status = reader_usable(reader, function);
    if (status != MR_OK)
        return status;
    if (handle == NULL)
        return status_fail(MR_E_ARGUMENT, 0, "%s needs a place for the result", function);
    if (reader->on_message != NULL)
        return status_fail_plain(MR_E_MODE);
    mutex_lock(&reader->lock);
    reader_signal(reader);
    status = slot_handle(reader->slot, kind, handle);
    mutex_unlock(&reader->lock);
    return status;
}

int mr_reader_fd(mr_reader *reader, intptr_t *descriptor)
{
    return reader_handle(reader, "mr_reader_fd", SLOT_HANDLE_DESCRIPTOR, descriptor);
}

int mr_reader_event(mr_reader *reader, intptr_t *event)
{
    return reader_handle(reader, "mr_reader_event", SLOT_HANDLE_EVENT, event);
}

int mr_reader_get_name(mr_reader *reader, char *buffer, size_t size)
{
    int status = reader_usable(reader, "mr_reader_get_name");
    if (status != MR_OK)
        return status;
    if (buffer == NULL)
        return status_fail(MR_E_ARGUMENT, 0, "mr_reader_get_name needs a buffer");
    mutex_lock(&reader->lock);
    size_t length = strlen(reader->display) + 1;
    if (length <= size)
        memcpy(buffer, reader->display, length);
    mutex_unlock(&reader->lock);
    if (length > size)
        return status_fail(MR_E_SMALL, 0, "the name needs %zu bytes, the buffer has %zu", length, size);
    return MR_OK;
}
