/* writer_pump.c: sends what waits in a writer's line and queue, on whatever thread has the pump role.
 *
 * Path    pump_run: pick the next > release the lock > link_connect, link_send > take the lock > finish it
 *                   nothing left > gaps are told > what the last reader did not acknowledge is offered to the next one
 *         a thread in mr_writer_write or mr_writer_flush: claims the role > [ pump_run > pump_wait ]* > pump_release
 *         a worker of the port: writer_port.c
 *
 * Owners, invariants G1 to I11: writer_private.h.
 * Absent  A failed attempt counts for every waiter that was in the line when it began; two of them and the waiter has
 *         its MR_E_NO_SLOT. Posted messages stay; their back-off is parked as PUMP_RETRY, and an attempt that a writing
 *         thread makes in between neither ends nor lengthens it.
 * Keep    With MR_KEEP a waiter whose attempts are used up is marked instead, and what is picked goes to link_keep as long as
 *         a marked one is in the line: what was posted before it, too, or it would overtake (I3).
 * Backlog (I2) What makes the link connect for its sake alone keeps to the back-off, which ends when something of it has been
 *         acknowledged: a reader that dies of its first message is not fed at full speed.
 */
#include "slots/writer_private.h"

#include <assert.h>

#include "queue/memory.h"

/* ---- the line ---- */

void writer_line_join(mr_writer *w, struct writer_waiter *waiter)
{
    waiter->ticket = w->tickets++;
    struct writer_waiter **link = &w->line;
    while (*link != NULL && (*link)->level >= waiter->level)
        link = &(*link)->next;
    waiter->next = *link;
    *link = waiter;
    pump_arrived(w, waiter->level);
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
        (void) writer_wait(w, &waiter->changed, CLOCK_NEVER);
    if (!waiter->done)
        line_take_out(w, waiter);
}

static void line_finish(mr_writer *w, struct writer_waiter *waiter, int status)
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
            line_finish(w, waiter, status);
        waiter = next;
    }
}

static void line_absent(mr_writer *w, uint64_t seen)
{
    struct writer_waiter *waiter = w->line;
    while (waiter != NULL) {
        struct writer_waiter *next = waiter->next;
        if (waiter->ticket < seen && ++waiter->attempts >= WRITE_ATTEMPTS) {
            if (w->options.when_absent == MR_KEEP)
                waiter->keep = true;
            else
                line_finish(w, waiter, MR_E_NO_SLOT);
        }
        waiter = next;
    }
}

static bool line_keeps(const mr_writer *w)
{
    const struct writer_waiter *waiter = w->line;
    while (waiter != NULL && !waiter->keep)
        waiter = waiter->next;
    return waiter != NULL;
}

/* No more can be kept: the next run tries the slot again first. */
static void line_keep_no_more(mr_writer *w)
{
    for (struct writer_waiter *waiter = w->line; waiter != NULL; waiter = waiter->next) {
        waiter->keep = false;
        waiter->attempts = 0;
    }
}

/* ---- posted messages ---- */

