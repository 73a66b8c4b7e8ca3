/* test_slot_hostile.c: what a plain client can do to a slot, and what it must not achieve.
 *
 * In each attack a forked child does its worst in a loop. Meanwhile another process sends 10,000 numbered messages: all of
 * them must arrive, in order, exactly once, while the attacker is still at it. Then the attacker is killed, and the
 * slot's connections, the process's descriptors and the pool's memory must be back where they were. */
#include "slot_support.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "slots/process.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

#define MAGIC UINT64_C(0x6d61696c726f6f6d)
#define GOOD_MESSAGES 10000u

struct good_message {
    uint64_t magic;
    uint64_t number;
};

/* Shared with the children. */
struct shared {
    struct sockaddr_un address;
    _Atomic uint64_t rounds;  /* how often the attack was carried out */
    _Atomic uint64_t refused; /* how often the system or the slot refused it */
};
static struct shared *shared;

static struct {
    struct counter good;
    _Atomic uint64_t others;
    uint64_t next;
} arrived;

static void on_message(mr_reader *reader, const mr_message *message, void *context)
{
    struct good_message good;
    (void) reader;
    (void) context;
    if (message->length != sizeof good || (memcpy(&good, message->data, sizeof good), good.magic != MAGIC)) {
        atomic_fetch_add(&arrived.others, 1);
        return;
    }
    CHECK_EQ(good.number, arrived.next);
    arrived.next++;
    counter_add(&arrived.good, 1);
}

static void round_done(void)
{
    atomic_fetch_add(&shared->rounds, 1);
}

static void round_refused(void)
{
    atomic_fetch_add(&shared->refused, 1);
}

/* Children do not CHECK: an attacker's failures are the point. */
static int dial(void)
{
    for (;;) {
        int client = plain_dial(&shared->address);
        if (client >= 0)
            return client;
        round_refused();
        if (errno == EMFILE)
            return -1;
    }
}

/* A child of an attacker that does not outlive it. */
static pid_t fork_bound(void)
{
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent))
        _exit(1);
    return child;
}

struct good_work {
    uint64_t first;
    uint64_t count;
};

static void good_writer(void *argument)
{
    const struct good_work *work = argument;
    int client = dial();
    for (uint64_t i = 0; i < work->count; i++) {
        struct good_message message = {MAGIC, work->first + i};
        if (send(client, &message, sizeof message, MSG_NOSIGNAL) != sizeof message)
            _exit(1);
    }
}

static void pool_now(struct pool_statistics *statistics)
{
    pool_statistics(process_pool(), statistics);
}

static void await_quiet(mr_reader *reader, const struct pool_statistics *before, size_t descriptors)
{
    struct pool_statistics now;
    do {
        usleep(1000);
        pool_now(&now);
    } while (slots_statistics(reader).connections > 0 || now.bytes_charged > before->bytes_charged ||
             now.buffers_out > before->buffers_out);
    slots_await_descriptors(descriptors);
}

