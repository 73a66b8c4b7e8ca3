/* test_writer_acknowledged.c: what a writer does on a lane that acknowledges, on a link in memory: flush, linger, what is kept
 * for an absent reader, what is sent again when a reader has died, and what is told of drops. */
#include "link_fake.h"
#include "writer_common.h"

#include "slots/writer_private.h"

/* Everything here is with a link that acknowledges. */
static mr_writer *writer_start(const mr_writer_options *options)
{
    fake_acknowledges(true);
    mr_writer *writer;
    CHECK_STATUS(mr_writer_open(&writer, fake_name(0), options), MR_OK);
    return writer;
}

static mr_writer_options options_quick(void)
{
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.backoff_min_ms = 1;
    options.backoff_max_ms = 5;
    return options;
}

static struct fake_entry log_at(size_t at)
{
    struct fake_entry entry;
    CHECK(fake_log(&entry, at, 1) > at);
    return entry;
}

static size_t log_count(void)
{
    return fake_log(NULL, 0, 0);
}

static void log_expect(size_t at, uint64_t number, bool redelivered)
{
    struct fake_entry entry = log_at(at);
    CHECK_EQ(entry.gap, 0);
    CHECK_EQ(entry.number, number);
    CHECK_EQ(entry.redelivered, redelivered);
}

static void log_expect_gap(size_t at, uint32_t level, uint64_t count)
{
    struct fake_entry entry = log_at(at);
    CHECK_EQ(entry.gap, count);
    CHECK_EQ(entry.level, level);
}

/* A call in a thread of its own. */
struct call {
    mr_writer *writer;
    uint32_t timeout_ms;
    uint64_t number;
    uint32_t level;
    int status;
    uint64_t undelivered;
    _Atomic bool over;
    thread thread;
};

static void flush_run(void *argument)
{
    struct call *call = argument;
    call->status = mr_writer_flush(call->writer, call->timeout_ms);
    atomic_store_explicit(&call->over, true, memory_order_release);
}

static void write_run(void *argument)
{
    struct call *call = argument;
    call->status =
        mr_writer_write_timed(call->writer, &call->number, sizeof call->number, call->level, call->timeout_ms);
}

static void close_run(void *argument)
{
    struct call *call = argument;
    call->status = mr_writer_close(call->writer, &call->undelivered);
    atomic_store_explicit(&call->over, true, memory_order_release);
}

static void rename_run(void *argument)
{
    struct call *call = argument;
    call->status = mr_writer_rename(call->writer, fake_name(1));
    atomic_store_explicit(&call->over, true, memory_order_release);
}

static void call_start(struct call *call, void (*run)(void *))
{
    CHECK_STATUS(thread_start(&call->thread, "call", run, call), MR_OK);
}

static bool is_over(struct call *call)
{
    return atomic_load_explicit(&call->over, memory_order_acquire);
}

/* ---- flush ---- */

