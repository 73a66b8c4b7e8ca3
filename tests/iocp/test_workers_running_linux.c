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

static void block(operation *o)
{
    (void) o;
    atomic_store(&blocked_number, thread_number());
    mutex_lock(&lock);
    while (!released)
        condition_wait(&changed, &lock);
    mutex_unlock(&lock);
}

static void release_all(void)
{
    mutex_lock(&lock);
    released = true;
    condition_broadcast(&changed);
    mutex_unlock(&lock);
}

static mr_port_statistics statistics_of(const mr_port *p)
{
    mr_port_statistics statistics = MR_PORT_STATISTICS_INIT;
    CHECK_STATUS(mr_port_get_statistics(p, &statistics), MR_OK);
    return statistics;
}

TEST(workers_running, a_worker_that_computes_is_enough_and_one_that_blocks_is_not)
{
    condition_init(&changed);
    mr_port_options options = MR_PORT_OPTIONS_INIT;
    options.concurrency = 1;
    options.workers_max = 4;
    mr_port *p;
    CHECK_STATUS(mr_port_open(&p, &options), MR_OK);
    operation computes = operation_new(), blocks = operation_new();
    computes.handler = run;
    blocks.handler = block;
    CHECK_STATUS(port_post(mr_port_backend(p), &computes), MR_OK);
    while (!atomic_load(&running))
        thread_yield(0);
    test_nap(30 * MILLISECOND); /* many ticks, in which nothing may happen */
    CHECK_EQ(statistics_of(p).workers_peak, 1);
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
