/* row.h: one measured run for people (a few lines, or a table's row) and, as JSON, for programs. */
#ifndef BENCH_ROW_H
#define BENCH_ROW_H

#include <stdbool.h>
#include <stdio.h>

#include "json.h"
#include "run.h"

/* A few lines about one run. */
void run_print(FILE *stream, const char *title, const struct plan *plan, const struct run_result *result);

/* The fields of one run, into an object that is open. */
void run_json(struct json *json, const struct plan *plan, const struct run_result *result);

/* The fields that tell what happened to messages. */
void counts_json(struct json *json, const struct tally_counts *counts);
void latency_json(struct json *json, const struct latency *latency);
/* All of the curve, for drawing: "curve": [{"percent": 50, "us": 7.1}, …]. */
void curve_json(struct json *json, const struct latency *latency);
void machine_json(struct json *json);

/* Prints what was lost and such on standard error: BENCH_DAMAGED, or BENCH_DONE where nothing was. */
int run_verdict(const struct plan *plan, const struct tally_counts *counts);

/* What the plan says, in words: "8 writers, 64 B, as fast as they can". */
void plan_describe(const struct plan *plan, char *text, size_t size);

/* 1234567 as "1,234,567", and bytes or a rate with a unit. */
const char *number_text(uint64_t number, char text[32]);
const char *bytes_text(double bytes, char text[32]);
const char *rate_text(double rate, char text[32]);

#endif
