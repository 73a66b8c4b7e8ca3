/* test_rendezvous_crash.c: kills at every step, kills at random instants, and races for a name. */
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <time.h>

#include "claim_linux.h"

/* Stops a child before each system call of coming up and going, one after the other, and kills it there: the next try must
 * succeed at once, whatever was left. The leftovers of one round are the start of the next. */
static bool killed_at(const char *text, int step)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(77);
        raise(SIGSTOP);
        _exit(child_claim((void *) (uintptr_t) text) == 0 ? 0 : 1);
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        TEST_SKIP("ptrace is not allowed here");
    for (int i = 0; i < step; i++) {
        CHECK_EQ(ptrace(PTRACE_SYSCALL, child, NULL, NULL), 0);
        CHECK_EQ(waitpid(child, &status, 0), child);
        if (WIFEXITED(status)) {
            CHECK_EQ(WEXITSTATUS(status), 0);
            return false;
        }
        CHECK(WIFSTOPPED(status));
    }
    kill(child, SIGKILL);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status));
    return true;
}

TEST_TIMEOUT(rendezvous_crash, killed_at_every_system_call_of_coming_up_and_going, 120)
{
    char scratch[SCRATCH_ROOM];
    scratch_use(scratch);
    int step = 0;
    for (bool more = true; more; step++) {
        more = killed_at("x", step);
        if (more)
            CHECK_STATUS(connect_once("x"), MR_E_NO_SLOT);
        if (step % 2 == 1)
            continue; /* the next killed one meets the leftovers of this */
        struct rendezvous *r;
        int status = claim(&r, "x");
        CHECK_MSG(status == MR_OK, "after a kill at step %d: %s", step, mr_last_error_text());
        CHECK_STATUS(connect_once("x"), MR_OK);
        CHECK_EQ(scratch_count(scratch), 4);
        rendezvous_release(r, false);
        CHECK_EQ(scratch_count(scratch), 1);
    }
    CHECK_MSG(step > 60, "only %d steps", step); /* each call stops twice */
    scratch_remove(scratch);
}

TEST(rendezvous_crash, killed_at_random_instants)
{
    char scratch[SCRATCH_ROOM];
    scratch_use(scratch);
    uint64_t state = test_seed() | 1;
    for (int round = 0; round < (test_campaign() ? 5000 : 200); round++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0)
            for (;;)
                if (child_claim("x") != 0)
                    _exit(1);
        state = state * 6364136223846793005u + 1442695040888963407u;
        struct timespec instant = {0, (long) (state >> 44)}; /* up to 1 ms: which instant is the point, not the wait */
        nanosleep(&instant, NULL);
        holder_kill(child);
        struct rendezvous *r;
        CHECK_STATUS(claim(&r, "x"), MR_OK);
        CHECK_STATUS(connect_once("x"), MR_OK);
        rendezvous_release(r, false);
    }
    scratch_remove(scratch);
}

struct race {
    _Atomic int at_start;
    _Atomic int wins;
    _Atomic int done;
};

static int race_run(void *argument)
{
    struct race *race = argument;
    atomic_fetch_add(&race->at_start, 1);
    while (atomic_load(&race->at_start) < 2)
        sched_yield(); /* where both have one processor, the other must come to run */
    struct rendezvous *r;
    int status = claim(&r, "prize");
    if (status == MR_OK)
        atomic_fetch_add(&race->wins, 1); /* two of them are two owners at once: neither has released yet */
    atomic_fetch_add(&race->done, 1);
    while (atomic_load(&race->done) < 2) /* the winner holds on until the other has tried */
        sched_yield();
    if (status == MR_OK)
        rendezvous_release(r, false);
    return -status;
}

