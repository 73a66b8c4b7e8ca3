/* compare_report.c: a comparison as a table for people, and as JSON for programs.
 *
 * Path    comparison ► comparison_print | comparison_json ► standard output, or the file that --plot draws from
 * I1      Every entry has its row, whatever became of it: one without figures says why.
 */
#include "compare.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "row.h"

/* By enum entry_state: the member of a row in JSON that says why there are no figures, and the word for it in the table. */
static const char *const state_keys[] = {NULL, "missing", "unable", "failed"};
static const char *const state_words[] = {NULL, "missing", "not possible", "failed"};

const char *entry_circumstances(const struct comparison *comparison, const struct entry *entry, char text[64])
{
    char slots[24] = "";
    if (comparison->options.given[OPTION_SLOT_LIST]) {
        snprintf(slots, sizeof(slots), ", %u slot%s", entry->slots, entry->slots == 1 ? "" : "s");
    }
    snprintf(text, 64, "%zu B%s, %u writer%s", entry->size, slots, entry->writers, entry->writers == 1 ? "" : "s");
    return text;
}

bool entry_same_load(const struct entry *a, const struct entry *b)
{
    return a->size == b->size && a->slots == b->slots && a->writers == b->writers;
}

void comparison_json(const struct comparison *comparison, FILE *stream)
{
    struct json json = {.stream = stream};
    json_object(&json, NULL);
    machine_json(&json);
    json_array(&json, "rows");
    for (unsigned i = 0; i < comparison->count; i++) {
        const struct entry *entry = &comparison->entries[i];
        json_object(&json, NULL);
        json_text(&json, "peer", entry->name);
        if (entry->state != ENTRY_MEASURED) {
            json_text(&json, state_keys[entry->state], entry->why);
        }
        json_count(&json, "size", entry->size);
        json_count(&json, "slots", entry->slots);
        json_count(&json, "writers", entry->writers);
        json_real(&json, "messages_per_second", series_median(&entry->rates));
        json_real(&json, "p50_us", series_median(&entry->p50_us));
        json_real(&json, "p99_us", series_median(&entry->p99_us));
        json_count(&json, "lost", entry->counts.lost);
        json_count(&json, "repeated", entry->counts.repeated);
        json_count(&json, "reordered", entry->counts.reordered);
        json_count(&json, "garbled", entry->counts.garbled);
        json_real(&json, "ratio", series_median(&entry->ratios));
        json_real(&json, "ratio_min", series_minimum(&entry->ratios));
        json_real(&json, "ratio_max", series_maximum(&entry->ratios));
        if (entry->load != NULL) {
            json_count(&json, "reader_threads", entry->threads);
            json_real(&json, "reader_resident", series_median(&entry->resident));
            json_real(&json, "waits_per_message", series_median(&entry->waits));
        }
        json_count(&json, "repetitions",
                   entry->rates.count > entry->p50_us.count ? entry->rates.count : entry->p50_us.count);
        if (entry->latency.count > 0) {
            curve_json(&json, &entry->latency);
        }
        json_end_object(&json);
    }
    json_end_array(&json);
    json_end_object(&json);
}

static void figure(char *text, size_t size, double number)
{
    if (isnan(number)) {
        snprintf(text, size, "-");
    } else {
        snprintf(text, size, "%.1f", number);
    }
}

static void print_entry(const struct entry *entry)
{
    char rate[32] = "-";
    char p50[32];
    char p99[32];
    char ratio[64] = "";
    if (entry->rates.count > 0) {
        rate_text(series_median(&entry->rates), rate);
    }
    figure(p50, sizeof(p50), series_median(&entry->p50_us));
    figure(p99, sizeof(p99), series_median(&entry->p99_us));
    if (entry->ratios.count > 0) {
        snprintf(ratio, sizeof(ratio), "%.2f (%.2f to %.2f)", series_median(&entry->ratios),
                 series_minimum(&entry->ratios), series_maximum(&entry->ratios));
    }
    if (entry->state != ENTRY_MEASURED) {
        printf("  %-20s %s: %s\n", entry->name, state_words[entry->state], entry->why);
        return;
    }
    printf("  %-20s %12s %10s %10s   %s\n", entry->name, rate, p50, p99, ratio);
    if (tally_damaged(&entry->counts)) {
        printf("  %-20s of %" PRIu64 ": %" PRIu64 " lost, %" PRIu64 " repeated, %" PRIu64 " out of order, %" PRIu64
               " garbled\n",
               "", entry->counts.sent, entry->counts.lost, entry->counts.repeated, entry->counts.reordered,
               entry->counts.garbled);
    }
}

