/* hostile_support.h: what a plain client can do to a slot, and what it must not achieve.
 *
 * In each attack forked children do their worst in a loop. Meanwhile another process sends 10,000 numbered messages: all of
 * them must arrive, in order, exactly once, while the attackers are still at it. Then these are killed, and the slot's
 * connections, the process's descriptors and the pool's memory must be back where they were.
 *
 * The slot serves all connections alike, so each good message waits for the attackers' shares: what an attack leaves in
 * the slot at a time must be bounded by what the attack is, not by how fast the machine is. */
#ifndef TEST_SLOTS_HOSTILE_SUPPORT_H
#define TEST_SLOTS_HOSTILE_SUPPORT_H

#include <stdatomic.h>

#include "slot_support_linux.h"

/* Shared with the children. */
struct shared {
    struct sockaddr_un address;
    _Atomic uint64_t rounds;  /* how often the attack was carried out */
    _Atomic uint64_t refused; /* how often the system or the slot refused it */
};
extern struct shared *shared;

struct attack {
    void (*body)(void *); /* calls round_done after each round */
    int attackers;        /* processes that run it, at most 8 */
    uint32_t quota;       /* connections per user; everyone may write then */
    uint64_t rounds;      /* it does not end before there were so many; at least one per attacker */
    uint64_t messages;    /* the good writer's meanwhile; 0: 10,000. Fewer where each has to wait for many others */
};

/* Runs the attack; returns the reader's final counts. */
mr_reader_statistics attack(const struct attack *plan);

/* How many messages came that were not the good writer's. */
uint64_t attack_others(void);

/* For attackers, which do not CHECK: their failures are the point. */
void round_done(void);
void round_refused(void);
/* Connects; -1 only where the child has no descriptor left. */
int dial(void);
/* A child of an attacker, which is ended with it; where none can be made the attacker ends, and with it the test. */
pid_t fork_bound(void);

#endif
