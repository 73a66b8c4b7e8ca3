/* test_port_linux.c: what only Linux has: kinds of descriptors, descriptors that come along with messages, forked
 * children, and what an idle pool costs, told by the kernel. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "contract.h"
#include "iocp/port_linux.h"
#include "iocp/workers.h"

static unsigned descriptors_open(void)
{
    DIR *folder = opendir("/proc/self/fd");
    CHECK(folder != NULL);
    unsigned count = 0;
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

TEST(port_linux, regular_files_and_directories_are_unsupported_and_stay_the_callers)
{
    port *p = port_new();
    FILE *file = tmpfile();
    CHECK(file != NULL);
    endpoint *e;
    CHECK_STATUS(endpoint_open(&e, p, fileno(file)), MR_E_UNSUPPORTED);
    CHECK_EQ(fputs("still open", file), 1);
    CHECK_EQ(fclose(file), 0);
    int folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK_STATUS(endpoint_open(&e, p, folder), MR_E_UNSUPPORTED);
    CHECK_EQ(close(folder), 0);
    port_finish(p, NULL, NULL);
}

TEST(port_linux, a_pipe_can_be_received_from_and_waited_for_but_not_sent_to)
{
    port *p = port_new();
    int ends[2];
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    endpoint *in = endpoint_new(p, ends[0]), *out = endpoint_new(p, ends[1]);
    char buffer[16];
    operation o = operation_new();
    CHECK_EQ(port_receive(in, &o, buffer, sizeof buffer), STARTED_PENDING);
    CHECK_EQ(write(ends[1], "bytes", 5), 5);
    CHECK(packet_next(p) == &o);
    CHECK_STATUS(o.status, MR_OK);
    CHECK_EQ(o.bytes, 5);
    CHECK_EQ(port_send(out, &o, "x", 1), STARTED_DONE);
    CHECK_STATUS(o.status, MR_E_UNSUPPORTED);
    operation_finish(p, &o, port_watch(out, &o, WAIT_OUT));
    CHECK_STATUS(o.status, MR_OK);
    CHECK_EQ(port_watch(out, &o, WAIT_IN), STARTED_DONE);
    CHECK_STATUS(o.status, MR_E_UNSUPPORTED);
    CHECK_EQ(port_receive(in, &o, buffer, sizeof buffer), STARTED_PENDING);
    endpoint_close(out);
    CHECK(packet_next(p) == &o);
    CHECK_STATUS(o.status, MR_E_GONE);
    port_finish(p, in, NULL);
}

TEST(port_linux, a_stream_gives_what_is_there)
{
    port *p = port_new();
    int pair[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    endpoint *e = endpoint_new(p, pair[0]);
    char buffer[4];
    operation o = operation_new();
    CHECK_EQ(send(pair[1], "sixsix", 6, 0), 6);
    operation_finish(p, &o, port_receive(e, &o, buffer, sizeof buffer));
    CHECK_EQ(o.bytes, 4);
    operation_finish(p, &o, port_receive(e, &o, buffer, sizeof buffer));
    CHECK_EQ(o.bytes, 2);
    CHECK_EQ(close(pair[1]), 0);
    operation_finish(p, &o, port_receive(e, &o, buffer, sizeof buffer));
    CHECK_STATUS(o.status, MR_E_GONE);
    port_finish(p, e, NULL);
}

TEST(port_linux, a_message_larger_than_the_socket_takes_is_too_big)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    size_t length = 64u << 20;
    char *data = calloc(1, length);
    operation o = operation_new();
    operation_finish(p, &o, port_send(e, &o, data, length));
    CHECK_STATUS(o.status, MR_E_TOO_BIG);
    CHECK_EQ(o.os_error, EMSGSIZE);
    operation_finish(p, &o, port_send(e, &o, "small", 5));
    far_expect(far_end, "small");
    free(data);
    port_finish(p, e, NULL);
}

static void send_with_descriptors(int to, const char *text, size_t count)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC), many[253];
    for (size_t i = 0; i < count; i++)
        many[i] = null;
    union {
        char room[CMSG_SPACE(sizeof many)];
        struct cmsghdr alignment;
    } control;
    struct iovec part = {.iov_base = (void *) (uintptr_t) text, .iov_len = strlen(text)};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = CMSG_SPACE(count * sizeof(int))};
    memset(&control, 0, sizeof control);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(header), many, count * sizeof(int));
    CHECK_EQ(sendmsg(to, &message, MSG_NOSIGNAL), (ssize_t) strlen(text));
    CHECK_EQ(close(null), 0);
}

TEST(port_linux, descriptors_that_come_with_a_message_do_not_enter_the_process)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    unsigned before = descriptors_open();
    for (int i = 0; i < 20; i++) {
        send_with_descriptors((int) far_end, "with one", 1);
        send_with_descriptors((int) far_end, "with many", 253);
        send_with_descriptors((int) far_end, "", 1);
        receive_message(p, e, "with one");
        char small[4];
        operation o = operation_new(); /* looking at the size brings none in either */
        operation_finish(p, &o, port_receive(e, &o, small, sizeof small));
        CHECK_STATUS(o.status, MR_E_SMALL);
        CHECK_EQ(o.bytes, 9);
        receive_message(p, e, "with many");
        receive_message(p, e, "");
    }
    CHECK_EQ(descriptors_open(), before);
    port_finish(p, e, NULL);
}

