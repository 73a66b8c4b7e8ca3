/* test_writer_ring.c: what test_writer_acknowledged.c tests on a link in memory, through real rings into readers of the same
 * process: acknowledgement, redelivery, what is kept, and what is told of drops. */
#include <mailroom/mailroom.h>

#include <string.h>

#include "box.h"
#include "writer_rows.h"

static mr_reader_statistics reader_counts(mr_reader *reader)
{
    mr_reader_statistics statistics = {.size = sizeof statistics};
    CHECK_STATUS(mr_reader_get_statistics(reader, &statistics), MR_OK);
    return statistics;
}

static mr_writer_options options_ring(void)
{
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.lane = MR_LANE_RING;
    return options;
}

static mr_writer *writer_with(const char *name, const mr_writer_options *options)
{
    mr_writer *writer;
    CHECK_STATUS(mr_writer_open(&writer, name, options), MR_OK);
    return writer;
}

/* Until nothing that was posted waits. */
static void posted_await(mr_writer *writer)
{
    while (counts_of(writer).waiting > 0)
        thread_yield(100);
}

struct flusher {
    mr_writer *writer;
    int status;
    _Atomic bool over;
    thread thread;
};

static void flusher_run(void *argument)
{
    struct flusher *flusher = argument;
    flusher->status = mr_writer_flush(flusher->writer, LONG_MS);
    atomic_store_explicit(&flusher->over, true, memory_order_release);
}

TEST(writer_ring, flush_returns_when_the_reader_has_acknowledged_and_holds_up_nobody)
{
    slots_begin();
    mr_reader *reader = slots_reader("flushed", NULL);
    mr_writer_options options = options_ring();
    mr_writer *writer = writer_with("flushed", &options);
    CHECK_STATUS(write_number(writer, 0, MR_NORMAL), MR_OK);
    CHECK_STATUS(mr_writer_flush(writer, 30), MR_E_TIMEOUT);
    struct flusher flusher = {.writer = writer};
    CHECK_STATUS(thread_start(&flusher.thread, "flusher", flusher_run, &flusher), MR_OK);
    uint64_t n = 1;
    for (; n < 300; n++) {
        CHECK_STATUS(write_number(writer, n, MR_NORMAL), MR_OK);
        CHECK_STATUS(post_number(writer, ++n, MR_NORMAL, NULL, NULL), MR_OK);
    }
    posted_await(writer);
    CHECK(!atomic_load_explicit(&flusher.over, memory_order_acquire));
    CHECK_EQ(counts_of(writer).unacknowledged, n);
    for (uint64_t i = 0; i < n; i++)
        reader_expect(reader, i);
    thread_join(flusher.thread);
    CHECK_STATUS(flusher.status, MR_OK);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    mr_writer_statistics counts = counts_of(writer);
    CHECK_EQ(counts.unacknowledged, 0);
    CHECK_EQ(counts.written, n);
    CHECK(counts.ring_bytes >= (size_t) 256 << 10);
    writer_end(writer);
    slots_close(reader);
}

/* No call of the writer's after the posts. */
TEST(writer_ring, a_writer_that_has_posted_offers_the_next_reader_what_the_last_one_left)
{
    slots_begin();
    mr_reader *reader = slots_reader("heir", NULL);
    mr_writer_options options = options_ring();
    options.backoff_min_ms = 1;
    mr_writer *writer = writer_with("heir", &options);
    for (uint64_t n = 0; n < 100; n++)
        CHECK_STATUS(post_number(writer, n, MR_NORMAL, NULL, NULL), MR_OK);
    posted_await(writer);
    for (uint64_t round = 0; round < 10; round++) {
        for (uint64_t n = 0; n < 3; n++)
            reader_expect(reader, 3 * round + n);
        uint64_t lost;
        CHECK_STATUS(mr_reader_close(reader, &lost), MR_OK);
        CHECK_EQ(lost, 0);
        reader = slots_reader("heir", NULL);
    }
    for (uint64_t n = 30; n < 100; n++)
        reader_expect(reader, n);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    CHECK_EQ(counts_of(writer).written, 100);
    CHECK_MSG(counts_of(writer).connects >= 11, "%llu connections", (unsigned long long) counts_of(writer).connects);
    writer_end(writer);
    slots_close(reader);
}

