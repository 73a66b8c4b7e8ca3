/* buffer_pool.c: the pool, its ceiling and its buffers. Path, owners, invariants and atomic pairs: pool_private.h. */
#include "queue/pool_private.h"

#include "queue/memory.h"

#include <assert.h>
#include <string.h>

#define SHRINK_SAVES ((size_t) 512)
#define HEADER_MAX   ((size_t) 4096)

/* ---- the ceiling ---- */

bool pool_reserve(struct buffer_pool *pool, size_t bytes, bool urgent)
{
    size_t limit = limit_of(pool, urgent);
    size_t old = atomic_load_explicit(&pool->bytes, memory_order_relaxed);
    do {
        if (!fits(limit, old, 0, bytes)) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&pool->bytes, &old, old + bytes, memory_order_seq_cst,
                                                    memory_order_relaxed));
    size_t now = old + bytes;
    size_t high = atomic_load_explicit(&pool->bytes_high, memory_order_relaxed);
    while (now > high && !atomic_compare_exchange_weak_explicit(&pool->bytes_high, &high, now, memory_order_relaxed,
                                                                memory_order_relaxed)) {}
    return true;
}

static void unreference(struct buffer_pool *pool, size_t count)
{
    if (atomic_fetch_sub_explicit(&pool->refs, count, memory_order_acq_rel) == count) {
        condition_destroy(&pool->fired);
        mutex_destroy(&pool->lock);
        memory_aligned_free(pool);
    }
}

void pool_give_back(struct buffer_pool *pool, size_t bytes, size_t references)
{
    size_t now = atomic_fetch_sub_explicit(&pool->bytes, bytes, memory_order_seq_cst) - bytes; /* A4 */
    wake_if_served(pool, now);
    if (references > 0) {
        unreference(pool, references);
    }
}

/* ---- buffers ---- */

/* Reserves `bytes`; before it refuses it flushes the caches, unless somebody waits: then they are empty (I5). */
static enum pool_result reserve_or_flush(struct buffer_pool *pool, size_t bytes, bool urgent)
{
    if (is_never(pool, bytes, urgent)) {
        atomic_fetch_add_explicit(&pool->refusals_never, 1, memory_order_relaxed);
        return POOL_NEVER;
    }
    if (pool_reserve(pool, bytes, urgent)) {
        return POOL_OK;
    }
    if (atomic_load_explicit(&pool->wake_below, memory_order_relaxed) == 0 && caches_flush(pool) &&
        pool_reserve(pool, bytes, urgent)) {
        return POOL_OK;
    }
    atomic_fetch_add_explicit(&pool->refusals, 1, memory_order_relaxed);
    return POOL_CEILING;
}

static enum pool_result block_new(struct buffer_pool *pool, unsigned size_class, size_t size, bool urgent,
                                  struct buffer **block)
{
    size_t capacity = size_class < POOL_CLASSES ? pool_class_capacity(size_class) : size;
    size_t bytes = block_bytes(pool, capacity);
    enum pool_result result = reserve_or_flush(pool, bytes, urgent);
    if (result != POOL_OK) {
        return result;
    }
    struct buffer *buffer = memory_alloc(bytes);
    if (!buffer) {
        atomic_fetch_add_explicit(&pool->failures, 1, memory_order_relaxed);
        pool_give_back(pool, bytes, 0);
        return POOL_NO_MEMORY;
    }
    atomic_fetch_add_explicit(&pool->refs, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&pool->misses[size_class], 1, memory_order_relaxed);
    buffer->pool = pool;
    buffer->capacity = capacity;
    buffer->size_class = (uint16_t) size_class;
    buffer->data_offset = (uint16_t) pool->data_offset;
    *block = buffer;
    /* Whoever was called may have left enough for the next one. */
    wake_if_served(pool, atomic_load_explicit(&pool->bytes, memory_order_seq_cst));
    return POOL_OK;
}

static void block_free(struct buffer *buffer)
{
    struct buffer_pool *pool = buffer->pool;
    size_t bytes = block_bytes(pool, buffer->capacity);
    memory_free(buffer);
    pool_give_back(pool, bytes, 1);
}

enum pool_result pool_get(struct buffer_pool *pool, struct pool_cache *cache, size_t size, bool urgent,
                          struct buffer **buffer)
{
    unsigned size_class = pool_class_of(size);
    struct buffer *block = NULL;
    if (cache && size_class < CACHE_CLASSES) {
        assert(cache->pool == pool);
        block = cache_take(cache, size_class);
    }
    if (!block) {
        enum pool_result result = block_new(pool, size_class, size, urgent, &block);
        if (result != POOL_OK) {
            *buffer = NULL;
            return result;
        }
    }
    block->length = 0;
    atomic_store_explicit(&block->refs, 1, memory_order_relaxed);
    *buffer = block;
    return POOL_OK;
}

void buffer_retain(struct buffer *buffer)
{
    uint32_t refs = atomic_fetch_add_explicit(&buffer->refs, 1, memory_order_relaxed);
    assert(refs > 0 && refs < UINT32_MAX);
    (void) refs;
}

void buffer_release(struct buffer *buffer, struct pool_cache *cache)
{
    /* A single reference is the caller's, so nobody can add one meanwhile: no need to subtract. */
    if (atomic_load_explicit(&buffer->refs, memory_order_acquire) != 1 &&         /* A1 */
        atomic_fetch_sub_explicit(&buffer->refs, 1, memory_order_acq_rel) != 1) { /* A1 */
        return;
    }
    if (!cache || !cache_put(cache, buffer)) {
        block_free(buffer);
    }
}

