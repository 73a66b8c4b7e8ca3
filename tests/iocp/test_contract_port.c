/* test_contract_port.c: rules C11 to C20 of src/iocp/backend.h: packets, waiting, deadlines, ending.
 * Longer than other files, as test_contract.c is: one contract, one text, in the order of its rules. */
#include "contract.h"

/* C11: order and turns. */

TEST(contract, c11_posted_packets_leave_in_the_order_of_their_posts)
{
    enum { COUNT = 500 };
    port *p = port_new();
    static operation o[COUNT];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++) {
            o[i].handler = handler_forbidden;
            CHECK_STATUS(port_post(p, &o[i]), MR_OK);
        }
        for (int i = 0; i < COUNT; i++)
            CHECK(packet_next(p) == &o[i]);
    }
    port_finish(p, NULL, NULL);
}

TEST(contract, c11_posted_packets_do_not_starve_a_completion)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    char buffer[16];
    operation o = operation_new(), busy[3] = {operation_new(), operation_new(), operation_new()};
    CHECK_EQ(port_receive(e, &o, buffer, sizeof buffer), STARTED_PENDING);
    for (int i = 0; i < 3; i++)
        CHECK_STATUS(port_post(p, &busy[i]), MR_OK);
    fixture_far_send(far_end, "x", 1);
    unsigned before = 0;
    for (operation *packet; (packet = packet_next(p)) != &o; before++) {
        CHECK_MSG(before < 32, "32 posted packets left before the completion");
        CHECK_STATUS(port_post(p, packet), MR_OK);
    }
    CHECK_EQ(port_drain(p), 3);
    endpoint_close(e);
    port_close(p);
}

TEST(contract, c11_posted_packets_do_not_starve_a_deadline)
{
    port *p = port_new();
    operation late = operation_new(), busy[3] = {operation_new(), operation_new(), operation_new()};
    uint64_t deadline = clock_now() + 5 * MILLISECOND, guard = clock_now() + HANG;
    CHECK_EQ(port_set_deadline(p, &late, deadline), STARTED_PENDING);
    for (int i = 0; i < 3; i++)
        CHECK_STATUS(port_post(p, &busy[i]), MR_OK);
    port *clock = port_new(); /* lets the time pass without touching p */
    for (operation *packet; (packet = packet_next(p)) != &late;) {
        CHECK_MSG(clock_now() < guard, "posted packets kept the deadline from coming");
        CHECK_STATUS(port_post(p, packet), MR_OK);
        operation *none;
        CHECK_STATUS(port_wait(clock, &none, clock_now() + MILLISECOND / 100), MR_E_TIMEOUT);
    }
    CHECK_EQ(port_drain(p), 3);
    port_close(p);
    port_finish(clock, NULL, NULL);
}

TEST(contract, c11_completions_do_not_starve_a_posted_packet)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    char buffer[16];
    operation o = operation_new(), posted = operation_new();
    CHECK_EQ(port_receive(e, &o, buffer, sizeof buffer), STARTED_PENDING);
    fixture_far_send(far_end, "x", 1);
    CHECK_STATUS(port_post(p, &posted), MR_OK);
    unsigned before = 0;
    for (operation *packet; (packet = packet_next(p)) != &posted; before++) {
        CHECK_MSG(before < 32, "32 completions left before the posted packet");
        CHECK(packet == &o);
        CHECK_EQ(port_receive(e, &o, buffer, sizeof buffer), STARTED_PENDING);
        fixture_far_send(far_end, "x", 1);
    }
    port_cancel(p, &o);
    if (before == 0 || o.status == MR_OK)
        (void) port_drain(p);
    else
        CHECK_EQ(port_drain(p), 1);
    endpoint_close(e);
    port_close(p);
}

/* C12: a post touches no result. */

TEST(contract, c12_a_post_keeps_the_results)
{
    port *p = port_new();
    operation o = operation_new();
    o.status = MR_E_SMALL;
    o.os_error = 77;
    o.bytes = 88;
    o.accepted = 99;
    CHECK_STATUS(port_post(p, &o), MR_OK);
    CHECK(packet_next(p) == &o);
    CHECK_STATUS(o.status, MR_E_SMALL);
    CHECK_EQ(o.os_error, 77);
    CHECK_EQ(o.bytes, 88);
    CHECK_EQ(o.accepted, 99);
    CHECK_STATUS(port_post(p, &o), MR_OK);
    CHECK_EQ(port_drain(p), 1);
    CHECK_STATUS(o.status, MR_E_SMALL);
    CHECK_EQ(o.bytes, 88);
    port_close(p);
}

