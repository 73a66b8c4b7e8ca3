/* test_reader_read.c: the rows "Messages" and "Reading" of what a mailslot does, for a reader that is read by calls,
 * over each lane. */
#include "slot_support.h"
#include "test_nap.h"

#include <stdlib.h>
#include <string.h>

TEST(messages, unit_one_write_is_one_message_one_read_returns_exactly_one)
{
    slots_begin();
    mr_reader *reader = slots_reader("unit", NULL);
    int client = client_connect("unit");
    client_text(client, "one");
    client_text(client, "three and four");
    slots_expect(reader, "one");
    slots_expect(reader, "three and four");
    client_close(client);
    slots_close(reader);
}

TEST(messages, order_is_first_in_first_out_per_writer_with_sequence_numbers)
{
    slots_begin();
    mr_reader *reader = slots_reader("order", NULL);
    enum { writers = 5, each = 2000 };
    int clients[writers];
    for (int i = 0; i < writers; i++)
        clients[i] = client_connect("order");
    uint32_t expected[writers] = {0};
    uint32_t sent = 0;
    for (uint32_t got = 0; got < writers * each;) {
        /* As much as fits in the sockets at a time: this one thread is writer and reader. */
        for (int burst = 0; burst < 40 && sent < each; burst++, sent++) {
            for (uint32_t i = 0; i < writers; i++) {
                uint32_t message[2] = {i, sent};
                client_send(clients[i], message, sizeof message);
            }
        }
        uint32_t message[2];
        size_t length;
        while (mr_reader_read(reader, message, sizeof message, &length, 0) == MR_OK) {
            CHECK_EQ(length, sizeof message);
            CHECK_EQ(message[1], expected[message[0]]);
            expected[message[0]]++;
            got++;
        }
    }
    for (int i = 0; i < writers; i++)
        client_close(clients[i]);
    slots_close(reader);
}

TEST(messages, zero_length_is_a_message_with_next_size_0_and_reads_as_success)
{
    slots_begin();
    mr_reader *reader = slots_reader("empty", NULL);
    int client = client_connect("empty");
    client_send(client, "", 0);
    client_text(client, "after");
    mr_reader_information information;
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_EQ(information.count, 2);
    CHECK_EQ(information.next_size, 0);
    char buffer[8] = "xxxxxxx";
    size_t length = 99;
    CHECK_STATUS(mr_reader_read(reader, buffer, sizeof buffer, &length, MR_FOREVER), MR_OK);
    CHECK_EQ(length, 0);
    CHECK_EQ(buffer[0], 0);
    slots_expect(reader, "after");
    client_send(client, "", 0);
    CHECK_STATUS(mr_reader_read(reader, NULL, 0, &length, MR_FOREVER), MR_OK);
    CHECK_EQ(length, 0);
    client_close(client);
    slots_close(reader);
}

TEST(messages, text_is_followed_by_two_nul_bytes_that_are_not_counted)
{
    slots_begin();
    mr_reader *reader = slots_reader("text", NULL);
    int client = client_connect("text");
    char buffer[16];
    size_t length;
    static const struct {
        size_t size;
        char after[3]; /* what is expected in the three bytes behind the message */
    } rows[] = {{16, {0, 0, 'x'}}, {7, {0, 0, 'x'}}, {6, {0, 'x', 'x'}}, {5, {'x', 'x', 'x'}}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        memset(buffer, 'x', sizeof buffer);
        client_send(client, "hello", 5);
        CHECK_STATUS(mr_reader_read(reader, buffer, rows[i].size, &length, MR_FOREVER), MR_OK);
        CHECK_EQ(length, 5);
        CHECK_MEM(buffer, "hello", 5);
        CHECK_MEM(buffer + 5, rows[i].after, 3);
    }
    client_close(client);
    slots_close(reader);
}

