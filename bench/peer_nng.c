/* peer_nng.c: nng, push to pull over ipc.
 *
 * Path    writer_send ► nng_sendmsg ► its threads ► the socket ► the reader's threads ► nng_recvmsg ► sink
 * Owners  A pull socket per slot, received from by one thread. A message that was sent belongs to the library, one that was
 *         received to this file.
 * I1      A push waits until there is room for it, and drops nothing while both ends stay open. The library does not linger:
 *         the run keeps writers open until all has been counted.
 */
#include <nng/nng.h>
#include <nng/protocol/pipeline0/pull.h>
#include <nng/protocol/pipeline0/push.h>
#include <string.h>

#include "peer.h"
#include "peer_tools.h"
#include "queue/memory.h"

#define QUEUE_BYTES ((size_t) 4 * 1024 * 1024)
#define QUEUE_LEAST 16u
#define QUEUE_MOST  1024u

static int nng_failed(const char *what, int error)
{
    return status_fail(MR_E_SYSTEM, 0, "%s failed: %s", what, nng_strerror(error));
}

struct reader {
    unsigned slots; /* whose sockets are open */
    nng_socket sockets[];
};

static void reader_close(void *handle)
{
    struct reader *reader = handle;
    for (unsigned slot = 0; slot < reader->slots; slot++)
        (void) nng_close(reader->sockets[slot]);
    memory_free(reader);
}

static int slot_open(struct reader *reader, const struct peer_options *options, unsigned slot)
{
    char address[PEER_TEXT_ROOM + 32];
    int status = peer_path(address, sizeof address, "ipc://", options, "slot", slot);
    if (status != MR_OK)
        return status;
    nng_socket *socket = &reader->sockets[slot];
    int error = nng_pull0_open(socket);
    if (error != 0)
        return nng_failed("nng_pull0_open", error);
    reader->slots = slot + 1;
    if ((error = nng_socket_set_size(*socket, NNG_OPT_RECVMAXSZ, options->size)) != 0 ||
        (error = nng_socket_set_ms(*socket, NNG_OPT_RECVTIMEO, PEER_LOOK_MS)) != 0)
        return nng_failed("nng_socket_set", error);
    if ((error = nng_listen(*socket, address, NULL, 0)) != 0)
        return nng_failed("nng_listen", error);
    return MR_OK;
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
        nng_msg *message;
        int error = nng_recvmsg(reader->sockets[slot], &message, 0);
        if (error == 0) {
            sink(context, slot, nng_msg_body(message), nng_msg_len(message));
            nng_msg_free(message);
        } else if (error != NNG_ETIMEDOUT) {
            return nng_failed("nng_recvmsg", error);
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
    nng_socket socket;
};

static int writer_connect(struct writer *writer, const struct peer_options *options, const char *address)
{
    int error = nng_push0_open(&writer->socket);
    if (error != 0)
        return nng_failed("nng_push0_open", error);
    unsigned depth = depth_for(options->size, QUEUE_BYTES, QUEUE_LEAST, QUEUE_MOST);
    const char *what = "nng_socket_set";
    if ((error = nng_socket_set_int(writer->socket, NNG_OPT_SENDBUF, (int) depth)) == 0) {
        what = "nng_dial";
        error = nng_dial(writer->socket, address, NULL, 0); /* waits until it is connected */
    }
    if (error != 0) {
        (void) nng_close(writer->socket);
        return nng_failed(what, error);
    }
    return MR_OK;
}

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
    status = writer_connect(writer, options, address);
    if (status != MR_OK) {
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
    nng_msg *message;
    int error = nng_msg_alloc(&message, length);
    if (error != 0)
        return nng_failed("nng_msg_alloc", error);
    if (length > 0)
        memcpy(nng_msg_body(message), data, length);
    error = nng_sendmsg(writer->socket, message, 0);
    if (error != 0) {
        nng_msg_free(message);
        return nng_failed("nng_sendmsg", error);
    }
    return MR_OK;
}

static void writer_close(void *handle)
{
    struct writer *writer = handle;
    (void) nng_close(writer->socket);
    memory_free(writer);
}

#define TEXT_(number) #number
#define TEXT(number)  TEXT_(number)

const struct peer peer_nng = {
    .name = "nng",
    .summary = "nng " TEXT(NNG_MAJOR_VERSION) "." TEXT(NNG_MINOR_VERSION) "." TEXT(
        NNG_PATCH_VERSION) ", push to pull over ipc, up to 1,024 messages or 4 MiB buffered",
    .reader_open = reader_open,
    .reader_run = reader_run,
    .reader_close = reader_close,
    .writer_open = writer_open,
    .writer_send = writer_send,
    .writer_close = writer_close,
};
