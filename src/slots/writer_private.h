/* writer_private.h: the parts of a writer. writer.c opens, writes and counts; writer_post.c posts and flushes;
 * writer_pump.c sends what waits, on whatever thread, and tells; writer_end.c renames and closes.
 *
 * Path    mr_writer_write > nothing in the way: link_send
 *                         > else the *line* (a writer_waiter on the thread's stack) > the pump > link_send
 *         mr_writer_post  > a copy in the priority queue > the pump > link_send > `finished` > on_posted on a worker
 *
 * The *pump role* is the right to touch the link and to send what waits. It is IDLE, RUNNING (a thread has it: a
 * worker of the port for one turn, or a thread in mr_writer_write for as long as its message takes), or PARKED: nobody
 * has it, posted messages wait, and the port will bring a worker back. Whoever needs it may take it from IDLE and from
 * PARKED; a packet that comes afterwards finds the role taken, and does nothing.
 *
 * Owners  `lock` guards everything but the link, which belongs to who has the role (or, while it is IDLE, the lock).
 *         The lock is never held where something may block, nor while a callback runs.
 * I1      IDLE: the line is empty or its first has been signalled, and the queue is empty.
 * I2      PARKED: the queue is not empty, and one of these is true: the packet of `reason` is pending; a worker is in
 *         its turn (`working`) and will see to it; a call that wants the role (`wanted`) is about to take it.
 * I3      Order: whatever is at a higher level goes first; within a level the smaller ticket. Tickets are drawn under
 *         the lock, for posted messages and for waiters alike: so a write never overtakes a post at its level.
 * I4      The message in link_send stands in `sending` (or `sending_waiter`) while the lock is released. It stays where
 *         it waits. Who drops or withdraws it meanwhile leaves it to the pump: sent is sent.
 * I5      A posted message is, at any time, in exactly one of: the queue; `finished`; the hands of the thread that
 *         tells its on_posted. It leaves each once, so it is told once, and told in the order of completion.
 * I6      At most UNTOLD_MAX finished messages wait to be told because of threads that write: from then on only workers
 *         send posted messages, and a worker tells before its next turn. A write that goes before all of them is sent
 *         all the same: it may be inside the on_posted that is being told.
 * I7      A writer with an operation pending in the port is not freed. Who takes out the last packet of a writer that
 *         has ended frees it.
 */
#ifndef SLOTS_WRITER_PRIVATE_H
#define SLOTS_WRITER_PRIVATE_H

#include <mailroom/writer.h>

#include "queue/priority_queue.h"
#include "queue/thread.h"
#include "slots/backend.h"

/* What one turn of the pump sends at most; then others have theirs. */
#define PUMP_MESSAGES 64u
#define PUMP_BYTES    ((size_t) 256 * 1024)

/* I6 */
#define UNTOLD_MAX 1024u

/* How many attempts a synchronous write makes at an absent slot. */
#define WRITE_ATTEMPTS 2u

/* How long link_connect may block at a time while the slot's queue of connections is full. */
#define CONNECT_SLICE_NS UINT64_C(50000000)

enum pump_role { PUMP_IDLE, PUMP_PARKED, PUMP_RUNNING };

/* What a parked pump waits for. */
enum pump_reason {
    PUMP_TURN, /* a worker */
    PUMP_ROOM, /* room in the slot, and a worker */
    PUMP_RETRY /* the end of the back-off, and a worker */
};

/* Why a run of the pump ended. */
enum pump_end {
    PUMP_EMPTY,  /* nothing waits */
    PUMP_BUDGET, /* the turn is over */
    PUMP_DONE,   /* the waiter that pumps has its result */
    PUMP_FULL,   /* no room in the slot */
    PUMP_BUSY,   /* no room in the slot's queue of connections */
    PUMP_ABSENT, /* no slot, or none that can be used now */
    PUMP_UNTOLD  /* I6 */
};

/* A synchronous write in the line, on its thread's stack. */
struct writer_waiter {
    struct writer_waiter *next;
    const void *data;
    size_t length;
    uint64_t ticket;
    uint32_t level;
    uint32_t attempts; /* that failed since it is in the line */
    int status;        /* once done */
    bool done;         /* and out of the line */
    condition changed; /* done, the role may be free, or sending_waiter is another */
};

/* A posted message. */
struct writer_message {
    struct queue_node node; /* in the queue, or linked by `next` into a list of finished ones */
    uint64_t ticket;
    mr_on_posted on_posted;
    void *context;
    size_t length;
    int status;
    bool dropped; /* by the policy, while it was in link_send (I4) */
    unsigned char data[];
};

struct message_list {
    struct writer_message *first;
    struct writer_message *last;
};

struct writer_operation {
    operation operation; /* first: the handler casts */
    mr_writer *writer;
    bool pending;
};