TEST(writer_ring, keep_fills_the_ring_for_the_next_reader)
{
    slots_begin();
    mr_writer_options options = options_ring();
    options.when_absent = MR_KEEP;
    options.ring_bytes = (size_t) 16 << 10;
    options.timeout_ms = 30;
    mr_writer *writer = writer_with("kept", &options);
    uint64_t count = 0;
    int status;
    while ((status = write_number(writer, count, MR_NORMAL)) == MR_OK)
        count++;
    CHECK_STATUS(status, MR_E_TIMEOUT);
    CHECK(count > 500);
    CHECK_STATUS(write_number(writer, UINT64_MAX, MR_URGENT), MR_OK);
    CHECK_EQ(counts_of(writer).kept, count + 1);
    mr_reader *reader = slots_reader("kept", NULL);
    CHECK_STATUS(mr_writer_flush(writer, 30), MR_E_TIMEOUT); /* connects: nobody acknowledges before the next lines */
    reader_expect(reader, UINT64_MAX);
    for (uint64_t n = 0; n < count; n++)
        reader_expect(reader, n);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    CHECK_EQ(counts_of(writer).redelivered, 0);
    writer_end(writer);
    slots_close(reader);
}

static void drops_agree(mr_policy policy)
{
    slots_begin();
    mr_reader *reader = slots_reader("dropping", NULL);
    CHECK_STATUS(mr_reader_pause(reader), MR_OK);
    mr_writer_options options = options_ring();
    options.policy = policy;
    options.queue_messages = 10;
    options.ring_bytes = (size_t) 16 << 10;
    mr_writer *writer = writer_with("dropping", &options);
    uint64_t sent = 20000, delivered = 0, holes = 0, last = 0;
    for (uint64_t n = 0; n < sent; n++) {
        int status = post_number(writer, n, MR_NORMAL, NULL, NULL);
        CHECK(status == MR_OK || status == MR_E_DROPPED);
    }
    CHECK_STATUS(mr_reader_resume(reader), MR_OK);
    for (;;) {
        const mr_message *message;
        int status = mr_reader_receive(reader, &message, 0);
        if (status == MR_OK) {
            holes += message->sequence - last - 1;
            last = message->sequence;
            delivered++;
            mr_message_release(message);
        } else {
            CHECK_STATUS(status, MR_E_TIMEOUT);
            mr_writer_statistics counts = counts_of(writer);
            if (delivered + counts.dropped_newest + counts.dropped_oldest == sent &&
                reader_counts(reader).dropped_by_writers == counts.dropped_newest + counts.dropped_oldest)
                break;
            thread_yield(100); /* a worker is sending */
        }
    }
    mr_writer_statistics counts = counts_of(writer);
    CHECK(counts.dropped_newest + counts.dropped_oldest > 1000);
    CHECK(holes <= counts.dropped_newest + counts.dropped_oldest);
    if (policy == MR_POLICY_DROP_OLDEST) /* what was sent last was delivered, so every hole was seen */
        CHECK_EQ(holes, counts.dropped_oldest);
    CHECK_EQ(counts.written, delivered);
    writer_end(writer);
    slots_close(reader);
}

