/* test_reader_read_linux.c: a reader that is read by calls, over each lane, and what only they have on Linux: their sizes,
 * their pressure, and descriptors that loops poll. */
#include "slot_support_linux.h"

#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

TEST(messages, sizes_up_to_the_lanes_largest_arrive_whole_and_right_sized)
{
    slots_begin();
    mr_reader *reader = slots_reader("sizes", NULL);
    int client = client_connect("sizes");
    if (slots_lane()->raw) { /* a library writer does it by itself, or needs none */
        int room = 512 * 1024;
        CHECK_EQ(setsockopt(client, SOL_SOCKET, SO_SNDBUF, &room, sizeof room), 0);
    }
    static unsigned char data[256 * 1024 + 1];
    static unsigned char buffer[sizeof data + 2];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char) (i * 7 + i / 256);
    static const size_t sizes[] = {1, 255, 256, 257, 4096, 1, 65536, 100000, 3, 256 * 1024, 256 * 1024 - 1,
                                   0, 384, 385};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        client_send(client, data, sizes[i]);
        size_t length = 0;
        CHECK_STATUS(mr_reader_read(reader, buffer, sizeof buffer, &length, MR_FOREVER), MR_OK);
        CHECK_EQ(length, sizes[i]);
        CHECK_MEM(buffer, data, length);
    }
    if (slots_lane()->largest != 0) {
        client_send_too_big(client, data, slots_lane()->largest + 1);
        client_text(client, "the one before was too large");
        slots_expect(reader, "the one before was too large");
        CHECK_EQ(slots_statistics(reader).dropped_too_big, 1);
    }
    client_close(client);
    slots_close(reader);
}

TEST(messages, unread_when_the_reader_closes_are_counted_or_their_writers_still)
{
    slots_begin();
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.queue_messages = 3;
    mr_reader *reader = slots_reader("unread", &options);
    int first = client_connect("unread");
    for (int i = 0; i < 5; i++)
        client_text(first, "waits");
    mr_reader_information information;
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_EQ(information.count, 3);
    int second = client_connect("unread"); /* not accepted yet */
    client_text(second, "waits too");
    client_send(second, "", 0);
    uint64_t lost = 0;
    CHECK_STATUS(mr_reader_close(reader, &lost), slots_lost(7) > 0 ? MR_E_UNREAD : MR_OK);
    CHECK_EQ(lost, slots_lost(7));
    client_await_end(first);
    client_await_end(second);
    if (slots_lane()->acknowledges) {
        CHECK_EQ(slots_unacknowledged(client_writer(first)), 5);
        CHECK_EQ(slots_unacknowledged(client_writer(second)), 2);
    }
    client_close(first);
    client_close(second);
}

TEST(messages, unread_when_the_reader_closes_after_their_writer_are_lost_and_counted)
{
    slots_begin();
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.queue_messages = 5;
    mr_reader *reader = slots_reader("orphans", &options);
    int gone = client_connect("orphans");
    for (int i = 0; i < 7; i++)
        client_text(gone, "waits");
    mr_reader_information information;
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_EQ(information.count, 5); /* the other two are handed over, and not taken */
    client_close(gone);
    int there = client_connect("orphans");
    client_text(there, "waits too");
    uint64_t lost = 0;
    CHECK_STATUS(mr_reader_close(reader, &lost), MR_E_UNREAD);
    CHECK_EQ(lost, 7 + slots_lost(1));
    client_close(there);
}

TEST(messages, what_was_read_is_not_lost_when_the_reader_closes_after_its_writer)
{
    slots_begin();
    mr_reader *reader = slots_reader("read", NULL);
    int client = client_connect("read");
    client_text(client, "read");
    client_text(client, "unread");
    slots_expect(reader, "read");
    client_close(client);
    uint64_t lost = 0;
    CHECK_STATUS(mr_reader_close(reader, &lost), MR_E_UNREAD);
    CHECK_EQ(lost, 1);
}

