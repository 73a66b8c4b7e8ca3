/* port_windows.c: a completion port on the system's own: packets, waiting, deadlines, stopping.
 *
 * Path    port_post ─► PostQueuedCompletionStatus ─► the system's queue ─► port_wait
 *         port_receive/… ─► overlapped call ─(the system)─► the system's queue ─► port_wait
 *         port_set_deadline ─► heap ─(thread-pool timer posts KEY_TIMER)─► port_wait ─► posts what is due ─► port_wait
 *         port_cancel ─► CancelIoEx, or a post ─► the system's queue ─► port_wait
 *
 * Owners  The system owns the queue and decides which thread takes a packet; it also counts the threads that run and
 *         lets another through when one blocks (C15). The port's lock guards the heap.
 *
 * P1  One queue, first in first out, for posts, completions and deadlines alike: their turns (C11) are the system's.
 * P2  `pending` counts every operation from before its start until its packet is taken out. `stopping` is set before
 *     anything is cancelled, and a start counts itself before it looks at `stopping`: so once `stopping` is seen with
 *     `pending` 0, every later start is refused, and the queue holds no operation any more. Whoever brings `pending` to
 *     0 while stopping posts a nudge if a thread waits; a thread counts itself in `waiters` before it looks at the two.
 *     All three are seq_cst: each pair is a store followed by a load of the other's variable. A thread that leaves with
 *     MR_E_STOPPED nudges the next.
 * P3  While the heap's first deadline lies before CLOCK_NEVER the timer is set for its time or an earlier one, or its
 *     packet is in the queue, or a thread has taken that and is on its way to the lock.
 * P4  No thread of ours (C16). The timer, and waits on handles that are no files (endpoint_windows.c), are served by
 *     the system's thread pool, whose threads only post a packet. The timer is set only while there is a deadline.
 * P5  Idle costs nothing: threads sleep in GetQueuedCompletionStatusEx until their own deadline. */
#include "iocp/port_windows.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "queue/memory.h"

