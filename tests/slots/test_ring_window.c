/* test_ring_window.c: acknowledgement in any order, by any thread, at any time. */
#include <stdlib.h>
#include <string.h>

#include "../queue/random.h"
#include "queue/memory.h"
#include "slots/ring_ceiling.h"
#include "slots/ring_window.h"
#include "test.h"

struct bench {
    struct ring_geometry geometry;
    void *memory;
    struct ring_reader ring;
    struct ring_window *window;
    _Atomic uint64_t acknowledged;
    _Atomic unsigned reached;
    _Atomic unsigned resumed;
};

static void on_reached(void *context)
{
    atomic_fetch_add(&((struct bench *) context)->reached, 1);
}

static void on_resume(void *context)
{
    atomic_fetch_add(&((struct bench *) context)->resumed, 1);
}

static void bench_begin(struct bench *bench, uint32_t most)
{
    memset(bench, 0, sizeof *bench);
    bench->geometry = (struct ring_geometry){.levels = 1, .capacity = {(uint32_t) 1 << 20}};
    bench->memory = memory_aligned(4096, ring_memory_bytes(&bench->geometry));
    CHECK(bench->memory != NULL);
    memset(bench->memory, 0, ring_memory_bytes(&bench->geometry));
    ring_reader_init(&bench->ring, bench->memory, &bench->geometry, 0);
    struct ring_window_owner owner = {on_reached, on_resume, bench, &bench->acknowledged};
    bench->window = ring_window_open(&bench->ring, most, &owner);
    CHECK(bench->window != NULL);
}

static void bench_end(struct bench *bench)
{
    ring_window_close(bench->window);
    memory_aligned_free(bench->memory);
}

static uint64_t bench_head(struct bench *bench)
{
    return atomic_load(&bench->ring.control->head);
}

TEST(window, head_moves_over_what_is_done_without_a_gap)
{
    struct bench bench;
    struct slot_token tokens[5];
    bench_begin(&bench, 8);
    for (uint64_t i = 0; i < 5; i++) {
        CHECK(ring_window_has_room(bench.window));
        ring_window_add(bench.window, 16 * (i + 1), &tokens[i]);
    }
    CHECK_EQ(ring_window_unacknowledged(bench.window), 5);
    ring_window_acknowledge(&tokens[2]);
    ring_window_acknowledge(&tokens[1]);
    CHECK_EQ(bench_head(&bench), 0);
    ring_window_acknowledge(&tokens[0]);
    CHECK_EQ(bench_head(&bench), 48);
    ring_window_acknowledge(&tokens[0]);
    ring_window_acknowledge(&tokens[2]);
    CHECK_EQ(atomic_load(&bench.acknowledged), 3);
    CHECK_EQ(ring_window_unacknowledged(bench.window), 2);
    ring_window_acknowledge(&tokens[4]);
    ring_window_add_done(bench.window, 96);
    CHECK_EQ(bench_head(&bench), 48);
    ring_window_acknowledge(&tokens[3]);
    CHECK_EQ(bench_head(&bench), 96);
    ring_window_add_done(bench.window, 112); /* nothing before it: at once */
    CHECK_EQ(bench_head(&bench), 112);
    CHECK_EQ(atomic_load(&bench.acknowledged), 5);
    struct slot_token none = {0};
    ring_window_acknowledge(&none);
    bench_end(&bench);
}

TEST(window, what_was_retracted_is_added_again)
{
    struct bench bench;
    struct slot_token first, again;
    bench_begin(&bench, 2);
    ring_window_add(bench.window, 16, &first);
    ring_window_retract(bench.window);
    CHECK_EQ(ring_window_unacknowledged(bench.window), 0);
    ring_window_add(bench.window, 16, &again);
    ring_window_acknowledge(&again);
    CHECK_EQ(bench_head(&bench), 16);
    bench_end(&bench);
}

TEST(window, a_full_one_resumes_when_half_is_free_and_an_awaited_one_when_all_is)
{
    struct bench bench;
    struct slot_token tokens[8];
    bench_begin(&bench, 8);
    CHECK(ring_window_await(bench.window));
    for (uint64_t i = 0; i < 8; i++) {
        CHECK(!ring_window_pause(bench.window));
        ring_window_add(bench.window, 16 * (i + 1), &tokens[i]);
    }
    CHECK(!ring_window_has_room(bench.window));
    CHECK(ring_window_pause(bench.window));
    for (int i = 0; i < 3; i++)
        ring_window_acknowledge(&tokens[i]);
    CHECK_EQ(atomic_load(&bench.resumed), 0);
    ring_window_acknowledge(&tokens[3]);
    CHECK_EQ(atomic_load(&bench.resumed), 1);
    CHECK(ring_window_has_room(bench.window));
    CHECK(!ring_window_await(bench.window));
    for (int i = 7; i > 4; i--)
        ring_window_acknowledge(&tokens[i]);
    CHECK_EQ(atomic_load(&bench.resumed), 1);
    ring_window_acknowledge(&tokens[4]);
    CHECK_EQ(atomic_load(&bench.resumed), 2);
    CHECK(ring_window_await(bench.window));
    bench_end(&bench);
}

