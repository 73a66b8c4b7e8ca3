/* pool_support.h: what the tests of the buffer pool share. */
#ifndef TESTS_QUEUE_POOL_SUPPORT_H
#define TESTS_QUEUE_POOL_SUPPORT_H

#include "queue/buffer_pool.h"

#include "test.h"

static inline struct buffer_pool *open_pool(size_t ceiling, size_t urgent_share, size_t header_bytes)
{
    struct pool_options options = {.ceiling = ceiling, .urgent_share = urgent_share, .header_bytes = header_bytes};
    struct buffer_pool *pool = pool_open(&options);
    CHECK(pool);
    return pool;
}

static inline struct buffer *get(struct buffer_pool *pool, struct pool_cache *cache, size_t size)
{
    struct buffer *buffer;
    CHECK_EQ(pool_get(pool, cache, size, false, &buffer), POOL_OK);
    return buffer;
}

static inline struct pool_statistics statistics_of(struct buffer_pool *pool)
{
    struct pool_statistics statistics;
    pool_statistics(pool, &statistics);
    CHECK(statistics.bytes <= statistics.ceiling);
    CHECK(statistics.bytes <= statistics.bytes_high);
    CHECK(statistics.bytes_high <= statistics.ceiling);
    CHECK_EQ(statistics.bytes,
             statistics.bytes_in_use + statistics.bytes_cached + statistics.bytes_charged + statistics.bytes_own);
    return statistics;
}

#endif
