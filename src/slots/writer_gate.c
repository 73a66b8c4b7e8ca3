/* writer_gate.c: what of the gate is not on the way of a thread that has a seat. Invariants, pairs: writer_gate.h. */
#include "slots/writer_gate.h"

/* So often a thread looks whether another one that is inside has left, before it goes by the lock. */
#define GATE_LOOKS 64u
/* Seats that are taken away no more often than this cost nothing. */
#define GATE_RARELY_NS UINT64_C(100000000)

void writer_gate_init(struct writer_gate *gate)
{
    *gate = (struct writer_gate){.seated = GATE_OPEN, .run_most = thread_barrier_prepare() ? GATE_RUN : UINT32_MAX};
}

/* The gate is closed but for whoever is inside by the seat. */
static void seat_take_away(struct writer_gate *gate, struct gate_seat *seat)
{
    thread_barrier();                                                                                 /* S2 */
    for (unsigned round = 0; atomic_load_explicit(&seat->inside, memory_order_acquire) != 0; round++) /* S2 A1 */
        thread_yield(round);
    uint64_t now = clock_coarse();
    bool soon = now - gate->taken_at < GATE_RARELY_NS;
    gate->taken_at = now;
    gate->seated = GATE_OPEN;
    gate->run = 0;
    if (!soon)
        gate->run_most = GATE_RUN;
    else if (gate->run_most < GATE_RUN_MOST)
        gate->run_most *= 2;
}

void writer_gate_close(struct writer_gate *gate)
{
    for (unsigned round = 0;; round++) {
        uint32_t state = atomic_load_explicit(&gate->state, memory_order_acquire); /* A1: who got a seat, and left */
        if (state == GATE_CLOSED)
            return;
        if (state >= GATE_SEAT) {
            struct gate_seat *seat = &gate->seats[state - GATE_SEAT];
            atomic_store_explicit(&gate->state, GATE_CLOSED, memory_order_relaxed); /* S2 */
            if (atomic_load_explicit(&seat->thread, memory_order_relaxed) != thread_self())
                seat_take_away(gate, seat);
            return;
        }
        uint32_t open = GATE_OPEN;
        if (state == GATE_OPEN && atomic_compare_exchange_strong_explicit(&gate->state, &open, GATE_CLOSED,
                                                                          memory_order_acquire, memory_order_relaxed))
            return; /* A1 */
        if (state == GATE_TAKEN)
            thread_yield(round); /* for long only where its thread was preempted: it does nothing that blocks */
    }
}

void writer_gate_open(struct writer_gate *gate)
{
    atomic_store_explicit(&gate->state, gate->seated, memory_order_release); /* A1 G3 */
}

uint32_t writer_gate_take(struct writer_gate *gate)
{
    for (unsigned looks = 0; looks < GATE_LOOKS; looks++) {
        uint32_t seen = GATE_OPEN;
        if (atomic_compare_exchange_strong_explicit(&gate->state, &seen, GATE_TAKEN, memory_order_acquire,
                                                    memory_order_relaxed)) /* A1 */
            return GATE_TAKEN;
        if (seen != GATE_TAKEN)
            return GATE_CLOSED; /* closed, or another's seat */
    }
    return GATE_CLOSED;
}

/* The seat of the thread `self`, or a new one; GATE_OPEN: all are others'. */
static uint32_t seat_find(struct writer_gate *gate, uint64_t self)
{
    for (uint32_t i = 0; i < GATE_SEATS; i++) {
        uint64_t owner = atomic_load_explicit(&gate->seats[i].thread, memory_order_relaxed);
        if (owner == 0)
            atomic_store_explicit(&gate->seats[i].thread, self, memory_order_relaxed);
        if (owner == 0 || owner == self)
            return GATE_SEAT + i;
    }
    return GATE_OPEN;
}

void writer_gate_put(struct writer_gate *gate)
{
    if (gate->run_most != UINT32_MAX) {
        uint64_t self = thread_self();
        gate->run = gate->thread == self ? gate->run + 1 : 1;
        gate->thread = self;
        if (gate->run >= gate->run_most) {
            gate->run = 0;
            gate->seated = seat_find(gate, self);
        }
    }
    atomic_store_explicit(&gate->state, gate->seated, memory_order_release); /* A1 */
}
