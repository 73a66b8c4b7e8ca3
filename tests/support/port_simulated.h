/* port_simulated.h: a completion port without an operating system, for deterministic tests of what stands on it.
 *
 * port_simulated.c implements src/iocp/backend.h. A program that links it (instead of the platform's backend, and with
 * the linker's --wrap=clock_now --wrap=clock_deadline) runs on handles, time and failures that the test decides:
 *   - Time stands still while code runs. When a thread finds nothing in port_wait, the clock jumps to the first
 *     deadline of that port, or to the end of the wait. simulated_threads() makes it the real clock, for tests that
 *     run more than one thread.
 *   - The seed decides in which order completions come (posts keep theirs, deadlines too), and whether an operation
 *     that could complete at once does so with STARTED_DONE or by a packet.
 *   - simulated_fail makes a chosen start fail.
 * One lock guards the whole world, so nothing here says anything about speed. */
#ifndef TESTS_SUPPORT_PORT_SIMULATED_H
#define TESTS_SUPPORT_PORT_SIMULATED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "iocp/backend.h"

/* What a channel holds before a send has to wait. */
#define SIMULATED_CAPACITY 32768u

void simulated_seed(uint64_t seed);
void simulated_threads(void);
/* Moves the clock. Deadlines that have come are handed out by the next port_wait. */
void simulated_advance(uint64_t nanoseconds);

enum simulated_start {
    SIMULATED_RECEIVE,
    SIMULATED_SEND,
    SIMULATED_ACCEPT,
    SIMULATED_WATCH,
    SIMULATED_DEADLINE,
    SIMULATED_ENDPOINT, /* endpoint_open returns the status */
    SIMULATED_PORT,     /* port_open does */
    SIMULATED_STARTS
};

/* The start of that kind after `countdown` others (0: the next one) fails with `status` and `os_error`, once. */
void simulated_fail(enum simulated_start kind, unsigned countdown, int status, int64_t os_error);

/* The world's objects. Near ends go to endpoint_open; whoever holds a far end uses it through these functions. */
void simulated_pair(os_handle *near_end, os_handle *far_end);
/* False when there is no room. */
bool simulated_send(os_handle far_end, const void *data, size_t length);
/* The length; -1 when the near end has gone; -2 when there is nothing. */
int64_t simulated_receive(os_handle far_end, void *buffer, size_t size);
void simulated_close(os_handle handle);
os_handle simulated_listener(void);
os_handle simulated_connect(os_handle listener);
os_handle simulated_event(void);
void simulated_signal(os_handle event, bool signalled);
/* How many handles are open. */
unsigned simulated_open_handles(void);
/* How often threads have been woken in port_wait and found nothing. */
uint64_t simulated_wakeups(void);

#endif
