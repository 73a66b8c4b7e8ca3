/* limit_wake_linux.c: how long the kernel takes, one way, to wake a thread that sleeps: by eventfd, by eventfd through epoll,
 * and by futex.
 *
 * Path    the waker notes the time and rings ► the sleeper's call returns ► it notes the difference ► waits again
 * Owners  `rung` is written by the waker before it rings, and read by the sleeper after: the kernel's wake-up orders them, and
 *         so does the pair of atomics. The histogram of samples belongs to the sleeper until it has been joined.
 * I1      The waker rings every PERIOD from the start on and never earlier, whatever became of the last ring; with 500 µs
 *         between two the sleeper is asleep again long before. A ring that found it awake would be too fast, never too slow.
 * W1/R1   rung: stored with release, loaded with acquire.
 */
#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "limit_list.h"
#include "queue/histogram.h"
#include "queue/memory.h"
#include "queue/thread.h"

#define PERIOD     500000u /* ns */
#define NANOSECOND 1000000000u

struct bell;

struct bell_kind {
    int (*open)(struct bell *bell);
    int (*ring)(struct bell *bell);
    int (*wait)(struct bell *bell);
};

struct bell {
    const struct bell_kind *kind;
    int descriptor;
    int epoll;
    atomic_uint word; /* the futex */
    unsigned seen;
    atomic_uint_fast64_t rung; /* when, clock_now's nanoseconds; 0: the end */
    struct histogram *histogram;
    int status; /* the sleeper's */
    struct status_memo memo;
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
    atomic_fetch_add_explicit(&bell->word, 1, memory_order_release);
    if (syscall(SYS_futex, &bell->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0) < 0)
        return bell_failed("waking by futex");
    return MR_OK;
}

static int futex_wait(struct bell *bell)
{
    while (atomic_load_explicit(&bell->word, memory_order_acquire) == bell->seen)
        if (syscall(SYS_futex, &bell->word, FUTEX_WAIT_PRIVATE, bell->seen, NULL, NULL, 0) < 0 && errno != EAGAIN &&
            errno != EINTR)
            return bell_failed("waiting for a futex");
    bell->seen++;
    return MR_OK;
}

static const struct bell_kind eventfd_kind = {eventfd_open, eventfd_ring, eventfd_wait};
static const struct bell_kind epoll_kind = {epoll_open, eventfd_ring, epoll_bell_wait};
static const struct bell_kind futex_kind = {futex_open, futex_ring, futex_wait};

static void sleeper_thread(void *argument)
{
    struct bell *bell = argument;
    for (;;) {
        bell->status = bell->kind->wait(bell);
        uint64_t now = clock_now();
        uint64_t rung = atomic_load_explicit(&bell->rung, memory_order_acquire); /* R1 */
        if (bell->status != MR_OK || rung == 0)
            break;
        histogram_record(bell->histogram, now - rung);
        /* What was waited for through epoll is still to be taken, which is no part of the way. */
        if (bell->epoll >= 0 && (bell->status = eventfd_wait(bell)) != MR_OK)
            break;
    }
    if (bell->status != MR_OK)
        status_save(&bell->memo);
}

/* Sleeps until `time`, then rings and says when. */
static int ring_at(struct bell *bell, uint64_t time, bool last)
{
    struct timespec until = {(time_t) (time / NANOSECOND), (long) (time % NANOSECOND)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        continue;
    atomic_store_explicit(&bell->rung, last ? 0 : clock_now(), memory_order_release); /* W1 */
    return bell->kind->ring(bell);
}

static int bell_run(struct bell *bell, double seconds)
{
    thread sleeper;
    int status = thread_start(&sleeper, "limit-sleeper", sleeper_thread, bell);
    if (status != MR_OK)
        return status;
    uint64_t time = clock_now() + PERIOD;
    uint64_t end = time + (uint64_t) (seconds * NANOSECOND);
    for (; time < end && status == MR_OK; time += PERIOD)
        status = ring_at(bell, time, false);
    if (status == MR_OK)
        status = ring_at(bell, time, true);
    if (status != MR_OK) {
        /* Nothing can wake the sleeper any more, and it holds `bell`: this process is of no further use. */
        thread_detach(sleeper);
        return status;
    }
    thread_join(sleeper);
    if (bell->status != MR_OK)
        status_restore(&bell->memo);
    return bell->status;
}

static int wake_measure(const struct bell_kind *kind, double seconds, struct limit_result *result)
{
    struct histogram *histogram = memory_alloc(sizeof *histogram);
    struct bell *bell = memory_zalloc(sizeof *bell);
    if (histogram == NULL || bell == NULL || !histogram_open(histogram, 7)) {
        memory_free(histogram);
        memory_free(bell);
        return status_fail(MR_E_MEMORY, 0, "no memory for a measurement");
    }
    bell->kind = kind;
    bell->descriptor = -1;
    bell->epoll = -1;
    bell->histogram = histogram;
    int status = kind->open(bell);
    if (status == MR_OK)
        status = bell_run(bell, seconds);
    if (status != MR_OK)
        return status; /* the sleeper may still have it all: see bell_run */
    *result = (struct limit_result){0, (double) histogram_percentile(histogram, 50) / 1000,
                                    (double) histogram_percentile(histogram, 99) / 1000};
    if (bell->epoll >= 0)
        close(bell->epoll);
    if (bell->descriptor >= 0)
        close(bell->descriptor);
    histogram_close(histogram);
    memory_free(histogram);
    memory_free(bell);
    return MR_OK;
}

static int eventfd_measure(size_t size, double seconds, struct limit_result *result)
{
    (void) size;
    return wake_measure(&eventfd_kind, seconds, result);
}

static int epoll_measure(size_t size, double seconds, struct limit_result *result)
{
    (void) size;
    return wake_measure(&epoll_kind, seconds, result);
}

static int futex_measure(size_t size, double seconds, struct limit_result *result)
{
    (void) size;
    return wake_measure(&futex_kind, seconds, result);
}

const struct limit limit_eventfd = {
    .name = "limit-eventfd",
    .summary = "waking a thread that sleeps in read of an eventfd, one way, 2,000 times a second",
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
