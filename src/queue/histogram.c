/* histogram.c: log-linear histogram; what it is, owners and invariants in histogram.h.
 *
 * Bucket of a value: values below 2^(bits + 1) have one each. Above, a value with its highest bit at `top` is shifted
 * right by top - bits, which leaves bits + 1 bits, the highest of them set: the shift chooses the group of 2^bits
 * buckets, the rest the bucket in it. The groups follow each other without a gap.
 */
#include "queue/histogram.h"

#include "queue/bits.h"
#include "queue/memory.h"

#include <string.h>

static size_t bucket_of(unsigned bits, uint64_t value)
{
    if (value >> (bits + 1) == 0) {
        return (size_t) value;
    }
    unsigned shift = bits_highest(value) - bits;
    return ((size_t) shift << bits) + (size_t) (value >> shift);
}

/* The highest value of a bucket. */
static uint64_t bucket_last(unsigned bits, size_t bucket)
{
    if (bucket >> (bits + 1) == 0) {
        return bucket;
    }
    unsigned shift = (unsigned) (bucket >> bits) - 1;
    uint64_t first = (uint64_t) (bucket - ((size_t) shift << bits)) << shift;
    return first + ((UINT64_C(1) << shift) - 1);
}

bool histogram_open(struct histogram *histogram, unsigned bits)
{
    if (bits < 1 || bits > HISTOGRAM_BITS_MAX) {
        return false;
    }
    memset(histogram, 0, sizeof *histogram);
    histogram->bits = bits;
    histogram->buckets = bucket_of(bits, UINT64_MAX) + 1;
    histogram->minimum = UINT64_MAX;
    histogram->counts = memory_calloc(histogram->buckets, sizeof *histogram->counts);
    return histogram->counts != NULL;
}

void histogram_close(struct histogram *histogram)
{
    memory_free(histogram->counts);
    histogram->counts = NULL;
}

void histogram_clear(struct histogram *histogram)
{
    memset(histogram->counts, 0, histogram->buckets * sizeof *histogram->counts);
    histogram->total = 0;
    histogram->minimum = UINT64_MAX;
    histogram->maximum = 0;
    histogram->sum = 0;
}

void histogram_record(struct histogram *histogram, uint64_t value)
{
    histogram->counts[bucket_of(histogram->bits, value)]++;
    histogram->total++;
    histogram->sum += (double) value;
    histogram->minimum = value < histogram->minimum ? value : histogram->minimum;
    histogram->maximum = value > histogram->maximum ? value : histogram->maximum;
}

bool histogram_merge(struct histogram *histogram, const struct histogram *from)
{
    if (histogram->bits != from->bits) {
        return false;
    }
    for (size_t bucket = 0; bucket < histogram->buckets; bucket++) {
        histogram->counts[bucket] += from->counts[bucket];
    }
    histogram->total += from->total;
    histogram->sum += from->sum;
    histogram->minimum = from->minimum < histogram->minimum ? from->minimum : histogram->minimum;
    histogram->maximum = from->maximum > histogram->maximum ? from->maximum : histogram->maximum;
    return true;
}

uint64_t histogram_percentile(const struct histogram *histogram, double percent)
{
    if (histogram->total == 0) {
        return 0;
    }
    if (percent <= 0) {
        return histogram->minimum;
    }
    /* The rank of the wanted value, from 1, rounded up: the first value that reaches the percentage. */
    double exact = percent / 100 * (double) histogram->total;
    uint64_t rank = exact < (double) histogram->total ? (uint64_t) exact : histogram->total;
    rank += (double) rank < exact && rank < histogram->total;
    uint64_t seen = 0;
    for (size_t bucket = 0; bucket < histogram->buckets; bucket++) {
        seen += histogram->counts[bucket];
        if (histogram->counts[bucket] > 0 && seen >= rank) {
            uint64_t last = bucket_last(histogram->bits, bucket);
            return last < histogram->maximum ? last : histogram->maximum;
        }
    }
    return histogram->maximum;
}

double histogram_mean(const struct histogram *histogram)
{
    return histogram->total ? histogram->sum / (double) histogram->total : 0;
}
