/* ring_window.h: which messages of one ring have been taken and not been acknowledged: late, in any order, by any thread.
 *
 * Path    lane: ring_window_add > deliver > … > any thread: ring_window_acknowledge > the ring's head moves over what is
 *         done without a gap > `reached`, `resume`
 *
 * A window is taken from a table that lives as long as the process, and given back to it, so a token that comes late finds
 * memory that is a window still, of another generation.
 */
#ifndef SLOTS_RING_WINDOW_H
#define SLOTS_RING_WINDOW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "queue/thread.h"
#include "slots/ring.h"
#include "slots/slot_message.h"

#define RING_WINDOW_DEFAULT 4096u

/* What a window asks of its lane: called on whatever thread acknowledges, with the window's lock held. Neither blocks. */
struct ring_window_owner {
    void (*reached)(void *context); /* the writer waits for this head: tell it */
    void (*resume)(void *context);  /* after ring_window_pause or ring_window_await: it is worth looking again */
    void *context;
    _Atomic uint64_t *acknowledged; /* counts messages; several windows may add to it at once */
};

struct ring_window {
    /* The thread's that takes (and read by any). */
    _Atomic uint64_t next; /* number of the next entry, from 0 */
    uint64_t room;         /* of `ends`, a power of two; changed under the lock */
    uint64_t *ends;        /* by number: the record's end; or 1: done. As `room` */

    mutex lock;             /* all that follows */
    _Atomic uint64_t first; /* the oldest entry: everything before it is released */
    _Atomic uint64_t done;  /* messages acknowledged */
    _Atomic uint64_t held;  /* messages added */
    uint64_t generation;    /* of the present owner; another one after each ring_window_close */
    uint64_t position;      /* the ring's, when it was last shown */
    struct ring_reader *ring;
    struct ring_window_owner owner;
    bool paused;   /* the lane waits for room */
    bool awaiting; /* the lane waits for the last acknowledgement */

    /* Fixed, or the table's. */
    uint64_t most;
    uint32_t process;
    struct ring_window *next_free;
};

/* A window of at most `most` entries for this ring; NULL: no memory. */
struct ring_window *ring_window_open(struct ring_reader *ring, uint32_t most, const struct ring_window_owner *owner);
/* From here on its tokens mean nothing, and no callback of its owner runs. */
void ring_window_close(struct ring_window *w);

/* Those that follow are the taking thread's. */

/* Makes room for one more where there is none; false: there is none now. */
bool ring_window_grow(struct ring_window *w);

/* Is there room for one more? */
static inline bool ring_window_has_room(struct ring_window *w)
{
    uint64_t next = atomic_load_explicit(&w->next, memory_order_relaxed);
    return next - atomic_load_explicit(&w->first, memory_order_acquire) < w->room || ring_window_grow(w); /* E2 */
}

/* There is room: adds the message whose record ends there. */
static inline void ring_window_add(struct ring_window *w, uint64_t end, struct slot_token *token)
{
    uint64_t next = atomic_load_explicit(&w->next, memory_order_relaxed);
    w->ends[next & (w->room - 1)] = end;
    *token = (struct slot_token){.window = w, .generation = w->generation, .number = next};
    atomic_store_explicit(&w->held, atomic_load_explicit(&w->held, memory_order_relaxed) + 1, memory_order_relaxed);
    atomic_store_explicit(&w->next, next + 1, memory_order_release); /* E1 */
}

/* Takes back what was added last, and nobody has been given a token of. */
void ring_window_retract(struct ring_window *w);
/* There is room: adds a record that nobody has to acknowledge. */
void ring_window_add_done(struct ring_window *w, uint64_t end);
/* Shows how far the ring has been taken; true: the writer is to be told that head is where it waits for it. */
bool ring_window_look(struct ring_window *w);
/* False: there is room. True: `resume` comes when half of the entries are free. */
bool ring_window_pause(struct ring_window *w);
/* True: everything is acknowledged. False: `resume` comes when it is. */
bool ring_window_await(struct ring_window *w);

/* Messages added and not acknowledged. Any thread that keeps it from being closed. */
uint64_t ring_window_unacknowledged(struct ring_window *w);

/* The owner's context; NULL: the token means nothing any more. The caller keeps the owner from going meanwhile. */
void *ring_window_context(const struct slot_token *token);

/* Any thread, at any time. */
void ring_window_acknowledge(const struct slot_token *token);

#endif
