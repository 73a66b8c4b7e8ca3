/* fixture.h: what the contract's tests need of a system, so that one text serves every backend.
 *
 * test_contract.c is compiled once per backend, with fixture_linux.c, fixture_windows.c or fixture_simulated.c beside
 * it. "Near" handles are given to endpoint_open, which owns them from then on; "far" handles are the other ends, which
 * no port knows: they are used through the functions here only. Every function ends the test when it cannot do what it
 * says. None of them may be needed by a backend in order to work: a test that passes only because the fixture pumps
 * something is none.
 *
 * Time: tests ask clock_now() and let time pass with port_wait only. On a real system time passes by itself. The
 * simulated clock stands still while code runs; when a thread that is alone finds nothing in port_wait, it jumps to
 * whatever comes first, a deadline or the end of the wait. After fixture_threads() it follows the real one. */
#ifndef TESTS_IOCP_FIXTURE_H
#define TESTS_IOCP_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "iocp/backend.h"

/* What a system can do at all. Where it cannot, the tests demand MR_E_UNSUPPORTED instead. */
enum fixture_ability {
    FIXTURE_ACCEPT,     /* port_accept */
    FIXTURE_WATCH,      /* port_watch, WAIT_IN on what fixture_event gives */
    FIXTURE_WATCH_PAIR, /* port_watch, both directions, on a near handle of fixture_pair */
    FIXTURE_SMALL_SIZE, /* MR_E_SMALL tells the needed size */
    FIXTURE_FAR_RESET   /* the far end may close with messages of ours unread, and what it had sent can be received */
};

bool fixture_can(enum fixture_ability ability);

/* Before the first port_open of a test that runs more than one thread. */
void fixture_threads(void);

/* A connected pair that keeps message boundaries, empty messages included, and has room for at least FIXTURE_ROOM
 * messages of 64 bytes in either direction. */
#define FIXTURE_ROOM 16
void fixture_pair(os_handle *near_end, os_handle *far_end);

/* Sends one message from the far end; there is room for it. */
void fixture_far_send(os_handle far_end, const void *data, size_t length);
/* Receives one message at the far end, waiting for it. Its length, or -1 when the near end has gone. */
int64_t fixture_far_receive(os_handle far_end, void *buffer, size_t size);
void fixture_far_close(os_handle far_end);

/* Something that accepts connections, and a far end that connects to it. The connection is complete, or sure to be
 * once the listener accepts, when fixture_connect returns. `listener` stays valid to connect to while its endpoint
 * is open. */
os_handle fixture_listen(void);
os_handle fixture_connect(os_handle listener);

/* A handle that is signalled by fixture_signal and stays so until fixture_unsignal. */
os_handle fixture_event(void);
void fixture_signal(os_handle event);
void fixture_unsignal(os_handle event);

/* A handle that can tell WAIT_IN, but not WAIT_OUT. */
os_handle fixture_one_way(void);

/* A handle that was open once and is closed now. */
os_handle fixture_closed(void);

/* Starts a receive on `e`, whose far end has sent a message, that the system fails with an error of its own
 * (an address that is not mapped, for instance). */
enum started fixture_start_failing(endpoint *e, operation *o);

/* Whether the handle is close-on-exec (not inheritable). */
bool fixture_is_private(os_handle handle);
/* Closes a handle that no endpoint owns. */
void fixture_close(os_handle handle);

/* How often the threads of this name (thread_start's) have been woken up so far. Only differences mean something; where
 * the system does not tell, always 0. */
uint64_t fixture_wakeups(const char *threads);

#endif
