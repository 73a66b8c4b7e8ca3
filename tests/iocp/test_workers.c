/* test_workers.c: the worker pool on every backend: growing, retiring, counting, closing, the shared port. */
#include "iocp/workers.h"

#include "contract.h"

/* A gate that handlers wait at, and counts of who is where. */
static mutex lock = MUTEX_INIT;
static condition changed;
static bool gate_open;
static unsigned inside, handled;

struct job {
    operation operation;
    mr_port *port;
    int status; /* what a call inside the handler returned */
};

static void start(void)
{
    fixture_threads();
    condition_init(&changed);
}

static void await(const unsigned *count, unsigned wanted)
{
    uint64_t guard = clock_now() + HANG;
    mutex_lock(&lock);
    while (*count < wanted)
        CHECK_MSG(condition_wait_until(&changed, &lock, guard), "%u of %u", *count, wanted);
    mutex_unlock(&lock);
}

static void gate_set(bool open)
{
    mutex_lock(&lock);
    gate_open = open;
    condition_broadcast(&changed);
    mutex_unlock(&lock);
}

static void handle_count(operation *o)
{
    (void) o;
    mutex_lock(&lock);
    handled++;
    condition_broadcast(&changed);
    mutex_unlock(&lock);
}

static void handle_block(operation *o)
{
    (void) o;
    mutex_lock(&lock);
    inside++;
    condition_broadcast(&changed);
    while (!gate_open)
        condition_wait(&changed, &lock);
    handled++;
    condition_broadcast(&changed);
    mutex_unlock(&lock);
}

static struct job job_new(mr_port *p, void (*handler)(operation *))
{
    struct job job = {.operation = operation_new(), .port = p};
    job.operation.handler = handler;
    return job;
}

static mr_port *open_port(uint32_t concurrency, uint32_t workers_max)
{
    mr_port_options options = MR_PORT_OPTIONS_INIT;
    options.concurrency = concurrency;
    options.workers_max = workers_max;
    mr_port *p;
    CHECK_STATUS(mr_port_open(&p, &options), MR_OK);
    return p;
}

static mr_port_statistics statistics_of(const mr_port *p)
{
    mr_port_statistics statistics = MR_PORT_STATISTICS_INIT;
    CHECK_STATUS(mr_port_get_statistics(p, &statistics), MR_OK);
    return statistics;
}

static void post(mr_port *p, struct job *job)
{
    CHECK_STATUS(port_post(mr_port_backend(p), &job->operation), MR_OK);
}

/* Lets time pass until the pool has that many workers, all of them waiting. */
static void await_workers(const mr_port *p, unsigned wanted)
{
    port *clock = port_new();
    uint64_t guard = clock_now() + HANG;
    for (;;) {
        mr_port_statistics s = statistics_of(p);
        if (s.workers == wanted && s.waiting == wanted)
            break;
        CHECK_MSG(clock_now() < guard, "%u workers, %u waiting, expected %u", s.workers, s.waiting, wanted);
        operation *none;
        CHECK_STATUS(port_wait(clock, &none, clock_now() + 10 * MILLISECOND), MR_E_TIMEOUT);
    }
    port_finish(clock, NULL, NULL);
}

