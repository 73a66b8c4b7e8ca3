/* test_pool_waiter.c: waiting for memory, on a single thread: who is called, when, and in which order. */
#include "queue/buffer_pool.h"

#include "pool_support.h"
#include "test.h"

struct waiting {
    struct pool_waiter waiter; /* first: a callback gets it */
    struct buffer_pool *pool;
    int calls;
    int order; /* of the last call, over all of a test */
    struct buffer *then_release;
    bool again;
    bool cancel;
    struct buffer *got;
};

static int order_of_calls;

static void on_memory(struct pool_waiter *waiter, void *context)
{
    struct waiting *waiting = context;
    CHECK(waiter == &waiting->waiter);
    waiting->calls++;
    waiting->order = ++order_of_calls;
    if (waiting->then_release) {
        buffer_release(waiting->then_release, NULL);
        waiting->then_release = NULL;
    }
    if (waiting->again) {
        waiting->again = false;
        CHECK(pool_wait(waiting->pool, waiter, 1 << 20, false));
    }
    if (waiting->cancel) {
        pool_cancel(waiting->pool, waiter);
    }
}

static void waiting_init(struct waiting *waiting, struct buffer_pool *pool)
{
    *waiting = (struct waiting){.pool = pool};
    waiting->waiter.callback = on_memory;
    waiting->waiter.context = waiting;
}

/* A pool of 2 MiB of which `*charged` bytes are taken, leaving nothing. */
static struct buffer_pool *open_full_pool(size_t urgent_share, size_t *charged)
{
    struct buffer_pool *pool = open_pool(2 << 20, urgent_share, 0);
    *charged = (2 << 20) - statistics_of(pool).bytes;
    CHECK_EQ(pool_charge(pool, *charged, true), POOL_OK);
    return pool;
}

static void close_full_pool(struct buffer_pool *pool, size_t charged)
{
    CHECK_EQ(statistics_of(pool).waiters, 0);
    CHECK_EQ(statistics_of(pool).bytes_charged, charged);
    pool_uncharge(pool, charged);
    CHECK_EQ(pool_close(pool), 0);
}

TEST(pool_waiter, is_called_exactly_once_when_there_is_enough)
{
    size_t charged;
    struct buffer_pool *pool = open_full_pool(0, &charged);
    struct waiting waiting;
    waiting_init(&waiting, pool);
    CHECK(pool_wait_charge(pool, &waiting.waiter, 1000, false));
    CHECK_EQ(statistics_of(pool).waiters, 1);
    pool_uncharge(pool, 999);
    CHECK_EQ(waiting.calls, 0); /* not enough */
    pool_wake(pool);
    CHECK_EQ(waiting.calls, 0);
    pool_uncharge(pool, 1);
    CHECK_EQ(waiting.calls, 1);
    pool_uncharge(pool, 5000);
    pool_wake(pool);
    CHECK_EQ(waiting.calls, 1); /* never again */
    CHECK(!pool_cancel(pool, &waiting.waiter));
    close_full_pool(pool, charged - 6000);
}

TEST(pool_waiter, is_not_registered_when_the_memory_is_there)
{
    size_t charged;
    struct buffer_pool *pool = open_full_pool(0, &charged);
    struct waiting waiting;
    waiting_init(&waiting, pool);
    pool_uncharge(pool, 10000);
    CHECK(!pool_wait(pool, &waiting.waiter, 5000, false));
    CHECK(!pool_wait_charge(pool, &waiting.waiter, 10000, false));
    CHECK(pool_wait_charge(pool, &waiting.waiter, 10001, false));
    CHECK(pool_cancel(pool, &waiting.waiter));
    pool_uncharge(pool, 10000);
    CHECK_EQ(waiting.calls, 0);
    close_full_pool(pool, charged - 20000);
}

