/* say.h: what the program says on standard error, and its exit codes. */
#ifndef BENCH_SAY_H
#define BENCH_SAY_H

#include "queue/printf_format.h"

/* Part of the interface. */
enum exit_code {
    BENCH_DONE = 0,
    BENCH_ERROR = 1,
    BENCH_USAGE = 2,
    BENCH_DAMAGED = 3, /* messages lost, repeated, out of order or garbled; stands above all that follow */
    BENCH_NO_SLOT = 4, /* with --target */
    BENCH_NOT_ALLOWED = 5,
    BENCH_GREW = 6 /* soak: the memory did */
};

/* Prints "mailroom-bench: TEXT" and returns BENCH_ERROR. */
PRINTF_FORMAT(1, 2) int fail(const char *format, ...);

/* Prints what is kept about the last error on this thread, behind `about` (may be NULL), and returns the exit code for
 * the status. */
int fail_status(int status, const char *about);

/* Prints "mailroom-bench COMMAND: TEXT" with a hint at --help and returns BENCH_USAGE. */
PRINTF_FORMAT(2, 3) int fail_usage(const char *command, const char *format, ...);

/* A remark, no error. */
PRINTF_FORMAT(1, 2) void remark(const char *format, ...);

#endif
