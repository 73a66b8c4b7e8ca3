/* peer_seqpacket.c: raw SOCK_SEQPACKET Unix sockets with epoll: what a careful program gets without any library.
 *
 * Path    writer_send ► send, which waits while the socket is full ► epoll_wait ► recv until nothing is there ► sink
 * Owners  The reader's set, its sources and the buffer belong to the thread inside reader_run.
 * I1      A packet is a message, whole and in order for each connection; the kernel loses none.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer.h"
#include "queue/memory.h"
#include "socket_linux.h"

struct reader {
    struct source_set set;
    char *buffer;
    size_t room;
    peer_sink sink;
    void *context;
};

static void reader_close(void *handle)
{
    struct reader *reader = handle;
    source_set_close(&reader->set);
    memory_free(reader->buffer);
    memory_free(reader);
}

static int reader_open(void **handle, const struct peer_options *options)
{
    struct reader *reader = memory_zalloc(sizeof *reader);
    if (reader == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a reader");
    int status = source_set_open(&reader->set);
    if (status != MR_OK) {
        memory_free(reader);
        return status;
    }
    reader->room = options->size + 1;
    reader->buffer = memory_alloc(reader->room);
    if (reader->buffer == NULL)
        status = status_fail(MR_E_MEMORY, 0, "no memory for a message");
    for (unsigned slot = 0; slot < options->slots && status == MR_OK; slot++) {
        int descriptor = socket_bind_slot(options, SOCK_SEQPACKET, slot);
        status = descriptor < 0 ? MR_E_SYSTEM : source_set_add(&reader->set, descriptor, slot, true);
    }
    if (status != MR_OK) {
        reader_close(reader);
        return status;
    }
    *handle = reader;
    return MR_OK;
}

/* Takes what is there, but leaves the others their turn. */
static int connection_drain(void *handle, struct source *source)
{
    struct reader *reader = handle;
    for (int i = 0; i < SOCKET_TURN; i++) {
        ssize_t length = recv(source->descriptor, reader->buffer, reader->room, 0);
        if (length > 0) {
            reader->sink(reader->context, source->slot, reader->buffer, (size_t) length);
        } else if (length == 0 || errno == ECONNRESET) {
            source_set_remove(&reader->set, source); /* no packet is empty: the writer has gone */
            return MR_OK;
        } else if (errno == EAGAIN) {
            return MR_OK;
        } else if (errno != EINTR) {
            return status_fail(MR_E_SYSTEM, errno, "recv failed: %s", strerror(errno));
        }
    }
    return MR_OK;
}

static int reader_run(void *handle, peer_sink sink, void *context, const atomic_bool *stop)
{
    struct reader *reader = handle;
    reader->sink = sink;
    reader->context = context;
    return source_set_run(&reader->set, connection_drain, reader, stop);
}

static void reader_wake(void *handle)
{
    struct reader *reader = handle;
    source_set_wake(&reader->set);
}

struct writer {
    int descriptor;
};

static int writer_open(void **handle, const struct peer_options *options, unsigned slot, unsigned connection)
{
    (void) connection;
    struct writer *writer = memory_alloc(sizeof *writer);
    if (writer == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a writer");
    writer->descriptor = socket_connect_slot(options, SOCK_SEQPACKET, slot);
    if (writer->descriptor < 0) {
        memory_free(writer);
        return MR_E_SYSTEM;
    }
    *handle = writer;
    return MR_OK;
}

static int writer_send(void *handle, const void *data, size_t length, unsigned priority)
{
    const struct writer *writer = handle;
    (void) priority;
    if (length == 0)
        return status_fail(MR_E_ARGUMENT, 0,
                           "an empty packet looks like the writer's end to a reader of SOCK_SEQPACKET");
    return socket_send(writer->descriptor, data, length);
}

static void writer_close(void *handle)
{
    struct writer *writer = handle;
    close(writer->descriptor);
    memory_free(writer);
}

const struct peer peer_seqpacket = {
    .name = "seqpacket",
    .summary = "Unix sockets, SOCK_SEQPACKET, a connection per writer, epoll and recv by one thread",
    .size_max = SOCKET_SIZE_MAX,
    .reader_open = reader_open,
    .reader_run = reader_run,
    .reader_wake = reader_wake,
    .reader_close = reader_close,
    .writer_open = writer_open,
    .writer_send = writer_send,
    .writer_close = writer_close,
};
