/* mailroom/writer.h: the writing end of a slot. A slot has any number of writers. */
#ifndef MAILROOM_WRITER_H
#define MAILROOM_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include <mailroom/export.h>
#include <mailroom/message.h>
#include <mailroom/port.h>
#include <mailroom/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mr_writer mr_writer;

/* Called exactly once for each message that mr_writer_post took. `status` is MR_OK when it was handed over, else why it
 * was not: MR_E_DROPPED (policy), MR_E_TOO_BIG, MR_E_ACCESS (the slot's owner said no: to every message that waited at
 * that moment), MR_E_UNDELIVERED (the writer was closed or renamed). A slot whose owner is not trusted is as good as
 * absent: posted messages wait for the right one.
 * Runs on a worker of the writer's port, one at a time per writer and in the order in which the messages were
 * completed, but messages that are dropped by a post are told on the posting thread, and what a close finds on the
 * closing one. No lock of the library is held. It may block, post, write (see there), and close the writer. */
typedef void (*mr_on_posted)(mr_writer *writer, int status, void *context);

/* Called once when a writer that was closed inside its own callback has gone. `undelivered` counts what did not get
 * across. `writer` is only a number by then. */
typedef void (*mr_writer_on_closed)(mr_writer *writer, uint64_t undelivered, void *context);

/* What mr_writer_post does when the writer's own queue is full. Every drop is counted and told to on_posted. */
typedef enum mr_policy {
    MR_POLICY_BLOCK = 0,       /* wait for room up to timeout_ms, then MR_E_TIMEOUT */
    MR_POLICY_FAIL = 1,        /* MR_E_FULL */
    MR_POLICY_DROP_NEWEST = 2, /* this message is dropped: MR_E_DROPPED */
    MR_POLICY_DROP_OLDEST = 3  /* the oldest of the lowest level, not above this one's, is dropped */
} mr_policy;

/* What mr_writer_write does while no slot of the name is live. */
typedef enum mr_absent {
    MR_FAIL = 0, /* two attempts, then MR_E_NO_SLOT at once */
    MR_KEEP = 1  /* the message goes into the ring for the next reader: MR_OK, or MR_E_TIMEOUT once the ring stays full.
                  * Lanes that have no ring keep nothing: there mr_writer_open refuses it (MR_E_ARGUMENT) */
} mr_absent;

typedef struct mr_writer_options {
    size_t size;   /* of this struct, set by the macro or the init function */
    mr_port *port; /* runs posted writes; NULL: one process-wide worker, started at the first post */
    mr_writer_on_closed on_closed;
    void *context;           /* handed to on_closed */
    uint32_t timeout_ms;     /* how long a write, or a blocking post, waits for room; default 5,000 */
    uint32_t levels;         /* 1 to MR_LEVELS_MAX; 0: MR_LEVELS_DEFAULT */
    uint32_t queue_messages; /* bound of the posted queue; 0: 65,536 */
    size_t queue_bytes;      /* the same in bytes; 0: 16 MiB */
    mr_policy policy;
    uint32_t backoff_min_ms; /* posted writes, slot absent: the first wait before another attempt; 0: 10 */
    uint32_t backoff_max_ms; /* … doubled up to this; 0: 1,000 */
    uint32_t linger_ms;  /* how long mr_writer_close and mr_writer_rename wait for what is posted, and for what is not
                              * acknowledged; default 1,000 */
    int require_slot;    /* 1: mr_writer_open fails with MR_E_NO_SLOT, MR_E_ACCESS, … unless it can connect */
    uint32_t reader_uid; /* a user besides this one and root whose slots are trusted; UINT32_MAX: nobody */
    mr_lane lane; /* MR_LANE_NONE: the best there is (Linux: the ring); MR_LANE_PLAIN, on Linux: as a plain program */
    mr_absent when_absent;
    size_t ring_bytes; /* of the ring for normal messages: a power of two from 16 KiB to 64 MiB; messages above a
                        * quarter of it go beside it. 0: 1 MiB, of which small messages use what they need: 32 KiB with
                        * a reader that keeps up; with one that is behind all of it, or the writer's share of 8 MiB where
                        * the process has more than eight such writers, but at least 64 KiB */
    uint32_t spin_us;  /* when the ring is full, look so many microseconds (at most 1,000) for room before sleeping, as
                        * long as it pays; 0: never */
} mr_writer_options;

