/* watch_linux.c: inotify for --follow.
 *
 * Path    inotify ► watch_take ► "look at the names" ► watch_open_live, watch_scan
 * Owners  One thread. The two folders: where `path` lies, and, where it is a symbolic link, where its target lies.
 * Moves   IN_MOVED_FROM and IN_MOVED_TO of one rename carry the same cookie. A name that the watched one (or a name
 *         learned before) was moved to is remembered until the names have been looked at in peace: so no file of
 *         several quick rotations is missed, whatever it is called now. */
#include "watch.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "queue/memory.h"

#define FOLDERS 2

struct folder {
    char path[PATH_MAX];
    char base[NAME_MAX + 1];
    int number; /* of the inotify watch; -1: not in use */
};

struct watch {
    int descriptor;
    char path[PATH_MAX];
    struct folder folders[FOLDERS]; /* the last one in use is where the file itself lies */
    size_t folder_count;
    bool all;        /* former holders are looked for by their names too, not only where a move was seen */
    uint32_t cookie; /* of a move away from a name of interest that has no other end yet; 0: none */
    char **learned;
    size_t learned_count;
};

bool file_same(const struct file_identity *a, const struct file_identity *b)
{
    if (a->born != 0 || b->born != 0) {
        return a->inode == b->inode && a->born == b->born;
    }
    return a->inode == b->inode && a->device == b->device;
}

bool file_get_status(int descriptor, struct file_status *status)
{
    struct statx found;
    if (statx(descriptor, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &found) != 0) {
        return false;
    }
    bool born = (found.stx_mask & STATX_BTIME) != 0 && found.stx_btime.tv_sec > 0;
    status->identity.device = (uint64_t) found.stx_dev_major << 32 | found.stx_dev_minor;
    status->identity.inode = found.stx_ino;
    status->identity.born = born ? (uint64_t) found.stx_btime.tv_sec * 1000000000u + found.stx_btime.tv_nsec : 0;
    status->size = found.stx_size;
    status->regular = S_ISREG(found.stx_mode);
    status->unlinked = found.stx_nlink == 0;
    return true;
}

long file_read_at(int descriptor, void *data, size_t size, uint64_t offset)
{
    ssize_t got;
    do {
        got = pread(descriptor, data, size, (off_t) offset);
    } while (got < 0 && errno == EINTR);
    return (long) got;
}

void file_close(int descriptor)
{
    close(descriptor);
}

/* Cuts a path into folder and last component. */
static bool set_folder(struct folder *folder, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash == NULL ? path : slash + 1;
    size_t length = slash == NULL ? 1 : slash == path ? 1 : (size_t) (slash - path);
    if (length >= sizeof(folder->path) || strlen(base) >= sizeof(folder->base) || base[0] == '\0') {
        return false;
    }
    memcpy(folder->path, slash == NULL ? "." : path, length);
    folder->path[length] = '\0';
    memcpy(folder->base, base, strlen(base) + 1);
    folder->number = -1;
    return true;
}

static int watch_fail(const char *path, int error)
{
    if (error == EMFILE || error == ENOSPC) {
        fail("cannot watch %s: too many watches; raise fs.inotify.max_user_instances or max_user_watches with sysctl",
             path);
    } else {
        fail("cannot watch %s: %s", path, strerror(error));
    }
    return -1;
}

static bool add_folder(struct watch *watch, const char *path)
{
    struct folder *folder = &watch->folders[watch->folder_count];
    if (!set_folder(folder, path)) {
        fail("cannot follow %s: that is no name of a file", path);
        return false;
    }
    folder->number = inotify_add_watch(watch->descriptor, folder->path,
                                       IN_CREATE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE | IN_ONLYDIR | IN_MASK_ADD);
    if (folder->number < 0) {
        watch_fail(path, errno);
        return false;
    }
    watch->folder_count++;
    return true;
}

struct watch *watch_open(const char *path)
{
    struct watch *watch = memory_zalloc(sizeof(*watch));
    if (watch == NULL || strlen(path) >= sizeof(watch->path)) {
        fail("cannot follow %s: %s", path, watch == NULL ? "out of memory" : "the path is too long");
        memory_free(watch);
        return NULL;
    }
    memcpy(watch->path, path, strlen(path) + 1);
    watch->all = true;
    watch->descriptor = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (watch->descriptor < 0) {
        watch_fail(path, errno);
        memory_free(watch);
        return NULL;
    }
    char target[PATH_MAX];
    bool good = add_folder(watch, path);
    struct stat link;
    if (good && lstat(path, &link) == 0 && S_ISLNK(link.st_mode) && realpath(path, target) != NULL) {
        good = add_folder(watch, target);
    }
    if (!good) {
        watch_close(watch);
        return NULL;
    }
    return watch;
}

