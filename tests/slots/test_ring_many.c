/* test_ring_many.c: a thousand writers with rings at one slot: what they may take of memory, and that all of it comes back.
 *
 * Path    this process reads; PROCESSES forked ones hold the writers and do what they are told, a byte at a time
 * Owners  The children are forked before this process has a thread. What is mapped, charged and open here is the reader's
 *         alone, so that it can be counted.
 */
#include "slot_support_linux.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "slots/process.h"
#include "slots/ring_ceiling.h"
#include "slots/ring_lane_linux.h"

#define PROCESSES 8u
#define WRITERS   1000u
#define EACH      (WRITERS / PROCESSES)
/* Of a process's writers every second one is busy: so many messages lie in its ring; the first of them have a large one too. */
#define LYING       16u
#define LYING_BYTES ((size_t) 1024)
#define LARGE       2u
#define LARGE_BYTES ((size_t) 300 << 10) /* above a quarter of the largest ring */
#define BUSY        ((EACH + 1) / 2)
#define MESSAGES    (WRITERS + PROCESSES * (BUSY * LYING + LARGE))

struct child {
    pid_t pid;
    int go;     /* orders */
    int report; /* each is confirmed when it has been carried out */
};

static struct child children[PROCESSES];

/* ---- what a process holds ---- */

struct holdings {
    uint64_t mapped; /* bytes of memfds */
    unsigned mappings;
    size_t descriptors;
};

static struct holdings holdings_now(void)
{
    struct holdings held = {.descriptors = slots_descriptors()};
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[600];
    CHECK(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL) {
        if (strstr(line, " /memfd:") == NULL)
            continue;
        char *dash;
        uint64_t begin = strtoull(line, &dash, 16);
        CHECK_EQ(*dash, '-');
        held.mapped += strtoull(dash + 1, NULL, 16) - begin;
        held.mappings++;
    }
    fclose(maps);
    return held;
}

static struct pool_statistics pool_now(void)
{
    struct pool_statistics statistics;
    pool_statistics(process_pool(), &statistics);
    return statistics;
}

static void want_descriptors(rlim_t count)
{
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < count)
        limit.rlim_cur = limit.rlim_max < count ? limit.rlim_max : count;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    CHECK_MSG(limit.rlim_cur >= count, "at most %llu open files are allowed here (ulimit -Hn), %llu are needed",
              (unsigned long long) limit.rlim_max, (unsigned long long) count);
}

/* ---- the writers' processes ---- */

static mr_writer *writer_open(void)
{
    mr_writer *writer;
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.linger_ms = 0;
    CHECK_STATUS(mr_writer_open(&writer, "crowd", &options), MR_OK);
    return writer;
}

/* The flush has the writer take a smaller ring where the first was refused: then all is acknowledged, and it is idle. */
static void writer_introduce(mr_writer *writer)
{
    CHECK_STATUS(mr_writer_write(writer, "here", 4, MR_NORMAL), MR_OK);
    CHECK_STATUS(mr_writer_flush(writer, MR_FOREVER), MR_OK);
}

static void write_busily(mr_writer *const *writers)
{
    static char bytes[LARGE_BYTES];
    for (unsigned w = 0; w < EACH; w += 2) {
        for (unsigned i = 0; i < LYING; i++)
            CHECK_STATUS(mr_writer_write(writers[w], bytes, LYING_BYTES, MR_NORMAL), MR_OK);
        if (w / 2 < LARGE)
            CHECK_STATUS(mr_writer_write(writers[w], bytes, LARGE_BYTES, MR_NORMAL), MR_OK);
    }
}

static void child_run(int go, int report)
{
    mr_writer *writers[EACH] = {NULL};
    struct holdings before = holdings_now();
    char order;
    while (read(go, &order, 1) == 1) {
        if (order == 'o') {
            for (unsigned w = 0; w < EACH; w++) {
                writers[w] = writer_open();
                writer_introduce(writers[w]);
            }
        } else if (order == 'b') {
            write_busily(writers);
        } else {
            CHECK_EQ(order, 'c');
            CHECK_EQ(holdings_now().mappings, EACH);
            for (unsigned w = EACH; w-- > 0;)
                mr_writer_close(writers[w], NULL);
            struct holdings after = holdings_now();
            CHECK_EQ(after.mappings, 0);
            CHECK_EQ(after.descriptors, before.descriptors);
        }
        CHECK_EQ(write(report, &order, 1), 1);
    }
}

