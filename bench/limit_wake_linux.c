/* limit_wake_linux.c: how long the kernel takes, one way, to wake a process that sleeps: by eventfd, by eventfd through
 * epoll, and by futex.
 *
 * Path    the waker waits until a ring is due, as a writer does for its messages, and rings ► the sleeper's call returns ►
 *         it notes how long after that was ► waits again
 * Owners  The shared page: `due` and `failed` are written by the waker before it rings, and read by the sleeper after: the
 *         kernel's wake-up orders them, and so does the pair of atomics. All else is the sleeper's; the waker has a copy.
 * I1      The waker rings every PERIOD and never earlier, whatever became of the last ring; long before the next one the
 *         sleeper is asleep again. A ring that found it awake would be too fast, never too slow.
 * I2      Waker and sleeper are processes, as a writer and a reader are, and the waker keeps time by the code that writers
 *         keep it by: what a scheduler or a processor makes of one that looks at the clock before it rings is in both.
 * W1/R1   due: stored with release, loaded with acquire.
 */
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "limit_list.h"
#include "queue/histogram.h"
#include "queue/memory.h"
#include "queue/thread.h"
#include "task.h"

#define PERIOD     1000000u /* ns */
#define BEGIN      2000000u /* ns until the first */
#define NANOSECOND 1000000000u

struct bell;

struct bell_kind {
    int (*open)(struct bell *bell);
    int (*ring)(struct bell *bell);
    int (*wait)(struct bell *bell);
};

/* What both processes have. */
struct bell_page {
    atomic_uint word;         /* the futex */
    atomic_uint_fast64_t due; /* of the ring, clock_now's nanoseconds; 0: the end */
    atomic_int failed;        /* the waker's status, with `due` 0 */
};

struct bell {
    const struct bell_kind *kind;
    struct bell_page *page;
    int descriptor;
    int epoll;
    unsigned seen;
    struct histogram histogram;
};

static int bell_failed(const char *what)
{
    return status_fail(MR_E_SYSTEM, errno, "%s failed: %s", what, strerror(errno));
}

static int eventfd_open(struct bell *bell)
{
    bell->descriptor = eventfd(0, EFD_CLOEXEC);
    return bell->descriptor < 0 ? bell_failed("eventfd") : MR_OK;
}

static int eventfd_ring(struct bell *bell)
{
    uint64_t one = 1;
    return write(bell->descriptor, &one, sizeof one) < 0 ? bell_failed("writing to an eventfd") : MR_OK;
}

static int eventfd_wait(struct bell *bell)
{
    uint64_t count;
    while (read(bell->descriptor, &count, sizeof count) < 0)
        if (errno != EINTR)
            return bell_failed("reading an eventfd");
    return MR_OK;
}

static int epoll_open(struct bell *bell)
{
    int status = eventfd_open(bell);
    if (status != MR_OK)
        return status;
    bell->epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    if (bell->epoll < 0 || epoll_ctl(bell->epoll, EPOLL_CTL_ADD, bell->descriptor, &event) != 0)
        return bell_failed("making an epoll set");
    return MR_OK;
}

static int epoll_bell_wait(struct bell *bell)
{
    struct epoll_event event;
    while (epoll_wait(bell->epoll, &event, 1, -1) < 0)
        if (errno != EINTR)
            return bell_failed("epoll_wait");
    return MR_OK;
}

static int futex_open(struct bell *bell)
{
    (void) bell;
    return MR_OK;
}

static int futex_ring(struct bell *bell)
{
    atomic_fetch_add_explicit(&bell->page->word, 1, memory_order_release);
    if (syscall(SYS_futex, &bell->page->word, FUTEX_WAKE, 1, NULL, NULL, 0) < 0)
        return bell_failed("waking by futex");
    return MR_OK;
}

static int futex_wait(struct bell *bell)
{
    while (atomic_load_explicit(&bell->page->word, memory_order_acquire) == bell->seen)
        if (syscall(SYS_futex, &bell->page->word, FUTEX_WAIT, bell->seen, NULL, NULL, 0) < 0 && errno != EAGAIN &&
            errno != EINTR)
            return bell_failed("waiting for a futex");
    bell->seen++;
    return MR_OK;
}

static const struct bell_kind eventfd_kind = {eventfd_open, eventfd_ring, eventfd_wait};
static const struct bell_kind epoll_kind = {epoll_open, eventfd_ring, epoll_bell_wait};
static const struct bell_kind futex_kind = {futex_open, futex_ring, futex_wait};

