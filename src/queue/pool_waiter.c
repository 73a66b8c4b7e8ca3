/* pool_waiter.c: who waits for memory, and is called when there is some.
 *
 * Path, owners, invariants and atomic pairs: pool_private.h. Everything here happens under the pool's lock, but for the
 * callbacks. One thread at a time makes the calls; another one that would have cause to sets `rescan` and leaves.
 */
#include "queue/pool_private.h"

#include <assert.h>

static void waiter_unlink(struct buffer_pool *pool, struct pool_waiter *waiter)
{
    struct waiter_list *list = &pool->waiting[waiter->urgent];
    if (waiter->previous) {
        waiter->previous->next = waiter->next;
    } else {
        list->first = waiter->next;
    }
    if (waiter->next) {
        waiter->next->previous = waiter->previous;
    } else {
        list->last = waiter->previous;
    }
    waiter->listed = false;
    pool->waiters--;
}

static void waiter_append(struct buffer_pool *pool, struct pool_waiter *waiter)
{
    struct waiter_list *list = &pool->waiting[waiter->urgent];
    waiter->next = NULL;
    waiter->previous = list->last;
    if (list->last) {
        list->last->next = waiter;
    } else {
        list->first = waiter;
    }
    list->last = waiter;
    waiter->listed = true;
    pool->waiters++;
}

/* One more than the value of bytes up to which this waiter is served; registered ones never ask for more than their
 * limit. */
static size_t threshold_of(const struct buffer_pool *pool, const struct pool_waiter *waiter)
{
    return limit_of(pool, waiter->urgent) - waiter->bytes + 1;
}

/* Brings wake_below down to what those who still wait need (I4). */
static void threshold_lower(struct buffer_pool *pool)
{
    size_t highest = 0;
    for (unsigned urgent = 0; urgent < 2; urgent++) {
        for (struct pool_waiter *waiter = pool->waiting[urgent].first; waiter; waiter = waiter->next) {
            size_t threshold = threshold_of(pool, waiter);
            highest = threshold > highest ? threshold : highest;
        }
    }
    atomic_store_explicit(&pool->wake_below, highest, memory_order_seq_cst);
}

static struct pool_waiter *waiter_served(const struct buffer_pool *pool, size_t base, size_t promised)
{
    for (unsigned urgent = 2; urgent-- > 0;) {
        for (struct pool_waiter *waiter = pool->waiting[urgent].first; waiter; waiter = waiter->next) {
            if (fits(limit_of(pool, urgent), base, promised, waiter->bytes)) {
                return waiter;
            }
        }
    }
    return NULL;
}

/* Calls those whom the memory that is free now suffices for, the lock being let go during each call. */
static void wake_pass(struct buffer_pool *pool)
{
    size_t base = atomic_load_explicit(&pool->bytes, memory_order_seq_cst);
    size_t promised = 0;
    struct pool_waiter *waiter;
    while ((waiter = waiter_served(pool, base, promised))) {
        promised += waiter->bytes;
        waiter_unlink(pool, waiter);
        pool->firing = waiter;
        pool->firing_thread = thread_self();
        mutex_unlock(&pool->lock);
        waiter->callback(waiter, waiter->context); /* it may free or register the waiter */
        mutex_lock(&pool->lock);
        pool->firing = NULL;
        condition_broadcast(&pool->fired);
    }
    threshold_lower(pool);
}

void pool_wake(struct buffer_pool *pool)
{
    mutex_lock(&pool->lock);
    pool->rescan = true;
    if (!pool->waking) { /* else the thread in the loop, perhaps this one further up, looks again */
        pool->waking = true;
        while (pool->rescan) {
            pool->rescan = false;
            wake_pass(pool);
        }
        pool->waking = false;
    }
    mutex_unlock(&pool->lock);
}

static bool wait_bytes(struct buffer_pool *pool, struct pool_waiter *waiter, size_t bytes, bool urgent)
{
    if (is_never(pool, bytes, urgent)) {
        return false;
    }
    mutex_lock(&pool->lock);
    assert(!waiter->listed && !pool->closed);
    bool first = pool->waiters == 0;
    waiter->bytes = bytes;
    waiter->urgent = urgent;
    waiter_append(pool, waiter);
    size_t threshold = threshold_of(pool, waiter);
    if (threshold > atomic_load_explicit(&pool->wake_below, memory_order_relaxed)) {
        atomic_store_explicit(&pool->wake_below, threshold, memory_order_seq_cst); /* A3, A4 */
    }
    if (first) {
        caches_flush_locked(pool); /* A3, I5 */
    }
    size_t base = atomic_load_explicit(&pool->bytes, memory_order_seq_cst); /* A4 */
    bool served = fits(limit_of(pool, urgent), base, 0, bytes);
    if (served) {
        waiter_unlink(pool, waiter);
        threshold_lower(pool);
    }
    mutex_unlock(&pool->lock);
    return !served;
}

bool pool_wait(struct buffer_pool *pool, struct pool_waiter *waiter, size_t size, bool urgent)
{
    return wait_bytes(pool, waiter, block_bytes(pool, pool_right_size(size)), urgent);
}

bool pool_wait_charge(struct buffer_pool *pool, struct pool_waiter *waiter, size_t bytes, bool urgent)
{
    return wait_bytes(pool, waiter, bytes, urgent);
}

bool pool_cancel(struct buffer_pool *pool, struct pool_waiter *waiter)
{
    bool prevented = false;
    mutex_lock(&pool->lock);
    for (;;) {
        if (waiter->listed) {
            waiter_unlink(pool, waiter);
            threshold_lower(pool);
            prevented = true;
        }
        if (pool->firing != waiter || pool->firing_thread == thread_self()) {
            break;
        }
        condition_wait(&pool->fired, &pool->lock); /* its callback may register it again: look again */
    }
    mutex_unlock(&pool->lock);
    /* It may have been called and not have tried: the next one's chance. */
    wake_if_served(pool, atomic_load_explicit(&pool->bytes, memory_order_seq_cst));
    return prevented;
}
