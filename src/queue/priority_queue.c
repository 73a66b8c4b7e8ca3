/* priority_queue.c: bounded, intrusive priority queue; path, owners and invariants I1 to I5 in priority_queue.h.
 *
 * Every operation takes constant time: the levels are at most eight, `occupied` finds the highest and the lowest
 * occupied one, and each level is a doubly linked list whose sums are kept. Dropping takes time for what is dropped.
 */
#include "queue/priority_queue.h"

#include <assert.h>
#include <string.h>

#include "queue/bits.h"

/* The levels 0 … level - 1 as bits. */
static unsigned below(unsigned level)
{
    return (1u << level) - 1u;
}

bool queue_init(struct priority_queue *queue, const struct queue_options *options)
{
    if (options->levels < 1 || options->levels > QUEUE_LEVELS_MAX) {
        return false;
    }
    if (options->urgent_messages >= options->messages_max || options->urgent_bytes >= options->bytes_max) {
        return false;
    }
    if (options->policy > QUEUE_POLICY_DROP_OLDEST) {
        return false;
    }
    memset(queue, 0, sizeof *queue);
    queue->options = *options;
    return true;
}

/* Whether an item fits beside what stays: `messages` and `bytes` in all, `normal_*` of it at level 0 (I3, I4). */
static bool fits(const struct queue_options *options, unsigned level, size_t item, size_t messages, size_t bytes,
                 size_t normal_messages, size_t normal_bytes)
{
    if (messages == 0) {
        return true;
    }
    if (messages >= options->messages_max || bytes > options->bytes_max || item > options->bytes_max - bytes) {
        return false;
    }
    if (level > 0) {
        return true;
    }
    size_t bytes_max = options->bytes_max - options->urgent_bytes;
    return normal_messages < options->messages_max - options->urgent_messages && normal_bytes <= bytes_max &&
           item <= bytes_max - normal_bytes;
}

bool queue_has_room(const struct priority_queue *queue, unsigned level, size_t bytes)
{
    return fits(&queue->options, level, bytes, queue->messages, queue->bytes, queue->level[0].messages,
                queue->level[0].bytes);
}

/* Whether it would fit once everything at its level and below were dropped. */
static bool fits_after_drops(const struct priority_queue *queue, unsigned level, size_t bytes)
{
    size_t messages = 0;
    size_t sum = 0;
    for (unsigned above = level + 1; above < queue->options.levels; above++) {
        messages += queue->level[above].messages;
        sum += queue->level[above].bytes;
    }
    return fits(&queue->options, level, bytes, messages, sum, 0, 0);
}

static void append(struct priority_queue *queue, struct queue_node *node, unsigned number, size_t bytes)
{
    struct queue_level *level = &queue->level[number];
    node->next = NULL;
    node->previous = level->last;
    node->bytes = bytes;
    node->level = number;
    node->queued = true;
    if (level->last) {
        level->last->next = node;
    } else {
        level->first = node;
        queue->occupied |= 1u << number; /* I1 */
    }
    level->last = node;
    level->messages++;
    level->bytes += bytes;
    queue->messages++;
    queue->bytes += bytes;
    level->counts.pushed++;
    if (queue->messages > queue->messages_high) {
        queue->messages_high = queue->messages;
    }
    if (queue->bytes > queue->bytes_high) {
        queue->bytes_high = queue->bytes;
    }
}

static void take_out(struct priority_queue *queue, struct queue_node *node)
{
    struct queue_level *level = &queue->level[node->level];
    if (node->previous) {
        node->previous->next = node->next;
    } else {
        level->first = node->next;
    }
    if (node->next) {
        node->next->previous = node->previous;
    } else {
        level->last = node->previous;
    }
    if (!level->first) {
        queue->occupied &= ~(1u << node->level); /* I1 */
    }
    level->messages--;
    level->bytes -= node->bytes;
    queue->messages--;
    queue->bytes -= node->bytes;
    node->next = NULL;
    node->previous = NULL;
    node->queued = false;
}

