/* rows.c: the figures that the ring lane is held to, each a ratio of two measurements of the same repetition.
 *
 * Path    rows ► for each repetition, each row: both sides, in turns ► ratio ► median and spread ► table | JSON
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compare.h"
#include "progress.h"
#include "queue/thread.h"
#include "row.h"
#include "say.h"

enum figure { FIGURE_RATE, FIGURE_P50, FIGURE_P99 };

/* What is measured. peer NULL: Mailroom's lane; a limit's name: that limit. */
struct side {
    const char *peer;
    size_t size;
    unsigned writers;
    unsigned slots;
    unsigned idle;
    unsigned floods;
    double rate;
    bool punctual;
};

struct scenario {
    const char *name; /* for --only and JSON */
    const char *title;
    const char *against;
    enum figure figure;
    struct side left;
    struct side right;
    double least; /* of a rate at least, of a latency at most */
    double aim;
};

#define PACED_RATE 1000.0
/* Seven at 1,000 messages a second each. */
#define FLOODED_RATE 7000.0

/* clang-format off */
/* Messages of `size`, as fast as `writers` can, into one slot; and one writer at PACED_RATE into an idle reader. */
#define FLAT_OUT(peer, size, writers) {peer, size, writers, 1, 0, 0, 0, false}
#define PACED(peer)                   {peer, 64, 1, 1, 0, 0, PACED_RATE, false}
/* Seven that keep time, and so many that never rest. */
#define FLOODED(writers, floods, punctual) {NULL, 64, writers, 1, 0, floods, FLOODED_RATE, punctual}

static const struct scenario scenarios[] = {
    {"64-1", "64 B, 1 writer", "zeromq", FIGURE_RATE, FLAT_OUT(NULL, 64, 1), FLAT_OUT("zeromq", 64, 1), 5, 12},
    {"64-8", "64 B, 8 writers", "zeromq", FIGURE_RATE, FLAT_OUT(NULL, 64, 8), FLAT_OUT("zeromq", 64, 8), 12, 16},
    {"1k-1", "1 KiB, 1 writer", "zeromq", FIGURE_RATE, FLAT_OUT(NULL, 1024, 1), FLAT_OUT("zeromq", 1024, 1), 8, 14},
    {"1k-8", "1 KiB, 8 writers", "zeromq", FIGURE_RATE, FLAT_OUT(NULL, 1024, 8), FLAT_OUT("zeromq", 1024, 8), 8, 14},
    {"64k-1", "64 KiB, 1 writer", "seqpacket", FIGURE_RATE,
     FLAT_OUT(NULL, 65536, 1), FLAT_OUT("seqpacket", 65536, 1), 1.2, 2},
    {"64k-8", "64 KiB, 8 writers", "seqpacket", FIGURE_RATE,
     FLAT_OUT(NULL, 65536, 8), FLAT_OUT("seqpacket", 65536, 8), 1.2, 2},
    {"p50-seqpacket", "latency p50, idle reader", "seqpacket", FIGURE_P50, PACED(NULL), PACED("seqpacket"), 1, 1},
    {"p50-wake", "latency p50, idle reader", "a raw wake-up: eventfd and epoll", FIGURE_P50,
     PACED(NULL), FLAT_OUT("limit-eventfd-epoll", 64, 1), 1.4, 1.4},
    {"p50-mq", "latency p50, idle reader", "mq", FIGURE_P50, PACED(NULL), PACED("mq"), HUGE_VAL, 1},
    {"slots", "200 slots x 2 writers, each in all", "one slot", FIGURE_RATE,
     {NULL, 64, 2, 200, 0, 0, 0, false}, FLAT_OUT(NULL, 64, 2), 0.7, 0.9},
    {"idle", "2 writers, 500 more connected and idle", "none more", FIGURE_RATE,
     {NULL, 64, 2, 1, 500, 0, 0, false}, FLAT_OUT(NULL, 64, 2), 0.95, 1},
    {"flood", "p99 of seven punctual at 1,000/s, an eighth flooding", "no eighth", FIGURE_P99,
     FLOODED(8, 1, true), FLOODED(7, 0, true), 3, 1.5},
    {"flood-usual", "the same, none with a priority of its own", "no eighth", FIGURE_P99,
     FLOODED(8, 1, false), FLOODED(7, 0, false), HUGE_VAL, 1.5},
};
/* clang-format on */
#define SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

