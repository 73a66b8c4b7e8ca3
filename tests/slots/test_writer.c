/* test_writer.c: what a mailslot does, the rows on writing (and of those on messages what the writer decides), over
 * each lane into real readers of the same process. What goes on inside is tested in test_writer_pump.c and
 * test_writer_posted.c, other processes in test_writer_process.c. */
#include <stdlib.h>
#include <string.h>

#include "writer_rows.h"

/* ---- no such slot ---- */

TEST(writer, no_such_slot_opening_succeeds_or_fails_by_its_options)
{
    slots_begin();
    mr_writer_options options = slots_writer_options();
    options.require_slot = 1;
    mr_writer *writer = NULL;
    CHECK_STATUS(mr_writer_open(&writer, "absent", &options), MR_E_NO_SLOT);
    CHECK(writer == NULL);
    CHECK_STATUS(mr_writer_open(&writer, "absent", NULL), MR_OK);
    writer_end(writer);
    mr_reader *reader = slots_reader("present", NULL);
    CHECK_STATUS(mr_writer_open(&writer, "\\\\.\\mailslot\\PRESENT", &options), MR_OK);
    CHECK_EQ(counts_of(writer).connects, 1);
    CHECK_STATUS(write_number(writer, 1, MR_NORMAL), MR_OK);
    reader_expect(reader, 1);
    writer_end(writer);
    slots_close(reader);
}

TEST(writer, no_such_slot_a_write_returns_at_once)
{
    slots_begin();
    mr_writer *writer = writer_start("absent");
    uint64_t begin = clock_now();
    CHECK_STATUS(write_number(writer, 1, MR_NORMAL), MR_E_NO_SLOT);
    CHECK_STATUS(mr_writer_write_timed(writer, "x", 1, MR_URGENT, MR_FOREVER), MR_E_NO_SLOT);
    CHECK(elapsed_ms(begin) < 1000);
    CHECK_EQ(counts_of(writer).written, 0);
    CHECK_EQ(counts_of(writer).connects, 0);
    writer_end(writer);
}

TEST(writer, no_such_slot_posted_messages_are_kept_and_tried_again)
{
    slots_begin();
    mr_writer *writer = writer_start("later");
    struct told told = {0};
    for (uint64_t n = 0; n < 100; n++)
        CHECK_STATUS(post_number(writer, n, MR_NORMAL, on_posted_count, &told), MR_OK);
    CHECK_STATUS(mr_writer_flush(writer, 50), MR_E_TIMEOUT);
    CHECK_STATUS(write_number(writer, 1000, MR_NORMAL), MR_E_NO_SLOT); /* absent: at once, whatever is kept */
    CHECK_EQ(told_count(&told), 0);
    CHECK_EQ(counts_of(writer).waiting, 100);
    mr_reader *reader = slots_reader("later", NULL);
    for (uint64_t n = 0; n < 100; n++)
        reader_expect(reader, n);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    CHECK_EQ(told_with(&told, MR_OK), 100);
    CHECK(counts_of(writer).backoffs >= 1);
    writer_end(writer);
    slots_close(reader);
}

/* ---- sharing ---- */

TEST(writer, sharing_any_number_of_writers)
{
    enum { WRITERS = 200 };
    slots_begin();
    mr_reader *reader = slots_reader("shared", NULL);
    static mr_writer *writers[WRITERS];
    for (uint64_t n = 0; n < WRITERS; n++)
        writers[n] = writer_start("shared");
    for (uint64_t round = 0; round < 3; round++) {
        for (uint64_t n = 0; n < WRITERS; n++)
            CHECK_STATUS(write_number(writers[n], n, MR_NORMAL), MR_OK);
    }
    unsigned seen[WRITERS] = {0};
    for (size_t n = 0; n < 3 * WRITERS; n++) {
        uint64_t number;
        size_t length;
        CHECK_STATUS(mr_reader_read(reader, &number, sizeof number, &length, LONG_MS), MR_OK);
        CHECK(number < WRITERS);
        seen[number]++;
    }
    for (size_t n = 0; n < WRITERS; n++) {
        CHECK_EQ(seen[n], 3);
        writer_end(writers[n]);
    }
    slots_close(reader);
}

