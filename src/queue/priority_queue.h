/* priority_queue.h: bounded, intrusive priority queue.
 *
 * Path    queue_push > level list > queue_pop (or queue_remove, or dropped)
 * Owners  The caller owns every node and the queue's lock. A node belongs to the queue from the push that returned
 *         QUEUE_QUEUED until it is popped, removed, drained or handed back as dropped. The queue allocates nothing,
 *         never blocks and has no lock: all calls on one queue are made under one lock of the caller's.
 * I1      A level's bit in `occupied` is set exactly when its list is not empty.
 * I2      messages and bytes are the sums over the levels.
 * I3      messages <= messages_max, and (bytes <= bytes_max or messages == 1): one item larger than the byte bound is
 *         taken when nothing waits.
 * I4      Level 0 holds at most the bounds less the urgent share, or is a single item in an otherwise empty queue
 *         at its push.
 * I5      Per level: pushed == popped + removed + dropped_oldest + waiting. What was never queued is counted in
 *         refused (policies block and fail) or dropped_newest.
 */
#ifndef MAILROOM_QUEUE_PRIORITY_QUEUE_H
#define MAILROOM_QUEUE_PRIORITY_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUEUE_LEVELS_MAX       8u
#define QUEUE_FAIRNESS_DEFAULT 64u

/* Lives in the caller's item. All fields belong to the queue while the node is in it; level and bytes may be read at
 * any time, also after the pop. A list of nodes that is handed back is linked through `next` and ends with NULL. */
struct queue_node {
    struct queue_node *next;
    struct queue_node *previous;
    size_t bytes;
    unsigned level;
    bool queued;
};

enum queue_policy {
    QUEUE_POLICY_BLOCK,       /* the caller waits until there is room and pushes again */
    QUEUE_POLICY_FAIL,        /* the caller fails */
    QUEUE_POLICY_DROP_NEWEST, /* the new item is dropped */
    QUEUE_POLICY_DROP_OLDEST, /* the oldest items of the lowest levels make room */
};

enum queue_verdict {
    QUEUE_QUEUED,         /* in the queue; `dropped` lists what had to make room, if anything */
    QUEUE_FULL,           /* policies block and fail: nothing changed (counted in refused, see queue_push) */
    QUEUE_DROPPED_NEWEST, /* the new item is dropped: it is the caller's again; nothing else changed */
};

struct queue_options {
    unsigned levels;          /* 1 to QUEUE_LEVELS_MAX; a higher level is sooner */
    enum queue_policy policy; /* what happens when the new item does not fit */
    size_t messages_max;      /* at least 1 */
    size_t bytes_max;         /* at least 1 */
    size_t urgent_messages;   /* of messages_max, this many only for levels above 0 */
    size_t urgent_bytes;      /* of bytes_max, this many only for levels above 0 */
    unsigned fairness;        /* after so many consecutive pops above a waiting level one below passes; 0: strict */
};

/* Counted since queue_init. */
struct queue_level_counts {
    uint64_t pushed;         /* entered the queue */
    uint64_t popped;         /* left it by queue_pop */
    uint64_t removed;        /* left it by queue_remove or queue_drain */
    uint64_t dropped_oldest; /* left it to make room */
    uint64_t dropped_newest; /* never entered: dropped at the push */
    uint64_t refused;        /* never entered: pushes answered with QUEUE_FULL */
};

struct queue_level {
    struct queue_node *first; /* oldest */
    struct queue_node *last;
    size_t messages;
    size_t bytes;
    struct queue_level_counts counts;
};

/* Embedded in its owner. Read freely (under the caller's lock), change through the functions only. */
struct priority_queue {
    struct queue_options options;
    unsigned occupied; /* bit n: level n is not empty */
    unsigned streak;   /* consecutive pops above a waiting level */
    unsigned turn;     /* level from which the next one to pass is looked for */
    size_t messages;
    size_t bytes;
    size_t messages_high; /* high-water marks */
    size_t bytes_high;
    struct queue_level level[QUEUE_LEVELS_MAX];
};

/* Makes an empty queue. Returns false, and changes nothing, when an option is out of range (levels, bounds of 0, an
 * urgent share that leaves level 0 nothing). There is nothing to tear down; drain it first. */
bool queue_init(struct priority_queue *queue, const struct queue_options *options);

/* Appends `node` (zeroed before its first push) to `level` (below options.levels), accounted as `bytes`. `*dropped` is
 * set to the list of items that were dropped for it (oldest of the lowest level first), or NULL; they are the caller's
 * again, to complete and free. `dropped` may be NULL unless the policy is drop-oldest. Drop-oldest touches no level
 * above the new item's, and drops nothing when even that would not make enough room: then the new item is the dropped
 * one. A refusal is counted at each try: a caller that waits and tries again counts again. */
enum queue_verdict queue_push(struct priority_queue *queue, struct queue_node *node, unsigned level, size_t bytes,
                              struct queue_node **dropped);

/* Whether queue_push of such an item would be queued without dropping anything. Changes and counts nothing. */
bool queue_has_room(const struct priority_queue *queue, unsigned level, size_t bytes);

/* Takes the next item: the oldest of the highest occupied level; where fairness is bounded and it is a lower level's
 * turn, the oldest of that level. The turn goes round the levels that wait, from the lowest up, so that none of them
 * starves. NULL when empty. */
struct queue_node *queue_pop(struct priority_queue *queue);

/* The item that queue_pop would take now, left in place. NULL when empty. */
struct queue_node *queue_peek(const struct priority_queue *queue);

/* Withdraws an item from wherever it stands. Returns false when it is not queued (any more): somebody popped or
 * dropped it. `node` must have been pushed to this queue or be zeroed. */
bool queue_remove(struct priority_queue *queue, struct queue_node *node);

/* Empties the queue; returns everything as a list in the order of strict pops, counted as removed. */
struct queue_node *queue_drain(struct priority_queue *queue);

/* Sum over the levels of what was dropped (oldest and newest). */
uint64_t queue_dropped(const struct priority_queue *queue);

#endif
