/* rendezvous_lock_linux.c: who owns a name is decided by a lock on a file, and a lock dies with its process.
 *
 * Path    lock_take: met_file_open, or created > F_SETLK > owner and inode checked > registry
 * Owners  A lock file belongs to the user who first used the name, and is never removed: between two lives of a slot no
 *         other user can slip into its name in a directory that all can write to.
 * L1      A POSIX lock of a process goes as soon as the process closes *any* descriptor of the file. So this process has
 *         at most one descriptor of a file that it holds: all opening and closing happens between registry_enter and
 *         registry_leave, and a file is identified (O_PATH, whose closing drops no lock) before it is opened.
 * L2      A POSIX lock does not hold against the own process: the registry is what makes a second reader of a name in
 *         the same process fail.
 * L3      After the lock was taken the path must still lead to the locked file. Whoever holds a lock on a file that the
 *         path leads to is the only one.
 * L4      A lock is not inherited by fork. The child's registry is emptied, so that the child meets its parent's files as
 *         those of another process.
 * Hostile In a directory that all can write to another user may have put anything under our names: links and devices are
 *         not opened, hard links (of a file of ours as well) are refused, a foreign file is left alone. The first open is
 *         without O_CREAT, for with fs.protected_regular the system refuses O_CREAT on a foreign file in such a directory.
 */
#include "slots/rendezvous_lock_linux.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "queue/status.h"

enum { LOCK_TRIES = 64 };

static pthread_mutex_t registry_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t registry_once = PTHREAD_ONCE_INIT;
static struct held_file *registry; /* under registry_mutex */

static void fork_prepare(void)
{
    pthread_mutex_lock(&registry_mutex);
}

static void fork_parent(void)
{
    pthread_mutex_unlock(&registry_mutex);
}

static void fork_child(void)
{
    registry = NULL;
    pthread_mutex_unlock(&registry_mutex);
}

static void registry_begin(void)
{
    if (pthread_atfork(fork_prepare, fork_parent, fork_child) != 0) {
        fprintf(stderr, "mailroom: no memory for a fork handler\n");
        abort();
    }
}

void registry_enter(void)
{
    pthread_once(&registry_once, registry_begin);
    pthread_mutex_lock(&registry_mutex);
}

void registry_leave(void)
{
    pthread_mutex_unlock(&registry_mutex);
}

void registry_add(struct held_file *file, int fd, const struct stat *stat)
{
    *file = (struct held_file){.next = registry, .device = stat->st_dev, .inode = stat->st_ino, .fd = fd};
    registry = file;
}

void registry_drop(struct held_file *file)
{
    if (file->fd < 0)
        return;
    for (struct held_file **at = &registry; *at != NULL; at = &(*at)->next) {
        if (*at == file) {
            *at = file->next;
            break;
        }
    }
    close(file->fd);
    file->fd = -1;
}

static const struct held_file *registry_find(const struct stat *stat)
{
    const struct held_file *file = registry;
    while (file != NULL && (file->inode != stat->st_ino || file->device != stat->st_dev))
        file = file->next;
    return file;
}

int met_file_open(struct met_file *file, int directory, const char *name, int flags)
{
    *file = (struct met_file){.fd = -1};
    int path = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (path < 0)
        return errno;
    int error = 0;
    if (fstat(path, &file->stat) != 0)
        error = errno;
    else if (!S_ISREG(file->stat.st_mode))
        error = S_ISLNK(file->stat.st_mode) ? ELOOP : EINVAL;
    const struct held_file *own = error == 0 ? registry_find(&file->stat) : NULL;
    if (own != NULL) {
        file->fd = own->fd;
        file->held = true;
    } else if (error == 0) {
        char through[32];
        snprintf(through, sizeof through, "/proc/self/fd/%d", path);
        file->fd = open(through, flags | O_CLOEXEC | O_NONBLOCK);
        error = file->fd < 0 ? errno : 0;
    }
    close(path);
    return error;
}

