/* test_writer_pump.c: who sends what when, on a link in memory: attempts, order, back-off, time-outs, budget. */
#include "link_fake.h"
#include "writer_common.h"

#include "slots/writer_private.h"

static mr_writer *writer_start(uint32_t slot_number, mr_port *workers)
{
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.port = workers;
    options.levels = 3;
    options.queue_messages = 200000;
    mr_writer *writer;
    CHECK_STATUS(mr_writer_open(&writer, fake_name(slot_number), &options), MR_OK);
    return writer;
}

/* The slot is live and full. */
static void fake_full(uint32_t slot_number)
{
    fake_live(slot_number, true);
    fake_capacity(slot_number, 1);
    mr_writer *writer = writer_start(slot_number, NULL);
    CHECK_STATUS(write_number(writer, UINT64_MAX, 0), MR_OK);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

static void log_expect(size_t at, uint64_t number)
{
    struct fake_entry entry;
    CHECK(fake_log(&entry, at, 1) > at);
    CHECK_EQ(entry.number, number);
}

/* One write in a thread of its own. */
struct call {
    mr_writer *writer;
    uint64_t number;
    uint32_t level;
    uint32_t timeout_ms;
    int status;
    uint64_t took_ms;
    thread thread;
};

static void call_run(void *argument)
{
    struct call *call = argument;
    uint64_t begin = clock_now();
    call->status =
        mr_writer_write_timed(call->writer, &call->number, sizeof call->number, call->level, call->timeout_ms);
    call->took_ms = elapsed_ms(begin);
}

static void call_start(struct call *call)
{
    CHECK_STATUS(thread_start(&call->thread, "call", call_run, call), MR_OK);
}

/* Until `count` writes stand in the line. */
static void line_await(mr_writer *writer, size_t count)
{
    mutex_lock(&writer->lock);
    for (;;) {
        size_t there = 0;
        for (struct writer_waiter *waiter = writer->line; waiter != NULL; waiter = waiter->next)
            there++;
        if (there >= count)
            break;
        writer->watchers++;
        (void) condition_wait_until(&writer->changed, &writer->lock, clock_now() + MS);
        writer->watchers--;
    }
    mutex_unlock(&writer->lock);
}

/* ---- attempts ---- */

TEST(writer_pump, an_absent_slot_gets_exactly_two_attempts)
{
    mr_writer *writer = writer_start(0, NULL);
    CHECK_STATUS(write_number(writer, 1, 0), MR_E_NO_SLOT);
    CHECK_EQ(fake_counts().connects, 2);
    CHECK_EQ(fake_counts().sends, 0);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_pump, a_reader_that_has_gone_gets_one_attempt_and_one_after_reconnecting)
{
    fake_live(0, true);
    mr_writer *writer = writer_start(0, NULL);
    CHECK_STATUS(write_number(writer, 1, 0), MR_OK);
    fake_live(0, false);
    CHECK_STATUS(write_number(writer, 2, 0), MR_E_NO_SLOT);
    CHECK_EQ(fake_counts().sends, 2);
    CHECK_EQ(fake_counts().connects, 2);
    fake_live(0, true);
    CHECK_STATUS(write_number(writer, 3, 0), MR_OK);
    fake_live(0, false);
    fake_live(0, true); /* another reader under the same name */
    CHECK_STATUS(write_number(writer, 4, 0), MR_OK);
    CHECK_EQ(counts_of(writer).connects, 3);
    CHECK_EQ(counts_of(writer).written, 3);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_pump, a_write_that_comes_during_an_attempt_has_two_of_its_own)
{
    fake_live(0, true);
    mr_writer *writer = writer_start(0, NULL);
    CHECK_STATUS(write_number(writer, 1, 0), MR_OK);
    CHECK_EQ(fake_counts().connects, 1);
    fake_hold_send(2);
    struct call holder = {.writer = writer, .number = 2, .timeout_ms = MR_FOREVER, .level = 1};
    CHECK_STATUS(post_number(writer, 3, 0, NULL, NULL), MR_OK); /* so that its send is no matter of the lock */
    fake_await_sends(2);
    call_start(&holder);
    line_await(writer, 1);
    fake_hold_send(3);
    fake_await_log(2);
    fake_await_sends(3);
    struct call late = {.writer = writer, .number = 4, .timeout_ms = MR_FOREVER};
    call_start(&late);
    line_await(writer, 2);
    fake_live(0, false);
    fake_hold_send(0);
    thread_join(holder.thread);
    thread_join(late.thread);
    CHECK_STATUS(holder.status, MR_E_NO_SLOT); /* one send, one connect */
    CHECK_STATUS(late.status, MR_E_NO_SLOT);   /* that connect, and another */
    CHECK_EQ(fake_counts().connects, 3);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

/* A back-off of an hour: whatever is tried meanwhile is not the worker's doing. */
static mr_writer *writer_patient(void)
{
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.backoff_min_ms = options.backoff_max_ms = 3600000;
    options.linger_ms = 0;
    mr_writer *writer;
    CHECK_STATUS(mr_writer_open(&writer, fake_name(0), &options), MR_OK);
    return writer;
}

TEST(writer_pump, a_write_to_an_absent_slot_leaves_posted_messages_and_their_back_off_alone)
{
    mr_writer *writer = writer_patient();
    struct told told = {0};
    for (uint64_t n = 0; n < 3; n++)
        CHECK_STATUS(post_number(writer, n, MR_NORMAL, on_posted_count, &told), MR_OK);
    fake_await_connects(1);
    CHECK_STATUS(mr_writer_flush(writer, 20), MR_E_TIMEOUT);
    CHECK_EQ(fake_counts().connects, 1);
    CHECK_STATUS(write_number(writer, 10, MR_NORMAL), MR_E_NO_SLOT);
    CHECK_EQ(fake_counts().connects, 3);
    CHECK_STATUS(write_number(writer, 11, MR_URGENT), MR_E_NO_SLOT);
    CHECK_EQ(fake_counts().connects, 5);
    CHECK_STATUS(mr_writer_flush(writer, 50), MR_E_TIMEOUT);
    CHECK_EQ(fake_counts().connects, 5);
    CHECK_EQ(counts_of(writer).waiting, 3);
    CHECK_EQ(counts_of(writer).backoffs, 1);
    uint64_t undelivered;
    CHECK_STATUS(mr_writer_close(writer, &undelivered), MR_E_UNDELIVERED);
    CHECK_EQ(undelivered, 3);
    CHECK_EQ(told_with(&told, MR_E_UNDELIVERED), 3);
    CHECK_EQ(told_count(&told), 3);
}

TEST(writer_pump, a_write_that_finds_the_slot_takes_the_posted_messages_along)
{
    mr_writer *writer = writer_patient();
    for (uint64_t n = 0; n < 100; n++)
        CHECK_STATUS(post_number(writer, n, MR_NORMAL, NULL, NULL), MR_OK);
    fake_await_connects(1);
    CHECK_STATUS(mr_writer_flush(writer, 20), MR_E_TIMEOUT);
    fake_live(0, true);
    CHECK_STATUS(write_number(writer, 100, MR_NORMAL), MR_OK);
    CHECK_EQ(fake_counts().connects, 2);
    for (uint64_t n = 0; n <= 100; n++)
        log_expect((size_t) n, n);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

/* Waits for the attempts after number `*connects`, and checks the time between them. */
static void back_off_expect(uint64_t *connects, const uint64_t *gaps_ms, size_t count)
{
    uint64_t last = fake_await_connects(++*connects);
    for (size_t n = 0; n < count; n++) {
        uint64_t now = fake_await_connects(++*connects);
        CHECK_MSG(now - last + 5 * MS > gaps_ms[n] * MS && now - last < (gaps_ms[n] + 500) * MS, "wait %d was %llu us",
                  (int) n, (unsigned long long) (now - last) / 1000);
        last = now;
    }
}

TEST(writer_pump, the_back_off_doubles_up_to_its_bound_and_begins_anew_after_a_success)
{
    static const uint64_t gaps_ms[] = {50, 100, 200, 400, 700};
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.backoff_min_ms = 50;
    options.backoff_max_ms = 700;
    mr_writer *writer;
    CHECK_STATUS(mr_writer_open(&writer, fake_name(0), &options), MR_OK);
    uint64_t connects = 0;
    CHECK_STATUS(post_number(writer, 1, MR_NORMAL, NULL, NULL), MR_OK);
    back_off_expect(&connects, gaps_ms, 5);
    CHECK(counts_of(writer).backoffs >= 5);
    fake_live(0, true); /* a wait of 700 ms has just begun: a write ends it, and the posted message goes first */
    CHECK_STATUS(write_number(writer, 2, MR_NORMAL), MR_OK);
    log_expect(0, 1);
    log_expect(1, 2);
    fake_live(0, false);
    connects = fake_counts().connects;
    CHECK_STATUS(post_number(writer, 3, MR_NORMAL, NULL, NULL), MR_OK);
    back_off_expect(&connects, gaps_ms, 2);
    fake_live(0, true);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_pump, a_success_in_between_ends_the_back_off)
{
    mr_writer *writer = writer_patient();
    CHECK_STATUS(post_number(writer, 1, MR_NORMAL, NULL, NULL), MR_OK);
    fake_await_connects(1);
    CHECK_STATUS(mr_writer_flush(writer, 20), MR_E_TIMEOUT);
    fake_live(0, true);
    CHECK_STATUS(write_number(writer, 2, MR_NORMAL), MR_OK);
    fake_live(0, false);
    CHECK_STATUS(post_number(writer, 3, MR_NORMAL, NULL, NULL), MR_OK);
    fake_await_connects(3);
    CHECK_STATUS(mr_writer_flush(writer, 20), MR_E_TIMEOUT);
    CHECK_EQ(counts_of(writer).backoffs, 2);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_E_UNDELIVERED);
}

TEST(writer_pump, posted_messages_reconnect_at_once_when_the_reader_was_replaced)
{
    fake_live(0, true);
    mr_writer *writer = writer_patient();
    CHECK_STATUS(post_number(writer, 0, MR_NORMAL, NULL, NULL), MR_OK);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    fake_live(0, false);
    fake_live(0, true);
    CHECK_STATUS(post_number(writer, 1, MR_NORMAL, NULL, NULL), MR_OK);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    CHECK_EQ(counts_of(writer).backoffs, 0);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

/* ---- refusals ---- */

TEST(writer_pump, no_access_is_told_to_everything_that_waits_and_not_tried_again)
{
    mr_writer *writer = writer_patient();
    struct told told = {0};
    for (uint64_t n = 0; n < 10; n++)
        CHECK_STATUS(post_number(writer, n, (uint32_t) n % 2, on_posted_count, &told), MR_OK);
    fake_await_connects(1);
    CHECK_STATUS(mr_writer_flush(writer, 20), MR_E_TIMEOUT);
    fake_connect_result(0, MR_E_ACCESS);
    fake_live(0, true);
    CHECK_STATUS(write_number(writer, 10, MR_URGENT), MR_E_ACCESS);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_E_DROPPED);
    CHECK_EQ(told_with(&told, MR_E_ACCESS), 10);
    CHECK_EQ(told_count(&told), 10);
    CHECK_EQ(counts_of(writer).dropped_refused, 10);
    CHECK_EQ(counts_of(writer).waiting, 0);
    CHECK_EQ(fake_counts().connects, 2);
    CHECK_STATUS(mr_writer_flush(writer, 0), MR_OK);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_pump, an_untrusted_slot_gets_nothing_and_posted_messages_wait_for_the_right_one)
{
    fake_connect_result(0, MR_E_OWNER);
    fake_live(0, true);
    mr_writer *writer = writer_patient();
    CHECK_STATUS(post_number(writer, 1, MR_NORMAL, NULL, NULL), MR_OK);
    fake_await_connects(1);
    CHECK_STATUS(write_number(writer, 2, MR_NORMAL), MR_E_OWNER);
    CHECK_EQ(counts_of(writer).waiting, 1);
    CHECK_EQ(fake_counts().sends, 0);
    fake_connect_result(0, MR_OK);
    CHECK_STATUS(write_number(writer, 3, MR_NORMAL), MR_OK);
    log_expect(0, 1);
    log_expect(1, 3);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_pump, too_big_is_told_and_the_connection_stays)
{
    fake_live(0, true);
    fake_max_message(0, 100);
    mr_writer *writer = writer_start(0, NULL);
    struct told told = {0};
    char data[200] = {0};
    CHECK_STATUS(mr_writer_post(writer, data, 101, 0, on_posted_count, &told), MR_OK); /* the bound is not known yet */
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_E_DROPPED);
    CHECK_EQ(told_with(&told, MR_E_TOO_BIG), 1);
    CHECK_STATUS(mr_writer_post(writer, data, 101, 0, on_posted_count, &told), MR_E_TOO_BIG);
    CHECK_STATUS(mr_writer_write(writer, data, 101, 0), MR_E_TOO_BIG);
    CHECK_STATUS(mr_writer_write(writer, data, 100, 0), MR_OK);
    CHECK_EQ(told_count(&told), 1);
    CHECK_EQ(counts_of(writer).connects, 1);
    CHECK_EQ(counts_of(writer).dropped_refused, 1);
    CHECK_EQ(fake_log(NULL, 0, 0), 1);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

/* ---- order ---- */

TEST(writer_pump, urgent_goes_first_and_a_write_never_overtakes_a_post_of_its_level)
{
    fake_full(0);
    mr_writer *writer = writer_start(0, NULL);
    CHECK_STATUS(post_number(writer, 1, 1, NULL, NULL), MR_OK);
    struct call call = {.writer = writer, .number = 2, .level = 1, .timeout_ms = MR_FOREVER};
    call_start(&call);
    line_await(writer, 1);
    CHECK_STATUS(post_number(writer, 3, 1, NULL, NULL), MR_OK);
    CHECK_STATUS(post_number(writer, 4, 0, NULL, NULL), MR_OK);
    CHECK_STATUS(post_number(writer, 5, 2, NULL, NULL), MR_OK);
    for (size_t n = 1; n <= 5; n++) {
        fake_drain(0, 1);
        fake_await_log(n + 1);
    }
    thread_join(call.thread);
    CHECK_STATUS(call.status, MR_OK);
    static const uint64_t order[] = {5, 1, 2, 3, 4};
    for (size_t n = 0; n < 5; n++)
        log_expect(n + 1, order[n]);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_pump, waiting_writes_go_by_level_and_then_in_the_order_in_which_they_came)
{
    fake_full(0);
    mr_writer *writer = writer_start(0, NULL);
    struct call calls[4];
    static const uint32_t levels[] = {0, 0, 1, 0};
    for (size_t n = 0; n < 4; n++) {
        calls[n] = (struct call){.writer = writer, .number = n, .level = levels[n], .timeout_ms = MR_FOREVER};
        call_start(&calls[n]);
        line_await(writer, n + 1);
    }
    for (size_t n = 1; n <= 4; n++) {
        fake_drain(0, 1);
        fake_await_log(n + 1);
    }
    static const uint64_t order[] = {2, 0, 1, 3};
    for (size_t n = 0; n < 4; n++) {
        log_expect(n + 1, order[n]);
        thread_join(calls[n].thread);
        CHECK_STATUS(calls[n].status, MR_OK);
    }
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_pump, one_urgent_after_100000_normal_is_the_next_to_leave)
{
    fake_full(0);
    mr_writer *writer = writer_start(0, NULL);
    for (uint64_t n = 0; n < 100000; n++)
        CHECK_STATUS(post_number(writer, n, MR_NORMAL, NULL, NULL), MR_OK);
    CHECK_STATUS(post_number(writer, 777777, MR_URGENT, NULL, NULL), MR_OK);
    fake_drain(0, 1);
    fake_await_log(2);
    log_expect(1, 777777);
    fake_capacity(0, 0);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    for (uint64_t n = 0; n < 100000; n++)
        log_expect((size_t) n + 2, n);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_pump, writers_of_one_port_take_turns)
{
    mr_port_options options = MR_PORT_OPTIONS_INIT;
    options.concurrency = options.workers_max = 1;
    mr_port *workers;
    CHECK_STATUS(mr_port_open(&workers, &options), MR_OK);
    fake_full(0);
    mr_writer *modest = writer_start(0, workers);
    mr_writer *busy = writer_start(0, workers); /* the fake serves the youngest link first */
    for (uint64_t n = 0; n < 20000; n++)
        CHECK_STATUS(post_number(busy, n, MR_NORMAL, NULL, NULL), MR_OK);
    CHECK_STATUS(post_number(modest, 99999, MR_NORMAL, NULL, NULL), MR_OK);
    fake_await_watches(2);
    fake_capacity(0, 0);
    CHECK_STATUS(mr_writer_flush(busy, LONG_MS), MR_OK);
    CHECK_STATUS(mr_writer_flush(modest, LONG_MS), MR_OK);
    size_t at = 0;
    struct fake_entry entry;
    while (fake_log(&entry, at, 1) > at && entry.number != 99999)
        at++;
    CHECK_MSG(at <= 1 + 2 * PUMP_MESSAGES, "it came only after %d others", (int) at);
    CHECK_STATUS(mr_writer_close(busy, NULL), MR_OK);
    CHECK_STATUS(mr_writer_close(modest, NULL), MR_OK);
    CHECK_STATUS(mr_port_close(workers), MR_OK);
}

/* ---- time-outs ---- */

TEST(writer_pump, a_full_slot_times_out_after_the_time_and_not_before)
{
    fake_full(0);
    mr_writer *writer = writer_start(0, NULL);
    for (uint32_t ms = 0; ms <= 100; ms += 50) {
        uint64_t begin = clock_now();
        CHECK_STATUS(mr_writer_write_timed(writer, "12345678", 8, 0, ms), MR_E_TIMEOUT);
        CHECK(elapsed_ms(begin) >= ms);
    }
    fake_capacity(0, 0);
    CHECK_STATUS(write_number(writer, 1, 0), MR_OK);
    log_expect(1, 1); /* what timed out was not sent */
    CHECK_EQ(fake_log(NULL, 0, 0), 2);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_pump, every_waiting_thread_has_a_time_out_of_its_own)
{
    fake_full(0);
    mr_writer *writer = writer_start(0, NULL);
    struct call calls[6];
    for (size_t n = 0; n < 6; n++) {
        calls[n] = (struct call){
            .writer = writer, .number = n, .level = (uint32_t) n % 3, .timeout_ms = 300 - (uint32_t) n * 40};
        call_start(&calls[n]);
    }
    for (size_t n = 0; n < 6; n++) {
        thread_join(calls[n].thread);
        CHECK_STATUS(calls[n].status, MR_E_TIMEOUT);
        CHECK(calls[n].took_ms >= calls[n].timeout_ms);
        CHECK_MSG(calls[n].took_ms < calls[n].timeout_ms + LONG_MS, "took %d ms", (int) calls[n].took_ms);
    }
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_pump, the_line_goes_on_when_its_pumping_thread_gives_up)
{
    fake_full(0);
    mr_writer *writer = writer_start(0, NULL);
    struct call first = {.writer = writer, .number = 1, .timeout_ms = 50};
    struct call second = {.writer = writer, .number = 2, .timeout_ms = MR_FOREVER};
    call_start(&first);
    fake_await_waits(1);
    call_start(&second); /* stands in the line in time, but where the machine has stood still for so long */
    thread_join(first.thread);
    CHECK_STATUS(first.status, MR_E_TIMEOUT);
    fake_await_waits(2);
    fake_drain(0, 1);
    thread_join(second.thread);
    CHECK_STATUS(second.status, MR_OK);
    log_expect(1, 2);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_pump, a_write_without_waiting_succeeds_while_a_worker_is_sending)
{
    fake_live(0, true);
    fake_hold_send(1);
    mr_writer *writer = writer_start(0, NULL);
    for (uint64_t n = 0; n < 3; n++)
        CHECK_STATUS(post_number(writer, n, MR_NORMAL, NULL, NULL), MR_OK);
    fake_await_sends(1);
    struct call impatient = {.writer = writer, .number = 3, .timeout_ms = 0};
    call_start(&impatient);
    line_await(writer, 1);
    fake_hold_send(0);
    thread_join(impatient.thread);
    CHECK_STATUS(impatient.status, MR_OK);
    CHECK_EQ(fake_log(NULL, 0, 0), 4);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_pump, a_write_does_not_depend_on_the_port)
{
    mr_port_options options = MR_PORT_OPTIONS_INIT;
    options.concurrency = options.workers_max = 1;
    mr_port *workers;
    CHECK_STATUS(mr_port_open(&workers, &options), MR_OK);
    fake_full(0);
    mr_writer *writer = writer_start(0, workers);
    CHECK_STATUS(post_number(writer, 1, 0, NULL, NULL), MR_OK);
    fake_await_watches(1);
    mr_writer *blocker = writer_start(1, workers); /* holds the only worker inside its link_send */
    fake_live(1, true);
    fake_hold_send(3);
    CHECK_STATUS(post_number(blocker, 2, 0, NULL, NULL), MR_OK);
    fake_await_sends(3);
    fake_capacity(0, 0);
    CHECK_STATUS(write_number(writer, 3, 0), MR_OK);
    log_expect(1, 1);
    log_expect(2, 3);
    fake_hold_send(0);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
    CHECK_STATUS(mr_writer_close(blocker, NULL), MR_OK);
    CHECK_STATUS(mr_port_close(workers), MR_OK);
}

TEST(writer_pump, a_full_queue_of_connections_times_out_and_is_tried_again_for_posted_messages)
{
    fake_connect_result(0, MR_E_TIMEOUT);
    fake_live(0, true);
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.backoff_min_ms = 1;
    mr_writer *writer;
    CHECK_STATUS(mr_writer_open(&writer, fake_name(0), &options), MR_OK);
    uint64_t begin = clock_now();
    CHECK_STATUS(mr_writer_write_timed(writer, "12345678", 8, 0, 120), MR_E_TIMEOUT);
    CHECK(elapsed_ms(begin) >= 120);
    CHECK_STATUS(post_number(writer, 1, 0, NULL, NULL), MR_OK);
    CHECK_STATUS(mr_writer_flush(writer, 20), MR_E_TIMEOUT);
    fake_connect_result(0, MR_OK);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    CHECK_EQ(counts_of(writer).written, 1);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}
