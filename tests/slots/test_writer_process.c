/* test_writer_process.c: writers and readers in processes of their own: frozen, killed, forked, of another user.
 *
 * Readers are forked before the test's process has threads, and wait on a pipe until they are to begin. What they take
 * they note in memory that is shared. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "slot_support_linux.h"
#include "writer_common.h"

enum { NUMBERS = 200000, STEP = 500 };

/* Shared with the readers. */
struct board {
    _Atomic uint64_t count;              /* messages taken */
    _Atomic uint8_t seen[NUMBERS];       /* times that this number was taken */
    _Atomic uint32_t by_reader[NUMBERS]; /* which reader took it; from 1 */
};

struct reader_process {
    pid_t pid;
    int go;    /* a byte written here lets it open its slot */
    int ready; /* a byte comes when the slot is live, and one for each STEP messages */
};

static struct board *board_make(void)
{
    struct board *board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(board != MAP_FAILED);
    return board;
}

/* Takes `most` messages, and then nothing more until it is killed: however fast it is, it leaves something to the next one. */
static void reader_take(struct board *board, mr_reader *reader, int ready, uint32_t who, uint64_t most)
{
    uint64_t next[2] = {0};
    for (uint64_t taken = 1; taken <= most; taken++) {
        uint64_t number;
        size_t length;
        CHECK_STATUS(mr_reader_read(reader, &number, sizeof number, &length, MR_FOREVER), MR_OK);
        CHECK_EQ(length, sizeof number);
        CHECK(number < NUMBERS);
        CHECK(number >= next[number % 2]); /* in order, per level */
        next[number % 2] = number + 1;
        CHECK_EQ(atomic_fetch_add_explicit(&board->seen[number], 1, memory_order_relaxed), 0);
        atomic_store_explicit(&board->by_reader[number], who, memory_order_relaxed);
        atomic_fetch_add_explicit(&board->count, 1, memory_order_release);
        if (taken % STEP == 0)
            CHECK_EQ(write(ready, "m", 1), 1);
    }
    for (;;)
        pause();
}

static struct reader_process reader_prepare(struct board *board, const char *name, uint32_t who, uint64_t most)
{
    int go[2], ready[2];
    CHECK_EQ(pipe(go), 0);
    CHECK_EQ(pipe(ready), 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(go[1]);
        close(ready[0]);
        char byte;
        CHECK_EQ(read(go[0], &byte, 1), 1);
        mr_reader *reader = slots_reader(name, NULL);
        CHECK_EQ(write(ready[1], "l", 1), 1);
        reader_take(board, reader, ready[1], who, most);
    }
    close(go[0]);
    close(ready[1]);
    return (struct reader_process){.pid = pid, .go = go[1], .ready = ready[0]};
}

static void reader_await(const struct reader_process *process)
{
    char byte;
    CHECK_MSG(read(process->ready, &byte, 1) == 1, "the reader's process has ended");
}

static void reader_go(const struct reader_process *process)
{
    CHECK_EQ(write(process->go, "g", 1), 1);
    reader_await(process);
}

static void reader_kill(const struct reader_process *process)
{
    CHECK_EQ(kill(process->pid, SIGKILL), 0);
    int status;
    CHECK_EQ(waitpid(process->pid, &status, 0), process->pid);
    CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the reader had ended by itself: %x",
              (unsigned) status);
    close(process->go);
    close(process->ready);
}

/* ---- frozen ---- */