void writer_message_finish(mr_writer *w, struct writer_message *message, int status)
{
    w->losses += status != MR_OK;
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

/* ---- gaps (I11) ---- */

static void gap_hand(mr_writer *w, uint32_t level, uint64_t *count)
{
    if (*count == 0)
        return;
    link_gap(w->link, level, *count);
    *count = 0;
    w->gaps_owed = w->acknowledges;
}

/* One message that had its turn, and does not go out. */
static void gap_of_one(mr_writer *w, uint32_t level)
{
    uint64_t one = 1;
    gap_hand(w, level, &one);
}

/* Those that come before the next message of this level, which is in the line (`message` NULL) or in the queue. */
static void gaps_before(mr_writer *w, uint32_t level, struct writer_message *message)
{
    if (message != NULL)
        gap_hand(w, level, &message->gap);
    else if (w->posting != NULL && w->posting->queue.level[level].first == NULL)
        gap_hand(w, level, &w->posting->gaps[level]);
}

void writer_gaps_hand(mr_writer *w)
{
    for (uint32_t level = 0; w->posting != NULL && level < w->options.levels; level++)
        gaps_before(w, level, NULL);
}

/* The slot says no: what waits is told so, and not tried again. */
static void posted_refuse(mr_writer *w, int status)
{
    struct queue_node *node = w->posting == NULL ? NULL : queue_drain(&w->posting->queue);
    while (node != NULL) {
        struct queue_node *next = node->next;
        w->counts.dropped_refused++;
        gap_hand(w, node->level, &message_of(node)->gap);
        gap_of_one(w, node->level);
        writer_message_finish(w, message_of(node), status);
        node = next;
    }
}

/* ---- the back-off ---- */

/* False: that is so already. */
static bool back_off_begin(mr_writer *w)
{
    uint64_t now = clock_now();
    if (w->retry_at > now)
        return false;
    uint32_t longest = w->options.backoff_max_ms;
    uint32_t next = w->backoff_ms > longest / 2 ? longest : w->backoff_ms * 2;
    w->backoff_ms = w->backoff_ms == 0 ? w->options.backoff_min_ms : next;
    w->retry_at = now + (uint64_t) w->backoff_ms * 1000000u;
    return true;
}

void pump_back_off(mr_writer *w)
{
    w->counts.backoffs += back_off_begin(w);
}

void pump_back_off_end(mr_writer *w)
{
    w->backoff_ms = 0;
    w->retry_at = 0;
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

/* What the attempt of a pump_wait has come to: it is not made twice. MR_OK: there was none. */
static int connect_failure(mr_writer *w)
{
    int status = w->connect_failure;
    w->connect_failure = MR_OK;
    return status;
}

/* Connects if need be, and sends, or keeps it for the next slot; the lock is released meanwhile. */
static int pump_attempt(mr_writer *w, struct writer_waiter *waiter, struct writer_message *message, bool keep)
{
    const void *data = waiter != NULL ? waiter->data : message->data;
    size_t length = waiter != NULL ? waiter->length : message->length;
    uint32_t level = waiter != NULL ? waiter->level : message->node.level;
    w->sending_waiter = waiter; /* I4 */
    if (message != NULL)
        w->posting->sending = message;
    gaps_before(w, level, message);
    int status = MR_OK;
    bool connect = !keep && !link_connected(w->link);
    if (connect)
        status = connect_failure(w);
    writer_unlock(w);
    if (connect && status == MR_OK)
        status = link_connect(w->link, 0);
    bool connected = connect && status == MR_OK;
    if (keep)
        status = link_keep(w->link, data, length, level);
    else if (status == MR_OK)
        status = link_send(w->link, data, length, level);
    size_t max_message = link_max_message(w->link);
    writer_lock(w);
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
static void pump_settle(mr_writer *w, struct writer_waiter *waiter, struct writer_message *message, int status,
                        bool kept)
{
    if (status == MR_OK) {
        w->counts.written++;
        w->counts.bytes += waiter != NULL ? waiter->length : message->length;
        w->counts.kept += kept;
        if (!kept)
            pump_back_off_end(w);
    }
    if (waiter != NULL) {
        line_finish(w, waiter, status);
        return;
    }
    assert(w->posting != NULL);
    if (status != MR_OK)
        gap_of_one(w, message->node.level);
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
    flush_end(w, status);
    return w->line != NULL;
}

/* Connects for the sake of what the last reader did not acknowledge. PUMP_BUDGET: go on. */
static enum pump_end pump_offer(mr_writer *w)
{
    int status = connect_failure(w);
    if (status == MR_OK && clock_now() < w->retry_at)
        return PUMP_ABSENT;
    writer_unlock(w);
    if (status == MR_OK)
        status = link_connect(w->link, 0);
    size_t max_message = link_max_message(w->link);
    writer_lock(w);
    w->max_message = max_message;
    if (status != MR_OK && status != MR_E_NO_SLOT && status != MR_E_GONE && status != MR_E_TIMEOUT)
        flush_end(w, status);
    if (status != MR_OK) {
        pump_back_off(w);
        return status == MR_E_TIMEOUT ? PUMP_BUSY : PUMP_ABSENT;
    }
    (void) back_off_begin(w);
    w->counts.connects++;
    w->backlog = link_unacknowledged(w->link);
    return PUMP_BUDGET;
}

/* Nothing waits to be sent: what else there is to do. PUMP_BUDGET: go on. */
static enum pump_end pump_empty(mr_writer *w)
{
    w->blocked_from = 0;
    if (!w->acknowledges)
        return PUMP_EMPTY;
    writer_gaps_hand(w);
    if (w->gaps_owed && link_connected(w->link)) {
        int status = link_tell_gaps(w->link);
        w->gaps_owed = status == MR_E_FULL || !link_connected(w->link);
        if (status == MR_E_FULL)
            return PUMP_FULL;
    }
    if (link_connected(w->link) && w->backoff_ms == 0)
        return PUMP_EMPTY;
    uint64_t left = link_unacknowledged(w->link);
    if (left < w->backlog || left == 0) {
        w->backlog = 0;
        pump_back_off_end(w);
    }
    return link_connected(w->link) || left == 0 ? PUMP_EMPTY : pump_offer(w);
}

static bool untold_full(const mr_writer *w)
{
    return w->posting != NULL && w->posting->finished_total - w->posting->told_total >= UNTOLD_MAX;
}

static enum pump_end pump_end_of(const struct writer_waiter *self)
{
    return self->status == MR_OK || self->status == MR_E_TOO_BIG ? PUMP_DONE : PUMP_ABSENT;
}

/* The attempt at one of the two has failed. Returns how the run ends by that; PUMP_BUDGET: it does not. */
static enum pump_end pump_unsent(mr_writer *w, struct writer_message *message, int status, bool kept, uint64_t seen,
                                 uint32_t level, bool *again)
{
    if (message != NULL && message->dropped) { /* I4 */
        w->counts.dropped_oldest++;
        gap_of_one(w, level);
        writer_message_finish(w, message, MR_E_DROPPED);
    }
    w->blocked_from = UINT32_MAX;
    if (status == MR_E_FULL) {
        w->counts.waits++;
        w->blocked_from = level + 1;
        if (!kept)
            return PUMP_FULL;
        line_keep_no_more(w);
        return PUMP_ABSENT;
    }
    if (status == MR_E_TIMEOUT)
        return PUMP_BUSY;
    return pump_failed(w, status, seen, again) ? PUMP_BUDGET : PUMP_ABSENT;
}

enum pump_end pump_run(mr_writer *w, struct writer_waiter *self)
{
    size_t bytes = 0;
    bool again = false;
    for (unsigned n = 0; n < PUMP_MESSAGES && bytes < PUMP_BYTES; n++) {
        struct writer_waiter *waiter;
        struct writer_message *message;
        pump_pick(w, &waiter, &message);
        if (waiter == NULL && message == NULL) {
            enum pump_end end = pump_empty(w);
            if (end != PUMP_BUDGET)
                return end;
            continue;
        }
        if (message != NULL && self != NULL && untold_full(w))
            return PUMP_UNTOLD; /* I6 */
        uint64_t seen = w->tickets;
        uint32_t level = waiter != NULL ? waiter->level : message->node.level;
        bool keep = w->options.when_absent == MR_KEEP && line_keeps(w);
        bytes += waiter != NULL ? waiter->length : message->length;
        int status = pump_attempt(w, waiter, message, keep);
        if (status == MR_OK || status == MR_E_TOO_BIG) {
            again = false;
            pump_settle(w, waiter, message, status, keep);
        } else {
            enum pump_end end = pump_unsent(w, message, status, keep, seen, level, &again);
            if (end != PUMP_BUDGET)
                return end;
        }
        if (self != NULL && self->done)
            return pump_end_of(self);
    }
    return PUMP_BUDGET;
}

/* ---- the role ---- */

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

/* Is there something that a worker is needed for, once nobody has the role (I2)? */
static bool pump_owes(mr_writer *w)
{
    if (w->posting == NULL)
        return false;
    if (w->posting->queue.messages > 0)
        return true;
    return link_connected(w->link) ? w->gaps_owed : w->acknowledges && link_unacknowledged(w->link) > 0;
}

void pump_release(mr_writer *w, enum pump_end end)
{
    w->absences += end == PUMP_ABSENT || end == PUMP_BUSY;
    w->connect_failure = MR_OK;
    flush_look(w); /* I9 */
    if (!pump_owes(w)) {
        w->role = PUMP_IDLE;
    } else {
        w->role = PUMP_PARKED;
        w->reason = end == PUMP_FULL ? PUMP_ROOM : end == PUMP_ABSENT || end == PUMP_BUSY ? PUMP_RETRY : PUMP_TURN;
        if (w->reason == PUMP_RETRY)
            pump_back_off(w);
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
    pump_wake(w);
    mr_port_wait_begin();
    while (w->role == PUMP_RUNNING)
        (void) writer_watch(w, CLOCK_NEVER);
    mr_port_wait_end();
    w->role = PUMP_RUNNING;
    w->wanted--;
}

void pump_wake(mr_writer *w)
{
    if (w->role != PUMP_RUNNING || !w->role_blocked)
        return;
    w->role_blocked = false;
    link_wake(w->link);
    if (w->watchers > 0)
        condition_broadcast(&w->changed); /* it may be there */
}

void pump_arrived(mr_writer *w, uint32_t level)
{
    if (level >= w->blocked_from)
        pump_wake(w);
}

/* Until the time comes for another attempt, or somebody calls pump_wake. */
static void absent_wait(mr_writer *w, uint64_t deadline)
{
    pump_back_off(w);
    uint64_t until = w->retry_at < deadline ? w->retry_at : deadline;
    while (w->role_blocked && writer_watch(w, until)) {}
}

static int acknowledged_wait(mr_writer *w, const struct link_mark *mark, uint64_t deadline)
{
    int status = link_await(w->link, mark, deadline);
    return status == MR_E_ACCESS ? status : MR_OK; /* of all else the next look tells */
}

void pump_wait(mr_writer *w, enum pump_end end, uint64_t deadline)
{
    struct link_mark mark;
    flush_look(w);
    if (end == PUMP_EMPTY) {
        if (!link_connected(w->link))
            return; /* it has just been seen to be gone */
        link_mark(w->link, &mark);
        if (w->flushes != NULL)
            mark = w->flushes->mark;
    }
    w->role_blocked = true;
    if (!w->working)
        pump_arm(w); /* to tell what this thread has sent */
    if (w->watchers > 0)
        condition_broadcast(&w->changed);
    if (end == PUMP_ABSENT) {
        absent_wait(w, deadline);
        w->role_blocked = false;
        return;
    }
    writer_unlock(w);
    int status = MR_OK;
    if (end == PUMP_FULL) {
        (void) link_wait(w->link, deadline); /* whatever it brings, the next attempt shows it */
    } else if (end == PUMP_EMPTY) {
        status = acknowledged_wait(w, &mark, deadline);
    } else if (end == PUMP_BUSY) {
        uint64_t slice = clock_now() + CONNECT_SLICE_NS;
        status = link_connect(w->link, slice < deadline ? slice : deadline);
    }
    writer_lock(w);
    w->role_blocked = false;
    if (end == PUMP_BUSY) {
        w->counts.connects += status == MR_OK;
        w->connect_failure = status == MR_E_TIMEOUT ? MR_OK : status;
    } else if (status != MR_OK) {
        flush_end(w, status);
    }
    flush_look(w); /* I9 */
}
