/* test_tally.c: lost, repeated, out of order and garbled messages are counted for what they are. */
#include <limits.h>
#include <string.h>

#include "plan.h"
#include "queue/memory.h"
#include "tally.h"
#include "test.h"

static struct plan plan;
static struct tally tally;
static struct message_maker maker;

/* Two writers, two slots with two levels, or as told. */
static void begin(unsigned slots, unsigned writers, bool every, size_t size)
{
    plan = (struct plan){.writers = writers, .every = every, .mix = {500, 500}};
    plan.peer.slots = slots;
    plan.sizes.minimum = size;
    plan.sizes.maximum = size;
    plan.mix[1] = size < MESSAGE_SHORT ? 0 : 500;
    CHECK(plan_complete(&plan) == NULL);
    CHECK(tally_open(&tally, &plan));
    CHECK(message_maker_open(&maker, size));
}

static void take_at(unsigned slot, unsigned connection, unsigned level, uint64_t number)
{
    struct message_note note = {connection, level, number, 0};
    message_make(&maker, plan_largest(&plan), slot, &note);
    tally_take(&tally, slot, maker.data, plan_largest(&plan));
}

static void take(unsigned connection, unsigned level, uint64_t number)
{
    take_at(plan_slot(&plan, connection), connection, level, number);
}

static void check_counts(const uint64_t *sent, uint64_t lost, uint64_t repeated, uint64_t reordered, uint64_t garbled)
{
    struct tally_counts counts = tally_result(&tally, sent);
    CHECK_EQ(counts.lost, lost);
    CHECK_EQ(counts.repeated, repeated);
    CHECK_EQ(counts.reordered, reordered);
    CHECK_EQ(counts.garbled, garbled);
    CHECK_EQ(tally_damaged(&counts), lost + repeated + reordered + garbled != 0);
    tally_close(&tally);
    message_maker_close(&maker);
}

TEST(bench_tally, all_is_well)
{
    static const uint64_t sent[] = {100, 100, 100, 100};
    begin(2, 2, false, 64);
    for (uint64_t n = 0; n < 100; n++) {
        for (unsigned stream = 0; stream < 4; stream++) {
            take(stream / 2, stream % 2, n);
        }
    }
    CHECK_EQ(tally_received(&tally), 400);
    check_counts(sent, 0, 0, 0, 0);
}

TEST(bench_tally, lost_in_the_middle_at_the_end_and_all)
{
    static const uint64_t sent[] = {10, 10, 0, 5};
    begin(2, 2, false, 64);
    for (uint64_t n = 0; n < 10; n++) {
        if (n != 3 && n != 4) {
            take(0, 0, n);
        }
        if (n < 9) {
            take(0, 1, n);
        }
    }
    check_counts(sent, 2 + 1 + 5, 0, 0, 0);
}

TEST(bench_tally, repeated_at_once_and_much_later)
{
    static const uint64_t sent[] = {10, 0, 0, 0};
    begin(2, 2, false, 64);
    for (uint64_t n = 0; n < 10; n++) {
        take(0, 0, n);
    }
    take(0, 0, 9);
    take(0, 0, 0);
    take(0, 0, 0);
    check_counts(sent, 0, 3, 0, 0);
}

TEST(bench_tally, out_of_order_is_not_lost_and_a_second_late_one_is_a_repeat)
{
    static const uint64_t sent[] = {8, 0, 0, 0};
    begin(2, 2, false, 64);
    static const uint64_t order[] = {0, 5, 2, 3, 1, 4, 7, 6, 3};
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        take(0, 0, order[i]);
    }
    check_counts(sent, 0, 1, 5, 0);
}

TEST(bench_tally, a_gap_filled_from_the_middle_keeps_both_sides)
{
    static const uint64_t sent[] = {101, 0, 0, 0};
    begin(2, 2, false, 64);
    take(0, 0, 100);
    take(0, 0, 50);
    take(0, 0, 50);
    take(0, 0, 49);
    take(0, 0, 51);
    take(0, 0, 0);
    check_counts(sent, 101 - 5, 1, 4, 0);
}

TEST(bench_tally, more_gaps_than_are_kept_stay_lost)
{
    uint64_t sent[4] = {0};
    begin(2, 2, false, 64);
    uint64_t gaps = TALLY_GAPS_MAX + 10;
    for (uint64_t n = 0; n < gaps; n++) {
        take(0, 0, 2 * n + 1);
    }
    take(0, 0, 0); /* its gap was given up: a repeat, and its number stays lost */
    sent[0] = 2 * gaps;
    check_counts(sent, gaps, 1, 0, 0);
}