TEST(pool_waiter, is_served_by_what_the_caches_hold)
{
    size_t charged;
    struct buffer_pool *pool = open_full_pool(0, &charged);
    pool_uncharge(pool, 1 << 20);
    struct pool_cache *cache = pool_cache_open(pool);
    struct waiting waiting;
    waiting_init(&waiting, pool);
    struct buffer *one = get(pool, cache, 200000);
    struct buffer *two = get(pool, cache, 200000);
    struct buffer *three = get(pool, cache, 200000);
    buffer_release(one, cache); /* one is kept: 262 KiB are free, 462 KiB with what is cached */
    CHECK(statistics_of(pool).bytes_cached > 0);
    CHECK(!pool_wait_charge(pool, &waiting.waiter, 400000, false)); /* flushed, and enough */
    CHECK_EQ(statistics_of(pool).bytes_cached, 0);
    CHECK(pool_wait_charge(pool, &waiting.waiter, 600000, false));
    buffer_release(two, cache); /* while somebody waits no cache keeps anything */
    CHECK_EQ(statistics_of(pool).bytes_cached, 0);
    CHECK_EQ(waiting.calls, 1);
    buffer_release(three, cache); /* nobody waits any more */
    CHECK(statistics_of(pool).bytes_cached > 0);
    pool_cache_close(cache);
    close_full_pool(pool, charged - (1 << 20));
}

TEST(pool_waiter, cancelled_is_never_called)
{
    size_t charged;
    struct buffer_pool *pool = open_full_pool(0, &charged);
    struct waiting waiting[3];
    struct pool_waiter zeroed = {0};
    CHECK(!pool_cancel(pool, &zeroed));
    for (int i = 0; i < 3; i++) {
        waiting_init(&waiting[i], pool);
        CHECK(pool_wait_charge(pool, &waiting[i].waiter, 100, i == 1));
    }
    CHECK(pool_cancel(pool, &waiting[0].waiter));
    CHECK(!pool_cancel(pool, &waiting[0].waiter));
    CHECK(pool_cancel(pool, &waiting[2].waiter));
    pool_uncharge(pool, 1000);
    CHECK_EQ(waiting[0].calls, 0);
    CHECK_EQ(waiting[1].calls, 1);
    CHECK_EQ(waiting[2].calls, 0);
    close_full_pool(pool, charged - 1000);
}

TEST(pool_waiter, urgent_first_then_in_turn_as_far_as_it_suffices)
{
    size_t charged;
    struct buffer_pool *pool = open_full_pool(0, &charged);
    struct waiting waiting[5];
    static const bool urgent[5] = {false, false, true, false, true};
    for (int i = 0; i < 5; i++) {
        waiting_init(&waiting[i], pool);
        CHECK(pool_wait_charge(pool, &waiting[i].waiter, 100, urgent[i]));
    }
    order_of_calls = 0;
    pool_uncharge(pool, 399); /* enough for three, promised each but once */
    CHECK_EQ(order_of_calls, 3);
    CHECK_EQ(waiting[2].order, 1);
    CHECK_EQ(waiting[4].order, 2);
    CHECK_EQ(waiting[0].order, 3);
    CHECK_EQ(pool_charge(pool, 300, false), POOL_OK); /* those three take it */
    CHECK_EQ(order_of_calls, 3);
    pool_uncharge(pool, 1); /* 100 are free: one more */
    CHECK_EQ(waiting[1].order, 4);
    CHECK_EQ(waiting[3].calls, 0);
    CHECK(pool_cancel(pool, &waiting[3].waiter));
    close_full_pool(pool, charged - 100);
}

TEST(pool_waiter, normal_ones_are_not_called_for_the_urgent_share)
{
    size_t charged;
    struct buffer_pool *pool = open_full_pool(1 << 18, &charged);
    struct waiting normal;
    struct waiting urgent;
    waiting_init(&normal, pool);
    waiting_init(&urgent, pool);
    CHECK(pool_wait_charge(pool, &normal.waiter, 100, false));
    CHECK(pool_wait_charge(pool, &urgent.waiter, 100, true));
    pool_uncharge(pool, 1 << 18);
    CHECK_EQ(urgent.calls, 1);
    CHECK_EQ(normal.calls, 0);
    pool_uncharge(pool, 99);
    CHECK_EQ(normal.calls, 0);
    pool_uncharge(pool, 1);
    CHECK_EQ(normal.calls, 1);
    close_full_pool(pool, charged - (1 << 18) - 100);
}

TEST(pool_waiter, one_that_asks_for_much_holds_up_nobody)
{
    size_t charged;
    struct buffer_pool *pool = open_full_pool(0, &charged);
    struct waiting much;
    struct waiting little;
    waiting_init(&much, pool);
    waiting_init(&little, pool);
    CHECK(pool_wait_charge(pool, &much.waiter, 1 << 20, false));
    CHECK(pool_wait_charge(pool, &little.waiter, 100, false));
    pool_uncharge(pool, 100);
    CHECK_EQ(little.calls, 1);
    CHECK_EQ(much.calls, 0);
    pool_uncharge(pool, 1 << 20);
    CHECK_EQ(much.calls, 1);
    close_full_pool(pool, charged - 100 - (1 << 20));
}

