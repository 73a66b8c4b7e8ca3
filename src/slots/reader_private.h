/* reader_private.h: what the files of the reader share: reader.c (life, settings), reader_take.c (from the lanes into
 * the queue or the callback), reader_view.c (what is seen of it), reader_turn.c (on_message, on the port's workers),
 * reader_read.c (read calls). Owners and invariants are in reader.c. */
#ifndef SLOTS_READER_PRIVATE_H
#define SLOTS_READER_PRIVATE_H

#include <stdatomic.h>

#include <mailroom/reader.h>

#include "iocp/workers.h"
#include "queue/priority_queue.h"
#include "queue/thread.h"
#include "slots/backend.h"

/* A turn's share: how much it takes, and how much it delivers of its queue, before it looks at the clock. Another share
 * follows until the turn has lasted so long: then the slot goes to the back of the port's run queue. */
#define TURN_MESSAGES ((size_t) 64)
#define TURN_BYTES    ((size_t) 256 * 1024)
/* A turn's next share is twice as large, up to so much; while others wait in the port, up to less. */
#define SHARE_MESSAGES_BUSY ((size_t) 256)
#define SHARE_MESSAGES_MOST ((size_t) 1024)
#define SHARE_BYTES_MOST    ((size_t) 4 * 1024 * 1024)
#define TURN_NS             UINT64_C(5000)  /* where others wait in the port */
#define TURN_ALONE_NS       UINT64_C(50000) /* where nobody does */

/* A slot whose rings are empty goes round through the port so often before they are put to sleep, as long as others wait
 * there: sleeping costs a barrier on every processor and a doorbell, and a turn that finds nothing costs little. */
#define QUIET_ROUNDS 8u
/* A turn that begins so soon after another on the same thread: the port is busy, with events perhaps that wait in it unseen. */
#define STRAIGHT_NS UINT64_C(20000)

/* So often is the page brought up to date while messages flow; what is seen of an idle reader is exact. */
#define PUBLISH_NS UINT64_C(2000000)

/* While there is no memory for normal messages the lanes are asked so often for urgent ones, for which some is kept. */
#define STARVED_LOOK_NS UINT64_C(5000000)

/* Room in the queue that is kept for urgent messages, beside its bounds: so many, and this part of its bytes. */
#define URGENT_MESSAGES      ((size_t) 64)
#define URGENT_BYTES_DIVISOR 8u

/* Where a reader with on_message is. Exactly one thing leads out of each state, and it exists. */
enum turn_state {
    TURN_ARMED,   /* idle: slot_arm is outstanding, on_ready will come */
    TURN_POSTED,  /* ready: `posted` is in the port's run queue */
    TURN_RUNNING, /* a worker is in turn_run */
    TURN_STARVED, /* the pool's waiter is registered, whose callback posts (`asked`), or `look` is under way, or both */
    TURN_PARKED,  /* paused or stopped: resume or restart posts */
    TURN_ENDED    /* nothing will come any more (a reader that is read by calls is always here) */
};

struct mr_reader {
    /* Fixed from mr_reader_open on. */
    uint32_t generation;
    mr_port *port;
    port *backend; /* with on_message only */
    mr_on_message on_message;
    mr_reader_on_closed on_closed;
    mr_classify classify;
    void *context;
    size_t max_message;
    size_t queue_messages;
    size_t queue_bytes;
    unsigned levels;
    struct buffer_pool *pool;
    slot *slot;

    bool by_hand; /* acknowledge_by_hand */

    /* The thread's that has set `taking`. The counts are stored by it alone and read by any. */
    struct queue_node *batch_first;
    struct queue_node *batch_last;
    struct slot_budget *budget; /* of the present slot_take */
    bool lingers;               /* a turn: for the next slot_take */
    unsigned quiet_rounds;      /* turns: so many in a row have brought nothing */
    size_t keep_messages;       /* so much may go into the batch yet */
    size_t keep_bytes;
    _Atomic uint64_t direct_messages; /* handed to on_message without the queue */
    _Atomic uint64_t direct_bytes;

    _Atomic bool halted; /* paused, stopped or closing: stored with the lock held, loaded by any (H1) */

