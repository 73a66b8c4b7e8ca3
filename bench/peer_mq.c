/* peer_mq.c: POSIX message queues, one per slot.
 *
 * Path    writer_send ► mq_send, which waits while the queue is full ► mq_timedreceive ► sink
 * Owners  The queue's name belongs to the reader, which unlinks it; a thread per slot receives (slot_threads_run).
 * I1      The depth is what the system allows: DEPTH messages where the process may exceed fs.mqueue.msg_max or that is as
 *         large, else msg_max, and less where RLIMIT_MSGQUEUE does not do for messages of that size. service_start finds it
 *         out for small messages and puts it into the summary.
 * I2      Priorities are the queue's own: a higher one overtakes.
 */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "peer.h"
#include "peer_tools.h"
#include "queue/memory.h"
#include "queue/thread.h"

#define DEPTH     256u
#define NAME_ROOM 96

static void queue_name(char *name, const char *base, unsigned slot)
{
    (void) snprintf(name, NAME_ROOM, "/%s-%u", base, slot);
}

/* As deep as it may be, up to `depth`. */
static int queue_create(mqd_t *queue, const char *name, size_t size, unsigned *depth)
{
    /* Root may lift the bound on a user's bytes; for all others this changes nothing. */
    struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    (void) setrlimit(RLIMIT_MSGQUEUE, &all);
    for (unsigned tried = *depth; tried > 0; tried = tried > 16 ? tried / 2 : tried - 1) {
        struct mq_attr attributes = {.mq_maxmsg = (long) tried, .mq_msgsize = (long) size};
        *queue = mq_open(name, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &attributes);
        if (*queue != (mqd_t) -1) {
            *depth = tried;
            return MR_OK;
        }
        /* EINVAL: above msg_max or msgsize_max. EMFILE: above RLIMIT_MSGQUEUE. */
        if (errno != EINVAL && errno != EMFILE)
            return status_fail(MR_E_SYSTEM, errno, "mq_open %s failed: %s", name, strerror(errno));
    }
    return status_fail(MR_E_TOO_BIG, errno, "the system takes no message queue for messages of %zu bytes (%s)", size,
                       "fs.mqueue.msgsize_max, ulimit -q");
}

static char summary[PEER_TEXT_ROOM] = "POSIX message queues, as deep as the system allows, mq_send and mq_timedreceive";

static int service_start(void **service, const char *directory, char *address)
{
    (void) directory;
    char base[64];
    char name[NAME_ROOM];
    (void) snprintf(base, sizeof base, "mailroom-bench-depth-%u", process_id());
    queue_name(name, base, 0);
    mqd_t queue;
    unsigned depth = DEPTH;
    int status = queue_create(&queue, name, 64, &depth);
    if (status != MR_OK)
        return status;
    (void) mq_close(queue);
    (void) mq_unlink(name);
    (void) snprintf(summary, sizeof summary, "POSIX message queues, %u messages deep, mq_send and mq_timedreceive",
                    depth);
    address[0] = '\0';
    *service = NULL;
    return MR_OK;
}

static void service_stop(void *service)
{
    (void) service;
}

struct slot_queue {
    mqd_t queue;
    char name[NAME_ROOM];
};

struct reader {
    size_t size;
    unsigned slots; /* that are open */
    struct slot_queue queues[];
};

static void reader_close(void *handle)
{
    struct reader *reader = handle;
    for (unsigned slot = 0; slot < reader->slots; slot++) {
        (void) mq_close(reader->queues[slot].queue);
        (void) mq_unlink(reader->queues[slot].name);
    }
    memory_free(reader);
}

static int reader_open(void **handle, const struct peer_options *options)
{
    struct reader *reader = memory_zalloc(sizeof *reader + options->slots * sizeof reader->queues[0]);
    if (reader == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a reader");
    reader->size = options->size;
    int status = MR_OK;
    for (unsigned slot = 0; slot < options->slots && status == MR_OK; slot++) {
        unsigned depth = options->depth > 0 ? options->depth : DEPTH;
        queue_name(reader->queues[slot].name, options->name, slot);
        status = queue_create(&reader->queues[slot].queue, reader->queues[slot].name, options->size, &depth);
        reader->slots += status == MR_OK;
    }
    if (status != MR_OK) {
        reader_close(reader);
        return status;
    }
    *handle = reader;
    return MR_OK;
}

static void look_again_at(struct timespec *deadline)
{
    (void) clock_gettime(CLOCK_REALTIME, deadline); /* which is what mq_timedreceive goes by */
    deadline->tv_nsec += PEER_LOOK_MS * 1000000L;
    if (deadline->tv_nsec >= 1000000000L) {
        deadline->tv_nsec -= 1000000000L;
        deadline->tv_sec++;
    }
}

static int slot_run(void *handle, unsigned slot, peer_sink sink, void *context, const atomic_bool *stop)
{
    struct reader *reader = handle;
    char *buffer = memory_alloc(reader->size);
    if (buffer == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a message");
    int status = MR_OK;
    struct timespec deadline;
    look_again_at(&deadline);
    while (status == MR_OK && !atomic_load_explicit(stop, memory_order_acquire)) {
        /* What is in the queue is taken although the deadline has passed, so the clock is read once per wait. */
        ssize_t length = mq_timedreceive(reader->queues[slot].queue, buffer, reader->size, NULL, &deadline);
        if (length >= 0)
            sink(context, slot, buffer, (size_t) length);
        else if (errno == ETIMEDOUT)
            look_again_at(&deadline);
        else if (errno != EINTR)
            status = status_fail(MR_E_SYSTEM, errno, "mq_timedreceive failed: %s", strerror(errno));
    }
    memory_free(buffer);
    return status;
}

static int reader_run(void *handle, peer_sink sink, void *context, const atomic_bool *stop)
{
    struct reader *reader = handle;
    return slot_threads_run(reader->slots, slot_run, reader, sink, context, stop);
}

struct writer {
    mqd_t queue;
};

static int writer_open(void **handle, const struct peer_options *options, unsigned slot, unsigned connection)
{
    (void) connection;
    struct writer *writer = memory_alloc(sizeof *writer);
    if (writer == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a writer");
    char name[NAME_ROOM];
    queue_name(name, options->name, slot);
    writer->queue = mq_open(name, O_WRONLY | O_CLOEXEC);
    if (writer->queue == (mqd_t) -1) {
        memory_free(writer);
        return status_fail(MR_E_SYSTEM, errno, "mq_open %s failed: %s", name, strerror(errno));
    }
    *handle = writer;
    return MR_OK;
}

static int writer_send(void *handle, const void *data, size_t length, unsigned priority)
{
    const struct writer *writer = handle;
    int failed;
    do
        failed = mq_send(writer->queue, data, length, priority);
    while (failed != 0 && errno == EINTR);
    if (failed != 0)
        return status_fail(errno == EMSGSIZE ? MR_E_TOO_BIG : MR_E_SYSTEM, errno, "mq_send failed: %s",
                           strerror(errno));
    return MR_OK;
}

static void writer_close(void *handle)
{
    struct writer *writer = handle;
    (void) mq_close(writer->queue);
    memory_free(writer);
}

const struct peer peer_mq = {
    .name = "mq",
    .summary = summary,
    .service_start = service_start,
    .service_stop = service_stop,
    .reader_open = reader_open,
    .reader_run = reader_run,
    .reader_close = reader_close,
    .writer_open = writer_open,
    .writer_send = writer_send,
    .writer_close = writer_close,
};