TEST(pool_waiter, the_others_still_wait_when_one_cancels)
{
    size_t charged;
    struct buffer_pool *pool = open_full_pool(0, &charged);
    struct waiting waiting[3];
    static const size_t asked[3] = {100, 1 << 20, 50};
    for (int i = 0; i < 3; i++) {
        waiting_init(&waiting[i], pool);
        CHECK(pool_wait_charge(pool, &waiting[i].waiter, asked[i], i == 1));
    }
    CHECK(pool_cancel(pool, &waiting[2].waiter));
    pool_uncharge(pool, 100);
    CHECK_EQ(waiting[0].calls, 1);
    pool_uncharge(pool, 1 << 20);
    CHECK_EQ(waiting[1].calls, 1);
    CHECK_EQ(waiting[2].calls, 0);
    close_full_pool(pool, charged - 100 - (1 << 20));
}

TEST(pool_waiter, a_chance_not_taken_is_passed_on)
{
    size_t charged;
    struct buffer_pool *pool = open_full_pool(0, &charged);
    struct waiting waiting[4];
    for (int i = 0; i < 4; i++) {
        waiting_init(&waiting[i], pool);
        CHECK(pool_wait_charge(pool, &waiting[i].waiter, 100, false));
    }
    pool_uncharge(pool, 100);
    CHECK_EQ(waiting[0].calls, 1);
    CHECK_EQ(waiting[1].calls, 0);
    pool_wake(pool); /* the first does not want it */
    CHECK_EQ(waiting[1].calls, 1);
    CHECK_EQ(waiting[2].calls, 0);
    pool_cancel(pool, &waiting[1].waiter); /* the second closes: cancelling passes it on */
    CHECK_EQ(waiting[2].calls, 1);
    CHECK_EQ(waiting[3].calls, 0);
    CHECK(pool_cancel(pool, &waiting[3].waiter));
    close_full_pool(pool, charged - 100);
}

TEST(pool_waiter, who_takes_less_than_promised_leaves_the_rest_to_the_next)
{
    size_t charged;
    struct buffer_pool *pool = open_full_pool(0, &charged);
    struct waiting waiting[2];
    for (int i = 0; i < 2; i++) {
        waiting_init(&waiting[i], pool);
    }
    CHECK(pool_wait_charge(pool, &waiting[0].waiter, 1000, false));
    CHECK(pool_wait_charge(pool, &waiting[1].waiter, 600, false));
    pool_uncharge(pool, 1000);
    CHECK_EQ(waiting[0].calls, 1);
    CHECK_EQ(waiting[1].calls, 0);
    CHECK_EQ(pool_charge(pool, 400, false), POOL_OK);
    CHECK_EQ(waiting[1].calls, 1);
    close_full_pool(pool, charged - 600);
}

TEST(pool_waiter, may_register_cancel_and_release_inside_its_callback)
{
    size_t charged;
    struct buffer_pool *pool = open_full_pool(0, &charged);
    pool_uncharge(pool, 10000);
    struct waiting waiting[3];
    for (int i = 0; i < 3; i++) {
        waiting_init(&waiting[i], pool);
    }
    struct buffer *buffer = get(pool, NULL, 8192);
    CHECK(pool_wait_charge(pool, &waiting[0].waiter, 9000, false));
    CHECK(pool_wait_charge(pool, &waiting[1].waiter, 9500, false));
    waiting[0].then_release = buffer; /* inside the callback: serves the second, which is called after it */
    waiting[1].again = true;          /* inside the callback: waits for a megabyte */
    waiting[1].cancel = false;
    order_of_calls = 0;
    pool_uncharge(pool, 9000);
    CHECK_EQ(waiting[0].calls, 1);
    CHECK_EQ(waiting[1].calls, 1);
    CHECK_EQ(waiting[1].order, 2);
    CHECK(waiting[1].waiter.listed);
    waiting[1].cancel = true; /* inside the callback: returns at once */
    pool_uncharge(pool, 1 << 20);
    CHECK_EQ(waiting[1].calls, 2);
    close_full_pool(pool, charged - 19000 - (1 << 20));
}
