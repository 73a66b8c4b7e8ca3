/* draw.h: draws results that were written as JSON, as SVG by gnuplot. */
#ifndef BENCH_DRAW_H
#define BENCH_DRAW_H

#include <stddef.h>

/* Reads files of the bench's JSON and draws what they have two points or more for, into `directory`, which is made if it is not
 * there:
 *     throughput-by-size-W.svg       flat out, one slot, for each number W of writers
 *     throughput-by-writers-B.svg    for each size B
 *     throughput-by-slots-B.svg      fan-in, for each size
 *     latency-B.svg, latency-loaded-B.svg
 *     memory-by-slots.svg
 * and beside each the script that drew it (.gp). MR_OK and *drawn, the number of drawings; MR_E_PROTOCOL: not the bench's JSON;
 * MR_E_UNSUPPORTED: no gnuplot; MR_E_SYSTEM, MR_E_MEMORY. */
int draw_files(const char *directory, const char *const *paths, size_t count, unsigned *drawn);

#endif
