/* slot_message.h: what stands in front of a message's data in its pooled buffer. */
#ifndef SLOTS_SLOT_MESSAGE_H
#define SLOTS_SLOT_MESSAGE_H

#include <mailroom/message.h>

#include "queue/buffer_pool.h"
#include "queue/priority_queue.h"

/* The pool's header (pool_options.header_bytes is its size). The lane fills `public` but for data and length, which
 * slot_message_finish sets; the reader's queue owns `node`. */
struct slot_message {
    struct mr_message public;
    struct queue_node node;
};

static inline struct slot_message *slot_message_of(struct buffer *buffer)
{
    return buffer_header(buffer);
}

static inline struct buffer *slot_message_buffer(struct slot_message *message)
{
    return buffer_of_header(message);
}

/* Says how long the message is, ends it with two NUL bytes, and points `public` at it. To be called (again) whenever
 * the message has got another buffer. */
static inline void slot_message_finish(struct buffer *buffer, size_t length)
{
    struct slot_message *message = slot_message_of(buffer);
    buffer_set_length(buffer, length);
    message->public.data = buffer_data(buffer);
    message->public.length = length;
}

#endif