TEST(port_linux, without_a_free_descriptor_accept_fails_and_the_peer_stays)
{
    port *p = port_new();
    os_handle listening = fixture_listen();
    endpoint *listener = endpoint_new(p, listening);
    operation o = operation_new();
    CHECK_EQ(port_accept(listener, &o), STARTED_PENDING);
    struct rlimit limit, none;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    os_handle far_end = fixture_connect(listening);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = limit.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    CHECK(packet_next(p) == &o);
    CHECK_STATUS(o.status, MR_E_DESCRIPTORS);
    CHECK_EQ(o.os_error, EMFILE);
    CHECK_EQ(o.accepted, HANDLE_NONE);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    operation_finish(p, &o, port_accept(listener, &o));
    CHECK_STATUS(o.status, MR_OK);
    endpoint *connection = endpoint_new(p, o.accepted);
    fixture_far_send(far_end, "patient", 7);
    receive_message(p, connection, "patient");
    port_finish(p, listener, connection);
}

TEST(port_linux, an_epoll_set_can_be_waited_for)
{
    port *p = port_new();
    int inner = epoll_create1(EPOLL_CLOEXEC);
    os_handle event = fixture_event();
    struct epoll_event wanted = {.events = EPOLLIN};
    CHECK_EQ(epoll_ctl(inner, EPOLL_CTL_ADD, (int) event, &wanted), 0);
    endpoint *e = endpoint_new(p, inner);
    operation o = operation_new();
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(port_watch(e, &o, WAIT_IN), STARTED_PENDING);
        packet_none(p);
        fixture_signal(event);
        CHECK(packet_next(p) == &o);
        fixture_unsignal(event);
    }
    port_finish(p, e, NULL);
    fixture_close(event);
}

TEST(port_linux, c07_a_stream_whose_peer_has_gone_raises_no_signal)
{
    CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR); /* whatever the runner has done about it */
    sigset_t pipe_signal;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &pipe_signal, NULL), 0);
    port *p = port_new();
    int pair[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    endpoint *e = endpoint_new(p, pair[0]);
    CHECK_EQ(close(pair[1]), 0);
    operation o = operation_new();
    operation_finish(p, &o, port_send(e, &o, "hello?", 6));
    CHECK_STATUS(o.status, MR_E_GONE);
    port_finish(p, e, NULL);
}

/* The linker puts this between port_wait, which has dequeued an event, and the endpoint that the event is for: so the
 * moment in between can be made to last. */
operation *__real_endpoint_event(port *p, uint32_t index, uint32_t stamp, uint32_t events);
operation *__wrap_endpoint_event(port *p, uint32_t index, uint32_t stamp, uint32_t events);

