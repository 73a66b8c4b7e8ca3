/* process.h: what all slots of a process share: the buffer pool, and caches of it that are lent by the turn.
 *
 * A cache belongs to one thread at a time, and a turn of a slot runs on one thread: so a cache is borrowed when a turn
 * begins and returned when it ends, instead of being tied to a thread whose end the library would have to be told of.
 * There are as many caches as turns have ever run at once.
 *
 * After a fork the child has a pool of its own; what it has of the parent's stays untouched, because another thread
 * may have been inside it. */
#ifndef SLOTS_PROCESS_H
#define SLOTS_PROCESS_H

#include "queue/buffer_pool.h"

/* The process's pool, opened at the first call; from then on the ceiling is fixed. NULL: no memory. Any thread. */
struct buffer_pool *process_pool(void);

/* Lends a cache of that pool; NULL where there is no memory for one, which every function of the pool takes as well.
 * Any thread; process_pool has been called. */
struct pool_cache *process_cache_borrow(void);
void process_cache_return(struct pool_cache *cache);

#endif
