/* test_buffer_pool.c: the pool's rules one by one on a single thread, then random operations against a plain count.
 * Waiting is in test_pool_waiter.c, what several threads do to it in test_buffer_pool_threads.c. */
#include "queue/buffer_pool.h"

#include "pool_support.h"
#include "random.h"
#include "test.h"

#include <string.h>

/* What one buffer of this capacity counts for: found by trying. */
static size_t block_size(struct buffer_pool *pool, size_t size)
{
    size_t before = statistics_of(pool).bytes;
    struct buffer *buffer = get(pool, NULL, size);
    size_t after = statistics_of(pool).bytes;
    buffer_release(buffer, NULL);
    CHECK_EQ(statistics_of(pool).bytes, before);
    return after - before;
}

TEST(buffer_pool, refuses_options_out_of_range)
{
    CHECK(!pool_open(&(struct pool_options){.ceiling = 100}));
    CHECK(!pool_open(&(struct pool_options){.ceiling = 1 << 20, .urgent_share = 1 << 20}));
    CHECK(!pool_open(&(struct pool_options){.ceiling = 1 << 20, .header_bytes = 4097}));
    CHECK(!pool_open(&(struct pool_options){.ceiling = SIZE_MAX}));
    struct buffer_pool *pool = open_pool(0, POOL_SHARE_DEFAULT, 4096);
    CHECK_EQ(statistics_of(pool).ceiling, POOL_CEILING_DEFAULT);
    CHECK_EQ(pool_close(pool), 0);
}

TEST(buffer_pool, gives_room_for_header_data_and_two_nuls)
{
    static const size_t sizes[] = {0, 1, 64, 65, 1000, 65536, 300000, POOL_LARGEST, POOL_LARGEST + 1};
    for (size_t header = 0; header <= 100; header += 25) {
        struct buffer_pool *pool = open_pool(0, 0, header);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            struct buffer *buffer = get(pool, NULL, sizes[i]);
            CHECK(buffer->capacity >= sizes[i]);
            CHECK_EQ(buffer->length, 0);
            char *data = buffer_data(buffer);
            char *head = buffer_header(buffer);
            CHECK_EQ((uintptr_t) data % 16, 0);
            CHECK_EQ((uintptr_t) head % 16, 0);
            CHECK(head + header <= data);
            CHECK(buffer_of_header(head) == buffer);
            memset(head, 'h', header); /* the address sanitizer watches the ends */
            memset(data, 'd', buffer->capacity);
            buffer_set_length(buffer, buffer->capacity);
            CHECK_EQ(buffer->length, buffer->capacity);
            CHECK_EQ(data[buffer->capacity], 0);
            CHECK_EQ(data[buffer->capacity + 1], 0);
            if (buffer->capacity > 0) {
                CHECK_EQ(data[buffer->capacity - 1], 'd');
            }
            if (header > 0) {
                CHECK_EQ(head[header - 1], 'h');
            }
            CHECK_EQ(buffer->refs, 1);
            buffer_release(buffer, NULL);
        }
        CHECK_EQ(pool_close(pool), 0);
    }
}

TEST(buffer_pool, comes_back_with_the_last_reference)
{
    struct buffer_pool *pool = open_pool(0, 0, 0);
    struct pool_cache *cache = pool_cache_open(pool);
    struct buffer *buffer = get(pool, cache, 10);
    buffer_retain(buffer);
    buffer_retain(buffer);
    buffer_release(buffer, cache);
    buffer_release(buffer, NULL);
    CHECK_EQ(statistics_of(pool).buffers_out, 1);
    struct buffer *another = get(pool, cache, 10);
    CHECK(another != buffer);
    CHECK_EQ(statistics_of(pool).buffers_out, 2);
    buffer_release(buffer, cache);
    CHECK_EQ(statistics_of(pool).buffers_out, 1);
    CHECK(get(pool, cache, 10) == buffer); /* from the cache */
    buffer_release(buffer, NULL);
    buffer_release(another, NULL);
    pool_cache_close(cache);
    CHECK_EQ(pool_close(pool), 0);
}

