/* slot_linux.h: what the files of a slot on Linux share: slot_linux.c (the inner epoll set, taking, the life of a slot)
 * and slot_accept_linux.c (who gets in). Owners and invariants are in slot_linux.c. */
#ifndef SLOTS_SLOT_LINUX_H
#define SLOTS_SLOT_LINUX_H

#include <stdatomic.h>

#include "slots/backend.h"
#include "slots/janitor_linux.h"
#include "slots/plain_linux.h"
#include "slots/rendezvous_linux.h"

struct uid_count {
    uint32_t uid;
    uint32_t connections;
};

/* Written by the taking thread (or by an excluded one), read by any. */
struct lane_counts {
    _Atomic uint64_t dropped_too_big;
    _Atomic uint64_t dropped_violation;
    _Atomic uint64_t dropped_refused;
    _Atomic uint64_t refused_access;
    _Atomic uint64_t refused_quota;
    _Atomic uint64_t refused_descriptors;
    _Atomic uint64_t violations;
    _Atomic uint64_t connections;
};

struct slot {
    /* Fixed from slot_open on. */
    struct buffer_pool *pool;
    enum slot_delivered (*deliver)(void *context, struct buffer *message);
    void (*on_ready)(void *context);
    void *context;
    size_t max_message;
    uint32_t connections_per_uid;
    struct access_rule rule;
    int inner; /* the epoll set; with a port its endpoint owns it */
    port *port;
    endpoint *end;
    operation watch;
    int wake; /* eventfd for slot_wait; -1 with a port */

    /* The taking thread's. */
    struct rendezvous *rendezvous; /* changed by slot_rename only */
    struct connection *connections;
    struct connection *ready_first; /* ready list: first in, first out */
    struct connection *ready_last;
    bool listener_ready;
    bool listener_in_set;
    uint64_t name;   /* how many names there have been before this one */
    size_t old;      /* connections of those: shut down, with something left to deliver perhaps */
    uint64_t oldest; /* with old > 0: the name whose connections are served */
    struct size_advisor advisor;
    struct uid_count *uids;
    size_t uid_count;
    size_t uid_room;
    struct spare_waiter spare;
    _Atomic bool listener_masked; /* by the taking thread; unmasked by the janitor's */

    struct lane_counts counts;

    /* slot_handle's and slot_signal's. */
    int outer; /* the epoll set for a foreign loop, -1 while nobody asked: contains `inner` (unless paused) and … */
    int takeable; /* … an eventfd that is set while the reader's queue holds messages */
    bool takeable_set;
    bool paused;
};

static inline void count_add(_Atomic uint64_t *counter, uint64_t amount)
{
    /* One writer at a time: no need for an atomic addition. */
    uint64_t old = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, old + amount, memory_order_relaxed);
}

/* Puts the connection at the end of the ready list, unless it is there. */
void slot_ready(slot *s, struct connection *c);

/* Accepts connections, up to a turn's share, which is taken from the budget; those who may not write, or one too many,
 * are closed and counted. */
void slot_accept(slot *s, struct slot_budget *budget);

/* Adds the listener to the inner set. MR_OK or MR_E_SYSTEM. */
int slot_listen(slot *s);
/* Takes the listener out of the set and refuses further connections … */
void slot_deafen(slot *s);
/* … after which this accepts whoever still waits there. */
void slot_accept_leftovers(slot *s);

/* Takes the connection out of the slot and closes it; it is not in the ready list, or the list is not used again. */
void slot_disconnect(slot *s, struct connection *c);

/* Lets the listener be heard again after descriptors had run out. Any thread, until slot_deafen. */
void slot_unmask(void *context);

#endif
