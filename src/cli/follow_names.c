/* follow_names.c: which files --follow ships, and in which order.
 *
 * Path    watch_open_live, watch_scan ► candidates, held open ► names at rest ► sorted ► follow->list
 * Owners  One thread. A descriptor belongs to `names` until it is attached to an entry of the list, or closed.
 * I1      A file is held open from the moment it is seen, whatever becomes of its name.
 * I2      The order is decided when no name has changed during a whole look.
 * I3      An identity that is in the list is never entered again, so no file is sent twice. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "follow_private.h"
#include "queue/memory.h"
#include "system.h"

/* Looks at names that do not come to rest. */
#define LOOKS_MAX 1000

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

/* What a look at the names finds. The files are held open from the first moment; their order is decided when the names
 * have come to rest. */
struct names {
    struct follow *follow;
    struct candidate *candidates;
    size_t count;
    int live_descriptor; /* -1: nothing has the name */
    struct file_identity live;
    bool failed;
};

static void keep_candidate(struct names *names, int descriptor, const char *name, const struct file_identity *identity)
{
    for (size_t i = 0; i < names->count; i++) {
        if (file_same(&names->candidates[i].identity, identity)) {
            snprintf(names->candidates[i].name, sizeof(names->candidates[i].name), "%s", name);
            file_close(descriptor);
            return;
        }
    }
    struct candidate *candidates = memory_realloc(names->candidates, (names->count + 1) * sizeof(*candidates));
    if (candidates == NULL) {
        names->failed = true;
        file_close(descriptor);
        return;
    }
    names->candidates = candidates;
    struct candidate *candidate = &candidates[names->count++];
    *candidate = (struct candidate){.descriptor = descriptor, .identity = *identity};
    snprintf(candidate->name, sizeof(candidate->name), "%s", name);
}

/* Whether this is the copy that was made before a file was truncated while nobody followed: its lines are those that
 * were sent already. */
static bool copy_of_truncated(const struct follow *follow, int descriptor)
{
    uint8_t tail[TAIL_BYTES];
    for (size_t i = 0; i < follow->list.count; i++) {
        const struct followed *file = &follow->list.files[i];
        struct file_status status;
        if (file->descriptor >= 0 && !file->finished && file->tail_length > 0 &&
            file_get_status(file->descriptor, &status) && follow_truncated(file, &status) &&
            file_read_at(descriptor, tail, file->tail_length, file->offset - file->tail_length) ==
                (long) file->tail_length &&
            memcmp(tail, file->tail, file->tail_length) == 0) {
            return true;
        }
    }
    return false;
}

static void visit_rotated(void *context, int descriptor, const char *name)
{
    struct names *names = context;
    struct file_status status;
    if (!file_get_status(descriptor, &status) || !status.regular ||
        (names->live_descriptor >= 0 && file_same(&status.identity, &names->live))) {
        file_close(descriptor);
        return;
    }
    struct followed *known = find_known(names->follow, &status.identity);
    if (known != NULL && known->descriptor < 0 && !known->closed) {
        attach(names->follow, known, descriptor); /* named by the state file */
    } else if (known != NULL || status.identity.born < names->follow->list.floor || status.identity.born == 0) {
        file_close(descriptor);
    } else {
        keep_candidate(names, descriptor, name, &status.identity);
    }
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
           ((names->live_descriptor >= 0 && file_same(&files[place - 1].identity, &names->live)) ||
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

/* Opens the file that has the name. An exit code. */
static int look_at_live(struct names *names)
{
    const char *path = names->follow->settings->path;
    struct file_status status;
    if (names->live_descriptor >= 0) {
        /* The one of the look before: still it, or one that was rotated away since. */
        if (find_known(names->follow, &names->live) == NULL) {
            keep_candidate(names, names->live_descriptor, "", &names->live);
        } else {
            file_close(names->live_descriptor);
        }
    }
    names->live_descriptor = watch_open_live(names->follow->watch);
    if (names->live_descriptor < 0) {
        return errno == ENOENT ? CLI_DONE : fail("cannot open %s: %s", path, strerror(errno));
    }
    if (!file_get_status(names->live_descriptor, &status) || !status.regular) {
        return fail("cannot follow %s: it is no regular file (mailroom send NAME --lines < FILE reads a pipe)", path);
    }
    names->live = status.identity;
    return CLI_DONE;
}

/* Enters what was found into the list, former holders of the name first. False: out of memory. */
static bool place_names(struct names *names)
{
    struct follow *follow = names->follow;
    bool good = !names->failed;
    struct followed *known = names->live_descriptor >= 0 ? find_known(follow, &names->live) : NULL;
    bool attached = known != NULL && known->descriptor < 0 && !known->closed;
    if (attached) {
        attach(follow, known, names->live_descriptor);
    }
    if (names->count > 0) { /* qsort takes no null pointer, not even for nothing */
        qsort(names->candidates, names->count, sizeof(struct candidate), compare_candidates);
    }
    for (size_t i = 0; i < names->count; i++) {
        const struct candidate *candidate = &names->candidates[i];
        if ((names->live_descriptor >= 0 && file_same(&candidate->identity, &names->live)) ||
            copy_of_truncated(follow, candidate->descriptor)) {
            file_close(candidate->descriptor);
        } else {
            good &= add_file(follow, place_of(follow, names, candidate), candidate->descriptor, &candidate->identity);
        }
    }
    names->count = 0;
    if (names->live_descriptor >= 0 && known == NULL) {
        good &= add_file(follow, follow->list.count, names->live_descriptor, &names->live);
    } else if (names->live_descriptor >= 0 && !attached) {
        file_close(names->live_descriptor);
    }
    names->live_descriptor = -1;
    return good;
}

/* Looks until the names have come to rest: a rename in the middle of a look can hide a file, or show an old number. */
int follow_look_at_names(struct follow *follow)
{
    struct names names = {.follow = follow, .live_descriptor = -1};
    int code;
    unsigned looks = 0;
    do {
        code = look_at_live(&names);
        if (code == CLI_DONE && !watch_scan(follow->watch, visit_rotated, &names)) {
            remark("cannot look for rotated files beside %s: %s", follow->settings->path, strerror(errno));
        }
    } while (code == CLI_DONE && watch_take(follow->watch) && ++looks < LOOKS_MAX && system_interrupts() < 2);
    watch_settle(follow->watch);
    if (code == CLI_DONE && !place_names(&names)) {
        code = fail("out of memory");
    }
    for (size_t i = 0; i < names.count; i++) {
        file_close(names.candidates[i].descriptor);
    }
    if (names.live_descriptor >= 0) {
        file_close(names.live_descriptor);
    }
    memory_free(names.candidates);
    return code;
}