/* ---- reader gone ---- */

TEST(writer, reader_gone_the_next_write_sees_it_and_reconnects_when_the_name_is_live_again)
{
    slots_begin();
    mr_writer *writer = writer_start("phoenix");
    for (uint64_t round = 0; round < 50; round++) {
        mr_reader *reader = slots_reader("phoenix", NULL);
        CHECK_STATUS(write_number(writer, round, MR_NORMAL), MR_OK);
        reader_expect(reader, round);
        slots_close(reader);
        CHECK_STATUS(write_number(writer, round, MR_NORMAL), MR_E_NO_SLOT);
    }
    CHECK_EQ(counts_of(writer).connects, 50);
    CHECK_EQ(counts_of(writer).written, 50);
    writer_end(writer);
}

/* ---- reader busy ---- */

/* ---- policies under concurrency: sent = delivered + dropped, to the message ---- */

enum { POSTERS = 4, POSTS = 10000 };

struct poster {
    mr_writer *writer;
    uint64_t number;
    uint64_t taken;
    uint64_t refused;
    struct told told;
    struct counter *halfway; /* how many posters have posted half of theirs */
    thread thread;
};

static void poster_run(void *argument)
{
    struct poster *poster = argument;
    for (uint64_t n = 0; n < POSTS; n++) {
        int status =
            post_number(poster->writer, poster->number << 32 | n, (uint32_t) n % 2, on_posted_count, &poster->told);
        poster->taken += status == MR_OK;
        poster->refused += status == MR_E_FULL || status == MR_E_DROPPED;
        CHECK(status == MR_OK || status == MR_E_FULL || status == MR_E_DROPPED);
        if (n == POSTS / 2)
            counter_add(poster->halfway, 1);
    }
}

struct sink {
    struct counter arrived;
    uint64_t last[POSTERS][2];
    uint64_t count;
};

static void on_arrived(mr_reader *reader, const mr_message *message, void *context)
{
    (void) reader;
    struct sink *sink = context;
    uint64_t number;
    CHECK_EQ(message->length, sizeof number);
    memcpy(&number, message->data, sizeof number);
    uint64_t poster = number >> 32;
    uint64_t index = (number & UINT32_MAX) + 1;
    CHECK(poster < POSTERS);
    CHECK(index > sink->last[poster][(index - 1) % 2]); /* in order, and never twice */
    sink->last[poster][(index - 1) % 2] = index;
    counter_add(&sink->arrived, 1);
}

