/* series.h: one figure, measured again and again: its median and its spread. */
#ifndef BENCH_SERIES_H
#define BENCH_SERIES_H

#include <stdbool.h>

#define SERIES_MAX 1000u

struct series {
    double *values;
    unsigned count;
    unsigned room;
};

/* False when there is no memory. */
bool series_add(struct series *series, double value);
void series_free(struct series *series);
/* NAN while there is nothing in it. The median of an even number is the mean of the two in the middle. */
double series_median(const struct series *series);
double series_minimum(const struct series *series);
double series_maximum(const struct series *series);

#endif
