/* test_library.c: what a death leaves to the other end, message by message; and an old reader that was only frozen. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "deaths.h"
#include "queue/thread.h"
#include "slots/scratch_linux.h"
#include "test_nap.h"

enum { COUNT = 30, LARGE = 200000 };

static size_t length_of(uint64_t number)
{
    return number % 10 == 5 ? LARGE : sizeof number + number % 7 * 100;
}

static int number_write(mr_writer *writer, uint64_t number)
{
    static unsigned char data[LARGE];
    memset(data, (int) number, sizeof data);
    memcpy(data, &number, sizeof number);
    return mr_writer_write(writer, data, length_of(number), number % 6 == 3 ? MR_URGENT : MR_NORMAL);
}

static uint64_t number_of(const mr_message *message)
{
    uint64_t number = 0;
    CHECK(message->length >= sizeof number);
    memcpy(&number, message->data, sizeof number);
    CHECK_EQ(message->length, length_of(number));
    for (size_t n = sizeof number; n < message->length; n++)
        CHECK(((const unsigned char *) message->data)[n] == (unsigned char) number);
    CHECK_EQ(message->priority, number % 6 == 3 ? MR_URGENT : MR_NORMAL);
    return number;
}

/* The next message without waiting for long; 0: none. */
static uint64_t number_receive(mr_reader *reader, bool redelivered, uint32_t timeout_ms)
{
    const mr_message *message;
    int status = mr_reader_receive(reader, &message, timeout_ms);
    if (status == MR_E_TIMEOUT)
        return 0;
    CHECK_STATUS(status, MR_OK);
    uint64_t number = number_of(message);
    CHECK_MSG((message->redelivered != 0) == redelivered, "message %llu: redelivered is %u",
              (unsigned long long) number, message->redelivered);
    mr_message_release(message);
    return number;
}

static void killed_await(pid_t child)
{
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status %x", (unsigned) status);
}

/* ---- the writer dies ---- */

static pid_t writer_dies(void)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        mr_writer *writer;
        CHECK_STATUS(mr_writer_open(&writer, SLOT_NAME, NULL), MR_OK);
        for (uint64_t n = 1; n <= COUNT; n++)
            CHECK_STATUS(number_write(writer, n), MR_OK);
        raise(SIGKILL);
    }
    return child;
}

/* Before the reader has so much as accepted the connection: hello, ring and large messages lie in the socket. */
TEST(deaths_library, all_that_a_killed_writer_had_committed_is_read)
{
    char scratch[SCRATCH_ROOM];
    scratch_use(scratch);
    mr_reader *reader;
    CHECK_STATUS(mr_reader_open(&reader, SLOT_NAME, NULL), MR_OK);
    killed_await(writer_dies());
    bool seen[COUNT + 1] = {false};
    for (unsigned n = 0; n < COUNT; n++) {
        uint64_t number = number_receive(reader, false, GUARD_MS);
        CHECK(number >= 1 && number <= COUNT && !seen[number]);
        seen[number] = true;
    }
    CHECK_EQ(number_receive(reader, false, 0), 0);
    mr_reader_statistics s = {.size = sizeof s};
    CHECK_STATUS(mr_reader_get_statistics(reader, &s), MR_OK);
    CHECK_EQ(s.rings + s.connections + s.ring_bytes + s.unacknowledged, 0);
    CHECK_EQ(s.violations, 0);
    CHECK_STATUS(mr_reader_close(reader, NULL), MR_OK);
    scratch_remove(scratch);
}

/* ---- the reader dies ---- */

struct notes {
    _Atomic unsigned count;
    _Atomic unsigned after; /* what came after it went on */
    _Atomic bool open;
    _Atomic bool written; /* the writer is through, so its reader may meet its fate */
};

enum { ACKNOWLEDGED = 3, HANDED = 10 };

static struct notes *notes;
static int fate; /* the signal at message HANDED */

static void on_message(mr_reader *reader, const mr_message *message, void *context)
{
    (void) reader;
    (void) context;
    uint64_t number = number_of(message);
    unsigned count = atomic_fetch_add(&notes->count, 1) + 1;
    atomic_fetch_add(&notes->after, count > HANDED);
    CHECK_EQ(number, 6 * count + 1); /* all at MR_NORMAL */
    if (count <= ACKNOWLEDGED)
        CHECK_STATUS(mr_message_acknowledge(message), MR_OK);
    if (count == HANDED) {
        for (unsigned n = 0; !atomic_load(&notes->written); n++)
            thread_yield(n);
        CHECK_EQ(raise(fate), 0); /* this thread stops here */
    }
}

static pid_t reader_meets(int signal)
{
    notes = mmap(NULL, sizeof *notes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(notes != MAP_FAILED);
    fate = signal;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        mr_port *bound;
        mr_port_options port_options = MR_PORT_OPTIONS_INIT;
        port_options.concurrency = 1;
        CHECK_STATUS(mr_port_open(&bound, &port_options), MR_OK);
        mr_reader *reader;
        mr_reader_options options = MR_READER_OPTIONS_INIT;
        options.port = bound;
        options.on_message = on_message;
        options.acknowledge_by_hand = 1;
        CHECK_STATUS(mr_reader_open(&reader, SLOT_NAME, &options), MR_OK);
        atomic_store(&notes->open, true);
        if (signal == SIGSTOP)
            CHECK_EQ(raise(SIGSTOP), 0);
        for (;;)
            pause();
    }
    for (unsigned n = 0; !atomic_load(&notes->open); n++)
        thread_yield(n);
    return child;
}

