/* follow.c: ships a file that grows, through every way in which logs are rotated.
 *
 * Path    watch ► look at the names (new files are opened at once) ► drain each file, oldest
 *         first ► sender ► state file ► wait
 * Owners  One thread has it all.
 * I1      A file is known by its identity, never by its name, and is held open from the moment it is seen until it is
 *         finished.
 * I2      Files are drained oldest first. A program that writes to the old file and then to the new one has its lines
 *         in order: the old one is drained once more after data was seen in the new one, and only then is its last
 *         line taken as complete.
 * I3      Changes are taken from the watch before names and sizes are looked at: what comes later wakes the next
 *         system_wait.
 * I4      offset <= what was handed over. The state file holds offsets and is written after the lines before them
 *         have arrived (sender_flush: acknowledged), so a kill, of either side, repeats lines and never skips one.
 * I5      A drain ends at the size that the file had when it began, so a file that grows without end lets the program
 *         end. */
#include "follow.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "follow_private.h"
#include "system.h"
#include "watch.h"

#define DURABLE_EVERY_NS 1000000000u
/* Finished files that are still looked at, for programs that go on writing to them for a while. */
#define STRAGGLERS 4
/* Files that are remembered, so that none is sent twice. */
#define REMEMBERED 64

const bool follow_supported = true;

static int save_state(struct follow *follow, bool force)
{
    if (follow->settings->state == NULL) {
        return CLI_DONE;
    }
    uint64_t now = system_now();
    bool durable = force || now - follow->durable_at >= DURABLE_EVERY_NS;
    int code = sender_flush(follow->sender); /* I4 */
    if (code == CLI_DONE) {
        code = follow_state_save(follow->settings->state, follow->settings->path, &follow->list, durable);
    }
    if (durable) {
        follow->durable_at = now;
    }
    follow->dirty = false;
    follow->unforced = !durable;
    return code;
}

static bool send_line(void *context, const void *line, size_t length, bool too_long)
{
    struct follow *follow = context;
    bool skip = too_long;
    int code = too_long ? fail("%s: a line of more than %zu bytes at offset %" PRIu64 " was not sent",
                               follow->settings->path, LINE_BYTES_MAX, follow->current->offset)
                        : sender_send(follow->sender, line, length, &skip);
    if (too_long) {
        follow->sender->skipped++;
    }
    if (code != CLI_DONE) {
        follow->code = code;
        follow->unsent = skip ? 0 : length + 1;
    }
    return code == CLI_DONE || skip;
}

/* Keeps the last of the bytes that were sent, as they were read: the file may have changed since. */
static void keep_tail(struct followed *file, const char *sent, size_t length)
{
    if (length >= TAIL_BYTES) {
        memcpy(file->tail, sent + (length - TAIL_BYTES), TAIL_BYTES);
        file->tail_length = TAIL_BYTES;
        return;
    }
    size_t kept = file->tail_length < TAIL_BYTES - length ? file->tail_length : TAIL_BYTES - length;
    memmove(file->tail, file->tail + (file->tail_length - kept), kept);
    if (length > 0) {
        memcpy(file->tail + kept, sent, length);
    }
    file->tail_length = kept + length;
}

bool follow_truncated(const struct followed *file, const struct file_status *status)
{
    uint8_t tail[TAIL_BYTES];
    if (status->size < file->read_at) {
        return true;
    }
    if (file->tail_length == 0) {
        return false;
    }
    long got = file_read_at(file->descriptor, tail, file->tail_length, file->offset - file->tail_length);
    return got != (long) file->tail_length || memcmp(tail, file->tail, file->tail_length) != 0;
}

static void begin_again(struct follow *follow, struct followed *file, const struct file_status *status)
{
    remark("%s was truncated: %" PRIu64 " bytes had been read (offset %" PRIu64 "), it has %" PRIu64
           " now; it is read from its beginning again",
           follow->settings->path, file->read_at, file->offset, status->size);
    lines_free(&file->lines);
    file->lines = (struct lines){0};
    file->offset = file->read_at = 0;
    file->tail_length = 0;
    follow->dirty = true;
}

