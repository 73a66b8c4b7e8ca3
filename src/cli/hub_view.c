/* hub_view.c: figures of many slots, for people and, as JSON, for programs.
 *
 * Path    inbox_slot counters and mr_reader_get_statistics ► hub_view_collect ► table | line | JSON ► standard output
 *         or standard error
 * Owners  The main thread. A terminal that takes nothing is waited for, like any output. */
#include "hub_view.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "queue/memory.h"
#include "system.h"

/* Of the table's first column. */
#define NAME_WIDTH_MAX ((size_t) 32)

int hub_view_open(struct hub_view *view, const struct inbox *inbox, int descriptor, bool json)
{
    *view = (struct hub_view){.inbox = inbox, .json = json, .started = system_now()};
    view->last = view->started;
    view->output.descriptor = descriptor;
    view->output.path = descriptor == 1 ? "standard output" : "standard error";
    view->shown = system_is_open(descriptor);
    unsigned rows = 0;
    unsigned columns = 0;
    view->terminal = view->shown && !json && system_terminal(descriptor, &rows, &columns);
    view->slots = memory_calloc(inbox->count, sizeof(*view->slots));
    view->order = memory_calloc(inbox->count, sizeof(*view->order));
    if (view->slots == NULL || view->order == NULL) {
        hub_view_close(view);
        return fail("out of memory");
    }
    for (size_t i = 0; i < inbox->count; i++) {
        view->order[i] = i;
    }
    return CLI_DONE;
}

void hub_view_close(struct hub_view *view)
{
    memory_free(view->slots);
    memory_free(view->order);
    text_free(&view->output.text);
}

static struct hub_figures sum_up(struct hub_view *view)
{
    struct hub_figures sum = {0};
    for (size_t i = 0; i < view->inbox->count; i++) {
        const struct inbox_slot *slot = view->inbox->slots[i];
        struct hub_slot_view *shown = &view->slots[i];
        mr_reader_statistics statistics = {.size = sizeof(statistics)};
        if (mr_reader_get_statistics(slot->reader, &statistics) == MR_OK) {
            shown->waiting = statistics.waiting;
            shown->peak = statistics.waiting_peak;
            shown->connections = statistics.connections;
            shown->dropped = statistics.dropped_too_big + statistics.dropped_violation + statistics.dropped_refused;
            sum.refused += statistics.refused_access + statistics.refused_quota + statistics.refused_descriptors;
        }
        shown->rate = slot->messages - shown->messages_before;
        shown->messages_before = slot->messages;
        sum.messages += slot->messages;
        sum.bytes += slot->bytes;
        sum.waiting += shown->waiting;
        sum.peak = shown->peak > sum.peak ? shown->peak : sum.peak;
        sum.dropped += shown->dropped;
        sum.connections += shown->connections;
    }
    return sum;
}

void hub_view_collect(struct hub_view *view)
{
    view->before = sum_up(view);
}

static const struct hub_slot_view *sorted_slots; /* qsort has no context; one thread */

static int compare_busy(const void *left, const void *right)
{
    size_t i = *(const size_t *) left;
    size_t j = *(const size_t *) right;
    const struct hub_slot_view *a = &sorted_slots[i];
    const struct hub_slot_view *b = &sorted_slots[j];
    if (a->rate != b->rate) {
        return a->rate > b->rate ? -1 : 1;
    }
    if (a->messages_before != b->messages_before) {
        return a->messages_before > b->messages_before ? -1 : 1;
    }
    return i < j ? -1 : i > j;
}

/* Puts a line of at most `columns` characters. */
static void put_line(struct hub_view *view, struct text *line, unsigned columns)
{
    size_t width = 0;
    size_t end = 0;
    while (end < line->length) {
        bool starts = ((unsigned char) line->data[end] & 0xC0) != 0x80;
        if (starts && width == columns) {
            break;
        }
        width += starts;
        end++;
    }
    struct text *text = &view->output.text;
    text_put(text, line->data, end);
    text_puts(text, "\x1b[K\n"); /* and the rest of what stood there before is cleared */
    view->lines_drawn++;
    text_clear(line);
}

