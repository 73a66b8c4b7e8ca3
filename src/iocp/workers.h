/* workers.h: the public port (mailroom/port.h) from the inside: a backend's port and the threads that wait on it.
 *
 * What slots and writers need beyond the public functions. */
#ifndef IOCP_WORKERS_H
#define IOCP_WORKERS_H

#include <stdbool.h>

#include <mailroom/port.h>

#include "iocp/backend.h"

/* A worker that was started because all others were inside callbacks ends after so long without a packet. */
#define WORKER_RETIRE_NS UINT64_C(2000000000)

/* How long all workers must have been inside callbacks, without one packet taken, before another is started. */
#define WORKER_TICK_NS UINT64_C(1000000)

/* The completion port below, for starting operations. It lives as long as `p`. Any thread. */
port *mr_port_backend(const mr_port *p);

/* Whether the calling thread is one of `p`'s workers, that is: inside one of its callbacks. */
bool mr_port_is_worker(const mr_port *p);

/* Around every wait inside Mailroom for what another thread does. On a worker, of whatever port: until the end of the
 * wait it does not count against workers_max, so that there is always one who can do what is waited for. On any other
 * thread nothing happens. Not nested; no callback runs in between. */
void mr_port_wait_begin(void);
void mr_port_wait_end(void);

/* MR_OK, or MR_E_FORKED in a child of the process that opened `p`: there its workers do not exist. */
int mr_port_check(const mr_port *p);

/* Count the readers and writers that use the port; mr_port_close refuses while there are any. Unbinding is the last
 * thing that a reader or writer does with the port: it may be freed right after. Any thread. */
void mr_port_bind_reader(mr_port *p);
void mr_port_unbind_reader(mr_port *p);
void mr_port_bind_writer(mr_port *p);
void mr_port_unbind_writer(mr_port *p);

/* The process-wide port with one worker for writers that were given none: opened by the first acquire, closed by the
 * last release. acquire returns MR_OK and *out, or mr_port_open's errors. A release waits for the port's end, except
 * on one of the port's own workers, where the closing goes on behind the caller's back. A forked child gets a port of
 * its own, and never releases what its parent acquired. Any thread. */
int mr_port_shared_acquire(mr_port **out);
void mr_port_shared_release(mr_port *p);

#endif