/* Takes in what was read: lines go out, the offset moves. False when a line could not be sent. */
static bool take_bytes(struct follow *follow, struct followed *file, size_t got)
{
    follow->unsent = 0;
    follow->current = file;
    bool skipped = file->lines.skipping;
    bool go_on = lines_split(&file->lines, got, send_line, follow);
    file->read_at += got;
    if (!file->lines.skipping) {
        file->offset = file->read_at - (file->lines.end - file->lines.begin) - follow->unsent;
    }
    if (skipped) {
        file->tail_length = 0; /* the bytes of a line that was too long are not here any more */
    }
    /* The line that was not complete before begins at the start of the buffer (lines_room). */
    keep_tail(file, file->lines.data, file->lines.begin - (go_on ? 0 : follow->unsent));
    follow->dirty = true;
    return go_on;
}

/* Sends the lines that the file has now. CLI_DONE, or an exit code at which the program ends. */
static int drain(struct follow *follow, struct followed *file)
{
    struct file_status status;
    if (!file_get_status(file->descriptor, &status)) {
        return fail("cannot look at %s: %s", follow->settings->path, strerror(errno));
    }
    if (!file->finished && follow_truncated(file, &status)) {
        begin_again(follow, file, &status);
    }
    while (file->read_at < status.size) { /* I5 */
        size_t room = 0;
        char *to = lines_room(&file->lines, &room);
        if (to == NULL) {
            return fail("out of memory");
        }
        uint64_t left = status.size - file->read_at;
        long got = file_read_at(file->descriptor, to, left < room ? (size_t) left : room, file->read_at);
        if (got < 0) {
            return fail("cannot read %s: %s", follow->settings->path, strerror(errno));
        }
        if (got == 0) {
            break; /* truncated since: the next look sees it */
        }
        bool go_on = take_bytes(follow, file, (size_t) got);
        int code = save_state(follow, false);
        if (!go_on) {
            return follow->code;
        }
        if (code != CLI_DONE) {
            return code;
        }
        if (system_interrupts() > 1) {
            return fail("ended at offset %" PRIu64 " of %s, before its end", file->offset, follow->settings->path);
        }
    }
    return CLI_DONE;
}

/* A newer file has data, so a last line without newline is all there will be of it. */
static int finish(struct follow *follow, struct followed *file)
{
    follow->unsent = 0;
    follow->current = file;
    lines_end(&file->lines, send_line, follow);
    lines_free(&file->lines);
    file->lines = (struct lines){0};
    if (follow->unsent > 0) {
        return follow->code;
    }
    file->offset = file->read_at;
    file->tail_length = 0; /* a finished file is not looked at for truncation */
    file->finished = true;
    follow->dirty = true;
    return CLI_DONE;
}

static bool has_data(const struct followed *file)
{
    struct file_status status;
    return file->read_at > 0 ||
           (file->descriptor >= 0 && file_get_status(file->descriptor, &status) && status.size > 0);
}

static void close_followed(struct follow *follow, struct followed *file)
{
    if (file->watch >= 0) {
        watch_forget(follow->watch, file->watch);
    }
    file_close(file->descriptor);
    lines_free(&file->lines);
    file->lines = (struct lines){0};
    file->descriptor = file->watch = -1;
    file->closed = true;
}

/* Lets go of finished files: those whose last name is gone, and all but the last few. */
static void let_go(struct follow *follow)
{
    struct followed_list *list = &follow->list;
    for (size_t i = 0; i < list->count; i++) {
        struct followed *file = &list->files[i];
        struct file_status status;
        if (file->finished && file->descriptor >= 0 &&
            (i + STRAGGLERS < list->count || (file_get_status(file->descriptor, &status) && status.unlinked))) {
            close_followed(follow, file);
        }
    }
    while (list->count > REMEMBERED && list->files[0].closed) {
        /* Whatever is as old as this one is not to be taken for a new file later. */
        uint64_t born = list->files[0].identity.born;
        follow->list.floor = born + 1 > follow->list.floor ? born + 1 : follow->list.floor;
        followed_remove(list, 0);
    }
}

static int ship(struct follow *follow)
{
    struct followed_list *list = &follow->list;
    for (size_t i = 0; i < list->count; i++) {
        struct followed *file = &list->files[i];
        if (file->descriptor < 0) {
            continue;
        }
        bool newer = false; /* looked at before the drain: I2 */
        for (size_t j = i + 1; j < list->count && !newer; j++) {
            newer = has_data(&list->files[j]);
        }
        int code = drain(follow, file);
        /* A finished file may have got one more line from a straggler. */
        if (code == CLI_DONE && newer && (!file->finished || file->lines.end > file->lines.begin)) {
            code = finish(follow, file);
        }
        if (code != CLI_DONE) {
            return code;
        }
    }
    let_go(follow);
    return CLI_DONE;
}