/* The one worker is held in a callback while the reader says that there is room: by then somebody else has looked. */
TEST(writer_ring, who_asks_for_statistics_keeps_no_room_from_what_is_posted)
{
    slots_begin();
    mr_port *workers = slots_port(1, 1);
    static struct box box;
    box_init(&box);
    box.gated = true;
    mr_reader *blocking = box_reader(&box, "blocking", workers);
    mr_writer *blocker = writer_start("blocking");
    mr_reader *reader = slots_reader("roomy", NULL);
    mr_writer_options options = options_ring();
    options.port = workers;
    options.policy = MR_POLICY_FAIL;
    options.queue_messages = 10;
    options.ring_bytes = (size_t) 16 << 10;
    mr_writer *writer = writer_with("roomy", &options);
    uint64_t posted = 0;
    while (counts_of(writer).waits == 0 || counts_of(writer).waiting < 10) {
        int status = post_number(writer, posted, MR_NORMAL, NULL, NULL);
        CHECK(status == MR_OK || status == MR_E_FULL);
        posted += status == MR_OK;
    }
    CHECK_STATUS(write_number(blocker, 0, MR_NORMAL), MR_OK);
    while (atomic_load(&box.inside) == 0)
        thread_yield(100);
    uint64_t taken = 0, number;
    size_t length;
    while (mr_reader_read(reader, &number, sizeof number, &length, 0) == MR_OK)
        CHECK_EQ(number, taken++);
    CHECK(taken < posted);
    (void) counts_of(writer);
    counter_add(&box.gate, 1);
    for (; taken < posted; taken++)
        reader_expect(reader, taken);
    writer_end(writer);
    writer_end(blocker);
    slots_close(reader);
    slots_close(blocking);
    CHECK_STATUS(mr_port_close(workers), MR_OK);
}

TEST(writer_ring, drop_newest_sent_is_delivered_and_dropped_at_both_ends)
{
    drops_agree(MR_POLICY_DROP_NEWEST);
}

TEST(writer_ring, drop_oldest_sent_is_delivered_and_dropped_at_both_ends)
{
    drops_agree(MR_POLICY_DROP_OLDEST);
}

TEST(writer_ring, close_counts_what_is_unacknowledged_which_the_reader_may_read_yet)
{
    slots_begin();
    mr_reader *reader = slots_reader("left", NULL);
    mr_writer_options options = options_ring();
    options.linger_ms = 30;
    mr_writer *writer = writer_with("left", &options);
    for (uint64_t n = 0; n < 10; n++)
        CHECK_STATUS(write_number(writer, n, MR_NORMAL), MR_OK);
    reader_expect(reader, 0);
    uint64_t undelivered;
    CHECK_STATUS(mr_writer_close(writer, &undelivered), MR_E_UNDELIVERED);
    CHECK_EQ(undelivered, 9);
    for (uint64_t n = 1; n < 10; n++)
        reader_expect(reader, n);
    reader_expect_nothing(reader);
    slots_close(reader);
}

/* ---- urgent ---- */

#define MANY 16u /* more than the rings that are watched between any two messages */

struct stage {
    struct counter entered; /* callbacks that are held */
    struct counter held;    /* … and let go */
    uint64_t hold;          /* the next one to be held, by its number */
    uint64_t seen;
    uint64_t urgent; /* number of the last urgent one */
};

static void on_stage(mr_reader *reader, const mr_message *message, void *context)
{
    struct stage *stage = context;
    (void) reader;
    stage->seen++;
    if (message->priority == MR_URGENT)
        stage->urgent = stage->seen;
    if (stage->seen != stage->hold)
        return;
    uint64_t go_on = counter_get(&stage->held) + 1;
    counter_add(&stage->entered, 1);
    counter_await(&stage->held, go_on);
}

static void pass_time(uint64_t nanoseconds)
{
    uint64_t end = clock_now() + nanoseconds;
    while (clock_now() < end)
        thread_yield(100);
}

/* Lets the callback go, and waits until the one of number `hold` is held. */
static void stage_go_on(struct stage *stage, uint64_t hold)
{
    uint64_t entered = counter_get(&stage->entered);
    stage->hold = hold;
    counter_add(&stage->held, 1);
    counter_await(&stage->entered, entered + 1);
}

static void write_texts(mr_writer *writer, unsigned count)
{
    for (unsigned n = 0; n < count; n++)
        CHECK_STATUS(mr_writer_write(writer, "normal", 6, MR_NORMAL), MR_OK);
}

