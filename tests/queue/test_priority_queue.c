/* test_priority_queue.c: each rule of the priority queue by itself, then random operations against a plain array. */
#include "queue/priority_queue.h"

#include "random.h"
#include "test.h"

#include <string.h>

static struct queue_options options_of(unsigned levels, enum queue_policy policy, size_t messages, size_t bytes)
{
    return (struct queue_options){.levels = levels, .policy = policy, .messages_max = messages, .bytes_max = bytes};
}

static struct priority_queue open_queue(struct queue_options options)
{
    struct priority_queue queue;
    CHECK(queue_init(&queue, &options));
    return queue;
}

TEST(priority_queue, refuses_options_out_of_range)
{
    struct priority_queue queue;
    struct queue_options good = options_of(2, QUEUE_POLICY_FAIL, 1, 1);
    CHECK(queue_init(&queue, &good));
    struct queue_options bad = good;
    bad.levels = 0;
    CHECK(!queue_init(&queue, &bad));
    bad.levels = QUEUE_LEVELS_MAX + 1;
    CHECK(!queue_init(&queue, &bad));
    bad = good;
    bad.messages_max = 0;
    CHECK(!queue_init(&queue, &bad));
    bad = good;
    bad.bytes_max = 0;
    CHECK(!queue_init(&queue, &bad));
    bad = good;
    bad.urgent_messages = 1; /* nothing left for level 0 */
    CHECK(!queue_init(&queue, &bad));
    bad = good;
    bad.urgent_bytes = 1;
    CHECK(!queue_init(&queue, &bad));
    bad = good;
    bad.policy = (enum queue_policy) 4;
    CHECK(!queue_init(&queue, &bad));
    good.levels = QUEUE_LEVELS_MAX;
    CHECK(queue_init(&queue, &good));
}

TEST(priority_queue, is_first_in_first_out_within_a_level)
{
    struct priority_queue queue = open_queue(options_of(1, QUEUE_POLICY_FAIL, 10, 100));
    struct queue_node node[3] = {0};
    CHECK(!queue_pop(&queue));
    CHECK(!queue_peek(&queue));
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(queue_push(&queue, &node[i], 0, 1, NULL), QUEUE_QUEUED);
    }
    for (int i = 0; i < 3; i++) {
        CHECK(queue_peek(&queue) == &node[i]);
        CHECK(queue_pop(&queue) == &node[i]);
    }
    CHECK(!queue_pop(&queue));
}

TEST(priority_queue, takes_the_highest_level_first)
{
    struct priority_queue queue = open_queue(options_of(8, QUEUE_POLICY_FAIL, 100, 1000));
    struct queue_node node[8] = {0};
    static const unsigned order[8] = {3, 0, 7, 1, 6, 2, 5, 4};
    for (int i = 0; i < 8; i++) {
        CHECK_EQ(queue_push(&queue, &node[i], order[i], 1, NULL), QUEUE_QUEUED);
    }
    for (unsigned level = 8; level-- > 0;) {
        CHECK_EQ(queue_pop(&queue)->level, level);
    }
}

TEST(priority_queue, urgent_is_next_behind_a_hundred_thousand)
{
    enum { COUNT = 100000 };
    static struct queue_node node[COUNT + 1];
    struct priority_queue queue = open_queue(options_of(2, QUEUE_POLICY_FAIL, COUNT + 1, SIZE_MAX));
    for (int i = 0; i < COUNT; i++) {
        CHECK_EQ(queue_push(&queue, &node[i], 0, 10, NULL), QUEUE_QUEUED);
    }
    CHECK_EQ(queue_push(&queue, &node[COUNT], 1, 10, NULL), QUEUE_QUEUED);
    CHECK(queue_pop(&queue) == &node[COUNT]);
    CHECK(queue_pop(&queue) == &node[0]);
}

