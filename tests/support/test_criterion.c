/* test_criterion.c: what Criterion needs beyond its own main: skipping, longer time limits on request, and a failure
 * where no test ran. */
#include "test.h"
#include "test_process.h"

#include <criterion/hooks.h>
#include <stdio.h>
#include <stdlib.h>

void test_skip(const char *reason)
{
    cr_skip_test("%s", reason);
}
