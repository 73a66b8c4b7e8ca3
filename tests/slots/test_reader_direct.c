/* test_reader_direct.c: a ring's messages, which are handed to on_message while they are taken, and acknowledging them;
 * on a slot of the test's own making. */
#include <stdatomic.h>
#include <string.h>

#include <mailroom/mailroom.h>

#include "iocp/workers.h"
#include "slot_fake.h"
#include "slot_support.h"
#include "test_nap.h"

/* What the callbacks of a test have seen. Written by callbacks, which come one at a time. */
static struct {
    mr_port *port;
    mr_reader *reader;
    void (*each)(mr_reader *reader, const mr_message *message); /* further to counting */
    struct counter got;
    struct counter gate; /* one more for each held callback that may go on */
    struct counter inside;
    struct counter closed;
    uint64_t lost;
    _Atomic int within;
    uint64_t next[FAKE_WRITERS][2]; /* by writer and lane: rings' and others' numbers go up */
    uint64_t passed;
    const mr_message *kept[64];
    size_t kept_count;
    uint32_t order[256]; /* priorities, in the order of delivery */
    size_t ordered;
} box;

static uint64_t number_of(const mr_message *message)
{
    uint64_t number;
    CHECK(message->length >= sizeof number);
    memcpy(&number, message->data, sizeof number);
    return number;
}

static void on_message(mr_reader *reader, const mr_message *message, void *context)
{
    (void) context;
    CHECK_EQ(atomic_fetch_add(&box.within, 1), 0); /* one at a time */
    uint64_t *next = &box.next[message->sender.writer - 1][message->lane == MR_LANE_RING];
    if (message->priority == MR_NORMAL)
        CHECK_EQ(number_of(message), (*next)++);
    if (box.ordered < sizeof box.order / sizeof *box.order)
        box.order[box.ordered++] = message->priority;
    if (box.each != NULL)
        box.each(reader, message);
    CHECK_EQ(atomic_fetch_sub(&box.within, 1), 1);
    counter_add(&box.got, 1);
}

static void on_closed(mr_reader *reader, uint64_t lost, void *context)
{
    (void) reader;
    (void) context;
    box.lost = lost;
    counter_add(&box.closed, 1);
}

static mr_reader_options box_options(uint32_t workers)
{
    counter_init(&box.got);
    counter_init(&box.gate);
    counter_init(&box.inside);
    counter_init(&box.closed);
    box.port = slots_port(workers, workers);
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.port = box.port;
    options.on_message = on_message;
    options.on_closed = on_closed;
    return options;
}

static mr_reader *box_open(const mr_reader_options *options)
{
    box.reader = slots_reader("direct", options);
    return box.reader;
}

static void box_end(uint64_t lost)
{
    uint64_t count = 99;
    CHECK_STATUS(mr_reader_close(box.reader, &count), lost == 0 ? MR_OK : MR_E_UNREAD);
    CHECK_EQ(count, lost);
    CHECK_STATUS(mr_port_close(box.port), MR_OK);
}

/* The first callback, and each that is told to, waits for the gate. */
static void hold(void)
{
    counter_add(&box.inside, 1);
    counter_await(&box.gate, ++box.passed);
}

static void hold_first(mr_reader *reader, const mr_message *message)
{
    (void) reader;
    (void) message;
    if (box.passed == 0)
        hold();
}

static void count_inside(mr_reader *reader, const mr_message *message)
{
    (void) message;
    mr_reader_statistics statistics = slots_statistics(reader);
    CHECK_EQ(statistics.delivered, counter_get(&box.got) + 1);
    CHECK_EQ(statistics.messages, statistics.delivered + statistics.waiting);
    CHECK(statistics.bytes >= statistics.messages * sizeof(uint64_t));
    mr_reader_writer writer;
    size_t count = 0;
    CHECK_STATUS(mr_reader_get_writers(reader, &writer, 1, &count), MR_OK);
    CHECK_EQ(count, 2);
}

