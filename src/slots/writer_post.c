/* writer_post.c: posts messages.
 *
 * Path    mr_writer_post > a copy, made before the lock is taken > queue_push by the policy > a worker, if none comes
 *
 * Owners, invariants G1 to I11: writer_private.h.
 * Drops   What a push drops is told on the posting thread, so that a producer that is too fast carries that work
 *         itself; but a message that is being sent at that moment is the pump's to decide (I4).
 */
#include "slots/writer_private.h"

#include <string.h>

#include "queue/memory.h"
#include "queue/status.h"

static int posting_open(mr_writer *w, struct writer_posting **out)
{
    static const enum queue_policy policies[] = {
        [MR_POLICY_BLOCK] = QUEUE_POLICY_BLOCK,
        [MR_POLICY_FAIL] = QUEUE_POLICY_FAIL,
        [MR_POLICY_DROP_NEWEST] = QUEUE_POLICY_DROP_NEWEST,
        [MR_POLICY_DROP_OLDEST] = QUEUE_POLICY_DROP_OLDEST,
    };
    struct queue_options options = {
        .levels = w->options.levels,
        .policy = policies[w->options.policy],
        .messages_max = w->options.queue_messages,
        .bytes_max = w->options.queue_bytes,
    };
    struct writer_posting *posting = memory_zalloc(sizeof *posting);
    if (posting == NULL)
        return status_fail_plain(MR_E_MEMORY);
    if (!queue_init(&posting->queue, &options)) {
        memory_free(posting);
        return status_fail(MR_E_ARGUMENT, 0, "the bounds of the posted queue cannot be used");
    }
    posting->port = w->options.port;
    if (posting->port == NULL) {
        int status = mr_port_shared_acquire(&posting->port);
        if (status != MR_OK) {
            memory_free(posting);
            return status;
        }
    }
    pump_init(w, posting);
    *out = posting;
    return MR_OK;
}

static void posting_discard(mr_writer *w, struct writer_posting *posting)
{
    if (posting == NULL)
        return;
    if (w->options.port == NULL)
        mr_port_shared_release(posting->port);
    memory_free(posting);
}

/* Sees to it that `w->posting` is there. Lock held, released meanwhile: starting the shared worker takes its time. */
static int posting_ensure(mr_writer *w)
{
    if (w->posting != NULL || w->closing)
        return MR_OK;
    w->inside++;
    writer_unlock(w);
    struct writer_posting *mine = NULL;
    int status = posting_open(w, &mine);
    writer_lock(w);
    if (status == MR_OK && w->posting == NULL && !w->closing) {
        w->posting = mine;
        mine = NULL;
    }
    writer_unlock(w);
    posting_discard(w, mine); /* another thread was first */
    writer_lock(w);
    writer_leave(w);
    return status;
}

/* Policy block: waits for room. Lock held, released meanwhile. */
static int room_wait(mr_writer *w, uint32_t priority, size_t length)
{
    struct priority_queue *queue = &w->posting->queue;
    if (queue_has_room(queue, priority, length))
        return MR_OK;
    if (writer_frame_of(w) != NULL)
        return status_fail(MR_E_CALLBACK, 0, "the queue is full, and this is the writer's own callback");
    uint64_t deadline = clock_deadline(w->options.timeout_ms);
    bool in_time = true;
    mr_port_wait_begin();
    w->inside++;
    while (!w->closing && in_time && !queue_has_room(queue, priority, length))
        in_time = writer_watch(w, deadline);
    w->inside--;
    mr_port_wait_end();
    if (w->closing) {
        condition_broadcast(&w->changed);
        return status_fail(MR_E_STOPPED, 0, "the writer is being closed");
    }
    if (!queue_has_room(queue, priority, length))
        return status_fail(MR_E_TIMEOUT, 0, "the posted queue stayed full for %u ms", w->options.timeout_ms);
    return MR_OK;
}

/* Where the oldest of a level was, for its gap (I11). */
static uint64_t *gap_behind(mr_writer *w, uint32_t level)
{
    struct queue_node *next = w->posting->queue.level[level].first;
    return next != NULL ? &message_of(next)->gap : &w->posting->gaps[level];
}