TEST(writer_ring, an_urgent_message_passes_what_many_busy_writers_have_sent)
{
    slots_begin();
    struct stage stage = {.hold = 1};
    counter_init(&stage.entered);
    counter_init(&stage.held);
    mr_port *port = slots_port(1, 0);
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.port = port;
    options.on_message = on_stage;
    options.context = &stage;
    mr_reader *reader = slots_reader("busy", &options);
    mr_writer_options ring = options_ring();
    mr_writer *writers[MANY];
    for (unsigned n = 0; n < MANY; n++) {
        writers[n] = writer_with("busy", &ring);
        write_texts(writers[n], 100);
    }
    counter_await(&stage.entered, 1);
    uint64_t held = MANY * 20;
    stage_go_on(&stage, held);
    for (unsigned n = 0; n < MANY; n++)
        write_texts(writers[n], 1000); /* connected for certain, and none of them is found empty for a while */
    for (unsigned n = 0; n < MANY; n++) {
        stage_go_on(&stage, held += 200);
        CHECK_STATUS(mr_writer_write(writers[n], "urgent", 6, MR_URGENT), MR_OK);
        pass_time(20000000); /* more than a tick: after such a callback everybody is looked at */
        uint64_t before = held;
        stage_go_on(&stage, held += 200);
        CHECK_MSG(stage.urgent > before && stage.urgent <= before + 2, "of writer %u it is %d behind", n,
                  (int) (stage.urgent - before));
    }
    counter_add(&stage.held, 1);
    for (unsigned n = 0; n < MANY; n++)
        CHECK_STATUS(mr_writer_close(writers[n], NULL), MR_OK);
    slots_close(reader);
    CHECK_STATUS(mr_port_close(port), MR_OK);
    CHECK_EQ(stage.seen, MANY * 1101);
}

/* How many are read until the urgent one is. */
static unsigned reads_to_urgent(mr_reader *reader)
{
    for (unsigned reads = 1;; reads++) {
        const mr_message *message;
        CHECK_STATUS(mr_reader_receive(reader, &message, 0), MR_OK);
        bool urgent = message->priority == MR_URGENT;
        mr_message_release(message);
        if (urgent)
            return reads;
    }
}

TEST(writer_ring, a_read_finds_what_is_urgent_of_sleeping_and_new_writers)
{
    slots_begin();
    mr_reader *reader = slots_reader("read", NULL);
    mr_writer_options ring = options_ring();
    mr_writer *writers[MANY + 1];
    for (unsigned n = 0; n < MANY; n++) {
        writers[n] = writer_with("read", &ring);
        write_texts(writers[n], 1);
        slots_expect(reader, "normal");
    }
    char byte;
    size_t length;
    CHECK_STATUS(mr_reader_read(reader, &byte, sizeof byte, &length, 0), MR_E_TIMEOUT); /* all are asleep */
    write_texts(writers[0], 2000);
    slots_expect(reader, "normal");
    writers[MANY] = writer_with("read", &ring);
    for (unsigned n = 0; n <= MANY; n++) {
        CHECK_STATUS(mr_writer_write(writers[n], "urgent", 6, MR_URGENT), MR_OK);
        pass_time(50000); /* the reader does not ask the system for every message */
        unsigned reads = reads_to_urgent(reader);
        CHECK_MSG(reads <= 2, "of writer %u it is read %u.", n, reads);
    }
    CHECK_STATUS(mr_reader_close(reader, NULL), MR_OK);
    for (unsigned n = 0; n <= MANY; n++) /* of the first, the next reader would get the rest */
        CHECK_STATUS(mr_writer_close(writers[n], NULL), n == 0 ? MR_E_UNDELIVERED : MR_OK);
}

TEST(writer_ring, keep_is_refused_on_the_plain_lane)
{
    slots_begin();
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.lane = MR_LANE_PLAIN;
    options.when_absent = MR_KEEP;
    mr_writer *writer;
    CHECK_STATUS(mr_writer_open(&writer, "plain", &options), MR_E_ARGUMENT);
    CHECK(strstr(mr_last_error_text(), "MR_KEEP") != NULL);
}
