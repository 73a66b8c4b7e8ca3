/* test_reader_receive.c: acknowledging, the pulling form, and urgent messages for a reader that is read by calls, on a
 * slot of the test's own making. */
#include <string.h>

#include <mailroom/mailroom.h>

#include "queue/thread.h"
#include "slot_fake.h"
#include "test.h"

static mr_reader *reader_with(const mr_reader_options *options)
{
    mr_reader *reader = NULL;
    CHECK_STATUS(mr_reader_open(&reader, "receive", options), MR_OK);
    return reader;
}

static mr_reader *reader_by_hand(void)
{
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.acknowledge_by_hand = 1;
    return reader_with(&options);
}

static uint64_t number_of(const mr_message *message)
{
    uint64_t number;
    CHECK(message->length >= sizeof number);
    memcpy(&number, message->data, sizeof number);
    return number;
}

static const mr_message *receive(mr_reader *reader, uint64_t number)
{
    const mr_message *message = NULL;
    CHECK_STATUS(mr_reader_receive(reader, &message, MR_FOREVER), MR_OK);
    CHECK_EQ(number_of(message), number);
    return message;
}

static void close_losing(mr_reader *reader, uint64_t expected)
{
    uint64_t lost = 99;
    CHECK_STATUS(mr_reader_close(reader, &lost), expected == 0 ? MR_OK : MR_E_UNREAD);
    CHECK_EQ(lost, expected);
}

TEST(receive, keeps_sender_priority_sequence_and_acknowledges_at_the_release)
{
    mr_reader *reader = reader_with(NULL);
    CHECK(fake_slot_counts().acknowledging);
    CHECK_EQ(fake_slot_counts().window, 4096);
    size_t first = fake_put(2, MR_LANE_RING, 0, 10), second = fake_put(2, MR_LANE_RING, 0, 11);
    const mr_message *message = receive(reader, 10), *next = receive(reader, 11);
    CHECK_EQ(message->sender.writer, 3);
    CHECK_EQ(message->sequence, 1);
    CHECK_EQ(next->sequence, 2);
    CHECK_EQ(mr_message_lane(message), MR_LANE_RING);
    CHECK(!fake_acknowledged(first) && !fake_acknowledged(second));
    mr_message_release(next); /* in any order */
    CHECK(!fake_acknowledged(first) && fake_acknowledged(second));
    CHECK_STATUS(mr_message_acknowledge(message), MR_OK); /* sooner than at the release, which is then none */
    CHECK(fake_acknowledged(first));
    mr_message_release(message);
    CHECK_EQ(fake_slot_counts().acknowledged, 2);
    close_losing(reader, 0);
}

TEST(receive, of_several_releases_the_first_acknowledges_and_it_is_done_once)
{
    mr_reader *reader = reader_with(NULL);
    size_t index = fake_put(0, MR_LANE_RING, 0, 1);
    const mr_message *message = receive(reader, 1);
    CHECK(mr_message_retain(message) == message);
    mr_message_release(message);
    CHECK(fake_acknowledged(index));
    CHECK_EQ(number_of(message), 1); /* still there */
    mr_message_release(message);
    CHECK_EQ(fake_slot_counts().acknowledged, 1);
    CHECK_EQ(fake_slot_counts().again, 0);
    close_losing(reader, 0);
}

TEST(receive, by_hand_only_acknowledge_acknowledges_twice_is_harmless_and_so_is_too_late)
{
    mr_reader *reader = reader_by_hand();
    size_t index[3];
    const mr_message *message[3];
    for (uint64_t i = 0; i < 3; i++)
        index[i] = fake_put(0, MR_LANE_RING, 0, i);
    for (uint64_t i = 0; i < 3; i++)
        message[i] = receive(reader, i);
    mr_message_release(message[0]);
    CHECK(!fake_acknowledged(index[0]));
    CHECK_STATUS(mr_message_acknowledge(message[1]), MR_OK);
    CHECK_STATUS(mr_message_acknowledge(message[1]), MR_OK);
    CHECK(fake_acknowledged(index[1]));
    CHECK_EQ(fake_slot_counts().again, 1);
    mr_message_release(message[1]);
    close_losing(reader, 0); /* what is unacknowledged is its writer's */
    CHECK_STATUS(mr_message_acknowledge(message[2]), MR_OK);
    CHECK(!fake_acknowledged(index[2]));
    CHECK_EQ(number_of(message[2]), 2);
    mr_message_release(message[2]);
    CHECK_STATUS(mr_message_acknowledge(NULL), MR_E_ARGUMENT);
}

