/* ring_barrier_linux.h: the barrier of the reader that goes to sleep (ring.h, B).
 *
 * membarrier(2) with GLOBAL_EXPEDITED has every running thread of every registered process pass a full barrier between
 * our store and our load; a thread that does not run has passed one when it was switched out. So the writer, which
 * stores and then loads at every message, needs none. It must be registered itself, and says so in the hello; the reader
 * says in its answer that it makes barriers, and until then the writer keeps its fences (`fence` in ring.h). A peer that
 * lies about it misses its own wake-ups, and nobody else's. */
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