struct measured {
    const struct scenario *scenario;
    struct series left;
    struct series right;
    struct series ratios;
    struct series late; /* of a latency, on the left: how late the writers themselves awoke, p99, µs */
    enum punctuality punctuality;
    struct series reader_ns;   /* of a rate, on the left: what the reader's process was at work for a message, … */
    struct series reader_busy; /* … and which part of the time, of one processor */
    struct tally_counts counts;
    char failure[400];
};

static bool is_wanted(const char *only, const char *name)
{
    size_t length = strlen(name);
    if (only == NULL) {
        return true;
    }
    for (const char *at = only; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, name, length) == 0 && (at[length] == ',' || at[length] == '\0')) {
            return true;
        }
    }
    return false;
}

/* MR_OK and the figure, or the error kept as this thread's last. */
static int measure_limit(const struct options *options, const struct side *side, enum figure figure, double *value)
{
    struct limit_result result = {0};
    int status = run_limit(side->peer, side->size, options->seconds, options->plan.lead, &result);
    *value = figure == FIGURE_RATE ? result.messages_per_second : figure == FIGURE_P50 ? result.p50_us : result.p99_us;
    return status;
}

static int measure_side(const struct options *options, const struct side *side, enum figure figure, double *value,
                        struct run_result *result)
{
    struct plan plan = options->plan;
    const char *parent = bench_directory();
    if (side->peer != NULL && limit_find(side->peer) != NULL) {
        return measure_limit(options, side, figure, value);
    }
    if (side->peer != NULL) {
        snprintf(plan.peer_name, sizeof(plan.peer_name), "%s", side->peer);
    }
    const struct peer *peer = peer_find(plan.peer_name);
    if (parent == NULL || peer == NULL || peer->missing != NULL) {
        return status_fail(MR_E_UNSUPPORTED, 0, "%s: %s", plan.peer_name,
                           peer == NULL || peer->missing == NULL ? "not there" : peer->missing);
    }
    plan.sizes = (struct sizes){.kind = SIZES_EVEN, .minimum = side->size, .maximum = side->size};
    plan.writers = side->writers;
    plan.peer.slots = side->slots;
    plan.every = side->slots > 1;
    plan.idle = side->idle;
    plan.floods = side->floods;
    plan.rate = side->rate;
    plan.punctual = side->punctual;
    plan.messages = 0;
    plan.duration = (uint64_t) (options->seconds * 1e9);
    plan.check = side->size > COMPARE_CHECK_ALL ? MESSAGE_MARKS : MESSAGE_ALL;
    const char *wrong = plan_complete(&plan);
    int status = wrong != NULL ? status_fail(MR_E_ARGUMENT, 0, "%s", wrong) : run_execute(&plan, parent, NULL, result);
    if (status != MR_OK) {
        return status;
    }
    *value = figure == FIGURE_RATE ? result->rate
                                   : (double) (figure == FIGURE_P50 ? result->latency.p50 : result->latency.p99) / 1e3;
    return MR_OK;
}

/* What goes on in the machine meanwhile is to meet both sides alike: each comes first every other time. */
static void measure_row(const struct options *options, struct measured *row, bool swapped)
{
    double left = 0;
    double right = 0;
    int status = MR_OK;
    const struct scenario *scenario = row->scenario;
    for (unsigned k = 0; k < 2 && status == MR_OK; k++) {
        bool first = (k == 0) != swapped;
        struct run_result result = {0};
        status = measure_side(options, first ? &scenario->left : &scenario->right, scenario->figure,
                              first ? &left : &right, &result);
        tally_add(&row->counts, &result.counts);
        if (first && scenario->figure == FIGURE_RATE && result.counts.received > 0 && result.seconds > 0) {
            series_add(&row->reader_ns, (double) result.reader_time / (double) result.counts.received);
            series_add(&row->reader_busy, (double) result.reader_time / 1e9 / result.seconds);
        }
        if (first && scenario->figure != FIGURE_RATE) {
            series_add(&row->late, (double) result.late_p99 / 1e3);
            row->punctuality = result.punctuality;
        }
    }
    if (status != MR_OK) {
        snprintf(row->failure, sizeof(row->failure), "%s", mr_last_error_text());
        if (!process_interrupted()) {
            remark("%s: %s", scenario->name, row->failure);
        }
        return;
    }
    series_add(&row->left, left);
    series_add(&row->right, right);
    if (right > 0) {
        series_add(&row->ratios, left / right);
    }
}

