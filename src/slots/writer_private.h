/* writer_private.h: the parts of a writer. writer.c opens, writes and counts; writer_post.c posts; writer_flush.c waits for
 * acknowledgements; writer_pump.c sends what waits, on whatever thread; writer_port.c has workers come for that;
 * writer_tell.c calls back; writer_end.c renames and closes.
 *
 * Path    mr_writer_write > the gate is open: link_send
 *                         > else the *line* (a writer_waiter on the thread's stack) > the pump > link_send
 *         mr_writer_post  > a copy in the priority queue > the pump > link_send > `finished` > on_posted on a worker
 *         mr_writer_flush > nothing older waits > a mark in `flushes` > the pump > link_await > link_passed
 *
 * The *pump role* is the right to touch the link and to send what waits. It is IDLE, RUNNING (a thread has it: a worker of
 * the port for one turn, a thread in mr_writer_write for as long as its message takes, or a thread in mr_writer_flush for as
 * long as its mark takes), or PARKED: nobody has it, posted messages wait (or what only a worker would do: I2), and the port
 * will bring a worker back. Whoever needs it may take it from IDLE and from PARKED; a packet that comes afterwards finds the
 * role taken, and does nothing.
 *
 * The *gate* (writer_gate.h) is the short way past the lock for a write that nothing stands in the way of. It is open
 * while the role is IDLE, the line is empty, the link connected, nobody wants the role, and nobody holds the lock. A direct
 * writer enters, calls link_send, counts, and leaves. Who locks the lock closes the gate (writer_lock, writer_wait), waiting
 * out a direct writer inside; who unlocks opens it if all that is so.
 *
 * Owners  `lock` guards everything but the link, which belongs to who has the role (or, while nobody has, the lock).
 *         The lock is never held where something may block, nor while a callback runs.
 * G1      The lock's holder has closed the gate. So a direct writer has, for its short time, what the lock's holder would
 *         have: the link, and the counters of what is written.
 * G2      link_send does not block, so somebody is inside for long only where its thread was preempted: who waits for it
 *         yields, and after a while naps, because yielding to a thread of lower priority does nothing.
 * G3      Entering the gate, and closing it, is an acquire, leaving and opening it a release: each of its owners sees what
 *         the last one did.
 * I1      IDLE: the line is empty or its first has been signalled, and the queue is empty.
 * I2      PARKED: the queue is not empty, or messages that the last reader did not acknowledge are to be offered to the next
 *         one, or a gap is to be told; and one of these is true: the packet of `reason` is pending; a worker is in
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
 * I8      Who has the role and waits for the slot (`role_blocked`) is woken by what could go out meanwhile: anything where it
 *         waits for acknowledgements, what is at a higher level where it waits for room. So a flush holds up nobody, and a
 *         full level none above it.
 * I9      `flushes` are in the order of their marks. Who has the role looks at them before it gives it up, and whenever it
 *         comes back from waiting; so a flush that waits without the role misses nothing. (`look_wanted` likewise.)
 * I10     A writer that has a port, IDLE and connected by a lane that acknowledges, has a watch for the reader's end pending
 *         in the port: what that reader leaves unacknowledged is offered to the next one without a call of the user's.
 * I11     A message that was dropped is told to the slot where it would have been: `gap` of the message behind it, or `gaps`
 *         while none is, until who has the role hands it to the link.
 */
#ifndef SLOTS_WRITER_PRIVATE_H
#define SLOTS_WRITER_PRIVATE_H

#include <stdatomic.h>

#include <mailroom/writer.h>

#include "queue/priority_queue.h"
#include "queue/thread.h"
#include "slots/backend.h"
#include "slots/writer_gate.h"

/* What one turn of the pump sends at most; then others have theirs. */
#define PUMP_MESSAGES 64u
#define PUMP_BYTES    ((size_t) 256 * 1024)

/* I6 */
#define UNTOLD_MAX 1024u

/* How many attempts a synchronous write makes at an absent slot. */
#define WRITE_ATTEMPTS 2u

/* How long link_connect may block at a time while the slot's queue of connections is full. */
#define CONNECT_SLICE_NS UINT64_C(50000000)

/* A write of more than this goes by the lock: copying it would keep others at the gate (G2). */
#define DIRECT_BYTES ((size_t) 64 * 1024)

enum pump_role { PUMP_IDLE, PUMP_PARKED, PUMP_RUNNING };

/* What a parked pump waits for. */
enum pump_reason {
    PUMP_TURN, /* a worker */
    PUMP_ROOM, /* room in the slot, and a worker */
    PUMP_RETRY /* the end of the back-off, and a worker */
};