TEST(writer_acknowledged, flush_returns_when_what_was_written_is_acknowledged)
{
    fake_live(0, true);
    mr_writer *writer = writer_start(NULL);
    for (uint64_t n = 0; n < 10; n++)
        CHECK_STATUS(write_number(writer, n, n % 2), MR_OK);
    CHECK_EQ(counts_of(writer).unacknowledged, 10);
    CHECK_STATUS(mr_writer_flush(writer, 0), MR_E_TIMEOUT);
    struct call call = {.writer = writer, .timeout_ms = MR_FOREVER};
    call_start(&call, flush_run);
    fake_await_awaits(1);
    fake_drain(0, 9);
    CHECK_STATUS(mr_writer_flush(writer, 30), MR_E_TIMEOUT);
    CHECK(strstr(mr_last_error_text(), "1 messages are not acknowledged") != NULL);
    CHECK(!is_over(&call));
    fake_drain(0, 1);
    thread_join(call.thread);
    CHECK_STATUS(call.status, MR_OK);
    CHECK_STATUS(mr_writer_flush(writer, 0), MR_OK);
    CHECK_EQ(counts_of(writer).unacknowledged, 0);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_acknowledged, flush_waits_for_what_was_posted_to_be_handed_over_told_and_acknowledged)
{
    fake_live(0, true);
    mr_writer *writer = writer_start(NULL);
    struct told told = {0};
    for (uint64_t n = 0; n < 300; n++)
        CHECK_STATUS(post_number(writer, n, MR_NORMAL, on_posted_count, &told), MR_OK);
    struct call call = {.writer = writer, .timeout_ms = MR_FOREVER};
    call_start(&call, flush_run);
    fake_await_log(300);
    fake_await_awaits(1);
    CHECK(!is_over(&call));
    CHECK_EQ(told_count(&told), 300);
    fake_drain(0, 300);
    thread_join(call.thread);
    CHECK_STATUS(call.status, MR_OK);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_acknowledged, flush_does_not_wait_for_what_is_written_after_it)
{
    fake_live(0, true);
    mr_writer *writer = writer_start(NULL);
    CHECK_STATUS(write_number(writer, 0, MR_NORMAL), MR_OK);
    struct call call = {.writer = writer, .timeout_ms = MR_FOREVER};
    call_start(&call, flush_run);
    fake_await_awaits(1);
    for (uint64_t n = 1; n < 20; n++)
        CHECK_STATUS(write_number(writer, n, MR_NORMAL), MR_OK);
    fake_drain(0, 1);
    thread_join(call.thread);
    CHECK_STATUS(call.status, MR_OK);
    CHECK_EQ(counts_of(writer).unacknowledged, 19);
    fake_drain(0, 19);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

/* I8: nobody acknowledges until all of them have come through. */
TEST(writer_acknowledged, flush_holds_up_neither_writes_nor_posts_of_other_threads)
{
    fake_live(0, true);
    mr_writer *writer = writer_start(NULL);
    CHECK_STATUS(write_number(writer, 0, MR_NORMAL), MR_OK);
    struct call calls[3];
    for (size_t n = 0; n < 3; n++) {
        calls[n] = (struct call){.writer = writer, .timeout_ms = MR_FOREVER};
        call_start(&calls[n], flush_run);
    }
    fake_await_awaits(1);
    struct told told = {0};
    for (uint64_t n = 1; n <= 200; n++) {
        CHECK_STATUS(mr_writer_write_timed(writer, &n, sizeof n, n % 2, n % 3 == 0 ? 0 : LONG_MS), MR_OK);
        CHECK_STATUS(post_number(writer, 1000 + n, MR_NORMAL, on_posted_count, &told), MR_OK);
    }
    fake_await_log(401);
    for (size_t n = 0; n < 3; n++)
        CHECK(!is_over(&calls[n]));
    while (told_count(&told) < 200) /* by a worker, while the flushing thread has the role */
        thread_yield(100);
    fake_drain(0, 1000);
    for (size_t n = 0; n < 3; n++) {
        thread_join(calls[n].thread);
        CHECK_STATUS(calls[n].status, MR_OK);
    }
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_acknowledged, each_flush_returns_at_its_own_mark_whoever_waits_with_the_role)
{
    fake_live(0, true);
    mr_writer *writer = writer_start(NULL);
    struct call calls[3];
    for (uint64_t n = 0; n < 3; n++) {
        CHECK_STATUS(write_number(writer, n, MR_NORMAL), MR_OK);
        calls[n] = (struct call){.writer = writer, .timeout_ms = MR_FOREVER};
        call_start(&calls[n], flush_run);
        mutex_lock(&writer->lock);
        for (bool marked = false; !marked;) { /* before the next message is written */
            size_t count = 0;
            for (struct writer_flush *flush = writer->flushes; flush != NULL; flush = flush->next)
                count += flush->marked;
            marked = count == n + 1;
            writer->watchers++;
            (void) condition_wait_until(&writer->changed, &writer->lock, clock_now() + MS);
            writer->watchers--;
        }
        mutex_unlock(&writer->lock);
    }
    for (uint64_t n = 0; n < 3; n++) {
        fake_drain(0, 1);
        thread_join(calls[n].thread);
        CHECK_STATUS(calls[n].status, MR_OK);
        CHECK_EQ(counts_of(writer).unacknowledged, 2 - n);
    }
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_acknowledged, flush_goes_on_trying_an_absent_slot_until_its_time_out)
{
    fake_live(0, true);
    mr_writer_options options = options_quick();
    options.linger_ms = 0;
    mr_writer *writer = writer_start(&options);
    CHECK_STATUS(write_number(writer, 1, MR_NORMAL), MR_OK);
    CHECK_STATUS(write_number(writer, 2, MR_NORMAL), MR_OK);
    fake_live(0, false);
    uint64_t begin = clock_now();
    CHECK_STATUS(mr_writer_flush(writer, 60), MR_E_TIMEOUT);
    CHECK(elapsed_ms(begin) >= 60);
    CHECK(strstr(mr_last_error_text(), "2 messages are not acknowledged") != NULL);
    struct call call = {.writer = writer, .timeout_ms = MR_FOREVER};
    call_start(&call, flush_run);
    fake_await_connects(fake_counts().connects + 5);
    fake_live(0, true);
    fake_await_log(4);
    log_expect(2, 1, true);
    log_expect(3, 2, true);
    fake_drain(0, 2);
    thread_join(call.thread);
    CHECK_STATUS(call.status, MR_OK);
    CHECK_EQ(counts_of(writer).redelivered, 2);
    CHECK_EQ(counts_of(writer).connects, 2);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_acknowledged, flush_says_that_the_slot_refuses)
{
    static const int refusals[] = {MR_E_ACCESS, MR_E_OWNER, MR_E_DESCRIPTORS};
    fake_live(0, true);
    mr_writer_options options = options_quick();
    options.linger_ms = 0;
    mr_writer *writer = writer_start(&options);
    CHECK_STATUS(write_number(writer, 1, MR_NORMAL), MR_OK);
    for (size_t n = 0; n < 3; n++) {
        fake_live(0, false);
        fake_connect_result(0, refusals[n]);
        fake_live(0, true);
        CHECK_STATUS(mr_writer_flush(writer, LONG_MS), refusals[n]);
    }
    fake_connect_result(0, MR_OK);
    struct call call = {.writer = writer, .timeout_ms = MR_FOREVER};
    uint64_t awaits = fake_counts().awaits;
    call_start(&call, flush_run);
    fake_await_awaits(awaits + 1);
    fake_refuse(0); /* in the answer, once it is connected */
    thread_join(call.thread);
    CHECK_STATUS(call.status, MR_E_ACCESS);
    uint64_t undelivered;
    CHECK_STATUS(mr_writer_close(writer, &undelivered), MR_E_UNDELIVERED);
    CHECK_EQ(undelivered, 1);
}

TEST(writer_acknowledged, a_write_that_is_refused_says_so_and_is_not_tried_again)
{
    fake_live(0, true);
    mr_writer_options options = options_quick();
    options.linger_ms = 0;
    mr_writer *writer = writer_start(&options);
    CHECK_STATUS(write_number(writer, 1, MR_NORMAL), MR_OK);
    fake_refuse(0);
    CHECK_STATUS(write_number(writer, 2, MR_NORMAL), MR_E_ACCESS);
    CHECK_EQ(log_count(), 1);
    CHECK_EQ(fake_counts().connects, 1);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_E_UNDELIVERED);
}

