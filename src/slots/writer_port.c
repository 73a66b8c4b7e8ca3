/* writer_port.c: has workers of the port come for what a writer has to do, and lets them do it.
 *
 * Path    pump_arm > a packet is posted, or the link watched, or a deadline set > pump_turn, on a worker:
 *         pump_run > pump_release > writer_tell > pump_arm
 *
 * Owners, invariants G1 to I11: writer_private.h.
 * Watch   The link is watched for one thing at a time, by the operation `room`: for room while messages wait for it, for the
 *         reader's end while nothing waits (I10). Where room is needed and either is pending, that is cancelled, and its
 *         packet arms what is needed: somebody else may have taken in what the watch waits for, and the position that the
 *         reader was asked to tell of may be passed already.
 */
#include "slots/writer_private.h"

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
        if (posting->retry_armed > w->retry_at)
            port_cancel(p, &posting->retry.operation); /* its packet arms it again */
        return;
    }
    posting->retry_armed = w->retry_at;
    posting->retry.pending = port_set_deadline(p, &posting->retry.operation, w->retry_at) == STARTED_PENDING;
    if (!posting->retry.pending && posting->retry.operation.status == MR_OK) {
        w->reason = PUMP_TURN; /* the time had come */
        arm_turn(w);
    }
}

/* The link cannot be watched now: it is looked at after a while instead. */
static void arm_later(mr_writer *w)
{
    w->reason = PUMP_RETRY;
    pump_back_off(w);
    arm_retry(w);
}

static void arm_room(mr_writer *w)
{
    struct writer_posting *posting = w->posting;
    port *p = mr_port_backend(posting->port);
    if (posting->room.pending) {
        port_cancel(p, &posting->room.operation);
        return;
    }
    posting->room_is_end = false;
    posting->room.pending = link_watch(w->link, p, &posting->room.operation) == STARTED_PENDING;
    if (posting->room.pending)
        return;
    int status = posting->room.operation.status;
    if (status == MR_OK || status == MR_E_GONE) {
        w->reason = PUMP_TURN;
        arm_turn(w);
    } else if (status != MR_E_STOPPED) {
        arm_later(w);
    }
}

/* I10 */
static void arm_end(mr_writer *w)
{
    struct writer_posting *posting = w->posting;
    if (!w->acknowledges || posting->room.pending || !link_connected(w->link))
        return;
    port *p = mr_port_backend(posting->port);
    posting->room_is_end = true;
    posting->room.pending = link_watch_mark(w->link, NULL, p, &posting->room.operation) == STARTED_PENDING;
    if (posting->room.pending)
        return;
    int status = posting->room.operation.status;
    posting->look = true;
    if (status == MR_OK || status == MR_E_GONE) {
        arm_turn(w);
    } else if (status != MR_E_STOPPED && link_unacknowledged(w->link) > 0) {
        w->role = PUMP_PARKED;
        arm_later(w);
    }
}

void pump_arm(mr_writer *w)
{
    if (w->posting == NULL || w->closing)
        return;
    if (w->posting->finished.first != NULL)
        arm_turn(w);
    if (w->role == PUMP_IDLE)
        arm_end(w);
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

void pump_looked(mr_writer *w)
{
    if (w->role == PUMP_PARKED && w->reason == PUMP_ROOM && !w->working)
        pump_arm(w);
}

void pump_hurry(mr_writer *w)
{
    if (w->role == PUMP_PARKED && w->reason == PUMP_RETRY) {
        w->retry_at = 0;
        w->reason = PUMP_TURN;
        if (!w->working)
            pump_arm(w);
    }
}

static bool pump_ready(const mr_writer *w, enum pump_reason reason)
{
    if (w->role == PUMP_RUNNING || w->wanted > 0)
        return false;
    if (w->role == PUMP_IDLE)
        return w->posting->look;
    return w->reason == reason && (reason != PUMP_RETRY || clock_now() >= w->retry_at);
}

static void pump_turn(operation *completed, enum pump_reason reason)
{
    struct writer_operation *o = (struct writer_operation *) (void *) completed;
    mr_writer *w = o->writer;
    writer_lock(w);
    o->pending = false;
    if (w->closing) {
        bool last = w->ended && !writer_pending(w); /* I7 */
        condition_broadcast(&w->changed);
        writer_unlock(w);
        if (last)
            writer_free(w);
        return;
    }
    if (reason == PUMP_ROOM && w->posting->room_is_end)
        w->posting->look = true;
    if (w->working) {
        writer_unlock(w); /* the worker that tells sees to it at its end */
        return;
    }
    w->working = true;
    if (pump_ready(w, reason)) {
        w->role = PUMP_RUNNING;
        if (w->posting->look)
            writer_look(w);
        w->posting->look = false;
        pump_release(w, pump_run(w, NULL));
    }
    bool close = writer_tell(w);
    w->working = false;
    pump_arm(w);
    if (w->line != NULL && pump_free(w))
        condition_signal(&w->line->changed);
    if (w->watchers > 0)
        condition_broadcast(&w->changed);
    writer_unlock(w);
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