TEST(messages, maximum_larger_ones_are_refused_or_dropped_and_counted_and_the_connection_is_kept)
{
    slots_begin();
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.max_message = 100;
    mr_reader *reader = slots_reader("maximum", &options);
    int client = client_connect("maximum");
    char data[101];
    memset(data, 'm', sizeof data);
    client_send_too_big(client, data, 101);
    client_send(client, data, 100);
    char buffer[128];
    size_t length;
    CHECK_STATUS(mr_reader_read(reader, buffer, sizeof buffer, &length, MR_FOREVER), MR_OK);
    CHECK_EQ(length, 100);
    client_text(client, "still connected");
    slots_expect(reader, "still connected");
    mr_reader_statistics statistics = slots_statistics(reader);
    CHECK_EQ(statistics.dropped_too_big, slots_lane()->refuses ? 0 : 1);
    CHECK_EQ(statistics.messages, 2);
    CHECK_EQ(statistics.delivered, 2);
    CHECK_EQ(statistics.connections, slots_tell_connections ? 1 : 0);
    mr_reader_information information;
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_EQ(information.max_message, 100);
    client_close(client);
    slots_close(reader);
}

TEST(messages, maximum_0_means_16_mib)
{
    slots_begin();
    mr_reader *reader = slots_reader("default", NULL);
    mr_reader_information information;
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_EQ(information.max_message, 16u * 1024 * 1024);
    slots_close(reader);
}

TEST(messages, small_buffer_tells_the_needed_size_and_the_message_stays)
{
    slots_begin();
    mr_reader *reader = slots_reader("small", NULL);
    int client = client_connect("small");
    client_text(client, "ten bytes!");
    char buffer[32] = "untouched";
    size_t length = 0;
    for (int i = 0; i < 3; i++) {
        CHECK_STATUS(mr_reader_read(reader, buffer, 9, &length, MR_FOREVER), MR_E_SMALL);
        CHECK_EQ(length, 10);
        CHECK_STR(buffer, "untouched");
    }
    CHECK_STATUS(mr_reader_read(reader, NULL, 0, &length, MR_FOREVER), MR_E_SMALL);
    slots_expect(reader, "ten bytes!");
    CHECK_EQ(slots_statistics(reader).delivered, 1);
    client_close(client);
    slots_close(reader);
}

TEST(messages, what_a_sender_left_behind_is_delivered_before_its_connection_goes)
{
    slots_begin();
    mr_reader *reader = slots_reader("left", NULL);
    int client = client_connect("left");
    client_text(client, "last words");
    client_send(client, "", 0);
    client_close(client);
    slots_expect(reader, "last words");
    slots_expect(reader, "");
    mr_reader_information information;
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_EQ(information.next_size, MR_NO_MESSAGE);
    CHECK_EQ(slots_statistics(reader).connections, 0);
    slots_close(reader);
}

TEST(reading, timeout_runs_out_after_the_time_and_not_before)
{
    slots_begin();
    mr_reader *reader = slots_reader("timeout", NULL);
    char buffer[8];
    size_t length;
    static const uint32_t times[] = {0, 1, 2, 7, 50, 120};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        uint64_t begin = clock_now();
        CHECK_STATUS(mr_reader_read(reader, buffer, sizeof buffer, &length, times[i]), MR_E_TIMEOUT);
        CHECK(clock_now() - begin >= (uint64_t) times[i] * 1000000);
    }
    slots_close(reader);
}

TEST(reading, timeout_is_set_read_back_and_holds_for_later_reads)
{
    slots_begin();
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.timeout_ms = 5;
    mr_reader *reader = slots_reader("timeouts", &options);
    mr_reader_information information;
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_EQ(information.timeout_ms, 5);
    char buffer[8];
    size_t length;
    CHECK_STATUS(mr_reader_read(reader, buffer, sizeof buffer, &length, MR_READER_TIMEOUT), MR_E_TIMEOUT);
    CHECK_STATUS(mr_reader_set_timeout(reader, 60), MR_OK);
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_EQ(information.timeout_ms, 60);
    uint64_t begin = clock_now();
    CHECK_STATUS(mr_reader_read(reader, buffer, sizeof buffer, &length, MR_READER_TIMEOUT), MR_E_TIMEOUT);
    CHECK(clock_now() - begin >= 60000000);
    CHECK_STATUS(mr_reader_set_timeout(reader, MR_FOREVER), MR_OK);
    CHECK_STATUS(mr_reader_set_timeout(reader, MR_READER_TIMEOUT), MR_E_ARGUMENT);
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_EQ(information.timeout_ms, MR_FOREVER);
    slots_close(reader);
}

