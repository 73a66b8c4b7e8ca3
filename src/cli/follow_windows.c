/* follow_windows.c: why mailroom send --follow refuses on Windows.
 *
 * It promises that no line of a rotated file is lost or sent twice. That rests on files that stay open under every name
 * and on a record of each rename as one event. Programs on Windows open their logs without FILE_SHARE_DELETE as a
 * rule, so a follower that holds the file would stop its rotation, and one that does not hold it cannot keep the
 * promise. */
#include "follow.h"

#include "command.h"

const bool follow_supported = false;

int follow_file(struct sender *sender, const struct follow_settings *settings)
{
    (void) sender;
    return fail("cannot follow %s: --follow is not available on Windows", settings->path);
}
