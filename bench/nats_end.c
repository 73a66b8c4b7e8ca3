/* nats_end.c: see nats_end.h. Nothing here is kept between calls: connections belong to whoever opened them. */
#include "nats_end.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int nats_failed(const char *what, natsStatus error)
{
    natsStatus kept = NATS_OK;
    const char *sentence = nats_GetLastError(&kept);
    if (kept != error || sentence == NULL || sentence[0] == '\0')
        sentence = natsStatus_GetText(error);
    return status_fail(MR_E_SYSTEM, 0, "%s failed: %s", what, sentence);
}

int nats_connect(natsConnection **connection, const struct peer_options *options, bool asap)
{
    natsOptions *settings = NULL;
    natsStatus error = natsOptions_Create(&settings);
    if (error == NATS_OK)
        error = natsOptions_SetURL(settings, options->address);
    if (error == NATS_OK)
        error = natsOptions_SetSendAsap(settings, asap);
    if (error == NATS_OK)
        error = natsOptions_SetAllowReconnect(settings, false);
    if (error == NATS_OK)
        error = natsConnection_Connect(connection, settings);
    int status = error == NATS_OK ? MR_OK : nats_failed("connecting to nats-server", error);
    natsOptions_Destroy(settings);
    return status;
}

void nats_disconnect(natsConnection *connection)
{
    if (connection == NULL)
        return;
    natsConnection_Close(connection);
    natsConnection_Destroy(connection);
}

void nats_subject(char *subject, const struct peer_options *options, unsigned slot)
{
    (void) snprintf(subject, SUBJECT_ROOM, "%s.%u", options->name, slot);
}

void nats_subject_all(char *subject, const struct peer_options *options)
{
    (void) snprintf(subject, SUBJECT_ROOM, "%s.*", options->name);
}

int nats_deliver(natsMsg *message, size_t prefix, unsigned slots, peer_sink sink, void *context)
{
    const char *subject = natsMsg_GetSubject(message);
    unsigned long slot = strlen(subject) > prefix ? strtoul(subject + prefix, NULL, 10) : slots;
    if (slot >= slots)
        return status_fail(MR_E_PROTOCOL, 0, "a message on the subject %s", subject);
    sink(context, (unsigned) slot, natsMsg_GetData(message), (size_t) natsMsg_GetDataLength(message));
    return MR_OK;
}
