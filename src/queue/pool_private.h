/* pool_private.h: the buffer pool's inside, for buffer_pool.c, pool_cache.c and pool_waiter.c alone.
 *
 * Path    pool_get > cache_take (no lock, no shared counter) > or block_new: pool_reserve, then the allocator
 *         buffer_release > cache_put > or block_free: the allocator, then pool_give_back > waiters
 * Owners  A cache's `count` and the right to store into its slots: its owner. Taking out of a slot: anybody, by
 *         exchange. Waiters, the list of caches: the lock. The pool itself: `refs`.
 * I1      bytes is what the allocator and the chargers hold at this instant or more, and never above the ceiling:
 *         it is raised, by compare and exchange, before memory is taken, and lowered after it was given back.
 * I2      refs is 1 until pool_close, plus 1 for each block taken from the allocator and each open cache.
 * I3      Slots at and above a stack's count are NULL. Below it they hold a free block, or NULL where another thread
 *         has taken it.
 * I4      wake_below is 0 when nobody waits, else at least 1 more than the highest value of bytes at which some waiter
 *         is served. It is raised with the registration and lowered under the lock only.
 * I5      While somebody waits, no free block stays in a cache: cache_put sees to its own, pool_wait to the others.
 * A1      Reference count: a release that is not the last is acq_rel; the last one's load or subtraction acquires it,
 *         so that every holder's accesses happen before the block is used again.
 * A2      Slots: the store is an exchange (release), the taking an exchange (acquire): a block's contents go with it.
 * A3      Put against wait: cache_put stores the slot, then loads wake_below; pool_wait stores wake_below, then looks
 *         into the slots. All four are seq_cst, so that one of the two sees the other, or a block would sleep in a
 *         cache while a waiter sleeps for it.
 * A4      Give back against wait: pool_give_back lowers bytes, then loads wake_below; pool_wait stores wake_below, then
 *         loads bytes. seq_cst for the same reason.
 */
#ifndef MAILROOM_QUEUE_POOL_PRIVATE_H
#define MAILROOM_QUEUE_POOL_PRIVATE_H

#include "queue/buffer_pool.h"
#include "queue/thread.h"

#include <stdalign.h>

#define CACHE_CLASSES 25u /* 64 bytes … 256 KiB */
#define CACHE_LINE    64

struct cache_stack {
    size_t count; /* owner only; I3 */
    size_t room;
    _Atomic(struct buffer *) *slots;
    _Atomic uint64_t hits; /* stored by the owner only */
};

struct pool_cache {
    struct buffer_pool *pool;
    struct pool_cache *next; /* under the lock */
    size_t bytes;            /* of this struct and its slots */
    struct cache_stack stacks[CACHE_CLASSES];
};

struct waiter_list {
    struct pool_waiter *first;
    struct pool_waiter *last;
};

struct buffer_pool {
    /* Read by every put and get, seldom written. */
    alignas(CACHE_LINE) _Atomic size_t wake_below; /* I4 */
    size_t ceiling;
    size_t normal_limit; /* the ceiling less the urgent share */
    size_t header_bytes;
    size_t data_offset;

    /* Written whenever memory enters or leaves. */
    alignas(CACHE_LINE) _Atomic size_t bytes; /* I1 */
    _Atomic size_t bytes_high;
    _Atomic size_t refs; /* I2 */
    _Atomic size_t charged;
    _Atomic size_t own; /* bytes of the pool and its caches */
    _Atomic uint64_t refusals;
    _Atomic uint64_t refusals_never;
    _Atomic uint64_t failures;
    _Atomic uint64_t misses[POOL_CLASSES + 1];

    alignas(CACHE_LINE) mutex lock; /* what follows */
    condition fired;                /* a callback has returned */
    bool closed;
    struct pool_cache *caches;
    uint64_t hits_of_closed_caches[CACHE_CLASSES];
    struct waiter_list waiting[2]; /* normal, urgent */
    size_t waiters;
    bool waking;                /* a thread is in pool_wake's loop … */
    bool rescan;                /* … and shall look again */
    struct pool_waiter *firing; /* its callback is running … */
    uint64_t firing_thread;     /* … on this thread */
};

static inline size_t round_up(size_t size, size_t to)
{
    return (size + to - 1) & ~(to - 1);
}

/* What a buffer of this capacity takes from the allocator; SIZE_MAX when that is beyond any ceiling. */
static inline size_t block_bytes(const struct buffer_pool *pool, size_t capacity)
{
    if (capacity > SIZE_MAX / 2) {
        return SIZE_MAX;
    }
    return round_up(pool->data_offset + capacity + 2, 16);
}

static inline size_t limit_of(const struct buffer_pool *pool, bool urgent)
{
    return urgent ? pool->ceiling : pool->normal_limit;
}

/* Whether so much more is within the limit, beside `base` and what has been promised. */
static inline bool fits(size_t limit, size_t base, size_t promised, size_t bytes)
{
    return base <= limit && promised <= limit - base && bytes <= limit - base - promised;
}

/* Whether it is more than the limit can allow even with no buffer out. */
static inline bool is_never(struct buffer_pool *pool, size_t bytes, bool urgent)
{
    return !fits(limit_of(pool, urgent), atomic_load_explicit(&pool->own, memory_order_relaxed), 0, bytes);
}

/* Wakes when `bytes`, seen just now, serves somebody who waits. */
static inline void wake_if_served(struct buffer_pool *pool, size_t bytes)
{
    if (atomic_load_explicit(&pool->wake_below, memory_order_seq_cst) > bytes) { /* A4 */
        pool_wake(pool);
    }
}

/* buffer_pool.c */

/* Raises bytes, or refuses (I1). */
bool pool_reserve(struct buffer_pool *pool, size_t bytes, bool urgent);
/* After memory went back to the allocator: lowers bytes, wakes whom that serves, gives up the references. The pool may
 * be gone afterwards, unless `references` is 0. */
void pool_give_back(struct buffer_pool *pool, size_t bytes, size_t references);

/* pool_cache.c */

/* A free block of the class, or NULL. By the cache's owner. */
struct buffer *cache_take(struct pool_cache *cache, unsigned size_class);
/* Keeps a free block; false when it is not this cache's or there is no room. By the cache's owner. */
bool cache_put(struct pool_cache *cache, struct buffer *buffer);
/* Under the lock: empties every cache and lowers bytes; wakes nobody. Returns whether anything was freed. */
bool caches_flush_locked(struct buffer_pool *pool);
/* The same, and wakes whom that serves. */
bool caches_flush(struct buffer_pool *pool);
/* Under the lock: the blocks in caches; adds to the number of caches and to the blocks' bytes. */
size_t caches_count(struct buffer_pool *pool, size_t *caches, size_t *bytes);

#endif