TEST(workers, options_are_checked)
{
    start();
    mr_port *p = NULL;
    mr_port_options options;
    mr_port_options_init(&options);
    CHECK_EQ(options.size, sizeof options);
    CHECK_STATUS(mr_port_open(NULL, &options), MR_E_ARGUMENT);
    options.concurrency = 3;
    options.workers_max = 2;
    CHECK_STATUS(mr_port_open(&p, &options), MR_E_ARGUMENT);
    options.workers_max = 3;
    options.size--;
    CHECK_STATUS(mr_port_open(&p, &options), MR_E_ARGUMENT);
    options.size++;
    options.workers_max = 0;
    options.concurrency = MR_PORT_CONCURRENCY_MAX + 1;
    CHECK_STATUS(mr_port_open(&p, &options), MR_E_ARGUMENT);
    options.concurrency = UINT32_MAX;
    CHECK_STATUS(mr_port_open(&p, &options), MR_E_ARGUMENT);
    CHECK(p == NULL);
    CHECK_STATUS(mr_port_close(NULL), MR_OK);
    CHECK_STATUS(mr_port_open(&p, NULL), MR_OK);
    CHECK_EQ(statistics_of(p).workers, port_concurrency(mr_port_backend(p)));
    mr_port_statistics statistics = {.size = 1};
    CHECK_STATUS(mr_port_get_statistics(p, &statistics), MR_E_ARGUMENT);
    CHECK_STATUS(mr_port_get_statistics(p, NULL), MR_E_ARGUMENT);
    CHECK_STATUS(mr_port_close(p), MR_OK);
}

TEST(workers, packets_are_handled_and_counted)
{
    enum { JOBS = 1000 };
    start();
    mr_port *p = open_port(2, 4);
    static struct job jobs[JOBS];
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = job_new(p, handle_count);
        post(p, &jobs[i]);
    }
    await(&handled, JOBS);
    mr_port_statistics s = statistics_of(p);
    CHECK_EQ(s.packets, JOBS);
    CHECK(s.workers >= 2 && s.workers <= s.workers_peak && s.workers_peak <= 4);
    CHECK_STATUS(mr_port_close(p), MR_OK);
}

TEST(workers, callbacks_that_block_do_not_hold_up_the_others)
{
    start();
    mr_port *p = open_port(2, 6);
    static struct job blocking[4], other[20];
    for (int round = 0; round < 5; round++) {
        gate_set(false);
        inside = handled = 0;
        for (int i = 0; i < 4; i++) {
            blocking[i] = job_new(p, handle_block);
            post(p, &blocking[i]);
        }
        await(&inside, 4);
        for (int i = 0; i < 20; i++) {
            other[i] = job_new(p, handle_count);
            post(p, &other[i]);
        }
        await(&handled, 20);
        CHECK(statistics_of(p).workers_peak >= 5);
        gate_set(true);
        await(&handled, 24);
    }
    CHECK(statistics_of(p).workers_peak <= 6);
    CHECK_STATUS(mr_port_close(p), MR_OK);
}

TEST(workers, no_more_than_workers_max_are_started)
{
    enum { MAX = 4, JOBS = 10 };
    start();
    mr_port *p = open_port(1, MAX);
    static struct job jobs[JOBS];
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = job_new(p, handle_block);
        post(p, &jobs[i]);
    }
    await(&inside, MAX);
    port *clock = port_new(); /* many ticks, in which nothing may happen */
    operation *none;
    CHECK_STATUS(port_wait(clock, &none, clock_now() + 30 * MILLISECOND), MR_E_TIMEOUT);
    port_finish(clock, NULL, NULL);
    mr_port_statistics s = statistics_of(p);
    CHECK_EQ(s.workers, MAX);
    CHECK_EQ(s.workers_peak, MAX);
    CHECK_EQ(s.waiting, 0);
    gate_set(true);
    await(&handled, JOBS);
    CHECK_STATUS(mr_port_close(p), MR_OK);
}

TEST(workers, a_pool_at_its_maximum_does_not_grow)
{
    start();
    mr_port *p = open_port(2, 2);
    struct job a = job_new(p, handle_block), b = job_new(p, handle_block), c = job_new(p, handle_count);
    post(p, &a);
    post(p, &b);
    await(&inside, 2);
    post(p, &c);
    port *clock = port_new();
    operation *none;
    CHECK_STATUS(port_wait(clock, &none, clock_now() + 20 * MILLISECOND), MR_E_TIMEOUT);
    port_finish(clock, NULL, NULL);
    CHECK_EQ(statistics_of(p).workers_peak, 2);
    gate_set(true);
    await(&handled, 3);
    CHECK_STATUS(mr_port_close(p), MR_OK);
}