static void children_begin(void)
{
    for (unsigned i = 0; i < PROCESSES; i++) {
        int go[2], report[2];
        CHECK_EQ(pipe(go), 0);
        CHECK_EQ(pipe(report), 0);
        fflush(NULL);
        children[i].pid = fork();
        CHECK(children[i].pid >= 0);
        if (children[i].pid == 0) {
            close(go[1]);
            close(report[0]);
            child_run(go[0], report[1]);
            _exit(0);
        }
        close(go[0]);
        close(report[1]);
        children[i].go = go[1];
        children[i].report = report[0];
    }
}

static void children_order(char order)
{
    for (unsigned i = 0; i < PROCESSES; i++)
        CHECK_EQ(write(children[i].go, &order, 1), 1);
}

static void children_confirm(char order)
{
    for (unsigned i = 0; i < PROCESSES; i++) {
        char done = 0;
        CHECK_EQ(read(children[i].report, &done, 1), 1); /* 0: it has failed, and said why */
        CHECK_EQ(done, order);
    }
}

static void children_do(char order)
{
    children_order(order);
    children_confirm(order);
}

static void children_join(void)
{
    for (unsigned i = PROCESSES; i-- > 0;) { /* the later ones hold the earlier ones' pipes */
        close(children[i].go);
        close(children[i].report);
        slots_join(children[i].pid);
    }
}

static void children_kill(void)
{
    for (unsigned i = 0; i < PROCESSES; i++)
        CHECK_EQ(kill(children[i].pid, SIGKILL), 0);
    for (unsigned i = 0; i < PROCESSES; i++) {
        int status = 0;
        while (waitpid(children[i].pid, &status, 0) < 0)
            CHECK_EQ(errno, EINTR);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        close(children[i].go);
        close(children[i].report);
    }
}

/* ---- the reader ---- */

static struct counter got;
static struct counter gate;
static _Atomic bool held;

static void take(mr_reader *reader, const mr_message *message, void *context)
{
    (void) reader;
    (void) context;
    CHECK_EQ(message->lane, MR_LANE_RING);
    counter_add(&got, 1);
    if (atomic_load(&held))
        counter_await(&gate, 1);
}

struct crowd {
    mr_port *port; /* NULL: read by calls */
    mr_reader *reader;
    struct holdings before; /* with the slot, and nobody at it */
    struct pool_statistics pool;
};

static void crowd_begin(struct crowd *crowd, bool by_calls)
{
    slots_begin();
    want_descriptors(2 * WRITERS + 500);
    counter_init(&got);
    counter_init(&gate);
    children_begin();
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    crowd->port = by_calls ? NULL : slots_port(1, 1);
    options.port = crowd->port;
    options.on_message = by_calls ? NULL : take;
    crowd->reader = slots_reader("crowd", &options);
    CHECK_EQ(ring_ceiling_taken(), 0);
    crowd->before = holdings_now();
    CHECK_EQ(crowd->before.mappings, 0);
    crowd->pool = pool_now();
}

/* Everybody is connected. What is said to be mapped is what the system says, and it is under the ceiling. */
static void crowd_check(const struct crowd *crowd, const char *when)
{
    struct holdings now = holdings_now();
    struct pool_statistics pool = pool_now();
    mr_reader_statistics statistics = slots_statistics(crowd->reader);
    uint64_t taken = ring_ceiling_taken();
    fprintf(stderr, "%u writers, %s: %llu MiB of rings mapped, %zu bytes charged to the pool\n", WRITERS, when,
            (unsigned long long) (now.mapped >> 20), pool.bytes_charged - crowd->pool.bytes_charged);
    CHECK_EQ(statistics.rings, WRITERS);
    CHECK_EQ(statistics.connections, WRITERS);
    CHECK_EQ(now.mappings, WRITERS);
    CHECK_EQ(now.mapped, taken);
    CHECK_EQ(statistics.ring_bytes, taken);
    CHECK(taken <= RING_CEILING_DEFAULT);
    CHECK(taken > RING_CEILING_DEFAULT / 2); /* it was the ceiling that kept them small */
    CHECK_EQ(pool.bytes_charged - crowd->pool.bytes_charged, WRITERS * RING_SESSION_CHARGE);
    CHECK(pool.bytes <= pool.ceiling);
}

