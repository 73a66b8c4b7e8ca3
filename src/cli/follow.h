/* follow.h: mailroom send --follow: ships a file that grows and is rotated. */
#ifndef CLI_FOLLOW_H
#define CLI_FOLLOW_H

#include <stdbool.h>

#include "sender.h"

struct follow_settings {
    const char *path;
    const char *state; /* NULL: none is kept */
    bool from_end;
};

/* False where it cannot be done well enough (follow_windows.c says why): then mailroom send refuses the option. */
extern const bool follow_supported;

/* Until the program is asked to end. An exit code. */
int follow_file(struct sender *sender, const struct follow_settings *settings);

#endif
