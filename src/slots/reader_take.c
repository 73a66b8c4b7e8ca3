/* reader_take.c: from the lanes into the reader.
 *
 * Path    slot_take > reader_deliver > on_message, there and then (a ring's message, which is its writer's until it is
 *         acknowledged) or a batch > the queue
 * Owners  The batch, the budget, the counts of direct messages and what may be kept yet: the thread that has set
 *         `taking`. Everything else in reader.c.
 * T1      A message goes directly to on_message only in a turn, and a turn takes only when the queue is empty (but for
 *         urgent messages). So what waits in the queue is older than what is handed over directly, also after a rename.
 * T2      An urgent message in the batch ends the taking: it comes before further messages that would be handed over
 *         directly.
 * T3      A direct message is counted before its callback: who looks inside the callback finds it taken and delivered.
 */
#include "queue/seldom.h"
#include "slots/reader_private.h"

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* What is left of `all` after `part`; nothing, where it is less. */
static size_t rest(size_t all, size_t part)
{
    return part < all ? all - part : 0;
}

static void count_add(_Atomic uint64_t *counter, uint64_t amount)
{
    /* One writer at a time: no need for an atomic addition. */
    uint64_t old = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, old + amount, memory_order_relaxed);
}

/* ---- one message ---- */

static SELDOM void deliver_publish(mr_reader *reader)
{
    reader->budget->ticked = false;
    mutex_lock(&reader->lock);
    reader_publish_sometimes(reader);
    mutex_unlock(&reader->lock);
}

static SEPARATE enum slot_delivered deliver_later(mr_reader *reader, struct slot_message *message)
{
    struct mr_message *public = &message->public;
    if (public->priority == MR_NORMAL && public->lane != MR_LANE_RING && reader->classify != NULL) {
        uint32_t level = reader->classify(public, reader->context);
        public->priority = level < reader->levels ? level : reader->levels - 1;
    }
    struct queue_node *node = &message->node;
    *node = (struct queue_node){0};
    if (reader->batch_first == NULL)
        reader->batch_first = node;
    else
        reader->batch_last->next = node;
    reader->batch_last = node;
    reader->keep_messages = rest(reader->keep_messages, 1);
    reader->keep_bytes = rest(reader->keep_bytes, public->length);
    if (reader->keep_messages == 0 || reader->keep_bytes == 0 ||
        (reader->on_message != NULL && public->priority > MR_NORMAL)) /* T2 */
        reader->budget->stop = true;
    return DELIVERED_KEPT;
}

enum slot_delivered reader_deliver(void *context, struct buffer *buffer)
{
    mr_reader *reader = context;
    struct slot_message *message = slot_message_of(buffer);
    message->process = reader->generation;
    atomic_store_explicit(&message->acknowledge_at_release, 0, memory_order_relaxed);
    if (reader->on_message == NULL || message->public.lane != MR_LANE_RING)
        return deliver_later(reader, message);
    if (reader_halted(reader)) /* H1 */
        return DELIVERED_REFUSED;
    count_add(&reader->direct_messages, 1); /* T3 */
    count_add(&reader->direct_bytes, message->public.length);
    if (reader->budget->ticked)
        deliver_publish(reader);
    reader->on_message(reader, &message->public, reader->context);
    if (reader_halted(reader))
        reader->budget->stop = true;
    return DELIVERED_DONE;
}

/* ---- many ---- */

static void batch_queue(mr_reader *reader)
{
    struct queue_node *node = reader->batch_first;
    reader->batch_first = reader->batch_last = NULL;
    while (node != NULL) {
        struct queue_node *next = node->next;
        const mr_message *message = &message_of_node(node)->public;
        reader->messages++;
        reader->bytes += message->length;
        unsigned level = message->priority < reader->levels ? message->priority : reader->levels - 1;
        node->next = NULL;
        (void) queue_push(&reader->queue, node, level, message->length, NULL); /* there is room: I1 */
        node = next;
    }
}

static enum slot_taken take(mr_reader *reader, struct pool_cache *cache, struct slot_budget *budget, size_t *wanted)
{
    reader->budget = budget;
    reader->taking = true;
    mutex_unlock(&reader->lock);
    enum slot_taken taken = slot_take(reader->slot, cache, budget, wanted);
    mutex_lock(&reader->lock);
    reader->taking = false;
    reader->budget = NULL;
    batch_queue(reader);
    if (reader->inside > 0 || reader->closing)
        condition_broadcast(&reader->changed);
    if (reader->leading && reader->queue.messages > 0)
        slot_wake(reader->slot); /* who waits for arrivals does not see what has arrived already */
    return taken;
}

/* The queue's bytes with the share that is kept for urgent messages. */
static size_t queue_bytes_most(const mr_reader *reader)
{
    size_t share = reader->queue_bytes / URGENT_BYTES_DIVISOR;
    return share < SIZE_MAX - reader->queue_bytes ? reader->queue_bytes + share + 1 : SIZE_MAX;
}

/* How many urgent messages there is room for. */
static size_t urgent_room(const mr_reader *reader)
{
    if (reader->queue.bytes >= queue_bytes_most(reader))
        return 0;
    return least(URGENT_MESSAGES, rest(reader->queue_messages + URGENT_MESSAGES, reader->queue.messages));
}

enum slot_taken reader_take(mr_reader *reader, struct pool_cache *cache, size_t messages, size_t bytes, uint64_t now,
                            size_t *wanted)
{
    size_t room_messages = rest(reader->queue_messages, reader->queue.messages);
    size_t room_bytes = rest(reader->queue_bytes, reader->queue.bytes);
    struct slot_budget budget = {
        .messages = messages, .bytes = bytes, .now = now, .brisk = messages > TURN_MESSAGES, .linger = reader->lingers};
    reader->keep_messages = room_messages;
    reader->keep_bytes = room_bytes;
    if (reader->on_message == NULL) { /* everything goes into the queue */
        budget.messages = least(messages, room_messages);
        budget.bytes = least(bytes, room_bytes);
    }
    return take(reader, cache, &budget, wanted);
}

enum slot_taken reader_take_urgent(mr_reader *reader, struct pool_cache *cache, size_t messages, size_t *wanted)
{
    struct slot_budget budget = {.urgent = least(messages, urgent_room(reader))};
    reader->keep_messages = SIZE_MAX;
    reader->keep_bytes = rest(queue_bytes_most(reader), reader->queue.bytes);
    return take(reader, cache, &budget, wanted);
}

bool reader_sees_urgent(mr_reader *reader)
{
    return !reader_halted(reader) && !reader_holds_urgent(reader) && urgent_room(reader) > 0 &&
           slot_urgent(reader->slot);
}
