/* rendezvous_connect_linux.c: how a live slot is found, by a writer and by whoever looks around.
 *
 * Path    each directory in its order: page live? > owner trusted? > connect > peer trusted? > page still the same and
 *         live? (rules R1, R2 and R6 in rendezvous_linux.c)
 * C1      A slot that is not trusted, or that lets nobody in, does not hide one in a later directory: a name squatted in the
 *         directory that all can write to costs its owner nothing.
 * C2      Only connect(2) can wait, and not longer than the deadline, however the other end behaves: it is alive and its
 *         queue of connections is full.
 * C3      The socket is reached through a descriptor of the file itself (O_PATH, no link followed), so what was looked at is
 *         what is connected to.
 */
#include "slots/rendezvous_linux.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "queue/status.h"
#include "queue/thread.h"
#include "slots/rendezvous_lock_linux.h"
#include "slots/rendezvous_look_linux.h"
#include "slots/rendezvous_place_linux.h"

enum { CONNECT_TRIES = 8 };

struct search {
    const struct slot_name *name;
    struct slot_files files;
    enum rendezvous_socket which;
    uint32_t reader_uid;
    uint64_t deadline;
    int fd;
    struct slot_limits *limits;
};

static bool owner_trusted(const struct search *s, uint32_t uid)
{
    return uid != UINT32_MAX && (uid == 0 || uid == geteuid() || uid == s->reader_uid);
}

static int fail_owner(const struct search *s, const struct place *place, uint32_t uid)
{
    return status_fail(MR_E_OWNER, 0,
                       "the slot %.300s in %.100s belongs to user %u, whom this writer does not trust; nothing "
                       "was sent (reader_uid would trust)",
                       s->name->display, place->path, (unsigned) uid);
}

/* connect(2), waiting for room in the queue of connections until the deadline. 0 or the system's code; EAGAIN: no room. */
static int connect_until(int fd, const struct sockaddr_un *address, uint64_t deadline)
{
    for (;;) {
        uint64_t now = clock_now();
        bool wait = deadline > now;
        struct timeval left = {0, 0}; /* for ever */
        if (wait && deadline != CLOCK_NEVER) {
            uint64_t microseconds = (deadline - now) / 1000 + 1;
            left = (struct timeval){(time_t) (microseconds / 1000000), (suseconds_t) (microseconds % 1000000)};
        }
        int flags = fcntl(fd, F_GETFL);
        if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &left, sizeof left) != 0 ||
            fcntl(fd, F_SETFL, wait ? flags & ~O_NONBLOCK : flags | O_NONBLOCK) != 0)
            return errno;
        if (connect(fd, (const struct sockaddr *) address, sizeof *address) == 0)
            return fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 ? 0 : errno;
        if (errno != EINTR && !(errno == EAGAIN && wait))
            return errno;
    }
}

static int fail_connect(const struct search *s, int error, const struct stat *socket_stat)
{
    const char *name = s->name->display;
    if (error == EAGAIN)
        return status_fail(MR_E_TIMEOUT, error,
                           "the slot %.300s does not take connections: its queue of them stayed full", name);
    if (error != EACCES && error != EPERM)
        return status_fail(status_of_errno(error), error, "the slot %.300s cannot be reached: %s", name,
                           strerror(error));
    if ((socket_stat->st_mode & S_IWGRP) != 0)
        return status_fail(MR_E_ACCESS, error,
                           "only members of group %u, user %u and root may write to the slot %.300s",
                           (unsigned) socket_stat->st_gid, (unsigned) socket_stat->st_uid, name);
    return status_fail(MR_E_ACCESS, error, "only user %u and root may write to the slot %.300s",
                       (unsigned) socket_stat->st_uid, name);
}