TEST(writer_acknowledged, flush_of_nothing_asks_nobody)
{
    mr_writer *writer = writer_start(NULL);
    CHECK_STATUS(mr_writer_flush(writer, MR_FOREVER), MR_OK);
    CHECK_EQ(fake_counts().connects, 0);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_acknowledged, flush_is_ended_by_close)
{
    fake_live(0, true);
    mr_writer_options options = options_quick();
    options.linger_ms = 0;
    for (unsigned absent = 0; absent < 2; absent++) {
        mr_writer *writer = writer_start(&options);
        CHECK_STATUS(write_number(writer, 1, MR_NORMAL), MR_OK);
        struct call calls[2];
        uint64_t awaits = fake_counts().awaits;
        for (size_t n = 0; n < 2; n++) {
            calls[n] = (struct call){.writer = writer, .timeout_ms = MR_FOREVER};
            call_start(&calls[n], flush_run);
        }
        fake_await_awaits(awaits + 1);
        mutex_lock(&writer->lock);
        while (writer->inside < 2) {
            writer->watchers++;
            (void) condition_wait_until(&writer->changed, &writer->lock, clock_now() + MS);
            writer->watchers--;
        }
        mutex_unlock(&writer->lock);
        if (absent)
            fake_live(0, false);
        uint64_t undelivered;
        CHECK_STATUS(mr_writer_close(writer, &undelivered), MR_E_UNDELIVERED);
        CHECK_EQ(undelivered, 1);
        for (size_t n = 0; n < 2; n++) {
            thread_join(calls[n].thread);
            CHECK_STATUS(calls[n].status, MR_E_STOPPED);
        }
    }
}

