/* backend.h: what a platform must provide to have mailslots. Written for whoever adds the next one.
 *
 * Shared code (reader.c, writer.c) holds the queues, the modes, the time-outs, the policies and the life of the public
 * objects. The backend has the slot itself (a name that is live, and the bytes that arrive) and the writer's link to
 * one. Which lanes there are behind them is the backend's own matter.
 *
 *   reader.c   slot_open ► [ slot_arm ► on_ready ► slot_take … deliver ]* ► slot_settle ► slot_close   (with a port)
 *              slot_open ► [ slot_wait ► slot_take … deliver ]* ► slot_close                 (without)
 *   writer.c   link_open ► [ link_connect ► link_send … link_watch/link_wait ]* ► link_close
 *
 * Threads   reader.c sees to it that slot_take is not run by two threads at once for one slot, writer.c that link_send,
 *           link_connect and link_disconnect are not for one link. All else is said at the function.
 * Platforms Linux: slot_linux.c (listener, connections, inner epoll set), link_linux.c, on rendezvous_linux.c.
 *           On Linux a link goes by the ring, or by the plain lane where options.lane says so.
 *           Windows: mailslot_windows.c (a mailslot per level, a read under way on each), link_windows.c.
 */
#ifndef SLOTS_BACKEND_H
#define SLOTS_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mailroom/message.h>
#include <mailroom/reader.h>
#include <mailroom/writer.h>

#include "iocp/backend.h"
#include "iocp/workers.h"
#include "queue/buffer_pool.h"
#include "slots/name.h"
#include "slots/slot_message.h"

typedef struct slot slot;
typedef struct slot_link slot_link;

/* ---- the reading end ---- */

enum slot_delivered {
    DELIVERED_KEPT,   /* the buffer's reference has passed on */
    DELIVERED_DONE,   /* a callback of the user's has seen it; the reference is still the lane's */
    DELIVERED_REFUSED /* it has not been taken: it stays in its lane, the next one of its ring. slot_take returns now */
};

struct slot_config {
    const struct slot_name *name;     /* local; copied */
    const mr_reader_options *options; /* checked, defaults filled in; read during slot_open only */
    struct port *port;                /* NULL: nobody will call slot_arm */
    struct buffer_pool *pool;

    /* Messages of a lane that acknowledges (the ring): true, each has a token (slot_message.h) and is acknowledged by
     * slot_acknowledge, at any later time; false, as soon as deliver has returned DELIVERED_DONE. */
    bool acknowledged_later;

    /* Takes one message that has arrived. Called from slot_take only, on its thread. The header's `public` is complete
     * (slot_message_finish), and so is `token`. After DELIVERED_DONE the lane may use the buffer again if nobody else
     * holds a reference (buffer_is_sole). DELIVERED_REFUSED comes for messages of the ring alone (a message of another
     * lane is out of its writer's hands already): the reader was halted after slot_take had begun. Inside it slot_rename
     * may be called: what slot_take holds of the slot's state is void then. */
    enum slot_delivered (*deliver)(void *context, struct buffer *message);
    /* Something may be there to take. Called once per slot_arm, on a worker of the port. */
    void (*on_ready)(void *context);
    void *context;
};

/* How much a call of slot_take may still bring. The backend subtracts what it delivers and stops once either is used
 * up; the message that uses it up is delivered whole, because a lane need not know a length before it has the message. */
struct slot_budget {
    size_t messages;
    size_t bytes;
    uint64_t now;  /* clock_now, a moment ago; 0: to be asked */
    bool brisk;    /* it is larger than usual: slot_take returns SLOT_MORE after a callback that has taken its time */
    bool linger;   /* rings that are found empty are not put to sleep: SLOT_QUIET */
    size_t urgent; /* so many messages above MR_NORMAL may be brought besides, when either is used up */
    bool stop;     /* set by deliver: nothing further in this call, which returns SLOT_MORE */
    bool
        ticked; /* set by a lane whose messages are DELIVERED_DONE: the coarse clock's tick is another one; deliver resets it */
};