TEST(reading, info_counts_and_measures_and_never_consumes)
{
    slots_begin();
    mr_reader *reader = slots_reader("info", NULL);
    mr_reader_information information;
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_EQ(information.count, 0);
    CHECK_EQ(information.next_size, MR_NO_MESSAGE);
    int client = client_connect("info");
    client_text(client, "four");
    client_text(client, "seven77");
    for (int i = 0; i < 5; i++) {
        CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
        CHECK_EQ(information.count, 2);
        CHECK_EQ(information.next_size, 4);
    }
    slots_expect(reader, "four");
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_EQ(information.count, 1);
    CHECK_EQ(information.next_size, 7);
    slots_expect(reader, "seven77");
    client_close(client);
    slots_close(reader);
}

struct blocked {
    mr_reader *reader;
    thread thread;
    struct counter *begun;
    int status;
    uint32_t timeout_ms;
    char text[64];
};

static void read_blocked(void *argument)
{
    struct blocked *blocked = argument;
    size_t length;
    counter_add(blocked->begun, 1);
    blocked->status =
        mr_reader_read(blocked->reader, blocked->text, sizeof blocked->text, &length, blocked->timeout_ms);
}

static void blocked_start(struct blocked *blocked, size_t count, mr_reader *reader, struct counter *begun)
{
    counter_init(begun);
    for (size_t i = 0; i < count; i++) {
        blocked[i] = (struct blocked){.reader = reader, .begun = begun, .timeout_ms = MR_FOREVER, .status = 1};
        CHECK_STATUS(thread_start(&blocked[i].thread, "blocked", read_blocked, &blocked[i]), MR_OK);
    }
    counter_await(begun, count);
}

TEST(reading, interrupting_stop_wakes_every_blocked_read_and_restart_lets_them_read_again)
{
    slots_begin();
    mr_reader *reader = slots_reader("stop", NULL);
    enum { rounds = 50, threads = 3 };
    struct blocked blocked[threads];
    struct counter begun;
    for (int round = 0; round < rounds; round++) {
        blocked_start(blocked, threads, reader, &begun);
        if (round % 2)
            test_nap(1000 * UINT64_C(1000)); /* now and then all of them are blocked for sure */
        CHECK_STATUS(mr_reader_stop(reader), MR_OK);
        for (int i = 0; i < threads; i++) {
            thread_join(blocked[i].thread);
            CHECK_STATUS(blocked[i].status, MR_E_STOPPED);
        }
        CHECK_STATUS(mr_reader_restart(reader), MR_OK);
    }
    int client = client_connect("stop");
    client_text(client, "kept");
    CHECK_STATUS(mr_reader_stop(reader), MR_OK);
    char buffer[16];
    size_t length;
    CHECK_STATUS(mr_reader_read(reader, buffer, sizeof buffer, &length, MR_FOREVER), MR_E_STOPPED);
    CHECK_STATUS(mr_reader_restart(reader), MR_OK);
    slots_expect(reader, "kept");
    client_close(client);
    slots_close(reader);
}

TEST(reading, close_wakes_blocked_reads)
{
    slots_begin();
    mr_reader *reader = slots_reader("close", NULL);
    struct blocked blocked[3];
    struct counter begun;
    blocked_start(blocked, 3, reader, &begun);
    test_nap(5000 * UINT64_C(1000));
    slots_close(reader);
    for (int i = 0; i < 3; i++) {
        thread_join(blocked[i].thread);
        CHECK_STATUS(blocked[i].status, MR_E_STOPPED);
    }
}

