/* writer_pump.c: sends what waits in a writer's line and queue, on whatever thread has the pump role, and tells.
 *
 * Path    pump_run: pick the next > release the lock > link_connect, link_send > take the lock > finish it
 *         a thread in mr_writer_write: claims the role > [ pump_run > pump_wait ]* > pump_release
 *         a worker of the port: packet > pump_turn: pump_run > pump_release > writer_tell > pump_arm
 *
 * Owners, invariants I1 to I7: writer_private.h.
 * Absent  A failed attempt counts for every waiter that was in the line when it began; two of them and the waiter has
 *         its MR_E_NO_SLOT. Posted messages stay; their back-off is parked as PUMP_RETRY, and an attempt that a writing
 *         thread makes in between neither ends nor lengthens it.
 */
#include "slots/writer_private.h"

#include <assert.h>

#include "queue/memory.h"

static _Thread_local struct writer_frame *frames;

/* ---- the line ---- */

void writer_line_join(mr_writer *w, struct writer_waiter *waiter)
{
    waiter->ticket = w->tickets++;
    struct writer_waiter **link = &w->line;
    while (*link != NULL && (*link)->level >= waiter->level)
        link = &(*link)->next;
    waiter->next = *link;
    *link = waiter;
}

static void line_take_out(mr_writer *w, struct writer_waiter *waiter)
{
    struct writer_waiter **link = &w->line;
    while (*link != waiter)
        link = &(*link)->next;
    *link = waiter->next;
}

void writer_line_leave(mr_writer *w, struct writer_waiter *waiter)
{
    while (w->sending_waiter == waiter) /* I4 */
        condition_wait(&waiter->changed, &w->lock);
    if (!waiter->done)
        line_take_out(w, waiter);
}

void writer_line_finish(mr_writer *w, struct writer_waiter *waiter, int status)
{
    line_take_out(w, waiter);
    waiter->status = status;
    waiter->done = true;
    condition_signal(&waiter->changed);
}

/* An attempt that began when `seen` tickets were drawn has failed, and no other can do better. */
static void line_refuse(mr_writer *w, uint64_t seen, int status)
{
    struct writer_waiter *waiter = w->line;
    while (waiter != NULL) {
        struct writer_waiter *next = waiter->next;
        if (waiter->ticket < seen)
            writer_line_finish(w, waiter, status);
        waiter = next;
    }
}

static void line_absent(mr_writer *w, uint64_t seen)
{
    struct writer_waiter *waiter = w->line;
    while (waiter != NULL) {
        struct writer_waiter *next = waiter->next;
        if (waiter->ticket < seen && ++waiter->attempts == WRITE_ATTEMPTS)
            writer_line_finish(w, waiter, MR_E_NO_SLOT);
        waiter = next;
    }
}

/* ---- posted messages ---- */

static struct writer_message *message_of(struct queue_node *node)
{
    return (struct writer_message *) (void *) node;
}

void message_list_append(struct message_list *list, struct writer_message *message)
{
    message->node.next = NULL;
    if (list->last != NULL)
        list->last->node.next = &message->node;
    else
        list->first = message;
    list->last = message;
}

struct writer_message *message_list_take(struct message_list *list)
{
    struct writer_message *message = list->first;
    if (message != NULL) {
        list->first = message_of(message->node.next);
        if (list->first == NULL)
            list->last = NULL;
    }
    return message;
}

void writer_message_finish(mr_writer *w, struct writer_message *message, int status)
{
    if (status != MR_OK)
        w->posting->losses++;
    if (message->on_posted == NULL) {
        memory_free(message);
        return;
    }
    message->status = status;
    message_list_append(&w->posting->finished, message);
    w->posting->finished_total++;
}

uint64_t writer_oldest(const mr_writer *w)
{
    const struct writer_posting *posting = w->posting;
    uint64_t oldest = UINT64_MAX;
    if (posting == NULL)
        return oldest;
    for (uint32_t level = 0; level < w->options.levels; level++) {
        struct queue_node *first = posting->queue.level[level].first;
        if (first != NULL && message_of(first)->ticket < oldest)
            oldest = message_of(first)->ticket;
    }
    if (posting->sending != NULL && posting->sending->ticket < oldest) /* dropped, and not decided yet */
        oldest = posting->sending->ticket;
    return oldest;
}

/* The slot says no: what waits is told so, and not tried again. */
static void posted_refuse(mr_writer *w, int status)
{
    struct queue_node *node = w->posting == NULL ? NULL : queue_drain(&w->posting->queue);
    while (node != NULL) {
        struct queue_node *next = node->next;
        w->counts.dropped_refused++;
        writer_message_finish(w, message_of(node), status);
        node = next;
    }
}

/* ---- one run ---- */

