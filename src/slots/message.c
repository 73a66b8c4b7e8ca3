/* message.c: what a program does with a message that it was given.
 *
 * Owners  A message is the head of a buffer of the pool: retain and release are the buffer's own reference count, so a
 *         retained message outlives its callback and its reader.
 * A1      acknowledge_at_release is exchanged, so of several releases one acknowledges. The token does not change as long
 *         as there is a reference, and may outlive its slot: acknowledging a second time, or too late, does nothing. */
#include <mailroom/message.h>

#include <stddef.h>

#include "queue/status.h"
#include "queue/thread.h"
#include "slots/backend.h"
#include "slots/slot_message.h"

_Static_assert(offsetof(struct slot_message, public) == 0, "a public message is the beginning of its slot_message");

static struct slot_message *message_inner(const mr_message *message)
{
    /* The caller's view is const, the memory behind it is not. */
    return (struct slot_message *) (uintptr_t) message;
}

const mr_message *mr_message_retain(const mr_message *message)
{
    buffer_retain(slot_message_buffer(message_inner(message)));
    return message;
}

void mr_message_release(const mr_message *message)
{
    if (message == NULL)
        return;
    struct slot_message *inner = message_inner(message);
    if (atomic_load_explicit(&inner->acknowledge_at_release, memory_order_relaxed) != 0 &&
        atomic_exchange_explicit(&inner->acknowledge_at_release, 0, memory_order_relaxed) != 0 && /* A1 */
        inner->process == process_generation())
        slot_acknowledge(&inner->token);
    buffer_release(slot_message_buffer(inner), NULL);
}

int mr_message_acknowledge(const mr_message *message)
{
    if (message == NULL)
        return status_fail(MR_E_ARGUMENT, 0, "mr_message_acknowledge needs a message");
    const struct slot_message *inner = message_inner(message);
    if (inner->process != process_generation())
        return status_fail_plain(MR_E_FORKED);
    slot_acknowledge(&inner->token);
    return MR_OK;
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