/* Drops the oldest of the lowest occupied level until the item fits; the caller has made sure that it will. */
static struct queue_node *make_room(struct priority_queue *queue, unsigned level, size_t bytes)
{
    struct queue_node *list = NULL;
    struct queue_node **end = &list;
    while (!queue_has_room(queue, level, bytes)) {
        unsigned lowest = bits_lowest(queue->occupied);
        assert(lowest <= level);
        struct queue_node *oldest = queue->level[lowest].first;
        take_out(queue, oldest);
        queue->level[lowest].counts.dropped_oldest++;
        *end = oldest;
        end = &oldest->next;
    }
    return list;
}

enum queue_verdict queue_push(struct priority_queue *queue, struct queue_node *node, unsigned level, size_t bytes,
                              struct queue_node **dropped)
{
    assert(level < queue->options.levels);
    assert(!node->queued);
    struct queue_level_counts *counts = &queue->level[level].counts;
    struct queue_node *made_room = NULL;
    enum queue_verdict verdict = QUEUE_QUEUED;
    if (!queue_has_room(queue, level, bytes)) {
        switch (queue->options.policy) {
        case QUEUE_POLICY_BLOCK:
        case QUEUE_POLICY_FAIL:
            counts->refused++;
            verdict = QUEUE_FULL;
            break;
        case QUEUE_POLICY_DROP_NEWEST:
            counts->dropped_newest++;
            verdict = QUEUE_DROPPED_NEWEST;
            break;
        case QUEUE_POLICY_DROP_OLDEST:
            if (fits_after_drops(queue, level, bytes)) {
                assert(dropped);
                made_room = make_room(queue, level, bytes);
            } else {
                counts->dropped_newest++;
                verdict = QUEUE_DROPPED_NEWEST;
            }
            break;
        }
    }
    if (verdict == QUEUE_QUEUED) {
        append(queue, node, level, bytes);
    }
    if (dropped) {
        *dropped = made_room;
    }
    return verdict;
}

/* The level whose turn it is; the queue is not empty. */
static unsigned next_level(const struct priority_queue *queue)
{
    unsigned highest = bits_highest(queue->occupied);
    unsigned waiting = queue->occupied & below(highest);
    if (queue->options.fairness == 0 || waiting == 0 || queue->streak < queue->options.fairness) {
        return highest;
    }
    unsigned from_turn = waiting & ~below(queue->turn);
    return bits_lowest(from_turn ? from_turn : waiting);
}

struct queue_node *queue_peek(const struct priority_queue *queue)
{
    return queue->occupied ? queue->level[next_level(queue)].first : NULL;
}

struct queue_node *queue_pop(struct priority_queue *queue)
{
    if (!queue->occupied) {
        return NULL;
    }
    unsigned level = next_level(queue);
    if (queue->occupied >> (level + 1)) {
        queue->streak = 0; /* a lower one has passed */
        queue->turn = level + 1;
    } else if (queue->options.fairness && (queue->occupied & below(level))) {
        queue->streak++;
    } else {
        queue->streak = 0; /* nobody waits below */
    }
    struct queue_node *node = queue->level[level].first;
    take_out(queue, node);
    queue->level[level].counts.popped++;
    return node;
}

bool queue_remove(struct priority_queue *queue, struct queue_node *node)
{
    if (!node->queued) {
        return false;
    }
    take_out(queue, node);
    queue->level[node->level].counts.removed++;
    return true;
}

struct queue_node *queue_drain(struct priority_queue *queue)
{
    struct queue_node *list = NULL;
    struct queue_node **end = &list;
    while (queue->occupied) {
        struct queue_node *node = queue->level[bits_highest(queue->occupied)].first;
        queue_remove(queue, node);
        *end = node;
        end = &node->next;
    }
    queue->streak = 0;
    return list;
}

uint64_t queue_dropped(const struct priority_queue *queue)
{
    uint64_t dropped = 0;
    for (unsigned number = 0; number < queue->options.levels; number++) {
        const struct queue_level_counts *counts = &queue->level[number].counts;
        dropped += counts->dropped_oldest + counts->dropped_newest;
    }
    return dropped;
}
