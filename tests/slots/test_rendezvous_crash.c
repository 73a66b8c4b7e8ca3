/* test_rendezvous_crash.c: kills at every step, kills at random instants, and races for a name. */
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
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
        CHECK_EQ(scratch_count(scratch), 3);
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
    _Atomic int holders;
    _Atomic int wins;
    _Atomic int done;
};

static int race_run(void *argument)
{
    struct race *race = argument;
    atomic_fetch_add(&race->at_start, 1);
    while (atomic_load(&race->at_start) < 2)
        ;
    struct rendezvous *r;
    int status = claim(&r, "prize");
    if (status == MR_OK) {
        atomic_fetch_add(&race->wins, 1);
        if (atomic_fetch_add(&race->holders, 1) != 0)
            return 50; /* two at once */
    }
    atomic_fetch_add(&race->done, 1);
    while (atomic_load(&race->done) < 2) /* the winner holds on until the other has tried */
        ;
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
