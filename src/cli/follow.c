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
 *         were handed over, so a kill repeats lines and never skips one.
 * I5      A drain ends at the size that the file had when it began, so a file that grows without end lets the program
 *         end. */
#include "follow.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "follow_state.h"
#include "queue/memory.h"
#include "system.h"
#include "watch.h"

#define DURABLE_EVERY_NS 1000000000u
/* Finished files that are still looked at, for programs that go on writing to them for a while. */
#define STRAGGLERS 4
/* Files that are remembered, so that none is sent twice. */
#define REMEMBERED 1024

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

/* The bytes before the offset, as they are in the file now. */
static size_t read_tail(const struct followed *file, uint8_t *tail)
{
    size_t length = file->offset < TAIL_BYTES ? (size_t) file->offset : TAIL_BYTES;
    long got = length == 0 ? 0 : file_read_at(file->descriptor, tail, length, file->offset - length);
    return got == (long) length ? length : 0;
}

static bool truncated(const struct followed *file, const struct file_status *status)
{
    uint8_t tail[TAIL_BYTES];
    if (status->size < file->read_at) {
        return true;
    }
    if (status->size == file->read_at || file->tail_length == 0) {
        return false;
    }
    size_t length = read_tail(file, tail);
    return length < file->tail_length ||
           memcmp(tail + (length - file->tail_length), file->tail, file->tail_length) != 0;
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
    bool go_on = lines_split(&file->lines, got, send_line, follow);
    file->read_at += got;
    if (!file->lines.skipping) {
        file->offset = file->read_at - (file->lines.end - file->lines.begin) - follow->unsent;
    }
    file->tail_length = read_tail(file, file->tail);
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
    if (!file->finished && truncated(file, &status)) {
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
    file->tail_length = read_tail(file, file->tail);
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
        if (code == CLI_DONE && newer && !file->finished) {
            code = finish(follow, file);
        } else if (code == CLI_DONE && newer && file->lines.end > file->lines.begin) {
            code = finish(follow, file); /* a straggler's last line */
        }
        if (code != CLI_DONE) {
            return code;
        }
    }
    let_go(follow);
    return CLI_DONE;
}

/* ---- names ---- */

static struct followed *find_known(struct follow *follow, const struct file_identity *identity)
{
    for (size_t i = 0; i < follow->list.count; i++) {
        if (file_same(&follow->list.files[i].identity, identity)) {
            /* Without a birth time an inode that was let go of may be another file by now. */
            if (follow->list.files[i].closed && identity->born == 0) {
                continue;
            }
            return &follow->list.files[i];
        }
    }
    return NULL;
}

/* The descriptor is the file's now. */
static void attach(struct follow *follow, struct followed *file, int descriptor)
{
    file->descriptor = descriptor;
    file->watch = watch_add(follow->watch, descriptor);
    if (file->watch < 0) {
        remark("cannot watch a rotated file of %s: %s", follow->settings->path, strerror(errno));
    }
}

struct candidate {
    int descriptor;
    struct file_identity identity;
    char name[256];
};

struct names {
    struct follow *follow;
    struct candidate *candidates;
    size_t count;
    struct file_identity live; /* inode 0: there is none */
    bool failed;
};

static void visit_rotated(void *context, int descriptor, const char *name)
{
    struct names *names = context;
    struct file_status status;
    if (!file_get_status(descriptor, &status) || !status.regular ||
        (names->live.inode != 0 && file_same(&status.identity, &names->live))) {
        file_close(descriptor);
        return;
    }
    struct followed *known = find_known(names->follow, &status.identity);
    if (known != NULL) {
        if (known->descriptor < 0 && !known->closed) {
            attach(names->follow, known, descriptor); /* named by the state file */
        } else {
            file_close(descriptor);
        }
        return;
    }
    struct candidate *candidates = NULL;
    if (status.identity.born >= names->follow->list.floor && status.identity.born != 0) {
        candidates = memory_realloc(names->candidates, (names->count + 1) * sizeof(*candidates));
        names->failed |= candidates == NULL;
    }
    if (candidates == NULL) {
        file_close(descriptor);
        return;
    }
    names->candidates = candidates;
    struct candidate *candidate = &candidates[names->count++];
    *candidate = (struct candidate){.descriptor = descriptor, .identity = status.identity};
    snprintf(candidate->name, sizeof(candidate->name), "%s", name);
}

/* Oldest first. Birth times are as coarse as the kernel's clock ticks; within one tick a higher number is older
 * (log.2 before log.1), and a lower text otherwise (log-20261121 before log-20261122). */
