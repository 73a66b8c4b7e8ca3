/* rendezvous_linux.c: how a name comes up, goes, and is found.
 *
 * Path    claim: lock > sockets and page made under private names, complete > rename the sockets > rename the page
 *         release: remove the page > the sockets > close the listeners > let the lock go
 *         connect: page live? > owner trusted? > connect > peer trusted? > page still the same and live?
 *         (rendezvous_connect_linux.c)
 * Owners  STEM.lock is held by the owner of the name for as long as it lives (rendezvous_lock_linux.c). Whoever holds it
 *         alone makes, replaces and removes STEM.sock, STEM.ring, STEM.page and the private names.
 * R1      A slot is live while its page is write-locked. The page is a fresh file each time, locked while nobody else could
 *         open it, so nobody but its owner can ever lock it: readable for all (0644), it tells everybody whether the owner
 *         lives, and his pid, which the lock file (0600) tells his own user only. A frozen owner is alive.
 * R2      The page is the last to come and the first to go: while a locked page is there, the sockets beside it are the
 *         owner's own. A page that is unchanged and locked before and after a connect means a connection to its owner,
 *         also when a forked child keeps the listener of a dead owner open.
 * R3      A socket has its mode and group, and listens, before it has its name.
 * R4      A kill at any instant leaves an unlocked lock file, and perhaps dead files. The next owner of the lock removes the
 *         private ones and renames over the others. Nothing is asked of the dead.
 * R5      Locks are looked at and changed between registry_enter and registry_leave (rules L1, L2).
 * R6      A writer sends nothing, and does not even connect, to an owner whom it does not trust.
 */
#include "slots/rendezvous_linux.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "queue/memory.h"
#include "queue/status.h"
#include "slots/rendezvous_files_linux.h"
#include "slots/rendezvous_lock_linux.h"
#include "slots/rendezvous_look_linux.h"
#include "slots/rendezvous_place_linux.h"

struct rendezvous {
    const struct slot_name *name; /* during the claim only: it is large, and a process has hundreds of slots */
    struct slot_files files;
    char *directory; /* its path, for the end of the name */
    struct held_file lock;
    struct held_file page_file;
    struct statistics_page *page;
    int listener[RENDEZVOUS_SOCKETS];
    struct stat socket_stat[RENDEZVOUS_SOCKETS]; /* what STEM.sock and STEM.ring must be to be ours */
};

/* ---- coming up ---- */

/* Is the name live in any directory that this user sees? */
static int taken_check(const struct places *places, const struct slot_files *files, const struct slot_name *name)
{
    for (size_t i = 0; i < places->count; i++) {
        const struct place *place = &places->list[i];
        struct seen_page seen;
        if (place->fd < 0)
            continue;
        switch (name_look_held(place->fd, files, name, &seen)) {
        case LOOK_LIVE:
            return lock_held_by(name->display, seen.pid, place->path);
        case LOOK_OTHER:
            return status_fail(MR_E_EXISTS, 0,
                               "%.120s/%.220s is in use by process %u of user %u for another slot or by another "
                               "version; use another name",
                               place->path, files->page, (unsigned) seen.pid, (unsigned) seen.uid);
        case LOOK_FAILED:
            return fail_look(seen.error);
        case LOOK_ABSENT:
        default:
            break;
        }
    }
    return MR_OK;
}

static int fail_file(const struct place *place, const char *file, const char *what)
{
    int error = errno;
    struct stat s;
    bool foreign = error == EPERM || error == EACCES || error == EISDIR; /* one may lay a directory there */
    if (foreign && fstatat(place->fd, file, &s, AT_SYMLINK_NOFOLLOW) == 0 && s.st_uid != geteuid())
        return status_fail(MR_E_ACCESS, error,
                           "%.120s/%.220s belongs to user %u and cannot be %s; it has to be removed first", place->path,
                           file, (unsigned) s.st_uid, what);
    return status_fail(status_of_errno(error), error, "%.120s/%.220s cannot be %s: %s", place->path, file, what,
                       strerror(error));
}