TEST(bench_tally, garbled_is_not_lost_as_well)
{
    static const uint64_t sent[] = {3, 0, 0, 0};
    begin(2, 2, false, 64);
    take(0, 0, 0);
    struct message_note note = {0, 0, 1, 0};
    message_make(&maker, 64, 0, &note);
    maker.data[40] ^= 1;
    tally_take(&tally, 0, maker.data, 64);
    maker.data[40] ^= 1;
    take(0, 0, 2);
    check_counts(sent, 0, 0, 0, 1);
}

/* After messages of the same stream, which tells what the next has to be: in each way that a length is compared in. */
TEST(bench_tally, every_changed_bit_of_the_next_message_is_garbled)
{
    static const size_t lengths[] = {24, 39, 40, 41, 47, 48, 55, 56, 63, 64, 65, 100, 255, 256, 257, 520};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        size_t length = lengths[i];
        begin(1, 1, false, length);
        for (uint64_t n = 0; n < 3; n++) {
            take(0, 0, n);
        }
        struct message_note note = {0, 0, 3, 0};
        message_make(&maker, length, 0, &note);
        for (size_t bit = 0; bit < 8 * length; bit++) {
            maker.data[bit / 8] = (uint8_t) (maker.data[bit / 8] ^ (1u << bit % 8));
            tally_take(&tally, 0, maker.data, length);
            CHECK_MSG(tally.slots[0].garbled == bit + 1, "bit %zu of %zu bytes", bit, length);
            maker.data[bit / 8] = (uint8_t) (maker.data[bit / 8] ^ (1u << bit % 8));
        }
        take(0, 0, 3);
        take(0, 0, 3);
        check_counts((const uint64_t[]){4, 0}, 0, 1, 0, 8 * length);
    }
}

/* Messages of many lengths from two connections, the same ones again and again, and before some a garbled copy. */
TEST(bench_tally, lengths_and_streams_in_any_order)
{
    uint64_t state = test_seed();
    uint64_t garbled = 0;
    uint64_t sent[4] = {0};
    begin(1, 2, false, 600);
    for (unsigned i = 0; i < 5000; i++) {
        static const size_t lengths[] = {64, 64, 64, 65, 40, 56, 57, 72, 73, 128, 24, 600};
        size_t length = lengths[random_next(&state) % (sizeof(lengths) / sizeof(lengths[0]))];
        unsigned connection = random_next(&state) % 4 == 0;
        struct message_note note = {connection, 0, sent[2 * connection]++, 0};
        message_make(&maker, length, 0, &note);
        if (random_next(&state) % 3 == 0) {
            uint8_t *byte = &maker.data[random_next(&state) % length];
            *byte ^= 4;
            tally_take(&tally, 0, maker.data, length);
            *byte ^= 4;
            garbled++;
        }
        tally_take(&tally, 0, maker.data, length);
        CHECK_EQ(tally.slots[0].garbled, garbled);
    }
    CHECK_EQ(tally_received(&tally), 5000 + garbled);
    check_counts(sent, 0, 0, 0, garbled);
}

TEST(bench_tally, what_is_known_of_one_stream_is_not_taken_for_another)
{
    static const uint64_t sent[] = {4, 3, 4, 0};
    begin(1, 2, false, 64);
    take(0, 0, 0);
    take(0, 0, 1);
    take(0, 1, 0); /* the other level */
    take(0, 1, 1);
    take(1, 0, 0); /* the other connection */
    take(1, 0, 1);
    take(0, 0, 2);
    take(0, 0, 3);
    take(1, 0, 3); /* one before it is late */
    take(1, 0, 2);
    take(0, 1, 2);
    take(0, 1, 2);
    check_counts(sent, 0, 1, 1, 0);
}

TEST(bench_tally, with_marks_alone_the_rest_is_not_looked_at)
{
    static const uint64_t sent[] = {3, 0};
    begin(1, 1, false, 64);
    tally_close(&tally);
    plan.check = MESSAGE_MARKS;
    CHECK(tally_open(&tally, &plan));
    for (uint64_t n = 0; n < 3; n++) {
        struct message_note note = {0, 0, n, 0};
        message_make(&maker, 64, 0, &note);
        maker.data[50] ^= 1;
        tally_take(&tally, 0, maker.data, 64);
        maker.data[50] ^= 1;
    }
    check_counts(sent, 0, 0, 0, 0);
}