static void handle_wait_for_another(operation *o)
{
    mr_port_wait_begin();
    mutex_lock(&lock);
    inside++;
    condition_broadcast(&changed);
    while (!gate_open)
        condition_wait(&changed, &lock);
    mutex_unlock(&lock);
    mr_port_wait_end();
    handle_count(o);
}

TEST(workers, one_that_waits_for_others_does_not_count_against_workers_max)
{
    start();
    mr_port_wait_begin(); /* on a thread that is no worker: nothing */
    mr_port_wait_end();
    mr_port *p = open_port(1, 1);
    struct job first = job_new(p, handle_wait_for_another), second = job_new(p, handle_wait_for_another);
    struct job other = job_new(p, handle_count);
    post(p, &first);
    post(p, &second);
    await(&inside, 2);
    post(p, &other);
    await(&handled, 1); /* by a third */
    gate_set(true);
    await(&handled, 3);
    await_workers(p, 1);
    CHECK_EQ(statistics_of(p).workers_peak, 3);
    CHECK_STATUS(mr_port_close(p), MR_OK);
}

TEST(workers, who_is_too_many_after_a_wait_leaves_also_while_there_is_work)
{
    start();
    mr_port *p = open_port(1, 1);
    struct job waiting = job_new(p, handle_wait_for_another), blocking = job_new(p, handle_block);
    struct job behind = job_new(p, handle_block);
    post(p, &waiting);
    await(&inside, 1);
    post(p, &blocking);
    await(&inside, 2); /* on the worker that came for the one that waits */
    post(p, &behind);
    gate_set(true);
    await(&handled, 3);
    await_workers(p, 1);
    CHECK_EQ(statistics_of(p).workers_peak, 2);
    CHECK_STATUS(mr_port_close(p), MR_OK);
}

TEST(workers, extra_workers_retire_when_idle_and_come_back)
{
    start();
    mr_port *p = open_port(2, 8);
    static struct job jobs[6];
    for (unsigned round = 1; round <= 2; round++) {
        gate_set(false);
        inside = handled = 0;
        for (int i = 0; i < 6; i++) {
            jobs[i] = job_new(p, handle_block);
            post(p, &jobs[i]);
        }
        await(&inside, 6);
        CHECK(statistics_of(p).workers >= 6);
        gate_set(true);
        await(&handled, 6);
        await_workers(p, 2);
        CHECK_EQ(statistics_of(p).packets, round * 6);
    }
    CHECK_STATUS(mr_port_close(p), MR_OK);
}

static void handle_close(operation *o)
{
    struct job *job = (struct job *) (void *) o;
    job->status = mr_port_close(job->port);
    CHECK(mr_port_is_worker(job->port));
    handle_count(o);
}

TEST(workers, a_port_cannot_be_closed_inside_its_own_callback)
{
    start();
    mr_port *p = open_port(1, 2);
    struct job job = job_new(p, handle_close);
    post(p, &job);
    await(&handled, 1);
    CHECK_STATUS(job.status, MR_E_CALLBACK);
    CHECK(!mr_port_is_worker(p));
    CHECK_STATUS(mr_port_close(p), MR_OK);
}

TEST(workers, a_port_with_readers_or_writers_cannot_be_closed)
{
    start();
    mr_port *p = open_port(1, 2);
    mr_port_bind_reader(p);
    mr_port_bind_reader(p);
    mr_port_bind_writer(p);
    CHECK_STATUS(mr_port_close(p), MR_E_ARGUMENT);
    CHECK_STR(mr_last_error_text(), "2 readers and 1 writer are still bound to the port: close them first");
    CHECK_EQ(statistics_of(p).readers, 2);
    CHECK_EQ(statistics_of(p).writers, 1);
    mr_port_unbind_reader(p);
    mr_port_unbind_reader(p);
    CHECK_STATUS(mr_port_close(p), MR_E_ARGUMENT);
    mr_port_unbind_writer(p);
    struct job job = job_new(p, handle_count);
    post(p, &job);
    await(&handled, 1); /* nothing has happened to it */
    CHECK_STATUS(mr_port_close(p), MR_OK);
}

