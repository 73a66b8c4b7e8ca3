/* writer_gate.h: the short way past a writer's lock, for one thread at a time, without a locked instruction for one
 * that comes again and again.
 *
 * Path    writer_gate_enter > what the lock would guard > writer_gate_leave
 *         lock > writer_gate_close, which waits out who is inside > what the lock guards
 *              > writer_gate_open, if the short way may be gone > unlock
 *
 * A locked instruction waits until every earlier store has left the processor; the stores before it go to a ring whose
 * lines the reader's processor holds. So a thread that enters GATE_RUN times in a row, with nobody in between, gets a
 * *seat*: from then on it enters and leaves by plain stores to a word of its own. Whoever else wants the gate takes the
 * seat away, and pays for the barrier then, on behalf of all threads of the process (thread_barrier).
 *
 * Owners  Who holds the lock and has closed the gate, or is inside, owns everything but `state` and the seats' words.
 *         `state` is changed from GATE_OPEN by whoever wants in; from GATE_TAKEN by who is inside; from a seat's
 *         number, and from GATE_CLOSED, by the lock's holder alone. A seat is one thread's for the whole life, so
 *         its `inside` is stored by that thread alone: a thread that was interrupted in writer_gate_enter, and goes on
 *         when the seat has long been taken away and another given, writes over nobody's word.
 * G1      GATE_CLOSED: nobody is inside, and nobody gets in.
 * G2      GATE_OPEN: no seat's `inside` is looked at. GATE_TAKEN: one thread is inside. A seat's number: its thread may
 *         come in, and nobody else.
 * G3      A seat is given by its own thread, inside the gate, and given back to it by writer_gate_open only if nobody
 *         but that thread has closed the gate since. So when a thread in writer_gate_enter finds its own seat in
 *         `state` twice, nobody has closed the gate between the two looks.
 * S1/S2   (seats) writer_gate_enter stores `inside`, then loads `state`; writer_gate_close stores `state`, passes
 *         thread_barrier, then loads `inside`. At least one sees the other: the thread goes away, or is waited for.
 *         Between the first two only the compiler has to be held: the barrier of the other side is passed by every
 *         thread of the process. The closing thread needs none for a seat of its own.
 * A1      Every way in is an acquire (of `state`), every way out a release (of `state`, or of the seat's `inside`):
 *         each owner sees what the last one did. writer_gate_close loads both with acquire: the thread that has the
 *         seat may not have been inside by it since it got it.
 * Ends    A thread that ends outside leaves its seat as it is: who takes it away finds nobody inside. A new thread that
 *         has the same number inherits it. In a forked child gates are not used.
 * Barrier Where the system has none, no seats are given: everybody goes by GATE_TAKEN.
 */
#ifndef SLOTS_WRITER_GATE_H
#define SLOTS_WRITER_GATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/thread.h"

/* So many threads of a gate's life can have a seat; the others do without. */
#define GATE_SEATS 4u
/* So many entries of one thread in a row bring it a seat; the double after each seat that was taken away soon. */
#define GATE_RUN      16u
#define GATE_RUN_MOST (UINT32_C(1) << 16)

enum gate_state { GATE_CLOSED, GATE_OPEN, GATE_TAKEN, GATE_SEAT /* the first seat's; then the others' */ };

struct gate_seat {
    _Atomic uint64_t thread; /* 0: nobody's yet */
    _Atomic uint32_t inside;
};

struct writer_gate {
    _Atomic uint32_t state; /* enum gate_state */
    uint32_t seated;        /* the seat's number that writer_gate_open gives back, or GATE_OPEN */
    struct gate_seat seats[GATE_SEATS];
    uint64_t thread;   /* who went in last by GATE_TAKEN, */
    uint32_t run;      /* … so many times in a row, */
    uint32_t run_most; /* … of so many; UINT32_MAX: there are no seats */
    uint64_t taken_at; /* clock_coarse, when a seat was last taken away */
};

/* The gate is closed. */
void writer_gate_init(struct writer_gate *gate);

/* By the lock's holder: nobody is inside, and nobody gets in. */
void writer_gate_close(struct writer_gate *gate);
/* By the lock's holder, who lets go of the lock next. */
void writer_gate_open(struct writer_gate *gate);

/* By GATE_TAKEN; GATE_CLOSED: not to be had now. */
uint32_t writer_gate_take(struct writer_gate *gate);
void writer_gate_put(struct writer_gate *gate);

/* The same for a thread that has a seat, and for no other: GATE_CLOSED says nothing yet. */
static inline uint32_t writer_gate_sit(struct writer_gate *gate)
{
    uint32_t state = atomic_load_explicit(&gate->state, memory_order_relaxed);
    if (state < GATE_SEAT)
        return GATE_CLOSED;
    struct gate_seat *seat = &gate->seats[(size_t) state - GATE_SEAT];
    if (atomic_load_explicit(&seat->thread, memory_order_relaxed) != thread_self())
        return GATE_CLOSED;
    atomic_store_explicit(&seat->inside, 1, memory_order_relaxed); /* S1 */
    atomic_signal_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&gate->state, memory_order_acquire) == state) /* S1 A1 */
        return state;
    atomic_store_explicit(&seat->inside, 0, memory_order_release);
    return GATE_CLOSED;
}

/* GATE_CLOSED: take the lock; else the thread is inside, and gives what it got to writer_gate_leave. */
static inline uint32_t writer_gate_enter(struct writer_gate *gate)
{
    if (atomic_load_explicit(&gate->state, memory_order_relaxed) < GATE_SEAT)
        return writer_gate_take(gate);
    return writer_gate_sit(gate);
}

/* By who got a seat's number. */
static inline void writer_gate_rise(struct writer_gate *gate, uint32_t seat)
{
    atomic_store_explicit(&gate->seats[(size_t) seat - GATE_SEAT].inside, 0, memory_order_release); /* A1 */
}

static inline void writer_gate_leave(struct writer_gate *gate, uint32_t entered)
{
    if (entered >= GATE_SEAT)
        writer_gate_rise(gate, entered);
    else
        writer_gate_put(gate);
}

#endif
