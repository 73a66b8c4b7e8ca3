/* slot_linux.h: what the files of a slot on Linux share: slot_linux.c (life, name), slot_take_linux.c (the inner epoll set,
 * fair turns, sleeping), slot_look_linux.c (the watch, the clock), slot_wait_linux.c (waiting, the handle), slot_view_linux.c
 * (counts, writers), slot_accept_linux.c and ring_accept_linux.c (who gets in), ring_lane_linux.c and ring_take_linux.c (a
 * writer's rings). Owners and invariants are in slot_take_linux.c. */
#ifndef SLOTS_SLOT_LINUX_H
#define SLOTS_SLOT_LINUX_H

#include <stdatomic.h>
#include <time.h>

#include "queue/switch_mark_linux.h"
#include "slots/access.h"
#include "slots/backend.h"
#include "slots/janitor_linux.h"
#include "slots/plain_linux.h"
#include "slots/rendezvous_linux.h"
#include "slots/ring_lane_linux.h"

/* What a turn may bring before the next one's: enough that changing over costs little. */
#define PLAIN_SHARE_MESSAGES 16u
#define RING_SHARE_MESSAGES  64u
#define SHARE_BYTES          ((size_t) 64 * 1024)
/* So many messages above MR_NORMAL come one after another while a normal one waits. */
#define URGENT_RUN 64u
/* After so many messages the inner set is asked again, if that was not done just before: asking costs as much as taking
 * several messages. */
#define HARVEST_MESSAGES 64u
#define HARVEST_NS       UINT64_C(20000)
/* The same where other slots wait in the port: then this is about how long it takes until all of them have had their turn. */
#define HARVEST_BUSY_NS UINT64_C(500000)

struct uid_count {
    uint32_t uid;
    uint32_t connections;
};

/* Written by the taking thread (or by an excluded one), read by any, but for those that say so. */
struct lane_counts {
    _Atomic uint64_t dropped_too_big;
    _Atomic uint64_t dropped_violation;
    _Atomic uint64_t dropped_refused;
    _Atomic uint64_t refused_access;
    _Atomic uint64_t refused_quota;
    _Atomic uint64_t refused_descriptors;
    _Atomic uint64_t violations;
    _Atomic uint64_t connections;
    _Atomic uint64_t rings;
    _Atomic uint64_t ring_bytes;
    _Atomic uint64_t dropped_by_writers;
    _Atomic uint64_t redelivered;
    _Atomic uint64_t doorbells;
    _Atomic uint64_t held;         /* messages that have had to be acknowledged */
    _Atomic uint64_t acknowledged; /* of them; added to by several threads at once */
    _Atomic uint64_t waits;        /* the same */
};

/* One of the slot's two listening sockets. */
struct slot_listener {
    struct slot_source source;
    enum rendezvous_socket which;
    bool ready;  /* somebody may be waiting there */
    bool in_set; /* … the inner one */
};

/* A writer that has connected to the ring's socket, was let in, and has not said its hello. */
struct ring_guest {
    struct slot_source source;
    struct ring_guest *next;
    struct ring_guest *previous;
    int socket;
    bool ready; /* something has come from it, its end perhaps */
    struct access_peer peer;
};

/* Rings above MR_NORMAL that are looked at after every second message, at a cost that must not be felt: so they are few (their
 * tails lie at the same place in their pages, and share the ways of one set of the cache), and tails and what has been taken
 * stand side by side. Which ones: those of the sessions that had their turn last; where there are more sessions than
 * this, of those that are awake. */
#define WATCH_ROOM 8u
struct urgent_watch {
    const _Atomic uint64_t *tails[WATCH_ROOM];
    uint64_t positions[WATCH_ROOM];
    struct ring_session *sessions[WATCH_ROOM];
    struct ring_level *levels[WATCH_ROOM];
    unsigned count;
    unsigned oldest; /* whose place is given away next */
};

static inline bool watch_differs(const struct urgent_watch *watch)
{
    uint64_t differences = 0;
    for (unsigned i = 0, count = watch->count; i < count; i++)
        differences |= atomic_load_explicit(watch->tails[i], memory_order_relaxed) ^ watch->positions[i];
    return differences != 0;
}

struct slot {
    /* Fixed from slot_open on. */
    struct buffer_pool *pool;
    enum slot_delivered (*deliver)(void *context, struct buffer *message);
    void (*on_ready)(void *context);
    void *context;
    size_t max_message;
    uint32_t levels;
    uint32_t connections_per_uid;
    bool acknowledged_later;
    uint32_t acknowledge_window;
    uint64_t spin_most; /* nanoseconds */
    struct access_rule rule;
    int inner; /* the epoll set; with a port its endpoint owns it */
    port *port;
    endpoint *end;
    operation watch;
    int wake; /* eventfd for slot_wait; -1 with a port */

