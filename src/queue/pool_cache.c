/* pool_cache.c: free buffers kept by one thread for itself, without a lock; others may empty the cache.
 *
 * Path, owners, invariants and atomic pairs: pool_private.h. A cache is a stack of slots per class. Its owner pushes
 * and pops at `count`; whoever runs into the ceiling walks over all slots under the pool's lock and takes what is there.
 */
#include "queue/pool_private.h"

#include "queue/memory.h"

#include <assert.h>
#include <string.h>

#define CACHE_SLOTS       ((size_t) 64)
#define CACHE_CLASS_BYTES ((size_t) 256 << 10)

/* Takes a block from under everybody else's hands; NULL where another thread was first or nothing is there. */
static struct buffer *slot_take(_Atomic(struct buffer *) *slot)
{
    if (!atomic_load_explicit(slot, memory_order_seq_cst)) { /* A3 */
        return NULL;
    }
    return atomic_exchange_explicit(slot, NULL, memory_order_seq_cst); /* A2, A3 */
}

struct buffer *cache_take(struct pool_cache *cache, unsigned size_class)
{
    struct cache_stack *stack = &cache->stacks[size_class];
    while (stack->count > 0) {
        struct buffer *buffer = atomic_exchange_explicit(&stack->slots[--stack->count], NULL, memory_order_acquire);
        if (buffer) { /* A2 */
            uint64_t hits = atomic_load_explicit(&stack->hits, memory_order_relaxed);
            atomic_store_explicit(&stack->hits, hits + 1, memory_order_relaxed);
            return buffer;
        }
    }
    return NULL;
}

bool cache_put(struct pool_cache *cache, struct buffer *buffer)
{
    if (cache->pool != buffer->pool || buffer->size_class >= CACHE_CLASSES) {
        return false;
    }
    struct cache_stack *stack = &cache->stacks[buffer->size_class];
    if (stack->count == stack->room) {
        /* What others have flushed is still counted here. */
        while (stack->count > 0 && !atomic_load_explicit(&stack->slots[stack->count - 1], memory_order_relaxed)) {
            stack->count--;
        }
        if (stack->count == stack->room) {
            return false;
        }
    }
    struct buffer_pool *pool = cache->pool;
    atomic_exchange_explicit(&stack->slots[stack->count++], buffer, memory_order_seq_cst); /* A2, A3 */
    if (atomic_load_explicit(&pool->wake_below, memory_order_seq_cst) != 0) {              /* A3 */
        pool_cache_flush(cache);                                                           /* I5 */
    }
    return true;
}

/* Empties a cache, by its owner or by another thread under the lock. Returns the bytes freed, which the caller must
 * give back; adds to `*blocks`. */
static size_t cache_empty(struct pool_cache *cache, size_t *blocks)
{
    size_t bytes = 0;
    for (unsigned size_class = 0; size_class < CACHE_CLASSES; size_class++) {
        struct cache_stack *stack = &cache->stacks[size_class];
        for (size_t i = 0; i < stack->room; i++) {
            struct buffer *buffer = slot_take(&stack->slots[i]);
            if (buffer) {
                bytes += block_bytes(cache->pool, buffer->capacity);
                memory_free(buffer);
                (*blocks)++;
            }
        }
    }
    return bytes;
}

void pool_cache_flush(struct pool_cache *cache)
{
    if (!cache) {
        return;
    }
    size_t blocks = 0;
    size_t bytes = cache_empty(cache, &blocks);
    for (unsigned size_class = 0; size_class < CACHE_CLASSES; size_class++) {
        cache->stacks[size_class].count = 0;
    }
    if (blocks > 0) {
        pool_give_back(cache->pool, bytes, blocks); /* the cache's own reference keeps the pool */
    }
}

bool caches_flush_locked(struct buffer_pool *pool)
{
    size_t blocks = 0;
    size_t bytes = 0;
    for (struct pool_cache *cache = pool->caches; cache; cache = cache->next) {
        bytes += cache_empty(cache, &blocks);
    }
    if (blocks == 0) {
        return false;
    }
    atomic_fetch_sub_explicit(&pool->bytes, bytes, memory_order_seq_cst);
    size_t refs = atomic_fetch_sub_explicit(&pool->refs, blocks, memory_order_acq_rel);
    assert(refs > blocks); /* the caller's use keeps the pool */
    (void) refs;
    return true;
}

