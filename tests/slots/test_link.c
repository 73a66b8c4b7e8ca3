/* test_link.c: the writing end of slots/backend.h over the plain lane, with nothing but sockets at the other end. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "slot_support_linux.h"
#include "slots/backend.h"
#include "slots/plain_linux.h"
#include "slots/rendezvous_linux.h"
#include "writer_common.h"

/* The test program is linked with --wrap=send: the send after `send_faults_after` others fails with `send_fault`, and
 * so do the next ones, `send_faults` in all. */
static int send_fault;
static unsigned send_faults;
static unsigned send_faults_after;
static _Atomic unsigned sends;

ssize_t __real_send(int fd, const void *data, size_t length, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t length, int flags);

ssize_t __wrap_send(int fd, const void *data, size_t length, int flags)
{
    atomic_fetch_add_explicit(&sends, 1, memory_order_relaxed);
    if (send_faults > 0 && send_faults_after-- == 0) {
        send_faults--;
        send_faults_after = 0;
        errno = send_fault;
        return -1;
    }
    return __real_send(fd, data, length, flags);
}

/* A slot that is a listener and no more. */
static struct rendezvous *slot_claim(const char *text, uint64_t max_message)
{
    struct slot_name name;
    CHECK_STATUS(name_parse(&name, text), MR_OK);
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    struct access_rule rule = {0};
    CHECK_STATUS(access_rule_init(&rule, &options), MR_OK);
    struct rendezvous *rendezvous;
    CHECK_STATUS(rendezvous_claim(&rendezvous, &name, &rule, max_message), MR_OK);
    access_rule_clear(&rule);
    statistics_page_publish(rendezvous_page(rendezvous), &(struct slot_figures){.max_message = max_message});
    return rendezvous;
}

