/* peer_nanomsg.c: nanomsg, PUSH to PULL over ipc.
 *
 * Path    writer_send ► nn_send ► its thread ► the socket ► the reader's thread ► nn_recv ► sink
 * Owners  A PULL socket per slot, received from by one thread. A received message is the library's memory, given back at once.
 * I1      nn_send waits until there is room, and nothing is dropped while both ends stay open. NN_LINGER does nothing any
 *         more: the run keeps writers open until all has been counted.
 */
#include <errno.h>
#include <limits.h>
#include <nanomsg/nn.h>
#include <nanomsg/pipeline.h>

#include "peer.h"
#include "peer_tools.h"
#include "queue/memory.h"

static int nn_failed(const char *what)
{
    int error = nn_errno();
    return status_fail(MR_E_SYSTEM, error, "%s failed: %s", what, nn_strerror(error));
}

struct reader {
    unsigned slots; /* whose sockets are open */
    int sockets[];
};

static void reader_close(void *handle)
{
    struct reader *reader = handle;
    for (unsigned slot = 0; slot < reader->slots; slot++)
        (void) nn_close(reader->sockets[slot]);
    memory_free(reader);
}

static int slot_open(struct reader *reader, const struct peer_options *options, unsigned slot)
{
    char address[PEER_TEXT_ROOM + 32];
    int status = peer_path(address, sizeof address, "ipc://", options, "slot", slot);
    if (status != MR_OK)
        return status;
    int socket = nn_socket(AF_SP, NN_PULL);
    if (socket < 0)
        return nn_failed("nn_socket");
    reader->sockets[slot] = socket;
    reader->slots = slot + 1;
    int wait = PEER_LOOK_MS;
    int most = options->size > INT_MAX ? INT_MAX : (int) options->size;
    if (nn_setsockopt(socket, NN_SOL_SOCKET, NN_RCVTIMEO, &wait, sizeof wait) < 0 ||
        nn_setsockopt(socket, NN_SOL_SOCKET, NN_RCVMAXSIZE, &most, sizeof most) < 0)
        return nn_failed("nn_setsockopt");
    return nn_bind(socket, address) < 0 ? nn_failed("nn_bind") : MR_OK;
}

static int reader_open(void **handle, const struct peer_options *options)
{
    struct reader *reader = memory_zalloc(sizeof *reader + options->slots * sizeof reader->sockets[0]);
    if (reader == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a reader");
    int status = MR_OK;
    for (unsigned slot = 0; slot < options->slots && status == MR_OK; slot++)
        status = slot_open(reader, options, slot);
    if (status != MR_OK) {
        reader_close(reader);
        return status;
    }
    *handle = reader;
    return MR_OK;
}

static int slot_run(void *handle, unsigned slot, peer_sink sink, void *context, const atomic_bool *stop)
{
    struct reader *reader = handle;
    while (!atomic_load_explicit(stop, memory_order_acquire)) {
        void *message;
        int length = nn_recv(reader->sockets[slot], &message, NN_MSG, 0);
        if (length >= 0) {
            sink(context, slot, message, (size_t) length);
            (void) nn_freemsg(message);
        } else if (nn_errno() != ETIMEDOUT && nn_errno() != EINTR) {
            return nn_failed("nn_recv");
        }
    }
    return MR_OK;
}

static int reader_run(void *handle, peer_sink sink, void *context, const atomic_bool *stop)
{
    struct reader *reader = handle;
    return slot_threads_run(reader->slots, slot_run, reader, sink, context, stop);
}

struct writer {
    int socket;
};

static int writer_open(void **handle, const struct peer_options *options, unsigned slot, unsigned connection)
{
    (void) connection;
    char address[PEER_TEXT_ROOM + 32];
    int status = peer_path(address, sizeof address, "ipc://", options, "slot", slot);
    if (status != MR_OK)
        return status;
    struct writer *writer = memory_alloc(sizeof *writer);
    if (writer == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a writer");
    writer->socket = nn_socket(AF_SP, NN_PUSH);
    if (writer->socket < 0 || nn_connect(writer->socket, address) < 0) {
        status = nn_failed("nn_connect");
        if (writer->socket >= 0)
            (void) nn_close(writer->socket);
        memory_free(writer);
        return status;
    }
    *handle = writer;
    return MR_OK;
}

static int writer_send(void *handle, const void *data, size_t length, unsigned priority)
{
    const struct writer *writer = handle;
    (void) priority;
    int sent;
    do
        sent = nn_send(writer->socket, data, length, 0);
    while (sent < 0 && nn_errno() == EINTR);
    return sent < 0 ? nn_failed("nn_send") : MR_OK;
}

static void writer_close(void *handle)
{
    struct writer *writer = handle;
    (void) nn_close(writer->socket);
    memory_free(writer);
}

const struct peer peer_nanomsg = {
    .name = "nanomsg",
    .summary = "nanomsg, PUSH to PULL over ipc, its own buffers of 128 KiB",
    .reader_open = reader_open,
    .reader_run = reader_run,
    .reader_close = reader_close,
    .writer_open = writer_open,
    .writer_send = writer_send,
    .writer_close = writer_close,
};