/* Why a run of the pump ended. */
enum pump_end {
    PUMP_EMPTY,  /* nothing waits, but perhaps for acknowledgements */
    PUMP_BUDGET, /* the turn is over */
    PUMP_DONE,   /* the waiter that pumps has its result */
    PUMP_FULL,   /* no room in the slot */
    PUMP_BUSY,   /* no room in the slot's queue of connections */
    PUMP_ABSENT, /* no slot, or none that can be used now; with MR_KEEP: and what is kept for it is all that fits */
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
    bool keep;         /* MR_KEEP: the attempts are used up, it goes to link_keep */
    condition changed; /* done, the role may be free, or sending_waiter is another */
};

/* A call that waits for acknowledgements, on its thread's stack. */
struct writer_flush {
    struct writer_flush *next;
    struct link_mark mark;
    bool marked;
    bool looked; /* somebody with the role has looked at it */
    bool done;   /* and out of `flushes` */
    int status;
};

/* A posted message. */
struct writer_message {
    struct queue_node node; /* in the queue, or linked by `next` into a list of finished ones */
    uint64_t ticket;
    mr_on_posted on_posted;
    void *context;
    size_t length;
    uint64_t gap; /* messages of its level that were dropped just before it (I11) */
    int status;
    bool dropped; /* by the policy, while it was in link_send (I4) */
    unsigned char data[];
};

static inline struct writer_message *message_of(struct queue_node *node)
{
    return (struct writer_message *) (void *) node;
}

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
    uint64_t retry_armed;         /* what the operation `retry` is set to */
    uint64_t gaps[MR_LEVELS_MAX]; /* I11 */
    bool room_is_end;             /* `room` is pending for the reader's end (I10) */
    bool look;                    /* that watch has completed: something is to be seen in the link */
    struct writer_operation turn;
    struct writer_operation room;
    struct writer_operation retry;
};