void met_file_close(struct met_file *file)
{
    if (!file->held && file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}

/* The kernel asks for no right to the file to answer F_GETLK, and a lock for writing, which alone conflicts with this
 * question, can only be held by who may write to the file. */
bool met_file_locked(const struct met_file *file, uint32_t *pid)
{
    *pid = (uint32_t) getpid();
    if (file->held)
        return true;
    struct flock question = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    if (fcntl(file->fd, F_GETLK, &question) != 0 || question.l_type == F_UNLCK)
        return false;
    *pid = question.l_pid > 0 ? (uint32_t) question.l_pid : 0;
    return true;
}

int status_of_errno(int error)
{
    switch (error) {
    case EMFILE:
    case ENFILE:
        return MR_E_DESCRIPTORS;
    case EACCES:
    case EPERM:
    case EROFS:
        return MR_E_ACCESS;
    case ENOMEM:
    case ENOBUFS:
        return MR_E_MEMORY;
    default:
        return MR_E_SYSTEM;
    }
}

int lock_held_by(const char *display, uint32_t pid, const char *directory)
{
    char path[64], command[64] = "";
    if (pid == 0)
        return status_fail(MR_E_EXISTS, 0, "the slot %.300s is held by a process of another pid namespace (in %.100s)",
                           display, directory);
    snprintf(path, sizeof path, "/proc/%u/comm", (unsigned) pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t length = read(fd, command, sizeof command - 1);
        command[length > 0 ? length : 0] = '\0';
        close(fd);
    }
    command[strcspn(command, "\n")] = '\0';
    for (char *c = command; *c != '\0'; c++)
        if (*c < ' ' || *c > '~') /* a process names itself as it likes; the text may go to a terminal */
            *c = '?';
    return status_fail(MR_E_EXISTS, 0, "the slot %.300s is held by process %u (%s) in %.100s", display, (unsigned) pid,
                       command[0] != '\0' ? command : "gone by now", directory);
}

static int lock_refuse(const struct place *place, const char *name, const char *why)
{
    return status_fail(MR_E_ACCESS, 0, "%.120s/%.100s %s", place->path, name, why);
}

static int lock_foreign(const struct place *place, const char *name, uint32_t uid)
{
    return status_fail(MR_E_ACCESS, 0,
                       "the name belongs to user %u here, who used it before: only that user or root can use "
                       "it again, or remove %.120s/%.100s",
                       (unsigned) uid, place->path, name);
}

/* Opens the lock file, or makes it. 0, EAGAIN (it changes under our eyes: again), or the system's code. */
static int lock_open(struct met_file *file, int directory, const char *name)
{
    int error = met_file_open(file, directory, name, O_RDWR);
    if (error != ENOENT)
        return error;
    file->fd = openat(directory, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (file->fd < 0)
        return errno == EEXIST ? EAGAIN : errno;
    return fstat(file->fd, &file->stat) == 0 ? 0 : errno;
}

/* Makes a file that root has locked, and another user owns, root's: that user could exchange it otherwise. */
static bool lock_adopt(const struct place *place, const struct met_file *file)
{
    uint32_t self = geteuid();
    if (file->stat.st_uid != self && file->stat.st_uid != place->uid && fchown(file->fd, self, (gid_t) -1) != 0)
        return false;
    if ((file->stat.st_mode & 0777) != 0600 && fchmod(file->fd, 0600) != 0)
        return false;
    return true;
}

/* One attempt with an open file. MR_OK; MR_E_GONE: again. */
static int lock_try(struct met_file *file, const struct place *place, const char *name, const char *display)
{
    if (file->held)
        return lock_held_by(display, (uint32_t) getpid(), place->path);
    if (file->stat.st_nlink == 0)
        return MR_E_GONE;
    if (file->stat.st_nlink != 1)
        return lock_refuse(place, name, "has a second name (a hard link), which no lock file has; remove it");
    uint32_t self = geteuid();
    if (file->stat.st_uid != self && self != 0)
        return lock_foreign(place, name, file->stat.st_uid);
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(file->fd, F_SETLK, &whole) != 0) {
        int error = errno;
        uint32_t holder;
        if (error != EAGAIN && error != EACCES)
            return status_fail(status_of_errno(error), error, "%.120s/%.100s cannot be locked: %s", place->path, name,
                               strerror(error));
        return met_file_locked(file, &holder) ? lock_held_by(display, holder, place->path) : MR_E_GONE;
    }
    if (!lock_adopt(place, file))
        return lock_foreign(place, name, file->stat.st_uid);
    struct stat now;
    if (fstatat(place->fd, name, &now, AT_SYMLINK_NOFOLLOW) != 0 || now.st_ino != file->stat.st_ino ||
        now.st_dev != file->stat.st_dev)
        return MR_E_GONE;
    return MR_OK;
}

int lock_take(struct held_file *lock, const struct place *place, const char *name, const char *display)
{
    lock->fd = -1;
    for (int i = 0; i < LOCK_TRIES; i++) {
        struct met_file file;
        int error = lock_open(&file, place->fd, name);
        if (error == 0) {
            int status = lock_try(&file, place, name, display);
            if (status == MR_OK) {
                registry_add(lock, file.fd, &file.stat);
                return MR_OK;
            }
            met_file_close(&file);
            if (status != MR_E_GONE)
                return status;
        } else if (error == ELOOP || error == EINVAL) {
            return lock_refuse(place, name, "is no regular file, and so no lock file; remove it");
        } else if (error == ENOENT) {
            return lock_refuse(place, name, "cannot be made: the directory takes no files, or has gone");
        } else if (error != EAGAIN) {
            struct stat now;
            if (error == EACCES && fstatat(place->fd, name, &now, AT_SYMLINK_NOFOLLOW) == 0 && now.st_uid != geteuid())
                return lock_foreign(place, name, now.st_uid);
            return status_fail(status_of_errno(error), error, "%.120s/%.100s cannot be opened: %s", place->path, name,
                               strerror(error));
        }
    }
    return status_fail(MR_E_ACCESS, 0, "%.120s/%.100s keeps changing; somebody interferes with it", place->path, name);
}