/* The base's entry under the same load, or NULL. */
static const struct entry *base_of(const struct comparison *comparison, const struct entry *entry)
{
    for (unsigned b = 0; b < comparison->count; b++) {
        const struct entry *base = &comparison->entries[b];
        if (strcmp(base->name, peer_base) == 0 && entry_same_load(base, entry) && base->state == ENTRY_MEASURED) {
            return base;
        }
    }
    return NULL;
}

/* "2.51 (3.1 ×)": how many times the base's it is. */
static void times(char text[48], const char *format, double number, double base)
{
    int length = isnan(number) ? snprintf(text, 48, "-") : snprintf(text, 48, format, number);
    if (length > 0 && length < 48 && base > 0 && !isnan(number)) {
        snprintf(text + length, (size_t) (48 - length), " (%.2f x)", number / base);
    }
}

/* What the reader's process holds, and how often both sides sleep. */
static void print_costs(const struct comparison *comparison)
{
    double mebi = 1024.0 * 1024.0;
    printf("\n%-22s %-20s %18s %18s %22s\n", "", "", "reader's threads", "reader MiB", "sleeps a message");
    for (unsigned i = 0; i < comparison->count; i++) {
        const struct entry *entry = &comparison->entries[i];
        const struct entry *base = base_of(comparison, entry);
        char where[64];
        char text[3][48];
        if (entry->load == NULL || entry->state != ENTRY_MEASURED) {
            continue;
        }
        base = base == entry ? NULL : base;
        times(text[0], "%.0f", (double) entry->threads, base == NULL ? 0 : (double) base->threads);
        times(text[1], "%.1f", series_median(&entry->resident) / mebi,
              base == NULL ? 0 : series_median(&base->resident) / mebi);
        times(text[2], "%.3f", series_median(&entry->waits), base == NULL ? 0 : series_median(&base->waits));
        printf("%-22s %-20s %18s %18s %22s\n", entry_circumstances(comparison, entry, where), entry->name, text[0],
               text[1], text[2]);
    }
}

void comparison_print(const struct comparison *comparison)
{
    const struct entry *before = NULL;
    struct machine machine;
    machine_describe(&machine);
    printf("%s, %u processors (%s)\n", machine.system, machine.processors, machine.processor);
    for (unsigned i = 0; i < comparison->count; i++) {
        const struct entry *entry = &comparison->entries[i];
        bool limit = entry->limit != NULL;
        if (before == NULL || !entry_same_load(before, entry) || limit != (before->limit != NULL)) {
            char head[64];
            if (limit) {
                snprintf(head, sizeof(head), "%zu B, the machine", entry->size);
            } else {
                entry_circumstances(comparison, entry, head);
            }
            printf("\n%-22s %12s %11s %11s   %s carries … times as much\n", head, "messages", "p50 µs", "p99 µs",
                   peer_base);
        }
        print_entry(entry);
        before = entry;
    }
    if (comparison->options.given[OPTION_SLOT_LIST]) {
        print_costs(comparison);
    }
    char each[48];
    if (comparison->options.plan.messages != 0) {
        char count[32];
        snprintf(each, sizeof(each), "%s messages", number_text(comparison->options.plan.messages, count));
    } else {
        snprintf(each, sizeof(each), "%.2f s", comparison->options.seconds);
    }
    printf("\nMedians of %u interleaved repetitions of %s, ratios with their smallest and largest.\n",
           comparison->options.repeat, each);
    if (!comparison->options.no_latency) {
        printf("Latency from when a message was due, at %.0f messages a second.\n", COMPARE_LATENCY_RATE);
    }
    printf("Every message checked: all bytes up to 4 KiB, above that its head and one word in 512 bytes.\n");
}