TEST(writer_process, a_frozen_reader_costs_a_write_its_time_out_and_no_more)
{
    slots_begin();
    struct board *board = board_make();
    struct reader_process process = reader_prepare(board, "frozen", 1, UINT64_MAX);
    reader_go(&process);
    mr_writer *writer = slots_writer("frozen", NULL);
    uint64_t n = 0;
    CHECK_STATUS(write_number(writer, n++, MR_NORMAL), MR_OK);
    CHECK_EQ(kill(process.pid, SIGSTOP), 0);
    int state;
    CHECK_EQ(waitpid(process.pid, &state, WUNTRACED), process.pid);
    CHECK(WIFSTOPPED(state));
    while (mr_writer_write_timed(writer, &n, sizeof n, MR_NORMAL, 0) == MR_OK)
        n++;
    for (uint32_t ms = 50; ms <= 200; ms += 150) {
        uint64_t begin = clock_now();
        CHECK_STATUS(mr_writer_write_timed(writer, &n, sizeof n, MR_NORMAL, ms), MR_E_TIMEOUT);
        uint64_t took = elapsed_ms(begin);
        CHECK_MSG(took >= ms && took < LONG_MS, "took %llu ms", (unsigned long long) took);
    }
    struct told told = {0};
    for (unsigned i = 0; i < 100; i++)
        CHECK_STATUS(post_number(writer, n++, MR_NORMAL, on_posted_count, &told), MR_OK);
    CHECK_STATUS(mr_writer_flush(writer, 50), MR_E_TIMEOUT);
    CHECK_EQ(told_count(&told), 0);
    CHECK_EQ(kill(process.pid, SIGCONT), 0);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    CHECK_EQ(told_with(&told, MR_OK), 100);
    CHECK_EQ(counts_of(writer).written, n);
    while (atomic_load_explicit(&board->count, memory_order_acquire) < n) { /* the last ones are on their way */
        if (n % STEP == 0)
            break;
        CHECK_STATUS(post_number(writer, n++, MR_NORMAL, NULL, NULL), MR_OK);
        if (n % STEP == 0)
            reader_await(&process);
    }
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
    reader_kill(&process);
}

/* ---- killed and restarted ---- */

struct result {
    _Atomic uint32_t told;
    _Atomic int status;
};

static struct result results[NUMBERS];

static void on_posted_result(mr_writer *writer, int status, void *context)
{
    (void) writer;
    struct result *result = context;
    atomic_store_explicit(&result->status, status, memory_order_relaxed);
    atomic_fetch_add_explicit(&result->told, 1, memory_order_release);
}

struct posting {
    mr_writer *writer;
    uint64_t count;
    thread thread;
};

static void posting_run(void *argument)
{
    struct posting *posting = argument;
    for (uint64_t n = 0; n < posting->count; n++)
        CHECK_STATUS(post_number(posting->writer, n, (uint32_t) n % 2, on_posted_result, &results[n]), MR_OK);
}

TEST_TIMEOUT(writer_process, a_reader_killed_and_restarted_while_messages_are_posted_leaves_no_message_unaccounted, 300)
{
    /* All but the last together take, and lose, less than there is. */
    enum { READERS = 12, PER_READER_BOUND = 1024 + 1024 + 600, MORTAL_MOST = 3 * STEP };
    _Static_assert((READERS - 1) * (PER_READER_BOUND + MORTAL_MOST) < NUMBERS / 4, "something is left for the last");
    slots_begin();
    struct board *board = board_make();
    static struct reader_process readers[READERS];
    for (uint32_t n = 0; n < READERS; n++)
        readers[n] = reader_prepare(board, "mortal", n + 1, n + 1 < READERS ? MORTAL_MOST : UINT64_MAX);
    reader_go(&readers[0]);
    mr_writer_options options = slots_writer_options();
    options.queue_messages = 1000;
    options.timeout_ms = MR_FOREVER;
    options.backoff_min_ms = 1;
    mr_writer *writer = slots_writer("mortal", &options);
    struct posting posting = {.writer = writer, .count = test_campaign() ? NUMBERS : NUMBERS / 4};
    CHECK_STATUS(thread_start(&posting.thread, "posting", posting_run, &posting), MR_OK);
    for (uint32_t n = 0; n + 1 < READERS; n++) {
        reader_await(&readers[n]);
        reader_kill(&readers[n]);
        reader_go(&readers[n + 1]);
    }
    thread_join(posting.thread);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    mr_writer_statistics counts = counts_of(writer);
    uint64_t undelivered;
    CHECK_STATUS(mr_writer_close(writer, &undelivered), MR_OK);
    uint64_t handed_over = 0, seen = 0;
    for (uint64_t n = 0; n < posting.count; n++) {
        CHECK_EQ(atomic_load_explicit(&results[n].told, memory_order_acquire), 1);
        CHECK_STATUS(atomic_load_explicit(&results[n].status, memory_order_relaxed), MR_OK);
        handed_over++;
        uint8_t times = atomic_load_explicit(&board->seen[n], memory_order_relaxed);
        CHECK(times <= 1);
        seen += times;
    }
    CHECK_EQ(counts.posted, posting.count);
    CHECK_EQ(counts.written, handed_over);
    bool acknowledges = slots_lane()->acknowledges;
    CHECK(counts.connects >= (acknowledges ? 2 : READERS)); /* a ring may outlive a reader that hardly lived */
    /* Without acknowledgement what was in the hands of a killed reader, or on the way to it, has gone with it. Else it is
     * what mr_reader_read had returned (and so acknowledged) in the instant of the kill: one message. */
    uint64_t most = READERS * (acknowledges ? 1u : (uint64_t) PER_READER_BOUND);
    CHECK_MSG(handed_over - seen <= most, "%llu of %llu were not seen", (unsigned long long) (handed_over - seen),
              (unsigned long long) handed_over);
    reader_kill(&readers[READERS - 1]);
}

