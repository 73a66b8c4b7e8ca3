/* test_slot_hostile.c: floods, oddities and deaths of plain clients (hostile_support.h says what must hold). */
#include "hostile_support.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void connection_flood(void *argument)
{
    (void) argument;
    for (;;) {
        int clients[400];
        int count = 0;
        while (count < 400 && (clients[count] = dial()) >= 0)
            count++;
        round_done();
        while (count > 0)
            close(clients[--count]);
    }
}

TEST(hostile, flood_of_connections_that_never_send)
{
    attack(&(struct attack){.body = connection_flood, .attackers = 2});
}

/* As another user than the good writer, who must not pay for it; the path is looked up as before. */
static void quota_flood(void *argument)
{
    (void) argument;
    if (seteuid(12345) != 0)
        _exit(1);
    setfsuid(0);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) /* another user's process has to ask anew */
        _exit(1);
    for (;;) {
        struct pollfd clients[400];
        for (int i = 0; i < 400; i++)
            clients[i] = (struct pollfd){.fd = dial(), .events = POLLRDHUP};
        (void) poll(clients, 400, -1); /* until one has been turned away: not all of them are let in */
        round_done();
        for (int i = 0; i < 400; i++)
            close(clients[i].fd);
    }
}

TEST(hostile, flood_of_connections_beyond_the_quota_is_refused_and_counted)
{
    if (getuid() != 0)
        TEST_SKIP("needs root, to be two users");
    mr_reader_statistics statistics = attack(&(struct attack){.body = quota_flood, .attackers = 2, .quota = 300});
    CHECK(statistics.refused_quota > 0);
}

static void reconnect_thousands(void *argument)
{
    (void) argument;
    for (;;) {
        int client = dial();
        (void) send(client, "hello", 5, MSG_NOSIGNAL);
        close(client);
        round_done();
    }
}

TEST(hostile, thousands_of_reconnections)
{
    attack(&(struct attack){.body = reconnect_thousands, .attackers = 2, .rounds = 2000});
}

static void flood(const void *data, size_t length)
{
    int client = dial();
    for (;;) {
        if (send(client, data, length, MSG_NOSIGNAL) < 0) {
            close(client);
            client = dial();
        }
        round_done();
    }
}

static void empty_flood(void *argument)
{
    (void) argument;
    flood("", 0);
}

TEST(hostile, flood_of_empty_packets)
{
    attack(&(struct attack){.body = empty_flood, .attackers = 2});
}

static void message_flood(void *argument)
{
    (void) argument;
    flood("a message like any other", 24);
}

TEST(hostile, flood_of_ordinary_messages_by_four_processes)
{
    attack(&(struct attack){.body = message_flood, .attackers = 4});
}

static void many_connections_flood(void *argument)
{
    (void) argument;
    int clients[200];
    for (int i = 0; i < 200; i++)
        clients[i] = dial();
    for (;;) {
        for (int i = 0; i < 200; i++)
            (void) send(clients[i], "from one of two hundred", 23, MSG_DONTWAIT | MSG_NOSIGNAL);
        round_done();
    }
}

TEST(hostile, flood_over_two_hundred_connections_of_one_process)
{
    attack(&(struct attack){.body = many_connections_flood, .attackers = 1, .messages = 1000});
}

static void largest_packets(void *argument)
{
    static char data[5 << 20];
    static const size_t sizes[] = {200000, 262144, 262145, 1 << 20, 4 << 20, 5 << 20};
    int client = dial();
    (void) argument;
    int room = INT_MAX;
    (void) setsockopt(client, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    (void) setsockopt(client, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
    for (;;) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            if (send(client, data, sizes[i], MSG_NOSIGNAL) < 0)
                round_refused();
        }
        round_done();
    }
}

TEST(hostile, largest_packets_and_beyond)
{
    mr_reader_statistics statistics = attack(&(struct attack){.body = largest_packets, .attackers = 1});
    CHECK(statistics.dropped_too_big > 0);
    CHECK(attack_others() > 0);
    CHECK_EQ(statistics.violations, 0);
}