TEST(workers, closing_completes_what_is_pending)
{
    start();
    mr_port *p = open_port(2, 2);
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(mr_port_backend(p), near_end);
    static struct job deadlines[50];
    for (int i = 0; i < 50; i++) {
        deadlines[i] = job_new(p, handle_count);
        CHECK_EQ(port_set_deadline(mr_port_backend(p), &deadlines[i].operation, clock_now() + HANG), STARTED_PENDING);
    }
    char buffer[16];
    struct job receive = job_new(p, handle_count);
    CHECK_EQ(port_receive(e, &receive.operation, buffer, sizeof buffer), STARTED_PENDING);
    port_stop(mr_port_backend(p)); /* as slots do before they close their endpoints */
    await(&handled, 51);
    for (int i = 0; i < 50; i++)
        CHECK_STATUS(deadlines[i].operation.status, MR_E_CANCELLED);
    CHECK_STATUS(receive.operation.status, MR_E_CANCELLED);
    endpoint_close(e);
    CHECK_STATUS(mr_port_close(p), MR_OK);
    CHECK_EQ(handled, 51);
}

TEST(workers, closing_waits_for_callbacks_and_grows_meanwhile)
{
    start();
    mr_port *p = open_port(1, 4);
    struct job blocking = job_new(p, handle_block), behind = job_new(p, handle_count);
    post(p, &blocking);
    await(&inside, 1);
    post(p, &behind);
    await(&handled, 1); /* by a second worker */
    gate_set(true);
    CHECK_STATUS(mr_port_close(p), MR_OK);
    CHECK_EQ(handled, 2);
}

TEST(workers, many_ports_open_and_close)
{
    start();
    for (unsigned i = 0; i < 30; i++) {
        mr_port *p = open_port(i % 3 + 1, 0);
        struct job job = job_new(p, handle_count);
        post(p, &job);
        await(&handled, i + 1);
        CHECK_STATUS(mr_port_close(p), MR_OK);
    }
}

TEST(workers, the_shared_port_is_one_and_ends_with_its_last_user)
{
    start();
    mr_port *a, *b, *c;
    CHECK_STATUS(mr_port_shared_acquire(&a), MR_OK);
    CHECK_STATUS(mr_port_shared_acquire(&b), MR_OK);
    CHECK(a == b);
    CHECK_EQ(statistics_of(a).workers, 1);
    mr_port_shared_release(a);
    struct job job = job_new(b, handle_count);
    post(b, &job);
    await(&handled, 1);
    mr_port_shared_release(b);
    CHECK_STATUS(mr_port_shared_acquire(&c), MR_OK);
    CHECK_EQ(statistics_of(c).packets, 0); /* another one */
    mr_port_shared_release(c);
}

static void handle_release(operation *o)
{
    struct job *job = (struct job *) (void *) o;
    mr_port_shared_release(job->port);
    CHECK_STATUS(mr_port_shared_acquire(&job->port), MR_OK); /* while the old one ends, a new one begins */
    handle_count(o);
}

TEST(workers, the_shared_port_is_released_inside_its_own_callback)
{
    start();
    for (unsigned i = 0; i < 20; i++) {
        mr_port *p;
        CHECK_STATUS(mr_port_shared_acquire(&p), MR_OK);
        struct job job = job_new(p, handle_release);
        post(p, &job);
        await(&handled, i + 1);
        CHECK(!mr_port_is_worker(job.port));
        mr_port_shared_release(job.port);
    }
}
