/* writer_fixture.h: what the writer's tests share: a slot directory of their own, readers, and what was told. */
#ifndef TEST_SLOTS_WRITER_FIXTURE_H
#define TEST_SLOTS_WRITER_FIXTURE_H

#include <mailroom/mailroom.h>

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "queue/thread.h"
#include "scratch_linux.h"
#include "test.h"

/* Longer than anything that is waited for; a hang guard. Milliseconds. */
#define LONG_MS 30000u

#define MS UINT64_C(1000000)

static inline uint64_t elapsed_ms(uint64_t since)
{
    return (clock_now() - since) / MS;
}

static inline mr_reader *reader_start(const char *name)
{
    mr_reader *reader;
    CHECK_STATUS(mr_reader_open(&reader, name, NULL), MR_OK);
    return reader;
}

/* The next message is the number `expected`. */
static inline void reader_expect(mr_reader *reader, uint64_t expected)
{
    uint64_t number = 0;
    size_t length = 0;
    CHECK_STATUS(mr_reader_read(reader, &number, sizeof number, &length, LONG_MS), MR_OK);
    CHECK_EQ(length, sizeof number);
    CHECK_EQ(number, expected);
}

static inline void reader_expect_nothing(mr_reader *reader)
{
    uint64_t number;
    size_t length;
    CHECK_STATUS(mr_reader_read(reader, &number, sizeof number, &length, 0), MR_E_TIMEOUT);
}

static inline int write_number(mr_writer *writer, uint64_t number, uint32_t priority)
{
    return mr_writer_write(writer, &number, sizeof number, priority);
}

static inline int post_number(mr_writer *writer, uint64_t number, uint32_t priority, mr_on_posted on_posted, void *context)
{
    return mr_writer_post(writer, &number, sizeof number, priority, on_posted, context);
}

static inline mr_writer_statistics counts_of(mr_writer *writer)
{
    mr_writer_statistics statistics = {.size = sizeof statistics};
    CHECK_STATUS(mr_writer_get_statistics(writer, &statistics), MR_OK);
    return statistics;
}

/* What on_posted told: counts by result, and the contexts in their order. */
#define TOLD_MAX 200000u

struct told {
    _Atomic uint64_t count;
    _Atomic uint64_t by_status[32]; /* index: -status */
    _Atomic int inside;             /* callbacks that run now */
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
