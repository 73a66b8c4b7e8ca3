/* test_criterion.c: what Criterion needs beyond its own main: skips that are seen, longer time limits on request, and
 * a failure where no test ran. The hooks run in the runner's process, not in the tests'. */
#include "test.h"
#include "test_process.h"

#include <criterion/hooks.h>
#include <criterion/internal/ordered-set.h>
#include <stdio.h>
#include <stdlib.h>

void test_skip(const char *reason)
{
    cr_skip_test("%s", reason);
}

ReportHook(PRE_ALL)(struct criterion_test_set *set)
{
    test_stragglers_adopt();
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
    test_stragglers_end();
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