static void check_full(enum queue_policy policy)
{
    struct priority_queue queue = open_queue(options_of(2, policy, 2, 10));
    struct queue_node node[4] = {0};
    struct queue_node *dropped = &node[3];
    CHECK_EQ(queue_push(&queue, &node[0], 0, 4, &dropped), QUEUE_QUEUED);
    CHECK(!dropped);
    CHECK(!queue_has_room(&queue, 0, 7));
    CHECK(queue_has_room(&queue, 0, 6));
    CHECK_EQ(queue_push(&queue, &node[1], 0, 7, &dropped), QUEUE_FULL); /* bytes */
    CHECK_EQ(queue_push(&queue, &node[1], 1, 6, &dropped), QUEUE_QUEUED);
    CHECK_EQ(queue_push(&queue, &node[2], 1, 0, &dropped), QUEUE_FULL); /* messages */
    CHECK(!dropped);
    CHECK(!node[2].queued);
    CHECK_EQ(queue.messages, 2);
    CHECK_EQ(queue.bytes, 10);
    CHECK_EQ(queue.level[0].counts.refused, 1);
    CHECK_EQ(queue.level[1].counts.refused, 1);
    CHECK_EQ(queue_dropped(&queue), 0);
    CHECK(queue_pop(&queue) == &node[1]);
    CHECK_EQ(queue_push(&queue, &node[2], 1, 0, &dropped), QUEUE_QUEUED);
}

TEST(priority_queue, policy_block_answers_full)
{
    check_full(QUEUE_POLICY_BLOCK);
}

TEST(priority_queue, policy_fail_answers_full)
{
    check_full(QUEUE_POLICY_FAIL);
}

TEST(priority_queue, policy_drop_newest_drops_the_new_item)
{
    struct priority_queue queue = open_queue(options_of(2, QUEUE_POLICY_DROP_NEWEST, 1, 10));
    struct queue_node node[2] = {0};
    CHECK_EQ(queue_push(&queue, &node[0], 0, 1, NULL), QUEUE_QUEUED);
    CHECK_EQ(queue_push(&queue, &node[1], 1, 1, NULL), QUEUE_DROPPED_NEWEST);
    CHECK_EQ(queue.level[1].counts.dropped_newest, 1);
    CHECK_EQ(queue.level[1].counts.pushed, 0);
    CHECK_EQ(queue_dropped(&queue), 1);
    CHECK(queue_pop(&queue) == &node[0]);
    CHECK(!queue_pop(&queue));
}

TEST(priority_queue, policy_drop_oldest_takes_the_lowest_level_first)
{
    struct priority_queue queue = open_queue(options_of(3, QUEUE_POLICY_DROP_OLDEST, 4, 100));
    struct queue_node node[8] = {0};
    struct queue_node *dropped;
    static const unsigned level[4] = {1, 0, 0, 2};
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(queue_push(&queue, &node[i], level[i], 10, &dropped), QUEUE_QUEUED);
    }
    /* 75 more bytes at level 1: both of level 0 go, in order, then the one of level 1; level 2 is not touched. */
    CHECK_EQ(queue_push(&queue, &node[4], 1, 85, &dropped), QUEUE_QUEUED);
    CHECK(dropped == &node[1]);
    CHECK(dropped->next == &node[2]);
    CHECK(dropped->next->next == &node[0]);
    CHECK(!dropped->next->next->next);
    CHECK(!node[0].queued);
    CHECK_EQ(queue.level[0].counts.dropped_oldest, 2);
    CHECK_EQ(queue.level[1].counts.dropped_oldest, 1);
    CHECK_EQ(queue.level[2].counts.dropped_oldest, 0);
    CHECK_EQ(queue_dropped(&queue), 3);
    CHECK(queue_pop(&queue) == &node[3]);
    CHECK(queue_pop(&queue) == &node[4]);
}

