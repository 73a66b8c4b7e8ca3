/* test.h: one way to write a test, two runners.
 *
 * Criterion runs the tests wherever it can. The plain runner (test_plain.c) runs the same source under the thread
 * sanitizer and under Wine, where Criterion does not work. In both, each test is a process of its own with a time
 * limit, so a failed check ends that process at once, on whatever thread it happens.
 *
 *     TEST(queue, urgent_overtakes_normal)
 *     {
 *         CHECK_STATUS(queue_open(&queue, NULL), MR_OK);
 *         CHECK_EQ(queue_count(queue), 0);
 *     }
 *
 * Programs understand --list and --filter GLOB (matched against suite/name). The environment:
 *     MR_TEST_SEED         the run's random seed (decimal or 0x...), printed with each failure
 *     MR_TEST_CAMPAIGN     1 asks for the long counts (test_campaign)
 *     MR_TEST_TIME_FACTOR  multiplies every time limit, for slow machines and checkers */
#ifndef TEST_SUPPORT_TEST_H
#define TEST_SUPPORT_TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/printf_format.h"

/* A hang guard and nothing else: no test waits for it. Seconds. */
#define TEST_TIME_LIMIT 60

#define TEST(suite, name) TEST_TIMEOUT(suite, name, TEST_TIME_LIMIT)

/* TEST_BEFORE_MAIN(name) { … } runs before main: the one place that depends on the compiler. */
#if defined(__GNUC__)
#define TEST_BEFORE_MAIN(function)                           \
    __attribute__((constructor)) static void function(void); \
    static void function(void)
#elif defined(_MSC_VER)
/* Microsoft's C library calls what stands in this section; the linker is told to keep it. */
#pragma section(".CRT$XCU", read)
#define TEST_BEFORE_MAIN(function)                                                    \
    static void function(void);                                                       \
    __declspec(allocate(".CRT$XCU")) void (*function##_before_main)(void) = function; \
    __pragma(comment(linker, "/include:" #function "_before_main")) static void function(void)
#endif

#ifdef TEST_RUNNER_CRITERION

#include <criterion/criterion.h>

#define TEST_TIMEOUT(suite, name, seconds) Test(suite, name, .timeout = (seconds))

#else

struct test_case {
    const char *suite;
    const char *name;
    unsigned seconds;
    void (*body)(void);
    struct test_case *next;
};

void test_register(struct test_case *test);

#define TEST_TIMEOUT(suite, name, seconds)                                                                   \
    static void suite##_##name##_body(void);                                                                 \
    static struct test_case suite##_##name##_case = {#suite, #name, (seconds), suite##_##name##_body, NULL}; \
    TEST_BEFORE_MAIN(suite##_##name##_register)                                                              \
    {                                                                                                        \
        test_register(&suite##_##name##_case);                                                               \
    }                                                                                                        \
    static void suite##_##name##_body(void)

#endif

/* Ends the test as failed; says where, what, and the seed. Any thread. */
PRINTF_FORMAT(3, 4) _Noreturn void test_fail(const char *file, int line, const char *format, ...);

/* Ends the test as skipped. The test's first thread only. */
_Noreturn void test_skip(const char *reason);

/* The run's seed: MR_TEST_SEED, or else always the same. */
uint64_t test_seed(void);

/* True when the long counts are asked for. */
bool test_campaign(void);

#define CHECK(expression)                                               \
    do {                                                                \
        if (!(expression)) {                                            \
            test_fail(__FILE__, __LINE__, "not true: %s", #expression); \
        }                                                               \
    } while (0)

#define CHECK_MSG(expression, ...)                      \
    do {                                                \
        if (!(expression)) {                            \
            test_fail(__FILE__, __LINE__, __VA_ARGS__); \
        }                                               \
    } while (0)

/* Integers of any two types, compared by value: -1 is never equal to an unsigned number. */
#define CHECK_EQ(actual, expected) \
    test_check_integer(__FILE__, __LINE__, #actual, TEST_INTEGER(actual), TEST_INTEGER(expected))

/* Strings; NULL is equal to NULL only. */
#define CHECK_STR(actual, expected) test_check_string(__FILE__, __LINE__, #actual, (actual), (expected))

#define CHECK_MEM(actual, expected, length) \
    test_check_memory(__FILE__, __LINE__, #actual, (actual), (expected), (length))

/* Results of the library, shown by name, with the library's own sentence. */
#define CHECK_STATUS(actual, expected) test_check_status(__FILE__, __LINE__, #actual, (actual), (expected))

#define TEST_SKIP(reason) test_skip(reason)

/* What the macros above stand on. */
struct test_integer {
    bool negative;
    uint64_t bits;
};

static inline struct test_integer test_integer_signed(long long value)
{
    return (struct test_integer){value < 0, (uint64_t) value};
}

static inline struct test_integer test_integer_unsigned(unsigned long long value)
{
    return (struct test_integer){false, value};
}

#define TEST_INTEGER(value)                              \
    _Generic((value), bool                               \
             : test_integer_unsigned, unsigned char      \
             : test_integer_unsigned, unsigned short     \
             : test_integer_unsigned, unsigned int       \
             : test_integer_unsigned, unsigned long      \
             : test_integer_unsigned, unsigned long long \
             : test_integer_unsigned, default            \
             : test_integer_signed)(value)

void test_check_integer(const char *file, int line, const char *text, struct test_integer actual,
                        struct test_integer expected);
void test_check_string(const char *file, int line, const char *text, const char *actual, const char *expected);
void test_check_memory(const char *file, int line, const char *text, const void *actual, const void *expected,
                       size_t length);
void test_check_status(const char *file, int line, const char *text, int actual, int expected);

#endif
