/* message.c: what a program does with a message that it was given.
 *
 * Owners  A message is the head of a buffer of the pool: retain and release are the buffer's own reference count, so a
 *         retained message outlives its callback and its reader. */
#include <mailroom/message.h>

#include <stddef.h>

#include "slots/slot_message.h"

_Static_assert(offsetof(struct slot_message, public) == 0, "a public message is the beginning of its slot_message");

static struct buffer *message_buffer(const mr_message *message)
{
    /* The caller's view is const, the memory behind it is not. */
    return slot_message_buffer((struct slot_message *) (uintptr_t) message);
}

const mr_message *mr_message_retain(const mr_message *message)
{
    buffer_retain(message_buffer(message));
    return message;
}

void mr_message_release(const mr_message *message)
{
    if (message != NULL)
        buffer_release(message_buffer(message), NULL);
}

const void *mr_message_data(const mr_message *message)
{
    return message->data;
}

size_t mr_message_length(const mr_message *message)
{
    return message->length;
}

uint64_t mr_message_sequence(const mr_message *message)
{
    return message->sequence;
}

uint32_t mr_message_priority(const mr_message *message)
{
    return message->priority;
}

mr_lane mr_message_lane(const mr_message *message)
{
    return message->lane;
}

int mr_message_redelivered(const mr_message *message)
{
    return message->redelivered != 0;
}

uint64_t mr_message_writer(const mr_message *message)
{
    return message->sender.writer;
}

uint32_t mr_message_pid(const mr_message *message)
{
    return message->sender.pid;
}

uint32_t mr_message_uid(const mr_message *message)
{
    return message->sender.uid;
}

uint32_t mr_message_gid(const mr_message *message)
{
    return message->sender.gid;
}

const char *mr_lane_name(mr_lane lane)
{
    switch (lane) {
    case MR_LANE_NATIVE:
        return "native";
    case MR_LANE_PLAIN:
        return "plain";
    case MR_LANE_RING:
        return "ring";
    case MR_LANE_REMOTE:
        return "remote";
    case MR_LANE_NONE:
        break;
    }
    return "none";
}
