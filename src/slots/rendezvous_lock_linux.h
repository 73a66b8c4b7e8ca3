/* rendezvous_lock_linux.h: lock files, and the files whose locks this process holds. */
#ifndef SLOTS_RENDEZVOUS_LOCK_LINUX_H
#define SLOTS_RENDEZVOUS_LOCK_LINUX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "slots/rendezvous_place_linux.h"

/* A file that this process holds a lock on. Lives in the owner's struct. */
struct held_file {
    struct held_file *next;
    dev_t device;
    ino_t inode;
    int fd;
};

/* A file as it was met. */
struct met_file {
    struct stat stat;
    int fd;
    bool held; /* by this process: `fd` is the holder's, and stays open */
};

/* Between these two nobody else in the process opens, locks or closes such a file. Not recursive. */
void registry_enter(void);
void registry_leave(void);

/* The functions below are called between the two. */

void registry_add(struct held_file *file, int fd, const struct stat *stat);
/* Closes the descriptor, and with it the lock. A file that was never added is left alone. */
void registry_drop(struct held_file *file);

/* Opens the regular file `name`, never following a link and never disturbing a lock of this process. 0, or the system's
 * code: ENOENT, EACCES, EMFILE, …; ELOOP: a link; EINVAL: no regular file. */
int met_file_open(struct met_file *file, int directory, const char *name, int flags);
void met_file_close(struct met_file *file);

/* Is the whole file write-locked by somebody? `pid` is the holder's; 0: in another pid namespace. */
bool met_file_locked(const struct met_file *file, uint32_t *pid);

/* Takes the lock file `name`, made if it is not there, without waiting. `display` is for the sentences. MR_E_EXISTS,
 * MR_E_ACCESS, MR_E_DESCRIPTORS, MR_E_SYSTEM. */
int lock_take(struct held_file *lock, const struct place *place, const char *name, const char *display);

/* "the slot X is held by process P (command)", as status MR_E_EXISTS. */
int lock_held_by(const char *display, uint32_t pid, const char *directory);

/* Maps the errno of a failed call to MR_E_DESCRIPTORS, MR_E_ACCESS, MR_E_MEMORY or MR_E_SYSTEM. */
int status_of_errno(int error);

#endif
