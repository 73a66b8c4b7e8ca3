/* peer_nats.c: NATS core, through a nats-server of the bench's own and the C client.
 *
 * Path    writer_send ► natsConnection_Publish ► the server ► the reader's subscription ► natsSubscription_NextMsg ► sink
 * Owners  A connection per writer and one for the reader, with the client's own threads. A message that was received is
 *         destroyed here.
 * I1      Core NATS delivers at most once: a server or client that is behind drops. So that nothing is lost the writers hold
 *         back as its documentation advises, by request and reply: after half a window of messages a writer asks for credit
 *         on the same subject, and no more than two such requests are ever unanswered. The reader answers when it comes to
 *         the request, in order with the messages. WINDOW_BYTES over all writers stay below what the server keeps for a
 *         reader (nats_service_linux.c), and the client's own limits are off.
 * I2      A request for credit is a message with a reply subject, and no other has one.
 */
#include "peer.h"

#include <string.h>

#include "nats_end.h"
#include "nats_service.h"
#include "peer_tools.h"
#include "queue/memory.h"

#define WINDOW_BYTES    ((size_t) 32 * 1024 * 1024)
#define WINDOW_LEAST    2u
#define WINDOW_MOST     16384u
#define CREDIT_REQUESTS 2u
#define CREDIT_MS       60000

static int service_start(void **service, const char *directory, char *address)
{
    return nats_service_start(service, directory, address, false);
}

struct reader {
    natsConnection *connection;
    natsSubscription *subscription;
    unsigned slots;
    size_t prefix; /* bytes of a subject before the slot's number */
};

static void reader_close(void *handle)
{
    struct reader *reader = handle;
    natsSubscription_Destroy(reader->subscription);
    nats_disconnect(reader->connection);
    memory_free(reader);
}

static int reader_subscribe(struct reader *reader, const struct peer_options *options)
{
    char subject[SUBJECT_ROOM];
    nats_subject_all(subject, options);
    reader->prefix = strlen(subject) - 1;
    natsStatus error = natsConnection_SubscribeSync(&reader->subscription, reader->connection, subject);
    if (error == NATS_OK)
        error = natsSubscription_SetPendingLimits(reader->subscription, -1, -1);
    if (error == NATS_OK)
        error = natsConnection_Flush(reader->connection); /* the server has answered: it knows the subscription */
    return error == NATS_OK ? MR_OK : nats_failed("subscribing", error);
}

static int reader_open(void **handle, const struct peer_options *options)
{
    struct reader *reader = memory_zalloc(sizeof *reader);
    if (reader == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a reader");
    reader->slots = options->slots;
    int status = nats_connect(&reader->connection, options, true);
    if (status == MR_OK)
        status = reader_subscribe(reader, options);
    if (status != MR_OK) {
        reader_close(reader);
        return status;
    }
    *handle = reader;
    return MR_OK;
}

static int message_take(struct reader *reader, natsMsg *message, peer_sink sink, void *context)
{
    const char *reply = natsMsg_GetReply(message);
    if (reply == NULL || reply[0] == '\0')
        return nats_deliver(message, reader->prefix, reader->slots, sink, context);
    natsStatus error = natsConnection_Publish(reader->connection, reply, NULL, 0);
    return error == NATS_OK ? MR_OK : nats_failed("giving credit", error);
}

static int reader_run(void *handle, peer_sink sink, void *context, const atomic_bool *stop)
{
    struct reader *reader = handle;
    int status = MR_OK;
    while (status == MR_OK && !atomic_load_explicit(stop, memory_order_acquire)) {
        natsMsg *message = NULL;
        natsStatus error = natsSubscription_NextMsg(&message, reader->subscription, PEER_LOOK_MS);
        if (error == NATS_OK)
            status = message_take(reader, message, sink, context);
        else if (error != NATS_TIMEOUT)
            status = nats_failed("natsSubscription_NextMsg", error);
        natsMsg_Destroy(message);
    }
    return status;
}

struct writer {
    natsConnection *connection;
    natsInbox *inbox;
    natsSubscription *credit;
    unsigned half;     /* messages between two requests */
    unsigned sent;     /* since the last request */
    unsigned requests; /* not answered yet */
    char subject[SUBJECT_ROOM];
};

static void writer_close(void *handle)
{
    struct writer *writer = handle;
    natsSubscription_Destroy(writer->credit);
    natsInbox_Destroy(writer->inbox);
    nats_disconnect(writer->connection);
    memory_free(writer);
}

static int writer_open(void **handle, const struct peer_options *options, unsigned slot, unsigned connection)
{
    (void) connection;
    struct writer *writer = memory_zalloc(sizeof *writer);
    if (writer == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a writer");
    nats_subject(writer->subject, options, slot);
    size_t share = WINDOW_BYTES / (options->connections > 0 ? options->connections : 1);
    writer->half = depth_for(options->size, share, WINDOW_LEAST, WINDOW_MOST) / CREDIT_REQUESTS;
    int status = nats_connect(&writer->connection, options, options->prompt);
    if (status == MR_OK) {
        natsStatus error = natsInbox_Create(&writer->inbox);
        if (error == NATS_OK)
            error = natsConnection_SubscribeSync(&writer->credit, writer->connection, writer->inbox);
        if (error != NATS_OK)
            status = nats_failed("subscribing to credit", error);
    }
    if (status != MR_OK) {
        writer_close(writer);
        return status;
    }
    *handle = writer;
    return MR_OK;
}

static int credit_await(struct writer *writer, int64_t timeout_ms)
{
    natsMsg *message = NULL;
    natsStatus error = natsSubscription_NextMsg(&message, writer->credit, timeout_ms);
    if (error != NATS_OK)
        return nats_failed("waiting for the reader's credit", error);
    natsMsg_Destroy(message);
    writer->requests--;
    return MR_OK;
}

static int credit_request(struct writer *writer)
{
    natsStatus error = natsConnection_PublishRequest(writer->connection, writer->subject, writer->inbox, NULL, 0);
    if (error != NATS_OK)
        return nats_failed("asking for credit", error);
    writer->sent = 0;
    writer->requests++;
    return MR_OK;
}

static int writer_send(void *handle, const void *data, size_t length, unsigned priority)
{
    struct writer *writer = handle;
    (void) priority;
    natsStatus error = natsConnection_Publish(writer->connection, writer->subject, data, (int) length);
    if (error != NATS_OK)
        return nats_failed("natsConnection_Publish", error);
    if (++writer->sent < writer->half)
        return MR_OK;
    int status = credit_request(writer);
    if (status == MR_OK && writer->requests >= CREDIT_REQUESTS)
        status = credit_await(writer, CREDIT_MS);
    return status;
}

static int writer_flush(void *handle, uint32_t timeout_ms)
{
    struct writer *writer = handle;
    int status = writer->sent > 0 ? credit_request(writer) : MR_OK;
    while (status == MR_OK && writer->requests > 0)
        status = credit_await(writer, (int64_t) timeout_ms);
    return status;
}

const struct peer peer_nats = {
    .name = "nats",
    .summary = "NATS core, nats-server on the loopback, C client " NATS_VERSION_STRING
               ", held back by request and reply so that nothing is dropped",
    .size_max = 1024 * 1024, /* max_payload of the server, its default */
    .service_start = service_start,
    .service_stop = nats_service_stop,
    .reader_open = reader_open,
    .reader_run = reader_run,
    .reader_close = reader_close,
    .writer_open = writer_open,
    .writer_send = writer_send,
    .writer_flush = writer_flush,
    .writer_close = writer_close,
};
