/* writer_rows.h: what the rows on writing are tested with: a writer, and a reader of numbers, in the same process. */
#ifndef TEST_SLOTS_WRITER_ROWS_H
#define TEST_SLOTS_WRITER_ROWS_H

#include "slot_support.h"
#include "writer_common.h"

static inline mr_writer *writer_start(const char *name)
{
    return slots_writer(name, NULL);
}

static inline void writer_end(mr_writer *writer)
{
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
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
