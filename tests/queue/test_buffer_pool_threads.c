/* test_buffer_pool_threads.c: several threads take, pass on, free, wait and cancel at the same time.
 *
 * Whatever they do: no two hold the same buffer, the ceiling holds at every instant, each registration leads to exactly
 * one call or one cancellation, and nobody waits for ever (a lost wake-up hangs the test until its time limit). */
#include "queue/buffer_pool.h"
#include "queue/thread.h"

#include "random.h"
#include "test.h"

#include <string.h>

#define THREADS   4
#define MAILBOXES 16
#define HELD      24
#define CEILING   ((size_t) 1 << 20)

struct arena {
    struct buffer_pool *pool;
    size_t largest;        /* message */
    _Atomic size_t in_use; /* bytes of capacity that the threads hold: counted by the test itself */
    _Atomic(struct buffer *) mailbox[MAILBOXES];
    _Atomic uint64_t gets;
    _Atomic uint64_t waits;
    int steps;

    mutex gate; /* all start together */
    condition opened;
    unsigned arrived;
};

struct worker {
    struct arena *arena;
    struct pool_cache *cache;
    struct random random;
    struct buffer *held[HELD];
    thread handle;

    struct pool_waiter waiter;
    mutex lock;
    condition called;
    int calls;    /* under the lock */
    int expected; /* calls so far that had to come */
};

static void run_workers(struct arena *arena, struct worker *workers, void (*run)(void *))
{
    mutex_init(&arena->gate);
    condition_init(&arena->opened);
    arena->arrived = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.arena = arena, .random = {test_seed() + i}};
        mutex_init(&workers[i].lock);
        condition_init(&workers[i].called);
        CHECK_EQ(thread_start(&workers[i].handle, "worker", run, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        thread_join(workers[i].handle);
        mutex_destroy(&workers[i].lock);
        condition_destroy(&workers[i].called);
    }
    condition_destroy(&arena->opened);
    mutex_destroy(&arena->gate);
}

static void start_together(struct arena *arena)
{
    mutex_lock(&arena->gate);
    if (++arena->arrived == THREADS) {
        condition_broadcast(&arena->opened);
    }
    while (arena->arrived < THREADS) {
        condition_wait(&arena->opened, &arena->gate);
    }
    mutex_unlock(&arena->gate);
}

static struct buffer_pool *open_pool(size_t ceiling)
{
    struct pool_options options = {.ceiling = ceiling, .urgent_share = POOL_SHARE_DEFAULT, .header_bytes = 16};
    struct buffer_pool *pool = pool_open(&options);
    CHECK(pool);
    return pool;
}

/* The stamp is in the header, at both ends of the data and in the middle: a second owner would overwrite it. */
static void stamp(struct buffer *buffer, uint64_t value)
{
    memcpy(buffer_header(buffer), &value, sizeof value);
    buffer_set_length(buffer, buffer->capacity);
    unsigned char *data = buffer_data(buffer);
    data[0] = data[buffer->capacity / 2] = data[buffer->capacity - 1] = (unsigned char) value;
}

static void check_stamp(struct buffer *buffer)
{
    uint64_t value;
    memcpy(&value, buffer_header(buffer), sizeof value);
    const unsigned char *data = buffer_data(buffer);
    CHECK_EQ(data[0], (unsigned char) value);
    CHECK_EQ(data[buffer->capacity / 2], (unsigned char) value);
    CHECK_EQ(data[buffer->capacity - 1], (unsigned char) value);
    CHECK_EQ(data[buffer->capacity], 0);
}

static void give(struct worker *worker, struct buffer *buffer)
{
    check_stamp(buffer);
    atomic_fetch_sub_explicit(&worker->arena->in_use, buffer->capacity, memory_order_relaxed);
    buffer_release(buffer, random_below(&worker->random, 8) ? worker->cache : NULL);
}

static bool take(struct worker *worker, size_t size, bool urgent, struct buffer **buffer)
{
    struct arena *arena = worker->arena;
    if (pool_get(arena->pool, random_below(&worker->random, 8) ? worker->cache : NULL, size, urgent, buffer) !=
        POOL_OK) {
        return false;
    }
    size_t in_use = atomic_fetch_add_explicit(&arena->in_use, (*buffer)->capacity, memory_order_relaxed);
    CHECK(in_use + (*buffer)->capacity <= CEILING);
    CHECK_EQ((*buffer)->refs, 1);
    stamp(*buffer, random_next(&worker->random));
    atomic_fetch_add_explicit(&arena->gets, 1, memory_order_relaxed);
    return true;
}

/* Puts a buffer into a mailbox, and frees what was in it: another thread's, most of the time. */
static void pass_on(struct worker *worker, struct buffer *buffer)
{
    unsigned which = (unsigned) random_below(&worker->random, MAILBOXES);
    struct buffer *other = atomic_exchange_explicit(&worker->arena->mailbox[which], buffer, memory_order_acq_rel);
    if (other) {
        give(worker, other);
    }
}