static int measure_rows(const struct options *options, struct measured *rows, unsigned count)
{
    progress_begin((double) options->repeat * count);
    for (unsigned r = 0; r < options->repeat; r++) {
        for (unsigned i = 0; i < count; i++) {
            progress_show((double) r * count + i, rows[i].scenario->title);
            if (rows[i].failure[0] == '\0') {
                measure_row(options, &rows[i], r % 2 != 0);
            }
            if (process_interrupted()) {
                return fail("ended by a signal");
            }
        }
    }
    progress_clear();
    return -1;
}

static bool reaches(const struct scenario *scenario, double ratio, double bound)
{
    return scenario->figure == FIGURE_RATE ? ratio >= bound : ratio <= bound;
}

static const char *judge(const struct measured *row)
{
    double ratio = series_median(&row->ratios);
    if (row->ratios.count == 0) {
        return "not measured";
    }
    return reaches(row->scenario, ratio, row->scenario->aim)     ? "aim"
           : reaches(row->scenario, ratio, row->scenario->least) ? "least"
                                                                 : "missed";
}

static const char *priority_text(const struct measured *row)
{
    return punctuality_text(row->scenario->left.punctual ? row->punctuality : PUNCTUAL_NOT);
}

static const char *figure_text(const struct scenario *scenario, const struct series *series, char text[32])
{
    double value = series_median(series);
    if (isnan(value)) {
        snprintf(text, 32, "-");
    } else if (scenario->figure == FIGURE_RATE) {
        rate_text(value, text);
    } else {
        snprintf(text, 32, "%.1f µs", value);
    }
    return text;
}

static void print_rows(const struct options *options, const struct measured *rows, unsigned count)
{
    printf("%-44s %12s %12s  %6s  %-16s %6s %6s  %s\n", "row", options->plan.peer_name + strlen("mailroom-"), "against",
           "ratio", "from .. to", "least", "aim", "reached");
    for (unsigned i = 0; i < count; i++) {
        const struct measured *row = &rows[i];
        char left[32];
        char right[32];
        char ratio[32] = "-";
        char spread[64] = "-";
        char least[16] = "-";
        if (row->ratios.count > 0) {
            snprintf(ratio, sizeof(ratio), "%.2f", series_median(&row->ratios));
            snprintf(spread, sizeof(spread), "%.2f .. %.2f", series_minimum(&row->ratios),
                     series_maximum(&row->ratios));
        }
        if (isfinite(row->scenario->least)) {
            snprintf(least, sizeof(least), "%.2f", row->scenario->least);
        }
        int width =
            row->scenario->figure == FIGURE_RATE || row->ratios.count == 0 ? 12 : 13; /* the letter mu has two bytes */
        printf("%-44s %*s %*s  %6s  %-16s %6s %6.2f  %s\n", row->scenario->title, width,
               figure_text(row->scenario, &row->left, left), width, figure_text(row->scenario, &row->right, right),
               ratio, spread, least, row->scenario->aim, judge(row));
        printf("    %s, against %s", row->scenario->name, row->scenario->against);
        if (row->scenario->figure == FIGURE_P99 && row->late.count > 0) {
            printf("; the writers awoke late by p99 %.1f µs, priority: %s", series_median(&row->late),
                   priority_text(row));
        }
        printf("\n");
    }
    printf("Rates: at least. Latencies: at most. Medians of %u repetitions of %.2f s each.\n", options->repeat,
           options->seconds);
}