static int compare_candidates(const void *left, const void *right)
{
    const struct candidate *a = left;
    const struct candidate *b = right;
    if (a->identity.born != b->identity.born) {
        return a->identity.born < b->identity.born ? -1 : 1;
    }
    size_t length_a = strlen(a->name);
    size_t length_b = strlen(b->name);
    const char *dot_a = strrchr(a->name, '.');
    const char *dot_b = strrchr(b->name, '.');
    if (dot_a != NULL && dot_b != NULL) {
        unsigned long number_a = strtoul(dot_a + 1, NULL, 10);
        unsigned long number_b = strtoul(dot_b + 1, NULL, 10);
        if (number_a != number_b) {
            return number_a > number_b ? -1 : 1;
        }
    }
    return length_a != length_b ? (length_a < length_b ? -1 : 1) : strcmp(a->name, b->name);
}

/* Where a former holder of the name belongs: before the one that has it now, behind all that are older. */
static size_t place_of(const struct follow *follow, const struct names *names, const struct candidate *candidate)
{
    size_t place = follow->list.count;
    const struct followed *files = follow->list.files;
    while (place > 0 && !files[place - 1].finished &&
           ((names->live.inode != 0 && file_same(&files[place - 1].identity, &names->live)) ||
            files[place - 1].identity.born > candidate->identity.born)) {
        place--;
    }
    return place;
}

static bool add_file(struct follow *follow, size_t place, int descriptor, const struct file_identity *identity)
{
    struct followed *file = followed_insert(&follow->list, place);
    if (file == NULL) {
        file_close(descriptor);
        return false;
    }
    file->identity = *identity;
    attach(follow, file, descriptor);
    follow->dirty = true;
    return true;
}

/* One look at the names. An exit code. */
static int look_once(struct follow *follow)
{
    struct names names = {.follow = follow};
    struct file_status status;
    bool good = true;
    int live = watch_open_live(follow->watch);
    if (live < 0 && errno != ENOENT) {
        return fail("cannot open %s: %s", follow->settings->path, strerror(errno));
    }
    if (live >= 0) {
        if (!file_get_status(live, &status) || !status.regular) {
            file_close(live);
            return fail("cannot follow %s: it is no regular file (mailroom send NAME --lines < FILE reads a pipe)",
                        follow->settings->path);
        }
        names.live = status.identity;
    }
    if (!watch_scan(follow->watch, visit_rotated, &names)) {
        remark("cannot look for rotated files beside %s: %s", follow->settings->path, strerror(errno));
    }
    qsort(names.candidates, names.count, sizeof(struct candidate), compare_candidates);
    for (size_t i = 0; i < names.count; i++) {
        const struct candidate *candidate = &names.candidates[i];
        if (find_known(follow, &candidate->identity) != NULL) {
            file_close(candidate->descriptor); /* seen under two names */
        } else {
            good &= add_file(follow, place_of(follow, &names, candidate), candidate->descriptor, &candidate->identity);
        }
    }
    memory_free(names.candidates);
    if (live >= 0) {
        struct followed *known = find_known(follow, &status.identity);
        if (known == NULL) {
            good &= add_file(follow, follow->list.count, live, &status.identity);
        } else if (known->descriptor < 0 && !known->closed) {
            attach(follow, known, live);
        } else {
            file_close(live);
        }
    }
    return good && !names.failed ? CLI_DONE : fail("out of memory");
}

/* Looks until nothing has changed meanwhile. */
static int look_at_names(struct follow *follow)
{
    int code;
    do {
        code = look_once(follow);
    } while (code == CLI_DONE && watch_take(follow->watch) && system_interrupts() < 2);
    watch_settle(follow->watch);
    return code;
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
    int code = look_at_names(follow);
    if (code == CLI_DONE && resumed) {
        report_missing(follow);
    }
    if (code == CLI_DONE && !resumed && settings->from_end) {
        struct followed *file = &follow->list.files[follow->list.count - 1];
        file->offset = file->read_at = status.size;
        file->tail_length = read_tail(file, file->tail);
    }
    return code;
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
        int code = look ? look_at_names(follow) : CLI_DONE; /* I3 */
        if (code == CLI_DONE) {
            code = ship(follow);
        }
        if (code == CLI_DONE) {
            code = follow->settings->state != NULL ? keep_state(follow, ending) : sender_flush(follow->sender);
        }
        if (code != CLI_DONE || ending) {
            return code;
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