static int slot_accept(struct rendezvous *rendezvous)
{
    int fd = accept4(rendezvous_listener(rendezvous, RENDEZVOUS_PLAIN), NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    CHECK_MSG(fd >= 0, "accept: %s", strerror(errno));
    return fd;
}

static slot_link *link_make(const char *text)
{
    struct slot_name name;
    CHECK_STATUS(name_parse(&name, text), MR_OK);
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.lane = MR_LANE_PLAIN;
    slot_link *l;
    CHECK_STATUS(link_open(&l, &(struct link_config){.name = &name, .options = &options}), MR_OK);
    return l;
}

/* A link with a connection, and the connection's other end. */
struct pair {
    struct rendezvous *rendezvous;
    slot_link *link;
    int peer;
};

static struct pair pair_make(void)
{
    slots_begin();
    struct pair pair = {.rendezvous = slot_claim("link", MR_MESSAGE_MAX_DEFAULT), .link = link_make("link")};
    CHECK_STATUS(link_connect(pair.link, 0), MR_OK);
    pair.peer = slot_accept(pair.rendezvous);
    return pair;
}

static void pair_end(struct pair *pair)
{
    link_close(pair->link, false);
    if (pair->peer >= 0)
        close(pair->peer);
    rendezvous_release(pair->rendezvous, false);
}

static void pair_fill(struct pair *pair)
{
    int status;
    while ((status = link_send(pair->link, "12345678", 8, 0)) == MR_OK) {}
    CHECK_STATUS(status, MR_E_FULL);
}

static size_t peer_drain(int peer)
{
    static char data[1 << 20];
    size_t count = 0;
    while (recv(peer, data, sizeof data, MSG_DONTWAIT) > 0)
        count++;
    return count;
}

TEST(link, connects_only_to_a_live_slot_and_is_close_on_exec_and_non_blocking)
{
    slots_begin();
    slot_link *l = link_make("Link");
    CHECK_STATUS(link_connect(l, 0), MR_E_NO_SLOT);
    CHECK(!link_connected(l));
    CHECK_EQ(link_max_message(l), 0);
    CHECK_STATUS(link_send(l, "x", 1, 0), MR_E_GONE);
    size_t before = slots_descriptors();
    struct rendezvous *rendezvous = slot_claim("link", 1000);
    size_t claimed = slots_descriptors() - before;
    CHECK_STATUS(link_connect(l, 0), MR_OK);
    CHECK(link_connected(l));
    CHECK_EQ(slots_descriptors(), before + claimed + 1);
    CHECK_STATUS(link_connect(l, 0), MR_OK); /* no second one */
    CHECK_EQ(slots_descriptors(), before + claimed + 1);
    unsigned found = 0;
    for (int fd = 3; fd < 100; fd++) {
        struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
        socklen_t size = sizeof peer;
        if (getpeername(fd, (struct sockaddr *) &peer, &size) < 0 || peer.ss_family != AF_UNIX)
            continue;
        found++;
        CHECK_EQ(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        CHECK_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    }
    CHECK(found >= 1);
    link_close(l, false);
    rendezvous_release(rendezvous, false);
}

TEST(link, the_slots_limit_is_kept_and_a_message_above_it_leaves_the_connection_alone)
{
    slots_begin();
    struct rendezvous *rendezvous = slot_claim("link", 1000);
    slot_link *l = link_make("link");
    CHECK_STATUS(link_connect(l, 0), MR_OK);
    int peer = slot_accept(rendezvous);
    CHECK_EQ(link_max_message(l), 1000);
    char data[1001] = {0};
    CHECK_STATUS(link_send(l, data, 1001, 0), MR_E_TOO_BIG);
    CHECK_STATUS(link_send(l, data, 1000, 0), MR_OK);
    CHECK_STATUS(link_send(l, NULL, 0, 0), MR_OK);
    CHECK_EQ(recv(peer, data, sizeof data, MSG_TRUNC), 1000);
    CHECK_EQ(recv(peer, data, sizeof data, MSG_TRUNC), 0); /* the empty message */
    CHECK_EQ(recv(peer, data, sizeof data, MSG_TRUNC), -1);
    CHECK_EQ(errno, EAGAIN);
    close(peer);
    link_close(l, false);
    rendezvous_release(rendezvous, false);
}

TEST(link, the_lanes_limit_is_exact)
{
    struct pair pair = pair_make();
    size_t most = PLAIN_PACKET_MAX; /* what the reader takes; the send buffer has to be raised for it */
    char *data = calloc(1, most + 1);
    CHECK(data != NULL);
    CHECK_EQ(link_max_message(pair.link), most);
    CHECK_STATUS(link_send(pair.link, data, most + 1, 0), MR_E_TOO_BIG);
    int status = link_send(pair.link, data, most, 0);
    if (status == MR_E_TOO_BIG) { /* net.core.wmem_max is smaller than by default: then that is the bound */
        CHECK(link_max_message(pair.link) < most);
        most = link_max_message(pair.link);
        CHECK_STATUS(link_send(pair.link, data, most + 1, 0), MR_E_TOO_BIG);
        status = link_send(pair.link, data, most, 0);
    }
    CHECK_STATUS(status, MR_OK);
    CHECK_EQ(recv(pair.peer, data, most, MSG_TRUNC), (ssize_t) most);
    CHECK(link_connected(pair.link));
    free(data);
    pair_end(&pair);
}

TEST(link, a_full_slot_is_waited_for)
{
    struct pair pair = pair_make();
    pair_fill(&pair);
    for (uint32_t ms = 0; ms <= 60; ms += 30) {
        uint64_t begin = clock_now();
        CHECK_STATUS(link_wait(pair.link, clock_deadline(ms)), MR_E_TIMEOUT);
        CHECK(elapsed_ms(begin) >= ms);
    }
    CHECK(peer_drain(pair.peer) > 100);
    CHECK_STATUS(link_wait(pair.link, clock_deadline(LONG_MS)), MR_OK);
    CHECK_STATUS(link_send(pair.link, "12345678", 8, 0), MR_OK);
    pair_end(&pair);
}

struct waiter {
    slot_link *link;
    int status;
    thread thread;
};

static void waiter_run(void *argument)
{
    struct waiter *waiter = argument;
    waiter->status = link_wait(waiter->link, CLOCK_NEVER);
}

TEST(link, a_wait_is_ended_by_link_wake_before_or_during_it)
{
    struct pair pair = pair_make();
    pair_fill(&pair);
    link_wake(pair.link);
    CHECK_STATUS(link_wait(pair.link, CLOCK_NEVER), MR_OK);
    CHECK_STATUS(link_wait(pair.link, clock_deadline(20)), MR_E_TIMEOUT); /* one wake, one wait */
    for (unsigned n = 0; n < 300; n++) {
        struct waiter waiter = {.link = pair.link};
        CHECK_STATUS(thread_start(&waiter.thread, "waiter", waiter_run, &waiter), MR_OK);
        link_wake(pair.link);
        thread_join(waiter.thread);
        CHECK_STATUS(waiter.status, MR_OK);
    }
    pair_end(&pair);
}

TEST(link, a_wait_ends_when_the_reader_goes)
{
    struct pair pair = pair_make();
    pair_fill(&pair);
    struct waiter waiter = {.link = pair.link};
    CHECK_STATUS(thread_start(&waiter.thread, "waiter", waiter_run, &waiter), MR_OK);
    close(pair.peer);
    pair.peer = -1;
    thread_join(waiter.thread);
    CHECK_STATUS(waiter.status, MR_OK);
    CHECK_STATUS(link_send(pair.link, "x", 1, 0), MR_E_GONE);
    CHECK(!link_connected(pair.link));
    CHECK_STATUS(link_connect(pair.link, 0), MR_OK); /* the slot is live, its queue of connections has room */
    pair.peer = slot_accept(pair.rendezvous);
    CHECK_STATUS(link_send(pair.link, "x", 1, 0), MR_OK);
    CHECK_EQ(peer_drain(pair.peer), 1);
    pair_end(&pair);
}

TEST(link, without_a_descriptor_for_the_wake_up_a_wait_still_ends_in_time)
{
    struct pair pair = pair_make();
    pair_fill(&pair);
    struct rlimit before, none;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    none.rlim_cur = 0;
    uint64_t begin = clock_now();
    int status = link_wait(pair.link, clock_deadline(50));
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    CHECK(status == MR_E_TIMEOUT || status == MR_E_SYSTEM);
    if (status == MR_E_TIMEOUT)
        CHECK(elapsed_ms(begin) >= 50);
    pair_end(&pair);
}

/* ---- the kernel has no memory ---- */

static void no_memory(int error)
{
    struct pair pair = pair_make();
    send_fault = error;
    send_faults = 5;
    uint64_t begin = clock_now();
    unsigned tries = 0;
    while (link_send(pair.link, "12345678", 8, 0) == MR_E_FULL) {
        tries++;
        CHECK_STATUS(link_wait(pair.link, clock_deadline(LONG_MS)), MR_OK);
    }
    CHECK_EQ(tries, 5);
    CHECK((clock_now() - begin) >= (1 + 2 + 4 + 8 + 16) * MS); /* by time, not by polling */
    send_faults = 1;
    CHECK_STATUS(link_send(pair.link, "x", 1, 0), MR_E_FULL);
    CHECK_STATUS(link_wait(pair.link, clock_deadline(LONG_MS)), MR_OK);
    CHECK_STATUS(link_wait(pair.link, clock_now()), MR_E_TIMEOUT);
    close(pair.peer);
    pair.peer = -1;
    CHECK_STATUS(link_wait(pair.link, clock_deadline(LONG_MS)), MR_OK); /* the end is seen all the same */
    CHECK_STATUS(link_send(pair.link, "x", 1, 0), MR_E_GONE);
    pair_end(&pair);
}

TEST(link, no_buffers_is_waited_out)
{
    no_memory(ENOBUFS);
}

TEST(link, no_memory_is_waited_out)
{
    no_memory(ENOMEM);
}

TEST(link, a_large_packet_for_which_there_is_never_memory_is_too_big_in_the_end)
{
    struct pair pair = pair_make();
    static char data[100000];
    send_fault = ENOBUFS;
    send_faults = 1000;
    int status;
    unsigned tries = 1;
    while ((status = link_send(pair.link, data, sizeof data, 0)) == MR_E_FULL)
        tries++;
    CHECK_STATUS(status, MR_E_TOO_BIG);
    CHECK_EQ(tries, 64);
    for (tries = 0; tries < 200; tries++)
        CHECK_STATUS(link_send(pair.link, data, 64, 0), MR_E_FULL); /* a small one never is */
    send_faults = 0;
    CHECK_STATUS(link_send(pair.link, data, sizeof data, 0), MR_OK);
    pair_end(&pair);
}

TEST(link, errors_have_their_meaning)
{
    static const struct {
        int error;
        int status;
    } table[] = {{EPIPE, MR_E_GONE},  {ECONNRESET, MR_E_GONE},  {ECONNREFUSED, MR_E_GONE}, {ENOTCONN, MR_E_GONE},
                 {EAGAIN, MR_E_FULL}, {EMSGSIZE, MR_E_TOO_BIG}, {EPERM, MR_E_SYSTEM}};
    struct pair pair = pair_make();
    for (size_t n = 0; n < sizeof table / sizeof table[0]; n++) {
        send_fault = table[n].error;
        send_faults = 1;
        CHECK_STATUS(link_connect(pair.link, 0), MR_OK);
        CHECK_STATUS(link_send(pair.link, "x", 1, 0), table[n].status);
        bool kept = table[n].status == MR_E_FULL || table[n].status == MR_E_TOO_BIG;
        CHECK_EQ(link_connected(pair.link), kept);
        if (table[n].status == MR_E_SYSTEM)
            CHECK_EQ(mr_last_os_error(), EPERM);
    }
    send_fault = EINTR;
    send_faults = 3;
    CHECK_STATUS(link_connect(pair.link, 0), MR_OK);
    CHECK_STATUS(link_send(pair.link, "x", 1, 0), MR_OK);
    pair_end(&pair);
}

/* ---- with a port ---- */

struct watch {
    operation operation;
    bool completed;
};

static void on_watched(operation *completed)
{
    ((struct watch *) (void *) completed)->completed = true;
}

/* Takes one packet and runs its handler. */
static void port_step(port *p)
{
    operation *o;
    CHECK_STATUS(port_wait(p, &o, clock_deadline(LONG_MS)), MR_OK);
    o->handler(o);
}

static void port_expect_nothing(port *p)
{
    operation *o;
    CHECK_STATUS(port_wait(p, &o, clock_deadline(20)), MR_E_TIMEOUT);
}

TEST(link, a_watch_completes_with_room_with_the_readers_end_and_with_a_disconnect)
{
    struct pair pair = pair_make();
    size_t descriptors = slots_descriptors();
    port *p;
    CHECK_STATUS(port_open(&p, NULL), MR_OK);
    struct watch watch = {.operation.handler = on_watched};
    for (unsigned n = 0; n < 60; n++) {
        pair_fill(&pair);
        watch.completed = false;
        CHECK_EQ(link_watch(pair.link, p, &watch.operation), STARTED_PENDING);
        if (n % 20 == 0)
            port_expect_nothing(p);
        switch (n % 3) {
        case 0:
            peer_drain(pair.peer);
            break;
        case 1:
            close(pair.peer);
            break;
        case 2:
            link_disconnect(pair.link);
            break;
        }
        if (n % 6 == 2) { /* reconnected before the packet of the old connection has been taken */
            CHECK_STATUS(link_connect(pair.link, 0), MR_OK);
            CHECK_STATUS(link_send(pair.link, "x", 1, 0), MR_OK);
        }
        port_step(p);
        CHECK(watch.completed);
        CHECK(watch.operation.status == MR_OK || watch.operation.status == MR_E_CANCELLED);
        if (n % 3 == 1)
            CHECK_STATUS(link_send(pair.link, "x", 1, 0), MR_E_GONE);
        if (n % 3 == 2)
            close(pair.peer);
        if (n % 3 != 0) {
            CHECK_STATUS(link_connect(pair.link, 0), MR_OK);
            pair.peer = slot_accept(pair.rendezvous);
        }
    }
    pair_end(&pair);
    port_close(p);
    CHECK_EQ(slots_descriptors() < descriptors, true);
}

TEST(link, a_watch_without_kernel_memory_is_one_of_time)
{
    struct pair pair = pair_make();
    port *p;
    CHECK_STATUS(port_open(&p, NULL), MR_OK);
    struct watch watch = {.operation.handler = on_watched};
    send_fault = ENOBUFS;
    send_faults = 1;
    CHECK_STATUS(link_send(pair.link, "x", 1, 0), MR_E_FULL);
    uint64_t begin = clock_now();
    CHECK_EQ(link_watch(pair.link, p, &watch.operation), STARTED_PENDING);
    port_step(p);
    CHECK(watch.completed);
    CHECK(clock_now() - begin >= MS);
    CHECK_STATUS(link_send(pair.link, "x", 1, 0), MR_OK);
    pair_end(&pair);
    port_close(p);
}

/* ---- fork and rename ---- */

static void child_closes(void *argument)
{
    struct pair *pair = argument;
    link_close(pair->link, true);
}

TEST(link, closing_in_a_forked_child_leaves_the_parents_connection_alone)
{
    struct pair pair = pair_make();
    port *p;
    CHECK_STATUS(port_open(&p, NULL), MR_OK);
    struct watch watch = {.operation.handler = on_watched};
    pair_fill(&pair);
    CHECK_EQ(link_watch(pair.link, p, &watch.operation), STARTED_PENDING);
    slots_join(slots_fork(child_closes, &pair));
    port_expect_nothing(p);
    peer_drain(pair.peer);
    port_step(p);
    CHECK(watch.completed);
    CHECK_STATUS(link_send(pair.link, "x", 1, 0), MR_OK);
    CHECK_EQ(peer_drain(pair.peer), 1);
    pair_end(&pair);
    port_close(p);
}

TEST(link, rename_ends_the_connection)
{
    struct pair pair = pair_make();
    struct slot_name name;
    CHECK_STATUS(name_parse(&name, "LINK"), MR_OK);
    CHECK(link_is_named(pair.link, &name));
    CHECK_STATUS(name_parse(&name, "other"), MR_OK);
    CHECK(!link_is_named(pair.link, &name));
    CHECK_STATUS(link_rename(pair.link, &name), MR_OK);
    CHECK(link_is_named(pair.link, &name));
    CHECK(!link_connected(pair.link));
    char data[8];
    CHECK_EQ(recv(pair.peer, data, sizeof data, 0), 0);
    CHECK_STATUS(link_connect(pair.link, 0), MR_E_NO_SLOT);
    CHECK_STATUS(name_parse(&name, "\\\\elsewhere\\mailslot\\other"), MR_OK);
    CHECK_STATUS(link_rename(pair.link, &name), MR_E_NAME);
    pair_end(&pair);
}

TEST(link, a_full_queue_of_connections_is_waited_for_and_not_longer)
{
    slots_begin();
    struct rendezvous *rendezvous = slot_claim("link", 1000);
    enum { MANY = 5000 };
    static slot_link *links[MANY];
    size_t count = 0;
    int status = MR_OK;
    while (status == MR_OK && count < MANY) {
        links[count] = link_make("link");
        status = link_connect(links[count], 0);
        count++;
    }
    if (status != MR_E_DESCRIPTORS) { /* the queue is as long as net.core.somaxconn says */
        CHECK_STATUS(status, MR_E_TIMEOUT);
        uint64_t begin = clock_now();
        CHECK_STATUS(link_connect(links[count - 1], clock_deadline(50)), MR_E_TIMEOUT);
        CHECK(elapsed_ms(begin) >= 50);
        close(slot_accept(rendezvous));
        CHECK_STATUS(link_connect(links[count - 1], clock_deadline(LONG_MS)), MR_OK);
    }
    while (count > 0)
        link_close(links[--count], false);
    rendezvous_release(rendezvous, false);
}