bool caches_flush(struct buffer_pool *pool)
{
    mutex_lock(&pool->lock);
    bool freed = caches_flush_locked(pool);
    mutex_unlock(&pool->lock);
    if (freed) {
        wake_if_served(pool, atomic_load_explicit(&pool->bytes, memory_order_seq_cst)); /* A4 */
    }
    return freed;
}

static size_t stack_room(unsigned size_class)
{
    size_t room = CACHE_CLASS_BYTES / pool_class_capacity(size_class);
    return room < CACHE_SLOTS ? room : CACHE_SLOTS;
}

struct pool_cache *pool_cache_open(struct buffer_pool *pool)
{
    size_t slots = 0;
    for (unsigned size_class = 0; size_class < CACHE_CLASSES; size_class++) {
        slots += stack_room(size_class);
    }
    size_t head = round_up(sizeof(struct pool_cache), CACHE_LINE);
    size_t bytes = round_up(head + slots * sizeof(_Atomic(struct buffer *)), CACHE_LINE);
    if (!pool_reserve(pool, bytes, false)) {
        return NULL;
    }
    struct pool_cache *cache = memory_aligned(CACHE_LINE, bytes);
    if (!cache) {
        pool_give_back(pool, bytes, 0);
        return NULL;
    }
    memset(cache, 0, sizeof *cache);
    cache->pool = pool;
    cache->bytes = bytes;
    _Atomic(struct buffer *) *slot = (_Atomic(struct buffer *) *) (void *) ((char *) cache + head);
    for (unsigned size_class = 0; size_class < CACHE_CLASSES; size_class++) {
        struct cache_stack *stack = &cache->stacks[size_class];
        atomic_init(&stack->hits, 0);
        stack->room = stack_room(size_class);
        stack->slots = slot;
        for (size_t i = 0; i < stack->room; i++) {
            atomic_init(slot++, NULL);
        }
    }
    atomic_fetch_add_explicit(&pool->own, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&pool->refs, 1, memory_order_relaxed);
    mutex_lock(&pool->lock);
    cache->next = pool->caches;
    pool->caches = cache;
    mutex_unlock(&pool->lock);
    return cache;
}

void pool_cache_close(struct pool_cache *cache)
{
    if (!cache) {
        return;
    }
    struct buffer_pool *pool = cache->pool;
    mutex_lock(&pool->lock);
    struct pool_cache **link = &pool->caches;
    while (*link != cache) {
        link = &(*link)->next;
    }
    *link = cache->next;
    for (unsigned size_class = 0; size_class < CACHE_CLASSES; size_class++) {
        pool->hits_of_closed_caches[size_class] +=
            atomic_load_explicit(&cache->stacks[size_class].hits, memory_order_relaxed);
    }
    mutex_unlock(&pool->lock);
    pool_cache_flush(cache);
    size_t bytes = cache->bytes;
    memory_aligned_free(cache);
    atomic_fetch_sub_explicit(&pool->own, bytes, memory_order_relaxed);
    pool_give_back(pool, bytes, 1);
}

/* A block is not looked into: its owner may be taking it just now. */
size_t caches_count(struct buffer_pool *pool, size_t *caches, size_t *bytes)
{
    size_t blocks = 0;
    for (struct pool_cache *cache = pool->caches; cache; cache = cache->next) {
        (*caches)++;
        for (unsigned size_class = 0; size_class < CACHE_CLASSES; size_class++) {
            struct cache_stack *stack = &cache->stacks[size_class];
            for (size_t i = 0; i < stack->room; i++) {
                if (atomic_load_explicit(&stack->slots[i], memory_order_relaxed)) {
                    blocks++;
                    *bytes += block_bytes(pool, pool_class_capacity(size_class));
                }
            }
        }
    }
    return blocks;
}