enum slot_taken {
    SLOT_EMPTY,  /* nothing was left at the last look */
    SLOT_QUIET,  /* the same, but nobody would be told of what comes (slot_holds): call again, soon */
    SLOT_MORE,   /* the budget is spent, or `stop` was set, or a message refused: call again */
    SLOT_STARVED /* the pool refused a buffer of *wanted bytes: wait for the pool */
};

/* What the lanes count; the reader adds what it counts itself. Monotonic but for `connections`. */
struct slot_counts {
    uint64_t dropped_too_big;
    uint64_t dropped_violation;
    uint64_t dropped_unread; /* that waited in the system when a rename closed the old name, and could not be kept */
    uint64_t dropped_refused;
    uint64_t refused_access;
    uint64_t refused_quota;
    uint64_t refused_descriptors;
    uint64_t violations;
    uint64_t connections;
    uint64_t rings;              /* of them, writers with a ring */
    uint64_t ring_bytes;         /* mapped of theirs */
    uint64_t dropped_by_writers; /* what writers have said that they dropped (gaps in the sequence) */
    uint64_t redelivered;        /* messages that had perhaps been delivered before */
    uint64_t doorbells;          /* times that a sleeping ring's doorbell was heard */
    uint64_t waits;          /* times that a writer was told that there is room again, or that all is acknowledged */
    uint64_t unacknowledged; /* messages taken from rings and not acknowledged, now */
};

/* What the statistics page shows. */
struct slot_figures {
    uint64_t max_message;
    uint64_t waiting;
    uint64_t waiting_bytes;
    uint64_t next_size; /* UINT64_MAX: nothing waits */
    uint64_t waiting_peak;
    uint64_t messages;
    uint64_t bytes;
    uint64_t dropped;
    uint64_t refused;
    uint64_t connections;
    uint64_t rings;
    uint64_t dropped_by_writers;
    uint64_t redelivered;
    uint64_t unacknowledged;
    uint64_t waits;
    uint64_t doorbells;
};

/* Makes the name live. MR_E_EXISTS, MR_E_ACCESS, MR_E_NAME, MR_E_DESCRIPTORS, MR_E_MEMORY, MR_E_SYSTEM. */
int slot_open(slot **out, const struct slot_config *config);

/* Takes what has arrived, fairly between writers, by calling deliver for each message. Never blocks. `cache` is the
 * calling thread's, or NULL. `*wanted` is set with SLOT_STARVED. */
enum slot_taken slot_take(slot *s, struct pool_cache *cache, struct slot_budget *budget, size_t *wanted);

/* Between two callbacks: is an urgent message there that slot_take would bring before anything else? By a cheap look, and
 * now and then by asking the system. Where true, slot_take with a budget of urgent messages alone brings it (or finds that
 * there is none, and the next look is false). By the thread that may call slot_take; it may hold a lock that deliver and
 * on_ready take, and nothing but looking is done. */
bool slot_urgent(slot *s);
/* Is something there that slot_take would bring, and that neither slot_wait nor the handle would tell of? Any thread, as
 * slot_urgent with any lock held. */
bool slot_holds(slot *s);

/* Acknowledges the message of this token, once; a second time, and after the end of its slot or writer, nothing happens.
 * Any thread, no lock of the caller's that deliver or on_ready take. */
void slot_acknowledge(const struct slot_token *token);
/* Before slot_close: is the writer of this message there still, and has it, as long as it is not acknowledged? */
bool slot_kept(const struct slot_token *token);

/* The writers that have a ring, or a connection, the busiest (by bytes) first: as many as there is room for. Returns how
 * many there are. Any thread, but during slot_rename. */
size_t slot_writers(slot *s, mr_reader_writer *writers, size_t room);

/* Asks for one on_ready, which comes also for what is there already (so nothing is missed between the last slot_take and
 * this). False: something is there, on_ready will not come, call slot_take. At most one is outstanding. With a port
 * only. After slot_cancel it still comes, once. */
bool slot_arm(slot *s);
/* Makes an outstanding on_ready come soon. Any thread. */
void slot_cancel(slot *s);
/* Before slot_close, with a port only, no on_ready being outstanding: true, nothing of the slot is under way in the port;
 * false, it is being ended, and one on_ready comes when it has: then call again. */
bool slot_settle(slot *s);

