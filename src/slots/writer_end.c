/* writer_end.c: gives a writer another slot, and ends it.
 *
 * Path    mr_writer_rename > wait for what was posted before > claim the role > drop the rest > link_rename
 *         mr_writer_close  > closing > everybody leaves > claim the role > linger: [ pump_run > pump_wait ]*
 *                          > tell > cancel > the last packet > writer_free
 *
 * Owners, invariants G1 to I11: writer_private.h.
 * Close   The closing thread sends and tells itself, so that it needs no worker but for the packets that are pending.
 *         On a worker of the writer's own port it does not wait for these either (it could be the only worker): the
 *         last packet's handler frees the writer. Inside the writer's own callback the close is done by the same
 *         thread as soon as it has left the callback.
 */
#include "slots/writer_private.h"

#include "queue/memory.h"
#include "queue/status.h"

/* ---- rename ---- */

/* Waits until nothing posted before `ticket` waits and all that was handed over is acknowledged, or it is known that the old
 * slot does not take it. Lock held. */
static void rename_linger(mr_writer *w, uint64_t ticket)
{
    uint64_t deadline = clock_deadline(w->options.linger_ms);
    uint64_t absences = w->absences;
    bool in_time = true;
    if (writer_oldest(w) < ticket)
        pump_hurry(w);
    mr_port_wait_begin();
    while (!w->closing && in_time && writer_oldest(w) < ticket && w->absences == absences)
        in_time = writer_watch(w, deadline);
    mr_port_wait_end();
    if (w->acknowledges)
        (void) flush_acknowledged(w, deadline, false); /* what it has not brought is counted */
}

/* Takes what is older than `ticket` out of the queue. With the role, lock held. */
static uint64_t rename_leave_behind(mr_writer *w, uint64_t ticket)
{
    uint64_t count = 0;
    if (w->posting == NULL)
        return count;
    struct priority_queue *queue = &w->posting->queue;
    for (uint32_t level = 0; level < w->options.levels; level++) {
        for (;;) {
            struct queue_node *node = queue->level[level].first;
            struct writer_message *message = (struct writer_message *) (void *) node;
            if (message == NULL || message->ticket >= ticket)
                break;
            (void) queue_remove(queue, node);
            writer_message_finish(w, message, MR_E_UNDELIVERED);
            count++;
        }
    }
    return count;
}

static int rename_to(mr_writer *w, const struct slot_name *name)
{
    uint64_t ticket = w->tickets;
    rename_linger(w, ticket);
    if (w->closing)
        return status_fail(MR_E_STOPPED, 0, "the writer is being closed");
    pump_claim(w);
    writer_gaps_hand(w);
    if (w->gaps_owed && link_connected(w->link))
        (void) link_tell_gaps(w->link); /* there is no other occasion */
    writer_look(w);
    uint64_t left = w->counts.unacknowledged;
    int status = w->closing ? status_fail(MR_E_STOPPED, 0, "the writer is being closed") : link_rename(w->link, name);
    if (status == MR_OK) {
        w->max_message = link_max_message(w->link);
        w->gaps_owed = false;
        w->losses += left;
        w->backlog = 0;
        left += rename_leave_behind(w, ticket);
        w->counts.undelivered += left;
        pump_back_off_end(w);
        flush_end(w, MR_OK); /* nothing of theirs is left; the losses are told */
        if (left > 0)
            status = status_fail(MR_E_UNDELIVERED, 0, "%llu messages did not get to the old slot",
                                 (unsigned long long) left);
    }
    pump_release(w, PUMP_BUDGET);
    return status;
}

int mr_writer_rename(mr_writer *writer, const char *name)
{
    mr_writer *w = writer;
    int status = writer_check(w);
    if (status != MR_OK)
        return status;
    if (name == NULL)
        return status_fail(MR_E_ARGUMENT, 0, "the name is NULL");
    if (writer_frame_of(w) != NULL)
        return status_fail(MR_E_CALLBACK, 0, "rename would wait for the callback that it is called in");
    struct slot_name parsed;
    status = name_parse(&parsed, name);
    if (status != MR_OK)
        return status;
    writer_lock(w);
    if (w->closing) {
        status = status_fail(MR_E_STOPPED, 0, "the writer is being closed");
    } else if (!link_is_named(w->link, &parsed)) {
        w->inside++;
        status = rename_to(w, &parsed);
        writer_leave(w);
    }
    writer_unlock(w);
    return status;
}

/* ---- close ---- */

static bool close_owes(mr_writer *w)
{
    if (w->posting != NULL && w->posting->queue.messages > 0)
        return true;
    writer_look(w);
    return w->counts.unacknowledged > 0;
}

/* Gaps that are told nowhere connect for their own sake now, once: there is no other occasion. With the role, lock held. */
static void close_connect(mr_writer *w)
{
    struct status_memo before;
    writer_gaps_hand(w);
    if (!w->gaps_owed || link_connected(w->link))
        return;
    status_save(&before);
    writer_unlock(w);
    int status = link_connect(w->link, 0);
    writer_lock(w);
    w->counts.connects += status == MR_OK;
    status_restore(&before); /* an absent slot has nobody to be told */
}

