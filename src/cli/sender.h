/* sender.h: sends messages to one slot, one after another, and knows to the message what became of them. */
#ifndef CLI_SENDER_H
#define CLI_SENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mailroom/writer.h>

#include "output.h"

struct sender_settings {
    const char *name;
    uint32_t priority;
    uint64_t wait_absent_ms; /* UINT32_MAX: for ever */
    uint64_t wait_full_ms;   /* for room, and for acknowledgements */
    unsigned patience;   /* requests to end that a waiting message outlasts: 0 for one, 1 where there is more to save */
    uint32_t reader_uid; /* whose slots are trusted besides the own user's and root's; UINT32_MAX: nobody */
    const char *log_path; /* NULL: no log */
};

struct sender {
    const struct sender_settings *settings;
    mr_writer *writer;
    struct output log;
    bool logging;
    uint64_t sent;
    uint64_t bytes;
    uint64_t skipped; /* too big: reported, not sent */
};

/* An exit code; errors have been printed. */
int sender_open(struct sender *sender, const struct sender_settings *settings);

/* Sends one message, waiting as the settings say. CLI_DONE; or the exit code, with the error printed, and the message
 * was not sent. A message that the slot would never take is printed as `what`, counted as skipped and is CLI_ERROR
 * with *skip true: the next one may be sent. */
int sender_send(struct sender *sender, const void *data, size_t length, bool *skip);

/* Waits until what was sent so far has arrived (is acknowledged, where the lane acknowledges), as long as for a full slot, and
 * writes the log. An exit code; errors have been printed. */
int sender_flush(struct sender *sender);

/* Flushes and closes. An exit code, not better than `code`. */
int sender_close(struct sender *sender, int code);

#endif