TEST_TIMEOUT(rendezvous_crash, of_two_who_race_exactly_one_wins, 120)
{
    char scratch[SCRATCH_ROOM];
    scratch_use(scratch);
    struct race *race = mmap(NULL, sizeof *race, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(race != MAP_FAILED);
    for (int round = 0; round < 500; round++) {
        *race = (struct race){0};
        pid_t children[2];
        int codes[2];
        for (int i = 0; i < 2; i++) {
            children[i] = fork();
            CHECK(children[i] >= 0);
            if (children[i] == 0)
                _exit(race_run(race));
        }
        for (int i = 0; i < 2; i++) {
            int status;
            CHECK_EQ(waitpid(children[i], &status, 0), children[i]);
            CHECK(WIFEXITED(status));
            codes[i] = WEXITSTATUS(status);
        }
        CHECK_EQ(atomic_load(&race->wins), 1);
        CHECK_EQ(codes[0] + codes[1], -MR_E_EXISTS);
        /* Every third race begins where nobody has ever been, every third with what a killed owner left. */
        if (round % 3 == 1)
            holder_kill(holder_start("prize", 0));
        if (round % 3 == 0) {
            char lock[SCRATCH_ROOM + 16];
            snprintf(lock, sizeof lock, "%s/prize.lock", scratch);
            CHECK_EQ(unlink(lock), 0);
        }
    }
    munmap(race, sizeof *race);
    scratch_remove(scratch);
}

/* Starts a child that runs `body`, and stops it as it enters the system call `number` (fcntl: with F_SETLK). */
static pid_t stopped_at(long number, int (*body)(void *), void *argument)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(77);
        raise(SIGSTOP);
        _exit(body(argument));
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        TEST_SKIP("ptrace is not allowed here");
    CHECK_EQ(ptrace(PTRACE_SETOPTIONS, child, NULL, (void *) PTRACE_O_TRACESYSGOOD), 0);
    for (;;) {
        struct __ptrace_syscall_info info;
        CHECK_EQ(ptrace(PTRACE_SYSCALL, child, NULL, NULL), 0);
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK_MSG(WIFSTOPPED(status), "the child never came to system call %ld", number);
        CHECK(ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof info, &info) > 0);
        if (info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr == (uint64_t) number &&
            (number != SYS_fcntl || info.entry.args[1] == F_SETLK))
            return child;
    }
}

/* Lets the child run to its end, or to its next signal. */
static int resumed(pid_t child)
{
    int status;
    CHECK_EQ(ptrace(PTRACE_CONT, child, NULL, NULL), 0);
    CHECK_EQ(waitpid(child, &status, 0), child);
    return status;
}

static int claim_and_stop(void *argument)
{
    struct rendezvous *r;
    int status = claim(&r, argument);
    if (status == MR_OK)
        raise(SIGSTOP);
    return -status;
}

/* The lock file is exchanged between its opening and its locking: the lock that counts is on the file that is there. */
TEST(rendezvous_crash, the_lock_file_is_exchanged_before_it_is_locked)
{
    char scratch[SCRATCH_ROOM], lock[SCRATCH_ROOM + 16], fresh[SCRATCH_ROOM + 16];
    scratch_use(scratch);
    snprintf(lock, sizeof lock, "%s/x.lock", scratch);
    snprintf(fresh, sizeof fresh, "%s/.fresh", scratch);
    pid_t child = stopped_at(SYS_fcntl, claim_and_stop, "x");
    int fd = open(fresh, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK_EQ(rename(fresh, lock), 0);
    int status = resumed(child);
    CHECK_MSG(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP, "status %x", (unsigned) status);
    struct flock question = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    CHECK_EQ(fcntl(fd, F_GETLK, &question), 0);
    CHECK_EQ(question.l_type, F_WRLCK);
    CHECK_EQ(question.l_pid, child);
    holder_kill(child);
    close(fd);
    scratch_remove(scratch);
}

/* The owner dies between the look at its page and the connect, and a child of it keeps the listener open: the connection is
 * to nobody, and is not handed out. */
TEST(rendezvous_crash, the_owner_dies_before_the_connect_and_its_child_listens_on)
{
    char scratch[SCRATCH_ROOM];
    int ready[2], status;
    scratch_use(scratch);
    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1UL, 0UL, 0UL, 0UL), 0); /* the grandchild falls to us */
    CHECK_EQ(pipe2(ready, O_CLOEXEC), 0);
    pid_t owner = fork();
    CHECK(owner >= 0);
    if (owner == 0) {
        struct rendezvous *r;
        pid_t listener = claim(&r, "x") == MR_OK ? fork() : -1;
        if (listener != 0 && write(ready[1], &listener, sizeof listener) != sizeof listener)
            _exit(1);
        for (;;)
            pause();
    }
    pid_t listener = -1;
    CHECK_EQ(read(ready[0], &listener, sizeof listener), sizeof listener);
    CHECK(listener > 0);
    pid_t writer = stopped_at(SYS_connect, child_connect, "x");
    holder_kill(owner);
    status = resumed(writer);
    CHECK(WIFEXITED(status));
    CHECK_STATUS(-WEXITSTATUS(status), MR_E_NO_SLOT);
    holder_kill(listener);
    scratch_remove(scratch);
}