/* Sends what is posted, and waits for what is unacknowledged, for linger_ms at the most. With the role, lock held. */
static void close_linger(mr_writer *w)
{
    uint64_t deadline = clock_deadline(w->options.linger_ms);
    mr_port_wait_begin();
    close_connect(w);
    while (close_owes(w) || w->gaps_owed) {
        enum pump_end end = pump_run(w, NULL);
        if (!close_owes(w) || clock_now() >= deadline)
            break;
        if (end != PUMP_BUDGET)
            pump_wait(w, end, deadline);
    }
    mr_port_wait_end();
    writer_look(w);
}

static void close_posting(mr_writer *w)
{
    if (w->posting == NULL)
        return;
    struct queue_node *node = queue_drain(&w->posting->queue);
    while (node != NULL) {
        struct queue_node *next = node->next;
        w->counts.undelivered++;
        w->undelivered++;
        writer_message_finish(w, (struct writer_message *) (void *) node, MR_E_UNDELIVERED);
        node = next;
    }
    (void) writer_tell(w);
}

/* Brings the pending packets back. Returns true when the caller is to free the writer. Lock held. */
static bool close_packets(mr_writer *w)
{
    if (!writer_pending(w))
        return true;
    port *p = mr_port_backend(w->posting->port);
    port_cancel(p, &w->posting->turn.operation);
    port_cancel(p, &w->posting->room.operation);
    port_cancel(p, &w->posting->retry.operation);
    if (mr_port_is_worker(w->posting->port)) {
        w->ended = true; /* I7 */
        return false;
    }
    mr_port_wait_begin(); /* this may be a worker of another port */
    while (writer_pending(w))
        (void) writer_watch(w, CLOCK_NEVER);
    mr_port_wait_end();
    return true;
}

int writer_close_now(mr_writer *w, uint64_t *undelivered, bool tell_closed)
{
    writer_lock(w);
    pump_claim(w);
    mr_port_wait_begin();
    while (w->inside > 0 || w->working)
        (void) writer_watch(w, CLOCK_NEVER);
    mr_port_wait_end();
    w->working = true;
    close_linger(w);
    w->undelivered = w->counts.unacknowledged;
    close_posting(w);
    link_disconnect(w->link);
    uint64_t lost = w->undelivered;
    w->tell_closed = tell_closed;
    bool mine = close_packets(w);
    writer_unlock(w);
    if (mine)
        writer_free(w);
    if (undelivered != NULL)
        *undelivered = lost;
    if (lost == 0)
        return MR_OK;
    return status_fail(MR_E_UNDELIVERED, 0, "%llu messages did not get across", (unsigned long long) lost);
}

void writer_free(mr_writer *w)
{
    mr_writer_on_closed on_closed = w->tell_closed ? w->options.on_closed : NULL;
    void *context = w->options.context;
    uint64_t undelivered = w->undelivered;
    struct mr_port *given = w->options.port;
    struct mr_port *shared = given == NULL && w->posting != NULL ? w->posting->port : NULL;
    link_close(w->link, false);
    condition_destroy(&w->changed);
    mutex_destroy(&w->lock);
    memory_free(w->posting);
    if (given != NULL)
        mr_port_unbind_writer(given);
    if (shared != NULL)
        mr_port_shared_release(shared);
    if (on_closed != NULL)
        on_closed(w, undelivered, context);
    memory_free(w);
}

static void list_free(struct queue_node *node)
{
    while (node != NULL) {
        struct queue_node *next = node->next;
        memory_free(node);
        node = next;
    }
}

/* In a forked child: its copies go, the parent's writer is not touched. */
static int close_in_child(mr_writer *w)
{
    link_close(w->link, true);
    /* If the lock is held, a thread of the parent was changing the lists when it forked: then they stay as they are. */
    if (mutex_try_lock(&w->lock)) {
        if (w->posting != NULL) {
            list_free(queue_drain(&w->posting->queue));
            list_free(w->posting->finished.first == NULL ? NULL : &w->posting->finished.first->node);
        }
        mutex_unlock(&w->lock);
        memory_free(w->posting);
        memory_free(w);
    }
    return status_fail(MR_E_FORKED, 0, "the writer was opened before the fork, and lives on in the parent process");
}

int mr_writer_close(mr_writer *writer, uint64_t *undelivered)
{
    mr_writer *w = writer;
    if (undelivered != NULL)
        *undelivered = 0;
    if (w == NULL)
        return MR_OK;
    if (w->generation != process_generation())
        return close_in_child(w);
    struct writer_frame *frame = writer_frame_of(w);
    writer_lock(w);
    if (w->closing) {
        writer_unlock(w);
        return status_fail(MR_E_STOPPED, 0, "the writer is being closed already");
    }
    w->closing = true;
    for (struct writer_waiter *waiter = w->line; waiter != NULL; waiter = waiter->next)
        condition_signal(&waiter->changed);
    condition_broadcast(&w->changed);
    writer_unlock(w);
    if (frame != NULL) {
        frame->close = true;
        return MR_OK;
    }
    return writer_close_now(w, undelivered, false);
}
