/* rendezvous_look_linux.h: what the inside of the rendezvous shares: looking at a page, and failing alike. */
#ifndef SLOTS_RENDEZVOUS_LOOK_LINUX_H
#define SLOTS_RENDEZVOUS_LOOK_LINUX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#include "slots/name.h"
#include "slots/rendezvous_files_linux.h"
#include "slots/statistics_page.h"

enum look {
    LOOK_ABSENT, /* no page, or nobody holds it */
    LOOK_LIVE,
    LOOK_OTHER, /* live, and of another name: two names with one hash, a page that lies, or one of another version */
    LOOK_FAILED /* out of descriptors or memory: the system's code is in `error` */
};

struct seen_page {
    struct statistics_view view;
    bool readable;
    dev_t device;
    ino_t inode;
    uint32_t uid;
    uint32_t pid;
    int error;
};

/* Looks at the page `page` in an open slot directory: LOOK_ABSENT, LOOK_LIVE, LOOK_FAILED. */
enum look page_look(int directory, const char *page, struct seen_page *seen);

/* Looks whether the slot `name` is live there. name_look_held: between registry_enter and registry_leave. */
enum look name_look(int directory, const struct slot_files *files, const struct slot_name *name,
                    struct seen_page *seen);
enum look name_look_held(int directory, const struct slot_files *files, const struct slot_name *name,
                         struct seen_page *seen);

/* The address of `file` in the open directory `fd`, or of the open file `fd` itself where `file` is empty: sun_path has no
 * room for a long path, and a path could be exchanged. */
void address_through(struct sockaddr_un *address, int fd, const char *file);

/* Has the kernel refuse passed descriptors on this socket. False: it cannot. */
bool rights_refuse(int fd);

int fail_look(int error);
int fail_not_local(const struct slot_name *name);

#endif
