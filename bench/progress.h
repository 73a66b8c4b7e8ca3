/* progress.h: one line on a terminal's standard error: what is being measured, how far it is, and the time left.
 * Nothing where standard error is no terminal. */
#ifndef BENCH_PROGRESS_H
#define BENCH_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

/* Begins; `seconds` is what it is thought to take in all. */
void progress_begin(double seconds);
/* Draws: `done` is how many of the seconds are over, by the plan. The time left follows from how long that really
 * took. */
void progress_show(double done, const char *text);
/* Takes the line away until it is drawn again. */
void progress_clear(void);
bool progress_shown(void);

#endif
