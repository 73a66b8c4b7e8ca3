/* plot.c: draws a comparison as SVG, by gnuplot.
 *
 * Path    entries ► FOLDER/plots.gp, the data in it ► gnuplot ► throughput-W.svg, writers-B.svg, latency-B.svg
 * The script stays beside the drawings, so that they can be drawn again in another way.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compare.h"
#include "process.h"
#include "say.h"

struct drawing {
    FILE *script;
    const char *directory;
    bool failed;
};

static FILE *file_open(const char *directory, const char *name)
{
    char path[1024];
    if (snprintf(path, sizeof(path), "%s/%s", directory, name) >= (int) sizeof(path)) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    return fopen(path, "w");
}

/* The first entry of each peer stands for it. */
static bool is_first(const struct comparison *comparison, unsigned index)
{
    for (unsigned i = 0; i < index; i++) {
        if (strcmp(comparison->entries[i].name, comparison->entries[index].name) == 0) {
            return false;
        }
    }
    return true;
}

/* Begins one drawing: its file, axes and title. */
static void begin(struct drawing *drawing, const char *file, const char *title, const char *x, const char *y,
                  const char *more)
{
    fprintf(drawing->script,
            "reset\nset terminal svg size 900,560 dynamic font 'sans,13' background 'white'\nset output '%s.svg'\n"
            "set title '%s'\nset xlabel '%s'\nset ylabel '%s'\nset key outside right\nset grid\n"
            "set format y '%%.0s %%c'\n%s\nplot ",
            file, title, x, y, more);
}

/* One line per peer of rates over what `x_of` gives, among entries that `is_in` takes. */
static void draw_rates(struct drawing *drawing, const struct comparison *comparison, bool by_writers, size_t fixed)
{
    bool any = false;
    for (unsigned i = 0; i < comparison->count; i++) {
        if (is_first(comparison, i) && comparison->entries[i].limit == NULL) {
            fprintf(drawing->script, "%s'-' using 1:2 with linespoints lw 2 title '%s'", any ? ", " : "",
                    comparison->entries[i].name);
            any = true;
        }
    }
    fprintf(drawing->script, "\n");
    for (unsigned i = 0; i < comparison->count; i++) {
        if (!is_first(comparison, i) || comparison->entries[i].limit != NULL) {
            continue;
        }
        for (unsigned j = i; j < comparison->count; j++) {
            const struct entry *entry = &comparison->entries[j];
            size_t other = by_writers ? entry->size : entry->writers;
            if (strcmp(entry->name, comparison->entries[i].name) == 0 && other == fixed && entry->rates.count > 0) {
                fprintf(drawing->script, "%zu %.1f\n", by_writers ? entry->writers : entry->size,
                        series_median(&entry->rates));
            }
        }
        fprintf(drawing->script, "e\n");
    }
}

static bool has_latency(const struct comparison *comparison, size_t size, unsigned writers)
{
    for (unsigned i = 0; i < comparison->count; i++) {
        const struct entry *entry = &comparison->entries[i];
        if (entry->limit == NULL && entry->size == size && entry->writers == writers && entry->latency.count > 0) {
            return true;
        }
    }
    return false;
}

static void draw_latency(struct drawing *drawing, const struct comparison *comparison, size_t size, unsigned writers)
{
    bool any = false;
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < comparison->count; i++) {
            const struct entry *entry = &comparison->entries[i];
            if (entry->limit != NULL || entry->size != size || entry->writers != writers || entry->latency.count == 0) {
                continue;
            }
            if (pass == 0) {
                fprintf(drawing->script, "%s'-' using 1:2 with lines lw 2 title '%s'", any ? ", " : "", entry->name);
                any = true;
                continue;
            }
            /* Percentiles as "one in so many is slower": 50 % is 2, 99.9 % is 1000. */
            for (unsigned k = 0; k < LATENCY_CURVE && latency_percents[k] < 99.95; k++) {
                fprintf(drawing->script, "%.6g %.6g\n", 100 / (100 - latency_percents[k]),
                        (double) entry->latency.curve[k] / 1e3);
            }
            fprintf(drawing->script, "e\n");
        }
        fprintf(drawing->script, pass == 0 && any ? "\n" : "");
    }
}

static void draw_all(struct drawing *drawing, const struct comparison *comparison)
{
    const struct options *options = &comparison->options;
    char file[64];
    char title[128];
    for (unsigned w = 0; w < options->writer_count; w++) {
        snprintf(file, sizeof(file), "throughput-%u", options->writers[w]);
        snprintf(title, sizeof(title), "Messages a second by size, %u writer%s", options->writers[w],
                 options->writers[w] == 1 ? "" : "s");
        begin(drawing, file, title, "bytes", "messages a second", "set logscale x 2\nset logscale y 10");
        draw_rates(drawing, comparison, false, options->writers[w]);
    }
    for (unsigned s = 0; s < options->size_count; s++) {
        if (options->writer_count > 1) {
            snprintf(file, sizeof(file), "writers-%zu", options->sizes[s]);
            snprintf(title, sizeof(title), "Messages a second by writers, %zu bytes", options->sizes[s]);
            begin(drawing, file, title, "writers", "messages a second", "set logscale x 2\nset logscale y 10");
            draw_rates(drawing, comparison, true, options->sizes[s]);
        }
        if (!has_latency(comparison, options->sizes[s], options->writers[0])) {
            continue;
        }
        snprintf(file, sizeof(file), "latency-%zu", options->sizes[s]);
        snprintf(title, sizeof(title), "Latency by percentile, %zu bytes, %u writer%s, 2,000 messages a second",
                 options->sizes[s], options->writers[0], options->writers[0] == 1 ? "" : "s");
        begin(drawing, file, title, "percentile", "microseconds",
              "set logscale x 10\nset logscale y 10\nset format y '%g'\n"
              "set xtics ('0' 1, '50 %%' 2, '90 %%' 10, '99 %%' 100, '99.9 %%' 1000)");
        draw_latency(drawing, comparison, options->sizes[s], options->writers[0]);
    }
}

int plot_comparison(const struct comparison *comparison, const char *directory)
{
    static const char *const command[] = {"gnuplot", "plots.gp", NULL};
    struct drawing drawing = {.directory = directory};
    int status = directory_ensure(directory);
    if (status != MR_OK) {
        return fail_status(status, "--plot");
    }
    drawing.script = file_open(directory, "plots.gp");
    if (drawing.script == NULL) {
        return fail("cannot write %s/plots.gp: %s", directory, strerror(errno));
    }
    draw_all(&drawing, comparison);
    bool written = ferror(drawing.script) == 0;
    if (fclose(drawing.script) != 0 || !written) {
        return fail("cannot write %s/plots.gp: %s", directory, strerror(errno));
    }
    status = process_command(directory, command);
    return status == MR_OK ? BENCH_DONE : fail_status(status, "--plot");
}
