/* say.c: see say.h. A progress bar that stands on the terminal is taken away first (progress.c). */
#include "say.h"

#include <stdarg.h>
#include <stdio.h>

#include <mailroom/status.h>

#include "progress.h"

PRINTF_FORMAT(2, 0) static void say(const char *prefix, const char *format, va_list arguments)
{
    char text[1024];
    vsnprintf(text, sizeof(text), format, arguments);
    progress_clear();
    fprintf(stderr, "%s: %s\n", prefix, text);
    fflush(stderr);
}

int fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say("mailroom-bench", format, arguments);
    va_end(arguments);
    return BENCH_ERROR;
}

void remark(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say("mailroom-bench", format, arguments);
    va_end(arguments);
}

int fail_usage(const char *command, const char *format, ...)
{
    char prefix[64];
    va_list arguments;
    snprintf(prefix, sizeof(prefix), "mailroom-bench %s", command);
    va_start(arguments, format);
    say(prefix, format, arguments);
    va_end(arguments);
    fprintf(stderr, "mailroom-bench %s --help tells all options.\n", command);
    return BENCH_USAGE;
}

int fail_status(int status, const char *about)
{
    const char *sentence = mr_last_error_text();
    fail("%s%s%s", about == NULL ? "" : about, about == NULL ? "" : ": ",
         sentence[0] != '\0' ? sentence : mr_status_text(status));
    switch (status) {
    case MR_E_NO_SLOT:
        return BENCH_NO_SLOT;
    case MR_E_ACCESS:
    case MR_E_OWNER:
        return BENCH_NOT_ALLOWED;
    default:
        return BENCH_ERROR;
    }
}
