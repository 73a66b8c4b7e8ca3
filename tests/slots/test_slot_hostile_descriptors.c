/* test_slot_hostile_descriptors.c: plain clients that pass descriptors, or credentials that are not theirs
 * (hostile_support.h says what must hold). */
#include "hostile_support.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

static ssize_t send_descriptors(int client, const int *descriptors, size_t count, const void *data, size_t length)
{
    static _Alignas(size_t) char control[CMSG_SPACE(300 * sizeof(int))];
    struct iovec part = {(void *) (uintptr_t) data, length};
    struct msghdr header = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(count * sizeof(int))};
    struct cmsghdr *c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(c), descriptors, count * sizeof(int));
    return sendmsg(client, &header, MSG_NOSIGNAL);
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
        while (send_descriptors(ends[0], &ends[0], 1, "x", 1) > 0) {}
        keep[0] = ends[0];
        return ends[1];
    case KIND_EPOLL:
        keep[0] = epoll_create1(0);
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT};
        (void) epoll_ctl(keep[0], EPOLL_CTL_ADD, client, &event);
        return dup(keep[0]);
    case KIND_LINGER:
        return slots_lingering_socket(&keep[0]);
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
    attack(&(struct attack){.body = descriptor_flood, .attackers = 2});
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
    attack(&(struct attack){.body = descriptor_crowd, .attackers = 1});
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
        slots_await_descriptors(descriptors); /* each time: a few times so many are more than many a process may have */
    }
    CHECK_EQ(slots_statistics(reader).violations, 20);
    CHECK_EQ(slots_statistics(reader).dropped_violation, 40);
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
