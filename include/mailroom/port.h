/* mailroom/port.h: the completion port and its worker pool.
 *
 * One port serves any number of readers and writers. Its workers run their callbacks. */
#ifndef MAILROOM_PORT_H
#define MAILROOM_PORT_H

#include <stddef.h>
#include <stdint.h>

#include <mailroom/export.h>
#include <mailroom/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mr_port mr_port;

/* The largest concurrency that can be asked for. */
#define MR_PORT_CONCURRENCY_MAX 65536u

typedef struct mr_port_options {
    size_t size;          /* of this struct, set by the macro or the init function */
    uint32_t concurrency; /* how many workers should run at once; 0: the number of processors the process may use */
    uint32_t workers_max; /* threads at most, when callbacks block (but see mr_port_open); 0: 4 x concurrency + 4. Not
                           * below concurrency. */
} mr_port_options;

#define MR_PORT_OPTIONS_INIT          \
    {                                 \
        sizeof(mr_port_options), 0, 0 \
    }
MR_API void mr_port_options_init(mr_port_options *options);

typedef struct mr_port_statistics {
    size_t size;           /* of this struct, set by the caller */
    uint64_t packets;      /* completion packets handled so far */
    uint32_t workers;      /* threads at this moment */
    uint32_t workers_peak; /* the most there have been */
    uint32_t waiting;      /* of them, without work at this moment */
    uint32_t readers;      /* readers and writers that are bound to the port */
    uint32_t writers;
} mr_port_statistics;

#define MR_PORT_STATISTICS_INIT                      \
    {                                                \
        sizeof(mr_port_statistics), 0, 0, 0, 0, 0, 0 \
    }

/* Opens a completion port and starts `concurrency` workers. `options` may be NULL for the defaults.
 * A worker is a thread with every signal blocked. When every worker has been inside a callback for a while (1 to 2 ms),
 * another is started, up to workers_max, and retired when it has been idle for 2 s; on Linux one
 * second later where `concurrency` of them run, or wait for a processor, instead of blocking. A worker whose callback waits inside
 * a function of Mailroom (for a full slot, a flush, the end of another reader) does not count against workers_max while
 * it does: the wait may be for another worker. With nothing to do no thread runs.
 * Returns MR_OK and *port (close it with mr_port_close), MR_E_ARGUMENT (workers_max below a concurrency that was given, a
 * concurrency above MR_PORT_CONCURRENCY_MAX, a size that is no size of this struct), MR_E_MEMORY, MR_E_DESCRIPTORS, MR_E_SYSTEM.
 * Any thread. Mirrors CreateIoCompletionPort. */
MR_NODISCARD MR_API int mr_port_open(mr_port **port, const mr_port_options *options);

/* Stops the workers, waits for them and frees the port. Every reader and writer bound to it must have been closed:
 * otherwise MR_E_ARGUMENT, nothing happens, and mr_last_error_text says how many there are.
 * MR_E_CALLBACK inside a callback of the port (it would wait for itself); MR_E_FORKED in a forked child. NULL is MR_OK.
 * Any thread but the port's workers; no other call on the port may be under way, or come later. */
MR_API int mr_port_close(mr_port *port);

/* Reads the port's counters. MR_OK, MR_E_ARGUMENT (a `size` that is not this struct's). Any thread, callbacks too; the counters are not of one instant. */
MR_API int mr_port_get_statistics(const mr_port *port, mr_port_statistics *statistics);

#ifdef __cplusplus
}
#endif

#endif
