/* slot_message.h: what stands in front of a message's data in its pooled buffer. */
#ifndef SLOTS_SLOT_MESSAGE_H
#define SLOTS_SLOT_MESSAGE_H

#include <stdatomic.h>

#include <mailroom/message.h>

#include "queue/buffer_pool.h"
#include "queue/priority_queue.h"

/* Says which message a slot_acknowledge means; all zeros where there is nothing to acknowledge. The backend fills it, the
 * backend alone reads it. It may outlive the slot. */
struct slot_token {
    void *window;
    uint64_t generation;
    uint64_t number;
};

/* The pool's header (pool_options.header_bytes is its size). The lane fills `public` but for data and length, which
 * slot_message_finish sets, and `token`; the reader fills the rest, and its queue owns `node`. */
struct slot_message {
    struct mr_message public;
    struct queue_node node;
    struct slot_token token;
    uint32_t process; /* process_generation() of the reader: in a forked child nothing is acknowledged */
    _Atomic uint32_t acknowledge_at_release; /* 1: mr_message_release acknowledges (mr_reader_receive) */
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

/* The same, once it points there: `data` is the buffer's. */
static inline void slot_message_resize(struct buffer *buffer, char *data, size_t length)
{
    data[length] = 0;
    data[length + 1] = 0;
    buffer->length = length;
    slot_message_of(buffer)->public.length = length;
}

#endif