TEST(buffer_pool, a_cache_is_bounded_and_serves_its_own_class)
{
    struct buffer_pool *pool = open_pool(0, 0, 0);
    struct pool_cache *cache = pool_cache_open(pool);
    struct buffer *buffer[100];
    for (int i = 0; i < 100; i++) {
        buffer[i] = get(pool, cache, 100);
    }
    for (int i = 0; i < 100; i++) {
        buffer_release(buffer[i], cache);
    }
    struct pool_statistics statistics = statistics_of(pool);
    CHECK_EQ(statistics.buffers_out, 0);
    CHECK_EQ(statistics.bytes_cached, 64 * block_size(pool, 100));
    CHECK_EQ(statistics.bytes_in_use, 0);
    struct buffer *large = get(pool, cache, 65536);
    CHECK_EQ(large->capacity, 65536);
    buffer_release(large, cache);
    struct buffer *huge = get(pool, cache, 1 << 20);
    buffer_release(huge, cache); /* too large to keep */
    CHECK_EQ(statistics_of(pool).bytes_cached, 64 * block_size(pool, 100) + block_size(pool, 65536));
    pool_cache_flush(cache);
    CHECK_EQ(statistics_of(pool).bytes_cached, 0);
    pool_cache_flush(NULL);
    pool_cache_close(NULL);
    pool_cache_close(cache);
    CHECK_EQ(pool_close(pool), 0);
}

TEST(buffer_pool, another_pools_cache_keeps_nothing)
{
    struct buffer_pool *one = open_pool(0, 0, 0);
    struct buffer_pool *other = open_pool(0, 0, 64);
    struct pool_cache *cache = pool_cache_open(other);
    struct buffer *buffer = get(one, NULL, 100);
    buffer_release(buffer, cache);
    CHECK_EQ(statistics_of(one).bytes_in_use, 0);
    CHECK_EQ(statistics_of(other).bytes_cached, 0);
    pool_cache_close(cache);
    CHECK_EQ(pool_close(one), 0);
    CHECK_EQ(pool_close(other), 0);
}

TEST(buffer_pool, the_ceiling_is_exact_and_the_urgent_share_kept)
{
    struct buffer_pool *pool = open_pool(1 << 20, POOL_SHARE_DEFAULT, 32);
    size_t own = statistics_of(pool).bytes_own;
    size_t block = block_size(pool, 1000);
    struct buffer *buffer[1200];
    size_t normal = ((1 << 20) - (1 << 17) - own) / block;
    size_t all = ((1 << 20) - own) / block;
    CHECK(normal > 0 && normal < all);
    for (size_t i = 0; i < normal; i++) {
        buffer[i] = get(pool, NULL, 1000);
    }
    struct buffer *none = buffer[0];
    CHECK_EQ(pool_get(pool, NULL, 1000, false, &none), POOL_CEILING);
    CHECK(!none);
    for (size_t i = normal; i < all; i++) {
        CHECK_EQ(pool_get(pool, NULL, 1000, true, &buffer[i]), POOL_OK);
    }
    CHECK_EQ(pool_get(pool, NULL, 1000, true, &none), POOL_CEILING);
    struct pool_statistics statistics = statistics_of(pool);
    CHECK_EQ(statistics.buffers_out, all);
    CHECK_EQ(statistics.refusals, 2);
    CHECK_EQ(statistics.bytes_in_use, all * block);
    buffer_release(buffer[0], NULL);
    CHECK_EQ(pool_get(pool, NULL, 1000, false, &none), POOL_CEILING); /* what is free is the urgent share */
    CHECK_EQ(pool_get(pool, NULL, 1000, true, &buffer[0]), POOL_OK);
    for (size_t i = 0; i < all; i++) {
        buffer_release(buffer[i], NULL);
    }
    CHECK_EQ(statistics_of(pool).bytes, own);
    CHECK_EQ(statistics_of(pool).bytes_high, own + all * block);
    CHECK_EQ(pool_close(pool), 0);
}

