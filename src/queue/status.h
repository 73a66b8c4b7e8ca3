/* status.h: how the inside of the library returns an error. */
#ifndef QUEUE_STATUS_H
#define QUEUE_STATUS_H

#include <stdint.h>

#include <mailroom/status.h>

#include "queue/printf_format.h"

/* Keeps the system's code and a sentence for this thread (mr_last_os_error, mr_last_error_text) and returns `status`,
 * so that a failing function ends with `return status_fail(MR_E_NAME, 0, "…", …);`. `format` as in printf; it says
 * what failed, on what, and what to do. 512 bytes are kept. */
PRINTF_FORMAT(3, 4)
int status_fail(int status, int64_t os_error, const char *format, ...);

/* The same without a sentence: the code's own says all. */
int status_fail_plain(int status);

/* For functions that succeed although something inside them failed: what was kept before is put back. */
#define STATUS_TEXT_ROOM 512
struct status_memo {
    int64_t os_error;
    char text[STATUS_TEXT_ROOM];
};
void status_save(struct status_memo *memo);
void status_restore(const struct status_memo *memo);

#endif
