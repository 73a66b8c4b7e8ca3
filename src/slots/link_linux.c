/* link_linux.c: a writer's link: which lane it goes by, its name, and how a wait of it is ended.
 *
 * Path    link_open: options.lane > the ring, or the plain lane where the writer asked for it; for the link's whole
 *         life link_* > one branch > ring_link_* or plain_link_*
 *
 * W1/K1   link_wake stores `woken`, then loads `event`; a wait stores `event`, then exchanges `woken`. Both seq_cst: at
 *         least one of them sees the other, so no wake-up is lost. The event exists only once somebody has waited.
 */
#include "slots/link_linux.h"

#include <assert.h>
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "queue/memory.h"
#include "queue/status.h"
#include "slots/plain_link_linux.h"
#include "slots/ring_link_linux.h"

/* ---- waking ---- */

int waker_event(struct waker *waker)
{
    int event = atomic_load_explicit(&waker->event, memory_order_relaxed);
    if (event == NO_DESCRIPTOR) {
        event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        atomic_store_explicit(&waker->event, event, memory_order_seq_cst); /* W1 */
    }
    return event;
}

bool waker_take(struct waker *waker)
{
    int event = atomic_load_explicit(&waker->event, memory_order_relaxed);
    bool woken = atomic_exchange_explicit(&waker->woken, false, memory_order_seq_cst); /* W1 */
    uint64_t count;
    if (event != NO_DESCRIPTOR && read(event, &count, sizeof count) == (ssize_t) sizeof count)
        woken = true; /* perhaps of a wake-up that has been taken before it was written: one wait too many ends */
    return woken;
}

void link_wake(slot_link *l)
{
    atomic_store_explicit(&l->waker.woken, true, memory_order_seq_cst); /* K1 */
    int event = atomic_load_explicit(&l->waker.event, memory_order_seq_cst);
    uint64_t one = 1;
    if (event != NO_DESCRIPTOR && write(event, &one, sizeof one) < 0)
        assert(errno == EAGAIN); /* it is set already */
}

struct timespec time_until(uint64_t deadline)
{
    uint64_t now = clock_now();
    uint64_t left = deadline > now ? deadline - now : 0;
    return (struct timespec){.tv_sec = (time_t) (left / 1000000000u), .tv_nsec = (long) (left % 1000000000u)};
}

/* ---- the link itself ---- */

static int name_keep(slot_link *l, const struct slot_name *name)
{
    if (name->kind != SLOT_NAME_LOCAL)
        return status_fail(MR_E_NAME, 0, "%s is on another machine, and this library has no remote lane",
                           name->display);
    char *copy = memory_strdup(name->display);
    if (copy == NULL)
        return status_fail_plain(MR_E_MEMORY);
    memory_free(l->name);
    l->name = copy;
    return MR_OK;
}

static struct plain_link *plain_of(slot_link *l)
{
    return (struct plain_link *) (void *) l;
}

static struct ring_link *ring_of(slot_link *l)
{
    return (struct ring_link *) (void *) l;
}

static const struct plain_link *plain_at(const slot_link *l)
{
    return (const struct plain_link *) (const void *) l;
}

static const struct ring_link *ring_at(const slot_link *l)
{
    return (const struct ring_link *) (const void *) l;
}

int link_open(slot_link **out, const struct link_config *config)
{
    mr_lane lane = config->options->lane;
    if (lane != MR_LANE_NONE && lane != MR_LANE_RING && lane != MR_LANE_PLAIN)
        return status_fail(MR_E_ARGUMENT, 0,
                           "lane %d: a writer on Linux goes by the ring (%d) or by the plain lane (%d)", (int) lane,
                           (int) MR_LANE_RING, (int) MR_LANE_PLAIN);
    bool plain = lane == MR_LANE_PLAIN;
    slot_link *l = NULL;
    int status = plain ? plain_link_make(&l) : ring_link_make(&l, config->options);
    if (status != MR_OK)
        return status;
    l->plain = plain;
    l->reader_uid = config->options->reader_uid;
    atomic_init(&l->waker.event, NO_DESCRIPTOR);
    status = name_keep(l, config->name);
    if (status != MR_OK) {
        link_close(l, false);
        return status;
    }
    *out = l;
    return MR_OK;
}