TEST(direct, messages_of_all_lanes_come_in_order_and_are_counted_exactly_inside_the_callback)
{
    mr_reader_options options = box_options(2);
    box.each = count_inside;
    mr_reader *reader = box_open(&options);
    CHECK(!fake_slot_counts().acknowledging);
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        for (uint32_t writer = 0; writer < 4; writer++) {
            (void) fake_put_long(writer, MR_LANE_RING, 0, i, 8 + i);
            bytes += 8 + i;
        }
        (void) fake_put(5, MR_LANE_PLAIN, 0, i);
        bytes += 8;
    }
    counter_await(&box.got, 5000);
    mr_reader_statistics statistics = slots_statistics(reader);
    CHECK_EQ(statistics.messages, 5000);
    CHECK_EQ(statistics.delivered, 5000);
    CHECK_EQ(statistics.bytes, bytes);
    CHECK_EQ(statistics.waiting, 0);
    CHECK(statistics.waiting_peak <= 64);
    fake_await_acknowledged(4000);
    box_end(0);
    CHECK_EQ(fake_slot_counts().acknowledged, 4000);
}

TEST(direct, lone_messages_each_wake_the_idle_slot)
{
    mr_reader_options options = box_options(2);
    (void) box_open(&options);
    for (uint64_t i = 0; i < 3000; i++) {
        (void) fake_put(0, i % 3 ? MR_LANE_RING : MR_LANE_PLAIN, 0, i % 3 ? i - i / 3 - 1 : i / 3);
        counter_await(&box.got, i + 1);
    }
    box_end(0);
}

static void look_acknowledged(mr_reader *reader, const mr_message *message)
{
    (void) reader;
    uint64_t number = number_of(message);
    CHECK(!fake_acknowledged((size_t) number)); /* before the callback has returned */
    CHECK(number == 0 || fake_acknowledged((size_t) number - 1));
    CHECK_STATUS(mr_message_acknowledge(message), MR_OK); /* not by hand: nothing happens */
    CHECK(!fake_acknowledged((size_t) number));
    if (number % 2 == 0 && box.kept_count < 64)
        box.kept[box.kept_count++] = mr_message_retain(message);
}

TEST(acknowledge, by_itself_when_the_callback_returns_also_what_it_retained)
{
    mr_reader_options options = box_options(1);
    box.each = look_acknowledged;
    (void) box_open(&options);
    for (uint64_t i = 0; i < 128; i++)
        (void) fake_put(0, MR_LANE_RING, 0, i);
    counter_await(&box.got, 128);
    fake_await_acknowledged(128);
    CHECK_EQ(box.kept_count, 64);
    box_end(0);
    for (size_t i = 0; i < box.kept_count; i++) {
        CHECK_EQ(number_of(box.kept[i]), 2 * i);
        mr_message_release(box.kept[i]);
    }
    CHECK_EQ(fake_slot_counts().acknowledged, 128);
    CHECK_EQ(fake_slot_counts().again, 0);
}

static void keep(mr_reader *reader, const mr_message *message)
{
    (void) reader;
    box.kept[box.kept_count++] = mr_message_retain(message);
}

TEST(acknowledge, by_hand_later_in_any_order_and_too_late_is_harmless)
{
    mr_reader_options options = box_options(2);
    options.acknowledge_by_hand = 1;
    box.each = keep;
    (void) box_open(&options);
    CHECK(fake_slot_counts().acknowledging);
    for (uint64_t i = 0; i < 10; i++)
        (void) fake_put(0, MR_LANE_RING, 0, i);
    counter_await(&box.got, 10);
    CHECK_EQ(fake_slot_counts().acknowledged, 0);
    for (size_t i = 9; i >= 5; i--)
        CHECK_STATUS(mr_message_acknowledge(box.kept[i]), MR_OK);
    CHECK_EQ(fake_slot_counts().acknowledged, 5);
    CHECK(fake_acknowledged(9) && !fake_acknowledged(4));
    box_end(0);
    for (size_t i = 0; i < 10; i++) {
        CHECK_STATUS(mr_message_acknowledge(box.kept[i]), MR_OK);
        mr_message_release(box.kept[i]);
    }
    CHECK_EQ(fake_slot_counts().acknowledged, 5);
}

static void pause_each(mr_reader *reader, const mr_message *message)
{
    (void) message;
    CHECK_STATUS(mr_reader_pause(reader), MR_OK);
}

