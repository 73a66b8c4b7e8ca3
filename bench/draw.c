/* draw.c: from results in JSON to drawings.
 *
 * Path    files ► json_load ► rows ► chart_add, one point each ► DIRECTORY/NAME.gp ► gnuplot ► DIRECTORY/NAME.svg
 * Owners  A chart owns its series and their points; the rows belong to the trees that were read.
 * I1      A series' points are sorted by x; of two with the same x the later row stands. So the same files give the same script
 *         to the last byte, and gnuplot of one version the same drawing.
 * I2      A series of a single point is not drawn, and neither is a chart without any other.
 */
#include "draw.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "file.h"
#include "json_read.h"
#include "peer.h"
#include "process.h"
#include "queue/memory.h"
#include "queue/status.h"

#define SERIES_MAX 32u
#define POINTS_MAX 64u
#define NAME_ROOM  48u
#define KEYS_MAX   32u

struct point {
    double x;
    double y;
};

struct curve {
    char name[NAME_ROOM];
    unsigned count;
    struct point points[POINTS_MAX];
};

struct chart {
    char file[NAME_ROOM];
    char title[128];
    const char *x_label;
    const char *y_label;
    const char *settings;
    unsigned count;
    struct curve series[SERIES_MAX];
};

/* All rows of all files. */
struct rows {
    struct json_value **trees;
    size_t count;
};

/* Each peer looks the same in every drawing. */
struct look {
    const char *name;
    const char *colour;
    unsigned width;
};

static const struct look looks[] = {
    {"mailroom-ring", "#c00000", 4},
    {"mailroom-plain", "#ff8000", 4},
    {"seqpacket", "#0060c0", 2},
    {"seqpacket-mmsg", "#4080ff", 2},
    {"dgram", "#00a0d0", 2},
    {"dgram-mmsg", "#60c0e0", 2},
    {"mq", "#008060", 2},
    {"pipe", "#40a000", 2},
    {"zeromq", "#8000a0", 2},
    {"nng", "#c060c0", 2},
    {"nanomsg", "#e080b0", 2},
    {"nats", "#806000", 2},
    {"jetstream", "#b09040", 2},
    {"seed", "#404040", 2},
    {"limit-ring", "#a0a0a0", 1},
    {"limit-memcpy", "#c0c0c0", 1},
    {"limit-eventfd", "#a0a0a0", 1},
    {"limit-eventfd-epoll", "#707070", 1},
    {"limit-futex", "#c0c0c0", 1},
};

static void point_add(struct curve *series, double x, double y)
{
    unsigned at = 0;
    while (at < series->count && series->points[at].x < x)
        at++;
    if (at < series->count && series->points[at].x <= x) {
        series->points[at].y = y;
        return;
    }
    if (series->count == POINTS_MAX)
        return;
    memmove(&series->points[at + 1], &series->points[at], (series->count - at) * sizeof series->points[0]);
    series->points[at] = (struct point){x, y};
    series->count++;
}

static void chart_add(struct chart *chart, const char *name, double x, double y)
{
    if (!(y > 0) || isinf(y))
        return;
    unsigned s = 0;
    while (s < chart->count && strcmp(chart->series[s].name, name) != 0)
        s++;
    if (s == SERIES_MAX)
        return;
    if (s == chart->count) {
        chart->count++;
        chart->series[s].count = 0;
        (void) snprintf(chart->series[s].name, NAME_ROOM, "%s", name);
    }
    point_add(&chart->series[s], x, y);
}

/* The look of a series: its name is a peer's, or goes on behind it with a comma. NULL: a peer that has none. */
static const struct look *look_of(const struct curve *series)
{
    size_t length = strcspn(series->name, ",");
    for (size_t i = 0; i < sizeof looks / sizeof looks[0]; i++) {
        if (strlen(looks[i].name) == length && strncmp(looks[i].name, series->name, length) == 0)
            return &looks[i];
    }
    return NULL;
}

/* Several series of one peer differ by their dashes. */
static void curve_plot(FILE *script, const struct chart *chart, unsigned number)
{
    const struct curve *series = &chart->series[number];
    const struct look *look = look_of(series);
    unsigned dashes = 1;
    for (unsigned s = 0; s < number; s++)
        dashes += look != NULL && look_of(&chart->series[s]) == look;
    (void) fprintf(script, "%s$s%u using 1:2 with linespoints pointsize 0.6 linewidth %u dashtype %u",
                   number == 0 ? "" : ", ", number, look == NULL ? 2 : look->width, dashes);
    if (look != NULL)
        (void) fprintf(script, " linecolor rgb '%s'", look->colour);
    (void) fprintf(script, " title '%s'", series->name);
}