#define MR_WRITER_OPTIONS_INIT                                                                                  \
    {                                                                                                           \
        sizeof(mr_writer_options), NULL, NULL, NULL, 5000, 0, 0, 0, MR_POLICY_BLOCK, 0, 0, 1000, 0, UINT32_MAX, \
            MR_LANE_NONE, MR_FAIL, 0, 0                                                                         \
    }
MR_API void mr_writer_options_init(mr_writer_options *options);

typedef struct mr_writer_statistics {
    size_t size;              /* of this struct, set by the caller */
    uint64_t written;         /* messages handed over, posted ones included */
    uint64_t bytes;           /* of them */
    uint64_t posted;          /* messages that mr_writer_post took */
    uint64_t dropped_newest;  /* by MR_POLICY_DROP_NEWEST, or by MR_POLICY_DROP_OLDEST below all that waits */
    uint64_t dropped_oldest;  /* by MR_POLICY_DROP_OLDEST */
    uint64_t dropped_refused; /* posted messages that the slot would never take (too big, no access) */
    uint64_t undelivered;     /* messages that a rename left behind, posted or unacknowledged */
    uint64_t waiting;         /* posted messages that wait at this moment */
    uint64_t waiting_bytes;
    uint64_t waiting_peak;
    uint64_t connects;       /* times that a connection was made */
    uint64_t waits;          /* times that a write found the slot full */
    uint64_t backoffs;       /* times that messages waited because the slot was absent */
    uint64_t unacknowledged; /* messages in the ring that the reader has not acknowledged, at this moment */
    uint64_t redelivered;    /* messages that were sent again, because their reader had gone */
    uint64_t kept;           /* messages taken while the slot was absent (MR_KEEP); they are in `written`, too */
    uint64_t doorbells;      /* times that a sleeping reader was woken */
    uint64_t ring_bytes;     /* memory of the ring, mapped at this moment */
} mr_writer_statistics;

/* Opens a writer to the slot `name` (UTF-8; the forms of mr_reader_open, and `\\HOST\mailslot\name` where a remote lane
 * is built in). The slot need not exist yet, unless options.require_slot says so. `options` may be NULL.
 * MR_OK and *writer (close it with mr_writer_close); MR_E_NAME; MR_E_ARGUMENT; MR_E_MEMORY; with require_slot also
 * MR_E_NO_SLOT, MR_E_ACCESS, MR_E_OWNER, MR_E_DESCRIPTORS, MR_E_SYSTEM. Any thread, callbacks too.
 * Mirrors CreateFile with FILE_SHARE_READ | FILE_SHARE_WRITE. */
MR_NODISCARD MR_API int mr_writer_open(mr_writer **writer, const char *name, const mr_writer_options *options);

/* Sends one message now: `length` bytes (0 is legal) at level `priority`. It queues behind what was posted at its level
 * and above, never before it. Returns MR_OK when the message has been handed over, or
 *   MR_E_NO_SLOT   the slot is absent, seen in two attempts; without waiting
 *   MR_E_TIMEOUT   the slot stayed full for options.timeout_ms; the message was not sent
 *   MR_E_TOO_BIG   larger than the slot or the lane takes; nothing was sent, the connection stays
 *   MR_E_ACCESS, MR_E_OWNER, MR_E_ARGUMENT, MR_E_MEMORY, MR_E_DESCRIPTORS, MR_E_FORKED, MR_E_SYSTEM
 *   MR_E_CALLBACK  inside the writer's own on_posted, where it would have to wait for messages posted before
 *   MR_E_STOPPED   the writer is being closed.
 * Handed over is not delivered: mr_writer_flush tells of that. By the ring, what a reader that died has not acknowledged is
 * the writer's still, and goes first to the next reader of the name: by itself where the writer has posted before, else in
 * the next call that finds the reader gone (write, post, flush, close). Nothing is resent while no call is made, so a program
 * that only writes ends with a flush.
 * Any thread, several at once. Blocks up to the time-out. Mirrors WriteFile. */
