/* test_writer_linux.c: the rows on writing that need what the lanes on Linux have: an end of their room, an end of their
 * size, and news of a reader that was replaced. */
#include <string.h>

#include "writer_rows.h"

TEST(writer, reader_gone_and_replaced_the_next_write_goes_to_the_new_one)
{
    slots_begin();
    mr_writer *writer = writer_start("phoenix");
    mr_reader *reader = slots_reader("phoenix", NULL);
    for (uint64_t round = 0; round < 50; round++) {
        CHECK_STATUS(write_number(writer, round, MR_NORMAL), MR_OK);
        reader_expect(reader, round);
        slots_close(reader);
        reader = slots_reader("phoenix", NULL);
    }
    CHECK_EQ(counts_of(writer).connects, 50);
    slots_close(reader);
    writer_end(writer);
}

/* A slot that takes nothing and is full, its writer, and how many messages the lane has. */
static uint64_t slot_fill(mr_reader *reader, mr_writer *writer)
{
    CHECK_STATUS(mr_reader_pause(reader), MR_OK);
    uint64_t count = 0;
    int status;
    while ((status = mr_writer_write_timed(writer, &count, sizeof count, MR_NORMAL, 0)) == MR_OK)
        count++;
    CHECK_STATUS(status, MR_E_TIMEOUT);
    CHECK(count > 10);
    return count;
}

TEST(writer, reader_busy_a_write_waits_and_times_out_after_its_time_and_not_before)
{
    slots_begin();
    mr_reader *reader = slots_reader("busy", NULL);
    mr_writer_options options = slots_writer_options();
    options.timeout_ms = 70;
    mr_writer *writer = slots_writer("busy", &options);
    uint64_t count = slot_fill(reader, writer);
    uint64_t begin = clock_now();
    CHECK_STATUS(write_number(writer, 0, MR_NORMAL), MR_E_TIMEOUT);
    CHECK(elapsed_ms(begin) >= 70);
    CHECK(counts_of(writer).waits >= 2);
    CHECK_STATUS(mr_reader_resume(reader), MR_OK);
    for (uint64_t n = 0; n < count; n++)
        reader_expect(reader, n);
    CHECK_STATUS(write_number(writer, count, MR_NORMAL), MR_OK);
    reader_expect(reader, count);
    reader_expect_nothing(reader); /* what timed out was not sent */
    writer_end(writer);
    slots_close(reader);
}

static void on_posted_add(mr_writer *writer, int status, void *context)
{
    (void) writer;
    CHECK_STATUS(status, MR_OK);
    counter_add(context, 1);
}

/* The urgent one leaves before all that is posted; where it has a way of its own it overtakes what was handed over too. */
TEST(writer, reader_busy_100000_posted_and_one_urgent_which_is_the_next_to_leave)
{
    bool overtakes = slots_lane()->levels;
    slots_begin();
    mr_reader *reader = slots_reader("busy", NULL);
    mr_writer_options options = slots_writer_options();
    options.queue_messages = 100001;
    mr_writer *writer = slots_writer("busy", &options);
    uint64_t count = slot_fill(reader, writer);
    for (uint64_t n = 0; n < 100000; n++)
        CHECK_STATUS(post_number(writer, count + n, MR_NORMAL, NULL, NULL), MR_OK);
    static struct counter out;
    counter_init(&out);
    CHECK_STATUS(post_number(writer, UINT64_MAX, MR_URGENT, on_posted_add, &out), MR_OK);
    if (overtakes)
        counter_await(&out, 1); /* handed over, though the reader takes nothing */
    CHECK_EQ(counts_of(writer).waiting, overtakes ? 100000 : 100001);
    CHECK_STATUS(mr_reader_resume(reader), MR_OK);
    if (overtakes)
        reader_expect(reader, UINT64_MAX);
    for (uint64_t n = 0; n < count; n++)
        reader_expect(reader, n);
    if (!overtakes)
        reader_expect(reader, UINT64_MAX);
    for (uint64_t n = 0; n < 100000; n++)
        reader_expect(reader, count + n);
    writer_end(writer);
    slots_close(reader);
}

/* Of the plain lane's bound, the ring's largest inside it, and about them. */
enum { BOUND = 256 * 1024 };

TEST(writer, lengths_up_to_the_lanes_bound_arrive_whole)
{
    slots_begin();
    mr_reader *reader = slots_reader("sizes", NULL);
    mr_writer *writer = slots_writer("sizes", NULL);
    static char data[BOUND + 1];
    static char back[BOUND + 3];
    for (size_t n = 0; n < sizeof data; n++)
        data[n] = (char) (n * 2654435761u >> 13);
    static const size_t lengths[] = {1,     63,    64,     65,     255,    256,       257,  4096,
                                     65535, 65536, 100000, 212960, 212961, BOUND - 1, BOUND};
    for (size_t n = 0; n < 2 * sizeof lengths / sizeof lengths[0]; n++) {
        size_t length = lengths[n / 2];
        int status = n % 2 == 0 ? mr_writer_write(writer, data, length, MR_NORMAL)
                                : mr_writer_post(writer, data, length, MR_NORMAL, NULL, NULL);
        CHECK_STATUS(status, MR_OK);
        size_t got;
        CHECK_STATUS(mr_reader_read(reader, back, sizeof back, &got, LONG_MS), MR_OK);
        CHECK_EQ(got, length);
        CHECK_MEM(back, data, length);
        CHECK_EQ(back[length] | back[length + 1], 0);
    }
    if (slots_lane()->largest == BOUND) {
        CHECK_STATUS(mr_writer_write(writer, data, BOUND + 1, MR_NORMAL), MR_E_TOO_BIG);
    } else {
        size_t got;
        CHECK_STATUS(mr_writer_write(writer, data, BOUND + 1, MR_NORMAL), MR_OK);
        CHECK_STATUS(mr_reader_read(reader, back, sizeof back, &got, LONG_MS), MR_OK);
        CHECK_EQ(got, BOUND + 1);
        CHECK_MEM(back, data, BOUND + 1);
    }
    CHECK_STATUS(mr_writer_write(writer, "still here", 10, MR_NORMAL), MR_OK);
    slots_expect(reader, "still here");
    CHECK_EQ(counts_of(writer).connects, 1);
    writer_end(writer);
    slots_close(reader);
}