    mutex lock;        /* all that follows */
    condition changed; /* messages, `taking`, `leading`, `starved`, `turn`, `inside`, the flags */
    struct priority_queue queue;
    bool taking;   /* a thread is inside slot_take or slot_rename */
    bool renaming; /* it is slot_rename */
    bool leading;  /* a blocked read is inside slot_wait, the others wait for `changed` */
    bool starved;  /* read calls: the waiter is registered with the pool */
    bool paused;
    bool stopped;
    bool closing;
    bool close_after;              /* closed inside its own callback: the turn ends the reader */
    unsigned inside;               /* threads in calls that leave the lock meanwhile */
    uint64_t published_at;         /* by the coarse clock */
    uint64_t published_writers_at; /* the same */
    enum turn_state turn;
    uint64_t callback_thread; /* who is in a turn, and so, when it calls us, inside on_message; 0: nobody */
    operation posted;
    operation look; /* a deadline: has something urgent come while there was no memory for normal messages? */
    bool looking;   /* `look` is under way */
    bool asked;     /* with on_message: the waiter is registered with the pool, or has posted */
    struct pool_waiter waiter;
    uint32_t timeout_ms;
    char *display;     /* the slot's name */
    uint64_t messages; /* what has gone through the queue; see direct_messages */
    uint64_t bytes;
    uint64_t delivered;
};

static inline bool reader_halted(const mr_reader *reader)
{
    return atomic_load_explicit(&reader->halted, memory_order_relaxed);
}

/* After each change of what it is made of; with the lock held. */
static inline void reader_update_halted(mr_reader *reader)
{
    atomic_store_explicit(&reader->halted, reader->paused || reader->stopped || reader->closing, memory_order_relaxed);
}

/* Whether the queue holds messages above MR_NORMAL; with the lock held. */
static inline bool reader_holds_urgent(const mr_reader *reader)
{
    return reader->queue.occupied > 1;
}

static inline bool reader_has_room(const mr_reader *reader)
{
    return reader->queue.messages < reader->queue_messages && reader->queue.bytes < reader->queue_bytes;
}

static inline struct slot_message *message_of_node(struct queue_node *node)
{
    return (struct slot_message *) (void *) ((char *) node - offsetof(struct slot_message, node));
}

/* MR_OK or MR_E_FORKED. */
int reader_check(const mr_reader *reader);
/* MR_OK, or the reason why this reader cannot be used (NULL, or a parent's). */
int reader_usable(const mr_reader *reader, const char *function);

/* Frees a reader whose turn has ended and whom nobody is inside of; returns how many messages were lost. */
uint64_t reader_finish(mr_reader *reader);

/* reader_take.c */

/* For slot_config. */
enum slot_delivered reader_deliver(void *context, struct buffer *buffer);

/* Takes from the lanes into the queue, or directly to on_message: at most `messages`, `bytes` and what the bounds
 * leave. `now` as in slot_budget. Called and left with the lock held, free in between; nobody else is taking. */
enum slot_taken reader_take(mr_reader *reader, struct pool_cache *cache, size_t messages, size_t bytes, uint64_t now,
                            size_t *wanted);

/* The same for urgent messages alone, at most `messages`. */
enum slot_taken reader_take_urgent(mr_reader *reader, struct pool_cache *cache, size_t messages, size_t *wanted);

/* Are there urgent messages in the lanes, while the queue holds none, and may they be taken? With the lock held, nobody
 * taking. */
bool reader_sees_urgent(mr_reader *reader);

/* reader_view.c */

/* Shows the present figures on the statistics page; with the lock held. */
void reader_publish(mr_reader *reader);
/* The same, if that has not been done for PUBLISH_NS. */
void reader_publish_sometimes(mr_reader *reader);

/* Tells a foreign loop's handle the present state; with the lock held. */
void reader_signal(mr_reader *reader);

/* reader_turn.c */
void turn_start(mr_reader *reader);     /* the first arming */
void turn_on_ready(void *context);      /* for slot_config */
void turn_on_posted(operation *posted); /* handler of `posted` */
void turn_on_look(operation *look);     /* … of `look` */
void turn_on_memory(struct pool_waiter *waiter, void *context);
void turn_resume(mr_reader *reader); /* with the lock held: a parked turn goes on, if nothing halts it */
void turn_end(mr_reader *reader);    /* with the lock held, `closing` set: sees to it that TURN_ENDED comes */

/* reader_read.c */
void read_on_memory(struct pool_waiter *waiter, void *context);

#endif