static void put_bytes(struct text *text, double bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    while (bytes >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        bytes /= 1024;
        unit++;
    }
    text_printf(text, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
}

/* Characters of the longest name, within reason. */
static size_t name_width(const struct hub_view *view)
{
    size_t longest = strlen("busiest slots");
    for (size_t i = 0; i < view->inbox->count; i++) {
        size_t width = text_width(view->inbox->slots[i]->name, strlen(view->inbox->slots[i]->name));
        longest = width > longest ? width : longest;
    }
    return longest < NAME_WIDTH_MAX ? longest : NAME_WIDTH_MAX;
}

/* The name in a column of that width; a longer one loses its end. */
static void put_name(struct text *line, const char *name, size_t width)
{
    size_t length = strlen(name);
    while (text_width(name, length) > width) {
        length--;
    }
    text_escaped(line, name, length);
    for (size_t i = text_width(name, length); i < width; i++) {
        text_putc(line, ' ');
    }
}

static void draw_table(struct hub_view *view, const struct hub_figures *now, double interval)
{
    unsigned rows = 24;
    unsigned columns = 80;
    struct text line = {0};
    struct text *text = &view->output.text;
    system_terminal(view->output.descriptor, &rows, &columns);
    if (view->lines_drawn > 0) {
        text_printf(text, "\x1b[%uA", view->lines_drawn);
    }
    view->lines_drawn = 0;
    text_printf(&line, "mailroom hub   %.0f s   %zu slots   %" PRIu64 " connections",
                (double) (system_now() - view->started) / 1e9, view->inbox->count, now->connections);
    put_line(view, &line, columns);
    text_printf(&line, "%.0f messages/s   ", (double) (now->messages - view->before.messages) / interval);
    put_bytes(&line, (double) (now->bytes - view->before.bytes) / interval);
    text_printf(&line, "/s   %" PRIu64 " messages in all", now->messages);
    put_line(view, &line, columns);
    text_printf(&line,
                "%" PRIu64 " waiting   %" PRIu64 " at most in one slot   %" PRIu64 " dropped   %" PRIu64 " refused",
                now->waiting, now->peak, now->dropped, now->refused);
    put_line(view, &line, columns);
    size_t width = name_width(view);
    put_name(&line, "busiest slots", width);
    text_printf(&line, "%8s %10s %7s %6s %7s %5s", "per s", "messages", "waiting", "peak", "dropped", "conn");
    put_line(view, &line, columns);
    sorted_slots = view->slots;
    qsort(view->order, view->inbox->count, sizeof(*view->order), compare_busy);
    size_t room = rows > 6 ? rows - 5 : 1; /* four lines of head, and the cursor's own */
    for (size_t i = 0; i < view->inbox->count && i < room; i++) {
        const struct inbox_slot *slot = view->inbox->slots[view->order[i]];
        const struct hub_slot_view *shown = &view->slots[view->order[i]];
        put_name(&line, slot->name, width);
        text_printf(&line, "%8.0f %10" PRIu64 " %7" PRIu64 " %6" PRIu64 " %7" PRIu64 " %5" PRIu64,
                    (double) shown->rate / interval, slot->messages, shown->waiting, shown->peak, shown->dropped,
                    shown->connections);
        put_line(view, &line, columns);
    }
    text_free(&line);
}

static void put_progress(struct hub_view *view, const struct hub_figures *now, double interval)
{
    text_printf(&view->output.text,
                "%4.0f s  %10.0f messages/s  %" PRIu64 " in all, %" PRIu64 " waiting, %" PRIu64 " dropped, %" PRIu64
                " connections\n",
                (double) (system_now() - view->started) / 1e9,
                (double) (now->messages - view->before.messages) / interval, now->messages, now->waiting, now->dropped,
                now->connections);
}

static void put_json(struct hub_view *view, const char *type, const struct hub_figures *now)
{
    text_printf(&view->output.text,
                "{\"type\":\"%s\",\"seconds\":%.3f,\"slots\":%zu,\"messages\":%" PRIu64 ",\"bytes\":%" PRIu64
                ",\"waiting\":%" PRIu64 ",\"waiting_peak\":%" PRIu64 ",\"dropped\":%" PRIu64 ",\"refused\":%" PRIu64
                ",\"connections\":%" PRIu64,
                type, (double) (system_now() - view->started) / 1e9, view->inbox->count, now->messages, now->bytes,
                now->waiting, now->peak, now->dropped, now->refused, now->connections);
}

void hub_view_tick(struct hub_view *view)
{
    uint64_t moment = system_now();
    double interval = (double) (moment - view->last) / 1e9;
    struct hub_figures now = sum_up(view);
    if (!view->shown || interval <= 0) {
        return;
    }
    if (view->json) {
        put_json(view, "progress", &now);
        text_puts(&view->output.text, "}\n");
    } else if (view->terminal) {
        draw_table(view, &now, interval);
    } else {
        put_progress(view, &now, interval);
    }
    view->before = now;
    view->last = moment;
    /* Nobody looks any more: the hub's work goes on. */
    view->shown = output_flush(&view->output);
}

void hub_view_end(struct hub_view *view, uint64_t unread, uint64_t unwritten)
{
    const struct hub_figures *sum = &view->before;
    struct text *text = &view->output.text;
    double seconds = (double) (system_now() - view->started) / 1e9;
    if (!view->shown) {
        return;
    }
    if (view->json) {
        put_json(view, "summary", sum);
        text_printf(text, ",\"unread\":%" PRIu64 ",\"unwritten\":%" PRIu64 "}\n", unread, unwritten);
    } else {
        text_printf(text, "%zu slots, %.1f s: %" PRIu64 " messages (", view->inbox->count, seconds, sum->messages);
        put_bytes(text, (double) sum->bytes);
        text_printf(text,
                    "), %.0f per second; at most %" PRIu64 " waited in one slot; %" PRIu64 " dropped, %" PRIu64
                    " connections refused, %" PRIu64 " messages unread, %" PRIu64 " not written\n",
                    (double) sum->messages / (seconds > 0 ? seconds : 1), sum->peak, sum->dropped, sum->refused, unread,
                    unwritten);
    }
    output_flush(&view->output);
}
