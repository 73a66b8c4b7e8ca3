/* writer_common.h: what all tests of the writer share; no platform. */
#ifndef TEST_SLOTS_WRITER_COMMON_H
#define TEST_SLOTS_WRITER_COMMON_H

#include <mailroom/mailroom.h>

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "queue/thread.h"
#include "test.h"

/* Longer than a test may last, so that its own time limit is the hang guard. Milliseconds. */
#define LONG_MS 3600000u

#define MS UINT64_C(1000000)

static inline uint64_t elapsed_ms(uint64_t since)
{
    return (clock_now() - since) / MS;
}

static inline int write_number(mr_writer *writer, uint64_t number, uint32_t priority)
{
    return mr_writer_write(writer, &number, sizeof number, priority);
}

static inline int post_number(mr_writer *writer, uint64_t number, uint32_t priority, mr_on_posted on_posted,
                              void *context)
{
    return mr_writer_post(writer, &number, sizeof number, priority, on_posted, context);
}

static inline mr_writer_statistics counts_of(mr_writer *writer)
{
    mr_writer_statistics statistics = {.size = sizeof statistics};
    CHECK_STATUS(mr_writer_get_statistics(writer, &statistics), MR_OK);
    return statistics;
}

/* What on_posted told, counted by result. */
struct told {
    _Atomic uint64_t count;
    _Atomic uint64_t by_status[32]; /* index: -status */
};

static inline void told_note(struct told *told, int status)
{
    CHECK(status <= 0 && status > -32);
    atomic_fetch_add_explicit(&told->by_status[-status], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&told->count, 1, memory_order_release);
}

static inline void on_posted_count(mr_writer *writer, int status, void *context)
{
    (void) writer;
    told_note(context, status);
}

static inline uint64_t told_count(struct told *told)
{
    return atomic_load_explicit(&told->count, memory_order_acquire);
}

static inline uint64_t told_with(struct told *told, int status)
{
    return atomic_load_explicit(&told->by_status[-status], memory_order_relaxed);
}

#endif
