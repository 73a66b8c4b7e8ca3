/* test_rendezvous.c: a name comes up, goes, is taken, is found; forks, frozen readers, and too few descriptors. */
#include <sched.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "claim_linux.h"
#include "queue/thread.h"
#include "slots/rendezvous_lock_linux.h"

TEST(rendezvous, comes_up_and_goes)
{
    char scratch[SCRATCH_ROOM];
    scratch_use(scratch);
    struct rendezvous *r;
    CHECK_STATUS(connect_once("a"), MR_E_NO_SLOT);
    CHECK_STATUS(claim(&r, "A"), MR_OK);
    CHECK_EQ(file_mode(scratch, "a.lock"), 0600);
    CHECK_EQ(file_mode(scratch, "a.sock"), 0600);
    CHECK_EQ(file_mode(scratch, "a.ring"), 0600);
    CHECK_EQ(file_mode(scratch, "a.page"), 0644);
    CHECK_EQ(scratch_count(scratch), 4);
    int fd = rendezvous_listener(r, RENDEZVOUS_PLAIN), value = 0, connection;
    socklen_t size = sizeof value;
    CHECK_EQ(getsockopt(fd, SOL_SOCKET, SO_PASSCRED, &value, &size), 0);
    CHECK_EQ(value, 1);
    CHECK((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK_STATUS(connect_as("a", UINT32_MAX, 0, &connection), MR_OK);
    CHECK((fcntl(connection, F_GETFL) & O_NONBLOCK) != 0);
    CHECK((fcntl(connection, F_GETFD) & FD_CLOEXEC) != 0);
    int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    CHECK(accepted >= 0);
    CHECK_STATUS(rendezvous_harden(accepted, NULL), MR_OK);
    CHECK_EQ(send(connection, "hello", 5, MSG_EOR), 5);
    char text[8];
    CHECK_EQ(recv(accepted, text, sizeof text, 0), 5);
    rendezvous_release(r, false);
    CHECK_EQ(send(connection, "still", 5, MSG_EOR), 5); /* connections live on */
    CHECK_EQ(scratch_count(scratch), 1);
    CHECK_EQ(file_mode(scratch, "a.lock"), 0600);
    CHECK_STATUS(connect_once("a"), MR_E_NO_SLOT);
    rendezvous_release(NULL, false);
    scratch_remove(scratch);
}

/* Where the kernel says that it refuses passed descriptors, it does, also before the connection is accepted. */
TEST(rendezvous, descriptors_cannot_be_passed_where_the_kernel_knows)
{
    char scratch[SCRATCH_ROOM];
    scratch_use(scratch);
    struct rendezvous *r;
    CHECK_STATUS(claim(&r, "a"), MR_OK);
    int connection;
    CHECK_STATUS(connect_as("a", UINT32_MAX, 0, &connection), MR_OK);
    for (int round = 0; round < 2; round++) {
        union {
            struct cmsghdr header;
            char room[CMSG_SPACE(sizeof(int))];
        } control = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
        memcpy(CMSG_DATA(&control.header), &connection, sizeof(int));
        struct iovec data = {"x", 1};
        struct msghdr message = {
            .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        ssize_t sent = sendmsg(connection, &message, MSG_NOSIGNAL);
        bool refused = false;
        if (round == 0) {
            int accepted = accept4(rendezvous_listener(r, RENDEZVOUS_PLAIN), NULL, NULL, SOCK_CLOEXEC);
            CHECK_STATUS(rendezvous_harden(accepted, &refused), MR_OK);
        } else {
            CHECK_STATUS(rendezvous_harden(rendezvous_listener(r, RENDEZVOUS_PLAIN), &refused), MR_OK);
        }
        CHECK_MSG(sent == (refused ? -1 : 1), "refused by the kernel: %d, but sendmsg returned %zd", refused, sent);
    }
    rendezvous_release(r, false);
    scratch_remove(scratch);
}

TEST(rendezvous, second_creation_of_a_live_name)
{
    char scratch[SCRATCH_ROOM];
    scratch_use(scratch);
    struct rendezvous *r, *second;
    CHECK_STATUS(claim(&r, "alarms"), MR_OK);
    char who[64];
    snprintf(who, sizeof who, "process %d (test_slots_rend", (int) getpid());
    CHECK_STATUS(claim(&second, "ALARMS"), MR_E_EXISTS);
    CHECK_MSG(strstr(mr_last_error_text(), who) != NULL, "%s", mr_last_error_text());
    CHECK_EQ(child_run(child_claim, "Alarms"), -MR_E_EXISTS);
    CHECK_STATUS(claim(&second, "other"), MR_OK);
    rendezvous_release(second, false);
    rendezvous_release(r, false);
    CHECK_EQ(child_run(child_claim, "alarms"), 0);
    CHECK_STATUS(claim(&r, "alarms"), MR_OK);
    rendezvous_release(r, false);
    scratch_remove(scratch);
}

TEST(rendezvous, the_holder_is_named)
{
    char scratch[SCRATCH_ROOM], who[64];
    scratch_use(scratch);
    pid_t child = holder_start("x", 0);
    struct rendezvous *r;
    CHECK_STATUS(claim(&r, "x"), MR_E_EXISTS);
    snprintf(who, sizeof who, "process %d (", (int) child);
    CHECK_MSG(strstr(mr_last_error_text(), who) != NULL, "%s", mr_last_error_text());
    holder_kill(child);
    scratch_remove(scratch);
}

TEST(rendezvous, creating_is_local_only)
{
    char scratch[SCRATCH_ROOM];
    scratch_use(scratch);
    struct rendezvous *r;
    CHECK_STATUS(claim(&r, "\\\\far-away-5\\mailslot\\x"), MR_E_NAME);
    CHECK_STATUS(claim(&r, "\\\\*\\mailslot\\x"), MR_E_NAME);
    CHECK_STATUS(connect_once("\\\\far-away-5\\mailslot\\x"), MR_E_NAME);
    CHECK_EQ(scratch_count(scratch), 0);
    scratch_remove(scratch);
}

TEST(rendezvous, a_stale_name_is_taken_over_at_once)
{
    char scratch[SCRATCH_ROOM];
    scratch_use(scratch);
    for (int round = 0; round < 20; round++) {
        holder_kill(holder_start("x", 0));
        CHECK_EQ(scratch_count(scratch), 4);
        CHECK_STATUS(connect_once("x"), MR_E_NO_SLOT);
    }
    struct rendezvous *r;
    CHECK_STATUS(claim(&r, "x"), MR_OK);
    CHECK_STATUS(connect_once("x"), MR_OK);
    rendezvous_release(r, false);
    scratch_remove(scratch);
}

/* A forked child keeps the dead owner's listener, page and lock descriptors: the name is free, and no writer is led to it. */
TEST(rendezvous, a_forked_child_does_not_keep_the_name)
{
    char scratch[SCRATCH_ROOM];
    scratch_use(scratch);
    int ready[2], status;
    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1UL, 0UL, 0UL, 0UL), 0); /* the grandchild falls to us */
    CHECK_EQ(pipe2(ready, O_CLOEXEC), 0);
    pid_t owner = fork();
    if (owner == 0) {
        struct rendezvous *r;
        if (claim(&r, "x") != MR_OK)
            _exit(1);
        pid_t grandchild = fork();
        if (grandchild == 0)
            for (;;)
                pause();
        if (write(ready[1], &grandchild, sizeof grandchild) != sizeof grandchild)
            _exit(1);
        for (;;)
            pause();
    }
    pid_t grandchild = 0;
    CHECK_EQ(read(ready[0], &grandchild, sizeof grandchild), sizeof grandchild);
    CHECK_STATUS(connect_once("x"), MR_OK);
    holder_kill(owner);
    CHECK_EQ(kill(grandchild, 0), 0);
    CHECK_STATUS(connect_once("x"), MR_E_NO_SLOT);
    struct rendezvous *r;
    CHECK_STATUS(claim(&r, "x"), MR_OK);
    CHECK_STATUS(connect_once("x"), MR_OK);
    int connection = accept4(rendezvous_listener(r, RENDEZVOUS_PLAIN), NULL, NULL, SOCK_CLOEXEC);
    CHECK_MSG(connection >= 0, "the connection went elsewhere: %s", strerror(errno));
    rendezvous_release(r, false);
    CHECK_EQ(kill(grandchild, SIGKILL), 0);
    CHECK_EQ(waitpid(grandchild, &status, 0), grandchild);
    scratch_remove(scratch);
}

static int child_release(void *argument)
{
    rendezvous_release(argument, true);
    return connect_once("x") == MR_OK && child_claim("x") == -MR_E_EXISTS && child_claim("y") == 0 ? 0 : 1;
}

TEST(rendezvous, release_in_a_forked_child_leaves_the_slot)
{
    char scratch[SCRATCH_ROOM];
    scratch_use(scratch);
    struct rendezvous *r;
    CHECK_STATUS(claim(&r, "x"), MR_OK);
    CHECK_EQ(child_run(child_release, r), 0);
    CHECK_EQ(child_run(child_claim, "x"), -MR_E_EXISTS);
    CHECK_STATUS(connect_once("x"), MR_OK);
    rendezvous_release(r, false);
    scratch_remove(scratch);
}

/* What the parent held at the fork is another process's to the child, also once the parent has let go of it. */
TEST(rendezvous, a_forked_child_may_have_the_name_later)
{
    char scratch[SCRATCH_ROOM], byte = 'x';
    scratch_use(scratch);
    struct rendezvous *r;
    int go[2], status;
    CHECK_STATUS(claim(&r, "x"), MR_OK);
    CHECK_EQ(pipe2(go, O_CLOEXEC), 0);
    pid_t child = fork();
    if (child == 0)
        _exit(read(go[0], &byte, 1) == 1 ? child_claim("x") : 99);
    rendezvous_release(r, false);
    CHECK_EQ(write(go[1], &byte, 1), 1);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    CHECK_STATUS(-WEXITSTATUS(status), MR_OK);
    scratch_remove(scratch);
}

/* Holds the registry most of the time, and allocates nothing: a checker's allocator may not survive a fork in its middle. */
static void look_often(void *argument)
{
    atomic_bool *stop = argument;
    while (!atomic_load_explicit(stop, memory_order_relaxed)) {
        struct met_file file;
        registry_enter();
        CHECK_EQ(met_file_open(&file, AT_FDCWD, "/proc/self/comm", O_RDONLY), 0);
        met_file_close(&file);
        registry_leave();
        sched_yield(); /* the lock is not a fair one */
    }
}

TEST(rendezvous, fork_while_another_thread_is_at_it)
{
    char scratch[SCRATCH_ROOM];
    scratch_use(scratch);
    atomic_bool stop = false;
    thread busy;
    CHECK_STATUS(thread_start(&busy, "busy", look_often, &stop), MR_OK);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(child_run(child_claim, "mine"), 0);
    atomic_store_explicit(&stop, true, memory_order_relaxed);
    thread_join(busy);
    scratch_remove(scratch);
}

struct late {
    uint64_t deadline;
    int status;
};

TEST(rendezvous, a_frozen_reader_holds_nobody_past_the_deadline)
{
    char scratch[SCRATCH_ROOM];
    scratch_use(scratch);
    struct rendezvous *r;
    CHECK_STATUS(claim(&r, "x"), MR_OK);
    CHECK_EQ(listen(rendezvous_listener(r, RENDEZVOUS_PLAIN), 2), 0); /* a short queue, that nobody empties */
    int fds[8], count = 0, status = MR_OK;
    while (count < 8 && (status = connect_as("x", UINT32_MAX, 0, &fds[count])) == MR_OK)
        count++;
    CHECK_STATUS(status, MR_E_TIMEOUT);
    CHECK(count >= 2);
    uint64_t begin = clock_now();
    CHECK_STATUS(connect_as("x", UINT32_MAX, clock_deadline(150), &fds[7]), MR_E_TIMEOUT);
    uint64_t took = clock_now() - begin;
    CHECK_MSG(took >= 150000000u, "took %llu ns", (unsigned long long) took);
    CHECK_STATUS(connect_as("x", UINT32_MAX, clock_now() - 1, &fds[7]), MR_E_TIMEOUT);
    rendezvous_release(r, false);
    scratch_remove(scratch);
}

static void connect_waiting(void *argument)
{
    struct late *late = argument;
    int fd;
    late->status = connect_as("x", UINT32_MAX, late->deadline, &fd);
}

TEST(rendezvous, room_in_the_queue_ends_the_wait)
{
    char scratch[SCRATCH_ROOM];
    scratch_use(scratch);
    struct rendezvous *r;
    CHECK_STATUS(claim(&r, "x"), MR_OK);
    CHECK_EQ(listen(rendezvous_listener(r, RENDEZVOUS_PLAIN), 0), 0);
    int fd;
    CHECK_STATUS(connect_as("x", UINT32_MAX, 0, &fd), MR_OK);
    struct late late = {CLOCK_NEVER, 99};
    thread waiting;
    CHECK_STATUS(thread_start(&waiting, "waiting", connect_waiting, &late), MR_OK);
    CHECK(accept4(rendezvous_listener(r, RENDEZVOUS_PLAIN), NULL, NULL, SOCK_CLOEXEC) >= 0);
    thread_join(waiting);
    CHECK_STATUS(late.status, MR_OK);
    rendezvous_release(r, false);
    scratch_remove(scratch);
}

/* Neighbours come and go all the time; a connect has one of two results, and a connection is to a live slot. */
TEST(rendezvous, connecting_while_the_slot_comes_and_goes)
{
    char scratch[SCRATCH_ROOM];
    scratch_use(scratch);
    pid_t child = fork();
    if (child == 0)
        for (;;)
            if (child_claim("x") != 0)
                _exit(1);
    size_t connected = 0, absent = 0;
    while (connected < 300 || absent < 300) {
        int status = connect_once("x");
        CHECK_MSG(status == MR_OK || status == MR_E_NO_SLOT, "%s: %s", mr_status_name(status), mr_last_error_text());
        connected += status == MR_OK;
        absent += status != MR_OK;
    }
    holder_kill(child);
    scratch_remove(scratch);
}

TEST(rendezvous, no_descriptor_is_lost)
{
    char scratch[SCRATCH_ROOM];
    scratch_use(scratch);
    struct rendezvous *r;
    CHECK_STATUS(claim(&r, "held"), MR_OK);
    int first = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(first);
    for (int i = 0; i < 50; i++) {
        struct rendezvous *other;
        CHECK_STATUS(claim(&other, "y"), MR_OK);
        rendezvous_release(other, false);
        CHECK_STATUS(claim(&other, "held"), MR_E_EXISTS);
        CHECK_STATUS(connect_once("held"), MR_OK);
        CHECK_STATUS(connect_once("absent"), MR_E_NO_SLOT);
    }
    int last = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK_EQ(last, first);
    close(last);
    rendezvous_release(r, false);
    scratch_remove(scratch);
}

/* Every number of descriptors from none to enough: an error that says so, and nothing left behind. */
TEST(rendezvous, running_out_of_descriptors)
{
    char scratch[SCRATCH_ROOM];
    scratch_use(scratch);
    struct rendezvous *held, *r;
    CHECK_STATUS(claim(&held, "held"), MR_OK);
    int fillers[1024], count = 0;
    while (count < 1024 && (fillers[count] = dup(STDERR_FILENO)) >= 0 && fillers[count] < 200)
        count++;
    CHECK(count > 0);
    int free_ones = 0, status;
    /* Lower the limit to what is open now, then give back one descriptor after the other. */
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = (rlim_t) fillers[count - 1] + 1;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    do {
        status = claim(&r, "new");
        CHECK_MSG(status == MR_OK || status == MR_E_DESCRIPTORS, "%d free: %s: %s", free_ones, mr_status_name(status),
                  mr_last_error_text());
        int connected = connect_once("held");
        CHECK_MSG(connected == MR_OK || connected == MR_E_DESCRIPTORS, "%d free: %s: %s", free_ones,
                  mr_status_name(connected), mr_last_error_text());
        CHECK(free_ones > 0 || status != MR_OK);
        CHECK(count > 0);
        close(fillers[--count]);
        free_ones++;
    } while (status != MR_OK && free_ones < 20);
    CHECK_STATUS(status, MR_OK);
    rendezvous_release(r, false);
    CHECK_EQ(child_run(child_claim, "held"), -MR_E_EXISTS);
    rendezvous_release(held, false);
    CHECK_EQ(scratch_count(scratch), 2);
    scratch_remove(scratch);
}
