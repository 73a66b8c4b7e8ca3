/* hostile_support.c: see hostile_support.h. */
#include "hostile_support.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "slots/process.h"

#define MAGIC         UINT64_C(0x6d61696c726f6f6d)
#define GOOD_MESSAGES 10000u

struct good_message {
    uint64_t magic;
    uint64_t number;
};

struct shared *shared;

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

void round_done(void)
{
    atomic_fetch_add(&shared->rounds, 1);
}

void round_refused(void)
{
    atomic_fetch_add(&shared->refused, 1);
}

int dial(void)
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

pid_t fork_bound(void)
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

uint64_t attack_others(void)
{
    return atomic_load(&arrived.others);
}

mr_reader_statistics attack(void (*body)(void *), int attackers, uint32_t quota)
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
