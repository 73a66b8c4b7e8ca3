/* peer_pipe.c: named pipes with a length before each message.
 *
 * Path    writer_send ► write, which waits while the pipe is full ► epoll_wait ► read of what is there ► frames ► sink
 * Owners  A channel is a pipe's reading end with what has been read of it; it belongs to the thread inside reader_run.
 * I1      Up to PIPE_BUF bytes a write is atomic: all writers of a slot share its pipe, "slot-N". Larger messages would
 *         mix, so each writer then has a pipe of its own, "connection-N".
 * I2      A frame is {length, slot} in 32 bits each, then the message. A channel keeps the beginning of an unfinished one.
 * I3      The reader holds its pipes open for writing as well: they never come to an end.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "peer.h"
#include "peer_tools.h"
#include "queue/memory.h"
#include "socket_linux.h"

/* What an unprivileged process may ask for (fs.pipe-max-size); where it is refused the pipe stays at 64 KiB. */
#define PIPE_BYTES (1024 * 1024)

struct frame {
    uint32_t length;
    uint32_t slot;
};

struct channel {
    size_t held; /* bytes of an unfinished frame */
    char *bytes; /* `room` of them */
};

struct reader {
    struct source_set set;
    peer_sink sink;
    void *context;
    unsigned slots;
    size_t size; /* of the largest message */
    size_t room;
    unsigned channel_count;
    struct channel channels[];
};

static bool shared(size_t size)
{
    return size + sizeof(struct frame) <= PIPE_BUF;
}

static int pipe_path(char *path, size_t room, const struct peer_options *options, unsigned slot, unsigned connection)
{
    return shared(options->size) ? peer_path(path, room, "", options, "slot", slot)
                                 : peer_path(path, room, "", options, "connection", connection);
}

static void reader_close(void *handle)
{
    struct reader *reader = handle;
    source_set_close(&reader->set);
    for (unsigned i = 0; i < reader->channel_count; i++)
        memory_free(reader->channels[i].bytes);
    memory_free(reader);
}

static int channel_open(struct reader *reader, const struct peer_options *options, unsigned number)
{
    char path[PEER_TEXT_ROOM + 32];
    int status = pipe_path(path, sizeof path, options, number, number);
    if (status != MR_OK)
        return status;
    reader->channels[number].bytes = memory_alloc(reader->room);
    if (reader->channels[number].bytes == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a pipe's buffer");
    int descriptor = mkfifo(path, 0600) == 0 ? open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC) : -1;
    if (descriptor < 0)
        return status_fail(MR_E_SYSTEM, errno, "making the pipe %s failed: %s", path, strerror(errno));
    (void) fcntl(descriptor, F_SETPIPE_SZ, PIPE_BYTES);
    /* The source's slot is the channel's number here. */
    return source_set_add(&reader->set, descriptor, number, false);
}