/* Runs the attack in `attackers` processes; returns the reader's final counts. With a quota everyone may write. */
static mr_reader_statistics attack(void (*body)(void *), int attackers, uint32_t quota)
{
    slots_begin();
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    memset(&arrived, 0, sizeof arrived);
    counter_init(&arrived.good);
    mr_port *port = slots_port(2, 0);
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.port = port;
    options.on_message = on_message;
    options.connections_per_uid = quota;
    options.access = quota == 0 ? MR_ACCESS_OWNER : MR_ACCESS_EVERYONE;
    mr_reader *reader = slots_reader("hostile", &options);
    shared->address = plain_address("hostile");

    /* One writer in peace, so that what is made at first use has been made. */
    struct good_work work = {0, GOOD_MESSAGES};
    slots_join(slots_fork(good_writer, &work));
    counter_await(&arrived.good, GOOD_MESSAGES);
    struct pool_statistics before = {.bytes_charged = 0, .buffers_out = 0};
    size_t descriptors = slots_descriptors();
    descriptors -= (size_t) slots_statistics(reader).connections; /* its connection may not have gone yet */

    pid_t children[8];
    for (int i = 0; i < attackers; i++)
        children[i] = slots_fork(body, NULL);
    while (atomic_load(&shared->rounds) < (uint64_t) attackers)
        usleep(1000);
    work.first = GOOD_MESSAGES;
    pid_t writer = slots_fork(good_writer, &work);
    counter_await(&arrived.good, 2 * GOOD_MESSAGES);
    slots_join(writer);
    for (int i = 0; i < attackers; i++) {
        CHECK_EQ(waitpid(children[i], NULL, WNOHANG), 0); /* it was there to the end */
        CHECK_EQ(kill(children[i], SIGKILL), 0);
        CHECK_EQ(waitpid(children[i], NULL, 0), children[i]);
    }
    /* Behind everybody in the listener's queue: when its message is there, all have been accepted. */
    work = (struct good_work){2 * GOOD_MESSAGES, 1};
    slots_join(slots_fork(good_writer, &work));
    counter_await(&arrived.good, 2 * GOOD_MESSAGES + 1);
    await_quiet(reader, &before, descriptors);
    mr_reader_statistics statistics = slots_statistics(reader);
    CHECK_EQ(arrived.next, 2 * GOOD_MESSAGES + 1);
    CHECK_EQ(statistics.messages, 2 * GOOD_MESSAGES + 1 + atomic_load(&arrived.others));
    slots_close(reader);
    CHECK_STATUS(mr_port_close(port), MR_OK);
    return statistics;
}

/* ---- the attacks ---- */

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
    attack(connection_flood, 2, 0);
}

/* As another user than the good writer, who must not pay for it; the path is looked up as before. */
static void quota_flood(void *argument)
{
    (void) argument;
    if (seteuid(12345) != 0)
        _exit(1);
    setfsuid(0);
    for (;;) {
        int clients[400];
        for (int i = 0; i < 400; i++)
            clients[i] = dial();
        struct pollfd last = {.fd = clients[399], .events = POLLRDHUP};
        (void) poll(&last, 1, 100); /* until the slot has turned it away, or let it in while others left */
        round_done();
        for (int i = 0; i < 400; i++)
            close(clients[i]);
    }
}

TEST(hostile, flood_of_connections_beyond_the_quota_is_refused_and_counted)
{
    if (getuid() != 0)
        TEST_SKIP("needs root, to be two users");
    mr_reader_statistics statistics = attack(quota_flood, 2, 300);
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
    attack(reconnect_thousands, 2, 0);
    CHECK(atomic_load(&shared->rounds) > 1000);
}

static void flood(const void *data, size_t length, int flags)
{
    int client = dial();
    for (;;) {
        if (send(client, data, length, flags | MSG_NOSIGNAL) < 0) {
            close(client);
            client = dial();
        }
        round_done();
    }
}

static void empty_flood(void *argument)
{
    (void) argument;
    flood("", 0, 0);
}

TEST(hostile, flood_of_empty_packets)
{
    attack(empty_flood, 2, 0);
}

static void message_flood(void *argument)
{
    (void) argument;
    flood("a message like any other", 24, 0);
}

TEST(hostile, flood_of_ordinary_messages_by_four_processes)
{
    attack(message_flood, 4, 0);
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
    attack(many_connections_flood, 1, 0);
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
    mr_reader_statistics statistics = attack(largest_packets, 1, 0);
    CHECK(statistics.dropped_too_big > 0);
    CHECK(atomic_load(&arrived.others) > 0);
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
    attack(half_closed, 1, 0);
}

