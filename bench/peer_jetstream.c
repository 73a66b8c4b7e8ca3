/* peer_jetstream.c: NATS JetStream, a stream stored in files, through a nats-server of the bench's own and the C client.
 *
 * Path    writer_send ► js_PublishAsync ► the server stores it and acknowledges ► push consumer ► natsSubscription_NextMsg
 *         ► sink ► natsMsg_Ack
 * Owners  The stream belongs to the reader, which makes and deletes it. A message that was received is kept until the
 *         acknowledgement that covers it.
 * I1      At least once: a writer has at most PENDING messages that the server has not acknowledged, and waits beyond that;
 *         writer_flush waits for all. A message that the server refused fails the writer's next call.
 * I2      The reader acknowledges each message and all before it (AckAll) after a quarter of what the server sends ahead, and
 *         when nothing has come for PEER_LOOK_MS: long before the server would send anything again.
 * I3      The stream keeps messages until they are acknowledged (interest), STREAM_BYTES at most, and refuses more.
 */
#include "peer.h"

#include <stdio.h>
#include <string.h>

#include "nats_end.h"
#include "nats_service.h"
#include "peer_tools.h"
#include "queue/memory.h"

#define PENDING_BYTES ((size_t) 4 * 1024 * 1024)
#define PENDING_LEAST 16u
#define PENDING_MOST  1024u
#define AHEAD_BYTES   ((size_t) 16 * 1024 * 1024)
#define AHEAD_LEAST   64u
#define AHEAD_MOST    8192u
#define STREAM_BYTES  ((int64_t) 2 * 1024 * 1024 * 1024)
#define WAIT_MS       60000

static int service_start(void **service, const char *directory, char *address)
{
    return nats_service_start(service, directory, address, true);
}

struct reader {
    natsConnection *connection;
    jsCtx *js;
    natsSubscription *subscription;
    natsMsg *unacknowledged; /* the last one; those before it were destroyed */
    unsigned held;           /* messages that the next acknowledgement covers */
    unsigned acknowledge_at;
    unsigned slots;
    size_t prefix; /* bytes of a subject before the slot's number */
    bool stream;   /* was made */
    char name[64];
};

static void reader_close(void *handle)
{
    struct reader *reader = handle;
    natsMsg_Destroy(reader->unacknowledged);
    natsSubscription_Destroy(reader->subscription);
    if (reader->stream)
        (void) js_DeleteStream(reader->js, reader->name, NULL, NULL);
    jsCtx_Destroy(reader->js);
    nats_disconnect(reader->connection);
    memory_free(reader);
}

static int js_failed(const char *what, natsStatus error, jsErrCode code)
{
    if (code == 0)
        return nats_failed(what, error);
    return status_fail(MR_E_SYSTEM, 0, "%s failed: %s (JetStream's error %d)", what, natsStatus_GetText(error),
                       (int) code);
}

static int stream_make(struct reader *reader, const char *subject)
{
    jsErrCode code = 0;
    jsStreamConfig stream;
    (void) jsStreamConfig_Init(&stream);
    stream.Name = reader->name;
    stream.Subjects = &subject;
    stream.SubjectsLen = 1;
    stream.Storage = js_FileStorage;
    stream.Retention = js_InterestPolicy;
    stream.Discard = js_DiscardNew;
    stream.MaxBytes = STREAM_BYTES;
    natsStatus error = js_AddStream(NULL, reader->js, &stream, NULL, &code);
    if (error != NATS_OK)
        return js_failed("js_AddStream", error, code);
    reader->stream = true;
    return MR_OK;
}

static int reader_subscribe(struct reader *reader, const struct peer_options *options)
{
    char subject[SUBJECT_ROOM];
    nats_subject_all(subject, options);
    reader->prefix = strlen(subject) - 1;
    natsStatus error = natsConnection_JetStream(&reader->js, reader->connection, NULL);
    if (error != NATS_OK)
        return nats_failed("natsConnection_JetStream", error);
    int status = stream_make(reader, subject);
    if (status != MR_OK)
        return status;
    unsigned ahead = depth_for(options->size, AHEAD_BYTES, AHEAD_LEAST, AHEAD_MOST);
    reader->acknowledge_at = ahead / 4;
    jsErrCode code = 0;
    jsSubOptions consumer;
    (void) jsSubOptions_Init(&consumer);
    consumer.Stream = reader->name;
    consumer.ManualAck = true;
    consumer.Config.AckPolicy = js_AckAll;
    consumer.Config.MaxAckPending = ahead;
    error = js_SubscribeSync(&reader->subscription, reader->js, subject, NULL, &consumer, &code);
    if (error == NATS_OK)
        error = natsSubscription_SetPendingLimits(reader->subscription, -1, -1);
    return error == NATS_OK ? MR_OK : js_failed("js_SubscribeSync", error, code);
}

