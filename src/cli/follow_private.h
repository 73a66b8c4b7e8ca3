/* follow_private.h: what the two files of --follow share: follow.c (bytes) and follow_names.c (which files). */
#ifndef CLI_FOLLOW_PRIVATE_H
#define CLI_FOLLOW_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "follow.h"
#include "follow_state.h"
#include "watch.h"

struct follow {
    struct sender *sender;
    const struct follow_settings *settings;
    struct watch *watch;
    struct followed_list list;
    uint64_t durable_at;
    bool dirty;    /* the state file is not up to date */
    bool unforced; /* it is, but not forced to the disk */
    int code;      /* the worst of lines that were left out */
    size_t unsent; /* bytes of the line, newline included, at which the last drain stopped; 0: it did not */
    struct followed *current;
};

/* Opens what has come, in the order in which it had the name, and enters it into the list. An exit code. */
int follow_look_at_names(struct follow *follow);

/* Whether what was read of the file is not there any more. */
bool follow_truncated(const struct followed *file, const struct file_status *status);

#endif
