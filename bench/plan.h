/* plan.h: one measured run, in full: which peer, how many slots and writers, which load, for how long.
 *
 * A plain struct without pointers, so that it can be handed to another process as it is. All functions only read it.
 *
 * Words   A writer is a process (or thread) that sends. A connection is one writer's end at one slot; it has a number
 *         of its own, which its messages carry.
 * I1      Connections are numbered 0 to plan_connections - 1, and each belongs to one writer and one slot:
 *             every           writer w has connection w × slots + s to slot s
 *             writers >= slots   writer w has connection w, to slot w mod slots
 *             writers < slots    slot s is served by connection s, of writer s mod writers
 *         Idle connections have the numbers from there on, to slots in turn, and send nothing.
 */
#ifndef BENCH_PLAN_H
#define BENCH_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"
#include "peer.h"

#define PLAN_LEVELS_MAX 8u
#define PLAN_SIZES_MAX  16u

/* How large messages are: any of `minimum` to `maximum` with the same probability, in steps of their logarithm or not;
 * or one of a list with weights. */
enum sizes_kind { SIZES_EVEN = 0, SIZES_LOGARITHMIC = 1, SIZES_LIST = 2 };
struct sizes {
    enum sizes_kind kind;
    size_t minimum;
    size_t maximum;
    unsigned count; /* of the list */
    size_t size[PLAN_SIZES_MAX];
    unsigned weight[PLAN_SIZES_MAX];
    unsigned weights; /* their sum */
};

struct plan {
    char peer_name[32];
    struct peer_options peer; /* with slots, connections, levels; with a target no reader is started */
    unsigned writers;
    unsigned idle;   /* further connections, that send nothing */
    unsigned floods; /* so many of the writers, the first, send as fast as they can whatever `rate` says */
    bool every;      /* each writer is connected with each slot */
    bool threads;    /* all in one process */
    unsigned turn;   /* messages that a writer sends to one slot before it goes on to the next */
    struct sizes sizes;
    unsigned mix[PLAN_LEVELS_MAX]; /* how many of 1,000 messages go to each level */
    enum message_check check;
    double rate;       /* messages a second, all writers together but the flooding ones; 0: as fast as they can */
    unsigned burst;    /* messages that are due at once: every (burst / rate) seconds */
    uint64_t duration; /* nanoseconds, 0: by messages */
    uint64_t messages; /* by all writers together; 0: by duration */
    uint64_t settle;   /* nanoseconds without a message after which what has not come is lost */
    bool punctual;     /* writers with a rate ask the system to let them run as soon as they awake */
    uint64_t lead;     /* nanoseconds before a message is due that a writer awakes, and looks at the clock from then */
    uint64_t seed;     /* of sizes and levels */
};

unsigned plan_connections(const struct plan *plan); /* those that send */
unsigned plan_slot(const struct plan *plan, unsigned connection);
/* The connections of one writer: their number, and which is the k-th. */
unsigned plan_writer_connections(const struct plan *plan, unsigned writer);
unsigned plan_writer_connection(const struct plan *plan, unsigned writer, unsigned k);

/* Messages carry when they were to be sent. */
bool plan_stamped(const struct plan *plan);

size_t plan_smallest(const struct plan *plan);
size_t plan_largest(const struct plan *plan);

/* Fills in what follows from the rest (peer.size, connections, levels). NULL, or why there can be no such run. */
const char *plan_complete(struct plan *plan);

/* One of the sizes, from 64 random bits. */
size_t sizes_pick(const struct sizes *sizes, uint64_t random);

/* A random number and the next state (splitmix64). */
uint64_t random_next(uint64_t *state);

#endif