TEST(direct, pause_inside_the_callback_holds_from_the_next_message_on)
{
    mr_reader_options options = box_options(2);
    box.each = pause_each;
    mr_reader *reader = box_open(&options);
    for (uint64_t i = 0; i < 20; i++)
        (void) fake_put(0, MR_LANE_RING, 0, i);
    for (uint64_t i = 1; i <= 20; i++) {
        counter_await(&box.got, i);
        test_nap(1000 * UINT64_C(1000)); /* nothing may come: there is no event to wait for */
        CHECK_EQ(counter_get(&box.got), i);
        CHECK_STATUS(mr_reader_resume(reader), MR_OK);
    }
    CHECK_EQ(fake_slot_counts().refused, 0); /* the taking had been stopped */
    box_end(0);
}

static void pause_before_the_third(void *context)
{
    int *calls = context;
    if (++*calls == 3) /* from another thread it might be so: slot_take has begun, and the message is in its hands */
        CHECK_STATUS(mr_reader_pause(box.reader), MR_OK);
}

TEST(direct, pause_while_taking_leaves_the_message_in_its_lane_and_nothing_is_lost)
{
    mr_reader_options options = box_options(1);
    mr_reader *reader = box_open(&options);
    CHECK_STATUS(mr_reader_pause(reader), MR_OK);
    int calls = 0;
    fake_before_each(pause_before_the_third, &calls);
    for (uint64_t i = 0; i < 10; i++)
        (void) fake_put(0, MR_LANE_RING, 0, i);
    CHECK_STATUS(mr_reader_resume(reader), MR_OK);
    counter_await(&box.got, 2);
    while (fake_slot_counts().refused == 0)
        test_nap(100 * UINT64_C(1000));
    CHECK_EQ(counter_get(&box.got), 2);
    CHECK_EQ(fake_slot_counts().waiting, 8);
    CHECK_STATUS(mr_reader_resume(reader), MR_OK);
    counter_await(&box.got, 10);
    CHECK_EQ(fake_slot_counts().refused, 1);
    CHECK_EQ(slots_statistics(reader).messages, 10);
    box_end(0);
}

static void close_second(mr_reader *reader, const mr_message *message)
{
    uint64_t lost = 77;
    if (number_of(message) != 1)
        return;
    CHECK_STATUS(mr_reader_close(reader, &lost), MR_OK);
    CHECK_EQ(lost, 0);
}

TEST(direct, close_inside_the_callback_ends_the_taking_and_loses_only_what_no_writer_has)
{
    mr_reader_options options = box_options(2);
    box.each = close_second;
    mr_reader *reader = box_open(&options);
    CHECK_STATUS(mr_reader_pause(reader), MR_OK);
    for (uint64_t i = 0; i < 10; i++)
        (void) fake_put(0, MR_LANE_RING, 0, i);
    for (uint64_t i = 0; i < 3; i++)
        (void) fake_put(1, MR_LANE_PLAIN, 0, i);
    CHECK_STATUS(mr_reader_resume(reader), MR_OK);
    counter_await(&box.closed, 1);
    CHECK_EQ(counter_get(&box.got), 2);
    CHECK_EQ(box.lost, 3);
    CHECK_EQ(fake_slot_counts().acknowledged, 2);
    CHECK_STATUS(mr_port_close(box.port), MR_OK);
}

static void close_run(void *argument)
{
    uint64_t *lost = argument;
    (void) mr_reader_close(box.reader, lost);
    counter_add(&box.closed, 1);
}

TEST(direct, close_from_another_thread_awaits_the_callback_and_no_further_one_comes)
{
    mr_reader_options options = box_options(2);
    box.each = hold_first;
    (void) box_open(&options);
    for (uint64_t i = 0; i < 10; i++)
        (void) fake_put(0, MR_LANE_RING, 0, i);
    counter_await(&box.inside, 1);
    uint64_t lost = 99;
    thread closer;
    CHECK_STATUS(thread_start(&closer, "closer", close_run, &lost), MR_OK);
    test_nap(2000 * UINT64_C(1000)); /* it must not end now */
    CHECK_EQ(counter_get(&box.closed), 0);
    CHECK_EQ(fake_slot_counts().acknowledged, 0);
    counter_add(&box.gate, 1);
    thread_join(closer);
    CHECK_EQ(lost, 0);
    CHECK(counter_get(&box.got) >= 1);
    CHECK_EQ(fake_slot_counts().acknowledged, counter_get(&box.got));
    CHECK_STATUS(mr_port_close(box.port), MR_OK);
}

