/* peer_seed.c: the design of "Using Mailslots for Interprocess Communication" (The Code Project, October 2004), from which
 * Mailroom started, as a baseline. Its steps, by the article's sections; the slot itself is seed_slot.h's.
 *
 * Path    writer_send: copy ► deque, under a mutex ► event ► the writer's thread ► seed_end_write
 *         ► one thread per slot: 64 KiB ► seed_slot_read ► copy of the right size ► sink
 *
 * CSyncMailslotReader  Read allocates 65,536 bytes because it cannot know what is coming, reads one message into them (at
 *                      most 65,536 less one character), allocates the message's length and one character, copies,
 *                      terminates it as a string, and frees the 64 KiB. The caller frees the copy.
 * CAsyncMailslotReader A thread per slot does that in a loop and calls OnMessage for each message.
 * CQueuedMailslotWriter  Write takes the mutex, copies the message into an object of its own, appends it to one of two deques
 *                      (important messages have one of their own), releases the mutex and sets an event. A thread waits for
 *                      the event, takes the mutex, looks at the important deque first, releases the mutex for the write,
 *                      takes it again to remove and free the message, and goes on until both are empty.
 * CSyncMailslotWriter  Write makes two attempts and connects again between them; a message that fails both stays queued.
 *
 * Otherwise than there, always in its favour: mimalloc allocates; the mutex and the event are the system's light ones where
 * the article's are kernel objects; and the deques are bounded, a writer waits where theirs would grow for ever.
 *
 * Owners  The deques and counts of a writer are under its mutex; the connection belongs to its thread. A message belongs to the
 *         deque, and is freed by the thread alone.
 * I1      queued = messages in both deques, the one that is being written included.
 */
#include "peer.h"

#include <string.h>

#include "peer_tools.h"
#include "queue/memory.h"
#include "queue/thread.h"
#include "seed_slot.h"

#define READ_SIZE      65536u
#define CHARACTER      sizeof(char) /* the article's TCHAR, in a build that is not for Unicode */
#define QUEUE_MESSAGES 65536u       /* bounds of Mailroom's posted queue */
#define QUEUE_BYTES    ((size_t) 16 * 1024 * 1024)

struct reader {
    unsigned slots;
    struct seed_slot *slot[];
};

static void reader_close(void *handle)
{
    struct reader *reader = handle;
    for (unsigned i = 0; i < reader->slots; i++)
        seed_slot_close(reader->slot[i]);
    memory_free(reader);
}

