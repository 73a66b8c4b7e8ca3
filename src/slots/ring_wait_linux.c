/* ring_wait_linux.c: waiting for the reader: for room, for acknowledgement, for whatever it says.
 *
 * Path    look at the socket > feed the backlog > is it there? > `wanted` in each ring > look again > (spin)
 *         > sleep on the socket > REACHED, ANSWER, the end > from the start
 *
 * Owners, invariants: ring_link_linux.h.
 * N1      (ring.h) Each wait stores `wanted`, and loads head again before it sleeps.
 * T1      Spinning starts with spin_us, is halved when it was in vain and restored when it paid; once it is given up
 *         it is tried again at every 32nd sleep.
 * T2      A wait goes on by itself as long as only the backlog moves; it ends for room only where link_send was
 *         refused.
 */
#include "slots/ring_link_linux.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "queue/status.h"

#define SPIN_LEAST_NS UINT64_C(1000)
#define SPIN_PROBE    32u

/* ---- marks ---- */

/* Session numbers grow at the beginning and at the end of each, so a mark that is made without one is older than the
 * next. Then everything that was taken over into the next one, `copied`, stands for it. */
void ring_link_mark(const struct ring_link *l, struct link_mark *mark)
{
    mark->session = l->session;
    for (uint32_t level = 0; level < l->levels; level++) {
        const struct link_level *lv = &l->level[level];
        mark->position[level] = backlog_empty(&lv->backlog) ? lv->ring.tail : lv->copied;
    }
}

/* What head has to reach in this level. False: that cannot be in this session. */
static bool mark_position(const struct ring_link *l, const struct link_mark *mark, uint32_t level, uint64_t *position)
{
    const struct link_level *lv = &l->level[level];
    *position = mark->session == l->session ? mark->position[level] : lv->copied;
    return session_alive(l) && mark->session <= l->session;
}

static bool level_passed(const struct ring_link *l, const struct link_mark *mark, uint32_t level)
{
    const struct link_level *lv = &l->level[level];
    uint64_t position;
    if (backlog_empty(&lv->backlog) && (l->memory == NULL || lv->ring.head == lv->ring.tail))
        return true; /* nothing is unacknowledged */
    return mark_position(l, mark, level, &position) && ring_reached(&lv->ring, position);
}

static bool mark_passed(const struct ring_link *l, const struct link_mark *mark)
{
    for (uint32_t level = 0; level < l->levels; level++)
        if (!level_passed(l, mark, level))
            return false;
    return true;
}

/* Everything that can be done without waiting. *moved: the backlog has become less. */
static void catch_up(struct ring_link *l, bool *moved)
{
    *moved = false;
    if (session_alive(l))
        session_look(l);
    if (session_alive(l) && session_refresh(l)) {
        large_collect(l);
        struct status_memo before;
        status_save(&before);
        if (l->state != SESSION_PARTING && ring_feed(l, moved) != MR_OK) {
            status_restore(&before); /* link_send reports it; for a wait it is like a full socket */
            if (session_alive(l))
                ring_pause(l);
        }
    }
}

bool ring_link_passed(struct ring_link *l, const struct link_mark *mark)
{
    bool moved;
    catch_up(l, &moved);
    return mark_passed(l, mark);
}

/* ---- one wait ---- */

/* Of the positions that a level is waited for at, the one that comes first. False: none is outstanding. */
static bool level_wanted(const struct ring_link *l, const struct link_mark *mark, uint32_t level, uint64_t *position)
{
    const struct link_level *lv = &l->level[level];
    uint64_t passed;
    bool some = ((l->needy | l->hungry) >> level & 1u) != 0 && !ring_reached(&lv->ring, lv->needs);
    if (some)
        *position = lv->needs;
    if (mark != NULL && !level_passed(l, mark, level) && mark_position(l, mark, level, &passed) &&
        passed - lv->ring.head <= lv->ring.tail - lv->ring.head && /* what is still in the backlog comes later */
        (!some || passed - lv->ring.head < *position - lv->ring.head)) {
        *position = passed;
        some = true;
    }
    return some;
}

/* N1. Then the heads have been loaded anew, or the session is over. */
static void wants_tell(struct ring_link *l, const struct link_mark *mark)
{
    for (uint32_t level = 0; level < l->levels; level++) {
        uint64_t position;
        if (level_wanted(l, mark, level, &position))
            ring_want(&l->level[level].ring, position);
    }
    KILL_POINT(writer, want);
    (void) session_refresh(l);
}

/* Has one of the heads come to where `mask`'s levels need it? */
static bool needs_reached(const struct ring_link *l, uint32_t mask)
{
    for (uint32_t level = 0; level < l->levels; level++)
        if ((mask >> level & 1u) != 0 && ring_reached(&l->level[level].ring, l->level[level].needs))
            return true;
    return false;
}

/* What a wait looks for, and what it found at its start. */
struct wait {
    const struct link_mark *mark; /* NULL: none */
    bool room;                    /* link_wait, link_watch: a reader that has left the name makes none */
    bool answered;
};

/* Is it over? Asked after the heads were loaded. A reader that has left the name still acknowledges. */
static bool wait_over(const struct ring_link *l, const struct wait *wait, bool moved)
{
    if (wait->room ? !ring_link_connected(l) : !session_alive(l))
        return true;
    if (l->room_refused && ring_link_connected(l) &&
        (moved || needs_reached(l, l->needy) || l->answered != wait->answered))
        return true;
    return wait->mark != NULL && mark_passed(l, wait->mark);
}