static void print_json(const struct options *options, const struct measured *rows, unsigned count)
{
    static const char *const figures[] = {"messages_per_second", "p50_us", "p99_us"};
    struct json json = {.stream = stdout};
    json_object(&json, NULL);
    json_text(&json, "command", "rows");
    machine_json(&json);
    json_array(&json, "rows");
    for (unsigned i = 0; i < count; i++) {
        const struct measured *row = &rows[i];
        json_object(&json, NULL);
        json_text(&json, "row", row->scenario->name);
        json_text(&json, "peer", options->plan.peer_name);
        json_text(&json, "title", row->scenario->title);
        json_text(&json, "against", row->scenario->against);
        json_text(&json, "figure", figures[row->scenario->figure]);
        json_count(&json, "size", row->scenario->left.size);
        json_count(&json, "slots", row->scenario->left.slots);
        json_count(&json, "writers", row->scenario->left.writers);
        json_real(&json, "value", series_median(&row->left));
        json_real(&json, "against_value", series_median(&row->right));
        json_real(&json, "ratio", series_median(&row->ratios));
        json_real(&json, "ratio_min", series_minimum(&row->ratios));
        json_real(&json, "ratio_max", series_maximum(&row->ratios));
        json_real(&json, "least", row->scenario->least);
        json_real(&json, "aim", row->scenario->aim);
        json_text(&json, "reached", judge(row));
        if (row->scenario->figure == FIGURE_RATE) {
            json_real(&json, "reader_ns", series_median(&row->reader_ns));
            json_real(&json, "reader_busy", series_median(&row->reader_busy));
        }
        if (row->scenario->figure == FIGURE_P99) {
            json_real(&json, "late_p99_us", series_median(&row->late));
            json_text(&json, "writers_priority", priority_text(row));
        }
        counts_json(&json, &row->counts);
        json_end_object(&json);
    }
    json_end_array(&json);
    json_end_object(&json);
}

static int rows_verdict(const struct options *options, struct measured *rows, unsigned count)
{
    int code = BENCH_DONE;
    for (unsigned i = 0; i < count; i++) {
        if (rows[i].failure[0] != '\0' && code == BENCH_DONE) {
            code = BENCH_ERROR;
        }
        if (run_verdict(&options->plan, &rows[i].counts) != BENCH_DONE) {
            code = BENCH_DAMAGED;
        }
    }
    return code;
}

static int run_rows(int argc, char **argv)
{
    struct options options;
    struct measured rows[SCENARIOS] = {{.scenario = NULL}};
    unsigned count = 0;
    options_default(&options);
    int code = options_read(&command_rows, argc, argv, &options);
    if (code >= 0) {
        return code;
    }
    for (size_t i = 0; i < SCENARIOS; i++) {
        if (is_wanted(options.only, scenarios[i].name)) {
            rows[count++].scenario = &scenarios[i];
        }
    }
    if (count == 0) {
        return fail_usage("rows", "--only '%s' names none of the rows", options.only);
    }
    code = measure_rows(&options, rows, count);
    if (code < 0) {
        if (options.json) {
            print_json(&options, rows, count);
        } else {
            print_rows(&options, rows, count);
        }
        code = rows_verdict(&options, rows, count);
    }
    for (unsigned i = 0; i < count; i++) {
        series_free(&rows[i].left);
        series_free(&rows[i].right);
        series_free(&rows[i].ratios);
        series_free(&rows[i].late);
        series_free(&rows[i].reader_ns);
        series_free(&rows[i].reader_busy);
    }
    return code;
}

const struct command command_rows = {
    "rows", "the figures that the ring lane is held to",
    "usage: mailroom-bench rows [options]\n"
    "\n"
    "Measures each row and what it is held against, one after the other, --repeat times, and prints the ratio with\n"
    "its smallest and largest. Rows for --only: 64-1, 64-8, 1k-1, 1k-8 (zeromq); 64k-1, 64k-8 (seqpacket);\n"
    "p50-seqpacket, p50-wake, p50-mq; slots; idle; flood. Not reaching a figure is no error: that depends on the\n"
    "machine.\n",
    OPTION_BIT(OPTION_ONLY) | OPTION_BIT(OPTION_LANE) | OPTION_BIT(OPTION_SECONDS) | OPTION_BIT(OPTION_REPEAT) |
        OPTION_BIT(OPTION_WORKERS) | OPTION_BIT(OPTION_RING_BYTES) | OPTION_BIT(OPTION_LEAD) |
        OPTION_BIT(OPTION_SETTLE) | OPTION_BIT(OPTION_JSON),
    run_rows};