/* Without a port: blocks until something may be there to take, slot_wake is called, or `deadline`: then MR_E_TIMEOUT.
 * One thread at a time. */
int slot_wait(slot *s, uint64_t deadline);
/* Wakes the thread in slot_wait; if none is there, the next slot_wait returns at once. Any thread. */
void slot_wake(slot *s);

enum slot_handle_kind {
    SLOT_HANDLE_DESCRIPTOR, /* mr_reader_fd: for poll and its kin */
    SLOT_HANDLE_EVENT       /* mr_reader_event: for WaitForMultipleObjects and its kin */
};

/* *handle: what mr_reader_fd or mr_reader_event returns; made at the first call. MR_OK, MR_E_UNSUPPORTED where the platform
 * has none of that kind, MR_E_DESCRIPTORS, MR_E_SYSTEM. One thread at a time, with slot_signal. */
int slot_handle(slot *s, enum slot_handle_kind kind, os_handle *handle);
/* The reader's queue holds messages (true) or nothing (false): keeps the handle readable while it does. While `paused`
 * arrivals do not make it readable. Free as long as nobody has asked for the handle. One thread at a time. */
void slot_signal(slot *s, bool takeable, bool paused);

/* Gives the slot another name; the caller has excluded slot_take. The connections of the old name are ended: their
 * writers see it gone at once, what they had sent is brought by slot_take before anything that is sent to the new name.
 * Errors leave everything as it was. */
int slot_rename(slot *s, const struct slot_name *name);
/* After a slot_rename, with nothing excluded: waits until the old name has gone from the system as well. */
void slot_rename_finish(slot *s);

void slot_get_counts(slot *s, struct slot_counts *counts); /* any thread */
/* What waits in the system's hands and can be seen there: *count messages, the next of them *next bytes (UINT64_MAX: none).
 * On Linux that is nobody's to see, and 0. Any thread, but during slot_rename. */
void slot_waiting(slot *s, uint64_t *count, uint64_t *next);
/* Publishes to the statistics page. One thread at a time, and not during slot_rename. */
void slot_publish(slot *s, const struct slot_figures *figures);

/* Shows the slot's busiest writers there as well, as many as the page has room for. The same thread as slot_publish. */
void slot_publish_writers(slot *s);

/* Ends the name and every connection, and frees the slot. What has arrived and was not taken is counted, not
 * delivered: *lost messages, of those that nobody has any more (a living writer still has what its ring holds). No
 * on_ready is outstanding, nobody is in any other function. `in_child`: this is a forked child; only its copies of
 * descriptors and mappings go, the parent's slot is not touched, *lost is 0. */
void slot_close(slot *s, bool in_child, uint64_t *lost);

/* ---- the writing end ---- */

struct link_config {
    const struct slot_name *name;     /* copied */
    const mr_writer_options *options; /* checked, defaults filled in; copied as far as needed */
};

int link_open(slot_link **out, const struct link_config *config);

/* Connects to the slot if it is live. Does not wait, except for room in the queue of connections of a busy reader until
 * `deadline`. MR_OK (also if it is connected already), MR_E_NO_SLOT, MR_E_ACCESS, MR_E_OWNER, MR_E_TIMEOUT,
 * MR_E_DESCRIPTORS, MR_E_SYSTEM. */
int link_connect(slot_link *l, uint64_t deadline);
bool link_connected(const slot_link *l);
/* Ends the connection. A link_watch that is under way completes soon. */
void link_disconnect(slot_link *l);
/* Another name, disconnected; what was unacknowledged is forgotten (a reader that is there still drains it). MR_E_NAME (no
 * lane goes there), MR_E_MEMORY: the old name stays, and the connection. */
int link_rename(slot_link *l, const struct slot_name *name);
/* Is this its name already? Any thread, but during link_rename. */
bool link_is_named(const slot_link *l, const struct slot_name *name);

/* The largest message that the slot and the lane take, in bytes; 0 while it is not known. */
size_t link_max_message(const slot_link *l);

/* Hands the whole message over, or nothing of it; never blocks. MR_OK; MR_E_FULL: no room now (link_wait, link_watch);
 * MR_E_GONE: the reader has gone, the link is disconnected now; MR_E_ACCESS: the slot has refused this writer, the link is
 * disconnected; MR_E_TOO_BIG; MR_E_SYSTEM. */