/* C13: deadlines. */

TEST(contract, c13_a_deadline_comes_and_not_before_its_time)
{
    port *p = port_new();
    for (uint64_t delay = 0; delay < 20 * MILLISECOND; delay += 1700001) {
        operation o = operation_new();
        uint64_t deadline = clock_now() + delay;
        CHECK_EQ(port_set_deadline(p, &o, deadline), STARTED_PENDING);
        CHECK(packet_next(p) == &o);
        CHECK(clock_now() >= deadline);
        CHECK_STATUS(o.status, MR_OK);
    }
    packet_none(p);
    port_finish(p, NULL, NULL);
}

TEST(contract, c13_a_deadline_in_the_past_comes_at_once)
{
    port *p = port_new();
    operation o = operation_new();
    operation *out;
    CHECK_EQ(port_set_deadline(p, &o, 0), STARTED_PENDING);
    CHECK_STATUS(port_wait(p, &out, 0), MR_OK);
    CHECK(out == &o);
    CHECK_STATUS(o.status, MR_OK);
    CHECK_EQ(port_set_deadline(p, &o, clock_now()), STARTED_PENDING);
    CHECK_STATUS(port_wait(p, &out, 0), MR_OK);
    CHECK(out == &o);
    port_finish(p, NULL, NULL);
}

TEST(contract, c13_deadlines_come_in_the_order_of_their_times)
{
    enum { COUNT = 200 };
    port *p = port_new();
    static operation o[COUNT];
    uint64_t when[COUNT], seed = test_seed();
    uint64_t now = clock_now() + 50 * MILLISECOND; /* all are set before the first comes */
    for (int i = 0; i < COUNT; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        when[i] = now + (seed >> 33) % (20 * MILLISECOND);
        o[i].handler = handler_forbidden;
        CHECK_EQ(port_set_deadline(p, &o[i], when[i]), STARTED_PENDING);
    }
    unsigned cancelled = 0, came = 0;
    for (int i = 0; i < COUNT; i += 7) { /* out of the middle of whatever holds them */
        port_cancel(p, &o[i]);
        cancelled++;
    }
    uint64_t last = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        operation *packet = packet_next(p);
        uint64_t time = when[packet - o];
        if (packet->status == MR_E_CANCELLED) {
            cancelled--;
            continue;
        }
        CHECK_STATUS(packet->status, MR_OK);
        CHECK_MSG(time >= last, "deadline %u came out of order", came);
        CHECK(clock_now() >= time);
        last = time;
        came++;
    }
    CHECK(came >= COUNT - COUNT / 7 - 1);
    packet_none(p);
    port_finish(p, NULL, NULL);
}

TEST(contract, c13_equal_deadlines_come_in_the_order_of_their_starts)
{
    enum { COUNT = 50 };
    port *p = port_new();
    static operation o[COUNT];
    uint64_t deadline = clock_now() + 3 * MILLISECOND;
    for (int i = 0; i < COUNT; i++) {
        o[i].handler = handler_forbidden;
        CHECK_EQ(port_set_deadline(p, &o[i], deadline), STARTED_PENDING);
    }
    for (int i = 0; i < COUNT; i++)
        CHECK(packet_next(p) == &o[i]);
    port_finish(p, NULL, NULL);
}

TEST(contract, c13_an_earlier_deadline_overtakes_and_a_cancelled_one_holds_none_back)
{
    port *p = port_new();
    operation far_away = operation_new(), late = operation_new(), soon = operation_new();
    CHECK_EQ(port_set_deadline(p, &far_away, CLOCK_NEVER), STARTED_PENDING);
    uint64_t first = clock_now() + 4 * MILLISECOND, second = first + 4 * MILLISECOND;
    CHECK_EQ(port_set_deadline(p, &late, second), STARTED_PENDING);
    CHECK_EQ(port_set_deadline(p, &soon, first), STARTED_PENDING);
    port_cancel(p, &soon);
    CHECK(packet_next(p) == &soon);
    CHECK_STATUS(soon.status, MR_E_CANCELLED);
    CHECK(packet_next(p) == &late);
    CHECK_STATUS(late.status, MR_OK);
    CHECK(clock_now() >= second);
    packet_none(p);
    port_cancel(p, &far_away);
    CHECK(packet_next(p) == &far_away);
    CHECK_STATUS(far_away.status, MR_E_CANCELLED);
    port_finish(p, NULL, NULL);
}

