/* test_peers.c: every peer that the bench compares with delivers each message whole, once, and in order per writer, to the slot
 * that it was sent to, with a queue far shallower than what is sent. One text for all of them. */
#include <dlfcn.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "limit_list.h"
#include "peer.h"
#include "queue/memory.h"
#include "queue/thread.h"
#include "test.h"

#define CONNECTIONS 3u
#define SLOTS       3u
#define FLUSH_MS    30000u

extern const struct peer peer_dgram, peer_dgram_mmsg, peer_seqpacket_mmsg, peer_jetstream, peer_mq, peer_nanomsg,
    peer_nats, peer_nng, peer_pipe, peer_seed, peer_seqpacket, peer_zeromq;

/* What a message begins with; the rest is made from it. */
struct head {
    uint32_t connection;
    uint32_t number;
};

struct run {
    const struct peer *peer;
    struct peer_options options;
    void *reader;
    void *context;
    uint32_t count; /* of each connection */
    mutex lock;
    condition all;
    uint32_t next[CONNECTIONS]; /* under the lock from here on */
    uint64_t received;
    int reader_status;
    atomic_bool stop;
};

struct sender {
    struct run *run;
    unsigned connection;
    thread thread;
    void *writer;
};

static unsigned slot_of(const struct run *run, unsigned connection)
{
    return connection % run->options.slots;
}

/* Lengths differ, up to the largest. */
static size_t length_of(const struct run *run, const struct head *head)
{
    size_t most = run->options.size - sizeof *head;
    return sizeof *head + (head->number % 5 == 0 ? most : most * (head->number % 7) / 7);
}

static void message_fill(char *message, const struct head *head, size_t length)
{
    memset(message, (int) (head->connection * 31 + head->number), length);
    memcpy(message, head, sizeof *head);
}

static void take(void *context, unsigned slot, const void *data, size_t length)
{
    struct run *run = context;
    struct head head;
    CHECK(length >= sizeof head);
    memcpy(&head, data, sizeof head);
    CHECK(head.connection < CONNECTIONS);
    CHECK_EQ(slot, slot_of(run, head.connection));
    CHECK_EQ(length, length_of(run, &head));
    char *expected = memory_alloc(length);
    CHECK(expected != NULL);
    message_fill(expected, &head, length);
    CHECK_MEM(data, expected, length);
    memory_free(expected);
    mutex_lock(&run->lock);
    CHECK_EQ(head.number, run->next[head.connection]);
    run->next[head.connection]++;
    run->received++;
    if (run->received == (uint64_t) run->count * CONNECTIONS)
        condition_signal(&run->all);
    mutex_unlock(&run->lock);
}

static void reader_thread(void *argument)
{
    struct run *run = argument;
    int status = run->peer->reader_run(run->reader, take, run, &run->stop);
    mutex_lock(&run->lock);
    run->reader_status = status;
    if (status != MR_OK)
        condition_signal(&run->all);
    mutex_unlock(&run->lock);
    CHECK_MSG(status == MR_OK, "%s: %s", run->peer->name, mr_last_error_text());
}

static void sender_thread(void *argument)
{
    struct sender *sender = argument;
    struct run *run = sender->run;
    const struct peer *peer = run->peer;
    char *message = memory_alloc(run->options.size);
    CHECK(message != NULL);
    int status =
        peer->writer_open(&sender->writer, &run->options, slot_of(run, sender->connection), sender->connection);
    CHECK_MSG(status == MR_OK, "%s: %s", peer->name, mr_last_error_text());
    for (uint32_t number = 0; number < run->count; number++) {
        struct head head = {sender->connection, number};
        size_t length = length_of(run, &head);
        message_fill(message, &head, length);
        status = peer->writer_send(sender->writer, message, length, 0);
        CHECK_MSG(status == MR_OK, "%s: %s", peer->name, mr_last_error_text());
    }
    if (peer->writer_flush != NULL) {
        status = peer->writer_flush(sender->writer, FLUSH_MS);
        CHECK_MSG(status == MR_OK, "%s: %s", peer->name, mr_last_error_text());
    }
    memory_free(message);
}

static void run_go(struct run *run)
{
    struct sender senders[CONNECTIONS];
    int status = run->peer->reader_open(&run->reader, &run->options);
    /* What a message queue takes is the system's to say (fs.mqueue.msgsize_max). */
    if (status == MR_E_TOO_BIG && run->peer == &peer_mq && run->options.size > 8192)
        return;
    CHECK_MSG(status == MR_OK, "%s: %s", run->peer->name, mr_last_error_text());
    mutex_init(&run->lock);
    condition_init(&run->all);
    thread reader;
    CHECK_STATUS(thread_start(&reader, "reader", reader_thread, run), MR_OK);
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        senders[i] = (struct sender){.run = run, .connection = i};
        CHECK_STATUS(thread_start(&senders[i].thread, "sender", sender_thread, &senders[i]), MR_OK);
    }
    for (unsigned i = 0; i < CONNECTIONS; i++)
        thread_join(senders[i].thread);
    mutex_lock(&run->lock);
    while (run->received < (uint64_t) run->count * CONNECTIONS)
        condition_wait(&run->all, &run->lock);
    mutex_unlock(&run->lock);
    /* Only now may writers close: not every library lingers. */
    for (unsigned i = 0; i < CONNECTIONS; i++)
        run->peer->writer_close(senders[i].writer);
    atomic_store_explicit(&run->stop, true, memory_order_release);
    if (run->peer->reader_wake != NULL)
        run->peer->reader_wake(run->reader);
    thread_join(reader);
    run->peer->reader_close(run->reader);
    CHECK_EQ(run->received, (uint64_t) run->count * CONNECTIONS);
    condition_destroy(&run->all);
    mutex_destroy(&run->lock);
}