TEST(receive, plain_messages_have_nothing_to_acknowledge)
{
    mr_reader *reader = reader_by_hand();
    (void) fake_put(0, MR_LANE_PLAIN, 0, 7);
    const mr_message *message = receive(reader, 7);
    CHECK_STATUS(mr_message_acknowledge(message), MR_OK);
    mr_message_release(message);
    CHECK_EQ(fake_slot_counts().acknowledged, 0);
    CHECK_EQ(fake_slot_counts().again, 0);
    close_losing(reader, 0);
}

TEST(read, copies_out_and_acknowledges_by_hand_or_not)
{
    for (int by_hand = 0; by_hand < 2; by_hand++) {
        mr_reader *reader = by_hand ? reader_by_hand() : reader_with(NULL);
        size_t index = fake_put(0, MR_LANE_RING, 0, 5);
        uint64_t number = 0;
        size_t length = 0;
        CHECK_STATUS(mr_reader_read(reader, &number, 3, &length, 0), MR_E_SMALL);
        CHECK_EQ(length, 8);
        CHECK(!fake_acknowledged(index));
        CHECK_STATUS(mr_reader_read(reader, &number, sizeof number, &length, 0), MR_OK);
        CHECK_EQ(number, 5);
        CHECK(fake_acknowledged(index));
        close_losing(reader, 0);
    }
}

TEST(receive_many, takes_what_is_there_in_order_and_no_more_than_there_is_room_for)
{
    mr_reader *reader = reader_with(NULL);
    const mr_message *messages[200];
    size_t count = 77;
    CHECK_STATUS(mr_reader_receive_many(reader, messages, 200, &count, 0), MR_E_TIMEOUT);
    CHECK_EQ(count, 0);
    for (uint64_t i = 0; i < 300; i++)
        (void) fake_put(0, i % 2 ? MR_LANE_RING : MR_LANE_PLAIN, 0, i);
    uint64_t next = 0;
    static const size_t expected[] = {200, 100};
    for (int round = 0; round < 2; round++) {
        CHECK_STATUS(mr_reader_receive_many(reader, messages, 200, &count, MR_FOREVER), MR_OK);
        CHECK_EQ(count, expected[round]);
        for (size_t i = 0; i < count; i++) {
            CHECK_EQ(number_of(messages[i]), next++);
            mr_message_release(messages[i]);
        }
    }
    CHECK_EQ(fake_slot_counts().acknowledged, 150);
    CHECK_STATUS(mr_reader_receive_many(reader, messages, 0, &count, 0), MR_E_ARGUMENT);
    CHECK_STATUS(mr_reader_receive_many(reader, NULL, 1, &count, 0), MR_E_ARGUMENT);
    CHECK_STATUS(mr_reader_receive(reader, NULL, 0), MR_E_ARGUMENT);
    CHECK_STATUS(mr_reader_stop(reader), MR_OK);
    CHECK_STATUS(mr_reader_receive_many(reader, messages, 1, &count, MR_FOREVER), MR_E_STOPPED);
    CHECK_EQ(count, 0);
    mr_reader_statistics statistics = {.size = sizeof statistics};
    CHECK_STATUS(mr_reader_get_statistics(reader, &statistics), MR_OK);
    CHECK_EQ(statistics.messages, 300);
    CHECK_EQ(statistics.delivered, 300);
    close_losing(reader, 0);
}