TEST(contract, c13_a_deadline_at_the_end_of_time_does_not_come)
{
    port *p = port_new();
    operation never = operation_new(), nearly = operation_new(), soon = operation_new();
    CHECK_EQ(port_set_deadline(p, &never, CLOCK_NEVER), STARTED_PENDING);
    CHECK_EQ(port_set_deadline(p, &nearly, CLOCK_NEVER - 1), STARTED_PENDING);
    packet_none(p);
    CHECK_EQ(port_set_deadline(p, &soon, clock_now() + MILLISECOND), STARTED_PENDING);
    CHECK(packet_next(p) == &soon);
    CHECK_STATUS(soon.status, MR_OK);
    packet_none(p);
    CHECK_EQ(port_drain(p), 2);
    CHECK_STATUS(never.status, MR_E_CANCELLED);
    CHECK_STATUS(nearly.status, MR_E_CANCELLED);
    port_close(p);
}

/* C14 and C15: several threads wait. A crew of threads takes packets and notes them; a packet's handler may block. */

enum { CREW = 4 };

struct crew {
    port *port;
    thread threads[CREW];
    unsigned count;
    mutex lock;
    condition changed;
    unsigned taken;    /* handlers begun */
    unsigned returned; /* handlers ended */
    unsigned stopped;  /* threads that have seen MR_E_STOPPED, twice */
};

struct job {
    operation operation;
    struct crew *crew;
    unsigned taken;
    unsigned expected; /* crew_block leaves when that many packets have been taken */
};

static struct job *job_of(operation *o)
{
    return (struct job *) (void *) o;
}

static void crew_run(void *argument)
{
    struct crew *c = argument;
    for (;;) {
        operation *o;
        int status = port_wait(c->port, &o, CLOCK_NEVER);
        if (status == MR_OK) {
            o->handler(o);
            mutex_lock(&c->lock);
            c->returned++;
            condition_broadcast(&c->changed);
            mutex_unlock(&c->lock);
            continue;
        }
        CHECK_STATUS(status, MR_E_STOPPED);
        CHECK_STATUS(port_wait(c->port, &o, CLOCK_NEVER), MR_E_STOPPED);
        mutex_lock(&c->lock);
        c->stopped++;
        condition_broadcast(&c->changed);
        mutex_unlock(&c->lock);
        return;
    }
}

static void crew_start(struct crew *c, unsigned count)
{
    fixture_threads();
    memset(c, 0, sizeof *c);
    c->port = port_new();
    c->count = count;
    mutex_init(&c->lock);
    condition_init(&c->changed);
    for (unsigned i = 0; i < count; i++)
        CHECK_STATUS(thread_start(&c->threads[i], "crew", crew_run, c), MR_OK);
}

/* With c->lock held: waits until that many packets have been taken in all. */
static void crew_await(struct crew *c, unsigned taken)
{
    uint64_t guard = clock_now() + HANG;
    while (c->taken < taken)
        CHECK_MSG(condition_wait_until(&c->changed, &c->lock, guard), "%u of %u packets were taken", c->taken, taken);
}

static void crew_finish(struct crew *c)
{
    port_stop(c->port);
    mutex_lock(&c->lock);
    uint64_t guard = clock_now() + HANG;
    while (c->stopped < c->count)
        CHECK_MSG(condition_wait_until(&c->changed, &c->lock, guard), "%u of %u threads were stopped", c->stopped,
                  c->count);
    mutex_unlock(&c->lock);
    for (unsigned i = 0; i < c->count; i++)
        thread_join(c->threads[i]);
}

static void crew_end(struct crew *c)
{
    port_close(c->port);
    condition_destroy(&c->changed);
    mutex_destroy(&c->lock);
}

/* Handlers */

static void job_note(operation *o)
{
    struct crew *c = job_of(o)->crew;
    mutex_lock(&c->lock);
    job_of(o)->taken++;
    c->taken++;
    condition_broadcast(&c->changed);
    mutex_unlock(&c->lock);
}

static void job_block(operation *o)
{
    struct crew *c = job_of(o)->crew;
    job_note(o);
    mutex_lock(&c->lock);
    crew_await(c, job_of(o)->expected);
    mutex_unlock(&c->lock);
}

