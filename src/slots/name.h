/* name.h: the names of slots, the same rules on every platform. */
#ifndef SLOTS_NAME_H
#define SLOTS_NAME_H

#include <stdbool.h>
#include <stddef.h>

#include <mailroom/reader.h>

/* Full path at most this many characters (code points), "\\.\mailslot\" included. */
#define SLOT_NAME_CHARACTERS_MAX 255u

enum slot_name_kind {
    SLOT_NAME_LOCAL, /* bare, or server part "." or this machine's own name */
    SLOT_NAME_HOST,  /* another server part */
    SLOT_NAME_ALL    /* server part "*" */
};

struct slot_name {
    enum slot_name_kind kind;
    char server[MR_NAME_MAX];     /* as spelled; "." where the name was bare */
    char path[MR_NAME_MAX];       /* components joined by one backslash, as spelled, UTF-8 */
    char folded[4 * MR_NAME_MAX]; /* `path` case-folded: two names are the same slot when these are equal bytes */
    char display[MR_NAME_MAX];    /* \\server\mailslot\path; local ones always with "." */
};

/* Parses and checks UTF-8 text. MR_OK, or MR_E_NAME with a sentence that says what is wrong and where. */
int name_parse(struct slot_name *name, const char *text);

/* The same slot? */
bool name_equal(const struct slot_name *a, const struct slot_name *b);

#endif