static void odd_flags(void *argument)
{
    (void) argument;
    static const int flags[] = {MSG_OOB,     MSG_EOR,       MSG_MORE,   MSG_DONTROUTE, MSG_CONFIRM,
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
    attack(odd_flags, 1, 0);
    CHECK(atomic_load(&shared->refused) > 0); /* MSG_OOB at least */
}

static void killed_in_the_middle(void *argument)
{
    (void) argument;
    for (;;) {
        pid_t victim = fork_bound();
        if (victim == 0)
            flood("cut off", 7, 0);
        usleep(500);
        kill(victim, SIGKILL);
        waitpid(victim, NULL, 0);
        round_done();
    }
}

TEST(hostile, writers_killed_in_the_middle)
{
    attack(killed_in_the_middle, 1, 0);
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
    attack(send_buffer_extremes, 1, 0);
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
    attack(five_hundred_idle, 1, 0);
}

static void frozen_writers(void *argument)
{
    (void) argument;
    for (int i = 0; i < 5; i++) {
        pid_t child = fork_bound();
        if (child == 0)
            flood("before it froze", 15, 0);
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
    attack(frozen_writers, 1, 0);
}

/* ---- descriptors ---- */

static ssize_t send_descriptors(int client, const int *descriptors, size_t count, const void *data, size_t length)
{
    static _Alignas(size_t) char control[CMSG_SPACE(300 * sizeof(int))];
    struct iovec part = {(void *) (uintptr_t) data, length};
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = control,
                            .msg_controllen = CMSG_SPACE(count * sizeof(int))};
    struct cmsghdr *c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(c), descriptors, count * sizeof(int));
    return sendmsg(client, &header, MSG_NOSIGNAL);
}

/* A connected TCP socket over the loopback with unsent data, which lingers for an hour when it is closed. */
static int lingering_socket(int *holder)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int small = 1;
    (void) setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    if (bind(listener, (struct sockaddr *) &address, length) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *) &address, &length) != 0)
        return -1;
    int client = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(client, (struct sockaddr *) &address, length) != 0)
        return -1;
    *holder = accept(listener, NULL, NULL);
    close(listener);
    struct linger hour = {.l_onoff = 1, .l_linger = 3600};
    (void) setsockopt(client, SOL_SOCKET, SO_LINGER, &hour, sizeof hour);
    static char data[65536];
    while (send(client, data, sizeof data, MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
    }
    return client;
}

enum kind { KIND_FILE, KIND_PIPE, KIND_SOCKET, KIND_FULL_PAIR, KIND_EPOLL, KIND_LINGER, KIND_MEMFD, KIND_SELF, KINDS };

/* Makes one descriptor of the kind; what belongs to it stays open in `keep` (up to 3). */
static int make_descriptor(enum kind kind, int client, int *keep)
{
    int ends[2] = {-1, -1};
    keep[0] = keep[1] = keep[2] = -1;
    switch (kind) {
    case KIND_FILE:
        return open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    case KIND_PIPE:
        if (pipe(ends) != 0)
            return -1;
        keep[0] = ends[0];
        return ends[1];
    case KIND_SOCKET:
        return socket(AF_UNIX, SOCK_DGRAM, 0);
    case KIND_FULL_PAIR:
        if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, ends) != 0)
            return -1;
        while (send_descriptors(ends[0], &ends[0], 1, "x", 1) > 0) {
        }
        keep[0] = ends[0];
        return ends[1];
    case KIND_EPOLL:
        keep[0] = epoll_create1(0);
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT};
        (void) epoll_ctl(keep[0], EPOLL_CTL_ADD, client, &event);
        return dup(keep[0]);
    case KIND_LINGER:
        return lingering_socket(&keep[0]);
    case KIND_MEMFD:
        return memfd_create("hostile", 0);
    case KIND_SELF:
        return dup(client);
    case KINDS:
        break;
    }
    return -1;
}

static void drop_descriptors(int descriptor, const int *keep)
{
    close(descriptor);
    for (int i = 0; i < 3; i++) {
        if (keep[i] >= 0)
            close(keep[i]);
    }
}

static void descriptor_flood(void *argument)
{
    (void) argument;
    for (;;) {
        for (enum kind kind = 0; kind < KINDS; kind++) {
            int keep[3];
            int client = dial();
            int descriptor = make_descriptor(kind, client, keep);
            for (int i = 0; i < 3; i++) {
                if (send_descriptors(client, &descriptor, 1, "take this", 9) < 0)
                    round_refused();
            }
            struct linger off = {.l_onoff = 0}; /* or the attacker would linger itself */
            (void) setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &off, sizeof off);
            drop_descriptors(descriptor, keep);
            close(client);
        }
        round_done();
    }
}