static struct job job_new(struct crew *c, void (*handler)(operation *))
{
    struct job job = {.operation = operation_new(), .crew = c};
    job.operation.handler = handler;
    return job;
}

/* Waits until that many packets have been taken, whose handlers may still run. */
static void crew_await_unlocked(struct crew *c, unsigned taken)
{
    mutex_lock(&c->lock);
    crew_await(c, taken);
    mutex_unlock(&c->lock);
}

/* Waits until that many packets have been handled, and begins to count anew. */
static void crew_settle(struct crew *c, unsigned returned)
{
    mutex_lock(&c->lock);
    crew_await(c, returned);
    uint64_t guard = clock_now() + HANG;
    while (c->returned < returned)
        CHECK(condition_wait_until(&c->changed, &c->lock, guard));
    CHECK_EQ(c->taken, returned);
    c->taken = c->returned = 0;
    mutex_unlock(&c->lock);
}

TEST(contract, c14_one_packet_goes_to_one_thread)
{
    enum { JOBS = 64, ROUNDS = 50 };
    struct crew c;
    crew_start(&c, CREW);
    static struct job jobs[JOBS];
    for (unsigned round = 1; round <= ROUNDS; round++) {
        for (unsigned i = 0; i < JOBS; i++) {
            if (round == 1)
                jobs[i] = job_new(&c, job_note);
            CHECK_STATUS(port_post(c.port, &jobs[i].operation), MR_OK);
        }
        crew_settle(&c, JOBS);
        for (unsigned i = 0; i < JOBS; i++)
            CHECK_EQ(jobs[i].taken, round);
    }
    crew_finish(&c);
    CHECK_EQ(c.taken, 0);
    crew_end(&c);
}

TEST(contract, c14_a_packet_wakes_a_thread_that_waits)
{
    struct crew c;
    crew_start(&c, CREW);
    for (unsigned round = 0; round < 500; round++) {
        struct job job = job_new(&c, job_note);
        CHECK_STATUS(port_post(c.port, &job.operation), MR_OK);
        crew_settle(&c, 1);
    }
    crew_finish(&c);
    crew_end(&c);
}

TEST(contract, c14_a_packet_that_is_there_is_taken_after_the_waits_deadline)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    char buffer[16];
    operation posted = operation_new(), received = operation_new();
    operation *out;
    CHECK_EQ(port_receive(e, &received, buffer, sizeof buffer), STARTED_PENDING);
    fixture_far_send(far_end, "x", 1);
    CHECK_STATUS(port_wait(p, &out, 0), MR_OK);
    CHECK(out == &received);
    CHECK_STATUS(port_post(p, &posted), MR_OK);
    CHECK_STATUS(port_wait(p, &out, clock_now() > MILLISECOND ? clock_now() - MILLISECOND : 0), MR_OK);
    CHECK(out == &posted);
    port_finish(p, e, NULL);
}

TEST(contract, c14_a_wait_without_packets_ends_at_its_deadline_and_not_before)
{
    port *p = port_new();
    for (uint64_t delay = 0; delay < 10 * MILLISECOND; delay += 900001) {
        uint64_t deadline = clock_now() + delay;
        operation *out;
        CHECK_STATUS(port_wait(p, &out, deadline), MR_E_TIMEOUT);
        CHECK(clock_now() >= deadline);
    }
    operation later = operation_new(); /* a deadline after the wait's does not prolong it, nor does it shorten it */
    CHECK_EQ(port_set_deadline(p, &later, clock_now() + HANG), STARTED_PENDING);
    uint64_t deadline = clock_now() + 3 * MILLISECOND;
    operation *out;
    CHECK_STATUS(port_wait(p, &out, deadline), MR_E_TIMEOUT);
    CHECK(clock_now() >= deadline);
    CHECK_EQ(port_drain(p), 1);
    port_close(p);
}

TEST(contract, c15_a_worker_that_blocks_does_not_hold_back_a_packet_behind_its_own)
{
    struct crew c;
    crew_start(&c, 2);
    for (unsigned round = 0; round < 20; round++) {
        struct job blocking = job_new(&c, job_block), other = job_new(&c, job_note);
        blocking.expected = 2;
        CHECK_STATUS(port_post(c.port, &blocking.operation), MR_OK);
        CHECK_STATUS(port_post(c.port, &other.operation), MR_OK);
        crew_settle(&c, 2);
    }
    crew_finish(&c);
    crew_end(&c);
}