TEST(priority_queue, policy_drop_oldest_leaves_higher_levels_alone)
{
    struct priority_queue queue = open_queue(options_of(2, QUEUE_POLICY_DROP_OLDEST, 2, 100));
    struct queue_node node[4] = {0};
    struct queue_node *dropped = &node[3];
    CHECK_EQ(queue_push(&queue, &node[0], 1, 10, &dropped), QUEUE_QUEUED);
    CHECK_EQ(queue_push(&queue, &node[1], 1, 10, &dropped), QUEUE_QUEUED);
    CHECK_EQ(queue_push(&queue, &node[2], 0, 10, &dropped), QUEUE_DROPPED_NEWEST);
    CHECK(!dropped);
    CHECK_EQ(queue.level[0].counts.dropped_newest, 1);
    CHECK_EQ(queue.messages, 2);
}

TEST(priority_queue, policy_drop_oldest_drops_nothing_in_vain)
{
    struct priority_queue queue = open_queue(options_of(2, QUEUE_POLICY_DROP_OLDEST, 10, 100));
    struct queue_node node[3] = {0};
    struct queue_node *dropped;
    CHECK_EQ(queue_push(&queue, &node[0], 1, 60, &dropped), QUEUE_QUEUED);
    CHECK_EQ(queue_push(&queue, &node[1], 0, 40, &dropped), QUEUE_QUEUED);
    /* Even without the other normal item it would not fit beside the urgent one. */
    CHECK_EQ(queue_push(&queue, &node[2], 0, 41, &dropped), QUEUE_DROPPED_NEWEST);
    CHECK(!dropped);
    CHECK_EQ(queue.messages, 2);
}

TEST(priority_queue, one_item_above_the_byte_bound_is_taken_when_nothing_waits)
{
    struct priority_queue queue = open_queue(options_of(2, QUEUE_POLICY_FAIL, 10, 100));
    struct queue_node node[2] = {0};
    CHECK_EQ(queue_push(&queue, &node[0], 0, 1000, NULL), QUEUE_QUEUED);
    CHECK_EQ(queue_push(&queue, &node[1], 0, 0, NULL), QUEUE_FULL);
    CHECK_EQ(queue_push(&queue, &node[1], 1, 1, NULL), QUEUE_FULL);
    CHECK(queue_pop(&queue) == &node[0]);
    CHECK_EQ(queue_push(&queue, &node[1], 0, 1, NULL), QUEUE_QUEUED);
    CHECK_EQ(queue_push(&queue, &node[0], 0, 1000, NULL), QUEUE_FULL);
    CHECK_EQ(queue_push(&queue, &node[0], 0, SIZE_MAX, NULL), QUEUE_FULL); /* no overflow */
}

TEST(priority_queue, a_share_is_kept_for_urgent)
{
    struct queue_options options = options_of(2, QUEUE_POLICY_FAIL, 4, 100);
    options.urgent_messages = 1;
    options.urgent_bytes = 40;
    struct priority_queue queue = open_queue(options);
    struct queue_node node[5] = {0};
    CHECK_EQ(queue_push(&queue, &node[0], 0, 50, NULL), QUEUE_QUEUED);
    CHECK_EQ(queue_push(&queue, &node[1], 0, 11, NULL), QUEUE_FULL); /* normal bytes: 60 */
    CHECK_EQ(queue_push(&queue, &node[1], 0, 5, NULL), QUEUE_QUEUED);
    CHECK_EQ(queue_push(&queue, &node[2], 0, 5, NULL), QUEUE_QUEUED);
    CHECK_EQ(queue_push(&queue, &node[3], 0, 0, NULL), QUEUE_FULL); /* normal messages: 3 */
    CHECK_EQ(queue_push(&queue, &node[3], 1, 41, NULL), QUEUE_FULL);
    CHECK_EQ(queue_push(&queue, &node[3], 1, 40, NULL), QUEUE_QUEUED);
    CHECK_EQ(queue_push(&queue, &node[4], 1, 0, NULL), QUEUE_FULL);
    CHECK_EQ(queue.bytes, 100);
}