TEST(buffer_pool, says_what_can_never_be)
{
    struct buffer_pool *pool = open_pool(1 << 20, POOL_SHARE_DEFAULT, 0);
    struct buffer *buffer;
    struct pool_waiter waiter = {0};
    size_t between = (1 << 20) - (1 << 17) + 100; /* a charge: its bytes are as given */
    CHECK_EQ(pool_charge(pool, between, false), POOL_NEVER);
    CHECK(!pool_wait_charge(pool, &waiter, between, false));
    CHECK_EQ(pool_charge(pool, between, true), POOL_OK);
    pool_uncharge(pool, between);
    CHECK_EQ(pool_get(pool, NULL, 1 << 20, true, &buffer), POOL_NEVER);
    CHECK_EQ(pool_get(pool, NULL, SIZE_MAX, true, &buffer), POOL_NEVER);
    CHECK_EQ(pool_get(pool, NULL, SIZE_MAX / 2, true, &buffer), POOL_NEVER);
    CHECK(!pool_wait(pool, &waiter, SIZE_MAX, true));
    CHECK_EQ(statistics_of(pool).refusals_never, 4);
    CHECK_EQ(statistics_of(pool).refusals, 0);
    CHECK_EQ(pool_close(pool), 0);
}

#ifndef MAILROOM_SYSTEM_ALLOCATOR
/* Sanitizers take such a request for an error of the program. */
TEST(buffer_pool, tells_when_the_allocator_refuses)
{
    struct buffer_pool *pool = open_pool(SIZE_MAX / 2, 0, 0);
    size_t own = statistics_of(pool).bytes;
    struct buffer *buffer;
    CHECK_EQ(pool_get(pool, NULL, (size_t) 1 << 60, false, &buffer), POOL_NO_MEMORY);
    CHECK(!buffer);
    CHECK_EQ(statistics_of(pool).failures, 1);
    CHECK_EQ(statistics_of(pool).bytes, own);
    CHECK_EQ(pool_close(pool), 0);
}
#endif

TEST(buffer_pool, flushes_every_cache_before_it_refuses)
{
    struct buffer_pool *pool = open_pool(1 << 20, 0, 0);
    struct pool_cache *mine = pool_cache_open(pool);
    struct pool_cache *others = pool_cache_open(pool);
    struct buffer *buffer[8];
    for (int round = 0; round < 3; round++) { /* and again: what was taken from a cache is found missing there */
        for (int i = 0; i < 8; i++) {
            buffer[i] = get(pool, others, 60000);
        }
        for (int i = 0; i < 8; i++) {
            buffer_release(buffer[i], i % 2 ? others : mine);
        }
        CHECK_EQ(statistics_of(pool).bytes_cached, 8 * block_size(pool, 60000));
        struct buffer *large = get(pool, mine, 780000);
        CHECK_EQ(statistics_of(pool).bytes_cached, 0);
        buffer_release(large, mine);
    }
    CHECK_EQ(statistics_of(pool).refusals, 0);
    pool_cache_close(mine);
    pool_cache_close(others);
    CHECK_EQ(pool_close(pool), 0);
}

TEST(buffer_pool, a_cache_that_was_flushed_by_another_fills_again)
{
    struct buffer_pool *pool = open_pool(1 << 20, 0, 0);
    struct pool_cache *cache = pool_cache_open(pool);
    struct buffer *buffer[4];
    for (int i = 0; i < 4; i++) {
        buffer[i] = get(pool, NULL, 65536);
    }
    for (int i = 0; i < 4; i++) {
        buffer_release(buffer[i], cache); /* the class is full now */
    }
    buffer_release(get(pool, NULL, 780000), NULL); /* emptied from outside */
    CHECK_EQ(statistics_of(pool).bytes_cached, 0);
    buffer_release(get(pool, NULL, 65536), cache); /* only puts, no take in between */
    CHECK_EQ(statistics_of(pool).bytes_cached, block_size(pool, 65536));
    pool_cache_close(cache);
    CHECK_EQ(pool_close(pool), 0);
}

TEST(buffer_pool, works_without_a_cache_where_there_is_no_room_for_one)
{
    struct buffer_pool *pool = open_pool(8192, 0, 0);
    CHECK(!pool_cache_open(pool));
    buffer_release(get(pool, NULL, 100), NULL);
    CHECK_EQ(pool_close(pool), 0);
}