/* Whichever is next (I3): one of the two, or neither. */
static void pump_pick(const mr_writer *w, struct writer_waiter **waiter, struct writer_message **message)
{
    *waiter = w->line;
    *message = w->posting == NULL ? NULL : message_of(queue_peek(&w->posting->queue));
    if (*waiter == NULL || *message == NULL)
        return;
    uint32_t level = (*message)->node.level;
    if (level > (*waiter)->level || (level == (*waiter)->level && (*message)->ticket < (*waiter)->ticket))
        *waiter = NULL;
    else
        *message = NULL;
}

/* Connects if need be, and sends; the lock is released meanwhile. */
static int pump_attempt(mr_writer *w, struct writer_waiter *waiter, struct writer_message *message)
{
    const void *data = waiter != NULL ? waiter->data : message->data;
    size_t length = waiter != NULL ? waiter->length : message->length;
    uint32_t level = waiter != NULL ? waiter->level : message->node.level;
    w->sending_waiter = waiter; /* I4 */
    if (message != NULL)
        w->posting->sending = message;
    mutex_unlock(&w->lock);
    int status = MR_OK;
    bool connect = !link_connected(w->link);
    if (connect)
        status = link_connect(w->link, 0);
    bool connected = connect && status == MR_OK;
    if (status == MR_OK)
        status = link_send(w->link, data, length, level);
    size_t max_message = link_max_message(w->link);
    mutex_lock(&w->lock);
    w->max_message = max_message;
    w->counts.connects += connected;
    w->sending_waiter = NULL;
    if (waiter != NULL)
        condition_signal(&waiter->changed); /* for writer_line_leave */
    if (message != NULL)
        w->posting->sending = NULL;
    return status;
}

/* The message is out, or can never be. */
static void pump_settle(mr_writer *w, struct writer_waiter *waiter, struct writer_message *message, int status)
{
    if (status == MR_OK) {
        w->counts.written++;
        w->counts.bytes += waiter != NULL ? waiter->length : message->length;
        if (w->posting != NULL) {
            w->posting->backoff_ms = 0;
            w->posting->retry_at = 0;
        }
    }
    if (waiter != NULL) {
        writer_line_finish(w, waiter, status);
        return;
    }
    assert(w->posting != NULL);
    (void) queue_remove(&w->posting->queue, &message->node); /* dropped meanwhile: not there any more */
    w->counts.dropped_refused += status != MR_OK;
    writer_message_finish(w, message, status);
}

/* An attempt has failed that began with `seen` tickets drawn. Whether the next is to follow at once. */
static bool pump_failed(mr_writer *w, int status, uint64_t seen, bool *again)
{
    if (status == MR_E_NO_SLOT || status == MR_E_GONE) {
        line_absent(w, seen);
        bool reconnect = status == MR_E_GONE && !*again; /* the reader has gone: perhaps another has come */
        *again = true;
        return reconnect || w->line != NULL;
    }
    line_refuse(w, seen, status);
    if (status == MR_E_ACCESS)
        posted_refuse(w, status);
    return w->line != NULL;
}

static bool untold_full(const mr_writer *w)
{
    return w->posting->finished_total - w->posting->told_total >= UNTOLD_MAX;
}

static enum pump_end pump_end_of(const struct writer_waiter *self)
{
    return self->status == MR_OK || self->status == MR_E_TOO_BIG ? PUMP_DONE : PUMP_ABSENT;
}

enum pump_end pump_run(mr_writer *w, struct writer_waiter *self)
{
    size_t bytes = 0;
    bool again = false;
    for (unsigned n = 0; n < PUMP_MESSAGES && bytes < PUMP_BYTES; n++) {
        struct writer_waiter *waiter;
        struct writer_message *message;
        pump_pick(w, &waiter, &message);
        if (waiter == NULL && message == NULL)
            return PUMP_EMPTY;
        if (message != NULL && self != NULL && untold_full(w))
            return PUMP_UNTOLD; /* I6 */
        uint64_t seen = w->tickets;
        bytes += waiter != NULL ? waiter->length : message->length;
        int status = pump_attempt(w, waiter, message);
        if (status == MR_OK || status == MR_E_TOO_BIG) {
            again = false;
            pump_settle(w, waiter, message, status);
        } else {
            if (message != NULL && message->dropped) {
                w->counts.dropped_oldest++;
                writer_message_finish(w, message, MR_E_DROPPED);
            }
            if (status == MR_E_FULL) {
                w->counts.waits++;
                return PUMP_FULL;
            }
            if (status == MR_E_TIMEOUT)
                return PUMP_BUSY;
            if (!pump_failed(w, status, seen, &again))
                return PUMP_ABSENT;
        }
        if (self != NULL && self->done)
            return pump_end_of(self);
    }
    return PUMP_BUDGET;
}

/* ---- the role ---- */