static struct {
    mutex lock;
    condition changed;
    bool wanted, reached, released;
} stall = {.lock = MUTEX_INIT};

operation *__wrap_endpoint_event(port *p, uint32_t index, uint32_t stamp, uint32_t events)
{
    mutex_lock(&stall.lock);
    if (stall.wanted) {
        stall.wanted = false;
        stall.reached = true;
        condition_broadcast(&stall.changed);
        while (!stall.released)
            condition_wait(&stall.changed, &stall.lock);
    }
    mutex_unlock(&stall.lock);
    return __real_endpoint_event(p, index, stamp, events);
}

static void wait_once(void *argument)
{
    port *p = argument;
    operation *o;
    CHECK_STATUS(port_wait(p, &o, clock_now() + 100 * MILLISECOND), MR_E_TIMEOUT);
}

/* A thread has dequeued an event when another cancels its operation and closes its endpoint; the entry in the table
 * goes to the next one. The event must find nothing, though a wait is pending there. */
static void late_event_finds_nothing(bool close_it)
{
    condition_init(&stall.changed);
    port *p = port_new();
    os_handle old = fixture_event();
    endpoint *e = endpoint_new(p, old);
    operation o = operation_new(), young = operation_new();
    CHECK_EQ(port_watch(e, &o, WAIT_IN), STARTED_PENDING);
    stall.wanted = true;
    fixture_signal(old); /* before the thread's time begins to run: it finds the event, however late it looks */
    thread t;
    CHECK_STATUS(thread_start(&t, "late", wait_once, p), MR_OK);
    mutex_lock(&stall.lock);
    uint64_t guard = clock_now() + HANG;
    while (!stall.reached)
        CHECK(condition_wait_until(&stall.changed, &stall.lock, guard));
    mutex_unlock(&stall.lock);

    port_cancel(p, &o);
    CHECK(packet_next(p) == &o);
    CHECK_STATUS(o.status, MR_E_CANCELLED);
    if (close_it) {
        endpoint_close(e);
        e = endpoint_new(p, fixture_event());
    } else {
        fixture_unsignal(old);
    }
    CHECK_EQ(port_watch(e, &young, WAIT_IN), STARTED_PENDING);

    mutex_lock(&stall.lock);
    stall.released = true;
    condition_broadcast(&stall.changed);
    mutex_unlock(&stall.lock);
    thread_join(t); /* it has found nothing, and then nothing else */
    packet_none(p);
    port_cancel(p, &young);
    CHECK(packet_next(p) == &young);
    CHECK_STATUS(young.status, MR_E_CANCELLED);
    port_finish(p, e, NULL);
}

TEST(port_linux, c18_an_event_dequeued_before_the_close_finds_nothing_in_the_next_endpoint)
{
    late_event_finds_nothing(true);
}

TEST(port_linux, c09_an_event_dequeued_before_a_cancel_does_not_complete_the_next_wait)
{
    late_event_finds_nothing(false);
}

static void wait_until_stopped(void *argument)
{
    port *p = argument;
    operation *o;
    while (port_wait(p, &o, CLOCK_NEVER) == MR_OK)
        CHECK_STATUS(o->status, MR_E_CANCELLED);
}

TEST(port_linux, c18_a_duplicate_of_a_closed_handle_wakes_nobody)
{
    port *p = port_new(), *clock = port_new();
    os_handle event = fixture_event();
    int duplicate = dup((int) event);
    CHECK(duplicate >= 0);
    endpoint *e = endpoint_new(p, event);
    operation o = operation_new(), young = operation_new();
    CHECK_EQ(port_watch(e, &o, WAIT_IN), STARTED_PENDING);
    port_cancel(p, &o);
    CHECK(packet_next(p) == &o);
    endpoint_close(e);
    e = endpoint_new(p, fixture_event()); /* in the same place, most likely with the same number */
    CHECK_EQ(port_watch(e, &young, WAIT_IN), STARTED_PENDING);

    thread t;
    CHECK_STATUS(thread_start(&t, "sleeper", wait_until_stopped, p), MR_OK);
    uint64_t before;
    while ((before = wakeups_settle(clock, "sleeper")) == 0)
        continue; /* it has not even fallen asleep */
    fixture_signal(duplicate);
    time_pass(clock, 50 * MILLISECOND);
    CHECK_EQ(fixture_wakeups("sleeper") - before, 0);
    port_stop(p);
    thread_join(t);
    port_finish(p, e, NULL);
    port_finish(clock, NULL, NULL);
    fixture_close(duplicate);
}