static void numbers_expect(mr_reader *reader, unsigned first, unsigned last, bool redelivered)
{
    for (unsigned n = first; n <= last; n++)
        CHECK_EQ(number_receive(reader, redelivered, GUARD_MS), 6 * n + 1);
}

static void last_write(void *writer)
{
    CHECK_STATUS(number_write(writer, 6 * (COUNT + 1) + 1), MR_OK);
}

TEST(deaths_library, what_a_killed_reader_had_taken_and_not_acknowledged_comes_again_and_says_so)
{
    char scratch[SCRATCH_ROOM];
    scratch_use(scratch);
    pid_t child = reader_meets(SIGKILL);
    mr_writer *writer;
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.ring_bytes = (size_t) 4 << 20; /* room for all, wherever the answer finds the writer */
    CHECK_STATUS(mr_writer_open(&writer, SLOT_NAME, &options), MR_OK);
    for (uint64_t n = 1; n <= COUNT; n++)
        CHECK_STATUS(number_write(writer, 6 * n + 1), MR_OK);
    atomic_store(&notes->written, true);
    killed_await(child);
    mr_writer_statistics counts = {.size = sizeof counts};
    CHECK_STATUS(mr_writer_get_statistics(writer, &counts), MR_OK);
    CHECK_EQ(counts.unacknowledged, COUNT - ACKNOWLEDGED);
    mr_reader *reader;
    CHECK_STATUS(mr_reader_open(&reader, SLOT_NAME, NULL), MR_OK);
    thread last; /* finds it, and brings what is left before its own: perhaps more than goes before the answer */
    CHECK_STATUS(thread_start(&last, "last", last_write, writer), MR_OK);
    numbers_expect(reader, ACKNOWLEDGED + 1, HANDED, true);
    numbers_expect(reader, HANDED + 1, COUNT + 1, false);
    thread_join(last);
    CHECK_EQ(number_receive(reader, false, 0), 0);
    CHECK_STATUS(mr_writer_flush(writer, GUARD_MS), MR_OK);
    CHECK_STATUS(mr_writer_get_statistics(writer, &counts), MR_OK);
    CHECK_EQ(counts.unacknowledged, 0);
    CHECK_EQ(counts.redelivered, COUNT - ACKNOWLEDGED);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
    CHECK_STATUS(mr_reader_close(reader, NULL), MR_OK);
    scratch_remove(scratch);
}

/* ---- the reader is frozen ---- */

static void stopped_await(pid_t child)
{
    int status;
    CHECK_EQ(waitpid(child, &status, WUNTRACED), child);
    CHECK_MSG(WIFSTOPPED(status), "status %x", (unsigned) status);
}

/* Has the writer drop its reader, which has said and done nothing wrong: no number is left for the doorbell that
 * came. */
static void session_fail(mr_writer *writer, uint64_t number)
{
    struct rlimit before;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit none = {.rlim_cur = 3, .rlim_max = before.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    int status = mr_writer_write_timed(writer, &number, sizeof number, MR_NORMAL, 0);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    CHECK_MSG(status != MR_OK, "the write did not find the answer");
}

/* Its slot's files are taken from a frozen reader, as an administrator might, and its writer has given the session
 * up: what it does when it goes on concerns nobody. */
TEST(deaths_library, a_reader_that_was_frozen_delivers_and_acknowledges_nothing_more_once_another_has_the_messages)
{
    char scratch[SCRATCH_ROOM], path[SCRATCH_ROOM + 32];
    scratch_use(scratch);
    pid_t child = reader_meets(SIGSTOP);
    mr_writer *writer;
    stopped_await(child); /* nobody sleeps in the ring yet, so the writer looks for no answer */
    CHECK_STATUS(mr_writer_open(&writer, SLOT_NAME, NULL), MR_OK);
    for (uint64_t n = 1; n <= COUNT; n++)
        CHECK_STATUS(number_write(writer, 6 * n + 1), MR_OK);
    atomic_store(&notes->written, true);
    CHECK_EQ(kill(child, SIGCONT), 0);
    stopped_await(child);
    session_fail(writer, 0);
    mr_reader *reader;
    CHECK_STATUS(mr_reader_open(&reader, SLOT_NAME, NULL), MR_E_EXISTS);
    for (unsigned n = 0; n < 4; n++) {
        static const char *const kinds[] = {"lock", "page", "ring", "sock"};
        snprintf(path, sizeof path, "%s/" SLOT_NAME ".%s", scratch, kinds[n]);
        CHECK_EQ(unlink(path), 0);
    }
    CHECK_STATUS(mr_reader_open(&reader, SLOT_NAME, NULL), MR_OK);
    mr_writer_statistics counts = {.size = sizeof counts};
    CHECK_STATUS(mr_writer_get_statistics(writer, &counts), MR_OK);
    uint64_t left = counts.unacknowledged;
    CHECK_EQ(left, COUNT - ACKNOWLEDGED);
    thread last;
    CHECK_STATUS(thread_start(&last, "last", last_write, writer), MR_OK); /* waits for the new one's answer */
    /* The old one goes on, and acknowledges from now on what it can. */
    CHECK_EQ(kill(child, SIGCONT), 0);
    numbers_expect(reader, ACKNOWLEDGED + 1, COUNT, true);
    numbers_expect(reader, COUNT + 1, COUNT + 1, false);
    thread_join(last);
    CHECK_STATUS(mr_writer_flush(writer, GUARD_MS), MR_OK);
    test_nap(100000000);
    CHECK_EQ(atomic_load(&notes->count), HANDED);
    CHECK_EQ(kill(child, SIGKILL), 0);
    killed_await(child);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
    CHECK_STATUS(mr_reader_close(reader, NULL), MR_OK);
    scratch_remove(scratch);
}
