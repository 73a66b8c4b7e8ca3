/* reader_read.c: a reader that is read by calls.
 *
 * Path    mr_reader_read, mr_reader_receive > queue, else take from the lanes, else wait > copied out and released, or
 *         handed out
 * Owners  `leading`: of several blocked reads one sits in slot_wait, the others wait for `changed`. Whoever leaves
 *         slot_wait, for whatever reason, broadcasts, so that another leads.
 *         Whoever else brings messages into the queue wakes the leader too (reader_take): they may be more than the
 *         others want.
 * I1      A read returns MR_E_TIMEOUT only after it has looked into the lanes and the clock has reached its deadline.
 * I2      Between the last look at queue and flags and the wait the lock is not let go.
 * I3      The lock is not held during slot_take, slot_wait, pool_wait, slot_acknowledge or a copy; buffers are not
 *         released under it (the pool may call read_on_memory, which takes it).
 * I4      Before a normal message is popped the lanes are asked for urgent ones, also with the queue at its bounds and
 *         the pool at its ceiling: room for them is kept in both. A read that waits for memory asks every
 *         STARVED_LOOK_NS.
 * I5      A message that mr_reader_read has copied is acknowledged, by hand or not: nobody else could. One that was
 *         handed out is acknowledged by whoever has it.
 */
#include <string.h>

#include "queue/status.h"
#include "slots/process.h"
#include "slots/reader_private.h"

/* A read whose time has come looks so many shares further before it believes that there is nothing: what it took until
 * then may all have been dropped (too big, violations). */
#define LATE_LOOKS 64u

struct reading {
    size_t size;
    size_t length; /* of the next message, with MR_OK and MR_E_SMALL */
    uint64_t deadline;
    unsigned late;
    bool looked; /* for urgent messages */
    struct pool_cache *cache;
    struct slot_message *message;
};

void read_on_memory(struct pool_waiter *waiter, void *context)
{
    mr_reader *reader = context;
    (void) waiter;
    mutex_lock(&reader->lock);
    reader->starved = false;
    reader_signal(reader);
    condition_broadcast(&reader->changed);
    mutex_unlock(&reader->lock);
}

/* The pool is at its ceiling: until memory is back, nothing is taken. */
static void read_starve(mr_reader *reader, size_t wanted)
{
    reader->starved = true;
    reader_signal(reader);
    mutex_unlock(&reader->lock);
    bool registered = pool_wait(reader->pool, &reader->waiter, wanted, false);
    mutex_lock(&reader->lock);
    if (!registered) {
        reader->starved = false;
        reader_signal(reader);
    }
}

/* True when there may be something in the queue now, or it is worth another look. */
static bool read_take(mr_reader *reader, struct reading *reading)
{
    if (reader_halted(reader))
        return false;
    if (reader->taking) {
        condition_wait(&reader->changed, &reader->lock); /* another take, or a rename: short */
        return true;
    }
    size_t wanted = 0;
    if (reader->starved) { /* I4 */
        if (reader_sees_urgent(reader))
            (void) reader_take_urgent(reader, reading->cache, URGENT_MESSAGES, &wanted);
        return reader->queue.messages > 0;
    }
    enum slot_taken taken = reader_take(reader, reading->cache, TURN_MESSAGES, TURN_BYTES, 0, &wanted);
    if (reader->queue.messages > 0)
        return true;
    if (taken == SLOT_STARVED) {
        read_starve(reader, wanted);
        return true;
    }
    return taken == SLOT_MORE && (clock_now() < reading->deadline || reading->late++ < LATE_LOOKS);
}

/* I4: urgent messages that have come since pass those in the queue. */
static void read_urgent(mr_reader *reader, struct reading *reading)
{
    size_t wanted;
    if (reading->looked || reader->queue.messages == 0 || reader->taking || !reader_sees_urgent(reader))
        return;
    reading->looked = true;
    (void) reader_take_urgent(reader, reading->cache, URGENT_MESSAGES, &wanted);
}

static int read_wait(mr_reader *reader, uint64_t deadline)
{
    reader_publish(reader); /* what is seen of an idle reader is exact */
    if (reader->stopped || reader->closing)
        return MR_OK; /* since the last look: the lock was free during the taking */
    if (reader_halted(reader) || reader->starved || reader->leading) {
        uint64_t look = reader->starved ? clock_now() + STARVED_LOOK_NS : CLOCK_NEVER; /* I4 */
        (void) condition_wait_until(&reader->changed, &reader->lock, look < deadline ? look : deadline);
        return MR_OK;
    }
    reader->leading = true;
    mutex_unlock(&reader->lock);
    int status = slot_wait(reader->slot, deadline);
    mutex_lock(&reader->lock);
    reader->leading = false;
    condition_broadcast(&reader->changed);
    return status == MR_E_TIMEOUT ? MR_OK : status;
}