static void give_everything(struct worker *worker)
{
    for (int i = 0; i < HELD; i++) {
        if (worker->held[i]) {
            give(worker, worker->held[i]);
            worker->held[i] = NULL;
        }
    }
    for (int i = 0; i < MAILBOXES; i++) {
        struct buffer *other = atomic_exchange_explicit(&worker->arena->mailbox[i], NULL, memory_order_acq_rel);
        if (other) {
            give(worker, other);
        }
    }
}

static size_t some_size(struct worker *worker)
{
    return (size_t) random_below(&worker->random, worker->arena->largest) >> random_below(&worker->random, 10);
}

/* ---- passing across ---- */

static void run_passing(void *argument)
{
    struct worker *worker = argument;
    worker->cache = pool_cache_open(worker->arena->pool);
    start_together(worker->arena);
    for (int step = 0; step < worker->arena->steps; step++) {
        unsigned which = (unsigned) random_below(&worker->random, HELD);
        struct buffer *buffer = worker->held[which];
        if (!buffer) {
            if (!take(worker, some_size(worker), random_below(&worker->random, 4) == 0, &worker->held[which])) {
                worker->held[which] = NULL;
            }
        } else if (random_below(&worker->random, 2)) {
            worker->held[which] = NULL;
            pass_on(worker, buffer);
        } else {
            worker->held[which] = NULL;
            give(worker, buffer);
        }
    }
    give_everything(worker);
    pool_cache_close(worker->cache);
}

TEST_TIMEOUT(buffer_pool_threads, pass_buffers_across_under_the_ceiling, 300)
{
    struct arena arena = {.pool = open_pool(CEILING), .largest = 400000, .steps = test_campaign() ? 1000000 : 100000};
    struct worker workers[THREADS];
    struct pool_statistics statistics;
    do {
        run_workers(&arena, workers, run_passing);
        pool_statistics(arena.pool, &statistics);
    } while (statistics.refusals == 0); /* until it was tight */
    CHECK_EQ(statistics.buffers_out, 0);
    CHECK_EQ(statistics.bytes, statistics.bytes_own);
    CHECK(statistics.bytes_high <= CEILING);
    uint64_t gets = 0;
    for (unsigned i = 0; i <= POOL_CLASSES; i++) {
        gets += statistics.gets[i];
    }
    CHECK_EQ(gets, arena.gets);
    CHECK_EQ(pool_close(arena.pool), 0);
}

/* ---- waiting ---- */

static void on_memory(struct pool_waiter *waiter, void *context)
{
    struct worker *worker = context;
    CHECK(waiter == &worker->waiter);
    mutex_lock(&worker->lock);
    worker->calls++;
    condition_signal(&worker->called);
    mutex_unlock(&worker->lock);
}

/* Registers; then waits for the call, or cancels. */
static void wait_or_cancel(struct worker *worker, size_t size, bool urgent)
{
    if (!pool_wait(worker->arena->pool, &worker->waiter, size, urgent)) {
        return;
    }
    atomic_fetch_add_explicit(&worker->arena->waits, 1, memory_order_relaxed);
    if (random_below(&worker->random, 4) == 0) {
        worker->expected += pool_cancel(worker->arena->pool, &worker->waiter) ? 0 : 1;
        mutex_lock(&worker->lock);
        CHECK_EQ(worker->calls, worker->expected);
        mutex_unlock(&worker->lock);
        return;
    }
    worker->expected++;
    mutex_lock(&worker->lock);
    while (worker->calls < worker->expected) {
        condition_wait(&worker->called, &worker->lock);
    }
    CHECK_EQ(worker->calls, worker->expected);
    mutex_unlock(&worker->lock);
}

static void run_waiting(void *argument)
{
    struct worker *worker = argument;
    worker->cache = pool_cache_open(worker->arena->pool);
    start_together(worker->arena);
    worker->waiter.callback = on_memory;
    worker->waiter.context = worker;
    for (int step = 0; step < worker->arena->steps; step++) {
        unsigned which = (unsigned) random_below(&worker->random, HELD);
        if (worker->held[which]) {
            pass_on(worker, worker->held[which]);
            worker->held[which] = NULL;
        }
        size_t size = some_size(worker);
        bool urgent = random_below(&worker->random, 4) == 0;
        while (!take(worker, size, urgent, &worker->held[which])) {
            worker->held[which] = NULL;
            give_everything(worker); /* else all could wait for each other */
            wait_or_cancel(worker, size, urgent);
        }
    }
    pool_cancel(worker->arena->pool, &worker->waiter);
    give_everything(worker);
    pool_cache_close(worker->cache);
    mutex_lock(&worker->lock);
    CHECK_EQ(worker->calls, worker->expected); /* not once more */
    mutex_unlock(&worker->lock);
}