static void rename_each(mr_reader *reader, const mr_message *message)
{
    CHECK_STATUS(mr_reader_rename(reader, number_of(message) % 2 ? "direct" : "renamed"), MR_OK);
    char name[MR_NAME_MAX];
    CHECK_STATUS(mr_reader_get_name(reader, name, sizeof name), MR_OK);
    CHECK_STR(name, number_of(message) % 2 ? "\\\\.\\mailslot\\direct" : "\\\\.\\mailslot\\renamed");
    CHECK_EQ(slots_statistics(reader).delivered, counter_get(&box.got) + 1);
}

TEST(direct, rename_inside_the_callback)
{
    mr_reader_options options = box_options(2);
    box.each = rename_each;
    (void) box_open(&options);
    for (uint64_t i = 0; i < 100; i++)
        (void) fake_put(0, MR_LANE_RING, 0, i);
    counter_await(&box.got, 100);
    CHECK_EQ(fake_slot_counts().renames, 100);
    box_end(0);
}

static void rename_first(mr_reader *reader, const mr_message *message)
{
    if (message->sender.writer != 3)
        return;
    CHECK_STATUS(mr_reader_rename(reader, "renamed"), MR_OK);
    for (uint64_t i = 0; i < 3; i++)
        (void) fake_put(7, MR_LANE_RING, 0, i); /* to the new name */
}

/* Messages of writer 8 are those that are sent after the rename. */
static void renamed_order(mr_reader *reader, const mr_message *message)
{
    if (message->sender.writer == 8)
        CHECK_EQ(box.next[1][0], 2); /* both plain messages have come */
    rename_first(reader, message);
}

TEST(direct, rename_inside_the_callback_what_was_taken_before_comes_before_what_the_new_name_brings)
{
    mr_reader_options options = box_options(1);
    box.each = renamed_order;
    mr_reader *reader = box_open(&options);
    CHECK_STATUS(mr_reader_pause(reader), MR_OK);
    (void) fake_put(1, MR_LANE_PLAIN, 0, 0);
    (void) fake_put(1, MR_LANE_PLAIN, 0, 1);
    (void) fake_put(2, MR_LANE_RING, 0, 0);
    CHECK_STATUS(mr_reader_resume(reader), MR_OK);
    counter_await(&box.got, 6);
    box_end(0);
}

static void rename_run(void *argument)
{
    int *status = argument;
    *status = mr_reader_rename(box.reader, "other");
    counter_add(&box.closed, 1);
}

TEST(direct, rename_from_another_thread_waits_for_the_callback)
{
    mr_reader_options options = box_options(2);
    box.each = hold_first;
    mr_reader *reader = box_open(&options);
    (void) fake_put(0, MR_LANE_RING, 0, 0);
    (void) fake_put(0, MR_LANE_RING, 0, 1);
    counter_await(&box.inside, 1);
    int status = 1;
    thread renamer;
    CHECK_STATUS(thread_start(&renamer, "renamer", rename_run, &status), MR_OK);
    test_nap(2000 * UINT64_C(1000));
    CHECK_EQ(fake_slot_counts().renames, 0);
    CHECK_EQ(slots_statistics(reader).delivered, 1); /* looking needs no end of the callback */
    counter_add(&box.gate, 1);
    thread_join(renamer);
    CHECK_STATUS(status, MR_OK);
    counter_await(&box.got, 2);
    box_end(0);
}

/* ---- urgent ---- */

TEST(urgent, passes_queued_messages_after_the_callback_that_was_held)
{
    mr_reader_options options = box_options(2);
    box.each = hold_first;
    mr_reader *reader = box_open(&options);
    CHECK_STATUS(mr_reader_pause(reader), MR_OK);
    for (uint64_t i = 0; i < 100; i++)
        (void) fake_put(0, MR_LANE_PLAIN, 0, i);
    CHECK_STATUS(mr_reader_resume(reader), MR_OK);
    counter_await(&box.inside, 1); /* the others are in the queue */
    (void) fake_put(1, MR_LANE_RING, 1, 0);
    (void) fake_put(2, MR_LANE_PLAIN, 1, 0);
    counter_add(&box.gate, 1);
    counter_await(&box.got, 102);
    CHECK_EQ(box.order[1], 1);
    CHECK_EQ(box.order[2], 1);
    box_end(0);
}