static void directory_make(char *path, const char *parent)
{
    const char *base = parent != NULL ? parent : getenv("TMPDIR");
    (void) snprintf(path, PEER_TEXT_ROOM, "%s/bench-XXXXXX", base != NULL ? base : "/tmp");
    CHECK(mkdtemp(path) != NULL);
}

static void directory_remove(const char *path)
{
    char command[PEER_TEXT_ROOM + 16];
    (void) snprintf(command, sizeof command, "rm -rf '%s'", path);
    CHECK_EQ(system(command), 0); /* NOLINT(cert-env33-c): a path that mkdtemp made */
}

static void run_one(const struct peer *peer, const char *directory, const char *address, size_t size, unsigned slots,
                    uint32_t count, bool prompt)
{
    struct run run = {.peer = peer, .count = count};
    static unsigned runs;
    if (peer->size_max != 0 && size > peer->size_max)
        size = peer->size_max;
    run.options =
        (struct peer_options){.size = size, .slots = slots, .connections = CONNECTIONS, .levels = 1, .prompt = prompt};
    (void) snprintf(run.options.name, sizeof run.options.name, "test-%u-%u", process_id(), runs++);
    (void) snprintf(run.options.address, sizeof run.options.address, "%s", address);
    directory_make(run.options.directory, directory);
    run_go(&run);
}

static void peer_check(const struct peer *peer)
{
    if (peer->missing != NULL)
        test_skip(peer->missing);
    char directory[PEER_TEXT_ROOM];
    char address[PEER_TEXT_ROOM] = "";
    void *service = NULL;
    directory_make(directory, NULL);
    if (peer->service_start != NULL) {
        int status = peer->service_start(&service, directory, address);
        CHECK_MSG(status == MR_OK, "%s: %s", peer->name, mr_last_error_text());
    }
    run_one(peer, directory, address, 64, 1, 5000, false);
    run_one(peer, directory, address, 64, 1, 200, true);
    run_one(peer, directory, address, 1024, SLOTS, 3000, false);
    run_one(peer, directory, address, 65536, 1, 400, false);
    if (peer->service_stop != NULL)
        peer->service_stop(service);
    directory_remove(directory);
}

struct order {
    mutex lock;
    condition all;
    uint32_t last;
    uint32_t normal; /* messages of the normal level so far */
    uint32_t before_important;
    bool important_seen;
};

static void order_take(void *context, unsigned slot, const void *data, size_t length)
{
    struct order *order = context;
    uint32_t number;
    CHECK_EQ(slot, 0);
    CHECK(length >= sizeof number);
    memcpy(&number, data, sizeof number);
    mutex_lock(&order->lock);
    if (number == UINT32_MAX) {
        order->important_seen = true;
        order->before_important = order->normal;
    } else {
        CHECK_EQ(number, order->normal);
        order->normal++;
    }
    if (order->normal > order->last)
        condition_signal(&order->all);
    mutex_unlock(&order->lock);
}

static void order_thread(void *argument)
{
    struct run *run = argument;
    CHECK_STATUS(run->peer->reader_run(run->reader, order_take, run->context, &run->stop), MR_OK);
}