/* With the lock held: gets one message out of the queue, or says why not. */
static int read_next(mr_reader *reader, struct reading *reading)
{
    for (;;) {
        read_urgent(reader, reading);
        if (reader->stopped || reader->closing)
            return MR_E_STOPPED;
        struct queue_node *node = queue_peek(&reader->queue);
        if (node != NULL) {
            struct slot_message *message = message_of_node(node);
            reading->length = message->public.length;
            if (message->public.length > reading->size)
                return MR_E_SMALL;
            (void) queue_pop(&reader->queue);
            reader->delivered++;
            reading->message = message;
            return MR_OK;
        }
        if (read_take(reader, reading))
            continue;
        if (clock_now() >= reading->deadline)
            return MR_E_TIMEOUT; /* I1 */
        int status = read_wait(reader, reading->deadline);
        if (status != MR_OK)
            return status;
    }
}

static uint64_t read_deadline(const mr_reader *reader, uint32_t timeout_ms)
{
    if (timeout_ms == MR_READER_TIMEOUT)
        timeout_ms = reader->timeout_ms;
    return timeout_ms == 0 ? 0 : clock_deadline(timeout_ms);
}

static int read_fail(int status, const struct reading *reading)
{
    if (status == MR_E_SMALL)
        return status_fail(status, 0, "the next message has %zu bytes, the buffer %zu; it stays in the slot",
                           reading->length, reading->size);
    return status == MR_E_SYSTEM ? status : status_fail_plain(status);
}

/* Waits for the next message, and pops it. */
static int read_begin(mr_reader *reader, struct reading *reading, uint32_t timeout_ms)
{
    reading->cache = process_cache_borrow();
    mutex_lock(&reader->lock);
    reading->deadline = read_deadline(reader, timeout_ms);
    reader->inside++;
    return read_next(reader, reading);
}

/* Leaves the lock; the reader may be gone then. */
static void read_end(mr_reader *reader)
{
    reader_signal(reader);
    reader_publish(reader);
    if (--reader->inside == 0 && reader->closing)
        condition_broadcast(&reader->changed);
    mutex_unlock(&reader->lock);
}

static int read_check(const mr_reader *reader)
{
    int status = reader_check(reader);
    return status == MR_OK && reader->on_message != NULL ? status_fail_plain(MR_E_MODE) : status;
}

int mr_reader_read(mr_reader *reader, void *buffer, size_t size, size_t *length, uint32_t timeout_ms)
{
    if (reader == NULL || length == NULL || (buffer == NULL && size > 0))
        return status_fail(MR_E_ARGUMENT, 0, "mr_reader_read needs a reader, a buffer and a place for the length");
    int status = read_check(reader);
    if (status != MR_OK)
        return status;
    struct reading reading = {.size = size};
    status = read_begin(reader, &reading, timeout_ms);
    read_end(reader);
    if (status == MR_OK || status == MR_E_SMALL)
        *length = reading.length;
    if (status == MR_OK) {
        const mr_message *message = &reading.message->public;
        size_t copied = size - message->length < 2 ? size : message->length + 2;
        if (buffer != NULL)
            memcpy(buffer, message->data, copied); /* the two NUL bytes too, as far as there is room */
        slot_acknowledge(&reading.message->token); /* I5 */
        buffer_release(slot_message_buffer(reading.message), reading.cache);
    }
    process_cache_return(reading.cache);
    return status == MR_OK ? MR_OK : read_fail(status, &reading);
}

/* ---- the pulling form ---- */

/* The message is the caller's from here on. */
static const mr_message *read_hand_out(const mr_reader *reader, struct slot_message *message)
{
    if (!reader->by_hand)
        atomic_store_explicit(&message->acknowledge_at_release, 1, memory_order_relaxed);
    return &message->public;
}

int mr_reader_receive(mr_reader *reader, const mr_message **message, uint32_t timeout_ms)
{
    size_t count;
    if (message == NULL)
        return status_fail(MR_E_ARGUMENT, 0, "mr_reader_receive needs a place for the message");
    return mr_reader_receive_many(reader, message, 1, &count, timeout_ms);
}

int mr_reader_receive_many(mr_reader *reader, const mr_message **messages, size_t room, size_t *count,
                           uint32_t timeout_ms)
{
    if (reader == NULL || messages == NULL || room == 0 || count == NULL)
        return status_fail(MR_E_ARGUMENT, 0, "receiving needs a reader, room for a message and a place for the count");
    *count = 0;
    int status = read_check(reader);
    if (status != MR_OK)
        return status;
    struct reading reading = {.size = SIZE_MAX};
    status = read_begin(reader, &reading, timeout_ms);
    bool more = status == MR_OK;
    for (size_t taken = 0; more; more = taken < room && read_next(reader, &reading) == MR_OK) {
        messages[taken++] = read_hand_out(reader, reading.message);
        *count = taken;
        reading.deadline = 0; /* what else is there without waiting */
        reading.looked = false;
    }
    read_end(reader);
    process_cache_return(reading.cache);
    return status == MR_OK ? MR_OK : read_fail(status, &reading);
}