/* One urgent message among very many: which read returns it? */
static uint64_t reads_until_urgent(mr_reader *reader)
{
    for (uint64_t read = 1;; read++) {
        const mr_message *message = NULL;
        CHECK_STATUS(mr_reader_receive(reader, &message, MR_FOREVER), MR_OK);
        uint32_t priority = message->priority;
        mr_message_release(message);
        if (priority > MR_NORMAL)
            return read;
    }
}

TEST(urgent, passes_100000_waiting_ones_with_the_queue_at_its_bounds)
{
    mr_reader *reader = reader_with(NULL);
    for (uint64_t i = 0; i < 100000; i++)
        (void) fake_put((uint32_t) (i % 4), i % 2 ? MR_LANE_RING : MR_LANE_PLAIN, 0, i);
    mr_reader_information information;
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_EQ(information.count, 1024); /* the queue is full */
    static const uint32_t writers[] = {0, 5, 6};
    for (int i = 0; i < 3; i++) {
        (void) fake_put(writers[i], MR_LANE_RING, 1, 1);
        CHECK(reads_until_urgent(reader) <= 2);
    }
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_EQ(information.count, 1024);
    uint64_t lost;
    CHECK_STATUS(mr_reader_close(reader, &lost), MR_E_UNREAD);
    CHECK_EQ(lost, 50000); /* the plain ones; nothing else was read */
}

TEST(urgent, has_a_share_of_the_queue_and_no_more)
{
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.queue_messages = 4;
    mr_reader *reader = reader_with(&options);
    for (uint64_t i = 0; i < 10; i++)
        (void) fake_put(0, MR_LANE_RING, 0, i);
    mr_message_release(receive(reader, 0)); /* one is taken at a time or four; the queue fills */
    mr_reader_information information;
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_EQ(information.count, 4);
    for (uint64_t i = 0; i < 1000; i++)
        (void) fake_put(1, MR_LANE_RING, 1, 1000 + i);
    for (uint64_t i = 0; i < 3; i++) {
        mr_message_release(receive(reader, 1000 + i));
        CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
        CHECK_MSG(information.count <= 4 + 64, "%llu wait", (unsigned long long) information.count);
    }
    close_losing(reader, 0);
}

TEST(urgent, bytes_of_its_share_are_bounded_too)
{
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.queue_bytes = 8000;
    mr_reader *reader = reader_with(&options);
    for (uint64_t i = 0; i < 10; i++)
        (void) fake_put_long(0, MR_LANE_RING, 0, i, 1000);
    mr_message_release(receive(reader, 0));
    for (uint64_t i = 0; i < 50; i++)
        (void) fake_put_long(1, MR_LANE_RING, 1, 1000 + i, 1000);
    mr_message_release(receive(reader, 1000));
    mr_reader_statistics statistics = {.size = sizeof statistics};
    CHECK_STATUS(mr_reader_get_statistics(reader, &statistics), MR_OK);
    CHECK_MSG(statistics.waiting_bytes <= 8000 + 1000 + 1000, "%llu bytes wait",
              (unsigned long long) statistics.waiting_bytes);
    close_losing(reader, 0);
}

/* Receives until there is no memory for normal messages any more; returns how many it holds. */
static size_t receive_to_the_ceiling(mr_reader *reader, const mr_message **held, size_t room)
{
    size_t count = 0;
    while (mr_reader_receive(reader, &held[count], 0) == MR_OK)
        CHECK(++count < room);
    CHECK(fake_slot_counts().starved > 0);
    return count;
}