static void policy_run(mr_policy policy)
{
    slots_begin();
    mr_port *workers = slots_port(2, 4);
    static struct sink sink;
    struct counter halfway;
    counter_init(&sink.arrived);
    counter_init(&halfway);
    mr_reader_options reader_options = MR_READER_OPTIONS_INIT;
    reader_options.port = workers;
    reader_options.on_message = on_arrived;
    reader_options.context = &sink;
    mr_writer_options options = slots_writer_options();
    options.port = workers;
    options.policy = policy;
    options.queue_messages = 50;
    options.timeout_ms = MR_FOREVER;
    mr_writer *writer = slots_writer("policy", &options);
    /* First, where nothing has to wait for it: a writer that comes while a mailslot is being opened may send its first urgent
     * messages by the plain name (link_windows.c, L4), and the order of these is no matter of the policy. */
    mr_reader *reader = policy == MR_POLICY_BLOCK ? slots_reader("policy", &reader_options) : NULL;
    static struct poster posters[POSTERS];
    for (uint64_t n = 0; n < POSTERS; n++) {
        posters[n] = (struct poster){.writer = writer, .number = n, .halfway = &halfway};
        CHECK_STATUS(thread_start(&posters[n].thread, "poster", poster_run, &posters[n]), MR_OK);
    }
    if (reader == NULL) {
        counter_await(&halfway, POSTERS); /* without a slot they do not fit: some are dropped, however fast all are */
        reader = slots_reader("policy", &reader_options);
    }
    uint64_t taken = 0, refused = 0, delivered = 0, dropped = 0;
    for (uint64_t n = 0; n < POSTERS; n++)
        thread_join(posters[n].thread);
    int status = mr_writer_flush(writer, LONG_MS);
    CHECK(status == MR_OK || status == MR_E_DROPPED);
    for (uint64_t n = 0; n < POSTERS; n++) {
        taken += posters[n].taken;
        refused += posters[n].refused;
        delivered += told_with(&posters[n].told, MR_OK);
        dropped += told_with(&posters[n].told, MR_E_DROPPED);
        CHECK_EQ(told_count(&posters[n].told), posters[n].taken);
    }
    mr_writer_statistics counts = counts_of(writer);
    CHECK_EQ(taken + refused, (uint64_t) POSTERS * POSTS);
    CHECK_EQ(taken, delivered + dropped);
    CHECK_EQ(counts.posted, taken);
    CHECK_EQ(counts.written, delivered);
    CHECK_EQ(counts.dropped_oldest, dropped);
    CHECK_EQ(counts.dropped_newest, policy == MR_POLICY_DROP_NEWEST || policy == MR_POLICY_DROP_OLDEST ? refused : 0);
    CHECK_EQ(counts.waiting, 0);
    counter_await(&sink.arrived, delivered);
    writer_end(writer);
    CHECK_EQ(counter_get(&sink.arrived), delivered);
    if (policy == MR_POLICY_BLOCK)
        CHECK_EQ(delivered, (uint64_t) POSTERS * POSTS);
    else
        CHECK(delivered < (uint64_t) POSTERS * POSTS);
    slots_close(reader);
    CHECK_STATUS(mr_port_close(workers), MR_OK);
}

TEST(writer, reader_busy_policy_block_loses_nothing)
{
    policy_run(MR_POLICY_BLOCK);
}

TEST(writer, reader_busy_policy_fail_refuses_and_says_so)
{
    policy_run(MR_POLICY_FAIL);
}

TEST(writer, reader_busy_policy_drop_newest_counts_each_drop)
{
    policy_run(MR_POLICY_DROP_NEWEST);
}

TEST(writer, reader_busy_policy_drop_oldest_counts_and_tells_each_drop)
{
    policy_run(MR_POLICY_DROP_OLDEST);
}

/* ---- several threads ---- */

static void thread_writes(void *argument)
{
    struct poster *poster = argument;
    for (uint64_t n = 0; n < 5000; n++)
        CHECK_STATUS(write_number(poster->writer, poster->number << 32 | n, MR_NORMAL), MR_OK);
}

TEST(writer, eight_threads_write_through_one_handle)
{
    slots_begin();
    mr_reader *reader = slots_reader("eight", NULL);
    mr_writer *writer = writer_start("eight");
    struct poster threads[8];
    for (uint64_t n = 0; n < 8; n++) {
        threads[n] = (struct poster){.writer = writer, .number = n};
        CHECK_STATUS(thread_start(&threads[n].thread, "writer", thread_writes, &threads[n]), MR_OK);
    }
    uint64_t next[8] = {0};
    for (size_t n = 0; n < 8 * 5000; n++) {
        uint64_t number;
        size_t length;
        CHECK_STATUS(mr_reader_read(reader, &number, sizeof number, &length, LONG_MS), MR_OK);
        CHECK(number >> 32 < 8);
        CHECK_EQ(number & UINT32_MAX, next[number >> 32]);
        next[number >> 32]++;
    }
    for (size_t n = 0; n < 8; n++)
        thread_join(threads[n].thread);
    reader_expect_nothing(reader);
    CHECK_EQ(counts_of(writer).written, 8 * 5000);
    CHECK_EQ(counts_of(writer).connects, 1);
    writer_end(writer);
    slots_close(reader);
}

