/* rendezvous_look_linux.c: is a slot live? Asked of its page, without disturbing anybody (rule R1 in rendezvous_linux.c). */
#include "slots/rendezvous_look_linux.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "queue/status.h"
#include "slots/rendezvous_lock_linux.h"

#if !defined(SO_PASSRIGHTS) && !defined(__hppa__) && !defined(__sparc__)
#define SO_PASSRIGHTS 83 /* Linux 6.16; older ones answer ENOPROTOOPT */
#endif

static enum look page_look_held(int directory, const char *page, struct seen_page *seen)
{
    struct met_file file;
    seen->readable = false;
    seen->error = met_file_open(&file, directory, page, O_RDONLY);
    if (seen->error == EMFILE || seen->error == ENFILE || seen->error == ENOMEM)
        return LOOK_FAILED;
    if (seen->error != 0)
        return LOOK_ABSENT;
    seen->device = file.stat.st_dev;
    seen->inode = file.stat.st_ino;
    seen->uid = file.stat.st_uid;
    bool live = met_file_locked(&file, &seen->pid);
    if (live)
        seen->readable = statistics_page_read(file.fd, &seen->view);
    met_file_close(&file);
    return live ? LOOK_LIVE : LOOK_ABSENT;
}

enum look page_look(int directory, const char *page, struct seen_page *seen)
{
    registry_enter();
    enum look look = page_look_held(directory, page, seen);
    registry_leave();
    return look;
}

enum look name_look_held(int directory, const struct slot_files *files, const struct slot_name *name,
                         struct seen_page *seen)
{
    enum look look = page_look_held(directory, files->page, seen);
    if (look != LOOK_LIVE)
        return look;
    struct slot_name shown;
    if (!seen->readable || name_parse(&shown, seen->view.display) != MR_OK || !name_equal(&shown, name))
        return LOOK_OTHER;
    return LOOK_LIVE;
}

enum look name_look(int directory, const struct slot_files *files, const struct slot_name *name, struct seen_page *seen)
{
    registry_enter();
    enum look look = name_look_held(directory, files, name, seen);
    registry_leave();
    return look;
}

int fail_look(int error)
{
    return status_fail(status_of_errno(error), error, "the slot directory cannot be looked into: %s", strerror(error));
}

int fail_not_local(const struct slot_name *name)
{
    return status_fail(MR_E_NAME, 0, "%.300s is not a slot of this machine; \\\\.\\mailslot\\name is, or just name",
                       name->display);
}

void address_through(struct sockaddr_un *address, int fd, const char *file)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    _Static_assert(sizeof "/proc/self/fd/2147483647/" + PRIVATE_NAME_ROOM <= sizeof address->sun_path,
                   "private names fit");
    snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d%s%s", fd, file[0] != '\0' ? "/" : "", file);
}

bool rights_refuse(int fd)
{
#ifdef SO_PASSRIGHTS
    static const int none = 0;
    return setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &none, sizeof none) == 0;
#else
    (void) fd;
    return false;
#endif
}