#define PEER_TEST(name)           \
    TEST(bench_peers, name)       \
    {                             \
        peer_check(&peer_##name); \
    }

PEER_TEST(dgram)
PEER_TEST(dgram_mmsg)
PEER_TEST(jetstream)
PEER_TEST(mq)
PEER_TEST(nanomsg)
PEER_TEST(nats)
PEER_TEST(nng)
PEER_TEST(pipe)
PEER_TEST(seed)
PEER_TEST(seqpacket)
PEER_TEST(seqpacket_mmsg)
PEER_TEST(zeromq)

/* libnng brings functions of nanomsg's names: measured must be nanomsg's own. */
TEST(bench_peers, nanomsg_is_nanomsg)
{
    if (peer_nanomsg.missing != NULL)
        TEST_SKIP(peer_nanomsg.missing);
    static const char *const names[] = {"nn_socket", "nn_bind", "nn_connect", "nn_send", "nn_recv"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        Dl_info where;
        void *function = dlsym(RTLD_DEFAULT, names[i]);
        CHECK(function != NULL);
        CHECK(dladdr(function, &where) != 0);
        CHECK_MSG(strstr(where.dli_fname, "libnanomsg") != NULL, "%s is in %s", names[i], where.dli_fname);
    }
}

/* The deque's order: what is important goes first, but nothing overtakes within its level. The reader is held by not being run
 * until all has been queued, so the slot holds at most what its socket takes, and the rest is sorted. */
TEST(bench_peers, seed_sends_important_messages_first)
{
    struct run run = {.peer = &peer_seed, .count = 2000};
    run.options = (struct peer_options){.name = "seed", .size = 1024, .slots = 1, .connections = 1, .levels = 2};
    directory_make(run.options.directory, NULL);
    CHECK_STATUS(peer_seed.reader_open(&run.reader, &run.options), MR_OK);
    void *writer;
    CHECK_STATUS(peer_seed.writer_open(&writer, &run.options, 0, 0), MR_OK);
    char message[1024] = {0};
    for (uint32_t number = 0; number < run.count; number++) {
        memcpy(message, &number, sizeof number);
        CHECK_STATUS(peer_seed.writer_send(writer, message, sizeof message, 0), MR_OK);
    }
    uint32_t important = UINT32_MAX;
    memcpy(message, &important, sizeof important);
    CHECK_STATUS(peer_seed.writer_send(writer, message, sizeof message, 1), MR_OK);
    struct order order = {.last = run.count - 1};
    mutex_init(&order.lock);
    condition_init(&order.all);
    run.context = &order;
    thread reader;
    CHECK_STATUS(thread_start(&reader, "reader", order_thread, &run), MR_OK);
    mutex_lock(&order.lock);
    while (order.normal <= order.last)
        condition_wait(&order.all, &order.lock);
    mutex_unlock(&order.lock);
    peer_seed.writer_close(writer);
    atomic_store_explicit(&run.stop, true, memory_order_release);
    peer_seed.reader_wake(run.reader);
    thread_join(reader);
    peer_seed.reader_close(run.reader);
    CHECK(order.important_seen);
    CHECK_MSG(order.before_important < run.count, "the important message came last");
    directory_remove(run.options.directory);
}

static void limit_check(const struct limit *limit, size_t size)
{
    struct limit_result result = {0, 0, 0};
    CHECK_STATUS(limit->measure(size, 0.05, 60000, &result), MR_OK);
    if (limit->sized) {
        CHECK(result.messages_per_second > 1000);
    } else {
        CHECK(result.p50_us > 0);
        CHECK(result.p99_us >= result.p50_us);
        CHECK_MSG(result.p50_us < 1e6, "half of the wake-ups take %f us", result.p50_us);
    }
}

TEST(bench_peers, limits_give_figures)
{
    limit_check(&limit_ring, 64);
    limit_check(&limit_ring, 65536);
    limit_check(&limit_memcpy, 1024);
    limit_check(&limit_eventfd, 0);
    limit_check(&limit_eventfd_epoll, 0);
    limit_check(&limit_futex, 0);
}

static pid_t server_find(const char *directory)
{
    char pattern[PEER_TEXT_ROOM + 32];
    glob_t found;
    (void) snprintf(pattern, sizeof pattern, "%s/ports/nats-server_*.ports", directory);
    CHECK_EQ(glob(pattern, 0, NULL, &found), 0);
    CHECK_EQ(found.gl_pathc, 1);
    pid_t process = (pid_t) strtol(strrchr(found.gl_pathv[0], '_') + 1, NULL, 10);
    globfree(&found);
    CHECK(process > 1);
    return process;
}

/* A bench that is killed leaves no server behind. */
TEST(bench_peers, nats_server_dies_with_the_bench)
{
    if (peer_nats.missing != NULL)
        TEST_SKIP(peer_nats.missing);
    char directory[PEER_TEXT_ROOM];
    int started[2];
    directory_make(directory, NULL);
    CHECK_EQ(pipe(started), 0);
    pid_t bench = fork();
    CHECK(bench >= 0);
    if (bench == 0) {
        char address[PEER_TEXT_ROOM];
        void *service;
        char ok = peer_nats.service_start(&service, directory, address) == MR_OK;
        if (write(started[1], &ok, 1) == 1)
            for (;;)
                (void) pause();
        _exit(1);
    }
    char ok = 0;
    CHECK_EQ(read(started[0], &ok, 1), 1);
    CHECK(ok);
    int server = (int) syscall(SYS_pidfd_open, server_find(directory), 0);
    CHECK(server >= 0);
    struct pollfd end = {server, POLLIN, 0};
    CHECK_EQ(poll(&end, 1, 0), 0);
    CHECK_EQ(kill(bench, SIGKILL), 0);
    CHECK_EQ(waitpid(bench, NULL, 0), bench);
    CHECK_EQ(poll(&end, 1, -1), 1);
    close(server);
    directory_remove(directory);
}

/* What is missing says so at once, and not by a time-out. */
TEST(bench_peers, nats_server_that_is_not_there)
{
    if (peer_nats.missing != NULL)
        TEST_SKIP(peer_nats.missing);
    char address[PEER_TEXT_ROOM] = "";
    void *service = NULL;
    CHECK_STATUS(peer_nats.service_start(&service, "/nonexistent", address), MR_E_SYSTEM);
    CHECK(service == NULL);
    CHECK_STR(address, "");
}
