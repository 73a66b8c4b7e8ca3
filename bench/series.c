/* series.c: see series.h. The values stay in the order in which they came; a median sorts a copy. */
#include "series.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "queue/memory.h"

bool series_add(struct series *series, double value)
{
    if (series->count == series->room) {
        unsigned room = series->room == 0 ? 8 : series->room * 2;
        double *values = memory_realloc(series->values, room * sizeof(*values));
        if (values == NULL) {
            return false;
        }
        series->values = values;
        series->room = room;
    }
    series->values[series->count++] = value;
    return true;
}

void series_free(struct series *series)
{
    memory_free(series->values);
    *series = (struct series){0};
}

static int compare_values(const void *left, const void *right)
{
    double a = *(const double *) left;
    double b = *(const double *) right;
    return a < b ? -1 : a > b;
}

double series_median(const struct series *series)
{
    double sorted[SERIES_MAX];
    unsigned count = series->count < SERIES_MAX ? series->count : SERIES_MAX;
    if (count == 0) {
        return NAN;
    }
    memcpy(sorted, series->values, count * sizeof(*sorted));
    qsort(sorted, count, sizeof(*sorted), compare_values);
    return count % 2 == 1 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

double series_minimum(const struct series *series)
{
    double minimum = NAN;
    for (unsigned i = 0; i < series->count; i++) {
        minimum = fmin(minimum, series->values[i]);
    }
    return minimum;
}

double series_maximum(const struct series *series)
{
    double maximum = NAN;
    for (unsigned i = 0; i < series->count; i++) {
        maximum = fmax(maximum, series->values[i]);
    }
    return maximum;
}
