/* port_linux.c: a completion port on epoll: packets, waiting, deadlines, stopping.
 *
 * Path    port_post ─► queue of packets ─► port_wait
 *         port_set_deadline ─► heap ─(timerfd, in the epoll set)─► queue of packets ─► port_wait
 *         port_receive/… ─► one-shot arming ─(epoll)─► port_wait carries it out, endpoint_linux.c ─► its caller
 *         port_cancel ─► queue of packets
 *
 * Owners  The port's lock guards queue, heap and the counts of sleepers. Lock order: an endpoint's, then the port's.
 *
 * P1  A thread looks at the queue under the lock before it counts itself a waiter, and whoever queues a packet looks
 *     at the count under the same lock after it: so either the thread sees the packet or the poster sees the thread.
 * P2  While the queue holds packets and threads sleep, one of these is true: the bell is ringing (`ringing`, an event
 *     that epoll keeps until a thread takes it); relief is due (`relief_at`, P4); a thread has taken one of these
 *     events and is on its way to the lock, where it looks at the queue before it sleeps again.
 * P3  A packet posted by a thread that holds a packet of this port rings nobody: that thread reaches it right after
 *     its handler. It makes relief due instead, in case the handler blocks (C15), unless the handler has said that it
 *     ends here (port_post_last): relief that is not needed wakes a thread all the same, from which on two of them share
 *     out what is one's work. So does a packet that is left in the queue by a thread that goes off with another.
 * P4  relief_at or the first deadline before CLOCK_NEVER means that the timer is set for that time or an earlier one,
 *     or that it has gone off and epoll or a thread on its way to the lock holds its event.
 * P5  The threads that sleep while relief comes and finds the queue moving fast go on sleeping: a second thread makes
 *     short work slower. Half of PORT_RELIEF_NS is the period, so a packet whose worker blocks right after a fast
 *     stretch waits no longer than PORT_RELIEF_NS. Likewise a thread that comes for the next packet and finds that the
 *     others, without it, have moved the queue fast: it goes to sleep, and relief stays due. So that there is relief
 *     to go by while nobody sleeps, it is made due as well where two threads take turns at the queue.
 * P6  Bell and timer are edge-triggered and never read: one event wakes one thread, not all of them.
 * P7  Stopping: `stopping` is set under the port's lock, then each endpoint's lock is taken in turn, so a start either
 *     sees the flag or is seen. `stopped` follows when all cancelled packets are queued: only then may an empty queue
 *     mean MR_E_STOPPED.
 * P8  Idle costs nothing (C16): with an empty queue, no relief and no deadline the timer is not set and threads sleep
 *     in epoll until their own deadline. */
#include "iocp/port_linux.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "queue/memory.h"

#define NANOSECONDS   UINT64_C(1000000000)
#define RELIEF_PERIOD (PORT_RELIEF_NS / 2)
/* P5: that many packets in one period is moving fast. */
#define RELIEF_MOVED 64u
/* C11: after a look into epoll that found nothing, the next one comes after so many packets; asking costs as much as a short
 * packet does. While there are events, after each packet. */
#define EVENTS_EVERY 4u

/* The port whose packet this thread holds: set when port_wait hands one out, cleared when it is called again. */
static _Thread_local uint64_t holding;

/* P5: how many packets this thread has taken from which port's queue in which of its periods. */
static _Thread_local struct own_share {
    uint64_t port;
    uint64_t period;
    uint64_t taken;
} own;

/* What cannot fail on a working port: going on would lose wake-ups. */
static void must(bool done, const char *what)
{
    if (!done) {
        fprintf(stderr, "mailroom: completion port: %s: %s\n", what, strerror(errno));
        abort();
    }
}

void results_clear(operation *o)
{
    o->status = MR_OK;
    o->os_error = 0;
    o->bytes = 0;
    o->accepted = HANDLE_NONE;
}

/* Sets the timer for whatever comes first, unless it goes off earlier anyway (P4). */
static void timer_update(port *p)
{
    const struct deadline *first = deadline_first(&p->deadlines);
    uint64_t at = p->relief_at;
    if (first != NULL && first->when < at)
        at = first->when;
    if (at >= p->timer_at)
        return;
    p->timer_at = at;
    uint64_t set = at == 0 ? 1 : at; /* zero would turn it off */
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t) (set / NANOSECONDS), .tv_nsec = (long) (set % NANOSECONDS)}};
    must(timerfd_settime(p->timer, TFD_TIMER_ABSTIME, &when, NULL) == 0, "timerfd_settime");
}