TEST(priority_queue, one_normal_passes_after_64_urgent)
{
    enum { URGENT = 200, NORMAL = 5 };
    static struct queue_node node[URGENT + NORMAL];
    struct queue_options options = options_of(2, QUEUE_POLICY_FAIL, URGENT + NORMAL, SIZE_MAX);
    options.fairness = QUEUE_FAIRNESS_DEFAULT;
    struct priority_queue queue = open_queue(options);
    for (int i = 0; i < URGENT + NORMAL; i++) {
        CHECK_EQ(queue_push(&queue, &node[i], i < URGENT, 1, NULL), QUEUE_QUEUED);
    }
    for (int i = 1; i <= URGENT + 3; i++) { /* 65, 130 and 195 are normal; then the urgent ones are used up */
        struct queue_node *peeked = queue_peek(&queue);
        struct queue_node *popped = queue_pop(&queue);
        CHECK(popped == peeked);
        CHECK_MSG((popped->level == 0) == (i % 65 == 0), "pop %d is of level %u", i, popped->level);
    }
    CHECK_EQ(queue.messages, 2);
}

TEST(priority_queue, urgent_alone_uses_up_nobodys_patience)
{
    enum { URGENT = 100 };
    static struct queue_node node[URGENT + 2];
    struct queue_options options = options_of(2, QUEUE_POLICY_FAIL, URGENT + 2, SIZE_MAX);
    options.fairness = 4;
    struct priority_queue queue = open_queue(options);
    for (int i = 0; i < 50; i++) {
        CHECK_EQ(queue_push(&queue, &node[i], 1, 1, NULL), QUEUE_QUEUED);
        CHECK(queue_pop(&queue));
    }
    CHECK_EQ(queue_push(&queue, &node[URGENT], 0, 1, NULL), QUEUE_QUEUED);
    for (int i = 50; i < 60; i++) {
        CHECK_EQ(queue_push(&queue, &node[i], 1, 1, NULL), QUEUE_QUEUED);
    }
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(queue_pop(&queue)->level, 1);
    }
    CHECK_EQ(queue_pop(&queue)->level, 0);
}

TEST(priority_queue, strict_order_starves_and_says_so)
{
    enum { URGENT = 1000 };
    static struct queue_node node[URGENT + 1];
    struct priority_queue queue = open_queue(options_of(2, QUEUE_POLICY_FAIL, URGENT + 1, SIZE_MAX));
    CHECK_EQ(queue_push(&queue, &node[URGENT], 0, 1, NULL), QUEUE_QUEUED);
    for (int i = 0; i < URGENT; i++) {
        CHECK_EQ(queue_push(&queue, &node[i], 1, 1, NULL), QUEUE_QUEUED);
    }
    for (int i = 0; i < URGENT; i++) {
        CHECK_EQ(queue_pop(&queue)->level, 1);
    }
    CHECK_EQ(queue_pop(&queue)->level, 0);
}

TEST(priority_queue, no_level_between_starves)
{
    enum { EACH = 20 };
    static struct queue_node node[3 * EACH];
    struct queue_options options = options_of(3, QUEUE_POLICY_FAIL, 3 * EACH, SIZE_MAX);
    options.fairness = 2;
    struct priority_queue queue = open_queue(options);
    for (unsigned i = 0; i < 3 * EACH; i++) {
        CHECK_EQ(queue_push(&queue, &node[i], i % 3, 1, NULL), QUEUE_QUEUED);
    }
    static const unsigned expected[12] = {2, 2, 0, 2, 2, 1, 2, 2, 0, 2, 2, 1};
    for (int i = 0; i < 12; i++) {
        CHECK_EQ(queue_pop(&queue)->level, expected[i]);
    }
}