/* Until the waker says that it is done. */
static int bell_sleep(struct bell *bell)
{
    for (;;) {
        int status = bell->kind->wait(bell);
        uint64_t now = clock_now();
        uint64_t due = atomic_load_explicit(&bell->page->due, memory_order_acquire); /* R1 */
        if (status != MR_OK || due == 0)
            return status;
        histogram_record(&bell->histogram, now - due);
        /* What was waited for through epoll is still to be taken, which is no part of the way. */
        if (bell->epoll >= 0 && (status = eventfd_wait(bell)) != MR_OK)
            return status;
    }
}

static int bell_ring(struct bell *bell, uint64_t due)
{
    atomic_store_explicit(&bell->page->due, due, memory_order_release); /* W1 */
    return bell->kind->ring(bell);
}

/* The other process. */
static void bell_wake(struct bell *bell, double seconds, uint64_t lead)
{
    int status = MR_OK;
    uint64_t late;
    uint64_t due = clock_now() + BEGIN;
    uint64_t end = due + (uint64_t) (seconds * NANOSECOND);
    sleep_exactly();
    for (; due < end && status == MR_OK; due += PERIOD) {
        (void) wait_due(due, lead, &late);
        status = bell_ring(bell, due);
    }
    atomic_store_explicit(&bell->page->failed, status, memory_order_relaxed);
    (void) wait_due(due, lead, &late); /* not while the last ring is under way */
    (void) bell_ring(bell, 0);
}

static int bell_run(struct bell *bell, double seconds, uint64_t lead)
{
    pid_t sleeper = getpid();
    pid_t waker = fork();
    if (waker < 0)
        return bell_failed("fork");
    if (waker == 0) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == sleeper)
            bell_wake(bell, seconds, lead);
        _exit(0);
    }
    int status = bell_sleep(bell);
    if (status != MR_OK)
        (void) kill(waker, SIGKILL);
    while (waitpid(waker, NULL, 0) < 0 && errno == EINTR)
        continue;
    int failed = atomic_load_explicit(&bell->page->failed, memory_order_relaxed);
    return status == MR_OK && failed != MR_OK ? status_fail(failed, 0, "the waking process could not ring") : status;
}

static void bell_close(struct bell *bell)
{
    if (bell->epoll >= 0)
        close(bell->epoll);
    if (bell->descriptor >= 0)
        close(bell->descriptor);
    munmap(bell->page, sizeof *bell->page);
    histogram_close(&bell->histogram);
}

static int wake_measure(const struct bell_kind *kind, double seconds, uint64_t lead, struct limit_result *result)
{
    struct bell bell = {.kind = kind, .descriptor = -1, .epoll = -1};
    if (!histogram_open(&bell.histogram, 7))
        return status_fail(MR_E_MEMORY, 0, "no memory for a measurement");
    bell.page = mmap(NULL, sizeof *bell.page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (bell.page == MAP_FAILED) {
        histogram_close(&bell.histogram);
        return bell_failed("mmap");
    }
    int status = kind->open(&bell);
    if (status == MR_OK)
        status = bell_run(&bell, seconds, lead);
    if (status == MR_OK)
        *result = (struct limit_result){0, (double) histogram_percentile(&bell.histogram, 50) / 1000,
                                        (double) histogram_percentile(&bell.histogram, 99) / 1000};
    bell_close(&bell);
    return status;
}

static int eventfd_measure(size_t size, double seconds, uint64_t lead, struct limit_result *result)
{
    (void) size;
    return wake_measure(&eventfd_kind, seconds, lead, result);
}

static int epoll_measure(size_t size, double seconds, uint64_t lead, struct limit_result *result)
{
    (void) size;
    return wake_measure(&epoll_kind, seconds, lead, result);
}

static int futex_measure(size_t size, double seconds, uint64_t lead, struct limit_result *result)
{
    (void) size;
    return wake_measure(&futex_kind, seconds, lead, result);
}

const struct limit limit_eventfd = {
    .name = "limit-eventfd",
    .summary = "waking a process that sleeps in read of an eventfd, one way, 1,000 times a second",
    .measure = eventfd_measure,
};

const struct limit limit_eventfd_epoll = {
    .name = "limit-eventfd-epoll",
    .summary = "the same where it sleeps in epoll_wait",
    .measure = epoll_measure,
};

const struct limit limit_futex = {
    .name = "limit-futex",
    .summary = "the same where it sleeps in a futex wait",
    .measure = futex_measure,
};