TEST(urgent, comes_through_with_the_pool_at_its_ceiling)
{
    CHECK_STATUS(mr_set_memory_ceiling((size_t) 1 << 20), MR_OK);
    mr_reader *reader = reader_with(NULL);
    for (uint64_t i = 0; i < 100; i++)
        (void) fake_put_long(0, MR_LANE_RING, 0, i, 16000);
    const mr_message *held[100];
    size_t count = receive_to_the_ceiling(reader, held, 100);
    (void) fake_put(3, MR_LANE_RING, 1, 1000);
    mr_message_release(receive(reader, 1000));
    const mr_message *message = NULL;
    CHECK_STATUS(mr_reader_receive(reader, &message, 0), MR_E_TIMEOUT);
    for (size_t i = 0; i < count; i++) {
        CHECK_EQ(number_of(held[i]), i);
        mr_message_release(held[i]);
    }
    for (uint64_t i = count; i < 100; i++)
        mr_message_release(receive(reader, i));
    close_losing(reader, 0);
}

TEST(urgent, flood_lets_one_normal_message_pass_after_64)
{
    mr_reader *reader = reader_with(NULL);
    for (uint64_t i = 0; i < 10; i++)
        (void) fake_put(0, MR_LANE_RING, 0, i);
    mr_message_release(receive(reader, 0));
    for (uint64_t i = 0; i < 2000; i++)
        (void) fake_put(1, MR_LANE_RING, 1, 1000 + i);
    uint64_t run = 0, normal = 1;
    while (normal < 10) {
        const mr_message *message = NULL;
        CHECK_STATUS(mr_reader_receive(reader, &message, MR_FOREVER), MR_OK);
        if (message->priority == MR_NORMAL) {
            CHECK_EQ(number_of(message), normal++);
            run = 0;
        } else {
            run++;
            CHECK(run <= 64);
        }
        mr_message_release(message);
    }
    close_losing(reader, 0);
}

TEST(close, loses_what_no_writer_has_any_more_and_nothing_else)
{
    mr_reader *reader = reader_with(NULL);
    size_t ring = 0;
    for (uint64_t i = 0; i < 12; i++) {
        size_t index = fake_put(0, i % 3 ? MR_LANE_RING : MR_LANE_PLAIN, 0, i);
        ring = i == 1 ? index : ring;
    }
    mr_message_release(receive(reader, 0)); /* the others are in the queue now */
    close_losing(reader, 3);
    CHECK_EQ(fake_slot_counts().acknowledged, 0);
    CHECK(!fake_acknowledged(ring));
}

TEST(statistics, tell_what_the_lanes_count)
{
    mr_reader *reader = reader_with(NULL);
    mr_reader_statistics statistics = {.size = sizeof statistics};
    CHECK_STATUS(mr_reader_get_statistics(reader, &statistics), MR_OK);
    CHECK_EQ(statistics.connections, 3);
    CHECK_EQ(statistics.rings, 2);
    CHECK_EQ(statistics.ring_bytes, 4096);
    CHECK_EQ(statistics.dropped_by_writers, 5);
    CHECK_EQ(statistics.redelivered, 6);
    CHECK_EQ(statistics.doorbells, 7);
    CHECK_EQ(statistics.waits, 8);
    CHECK_EQ(statistics.unacknowledged, 9);
    mr_reader_writer writer;
    size_t count = 0;
    CHECK_STATUS(mr_reader_get_writers(reader, &writer, 1, &count), MR_OK);
    CHECK_EQ(count, 2);
    CHECK_EQ(writer.sender.writer, 1);
    CHECK_STATUS(mr_reader_get_writers(reader, NULL, 0, &count), MR_OK);
    CHECK_STATUS(mr_reader_get_writers(reader, NULL, 1, &count), MR_E_ARGUMENT);
    CHECK_STATUS(mr_reader_get_writers(reader, &writer, 1, NULL), MR_E_ARGUMENT);
    close_losing(reader, 0);
}

TEST(reader, window_and_spin_out_of_range_are_refused)
{
    mr_reader *reader = NULL;
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.acknowledge_window = (1u << 20) + 1;
    CHECK_STATUS(mr_reader_open(&reader, "range", &options), MR_E_ARGUMENT);
    CHECK(strstr(mr_last_error_text(), "acknowledge_window") != NULL);
    options.acknowledge_window = 0;
    options.spin_us = 1001;
    CHECK_STATUS(mr_reader_open(&reader, "range", &options), MR_E_ARGUMENT);
    CHECK(strstr(mr_last_error_text(), "spin_us") != NULL);
    options.acknowledge_window = 1u << 20;
    options.spin_us = 1000;
    close_losing(reader_with(&options), 0);
    CHECK_EQ(fake_slot_counts().window, 1u << 20);
}