TEST(priority_queue, removes_from_anywhere)
{
    struct priority_queue queue = open_queue(options_of(2, QUEUE_POLICY_FAIL, 10, 100));
    struct queue_node node[5] = {0};
    struct queue_node never = {0};
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(queue_push(&queue, &node[i], 0, 3, NULL), QUEUE_QUEUED);
    }
    CHECK(!queue_remove(&queue, &never));
    CHECK(queue_remove(&queue, &node[2])); /* the middle, the first, the last */
    CHECK(!queue_remove(&queue, &node[2]));
    CHECK(queue_remove(&queue, &node[0]));
    CHECK(queue_remove(&queue, &node[4]));
    CHECK_EQ(queue.bytes, 6);
    CHECK_EQ(queue.level[0].counts.removed, 3);
    CHECK(queue_pop(&queue) == &node[1]);
    CHECK(!queue_remove(&queue, &node[1])); /* popped: too late */
    CHECK(queue_pop(&queue) == &node[3]);
    CHECK(!queue_pop(&queue));
    CHECK_EQ(queue_push(&queue, &node[2], 1, 1, NULL), QUEUE_QUEUED); /* a removed node can be pushed again */
    CHECK(queue_remove(&queue, &node[2]));                            /* the only one */
    CHECK(!queue_peek(&queue));
}

TEST(priority_queue, drains_everything_in_order)
{
    struct queue_options options = options_of(2, QUEUE_POLICY_FAIL, 10, 100);
    options.fairness = 1;
    struct priority_queue queue = open_queue(options);
    struct queue_node node[4] = {0};
    for (unsigned i = 0; i < 4; i++) {
        CHECK_EQ(queue_push(&queue, &node[i], i % 2, 1, NULL), QUEUE_QUEUED);
    }
    struct queue_node *list = queue_drain(&queue);
    static const int order[4] = {1, 3, 0, 2};
    for (int i = 0; i < 4; i++) {
        CHECK(list == &node[order[i]]);
        list = list->next;
    }
    CHECK(!list);
    CHECK_EQ(queue.messages, 0);
    CHECK_EQ(queue.bytes, 0);
    CHECK_EQ(queue.level[0].counts.removed + queue.level[1].counts.removed, 4);
    CHECK(!queue_drain(&queue));
}

TEST(priority_queue, keeps_high_water_marks)
{
    struct priority_queue queue = open_queue(options_of(1, QUEUE_POLICY_FAIL, 10, 100));
    struct queue_node node[3] = {0};
    CHECK_EQ(queue_push(&queue, &node[0], 0, 50, NULL), QUEUE_QUEUED);
    CHECK_EQ(queue_push(&queue, &node[1], 0, 20, NULL), QUEUE_QUEUED);
    CHECK(queue_pop(&queue));
    CHECK(queue_pop(&queue));
    CHECK_EQ(queue_push(&queue, &node[2], 0, 1, NULL), QUEUE_QUEUED);
    CHECK_EQ(queue.messages_high, 2);
    CHECK_EQ(queue.bytes_high, 70);
}

/* ---- model: a plain array in the order of arrival, every rule written out the slow way ---- */

#define MODEL_ITEMS 64

struct model {
    struct queue_options options;
    unsigned item[MODEL_ITEMS]; /* indices of nodes */
    size_t count;
    unsigned level[MODEL_ITEMS]; /* by node */
    size_t bytes[MODEL_ITEMS];   /* by node */
    bool in[MODEL_ITEMS];        /* by node */
    unsigned streak;
    unsigned turn;
    struct queue_level_counts counts[QUEUE_LEVELS_MAX];
    size_t messages_high;
    size_t bytes_high;
};

static size_t model_sum(const struct model *model, int level, size_t *messages)
{
    size_t bytes = 0;
    *messages = 0;
    for (size_t i = 0; i < model->count; i++) {
        if (level < 0 || model->level[model->item[i]] == (unsigned) level) {
            bytes += model->bytes[model->item[i]];
            (*messages)++;
        }
    }
    return bytes;
}

static bool model_fits(const struct model *model, unsigned level, size_t bytes)
{
    size_t messages;
    size_t sum = model_sum(model, -1, &messages);
    if (messages == 0) {
        return true;
    }
    if (messages + 1 > model->options.messages_max || sum + bytes > model->options.bytes_max) {
        return false;
    }
    sum = model_sum(model, 0, &messages);
    return level > 0 || (messages + 1 <= model->options.messages_max - model->options.urgent_messages &&
                         sum + bytes <= model->options.bytes_max - model->options.urgent_bytes);
}