/* Connects to STEM.sock or STEM.ring in `place`. MR_E_GONE: nobody listens there. */
static int socket_connect(struct search *s, const struct place *place)
{
    int file = openat(place->fd, s->files.socket[s->which], O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (file < 0)
        return errno == ENOENT ? MR_E_GONE : fail_look(errno);
    struct stat socket_stat;
    struct sockaddr_un address;
    address_through(&address, file, "");
    int error = fstat(file, &socket_stat) != 0 ? errno : !S_ISSOCK(socket_stat.st_mode) ? ECONNREFUSED : 0;
    if (error == 0) {
        s->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (s->fd < 0) {
            error = errno;
        } else {
            if (s->which == RENDEZVOUS_PLAIN)
                (void) rights_refuse(s->fd);
            error = connect_until(s->fd, &address, s->deadline);
        }
    }
    close(file);
    if (error == 0)
        return MR_OK;
    if (error == ECONNREFUSED || error == ENOENT || error == EPROTOTYPE)
        return MR_E_GONE;
    return fail_connect(s, error, &socket_stat);
}

/* One attempt in one directory. MR_E_NO_SLOT: not live here; MR_E_GONE: it changed meanwhile, again. */
static int place_try(struct search *s, const struct place *place)
{
    struct seen_page before, after;
    enum look look = name_look(place->fd, &s->files, s->name, &before);
    if (look == LOOK_FAILED)
        return fail_look(before.error);
    if (look != LOOK_LIVE)
        return MR_E_NO_SLOT;
    if (!owner_trusted(s, before.uid))
        return fail_owner(s, place, before.uid);
    int status = socket_connect(s, place);
    if (status != MR_OK)
        return status;
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(s->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        return status_fail(MR_E_SYSTEM, errno, "the owner of a connection cannot be read: %s", strerror(errno));
    if (!owner_trusted(s, peer.uid))
        return fail_owner(s, place, peer.uid);
    look = name_look(place->fd, &s->files, s->name, &after);
    if (look == LOOK_FAILED)
        return fail_look(after.error);
    if (look != LOOK_LIVE || after.inode != before.inode || after.device != before.device)
        return MR_E_GONE;
    *s->limits = (struct slot_limits){after.view.max_message, peer.uid, (uint32_t) peer.pid};
    return MR_OK;
}

static int place_connect(struct search *s, const struct place *place)
{
    int status = MR_E_NO_SLOT;
    for (int i = 0; i < CONNECT_TRIES; i++) {
        status = place_try(s, place);
        if (status == MR_OK)
            return MR_OK;
        if (s->fd >= 0)
            close(s->fd);
        s->fd = -1;
        if (status != MR_E_GONE)
            return status;
    }
    return MR_E_NO_SLOT;
}

static int fail_no_slot(const struct slot_name *name, const struct places *places)
{
    const char *unseen = places_unseen(places);
    return status_fail(MR_E_NO_SLOT, 0, "there is no live slot %.300s%s%s", name->display,
                       unseen != NULL ? "; a slot directory was not looked into: " : "", unseen != NULL ? unseen : "");
}

int rendezvous_connect(const struct slot_name *name, enum rendezvous_socket which, uint32_t reader_uid,
                       uint64_t deadline, int *fd, struct slot_limits *limits)
{
    if (name->kind != SLOT_NAME_LOCAL)
        return fail_not_local(name);
    struct search s = {
        .name = name, .which = which, .reader_uid = reader_uid, .deadline = deadline, .fd = -1, .limits = limits};
    slot_files_of(&s.files, name);
    struct status_memo before; /* a slot found in a later directory is a success */
    status_save(&before);
    struct places places;
    int status = places_open(&places);
    if (status != MR_OK)
        return status;
    status = MR_E_NO_SLOT;
    for (size_t i = 0; i < places.count; i++) {
        if (places.list[i].fd < 0)
            continue;
        int here = place_connect(&s, &places.list[i]);
        if (here == MR_E_NO_SLOT)
            continue;
        status = here;
        if (here != MR_E_OWNER && here != MR_E_ACCESS)
            break; /* connected, or an error that ends the search */
    }
    if (status == MR_E_NO_SLOT)
        status = fail_no_slot(name, &places);
    places_close(&places);
    if (status == MR_OK) {
        status_restore(&before);
        *fd = s.fd;
    }
    return status;
}

/* ---- looking around ---- */

int rendezvous_path(const struct slot_name *name, char *buffer, size_t size)
{
    if (name->kind != SLOT_NAME_LOCAL)
        return fail_not_local(name);
    struct search s = {.name = name, .reader_uid = UINT32_MAX};
    slot_files_of(&s.files, name);
    struct places places;
    int status = places_open(&places);
    if (status != MR_OK)
        return status;
    const struct place *found = NULL;
    for (size_t i = 0; i < places.count && status == MR_OK; i++) {
        struct seen_page seen;
        if (places.list[i].fd < 0)
            continue;
        enum look look = name_look(places.list[i].fd, &s.files, name, &seen);
        if (look == LOOK_FAILED)
            status = fail_look(seen.error);
        if (look != LOOK_LIVE)
            continue;
        if (found == NULL || owner_trusted(&s, seen.uid))
            found = &places.list[i];
        if (owner_trusted(&s, seen.uid))
            break; /* the one that a writer would take */
    }
    if (status == MR_OK && found == NULL) {
        status = fail_no_slot(name, &places);
    } else if (status == MR_OK) {
        size_t needed = strlen(found->path) + 1 + strlen(s.files.socket[RENDEZVOUS_PLAIN]) + 1;
        if (needed > size)
            status = status_fail(MR_E_SMALL, 0, "the path needs %zu bytes", needed);
        else
            snprintf(buffer, size, "%s/%s", found->path, s.files.socket[RENDEZVOUS_PLAIN]);
    }
    places_close(&places);
    return status;
}

/* Makes the entry of a live page. False: its name cannot be told, or it pretends to be another's. */
static bool entry_name(struct slot_name *name, const char *page, struct seen_page *seen)
{
    struct slot_files files;
    if (seen->readable && name_parse(name, seen->view.display) == MR_OK && name->kind == SLOT_NAME_LOCAL) {
        slot_files_of(&files, name);
        if (strcmp(files.page, page) == 0)
            return true;
    }
    seen->readable = false;
    char folded[FILE_NAME_ROOM], text[FILE_NAME_ROOM + 32];
    if (!slot_files_unescape(page, folded, sizeof folded))
        return false;
    snprintf(text, sizeof text, "\\\\.\\mailslot\\%s", folded);
    if (name_parse(name, text) != MR_OK)
        return false;
    slot_files_of(&files, name);
    return strcmp(files.page, page) == 0;
}

static int place_visit(const struct place *place, int (*visit)(const struct rendezvous_entry *entry, void *context),
                       void *context)
{
    int fd = openat(place->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    if (directory == NULL) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        return fail_look(error);
    }
    int status = MR_OK;
    while (status == MR_OK) {
        errno = 0;
        const struct dirent *file = readdir(directory);
        if (file == NULL) {
            if (errno != 0)
                status = fail_look(errno);
            break;
        }
        size_t length = strlen(file->d_name), suffix = sizeof PAGE_SUFFIX - 1;
        if (file->d_name[0] == '~' || length <= suffix || strcmp(file->d_name + length - suffix, PAGE_SUFFIX) != 0)
            continue;
        struct seen_page seen;
        enum look look = page_look(place->fd, file->d_name, &seen);
        if (look == LOOK_FAILED)
            status = fail_look(seen.error);
        struct slot_name name;
        if (look != LOOK_LIVE || !entry_name(&name, file->d_name, &seen))
            continue;
        struct slot_files files;
        slot_files_of(&files, &name);
        struct rendezvous_entry entry = {&name,    place->path, files.socket[RENDEZVOUS_PLAIN],
                                         seen.uid, seen.pid,    seen.readable ? &seen.view : NULL};
        status = visit(&entry, context);
    }
    closedir(directory);
    return status;
}

int rendezvous_visit(int (*visit)(const struct rendezvous_entry *entry, void *context), void *context)
{
    struct status_memo before; /* a page that cannot be read is no error */
    status_save(&before);
    struct places places;
    int status = places_open(&places);
    if (status != MR_OK)
        return status;
    for (size_t i = 0; i < places.count && status == MR_OK; i++)
        if (places.list[i].fd >= 0)
            status = place_visit(&places.list[i], visit, context);
    places_close(&places);
    if (status == MR_OK)
        status_restore(&before);
    return status;
}