static uint32_t classify_urgent(const mr_message *message, void *context)
{
    (void) context;
    CHECK(message->lane != MR_LANE_RING); /* which says itself */
    return 1;
}

TEST(urgent, in_the_batch_comes_before_further_messages_of_rings)
{
    mr_reader_options options = box_options(1);
    options.classify = classify_urgent;
    mr_reader *reader = box_open(&options);
    CHECK_STATUS(mr_reader_pause(reader), MR_OK);
    for (uint64_t i = 0; i < 40; i++)
        (void) fake_put(1, MR_LANE_RING, 0, i);
    (void) fake_put(2, MR_LANE_PLAIN, 0, 0); /* its turn comes after 16 of the ring */
    CHECK_STATUS(mr_reader_resume(reader), MR_OK);
    counter_await(&box.got, 41);
    uint32_t at = 0;
    while (box.order[at] == MR_NORMAL)
        at++;
    CHECK_EQ(at, 16);
    box_end(0);
}

static void feed_urgent(mr_reader *reader, const mr_message *message)
{
    (void) reader;
    hold_first(reader, message);
    if (counter_get(&box.got) < 2000)
        (void) fake_put(1, MR_LANE_RING, 1, 0); /* there is always one more */
}

TEST(urgent, flood_lets_queued_messages_pass)
{
    mr_reader_options options = box_options(1);
    box.each = feed_urgent;
    mr_reader *reader = box_open(&options);
    CHECK_STATUS(mr_reader_pause(reader), MR_OK);
    for (uint64_t i = 0; i < 20; i++)
        (void) fake_put(0, MR_LANE_PLAIN, 0, i);
    CHECK_STATUS(mr_reader_resume(reader), MR_OK);
    counter_await(&box.inside, 1);
    counter_add(&box.gate, 1);
    counter_await(&box.got, 1000);
    CHECK(box.ordered == 256);
    uint32_t run = 0, normal = 0;
    for (size_t i = 1; i < box.ordered; i++) {
        run = box.order[i] == MR_NORMAL ? 0 : run + 1;
        normal += box.order[i] == MR_NORMAL;
        CHECK(run <= 64);
    }
    CHECK(normal >= 3);
    counter_await(&box.got, 2000);
    while (fake_slot_counts().waiting > 0)
        test_nap(100 * UINT64_C(1000));
    box_end(0);
}

/* The callbacks keep everything until there is no memory for normal messages. */
static mr_reader *open_and_fill(uint32_t workers)
{
    CHECK_STATUS(mr_set_memory_ceiling((size_t) 1 << 20), MR_OK);
    mr_reader_options options = box_options(workers);
    box.each = keep;
    mr_reader *reader = box_open(&options);
    for (uint64_t i = 0; i < 62; i++)
        (void) fake_put_long(0, MR_LANE_RING, 0, i, 20000);
    fake_await_starved(1);
    return reader;
}

TEST(urgent, comes_through_with_the_pool_at_its_ceiling_and_all_of_it_held)
{
    (void) open_and_fill(1);
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t before = counter_get(&box.got);
        (void) fake_put(3 + i, MR_LANE_RING, 1, 0); /* the slot is waiting for memory, or will be soon */
        counter_await(&box.got, before + 1);
        while (fake_slot_counts().waiting > 62 - (counter_get(&box.got) - i - 1))
            test_nap(100 * UINT64_C(1000));
    }
    uint64_t urgent = 0;
    for (size_t i = 0; i < box.ordered; i++)
        urgent += box.order[i];
    CHECK_EQ(urgent, 2);
    for (size_t i = 0; i < 64; i++) {
        counter_await(&box.got, i + 1);
        mr_message_release(box.kept[i]);
    }
    box_end(0);
}