/* Position of the oldest item of a level; -1 when there is none. */
static int model_oldest(const struct model *model, unsigned level)
{
    for (size_t i = 0; i < model->count; i++) {
        if (model->level[model->item[i]] == level) {
            return (int) i;
        }
    }
    return -1;
}

static unsigned model_take(struct model *model, size_t position)
{
    unsigned node = model->item[position];
    memmove(&model->item[position], &model->item[position + 1], (model->count - position - 1) * sizeof model->item[0]);
    model->count--;
    model->in[node] = false;
    return node;
}

static enum queue_verdict model_push(struct model *model, unsigned node, unsigned level, size_t bytes,
                                     unsigned *dropped, size_t *dropped_count)
{
    *dropped_count = 0;
    if (!model_fits(model, level, bytes)) {
        if (model->options.policy == QUEUE_POLICY_BLOCK || model->options.policy == QUEUE_POLICY_FAIL) {
            model->counts[level].refused++;
            return QUEUE_FULL;
        }
        struct model before = *model;
        while (model->options.policy == QUEUE_POLICY_DROP_OLDEST && !model_fits(model, level, bytes)) {
            unsigned lowest = 0;
            while (model_oldest(model, lowest) < 0) {
                lowest++;
            }
            if (lowest > level) {
                break;
            }
            model->counts[lowest].dropped_oldest++;
            dropped[(*dropped_count)++] = model_take(model, (size_t) model_oldest(model, lowest));
        }
        if (!model_fits(model, level, bytes)) {
            *model = before;
            *dropped_count = 0;
            model->counts[level].dropped_newest++;
            return QUEUE_DROPPED_NEWEST;
        }
    }
    model->item[model->count++] = node;
    model->level[node] = level;
    model->bytes[node] = bytes;
    model->in[node] = true;
    model->counts[level].pushed++;
    size_t messages;
    size_t sum = model_sum(model, -1, &messages);
    model->messages_high = messages > model->messages_high ? messages : model->messages_high;
    model->bytes_high = sum > model->bytes_high ? sum : model->bytes_high;
    return QUEUE_QUEUED;
}

static int model_pop(struct model *model)
{
    if (model->count == 0) {
        return -1;
    }
    unsigned highest = QUEUE_LEVELS_MAX - 1;
    while (model_oldest(model, highest) < 0) {
        highest--;
    }
    bool waiting[QUEUE_LEVELS_MAX] = {0};
    bool any = false;
    for (unsigned level = 0; level < highest; level++) {
        waiting[level] = model_oldest(model, level) >= 0;
        any = any || waiting[level];
    }
    unsigned level = highest;
    if (any && model->options.fairness > 0 && model->streak >= model->options.fairness) {
        level = model->turn % QUEUE_LEVELS_MAX;
        while (!waiting[level]) {
            level = (level + 1) % QUEUE_LEVELS_MAX;
        }
        model->turn = level + 1;
        model->streak = 0;
    } else {
        model->streak = any && model->options.fairness > 0 ? model->streak + 1 : 0;
    }
    model->counts[level].popped++;
    return (int) model_take(model, (size_t) model_oldest(model, level));
}