/* ---- messages ---- */

TEST(writer, zero_length_is_a_message)
{
    slots_begin();
    mr_reader *reader = slots_reader("empty", NULL);
    mr_writer *writer = writer_start("empty");
    CHECK_STATUS(mr_writer_write(writer, NULL, 0, MR_NORMAL), MR_OK);
    CHECK_STATUS(mr_writer_post(writer, NULL, 0, MR_NORMAL, NULL, NULL), MR_OK);
    CHECK_STATUS(mr_writer_post(writer, "x", 1, MR_NORMAL, NULL, NULL), MR_OK);
    slots_expect(reader, "");
    slots_expect(reader, "");
    slots_expect(reader, "x");
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK); /* it may be read before it is counted */
    CHECK_EQ(counts_of(writer).written, 3);
    CHECK_EQ(counts_of(writer).bytes, 1);
    writer_end(writer);
    slots_close(reader);
}

TEST(writer, too_big_is_refused_nothing_is_sent_and_the_connection_stays)
{
    slots_begin();
    mr_reader_options reader_options = MR_READER_OPTIONS_INIT;
    reader_options.max_message = 500;
    mr_reader *reader = slots_reader("small", &reader_options);
    mr_writer *writer = writer_start("small");
    char data[501];
    memset(data, 'm', sizeof data);
    struct told told = {0};
    CHECK_STATUS(mr_writer_post(writer, data, 501, MR_NORMAL, on_posted_count, &told), MR_OK);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_E_DROPPED);
    CHECK_EQ(told_with(&told, MR_E_TOO_BIG), 1);
    CHECK_STATUS(mr_writer_write(writer, data, 501, MR_NORMAL), MR_E_TOO_BIG);
    CHECK(strstr(mr_last_error_text(), "500") != NULL);
    CHECK_STATUS(mr_writer_post(writer, data, 501, MR_NORMAL, on_posted_count, &told), MR_E_TOO_BIG);
    CHECK_STATUS(mr_writer_write(writer, data, 500, MR_NORMAL), MR_OK);
    char back[600];
    size_t length;
    CHECK_STATUS(mr_reader_read(reader, back, sizeof back, &length, LONG_MS), MR_OK);
    CHECK_EQ(length, 500);
    CHECK_MEM(back, data, 500);
    reader_expect_nothing(reader);
    CHECK_EQ(counts_of(writer).connects, 1);
    CHECK_EQ(counts_of(writer).dropped_refused, 1);
    writer_end(writer);
    slots_close(reader);
}

/* The bound is the slot's, not the name's. */
TEST(writer, too_big_for_the_slot_before_is_written_to_the_next_one_of_the_name)
{
    slots_begin();
    mr_reader_options reader_options = MR_READER_OPTIONS_INIT;
    reader_options.max_message = 500;
    mr_reader *reader = slots_reader("grown", &reader_options);
    mr_writer *writer = writer_start("grown");
    char data[501];
    memset(data, 'g', sizeof data);
    CHECK_STATUS(mr_writer_write(writer, data, 500, MR_NORMAL), MR_OK);
    CHECK_STATUS(mr_writer_write(writer, data, 501, MR_NORMAL), MR_E_TOO_BIG);
    char back[600];
    size_t length;
    CHECK_STATUS(mr_reader_read(reader, back, sizeof back, &length, LONG_MS), MR_OK);
    CHECK_EQ(length, 500);
    slots_close(reader);
    CHECK_STATUS(mr_writer_write(writer, data, 501, MR_NORMAL), MR_E_NO_SLOT);
    reader = slots_reader("grown", NULL);
    CHECK_STATUS(mr_writer_write(writer, data, 501, MR_NORMAL), MR_OK);
    CHECK_STATUS(mr_reader_read(reader, back, sizeof back, &length, LONG_MS), MR_OK);
    CHECK_EQ(length, 501);
    slots_close(reader);
    writer_end(writer);
}

