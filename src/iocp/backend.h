/* backend.h: what a platform must provide to be a completion port. Written for whoever adds the next one.
 *
 * The contract is a proactor's. Code above starts *overlapped operations*; workers take *completion packets* out of
 * the port with port_wait and call each packet's handler. A packet is the operation itself, its results filled in.
 *
 *   caller            port_receive/… ──► PENDING ──(system)──► packet queued ──► port_wait ──► operation->handler
 *   at once           port_receive/… ──► STARTED_DONE, results filled in, no packet: the caller runs the handler
 *   posted            port_post ───────────────────────────► packet queued ──► port_wait ──► operation->handler
 *   deadline          port_set_deadline ──► PENDING ─(time)─► packet queued ──► port_wait ──► operation->handler
 *
 * Terms
 *   endpoint   a handle (file descriptor, HANDLE) associated with one port, and owned by it from then on.
 *   operation  memory embedded in a larger object of the caller's. IDLE when zeroed or after its packet was taken
 *              out; PENDING from a start that returned STARTED_PENDING (or a post, or a deadline) until then.
 *
 * Rules, each with a contract test named after its number (tests/iocp/test_contract.c runs them on every backend)
 *   C1  Exactly once: what was started completes exactly once, by one packet or by one STARTED_DONE, never both,
 *       cancelled or not, stopped or not.
 *   C2  An operation's memory, and its buffer, belong to the port from the start until its packet has been taken out
 *       with port_wait. The caller neither frees, moves nor restarts it before.
 *   C3  STARTED_DONE: the operation has completed already, well or badly; its results are filled in, no packet
 *       follows. An immediate success and an immediate error are alike in this. A backend may always choose PENDING.
 *   C4  Handlers are never called by the backend: it runs no code of the caller's on any thread.
 *   C5  Per endpoint at most one inward operation (receive, accept, wait in) and one outward operation (send, wait
 *       out) are PENDING at a time; a second of the same direction is STARTED_DONE with MR_E_ARGUMENT.
 *   C6  Receive on a message handle takes one whole message; too small a buffer completes with MR_E_SMALL, `bytes` is
 *       the size that is needed (0 where the system does not tell), and the message stays. An empty message is
 *       MR_OK with 0 bytes. A peer that has gone is MR_E_GONE, after everything it had sent. A handle that keeps no
 *       message boundaries gives what is there, at least one byte.
 *   C7  Send takes the whole message or nothing (without message boundaries: at least one byte, `bytes` says how many).
 *       A peer that has gone is MR_E_GONE, and raises no signal; more than the handle takes at all is MR_E_TOO_BIG.
 *       A handle that cannot promise this is MR_E_UNSUPPORTED (on Linux whatever is no socket).
 *   C8  Accept completes when a peer has connected; `accepted` is the connection's handle, the caller's to close or
 *       to associate. It is close-on-exec (not inheritable) and non-blocking where the system knows the words.
 *   C9  Wait completes when the handle is ready: WAIT_IN can be received from, accepted from, or is signalled;
 *       WAIT_OUT can be sent to. It takes nothing, so a wait on what is still ready completes again. Readiness that was
 *       there before the start counts, and so does an error or hang-up: whoever then receives or sends meets it. A
 *       direction that the handle cannot tell is MR_E_UNSUPPORTED.
 *   C10 Cancel asks: the operation still completes once, with MR_E_CANCELLED or, where the result came first, with
 *       that result, and nothing is lost either way: a cancelled receive has taken no message, a cancelled send has
 *       sent none. On an IDLE operation it does nothing. Any thread, also while a packet is being taken.
 *   C11 Posted packets leave in the order of their posts (with several workers they may be handled in another).
 *       Posted packets and completions take turns: neither kind starves the other.
 *   C12 A post touches none of the operation's results: what a STARTED_DONE filled in arrives as it was.
 *   C13 A deadline's packet comes when clock_now() has reached it, not before, with MR_OK; cancelled, with
 *       MR_E_CANCELLED. Deadlines in the past come at once. Several come in the order of their times, equal times in
 *       the order of their starts.
 *   C14 port_wait returns one packet. Any number of threads may wait; one packet goes to one of them. A packet that is
 *       there is taken even if the wait's deadline has passed; without one it returns MR_E_TIMEOUT, not before time.
 *   C15 A packet that waits is not left waiting while a thread is in port_wait: a worker that takes a packet and then
 *       blocks in its handler does not hold back the next packet (but a port may leave it to a running worker for up
 *       to PORT_RELIEF_NS before it wakes another, so that work which the first reaches at once wakes no second; that
 *       time begins anew while running workers take packets faster than a second one would be of use).
 *   C16 Idle costs nothing: with nothing to do, port_wait sleeps without a time-out of its own, however busy the port
 *       has been before, and the backend runs no thread.
 *   C17 port_stop: every PENDING operation, deadlines included, is cancelled as by C10, while packets that were posted
 *       before come as they are; whatever is started later is STARTED_DONE with MR_E_STOPPED (a post returns
 *       MR_E_STOPPED and takes nothing). port_wait goes on handing out
 *       packets until none is left, then returns MR_E_STOPPED to every thread, now and later. Twice is harmless.
 *   C18 Order of ending: stop, drain (port_wait until MR_E_STOPPED), close the endpoints, close the port.
 *       endpoint_close requires that nothing is PENDING on it, closes the handle, and returns nothing of it later,
 *       even if another thread is just dequeuing an event of that handle. Duplicates of the handle elsewhere, in a
 *       forked child say, change nothing of that. No other call on an endpoint or port is under way when it is closed,
 *       a post included, or comes later. A forked child makes no call at all on what its parent opened: what looks like
 *       a copy shares the system's object with the parent, and closing there would unregister the parent's handles.
 *   C19 The results are filled in on every completion: status, os_error (0 when MR_OK), bytes (0 unless said), and
 *       accepted (HANDLE_NONE unless said).
 *   C20 A failure of the system that belongs to one operation is that operation's status (MR_E_DESCRIPTORS,
 *       MR_E_MEMORY, else MR_E_SYSTEM, and os_error), never the end of the port or of another operation.
 */