struct buffer *buffer_shrink(struct buffer *buffer, struct pool_cache *cache, bool urgent)
{
    struct buffer_pool *pool = buffer->pool;
    size_t capacity = pool_right_size(buffer->length);
    if (capacity > buffer->capacity / 2 || buffer->capacity - capacity < SHRINK_SAVES ||
        atomic_load_explicit(&buffer->refs, memory_order_acquire) != 1) {
        return buffer;
    }
    struct buffer *smaller;
    if (pool_get(pool, cache, buffer->length, urgent, &smaller) != POOL_OK) {
        return buffer;
    }
    memcpy(buffer_header(smaller), buffer_header(buffer), pool->header_bytes);
    memcpy(buffer_data(smaller), buffer_data(buffer), buffer->length);
    buffer_set_length(smaller, buffer->length);
    buffer_release(buffer, cache);
    return smaller;
}

enum pool_result pool_charge(struct buffer_pool *pool, size_t bytes, bool urgent)
{
    enum pool_result result = reserve_or_flush(pool, bytes, urgent);
    if (result == POOL_OK) {
        atomic_fetch_add_explicit(&pool->charged, bytes, memory_order_relaxed);
        wake_if_served(pool, atomic_load_explicit(&pool->bytes, memory_order_seq_cst));
    }
    return result;
}

void pool_uncharge(struct buffer_pool *pool, size_t bytes)
{
    size_t charged = atomic_fetch_sub_explicit(&pool->charged, bytes, memory_order_relaxed);
    assert(charged >= bytes);
    (void) charged;
    pool_give_back(pool, bytes, 0);
}

/* ---- the pool ---- */

struct buffer_pool *pool_open(const struct pool_options *options)
{
    size_t ceiling = options->ceiling ? options->ceiling : POOL_CEILING_DEFAULT;
    size_t share = options->urgent_share == POOL_SHARE_DEFAULT ? ceiling / 8 : options->urgent_share;
    if (options->header_bytes > HEADER_MAX || ceiling > SIZE_MAX / 2 || share >= ceiling ||
        ceiling - share < sizeof(struct buffer_pool)) {
        return NULL;
    }
    struct buffer_pool *pool = memory_aligned(CACHE_LINE, sizeof *pool);
    if (!pool) {
        return NULL;
    }
    memset(pool, 0, sizeof *pool);
    atomic_init(&pool->wake_below, 0);
    pool->ceiling = ceiling;
    pool->normal_limit = ceiling - share;
    pool->header_bytes = options->header_bytes;
    pool->data_offset = round_up(sizeof(struct buffer), 16) + round_up(options->header_bytes, 16);
    atomic_init(&pool->bytes, sizeof *pool);
    atomic_init(&pool->bytes_high, sizeof *pool);
    atomic_init(&pool->own, sizeof *pool);
    atomic_init(&pool->refs, 1);
    mutex_init(&pool->lock);
    condition_init(&pool->fired);
    return pool;
}

static size_t monus(size_t a, size_t b)
{
    return a > b ? a - b : 0;
}

size_t pool_close(struct buffer_pool *pool)
{
    mutex_lock(&pool->lock);
    assert(!pool->closed && pool->waiters == 0);
    assert(atomic_load_explicit(&pool->charged, memory_order_relaxed) == 0);
    pool->closed = true;
    caches_flush_locked(pool);
    size_t caches = 0;
    size_t bytes = 0;
    size_t cached = caches_count(pool, &caches, &bytes);
    size_t refs = atomic_load_explicit(&pool->refs, memory_order_relaxed);
    mutex_unlock(&pool->lock);
    unreference(pool, 1);
    return monus(refs, 1 + caches + cached);
}

void pool_statistics(struct buffer_pool *pool, struct pool_statistics *statistics)
{
    memset(statistics, 0, sizeof *statistics);
    mutex_lock(&pool->lock);
    size_t caches = 0;
    size_t cached = caches_count(pool, &caches, &statistics->bytes_cached);
    size_t refs = atomic_load_explicit(&pool->refs, memory_order_relaxed);
    statistics->buffers_out = monus(refs, (pool->closed ? 0u : 1u) + caches + cached);
    statistics->waiters = pool->waiters;
    for (unsigned size_class = 0; size_class < CACHE_CLASSES; size_class++) {
        statistics->gets[size_class] = pool->hits_of_closed_caches[size_class];
        for (struct pool_cache *cache = pool->caches; cache; cache = cache->next) {
            statistics->gets[size_class] += atomic_load_explicit(&cache->stacks[size_class].hits, memory_order_relaxed);
        }
    }
    mutex_unlock(&pool->lock);
    for (unsigned size_class = 0; size_class <= POOL_CLASSES; size_class++) {
        statistics->misses[size_class] = atomic_load_explicit(&pool->misses[size_class], memory_order_relaxed);
        statistics->gets[size_class] += statistics->misses[size_class];
    }
    statistics->ceiling = pool->ceiling;
    statistics->bytes = atomic_load_explicit(&pool->bytes, memory_order_relaxed);
    statistics->bytes_high = atomic_load_explicit(&pool->bytes_high, memory_order_relaxed);
    statistics->bytes_charged = atomic_load_explicit(&pool->charged, memory_order_relaxed);
    statistics->bytes_own = atomic_load_explicit(&pool->own, memory_order_relaxed);
    statistics->bytes_in_use =
        monus(statistics->bytes, statistics->bytes_cached + statistics->bytes_charged + statistics->bytes_own);
    statistics->refusals = atomic_load_explicit(&pool->refusals, memory_order_relaxed);
    statistics->refusals_never = atomic_load_explicit(&pool->refusals_never, memory_order_relaxed);
    statistics->failures = atomic_load_explicit(&pool->failures, memory_order_relaxed);
}
