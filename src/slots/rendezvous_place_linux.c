/* rendezvous_place_linux.c: finds, checks and makes the slot directories.
 *
 * Path    MAILROOM_DIR alone, or /run/mailroom > /run/user/UID/mailroom > /tmp/mailroom-UID
 * D1      A directory is used only through the descriptor on which it was checked. Its last component is never a link.
 * D2      In a place that others can write to, the sticky bit keeps them from this user's files. The two per-user places
 *         are this user's alone (0700), so nobody else can squat a name there, and their parents cannot be used to
 *         exchange them.
 * D3      Whoever may be served by another user's environment (set-uid programs) has secure_getenv ignore it.
 * D4      The machine-wide place gets its mode before it gets its name; a directory that exists keeps the mode that its
 *         administrator gave it.
 * A per-user slot of a daemon started before the session's /run/user/UID was there is in /tmp: both are searched.
 */
#include "slots/rendezvous_place_linux.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/memory.h"
#include "queue/status.h"
#include "slots/rendezvous_linux.h"
#include "slots/rendezvous_lock_linux.h"

static struct {
    const char *machine;
    const char *run_user;
    const char *tmp;
    uint32_t machine_owner;
} standard = {"/run/mailroom", "/run/user", "/tmp", 0};

void rendezvous_set_places(const char *machine, const char *run_user, const char *tmp, uint32_t machine_owner)
{
    standard.machine = machine != NULL ? machine : "/run/mailroom";
    standard.run_user = run_user != NULL ? run_user : "/run/user";
    standard.tmp = tmp != NULL ? tmp : "/tmp";
    standard.machine_owner = machine_owner;
}

static int place_refuse(struct place *place, int error, const char *why)
{
    snprintf(place->why, sizeof place->why, "%s", why);
    place->error = error;
    return -1;
}

/* Writable by others than its owner, who could then exchange files in it? */
static bool directory_unguarded(const struct stat *s)
{
    return (s->st_mode & (S_IWGRP | S_IWOTH)) != 0 && (s->st_mode & S_ISVTX) == 0;
}