bool link_is_named(const slot_link *l, const struct slot_name *name)
{
    struct slot_name mine;
    return name_parse(&mine, l->name) == MR_OK && name_equal(&mine, name);
}

int link_rename(slot_link *l, const struct slot_name *name)
{
    int status = name_keep(l, name);
    if (status != MR_OK)
        return status;
    if (l->plain)
        plain_link_disconnect(plain_of(l));
    else
        ring_link_forget(ring_of(l));
    return MR_OK;
}

void link_close(slot_link *l, bool in_child)
{
    if (l->plain)
        plain_link_clear(plain_of(l), in_child);
    else
        ring_link_clear(ring_of(l), in_child);
    int event = atomic_load_explicit(&l->waker.event, memory_order_relaxed);
    if (event != NO_DESCRIPTOR)
        close(event);
    memory_free(l->name);
    memory_free(l);
}

/* ---- by lane ---- */

int link_connect(slot_link *l, uint64_t deadline)
{
    return l->plain ? plain_link_connect(plain_of(l), deadline) : ring_link_connect(ring_of(l), deadline);
}

bool link_connected(const slot_link *l)
{
    return l->plain ? plain_link_connected(plain_at(l)) : ring_link_connected(ring_at(l));
}

void link_disconnect(slot_link *l)
{
    if (l->plain)
        plain_link_disconnect(plain_of(l));
    else
        ring_link_disconnect(ring_of(l));
}

size_t link_max_message(const slot_link *l)
{
    return l->plain ? plain_link_max_message(plain_at(l)) : ring_link_max_message(ring_at(l));
}

int link_send(slot_link *l, const void *data, size_t length, uint32_t priority)
{
    if (l->plain)
        return plain_link_send(plain_of(l), data, length);
    return ring_link_send(ring_of(l), data, length, priority);
}

int link_wait(slot_link *l, uint64_t deadline)
{
    return l->plain ? plain_link_wait(plain_of(l), deadline) : ring_link_wait(ring_of(l), deadline);
}

enum started link_watch(slot_link *l, port *p, operation *o)
{
    return l->plain ? plain_link_watch(plain_of(l), p, o) : ring_link_watch(ring_of(l), p, o);
}

/* ---- acknowledgement: the plain lane has none ---- */

bool link_acknowledges(const slot_link *l)
{
    return !l->plain;
}

int link_keep(slot_link *l, const void *data, size_t length, uint32_t priority)
{
    if (l->plain)
        return status_fail_plain(MR_E_UNSUPPORTED);
    return ring_link_keep(ring_of(l), data, length, priority);
}

void link_gap(slot_link *l, uint32_t priority, uint64_t count)
{
    if (!l->plain)
        ring_link_gap(ring_of(l), priority, count);
}

int link_tell_gaps(slot_link *l)
{
    return l->plain ? MR_OK : ring_link_tell_gaps(ring_of(l));
}

void link_mark(const slot_link *l, struct link_mark *mark)
{
    *mark = (struct link_mark){0};
    if (!l->plain)
        ring_link_mark(ring_at(l), mark);
}

bool link_passed(slot_link *l, const struct link_mark *mark)
{
    return l->plain || ring_link_passed(ring_of(l), mark);
}

int link_await(slot_link *l, const struct link_mark *mark, uint64_t deadline)
{
    return l->plain ? MR_OK : ring_link_await(ring_of(l), mark, deadline);
}

enum started link_watch_mark(slot_link *l, const struct link_mark *mark, port *p, operation *o)
{
    if (!l->plain)
        return ring_link_watch_mark(ring_of(l), mark, p, o);
    o->status = MR_OK;
    return STARTED_DONE;
}

uint64_t link_unacknowledged(slot_link *l)
{
    return l->plain ? 0 : ring_link_unacknowledged(ring_of(l));
}

bool link_leaving(const slot_link *l)
{
    return !l->plain && ring_at(l)->state == SESSION_PARTING;
}

void link_get_counts(const slot_link *l, struct link_counts *counts)
{
    *counts = (struct link_counts){0};
    if (!l->plain)
        ring_link_get_counts(ring_at(l), counts);
}