TEST(bench_tally, a_message_in_another_slot_is_garbled)
{
    static const uint64_t sent[] = {0, 0, 1, 0};
    begin(2, 2, false, 64);
    take_at(0, 1, 0, 0); /* made for slot 0, by a connection of slot 1 */
    check_counts(sent, 0, 0, 0, 1);
}

TEST(bench_tally, a_connection_that_there_is_not_is_garbled)
{
    static const uint64_t sent[] = {0, 0, 0, 0};
    begin(2, 2, false, 64);
    take_at(0, 2, 0, 0);
    take_at(0, 0, 2, 0);
    check_counts(sent, 0, 0, 0, 2);
}

TEST(bench_tally, a_number_that_nobody_sent_is_garbled)
{
    static const uint64_t sent[] = {2, 0, 0, 0};
    begin(2, 2, false, 64);
    take(0, 0, 0);
    take(0, 0, 1);
    take(0, 0, 2);
    check_counts(sent, 0, 0, 0, 1);
}

TEST(bench_tally, short_messages_and_numbers_above_32_bits)
{
    uint64_t sent[2] = {0};
    begin(1, 1, false, 12);
    tally.streams[0].next = UINT64_C(0xFFFFFFFE); /* as if so many had come */
    for (uint64_t n = 0; n < 5; n++) {
        if (n != 3) {
            take(0, 0, UINT64_C(0xFFFFFFFE) + n);
        }
    }
    sent[0] = UINT64_C(0xFFFFFFFE) + 5;
    check_counts(sent, 1, 0, 0, 0);
}

TEST(bench_tally, the_smallest_are_only_counted)
{
    static const uint64_t sent[] = {5};
    begin(1, 1, false, 4);
    for (unsigned n = 0; n < 3; n++) {
        tally_take(&tally, 0, "abcd", 4);
    }
    check_counts(sent, 2, 0, 0, 0);
    begin(1, 1, false, 4);
    for (unsigned n = 0; n < 7; n++) {
        tally_take(&tally, 0, "abcd", 4);
    }
    check_counts(sent, 0, 2, 0, 0);
}

TEST(bench_tally, what_lies_behind_an_empty_message_is_not_looked_at)
{
    static const uint64_t sent[] = {3};
    static const char zeros[MESSAGE_FULL]; /* as if the first message of a stream stood there */
    begin(1, 1, false, 0);
    for (unsigned n = 0; n < 3; n++) {
        tally_take(&tally, 0, zeros, 0);
    }
    CHECK_EQ(tally_received(&tally), 3);
    check_counts(sent, 0, 0, 0, 0);
}

TEST(bench_tally, a_random_history_against_a_plain_array)
{
    enum { MOST = 3000 };
    static bool come[MOST];
    uint64_t state = test_seed();
    uint64_t highest = 0;
    uint64_t repeated = 0;
    uint64_t reordered = 0;
    uint64_t sent[2] = {MOST, 0};
    begin(1, 1, false, 64);
    for (unsigned i = 0; i < 2 * MOST; i++) {
        uint64_t number = random_next(&state) % 4 == 0 ? random_next(&state) % (highest + 1) : highest;
        number = number >= MOST ? MOST - 1 : number;
        repeated += come[number];
        reordered += !come[number] && number < highest;
        come[number] = true;
        highest = number >= highest ? number + 1 + (random_next(&state) % 8 == 0) : highest;
        take(0, 0, number);
    }
    uint64_t lost = 0;
    for (unsigned n = 0; n < MOST; n++) {
        lost += !come[n];
    }
    check_counts(sent, lost, repeated, reordered, 0);
}

TEST(bench_tally, latency_counts_from_when_a_message_was_due)
{
    struct histogram sum;
    struct message_note note = {0, 0, 0, 1}; /* a nanosecond after the machine's start */
    begin(1, 1, false, 64);
    tally_close(&tally);
    plan.rate = 1;
    CHECK(tally_open(&tally, &plan));
    message_make(&maker, 64, 0, &note);
    tally_take(&tally, 0, maker.data, 64);
    note = (struct message_note){0, 0, 1, 0}; /* a flooding writer's: none */
    message_make(&maker, 64, 0, &note);
    tally_take(&tally, 0, maker.data, 64);
    CHECK(tally_latencies(&tally, UINT_MAX, &sum));
    CHECK_EQ(sum.total, 1);
    CHECK(sum.maximum > 1000000);
    histogram_close(&sum);
    CHECK(tally_latencies(&tally, 1, &sum));
    CHECK_EQ(sum.total, 0);
    histogram_close(&sum);
    tally_close(&tally);
    message_maker_close(&maker);
}
