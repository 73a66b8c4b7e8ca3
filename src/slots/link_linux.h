/* link_linux.h: what a writer's links have in common on Linux, whichever lane they go by.
 *
 * Owners  `name` belongs to who may call link_send. `waker` is any thread's.
 */
#ifndef SLOTS_LINK_LINUX_H
#define SLOTS_LINK_LINUX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "slots/backend.h"

#define NO_DESCRIPTOR (-1)

/* Ends a wait from another thread. */
struct waker {
    _Atomic int event; /* made by the first wait */
    _Atomic bool woken;
};

/* The first member of both lanes' links. */
struct slot_link {
    bool plain;
    uint32_t reader_uid;
    char *name; /* as displayed; parsed anew at each connection, because a parsed name takes 7 KiB */
    struct waker waker;
};

/* What a wait polls with POLLIN; -1 where no descriptor is left: then it cannot be cut short. */
int waker_event(struct waker *waker);
/* Has link_wake been called? Once for each. To be asked after waker_event and before the sleep. */
bool waker_take(struct waker *waker);

/* For ppoll. */
struct timespec time_until(uint64_t deadline);

#endif