void watch_settle(struct watch *watch)
{
    for (size_t i = 0; i < watch->learned_count; i++) {
        memory_free(watch->learned[i]);
    }
    watch->learned_count = 0;
    watch->all = false;
}

void watch_close(struct watch *watch)
{
    if (watch == NULL) {
        return;
    }
    close(watch->descriptor);
    watch_settle(watch);
    memory_free(watch->learned);
    memory_free(watch);
}

int watch_descriptor(const struct watch *watch)
{
    return watch->descriptor;
}

static bool is_learned(const struct watch *watch, const char *name)
{
    for (size_t i = 0; i < watch->learned_count; i++) {
        if (strcmp(watch->learned[i], name) == 0) {
            return true;
        }
    }
    return false;
}

/* Out of memory here costs a name that only quick rotations to unusual names need; the usual ones are found without.
 * */
static void learn(struct watch *watch, const char *name)
{
    char **learned = memory_realloc(watch->learned, (watch->learned_count + 1) * sizeof(char *));
    if (learned == NULL) {
        return;
    }
    watch->learned = learned;
    char *kept = memory_strdup(name);
    if (kept != NULL) {
        learned[watch->learned_count++] = kept;
    }
}

/* BASE.1, BASE-20261122, BASE.2026-11-22T14:00:00Z; not BASE.1.gz, and no other program's file. */
static bool rotated_name(const char *name, const char *base)
{
    size_t length = strlen(base);
    if (strncmp(name, base, length) != 0 || (name[length] != '.' && name[length] != '-') ||
        !isdigit((unsigned char) name[length + 1])) {
        return false;
    }
    const char *suffix = name + length + 1;
    return suffix[strspn(suffix, "0123456789-_.:TZ")] == '\0';
}

static bool take_event(struct watch *watch, const struct inotify_event *event)
{
    if ((event->mask & IN_Q_OVERFLOW) != 0) {
        watch->all = true;
        return true;
    }
    if (event->len == 0) {
        /* The file itself. */
        return (event->mask & (IN_MOVE_SELF | IN_DELETE_SELF | IN_ATTRIB)) != 0;
    }
    bool base = false;
    bool former = is_learned(watch, event->name);
    for (size_t i = 0; i < watch->folder_count; i++) {
        const struct folder *folder = &watch->folders[i];
        base |= folder->number == event->wd && strcmp(folder->base, event->name) == 0;
        former |= watch->all && folder->number == event->wd && rotated_name(event->name, folder->base);
    }
    if ((event->mask & IN_MOVED_FROM) != 0 && (base || former)) {
        watch->cookie = event->cookie;
    }
    if ((event->mask & IN_MOVED_TO) != 0 && event->cookie == watch->cookie && watch->cookie != 0) {
        learn(watch, event->name);
        watch->cookie = 0;
        return true;
    }
    return base || former;
}

bool watch_take(struct watch *watch)
{
    _Alignas(struct inotify_event) char events[16384];
    bool changed = false;
    ssize_t got;
    while ((got = read(watch->descriptor, events, sizeof(events))) > 0) {
        for (ssize_t at = 0; at < got;) {
            const struct inotify_event *event = (const void *) (events + at);
            changed |= take_event(watch, event);
            at += (ssize_t) (sizeof(*event) + event->len);
        }
    }
    return changed;
}

int watch_add(struct watch *watch, int descriptor)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", descriptor);
    return inotify_add_watch(watch->descriptor, path, IN_MODIFY | IN_MOVE_SELF | IN_DELETE_SELF | IN_ATTRIB);
}

void watch_forget(struct watch *watch, int number)
{
    inotify_rm_watch(watch->descriptor, number);
}

int watch_open_live(const struct watch *watch)
{
    /* A pipe would block here, and is refused later. */
    return open(watch->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
}

bool watch_scan(struct watch *watch, watch_visit visit, void *context)
{
    const struct folder *folder = &watch->folders[watch->folder_count - 1];
    DIR *stream = opendir(folder->path);
    if (stream == NULL) {
        return false;
    }
    const struct dirent *entry;
    while ((entry = readdir(stream)) != NULL) {
        if (!is_learned(watch, entry->d_name) && !(watch->all && rotated_name(entry->d_name, folder->base))) {
            continue;
        }
        int descriptor =
            openat(dirfd(stream), entry->d_name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW);
        if (descriptor >= 0) {
            visit(context, descriptor, entry->d_name);
        } else if (errno != ENOENT && errno != ELOOP) {
            remark("cannot open %s/%s: %s", folder->path, entry->d_name, strerror(errno));
        }
    }
    closedir(stream);
    return true;
}