static int reader_open(void **handle, const struct peer_options *options)
{
    struct reader *reader = memory_zalloc(sizeof *reader + options->slots * sizeof(struct seed_slot *));
    if (reader == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a reader");
    int status = MR_OK;
    for (unsigned i = 0; i < options->slots && status == MR_OK; i++) {
        status = seed_slot_create(&reader->slot[i], options, i);
        reader->slots += status == MR_OK;
    }
    if (status != MR_OK) {
        reader_close(reader);
        return status;
    }
    *handle = reader;
    return MR_OK;
}

/* CSyncMailslotReader, Read. *message is the caller's to free; NULL: stopped. */
static int message_read(struct seed_slot *slot, char **message, size_t *length)
{
    *message = NULL;
    char *data = memory_alloc(READ_SIZE);
    if (data == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory to read into");
    int status = seed_slot_read(slot, data, READ_SIZE - CHARACTER, length);
    if (status == MR_OK && *length > 0) {
        *message = memory_alloc(*length + CHARACTER);
        if (*message == NULL) {
            status = status_fail(MR_E_MEMORY, 0, "no memory for a message");
        } else {
            memcpy(*message, data, *length);
            (*message)[*length] = '\0';
        }
    }
    memory_free(data);
    return status;
}

/* CAsyncMailslotReader, ThreadProc. */
static int slot_run(void *handle, unsigned slot, peer_sink sink, void *context, const atomic_bool *stop)
{
    struct reader *reader = handle;
    while (!atomic_load_explicit(stop, memory_order_acquire)) {
        char *message;
        size_t length;
        int status = message_read(reader->slot[slot], &message, &length);
        if (status != MR_OK)
            return status;
        if (message != NULL) {
            sink(context, slot, message, length); /* OnMessage */
            memory_free(message);
        }
    }
    return MR_OK;
}

static int reader_run(void *handle, peer_sink sink, void *context, const atomic_bool *stop)
{
    struct reader *reader = handle;
    return slot_threads_run(reader->slots, slot_run, reader, sink, context, stop);
}

static void reader_wake(void *handle)
{
    struct reader *reader = handle;
    for (unsigned i = 0; i < reader->slots; i++)
        seed_slot_stop(reader->slot[i]);
}

/* CQueuedData. */
struct queued {
    size_t length;
    char *data;
};

/* std::deque of pointers, as a ring that doubles: front at `head`. */
struct deque {
    struct queued **ring;
    size_t head;
    size_t count;
    size_t room; /* a power of two, or 0 */
};

static bool deque_append(struct deque *deque, struct queued *message)
{
    if (deque->count == deque->room) {
        size_t room = deque->room == 0 ? 64 : deque->room * 2;
        struct queued **ring = memory_alloc(room * sizeof(struct queued *));
        if (ring == NULL)
            return false;
        for (size_t i = 0; i < deque->count; i++)
            ring[i] = deque->ring[(deque->head + i) & (deque->room - 1)];
        memory_free(deque->ring);
        deque->ring = ring;
        deque->room = room;
        deque->head = 0;
    }
    deque->ring[(deque->head + deque->count) & (deque->room - 1)] = message;
    deque->count++;
    return true;
}

static void deque_pop_front(struct deque *deque)
{
    deque->head = (deque->head + 1) & (deque->room - 1);
    deque->count--;
}

struct writer {
    mutex mutex;
    condition event; /* set when a message was queued, and to stop */
    condition less;  /* the deques' bound and writer_flush */
    struct deque important;
    struct deque normal;
    size_t queued; /* I1 */
    size_t queued_bytes;
    bool signalled; /* the event's state */
    bool stop;
    int failed; /* the status of a write that failed twice */
    struct status_memo failure;
    struct seed_end *end;
    struct peer_options options;
    unsigned slot;
    thread thread;
};

static void queued_free(struct queued *message)
{
    memory_free(message->data);
    memory_free(message);
}

static struct queued *queued_make(const void *data, size_t length)
{
    struct queued *message = memory_alloc(sizeof *message);
    if (message == NULL)
        return NULL;
    *message = (struct queued){length, memory_alloc(length)};
    if (message->data == NULL) {
        memory_free(message);
        return NULL;
    }
    memcpy(message->data, data, length);
    return message;
}

/* CSyncMailslotWriter, Write. */
static int message_write(struct writer *writer, const struct queued *message)
{
    int status = MR_E_GONE;
    for (int attempts = 2; attempts > 0; attempts--) {
        if (writer->end == NULL)
            status = seed_end_connect(&writer->end, &writer->options, writer->slot);
        if (writer->end == NULL)
            continue;
        status = seed_end_write(writer->end, message->data, message->length);
        if (status == MR_OK)
            return MR_OK;
        seed_end_close(writer->end);
        writer->end = NULL;
    }
    return status;
}

/* One round of the loop in ThreadProc, with the mutex held before and after. False: the write failed. */
static bool front_write(struct writer *writer)
{
    struct deque *deque = writer->important.count > 0 ? &writer->important : &writer->normal;
    struct queued *message = deque->ring[deque->head];
    mutex_unlock(&writer->mutex);
    int status = message_write(writer, message);
    struct status_memo memo;
    if (status != MR_OK)
        status_save(&memo);
    mutex_lock(&writer->mutex);
    if (status != MR_OK) {
        writer->failed = status;
        writer->failure = memo;
        condition_broadcast(&writer->less);
        return false;
    }
    deque_pop_front(deque);
    writer->queued--;
    writer->queued_bytes -= message->length;
    queued_free(message);
    condition_signal(&writer->less);
    return true;
}

/* CQueuedMailslotWriter, ThreadProc. */
static void writer_thread(void *argument)
{
    struct writer *writer = argument;
    mutex_lock(&writer->mutex);
    for (;;) {
        while (!writer->signalled && !writer->stop)
            condition_wait(&writer->event, &writer->mutex);
        if (writer->stop)
            break;
        writer->signalled = false;
        while (writer->queued > 0 && !writer->stop && front_write(writer))
            continue;
    }
    mutex_unlock(&writer->mutex);
}

static void deque_clear(struct deque *deque)
{
    for (; deque->count > 0; deque_pop_front(deque))
        queued_free(deque->ring[deque->head]);
    memory_free(deque->ring);
}

static void writer_free(struct writer *writer)
{
    if (writer->end != NULL)
        seed_end_close(writer->end);
    deque_clear(&writer->important);
    deque_clear(&writer->normal);
    condition_destroy(&writer->event);
    condition_destroy(&writer->less);
    mutex_destroy(&writer->mutex);
    memory_free(writer);
}

static int writer_open(void **handle, const struct peer_options *options, unsigned slot, unsigned connection)
{
    (void) connection;
    struct writer *writer = memory_zalloc(sizeof *writer);
    if (writer == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a writer");
    mutex_init(&writer->mutex);
    condition_init(&writer->event);
    condition_init(&writer->less);
    writer->options = *options;
    writer->slot = slot;
    int status = seed_end_connect(&writer->end, options, slot);
    if (status == MR_OK)
        status = thread_start(&writer->thread, "seed-writer", writer_thread, writer);
    if (status != MR_OK) {
        writer_free(writer);
        return status;
    }
    *handle = writer;
    return MR_OK;
}

static int failure_report(const struct writer *writer)
{
    if (writer->failed != MR_OK)
        status_restore(&writer->failure);
    return writer->failed;
}

/* CQueuedMailslotWriter, Write. */
static int writer_send(void *handle, const void *data, size_t length, unsigned priority)
{
    struct writer *writer = handle;
    mutex_lock(&writer->mutex);
    while (writer->failed == MR_OK &&
           (writer->queued >= QUEUE_MESSAGES || (writer->queued > 0 && writer->queued_bytes + length > QUEUE_BYTES)))
        condition_wait(&writer->less, &writer->mutex);
    int status = failure_report(writer);
    struct queued *message = status == MR_OK ? queued_make(data, length) : NULL;
    if (message != NULL && !deque_append(priority > 0 ? &writer->important : &writer->normal, message)) {
        queued_free(message);
        message = NULL;
    }
    if (message != NULL) {
        writer->queued++;
        writer->queued_bytes += length;
        writer->signalled = true;
    } else if (status == MR_OK) {
        status = status_fail(MR_E_MEMORY, 0, "no memory for a queued message");
    }
    mutex_unlock(&writer->mutex);
    if (message != NULL)
        condition_signal(&writer->event);
    return status;
}

static int writer_flush(void *handle, uint32_t timeout_ms)
{
    struct writer *writer = handle;
    uint64_t deadline = clock_deadline(timeout_ms);
    bool in_time = true;
    mutex_lock(&writer->mutex);
    while (writer->queued > 0 && writer->failed == MR_OK && in_time)
        in_time = condition_wait_until(&writer->less, &writer->mutex, deadline);
    int status = failure_report(writer);
    if (status == MR_OK && writer->queued > 0)
        status = status_fail(MR_E_TIMEOUT, 0, "%zu messages are still queued", writer->queued);
    mutex_unlock(&writer->mutex);
    return status;
}

static void writer_close(void *handle)
{
    struct writer *writer = handle;
    mutex_lock(&writer->mutex);
    writer->stop = true;
    mutex_unlock(&writer->mutex);
    condition_signal(&writer->event);
    thread_join(writer->thread);
    writer_free(writer);
}

const struct peer peer_seed = {
    .name = "seed",
    .summary = seed_slot_summary,
    .size_max = READ_SIZE - CHARACTER,
    .reader_open = reader_open,
    .reader_run = reader_run,
    .reader_wake = reader_wake,
    .reader_close = reader_close,
    .writer_open = writer_open,
    .writer_send = writer_send,
    .writer_flush = writer_flush,
    .writer_close = writer_close,
};