static void model_compare(const struct model *model, const struct priority_queue *queue)
{
    size_t messages;
    size_t bytes = model_sum(model, -1, &messages);
    CHECK_EQ(queue->messages, messages);
    CHECK_EQ(queue->bytes, bytes);
    CHECK_EQ(queue->messages_high, model->messages_high);
    CHECK_EQ(queue->bytes_high, model->bytes_high);
    CHECK(messages <= model->options.messages_max);
    CHECK(bytes <= model->options.bytes_max || messages == 1);
    uint64_t dropped = 0;
    for (unsigned level = 0; level < model->options.levels; level++) {
        const struct queue_level *actual = &queue->level[level];
        bytes = model_sum(model, (int) level, &messages);
        CHECK_EQ(actual->messages, messages);
        CHECK_EQ(actual->bytes, bytes);
        CHECK_EQ((queue->occupied >> level) & 1u, messages > 0);
        CHECK_MEM(&actual->counts, &model->counts[level], sizeof actual->counts);
        CHECK_EQ(actual->counts.pushed,
                 actual->counts.popped + actual->counts.removed + actual->counts.dropped_oldest + messages);
        dropped += actual->counts.dropped_oldest + actual->counts.dropped_newest;
    }
    CHECK_EQ(queue_dropped(queue), dropped);
}

static void model_step(struct random *random, struct model *model, struct priority_queue *queue,
                       struct queue_node *node)
{
    unsigned pick = (unsigned) random_below(random, MODEL_ITEMS);
    uint64_t action = random_below(random, 100);
    if (action < 50 && !model->in[pick]) {
        unsigned level = (unsigned) random_below(random, model->options.levels);
        size_t bytes = (size_t) random_below(random, 40);
        if (random_below(random, 50) == 0) {
            bytes += model->options.bytes_max;
        }
        unsigned expected[MODEL_ITEMS];
        size_t expected_count;
        CHECK_EQ(queue_has_room(queue, level, bytes), model_fits(model, level, bytes));
        enum queue_verdict verdict = model_push(model, pick, level, bytes, expected, &expected_count);
        struct queue_node *dropped;
        CHECK_EQ(queue_push(queue, &node[pick], level, bytes, &dropped), verdict);
        for (size_t i = 0; i < expected_count; i++) {
            CHECK(dropped == &node[expected[i]]);
            dropped = dropped->next;
        }
        CHECK(!dropped);
    } else if (action < 90) {
        struct queue_node *peeked = queue_peek(queue);
        struct queue_node *popped = queue_pop(queue);
        int expected = model_pop(model);
        CHECK(popped == (expected < 0 ? NULL : &node[expected]));
        CHECK(popped == peeked);
    } else if (action < 99) {
        bool in = model->in[pick];
        CHECK_EQ(queue_remove(queue, &node[pick]), in);
        for (size_t i = 0; in && i < model->count; i++) {
            if (model->item[i] == pick) {
                model->counts[model->level[pick]].removed++;
                model_take(model, i);
                break;
            }
        }
    } else if (random_below(random, 20) == 0) {
        struct queue_node *list = queue_drain(queue);
        for (unsigned level = QUEUE_LEVELS_MAX; level-- > 0;) {
            while (model_oldest(model, level) >= 0) {
                CHECK(list == &node[model_take(model, (size_t) model_oldest(model, level))]);
                model->counts[level].removed++;
                list = list->next;
            }
        }
        CHECK(!list);
        model->streak = 0;
    }
}

TEST(priority_queue, agrees_with_a_plain_array)
{
    struct random random = {test_seed()};
    int rounds = test_campaign() ? 4000 : 100;
    for (int round = 0; round < rounds; round++) {
        struct model model = {0};
        model.options.levels = 1 + (unsigned) random_below(&random, QUEUE_LEVELS_MAX);
        model.options.policy = (enum queue_policy) random_below(&random, 4);
        model.options.messages_max = 1 + (size_t) random_below(&random, 30);
        model.options.bytes_max = 1 + (size_t) random_below(&random, 500);
        model.options.urgent_messages = (size_t) random_below(&random, model.options.messages_max);
        model.options.urgent_bytes = (size_t) random_below(&random, model.options.bytes_max);
        model.options.fairness = (unsigned) random_below(&random, 5);
        struct priority_queue queue = open_queue(model.options);
        struct queue_node node[MODEL_ITEMS] = {0};
        for (int step = 0; step < 1000; step++) {
            model_step(&random, &model, &queue, node);
            model_compare(&model, &queue);
        }
    }
}
