/* rendezvous_files_linux.h: what the files of a slot are called. */
#ifndef SLOTS_RENDEZVOUS_FILES_LINUX_H
#define SLOTS_RENDEZVOUS_FILES_LINUX_H

#include <stdbool.h>
#include <stddef.h>

#include "slots/name.h"

enum {
    FILE_STEM_MAX = 200,  /* bytes of an escaped name that is used as it is */
    FILE_NAME_ROOM = 256, /* NAME_MAX and the NUL */
    PRIVATE_NAME_ROOM = 48
};

#define PAGE_SUFFIX ".page"

/* A slot's two sockets: so no packet can be mistaken for a hello. */
enum rendezvous_socket {
    RENDEZVOUS_PLAIN, /* STEM.sock: a packet is a message */
    RENDEZVOUS_RING,  /* STEM.ring: hellos (ring_hello_linux.h) */
    RENDEZVOUS_SOCKETS
};

struct slot_files {
    char lock[FILE_NAME_ROOM];
    char socket[RENDEZVOUS_SOCKETS][FILE_NAME_ROOM];
    char page[FILE_NAME_ROOM];
    char new_socket[RENDEZVOUS_SOCKETS][PRIVATE_NAME_ROOM]; /* names under which they are made; short, for sun_path */
    char new_page[PRIVATE_NAME_ROOM];
};

void slot_files_of(struct slot_files *files, const struct slot_name *name);

/* The folded name that a page's file name stands for. False: no page's, or one whose name is too long to be in it. */
bool slot_files_unescape(const char *page, char *folded, size_t room);

#endif