MR_NODISCARD MR_API int mr_writer_write(mr_writer *writer, const void *data, size_t length, uint32_t priority);

/* The same with a time-out of its own, in milliseconds (0, MR_FOREVER). */
MR_NODISCARD MR_API int mr_writer_write_timed(mr_writer *writer, const void *data, size_t length, uint32_t priority,
                                              uint32_t timeout_ms);

/* Queues a copy of the message, to be sent by a worker: higher levels first, in order within a level. While the slot is
 * absent it is kept and tried again. `on_posted` (may be NULL) is called once for it with `context`.
 * MR_OK: taken. On an error it was not taken and on_posted is not called: MR_E_FULL, MR_E_TIMEOUT, MR_E_DROPPED (the
 * policy), MR_E_TOO_BIG (where the slot's bound is known), MR_E_ARGUMENT, MR_E_MEMORY, MR_E_FORKED, MR_E_STOPPED;
 * MR_E_CALLBACK inside the writer's own on_posted with a full queue and MR_POLICY_BLOCK.
 * Any thread, callbacks too. */
MR_NODISCARD MR_API int mr_writer_post(mr_writer *writer, const void *data, size_t length, uint32_t priority,
                                       mr_on_posted on_posted, void *context);

/* Waits until everything written and posted before has arrived, and each on_posted of it has returned, at most `timeout_ms`.
 * Arrived is: by the ring, acknowledged by a reader; by the plain and native lane, handed to the system. While the slot is
 * absent and something is unacknowledged, it tries again with the back-off. Other threads write and post meanwhile; flush
 * does not wait for those. MR_OK; MR_E_TIMEOUT; MR_E_DROPPED if a message that had been taken was dropped, refused or left
 * behind since the last flush; MR_E_ACCESS, MR_E_OWNER where something is unacknowledged and the slot refuses this writer, or
 * is another user's; MR_E_CALLBACK inside the writer's own on_posted; MR_E_DESCRIPTORS, MR_E_MEMORY, MR_E_SYSTEM;
 * MR_E_FORKED; MR_E_STOPPED. */
MR_NODISCARD MR_API int mr_writer_flush(mr_writer *writer, uint32_t timeout_ms);

/* Goes on with another slot. What was posted before goes to the old name first, and is waited for until it has arrived (see
 * mr_writer_flush), for up to linger_ms, or until it turns out that no slot is live there; what is left then is counted as
 * undelivered, and told to on_posted where it was posted. What is in a ring and unacknowledged by then is counted though a
 * reader that is there may read it yet. The same name is a no-op. A message posted or written by another thread meanwhile
 * goes to either.
 * MR_E_NAME (the old name stays), MR_E_UNDELIVERED (renamed, with losses), MR_E_CALLBACK, MR_E_FORKED, MR_E_STOPPED. */
MR_NODISCARD MR_API int mr_writer_rename(mr_writer *writer, const char *name);

/* Closes the writer after lingering up to options.linger_ms for what was posted, and, by the ring, for what is unacknowledged.
 * MR_OK, or MR_E_UNDELIVERED where messages are not known to have arrived (the writer is closed all the same; *undelivered,
 * if not NULL, counts them, and each that was still posted was told to its on_posted; a reader that is there may read yet
 * what is in the ring). Calls that wait in other threads return MR_E_STOPPED. Inside the writer's own callback the
 * end comes after the callback, on the same thread: MR_OK at once, and on_closed tells. On a worker of the writer's
 * port, inside another's callback, the port may count the writer for an instant longer. In a forked child: MR_E_FORKED,
 * the parent's writer lives on. NULL is MR_OK. The handle is invalid afterwards in every case. Any thread. */
MR_API int mr_writer_close(mr_writer *writer, uint64_t *undelivered);

/* The writer's counters. MR_OK, MR_E_ARGUMENT, MR_E_FORKED. Any thread, callbacks too. */
MR_API int mr_writer_get_statistics(mr_writer *writer, mr_writer_statistics *statistics);

#ifdef __cplusplus
}
#endif

#endif
