/* test_writer_gate.c: the short way past a writer's lock: nobody is inside beside another, with seats and without. */
#include <string.h>

#include <mailroom/status.h>

#include "queue/thread.h"
#include "slots/writer_gate.h"
#include "test.h"

enum { THREADS = 4, ROUNDS = 400, LOOKS = 100 };

struct guarded {
    struct writer_gate gate;
    mutex lock;
    uint64_t count; /* by whoever is inside, or has the lock and the gate closed */
    uint64_t seated;
    unsigned stay;          /* by a seat */
    _Atomic uint64_t shown; /* changes all the time that somebody is inside */
    _Atomic uint64_t locked;
    _Atomic bool done;
};

struct visitor {
    struct guarded *guarded;
    unsigned burst;
    bool ends; /* each burst on a thread of its own */
};

static void guarded_open(struct guarded *guarded)
{
    memset(guarded, 0, sizeof *guarded);
    mutex_init(&guarded->lock);
    writer_gate_init(&guarded->gate);
    mutex_lock(&guarded->lock);
    writer_gate_close(&guarded->gate);
    writer_gate_open(&guarded->gate);
    mutex_unlock(&guarded->lock);
}

static void count_one(struct guarded *guarded, unsigned stay)
{
    guarded->count++;
    for (unsigned i = 0; i <= stay; i++) /* so long that it would be seen */
        atomic_store_explicit(&guarded->shown, guarded->count * 100000 + i, memory_order_relaxed);
}

static void guarded_add(struct guarded *guarded)
{
    uint32_t entered = writer_gate_enter(&guarded->gate);
    if (entered != GATE_CLOSED) {
        count_one(guarded, entered >= GATE_SEAT ? guarded->stay : 0);
        guarded->seated += entered >= GATE_SEAT;
        writer_gate_leave(&guarded->gate, entered);
        return;
    }
    mutex_lock(&guarded->lock);
    writer_gate_close(&guarded->gate);
    count_one(guarded, 0);
    atomic_fetch_add_explicit(&guarded->locked, 1, memory_order_relaxed);
    writer_gate_open(&guarded->gate);
    mutex_unlock(&guarded->lock);
}

static void burst(void *argument)
{
    const struct visitor *visitor = argument;
    for (unsigned i = 0; i < visitor->burst; i++)
        guarded_add(visitor->guarded);
}

static void visit(void *argument)
{
    struct visitor *visitor = argument;
    for (unsigned round = 0; round < ROUNDS; round++) {
        thread one;
        if (!visitor->ends) {
            burst(visitor);
            continue;
        }
        CHECK_STATUS(thread_start(&one, "burst", burst, visitor), MR_OK);
        thread_join(one);
    }
}

static void visit_all(bool ends, unsigned length)
{
    struct guarded guarded;
    thread threads[THREADS];
    struct visitor visitors[THREADS];
    guarded_open(&guarded);
    for (unsigned i = 0; i < THREADS; i++) {
        visitors[i] = (struct visitor){.guarded = &guarded, .burst = length + 7 * i, .ends = ends};
        CHECK_STATUS(thread_start(&threads[i], "visitor", visit, &visitors[i]), MR_OK);
    }
    uint64_t expected = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        thread_join(threads[i]);
        expected += (uint64_t) ROUNDS * visitors[i].burst;
    }
    CHECK_EQ(guarded.count, expected);
    mutex_destroy(&guarded.lock);
}