/* ---- levels ---- */

/* I8: a full level does not hold up what is above it. */
TEST(writer_acknowledged, an_urgent_write_goes_out_while_another_thread_waits_for_room_at_the_normal_level)
{
    fake_live(0, true);
    fake_capacity(0, 2);
    mr_writer *writer = writer_start(NULL);
    for (uint64_t n = 0; n < 2; n++)
        CHECK_STATUS(write_number(writer, n, MR_NORMAL), MR_OK);
    struct call normal = {.writer = writer, .timeout_ms = MR_FOREVER, .number = 2};
    call_start(&normal, write_run);
    fake_await_waits(1);
    uint64_t urgent = 10;
    CHECK_STATUS(mr_writer_write_timed(writer, &urgent, sizeof urgent, MR_URGENT, 0), MR_OK);
    CHECK_STATUS(post_number(writer, 11, MR_URGENT, NULL, NULL), MR_OK);
    fake_await_log(4);
    log_expect(2, 10, false);
    log_expect(3, 11, false);
    fake_drain(0, 10);
    thread_join(normal.thread);
    CHECK_STATUS(normal.status, MR_OK);
    fake_drain(0, 10);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_acknowledged, an_urgent_post_goes_out_while_posted_ones_wait_for_room_at_the_normal_level)
{
    fake_live(0, true);
    fake_capacity(0, 2);
    mr_writer *writer = writer_start(NULL);
    for (uint64_t n = 0; n < 5; n++)
        CHECK_STATUS(post_number(writer, n, MR_NORMAL, NULL, NULL), MR_OK);
    fake_await_watches(1);
    CHECK_STATUS(post_number(writer, 10, MR_URGENT, NULL, NULL), MR_OK);
    fake_await_log(3);
    log_expect(2, 10, false);
    fake_drain_always(0, true);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

/* ---- close and rename ---- */

TEST(writer_acknowledged, close_lingers_for_what_is_unacknowledged)
{
    fake_live(0, true);
    mr_writer_options options = options_quick();
    options.linger_ms = LONG_MS;
    mr_writer *writer = writer_start(&options);
    for (uint64_t n = 0; n < 3; n++)
        CHECK_STATUS(write_number(writer, n, MR_NORMAL), MR_OK);
    struct call call = {.writer = writer, .undelivered = 9};
    call_start(&call, close_run);
    fake_await_awaits(1);
    fake_drain(0, 2);
    fake_live(0, false); /* the reader dies, another one comes while the writer lingers */
    fake_live(0, true);
    fake_await_log(4);
    log_expect(3, 2, true);
    CHECK(!is_over(&call));
    fake_drain(0, 1);
    thread_join(call.thread);
    CHECK_STATUS(call.status, MR_OK);
    CHECK_EQ(call.undelivered, 0);
    CHECK_EQ(fake_counts().links, 0);
}

TEST(writer_acknowledged, close_counts_what_is_unacknowledged_and_what_is_posted)
{
    fake_live(0, true);
    fake_capacity(0, 4);
    mr_writer_options options = options_quick();
    options.linger_ms = 40;
    mr_writer *writer = writer_start(&options);
    struct told told = {0};
    for (uint64_t n = 0; n < 10; n++)
        CHECK_STATUS(post_number(writer, n, MR_NORMAL, on_posted_count, &told), MR_OK);
    fake_await_log(4);
    uint64_t undelivered, begin = clock_now();
    CHECK_STATUS(mr_writer_close(writer, &undelivered), MR_E_UNDELIVERED);
    CHECK(elapsed_ms(begin) >= 40);
    CHECK_EQ(undelivered, 10);
    CHECK_EQ(told_with(&told, MR_OK), 4);
    CHECK_EQ(told_with(&told, MR_E_UNDELIVERED), 6);
}

TEST(writer_acknowledged, rename_waits_for_what_was_written_to_be_acknowledged_and_counts_the_rest)
{
    fake_live(0, true);
    fake_live(1, true);
    mr_writer_options options = options_quick();
    options.linger_ms = LONG_MS;
    mr_writer *writer = writer_start(&options);
    CHECK_STATUS(write_number(writer, 1, MR_NORMAL), MR_OK);
    struct call call = {.writer = writer};
    call_start(&call, rename_run);
    fake_await_awaits(1);
    CHECK(!is_over(&call));
    fake_drain(0, 1);
    thread_join(call.thread);
    CHECK_STATUS(call.status, MR_OK);
    CHECK_STATUS(write_number(writer, 2, MR_NORMAL), MR_OK);
    CHECK_EQ(log_at(1).slot, 1);
    fake_live(1, false); /* absent: it is left at once */
    uint64_t begin = clock_now();
    CHECK_STATUS(mr_writer_rename(writer, fake_name(0)), MR_E_UNDELIVERED);
    CHECK(elapsed_ms(begin) < LONG_MS / 2);
    CHECK_EQ(counts_of(writer).undelivered, 1);
    CHECK_EQ(counts_of(writer).unacknowledged, 0);
    fake_live(1, true);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_E_DROPPED);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    CHECK_EQ(log_count(), 2); /* it did not go to the other slot, nor later to its own */
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_acknowledged, rename_waits_for_a_reader_that_has_left_the_name_first)
{
    fake_live(0, true);
    fake_live(1, true);
    mr_writer_options options = options_quick();
    options.linger_ms = LONG_MS;
    mr_writer *writer = writer_start(&options);
    CHECK_STATUS(write_number(writer, 1, MR_NORMAL), MR_OK);
    fake_leave(0);
    struct call call = {.writer = writer};
    call_start(&call, rename_run);
    fake_await_connects(fake_counts().connects + 3); /* nobody there */
    CHECK(!is_over(&call));
    fake_drain(0, 1);
    thread_join(call.thread);
    CHECK_STATUS(call.status, MR_OK);
    CHECK_EQ(counts_of(writer).undelivered, 0);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

/* ---- a reader that dies ---- */

TEST(writer_acknowledged, the_next_write_brings_the_next_reader_what_the_last_one_left)
{
    fake_live(0, true);
    mr_writer *writer = writer_start(NULL);
    for (uint64_t n = 0; n < 3; n++)
        CHECK_STATUS(write_number(writer, n, MR_NORMAL), MR_OK);
    fake_drain(0, 1);
    fake_live(0, false);
    CHECK_STATUS(write_number(writer, 3, MR_NORMAL), MR_E_NO_SLOT);
    CHECK_EQ(counts_of(writer).unacknowledged, 2);
    fake_live(0, true);
    CHECK_STATUS(write_number(writer, 4, MR_NORMAL), MR_OK);
    log_expect(3, 1, true);
    log_expect(4, 2, true);
    log_expect(5, 4, false);
    CHECK_EQ(log_count(), 6);
    fake_drain(0, 3);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

/* I10. Nobody calls anything after the post. */
TEST(writer_acknowledged, a_writer_that_has_posted_redelivers_by_itself)
{
    fake_live(0, true);
    mr_writer_options options = options_quick();
    mr_writer *writer = writer_start(&options);
    CHECK_STATUS(post_number(writer, 1, MR_NORMAL, NULL, NULL), MR_OK);
    fake_await_log(1);
    fake_await_watched_ends(1);
    CHECK_STATUS(write_number(writer, 2, MR_NORMAL), MR_OK);
    for (uint64_t round = 0; round < 20; round++) {
        fake_live(0, false);
        if (round % 2 == 0)
            fake_await_connects(fake_counts().connects + 3); /* absent for a while */
        fake_live(0, true);
        fake_await_log((size_t) (2 * round + 4));
        log_expect((size_t) (2 * round + 2), 1, true);
        log_expect((size_t) (2 * round + 3), 2, true);
    }
    fake_drain(0, 2);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    uint64_t connects = fake_counts().connects;
    fake_live(0, false); /* nothing is left: nobody is looked for */
    fake_live(0, true);
    CHECK_STATUS(write_number(writer, 3, MR_NORMAL), MR_OK);
    CHECK_EQ(fake_counts().connects, connects + 1);
    fake_drain(0, 1);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_acknowledged, a_reader_that_dies_again_and_again_is_offered_the_messages_with_the_back_off)
{
    fake_live(0, true);
    mr_writer_options options = options_quick();
    options.backoff_min_ms = 20;
    options.backoff_max_ms = 40;
    options.linger_ms = 0;
    mr_writer *writer = writer_start(&options);
    CHECK_STATUS(post_number(writer, 1, MR_NORMAL, NULL, NULL), MR_OK);
    fake_await_log(1);
    fake_await_watched_ends(1);
    uint64_t begin = clock_now();
    for (size_t n = 0; n < 5; n++) {
        fake_live(0, false);
        fake_live(0, true);
        fake_await_log(n + 2);
    }
    CHECK(elapsed_ms(begin) >= 4 * 20);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_E_UNDELIVERED);
}

TEST(writer_acknowledged, close_ends_the_watch_for_the_readers_end_on_a_port_with_one_worker)
{
    mr_port_options port_options = MR_PORT_OPTIONS_INIT;
    port_options.concurrency = port_options.workers_max = 1;
    mr_port *workers;
    CHECK_STATUS(mr_port_open(&workers, &port_options), MR_OK);
    fake_live(0, true);
    mr_writer_options options = options_quick();
    options.port = workers;
    options.linger_ms = 0;
    for (uint64_t n = 0; n < 50; n++) {
        mr_writer *writer = writer_start(&options);
        uint64_t ends = fake_counts().watched_ends;
        CHECK_STATUS(post_number(writer, n, MR_NORMAL, NULL, NULL), MR_OK);
        if (n % 2 == 0)
            fake_await_watched_ends(ends + 1);
        (void) mr_writer_close(writer, NULL);
        CHECK_EQ(fake_counts().links, 0);
    }
    CHECK_STATUS(mr_port_close(workers), MR_OK);
}

/* ---- keep ---- */

TEST(writer_acknowledged, keep_takes_messages_for_the_next_reader_until_the_ring_is_full)
{
    fake_capacity(0, 3);
    mr_writer_options options = options_quick();
    options.when_absent = MR_KEEP;
    options.timeout_ms = 40;
    mr_writer *writer = writer_start(&options);
    for (uint64_t n = 0; n < 3; n++)
        CHECK_STATUS(write_number(writer, n, MR_NORMAL), MR_OK);
    CHECK_STATUS(write_number(writer, 10, MR_URGENT), MR_OK);
    uint64_t begin = clock_now();
    CHECK_STATUS(write_number(writer, 3, MR_NORMAL), MR_E_TIMEOUT);
    CHECK(elapsed_ms(begin) >= 40);
    CHECK_STATUS(mr_writer_write_timed(writer, "", 0, MR_NORMAL, 0), MR_E_TIMEOUT);
    CHECK_EQ(counts_of(writer).kept, 4);
    CHECK_EQ(counts_of(writer).written, 4);
    CHECK_EQ(counts_of(writer).unacknowledged, 4);
    struct call call = {.writer = writer, .timeout_ms = MR_FOREVER, .number = 4};
    call_start(&call, write_run);
    fake_await_connects(fake_counts().connects + 5);
    fake_drain_always(0, true);
    fake_live(0, true);
    thread_join(call.thread);
    CHECK_STATUS(call.status, MR_OK);
    static const uint64_t order[] = {10, 0, 1, 2, 4};
    for (size_t n = 0; n < 5; n++)
        log_expect(n, order[n], false);
    CHECK_EQ(log_count(), 5);
    CHECK_EQ(counts_of(writer).kept, 4);
    CHECK_EQ(counts_of(writer).redelivered, 0);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_acknowledged, keep_lets_an_urgent_write_pass_one_that_waits_for_room)
{
    fake_capacity(0, 1);
    mr_writer_options options = options_quick();
    options.when_absent = MR_KEEP;
    options.linger_ms = 0;
    options.backoff_min_ms = options.backoff_max_ms = 3600000;
    mr_writer *writer = writer_start(&options);
    CHECK_STATUS(write_number(writer, 1, MR_NORMAL), MR_OK);
    struct call call = {.writer = writer, .timeout_ms = MR_FOREVER, .number = 2};
    call_start(&call, write_run);
    fake_await_connects(4);
    CHECK_STATUS(mr_writer_write_timed(writer, "urgent..", 8, MR_URGENT, LONG_MS), MR_OK);
    CHECK_EQ(counts_of(writer).kept, 2);
    uint64_t undelivered;
    CHECK_STATUS(mr_writer_close(writer, &undelivered), MR_E_UNDELIVERED);
    CHECK_EQ(undelivered, 2);
    thread_join(call.thread);
    CHECK_STATUS(call.status, MR_E_STOPPED);
}

TEST(writer_acknowledged, keep_does_not_let_a_write_overtake_what_was_posted_before)
{
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.when_absent = MR_KEEP;
    options.backoff_min_ms = options.backoff_max_ms = 3600000;
    mr_writer *writer = writer_start(&options);
    struct told told = {0};
    CHECK_STATUS(post_number(writer, 1, MR_NORMAL, on_posted_count, &told), MR_OK);
    fake_await_connects(1);
    CHECK_STATUS(mr_writer_flush(writer, 20), MR_E_TIMEOUT); /* posted messages alone wait as ever */
    CHECK_EQ(counts_of(writer).kept, 0);
    CHECK_STATUS(write_number(writer, 2, MR_NORMAL), MR_OK);
    CHECK_EQ(counts_of(writer).kept, 2);
    fake_drain_always(0, true);
    fake_live(0, true);
    CHECK_STATUS(write_number(writer, 3, MR_NORMAL), MR_OK);
    for (size_t n = 0; n < 3; n++)
        log_expect(n, n + 1, false);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    CHECK_EQ(told_with(&told, MR_OK), 1);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

/* ---- gaps ---- */

/* The slot is full of `count` messages that were posted. */
static mr_writer *writer_full(mr_policy policy, uint32_t queue_messages)
{
    fake_live(0, true);
    fake_capacity(0, 1);
    mr_writer_options options = options_quick();
    options.policy = policy;
    options.queue_messages = queue_messages;
    mr_writer *writer = writer_start(&options);
    CHECK_STATUS(write_number(writer, 100, MR_NORMAL), MR_OK);
    CHECK_STATUS(write_number(writer, 101, MR_URGENT), MR_OK);
    return writer;
}

static void writer_drain(mr_writer *writer, int flushed)
{
    fake_drain_always(0, true);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), flushed);
}

