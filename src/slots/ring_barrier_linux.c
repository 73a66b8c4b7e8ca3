/* ring_barrier_linux.c: see ring_barrier_linux.h. */
#include "slots/ring_barrier_linux.h"

#include <linux/membarrier.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { UNKNOWN, WORKS, FAILS };

static _Atomic int state = UNKNOWN;
static _Atomic bool refused;

static int membarrier(int command)
{
    return (int) syscall(SYS_membarrier, command, 0, 0);
}

bool ring_barrier_prepare(void)
{
    int seen = atomic_load_explicit(&state, memory_order_relaxed);
    if (seen == UNKNOWN) { /* two threads may both register: the second time changes nothing */
        int can = membarrier(MEMBARRIER_CMD_QUERY);
        bool works = can > 0 && (can & MEMBARRIER_CMD_GLOBAL_EXPEDITED) != 0 &&
                     membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) == 0;
        seen = works ? WORKS : FAILS;
        atomic_store_explicit(&state, seen, memory_order_relaxed);
    }
    return seen == WORKS && !atomic_load_explicit(&refused, memory_order_relaxed);
}

void ring_barrier(void)
{
    if (membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) == 0)
        return;
    /* It has worked before, and its only errors are a wrong command and a seccomp rule that came later: going on could
     * lose a wake-up without anybody noticing. */
    perror("mailroom: membarrier has stopped working");
    abort();
}

void ring_barrier_refuse(bool refuse)
{
    atomic_store_explicit(&refused, refuse, memory_order_relaxed);
}
