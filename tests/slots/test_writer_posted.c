/* test_writer_posted.c: posted messages on a link in memory: policies, what is told and where, flush, rename, close. */
#include "link_fake.h"
#include "writer_common.h"

#include "slots/writer_private.h"

/* A gate that a callback can be held at. */
struct gate {
    mutex lock;
    condition changed;
    bool open;
    unsigned reached;
};

static void gate_init(struct gate *gate)
{
    *gate = (struct gate){.open = false};
    mutex_init(&gate->lock);
    condition_init(&gate->changed);
}

static void gate_pass(struct gate *gate)
{
    mutex_lock(&gate->lock);
    gate->reached++;
    condition_broadcast(&gate->changed);
    while (!gate->open)
        condition_wait(&gate->changed, &gate->lock);
    mutex_unlock(&gate->lock);
}

static void gate_open(struct gate *gate)
{
    mutex_lock(&gate->lock);
    gate->open = true;
    condition_broadcast(&gate->changed);
    mutex_unlock(&gate->lock);
}

static void gate_await(struct gate *gate)
{
    mutex_lock(&gate->lock);
    while (gate->reached == 0)
        condition_wait(&gate->changed, &gate->lock);
    mutex_unlock(&gate->lock);
}

static mr_writer *writer_start(const mr_writer_options *options)
{
    mr_writer *writer;
    CHECK_STATUS(mr_writer_open(&writer, fake_name(0), options), MR_OK);
    return writer;
}