TEST(writer_acknowledged, a_gap_of_drop_newest_stands_behind_what_was_queued_before)
{
    mr_writer *writer = writer_full(MR_POLICY_DROP_NEWEST, 2);
    for (uint64_t n = 0; n < 5; n++)
        CHECK_STATUS(post_number(writer, n, MR_NORMAL, NULL, NULL), n < 2 ? MR_OK : MR_E_DROPPED);
    CHECK_STATUS(post_number(writer, 9, MR_URGENT, NULL, NULL), MR_E_DROPPED);
    writer_drain(writer, MR_OK);
    log_expect(2, 0, false);
    log_expect(3, 1, false);
    log_expect_gap(4, 0, 3); /* told though nothing followed */
    log_expect_gap(5, 1, 1);
    CHECK_STATUS(write_number(writer, 6, MR_NORMAL), MR_OK);
    CHECK_EQ(log_count(), 7);
    CHECK_EQ(counts_of(writer).dropped_newest, 4);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_acknowledged, a_gap_of_drop_newest_stands_before_what_was_posted_after_it)
{
    mr_writer *writer = writer_full(MR_POLICY_DROP_NEWEST, 2);
    for (uint64_t n = 0; n < 5; n++)
        CHECK_STATUS(post_number(writer, n, MR_NORMAL, NULL, NULL), n < 2 ? MR_OK : MR_E_DROPPED);
    fake_drain(0, 2); /* one of each level */
    fake_await_log(3);
    while (counts_of(writer).waiting > 1)
        thread_yield(100);
    CHECK_STATUS(post_number(writer, 5, MR_NORMAL, NULL, NULL), MR_OK);
    writer_drain(writer, MR_OK);
    log_expect(2, 0, false);
    log_expect(3, 1, false);
    log_expect_gap(4, 0, 3);
    log_expect(5, 5, false);
    CHECK_EQ(log_count(), 6);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_acknowledged, a_gap_of_drop_oldest_stands_before_what_is_left)
{
    mr_writer *writer = writer_full(MR_POLICY_DROP_OLDEST, 2);
    for (uint64_t n = 0; n < 6; n++)
        CHECK_STATUS(post_number(writer, n, MR_NORMAL, NULL, NULL), MR_OK);
    writer_drain(writer, MR_E_DROPPED);
    log_expect_gap(2, 0, 4);
    log_expect(3, 4, false);
    log_expect(4, 5, false);
    CHECK_EQ(log_count(), 5);
    CHECK_EQ(counts_of(writer).dropped_oldest, 4);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_acknowledged, a_gap_of_what_is_too_big_is_told)
{
    fake_live(0, true);
    fake_max_message(0, 100);
    fake_drain_always(0, true);
    mr_writer *writer = writer_start(NULL);
    char data[200] = {0};
    CHECK_STATUS(mr_writer_post(writer, data, 101, MR_URGENT, NULL, NULL), MR_OK); /* the bound is not known yet */
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_E_DROPPED);
    fake_await_log(1);
    log_expect_gap(0, 1, 1);
    CHECK_STATUS(write_number(writer, 1, MR_URGENT), MR_OK);
    CHECK_EQ(log_count(), 2);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_acknowledged, a_gap_of_what_was_refused_is_told_to_the_next_slot)
{
    fake_connect_result(0, MR_E_ACCESS);
    fake_live(0, true);
    fake_drain_always(0, true);
    mr_writer *writer = writer_start(NULL);
    for (uint64_t n = 0; n < 3; n++)
        CHECK_STATUS(post_number(writer, n, MR_NORMAL, NULL, NULL), MR_OK);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_E_DROPPED);
    CHECK_EQ(counts_of(writer).dropped_refused, 3);
    fake_connect_result(0, MR_OK);
    CHECK_STATUS(write_number(writer, 3, MR_NORMAL), MR_OK);
    log_expect_gap(0, 0, 3);
    log_expect(1, 3, false);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_acknowledged, a_gap_that_nothing_follows_is_told_at_the_close)
{
    fake_connect_result(0, MR_E_ACCESS);
    fake_live(0, true);
    fake_drain_always(0, true);
    mr_writer *writer = writer_start(NULL);
    CHECK_STATUS(post_number(writer, 0, MR_NORMAL, NULL, NULL), MR_OK);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_E_DROPPED);
    fake_connect_result(0, MR_OK);
    CHECK_EQ(log_count(), 0);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
    log_expect_gap(0, 0, 1);
    CHECK_EQ(log_count(), 1);
}