static int reader_open(void **handle, const struct peer_options *options)
{
    unsigned count = shared(options->size) ? options->slots : options->connections;
    struct reader *reader = memory_zalloc(sizeof *reader + count * sizeof reader->channels[0]);
    if (reader == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a reader");
    reader->channel_count = count;
    reader->slots = options->slots;
    reader->size = options->size;
    /* Room for one message at least, and else for as much as makes a system call worth while. */
    size_t largest = options->size + sizeof(struct frame);
    reader->room = largest < 65536 ? 65536 : largest * 2;
    int status = source_set_open(&reader->set);
    if (status != MR_OK) {
        memory_free(reader);
        return status;
    }
    for (unsigned i = 0; i < count && status == MR_OK; i++)
        status = channel_open(reader, options, i);
    if (status != MR_OK) {
        reader_close(reader);
        return status;
    }
    *handle = reader;
    return MR_OK;
}

/* Hands over every whole frame among the `held` bytes and keeps the rest (I2). */
static int channel_deliver(struct reader *reader, struct channel *channel)
{
    size_t at = 0;
    while (channel->held - at >= sizeof(struct frame)) {
        struct frame frame;
        memcpy(&frame, channel->bytes + at, sizeof frame);
        if (frame.length > reader->size || frame.slot >= reader->slots)
            return status_fail(MR_E_PROTOCOL, 0, "a pipe holds %u bytes for slot %u where no message begins",
                               frame.length, frame.slot);
        if (channel->held - at - sizeof frame < frame.length)
            break;
        reader->sink(reader->context, frame.slot, channel->bytes + at + sizeof frame, frame.length);
        at += sizeof frame + frame.length;
    }
    channel->held -= at;
    memmove(channel->bytes, channel->bytes + at, channel->held);
    return MR_OK;
}

static int channel_drain(void *handle, struct source *source)
{
    struct reader *reader = handle;
    struct channel *channel = &reader->channels[source->slot];
    ssize_t length = read(source->descriptor, channel->bytes + channel->held, reader->room - channel->held);
    if (length < 0)
        return errno == EAGAIN || errno == EINTR
                   ? MR_OK
                   : status_fail(MR_E_SYSTEM, errno, "reading a pipe failed: %s", strerror(errno));
    channel->held += (size_t) length;
    return channel_deliver(reader, channel);
}

static int reader_run(void *handle, peer_sink sink, void *context, const atomic_bool *stop)
{
    struct reader *reader = handle;
    reader->sink = sink;
    reader->context = context;
    return source_set_run(&reader->set, channel_drain, reader, stop);
}

static void reader_wake(void *handle)
{
    struct reader *reader = handle;
    source_set_wake(&reader->set);
}

struct writer {
    int descriptor;
    uint32_t slot;
    size_t size;
    char atomic[PIPE_BUF];
};

static int writer_open(void **handle, const struct peer_options *options, unsigned slot, unsigned connection)
{
    char path[PEER_TEXT_ROOM + 32];
    int status = pipe_path(path, sizeof path, options, slot, connection);
    if (status != MR_OK)
        return status;
    struct writer *writer = memory_alloc(sizeof *writer);
    if (writer == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a writer");
    writer->slot = slot;
    writer->size = options->size;
    writer->descriptor = open(path, O_WRONLY | O_CLOEXEC);
    if (writer->descriptor < 0) {
        status = status_fail(MR_E_SYSTEM, errno, "opening the pipe %s failed: %s", path, strerror(errno));
        memory_free(writer);
        return status;
    }
    *handle = writer;
    return MR_OK;
}

/* A frame for the shared pipe goes in one write (I1). */
static int send_shared(struct writer *writer, const struct frame *frame, const void *data)
{
    memcpy(writer->atomic, frame, sizeof *frame);
    memcpy(writer->atomic + sizeof *frame, data, frame->length);
    ssize_t written;
    do
        written = write(writer->descriptor, writer->atomic, sizeof *frame + frame->length);
    while (written < 0 && errno == EINTR);
    if (written < 0)
        return status_fail(MR_E_SYSTEM, errno, "writing to a pipe failed: %s", strerror(errno));
    return MR_OK;
}

/* The writer's own pipe takes a frame in as many writes as it has room for. */
static int send_own(const struct writer *writer, struct frame *frame, const void *data)
{
    size_t whole = sizeof *frame + frame->length;
    for (size_t done = 0; done < whole;) {
        size_t head = done < sizeof *frame ? sizeof *frame - done : 0;
        size_t body = done + head - sizeof *frame;
        struct iovec parts[2] = {{(char *) frame + (sizeof *frame - head), head},
                                 {(char *) (uintptr_t) data + body, frame->length - body}};
        ssize_t written = writev(writer->descriptor, parts, 2);
        if (written < 0 && errno != EINTR)
            return status_fail(MR_E_SYSTEM, errno, "writing to a pipe failed: %s", strerror(errno));
        done += written < 0 ? 0 : (size_t) written;
    }
    return MR_OK;
}

static int writer_send(void *handle, const void *data, size_t length, unsigned priority)
{
    struct writer *writer = handle;
    (void) priority;
    if (length > writer->size || length > UINT32_MAX)
        return status_fail(MR_E_TOO_BIG, 0, "a message of %zu bytes in a run of %zu", length, writer->size);
    struct frame frame = {(uint32_t) length, writer->slot};
    if (shared(writer->size))
        return send_shared(writer, &frame, data);
    return send_own(writer, &frame, data);
}

static void writer_close(void *handle)
{
    struct writer *writer = handle;
    close(writer->descriptor);
    memory_free(writer);
}

const struct peer peer_pipe = {
    .name = "pipe",
    .summary = "named pipes of 1 MiB, a length before each message; up to PIPE_BUF one per slot, above one per writer",
    .reader_open = reader_open,
    .reader_run = reader_run,
    .reader_wake = reader_wake,
    .reader_close = reader_close,
    .writer_open = writer_open,
    .writer_send = writer_send,
    .writer_close = writer_close,
};