TEST_TIMEOUT(buffer_pool_threads, wait_for_memory_and_are_called_exactly_once, 300)
{
    struct arena arena = {.pool = open_pool(CEILING), .largest = 700000, .steps = test_campaign() ? 500000 : 10000};
    struct worker workers[THREADS];
    do {
        run_workers(&arena, workers, run_waiting);
    } while (arena.waits == 0); /* until somebody had to: on a busy machine they may have run one by one */
    struct pool_statistics statistics;
    pool_statistics(arena.pool, &statistics);
    CHECK_EQ(statistics.waiters, 0);
    CHECK_EQ(statistics.buffers_out, 0);
    CHECK_EQ(statistics.bytes, statistics.bytes_own);
    CHECK(statistics.bytes_high <= CEILING);
    CHECK_EQ(pool_close(arena.pool), 0);
}

/* ---- cancelling a callback that runs ---- */

struct cancelling {
    struct buffer_pool *pool;
    struct pool_waiter waiter;
    mutex lock;
    condition changed;
    bool inside;     /* the callback runs */
    bool cancelling; /* the other thread is about to cancel */
    _Atomic bool left;
    _Atomic bool cancelled;
};

static void on_memory_slowly(struct pool_waiter *waiter, void *context)
{
    struct cancelling *test = context;
    CHECK(waiter == &test->waiter);
    mutex_lock(&test->lock);
    test->inside = true;
    condition_broadcast(&test->changed);
    while (!test->cancelling) {
        condition_wait(&test->changed, &test->lock);
    }
    /* Room for a cancel that does not wait to show itself; the outcome does not rest on it. */
    uint64_t end = clock_deadline(30);
    while (condition_wait_until(&test->changed, &test->lock, end)) {}
    mutex_unlock(&test->lock);
    CHECK(!atomic_load(&test->cancelled));
    atomic_store(&test->left, true);
}

static void run_uncharge(void *argument)
{
    struct cancelling *test = argument;
    pool_uncharge(test->pool, 1000);
}

TEST(buffer_pool_threads, cancel_waits_for_a_callback_that_runs)
{
    struct cancelling test = {.pool = open_pool(CEILING)};
    mutex_init(&test.lock);
    condition_init(&test.changed);
    struct pool_statistics statistics;
    pool_statistics(test.pool, &statistics);
    size_t charged = CEILING - statistics.bytes;
    CHECK_EQ(pool_charge(test.pool, charged, true), POOL_OK);
    test.waiter.callback = on_memory_slowly;
    test.waiter.context = &test;
    CHECK(pool_wait_charge(test.pool, &test.waiter, 1000, true));
    thread other;
    CHECK_EQ(thread_start(&other, "uncharge", run_uncharge, &test), 0);
    mutex_lock(&test.lock);
    while (!test.inside) {
        condition_wait(&test.changed, &test.lock);
    }
    test.cancelling = true;
    condition_broadcast(&test.changed);
    mutex_unlock(&test.lock);
    CHECK(!pool_cancel(test.pool, &test.waiter)); /* too late to prevent it */
    atomic_store(&test.cancelled, true);
    CHECK(atomic_load(&test.left));
    thread_join(other);
    pool_uncharge(test.pool, charged - 1000);
    CHECK_EQ(pool_close(test.pool), 0);
    condition_destroy(&test.changed);
    mutex_destroy(&test.lock);
}

/* ---- closing ---- */

struct late {
    struct buffer *shared; /* a reference for each thread */
    struct buffer *own[50];
    thread handle;
};

static void run_late(void *argument)
{
    struct late *late = argument;
    for (int i = 0; i < 50; i++) {
        check_stamp(late->own[i]);
        buffer_release(late->own[i], NULL);
    }
    check_stamp(late->shared);
    buffer_release(late->shared, NULL);
}

TEST(buffer_pool_threads, the_last_release_after_the_close_takes_the_pool_along)
{
    int rounds = test_campaign() ? 5000 : 100;
    for (int round = 0; round < rounds; round++) {
        struct buffer_pool *pool = open_pool(POOL_CEILING_DEFAULT);
        struct late late[THREADS];
        struct buffer *shared;
        CHECK_EQ(pool_get(pool, NULL, 1000, false, &shared), POOL_OK);
        stamp(shared, 1);
        for (unsigned i = 0; i < THREADS; i++) {
            late[i].shared = shared;
            if (i > 0) {
                buffer_retain(shared);
            }
            for (unsigned j = 0; j < 50; j++) {
                CHECK_EQ(pool_get(pool, NULL, j * 100, false, &late[i].own[j]), POOL_OK);
                stamp(late[i].own[j], j);
            }
        }
        for (unsigned i = 0; i < THREADS; i++) {
            CHECK_EQ(thread_start(&late[i].handle, "late", run_late, &late[i]), 0);
        }
        CHECK(pool_close(pool) <= THREADS * 50 + 1); /* while they release */
        for (unsigned i = 0; i < THREADS; i++) {
            thread_join(late[i].handle);
        }
    }
}
