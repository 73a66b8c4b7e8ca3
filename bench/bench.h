/* bench.h: the commands. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "options.h"

extern const struct command command_throughput;
extern const struct command command_latency;
extern const struct command command_fan_in;
extern const struct command command_burst;
extern const struct command command_soak;
extern const struct command command_memory;
extern const struct command command_compare;
extern const struct command command_rows;
extern const struct command command_plot;
extern const struct command command_peers;

/* The whole program: returns its exit code. */
int bench_main(int argc, char **argv);

/* The folder of this program's runs, made at first use and removed by bench_main. NULL: an error has been printed. */
const char *bench_directory(void);

#endif