TEST(close, of_a_reader_that_waits_for_memory_ends)
{
    CHECK_STATUS(mr_set_memory_ceiling((size_t) 1 << 20), MR_OK);
    mr_reader_options options = box_options(2);
    box.each = keep;
    for (int round = 0; round < 30; round++) {
        memset(box.next, 0, sizeof box.next);
        box.kept_count = 0;
        uint64_t starved = fake_slot_counts().starved;
        (void) box_open(&options);
        for (uint64_t i = 0; i < 62; i++)
            (void) fake_put_long((uint32_t) round % 8, MR_LANE_RING, 0, i, 20000);
        fake_await_starved(starved + 1);
        if (round % 3 == 1)
            test_nap((uint64_t) round * 300 * UINT64_C(1000)); /* the look comes meanwhile */
        if (round % 3 == 2)
            mr_message_release(box.kept[--box.kept_count]); /* the pool calls, before, while or after */
        uint64_t lost = 99;
        CHECK_STATUS(mr_reader_close(box.reader, &lost), MR_OK);
        CHECK_EQ(lost, 0);
        for (size_t i = 0; i < box.kept_count; i++)
            mr_message_release(box.kept[i]);
        fake_clear();
    }
    CHECK_STATUS(mr_port_close(box.port), MR_OK);
}

/* ---- turns ---- */

static _Atomic bool flooding;

static void flood_on(mr_reader *reader, const mr_message *message)
{
    (void) reader;
    if (atomic_load(&flooding))
        (void) fake_put(0, MR_LANE_RING, 0, number_of(message) + 1); /* the ring is never empty */
}

static void flood_off(operation *posted)
{
    (void) posted;
    atomic_store(&flooding, false);
    counter_add(&box.closed, 1);
}

TEST(turn, flood_of_one_ring_does_not_keep_other_packets_of_the_port)
{
    mr_reader_options options = box_options(1);
    box.each = flood_on;
    (void) box_open(&options);
    atomic_store(&flooding, true);
    (void) fake_put(0, MR_LANE_RING, 0, 0);
    counter_await(&box.got, 1000);
    operation other = {.handler = flood_off};
    CHECK_STATUS(port_post(mr_port_backend(box.port), &other), MR_OK);
    counter_await(&box.closed, 1); /* with the one worker that there is */
    while (fake_slot_counts().waiting > 0)
        test_nap(100 * UINT64_C(1000));
    box_end(0);
}

static _Atomic bool busy;

static void disturb(void *argument)
{
    static const char *const names[] = {"direct", "second", "third"};
    unsigned what = *(const unsigned *) argument;
    for (unsigned i = 0; atomic_load(&busy); i++) {
        switch (what) {
        case 0:
            CHECK_STATUS(mr_reader_pause(box.reader), MR_OK);
            CHECK_STATUS(mr_reader_resume(box.reader), MR_OK);
            break;
        case 1:
            CHECK_STATUS(mr_reader_rename(box.reader, names[i % 3]), MR_OK);
            break;
        default:
            CHECK(slots_statistics(box.reader).delivered <= 20000);
            break;
        }
        test_nap(20 * UINT64_C(1000));
    }
}

TEST(direct, pauses_renames_and_looks_from_other_threads_lose_nothing_and_keep_order)
{
    mr_reader_options options = box_options(2);
    (void) box_open(&options);
    atomic_store(&busy, true);
    thread threads[3];
    unsigned whats[3] = {0, 1, 2};
    for (int i = 0; i < 3; i++)
        CHECK_STATUS(thread_start(&threads[i], "disturb", disturb, &whats[i]), MR_OK);
    for (uint64_t i = 0; i < 5000; i++) {
        for (uint32_t writer = 0; writer < 3; writer++)
            (void) fake_put(writer, MR_LANE_RING, 0, i);
        (void) fake_put(4, MR_LANE_PLAIN, 0, i);
        if (i % 100 == 0)
            counter_await(&box.got, i * 2); /* slot and writers take turns in being ahead */
    }
    counter_await(&box.got, 20000);
    atomic_store(&busy, false);
    for (int i = 0; i < 3; i++)
        thread_join(threads[i]);
    CHECK_EQ(slots_statistics(box.reader).messages, 20000);
    CHECK_STATUS(mr_reader_resume(box.reader), MR_OK);
    box_end(0);
}
