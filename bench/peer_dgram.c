/* peer_dgram.c: raw SOCK_DGRAM Unix sockets, a message per system call; and with batches of sendmmsg and recvmmsg, of
 * SOCK_SEQPACKET as well.
 *
 * Path    dgram       writer_send ► send, which waits while the slot's queue is full ► epoll_wait ► recv ► sink
 *         …-mmsg      writer_send ► batch ► sendmmsg when it is full, or at writer_flush ► recvmmsg ► sink
 * Owners  The reader's vectors and buffers belong to the thread inside reader_run, a batch to its writer.
 * I1      A slot of SOCK_DGRAM is one bound socket that all its writers send to. The kernel keeps net.unix.max_dgram_qlen messages (10 as
 *         it comes) and makes the writers wait beyond that; it loses none between processes of one machine.
 * I2      A batch holds at most BATCH messages and BATCH_BYTES bytes; with `prompt` it holds one.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer.h"
#include "peer_tools.h"
#include "queue/memory.h"
#include "socket_linux.h"

#define BATCH       32u
#define BATCH_BYTES ((size_t) 256 * 1024)

/* Headers for up to BATCH messages, each with one part of `room` bytes in `bytes`. */
struct batch {
    struct mmsghdr headers[BATCH];
    struct iovec parts[BATCH];
    char *bytes;
    size_t room;
    unsigned capacity;
    unsigned count;
};

