/* test_plain.c: the plain runner, a main for test programs where Criterion cannot run. Its result lines have the
 * shape of Criterion's, so that scripts read both alike.
 *
 * Path    constructors > test_register > main > test_process_run > main --run suite/name > the test's body
 * Owners  The list of tests is written before main and only read afterwards. */
#include "test.h"
#include "test_process.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct test_case *tests;

struct counts {
    unsigned tested;
    unsigned passed;
    unsigned failed; /* the crashed ones among them, as Criterion counts */
    unsigned crashed;
    unsigned skipped;
};

/* Kept in order of suite and name: constructors run in no order that a reader could know. */
void test_register(struct test_case *test)
{
    struct test_case **link = &tests;
    while (*link != NULL) {
        int order = strcmp((*link)->suite, test->suite);
        if (order > 0 || (order == 0 && strcmp((*link)->name, test->name) > 0)) {
            break;
        }
        link = &(*link)->next;
    }
    test->next = *link;
    *link = test;
}

void test_skip(const char *reason)
{
    printf("skipped: %s\n", reason);
    exit(TEST_EXIT_SKIPPED);
}

/* True when the text matches the pattern: * is any run of characters, ? is any one. */
static bool glob_match(const char *pattern, const char *text)
{
    const char *star = NULL;
    const char *resume = NULL;
    while (*text != '\0') {
        if (*pattern == '*') {
            star = pattern++;
            resume = text;
        } else if (*pattern == '?' || *pattern == *text) {
            pattern++;
            text++;
        } else if (star != NULL) {
            pattern = star + 1;
            text = ++resume;
        } else {
            return false;
        }
    }
    while (*pattern == '*') {
        pattern++;
    }
    return *pattern == '\0';
}

static void test_path(const struct test_case *test, char *path, size_t size)
{
    snprintf(path, size, "%s/%s", test->suite, test->name);
}

static int run_here(const char *wanted)
{
    char path[512];
    for (struct test_case *test = tests; test != NULL; test = test->next) {
        test_path(test, path, sizeof(path));
        if (strcmp(path, wanted) == 0) {
            test->body();
            return TEST_EXIT_PASSED;
        }
    }
    fprintf(stderr, "no such test: %s\n", wanted);
    return TEST_EXIT_FAILED;
}

static void run_one(const struct test_case *test, struct counts *counts)
{
    char path[512];
    test_path(test, path, sizeof(path));
    unsigned seconds = test->seconds * test_time_factor();
    struct test_result result = test_process_run(path, seconds);
    counts->tested++;
    if (result.outcome == TEST_ENDED && result.code == TEST_EXIT_PASSED) {
        counts->passed++;
        printf("[PASS] %s::%s\n", test->suite, test->name);
    } else if (result.outcome == TEST_ENDED && result.code == TEST_EXIT_SKIPPED) {
        counts->skipped++;
        printf("[SKIP] %s::%s\n", test->suite, test->name);
    } else if (result.outcome == TEST_ENDED) {
        counts->failed++;
        printf("[FAIL] %s::%s: exit status %u\n", test->suite, test->name, result.code);
    } else if (result.outcome == TEST_TIMED_OUT) {
        counts->failed++;
        printf("[FAIL] %s::%s: not done after %u s\n", test->suite, test->name, seconds);
    } else if (result.outcome == TEST_CRASHED) {
        counts->failed++;
        counts->crashed++;
        printf("[FAIL] %s::%s: CRASH! (signal or exception 0x%x)\n", test->suite, test->name, result.code);
    } else {
        counts->failed++;
        printf("[FAIL] %s::%s: could not be started, system error %u\n", test->suite, test->name, result.code);
    }
}

static int run_all(const char *filter)
{
    char path[512];
    struct counts counts = {0};
    for (const struct test_case *test = tests; test != NULL; test = test->next) {
        test_path(test, path, sizeof(path));
        if (glob_match(filter, path)) {
            run_one(test, &counts);
        }
    }
    printf("[====] Synthesis: Tested: %u | Passing: %u | Failing: %u | Crashing: %u \n", counts.tested - counts.skipped,
           counts.passed, counts.failed, counts.crashed);
    if (counts.tested == 0) {
        printf("[FAIL] no test ran\n");
        return EXIT_FAILURE;
    }
    return counts.failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int list_all(void)
{
    for (const struct test_case *test = tests; test != NULL; test = test->next) {
        printf("%s/%s\n", test->suite, test->name);
    }
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    if (argc == 3 && strcmp(argv[1], "--run") == 0) {
        return run_here(argv[2]);
    }
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        return list_all();
    }
    if (argc == 3 && strcmp(argv[1], "--filter") == 0) {
        return run_all(argv[2]);
    }
    if (argc == 1) {
        return run_all("*");
    }
    fprintf(stderr, "usage: %s [--list | --filter GLOB | --run SUITE/NAME]\n", argv[0]);
    return 2;
}