/* ---- beginning and end ---- */

/* What the state file names and nobody can find any more. */
static void report_missing(struct follow *follow)
{
    for (size_t i = 0; i < follow->list.count;) {
        struct followed *file = &follow->list.files[i];
        if (file->descriptor >= 0 || file->closed) {
            i++;
            continue;
        }
        if (!file->finished) {
            remark("the file that was %s when it was last read is gone: what it had behind offset %" PRIu64 " is lost",
                   follow->settings->path, file->offset);
            follow->code = CLI_ERROR;
        }
        followed_remove(&follow->list, i);
    }
}

static int start(struct follow *follow)
{
    bool resumed = false;
    const struct follow_settings *settings = follow->settings;
    if (settings->state != NULL) {
        int code = follow_state_load(settings->state, settings->path, &follow->list, &resumed);
        if (code != CLI_DONE) {
            return code;
        }
    }
    follow->watch = watch_open(settings->path);
    if (follow->watch == NULL) {
        return CLI_ERROR;
    }
    int live = watch_open_live(follow->watch);
    if (live < 0 && (!resumed || errno != ENOENT)) {
        return fail("cannot open %s: %s", settings->path, strerror(errno));
    }
    struct file_status status = {0};
    bool known = live >= 0 && file_get_status(live, &status);
    if (live >= 0) {
        file_close(live);
    }
    /* Rotated files that are older than the one that the program began with are not its business. */
    if (!resumed && known) {
        follow->list.floor = status.identity.born + 1;
    }
    int code = follow_look_at_names(follow);
    if (code == CLI_DONE && resumed) {
        report_missing(follow);
    }
    if (code == CLI_DONE && !resumed && settings->from_end) {
        struct followed *file = &follow->list.files[follow->list.count - 1];
        file->offset = file->read_at = status.size;
    }
    /* From here on a kill is resumed from this file, even if it is rotated away before anything was sent. */
    return code == CLI_DONE && !resumed ? save_state(follow, false) : code;
}

/* Brings the state file up to date, and to the disk when that is due. */
static int keep_state(struct follow *follow, bool ending)
{
    bool due = follow->unforced && (ending || system_now() - follow->durable_at >= DURABLE_EVERY_NS);
    if (follow->dirty || due) {
        return save_state(follow, due || ending);
    }
    return CLI_DONE;
}

static int run(struct follow *follow)
{
    bool look = false;
    for (;;) {
        bool ending = system_interrupts() > 0;
        int code = look ? follow_look_at_names(follow) : CLI_DONE; /* I3 */
        if (code == CLI_DONE) {
            code = ship(follow);
        }
        if (code == CLI_DONE) {
            code = follow->settings->state != NULL ? keep_state(follow, ending) : sender_flush(follow->sender);
        }
        if (code != CLI_DONE || ending) {
            return code;
        }
        if (system_interrupts() > 0) {
            continue; /* a wait for the slot may have taken that wake-up: there would be no other */
        }
        uint64_t due = follow->unforced ? follow->durable_at + DURABLE_EVERY_NS : SYSTEM_NEVER;
        system_wait(due, watch_descriptor(follow->watch), -1);
        look = watch_take(follow->watch);
    }
}

int follow_file(struct sender *sender, const struct follow_settings *settings)
{
    struct follow follow = {.sender = sender, .settings = settings, .code = CLI_DONE};
    int code = start(&follow);
    if (code == CLI_DONE) {
        code = run(&follow);
        size_t held = 0;
        for (size_t i = 0; i < follow.list.count; i++) {
            held += follow.list.files[i].lines.end - follow.list.files[i].lines.begin;
        }
        if (code == CLI_DONE && held > 0) {
            remark("%zu bytes at the end of %s have no newline yet and were not sent", held, settings->path);
        }
        remark("%" PRIu64 " lines of %s were sent", sender->sent, settings->path);
    }
    followed_free(&follow.list);
    watch_close(follow.watch);
    return code != CLI_DONE ? code : follow.code;
}