/* What the lock's holder reads while another goes in and out does not change under it. */
static void look_on(void *argument)
{
    struct guarded *guarded = argument;
    for (unsigned round = 0; round < LOOKS; round++) {
        for (unsigned wait = 0; atomic_load_explicit(&guarded->gate.state, memory_order_relaxed) < GATE_SEAT; wait++) {
            if (!thread_barrier_prepare())
                break; /* then there are no seats */
            thread_yield(wait % 10);
        }
        mutex_lock(&guarded->lock);
        writer_gate_close(&guarded->gate);
        uint64_t before = atomic_load_explicit(&guarded->shown, memory_order_relaxed);
        for (unsigned i = 0; i < 200; i++)
            CHECK_EQ(atomic_load_explicit(&guarded->shown, memory_order_relaxed), before);
        if (thread_barrier_prepare())
            guarded->gate.run_most = GATE_RUN; /* the next seat soon */
        writer_gate_open(&guarded->gate);
        mutex_unlock(&guarded->lock);
    }
    atomic_store_explicit(&guarded->done, true, memory_order_relaxed);
}

TEST(writer_gate, keeps_threads_apart)
{
    visit_all(false, 3);
    visit_all(false, 500);
}

TEST(writer_gate, keeps_threads_apart_without_barriers)
{
    thread_barrier_refuse(true);
    visit_all(false, 3);
    visit_all(false, 500);
}

TEST(writer_gate, outlives_threads_that_have_had_it)
{
    visit_all(true, 40);
}

TEST(writer_gate, gives_a_seat_to_a_thread_that_comes_again_and_again)
{
    struct guarded guarded;
    guarded_open(&guarded);
    for (unsigned i = 0; i < GATE_RUN; i++)
        guarded_add(&guarded);
    CHECK_EQ(guarded.seated, 0u);
    for (unsigned i = 0; i < 100; i++)
        guarded_add(&guarded);
    CHECK_EQ(guarded.seated, thread_barrier_prepare() ? 100u : 0u);
    /* Its own way by the lock takes nothing from it. */
    mutex_lock(&guarded.lock);
    writer_gate_close(&guarded.gate);
    CHECK_EQ(writer_gate_enter(&guarded.gate), (uint32_t) GATE_CLOSED);
    writer_gate_open(&guarded.gate);
    mutex_unlock(&guarded.lock);
    guarded_add(&guarded);
    CHECK_EQ(guarded.seated, thread_barrier_prepare() ? 101u : 0u);
    mutex_destroy(&guarded.lock);
}

TEST(writer_gate, gives_no_seat_without_barriers)
{
    struct guarded guarded;
    thread_barrier_refuse(true);
    guarded_open(&guarded);
    for (unsigned i = 0; i < 3 * GATE_RUN; i++)
        guarded_add(&guarded);
    CHECK_EQ(guarded.seated, 0u);
    mutex_destroy(&guarded.lock);
}

TEST(writer_gate, takes_a_seat_away_from_a_thread_that_is_inside)
{
    struct guarded guarded;
    thread other;
    guarded_open(&guarded);
    guarded.stay = 40000;
    CHECK_STATUS(thread_start(&other, "looker", look_on, &guarded), MR_OK);
    uint64_t added = 0;
    for (; !atomic_load_explicit(&guarded.done, memory_order_relaxed); added++)
        guarded_add(&guarded);
    thread_join(other);
    CHECK_EQ(guarded.count, added);
    mutex_destroy(&guarded.lock);
}

/* Threads in turn, each for a while: seats become rarer the more often they are taken away. */
TEST(writer_gate, does_not_pass_a_seat_to_and_fro)
{
    struct guarded guarded;
    guarded_open(&guarded);
    struct visitor visitor = {.guarded = &guarded, .burst = 2 * GATE_RUN};
    uint64_t before = clock_now();
    for (unsigned turn = 0; turn < 8; turn++) {
        thread one;
        CHECK_STATUS(thread_start(&one, "turn", burst, &visitor), MR_OK);
        thread_join(one);
        burst(&visitor);
    }
    CHECK_EQ(guarded.count, (uint64_t) 8 * 2 * visitor.burst);
    if (!thread_barrier_prepare())
        CHECK_EQ(guarded.seated, 0u);
    else if (clock_now() - before < UINT64_C(50000000)) /* else taking them away is cheap enough */
        CHECK_EQ(guarded.gate.run_most, 4 * GATE_RUN);
    mutex_destroy(&guarded.lock);
}
