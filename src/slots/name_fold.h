/* name_fold.h: the two things about names that only the system knows. One file per platform behind it. */
#ifndef SLOTS_NAME_FOLD_H
#define SLOTS_NAME_FOLD_H

#include <stdbool.h>
#include <stddef.h>

/* Writes `text` (valid UTF-8) case-folded and NUL-terminated to `folded`: equal bytes mean names that differ in case only.
 * Folding makes a text at most three times as long; false if it does not fit in `room` bytes all the same. */
bool name_fold(const char *text, char *folded, size_t room);

/* Is `server` this machine's own name, in any case? Its full name and the part before the first dot both count. */
bool name_is_own_host(const char *server);

#endif