/* The linker puts this in the place of the system's, to play a kernel that does not have it. */
int __real_epoll_pwait2(int set, struct epoll_event *events, int maximum, const struct timespec *timeout,
                        const sigset_t *mask);
int __wrap_epoll_pwait2(int set, struct epoll_event *events, int maximum, const struct timespec *timeout,
                        const sigset_t *mask);

static bool old_kernel;
static unsigned old_kernel_asked;

int __wrap_epoll_pwait2(int set, struct epoll_event *events, int maximum, const struct timespec *timeout,
                        const sigset_t *mask)
{
    if (!old_kernel)
        return __real_epoll_pwait2(set, events, maximum, timeout, mask);
    old_kernel_asked++;
    errno = ENOSYS;
    return -1;
}

TEST(port_linux, without_epoll_pwait2_waits_end_in_time_and_not_before)
{
    old_kernel = true;
    port *p = port_new();
    for (uint64_t delay = 1; delay < 10 * MILLISECOND; delay += 900001) {
        uint64_t deadline = clock_now() + delay;
        operation *out;
        CHECK_STATUS(port_wait(p, &out, deadline), MR_E_TIMEOUT);
        CHECK(clock_now() >= deadline);
        operation o = operation_new();
        deadline = clock_now() + delay;
        CHECK_EQ(port_set_deadline(p, &o, deadline), STARTED_PENDING);
        CHECK(packet_next(p) == &o);
        CHECK(clock_now() >= deadline);
    }
    CHECK_EQ(old_kernel_asked, 1); /* and never again */
    port_finish(p, NULL, NULL);
}

/* What the pool costs */

static atomic_uint chain_left;
static mutex chain_lock = MUTEX_INIT;
static condition chain_end;
static mr_port *chain_port;

static void chain_handle(operation *o)
{
    if (atomic_fetch_sub(&chain_left, 1) > 1) {
        CHECK_STATUS(port_post(mr_port_backend(chain_port), o), MR_OK);
        return;
    }
    mutex_lock(&chain_lock);
    condition_signal(&chain_end);
    mutex_unlock(&chain_lock);
}

static void chain_run(unsigned length)
{
    operation o = operation_new();
    o.handler = chain_handle;
    atomic_store(&chain_left, length);
    mutex_lock(&chain_lock);
    CHECK_STATUS(port_post(mr_port_backend(chain_port), &o), MR_OK);
    uint64_t guard = clock_now() + HANG;
    while (atomic_load(&chain_left) > 0)
        CHECK(condition_wait_until(&chain_end, &chain_lock, guard));
    mutex_unlock(&chain_lock);
}

static void pool_open(uint32_t concurrency)
{
    mr_port_options options = MR_PORT_OPTIONS_INIT;
    options.concurrency = concurrency;
    CHECK_STATUS(mr_port_open(&chain_port, &options), MR_OK);
    condition_init(&chain_end);
}

TEST(port_linux, work_that_a_worker_reaches_at_once_wakes_no_second_one)
{
    enum { LENGTH = 200000 };
    pool_open(4);
    uint64_t before = fixture_wakeups("mr-worker"), start = clock_now();
    chain_run(LENGTH);
    uint64_t milliseconds = (clock_now() - start) / MILLISECOND + 1;
    uint64_t wakeups = fixture_wakeups("mr-worker") - before;
    /* Relief may look in twice a millisecond. One wake-up per packet would be thousands in the same time. */
    CHECK_MSG(wakeups < 100 + 4 * milliseconds, "%llu wake-ups for %d packets in %llu ms", (unsigned long long) wakeups,
              LENGTH, (unsigned long long) milliseconds);
    CHECK_STATUS(mr_port_close(chain_port), MR_OK);
}

