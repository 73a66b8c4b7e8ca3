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

/* Ends this process with its parent, should nobody come to do it: a test that is interrupted, or out of time. */
static void end_with(pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        _exit(1);
}

pid_t fork_bound(void)
{
    pid_t parent = getpid();
    pid_t child = fork();
    if (child < 0)
        _exit(1);
    if (child == 0)
        end_with(parent);
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

/* A connection counts until its descriptor has been closed and not longer, so from here on nobody closes one. */
static void await_no_connections(mr_reader *reader)
{
    while (slots_statistics(reader).connections > 0)
        usleep(1000); /* another thread's doing, of which no event tells; the test's time limit ends this */
}

static void await_quiet(mr_reader *reader, size_t descriptors)
{
    struct pool_statistics now;
    await_no_connections(reader);
    do {
        usleep(1000);
        pool_statistics(process_pool(), &now);
    } while (now.bytes_charged > 0 || now.buffers_out > 0);
    slots_await_descriptors(descriptors);
}

uint64_t attack_others(void)
{
    return atomic_load(&arrived.others);
}

static mr_reader *reader_make(const struct attack *plan, mr_port *port)
{
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.port = port;
    options.on_message = on_message;
    options.connections_per_uid = plan->quota;
    options.access = plan->quota == 0 ? MR_ACCESS_OWNER : MR_ACCESS_EVERYONE;
    return slots_reader("hostile", &options);
}

static void good_write(uint64_t count)
{
    static uint64_t written;
    struct good_work work = {written, count};
    slots_join(slots_fork(good_writer, &work)); /* first: one that was turned away is told by its status */
    written += count;
    counter_await(&arrived.good, written);
}

static void attackers_check(const pid_t *children, int count)
{
    for (int i = 0; i < count; i++)
        CHECK_EQ(waitpid(children[i], NULL, WNOHANG), 0);
}

static void await_rounds(uint64_t rounds, const pid_t *children, int count)
{
    while (atomic_load(&shared->rounds) < rounds) {
        attackers_check(children, count);
        usleep(1000);
    }
}

/* Each leads a process group, with which its children, running or stopped, can be reached at any time. */
struct attacker_work {
    void (*body)(void *);
    pid_t parent;
};

static void attacker_run(void *argument)
{
    const struct attacker_work *work = argument;
    end_with(work->parent);
    if (setpgid(0, 0) == 0)
        work->body(NULL);
}

static pid_t attacker_start(const struct attack *plan)
{
    struct attacker_work work = {plan->body, getpid()};
    pid_t child = slots_fork(attacker_run, &work);
    CHECK_EQ(setpgid(child, child), 0); /* here as well: whoever comes first */
    return child;
}

/* Their children, too; those fall to this process. */
static void attackers_kill(const pid_t *children, int count)
{
    attackers_check(children, count);
    for (int i = 0; i < count; i++)
        CHECK_EQ(kill(-children[i], SIGKILL), 0);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) {}
    CHECK_EQ(errno, ECHILD);
}

mr_reader_statistics attack(const struct attack *plan)
{
    slots_begin();
    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1UL, 0UL, 0UL, 0UL), 0);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    memset(&arrived, 0, sizeof arrived);
    counter_init(&arrived.good);
    mr_port *port = slots_port(2, 0);
    mr_reader *reader = reader_make(plan, port);
    shared->address = plain_address("hostile");

    /* One writer in peace, so that what is made at first use has been made. */
    good_write(GOOD_MESSAGES);
    await_no_connections(reader);
    size_t descriptors = slots_descriptors();

    pid_t children[8];
    for (int i = 0; i < plan->attackers; i++)
        children[i] = attacker_start(plan);
    await_rounds((uint64_t) plan->attackers, children, plan->attackers);
    uint64_t messages = plan->messages != 0 ? plan->messages : GOOD_MESSAGES;
    good_write(messages);
    await_rounds(plan->rounds, children, plan->attackers);
    attackers_kill(children, plan->attackers);
    /* Behind everybody in the listener's queue: when its message is there, all have been accepted. */
    good_write(1);
    await_quiet(reader, descriptors);
    mr_reader_statistics statistics = slots_statistics(reader);
    CHECK_EQ(arrived.next, GOOD_MESSAGES + messages + 1);
    CHECK_EQ(statistics.messages, arrived.next + atomic_load(&arrived.others));
    slots_close(reader);
    CHECK_STATUS(mr_port_close(port), MR_OK);
    return statistics;
}
