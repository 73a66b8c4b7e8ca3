/* ring_barrier_linux.h: the barrier of the side that sleeps or waits rarely (ring.h, B).
 *
 * membarrier(2) with GLOBAL_EXPEDITED has every running thread of every registered process pass a full barrier between
 * our store and our load; a thread that does not run has passed one when it was switched out. So the other side, which
 * stores and then loads at every message, needs none. It must be registered itself: each side says so in the hello and in
 * its answer, and keeps its own fences (`fence` in ring.h) until the other side has said that it makes barriers. A peer
 * that lies about it misses its own wake-ups, and nobody else's. */
#ifndef SLOTS_RING_BARRIER_LINUX_H
#define SLOTS_RING_BARRIER_LINUX_H

#include <stdbool.h>

/* Registers this process with the kernel, once. True: ring_barrier works, and other processes' barriers reach us. Any
 * thread. */
bool ring_barrier_prepare(void);

/* Only after ring_barrier_prepare has said true. Any thread. */
void ring_barrier(void);

/* For tests: from now on ring_barrier_prepare says false, as on a kernel without it (or, with false, the truth again). */
void ring_barrier_refuse(bool refuse);

#endif
