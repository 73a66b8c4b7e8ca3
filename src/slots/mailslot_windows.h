/* mailslot_windows.h: the reading end on Windows: mailslot_windows.c (the slot: taking, arming, waiting, ending) and
 * mailslot_lane_windows.c (one mailslot of it: creating, reading). */
#ifndef SLOTS_MAILSLOT_WINDOWS_H
#define SLOTS_MAILSLOT_WINDOWS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <windows.h>

#include "queue/thread.h"
#include "slots/backend.h"
#include "slots/statistics_page_windows.h"

enum lane_state {
    LANE_IDLE,    /* no read is under way; there may be messages */
    LANE_PENDING, /* a read (or a pause) is under way: the buffer is the system's */
    LANE_DONE     /* it has completed, its result is in `operation` and not looked at yet */
};

/* One mailslot: the plain name (level 0), or the companion of a level above. */
struct lane {
    slot *slot;
    unsigned level;
    HANDLE handle;
    endpoint *end;         /* with a port: owns the handle */
    OVERLAPPED overlapped; /* without one */
    operation operation;   /* its results; with a port also the operation itself */

    enum lane_state state; /* the slot's lock, as what follows */
    bool retired;          /* of an old name: nothing is started on it any more */
    bool pausing;          /* what is under way is no read but a pause after a failure */

    /* The taking thread's. */
    struct buffer *buffer; /* a pooled one to read into */
    void *spill;           /* memory for a message that will be dropped, instead of `buffer` */
    size_t spill_size;
    uint64_t pause_ns; /* after a failure; 0: the last read was none */
    uint64_t retry_at; /* without a port: no read before */
    struct size_advisor advisor;
};

struct slot {
    /* Fixed from slot_open on. */
    struct buffer_pool *pool;
    enum slot_delivered (*deliver)(void *context, struct buffer *message);
    void (*on_ready)(void *context);
    void *context;
    size_t max_message;
    unsigned levels;
    port *port;
    HANDLE arrived; /* without a port: set by the system when a read completes; what mr_reader_event hands out */
    HANDLE wake;
    PSECURITY_DESCRIPTOR security;
    struct section *section; /* what others see of it; replaced by slot_rename, which excludes slot_publish */

    /* The taking thread's. */
    unsigned streak;     /* messages taken from companions in a row */
    unsigned next_lower; /* where the next look from below begins */

    mutex lock;        /* all that follows */
    condition changed; /* `retiring` */
    struct lane *lane[MR_LEVELS_MAX];
    struct queue_node *kept_first; /* messages of an old name, taken when it ended */
    struct queue_node *kept_last;
    unsigned pending;  /* operations of lanes in the port, retired ones included */
    unsigned retiring; /* retired lanes among them */
    bool armed;        /* one on_ready is owed */
    bool settling;     /* it comes when nothing is pending */
    bool taking;       /* a thread is in slot_take; it brings the event up to date at its end */
    bool handed;       /* the event was asked for */
    bool takeable;     /* slot_signal's */
    bool paused;

    struct {
        _Atomic uint64_t dropped_too_big;
        _Atomic uint64_t dropped_unread;
    } counts;
};

/* mailslot_lane_windows.c */

/* A mailslot whose handle can be used overlapped, or INVALID_HANDLE_VALUE and the system's error. `security` may be NULL. */
HANDLE mailslot_create(const wchar_t *name, size_t max_message, PSECURITY_DESCRIPTOR security);

/* Creates the mailslot of `level` for `name`. MR_E_EXISTS, MR_E_ACCESS, MR_E_NAME, … */
int lane_create(struct lane **out, slot *s, const struct slot_name *name, unsigned level);
/* Closes the mailslot and frees the lane; nothing is under way on it. Returns how many messages were in it. */
uint64_t lane_destroy(struct lane *lane);

/* Starts a read into `buffer` or `spill`, or completes at once: sets the state. With the slot's lock held, from IDLE. */
void lane_start(struct lane *lane);
/* Without a port: PENDING becomes DONE where the system has completed the read. With the lock held. */
void lane_poll(struct lane *lane);
/* Asks for the end of what is under way. Without a port it has ended when this returns. With the lock held. */
void lane_cancel(struct lane *lane);

enum lane_result {
    LANE_MESSAGE, /* *message */
    LANE_NOTHING, /* it was ended, dropped, too small a buffer, …: start again */
    LANE_FAILED,  /* the system failed: a pause is under way (or retry_at is set) */
    LANE_STARVED  /* the pool refused *wanted bytes */
};
/* Sees to it that there is memory to read into. LANE_NOTHING or LANE_STARVED. The taking thread, without the lock. */
enum lane_result lane_prepare(struct lane *lane, struct pool_cache *cache, size_t *wanted);
/* Looks at the result of a DONE lane, which becomes IDLE. The taking thread, without the lock. */
enum lane_result lane_result(struct lane *lane, struct pool_cache *cache, struct buffer **message, size_t *wanted);
/* On a worker: the packet of a lane (mailslot_windows.c). */
void slot_lane_completed(slot *s, struct lane *lane);
/* What the system holds of unread messages; *next the first one's size. */
uint64_t lane_waiting(const struct lane *lane, uint64_t *next);

#endif
