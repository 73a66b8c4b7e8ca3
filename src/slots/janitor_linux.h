/* janitor_linux.h: descriptors nobody wants, and the one that is kept in reserve.
 *
 * close() can block: on a socket that lingers, on a file of a FUSE server. Whoever passes such a descriptor to a slot
 * must not thereby stop a worker, so unexpected descriptors are closed by a thread of their own, which runs only while
 * there is something to close.
 * When descriptors run out, accept() fails while the connection stays in the queue and keeps the listener readable:
 * the spare descriptor is given up for a moment to accept and close it. */
#ifndef SLOTS_JANITOR_LINUX_H
#define SLOTS_JANITOR_LINUX_H

#include <stdbool.h>
#include <stddef.h>

/* Sees to it that there is a spare descriptor. MR_OK, MR_E_MEMORY, MR_E_DESCRIPTORS. Any thread; before the rest. */
int janitor_prepare(void);

/* Takes the descriptors over and closes them, in time. Any thread, never blocks. */
void janitor_close(const int *descriptors, size_t count);

enum refused {
    REFUSED_ONE,     /* a connection was accepted and closed at once */
    REFUSED_NONE,    /* none waits */
    REFUSED_NO_SPARE /* another thread has taken the last descriptor: mask the listener and wait for the spare */
};

/* Refuses the next connection that waits at `listener`, with the spare descriptor. Any thread. */
enum refused janitor_refuse(int listener);

/* Waiting for the spare. The waiter lives in the caller's object; zero it first. */
struct spare_waiter {
    void (*callback)(void *context); /* once; must not block, nor call the janitor */
    void *context;
    struct spare_waiter *next; /* private */
    bool listed;
};

/* Registers (once is enough until the callback). While somebody waits, the janitor's thread tries ten times a second:
 * that a descriptor frees somewhere in the process, or in the system, is told to nobody. */
void janitor_wait_spare(struct spare_waiter *waiter);
/* After it returns the callback does not run. */
void janitor_cancel_spare(struct spare_waiter *waiter);

#endif