TEST(writer, order_first_in_first_out_per_priority_and_a_write_never_overtakes_a_post)
{
    slots_begin();
    mr_reader *reader = slots_reader("order", NULL);
    mr_writer *writer = writer_start("order");
    for (uint64_t n = 0; n < 5000; n++) {
        if (n % 3 == 0)
            CHECK_STATUS(write_number(writer, n, MR_NORMAL), MR_OK);
        else
            CHECK_STATUS(post_number(writer, n, MR_NORMAL, NULL, NULL), MR_OK);
        if (n % 200 == 199) {
            for (uint64_t i = n - 199; i <= n; i++)
                reader_expect(reader, i);
        }
    }
    writer_end(writer);
    slots_close(reader);
}

/* ---- arguments ---- */

TEST(writer, arguments_are_checked)
{
    slots_begin();
    mr_writer *writer = NULL;
    CHECK_STATUS(mr_writer_open(NULL, "a", NULL), MR_E_ARGUMENT);
    CHECK_STATUS(mr_writer_open(&writer, NULL, NULL), MR_E_ARGUMENT);
    CHECK_STATUS(mr_writer_open(&writer, "", NULL), MR_E_NAME);
    CHECK_STATUS(mr_writer_open(&writer, "..\\x", NULL), MR_E_NAME);
    if (!slots_reach_other_machines)
        CHECK_STATUS(mr_writer_open(&writer, "\\\\elsewhere\\mailslot\\x", NULL), MR_E_NAME);
    mr_writer_options options = slots_writer_options();
    options.size = 0;
    CHECK_STATUS(mr_writer_open(&writer, "a", &options), MR_E_ARGUMENT);
    options.size = sizeof options + 1;
    CHECK_STATUS(mr_writer_open(&writer, "a", &options), MR_E_ARGUMENT);
    mr_writer_options_init(&options);
    options.levels = MR_LEVELS_MAX + 1;
    CHECK_STATUS(mr_writer_open(&writer, "a", &options), MR_E_ARGUMENT);
    mr_writer_options_init(&options);
    options.policy = (mr_policy) 4;
    CHECK_STATUS(mr_writer_open(&writer, "a", &options), MR_E_ARGUMENT);
    mr_writer_options_init(&options);
    options.backoff_min_ms = 50;
    options.backoff_max_ms = 49;
    CHECK_STATUS(mr_writer_open(&writer, "a", &options), MR_E_ARGUMENT);
    mr_writer_options_init(&options);
    options.size = offsetof(mr_writer_options, linger_ms); /* a program built with an older header */
    CHECK_STATUS(mr_writer_open(&writer, "a", &options), MR_OK);
    CHECK_STATUS(mr_writer_write(writer, "x", 1, MR_LEVELS_DEFAULT), MR_E_ARGUMENT);
    CHECK_STATUS(mr_writer_write(writer, NULL, 1, MR_NORMAL), MR_E_ARGUMENT);
    CHECK_STATUS(mr_writer_write(NULL, "x", 1, MR_NORMAL), MR_E_ARGUMENT);
    CHECK_STATUS(mr_writer_post(writer, "x", 1, MR_LEVELS_DEFAULT, NULL, NULL), MR_E_ARGUMENT);
    CHECK_STATUS(mr_writer_post(writer, NULL, 1, MR_NORMAL, NULL, NULL), MR_E_ARGUMENT);
    CHECK_STATUS(mr_writer_flush(NULL, 0), MR_E_ARGUMENT);
    CHECK_STATUS(mr_writer_rename(NULL, "b"), MR_E_ARGUMENT);
    mr_writer_statistics statistics = {.size = 0};
    CHECK_STATUS(mr_writer_get_statistics(writer, &statistics), MR_E_ARGUMENT);
    CHECK_STATUS(mr_writer_get_statistics(writer, NULL), MR_E_ARGUMENT);
    writer_end(writer);
}