static void back_off(mr_writer *w)
{
    struct writer_posting *posting = w->posting;
    uint64_t now = clock_now();
    if (posting->retry_at > now)
        return;
    uint32_t longest = w->options.backoff_max_ms;
    uint32_t next = posting->backoff_ms > longest / 2 ? longest : posting->backoff_ms * 2;
    posting->backoff_ms = posting->backoff_ms == 0 ? w->options.backoff_min_ms : next;
    posting->retry_at = now + (uint64_t) posting->backoff_ms * 1000000u;
    w->counts.backoffs++;
}

bool pump_free(const mr_writer *w)
{
    if (w->role == PUMP_RUNNING || w->wanted > 0 || w->closing)
        return false;
    if (w->role == PUMP_IDLE || !untold_full(w))
        return true;
    struct writer_waiter *waiter;
    struct writer_message *message;
    pump_pick(w, &waiter, &message);
    return waiter != NULL; /* I6: it goes before all that is posted */
}

void pump_release(mr_writer *w, enum pump_end end)
{
    struct writer_posting *posting = w->posting;
    if (posting != NULL && (end == PUMP_ABSENT || end == PUMP_BUSY))
        posting->absences++;
    if (posting == NULL || posting->queue.messages == 0) {
        w->role = PUMP_IDLE;
    } else {
        w->role = PUMP_PARKED;
        w->reason = end == PUMP_FULL ? PUMP_ROOM : end == PUMP_ABSENT || end == PUMP_BUSY ? PUMP_RETRY : PUMP_TURN;
        if (w->reason == PUMP_RETRY)
            back_off(w);
    }
    if (w->line != NULL && pump_free(w))
        condition_signal(&w->line->changed); /* I1 */
    if (!w->working)
        pump_arm(w);
    if (w->watchers > 0)
        condition_broadcast(&w->changed);
}

void pump_claim(mr_writer *w)
{
    w->wanted++;
    if (w->role_blocked)
        link_wake(w->link);
    mr_port_wait_begin();
    w->watchers++;
    while (w->role == PUMP_RUNNING)
        condition_wait(&w->changed, &w->lock);
    w->watchers--;
    mr_port_wait_end();
    w->role = PUMP_RUNNING;
    w->wanted--;
}

void pump_wait(mr_writer *w, enum pump_end end, uint64_t deadline)
{
    if (end == PUMP_ABSENT) { /* the closing thread only: a waiter is done with an absent slot at once */
        back_off(w);
        uint64_t until = w->posting->retry_at < deadline ? w->posting->retry_at : deadline;
        w->watchers++;
        (void) condition_wait_until(&w->changed, &w->lock, until);
        w->watchers--;
        return;
    }
    w->role_blocked = true;
    if (w->watchers > 0)
        condition_broadcast(&w->changed);
    mutex_unlock(&w->lock);
    bool connected = false;
    if (end == PUMP_FULL) {
        (void) link_wait(w->link, deadline); /* whatever it brings, the next attempt shows it */
    } else if (end == PUMP_BUSY) {
        uint64_t slice = clock_now() + CONNECT_SLICE_NS;
        connected = link_connect(w->link, slice < deadline ? slice : deadline) == MR_OK;
    }
    mutex_lock(&w->lock);
    w->counts.connects += connected;
    w->role_blocked = false;
}

/* ---- the port ---- */

static void arm_turn(mr_writer *w)
{
    struct writer_posting *posting = w->posting;
    if (!posting->turn.pending)
        posting->turn.pending = port_post(mr_port_backend(posting->port), &posting->turn.operation) == MR_OK;
}

static void arm_retry(mr_writer *w)
{
    struct writer_posting *posting = w->posting;
    port *p = mr_port_backend(posting->port);
    if (posting->retry.pending) {
        if (posting->retry_armed > posting->retry_at)
            port_cancel(p, &posting->retry.operation); /* its packet arms it again */
        return;
    }
    posting->retry_armed = posting->retry_at;
    posting->retry.pending = port_set_deadline(p, &posting->retry.operation, posting->retry_at) == STARTED_PENDING;
    if (!posting->retry.pending && posting->retry.operation.status == MR_OK) {
        w->reason = PUMP_TURN; /* the time had come */
        arm_turn(w);
    }
}

static void arm_room(mr_writer *w)
{
    struct writer_posting *posting = w->posting;
    if (posting->room.pending)
        return;
    posting->room.pending =
        link_watch(w->link, mr_port_backend(posting->port), &posting->room.operation) == STARTED_PENDING;
    if (posting->room.pending)
        return;
    int status = posting->room.operation.status;
    if (status == MR_OK || status == MR_E_GONE) {
        w->reason = PUMP_TURN;
        arm_turn(w);
    } else if (status != MR_E_STOPPED) {
        w->reason = PUMP_RETRY; /* cannot be watched now: looked at after a while instead */
        back_off(w);
        arm_retry(w);
    }
}