static int batch_open(struct batch *batch, size_t room, unsigned capacity)
{
    memset(batch, 0, sizeof *batch);
    batch->bytes = memory_alloc(room * capacity);
    if (batch->bytes == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for %u messages of %zu bytes", capacity, room);
    batch->room = room;
    batch->capacity = capacity;
    for (unsigned i = 0; i < capacity; i++) {
        batch->parts[i] = (struct iovec){batch->bytes + i * room, room};
        batch->headers[i].msg_hdr.msg_iov = &batch->parts[i];
        batch->headers[i].msg_hdr.msg_iovlen = 1;
    }
    return MR_OK;
}

struct reader {
    struct source_set set;
    int type;
    struct batch batch; /* of one where no batches are taken */
    peer_sink sink;
    void *context;
};

static void reader_close(void *handle)
{
    struct reader *reader = handle;
    source_set_close(&reader->set);
    memory_free(reader->batch.bytes);
    memory_free(reader);
}

static int reader_open_batch(void **handle, const struct peer_options *options, int type, unsigned capacity)
{
    struct reader *reader = memory_zalloc(sizeof *reader);
    if (reader == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a reader");
    int status = source_set_open(&reader->set);
    if (status != MR_OK) {
        memory_free(reader);
        return status;
    }
    reader->type = type;
    status = batch_open(&reader->batch, options->size, capacity);
    for (unsigned slot = 0; slot < options->slots && status == MR_OK; slot++) {
        int descriptor = socket_bind_slot(options, type, slot);
        status = descriptor < 0 ? MR_E_SYSTEM : source_set_add(&reader->set, descriptor, slot, type == SOCK_SEQPACKET);
    }
    if (status != MR_OK) {
        reader_close(reader);
        return status;
    }
    *handle = reader;
    return MR_OK;
}

static int plain_reader_open(void **handle, const struct peer_options *options)
{
    return reader_open_batch(handle, options, SOCK_DGRAM, 1);
}

static int mmsg_reader_open(void **handle, const struct peer_options *options)
{
    return reader_open_batch(handle, options, SOCK_DGRAM, depth_for(options->size, BATCH_BYTES, 1, BATCH));
}

static int packets_reader_open(void **handle, const struct peer_options *options)
{
    return reader_open_batch(handle, options, SOCK_SEQPACKET, depth_for(options->size, BATCH_BYTES, 1, BATCH));
}

static int plain_drain(void *handle, struct source *source)
{
    struct reader *reader = handle;
    for (int i = 0; i < SOCKET_TURN; i++) {
        ssize_t length = recv(source->descriptor, reader->batch.bytes, reader->batch.room, 0);
        if (length >= 0)
            reader->sink(reader->context, source->slot, reader->batch.bytes, (size_t) length);
        else if (errno == EAGAIN)
            return MR_OK;
        else if (errno != EINTR)
            return status_fail(MR_E_SYSTEM, errno, "recv failed: %s", strerror(errno));
    }
    return MR_OK;
}

static int mmsg_drain(void *handle, struct source *source)
{
    struct reader *reader = handle;
    struct batch *batch = &reader->batch;
    bool packets = reader->type == SOCK_SEQPACKET; /* none of them is empty: that is a writer's end */
    int count = recvmmsg(source->descriptor, batch->headers, batch->capacity, MSG_DONTWAIT, NULL);
    bool over = packets && count < 0 && errno == ECONNRESET;
    if (count < 0 && !over && errno != EAGAIN && errno != EINTR)
        return status_fail(MR_E_SYSTEM, errno, "recvmmsg failed: %s", strerror(errno));
    for (int i = 0; i < count && !over; i++) {
        over = packets && batch->headers[i].msg_len == 0;
        if (!over)
            reader->sink(reader->context, source->slot, batch->parts[i].iov_base, batch->headers[i].msg_len);
    }
    if (over)
        source_set_remove(&reader->set, source);
    return MR_OK;
}

static int reader_run_with(struct reader *reader, source_ready drain, peer_sink sink, void *context,
                           const atomic_bool *stop)
{
    reader->sink = sink;
    reader->context = context;
    return source_set_run(&reader->set, drain, reader, stop);
}

static int plain_reader_run(void *handle, peer_sink sink, void *context, const atomic_bool *stop)
{
    return reader_run_with(handle, plain_drain, sink, context, stop);
}

static int mmsg_reader_run(void *handle, peer_sink sink, void *context, const atomic_bool *stop)
{
    return reader_run_with(handle, mmsg_drain, sink, context, stop);
}

static void reader_wake(void *handle)
{
    struct reader *reader = handle;
    source_set_wake(&reader->set);
}

struct writer {
    int descriptor;
    struct batch batch; /* without bytes where no batches are sent */
};

static void writer_close(void *handle)
{
    struct writer *writer = handle;
    if (writer->descriptor >= 0)
        close(writer->descriptor);
    memory_free(writer->batch.bytes);
    memory_free(writer);
}

static int writer_open(void **handle, const struct peer_options *options, int type, unsigned slot, unsigned capacity)
{
    struct writer *writer = memory_zalloc(sizeof *writer);
    if (writer == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a writer");
    int status = MR_OK;
    writer->descriptor = socket_connect_slot(options, type, slot);
    if (writer->descriptor < 0)
        status = MR_E_SYSTEM;
    else if (capacity > 0)
        status = batch_open(&writer->batch, options->size, capacity);
    if (status != MR_OK) {
        writer_close(writer);
        return status;
    }
    *handle = writer;
    return MR_OK;
}

static int plain_writer_open(void **handle, const struct peer_options *options, unsigned slot, unsigned connection)
{
    (void) connection;
    return writer_open(handle, options, SOCK_DGRAM, slot, 0);
}

static unsigned batch_capacity(const struct peer_options *options)
{
    return options->prompt ? 1 : depth_for(options->size, BATCH_BYTES, 1, BATCH);
}

static int mmsg_writer_open(void **handle, const struct peer_options *options, unsigned slot, unsigned connection)
{
    (void) connection;
    return writer_open(handle, options, SOCK_DGRAM, slot, batch_capacity(options));
}

static int packets_writer_open(void **handle, const struct peer_options *options, unsigned slot, unsigned connection)
{
    (void) connection;
    return writer_open(handle, options, SOCK_SEQPACKET, slot, batch_capacity(options));
}

static int plain_writer_send(void *handle, const void *data, size_t length, unsigned priority)
{
    const struct writer *writer = handle;
    (void) priority;
    return socket_send(writer->descriptor, data, length);
}

static int mmsg_writer_flush(void *handle, uint32_t timeout_ms)
{
    struct writer *writer = handle;
    struct batch *batch = &writer->batch;
    (void) timeout_ms; /* sendmmsg waits for room, as send does */
    unsigned sent = 0;
    while (sent < batch->count) {
        int count = sendmmsg(writer->descriptor, batch->headers + sent, batch->count - sent, MSG_NOSIGNAL);
        if (count < 0 && errno != EINTR)
            return status_fail(errno == EMSGSIZE ? MR_E_TOO_BIG : MR_E_SYSTEM, errno, "sendmmsg failed: %s",
                               strerror(errno));
        if (count > 0)
            sent += (unsigned) count;
    }
    batch->count = 0;
    return MR_OK;
}

static int mmsg_writer_send(void *handle, const void *data, size_t length, unsigned priority)
{
    struct writer *writer = handle;
    struct batch *batch = &writer->batch;
    (void) priority;
    if (length > batch->room)
        return status_fail(MR_E_TOO_BIG, 0, "a message of %zu bytes in a run of %zu", length, batch->room);
    memcpy(batch->parts[batch->count].iov_base, data, length);
    batch->parts[batch->count].iov_len = length;
    batch->count++;
    return batch->count < batch->capacity ? MR_OK : mmsg_writer_flush(writer, 0);
}

static int packets_writer_send(void *handle, const void *data, size_t length, unsigned priority)
{
    if (length == 0)
        return status_fail(MR_E_ARGUMENT, 0,
                           "an empty packet looks like the writer's end to a reader of SOCK_SEQPACKET");
    return mmsg_writer_send(handle, data, length, priority);
}

const struct peer peer_dgram = {
    .name = "dgram",
    .summary = "Unix sockets, SOCK_DGRAM, one per slot, net.unix.max_dgram_qlen messages deep, epoll and recv",
    .size_max = SOCKET_SIZE_MAX,
    .reader_open = plain_reader_open,
    .reader_run = plain_reader_run,
    .reader_wake = reader_wake,
    .reader_close = reader_close,
    .writer_open = plain_writer_open,
    .writer_send = plain_writer_send,
    .writer_close = writer_close,
};

const struct peer peer_dgram_mmsg = {
    .name = "dgram-mmsg",
    .summary = "the same with sendmmsg and recvmmsg, up to 32 messages or 256 KiB a call",
    .size_max = SOCKET_SIZE_MAX,
    .reader_open = mmsg_reader_open,
    .reader_run = mmsg_reader_run,
    .reader_wake = reader_wake,
    .reader_close = reader_close,
    .writer_open = mmsg_writer_open,
    .writer_send = mmsg_writer_send,
    .writer_flush = mmsg_writer_flush,
    .writer_close = writer_close,
};

const struct peer peer_seqpacket_mmsg = {
    .name = "seqpacket-mmsg",
    .summary = "seqpacket with sendmmsg and recvmmsg, up to 32 messages or 256 KiB a call",
    .size_max = SOCKET_SIZE_MAX,
    .reader_open = packets_reader_open,
    .reader_run = mmsg_reader_run,
    .reader_wake = reader_wake,
    .reader_close = reader_close,
    .writer_open = packets_writer_open,
    .writer_send = packets_writer_send,
    .writer_flush = mmsg_writer_flush,
    .writer_close = writer_close,
};
