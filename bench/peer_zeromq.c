/* peer_zeromq.c: ZeroMQ, PUSH to PULL over ipc.
 *
 * Path    writer_send ► zmq_send ► its I/O thread ► the socket ► the reader's I/O thread ► zmq_msg_recv ► sink
 * Owners  One context and I/O thread per process end; a PULL socket per slot, received from by one thread (slot_threads_run);
 *         zmq takes a socket to another thread where a full barrier lies between, which starting the thread is.
 * I1      A PUSH socket at its high-water mark waits and drops nothing (zmq_socket, table 9). The marks are in messages:
 *         QUEUE_BYTES' worth, at most QUEUE_MOST, so that memory stays bounded.
 * I2      writer_close ends the context, which waits until the socket's messages have been sent (ZMQ_LINGER -1).
 */
#include <errno.h>
#include <string.h>
#include <zmq.h>

#include "peer.h"
#include "peer_tools.h"
#include "queue/memory.h"

#define QUEUE_BYTES ((size_t) 4 * 1024 * 1024)
#define QUEUE_LEAST 16u
#define QUEUE_MOST  1000u /* its own default */

static int zmq_failed(const char *what)
{
    int error = zmq_errno();
    return status_fail(MR_E_SYSTEM, error, "%s failed: %s", what, zmq_strerror(error));
}

static bool option_set(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof value) == 0;
}

struct reader {
    void *context;
    unsigned slots; /* whose sockets are open */
    void *sockets[];
};

static void reader_close(void *handle)
{
    struct reader *reader = handle;
    for (unsigned slot = 0; slot < reader->slots; slot++)
        (void) zmq_close(reader->sockets[slot]);
    if (reader->context != NULL)
        (void) zmq_ctx_term(reader->context);
    memory_free(reader);
}

static int slot_open(struct reader *reader, const struct peer_options *options, unsigned slot)
{
    char address[PEER_TEXT_ROOM + 32];
    int status = peer_path(address, sizeof address, "ipc://", options, "slot", slot);
    if (status != MR_OK)
        return status;
    void *socket = zmq_socket(reader->context, ZMQ_PULL);
    if (socket == NULL)
        return zmq_failed("zmq_socket");
    reader->sockets[slot] = socket;
    reader->slots = slot + 1;
    unsigned depth =
        options->depth > 0 ? options->depth : depth_for(options->size, QUEUE_BYTES, QUEUE_LEAST, QUEUE_MOST);
    if (!option_set(socket, ZMQ_RCVHWM, (int) depth) || !option_set(socket, ZMQ_RCVTIMEO, PEER_LOOK_MS))
        return zmq_failed("zmq_setsockopt");
    if (zmq_bind(socket, address) != 0)
        return zmq_failed("zmq_bind");
    return MR_OK;
}

static int reader_open(void **handle, const struct peer_options *options)
{
    struct reader *reader = memory_zalloc(sizeof *reader + options->slots * sizeof reader->sockets[0]);
    if (reader == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a reader");
    int status = MR_OK;
    reader->context = zmq_ctx_new();
    if (reader->context == NULL || zmq_ctx_set(reader->context, ZMQ_MAX_SOCKETS, (int) options->slots + 8) != 0)
        status = zmq_failed("zmq_ctx_new");
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
    zmq_msg_t message;
    (void) zmq_msg_init(&message); /* it always returns 0 */
    int status = MR_OK;
    while (status == MR_OK && !atomic_load_explicit(stop, memory_order_acquire)) {
        if (zmq_msg_recv(&message, reader->sockets[slot], 0) >= 0)
            sink(context, slot, zmq_msg_data(&message), zmq_msg_size(&message));
        else if (zmq_errno() != EAGAIN && zmq_errno() != EINTR)
            status = zmq_failed("zmq_msg_recv");
    }
    (void) zmq_msg_close(&message);
    return status;
}

static int reader_run(void *handle, peer_sink sink, void *context, const atomic_bool *stop)
{
    struct reader *reader = handle;
    return slot_threads_run(reader->slots, slot_run, reader, sink, context, stop);
}

struct writer {
    void *context;
    void *socket;
};

static void writer_close(void *handle)
{
    struct writer *writer = handle;
    if (writer->socket != NULL)
        (void) zmq_close(writer->socket);
    if (writer->context != NULL)
        (void) zmq_ctx_term(writer->context);
    memory_free(writer);
}

static int writer_connect(struct writer *writer, const struct peer_options *options, const char *address)
{
    writer->context = zmq_ctx_new();
    writer->socket = writer->context == NULL ? NULL : zmq_socket(writer->context, ZMQ_PUSH);
    if (writer->socket == NULL)
        return zmq_failed("zmq_socket");
    unsigned depth = depth_for(options->size, QUEUE_BYTES, QUEUE_LEAST, QUEUE_MOST);
    if (!option_set(writer->socket, ZMQ_SNDHWM, (int) depth) || !option_set(writer->socket, ZMQ_LINGER, -1))
        return zmq_failed("zmq_setsockopt");
    if (zmq_connect(writer->socket, address) != 0)
        return zmq_failed("zmq_connect");
    return MR_OK;
}

static int writer_open(void **handle, const struct peer_options *options, unsigned slot, unsigned connection)
{
    (void) connection;
    char address[PEER_TEXT_ROOM + 32];
    int status = peer_path(address, sizeof address, "ipc://", options, "slot", slot);
    if (status != MR_OK)
        return status;
    struct writer *writer = memory_zalloc(sizeof *writer);
    if (writer == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a writer");
    status = writer_connect(writer, options, address);
    if (status != MR_OK) {
        writer_close(writer);
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
        sent = zmq_send(writer->socket, data, length, 0);
    while (sent < 0 && zmq_errno() == EINTR);
    return sent < 0 ? zmq_failed("zmq_send") : MR_OK;
}

#define TEXT_(number) #number
#define TEXT(number)  TEXT_(number)

const struct peer peer_zeromq = {
    .name = "zeromq",
    .summary = "ZeroMQ " TEXT(ZMQ_VERSION_MAJOR) "." TEXT(ZMQ_VERSION_MINOR) "." TEXT(
        ZMQ_VERSION_PATCH) ", PUSH to PULL over ipc, high-water marks of 1,000 messages or 4 MiB",
    .reader_open = reader_open,
    .reader_run = reader_run,
    .reader_close = reader_close,
    .writer_open = writer_open,
    .writer_send = writer_send,
    .writer_close = writer_close,
};