static struct job posted_inside[CREW - 1];

static void job_post_and_block(operation *o)
{
    for (unsigned i = 0; i < CREW - 1; i++)
        CHECK_STATUS(port_post(job_of(o)->crew->port, &posted_inside[i].operation), MR_OK);
    job_block(o);
}

TEST(contract, c15_a_worker_that_posts_and_blocks_does_not_hold_back_what_it_posted)
{
    struct crew c;
    crew_start(&c, CREW);
    for (unsigned round = 0; round < 20; round++) {
        struct job first = job_new(&c, job_post_and_block);
        first.expected = CREW;
        for (unsigned i = 0; i < CREW - 1; i++) { /* each blocks a thread until all have been taken */
            posted_inside[i] = job_new(&c, job_block);
            posted_inside[i].expected = CREW;
        }
        CHECK_STATUS(port_post(c.port, &first.operation), MR_OK);
        crew_settle(&c, CREW);
    }
    crew_finish(&c);
    crew_end(&c);
}

TEST(contract, c15_a_worker_that_blocks_does_not_hold_back_completions_and_deadlines)
{
    struct crew c;
    crew_start(&c, 2);
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(c.port, near_end);
    char buffer[16];
    struct job blocking = job_new(&c, job_block), receive = job_new(&c, job_note), late = job_new(&c, job_note);
    blocking.expected = 3;
    CHECK_EQ(port_receive(e, &receive.operation, buffer, sizeof buffer), STARTED_PENDING);
    CHECK_STATUS(port_post(c.port, &blocking.operation), MR_OK);
    crew_await_unlocked(&c, 1);
    fixture_far_send(far_end, "x", 1);
    crew_await_unlocked(&c, 2);
    CHECK_EQ(port_set_deadline(c.port, &late.operation, clock_now() + 2 * MILLISECOND), STARTED_PENDING);
    crew_await_unlocked(&c, 3);
    CHECK_STATUS(receive.operation.status, MR_OK);
    CHECK_STATUS(late.operation.status, MR_OK);
    crew_finish(&c);
    endpoint_close(e);
    crew_end(&c);
}

/* C16: idle costs nothing. */

TEST(contract, c16_an_idle_port_wakes_nobody)
{
    struct crew c;
    crew_start(&c, CREW);
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(c.port, near_end);
    char buffer[16];
    static struct job jobs[100];
    /* Busy first, in ways that need help from a second thread: what that leaves behind must settle. */
    struct job first = job_new(&c, job_post_and_block);
    first.expected = CREW;
    for (unsigned i = 0; i < CREW - 1; i++) {
        posted_inside[i] = job_new(&c, job_block);
        posted_inside[i].expected = CREW;
    }
    CHECK_STATUS(port_post(c.port, &first.operation), MR_OK);
    crew_settle(&c, CREW);
    for (unsigned i = 0; i < 100; i++) {
        jobs[i] = job_new(&c, job_note);
        CHECK_STATUS(port_post(c.port, &jobs[i].operation), MR_OK);
    }
    crew_settle(&c, 100);
    struct job receive = job_new(&c, job_note), never = job_new(&c, job_note);
    CHECK_EQ(port_receive(e, &receive.operation, buffer, sizeof buffer), STARTED_PENDING);
    CHECK_EQ(port_set_deadline(c.port, &never.operation, clock_now() + 1000 * HANG), STARTED_PENDING);

    port *clock = port_new();
    uint64_t before = wakeups_settle(clock, "crew");
    time_pass(clock, 500 * MILLISECOND);
    CHECK_EQ(fixture_wakeups("crew") - before, 0);

    fixture_far_send(far_end, "x", 1);
    crew_await_unlocked(&c, 1);
    crew_finish(&c);
    CHECK_EQ(c.taken, 2);
    endpoint_close(e);
    crew_end(&c);
    port_finish(clock, NULL, NULL);
}

/* C17: stop. */