TEST(hostile, descriptors_of_every_kind)
{
    attack(descriptor_flood, 2, 0);
}

static void descriptor_crowd(void *argument)
{
    int crowd[253];
    (void) argument;
    for (int i = 0; i < 253; i++)
        crowd[i] = open("/dev/null", O_RDONLY);
    for (;;) {
        int client = dial();
        for (int i = 0; i < 4; i++) {
            if (send_descriptors(client, crowd, 253, "", 0) < 0)
                round_refused();
        }
        close(client);
        round_done();
    }
}

TEST(hostile, descriptors_253_at_once)
{
    attack(descriptor_crowd, 1, 0);
}

/* As on a kernel that does not know SO_PASSRIGHTS: turned on again at the listener, so that what is sent before the
 * slot accepts the connection (and turns it off there) carries its descriptors. False: this kernel refuses them always. */
static void listener_passes_rights(void)
{
    for (int descriptor = 0; descriptor < 1024; descriptor++) {
        int accepting = 0;
        socklen_t length = sizeof accepting;
        if (getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &accepting, &length) == 0 && accepting) {
            int on = 1;
            if (setsockopt(descriptor, SOL_SOCKET, SO_PASSRIGHTS, &on, sizeof on) != 0)
                CHECK_EQ(errno, ENOPROTOOPT);
        }
    }
}

TEST(hostile, descriptors_that_do_arrive_are_closed_elsewhere_and_cost_their_sender_the_connection)
{
    slots_begin();
    mr_reader *reader = slots_reader("arrive", NULL);
    mr_reader_information information;
    listener_passes_rights();
    int warm = plain_connect("arrive");
    plain_text(warm, "x");
    slots_expect(reader, "x");
    size_t descriptors = slots_descriptors();
    uint64_t violations = 0;
    uint64_t dropped = 0;
    for (enum kind kind = 0; kind < KINDS; kind++) {
        int keep[3];
        int client = plain_connect("arrive");
        plain_text(client, "fine so far");
        int descriptor = make_descriptor(kind, client, keep);
        CHECK(descriptor >= 0);
        CHECK_EQ(send_descriptors(client, &descriptor, 1, "take this", 9), 9);
        CHECK_EQ(send_descriptors(client, &descriptor, 1, "", 0), 0);
        plain_text(client, "after it");
        drop_descriptors(descriptor, keep);
        uint64_t begin = clock_now();
        slots_expect(reader, "fine so far");
        CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
        CHECK_EQ(information.count, 0);
        CHECK(clock_now() - begin < UINT64_C(10000000000)); /* nobody lingered for an hour */
        plain_await_end(client);
        close(client);
        violations++;
        dropped += 3;
        mr_reader_statistics statistics = slots_statistics(reader);
        CHECK_EQ(statistics.violations, violations);
        CHECK_EQ(statistics.dropped_violation, dropped);
        CHECK_EQ(statistics.connections, 1);
        slots_await_descriptors(descriptors);
    }
    plain_text(warm, "unharmed");
    slots_expect(reader, "unharmed");
    close(warm);
    slots_close(reader);
}

TEST(hostile, descriptors_253_at_once_that_do_arrive)
{
    slots_begin();
    mr_reader *reader = slots_reader("crowd", NULL);
    mr_reader_information information;
    listener_passes_rights();
    int crowd[253];
    for (int i = 0; i < 253; i++)
        CHECK((crowd[i] = open("/dev/null", O_RDONLY)) >= 0);
    int warm = plain_connect("crowd");
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    size_t descriptors = slots_descriptors();
    for (int round = 0; round < 20; round++) {
        int client = plain_connect("crowd");
        CHECK_EQ(send_descriptors(client, crowd, 253, "all of them", 11), 11);
        CHECK_EQ(send_descriptors(client, crowd, 253, "and again", 9), 9);
        CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
        CHECK_EQ(information.count, 0);
        close(client);
    }
    CHECK_EQ(slots_statistics(reader).violations, 20);
    CHECK_EQ(slots_statistics(reader).dropped_violation, 40);
    slots_await_descriptors(descriptors);
    close(warm);
    slots_close(reader);
}