static int reader_open(void **handle, const struct peer_options *options)
{
    struct reader *reader = memory_zalloc(sizeof *reader);
    if (reader == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a reader");
    reader->slots = options->slots;
    (void) snprintf(reader->name, sizeof reader->name, "%s", options->name);
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

static int reader_acknowledge(struct reader *reader)
{
    if (reader->unacknowledged == NULL)
        return MR_OK;
    natsStatus error = natsMsg_Ack(reader->unacknowledged, NULL);
    natsMsg_Destroy(reader->unacknowledged);
    reader->unacknowledged = NULL;
    reader->held = 0;
    return error == NATS_OK ? MR_OK : nats_failed("natsMsg_Ack", error);
}

static int message_take(struct reader *reader, natsMsg *message, peer_sink sink, void *context)
{
    natsMsg_Destroy(reader->unacknowledged);
    reader->unacknowledged = message;
    int status = nats_deliver(message, reader->prefix, reader->slots, sink, context);
    if (status == MR_OK && ++reader->held >= reader->acknowledge_at)
        status = reader_acknowledge(reader);
    return status;
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
        else if (error == NATS_TIMEOUT)
            status = reader_acknowledge(reader);
        else
            status = nats_failed("natsSubscription_NextMsg", error);
    }
    return status;
}

struct writer {
    natsConnection *connection;
    jsCtx *js;
    atomic_int refused; /* 0, or why the server took no message; set by the client's thread */
    char subject[SUBJECT_ROOM];
};

static void writer_close(void *handle)
{
    struct writer *writer = handle;
    jsCtx_Destroy(writer->js);
    nats_disconnect(writer->connection);
    memory_free(writer);
}

static void publish_refused(jsCtx *js, jsPubAckErr *refusal, void *context)
{
    struct writer *writer = context;
    (void) js;
    /* Without a code of JetStream's the client itself gave up. */
    int code = refusal->ErrCode != 0 ? (int) refusal->ErrCode : (int) refusal->Err;
    atomic_store_explicit(&writer->refused, code, memory_order_release);
}

static int refusal_check(struct writer *writer)
{
    int code = atomic_load_explicit(&writer->refused, memory_order_acquire);
    if (code == 0)
        return MR_OK;
    return status_fail(MR_E_SYSTEM, 0, "the stream refused a message (error %d)", code);
}

static int writer_open(void **handle, const struct peer_options *options, unsigned slot, unsigned connection)
{
    (void) connection;
    struct writer *writer = memory_zalloc(sizeof *writer);
    if (writer == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a writer");
    nats_subject(writer->subject, options, slot);
    jsOptions settings;
    (void) jsOptions_Init(&settings);
    settings.PublishAsync.MaxPending = depth_for(options->size, PENDING_BYTES, PENDING_LEAST, PENDING_MOST);
    settings.PublishAsync.StallWait = WAIT_MS;
    settings.PublishAsync.ErrHandler = publish_refused;
    settings.PublishAsync.ErrHandlerClosure = writer;
    int status = nats_connect(&writer->connection, options, options->prompt);
    if (status == MR_OK) {
        natsStatus error = natsConnection_JetStream(&writer->js, writer->connection, &settings);
        if (error != NATS_OK)
            status = nats_failed("natsConnection_JetStream", error);
    }
    if (status != MR_OK) {
        writer_close(writer);
        return status;
    }
    *handle = writer;
    return MR_OK;
}

static int writer_send(void *handle, const void *data, size_t length, unsigned priority)
{
    struct writer *writer = handle;
    (void) priority;
    int status = refusal_check(writer);
    if (status != MR_OK)
        return status;
    natsStatus error = js_PublishAsync(writer->js, writer->subject, data, (int) length, NULL);
    return error == NATS_OK ? MR_OK : nats_failed("js_PublishAsync", error);
}

static int writer_flush(void *handle, uint32_t timeout_ms)
{
    struct writer *writer = handle;
    jsPubOptions options;
    (void) jsPubOptions_Init(&options);
    options.MaxWait = (int64_t) timeout_ms;
    natsStatus error = js_PublishAsyncComplete(writer->js, &options);
    return error == NATS_OK ? refusal_check(writer) : nats_failed("js_PublishAsyncComplete", error);
}

const struct peer peer_jetstream = {
    .name = "jetstream",
    .summary =
        "NATS JetStream, a stream in files, published asynchronously, acknowledged by server and reader, C client " NATS_VERSION_STRING,
    .size_max = 1024 * 1024 - 512, /* max_payload of the server, less a header */
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