static void chart_write(FILE *script, const struct chart *chart)
{
    (void) fprintf(script,
                   "set terminal svg size 900,540 dynamic font 'sans,13' background 'white'\n"
                   "set output '%s.svg'\nset title '%s'\nset xlabel '%s'\nset ylabel '%s'\n"
                   "set key outside right\nset grid\n%s\n",
                   chart->file, chart->title, chart->x_label, chart->y_label, chart->settings);
    for (unsigned s = 0; s < chart->count; s++) {
        (void) fprintf(script, "$s%u << END\n", s);
        for (unsigned i = 0; i < chart->series[s].count; i++)
            (void) fprintf(script, "%.10g %.6g\n", chart->series[s].points[i].x, chart->series[s].points[i].y);
        (void) fprintf(script, "END\n");
    }
    (void) fprintf(script, "plot ");
    for (unsigned s = 0; s < chart->count; s++)
        curve_plot(script, chart, s);
    (void) fprintf(script, "\n");
}

/* I2 */
static void chart_prune(struct chart *chart)
{
    unsigned kept = 0;
    for (unsigned s = 0; s < chart->count; s++)
        if (chart->series[s].count > 1 && kept++ != s)
            chart->series[kept - 1] = chart->series[s];
    chart->count = kept;
}

static int chart_draw(const char *directory, struct chart *chart, unsigned *drawn)
{
    chart_prune(chart);
    if (chart->count == 0)
        return MR_OK;
    char name[NAME_ROOM + 4];
    char path[PEER_TEXT_ROOM * 4];
    (void) snprintf(name, sizeof name, "%s.gp", chart->file);
    if (snprintf(path, sizeof path, "%s/%s", directory, name) >= (int) sizeof path)
        return status_fail(MR_E_NAME, 0, "the path %s is too long", directory);
    FILE *script = file_open(path, true);
    if (script == NULL)
        return status_fail(MR_E_SYSTEM, errno, "cannot write %s: %s", path, strerror(errno));
    chart_write(script, chart);
    bool bad = ferror(script) != 0;
    if (fclose(script) != 0 || bad)
        return status_fail(MR_E_SYSTEM, errno, "cannot write %s: %s", path, strerror(errno));
    const char *const command[] = {"gnuplot", name, NULL};
    int status = process_command(directory, command);
    *drawn += status == MR_OK;
    return status;
}

/* ------------------------------------------------------------------------------------------------ which rows */

/* Calls `use` for each row. */
typedef void (*row_use)(void *context, const struct json_value *row);

static void rows_each(const struct rows *rows, row_use use, void *context)
{
    for (size_t i = 0; i < rows->count; i++) {
        const struct json_value *list = json_member(rows->trees[i], "rows");
        for (const struct json_value *row = list == NULL ? NULL : list->first; row != NULL; row = row->next)
            use(context, row);
    }
}

static bool part_is(const struct json_value *row, const char *part)
{
    return strcmp(json_member_text(row, "part", ""), part) == 0;
}

/* Sent as fast as it went: a comparison's rows have no rate of their own. */
static bool flat_out(const struct json_value *row)
{
    return json_member_number(row, "rate", 0) <= 0 && json_member_number(row, "messages_per_second", 0) > 0;
}

static bool one_size(const struct json_value *row)
{
    double size = json_member_number(row, "size", 0);
    return size > 0 && json_member_number(row, "size_min", size) >= size;
}

/* What a kind of chart takes from rows, and the keys: there is a chart for each pair of their values. */
struct kind {
    const char *file;  /* "-" and a key's value follow for each key */
    const char *title; /* ", bytes: 64", say, follows for each key */
    const char *x_label;
    const char *y_label;
    const char *settings;
    const char *key;      /* "writers", say; NULL: a single chart */
    const char *more_key; /* NULL: one is enough */
    bool (*takes)(const struct json_value *row);
    void (*add)(struct chart *chart, const struct json_value *row);
};

static bool throughput_takes(const struct json_value *row)
{
    return flat_out(row) && one_size(row) && part_is(row, "") && json_member_number(row, "slots", 1) <= 1;
}

static void size_add(struct chart *chart, const struct json_value *row)
{
    chart_add(chart, json_member_text(row, "peer", "?"), json_member_number(row, "size", 0),
              json_member_number(row, "messages_per_second", 0));
}