/* P2, P3: packets wait, and this thread will not take them now. */
static void relief_make_due(port *p)
{
    if (p->relief_at != CLOCK_NEVER)
        return;
    p->relief_at = clock_now() + RELIEF_PERIOD;
    p->relief_mark = p->taken;
    p->relief_period++;
    timer_update(p);
}

/* The thread's share of the port's current period. */
static struct own_share *own_share_of(const port *p)
{
    if (own.port != p->id || own.period != p->relief_period)
        own = (struct own_share){p->id, p->relief_period, 0};
    return &own;
}

/* P5: packets that other threads have taken since relief was made due. */
static uint64_t moved_by_others(const port *p)
{
    return p->taken - p->relief_mark - own_share_of(p)->taken;
}

/* Whether a sleeper must be woken for what has just been queued; the caller then writes the bell (P1 to P3). `last`: this
 * thread does nothing more before it calls port_wait. */
static bool wake_needed(port *p, bool last)
{
    if (p->waiters == 0 || p->ringing || (last && holding == p->id))
        return false;
    if (holding == p->id || p->first != p->last) {
        relief_make_due(p);
        return false;
    }
    p->ringing = true;
    return true;
}

static void queue_push(port *p, operation *o)
{
    struct state *s = state_of(o);
    place_set(s, PLACE_QUEUED);
    s->next = NULL;
    if (p->last != NULL)
        state_of(p->last)->next = o;
    else
        p->first = o;
    p->last = o;
    atomic_store_explicit(&p->quiet, false, memory_order_relaxed);
}

static operation *queue_pop(port *p)
{
    operation *o = p->first;
    p->first = state_of(o)->next;
    if (p->first == NULL) {
        p->last = NULL;
        atomic_store_explicit(&p->quiet, true, memory_order_relaxed);
    }
    p->taken++;
    own_share_of(p)->taken++;
    return o;
}

/* A hint: nothing is ordered by it. */
bool port_quiet(const port *p)
{
    return atomic_load_explicit(&p->quiet, memory_order_relaxed);
}

bool packet_queue(port *p, operation *o)
{
    mutex_lock(&p->lock);
    queue_push(p, o);
    bool ring = wake_needed(p, false);
    mutex_unlock(&p->lock);
    return ring;
}

void port_ring(port *p)
{
    uint64_t one = 1;
    must(write(p->bell, &one, sizeof one) == sizeof one, "write to the bell");
}

static int post(port *p, operation *o, bool last)
{
    mutex_lock(&p->lock);
    if (atomic_load_explicit(&p->stopping, memory_order_relaxed)) {
        mutex_unlock(&p->lock);
        return status_fail_plain(MR_E_STOPPED);
    }
    assert(place_get(state_of(o)) == PLACE_IDLE);
    queue_push(p, o);
    bool ring = wake_needed(p, last);
    mutex_unlock(&p->lock);
    if (ring)
        port_ring(p);
    return MR_OK;
}

int port_post(port *p, operation *o)
{
    return post(p, o, false);
}

int port_post_last(port *p, operation *o)
{
    return post(p, o, true);
}

void port_hand_on(port *p)
{
    holding = 0;
    mutex_lock(&p->lock);
    bool ring = p->first != NULL && p->waiters > 0 && !p->ringing;
    p->ringing = p->ringing || ring;
    mutex_unlock(&p->lock);
    if (ring)
        port_ring(p);
}

static operation *deadline_owner(struct deadline *node)
{
    char *s = (char *) node - offsetof(struct state, deadline);
    return (operation *) (void *) (s - offsetof(operation, backend));
}

/* Queues the deadlines that have come. Returns whether there were any. */
static bool deadlines_collect(port *p, uint64_t now)
{
    bool any = false;
    for (struct deadline *first; (first = deadline_first(&p->deadlines)) != NULL && first->when <= now; any = true) {
        deadline_remove(&p->deadlines, first);
        queue_push(p, deadline_owner(first));
    }
    return any;
}

