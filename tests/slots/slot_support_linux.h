/* slot_support_linux.h: what the tests of slots share on Linux: plain clients by address, forked children. Every function
 * ends the test where it fails, unless it says otherwise. */
#ifndef TEST_SLOTS_SLOT_SUPPORT_LINUX_H
#define TEST_SLOTS_SLOT_SUPPORT_LINUX_H

#include <sys/types.h>
#include <sys/un.h>

#include "slot_support.h"

/* plain_connect for forked children, which must not call the library: the address first, then the socket; -1 and errno. */
struct sockaddr_un plain_address(const char *name);
int plain_dial(const struct sockaddr_un *address);

/* Sends what there is room for at this moment: true, it is handed over. */
bool client_try(int client, const void *data, size_t length);

/* Runs `body` in a forked child, which exits 0 when it returns. */
pid_t slots_fork(void (*body)(void *argument), void *argument);
/* Waits for a child; it must have exited 0. */
void slots_join(pid_t child);

/* Waits until the process has no more than so many descriptors: closing happens on other threads too. */
void slots_await_descriptors(size_t most);

/* A connected TCP socket over the loopback with unsent data, which lingers for an hour when it is closed; *holder: its
 * other end. */
int slots_lingering_socket(int *holder);

#endif
