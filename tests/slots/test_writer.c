/* test_writer.c: the rows "Writing" of what a mailslot does, each a test. */
#include "writer_fixture.h"

TEST(writer, no_such_slot_takes_two_attempts_and_does_not_block)
{
    char place[SCRATCH_ROOM];
    scratch_use(place);
    mr_writer *writer;
    CHECK_STATUS(mr_writer_open(&writer, "absent", NULL), MR_OK);
    uint64_t begin = clock_now();
    CHECK_STATUS(write_number(writer, 1, MR_NORMAL), MR_E_NO_SLOT);
    CHECK_STATUS(mr_writer_write_timed(writer, "x", 1, MR_URGENT, MR_FOREVER), MR_E_NO_SLOT);
    CHECK(elapsed_ms(begin) < 1000);
    CHECK_EQ(counts_of(writer).written, 0);
    CHECK_EQ(counts_of(writer).connects, 0);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
    scratch_remove(place);
}

TEST(writer, a_posted_message_waits_for_its_slot)
{
    char place[SCRATCH_ROOM];
    scratch_use(place);
    mr_writer *writer;
    CHECK_STATUS(mr_writer_open(&writer, "later", NULL), MR_OK);
    struct told told = {0};
    for (uint64_t n = 0; n < 100; n++)
        CHECK_STATUS(post_number(writer, n, MR_NORMAL, on_posted_count, &told), MR_OK);
    CHECK_STATUS(mr_writer_flush(writer, 50), MR_E_TIMEOUT);
    CHECK_STATUS(write_number(writer, 1000, MR_NORMAL), MR_E_NO_SLOT);
    CHECK_EQ(told_count(&told), 0);
    CHECK_EQ(counts_of(writer).waiting, 100);
    mr_reader *reader = reader_start("later");
    CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    for (uint64_t n = 0; n < 100; n++)
        reader_expect(reader, n);
    CHECK_EQ(told_with(&told, MR_OK), 100);
    CHECK(counts_of(writer).backoffs >= 1);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
    CHECK_STATUS(mr_reader_close(reader, NULL), MR_OK);
    scratch_remove(place);
}

TEST(writer, write_goes_through)
{
    char place[SCRATCH_ROOM];
    scratch_use(place);
    mr_reader *reader = reader_start("here");
    mr_writer *writer;
    CHECK_STATUS(mr_writer_open(&writer, "here", NULL), MR_OK);
    for (uint64_t n = 0; n < 100; n++)
        CHECK_STATUS(write_number(writer, n, MR_NORMAL), MR_OK);
    for (uint64_t n = 0; n < 100; n++)
        reader_expect(reader, n);
    reader_expect_nothing(reader);
    CHECK_EQ(counts_of(writer).written, 100);
    CHECK_EQ(counts_of(writer).connects, 1);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
    CHECK_STATUS(mr_reader_close(reader, NULL), MR_OK);
    scratch_remove(place);
}
