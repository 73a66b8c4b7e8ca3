/* test_process.h: a test as a process, for the runners only. test_process_run is what the plain runner asks of the
 * system: one file per platform, test_process_linux.c and test_process_windows.c. */
#ifndef TEST_SUPPORT_TEST_PROCESS_H
#define TEST_SUPPORT_TEST_PROCESS_H

/* Exit statuses of a test's process. */
#define TEST_EXIT_PASSED  0
#define TEST_EXIT_FAILED  1
#define TEST_EXIT_SKIPPED 77

enum test_outcome {
    TEST_ENDED,     /* code: the exit status */
    TEST_CRASHED,   /* code: the signal (Linux) or the exception code (Windows) */
    TEST_TIMED_OUT, /* code: 0 */
    TEST_NOT_RUN,   /* code: the system's error */
};

struct test_result {
    enum test_outcome outcome;
    unsigned code;
};

/* Starts this program again with "--run test", with the same standard output and error, and waits for its end, at
 * most the given seconds. Afterwards nothing that the test has started is alive. */
struct test_result test_process_run(const char *test, unsigned seconds);

/* Linux, both runners: from now on what a test leaves running becomes a child of this process; it is
 * ended and reaped by the second call. */
void test_stragglers_adopt(void);
void test_stragglers_end(void);

/* By how much all time limits are multiplied: MR_TEST_TIME_FACTOR, or else 1. */
unsigned test_time_factor(void);

#endif