TEST(hostile, descriptors_left_in_the_sockets_at_the_close_are_closed_too)
{
    slots_begin();
    mr_reader *reader = slots_reader("left", NULL);
    listener_passes_rights();
    int client = plain_connect("left");
    int keep[3];
    int descriptor = make_descriptor(KIND_LINGER, client, keep);
    CHECK_EQ(send_descriptors(client, &descriptor, 1, "take this", 9), 9);
    drop_descriptors(descriptor, keep);
    uint64_t lost = 0;
    uint64_t begin = clock_now();
    CHECK_STATUS(mr_reader_close(reader, &lost), MR_E_UNREAD);
    CHECK_EQ(lost, 1);
    CHECK(clock_now() - begin < UINT64_C(10000000000));
    close(client);
}

/* ---- credentials ---- */

static ssize_t send_credentials(int client, pid_t pid, uid_t uid, gid_t gid)
{
    _Alignas(size_t) char control[CMSG_SPACE(sizeof(struct ucred))] = {0};
    struct iovec part = {(char[]){"forged"}, 6};
    struct msghdr header = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_CREDENTIALS;
    c->cmsg_len = CMSG_LEN(sizeof(struct ucred));
    struct ucred credentials = {.pid = pid, .uid = uid, .gid = gid};
    memcpy(CMSG_DATA(c), &credentials, sizeof credentials);
    return sendmsg(client, &header, MSG_NOSIGNAL);
}

struct forger {
    int client;
    uid_t uid;
};

static void forge(void *argument)
{
    struct forger *forger = argument;
    if (getuid() == 0 && (setresgid(forger->uid, forger->uid, forger->uid) != 0 ||
                          setresuid(forger->uid, forger->uid, forger->uid) != 0))
        _exit(1);
    if (send_credentials(forger->client, 1, getuid(), getgid()) >= 0 || errno != EPERM)
        _exit(2);
    if (send_credentials(forger->client, getpid(), 0, getgid()) >= 0 || errno != EPERM)
        _exit(3);
    if (send_credentials(forger->client, getpid(), getuid(), 0) >= 0 || errno != EPERM)
        _exit(4);
    int self = getpid();
    if (send(forger->client, &self, sizeof self, MSG_NOSIGNAL) != sizeof self)
        _exit(5);
}

static struct {
    struct counter got;
    mr_sender sender;
    int said;
} forged;

static void forged_message(mr_reader *reader, const mr_message *message, void *context)
{
    (void) reader;
    (void) context;
    CHECK_EQ(message->length, sizeof forged.said);
    memcpy(&forged.said, message->data, sizeof forged.said);
    forged.sender = message->sender;
    counter_add(&forged.got, 1);
}

TEST(hostile, forged_credentials_are_refused_by_the_kernel_and_the_true_ones_shown)
{
    slots_begin();
    mr_port *port = slots_port(1, 0);
    counter_init(&forged.got);
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.port = port;
    options.on_message = forged_message;
    mr_reader *reader = slots_reader("forged", &options);
    struct forger forger = {.client = plain_connect("forged"), .uid = getuid() == 0 ? 12345 : getuid()};
    slots_join(slots_fork(forge, &forger));
    counter_await(&forged.got, 1);
    CHECK_EQ(forged.sender.pid, forged.said);
    CHECK(forged.sender.pid != (uint32_t) getpid());
    CHECK_EQ(forged.sender.uid, forger.uid);
    CHECK_EQ(slots_statistics(reader).messages, 1);
    close(forger.client);
    slots_close(reader);
    CHECK_STATUS(mr_port_close(port), MR_OK);
}