TEST(contract, c17_stop_cancels_whatever_is_pending)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    endpoint *event = endpoint_new(p, fixture_event());
    static char block[4096];
    char buffer[16];
    operation in = operation_new(), out = operation_new(), late = operation_new(), watch = operation_new();
    unsigned pending = 3;
    CHECK_EQ(port_receive(e, &in, buffer, sizeof buffer), STARTED_PENDING);
    (void) send_until_pending(p, e, &out, block, sizeof block);
    CHECK_EQ(port_set_deadline(p, &late, clock_now() + HANG), STARTED_PENDING);
    if (fixture_can(FIXTURE_WATCH)) {
        CHECK_EQ(port_watch(event, &watch, WAIT_IN), STARTED_PENDING);
        pending++;
    } else {
        watch.status = MR_E_CANCELLED;
    }
    CHECK_EQ(port_drain(p), pending);
    CHECK_STATUS(in.status, MR_E_CANCELLED);
    CHECK_STATUS(out.status, MR_E_CANCELLED);
    CHECK_STATUS(late.status, MR_E_CANCELLED);
    CHECK_STATUS(watch.status, MR_E_CANCELLED);
    endpoint_close(e);
    endpoint_close(event);
    port_close(p);
}

TEST(contract, c17_stop_cancels_accepts_and_many_endpoints)
{
    enum { COUNT = 200 };
    port *p = port_new();
    os_handle listening = fixture_listen();
    endpoint *listener = endpoint_new(p, listening), *e[COUNT];
    static operation o[COUNT];
    static char buffer[COUNT];
    operation accept = operation_new();
    unsigned pending = COUNT;
    if (fixture_can(FIXTURE_ACCEPT)) {
        CHECK_EQ(port_accept(listener, &accept), STARTED_PENDING);
        pending++;
    }
    for (int i = 0; i < COUNT; i++) {
        os_handle near_end, far_end;
        fixture_pair(&near_end, &far_end);
        e[i] = endpoint_new(p, near_end);
        o[i].handler = handler_forbidden;
        CHECK_EQ(port_receive(e[i], &o[i], &buffer[i], 1), STARTED_PENDING);
    }
    CHECK_EQ(port_drain(p), pending);
    for (int i = 0; i < COUNT; i++) {
        CHECK_STATUS(o[i].status, MR_E_CANCELLED);
        endpoint_close(e[i]);
    }
    endpoint_close(listener);
    port_close(p);
}

TEST(contract, c17_packets_posted_before_the_stop_come_as_they_are)
{
    port *p = port_new();
    operation first = operation_new(), second = operation_new();
    first.status = MR_OK;
    second.status = MR_E_SMALL;
    CHECK_STATUS(port_post(p, &first), MR_OK);
    CHECK_STATUS(port_post(p, &second), MR_OK);
    port_stop(p);
    CHECK(packet_next(p) == &first);
    CHECK(packet_next(p) == &second);
    CHECK_STATUS(first.status, MR_OK);
    CHECK_STATUS(second.status, MR_E_SMALL);
    operation *out;
    CHECK_STATUS(port_wait(p, &out, CLOCK_NEVER), MR_E_STOPPED);
    port_close(p);
}

TEST(contract, c17_after_the_stop_everything_started_is_done_with_stopped)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    endpoint *listener = endpoint_new(p, fixture_listen());
    fixture_far_send(far_end, "ready", 5);
    port_stop(p);
    char buffer[16];
    operation o = operation_new();
    CHECK_EQ(port_receive(e, &o, buffer, sizeof buffer), STARTED_DONE);
    CHECK_STATUS(o.status, MR_E_STOPPED);
    CHECK_EQ(port_send(e, &o, "x", 1), STARTED_DONE);
    CHECK_STATUS(o.status, MR_E_STOPPED);
    CHECK_EQ(port_watch(e, &o, WAIT_IN), STARTED_DONE);
    CHECK_STATUS(o.status, MR_E_STOPPED);
    CHECK_EQ(port_accept(listener, &o), STARTED_DONE);
    CHECK_STATUS(o.status, MR_E_STOPPED);
    CHECK_EQ(port_set_deadline(p, &o, 0), STARTED_DONE);
    CHECK_STATUS(o.status, MR_E_STOPPED);
    o.status = MR_E_SMALL;
    CHECK_STATUS(port_post(p, &o), MR_E_STOPPED);
    CHECK_STATUS(o.status, MR_E_SMALL);
    port_finish(p, e, listener);
}

