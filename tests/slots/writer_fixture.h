/* writer_fixture.h: what the writer's tests on Linux share: a slot directory of their own, and readers. */
#ifndef TEST_SLOTS_WRITER_FIXTURE_H
#define TEST_SLOTS_WRITER_FIXTURE_H

#include "scratch_linux.h"
#include "writer_common.h"

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

#endif