/* ---- inside callbacks of the same port ---- */

enum { FORWARDERS = 8, FORWARDED = 8 };

struct forwarder {
    mr_reader *reader;
    mr_writer *feeder, *writer;
    bool post; /* and flush; else write */
};

static void forward(mr_reader *reader, const mr_message *message, void *context)
{
    struct forwarder *forwarder = context;
    (void) reader;
    if (forwarder->post) {
        CHECK_STATUS(mr_writer_post(forwarder->writer, message->data, message->length, MR_NORMAL, NULL, NULL), MR_OK);
        CHECK_STATUS(mr_writer_flush(forwarder->writer, MR_FOREVER), MR_OK);
        return;
    }
    for (int i = 0; i < 600; i++) /* more than the system keeps of one writer's for a reader that does not take */
        CHECK_STATUS(mr_writer_write_timed(forwarder->writer, message->data, message->length, MR_NORMAL, MR_FOREVER),
                     MR_OK);
}

static void count_message(mr_reader *reader, const mr_message *message, void *context)
{
    (void) reader;
    (void) message;
    counter_add(context, 1);
}

/* Callbacks on every worker of the port wait for what only another worker can do. */
static void forward_all(bool post, uint64_t expected)
{
    slots_begin();
    mr_port *port = slots_port(1, 2);
    struct counter got;
    counter_init(&got);
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.port = port;
    options.on_message = count_message;
    options.context = &got;
    mr_reader *sink = slots_reader("sink", &options);
    mr_writer_options writing = slots_writer_options();
    writing.port = port;
    static struct forwarder forwarders[FORWARDERS];
    for (unsigned i = 0; i < FORWARDERS; i++) {
        char name[32];
        snprintf(name, sizeof name, "forward %u", i);
        forwarders[i].post = post;
        options.on_message = forward;
        options.context = &forwarders[i];
        CHECK_STATUS(mr_writer_open(&forwarders[i].writer, "sink", &writing), MR_OK);
        forwarders[i].reader = slots_reader(name, &options);
        forwarders[i].feeder = writer_start(name);
    }
    for (uint64_t n = 0; n < FORWARDED; n++)
        for (unsigned i = 0; i < FORWARDERS; i++)
            CHECK_STATUS(write_number(forwarders[i].feeder, n, MR_NORMAL), MR_OK);
    counter_await(&got, expected);
    for (unsigned i = 0; i < FORWARDERS; i++) {
        slots_close(forwarders[i].reader);
        writer_end(forwarders[i].feeder);
        writer_end(forwarders[i].writer);
    }
    CHECK_EQ(counter_get(&got), expected);
    slots_close(sink);
    CHECK_STATUS(mr_port_close(port), MR_OK);
}

TEST(writer, flush_inside_every_callback_of_a_port_ends)
{
    forward_all(true, FORWARDERS * FORWARDED);
}

TEST(writer, write_inside_every_callback_of_a_port_gets_room)
{
    forward_all(false, FORWARDERS * FORWARDED * 600);
}

/* ---- what it costs ---- */

TEST(writer, a_thousand_idle_writers_are_small_and_leave_nothing_behind)
{
    enum { WRITERS = 1000 };
    slots_begin();
    mr_reader_options reader_options = MR_READER_OPTIONS_INIT;
    reader_options.connections_per_uid = WRITERS + 1;
    mr_reader *reader = slots_reader("crowd", &reader_options);
    static mr_writer *writers[WRITERS];
    size_t descriptors = slots_descriptors();
    for (unsigned round = 0; round < 2; round++) {
        for (size_t n = 0; n < WRITERS; n++)
            writers[n] = writer_start("crowd");
        CHECK_EQ(slots_descriptors(), descriptors); /* nothing before the first write */
        for (size_t n = 0; n < WRITERS; n++)
            writer_end(writers[n]);
    }
    slots_close(reader);
}