#ifndef IOCP_BACKEND_H
#define IOCP_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/status.h"
#include "queue/thread.h"

typedef struct port port;
typedef struct endpoint endpoint;
typedef struct operation operation;

/* A file descriptor or a HANDLE. */
typedef intptr_t os_handle;
#define HANDLE_NONE ((os_handle) -1)

/* C15: how long a packet may wait for a worker that is already running, in nanoseconds. */
#define PORT_RELIEF_NS UINT64_C(1000000)

enum started {
    STARTED_PENDING, /* one packet will come */
    STARTED_DONE     /* it has completed, no packet will come (C3) */
};

enum wait_direction { WAIT_IN, WAIT_OUT };

struct operation {
    /* The caller's, set before the start; the backend only reads it. Runs on the worker that took the packet. */
    void (*handler)(operation *completed);

    /* The results (C19). */
    int status; /* MR_OK, MR_E_CANCELLED, MR_E_GONE, MR_E_SMALL, MR_E_STOPPED, MR_E_UNSUPPORTED, MR_E_SYSTEM, … */
    int64_t os_error; /* the system's own code */
    size_t bytes;     /* received, sent, or needed */
    os_handle accepted;

    /* The backend's, zeroed by the caller once, before the first start. */
    union {
        uint64_t words[14];
        void *alignment;
    } backend;
};

struct port_options {
    uint32_t concurrency; /* how many threads should run at once; 0: the number of processors */
};

/* Opens a port. MR_E_MEMORY, MR_E_DESCRIPTORS, MR_E_SYSTEM. */
int port_open(port **out, const struct port_options *options);
uint32_t port_concurrency(const port *p);

/* Associates `handle` with the port. On success the endpoint owns the handle; on an error the caller keeps it.
 * MR_E_UNSUPPORTED where the system cannot complete anything on this kind of handle (on Linux regular files and
 * directories), MR_E_ARGUMENT for a closed one or one that is associated already. The handle may be changed for the
 * port's needs: on Linux it becomes non-blocking, and a Unix socket gets SO_PASSCRED. */
int endpoint_open(endpoint **out, port *p, os_handle handle);
os_handle endpoint_handle(const endpoint *e);
void endpoint_close(endpoint *e);

/* Start an overlapped operation. `o->handler` is set, the rest is as its last completion left it, or zero. */
enum started port_receive(endpoint *e, operation *o, void *buffer, size_t size);
enum started port_send(endpoint *e, operation *o, const void *data, size_t length);
enum started port_accept(endpoint *e, operation *o);
enum started port_watch(endpoint *e, operation *o, enum wait_direction direction);

/* Queues `o` as a packet. MR_OK, or MR_E_STOPPED (then it was not taken). Never allocates, so it cannot fail else. */
int port_post(port *p, operation *o);

/* The same, as the last act of a handler on one of the port's workers, which goes on to port_wait at once, and so reaches
 * the packet itself if nobody else does: nobody need be woken for it. */
int port_post_last(port *p, operation *o);

/* Instead of going on to port_wait, which it has not said before: another thread is woken for what waits, if one sleeps. */
void port_hand_on(port *p);

/* As far as can be told without asking the system and without a lock: does no packet wait in the queue? For whoever could
 * post one, or go on for a while. False where it cannot be told. */
bool port_quiet(const port *p);

/* Completes `o` at `deadline` (clock_now's nanoseconds); at CLOCK_NEVER only by cancel or stop. */
enum started port_set_deadline(port *p, operation *o, uint64_t deadline);

/* Cancels (C10). `p` is the port it was started on. */
void port_cancel(port *p, operation *o);

/* Takes one packet, waiting until `deadline` at the latest. MR_OK, MR_E_TIMEOUT, MR_E_STOPPED. The caller then calls
 * (*out)->handler(*out). */
int port_wait(port *p, operation **out, uint64_t deadline);

void port_stop(port *p);

/* Frees the port: it was stopped and drained, every endpoint is closed, no thread is in a call on it. */
void port_close(port *p);

#endif
