/* test.c: the checks, shared by both runners. A failing check prints and leaves the process with TEST_EXIT_FAILED:
 * no unwinding, because it may happen on any thread. The runner sees the exit status. */
#include "test.h"
#include "test_process.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mailroom/status.h>

uint64_t test_seed(void)
{
    const char *text = getenv("MR_TEST_SEED");
    if (text == NULL || *text == '\0') {
        return UINT64_C(0x6d61696c726f6f6d);
    }
    char *end = NULL;
    errno = 0;
    uint64_t seed = strtoull(text, &end, 0);
    if (errno != 0 || *end != '\0') {
        fprintf(stderr, "MR_TEST_SEED is not a number: %s\n", text);
        _Exit(TEST_EXIT_FAILED);
    }
    return seed;
}

bool test_campaign(void)
{
    const char *text = getenv("MR_TEST_CAMPAIGN");
    return text != NULL && strcmp(text, "1") == 0;
}

unsigned test_time_factor(void)
{
    const char *text = getenv("MR_TEST_TIME_FACTOR");
    long factor = text == NULL ? 1 : strtol(text, NULL, 10);
    return factor < 1 || factor > 1000 ? 1 : (unsigned) factor;
}

void test_fail(const char *file, int line, const char *format, ...)
{
    char message[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    /* One call, so that parallel tests do not mix their lines. */
    fprintf(stderr, "%s:%d: %s\n    (seed 0x%" PRIx64 ")\n", file, line, message, test_seed());
    fflush(stderr);
    _Exit(TEST_EXIT_FAILED);
}

static void integer_show(char *text, size_t size, struct test_integer value)
{
    if (value.negative) {
        snprintf(text, size, "%" PRId64, (int64_t) value.bits);
    } else {
        snprintf(text, size, "%" PRIu64, value.bits);
    }
}

void test_check_integer(const char *file, int line, const char *text, struct test_integer actual,
                        struct test_integer expected)
{
    if (actual.negative == expected.negative && actual.bits == expected.bits) {
        return;
    }
    char is[32];
    char should[32];
    integer_show(is, sizeof(is), actual);
    integer_show(should, sizeof(should), expected);
    test_fail(file, line, "%s is %s, expected %s", text, is, should);
}

void test_check_string(const char *file, int line, const char *text, const char *actual, const char *expected)
{
    if (actual == NULL && expected == NULL) {
        return;
    }
    if (actual == NULL || expected == NULL || strcmp(actual, expected) != 0) {
        test_fail(file, line, "%s is \"%s\", expected \"%s\"", text, actual == NULL ? "(NULL)" : actual,
                  expected == NULL ? "(NULL)" : expected);
    }
}

void test_check_memory(const char *file, int line, const char *text, const void *actual, const void *expected,
                       size_t length)
{
    const unsigned char *is = actual;
    const unsigned char *should = expected;
    if (length > 0 && (is == NULL || should == NULL)) {
        test_fail(file, line, "%s: %zu bytes at NULL", text, length);
    }
    for (size_t i = 0; i < length; i++) {
        if (is[i] != should[i]) {
            test_fail(file, line, "%s differs at byte %zu of %zu: 0x%02x, expected 0x%02x", text, i, length, is[i],
                      should[i]);
        }
    }
}

void test_check_status(const char *file, int line, const char *text, int actual, int expected)
{
    if (actual != expected) {
        test_fail(file, line, "%s is %s (%d: %s; system error %" PRId64 "), expected %s", text, mr_status_name(actual),
                  actual, mr_status_text(actual), mr_last_os_error(), mr_status_name(expected));
    }
}