void port_must(bool done, const char *what)
{
    if (!done) {
        fprintf(stderr, "mailroom: completion port: %s: error %lu\n", what, GetLastError());
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

/* Counting and waking (P2) */

static bool stopping(port *p)
{
    return atomic_load_explicit(&p->stopping, memory_order_seq_cst);
}

static bool ended(port *p)
{
    return stopping(p) && atomic_load_explicit(&p->pending, memory_order_seq_cst) == 0;
}

static void nudge(port *p)
{
    if (atomic_load_explicit(&p->waiters, memory_order_seq_cst) > 0)
        port_must(PostQueuedCompletionStatus(p->iocp, 0, KEY_NUDGE, NULL), "PostQueuedCompletionStatus");
}

void pending_add(port *p)
{
    atomic_fetch_add_explicit(&p->pending, 1, memory_order_seq_cst);
}

void pending_drop(port *p)
{
    if (atomic_fetch_sub_explicit(&p->pending, 1, memory_order_seq_cst) == 1 && stopping(p))
        nudge(p);
}

void packet_queue(port *p, operation *o)
{
    port_must(PostQueuedCompletionStatus(p->iocp, 0, KEY_POSTED, &state_of(o)->system.overlapped),
              "PostQueuedCompletionStatus");
}

int port_post(port *p, operation *o)
{
    pending_add(p);
    if (stopping(p)) {
        pending_drop(p);
        return status_fail_plain(MR_E_STOPPED);
    }
    assert(state_of(o)->kind == KIND_NONE);
    packet_queue(p, o);
    return MR_OK;
}

/* The system knows of nothing like it. */
int port_post_last(port *p, operation *o)
{
    return port_post(p, o);
}

void port_hand_on(port *p)
{
    (void) p; /* every packet wakes somebody */
}

/* The queue is the system's, which does not tell. */
bool port_quiet(const port *p)
{
    (void) p;
    return false;
}

/* Deadlines */

static void CALLBACK timer_run(PTP_CALLBACK_INSTANCE instance, void *context, PTP_TIMER timer)
{
    (void) instance;
    (void) timer;
    port *p = context;
    port_must(PostQueuedCompletionStatus(p->iocp, 0, KEY_TIMER, NULL), "PostQueuedCompletionStatus");
}

/* Sets the timer for the first deadline, unless it goes off earlier anyway (P3). With the lock held. */
static void timer_update(port *p, uint64_t now)
{
    const struct deadline *first = deadline_first(&p->deadlines);
    if (first == NULL || first->when >= p->timer_at)
        return;
    p->timer_at = first->when;
    /* Relative times are negative, in units of 100 ns; rounded up, so that the timer is not early. */
    uint64_t units = first->when <= now ? 1 : (first->when - now) / 100 + 1;
    LARGE_INTEGER due;
    due.QuadPart = -(int64_t) (units > INT64_MAX ? INT64_MAX : units);
    FILETIME when = {.dwLowDateTime = due.LowPart, .dwHighDateTime = (DWORD) due.HighPart};
    SetThreadpoolTimer(p->timer, &when, 0, 0);
}

/* Queues the deadlines that have come by `time`. With the lock held. */
static void deadlines_collect(port *p, uint64_t time)
{
    for (struct deadline *first; (first = deadline_first(&p->deadlines)) != NULL && first->when <= time;) {
        deadline_remove(&p->deadlines, first);
        struct state *s = (struct state *) (void *) ((char *) first - offsetof(struct state, system.deadline));
        atomic_store_explicit(&s->in_heap, false, memory_order_relaxed);
        packet_queue(p, operation_of(s));
    }
}

static void timer_packet(port *p)
{
    mutex_lock(&p->lock);
    uint64_t now = clock_now();
    p->timer_at = CLOCK_NEVER;
    deadlines_collect(p, now);
    timer_update(p, now);
    mutex_unlock(&p->lock);
}

enum started port_set_deadline(port *p, operation *o, uint64_t deadline)
{
    struct state *s = state_of(o);
    results_clear(o);
    pending_add(p);
    mutex_lock(&p->lock);
    if (stopping(p)) { /* set under the lock: what is in the heap is seen by port_stop, what comes later is refused */
        mutex_unlock(&p->lock);
        pending_drop(p);
        o->status = MR_E_STOPPED;
        return STARTED_DONE;
    }
    assert(s->kind == KIND_NONE);
    s->kind = KIND_DEADLINE;
    atomic_store_explicit(&s->in_heap, true, memory_order_relaxed);
    deadline_insert(&p->deadlines, &s->system.deadline, deadline);
    uint64_t now = clock_now();
    if (deadline != CLOCK_NEVER && deadline <= now)
        deadlines_collect(p, deadline); /* through the heap: an earlier one may be waiting there */
    timer_update(p, now);
    mutex_unlock(&p->lock);
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
    mutex_lock(&p->lock);
    if (atomic_load_explicit(&s->in_heap, memory_order_relaxed)) {
        atomic_store_explicit(&s->in_heap, false, memory_order_relaxed);
        deadline_remove(&p->deadlines, &s->system.deadline);
        o->status = MR_E_CANCELLED;
        packet_queue(p, o);
    }
    mutex_unlock(&p->lock);
}

/* Waiting */

/* The system waits in whole milliseconds. Rounded up; a long wait is taken in parts. */
static DWORD wait_milliseconds(uint64_t deadline)
{
    if (deadline == CLOCK_NEVER)
        return INFINITE;
    uint64_t now = deadline == 0 ? 0 : clock_now();
    if (deadline <= now)
        return 0;
    uint64_t milliseconds = (deadline - now - 1) / 1000000u + 1;
    return milliseconds > INT32_MAX ? INT32_MAX : (DWORD) milliseconds;
}

/* What a dequeued packet stands for: an operation that has completed, or NULL. */
static operation *packet_open(port *p, const OVERLAPPED_ENTRY *entry)
{
    if (entry->lpCompletionKey == KEY_TIMER) {
        timer_packet(p);
        return NULL;
    }
    if (entry->lpCompletionKey == KEY_NUDGE)
        return NULL;
    struct state *s = (struct state *) (void *) entry->lpOverlapped;
    operation *o = operation_of(s);
    endpoint *e = atomic_load_explicit(&s->endpoint, memory_order_acquire);
    if (e != NULL)
        return endpoint_complete(e, o) ? o : NULL;
    s->kind = KIND_NONE;
    return o;
}

int port_wait(port *p, operation **out, uint64_t deadline)
{
    for (;;) {
        OVERLAPPED_ENTRY entry;
        ULONG count = 0;
        atomic_fetch_add_explicit(&p->waiters, 1, memory_order_seq_cst);
        bool over = ended(p), taken = false;
        DWORD error = WAIT_TIMEOUT;
        if (!over) {
            taken = GetQueuedCompletionStatusEx(p->iocp, &entry, 1, &count, wait_milliseconds(deadline), FALSE) &&
                    count == 1;
            if (!taken)
                error = GetLastError();
        }
        atomic_fetch_sub_explicit(&p->waiters, 1, memory_order_seq_cst);
        if (over) {
            nudge(p);
            return status_fail_plain(MR_E_STOPPED);
        }
        if (taken) {
            operation *o = packet_open(p, &entry);
            if (o != NULL) {
                *out = o;
                pending_drop(p);
                return MR_OK;
            }
            continue;
        }
        port_must(error == WAIT_TIMEOUT, "GetQueuedCompletionStatusEx");
        if (deadline != CLOCK_NEVER && clock_now() >= deadline)
            return status_fail_plain(MR_E_TIMEOUT);
    }
}

/* Opening and ending */

uint32_t port_concurrency(const port *p)
{
    return p->concurrency;
}

static uint32_t processors(void)
{
    DWORD count = GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);
    return count == 0 ? 1 : count;
}

static int open_error(const char *what)
{
    DWORD error = GetLastError();
    int status = error == ERROR_NOT_ENOUGH_MEMORY || error == ERROR_NO_SYSTEM_RESOURCES ? MR_E_MEMORY : MR_E_SYSTEM;
    return status_fail(status, error, "cannot open a completion port: %s: error %lu", what, error);
}

int port_open(port **out, const struct port_options *options)
{
    port *p = memory_zalloc(sizeof *p);
    if (p == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a completion port");
    p->concurrency = options == NULL || options->concurrency == 0 ? processors() : options->concurrency;
    p->timer_at = CLOCK_NEVER;
    int status;
    p->iocp = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, p->concurrency);
    if (p->iocp == NULL) {
        status = open_error("CreateIoCompletionPort");
        goto failed;
    }
    p->timer = CreateThreadpoolTimer(timer_run, p, NULL);
    if (p->timer == NULL) {
        status = open_error("CreateThreadpoolTimer");
        CloseHandle(p->iocp);
        goto failed;
    }
    mutex_init(&p->lock);
    mutex_init(&p->table_lock);
    *out = p;
    return MR_OK;

failed:
    memory_free(p);
    return status;
}

void port_stop(port *p)
{
    mutex_lock(&p->lock);
    bool before = atomic_exchange_explicit(&p->stopping, true, memory_order_seq_cst);
    for (struct deadline *first; (first = deadline_first(&p->deadlines)) != NULL;) {
        deadline_remove(&p->deadlines, first);
        struct state *s = (struct state *) (void *) ((char *) first - offsetof(struct state, system.deadline));
        atomic_store_explicit(&s->in_heap, false, memory_order_relaxed);
        operation_of(s)->status = MR_E_CANCELLED;
        packet_queue(p, operation_of(s));
    }
    mutex_unlock(&p->lock);
    if (before)
        return;
    endpoints_stop(p);
    if (ended(p))
        nudge(p);
}

void port_close(port *p)
{
    SetThreadpoolTimer(p->timer, NULL, 0, 0);
    WaitForThreadpoolTimerCallbacks(p->timer, TRUE);
    CloseThreadpoolTimer(p->timer);
    port_must(CloseHandle(p->iocp), "CloseHandle");
    endpoints_free(p);
    mutex_destroy(&p->table_lock);
    mutex_destroy(&p->lock);
    memory_free(p);
}