/* A second thread at a port, which takes one packet at a word and posts it back. */
static struct {
    port *port;
    mutex lock;
    condition changed;
    unsigned asked, done;
    bool ending;
} second = {.lock = MUTEX_INIT};

static void second_run(void *argument)
{
    (void) argument;
    mutex_lock(&second.lock);
    for (;;) {
        while (second.asked == second.done && !second.ending)
            condition_wait(&second.changed, &second.lock);
        mutex_unlock(&second.lock);
        operation *o;
        int status = port_wait(second.port, &o, CLOCK_NEVER);
        if (status == MR_E_STOPPED)
            return;
        CHECK_STATUS(status, MR_OK);
        (void) port_post(second.port, o); /* after the stop it stays out */
        mutex_lock(&second.lock);
        second.done++;
        condition_broadcast(&second.changed);
    }
}

static void second_ask(void)
{
    mutex_lock(&second.lock);
    second.asked++;
    condition_broadcast(&second.changed);
    mutex_unlock(&second.lock);
}

static bool second_is_done(void)
{
    mutex_lock(&second.lock);
    bool done = second.done == second.asked;
    mutex_unlock(&second.lock);
    return done;
}

static void second_await(void)
{
    mutex_lock(&second.lock);
    while (second.done != second.asked)
        condition_wait(&second.changed, &second.lock);
    mutex_unlock(&second.lock);
}

static void second_end(port *p, thread other)
{
    port_stop(p);
    mutex_lock(&second.lock);
    second.ending = true;
    condition_broadcast(&second.changed);
    mutex_unlock(&second.lock);
    thread_join(other);
    port_finish(p, NULL, NULL);
}

/* Who sleeps though packets wait. */
static unsigned sleepers_beside_packets(port *p)
{
    mutex_lock(&p->lock);
    unsigned sleepers = p->first != NULL ? p->waiters : 0;
    mutex_unlock(&p->lock);
    return sleepers;
}

static uint64_t relief_time(port *p)
{
    mutex_lock(&p->lock);
    uint64_t time = p->relief_at;
    mutex_unlock(&p->lock);
    return time;
}

/* One attempt: both take packets, one of them many before relief comes, then the other comes for its next. On a machine so
 * slow that the many take longer than the period, nothing is to be seen. */
static bool second_steps_back(port *p)
{
    second_ask();
    second_await();
    for (unsigned n = 0; n < 100; n++)
        CHECK_STATUS(port_post(p, packet_next(p)), MR_OK);
    uint64_t relief = relief_time(p);
    if (relief == CLOCK_NEVER)
        return false;
    while (clock_now() <= relief)
        thread_yield(0);
    second_ask();
    while (!second_is_done())
        if (sleepers_beside_packets(p) == 1)
            return true;
    return false;
}

TEST(port_linux, a_thread_that_the_others_do_without_goes_to_sleep_and_is_there_when_they_stop)
{
    enum { ATTEMPTS = 1000 };
    port *p = second.port = port_new();
    condition_init(&second.changed);
    operation o[3];
    for (unsigned n = 0; n < 3; n++) {
        o[n] = operation_new();
        CHECK_STATUS(port_post(p, &o[n]), MR_OK);
    }
    thread other;
    CHECK_STATUS(thread_start(&other, "second", second_run, NULL), MR_OK);
    unsigned attempts = 1;
    while (!second_steps_back(p))
        CHECK_MSG(++attempts <= ATTEMPTS, "it goes on taking packets");
    second_await(); /* by relief alone: nobody takes packets now, and nobody posts */
    second_end(p, other);
}

static void await_waiter(port *p)
{
    uint64_t guard = clock_now() + HANG;
    for (unsigned waiters = 0; waiters == 0; thread_yield(0)) {
        mutex_lock(&p->lock);
        waiters = p->waiters;
        mutex_unlock(&p->lock);
        CHECK(clock_now() < guard);
    }
}