/* The slot is live and full. */
static void fake_full(uint32_t slot_number)
{
    fake_live(slot_number, true);
    fake_capacity(slot_number, 1);
    mr_writer *writer;
    CHECK_STATUS(mr_writer_open(&writer, fake_name(slot_number), NULL), MR_OK);
    CHECK_STATUS(write_number(writer, UINT64_MAX, 0), MR_OK);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

static size_t log_count(void)
{
    return fake_log(NULL, 0, 0);
}

static void log_expect(size_t at, uint64_t number)
{
    struct fake_entry entry;
    CHECK(fake_log(&entry, at, 1) > at);
    CHECK_EQ(entry.number, number);
}

/* ---- inside on_posted ---- */

static void on_posted_gate_then_urgent(mr_writer *writer, int status, void *context)
{
    CHECK_STATUS(status, MR_OK);
    gate_pass(context);
    CHECK_STATUS(mr_writer_write_timed(writer, &(uint64_t){7777}, sizeof(uint64_t), MR_URGENT, LONG_MS), MR_OK);
}

TEST(writer_posted, an_urgent_write_inside_on_posted_goes_out_however_many_wait_to_be_told)
{
    fake_live(0, true);
    mr_writer *writer = writer_start(NULL);
    struct gate gate;
    struct told told = {0};
    gate_init(&gate);
    CHECK_STATUS(post_number(writer, 0, 0, on_posted_gate_then_urgent, &gate), MR_OK);
    gate_await(&gate);
    for (uint64_t n = 1; n <= 2 * UNTOLD_MAX; n++)
        CHECK_STATUS(post_number(writer, n, 0, on_posted_count, &told), MR_OK);
    /* This thread sends the posted ones until too many wait for the worker, which is held, to tell them. */
    CHECK_STATUS(mr_writer_write_timed(writer, "", 0, 0, 30), MR_E_TIMEOUT);
    CHECK(counts_of(writer).waiting > 0);
    size_t sent = log_count();
    gate_open(&gate);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    log_expect(sent, 7777);
    CHECK_EQ(told_count(&told), 2 * UNTOLD_MAX);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

/* ---- policies ---- */

TEST(writer_posted, policy_block_waits_for_room_and_then_times_out)
{
    fake_full(0);
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.queue_messages = 3;
    options.timeout_ms = 60;
    mr_writer *writer = writer_start(&options);
    for (uint64_t n = 0; n < 3; n++)
        CHECK_STATUS(post_number(writer, n, 0, NULL, NULL), MR_OK);
    uint64_t begin = clock_now();
    CHECK_STATUS(post_number(writer, 3, 0, NULL, NULL), MR_E_TIMEOUT);
    CHECK(elapsed_ms(begin) >= 60);
    CHECK_EQ(counts_of(writer).posted, 3);
    fake_capacity(0, 0);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    CHECK_EQ(log_count(), 4);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_posted, policy_fail_says_full)
{
    fake_full(0);
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.policy = MR_POLICY_FAIL;
    options.queue_bytes = 100;
    mr_writer *writer = writer_start(&options);
    char data[200] = {0};
    CHECK_STATUS(mr_writer_post(writer, data, 60, 0, NULL, NULL), MR_OK);
    CHECK_STATUS(mr_writer_post(writer, data, 41, 0, NULL, NULL), MR_E_FULL);
    CHECK_STATUS(mr_writer_post(writer, data, 40, 0, NULL, NULL), MR_OK);
    CHECK_STATUS(mr_writer_post(writer, data, 0, 0, NULL, NULL), MR_OK);
    CHECK_EQ(counts_of(writer).waiting, 3);
    CHECK_EQ(counts_of(writer).waiting_bytes, 100);
    CHECK_EQ(counts_of(writer).waiting_peak, 3);
    fake_capacity(0, 0);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_posted, policy_drop_newest_keeps_the_old_ones)
{
    fake_full(0);
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.policy = MR_POLICY_DROP_NEWEST;
    options.queue_messages = 2;
    mr_writer *writer = writer_start(&options);
    struct told told = {0};
    for (uint64_t n = 0; n < 5; n++)
        CHECK_STATUS(post_number(writer, n, 0, on_posted_count, &told), n < 2 ? MR_OK : MR_E_DROPPED);
    fake_capacity(0, 0);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    log_expect(1, 0);
    log_expect(2, 1);
    CHECK_EQ(log_count(), 3);
    CHECK_EQ(told_count(&told), 2);
    CHECK_EQ(counts_of(writer).dropped_newest, 3);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_posted, policy_drop_oldest_drops_the_lowest_level_first_and_tells_on_the_posting_thread)
{
    fake_full(0);
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.policy = MR_POLICY_DROP_OLDEST;
    options.queue_messages = 3;
    mr_writer *writer = writer_start(&options);
    struct told told = {0};
    CHECK_STATUS(post_number(writer, 1, 1, on_posted_count, &told), MR_OK);
    CHECK_STATUS(post_number(writer, 2, 0, on_posted_count, &told), MR_OK);
    CHECK_STATUS(post_number(writer, 3, 0, on_posted_count, &told), MR_OK);
    CHECK_EQ(told_count(&told), 0);
    CHECK_STATUS(post_number(writer, 4, 1, on_posted_count, &told), MR_OK);
    CHECK_EQ(told_with(&told, MR_E_DROPPED), 1); /* 2 */
    CHECK_STATUS(post_number(writer, 5, 0, on_posted_count, &told), MR_OK);
    CHECK_EQ(told_with(&told, MR_E_DROPPED), 2); /* 3 */
    CHECK_STATUS(post_number(writer, 6, 1, on_posted_count, &told), MR_OK);
    CHECK_EQ(told_with(&told, MR_E_DROPPED), 3); /* 5 */
    CHECK_STATUS(post_number(writer, 7, 0, on_posted_count, &told), MR_E_DROPPED);
    CHECK_EQ(counts_of(writer).dropped_oldest, 3);
    CHECK_EQ(counts_of(writer).dropped_newest, 1);
    fake_capacity(0, 0);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_E_DROPPED);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    log_expect(1, 1);
    log_expect(2, 4);
    log_expect(3, 6);
    CHECK_EQ(log_count(), 4);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_posted, what_is_dropped_while_it_is_being_sent_has_the_result_of_the_send)
{
    fake_live(0, true);
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.policy = MR_POLICY_DROP_OLDEST;
    options.queue_messages = 1;
    mr_writer *writer = writer_start(&options);
    struct told first = {0}, second = {0};
    fake_hold_send(1);
    CHECK_STATUS(post_number(writer, 1, 0, on_posted_count, &first), MR_OK);
    fake_await_sends(1);
    CHECK_STATUS(post_number(writer, 2, 0, on_posted_count, &second), MR_OK); /* drops 1, which goes out */
    fake_hold_send(3);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    CHECK_EQ(told_with(&first, MR_OK), 1);
    CHECK_EQ(counts_of(writer).dropped_oldest, 0);
    fake_capacity(0, 2);
    CHECK_STATUS(post_number(writer, 3, 0, on_posted_count, &first), MR_OK);
    fake_await_sends(3);
    CHECK_STATUS(post_number(writer, 4, 0, on_posted_count, &second), MR_OK); /* drops 3, which does not go out */
    fake_hold_send(0);
    fake_await_watches(1);
    fake_capacity(0, 0);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_E_DROPPED);
    CHECK_EQ(told_with(&first, MR_E_DROPPED), 1);
    CHECK_EQ(told_with(&second, MR_OK), 2);
    CHECK_EQ(counts_of(writer).dropped_oldest, 1);
    CHECK_EQ(log_count(), 3);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

/* ---- telling ---- */

struct teller {
    struct told told;
    mr_port *workers;
    uint64_t last;
    bool inside;
};

struct tell_entry {
    struct teller *teller;
    uint64_t number;
};

static void on_posted_in_order(mr_writer *writer, int status, void *context)
{
    (void) writer;
    struct tell_entry *entry = context;
    struct teller *teller = entry->teller;
    CHECK(!teller->inside);
    teller->inside = true;
    CHECK(mr_port_is_worker(teller->workers));
    CHECK_EQ(entry->number, teller->last + 1);
    teller->last = entry->number;
    teller->inside = false;
    told_note(&teller->told, status);
}

TEST(writer_posted, each_message_is_told_once_in_order_on_a_worker)
{
    enum { COUNT = 20000 };
    fake_live(0, true);
    mr_port *workers;
    CHECK_STATUS(mr_port_open(&workers, NULL), MR_OK);
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.port = workers;
    options.queue_messages = 100;
    mr_writer *writer = writer_start(&options);
    static struct tell_entry entries[COUNT];
    struct teller teller = {.workers = workers};
    for (uint64_t n = 0; n < COUNT; n++) {
        entries[n] = (struct tell_entry){&teller, n + 1};
        CHECK_STATUS(post_number(writer, n, 0, on_posted_in_order, &entries[n]), MR_OK);
        if (n % 100 == 0) /* a writing thread pumps, but does not tell */
            CHECK_STATUS(write_number(writer, n, 0), MR_OK);
    }
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    CHECK_EQ(told_with(&teller.told, MR_OK), COUNT);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
    CHECK_STATUS(mr_port_close(workers), MR_OK);
}

static void on_posted_at_gate(mr_writer *writer, int status, void *context)
{
    (void) writer;
    (void) status;
    gate_pass(context);
}

TEST(writer_posted, a_callback_that_blocks_does_not_let_untold_messages_pile_up)
{
    fake_live(0, true);
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.queue_messages = 10 * UNTOLD_MAX;
    options.timeout_ms = 100;
    mr_writer *writer = writer_start(&options);
    struct gate gate;
    gate_init(&gate);
    struct told told = {0};
    CHECK_STATUS(post_number(writer, 0, 0, on_posted_at_gate, &gate), MR_OK);
    gate_await(&gate);
    for (uint64_t n = 1; n <= 3 * UNTOLD_MAX; n++)
        CHECK_STATUS(post_number(writer, n, 0, on_posted_count, &told), MR_OK);
    uint64_t begin = clock_now();
    CHECK_STATUS(write_number(writer, 7, 0), MR_E_TIMEOUT);
    CHECK(elapsed_ms(begin) >= 100);
    CHECK(log_count() <= UNTOLD_MAX + 1);
    CHECK_EQ(told_count(&told), 0);
    gate_open(&gate);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    CHECK_EQ(told_with(&told, MR_OK), 3 * UNTOLD_MAX);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

struct reposter {
    struct told told;
    uint64_t left;    /* a callback's, and there is one at a time */
    struct gate over; /* reached when none is left */
};

static void on_posted_again(mr_writer *writer, int status, void *context)
{
    struct reposter *reposter = context;
    told_note(&reposter->told, status);
    if (status != MR_E_DROPPED)
        return;
    if (reposter->left == 0) {
        gate_pass(&reposter->over);
        return;
    }
    reposter->left--;
    CHECK_STATUS(post_number(writer, reposter->left, 0, on_posted_again, reposter), MR_OK);
}

TEST(writer_posted, posting_what_was_dropped_again_inside_the_callback_does_not_nest)
{
    fake_full(0);
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.policy = MR_POLICY_DROP_OLDEST;
    options.queue_messages = 1;
    mr_writer *writer = writer_start(&options);
    struct reposter reposter = {.left = 200000}; /* nested, they would not fit on any stack */
    gate_init(&reposter.over);
    gate_open(&reposter.over);
    CHECK_STATUS(post_number(writer, 1, 0, on_posted_again, &reposter), MR_OK);
    fake_await_watches(1); /* nothing is being sent: the drops are all told here */
    CHECK_STATUS(post_number(writer, 2, 0, on_posted_again, &reposter), MR_OK);
    gate_await(&reposter.over); /* what a worker is just trying to send is told there, and goes on there */
    CHECK_EQ(reposter.left, 0);
    CHECK_EQ(told_with(&reposter.told, MR_E_DROPPED), 200001);
    fake_capacity(0, 0);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_E_DROPPED);
    CHECK_EQ(told_with(&reposter.told, MR_OK), 1);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

struct inside {
    struct gate gate;
    int write_behind;
    int write_alone;
    int post;
    int flush;
    int rename;
    mr_writer_statistics statistics;
    int closed;
};

static void on_posted_calls(mr_writer *writer, int status, void *context)
{
    struct inside *inside = context;
    CHECK_STATUS(status, MR_OK);
    gate_pass(&inside->gate);
    inside->write_behind = write_number(writer, 50, 0);
    inside->write_alone = write_number(writer, 51, 1);
    inside->post = post_number(writer, 52, 1, NULL, NULL);
    inside->flush = mr_writer_flush(writer, 0);
    inside->rename = mr_writer_rename(writer, fake_name(1));
    inside->statistics.size = sizeof inside->statistics;
    CHECK_STATUS(mr_writer_get_statistics(writer, &inside->statistics), MR_OK);
}

TEST(writer_posted, what_can_be_called_inside_the_callback)
{
    fake_live(0, true);
    mr_writer *writer = writer_start(NULL);
    static struct inside inside;
    gate_init(&inside.gate);
    CHECK_STATUS(post_number(writer, 1, 0, on_posted_calls, &inside), MR_OK);
    gate_await(&inside.gate);
    CHECK_STATUS(post_number(writer, 2, 0, NULL, NULL), MR_OK);
    gate_open(&inside.gate);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    CHECK_STATUS(inside.write_behind, MR_E_CALLBACK);
    CHECK_STATUS(inside.write_alone, MR_OK);
    CHECK_STATUS(inside.post, MR_OK);
    CHECK_STATUS(inside.flush, MR_E_CALLBACK);
    CHECK_STATUS(inside.rename, MR_E_CALLBACK);
    CHECK_EQ(inside.statistics.written, 2);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    log_expect(1, 51);
    CHECK_EQ(log_count(), 4);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

static void on_posted_posts(mr_writer *writer, int status, void *context)
{
    CHECK_STATUS(status, MR_OK);
    int *results = context;
    for (size_t n = 0; n < 3; n++)
        results[n] = post_number(writer, n, 0, NULL, NULL);
}

TEST(writer_posted, a_blocking_post_inside_the_callback_of_a_full_queue_says_so)
{
    fake_live(0, true);
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.queue_messages = 2;
    options.timeout_ms = MR_FOREVER;
    mr_writer *writer = writer_start(&options);
    int results[3];
    CHECK_STATUS(post_number(writer, 9, 0, on_posted_posts, results), MR_OK);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    CHECK_STATUS(results[0], MR_OK);
    CHECK_STATUS(results[1], MR_OK);
    CHECK_STATUS(results[2], MR_E_CALLBACK);
    CHECK_EQ(log_count(), 3);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

/* ---- flush ---- */

TEST(writer_posted, flush_waits_for_the_callbacks_too)
{
    fake_live(0, true);
    mr_writer *writer = writer_start(NULL);
    CHECK_STATUS(mr_writer_flush(writer, 0), MR_OK);
    struct gate gate;
    gate_init(&gate);
    CHECK_STATUS(post_number(writer, 1, 0, on_posted_at_gate, &gate), MR_OK);
    gate_await(&gate);
    uint64_t begin = clock_now();
    CHECK_STATUS(mr_writer_flush(writer, 40), MR_E_TIMEOUT);
    CHECK(elapsed_ms(begin) >= 40);
    gate_open(&gate);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

struct poster {
    mr_writer *writer;
    _Atomic bool over;
    thread thread;
};

static void poster_run(void *argument)
{
    struct poster *poster = argument;
    uint64_t n = 1000000;
    while (!atomic_load_explicit(&poster->over, memory_order_relaxed)) {
        CHECK_STATUS(post_number(poster->writer, n++, 0, NULL, NULL), MR_OK);
        fake_drain(0, 1);
    }
}

TEST(writer_posted, flush_does_not_wait_for_what_is_posted_after_it)
{
    fake_full(0);
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.queue_messages = 50;
    options.timeout_ms = MR_FOREVER;
    mr_writer *writer = writer_start(&options);
    struct poster poster = {.writer = writer};
    CHECK_STATUS(thread_start(&poster.thread, "poster", poster_run, &poster), MR_OK);
    for (unsigned n = 0; n < 20; n++)
        CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK); /* never empty in between: it would wait for ever */
    atomic_store_explicit(&poster.over, true, memory_order_relaxed);
    thread_join(poster.thread);
    fake_capacity(0, 0);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

/* ---- rename ---- */

TEST(writer_posted, rename_sends_what_was_posted_before_to_the_old_name)
{
    fake_live(0, true);
    fake_live(1, true);
    mr_writer *writer = writer_start(NULL);
    for (uint64_t round = 0; round < 200; round++) {
        CHECK_STATUS(post_number(writer, 2 * round, 0, NULL, NULL), MR_OK);
        CHECK_STATUS(post_number(writer, 2 * round + 1, 1, NULL, NULL), MR_OK);
        CHECK_STATUS(mr_writer_rename(writer, fake_name((uint32_t) (round + 1) % 2)), MR_OK);
    }
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    static struct fake_entry log[400];
    CHECK_EQ(fake_log(log, 0, 400), 400);
    for (size_t n = 0; n < 400; n++)
        CHECK_EQ(log[n].slot, (uint32_t) (log[n].number / 2 % 2));
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_posted, rename_leaves_an_absent_slot_at_once_and_a_full_one_after_lingering)
{
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.linger_ms = LONG_MS;
    options.backoff_min_ms = options.backoff_max_ms = 3600000;
    mr_writer *writer = writer_start(&options);
    struct told told = {0};
    CHECK_STATUS(post_number(writer, 1, 0, on_posted_count, &told), MR_OK);
    CHECK_STATUS(post_number(writer, 2, 1, on_posted_count, &told), MR_OK);
    uint64_t begin = clock_now();
    CHECK_STATUS(mr_writer_rename(writer, fake_name(1)), MR_E_UNDELIVERED);
    CHECK(elapsed_ms(begin) < LONG_MS / 2);
    fake_live(1, true);
    CHECK_STATUS(post_number(writer, 3, 0, on_posted_count, &told), MR_OK);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_E_DROPPED);
    CHECK_EQ(told_with(&told, MR_E_UNDELIVERED), 2);
    CHECK_EQ(told_with(&told, MR_OK), 1);
    CHECK_EQ(counts_of(writer).undelivered, 2);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);

    fake_full(2);
    options.linger_ms = 80;
    CHECK_STATUS(mr_writer_open(&writer, fake_name(2), &options), MR_OK);
    CHECK_STATUS(post_number(writer, 4, 0, on_posted_count, &told), MR_OK);
    begin = clock_now();
    CHECK_STATUS(mr_writer_rename(writer, fake_name(1)), MR_E_UNDELIVERED);
    CHECK(elapsed_ms(begin) >= 80);
    CHECK_STATUS(write_number(writer, 5, 0), MR_OK);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
    CHECK_EQ(told_with(&told, MR_E_UNDELIVERED), 3);
}

TEST(writer_posted, rename_hurries_a_back_off_because_the_old_slot_may_be_there_by_now)
{
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.backoff_min_ms = options.backoff_max_ms = 3600000;
    mr_writer *writer = writer_start(&options);
    CHECK_STATUS(post_number(writer, 1, 0, NULL, NULL), MR_OK);
    fake_await_connects(1);
    CHECK_STATUS(mr_writer_flush(writer, 20), MR_E_TIMEOUT);
    fake_live(0, true);
    CHECK_STATUS(mr_writer_rename(writer, fake_name(1)), MR_OK);
    log_expect(0, 1);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_posted, the_same_name_is_a_no_op)
{
    fake_live(0, true);
    mr_writer *writer = writer_start(NULL);
    CHECK_STATUS(write_number(writer, 1, 0), MR_OK);
    CHECK_STATUS(mr_writer_rename(writer, "\\\\.\\mailslot\\FAKE0"), MR_OK);
    CHECK_STATUS(write_number(writer, 2, 0), MR_OK);
    CHECK_EQ(counts_of(writer).connects, 1);
    CHECK_STATUS(mr_writer_rename(writer, "a\\\\b"), MR_E_NAME);
    CHECK_STATUS(mr_writer_rename(writer, NULL), MR_E_ARGUMENT);
    CHECK_STATUS(write_number(writer, 3, 0), MR_OK);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

/* A call in a thread of its own. */
struct call {
    mr_writer *writer;
    int (*function)(mr_writer *writer);
    int status;
    thread thread;
};

static void call_run(void *argument)
{
    struct call *call = argument;
    call->status = call->function(call->writer);
}

static void call_start(struct call *call)
{
    CHECK_STATUS(thread_start(&call->thread, "call", call_run, call), MR_OK);
}

static int call_write(mr_writer *writer)
{
    return mr_writer_write_timed(writer, "12345678", 8, 0, MR_FOREVER);
}

static int call_post(mr_writer *writer)
{
    return mr_writer_post(writer, "12345678", 8, 0, NULL, NULL);
}

static int call_flush(mr_writer *writer)
{
    return mr_writer_flush(writer, MR_FOREVER);
}

TEST(writer_posted, a_write_that_waits_goes_on_with_the_new_name)
{
    fake_full(0);
    fake_live(1, true);
    mr_writer *writer = writer_start(NULL);
    struct call call = {.writer = writer, .function = call_write};
    call_start(&call);
    fake_await_waits(1);
    CHECK_STATUS(mr_writer_rename(writer, fake_name(1)), MR_OK);
    thread_join(call.thread);
    CHECK_STATUS(call.status, MR_OK);
    struct fake_entry entry;
    CHECK_EQ(fake_log(&entry, 1, 1), 2);
    CHECK_EQ(entry.slot, 1);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

/* ---- close ---- */

/* Until so many calls are inside: a call that begins after the close would find no writer. */
static void inside_await(mr_writer *writer, unsigned count)
{
    mutex_lock(&writer->lock);
    while (writer->inside < count) {
        writer->watchers++;
        (void) condition_wait_until(&writer->changed, &writer->lock, clock_now() + MS);
        writer->watchers--;
    }
    mutex_unlock(&writer->lock);
}

TEST(writer_posted, close_lingers_for_what_was_posted)
{
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.linger_ms = LONG_MS;
    options.backoff_min_ms = 1;
    options.backoff_max_ms = 4;
    mr_writer *writer = writer_start(&options);
    struct told told = {0};
    for (uint64_t n = 0; n < 1000; n++)
        CHECK_STATUS(post_number(writer, n, 0, on_posted_count, &told), MR_OK);
    fake_await_connects(3);
    struct call call = {.writer = writer, .function = call_flush};
    call_start(&call);
    inside_await(writer, 1);
    fake_live(0, true);
    fake_capacity(0, 700);
    fake_await_log(700);
    fake_capacity(0, 0);
    uint64_t undelivered = 7;
    CHECK_STATUS(mr_writer_close(writer, &undelivered), MR_OK);
    CHECK_EQ(undelivered, 0);
    CHECK_EQ(told_with(&told, MR_OK), 1000);
    CHECK_EQ(log_count(), 1000);
    thread_join(call.thread);
    CHECK(call.status == MR_OK || call.status == MR_E_STOPPED);
}

TEST(writer_posted, close_counts_and_tells_what_did_not_get_across)
{
    fake_live(0, true);
    fake_capacity(0, 10);
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.linger_ms = 60;
    mr_writer *writer = writer_start(&options);
    struct told told = {0};
    for (uint64_t n = 0; n < 25; n++)
        CHECK_STATUS(post_number(writer, n, (uint32_t) n % 2, on_posted_count, &told), MR_OK);
    uint64_t begin = clock_now();
    uint64_t undelivered;
    CHECK_STATUS(mr_writer_close(writer, &undelivered), MR_E_UNDELIVERED);
    CHECK(elapsed_ms(begin) >= 60);
    CHECK_EQ(undelivered, 15);
    CHECK_EQ(told_with(&told, MR_E_UNDELIVERED), 15);
    CHECK_EQ(told_with(&told, MR_OK), 10);
    CHECK_EQ(fake_counts().links, 0);
}

TEST(writer_posted, close_ends_the_calls_that_wait)
{
    fake_full(0);
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.queue_messages = 1;
    options.timeout_ms = MR_FOREVER;
    options.linger_ms = 0;
    mr_writer *writer = writer_start(&options);
    CHECK_STATUS(post_number(writer, 1, 0, NULL, NULL), MR_OK);
    struct call calls[] = {{.writer = writer, .function = call_write},
                           {.writer = writer, .function = call_write},
                           {.writer = writer, .function = call_post},
                           {.writer = writer, .function = call_flush}};
    for (size_t n = 0; n < 4; n++)
        call_start(&calls[n]);
    fake_await_waits(1);
    inside_await(writer, 4);
    uint64_t undelivered;
    CHECK_STATUS(mr_writer_close(writer, &undelivered), MR_E_UNDELIVERED);
    CHECK_EQ(undelivered, 1);
    for (size_t n = 0; n < 4; n++) {
        thread_join(calls[n].thread);
        CHECK_STATUS(calls[n].status, MR_E_STOPPED);
    }
}

struct closer {
    struct gate gate;
    struct told told;
    struct gate closed;
    uint64_t undelivered;
    mr_port *workers;
};

static void on_closed_note(mr_writer *writer, uint64_t undelivered, void *context)
{
    (void) writer;
    struct closer *closer = context;
    closer->undelivered = undelivered;
    gate_pass(&closer->closed);
}

static void on_posted_closes(mr_writer *writer, int status, void *context)
{
    struct closer *closer = context;
    told_note(&closer->told, status);
    if (told_count(&closer->told) > 1)
        return;
    gate_pass(&closer->gate);
    uint64_t undelivered = 9;
    CHECK_STATUS(mr_writer_close(writer, &undelivered), MR_OK);
    CHECK_EQ(undelivered, 0);
    CHECK_STATUS(write_number(writer, 1, 1), MR_E_STOPPED);
    CHECK_STATUS(post_number(writer, 1, 1, NULL, NULL), MR_E_STOPPED);
}

static void close_inside(mr_port *workers, uint64_t lost)
{
    size_t before = log_count();
    static struct closer closer;
    closer = (struct closer){.workers = workers};
    gate_init(&closer.gate);
    gate_init(&closer.closed);
    gate_open(&closer.closed);
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.port = workers;
    options.on_closed = on_closed_note;
    options.context = &closer;
    options.linger_ms = lost > 0 ? 20 : LONG_MS;
    mr_writer *writer = writer_start(&options);
    for (uint64_t n = 0; n < 200; n++)
        CHECK_STATUS(post_number(writer, n, 0, on_posted_closes, &closer), MR_OK);
    gate_await(&closer.gate);
    if (lost > 0)
        fake_capacity(0, log_count() - before); /* full from here on */
    gate_open(&closer.gate);
    gate_await(&closer.closed);
    CHECK_EQ(told_count(&closer.told), 200);
    CHECK_EQ(told_with(&closer.told, MR_E_UNDELIVERED), closer.undelivered);
    CHECK_EQ(told_with(&closer.told, MR_OK), log_count() - before);
    CHECK_EQ(closer.undelivered > 0, lost > 0);
    CHECK_EQ(fake_counts().links, 0);
}

TEST(writer_posted, close_inside_the_callback_ends_after_it_on_a_port_with_one_worker)
{
    mr_port_options options = MR_PORT_OPTIONS_INIT;
    options.concurrency = options.workers_max = 1;
    mr_port *workers;
    CHECK_STATUS(mr_port_open(&workers, &options), MR_OK);
    fake_live(0, true);
    close_inside(workers, 0);
    CHECK_STATUS(mr_port_close(workers), MR_OK);
}

TEST(writer_posted, close_inside_the_callback_on_the_shared_port_with_losses)
{
    fake_live(0, true);
    for (unsigned n = 0; n < 20; n++) {
        fake_capacity(0, 0);
        fake_drain(0, 1000);
        close_inside(NULL, 1);
    }
}

static void on_dropped_closes(mr_writer *writer, int status, void *context)
{
    struct closer *closer = context;
    told_note(&closer->told, status);
    if (status == MR_E_DROPPED)
        CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_posted, close_inside_the_callback_of_a_drop_ends_when_the_post_does)
{
    fake_full(0);
    static struct closer closer;
    gate_init(&closer.closed);
    gate_open(&closer.closed);
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.policy = MR_POLICY_DROP_OLDEST;
    options.queue_messages = 1;
    options.on_closed = on_closed_note;
    options.context = &closer;
    options.linger_ms = 0;
    mr_writer *writer = writer_start(&options);
    CHECK_STATUS(post_number(writer, 1, 0, on_dropped_closes, &closer), MR_OK);
    CHECK_STATUS(post_number(writer, 2, 0, on_dropped_closes, &closer), MR_OK);
    gate_await(&closer.closed);
    CHECK_EQ(closer.undelivered, 1);
    CHECK_EQ(told_with(&closer.told, MR_E_DROPPED), 1);
    CHECK_EQ(told_with(&closer.told, MR_E_UNDELIVERED), 1);
    CHECK_EQ(fake_counts().links, 0);
}

static void on_posted_closes_another(mr_writer *writer, int status, void *context)
{
    (void) writer;
    CHECK_STATUS(status, MR_OK);
    CHECK_STATUS(mr_writer_close(context, NULL), MR_E_UNDELIVERED);
}

TEST(writer_posted, close_on_the_only_worker_does_not_wait_for_that_workers_packets)
{
    mr_port_options port_options = MR_PORT_OPTIONS_INIT;
    port_options.concurrency = port_options.workers_max = 1;
    mr_port *workers;
    CHECK_STATUS(mr_port_open(&workers, &port_options), MR_OK);
    fake_full(0);
    fake_live(1, true);
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.port = workers;
    options.linger_ms = 0;
    mr_writer *stuck = writer_start(&options);
    CHECK_STATUS(post_number(stuck, 1, 0, NULL, NULL), MR_OK);
    fake_await_watches(1);
    mr_writer *writer;
    CHECK_STATUS(mr_writer_open(&writer, fake_name(1), &options), MR_OK);
    CHECK_STATUS(post_number(writer, 2, 0, on_posted_closes_another, stuck), MR_OK);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    CHECK_STATUS(post_number(writer, 3, 0, NULL, NULL), MR_OK); /* its packet comes after those of the other's end */
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    CHECK_EQ(fake_counts().links, 1);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
    CHECK_STATUS(mr_port_close(workers), MR_OK);
}

TEST(writer_posted, close_awaits_a_running_callback)
{
    fake_live(0, true);
    mr_writer *writer = writer_start(NULL);
    struct gate gate;
    gate_init(&gate);
    struct told told = {0};
    CHECK_STATUS(post_number(writer, 1, 0, on_posted_at_gate, &gate), MR_OK);
    gate_await(&gate);
    for (uint64_t n = 0; n < 100; n++)
        CHECK_STATUS(post_number(writer, n, 0, on_posted_count, &told), MR_OK);
    gate_open(&gate);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
    CHECK_EQ(told_with(&told, MR_OK), 100);
}

TEST(writer_posted, a_port_can_be_closed_right_after_its_writers)
{
    fake_full(0);
    for (unsigned n = 0; n < 200; n++) {
        mr_port *workers;
        CHECK_STATUS(mr_port_open(&workers, NULL), MR_OK);
        mr_writer_options options = MR_WRITER_OPTIONS_INIT;
        options.port = workers;
        options.linger_ms = 0;
        mr_writer *writer = writer_start(&options);
        CHECK_STATUS(mr_writer_rename(writer, fake_name(n % 2)), MR_OK); /* full, or absent */
        CHECK_STATUS(post_number(writer, 1, 0, NULL, NULL), MR_OK);
        CHECK_STATUS(mr_writer_close(writer, NULL), MR_E_UNDELIVERED);
        CHECK_STATUS(mr_port_close(workers), MR_OK);
    }
}

TEST(writer_posted, close_of_nothing_is_a_success)
{
    CHECK_STATUS(mr_writer_close(NULL, NULL), MR_OK);
    mr_writer *writer = writer_start(NULL);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}