/* T1. True: a head has moved to where something waits for it. */
static bool spin(struct ring_link *l, const struct wait *wait)
{
    if (l->spin_most_ns == 0)
        return false;
    if (l->spin_ns < SPIN_LEAST_NS && ++l->sleeps % SPIN_PROBE != 0)
        return false;
    uint64_t now = clock_now();
    uint64_t end = now + (l->spin_ns < SPIN_LEAST_NS ? l->spin_most_ns : l->spin_ns);
    for (; now < end; now = clock_now()) {
        for (unsigned n = 0; n < 16; n++) {
            if (!session_refresh(l) || wait_over(l, wait, false) || needs_reached(l, l->hungry)) {
                l->spin_ns = l->spin_most_ns;
                return true;
            }
        }
    }
    l->spin_ns /= 2;
    return false;
}

static int poll_failed(struct ring_link *l, int error)
{
    (void) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); /* no memory: not at once again */
    return status_fail(MR_E_SYSTEM, error, "cannot wait for the reader of %.300s: %s", l->base.name, strerror(error));
}

/* Sleeps until the reader says something, link_wake (*woken), or `until`. */
static int sleep_until(struct ring_link *l, uint64_t until, bool *woken)
{
    struct pollfd polled[] = {{.fd = l->socket, .events = POLLIN},
                              {.fd = waker_event(&l->base.waker), .events = POLLIN}};
    *woken = waker_take(&l->base.waker);
    if (*woken)
        return MR_OK;
    struct timespec left = time_until(until);
    int ready = ppoll(polled, 2, until == CLOCK_NEVER ? NULL : &left, NULL);
    if (ready < 0 && errno != EINTR)
        return poll_failed(l, errno);
    *woken = waker_take(&l->base.waker);
    return MR_OK;
}

/* link_wait and link_await. */
static int wait_for(struct ring_link *l, const struct link_mark *mark, uint64_t deadline)
{
    struct wait wait = {.mark = mark, .room = mark == NULL, .answered = l->answered};
    for (;;) {
        bool moved, woken;
        catch_up(l, &moved);
        if (wait_over(l, &wait, moved))
            return MR_OK;
        if (moved)
            continue;
        wants_tell(l, mark);
        if (wait_over(l, &wait, false))
            return MR_OK;
        if (needs_reached(l, l->hungry) || spin(l, &wait))
            continue;
        uint64_t until = deadline;
        if (l->pause_ns != 0 && clock_now() + l->pause_ns < deadline)
            until = clock_now() + l->pause_ns;
        int status = sleep_until(l, until, &woken);
        if (status != MR_OK || woken)
            return status;
        if (clock_now() < until)
            continue;
        if (until == deadline) {
            catch_up(l, &moved); /* what came last counts */
            return wait_over(l, &wait, moved) ? MR_OK : MR_E_TIMEOUT;
        }
        if (l->room_refused)
            return MR_OK; /* the pause is over */
    }
}

int ring_link_wait(struct ring_link *l, uint64_t deadline)
{
    return ring_link_connected(l) ? wait_for(l, NULL, deadline) : MR_OK;
}

int ring_link_await(struct ring_link *l, const struct link_mark *mark, uint64_t deadline)
{
    int status = wait_for(l, mark, deadline);
    if (status == MR_OK && !ring_link_connected(l) && l->refused == MR_E_ACCESS)
        status = status_fail(MR_E_ACCESS, 0, "the slot %.300s lets this user write nothing", l->base.name);
    return status;
}

/* ---- with a port ---- */

static enum started watch_done(operation *o, int status)
{
    o->status = status;
    return STARTED_DONE;
}

static enum started watch_socket(struct ring_link *l, port *p, operation *o)
{
    if (l->watched == NULL) {
        if (l->retired != NULL)
            endpoint_close(l->retired);
        l->retired = NULL;
        int status = endpoint_open(&l->watched, p, l->socket);
        if (status != MR_OK) {
            l->watched = NULL;
            return watch_done(o, status);
        }
    }
    return port_watch(l->watched, o, WAIT_IN);
}

static enum started watch_for(struct ring_link *l, const struct link_mark *mark, bool room, port *p, operation *o)
{
    struct wait wait = {.mark = mark, .room = room, .answered = l->answered};
    bool moved;
    catch_up(l, &moved);
    if (!wait_over(l, &wait, moved))
        wants_tell(l, mark);
    if (room ? !ring_link_connected(l) : !session_alive(l))
        return watch_done(o, MR_E_GONE);
    if (wait_over(l, &wait, moved) || needs_reached(l, l->hungry))
        return watch_done(o, MR_OK);
    if (l->pause_ns != 0)
        return port_set_deadline(p, o, clock_now() + l->pause_ns);
    return watch_socket(l, p, o);
}

enum started ring_link_watch(struct ring_link *l, port *p, operation *o)
{
    if (!ring_link_connected(l))
        return watch_done(o, MR_E_GONE);
    return watch_for(l, NULL, true, p, o);
}

enum started ring_link_watch_mark(struct ring_link *l, const struct link_mark *mark, port *p, operation *o)
{
    if (!session_alive(l))
        return watch_done(o, mark != NULL && mark_passed(l, mark) ? MR_OK : MR_E_GONE);
    if (mark == NULL) { /* nobody waits for room */
        l->room_refused = false;
        l->needy = 0;
    }
    return watch_for(l, mark, false, p, o);
}