/* Opens the directory above a per-user place, -1 if it is not to be trusted. */
static int parent_open(struct place *place)
{
    char path[4096];
    snprintf(path, sizeof path, "%s", place->path);
    *strrchr(path, '/') = '\0';
    int fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat s;
    if (fd < 0 || fstat(fd, &s) != 0) {
        place_refuse(place, errno, strerror(errno));
    } else if (directory_unguarded(&s)) {
        place_refuse(place, 0, "others can exchange the files in the directory above it (chmod +t there)");
    } else if (place->kind == PLACE_RUN_USER && s.st_uid != geteuid()) {
        place_refuse(place, 0, "the directory above it belongs to another user");
    } else {
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

static bool place_trusted(struct place *place, const struct stat *s)
{
    char why[PLACE_WHY_ROOM];
    uint32_t self = geteuid();
    why[0] = '\0';
    switch (place->kind) {
    case PLACE_MACHINE:
        if (s->st_uid != standard.machine_owner)
            snprintf(why, sizeof why, "it belongs to user %u instead of root", (unsigned) s->st_uid);
        break;
    case PLACE_GIVEN:
        if (s->st_uid != 0 && s->st_uid != self)
            snprintf(why, sizeof why, "it belongs to user %u, neither this one nor root", (unsigned) s->st_uid);
        break;
    case PLACE_RUN_USER:
    case PLACE_TMP:
    default:
        if (s->st_uid != self)
            snprintf(why, sizeof why, "it belongs to user %u", (unsigned) s->st_uid);
        else if ((s->st_mode & (S_IRWXG | S_IRWXO)) != 0)
            snprintf(why, sizeof why, "its mode is %03o instead of 700", (unsigned) s->st_mode & 0777u);
        break;
    }
    if (why[0] == '\0' && directory_unguarded(s))
        snprintf(why, sizeof why, "others can exchange the files in it (chmod +t would prevent that)");
    if (why[0] == '\0')
        return true;
    place_refuse(place, 0, why);
    return false;
}

/* Opens and checks a place; makes it before if `make` says so and it is not there. */
static int place_open(struct place *place, bool make)
{
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    if (place->path[0] != '/')
        return place_refuse(place, 0, "MAILROOM_DIR must be an absolute path");
    int parent = AT_FDCWD;
    const char *last = place->path;
    if (place->kind == PLACE_RUN_USER || place->kind == PLACE_TMP) {
        parent = parent_open(place);
        if (parent < 0)
            return -1;
        last = strrchr(place->path, '/') + 1;
    }
    int fd = openat(parent, last, flags);
    if (fd < 0 && errno == ENOENT && make && (mkdirat(parent, last, 0700) == 0 || errno == EEXIST))
        fd = openat(parent, last, flags);
    int error = errno;
    if (parent != AT_FDCWD)
        close(parent);
    struct stat s;
    if (fd < 0 || fstat(fd, &s) != 0) {
        error = fd < 0 ? error : errno;
        place_refuse(place, error, error == ENOTDIR || error == ELOOP ? "it is no directory" : strerror(error));
    } else if (place_trusted(place, &s)) {
        place->fd = fd;
        place->uid = s.st_uid;
        place->error = 0;
        place->why[0] = '\0';
        return 0;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Makes the machine-wide place, complete before it has its name. Another root process may be faster: no matter. */
static void machine_make(struct place *place)
{
    char fresh[4096];
    int length = snprintf(fresh, sizeof fresh, "%s.%u", place->path, (unsigned) getpid());
    if (length < 0 || (size_t) length >= sizeof fresh)
        return;
    if (mkdir(fresh, 0700) != 0 && errno != EEXIST) {
        place_refuse(place, errno, strerror(errno));
        return;
    }
    if (chmod(fresh, 01777) != 0 || renameat2(AT_FDCWD, fresh, AT_FDCWD, place->path, RENAME_NOREPLACE) != 0) {
        place_refuse(place, errno, strerror(errno));
        rmdir(fresh);
    }
    place_open(place, false);
}

/* Says nothing about the directory, only about this moment. */
static bool error_passes(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOMEM;
}

static int place_add(struct places *places, enum place_kind kind, const char *format, const char *base)
{
    char path[4096];
    int length = snprintf(path, sizeof path, format, base, (unsigned) geteuid());
    struct place *place = &places->list[places->count];
    *place = (struct place){.kind = kind, .fd = -1};
    bool fits = length > 0 && (size_t) length < sizeof path;
    place->path = memory_strdup(fits ? path : "MAILROOM_DIR");
    if (place->path == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for the path of a slot directory");
    places->count++;
    if (!fits) {
        place_refuse(place, ENAMETOOLONG, "the path is too long");
        return MR_OK;
    }
    if (place_open(place, false) != 0 && error_passes(place->error))
        return status_fail(status_of_errno(place->error), place->error, "the slot directory %s cannot be opened: %s",
                           place->path, place->why);
    return MR_OK;
}

int places_open(struct places *places)
{
    places->count = 0;
    const char *given = secure_getenv("MAILROOM_DIR");
    int status;
    if (given != NULL && given[0] != '\0') {
        status = place_add(places, PLACE_GIVEN, "%s", given);
    } else {
        status = place_add(places, PLACE_MACHINE, "%s", standard.machine);
        if (status == MR_OK)
            status = place_add(places, PLACE_RUN_USER, "%s/%u/mailroom", standard.run_user);
        if (status == MR_OK)
            status = place_add(places, PLACE_TMP, "%s/mailroom-%u", standard.tmp);
    }
    if (status != MR_OK)
        places_close(places);
    return status;
}

void places_close(struct places *places)
{
    for (size_t i = 0; i < places->count; i++) {
        if (places->list[i].fd >= 0)
            close(places->list[i].fd);
        memory_free(places->list[i].path);
    }
    places->count = 0;
}

int places_choose(struct places *places, struct place **chosen)
{
    for (size_t i = 0; i < places->count; i++) {
        struct place *place = &places->list[i];
        if (place->fd < 0 && place->error == ENOENT) {
            if (place->kind != PLACE_MACHINE)
                place_open(place, true);
            else if (geteuid() == standard.machine_owner)
                machine_make(place);
        }
        if (place->fd >= 0 && faccessat(place->fd, ".", W_OK | X_OK, AT_EACCESS) == 0) {
            *chosen = place;
            return MR_OK;
        }
        if (place->fd >= 0)
            snprintf(place->why, sizeof place->why, "it cannot be written to");
        if (place->fd < 0 && error_passes(place->error))
            return status_fail(status_of_errno(place->error), place->error,
                               "the slot directory %s cannot be opened: %s", place->path, place->why);
    }
    const struct place *last = &places->list[places->count - 1];
    return status_fail(MR_E_ACCESS, last->error, "no directory to create a slot in; the last one tried is %s: %s%s",
                       last->path, last->why, last->kind == PLACE_GIVEN ? "" : " (MAILROOM_DIR can name another)");
}

const char *places_unseen(const struct places *places)
{
    for (size_t i = 0; i < places->count; i++) {
        const struct place *place = &places->list[i];
        if (place->fd < 0 && place->error != ENOENT && place->error != EACCES)
            return place->why;
    }
    return NULL;
}