struct mr_writer {
    struct writer_gate gate;
    uint32_t generation; /* process_generation() of the process that opened it */
    uint64_t messages;   /* that the gate's way has written; `counts` is without them */
    slot_link *link;
    uint64_t bytes; /* of those. Not beside their number: the compiler would make one slower addition of the two */
    mr_writer_statistics counts;
    uint64_t connects_late; /* of the link: connections that link_connect has not told of */
    mutex lock;
    struct writer_waiter *line; /* by level, then ticket (I3) */
    struct writer_waiter *sending_waiter;
    struct writer_flush *flushes;   /* I9 */
    struct writer_posting *posting; /* NULL until the first post */
    uint64_t tickets;               /* drawn so far */
    enum pump_role role;
    enum pump_reason reason;
    bool acknowledges; /* link_acknowledges */
    bool working;      /* a worker is in its turn, or the closing thread tells in its place */
    bool role_blocked; /* who has the role waits for the slot, and has not been woken (I8) */
    bool gaps_owed;    /* there are gaps that have perhaps not been told (I11) */
    bool closing;
    bool ended;            /* only packets come, the last frees the writer */
    uint32_t blocked_from; /* what would wake it, or a worker that waits for room: this level and those above */
    uint32_t wanted;       /* calls that wait for the role to rename or to close: nobody else takes it */
    uint32_t watchers;     /* threads in writer_wait on `changed` */
    uint32_t inside;       /* threads in a call that has released the lock and will take it again */
    condition changed;     /* a run of the pump has ended, a message was told, the writer is closing */
    size_t max_message;    /* as last seen; 0: not known */
    uint64_t retry_at;     /* the back-off's end; 0: the last attempt was a success */
    uint32_t backoff_ms;
    uint64_t absences;    /* times the pump has ended PUMP_ABSENT or PUMP_BUSY */
    uint64_t losses;      /* taken messages that were dropped, refused or left behind, since the last flush */
    int connect_failure;  /* of an attempt that a pump_wait has made, for the run that follows it */
    uint32_t look_wanted; /* threads that want who has the role to look (I9) */
    uint64_t looks;
    uint64_t backlog; /* unacknowledged when a reader was last connected to for their sake */
    mr_writer_options options;
    uint64_t undelivered; /* for on_closed */
    bool tell_closed;
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

/* The lock, and the gate closed (G1). */
void writer_lock(mr_writer *w);
void writer_unlock(mr_writer *w);
/* Waits for `changed`, until `deadline`; false when that has come. Lock held, released meanwhile. */
bool writer_wait(mr_writer *w, condition *changed, uint64_t deadline);
/* The same for the writer's own `changed`. */
bool writer_watch(mr_writer *w, uint64_t deadline);
/* A thread that was `inside` leaves: whoever waits for that looks again. Lock held. */
void writer_leave(mr_writer *w);

/* Looks at what the slot has acknowledged, and whether it is still there, and takes the link's figures into `counts`. With the
 * role, or the lock while nobody has it. */
void writer_look(mr_writer *w);
/* The same by whoever has the role. Lock held, released meanwhile if that is another thread. */
void writer_have_looked(mr_writer *w);

/* ---- writer_pump.c ---- */

void writer_line_join(mr_writer *w, struct writer_waiter *waiter);
void writer_line_leave(mr_writer *w, struct writer_waiter *waiter);

/* One run, by who has the role. `self`: the waiter that pumps, or one that stands for a thread that does not tell (I6); NULL:
 * a worker or the closing thread. Lock held, released around link_connect and link_send. */
enum pump_end pump_run(mr_writer *w, struct writer_waiter *self);
/* With the role: waits for what `end` says is missing, until `deadline`. Lock held, released meanwhile. */
void pump_wait(mr_writer *w, enum pump_end end, uint64_t deadline);
/* Gives the role up. `end` says how the last run ended. Lock held. */
void pump_release(mr_writer *w, enum pump_end end);
/* Whether a thread that writes may take the role. Lock held. */
bool pump_free(const mr_writer *w);
/* Waits for the role, and takes it. Lock held, released meanwhile. */
void pump_claim(mr_writer *w);
/* Wakes who has the role and waits for the slot. Lock held. */
void pump_wake(mr_writer *w);
/* Something has come at this level (I8). Lock held. */
void pump_arrived(mr_writer *w, uint32_t level);
/* The next attempt is due later, a longer while each time. */
void pump_back_off(mr_writer *w);
/* … at once again. */
void pump_back_off_end(mr_writer *w);

/* Completes a message that is in no queue: into `finished`, or freed where nobody is to be told. Lock held. */
void writer_message_finish(mr_writer *w, struct writer_message *message, int status);
/* The smallest ticket of what is posted and not finished; UINT64_MAX: none. Lock held. */
uint64_t writer_oldest(const mr_writer *w);
/* All gaps that nothing is queued behind go to the link (I11). With the role, lock held. */
void writer_gaps_hand(mr_writer *w);

/* ---- writer_port.c ---- */

/* Readies the operations of a new `posting`. */
void pump_init(mr_writer *w, struct writer_posting *posting);
/* Has a worker come where one is needed and none is coming (I2, I10). Lock held. */
void pump_arm(mr_writer *w);
/* A thread without the role has taken in what the reader said, perhaps the very word that the watch for room waits for. Lock
 * held. */
void pump_looked(mr_writer *w);
/* A parked back-off ends now. Lock held. */
void pump_hurry(mr_writer *w);
/* Whether the port has an operation of the writer's (I7). Lock held. */
bool writer_pending(const mr_writer *w);

/* ---- writer_flush.c ---- */

/* Waits until everything that has been handed over is acknowledged. MR_OK; MR_E_TIMEOUT; MR_E_STOPPED: closing; what the slot
 * refuses with. With `patient` an absent slot is waited for too; without, it is MR_E_NO_SLOT. Lock held, released meanwhile. */
int flush_acknowledged(mr_writer *w, uint64_t deadline, bool patient);
/* I9. With the role, or the lock while nobody has it. */
void flush_look(mr_writer *w);
/* Ends all that wait. Lock held. */
void flush_end(mr_writer *w, int status);

/* ---- writer_tell.c ---- */

void message_list_append(struct message_list *list, struct writer_message *message);
struct writer_message *message_list_take(struct message_list *list);
/* Tells what is in `finished`. By who has set `working`. Lock held, released around each callback. Returns whether
 * mr_writer_close was called inside. */
bool writer_tell(mr_writer *w);
/* Tells a list of dropped messages, on the posting thread, no lock held: at once, or by the frame that this thread is
 * in already. Returns whether mr_writer_close was called inside and falls to the caller. */
bool writer_tell_dropped(mr_writer *w, struct message_list *dropped);
/* The innermost frame of this thread inside `w`'s callbacks, or NULL. */
struct writer_frame *writer_frame_of(const mr_writer *w);

/* ---- writer_end.c ---- */

/* Closes a writer that is marked `closing`, from outside of all its callbacks. No lock held. */
int writer_close_now(mr_writer *w, uint64_t *undelivered, bool tell_closed);
/* Frees what has ended and has nothing pending. No lock held. */
void writer_free(mr_writer *w);

#endif