TEST(handle, is_told_of_what_the_lanes_hold_and_of_what_waits)
{
    mr_reader *reader = reader_with(NULL);
    intptr_t handle;
    CHECK_STATUS(mr_reader_fd(reader, &handle), MR_E_UNSUPPORTED);
    CHECK(!fake_slot_counts().takeable);
    (void) fake_put(0, MR_LANE_RING, 0, 0);
    (void) fake_put(0, MR_LANE_RING, 0, 1);
    CHECK_STATUS(mr_reader_fd(reader, &handle), MR_E_UNSUPPORTED);
    CHECK(fake_slot_counts().takeable); /* nothing in the queue yet */
    CHECK_STATUS(mr_reader_pause(reader), MR_OK);
    CHECK(!fake_slot_counts().takeable && fake_slot_counts().paused);
    CHECK_STATUS(mr_reader_resume(reader), MR_OK);
    mr_message_release(receive(reader, 0));
    CHECK(fake_slot_counts().takeable);
    mr_message_release(receive(reader, 1));
    CHECK(!fake_slot_counts().takeable);
    close_losing(reader, 0);
}

struct blocked {
    mr_reader *reader;
    int status;
    uint64_t number;
};

static void blocked_receive(void *argument)
{
    struct blocked *blocked = argument;
    const mr_message *message = NULL;
    blocked->status = mr_reader_receive(blocked->reader, &message, MR_FOREVER);
    if (blocked->status == MR_OK) {
        blocked->number = number_of(message);
        mr_message_release(message);
    }
}

TEST(urgent, wakes_a_read_that_waits_for_memory)
{
    CHECK_STATUS(mr_set_memory_ceiling((size_t) 1 << 20), MR_OK);
    mr_reader *reader = reader_with(NULL);
    for (uint64_t i = 0; i < 100; i++)
        (void) fake_put_long(0, MR_LANE_RING, 0, i, 16000);
    const mr_message *held[100];
    size_t count = receive_to_the_ceiling(reader, held, 100);
    struct blocked blocked = {.reader = reader};
    thread reading;
    CHECK_STATUS(thread_start(&reading, "blocked", blocked_receive, &blocked), MR_OK);
    (void) fake_put(1, MR_LANE_RING, 1, 1000);
    thread_join(reading);
    CHECK_STATUS(blocked.status, MR_OK);
    CHECK_EQ(blocked.number, 1000);
    for (size_t i = 0; i < count; i++)
        mr_message_release(held[i]);
    close_losing(reader, 0);
}

TEST(receive, blocked_ones_get_a_message_each_and_a_stop)
{
    mr_reader *reader = reader_with(NULL);
    struct blocked blocked[3];
    thread threads[3];
    for (int i = 0; i < 3; i++) {
        blocked[i] = (struct blocked){.reader = reader};
        CHECK_STATUS(thread_start(&threads[i], "blocked", blocked_receive, &blocked[i]), MR_OK);
    }
    fake_await_waits(1);
    (void) fake_put(0, MR_LANE_RING, 0, 100);
    (void) fake_put(0, MR_LANE_RING, 0, 100);
    fake_await_acknowledged(2);
    CHECK_STATUS(mr_reader_stop(reader), MR_OK);
    int stopped = 0;
    for (int i = 0; i < 3; i++) {
        thread_join(threads[i]);
        stopped += blocked[i].status == MR_E_STOPPED;
        CHECK(blocked[i].status == MR_E_STOPPED || blocked[i].number == 100);
    }
    CHECK_EQ(stopped, 1);
    close_losing(reader, 0);
}