TEST(window, the_writer_is_told_when_head_is_where_it_waits_for_it)
{
    struct bench bench;
    struct slot_token tokens[4];
    bench_begin(&bench, 8);
    atomic_store(&bench.ring.control->tail, 64);
    for (uint64_t i = 0; i < 4; i++)
        ring_window_add(bench.window, 16 * (i + 1), &tokens[i]);
    ring_advance(&bench.ring, 64);
    atomic_store(&bench.ring.control->wanted, 32);
    CHECK(!ring_window_look(bench.window));
    ring_window_acknowledge(&tokens[0]);
    CHECK_EQ(atomic_load(&bench.reached), 0);
    ring_window_acknowledge(&tokens[1]);
    CHECK_EQ(atomic_load(&bench.reached), 1);
    ring_window_acknowledge(&tokens[2]);
    CHECK_EQ(atomic_load(&bench.reached), 1);
    bench_end(&bench);
}

TEST(window, late_tokens_mean_nothing_even_to_the_next_owner)
{
    struct bench first, second;
    struct slot_token late, present;
    bench_begin(&first, 8);
    ring_window_add(first.window, 16, &late);
    struct ring_window *same = first.window;
    bench_end(&first);
    CHECK_EQ(atomic_load(&first.acknowledged), 1); /* nothing is left over */
    bench_begin(&second, 8);
    CHECK(second.window == same);
    ring_window_add(second.window, 32, &present);
    ring_window_acknowledge(&late);
    CHECK_EQ(bench_head(&second), 0);
    ring_window_acknowledge(&present);
    CHECK_EQ(bench_head(&second), 32);
    bench_end(&second);
}

/* Random adding and acknowledging against plain arrays; the window grows as it goes. */
TEST(window, agrees_with_a_model)
{
    enum { MOST = 1000, TOTAL = 20000 };
    static struct slot_token tokens[TOTAL];
    static bool done[TOTAL];
    struct random random = {test_seed()};
    struct bench bench;
    bench_begin(&bench, MOST);
    uint64_t added = 0, first = 0, acknowledged = 0;
    while (first < TOTAL) {
        if (random_below(&random, 3) > 0 && added < TOTAL && ring_window_has_room(bench.window)) {
            ring_window_add(bench.window, 8 * (added + 1), &tokens[added]);
            added++;
        } else if (first < added) {
            uint64_t which = first + random_below(&random, random_below(&random, 4) == 0 ? added - first : 1);
            ring_window_acknowledge(&tokens[which]);
            acknowledged += !done[which];
            done[which] = true;
        }
        while (first < added && done[first])
            first++;
        CHECK_EQ(bench_head(&bench), 8 * first);
        CHECK_EQ(atomic_load(&bench.acknowledged), acknowledged);
        CHECK(added - first <= 1024);
    }
    bench_end(&bench);
}

struct stress {
    struct bench bench;
    _Atomic uint64_t added;
    _Atomic uint64_t next; /* who takes which */
    uint64_t total;
    struct slot_token *tokens;
};

static void acknowledge_run(void *argument)
{
    struct stress *stress = argument;
    for (;;) {
        uint64_t which = atomic_fetch_add(&stress->next, 1);
        if (which >= stress->total)
            return;
        while (atomic_load_explicit(&stress->added, memory_order_acquire) <= which) {}
        ring_window_acknowledge(&stress->tokens[which]);
    }
}

TEST(window, threads_acknowledge_while_one_adds)
{
    struct stress stress = {.total = 100000};
    thread threads[3];
    bench_begin(&stress.bench, 256);
    stress.tokens = calloc(stress.total, sizeof *stress.tokens);
    CHECK(stress.tokens != NULL);
    for (int i = 0; i < 3; i++)
        CHECK_STATUS(thread_start(&threads[i], "acknowledge", acknowledge_run, &stress), MR_OK);
    for (uint64_t i = 0; i < stress.total; i++) {
        while (!ring_window_has_room(stress.bench.window)) {}
        ring_window_add(stress.bench.window, 8 * (i + 1), &stress.tokens[i]);
        atomic_store_explicit(&stress.added, i + 1, memory_order_release);
    }
    for (int i = 0; i < 3; i++)
        thread_join(threads[i]);
    CHECK_EQ(bench_head(&stress.bench), 8 * stress.total);
    CHECK_EQ(ring_window_unacknowledged(stress.bench.window), 0);
    bench_end(&stress.bench);
    free(stress.tokens);
}

/* ---- the ceiling of what is mapped ---- */

TEST(ceiling, shares_shrink_and_come_back)
{
    struct ring_geometry small = {.levels = 2, .capacity = {(uint32_t) 64 << 10, (uint32_t) 64 << 10}};
    struct ring_geometry large = {.levels = 2, .capacity = {(uint32_t) 4 << 20, (uint32_t) 64 << 10}};
    uint32_t allowed;
    ring_ceiling_set(0, true);
    CHECK(!ring_ceiling_take(7, &large, &allowed)); /* half of 1 GiB, for 256 rings */
    CHECK_EQ(allowed, (uint32_t) 2 << 20);
    unsigned count = 0;
    uint32_t least = allowed;
    while (ring_ceiling_take(7, &small, &allowed)) {
        CHECK(allowed <= least);
        least = allowed;
        count++;
    }
    CHECK_EQ(allowed, 0);
    CHECK_EQ(count, ((uint64_t) 512 << 20) / ring_memory_bytes(&small));
    CHECK(ring_ceiling_take(8, &small, &allowed)); /* another user has a share of its own */
    ring_ceiling_return(8, &small);
    while (count-- > 0)
        ring_ceiling_return(7, &small);
    CHECK_EQ(ring_ceiling_taken(), 0);
    ring_ceiling_set(0, false);
    CHECK(ring_ceiling_take(0, &large, &allowed)); /* root has all of it */
    ring_ceiling_return(0, &large);
}