void pump_arm(mr_writer *w)
{
    if (w->posting == NULL || w->closing)
        return;
    if (w->posting->finished.first != NULL)
        arm_turn(w);
    if (w->role != PUMP_PARKED)
        return;
    switch (w->reason) {
    case PUMP_TURN:
        arm_turn(w);
        break;
    case PUMP_ROOM:
        arm_room(w);
        break;
    case PUMP_RETRY:
        arm_retry(w);
        break;
    }
}

void pump_hurry(mr_writer *w)
{
    if (w->role == PUMP_PARKED && w->reason == PUMP_RETRY) {
        w->posting->retry_at = 0;
        w->reason = PUMP_TURN;
        if (!w->working)
            pump_arm(w);
    }
}

static bool pump_ready(const mr_writer *w, enum pump_reason reason)
{
    if (w->role != PUMP_PARKED || w->reason != reason || w->wanted > 0)
        return false;
    return reason != PUMP_RETRY || clock_now() >= w->posting->retry_at;
}

static void pump_turn(operation *completed, enum pump_reason reason)
{
    struct writer_operation *o = (struct writer_operation *) (void *) completed;
    mr_writer *w = o->writer;
    mutex_lock(&w->lock);
    o->pending = false;
    if (w->closing) {
        bool last = w->ended && !writer_pending(w); /* I7 */
        condition_broadcast(&w->changed);
        mutex_unlock(&w->lock);
        if (last)
            writer_free(w);
        return;
    }
    if (w->working) {
        mutex_unlock(&w->lock); /* the worker that tells sees to it at its end */
        return;
    }
    w->working = true;
    if (pump_ready(w, reason)) {
        w->role = PUMP_RUNNING;
        pump_release(w, pump_run(w, NULL));
    }
    bool close = writer_tell(w);
    w->working = false;
    pump_arm(w);
    if (w->line != NULL && pump_free(w))
        condition_signal(&w->line->changed);
    if (w->watchers > 0)
        condition_broadcast(&w->changed);
    mutex_unlock(&w->lock);
    if (close)
        (void) writer_close_now(w, NULL, true);
}

static void on_turn(operation *completed)
{
    pump_turn(completed, PUMP_TURN);
}

static void on_room(operation *completed)
{
    pump_turn(completed, PUMP_ROOM);
}

static void on_retry(operation *completed)
{
    pump_turn(completed, PUMP_RETRY);
}

void pump_init(mr_writer *w, struct writer_posting *posting)
{
    posting->turn = (struct writer_operation){.operation.handler = on_turn, .writer = w};
    posting->room = (struct writer_operation){.operation.handler = on_room, .writer = w};
    posting->retry = (struct writer_operation){.operation.handler = on_retry, .writer = w};
}

bool writer_pending(const mr_writer *w)
{
    const struct writer_posting *posting = w->posting;
    return posting != NULL && (posting->turn.pending || posting->room.pending || posting->retry.pending);
}

/* ---- telling ---- */

struct writer_frame *writer_frame_of(const mr_writer *w)
{
    struct writer_frame *frame = frames;
    while (frame != NULL && frame->writer != w)
        frame = frame->outer;
    return frame;
}

/* Calls back for `message`, then for what posts inside the callbacks dropped. */
static void frame_tell(struct writer_frame *frame, struct writer_message *message)
{
    while (message != NULL) {
        message->on_posted(frame->writer, message->status, message->context);
        memory_free(message);
        message = message_list_take(&frame->dropped);
    }
}

bool writer_tell(mr_writer *w)
{
    if (w->posting == NULL || w->posting->finished.first == NULL)
        return false;
    struct writer_frame frame = {.writer = w, .outer = frames};
    frames = &frame;
    struct writer_message *message = message_list_take(&w->posting->finished);
    while (message != NULL) {
        mutex_unlock(&w->lock);
        frame_tell(&frame, message);
        mutex_lock(&w->lock);
        w->posting->told_total++;
        message = message_list_take(&w->posting->finished);
    }
    frames = frame.outer;
    return frame.close;
}

bool writer_tell_dropped(mr_writer *w, struct message_list *dropped)
{
    struct writer_message *message = message_list_take(dropped);
    if (message == NULL)
        return false;
    struct writer_frame *outer = writer_frame_of(w);
    if (outer != NULL) {
        for (; message != NULL; message = message_list_take(dropped))
            message_list_append(&outer->dropped, message);
        return false;
    }
    struct writer_frame frame = {.writer = w, .outer = frames};
    frames = &frame;
    for (; message != NULL; message = message_list_take(dropped))
        frame_tell(&frame, message);
    frames = frame.outer;
    return frame.close;
}
