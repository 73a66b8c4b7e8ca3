/* writer_flush.c: waits until what has been handed over has arrived.
 *
 * Path    mr_writer_flush > until nothing older is posted, and what had finished by then has been told
 *                         > a mark in `flushes` > the role, if it is free: [ pump_run > pump_wait ]* > flush_look
 *                                               > else who has it calls flush_look
 *
 * Owners, invariants G1 to I11: writer_private.h.
 * Others  Who waits with the role sends what others write and post meanwhile (I8); the mark stays where it was.
 * Marks   A flush that comes while somebody has the role is marked by that thread when it looks next: its mark then covers a
 *         little more than what was before it, never less.
 */
#include "slots/writer_private.h"

#include "queue/status.h"

void flush_look(mr_writer *w)
{
    if (w->look_wanted > 0)
        writer_look(w);
    for (struct writer_flush *flush = w->flushes; flush != NULL; flush = flush->next) {
        if (!flush->marked)
            link_mark(w->link, &flush->mark);
        flush->marked = true;
        flush->looked = true;
    }
    bool looks = w->flushes != NULL;
    bool passed = false; /* a gap that the reader has not come to is none of ours: where no message is left, it is */
    while (w->flushes != NULL && (link_passed(w->link, &w->flushes->mark) || link_unacknowledged(w->link) == 0)) {
        w->flushes->done = true;
        w->flushes->status = MR_OK;
        w->flushes = w->flushes->next;
        passed = true;
    }
    if (passed && w->watchers > 0)
        condition_broadcast(&w->changed);
    if (looks)
        pump_looked(w);
}

void flush_end(mr_writer *w, int status)
{
    for (; w->flushes != NULL; w->flushes = w->flushes->next) {
        w->flushes->done = true;
        w->flushes->status = status;
    }
    if (w->watchers > 0)
        condition_broadcast(&w->changed);
}

static void flush_join(mr_writer *w, struct writer_flush *self)
{
    struct writer_flush **link = &w->flushes;
    while (*link != NULL)
        link = &(*link)->next;
    *link = self;
    if (w->role == PUMP_RUNNING)
        pump_wake(w);
    else
        flush_look(w);
}

static void flush_leave(mr_writer *w, const struct writer_flush *self)
{
    struct writer_flush **link = &w->flushes;
    while (*link != NULL && *link != self)
        link = &(*link)->next;
    if (*link == self)
        *link = self->next;
}

/* Has the role, and pumps until its own mark is passed, its time is up, the slot is absent, or somebody needs it more. */
static void flush_pump(mr_writer *w, const struct writer_flush *self, uint64_t deadline)
{
    struct writer_waiter nobody = {.done = false};
    w->role = PUMP_RUNNING;
    enum pump_end end = pump_run(w, &nobody);
    flush_look(w);
    while (!self->done && !w->closing && w->wanted == 0 && end != PUMP_ABSENT && end != PUMP_UNTOLD &&
           clock_now() < deadline) {
        if (end != PUMP_BUDGET)
            pump_wait(w, end, deadline);
        end = pump_run(w, &nobody);
        flush_look(w);
    }
    pump_release(w, end);
}

/* An absent slot whose reader may still acknowledge: it is looked at with the back-off. */
static bool still_leaving(const mr_writer *w)
{
    return w->role == PUMP_RUNNING || link_leaving(w->link);
}

int flush_acknowledged(mr_writer *w, uint64_t deadline, bool patient)
{
    struct writer_flush self = {.next = NULL};
    uint64_t absences = w->absences;
    flush_join(w, &self);
    mr_port_wait_begin();
    while (!self.done && !w->closing && (patient || w->absences == absences || still_leaving(w))) {
        uint64_t now = clock_now();
        bool blocked = w->role == PUMP_RUNNING;
        if (now >= deadline && blocked && !self.looked)
            (void) writer_watch(w, CLOCK_NEVER); /* who has the role was woken, and will look soon */
        else if (now >= deadline)
            break;
        else if (!pump_free(w))
            (void) writer_watch(w, deadline);
        else if (now < w->retry_at && !link_connected(w->link))
            (void) writer_watch(w, w->retry_at < deadline ? w->retry_at : deadline);
        else
            flush_pump(w, &self, deadline);
    }
    mr_port_wait_end();
    flush_leave(w, &self);
    if (self.done)
        return self.status;
    if (w->closing)
        return MR_E_STOPPED;
    return patient || w->absences == absences ? MR_E_TIMEOUT : MR_E_NO_SLOT;
}

/* Until nothing posted before `ticket` waits, and all that had finished by then has been told. */
static int flush_posted(mr_writer *w, uint64_t ticket, uint64_t deadline)
{
    bool in_time = true;
    mr_port_wait_begin();
    while (!w->closing && in_time && writer_oldest(w) < ticket)
        in_time = writer_watch(w, deadline);
    uint64_t finished = w->posting->finished_total;
    while (!w->closing && in_time && w->posting->told_total < finished)
        in_time = writer_watch(w, deadline);
    mr_port_wait_end();
    if (w->closing)
        return MR_E_STOPPED;
    if (writer_oldest(w) < ticket || w->posting->told_total < finished)
        return status_fail(MR_E_TIMEOUT, 0, "%zu posted messages still wait", w->posting->queue.messages);
    return MR_OK;
}

static int flush_to(mr_writer *w, uint64_t ticket, uint64_t deadline)
{
    int status = w->posting != NULL ? flush_posted(w, ticket, deadline) : MR_OK;
    if (status == MR_OK && w->acknowledges) {
        status = flush_acknowledged(w, deadline, true);
        if (status == MR_E_TIMEOUT) {
            writer_have_looked(w);
            return status_fail(status, 0, "%llu messages are not acknowledged",
                               (unsigned long long) w->counts.unacknowledged);
        }
    }
    if (status == MR_E_STOPPED)
        return status_fail(status, 0, "the writer is being closed");
    if (status != MR_OK)
        return status;
    uint64_t losses = w->losses;
    w->losses = 0;
    if (losses > 0)
        return status_fail(MR_E_DROPPED, 0, "%llu messages were dropped, refused or left behind",
                           (unsigned long long) losses);
    return MR_OK;
}

int mr_writer_flush(mr_writer *writer, uint32_t timeout_ms)
{
    mr_writer *w = writer;
    int status = writer_check(w);
    if (status != MR_OK)
        return status;
    if (writer_frame_of(w) != NULL)
        return status_fail(MR_E_CALLBACK, 0, "flush would wait for the callback that it is called in");
    uint64_t deadline = clock_deadline(timeout_ms);
    writer_lock(w);
    if (w->closing) {
        status = status_fail(MR_E_STOPPED, 0, "the writer is being closed");
    } else {
        w->inside++;
        status = flush_to(w, w->tickets, deadline);
        writer_leave(w);
    }
    writer_unlock(w);
    return status;
}