TEST(contract, c17_stopping_twice_is_harmless_and_stopped_stays_stopped)
{
    port *p = port_new();
    operation o = operation_new();
    CHECK_EQ(port_set_deadline(p, &o, CLOCK_NEVER), STARTED_PENDING);
    port_stop(p);
    port_stop(p);
    CHECK(packet_next(p) == &o);
    operation *out;
    for (int i = 0; i < 3; i++)
        CHECK_STATUS(port_wait(p, &out, CLOCK_NEVER), MR_E_STOPPED);
    port_stop(p);
    CHECK_STATUS(port_wait(p, &out, 0), MR_E_STOPPED);
    port_close(p);
}

TEST(contract, c17_every_waiting_thread_learns_of_the_stop)
{
    for (int round = 0; round < 50; round++) {
        struct crew c;
        crew_start(&c, CREW);
        struct job late = job_new(&c, job_note);
        CHECK_EQ(port_set_deadline(c.port, &late.operation, CLOCK_NEVER), STARTED_PENDING);
        crew_finish(&c);
        CHECK_EQ(late.taken, 1);
        CHECK_STATUS(late.operation.status, MR_E_CANCELLED);
        crew_end(&c);
    }
}

/* C18: closing. */

TEST(contract, c18_closing_an_endpoint_closes_its_handle)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    CHECK_EQ(endpoint_handle(e), near_end);
    operation o = operation_new();
    operation_finish(p, &o, port_send(e, &o, "bye", 3));
    if (!fixture_can(FIXTURE_FAR_RESET))
        far_expect(far_end, "bye");
    endpoint_close(e);
    char buffer[16];
    if (fixture_can(FIXTURE_FAR_RESET))
        far_expect(far_end, "bye");
    CHECK_EQ(fixture_far_receive(far_end, buffer, sizeof buffer), -1);
    port_finish(p, NULL, NULL);
}

TEST(contract, c18_endpoints_are_closed_and_opened_without_end)
{
    port *p = port_new();
    for (int round = 0; round < 30; round++) {
        endpoint *e[40];
        for (int i = 0; i < 40; i++) {
            os_handle near_end, far_end;
            fixture_pair(&near_end, &far_end);
            e[i] = endpoint_new(p, near_end);
            if (i % 3 == 0)
                fixture_far_send(far_end, "unread", 6);
            fixture_far_close(far_end);
        }
        packet_none(p);
        for (int i = 0; i < 40; i++)
            endpoint_close(e[i]);
    }
    port_finish(p, NULL, NULL);
}

TEST(contract, c18_nothing_of_a_closed_endpoint_is_returned_even_while_its_event_is_dequeued)
{
    if (!fixture_can(FIXTURE_WATCH))
        return;
    struct crew c;
    crew_start(&c, CREW);
    for (unsigned round = 0; round < 4000; round++) {
        os_handle old = fixture_event(), young = fixture_event();
        endpoint *e = endpoint_new(c.port, old);
        struct job watch = job_new(&c, job_note), other = job_new(&c, job_note);
        CHECK_EQ(port_watch(e, &watch.operation, WAIT_IN), STARTED_PENDING);
        fixture_signal(old); /* a thread dequeues the event while this one cancels and closes */
        port_cancel(c.port, &watch.operation);
        crew_await_unlocked(&c, 1);
        endpoint_close(e);
        e = endpoint_new(c.port, young); /* most likely in the old one's place */
        CHECK_EQ(port_watch(e, &other.operation, WAIT_IN), STARTED_PENDING);
        port_cancel(c.port, &other.operation);
        crew_settle(&c, 2);
        CHECK_MSG(other.operation.status == MR_E_CANCELLED,
                  "round %u: a closed endpoint's event completed a wait on "
                  "another handle, which was never signalled",
                  round);
        endpoint_close(e);
    }
    crew_finish(&c);
    crew_end(&c);
}

TEST(contract, c18_a_closed_handle_is_refused_and_stays_the_callers)
{
    port *p = port_new();
    endpoint *e;
    CHECK_STATUS(endpoint_open(&e, p, fixture_closed()), MR_E_ARGUMENT);
    CHECK_STATUS(endpoint_open(&e, p, HANDLE_NONE), MR_E_ARGUMENT);
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    e = endpoint_new(p, near_end);
    endpoint *twice;
    CHECK_STATUS(endpoint_open(&twice, p, near_end), MR_E_ARGUMENT);
    fixture_far_send(far_end, "still open", 10);
    receive_message(p, e, "still open");
    port_finish(p, e, NULL);
}

/* C19: the results are filled in on every completion. */

