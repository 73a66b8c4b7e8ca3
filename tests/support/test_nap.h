/* test_nap.h: lets time pass, on every platform. For made-up slowness and for what must not happen; never to wait for
 * something that does. */
#ifndef TEST_SUPPORT_TEST_NAP_H
#define TEST_SUPPORT_TEST_NAP_H

#include "queue/thread.h"

static inline void test_nap(uint64_t nanoseconds)
{
    uint64_t until = clock_now() + nanoseconds;
    mutex lock;
    condition never;
    mutex_init(&lock);
    condition_init(&never);
    mutex_lock(&lock);
    while (condition_wait_until(&never, &lock, until)) {}
    mutex_unlock(&lock);
    condition_destroy(&never);
    mutex_destroy(&lock);
}

#endif