TEST(writer_process, a_write_to_a_killed_reader_says_no_slot_and_reaches_its_successor)
{
    enum { READERS = 8 };
    slots_begin();
    struct board *board = board_make();
    static struct reader_process readers[READERS];
    for (uint32_t n = 0; n < READERS; n++)
        readers[n] = reader_prepare(board, "mortal", n + 1, UINT64_MAX);
    mr_writer *writer = slots_writer("mortal", NULL);
    uint64_t number = 0;
    for (uint32_t n = 0; n < READERS; n++) {
        CHECK_STATUS(write_number(writer, 0, MR_NORMAL), MR_E_NO_SLOT);
        reader_go(&readers[n]);
        for (unsigned i = 0; i < STEP; i++, number++)
            CHECK_STATUS(write_number(writer, number, MR_NORMAL), MR_OK);
        reader_await(&readers[n]); /* it has taken them all */
        reader_kill(&readers[n]);
    }
    CHECK_EQ(atomic_load_explicit(&board->count, memory_order_acquire), number);
    CHECK_EQ(counts_of(writer).connects, READERS);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

static void child_writes_for_ever(void *argument)
{
    mr_writer *writer = slots_writer(argument, NULL);
    for (uint64_t n = 0;; n++)
        CHECK_STATUS(write_number(writer, n, MR_NORMAL), MR_OK);
}

TEST(writer_process, a_killed_writer_leaves_whole_messages_without_a_hole)
{
    slots_begin();
    mr_reader *reader = slots_reader("survivor", NULL);
    static char name[] = "survivor";
    for (unsigned round = 0; round < 10; round++) {
        pid_t child = slots_fork(child_writes_for_ever, name);
        uint64_t next = 0;
        bool killed = false;
        for (;;) {
            uint64_t number;
            size_t length;
            int status = mr_reader_read(reader, &number, sizeof number, &length, killed ? 0 : LONG_MS);
            if (killed && status == MR_E_TIMEOUT)
                break;
            CHECK_STATUS(status, MR_OK);
            CHECK_EQ(length, sizeof number);
            CHECK_EQ(number, next);
            next++;
            if (next == 1000 + round) {
                CHECK_EQ(kill(child, SIGKILL), 0);
                CHECK_EQ(waitpid(child, NULL, 0), child);
                killed = true;
            }
        }
    }
    slots_close(reader);
}

/* ---- fork ---- */

/* The thread sanitizer cannot follow threads that a forked child starts: there the child does not post. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif
#ifdef __SANITIZE_THREAD__
enum { CHILD_POSTS = 0 };
#else
enum { CHILD_POSTS = 1 };
#endif

static void child_uses_the_parents_writer(void *argument)
{
    mr_writer *writer = argument;
    CHECK_STATUS(mr_writer_write(writer, "x", 1, MR_NORMAL), MR_E_FORKED);
    CHECK_STATUS(mr_writer_post(writer, "x", 1, MR_NORMAL, NULL, NULL), MR_E_FORKED);
    CHECK_STATUS(mr_writer_flush(writer, MR_FOREVER), MR_E_FORKED);
    CHECK_STATUS(mr_writer_rename(writer, "other"), MR_E_FORKED);
    mr_writer_statistics statistics = {.size = sizeof statistics};
    CHECK_STATUS(mr_writer_get_statistics(writer, &statistics), MR_E_FORKED);
    uint64_t undelivered = 1;
    CHECK_STATUS(mr_writer_close(writer, &undelivered), MR_E_FORKED);
    CHECK_EQ(undelivered, 0);
    mr_writer *mine;
    mr_writer_options options = slots_writer_options();
    options.lane = MR_LANE_PLAIN; /* the reader is the parent's, who waits for this child */
    CHECK_STATUS(mr_writer_open(&mine, "forked", &options), MR_OK);
    CHECK_STATUS(mr_writer_write(mine, "child, written", 14, MR_NORMAL), MR_OK);
    if (CHILD_POSTS)
        CHECK_STATUS(mr_writer_post(mine, "child, posted", 13, MR_NORMAL, NULL, NULL), MR_OK);
    CHECK_STATUS(mr_writer_flush(mine, LONG_MS), MR_OK);
    CHECK_STATUS(mr_writer_close(mine, NULL), MR_OK);
}

