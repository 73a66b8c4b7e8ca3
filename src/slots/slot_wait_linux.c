/* slot_wait_linux.c: waiting for a slot: through its port, in a call, or in a foreign loop.
 *
 * Path    inner set > port (slot_arm), ppoll (slot_wait) or the outer set (slot_handle)
 * Owners  The handle's fields: the thread inside slot_handle or slot_signal.
 * I1      The inner set does not tell of sessions that are remembered in the ready list (slot_take_linux.c, I1): while
 *         slot_holds, nobody is let wait. It changes inside slot_take only, which excludes slot_arm; a thread in slot_wait
 *         is woken by whoever brings something out of slot_take.
 */
#include "slots/slot_linux.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "queue/status.h"

#define NANOSECONDS 1000000000u

/* ---- waiting ---- */

bool slot_arm(slot *s)
{
    if (slot_holds(s)) /* I1 */
        return false;
    return port_watch(s->end, &s->watch, WAIT_IN) == STARTED_PENDING;
}

void slot_cancel(slot *s)
{
    port_cancel(s->port, &s->watch);
}

/* The port watches the inner set, nothing else is under way. */
bool slot_settle(slot *s)
{
    (void) s;
    return true;
}

int slot_wait(slot *s, uint64_t deadline)
{
    if (slot_holds(s)) /* I1 */
        return MR_OK;
    struct pollfd waits[2] = {{.fd = s->inner, .events = POLLIN}, {.fd = s->wake, .events = POLLIN}};
    for (;;) {
        struct timespec left = {0};
        uint64_t now = deadline == CLOCK_NEVER ? 0 : clock_now();
        if (deadline > now && deadline != CLOCK_NEVER)
            left = (struct timespec){.tv_sec = (time_t) ((deadline - now) / NANOSECONDS),
                                     .tv_nsec = (long) ((deadline - now) % NANOSECONDS)};
        int count = ppoll(waits, 2, deadline == CLOCK_NEVER ? NULL : &left, NULL);
        if (count > 0)
            break;
        if (count == 0 && clock_now() >= deadline)
            return MR_E_TIMEOUT;
        if (count < 0 && errno != EINTR)
            return status_fail(MR_E_SYSTEM, errno, "cannot wait for the slot: %s", strerror(errno));
    }
    uint64_t woken;
    if (waits[1].revents != 0 && read(s->wake, &woken, sizeof woken) < 0 && errno != EAGAIN)
        return status_fail(MR_E_SYSTEM, errno, "cannot read the slot's wake-up: %s", strerror(errno));
    return MR_OK;
}

static void event_set(int descriptor)
{
    uint64_t one = 1;
    ssize_t written = write(descriptor, &one, sizeof one); /* EAGAIN: it is set already, to the brim */
    (void) written;
}

void slot_wake(slot *s)
{
    if (s->wake >= 0)
        event_set(s->wake);
}

/* ---- a foreign loop's handle ---- */

static bool outer_add(slot *s, int descriptor)
{
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(s->outer, EPOLL_CTL_ADD, descriptor, &event) == 0;
}

int slot_handle(slot *s, enum slot_handle_kind kind, os_handle *handle)
{
    if (kind != SLOT_HANDLE_DESCRIPTOR)
        return status_fail(MR_E_UNSUPPORTED, 0, "events are Windows' own; use mr_reader_fd");
    if (s->outer < 0) {
        s->takeable = eventfd(s->takeable_set ? 1 : 0, EFD_CLOEXEC | EFD_NONBLOCK);
        s->outer = s->takeable < 0 ? -1 : epoll_create1(EPOLL_CLOEXEC);
        if (s->outer < 0 || !outer_add(s, s->takeable) || (!s->paused && !outer_add(s, s->inner))) {
            int status = slot_descriptor_fail("the slot's descriptor");
            if (s->outer >= 0)
                close(s->outer);
            if (s->takeable >= 0)
                close(s->takeable);
            s->outer = s->takeable = -1;
            return status;
        }
    }
    *handle = s->outer;
    return MR_OK;
}

void slot_signal(slot *s, bool takeable, bool paused)
{
    takeable = takeable || (!paused && slot_holds(s)); /* I1 */
    if (s->outer < 0) {
        s->takeable_set = takeable;
        s->paused = paused;
        return;
    }
    if (takeable && !s->takeable_set)
        event_set(s->takeable);
    uint64_t taken;
    if (!takeable && s->takeable_set && read(s->takeable, &taken, sizeof taken) < 0 && errno != EAGAIN)
        return;
    s->takeable_set = takeable;
    if (paused == s->paused)
        return;
    /* Where adding fails for want of memory, `paused` stays and the next call tries again. */
    if (paused ? epoll_ctl(s->outer, EPOLL_CTL_DEL, s->inner, NULL) == 0 : outer_add(s, s->inner))
        s->paused = paused;
}