static void crowd_check_gone(const struct crowd *crowd)
{
    struct holdings now = holdings_now();
    CHECK_EQ(ring_ceiling_taken(), 0);
    CHECK_EQ(now.mappings, 0);
    CHECK_EQ(pool_now().bytes_charged, crowd->pool.bytes_charged);
    CHECK_EQ(pool_now().bytes_in_use, crowd->pool.bytes_in_use);
}

/* All connected and idle; then half of them busy, while the callback is held. */
static void crowd_gather(const struct crowd *crowd)
{
    children_do('o');
    CHECK_EQ(counter_get(&got), WRITERS);
    crowd_check(crowd, "idle");
    atomic_store(&held, true);
    children_do('b');
    counter_await(&got, WRITERS + 1);
    crowd_check(crowd, "half of them with messages lying");
    CHECK_EQ(counter_get(&got), WRITERS + 1);
}

/* The writers have gone: everything that they had committed arrives, and then nothing is left of them. */
static void crowd_scatter(struct crowd *crowd)
{
    atomic_store(&held, false);
    counter_add(&gate, 1);
    counter_await(&got, MESSAGES);
    while (slots_statistics(crowd->reader).connections != 0)
        usleep(200);                                                    /* closing is told to nobody */
    slots_await_descriptors(crowd->before.descriptors - 2 * PROCESSES); /* the pipes have gone as well */
    crowd_check_gone(crowd);
    CHECK_EQ(counter_get(&got), MESSAGES);
    CHECK_EQ(slots_statistics(crowd->reader).rings, 0);
    CHECK_EQ(slots_statistics(crowd->reader).ring_bytes, 0);
    CHECK_EQ(slots_statistics(crowd->reader).unacknowledged, 0);
    CHECK_EQ(slots_statistics(crowd->reader).violations, 0);
    /* Who comes now gets as much as the first: in this process, so mapped twice. */
    mr_writer *writer = writer_open();
    writer_introduce(writer);
    CHECK(ring_ceiling_taken() > (uint64_t) 1 << 20);
    CHECK_EQ(holdings_now().mapped, 2 * ring_ceiling_taken());
    mr_writer_close(writer, NULL);
    while (slots_statistics(crowd->reader).connections != 0)
        usleep(200);
    crowd_check_gone(crowd);
    slots_close(crowd->reader);
    CHECK_STATUS(mr_port_close(crowd->port), MR_OK);
}

TEST_TIMEOUT(ring_many, a_thousand_writers_stay_under_the_ceiling_and_all_comes_back_when_they_close, 180)
{
    struct crowd crowd;
    crowd_begin(&crowd, false);
    crowd_gather(&crowd);
    children_do('c'); /* with messages lying: those are the reader's to take */
    children_join();
    crowd_scatter(&crowd);
}

TEST_TIMEOUT(ring_many, all_comes_back_when_a_thousand_writers_are_killed, 180)
{
    struct crowd crowd;
    crowd_begin(&crowd, false);
    crowd_gather(&crowd);
    children_kill();
    crowd_scatter(&crowd);
}

static void crowd_read(const struct crowd *crowd, unsigned count)
{
    static char bytes[LARGE_BYTES];
    for (unsigned i = 0; i < count; i++) {
        size_t length;
        CHECK_STATUS(mr_reader_read(crowd->reader, bytes, sizeof bytes, &length, MR_FOREVER), MR_OK);
        CHECK(length == 4 || length == LYING_BYTES || length == LARGE_BYTES);
    }
}

/* Read by calls: so nothing is taken but by this thread, and the rest lies there when the slot closes. */
TEST_TIMEOUT(ring_many, all_comes_back_when_the_slot_closes_and_a_thousand_writers_live, 180)
{
    struct crowd crowd;
    uint64_t lost = 99;
    crowd_begin(&crowd, true);
    children_order('o');
    crowd_read(&crowd, WRITERS);
    children_confirm('o');
    crowd_check(&crowd, "idle");
    children_do('b');
    crowd_check(&crowd, "half of them with messages lying");
    crowd_read(&crowd, MESSAGES / 4);
    crowd_check(&crowd, "a quarter of that taken");
    CHECK_STATUS(mr_reader_close(crowd.reader, &lost), MR_OK);
    CHECK_EQ(lost, 0);                                     /* their writers have them */
    slots_await_descriptors(crowd.before.descriptors - 1); /* its own are gone as well */
    crowd_check_gone(&crowd);
    children_do('c');
    children_join();
}