TEST(writer_process, a_forked_child_cannot_use_the_parents_writer_and_does_it_no_harm)
{
    slots_begin();
    mr_reader *reader = slots_reader("forked", NULL);
    mr_writer *writer = slots_writer("forked", NULL);
    for (unsigned n = 0; n < 10; n++) {
        CHECK_STATUS(mr_writer_write(writer, "before", 6, MR_NORMAL), MR_OK);
        CHECK_STATUS(mr_writer_post(writer, "posted", 6, MR_NORMAL, NULL, NULL), MR_OK);
        slots_expect(reader, "before");
        slots_expect(reader, "posted");
        CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
        slots_join(slots_fork(child_uses_the_parents_writer, writer));
        CHECK_STATUS(mr_writer_write(writer, "after", 5, MR_NORMAL), MR_OK);
        unsigned left = 2 + CHILD_POSTS; /* over two connections, in any order */
        while (left > 0) {
            char text[32];
            size_t length;
            CHECK_STATUS(mr_reader_read(reader, text, sizeof text, &length, LONG_MS), MR_OK);
            CHECK(strcmp(text, "after") == 0 || strncmp(text, "child, ", 7) == 0);
            left--;
        }
    }
    CHECK_EQ(counts_of(writer).connects, 1);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
    slots_close(reader);
}

/* ---- another user ---- */

static void stranger_writes(void *argument)
{
    (void) argument;
    if (setresgid(54321, 54321, 54321) != 0 || setresuid(54321, 54321, 54321) != 0)
        _exit(99);
    mr_writer *writer = slots_writer("private", NULL);
    CHECK_STATUS(mr_writer_write(writer, "x", 1, MR_NORMAL), MR_E_ACCESS);
    CHECK(mr_last_error_text()[0] != '\0');
    struct told told = {0};
    CHECK_STATUS(mr_writer_post(writer, "x", 1, MR_NORMAL, on_posted_count, &told), MR_OK);
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_E_DROPPED);
    CHECK_EQ(told_with(&told, MR_E_ACCESS), 1);
    CHECK_EQ(counts_of(writer).dropped_refused, 1);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

TEST(writer_process, another_user_is_refused_and_told_so)
{
    if (geteuid() != 0)
        TEST_SKIP("needs two users, and so root to become them");
    slots_begin();
    const char *folder = getenv("MAILROOM_DIR");
    CHECK(folder != NULL);
    CHECK_EQ(chmod(folder, 0755), 0); /* so that the other user finds the slot at all */
    mr_reader *reader = slots_reader("private", NULL);
    slots_join(slots_fork(stranger_writes, NULL));
    CHECK_EQ(slots_statistics(reader).messages, 0);
    slots_close(reader);
}