TEST(buffer_pool, lives_until_the_last_buffer_is_back)
{
    struct buffer_pool *pool = open_pool(0, 0, 16);
    struct pool_cache *cache = pool_cache_open(pool);
    buffer_release(get(pool, cache, 100), cache); /* in the cache: not out */
    struct buffer *buffer[3];
    for (int i = 0; i < 3; i++) {
        buffer[i] = get(pool, cache, 1000);
        memset(buffer_data(buffer[i]), i, 1000);
        buffer_set_length(buffer[i], 1000);
    }
    CHECK_EQ(pool_close(pool), 3);
    buffer_retain(buffer[1]);
    buffer_release(buffer[0], NULL);
    buffer_release(buffer[1], cache);
    buffer_release(buffer[2], cache); /* into a cache that is still open */
    pool_cache_close(cache);
    CHECK_EQ(((char *) buffer_data(buffer[1]))[999], 1);
    buffer_release(buffer[1], NULL); /* the pool goes with it: the leak checker watches */
}

TEST(buffer_pool, shrinks_what_saves_much)
{
    struct buffer_pool *pool = open_pool(0, 0, 24);
    struct buffer *buffer = get(pool, NULL, 65536);
    memcpy(buffer_header(buffer), "the header's 24 bytes..", 24);
    memcpy(buffer_data(buffer), "small", 5);
    buffer_set_length(buffer, 5);
    struct buffer *smaller = buffer_shrink(buffer, NULL, false);
    CHECK_EQ(smaller->capacity, 64);
    CHECK_EQ(smaller->length, 5);
    CHECK_EQ(smaller->refs, 1);
    CHECK_MEM(buffer_header(smaller), "the header's 24 bytes..", 24);
    CHECK_MEM(buffer_data(smaller), "small\0\0", 7);
    CHECK_EQ(statistics_of(pool).buffers_out, 1);
    CHECK(buffer_shrink(smaller, NULL, false) == smaller);
    buffer_release(smaller, NULL);

    buffer = get(pool, NULL, 1024);
    buffer_set_length(buffer, 513); /* more than half of it is used */
    CHECK(buffer_shrink(buffer, NULL, false) == buffer);
    buffer_set_length(buffer, 10);
    buffer_retain(buffer); /* somebody else looks at it */
    CHECK(buffer_shrink(buffer, NULL, false) == buffer);
    buffer_release(buffer, NULL);
    buffer_release(buffer, NULL);
    CHECK_EQ(pool_close(pool), 0);
}

TEST(buffer_pool, counts_by_class)
{
    struct buffer_pool *pool = open_pool(0, 0, 0);
    struct pool_cache *cache = pool_cache_open(pool);
    for (int i = 0; i < 10; i++) {
        buffer_release(get(pool, cache, 100), cache);
    }
    buffer_release(get(pool, NULL, 100), NULL);
    buffer_release(get(pool, cache, POOL_LARGEST + 5), cache);
    for (int closed = 0; closed < 2; closed++) { /* what a cache has counted outlives it */
        struct pool_statistics statistics = statistics_of(pool);
        CHECK_EQ(statistics.gets[pool_class_of(100)], 11);
        CHECK_EQ(statistics.misses[pool_class_of(100)], 2);
        CHECK_EQ(statistics.gets[POOL_CLASSES], 1);
        CHECK_EQ(statistics.misses[POOL_CLASSES], 1);
        CHECK_EQ(statistics.gets[0], 0);
        pool_cache_close(cache);
        cache = NULL;
    }
    CHECK_EQ(pool_close(pool), 0);
}

/* ---- model ---- */

#define MODEL_BUFFERS 200

struct model {
    struct buffer *buffer[MODEL_BUFFERS];
    unsigned refs[MODEL_BUFFERS];
    unsigned mark[MODEL_BUFFERS]; /* what the buffer is filled with */
    size_t in_use;
    size_t out;
    size_t charged;
};

static size_t model_block(const struct buffer *buffer)
{
    return (buffer->data_offset + buffer->capacity + 2 + 15) / 16 * 16;
}

static void model_fill(struct buffer *buffer, unsigned mark)
{
    memset(buffer_header(buffer), (int) mark, 40);
    memset(buffer_data(buffer), (int) mark, buffer->capacity);
    buffer_set_length(buffer, buffer->capacity);
}

static void model_check(const struct buffer *buffer, unsigned mark)
{
    const unsigned char *data = buffer_data((struct buffer *) (uintptr_t) buffer);
    const unsigned char *head = buffer_header((struct buffer *) (uintptr_t) buffer);
    CHECK_EQ(head[0], mark);
    CHECK_EQ(head[39], mark);
    CHECK_EQ(data[0], mark);
    CHECK_EQ(data[buffer->capacity / 2], mark);
    CHECK_EQ(data[buffer->capacity - 1], mark);
    CHECK_EQ(data[buffer->capacity], 0);
}