    /* The taking thread's. */
    struct rendezvous *rendezvous; /* changed by slot_rename only */
    struct connection *connections;
    struct ring_session *sessions;
    struct ring_guest *guests;
    size_t guests_ready;
    struct turn_list ready;       /* connections and sessions that may have something */
    struct turn_list resting;     /* sessions that were found empty, and are to be armed */
    struct turn_list urgent;      /* sessions with something above MR_NORMAL */
    struct ring_session *sleeper; /* who was put to sleep last, until the next slot_take */
    struct urgent_watch watched;
    unsigned urgent_run;  /* messages above MR_NORMAL since the last other one */
    unsigned clock_every; /* looks for one at clock_now */
    uint64_t spin;        /* nanoseconds, at present */
    unsigned sleeps;
    uint64_t harvested;                /* clock_now: when the inner set was last asked */
    struct slot_listener listeners[2]; /* by enum rendezvous_socket */
    uint64_t name;                     /* how many names there have been before this one */
    size_t old;                        /* connections and sessions of those, with something left to take perhaps */
    uint64_t oldest;                   /* with old > 0: the name whose connections are served */
    struct size_advisor advisor;
    struct uid_count *uids;
    size_t uid_count;
    size_t uid_room;
    struct spare_waiter spare;
    _Atomic bool listener_masked; /* by the taking thread; unmasked by the janitor's */

    struct lane_counts counts;
    _Atomic bool holds; /* slot_holds: stored by the taking thread */

    /* Held while a connection or session comes into its list, or leaves it; read by whoever holds it. */
    mutex writers;

    /* Sessions that another thread has made something possible for. */
    mutex nudge_lock;
    struct turn_list nudged;
    struct slot_source nudge_source;
    int nudge; /* eventfd in the inner set, set while the list holds something */

    /* slot_handle's and slot_signal's. */
    int outer; /* the epoll set for a foreign loop, -1 while nobody asked: contains `inner` (unless paused) and … */
    int takeable; /* … an eventfd that is set while the reader's queue, or slot_holds, has messages */
    bool takeable_set;
    bool paused;
};

/* What a call of slot_take carries along. */
struct taking {
    struct slot *slot;
    struct pool_cache *cache;
    struct slot_budget *budget;
    size_t *wanted;
    bool starved; /* the pool has nothing for messages of MR_NORMAL */
    bool refused; /* deliver has refused a message: nothing further */
    bool late;    /* a callback has taken its time: look at everything */
    unsigned since_harvest;
    uint64_t harvest_ns; /* HARVEST_NS or HARVEST_BUSY_NS */
    uint8_t second;      /* 1: one callback has returned since the last look */
    /* What tells that a callback has taken its time (slot_look_linux.c). */
    const _Atomic uint64_t *mark; /* a mark that stands as long as the thread has not left the processor */
    unsigned until_coarse;        /* looks until the coarse clock is read, … */
    unsigned coarse_every;        /* … from one time to the next, … */
    unsigned until_clock;         /* … and until clock_now is */
    struct timespec coarse;       /* as last read */
    uint64_t clock;               /* the same of clock_now, after a callback … */
    uint64_t seen;                /* … or in any case, for the harvest; and so many times */
    unsigned seen_used;           /* … it has been used for that */
    struct buffer *buffer;        /* for messages of rings; used again while nobody else holds it */
    char *data;                   /* in it */
    size_t fit_least;             /* so long are the messages that go into it as it is, … */
    size_t fits;                  /* … and so many lengths there are; 0: it has to be prepared for a level first */
    struct ring_session *session; /* whose rings are being taken from */
    unsigned skipped;             /* of its records, in this share, such as were no messages */
    bool called;                  /* the last message has been seen by a callback */
    struct plain_receiver plain;  /* large: only what must be is initialised */
};

static inline void count_add(_Atomic uint64_t *counter, uint64_t amount)
{
    /* One writer at a time: no need for an atomic addition. */
    uint64_t old = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, old + amount, memory_order_relaxed);
}

/* ---- budget ---- */

static inline bool budget_spent(const struct slot_budget *budget)
{
    return budget->messages == 0 || budget->bytes == 0;
}