/* What a writer needs from its first post on. */
struct writer_posting {
    struct priority_queue queue;
    struct mr_port *port;
    struct writer_message *sending;
    struct message_list finished; /* with on_posted, to be told */
    uint64_t finished_total;      /* that were put there */
    uint64_t told_total;          /* whose on_posted has returned */
    uint64_t retry_at;            /* the back-off's end; 0: the last attempt was a success */
    uint64_t retry_armed;         /* what the operation `retry` is set to */
    uint32_t backoff_ms;
    uint64_t absences; /* times the pump has ended PUMP_ABSENT or PUMP_BUSY */
    uint64_t losses;   /* taken messages that were dropped or refused, since the last flush */
    struct writer_operation turn;
    struct writer_operation room;
    struct writer_operation retry;
};

struct mr_writer {
    mutex lock;
    slot_link *link;
    struct writer_waiter *line; /* by level, then ticket (I3) */
    struct writer_waiter *sending_waiter;
    struct writer_posting *posting; /* NULL until the first post */
    uint64_t tickets;               /* drawn so far */
    uint32_t generation;            /* process_generation() of the process that opened it */
    enum pump_role role;
    enum pump_reason reason;
    bool working;      /* a worker is in its turn, or the closing thread tells in its place */
    bool role_blocked; /* who has the role waits for the slot */
    bool closing;
    bool ended;         /* only packets come, the last frees the writer */
    uint32_t wanted;    /* calls that wait for the role to rename or to close: nobody else takes it */
    uint32_t watchers;  /* threads in condition_wait on `changed` */
    uint32_t inside;    /* threads in a call that has released the lock and will take it again */
    condition changed;  /* a run of the pump has ended, a message was told, the writer is closing */
    size_t max_message; /* as last seen; 0: not known */
    mr_writer_options options;
    uint64_t undelivered; /* for on_closed */
    bool tell_closed;
    mr_writer_statistics counts;
};

/* One thread's stay inside callbacks of one writer; they nest. */
struct writer_frame {
    mr_writer *writer;
    struct writer_frame *outer;
    struct message_list dropped; /* by posts inside the callback, told by the frame's owner */
    bool close;                  /* mr_writer_close was called inside */
};

/* ---- writer.c ---- */

/* MR_OK, MR_E_ARGUMENT, or MR_E_FORKED with its sentence. */
int writer_check(const mr_writer *w);
/* The same, and the arguments of a write or post. */
int writer_check_message(const mr_writer *w, const void *data, size_t length, uint32_t priority);

/* ---- writer_pump.c ---- */

void writer_line_join(mr_writer *w, struct writer_waiter *waiter);
void writer_line_leave(mr_writer *w, struct writer_waiter *waiter);
void writer_line_finish(mr_writer *w, struct writer_waiter *waiter, int status);

void message_list_append(struct message_list *list, struct writer_message *message);
struct writer_message *message_list_take(struct message_list *list);

/* One run, by who has the role. `self`: the waiter that pumps; NULL: a worker or the closing thread. Lock held,
 * released around link_connect and link_send. */
enum pump_end pump_run(mr_writer *w, struct writer_waiter *self);
/* With the role: waits for what `end` says is missing, until `deadline`. Lock held, released meanwhile. */
void pump_wait(mr_writer *w, enum pump_end end, uint64_t deadline);
/* Gives the role up. `end` says how the last run ended. Lock held. */
void pump_release(mr_writer *w, enum pump_end end);
/* Whether a thread that writes may take the role. Lock held. */
bool pump_free(const mr_writer *w);
/* Waits for the role, and takes it. Lock held, released meanwhile. */
void pump_claim(mr_writer *w);
/* Has a worker come where one is needed and none is coming (I2). Lock held. */
void pump_arm(mr_writer *w);
/* A parked back-off ends now. Lock held. */
void pump_hurry(mr_writer *w);

/* Completes a message that is in no queue: into `finished`, or freed where nobody is to be told. Lock held. */
void writer_message_finish(mr_writer *w, struct writer_message *message, int status);
/* The smallest ticket of what is posted and not finished; UINT64_MAX: none. Lock held. */
uint64_t writer_oldest(const mr_writer *w);
/* Tells what is in `finished`. By who has set `working`. Lock held, released around each callback. Returns whether
 * mr_writer_close was called inside. */
bool writer_tell(mr_writer *w);
/* Tells a list of dropped messages, on the posting thread, no lock held: at once, or by the frame that this thread is
 * in already. Returns whether mr_writer_close was called inside and falls to the caller. */
bool writer_tell_dropped(mr_writer *w, struct message_list *dropped);
/* The innermost frame of this thread inside `w`'s callbacks, or NULL. */
struct writer_frame *writer_frame_of(const mr_writer *w);

/* Readies the operations of a new `posting`. */
void pump_init(mr_writer *w, struct writer_posting *posting);
/* Whether the port has one of them (I7). Lock held. */
bool writer_pending(const mr_writer *w);

/* ---- writer_end.c ---- */

/* Closes a writer that is marked `closing`, from outside of all its callbacks. No lock held. */
int writer_close_now(mr_writer *w, uint64_t *undelivered, bool tell_closed);
/* Frees what has ended and has nothing pending. No lock held. */
void writer_free(mr_writer *w);

#endif
