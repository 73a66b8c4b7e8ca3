/* status.c: names and sentences of the results, and each thread's last error. */
#include "queue/status.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static _Thread_local int64_t last_os_error;
static _Thread_local char last_text[STATUS_TEXT_ROOM];

const char *mr_status_name(int status)
{
    switch (status) {
#define STATUS_NAME(name, value, sentence) \
    case value:                            \
        return #name;
        MR_STATUS_TABLE(STATUS_NAME)
#undef STATUS_NAME
    default:
        return "MR_E_?";
    }
}

const char *mr_status_text(int status)
{
    switch (status) {
#define STATUS_TEXT(name, value, sentence) \
    case value:                            \
        return sentence;
        MR_STATUS_TABLE(STATUS_TEXT)
#undef STATUS_TEXT
    default:
        return "not a status of Mailroom";
    }
}

int64_t mr_last_os_error(void)
{
    return last_os_error;
}

const char *mr_last_error_text(void)
{
    return last_text;
}

int status_fail(int status, int64_t os_error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(last_text, sizeof last_text, format, arguments);
    va_end(arguments);
    last_os_error = os_error;
    return status;
}

int status_fail_plain(int status)
{
    last_text[0] = '\0';
    last_os_error = 0;
    return status;
}

void status_save(struct status_memo *memo)
{
    memo->os_error = last_os_error;
    memcpy(memo->text, last_text, sizeof last_text);
}

void status_restore(const struct status_memo *memo)
{
    last_os_error = memo->os_error;
    memcpy(last_text, memo->text, sizeof last_text);
}
