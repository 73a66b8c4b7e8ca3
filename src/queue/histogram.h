/* histogram.h: counts of 64-bit values in fixed memory, with a bounded relative error.
 *
 * Log-linear: each power of two is divided into 2^bits equal parts, so a value is known to within 1 / 2^bits of itself;
 * values below 2^(bits + 1) are exact. Recording is an increment. Caller-locked: give each thread its own and merge.
 *
 * Owners  The opener. Memory: 8 × (65 - bits) × 2^bits bytes at most (bits 7: 58 KiB).
 * I1      total is the sum of the counts; minimum and maximum are exact, whatever the bits.
 */
#ifndef MAILROOM_QUEUE_HISTOGRAM_H
#define MAILROOM_QUEUE_HISTOGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_BITS_MAX 14u

struct histogram {
    uint64_t *counts;
    size_t buckets;
    unsigned bits;
    uint64_t total;
    uint64_t minimum; /* UINT64_MAX while empty */
    uint64_t maximum; /* 0 while empty */
    double sum;
};

/* `bits` 1 to HISTOGRAM_BITS_MAX: how many bits of a value count. False when that is out of range or there is no
 * memory; then there is nothing to close. */
bool histogram_open(struct histogram *histogram, unsigned bits);
void histogram_close(struct histogram *histogram);
void histogram_clear(struct histogram *histogram);

void histogram_record(struct histogram *histogram, uint64_t value);

/* Adds what `from` has counted. False, and nothing changed, when their bits differ. */
bool histogram_merge(struct histogram *histogram, const struct histogram *from);

/* The value that `percent` (0 to 100) of the values do not exceed: the upper end of its bucket, at most the maximum. 0
 * is the minimum, 100 the maximum. 0 when empty. */
uint64_t histogram_percentile(const struct histogram *histogram, double percent);

/* Of the exact values, not of buckets. 0 when empty. */
double histogram_mean(const struct histogram *histogram);

#endif
