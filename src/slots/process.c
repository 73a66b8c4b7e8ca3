/* process.c: what all slots of a process share.
 *
 * Path    first reader > process_pool > one struct process, installed by compare and exchange
 *         turn > process_cache_borrow > pool_get, buffer_release > process_cache_return
 * Owners  `ceiling` belongs to whoever sets it until a pool is opened, which freezes it. The parked caches: the lock.
 *         A struct process is never freed: buffers that a program keeps point into its pool.
 * I1      A frozen ceiling does not change: mr_set_memory_ceiling exchanges an unfrozen value only.
 * I2      Only a struct process of this process's generation is used; a fork's child makes its own.
 * P1      `current` is stored with release after the struct is complete, and loaded with acquire.
 */
#include "slots/process.h"

#include <stdatomic.h>

#include <mailroom/directory.h>

#include "queue/memory.h"
#include "queue/status.h"
#include "queue/thread.h"
#include "slots/slot_message.h"

#define CEILING_FROZEN ((size_t) 1 << (sizeof(size_t) * 8 - 1))
#define CEILING_LEAST  ((size_t) 1 << 20)
#define PARKED_MAX     64u

struct process {
    uint64_t generation;
    struct buffer_pool *pool;
    mutex lock; /* what follows */
    unsigned parked_count;
    struct pool_cache *parked[PARKED_MAX]; /* last in, first out: the warmest first */
};

static _Atomic(struct process *) current;
static _Atomic size_t ceiling; /* 0: the default */

static struct process *process_new(void)
{
    size_t bytes = atomic_fetch_or_explicit(&ceiling, CEILING_FROZEN, memory_order_relaxed) & ~CEILING_FROZEN;
    struct pool_options options = {
        .ceiling = bytes, .urgent_share = POOL_SHARE_DEFAULT, .header_bytes = sizeof(struct slot_message)};
    struct process *process = memory_zalloc(sizeof *process);
    if (process == NULL)
        return NULL;
    process->pool = pool_open(&options);
    if (process->pool == NULL) {
        memory_free(process);
        return NULL;
    }
    process->generation = process_generation();
    mutex_init(&process->lock);
    return process;
}

static struct process *process_current(void)
{
    struct process *process = atomic_load_explicit(&current, memory_order_acquire); /* P1 */
    if (process != NULL && process->generation == process_generation())
        return process; /* I2 */
    struct process *mine = process_new();
    if (mine == NULL)
        return NULL;
    if (atomic_compare_exchange_strong_explicit(&current, &process, mine, memory_order_acq_rel, memory_order_acquire))
        return mine;
    pool_close(mine->pool); /* another thread was first */
    mutex_destroy(&mine->lock);
    memory_free(mine);
    return process;
}

struct buffer_pool *process_pool(void)
{
    struct process *process = process_current();
    return process == NULL ? NULL : process->pool;
}

struct pool_cache *process_cache_borrow(void)
{
    struct process *process = process_current();
    struct pool_cache *cache = NULL;
    mutex_lock(&process->lock);
    if (process->parked_count > 0)
        cache = process->parked[--process->parked_count];
    mutex_unlock(&process->lock);
    return cache != NULL ? cache : pool_cache_open(process->pool);
}

void process_cache_return(struct pool_cache *cache)
{
    if (cache == NULL)
        return;
    struct process *process = process_current();
    mutex_lock(&process->lock);
    if (process->parked_count < PARKED_MAX) {
        process->parked[process->parked_count++] = cache;
        cache = NULL;
    }
    mutex_unlock(&process->lock);
    pool_cache_close(cache);
}

int mr_set_memory_ceiling(size_t bytes)
{
    if (bytes < CEILING_LEAST || bytes >= CEILING_FROZEN)
        return status_fail(MR_E_ARGUMENT, 0, "the memory ceiling is at least 1 MiB, not %zu bytes", bytes);
    size_t old = atomic_load_explicit(&ceiling, memory_order_relaxed);
    do {
        if (old & CEILING_FROZEN)
            return status_fail(MR_E_ARGUMENT, 0,
                               "the memory ceiling is set before the first reader or writer is opened, not after");
    } while (!atomic_compare_exchange_weak_explicit(&ceiling, &old, bytes, memory_order_relaxed, memory_order_relaxed));
    return MR_OK;
}

int mr_get_memory_statistics(mr_memory_statistics *statistics)
{
    if (statistics == NULL || statistics->size != sizeof *statistics)
        return status_fail(MR_E_ARGUMENT, 0, "mr_memory_statistics.size must be the size of the struct");
    *statistics = (mr_memory_statistics){.size = sizeof *statistics};
    struct process *process = atomic_load_explicit(&current, memory_order_acquire); /* P1 */
    if (process == NULL || process->generation != process_generation()) {
        size_t bytes = atomic_load_explicit(&ceiling, memory_order_relaxed) & ~CEILING_FROZEN;
        statistics->ceiling = bytes == 0 ? POOL_CEILING_DEFAULT : bytes;
        return MR_OK;
    }
    struct pool_statistics pool;
    pool_statistics(process->pool, &pool);
    statistics->ceiling = pool.ceiling;
    statistics->used = pool.bytes;
    statistics->peak = pool.bytes_high;
    statistics->refusals = pool.refusals;
    return MR_OK;
}