TEST(port_linux, a_packet_that_is_posted_last_makes_no_relief_due)
{
    port *p = second.port = port_new();
    condition_init(&second.changed);
    operation o = operation_new();
    CHECK_STATUS(port_post(p, &o), MR_OK);
    CHECK(packet_next(p) == &o);
    thread other;
    CHECK_STATUS(thread_start(&other, "second", second_run, NULL), MR_OK);
    second_ask();
    await_waiter(p);
    for (unsigned n = 0; n < 100; n++) {
        CHECK_STATUS(port_post_last(p, &o), MR_OK);
        CHECK_EQ(relief_time(p), CLOCK_NEVER);
        CHECK(packet_next(p) == &o);
        CHECK_EQ(relief_time(p), CLOCK_NEVER);
    }
    CHECK(!second_is_done());
    CHECK_STATUS(port_post(p, &o), MR_OK); /* this one it gets by relief */
    second_await();
    CHECK(packet_next(p) == &o);
    second_ask();
    await_waiter(p);
    CHECK_STATUS(port_post_last(p, &o), MR_OK);
    port_hand_on(p); /* and this one because nothing else would bring it */
    second_await();
    second_end(p, other);
}

TEST(port_linux, an_idle_pool_switches_no_context)
{
    pool_open(4);
    chain_run(1000);
    port *clock = port_new();
    /* What the work left behind settles: the last relief, the last tick, extra workers that retire. */
    uint64_t guard = clock_now() + HANG;
    mr_port_statistics s = MR_PORT_STATISTICS_INIT;
    do {
        time_pass(clock, 50 * MILLISECOND);
        CHECK_STATUS(mr_port_get_statistics(chain_port, &s), MR_OK);
        CHECK(clock_now() < guard);
    } while (s.workers != 4 || s.waiting != 4);
    uint64_t workers = wakeups_settle(clock, "mr-worker"), supervisor = wakeups_settle(clock, "mr-supervisor");
    CHECK(workers > 0 && supervisor > 0); /* there are such threads */
    time_pass(clock, 1000 * MILLISECOND);
    CHECK_EQ(fixture_wakeups("mr-worker") - workers, 0);
    CHECK_EQ(fixture_wakeups("mr-supervisor") - supervisor, 0);
    port_finish(clock, NULL, NULL);
    CHECK_STATUS(mr_port_close(chain_port), MR_OK);
}

/* Forked children */

/* The thread sanitizer knows no threads that a forked child starts; what needs none is tested there too. */
#ifdef __SANITIZE_THREAD__
static const bool child_may_start_threads = false;
#else
static const bool child_may_start_threads = true;
#endif

static int child_status(pid_t child)
{
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

TEST(port_linux, in_a_forked_child_the_port_is_the_parents)
{
    mr_port *shared;
    CHECK_STATUS(mr_port_shared_acquire(&shared), MR_OK);
    pool_open(2);
    /* No thread is left in the middle of its start, with an allocator's lock that the child would inherit. */
    port *clock = port_new();
    (void) wakeups_settle(clock, "mr-worker");
    port_finish(clock, NULL, NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        if (mr_port_close(chain_port) != MR_E_FORKED || mr_port_check(chain_port) != MR_E_FORKED)
            _exit(1);
        if (!child_may_start_threads)
            _exit(0);
        mr_port *own; /* the child opens ports of its own, the shared one included */
        if (mr_port_shared_acquire(&own) != MR_OK || own == shared || mr_port_check(own) != MR_OK)
            _exit(2);
        mr_port_shared_release(own);
        if (mr_port_open(&own, NULL) != MR_OK || mr_port_close(own) != MR_OK)
            _exit(3);
        _exit(0);
    }
    CHECK_EQ(child_status(child), 0);
    chain_run(1000); /* the parent's goes on */
    CHECK_STATUS(mr_port_close(chain_port), MR_OK);
    mr_port_shared_release(shared);
}
