/* port_windows.h: what port_windows.c (packets, waiting, deadlines) and endpoint_windows.c (operations on handles)
 * share. */
#ifndef IOCP_PORT_WINDOWS_H
#define IOCP_PORT_WINDOWS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <windows.h>

#include "iocp/backend.h"
#include "iocp/deadline_heap.h"

/* The keys of the packets in the system's queue. */
enum packet_key {
    KEY_SYSTEM, /* the system completed an overlapped call on an endpoint's handle */
    KEY_POSTED, /* an operation that was queued here, its result decided or to be asked for */
    KEY_TIMER,  /* the port's timer went off; no operation */
    KEY_NUDGE   /* look again; no operation */
};

enum kind { KIND_NONE, KIND_DEADLINE, KIND_RECEIVE, KIND_SEND, KIND_ACCEPT, KIND_WATCH };
enum direction { INWARD, OUTWARD };

/* The memory is declared as words in backend.h, so the compiler must not tell the two apart by their types. */
#if defined(__GNUC__)
#define MAY_ALIAS __attribute__((may_alias))
#else
#define MAY_ALIAS
#endif

/* The backend's part of an operation. */
struct MAY_ALIAS state {
    union {
        OVERLAPPED overlapped; /* also what is given to PostQueuedCompletionStatus, which only carries its address */
        struct deadline deadline;
    } system;
    _Atomic(endpoint *) endpoint; /* set while PENDING on an endpoint; port_cancel finds the right lock by it */
    HANDLE wait;                  /* RegisterWaitForSingleObject's, for an accept or a watch */
    void *buffer;
    size_t size;
    atomic_bool claimed; /* accept and watch: somebody has queued the packet, or will */
    atomic_bool in_heap; /* changes under the port's lock */
    unsigned char kind;  /* enum kind */
    bool cancelled;      /* port_cancel or port_stop asked; under the endpoint's lock */
};

_Static_assert(sizeof(struct state) <= sizeof(((operation *) 0)->backend), "the backend's part fits");
_Static_assert(offsetof(struct state, system) == 0, "an OVERLAPPED's address is the state's");

static inline struct state *state_of(operation *o)
{
    return (struct state *) (void *) &o->backend;
}

static inline operation *operation_of(struct state *s)
{
    return (operation *) (void *) ((char *) s - offsetof(operation, backend));
}

struct port {
    /* Constant after port_open. */
    HANDLE iocp;
    PTP_TIMER timer;
    uint32_t concurrency;

    mutex lock; /* guards what follows, to the next blank line; may be taken with an endpoint's lock held */
    struct deadline_heap deadlines;
    uint64_t timer_at; /* when the timer goes off; CLOCK_NEVER: it has, or was never set */

    /* P2: how these three agree. */
    atomic_bool stopping;
    atomic_uint_fast64_t pending; /* operations whose packet has not been taken out, and starts under way */
    atomic_uint_fast32_t waiters; /* threads in GetQueuedCompletionStatusEx, or on their way into it */

    mutex table_lock; /* guards the lists; may be held when an endpoint's lock is taken, never the other way round */
    endpoint *all;    /* every endpoint ever made: their memory lives as long as the port (E1) */
    endpoint *free;
};

/* Ends the process where a working port cannot go on: a packet that cannot be queued is a lost wake-up. */
void port_must(bool done, const char *what);

/* Clears the results, as every start does first (C19). */
void results_clear(operation *o);

/* One more, or one less, operation whose packet has to be taken out (P2). */
void pending_add(port *p);
void pending_drop(port *p);

/* Queues `o` as a packet with KEY_POSTED. */
void packet_queue(port *p, operation *o);

/* A packet of an operation on an endpoint was dequeued: fills in its results and frees its direction. False when the
 * operation goes on (its gate was opened for nothing, E4). */
bool endpoint_complete(endpoint *e, operation *o);
/* Cancels `o` if it is PENDING on `e`. */
void endpoint_cancel(endpoint *e, operation *o);
/* Cancels whatever is PENDING on any endpoint of the port. */
void endpoints_stop(port *p);
/* Frees the endpoints' memory. All are closed. */
void endpoints_free(port *p);

/* The status that the system's error code means. */
int error_status(DWORD error);
/* Whether a file handle was opened for synchronous calls, which no port takes. */
bool handle_synchronous(HANDLE handle);
/* Another instance of the pipe that `handle` is an instance of, with the same access rules and not inheritable; or
 * NULL, and GetLastError tells why. */
HANDLE pipe_instance(HANDLE handle);

#endif