static void results_check(const operation *o, int status, size_t bytes)
{
    CHECK_STATUS(o->status, status);
    CHECK_EQ(o->bytes, bytes);
    CHECK_EQ(o->accepted, HANDLE_NONE);
    if (status == MR_OK)
        CHECK_EQ(o->os_error, 0);
}

TEST(contract, c19_results_are_filled_in_on_every_completion)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    char buffer[16];
    operation o = operation_new(), second = operation_new();
    CHECK_EQ(port_receive(e, &o, buffer, sizeof buffer), STARTED_PENDING);
    CHECK_EQ(port_receive(e, &second, buffer, sizeof buffer), STARTED_DONE);
    results_check(&second, MR_E_ARGUMENT, 0);
    fixture_far_send(far_end, "seven b", 7);
    CHECK(packet_next(p) == &o);
    results_check(&o, MR_OK, 7);

    o = operation_new();
    CHECK_EQ(port_receive(e, &o, buffer, sizeof buffer), STARTED_PENDING);
    port_cancel(p, &o);
    CHECK(packet_next(p) == &o);
    results_check(&o, MR_E_CANCELLED, 0);

    o = operation_new();
    operation_finish(p, &o, port_send(e, &o, "abc", 3));
    results_check(&o, MR_OK, 3);

    o = operation_new();
    CHECK_EQ(port_set_deadline(p, &o, clock_now()), STARTED_PENDING);
    CHECK(packet_next(p) == &o);
    results_check(&o, MR_OK, 0);

    o = operation_new();
    CHECK_EQ(port_set_deadline(p, &o, CLOCK_NEVER), STARTED_PENDING);
    port_cancel(p, &o);
    CHECK(packet_next(p) == &o);
    results_check(&o, MR_E_CANCELLED, 0);

    if (fixture_can(FIXTURE_WATCH_PAIR)) {
        o = operation_new();
        operation_finish(p, &o, port_watch(e, &o, WAIT_OUT));
        results_check(&o, MR_OK, 0);
    }
    fixture_far_close(far_end);
    o = operation_new();
    operation_finish(p, &o, port_receive(e, &o, buffer, sizeof buffer));
    results_check(&o, MR_E_GONE, 0);
    o = operation_new();
    operation_finish(p, &o, port_send(e, &o, "abc", 3));
    results_check(&o, MR_E_GONE, 0);
    port_stop(p);
    o = operation_new();
    CHECK_EQ(port_receive(e, &o, buffer, sizeof buffer), STARTED_DONE);
    results_check(&o, MR_E_STOPPED, 0);
    o = operation_new();
    CHECK_EQ(port_set_deadline(p, &o, 0), STARTED_DONE);
    results_check(&o, MR_E_STOPPED, 0);
    port_finish(p, e, NULL);
}

/* C20: a failure of one operation is that operation's. */

TEST(contract, c20_a_failure_belongs_to_its_operation_alone)
{
    port *p = port_new();
    os_handle near_end, far_end, other_near, other_far;
    fixture_pair(&near_end, &far_end);
    fixture_pair(&other_near, &other_far);
    endpoint *e = endpoint_new(p, near_end), *other = endpoint_new(p, other_near);
    char buffer[16];
    operation failing = operation_new(), o = operation_new(), late = operation_new();
    CHECK_EQ(port_receive(other, &o, buffer, sizeof buffer), STARTED_PENDING);
    CHECK_EQ(port_set_deadline(p, &late, CLOCK_NEVER), STARTED_PENDING);
    fixture_far_send(far_end, "message", 7);
    operation_finish(p, &failing, fixture_start_failing(e, &failing));
    CHECK_STATUS(failing.status, MR_E_SYSTEM);
    CHECK(failing.os_error != 0);
    CHECK_EQ(failing.bytes, 0);
    CHECK_EQ(failing.accepted, HANDLE_NONE);
    packet_none(p);

    fixture_far_send(other_far, "fine", 4); /* the others go on, and so does the endpoint that failed */
    CHECK(packet_next(p) == &o);
    CHECK_STATUS(o.status, MR_OK);
    operation_finish(p, &failing, port_send(e, &failing, "again", 5));
    CHECK_STATUS(failing.status, MR_OK);
    CHECK_EQ(failing.os_error, 0);
    far_expect(far_end, "again");
    port_cancel(p, &late);
    CHECK(packet_next(p) == &late);
    port_finish(p, e, other);
}
