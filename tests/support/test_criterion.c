/* test_criterion.c: what Criterion needs beyond its own main: skips that are seen, longer time limits on request, a
 * failure where no test ran, and an end to what tests leave running.
 *
 * Path    before main, a fork > the child is Criterion's runner, which starts a process per test
 *                    > the parent, the guard, waits for it, ends the stragglers and passes its status on
 * The hooks run in the runner's process, not in the tests'. The guard is a process of its own because Criterion's
 * runner spins for ever over a dead child that it did not start. */
#include "test.h"
#include "test_process.h"

#include <errno.h>

#include <criterion/hooks.h>
#include <criterion/internal/ordered-set.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void test_skip(const char *reason)
{
    cr_skip_test("%s", reason);
}

ReportHook(PRE_ALL)(struct criterion_test_set *set)
{
    double factor = test_time_factor();
    FOREACH_SET(struct criterion_suite_set * suite, set->suites)
    {
        FOREACH_SET(struct criterion_test * test, suite->tests)
        {
            test->data->timeout *= factor;
        }
    }
}

ReportHook(POST_ALL)(struct criterion_global_stats *stats)
{
    unsigned tested = 0;
    for (const struct criterion_suite_stats *suite = stats->suites; suite != NULL; suite = suite->next) {
        for (const struct criterion_test_stats *test = suite->tests; test != NULL; test = test->next) {
            bool skipped = test->test_status == CR_STATUS_SKIPPED;
            if (skipped && test->message == NULL) {
                continue; /* not in the filter */
            }
            tested++;
            if (skipped) {
                fprintf(stderr, "[SKIP] %s::%s: %s\n", test->test->category, test->test->name, test->message);
            }
        }
    }
    if (tested == 0) {
        fprintf(stderr, "[FAIL] no test ran\n");
        exit(EXIT_FAILURE);
    }
}

/* Waits for the runner; reaps the orphans that end meanwhile. */
static int await_runner(pid_t runner)
{
    int status = 0;
    pid_t ended;
    do {
        ended = waitpid(-1, &status, 0);
    } while (ended != runner && (ended > 0 || errno == EINTR));
    return ended == runner ? status : SIGKILL;
}

/* Runs before Criterion's main, in the program that was started and not in the processes of its tests, which boxfort
 * starts from the same file and marks with BXFI_MAP. The child returns into main. */
__attribute__((constructor)) static void guard_start(void)
{
    if (getenv("BXFI_MAP") != NULL) {
        return;
    }
    test_stragglers_adopt();
    pid_t guard = getpid();
    pid_t runner = fork();
    if (runner < 0) {
        perror("fork");
        _Exit(EXIT_FAILURE);
    }
    if (runner == 0) {
        /* The runner does not outlive the guard. */
        prctl(PR_SET_PDEATHSIG, (unsigned long) SIGKILL, 0UL, 0UL, 0UL);
        if (getppid() != guard) {
            _Exit(EXIT_FAILURE);
        }
        return;
    }
    int status = await_runner(runner);
    test_stragglers_end();
    if (WIFSIGNALED(status)) {
        fprintf(stderr, "[FAIL] the runner ended by signal %d\n", WTERMSIG(status));
        _Exit(EXIT_FAILURE);
    }
    _Exit(WEXITSTATUS(status));
}