enum started port_set_deadline(port *p, operation *o, uint64_t deadline)
{
    struct state *s = state_of(o);
    results_clear(o);
    mutex_lock(&p->lock);
    if (atomic_load_explicit(&p->stopping, memory_order_relaxed)) {
        mutex_unlock(&p->lock);
        o->status = MR_E_STOPPED;
        return STARTED_DONE;
    }
    assert(place_get(s) == PLACE_IDLE);
    place_set(s, PLACE_DEADLINE);
    deadline_insert(&p->deadlines, &s->deadline, deadline);
    /* One that has come already goes through the heap too: an earlier one may be waiting there. */
    bool ring = false;
    if (deadline != CLOCK_NEVER && deadline <= clock_now() && deadlines_collect(p, deadline))
        ring = wake_needed(p, false);
    timer_update(p);
    mutex_unlock(&p->lock);
    if (ring)
        port_ring(p);
    return STARTED_PENDING;
}

void port_cancel(port *p, operation *o)
{
    struct state *s = state_of(o);
    endpoint *e = atomic_load_explicit(&s->endpoint, memory_order_acquire);
    if (e != NULL) {
        endpoint_cancel(e, o);
        return;
    }
    bool ring = false;
    mutex_lock(&p->lock);
    if (place_get(s) == PLACE_DEADLINE) {
        deadline_remove(&p->deadlines, &s->deadline);
        o->status = MR_E_CANCELLED;
        queue_push(p, o);
        ring = wake_needed(p, false);
    }
    mutex_unlock(&p->lock);
    if (ring)
        port_ring(p);
}

/* Waits for one event until `deadline`. Returns false when there was none and the time has come. */
static bool event_take(port *p, struct epoll_event *event, uint64_t deadline)
{
    static atomic_bool whole_milliseconds; /* a kernel before 5.11 has no epoll_pwait2 */
    for (;;) {
        uint64_t now = deadline == 0 || deadline == CLOCK_NEVER ? 0 : clock_now();
        uint64_t left = deadline <= now ? 0 : deadline - now;
        int count;
        if (left == 0) {
            count = epoll_wait(p->epoll, event, 1, 0);
        } else if (deadline == CLOCK_NEVER) {
            count = epoll_wait(p->epoll, event, 1, -1);
        } else if (!atomic_load_explicit(&whole_milliseconds, memory_order_relaxed)) {
            struct timespec wait = {.tv_sec = (time_t) (left / NANOSECONDS), .tv_nsec = (long) (left % NANOSECONDS)};
            count = epoll_pwait2(p->epoll, event, 1, &wait, NULL);
        } else {
            uint64_t milliseconds = left / 1000000u + 1;
            count = epoll_wait(p->epoll, event, 1, milliseconds > INT32_MAX ? INT32_MAX : (int) milliseconds);
        }
        if (count == 1)
            return true;
        if (count == 0 && left == 0)
            return false;
        if (count < 0 && errno == ENOSYS)
            atomic_store_explicit(&whole_milliseconds, true, memory_order_relaxed);
        else
            must(count == 0 || errno == EINTR, "epoll_wait");
    }
}

/* The timer's event. Returns whether packets wait that other workers, which are running, reach soon (P5). */
static bool timer_event(port *p)
{
    bool moving = false;
    uint64_t now = clock_now();
    p->timer_at = CLOCK_NEVER;
    (void) deadlines_collect(p, now);
    if (p->relief_at <= now) {
        p->relief_at = CLOCK_NEVER;
        if (p->first != NULL && moved_by_others(p) >= RELIEF_MOVED) {
            relief_make_due(p);
            moving = true;
        }
    }
    timer_update(p);
    return moving && !p->stopped;
}

/* This thread goes off, with a packet or without: whatever else has to be done is another's (P2). Unlocks. */
static void wait_leave(port *p)
{
    bool ring = false;
    if (p->waiters > 0 && !p->ringing) {
        if (p->stopped)
            ring = p->ringing = true;
        else if (p->first != NULL)
            relief_make_due(p);
    }
    mutex_unlock(&p->lock);
    if (ring)
        port_ring(p);
}

/* Hands out the first packet of the queue. Unlocks. */
static operation *packet_take(port *p)
{
    operation *o = queue_pop(p);
    struct state *s = state_of(o);
    endpoint *e = atomic_load_explicit(&s->endpoint, memory_order_relaxed);
    if (e == NULL)
        place_set(s, PLACE_IDLE);
    if (p->taker != &own && p->first != NULL)
        relief_make_due(p);
    p->taker = &own;
    p->events_after -= p->events_after > 0;
    wait_leave(p);
    if (e != NULL)
        endpoint_release(e, o);
    return o;
}

