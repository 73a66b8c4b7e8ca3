/* watch.h: what --follow asks of the operating system: files that keep their identity under any name, and being told
 * when one of them or its name changes. watch_linux.c is inotify. */
#ifndef CLI_WATCH_H
#define CLI_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Two files with the same identity are one file. `born` (nanoseconds, 0: the file system does not tell) keeps an
 * inode that is used again apart from its predecessor; where it is there, the device number, which may change at a
 * start of the machine, does not count. */
struct file_identity {
    uint64_t device;
    uint64_t inode;
    uint64_t born;
};

struct file_status {
    struct file_identity identity;
    uint64_t size;
    bool regular;
    bool unlinked; /* no name is left */
};

bool file_same(const struct file_identity *a, const struct file_identity *b);
bool file_get_status(int descriptor, struct file_status *status);
/* Bytes, 0 at the end, -1 with errno. */
long file_read_at(int descriptor, void *data, size_t size, uint64_t offset);
void file_close(int descriptor);

struct watch;

/* Watches the folder of `path` for changes of that name. NULL: an error has been printed. */
struct watch *watch_open(const char *path);
void watch_close(struct watch *watch);

/* Readable when something has changed. */
int watch_descriptor(const struct watch *watch);

/* Takes all that is known of changes. True when the name `path`, or one that watch_scan looks for, has come, gone or
 * moved, or that cannot be excluded: then look at the names again. */
bool watch_take(struct watch *watch);

/* Tells of changes of this file's content too. A number to forget it by, -1 with errno. */
int watch_add(struct watch *watch, int descriptor);
void watch_forget(struct watch *watch, int number);

/* Opens the file that has the name now: a descriptor, or -1 with errno. */
int watch_open_live(const struct watch *watch);

/* Opens, one after another, the files that may be former holders of the name, and calls `visit` with each descriptor,
 * which `visit` then owns: what was moved away from the watched name since the last watch_settle, under whatever name
 * it has now. Where that is not known, at the start and after too many changes at once: the files whose names are the
 * watched one and a rotation's suffix (digits and - _ . : T Z behind a dot or dash, so nothing that was compressed).
 * False, with errno, where the folder cannot be read. */
typedef void (*watch_visit)(void *context, int descriptor, const char *name);
bool watch_scan(struct watch *watch, watch_visit visit, void *context);

/* The names have been looked at, and nothing has changed meanwhile. */
void watch_settle(struct watch *watch);

#endif