static void half_closed(void *argument)
{
    (void) argument;
    static const int ways[] = {SHUT_RD, SHUT_WR, SHUT_RDWR};
    for (;;) {
        int clients[30];
        for (int i = 0; i < 30; i++) {
            clients[i] = dial();
            if (i % 2)
                (void) send(clients[i], "half", 4, MSG_NOSIGNAL);
            (void) shutdown(clients[i], ways[i % 3]);
            (void) send(clients[i], "after", 5, MSG_NOSIGNAL);
        }
        round_done();
        for (int i = 0; i < 30; i++)
            close(clients[i]);
    }
}

TEST(hostile, half_closed_each_way)
{
    attack(&(struct attack){.body = half_closed, .attackers = 1});
}

static void odd_flags(void *argument)
{
    (void) argument;
    static const int flags[] = {MSG_OOB,   MSG_EOR,      MSG_MORE,           MSG_DONTROUTE, MSG_CONFIRM,
                                MSG_PROXY, MSG_ZEROCOPY, MSG_EOR | MSG_MORE, MSG_FASTOPEN};
    int client = dial();
    for (;;) {
        for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
            if (send(client, "odd", 3, flags[i] | MSG_NOSIGNAL) < 0)
                round_refused();
        }
        round_done();
    }
}

TEST(hostile, odd_flags_out_of_band_end_of_record_more)
{
    attack(&(struct attack){.body = odd_flags, .attackers = 1});
    CHECK(atomic_load(&shared->refused) > 0); /* MSG_OOB at least */
}

/* With room for a few messages: what the dead leave behind must not take the slot longer than their making takes, or the
 * good writer's share shrinks with each of them. */
static void small_flood(void)
{
    int client = dial();
    int room = 1; /* the kernel's least */
    (void) setsockopt(client, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    while (send(client, "cut off", 7, MSG_NOSIGNAL) == 7)
        round_done();
    _exit(1);
}

static void killed_in_the_middle(void *argument)
{
    (void) argument;
    for (;;) {
        pid_t victim = fork_bound();
        if (victim == 0)
            small_flood();
        usleep(500);
        kill(victim, SIGKILL);
        waitpid(victim, NULL, 0);
        round_done();
    }
}

TEST(hostile, writers_killed_in_the_middle)
{
    attack(&(struct attack){.body = killed_in_the_middle, .attackers = 1});
}

static void send_buffer_extremes(void *argument)
{
    static char data[100000];
    static const int rooms[] = {0, 1, INT_MAX, -1};
    (void) argument;
    for (;;) {
        for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) {
            int client = dial();
            (void) setsockopt(client, SOL_SOCKET, SO_SNDBUF, &rooms[i], sizeof rooms[i]);
            (void) setsockopt(client, SOL_SOCKET, SO_RCVBUF, &rooms[i], sizeof rooms[i]);
            for (size_t size = 1; size <= sizeof data; size *= 10) {
                if (send(client, data, size, MSG_NOSIGNAL) < 0)
                    round_refused();
            }
            close(client);
        }
        round_done();
    }
}

TEST(hostile, send_buffer_extremes)
{
    attack(&(struct attack){.body = send_buffer_extremes, .attackers = 1, .messages = 1000});
    CHECK(atomic_load(&shared->refused) > 0);
}

static void five_hundred_idle(void *argument)
{
    (void) argument;
    for (int i = 0; i < 500; i++)
        (void) dial();
    round_done();
    for (;;)
        pause();
}

TEST(hostile, half_a_thousand_idle_connections)
{
    attack(&(struct attack){.body = five_hundred_idle, .attackers = 1});
}

static void frozen_writers(void *argument)
{
    (void) argument;
    for (int i = 0; i < 5; i++) {
        pid_t child = fork_bound();
        if (child == 0)
            flood("before it froze", 15);
        usleep(2000);
        kill(child, SIGSTOP);
        (void) waitpid(child, NULL, WUNTRACED);
        kill(child, SIGKILL);
        (void) waitpid(child, NULL, 0);
        round_done();
    }
    for (;;)
        pause();
}

TEST(hostile, writers_frozen_while_they_send)
{
    attack(&(struct attack){.body = frozen_writers, .attackers = 1});
}