int port_wait(port *p, operation **out, uint64_t deadline)
{
    bool looked = false;   /* into epoll, in this call, and there was nothing */
    bool yielding = false; /* to the workers that are running (P5) */
    holding = 0;
    mutex_lock(&p->lock);
    for (;;) {
        if (p->first != NULL && !yielding && (looked || p->events_after > 0)) {
            *out = packet_take(p);
            holding = p->id;
            return MR_OK;
        }
        if (p->first == NULL && p->stopped) {
            wait_leave(p);
            return MR_E_STOPPED;
        }

        bool sleeping = p->first == NULL || yielding;
        if (sleeping)
            p->waiters++;
        mutex_unlock(&p->lock);
        struct epoll_event event;
        bool any = event_take(p, &event, sleeping ? deadline : 0);
        mutex_lock(&p->lock);
        if (sleeping)
            p->waiters--;
        yielding = false;

        if (!any) {
            if (p->first == NULL && !p->stopped && sleeping) {
                wait_leave(p);
                return MR_E_TIMEOUT;
            }
            looked = true;
            p->events_after = EVENTS_EVERY;
            continue;
        }
        uint32_t index = (uint32_t) event.data.u64;
        if (index == INDEX_BELL) {
            p->ringing = false;
        } else if (index == INDEX_TIMER) {
            yielding = timer_event(p);
        } else {
            p->events_after = 1;
            wait_leave(p);
            operation *o = endpoint_event(p, index, (uint32_t) (event.data.u64 >> 32), event.events);
            if (o != NULL) {
                *out = o;
                holding = p->id;
                return MR_OK;
            }
            mutex_lock(&p->lock);
        }
    }
}

void port_stop(port *p)
{
    mutex_lock(&p->lock);
    bool first = !atomic_exchange_explicit(&p->stopping, true, memory_order_relaxed);
    mutex_unlock(&p->lock);
    if (!first)
        return;

    endpoints_stop(p); /* P7 */

    mutex_lock(&p->lock);
    for (struct deadline *node; (node = deadline_first(&p->deadlines)) != NULL;) {
        deadline_remove(&p->deadlines, node);
        operation *o = deadline_owner(node);
        o->status = MR_E_CANCELLED;
        queue_push(p, o);
    }
    p->stopped = true;
    wait_leave(p);
}

static uint32_t processors(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return (uint32_t) CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN); /* more processors than cpu_set_t can tell */
    return online > 0 ? (uint32_t) online : 1;
}

static int port_register(port *p, int descriptor, uint32_t index)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = index};
    return epoll_ctl(p->epoll, EPOLL_CTL_ADD, descriptor, &event);
}

int port_open(port **out, const struct port_options *options)
{
    static atomic_uint_fast64_t ids;
    port *p = memory_zalloc(sizeof *p);
    if (p == NULL)
        return status_fail_plain(MR_E_MEMORY);
    p->id = atomic_fetch_add_explicit(&ids, 1, memory_order_relaxed) + 1;
    p->concurrency = options != NULL && options->concurrency != 0 ? options->concurrency : processors();
    p->timer_at = p->relief_at = CLOCK_NEVER;
    atomic_init(&p->quiet, true);

    p->epoll = epoll_create1(EPOLL_CLOEXEC);
    p->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    p->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (p->epoll < 0 || p->bell < 0 || p->timer < 0 || port_register(p, p->bell, INDEX_BELL) != 0 ||
        port_register(p, p->timer, INDEX_TIMER) != 0) {
        int error = errno;
        const int descriptors[] = {p->timer, p->bell, p->epoll};
        for (size_t i = 0; i < sizeof descriptors / sizeof *descriptors; i++)
            if (descriptors[i] >= 0)
                (void) close(descriptors[i]);
        memory_free(p);
        int status = error == EMFILE || error == ENFILE ? MR_E_DESCRIPTORS
                     : error == ENOMEM                  ? MR_E_MEMORY
                                                        : MR_E_SYSTEM;
        return status_fail(status, error, "cannot open a completion port: %s", strerror(error));
    }
    mutex_init(&p->lock);
    mutex_init(&p->table_lock);
    *out = p;
    return MR_OK;
}

uint32_t port_concurrency(const port *p)
{
    return p->concurrency;
}

void port_close(port *p)
{
    assert(p->waiters == 0);
    endpoints_free(p);
    (void) close(p->timer);
    (void) close(p->bell);
    (void) close(p->epoll);
    mutex_destroy(&p->table_lock);
    mutex_destroy(&p->lock);
    memory_free(p);
}
