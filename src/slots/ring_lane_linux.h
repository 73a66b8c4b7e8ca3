/* ring_lane_linux.h: a writer's ring session as its slot sees it, from the accepted hello to the end.
 *
 * Path    hello accepted (ring_accept_linux.c) > ring_session_open > [ ring_session_serve: peek > copy > deliver > release ]*
 *         > writer gone, name gone or violation > ring_session_settle > ring_session_close
 * Owners  A session belongs to its slot and is touched only by the thread that is inside slot_take (or slot_rename,
 *         slot_close, which exclude it); but who acknowledges moves the heads, through the windows, and any thread may read
 *         the counts while it holds the slot's `writers` lock.
 */
#ifndef SLOTS_RING_LANE_LINUX_H
#define SLOTS_RING_LANE_LINUX_H

#include <mailroom/message.h>

#include "slots/ring.h"
#include "slots/ring_hello_linux.h"
#include "slots/ring_window.h"
#include "slots/slot_turn_linux.h"

struct slot;
struct taking;

/* What a session counts against the pool's ceiling: itself, and about what the kernel holds for its sockets. */
#define RING_SESSION_CHARGE ((size_t) 4096)

/* Not in the watch (slot_linux.h). */
#define RING_UNWATCHED UINT8_MAX

/* One ring of a writer. */
struct ring_level {
    struct ring_reader ring;
    uint64_t sequence;          /* of the next message */
    uint64_t redelivered;       /* position: what begins before it may have been delivered already */
    uint64_t limit;             /* of a limited session: position */
    struct ring_window *window; /* NULL: acknowledged as soon as it is delivered */
    uint32_t level;
    uint8_t watched;                 /* place in the slot's watch, or RING_UNWATCHED */
    bool armed;                      /* found empty, asleep: its doorbell will be rung */
    bool paused;                     /* its window is full: slot_acknowledge brings the session back */
    _Atomic uint64_t shown;          /* ring.position, now and then */
    _Atomic uint64_t shown_left_out; /* and ring.left_out */
};

/* A large message that has been sent, and whose record has not been reached. */
struct ring_held {
    uint32_t level;
    int descriptor;
    uint64_t sequence;
    uint64_t length;
};

struct ring_session {
    struct slot_source socket_source;
    struct slot_source doorbell_source;
    struct slot_turn turn;        /* the slot's ready list, or its resting list */
    struct slot_turn urgent_turn; /* the slot's urgent list */
    struct slot_turn nudge_turn;  /* the slot's nudged list; under the slot's nudge lock */
    struct ring_session *next;    /* all of the slot's, in no order */
    struct ring_session *previous;
    struct slot *slot;
    int socket;
    int doorbell;
    uint64_t name; /* which of the slot's names it connected to */
    mr_sender sender;
    void *memory;
    struct ring_geometry geometry;
    bool barrier;      /* ring.h, B: made before it sleeps; else its writer has fences */
    _Atomic bool gone; /* the writer has hung up: stored by the taking thread, read by any */
    bool limited;      /* nothing beyond the levels' limits is taken: the writer, or the name, has gone */
    bool taken;        /* limited, and everything up to there has been: what is left to come are acknowledgements */
    bool mail;         /* something has come on its socket, and may lie there still */
    bool broken;       /* a violation on its socket: to be dropped in its turn */
    unsigned quiet;    /* turns in a row that brought nothing */
    struct ring_held *held; /* RING_LARGE_MOST of them, once there was one */
    unsigned held_count;

    /* Stored by the taking thread, read by any. */
    _Atomic uint64_t messages;
    _Atomic uint64_t bytes;
    _Atomic uint64_t dropped;
    _Atomic uint64_t waiting_peak;
    _Atomic uint64_t doorbells;
    _Atomic uint64_t waits; /* added to by who acknowledges as well */

    struct ring_level levels[]; /* geometry.levels */
};

/* What the accepted hello and its connection give a session. The memory is mapped and counted, and the caller's until the
 * session is there; so are the descriptors. */
struct ring_guest_facts {
    struct mr_sender sender;
    const struct ring_hello *hello;
    void *memory;
    int socket;
    int doorbell;
    bool barrier;
};

/* NULL: no memory. The session is in no list and in no epoll set. */
struct ring_session *ring_session_new(struct slot *s, const struct ring_guest_facts *facts);
/* The struct alone, in which nothing has happened yet: memory and descriptors stay the caller's. */
void ring_session_discard(struct ring_session *x);
/* Has the writer look at its socket before the next message, also one that sends without pause. */
void ring_session_alarm(struct ring_session *x);
/* REACHED: the head has come where the writer waits for it. Whoever releases. */
void ring_session_tell(struct ring_session *x);
/* Everything of it, the mapping, its windows and its descriptors too. It is in no list of the slot's any more. */
void ring_session_free(struct ring_session *x);

static inline struct ring_session *ring_session_of_turn(struct slot_turn *turn)
{
    return (struct ring_session *) (void *) ((char *) turn - offsetof(struct ring_session, turn));
}

static inline struct ring_session *ring_session_of_urgent(struct slot_turn *turn)
{
    return (struct ring_session *) (void *) ((char *) turn - offsetof(struct ring_session, urgent_turn));
}

enum ring_end {
    RING_SHARE,   /* its share is used up, or something more urgent is there */
    RING_EMPTY,   /* nothing (more) is there that could be taken now */
    RING_OVER,    /* the budget is spent, or deliver has stopped the taking */
    RING_STARVED, /* the pool has no buffer */
    RING_BROKEN   /* a violation: to be dropped */
};

/* Takes up to `share` messages, the highest levels first; of the levels above MR_NORMAL alone if `urgent`.
 * *brought: how many. */
enum ring_end ring_session_serve(struct taking *t, struct ring_session *x, unsigned share, bool urgent,
                                 unsigned *brought);

/* Receives what lies in the socket of a session that sleeps (ring_take_linux.c, I3). False: a violation, and it is `broken`. */
bool ring_session_hear(struct ring_session *x);

/* By one look at each ring above MR_NORMAL. */
bool ring_session_urgent(const struct ring_session *x);
/* Its doorbell was heard: none of its rings is asleep any more; they are armed anew, in an epoch of their own. */
void ring_session_wake(struct ring_session *x);
/* By one look at each ring. */
bool ring_session_glance(const struct ring_session *x);

/* Are all rings armed? */
bool ring_session_asleep(const struct ring_session *x);
/* … or paused? Then it needs no turn. */
bool ring_session_at_rest(const struct ring_session *x);
/* Sleeping, in two steps, with the barrier between them (ring.h, S). The second: true, nothing has come meanwhile. */
void ring_session_arm(struct ring_session *x);
bool ring_session_arm_look(struct ring_session *x);

/* By asking the system: has the writer hung up? */
bool ring_session_has_hung_up(const struct ring_session *x);
/* Nothing that is committed from now on is taken. False: a violation. */
bool ring_session_limit(struct ring_session *x);
/* Of a limited session: has everything been taken? */
bool ring_session_exhausted(const struct ring_session *x);
/* Of one that is exhausted: is everything acknowledged? If not, the session is nudged when it is. */
bool ring_session_settle(struct ring_session *x);
/* How many messages lie in the rings of a limited session, not taken. */
uint64_t ring_session_count_left(struct ring_session *x);
uint64_t ring_session_unacknowledged(struct ring_session *x);

#endif