TEST(reading, several_threads_each_message_goes_to_one_of_them)
{
    slots_begin();
    mr_reader *reader = slots_reader("several", NULL);
    enum { threads = 8 };
    struct blocked blocked[threads];
    struct counter begun;
    int client = client_connect("several");
    for (int round = 0; round < 50; round++) {
        blocked_start(blocked, threads, reader, &begun);
        for (int i = 0; i < threads; i++) {
            char text[16] = {(char) ('A' + i)};
            client_text(client, text);
        }
        unsigned seen = 0;
        for (int i = 0; i < threads; i++) {
            thread_join(blocked[i].thread);
            CHECK_STATUS(blocked[i].status, MR_OK);
            seen |= 1u << (blocked[i].text[0] - 'A');
        }
        CHECK_EQ(seen, 0xff);
    }
    client_close(client);
    slots_close(reader);
}

TEST(reading, pause_takes_nothing_further_and_resume_goes_on)
{
    slots_begin();
    mr_reader *reader = slots_reader("pause", NULL);
    int client = client_connect("pause");
    client_text(client, "in the queue");
    mr_reader_information information;
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_STATUS(mr_reader_pause(reader), MR_OK);
    client_text(client, "with the writer");
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_EQ(slots_statistics(reader).waiting, 1); /* on Windows the count has what waits in the system too */
    slots_expect(reader, "in the queue");
    char buffer[32];
    size_t length;
    CHECK_STATUS(mr_reader_read(reader, buffer, sizeof buffer, &length, 20), MR_E_TIMEOUT);
    struct blocked blocked[2];
    struct counter begun;
    blocked_start(blocked, 1, reader, &begun);
    CHECK_STATUS(mr_reader_resume(reader), MR_OK);
    thread_join(blocked[0].thread);
    CHECK_STATUS(blocked[0].status, MR_OK);
    CHECK_STR(blocked[0].text, "with the writer");
    client_close(client);
    slots_close(reader);
}

TEST(reading, bound_in_bytes_takes_one_larger_message_when_nothing_waits)
{
    slots_begin();
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.queue_bytes = 1000;
    mr_reader *reader = slots_reader("bytes", &options);
    int client = client_connect("bytes");
    char data[5000] = "large";
    client_send(client, data, sizeof data);
    client_text(client, "small");
    mr_reader_information information;
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_EQ(slots_statistics(reader).waiting, 1);
    CHECK_EQ(information.next_size, 5000);
    size_t length;
    CHECK_STATUS(mr_reader_read(reader, data, sizeof data, &length, MR_FOREVER), MR_OK);
    slots_expect(reader, "small");
    client_close(client);
    slots_close(reader);
}

/* ---- a foreign loop ---- */

/* ---- sorting what plain programs send ---- */

static uint32_t classify_by_letter(const mr_message *message, void *context)
{
    unsigned *calls = context;
    ++*calls;
    CHECK_EQ(message->priority, MR_NORMAL);
    const char *text = message->data;
    return message->length > 0 && text[0] == 'u' ? MR_URGENT : message->length > 0 && text[0] == 'w' ? 99 : MR_NORMAL;
}

TEST(reading, classifier_sorts_what_plain_programs_send)
{
    slots_begin();
    unsigned calls = 0;
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.classify = classify_by_letter;
    options.context = &calls;
    options.levels = 3;
    mr_reader *reader = slots_reader("sorted", &options);
    int client = plain_connect("sorted");
    plain_text(client, "normal 1");
    plain_text(client, "urgent 1");
    plain_text(client, "");
    plain_text(client, "wrong level");
    plain_text(client, "urgent 2");
    mr_reader_information information;
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK); /* into the queue */
    CHECK_EQ(information.count, 5);
    CHECK_EQ(information.next_size, 11);
    slots_expect(reader, "wrong level"); /* above the levels there are: the highest */
    slots_expect(reader, "urgent 1");
    slots_expect(reader, "urgent 2");
    slots_expect(reader, "normal 1");
    slots_expect(reader, "");
    CHECK_EQ(calls, 5);
    plain_close(client);
    slots_close(reader);
}