/* Removes what an owner who was killed may have left. */
static int private_remove(const struct place *place, const char *file)
{
    return unlinkat(place->fd, file, 0) == 0 || errno == ENOENT ? MR_OK : fail_file(place, file, "removed");
}

static mode_t socket_mode(const struct access_rule *rule)
{
    switch (rule->mode) {
    case MR_ACCESS_GROUP:
        return 0660;
    case MR_ACCESS_EVERYONE:
    case MR_ACCESS_LIST: /* no file mode says it: access_check does */
        return 0666;
    case MR_ACCESS_OWNER:
    default:
        return 0600;
    }
}

int rendezvous_harden(int connection, bool *rights_refused)
{
    static const int yes = 1;
    bool off = rights_refuse(connection);
    if (rights_refused != NULL)
        *rights_refused = off;
    if (setsockopt(connection, SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes) != 0)
        return status_fail(MR_E_SYSTEM, errno, "a connection cannot be asked for credentials: %s", strerror(errno));
    return MR_OK;
}

static int socket_make(struct rendezvous *r, const struct place *place, const struct access_rule *rule,
                       enum rendezvous_socket which)
{
    const char *file = r->files.new_socket[which];
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return status_fail(status_of_errno(errno), errno, "a socket cannot be made: %s", strerror(errno));
    r->listener[which] = fd;
    int status = which == RENDEZVOUS_PLAIN ? rendezvous_harden(fd, NULL) : MR_OK;
    if (status != MR_OK)
        return status;
    struct sockaddr_un address;
    address_through(&address, place->fd, file);
    if (bind(fd, (struct sockaddr *) &address, sizeof address) != 0)
        return fail_file(place, file, "made");
    if (rule->mode == MR_ACCESS_GROUP && fchownat(place->fd, file, (uid_t) -1, rule->group, AT_SYMLINK_NOFOLLOW) != 0) {
        int error = errno;
        return status_fail(status_of_errno(error), error,
                           "the slot cannot be given to group %u: %s (its creator has to be a "
                           "member)",
                           (unsigned) rule->group, strerror(error));
    }
    if (fchmodat(place->fd, file, socket_mode(rule), 0) != 0 ||
        fstatat(place->fd, file, &r->socket_stat[which], AT_SYMLINK_NOFOLLOW) != 0)
        return fail_file(place, file, "given its mode");
    if (listen(fd, 4096) != 0) /* cut by net.core.somaxconn */
        return status_fail(MR_E_SYSTEM, errno, "the slot's socket cannot listen: %s", strerror(errno));
    return MR_OK;
}

static int page_make(struct rendezvous *r, const struct place *place, uint64_t max_message)
{
    const char *file = r->files.new_page;
    int fd = openat(place->fd, file, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail_file(place, file, "made");
    struct stat s;
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fstat(fd, &s) != 0 || fcntl(fd, F_SETLK, &whole) != 0) {
        int status = fail_file(place, file, "locked");
        close(fd);
        return status;
    }
    registry_add(&r->page_file, fd, &s);
    int status = statistics_page_create(&r->page, fd, r->name->display, max_message);
    if (status == MR_OK && fchmod(fd, 0644) != 0)
        status = fail_file(place, file, "given its mode");
    return status;
}

/* The paths lead to nothing any more, where they still lead to ours. */
static void files_remove(const struct rendezvous *r, int directory)
{
    struct stat s;
    if (r->page_file.fd >= 0 && fstatat(directory, r->files.page, &s, AT_SYMLINK_NOFOLLOW) == 0 &&
        s.st_ino == r->page_file.inode && s.st_dev == r->page_file.device)
        unlinkat(directory, r->files.page, 0);
    for (int which = 0; which < RENDEZVOUS_SOCKETS; which++) {
        const struct stat *own = &r->socket_stat[which];
        if (fstatat(directory, r->files.socket[which], &s, AT_SYMLINK_NOFOLLOW) == 0 && s.st_ino == own->st_ino &&
            s.st_dev == own->st_dev)
            unlinkat(directory, r->files.socket[which], 0);
    }
}

