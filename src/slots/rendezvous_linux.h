/* rendezvous_linux.h: where slots are found on Linux, and who owns a name.
 *
 *   reader   rendezvous_claim ► accept on rendezvous_listener ► rendezvous_harden ► access_check … ► rendezvous_release
 *   writer   rendezvous_connect
 *   list     rendezvous_visit
 *
 * The files of a slot, the order in which they come and go, and the argument why a kill at any instant blocks nobody
 * are in rendezvous_linux.c. Any function may be called on any thread.
 */
#ifndef SLOTS_RENDEZVOUS_LINUX_H
#define SLOTS_RENDEZVOUS_LINUX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "slots/access.h"
#include "slots/name.h"
#include "slots/rendezvous_files_linux.h"
#include "slots/statistics_page.h"

struct rendezvous;

/* What a writer learns about the slot that it has been connected to. */
struct slot_limits {
    uint64_t max_message; /* bytes */
    uint32_t owner_uid;   /* by the kernel's word (SO_PEERCRED) */
    uint32_t owner_pid;   /* 0: in another pid namespace */
};

/* A live slot, as rendezvous_visit shows it. */
struct rendezvous_entry {
    const struct slot_name *name;
    const char *directory;              /* path of the slot directory */
    const char *socket;                 /* name of the plain lane's socket in it */
    uint32_t uid;                       /* owner of the page */
    uint32_t pid;                       /* holder of its lock; 0: in another pid namespace */
    const struct statistics_view *view; /* NULL: the page cannot be read (another version) */
};

/* ---- the reading end ---- */

/* Makes the local name live: holds its lock, has published a listening socket and a page. Until the page is there no
 * library writer finds it. `rule` and `name` are read during the call only.
 * MR_E_EXISTS: live already, in any directory that this user sees; the text names its holder. MR_E_ACCESS: no directory
 * to create it in, or files of another user stand in the way; the text says which. MR_E_NAME (not local),
 * MR_E_DESCRIPTORS, MR_E_MEMORY, MR_E_SYSTEM. */
int rendezvous_claim(struct rendezvous **out, const struct slot_name *name, const struct access_rule *rule,
                     uint64_t max_message);

/* The listening SOCK_SEQPACKET sockets: close-on-exec, non-blocking. The plain one has SO_PASSCRED on, and
 * SO_PASSRIGHTS off where the kernel knows it; the ring's needs the descriptors that are passed. They belong to the rendezvous. */
int rendezvous_listener(const struct rendezvous *r, enum rendezvous_socket which);

/* The slot's statistics page. Belongs to the rendezvous. */
struct statistics_page *rendezvous_page(const struct rendezvous *r);

/* To be called on each accepted plain connection before it is read: sets SO_PASSCRED and turns SO_PASSRIGHTS off (both are
 * inherited from the listener by the kernels we know; this asks for it). *rights_refused (may be NULL) tells whether
 * the kernel refuses passed descriptors by itself. MR_OK or MR_E_SYSTEM. */
int rendezvous_harden(int connection, bool *rights_refused);

/* Ends the name: page, socket, lock, in this order; connections already accepted live on. `in_child`: only this forked
 * child's copies of the descriptors and mappings go; the parent's slot is not touched. NULL is allowed. */
void rendezvous_release(struct rendezvous *r, bool in_child);

/* ---- the writing end ---- */

/* Connects to a socket of the live slot. *fd: SOCK_SEQPACKET, close-on-exec, non-blocking; nothing has been sent on it. SO_PASSRIGHTS is off
 * where known on the plain one, on the ring's the slot passes a doorbell. A slot is trusted if it belongs to this user, to root, or to `reader_uid` (UINT32_MAX: nobody); an
 * untrusted one is passed over without a byte sent, and reported if there is no trusted one in a later directory.
 * Waits, until `deadline` (clock_now's time) at the most, only while the slot's queue of connections is full.
 * MR_OK, MR_E_NO_SLOT, MR_E_OWNER, MR_E_ACCESS, MR_E_TIMEOUT, MR_E_NAME (not local), MR_E_DESCRIPTORS, MR_E_MEMORY,
 * MR_E_SYSTEM. */
int rendezvous_connect(const struct slot_name *name, enum rendezvous_socket which, uint32_t reader_uid,
                       uint64_t deadline, int *fd, struct slot_limits *limits);

/* ---- looking around ---- */

/* The path of the live slot's plain socket, NUL-terminated. MR_E_NO_SLOT, MR_E_SMALL, MR_E_NAME (not local), MR_E_MEMORY. */
int rendezvous_path(const struct slot_name *name, char *buffer, size_t size);

/* Calls `visit` for each live slot in each directory, in no order, until it returns something else than MR_OK, and returns
 * that. The entry holds during the call. No lock is held meanwhile. MR_E_MEMORY, MR_E_SYSTEM. */
int rendezvous_visit(int (*visit)(const struct rendezvous_entry *entry, void *context), void *context);

/* ---- for tests ---- */

/* Other places than /run/mailroom, /run/user and /tmp for the rest of this process; NULL gives one back. Takes part in
 * no decision of its own (owner and mode are checked as ever), and nothing but a caller inside the process can reach it.
 * `machine_owner`: who must own the machine-wide directory instead of root. The texts must outlive their use. */
void rendezvous_set_places(const char *machine, const char *run_user, const char *tmp, uint32_t machine_owner);

#endif
