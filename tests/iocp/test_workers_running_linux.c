/* test_workers_running_linux.c: no worker is started beside those that run (workers.c, W8), and how that is known. */
#include "contract.h"
#include "iocp/workers.h"
#include "test_nap.h"

static _Atomic bool running, over;

static void run(operation *o)
{
    (void) o;
    atomic_store(&running, true);
    while (!atomic_load(&over)) {}
}

static mutex lock = MUTEX_INIT;
static condition changed;
static _Atomic uint64_t blocked_number;
static bool released;

static void await_release(void)
{
    mutex_lock(&lock);
    while (!released)
        condition_wait(&changed, &lock);
    mutex_unlock(&lock);
}

static void block(operation *o)
{
    (void) o;
    atomic_store(&blocked_number, thread_number());
    await_release();
}

static void release_all(void)
{
    mutex_lock(&lock);
    released = true;
    condition_broadcast(&changed);
    mutex_unlock(&lock);
}

static void end_circles(operation *o)
{
    (void) o;
    atomic_store(&over, true);
}

static mr_port *leaving_port;

static mr_port_statistics statistics_of(const mr_port *p)
{
    mr_port_statistics statistics = MR_PORT_STATISTICS_INIT;
    CHECK_STATUS(mr_port_get_statistics(p, &statistics), MR_OK);
    return statistics;
}

/* A port with one worker at a time. */
static mr_port *open_port(uint32_t workers_max)
{
    mr_port_options options = MR_PORT_OPTIONS_INIT;
    options.concurrency = 1;
    options.workers_max = workers_max;
    mr_port *p;
    CHECK_STATUS(mr_port_open(&p, &options), MR_OK);
    return p;
}

TEST(workers_running, a_worker_that_computes_is_enough_and_one_that_blocks_is_not)
{
    condition_init(&changed);
    mr_port *p = open_port(4);
    operation computes = operation_new(), blocks = operation_new();
    computes.handler = run;
    blocks.handler = block;
    CHECK_STATUS(port_post(mr_port_backend(p), &computes), MR_OK);
    while (!atomic_load(&running))
        thread_yield(0);
    uint64_t start = clock_now();
    /* Many ticks, in which nothing may happen; after a thousand one is started all the same. */
    test_nap(30 * MILLISECOND);
    unsigned peak = statistics_of(p).workers_peak;
    CHECK(peak == 1 || clock_now() - start > 500 * MILLISECOND);
    atomic_store(&over, true);
    CHECK_STATUS(port_post(mr_port_backend(p), &blocks), MR_OK);
    uint64_t guard = clock_now() + HANG;
    while (statistics_of(p).workers_peak < 2) {
        test_nap(MILLISECOND);
        CHECK(clock_now() < guard);
    }
    release_all();
    CHECK_STATUS(mr_port_close(p), MR_OK);
}

TEST(workers_running, workers_that_turn_in_circles_get_another_in_the_end)
{
    mr_port *p = open_port(2);
    operation circles = operation_new(), ends = operation_new();
    circles.handler = run;
    ends.handler = end_circles;
    CHECK_STATUS(port_post(mr_port_backend(p), &circles), MR_OK);
    CHECK_STATUS(port_post(mr_port_backend(p), &ends), MR_OK); /* which the first waits for */
    uint64_t guard = clock_now() + HANG;
    while (!atomic_load(&over)) {
        test_nap(MILLISECOND);
        CHECK(clock_now() < guard);
    }
    CHECK_EQ(statistics_of(p).workers_peak, 2);
    CHECK_STATUS(mr_port_close(p), MR_OK);
}

static operation left_behind;
static _Atomic bool waits, handled_behind;
static _Atomic uint64_t posted_at;

static void wait_and_post_last(operation *o)
{
    (void) o;
    mr_port_wait_begin();
    atomic_store(&waits, true);
    await_release();
    mr_port_wait_end();
    atomic_store(&posted_at, clock_now());
    CHECK_STATUS(port_post_last(mr_port_backend(leaving_port), &left_behind), MR_OK);
}

static void handle_behind(operation *o)
{
    (void) o;
    atomic_store(&handled_behind, true);
}

/* How long it took until a packet was handled that was posted as the last act of one worker too many. */
static uint64_t leave_once(void)
{
    leaving_port = open_port(1);
    operation first = operation_new();
    first.handler = wait_and_post_last;
    left_behind = operation_new();
    left_behind.handler = handle_behind;
    released = false;
    atomic_store(&waits, false);
    atomic_store(&handled_behind, false);
    CHECK_STATUS(port_post(mr_port_backend(leaving_port), &first), MR_OK);
    while (!atomic_load(&waits) || statistics_of(leaving_port).workers < 2 || statistics_of(leaving_port).waiting == 0)
        thread_yield(1000);
    test_nap(10 * MILLISECOND); /* the second sleeps */
    release_all();
    while (!atomic_load(&handled_behind))
        thread_yield(1000);
    uint64_t took = clock_now() - atomic_load(&posted_at);
    CHECK_STATUS(mr_port_close(leaving_port), MR_OK);
    return took;
}

/* Without a word to the other it would have it when that has been idle for WORKER_RETIRE_NS, each time. */
TEST(workers_running, one_that_leaves_after_posting_hands_the_packet_on)
{
    condition_init(&changed);
    unsigned attempts = 1;
    while (leave_once() > WORKER_RETIRE_NS / 2)
        CHECK(++attempts <= 5);
}

static void block_there(void *argument)
{
    (void) argument;
    block(NULL);
}

TEST(workers_running, a_thread_is_known_to_run_or_not)
{
    condition_init(&changed);
    CHECK(thread_is_running(thread_number()));
    thread other;
    CHECK_STATUS(thread_start(&other, "other", block_there, NULL), MR_OK);
    uint64_t guard = clock_now() + HANG;
    while (atomic_load(&blocked_number) == 0 || thread_is_running(atomic_load(&blocked_number))) {
        test_nap(MILLISECOND);
        CHECK(clock_now() < guard);
    }
    release_all();
    thread_join(other);
    CHECK(!thread_is_running(atomic_load(&blocked_number))); /* there is none of that number */
    CHECK(!thread_is_running(0));
}
