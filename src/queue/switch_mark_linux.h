/* switch_mark_linux.h: tells a thread whether it has left the processor since it last asked, for the price of one load.
 *
 * A restartable sequence (rseq(2), Linux 4.18; registered for each thread by glibc 2.35) is announced by a word of the
 * thread's own, and the kernel takes an announcement back whenever it lets another thread run, or delivers a signal, while the
 * thread is not inside the sequence. Ours is never entered: so as long as its announcement stands, the thread has neither
 * slept nor been preempted since. It says nothing about how long the thread has been at work. Newer kernels (6.19) do so
 * only for a thread that was interrupted, and not for one that has slept: so switch_mark_prepare tries it.
 *
 * Owners  The word is the thread's. Others that announce sequences of their own (an allocator's, the callback's) take the mark
 *         away thereby, which only looks as if the thread had been switched; and we take none of theirs away, because none
 *         is inside one while it runs our code.
 * I1      The mark is taken away before the function that set it returns: the library may be unloaded afterwards, and the
 *         kernel reads what the word points to. */
#ifndef QUEUE_SWITCH_MARK_LINUX_H
#define QUEUE_SWITCH_MARK_LINUX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Finds out, once, whether the mark goes when a thread sleeps; sleeps for a moment itself. Any thread. */
void switch_mark_prepare(void);

/* The calling thread's word; NULL where the system or the processor has none, or its mark is of no use, or nothing has been
 * prepared. */
_Atomic uint64_t *switch_mark_word(void);

extern const char mailroom_switch_mark[];

/* Sets the mark, or takes it away; does it stand? By the word's thread. */
static inline void switch_mark_set(_Atomic uint64_t *word, bool mark)
{
    atomic_store_explicit(word, mark ? (uint64_t) (uintptr_t) mailroom_switch_mark : 0, memory_order_relaxed);
}

static inline bool switch_mark_stands(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed) == (uint64_t) (uintptr_t) mailroom_switch_mark;
}

/* Tests: as if there were none, for all threads, from their next switch_mark_word on. */
void switch_mark_refuse(bool refuse);

#endif