static inline void budget_spend(struct slot_budget *budget, size_t bytes)
{
    budget->messages--;
    budget->bytes -= bytes < budget->bytes ? bytes : budget->bytes;
}

static inline bool taking_stopped(const struct taking *t)
{
    return t->refused || t->budget->stop;
}

static inline bool taking_allows_normal(const struct taking *t)
{
    return !budget_spent(t->budget) && !t->starved && !taking_stopped(t);
}

static inline bool taking_allows_urgent(const struct taking *t)
{
    return (!budget_spent(t->budget) || t->budget->urgent > 0) && !taking_stopped(t);
}

/* ---- slot_look_linux.c ---- */

/* Looks at the ring among the watched ones, perhaps in the place of another; its position has changed; it goes. */
void watch_put(struct slot *s, struct ring_session *x);
static inline void watch_move(struct slot *s, const struct ring_level *l)
{
    if (l->watched != RING_UNWATCHED)
        s->watched.positions[l->watched] = l->ring.position;
}
void watch_remove(struct slot *s, struct ring_level *l);

/* Is something urgent there, as far as is known? Its sessions are in the urgent list then. */
bool slot_has_urgent(slot *s);

/* Begins to watch the time, and the thread; … */
void taking_begin_clock(struct taking *t);
/* … ends that. */
void taking_end_clock(struct taking *t);
/* The thread has left the processor, or it is a clock's turn. */
bool taking_looks_closer(struct taking *t);

/* Has so much time passed, perhaps, that everything is to be looked at? */
static inline bool taking_sees_late(struct taking *t)
{
    if (switch_mark_stands(t->mark) && --t->until_coarse != 0)
        return false;
    return taking_looks_closer(t);
}

/* Has so much time passed that the inner set is to be asked again? */
bool taking_is_due(struct taking *t);

/* After each callback: is it the second since the last look at the clock? */
static inline bool taking_is_second(struct taking *t)
{
    t->second ^= 1;
    return t->second == 0;
}

/* ---- slot_linux.c ---- */

/* For what the system has refused; returns the status. */
int slot_descriptor_fail(const char *what);

/* ---- slot_take_linux.c ---- */

/* Are connections to this one of the slot's names served now (I4)? */
static inline bool slot_serves(const slot *s, uint64_t name)
{
    return s->old == 0 || name == s->oldest;
}

/* Whose turn it is, when the last connection of a name has ended (slot_take_linux.c, I4). */
void slot_next_name(slot *s);

/* Has the inner set tell that there is something to do. Any thread that keeps the slot alive. */
void slot_nudge(slot *s);
/* A session that has come, or come back to life: its turn comes; with something urgent, soon. */
void slot_activate(slot *s, struct ring_session *x);

/* ---- slot_accept_linux.c ---- */

/* Accepts connections, up to a turn's share, which is taken from the budget; those who may not write, or one too many,
 * are closed and counted. */
void slot_accept(slot *s, struct slot_listener *listener, struct slot_budget *budget);

/* Adds the listeners to the inner set, as far as they are not there. MR_OK or MR_E_SYSTEM. */
int slot_listen(slot *s);
/* Takes the listeners out of the set and refuses further connections … */
void slot_deafen(slot *s);
/* … after which this accepts whoever still waits there. `last`: the slot ends, and takes nothing of new rings. */
void slot_accept_leftovers(slot *s, bool last);

/* Takes the connection out of the slot and closes it; it is not in the ready list, or the list is not used again. */
void slot_disconnect(slot *s, struct connection *c);

/* Lets the listeners be heard again after descriptors had run out. Any thread, until slot_deafen. */
void slot_unmask(void *context);
/* After something was closed: the janitor's thread may have been impossible to start before. */
void slot_mask_again(slot *s);

/* The quota. */
bool uid_has_room(slot *s, uint32_t uid);
bool uid_enter(slot *s, uint32_t uid); /* false: no memory */
void uid_leave(slot *s, uint32_t uid);

/* ---- ring_accept_linux.c ---- */

/* Lets in, or refuses, who has just connected to the ring's socket, which is the function's from here on. `last`: the slot
 * ends. */
void ring_admit(slot *s, int socket, bool last);
/* Hears what the guests that are ready have to say. */
void ring_hear_guests(slot *s);
/* All of them go; with `hear` only those who have said nothing yet. */
void ring_dismiss_guests(slot *s, bool hear);

/* Ends the session and hangs up. It may be in any of the slot's lists. */
void slot_drop(slot *s, struct ring_session *x);
/* The same, its writer having broken the rules. */
void slot_drop_violator(slot *s, struct ring_session *x);

#endif
