/* peer.h: one way of getting messages from writers to a reader, as the bench drives it. Mailroom's lanes are peers like
 * all others, so every figure is measured by the same code.
 *
 * Path    a writer's process: writer_open ► writer_send … ► writer_flush ► (waits until all has been counted) ► writer_close
 *         the reader's process: reader_open ► reader_run ► sink, once for each message ► reader_close
 *         the bench's own process, which opens no peer and starts the others: service_start … service_stop
 * Owners  Each handle belongs to the process that opened it. With --threads all of them live in one process, on threads of
 *         their own: a peer keeps nothing in static variables that belongs to a run.
 * Errors  Functions return MR_OK or another mr_status, with a sentence kept by status_fail (queue/status.h):
 *             return status_fail(MR_E_SYSTEM, errno, "mq_open %s failed", name);
 *         Whoever called prints it. No peer prints or exits by itself.
 * Memory  memory_alloc and its like (queue/memory.h), for the peers' own code as for Mailroom's.
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/status.h"

#define PEER_TEXT_ROOM 256

/* What a run tells both ends. The same in all processes of a run. */
struct peer_options {
    char name[64]; /* unique per run: [a-z0-9-], the base of slot, queue and socket names */
    char directory
        [PEER_TEXT_ROOM]; /* of the run's own, there before reader_open, removed with all its files afterwards */
    char address[PEER_TEXT_ROOM]; /* what service_start said; "" where the peer has no service */
    char target[PEER_TEXT_ROOM];  /* "", or slots that another program hosts: Mailroom's lanes only */
    size_t size;                  /* of the largest message, bytes */
    unsigned slots;               /* 1 to peer.slots_max */
    unsigned connections;         /* how many writers will be opened, over all slots */
    unsigned levels;              /* priorities go from 0 to levels - 1; a peer that has none ignores them */
    unsigned workers;             /* of the reader's port; 0: the peer's default */
    unsigned depth;               /* queue depth of the reader in messages, where the peer has one; 0: its default */
    unsigned ring_bytes;          /* of Mailroom's rings; 0: the default */
    bool prompt; /* latency is measured: a message is not to wait for company in a batch of the peer's */
};

/* Takes one message that the peer has received from `slot`. `data` holds during the call only. Messages of one slot are
 * handed over one at a time; different slots may come on different threads at once. */
typedef void (*peer_sink)(void *context, unsigned slot, const void *data, size_t length);

struct peer {
    const char *name; /* "zeromq", as in the JSON */
    const char *
        summary; /* what exactly is measured, one line for --help and the table's foot: library version, socket types */
    const char *missing; /* NULL: usable; else what was not found at configure time, and the package that brings it */
    size_t size_max;     /* largest message in bytes, 0: any */
    unsigned slots_max;  /* how many slots one reader can host, 0: any */
    bool lossy;          /* may drop under pressure by its own rules: shown, but not the bench's failure */

    /* In the bench's own process, once before the first and after the last run of the peer (a local nats-server). NULL where
     * there is nothing to start. `address` has PEER_TEXT_ROOM bytes and goes into the options of every run. `directory` is
     * the service's own, removed afterwards. service_stop ends it by its process id and waits for its end. */
    int (*service_start)(void **service, const char *directory, char *address);
    void (*service_stop)(void *service);

    /* In the reader's process. When it returns, writers can be opened and nothing that they send is lost. */
    int (*reader_open)(void **reader, const struct peer_options *options);
    /* Receives and calls the sink for each message, on this thread or others, until *stop is true: then returns soon (it
     * looks at least every 100 ms, or reader_wake tells it). MR_OK, or an error: what was received before stays counted. */
    int (*reader_run)(void *reader, peer_sink sink, void *context, const atomic_bool *stop);
    /* Any thread, after *stop was set: ends the wait of reader_run at once. May be NULL. */
    void (*reader_wake)(void *reader);
    /* After reader_run has returned. No sink is called any more when it returns. */
    void (*reader_close)(void *reader);

    /* In a writer's process. `connection` (0 to connections - 1) is this writer's number; it writes to `slot`. When it
     * returns the writer is connected as far as the peer knows such a thing. */
    int (*writer_open)(void **writer, const struct peer_options *options, unsigned slot, unsigned connection);
    /* Hands over one message; waits while the peer is full. One thread per writer. `priority` below options.levels. */
    int (*writer_send)(void *writer, const void *data, size_t length, unsigned priority);
    /* Sends what the peer or its library has batched; where the peer can tell, until the reader has it. NULL: nothing is
     * kept back. The writer stays open until the run has counted everything. */
    int (*writer_flush)(void *writer, uint32_t timeout_ms);
    void (*writer_close)(void *writer);
};

/* Every peer in the order of the table, missing ones included. Composed in peers_linux.c and
 * peers_windows.c. */
extern const struct peer *const peers[];
extern const size_t peer_count;

/* The name of Mailroom's own best lane here: measured where no other peer is asked for, and what ratios are to. */
extern const char *const peer_base;

/* NULL where there is none of that name. */
const struct peer *peer_find(const char *name);

/* What the machine can do at best: no reader and writer that the bench drives, but a measurement of its own. */
struct limit_result {
    double messages_per_second; /* 0: says nothing about it */
    double p50_us;              /* of a wake-up, say; 0: says nothing about it */
    double p99_us;
};

struct limit {
    const char *name;    /* "limit-ring", "limit-memcpy", "limit-eventfd", "limit-futex" */
    const char *summary; /* one line: what it is */
    const char *missing;
    bool sized; /* false: the size of messages makes no difference, measured once */
    /* Takes about `seconds`, in a process of its own. What keeps time keeps it as writers do: `lead` is plan.lead. */
    int (*measure)(size_t size, double seconds, uint64_t lead, struct limit_result *result);
};

extern const struct limit *const limits[];
extern const size_t limit_count;

const struct limit *limit_find(const char *name);

#endif