static void writers_add(struct chart *chart, const struct json_value *row)
{
    chart_add(chart, json_member_text(row, "peer", "?"), json_member_number(row, "writers", 0),
              json_member_number(row, "messages_per_second", 0));
}

static bool slots_takes(const struct json_value *row)
{
    return flat_out(row) && one_size(row) &&
           (part_is(row, "") || part_is(row, "all slots") || part_is(row, "one slot"));
}

static void slots_add(struct chart *chart, const struct json_value *row)
{
    chart_add(chart, json_member_text(row, "peer", "?"), json_member_number(row, "slots", 0),
              json_member_number(row, "messages_per_second", 0));
}

static bool latency_takes(const struct json_value *row)
{
    return json_member_number(row, "p50_us", 0) > 0 && json_member_number(row, "size", 0) > 0 &&
           json_member_number(row, "writers", 1) <= 1 && (part_is(row, "") || part_is(row, "idle"));
}

static bool loaded_takes(const struct json_value *row)
{
    return json_member_number(row, "p50_us", 0) > 0 && part_is(row, "loaded");
}

static void latency_add(struct chart *chart, const struct json_value *row)
{
    static const struct {
        const char *key;
        double percent;
    } marks[] = {{"p50_us", 50}, {"p90_us", 90}, {"p99_us", 99}, {"p999_us", 99.9}};
    const char *name = json_member_text(row, "peer", "?");
    const struct json_value *curve = json_member(row, "curve");
    /* A percentile's place on the axis: one in so many is slower. */
    for (const struct json_value *at = curve == NULL ? NULL : curve->first; at != NULL; at = at->next) {
        double percent = json_member_number(at, "percent", 0);
        if (percent < 99.95)
            chart_add(chart, name, 100 / (100 - percent), json_member_number(at, "us", 0));
    }
    if (curve != NULL)
        return;
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
        chart_add(chart, name, 100 / (100 - marks[i].percent), json_member_number(row, marks[i].key, 0));
}

static bool memory_takes(const struct json_value *row)
{
    /* A writer for each slot; the row with many writers to one slot is another matter. */
    return json_member_number(row, "reader_idle_resident", 0) > 0 &&
           fabs(json_member_number(row, "writers", 0) - json_member_number(row, "slots", 0)) < 0.5;
}

static void memory_add(struct chart *chart, const struct json_value *row)
{
    char name[NAME_ROOM];
    double slots = json_member_number(row, "slots", 0);
    double mebi = 1024.0 * 1024.0;
    (void) snprintf(name, sizeof name, "%.32s, reader idle", json_member_text(row, "peer", "?"));
    chart_add(chart, name, slots, json_member_number(row, "reader_idle_resident", 0) / mebi);
    (void) snprintf(name, sizeof name, "%.32s, reader busy", json_member_text(row, "peer", "?"));
    chart_add(chart, name, slots, json_member_number(row, "reader_busy_resident", 0) / mebi);
    (void) snprintf(name, sizeof name, "%.32s, writers busy", json_member_text(row, "peer", "?"));
    chart_add(chart, name, slots, json_member_number(row, "writers_busy_share", 0) / mebi);
}

#define RATE_AXIS "set logscale y 10\nset format y '%.0s %c'"
#define SIZES     "set logscale x 2\nset format x '%.0b %BB'\n" RATE_AXIS
#define WRITERS   "set logscale x 2\n" RATE_AXIS
#define SLOTS     "set logscale x 10\nset xtics add ('500' 500)\n" RATE_AXIS
#define PERCENTILE \
    "set logscale xy 10\nset xtics ('0' 1, '50 %%' 2, '90 %%' 10, '99 %%' 100, '99.9 %%' 1000)\nset xrange [1:1200]"

static const struct kind kinds[] = {
    {"throughput-by-size", "Messages a second by size", "size of a message", "messages a second", SIZES, "writers",
     NULL, throughput_takes, size_add},
    {"throughput-by-writers", "Messages a second by number of writers", "writers", "messages a second", WRITERS, "size",
     NULL, throughput_takes, writers_add},
    {"throughput-by-slots", "Messages a second by number of slots", "slots", "messages a second", SLOTS, "size",
     "writers", slots_takes, slots_add},
    {"latency", "Latency by percentile, reader idle", "percentile", "microseconds", PERCENTILE, "size", NULL,
     latency_takes, latency_add},
    {"latency-loaded", "Latency by percentile under load", "percentile", "microseconds", PERCENTILE, "size", NULL,
     loaded_takes, latency_add},
    {"memory-by-slots", "Memory by number of slots", "slots", "MiB", "set yrange [0:*]", NULL, NULL, memory_takes,
     memory_add},
};

