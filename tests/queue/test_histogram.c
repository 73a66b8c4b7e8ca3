/* test_histogram.c: buckets, percentiles and merging, against a sorted array. */
#include "queue/histogram.h"

#include "random.h"
#include "test.h"

#include <stdlib.h>

TEST(histogram, refuses_bits_out_of_range)
{
    struct histogram histogram;
    CHECK(!histogram_open(&histogram, 0));
    CHECK(!histogram_open(&histogram, HISTOGRAM_BITS_MAX + 1));
    CHECK(histogram_open(&histogram, HISTOGRAM_BITS_MAX));
    histogram_close(&histogram);
}

TEST(histogram, is_zero_when_empty)
{
    struct histogram histogram;
    CHECK(histogram_open(&histogram, 7));
    CHECK_EQ(histogram_percentile(&histogram, 50), 0);
    CHECK(histogram_mean(&histogram) == 0);
    histogram_record(&histogram, 5);
    histogram_clear(&histogram);
    CHECK_EQ(histogram.total, 0);
    CHECK_EQ(histogram_percentile(&histogram, 100), 0);
    histogram_close(&histogram);
}

TEST(histogram, small_values_are_exact)
{
    struct histogram histogram;
    CHECK(histogram_open(&histogram, 7));
    for (uint64_t value = 1; value <= 200; value++) {
        histogram_record(&histogram, value);
    }
    CHECK_EQ(histogram_percentile(&histogram, 0), 1);
    CHECK_EQ(histogram_percentile(&histogram, 0.5), 1);
    CHECK_EQ(histogram_percentile(&histogram, 50), 100);
    CHECK_EQ(histogram_percentile(&histogram, 99), 198);
    CHECK_EQ(histogram_percentile(&histogram, 99.9), 200);
    CHECK_EQ(histogram_percentile(&histogram, 100), 200);
    CHECK(histogram_mean(&histogram) == 100.5);
    histogram_close(&histogram);
}

TEST(histogram, each_value_alone_is_within_the_error)
{
    struct random random = {test_seed()};
    for (unsigned bits = 1; bits <= HISTOGRAM_BITS_MAX; bits += 3) {
        struct histogram histogram;
        CHECK(histogram_open(&histogram, bits));
        for (int i = 0; i < 2000; i++) {
            /* At the edges of powers of two, and anywhere; a second, larger value hides the exact maximum. */
            uint64_t value = random_next(&random) >> random_below(&random, 64);
            if (i < 192) {
                value = (UINT64_C(1) << (i / 3)) + (uint64_t) (i % 3) - 1;
            }
            uint64_t counted = histogram.total;
            histogram_record(&histogram, value);
            histogram_record(&histogram, UINT64_MAX);
            CHECK_EQ(histogram.total, counted + 2);
            uint64_t found = histogram_percentile(&histogram, 50);
            CHECK(found >= value);
            CHECK(found - value <= value >> bits);
            histogram_clear(&histogram);
        }
        histogram_close(&histogram);
    }
}

static int compare(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;
    return *x < *y ? -1 : *x > *y;
}

TEST(histogram, percentiles_and_merging_agree_with_a_sorted_array)
{
    enum { COUNT = 20000, BITS = 7 };
    static uint64_t values[COUNT];
    struct random random = {test_seed()};
    struct histogram halves[2];
    CHECK(histogram_open(&halves[0], BITS));
    CHECK(histogram_open(&halves[1], BITS));
    for (int i = 0; i < COUNT; i++) {
        values[i] = 10 + random_below(&random, UINT64_C(1) << random_below(&random, 40));
        if (i == 1 || i == 3) {
            values[i] = i == 1 ? 3 : UINT64_C(1) << 41; /* smallest and largest come by merging */
        }
        histogram_record(&halves[i % 2], values[i]);
    }
    struct histogram other;
    CHECK(histogram_open(&other, BITS + 1));
    CHECK(!histogram_merge(&halves[0], &other));
    CHECK_EQ(halves[0].total, COUNT / 2);
    CHECK(histogram_merge(&halves[0], &halves[1]));
    CHECK_EQ(halves[0].total, COUNT);
    qsort(values, COUNT, sizeof values[0], compare);
    CHECK_EQ(halves[0].minimum, values[0]);
    CHECK_EQ(halves[0].maximum, values[COUNT - 1]);
    for (int permille = 1; permille <= 1000; permille++) {
        int rank = permille * COUNT / 1000;
        uint64_t exact = values[rank - 1];
        /* In the middle between two ranks, so that rounding decides nothing. */
        uint64_t found = histogram_percentile(&halves[0], (rank - 0.5) * 100 / COUNT);
        CHECK(found >= exact);
        CHECK(found - exact <= exact >> BITS);
    }
    histogram_close(&halves[0]);
    histogram_close(&halves[1]);
    histogram_close(&other);
}