static void model_get(struct random *random, struct model *model, struct buffer_pool *pool, struct pool_cache *cache,
                      size_t own, unsigned pick)
{
    size_t size = (size_t) random_below(random, UINT64_C(1) << random_below(random, 21));
    bool urgent = random_below(random, 4) == 0;
    size_t limit = (1 << 20) - (urgent ? 0 : 1 << 17);
    size_t block = (32 + 48 + pool_right_size(size) + 2 + 15) / 16 * 16; /* struct, header of 40, data, NULs */
    struct buffer *buffer;
    enum pool_result result = pool_get(pool, cache, size, urgent, &buffer);
    if (block > limit - own) {
        CHECK_EQ(result, POOL_NEVER);
    } else if (own + model->charged + model->in_use + block <= limit) {
        CHECK_EQ(result, POOL_OK); /* whatever the caches hold */
    } else if (result == POOL_OK) {
        CHECK(cache); /* only a cached buffer, counted already, can be had above the limit */
    } else {
        CHECK_EQ(result, POOL_CEILING);
    }
    if (result == POOL_OK) {
        CHECK_EQ(model_block(buffer), block);
        model->buffer[pick] = buffer;
        model->refs[pick] = 1;
        model->mark[pick] = (unsigned) random_below(random, 256);
        model->in_use += block;
        model->out++;
        model_fill(buffer, model->mark[pick]);
    }
}

static void model_step(struct random *random, struct model *model, struct buffer_pool *pool, struct pool_cache **cache,
                       size_t own)
{
    unsigned pick = (unsigned) random_below(random, MODEL_BUFFERS);
    struct pool_cache *with = cache[random_below(random, 3)];
    uint64_t action = random_below(random, 100);
    struct buffer *buffer = model->buffer[pick];
    if (action < 80 && !buffer) {
        model_get(random, model, pool, with, own, pick);
    } else if (action < 60) {
        model_check(buffer, model->mark[pick]);
        if (--model->refs[pick] == 0) {
            model->in_use -= model_block(buffer);
            model->out--;
            model->buffer[pick] = NULL;
        }
        buffer_release(buffer, with);
    } else if (action < 80) {
        buffer_retain(buffer);
        model->refs[pick]++;
    } else if (action < 88) {
        size_t bytes = (size_t) random_below(random, 50000);
        bool fits = own + model->charged + model->in_use + bytes <= (1 << 20) - (1 << 17);
        CHECK_EQ(pool_charge(pool, bytes, false), fits ? POOL_OK : POOL_CEILING);
        model->charged += fits ? bytes : 0;
    } else if (action < 98) {
        size_t bytes = (size_t) random_below(random, model->charged + 1);
        pool_uncharge(pool, bytes);
        model->charged -= bytes;
    } else {
        pool_cache_flush(with);
    }
}

TEST(buffer_pool, agrees_with_a_plain_count)
{
    struct random random = {test_seed()};
    int rounds = test_campaign() ? 200 : 5;
    for (int round = 0; round < rounds; round++) {
        struct buffer_pool *pool = open_pool(1 << 20, POOL_SHARE_DEFAULT, 40);
        struct pool_cache *cache[3] = {NULL, pool_cache_open(pool), pool_cache_open(pool)};
        size_t own = statistics_of(pool).bytes_own;
        struct model model = {0};
        for (int step = 0; step < 4000; step++) {
            model_step(&random, &model, pool, cache, own);
            struct pool_statistics statistics = statistics_of(pool);
            CHECK_EQ(statistics.buffers_out, model.out);
            CHECK_EQ(statistics.bytes_in_use, model.in_use);
            CHECK_EQ(statistics.bytes_charged, model.charged);
        }
        pool_uncharge(pool, model.charged);
        pool_cache_close(cache[1]);
        CHECK_EQ(pool_close(pool), model.out);
        for (int i = 0; i < MODEL_BUFFERS; i++) {
            while (model.refs[i] > 0 && model.buffer[i]) {
                model.refs[i]--;
                buffer_release(model.buffer[i], i % 2 ? cache[2] : NULL);
            }
        }
        pool_cache_close(cache[2]);
    }
}