/* Takes over what a push has dropped; `told` is what this thread has to tell. */
static void drops_take(mr_writer *w, struct queue_node *node, struct message_list *told)
{
    while (node != NULL) {
        struct queue_node *next = node->next;
        struct writer_message *message = message_of(node);
        if (message == w->posting->sending) {
            message->dropped = true; /* I4 */
        } else {
            w->counts.dropped_oldest++;
            w->losses++;
            w->gaps_owed = w->acknowledges;
            *gap_behind(w, message->node.level) += message->gap + 1;
            message->status = MR_E_DROPPED;
            if (message->on_posted != NULL)
                message_list_append(told, message);
            else
                memory_free(message);
        }
        node = next;
    }
}

/* Queues by the policy. Lock held. */
static int push(mr_writer *w, struct writer_message *message, uint32_t priority, struct message_list *told)
{
    if (w->closing)
        return status_fail(MR_E_STOPPED, 0, "the writer is being closed");
    if (w->max_message != 0 && message->length > w->max_message)
        return status_fail(MR_E_TOO_BIG, 0, "%zu bytes; the slot takes messages of up to %zu bytes", message->length,
                           w->max_message);
    if (w->options.policy == MR_POLICY_BLOCK) {
        int status = room_wait(w, priority, message->length);
        if (status != MR_OK)
            return status;
    }
    struct queue_node *dropped = NULL;
    switch (queue_push(&w->posting->queue, &message->node, priority, message->length, &dropped)) {
    case QUEUE_QUEUED:
        break;
    case QUEUE_FULL:
        return status_fail(MR_E_FULL, 0, "%zu messages of %zu bytes wait to be sent", w->posting->queue.messages,
                           w->posting->queue.bytes);
    case QUEUE_DROPPED_NEWEST:
        w->counts.dropped_newest++;
        w->posting->gaps[priority]++;
        w->gaps_owed = w->acknowledges;
        return status_fail(MR_E_DROPPED, 0, "%zu messages of %zu bytes wait to be sent", w->posting->queue.messages,
                           w->posting->queue.bytes);
    }
    message->ticket = w->tickets++;
    message->gap = w->posting->gaps[priority];
    w->posting->gaps[priority] = 0;
    w->counts.posted++;
    drops_take(w, dropped, told);
    pump_arrived(w, priority);
    if (w->role == PUMP_IDLE || (w->role == PUMP_PARKED && w->reason == PUMP_ROOM && priority >= w->blocked_from)) {
        w->role = PUMP_PARKED; /* I2 */
        w->reason = PUMP_TURN;
        if (!w->working)
            pump_arm(w);
    }
    return MR_OK;
}

static void tell_drops(mr_writer *w, struct message_list *told)
{
    bool close = writer_tell_dropped(w, told);
    writer_lock(w);
    writer_leave(w);
    writer_unlock(w);
    if (close)
        (void) writer_close_now(w, NULL, true);
}

int mr_writer_post(mr_writer *writer, const void *data, size_t length, uint32_t priority, mr_on_posted on_posted,
                   void *context)
{
    mr_writer *w = writer;
    int status = writer_check_message(w, data, length, priority);
    if (status != MR_OK)
        return status;
    if (length > SIZE_MAX - sizeof(struct writer_message))
        return status_fail_plain(MR_E_TOO_BIG);
    struct writer_message *message = memory_alloc(sizeof *message + length);
    if (message == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a copy of %zu bytes", length);
    *message = (struct writer_message){.on_posted = on_posted, .context = context, .length = length};
    if (length > 0)
        memcpy(message->data, data, length);
    struct message_list told = {NULL, NULL};
    writer_lock(w);
    status = posting_ensure(w);
    if (status == MR_OK)
        status = push(w, message, priority, &told);
    w->inside += told.first != NULL;
    writer_unlock(w);
    if (status != MR_OK)
        memory_free(message);
    if (told.first != NULL)
        tell_drops(w, &told);
    return status;
}