int link_send(slot_link *l, const void *data, size_t length, uint32_t priority);

/* All that follow belong to who may call link_send, unless they say otherwise.
 *
 * Does the lane of this link acknowledge? Known from link_open on. Then what link_send has taken, and the slot has not acknowledged, is the link's:
 * it keeps it over a link_disconnect, and sends it first to the next slot of the name that is owned by the same user
 * (another one: MR_E_OWNER from link_connect). Else all that link_send has taken is the system's, and out of our hands. */
bool link_acknowledges(const slot_link *l);
/* While no slot is live (not connected): takes the message for the next one, as link_send would. MR_OK, MR_E_FULL,
 * MR_E_TOO_BIG, MR_E_MEMORY, MR_E_DESCRIPTORS, MR_E_SYSTEM; MR_E_UNSUPPORTED where the lane does not acknowledge. */
int link_keep(slot_link *l, const void *data, size_t length, uint32_t priority);
/* `count` messages of this level were dropped here: the slot is told before the next message of the level, or at the next
 * link_tell_gaps. */
void link_gap(slot_link *l, uint32_t priority, uint64_t count);
/* Commits the gaps that no message has followed yet. MR_OK, MR_E_FULL, MR_E_GONE. */
int link_tell_gaps(slot_link *l);

/* A point in what has been sent: everything that link_send (or link_keep) has taken until now. */
struct link_mark {
    uint64_t session;
    uint64_t position[MR_LEVELS_MAX];
};
void link_mark(const slot_link *l, struct link_mark *mark);
/* Has everything before the mark been acknowledged? True where the lane does not acknowledge. Takes in what the reader has
 * said meanwhile, its end included: link_connected tells of that afterwards. (A refusal that it has met is what the next
 * link_connect returns: MR_E_ACCESS, once.) */
bool link_passed(slot_link *l, const struct link_mark *mark);
/* Waits until link_passed, the reader has gone (the link is disconnected then), link_wake, or `deadline` (MR_E_TIMEOUT). Room
 * ends it only where the last link_send was MR_E_FULL. MR_E_ACCESS: the slot has refused this writer, and the link is
 * disconnected. */
int link_await(slot_link *l, const struct link_mark *mark, uint64_t deadline);
/* The same for a port, as link_watch, and not together with one. `mark` NULL: no position is waited for, nothing is asked of
 * the reader; the watch stays pending until the reader has gone, or says something else (link_passed takes that in, then
 * it can be watched again). port_cancel ends either watch. */
enum started link_watch_mark(slot_link *l, const struct link_mark *mark, port *p, operation *o);
/* Messages taken and not acknowledged, in all levels, as far as the link has seen (link_passed looks anew). */
uint64_t link_unacknowledged(slot_link *l);

/* Not connected, because the slot has left its name; but its reader is there, and may acknowledge what it has yet. */
bool link_leaving(const slot_link *l);

struct link_counts {
    uint64_t doorbells;   /* rung */
    uint64_t redelivered; /* messages sent again, to another reader of the name */
    uint64_t ring_bytes;  /* of memory that the link has mapped now */
    uint64_t connects;    /* connections made, less those that link_connect has told of by its MR_OK */
};
void link_get_counts(const slot_link *l, struct link_counts *counts);

/* After MR_E_FULL: waits until there may be room, the reader has gone, link_wake, or `deadline` (MR_E_TIMEOUT). A
 * link_wake that comes before the wait counts. Never returns at once again and again without a reason in the link. */
int link_wait(slot_link *l, uint64_t deadline);
/* Wakes link_wait. Any thread. */
void link_wake(slot_link *l);

/* The same for a port: `o` completes (handler on a worker) when there may be room or the reader has gone, also by a
 * link_disconnect meanwhile. Exactly once; a cancelled one too. One at a time, always with the same port. */
enum started link_watch(slot_link *l, port *p, operation *o);

/* Ends the link; no link_watch is under way, nobody is in any other function. `in_child`: this is a forked child; only
 * its copies of descriptors go, the parent's link is not touched. */
void link_close(slot_link *l, bool in_child);

#endif