/* ------------------------------------------------------------------------------------------------ drawing */

/* A row's values of the two keys; 0 where there is no such key. */
struct keys {
    double key;
    double more;
};

struct gathering {
    const struct kind *kind;
    struct keys found[KEYS_MAX];
    unsigned count;
    struct keys wanted; /* of the chart that is being filled */
    struct chart *chart;
};

static struct keys keys_of(const struct kind *kind, const struct json_value *row)
{
    return (struct keys){kind->key == NULL ? 0 : json_member_number(row, kind->key, 0),
                         kind->more_key == NULL ? 0 : json_member_number(row, kind->more_key, 0)};
}

static bool keys_equal(struct keys a, struct keys b)
{
    return fabs(a.key - b.key) < 0.5 && fabs(a.more - b.more) < 0.5;
}

static void key_gather(void *context, const struct json_value *row)
{
    struct gathering *gathering = context;
    if (!gathering->kind->takes(row) || gathering->count == KEYS_MAX)
        return;
    struct keys keys = keys_of(gathering->kind, row);
    for (unsigned i = 0; i < gathering->count; i++)
        if (keys_equal(gathering->found[i], keys))
            return;
    gathering->found[gathering->count++] = keys;
}

static void row_gather(void *context, const struct json_value *row)
{
    struct gathering *gathering = context;
    if (gathering->kind->takes(row) && keys_equal(keys_of(gathering->kind, row), gathering->wanted))
        gathering->kind->add(gathering->chart, row);
}

/* Lets the file's name and the title say which chart of its kind it is. */
static void chart_name(struct chart *chart, const char *key, double value)
{
    size_t file = strlen(chart->file);
    size_t title = strlen(chart->title);
    if (key == NULL)
        return;
    (void) snprintf(chart->file + file, sizeof chart->file - file, "-%.0f", value);
    (void) snprintf(chart->title + title, sizeof chart->title - title, ", %s: %.0f",
                    strcmp(key, "size") == 0 ? "bytes" : key, value);
}

static int kind_draw(const char *directory, const struct kind *kind, const struct rows *rows, struct chart *chart,
                     unsigned *drawn)
{
    struct gathering gathering = {.kind = kind, .chart = chart};
    int status = MR_OK;
    rows_each(rows, key_gather, &gathering);
    for (unsigned k = 0; k < gathering.count && status == MR_OK; k++) {
        gathering.wanted = gathering.found[k];
        chart->count = 0;
        chart->x_label = kind->x_label;
        chart->y_label = kind->y_label;
        chart->settings = kind->settings;
        (void) snprintf(chart->file, sizeof chart->file, "%s", kind->file);
        (void) snprintf(chart->title, sizeof chart->title, "%s", kind->title);
        chart_name(chart, kind->key, gathering.wanted.key);
        chart_name(chart, kind->more_key, gathering.wanted.more);
        rows_each(rows, row_gather, &gathering);
        status = chart_draw(directory, chart, drawn);
    }
    return status;
}

static int files_load(struct rows *rows, const char *const *paths, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int status = json_load(paths[i], &rows->trees[i]);
        if (status == MR_E_PROTOCOL) {
            struct status_memo memo;
            status_save(&memo);
            return status_fail(status, 0, "%s: %s", paths[i], memo.text);
        }
        if (status != MR_OK)
            return status;
        rows->count = i + 1;
        const struct json_value *list = json_member(rows->trees[i], "rows");
        if (list == NULL || list->kind != JSON_ARRAY)
            return status_fail(MR_E_PROTOCOL, 0, "%s has no rows: it is not what mailroom-bench --json prints",
                               paths[i]);
    }
    return MR_OK;
}

int draw_files(const char *directory, const char *const *paths, size_t count, unsigned *drawn)
{
    struct rows rows = {memory_calloc(count + 1, sizeof(struct json_value *)), 0};
    struct chart *chart = memory_alloc(sizeof *chart);
    int status = rows.trees == NULL || chart == NULL ? status_fail(MR_E_MEMORY, 0, "no memory for a drawing")
                                                     : files_load(&rows, paths, count);
    *drawn = 0;
    if (status == MR_OK)
        status = directory_ensure(directory);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && status == MR_OK; i++)
        status = kind_draw(directory, &kinds[i], &rows, chart, drawn);
    for (size_t i = 0; i < rows.count; i++)
        json_free(rows.trees[i]);
    memory_free(rows.trees);
    memory_free(chart);
    return status;
}