/* ---- options ---- */

TEST(writer_acknowledged, options_out_of_range_are_refused)
{
    static const struct {
        mr_absent absent;
        size_t ring_bytes;
        uint32_t spin_us;
        int status;
    } rows[] = {
        {MR_FAIL, 0, 0, MR_OK},
        {MR_KEEP, (size_t) 16 << 10, 1000, MR_OK},
        {MR_FAIL, (size_t) 64 << 20, 1, MR_OK},
        {(mr_absent) 2, 0, 0, MR_E_ARGUMENT},
        {MR_FAIL, (size_t) 8 << 10, 0, MR_E_ARGUMENT},
        {MR_FAIL, (size_t) 128 << 20, 0, MR_E_ARGUMENT},
        {MR_FAIL, 100000, 0, MR_E_ARGUMENT},
        {MR_FAIL, 0, 1001, MR_E_ARGUMENT},
    };
    fake_acknowledges(true);
    for (size_t n = 0; n < sizeof rows / sizeof rows[0]; n++) {
        mr_writer_options options = MR_WRITER_OPTIONS_INIT;
        options.when_absent = rows[n].absent;
        options.ring_bytes = rows[n].ring_bytes;
        options.spin_us = rows[n].spin_us;
        mr_writer *writer;
        int status = mr_writer_open(&writer, fake_name(0), &options);
        CHECK_MSG(status == rows[n].status, "row %d: %s", (int) n, mr_status_name(status));
        if (status == MR_OK)
            CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
    }
    fake_acknowledges(false);
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.when_absent = MR_KEEP;
    mr_writer *writer;
    CHECK_STATUS(mr_writer_open(&writer, fake_name(0), &options), MR_E_ARGUMENT);
    CHECK(strstr(mr_last_error_text(), "MR_KEEP") != NULL);
    CHECK_EQ(fake_counts().links, 0);
}