TEST(reading, bound_of_the_queue_stops_the_taking_and_the_pressure_reaches_the_writer)
{
    slots_begin();
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.queue_messages = 10;
    mr_reader *reader = slots_reader("bound", &options);
    int client = client_connect("bound");
    unsigned sent = 0;
    while (client_try(client, &sent, sizeof sent))
        sent++;
    mr_reader_information information;
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_EQ(information.count, 10);
    CHECK_EQ(slots_statistics(reader).waiting_peak, 10);
    for (unsigned i = 0; i < sent; i++) {
        unsigned message = 0;
        size_t length;
        CHECK_STATUS(mr_reader_read(reader, &message, sizeof message, &length, MR_FOREVER), MR_OK);
        CHECK_EQ(message, i);
    }
    CHECK_EQ(slots_statistics(reader).waiting_peak, 10);
    client_close(client);
    slots_close(reader);
}

static bool readable(intptr_t descriptor, int timeout)
{
    struct pollfd wait = {.fd = (int) descriptor, .events = POLLIN};
    int count = poll(&wait, 1, timeout);
    CHECK(count >= 0);
    return count > 0;
}

TEST(reading, foreign_loop_polls_readable_exactly_while_something_can_be_read)
{
    slots_begin();
    mr_reader *reader = slots_reader("loop", NULL);
    intptr_t descriptor = -1;
    CHECK_STATUS(mr_reader_event(reader, &descriptor), MR_E_UNSUPPORTED);
    CHECK_STATUS(mr_reader_fd(reader, &descriptor), MR_OK);
    CHECK(!readable(descriptor, 0));
    int client = client_connect("loop");
    client_text(client, "one");
    client_text(client, "two");
    CHECK(readable(descriptor, -1));
    CHECK(readable(descriptor, 0)); /* level-triggered */
    slots_expect(reader, "one");
    CHECK(readable(descriptor, 0)); /* "two" waits in the queue now, not in the socket */
    slots_expect(reader, "two");
    char buffer[8];
    size_t length;
    CHECK_STATUS(mr_reader_read(reader, buffer, sizeof buffer, &length, 0), MR_E_TIMEOUT);
    CHECK(!readable(descriptor, 0));

    CHECK_STATUS(mr_reader_pause(reader), MR_OK);
    client_text(client, "later");
    CHECK(!readable(descriptor, 20));
    CHECK_STATUS(mr_reader_resume(reader), MR_OK);
    CHECK(readable(descriptor, -1));
    slots_expect(reader, "later");
    client_close(client);
    slots_close(reader);
}

TEST(reading, foreign_loop_asked_for_late_knows_what_is_in_the_queue)
{
    slots_begin();
    mr_reader *reader = slots_reader("late", NULL);
    int client = client_connect("late");
    client_text(client, "queued");
    mr_reader_information information;
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_EQ(information.count, 1);
    intptr_t descriptor = -1;
    CHECK_STATUS(mr_reader_fd(reader, &descriptor), MR_OK);
    CHECK(readable(descriptor, 0));
    slots_expect(reader, "queued");
    client_close(client);
    slots_close(reader);
}

TEST(reading, foreign_loop_of_epoll_serves_three_readers_by_itself)
{
    slots_begin();
    mr_reader *readers[3];
    static const char *const names[3] = {"loop a", "loop b", "loop c"};
    int loop = epoll_create1(EPOLL_CLOEXEC);
    CHECK(loop >= 0);
    int clients[3];
    for (uint32_t i = 0; i < 3; i++) {
        readers[i] = slots_reader(names[i], NULL);
        clients[i] = client_connect(names[i]);
        intptr_t descriptor;
        CHECK_STATUS(mr_reader_fd(readers[i], &descriptor), MR_OK);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        CHECK_EQ(epoll_ctl(loop, EPOLL_CTL_ADD, (int) descriptor, &event), 0);
    }
    unsigned got[3] = {0};
    for (unsigned sent = 0; got[0] + got[1] + got[2] < 3000;) {
        for (unsigned burst = 0; burst < 30 && sent < 1000; burst++, sent++) {
            for (int i = 0; i < 3; i++)
                client_send(clients[i], &sent, sizeof sent);
        }
        struct epoll_event event;
        CHECK_EQ(epoll_wait(loop, &event, 1, -1), 1);
        unsigned message = 0;
        size_t length;
        int status;
        while ((status = mr_reader_read(readers[event.data.u32], &message, sizeof message, &length, 0)) == MR_OK) {
            CHECK_EQ(message, got[event.data.u32]);
            got[event.data.u32]++;
        }
        CHECK_STATUS(status, MR_E_TIMEOUT);
    }
    for (int i = 0; i < 3; i++) {
        client_close(clients[i]);
        slots_close(readers[i]);
    }
    close(loop);
}