/* Makes the name live in `place`; the lock is held. On an error everything but the lock file is taken away again. */
static int name_publish(struct rendezvous *r, const struct place *place, const struct access_rule *rule,
                        uint64_t max_message)
{
    int status = private_remove(place, r->files.new_page);
    for (int which = 0; which < RENDEZVOUS_SOCKETS && status == MR_OK; which++) {
        status = private_remove(place, r->files.new_socket[which]);
        if (status == MR_OK)
            status = socket_make(r, place, rule, (enum rendezvous_socket) which);
    }
    if (status == MR_OK)
        status = page_make(r, place, max_message);
    for (int which = 0; which < RENDEZVOUS_SOCKETS && status == MR_OK; which++)
        if (renameat(place->fd, r->files.new_socket[which], place->fd, r->files.socket[which]) != 0)
            status = fail_file(place, r->files.socket[which], "replaced");
    if (status == MR_OK && renameat(place->fd, r->files.new_page, place->fd, r->files.page) != 0)
        status = fail_file(place, r->files.page, "replaced");
    if (status != MR_OK) {
        files_remove(r, place->fd);
        for (int which = 0; which < RENDEZVOUS_SOCKETS; which++)
            unlinkat(place->fd, r->files.new_socket[which], 0);
        unlinkat(place->fd, r->files.new_page, 0);
    }
    return status;
}

/* Gives back everything but the files. */
static void rendezvous_free(struct rendezvous *r)
{
    statistics_page_close(r->page);
    for (int which = 0; which < RENDEZVOUS_SOCKETS; which++)
        if (r->listener[which] >= 0)
            close(r->listener[which]);
    registry_drop(&r->page_file);
    registry_drop(&r->lock);
    memory_free(r->directory);
    memory_free(r);
}

static int claim_held(struct rendezvous *r, struct places *places, const struct access_rule *rule, uint64_t max_message)
{
    struct place *place;
    int status = taken_check(places, &r->files, r->name);
    if (status == MR_OK)
        status = places_choose(places, &place);
    if (status == MR_OK)
        status = lock_take(&r->lock, place, r->files.lock, r->name->display);
    /* Again: it may have come up since, in another directory, or its lock file was deleted under it. */
    if (status == MR_OK)
        status = taken_check(places, &r->files, r->name);
    if (status != MR_OK)
        return status;
    r->directory = memory_strdup(place->path);
    if (r->directory == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a slot");
    return name_publish(r, place, rule, max_message);
}

int rendezvous_claim(struct rendezvous **out, const struct slot_name *name, const struct access_rule *rule,
                     uint64_t max_message)
{
    if (name->kind != SLOT_NAME_LOCAL)
        return fail_not_local(name);
    struct rendezvous *r = memory_zalloc(sizeof *r);
    if (r == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a slot");
    r->name = name;
    r->lock.fd = r->page_file.fd = -1;
    r->listener[RENDEZVOUS_PLAIN] = r->listener[RENDEZVOUS_RING] = -1;
    slot_files_of(&r->files, name);

    registry_enter();
    struct places places;
    int status = places_open(&places);
    if (status == MR_OK) {
        status = claim_held(r, &places, rule, max_message);
        places_close(&places);
    }
    r->name = NULL;
    if (status == MR_OK)
        *out = r;
    else
        rendezvous_free(r);
    registry_leave();
    return status;
}

int rendezvous_listener(const struct rendezvous *r, enum rendezvous_socket which)
{
    return r->listener[which];
}

struct statistics_page *rendezvous_page(const struct rendezvous *r)
{
    return r->page;
}

void rendezvous_release(struct rendezvous *r, bool in_child)
{
    if (r == NULL)
        return;
    registry_enter();
    if (!in_child) {
        /* The directory may have gone, with the files: then there is nothing left to remove. */
        int directory = open(r->directory, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (directory < 0 && (errno == EMFILE || errno == ENFILE)) {
            close(r->listener[RENDEZVOUS_PLAIN]); /* its own place will do */
            r->listener[RENDEZVOUS_PLAIN] = -1;
            directory = open(r->directory, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        }
        if (directory >= 0) {
            files_remove(r, directory);
            close(directory);
        }
    }
    rendezvous_free(r);
    registry_leave();
}
