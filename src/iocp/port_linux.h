/* port_linux.h: what port_linux.c (packets, waiting, deadlines) and endpoint_linux.c (operations on handles) share. */
#ifndef IOCP_PORT_LINUX_H
#define IOCP_PORT_LINUX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "iocp/backend.h"
#include "iocp/deadline_heap.h"

/* Where an operation is. It changes under the endpoint's lock (ARMED, and QUEUED from there) or under the port's. */
enum place {
    PLACE_IDLE,
    PLACE_ARMED,    /* pending on an endpoint, waiting for its event */
    PLACE_DEADLINE, /* in the port's heap */
    PLACE_QUEUED    /* in the port's queue of packets, its result decided */
};

enum kind { KIND_RECEIVE, KIND_ACCEPT, KIND_WATCH_IN, KIND_SEND, KIND_WATCH_OUT };
enum direction { INWARD, OUTWARD };

/* The backend's part of an operation. may_alias: the memory is declared as words in backend.h. */
struct __attribute__((may_alias)) state {
    operation *next;              /* in the queue of packets */
    _Atomic(endpoint *) endpoint; /* set while PENDING on an endpoint; port_cancel finds the right lock by it */
    _Atomic(enum place) place;    /* ordered by the locks; atomic because port_cancel looks at it under the port's */
    enum kind kind;
    void *buffer;
    size_t size;
    struct deadline deadline;
};

_Static_assert(sizeof(struct state) <= sizeof(((operation *) 0)->backend), "the backend's part fits");

static inline struct state *state_of(operation *o)
{
    return (struct state *) (void *) &o->backend;
}

static inline enum place place_get(const struct state *s)
{
    return atomic_load_explicit(&s->place, memory_order_relaxed);
}

static inline void place_set(struct state *s, enum place place)
{
    atomic_store_explicit(&s->place, place, memory_order_relaxed);
}

/* epoll's data: the endpoint's index below, the stamp of its registration above. Two indices are the port's own. */
#define INDEX_BELL  UINT32_MAX
#define INDEX_TIMER (UINT32_MAX - 1)

/* The endpoints lie in chunks of doubling size that live as long as the port, so that an event that was dequeued just
 * before its endpoint was closed still finds an object to ask. */
#define CHUNK_FIRST 64u
#define CHUNKS      25u

struct port {
    /* Constant after port_open. */
    int epoll;
    int bell;    /* an eventfd, edge-triggered, never read: each write wakes one sleeper */
    int timer;   /* a timerfd, edge-triggered, never read */
    uint64_t id; /* never used twice in a process */
    uint32_t concurrency;

    mutex lock; /* guards what follows, to the next blank line; may be taken with an endpoint's lock held */
    operation *first, *last; /* the queue of packets */
    atomic_bool quiet;       /* the queue is empty: written under `lock`, read by any (port_quiet) */
    uint64_t taken;          /* packets that have left the queue */
    uint32_t waiters;        /* threads in epoll's wait, or on their way into it */
    bool ringing;            /* the bell was written, and no thread has seen it yet */
    unsigned events_after;   /* C11: packets until it is the events' turn */
    bool stopped;            /* port_stop has cancelled everything */
    uint64_t timer_at;       /* when the timer goes off; CLOCK_NEVER: seen, or never set */
    uint64_t relief_at;      /* when packets that wait are to be looked at; CLOCK_NEVER: no need */
    uint64_t relief_mark;    /* `taken` when that was decided */
    uint64_t relief_period;  /* how often it was decided: a period's number */
    const void *taker;       /* tells the thread that took the last packet from the queue from others */
    struct deadline_heap deadlines;

    atomic_bool stopping; /* port_stop has begun: written under `lock`, read under it or under an endpoint's */

    mutex table_lock; /* guards the table; not held together with any other */
    _Atomic(endpoint *) chunks[CHUNKS];
    uint32_t endpoints; /* created so far, open or free */
    endpoint *free;
};

/* Clears the results, as every start does first (C19). */
void results_clear(operation *o);

/* Queues `o`, its result filled in. Returns whether the caller has to call port_ring once it holds no lock. */
bool packet_queue(port *p, operation *o);
void port_ring(port *p);

/* Cancels `o` if it is still ARMED on `e`. */
void endpoint_cancel(endpoint *e, operation *o);
/* Cancels whatever is ARMED on any endpoint of the port. */
void endpoints_stop(port *p);
/* Carries out what an event allows. Returns the operation that has completed, now IDLE, or NULL. */
operation *endpoint_event(port *p, uint32_t index, uint32_t stamp, uint32_t events);
/* A queued operation of an endpoint leaves the queue: from here on its direction is free again. */
void endpoint_release(endpoint *e, operation *o);
/* Frees the table. Every endpoint has been closed. */
void endpoints_free(port *p);

#endif
