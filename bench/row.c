/* row.c: see row.h. */
#include "row.h"

#include <inttypes.h>
#include <string.h>

#include "say.h"

const char *number_text(uint64_t number, char text[32])
{
    char digits[32];
    int length = snprintf(digits, sizeof(digits), "%" PRIu64, number);
    char *to = text;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) {
            *to++ = ',';
        }
        *to++ = digits[i];
    }
    *to = '\0';
    return text;
}

const char *bytes_text(double bytes, char text[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    while (bytes >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        bytes /= 1024;
        unit++;
    }
    snprintf(text, 32, bytes >= 100 || unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
    return text;
}

const char *rate_text(double rate, char text[32])
{
    if (rate >= 1e6) {
        snprintf(text, 32, "%.2f M/s", rate / 1e6);
    } else if (rate >= 1e3) {
        snprintf(text, 32, "%.1f k/s", rate / 1e3);
    } else {
        snprintf(text, 32, "%.1f /s", rate);
    }
    return text;
}

static void sizes_describe(const struct sizes *sizes, char *text, size_t size)
{
    if (sizes->minimum == sizes->maximum) {
        snprintf(text, size, "%zu B", sizes->minimum);
    } else {
        snprintf(text, size, "%zu-%zu B%s", sizes->minimum, sizes->maximum,
                 sizes->kind == SIZES_LIST          ? " by weights"
                 : sizes->kind == SIZES_LOGARITHMIC ? " by logarithm"
                                                    : "");
    }
}

void plan_describe(const struct plan *plan, char *text, size_t size)
{
    char sizes[64];
    char rate[32];
    char extra[160] = "";
    size_t used = 0;
    sizes_describe(&plan->sizes, sizes, sizeof(sizes));
    if (plan->idle > 0) {
        used += (size_t) snprintf(extra + used, sizeof(extra) - used, ", %u idle", plan->idle);
    }
    if (plan->floods > 0) {
        used += (size_t) snprintf(extra + used, sizeof(extra) - used, ", %u of them flooding", plan->floods);
    }
    if (plan->burst > 1) {
        snprintf(extra + used, sizeof(extra) - used, ", %u at once", plan->burst);
    }
    snprintf(text, size, "%u slot%s, %u writer%s%s%s, %s, %s", plan->peer.slots, plan->peer.slots == 1 ? "" : "s",
             plan->writers, plan->writers == 1 ? "" : "s", plan->threads ? " (threads)" : "", extra, sizes,
             plan->rate > 0 ? rate_text(plan->rate, rate) : "as fast as possible");
}

static void print_latency(FILE *stream, const char *name, const struct latency *latency)
{
    char count[32];
    if (latency->count == 0) {
        return;
    }
    fprintf(stream, "  %-10s µs: p50 %.1f, p90 %.1f, p99 %.1f, p99.9 %.1f, max %.1f, mean %.1f (%s messages)\n", name,
            (double) latency->p50 / 1e3, (double) latency->p90 / 1e3, (double) latency->p99 / 1e3,
            (double) latency->p999 / 1e3, (double) latency->maximum / 1e3, latency->mean / 1e3,
            number_text(latency->count, count));
}

static void print_counts(FILE *stream, const struct plan *plan, const struct tally_counts *counts)
{
    char sent[32];
    char received[32];
    fprintf(stream, "  messages   %s sent", number_text(counts->sent, sent));
    if (plan->peer.target[0] != '\0') {
        fprintf(stream, ", all handed over and flushed (what became of them only the slot's owner knows)\n");
    } else if (!tally_damaged(counts)) {
        fprintf(stream, ", all received once, in order, as written\n");
    } else {
        fprintf(stream,
                ", %s received; %" PRIu64 " lost, %" PRIu64 " repeated, %" PRIu64 " out of order, %" PRIu64
                " garbled\n",
                number_text(counts->received, received), counts->lost, counts->repeated, counts->reordered,
                counts->garbled);
    }
}

void run_print(FILE *stream, const char *title, const struct plan *plan, const struct run_result *result)
{
    char text[400];
    char a[32];
    char b[32];
    plan_describe(plan, text, sizeof(text));
    fprintf(stream, "%s%s%s: %s\n", title, *title == '\0' ? "" : ", ", plan->peer_name, text);
    print_counts(stream, plan, &result->counts);
    uint64_t bytes = result->counts.bytes;
    fprintf(stream, "  rate       %s, %s/s, in %.3f s\n", rate_text(result->rate, a),
            bytes_text(result->seconds > 0 ? (double) bytes / result->seconds : 0, b), result->seconds);
    if (result->due > 0 && (double) result->counts.sent < result->due * 0.99) {
        fprintf(stream, "  The rate was not held: %.0f messages were due.\n", result->due);
    }
    print_latency(stream, "latency", &result->latency);
    for (unsigned l = 0; l < plan->peer.levels && plan->peer.levels > 1; l++) {
        char name[32];
        snprintf(name, sizeof(name), "  level %u", l);
        print_latency(stream, name, &result->levels[l]);
    }
    if (result->latency.count > 0) {
        fprintf(stream, "  writers    awoke late by p50 %.1f µs, p99 %.1f µs, which is in the latency; priority: %s\n",
                (double) result->late_p50 / 1e3, (double) result->late_p99 / 1e3,
                punctuality_text(plan->punctual ? result->punctuality : PUNCTUAL_NOT));
    }
    if (!plan->threads && result->counts.sent > 0) {
        fprintf(stream, "  processor  writers %.2f s, reader %.2f s: %.3f µs a message\n",
                (double) result->writer_time / 1e9, (double) result->reader_time / 1e9,
                (double) (result->writer_time + result->reader_time) / 1e3 / (double) result->counts.sent);
    }
    if (result->reader_memory.resident > 0) {
        fprintf(stream, "  memory     %s: %s resident", plan->threads ? "process" : "reader",
                bytes_text((double) result->reader_memory.resident, a));
        if (result->reader_memory.proportional > 0) {
            fprintf(stream, ", %s counting its share of shared pages only",
                    bytes_text((double) result->reader_memory.proportional, b));
        }
        fprintf(stream, "; %" PRIu64 " threads\n", result->reader_memory.threads);
    }
}

void counts_json(struct json *json, const struct tally_counts *counts)
{
    json_count(json, "sent", counts->sent);
    json_count(json, "received", counts->received);
    json_count(json, "lost", counts->lost);
    json_count(json, "repeated", counts->repeated);
    json_count(json, "reordered", counts->reordered);
    json_count(json, "garbled", counts->garbled);
}

void latency_json(struct json *json, const struct latency *latency)
{
    static const char *const keys[] = {"p50_us", "p90_us", "p99_us", "p999_us", "max_us"};
    const uint64_t values[] = {latency->p50, latency->p90, latency->p99, latency->p999, latency->maximum};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (latency->count == 0) {
            json_null(json, keys[i]);
        } else {
            json_real(json, keys[i], (double) values[i] / 1e3);
        }
    }
}

void curve_json(struct json *json, const struct latency *latency)
{
    json_array(json, "curve");
    for (unsigned i = 0; i < LATENCY_CURVE; i++) {
        json_object(json, NULL);
        json_real(json, "percent", latency_percents[i]);
        json_real(json, "us", (double) latency->curve[i] / 1e3);
        json_end_object(json);
    }
    json_end_array(json);
}

void run_json(struct json *json, const struct plan *plan, const struct run_result *result)
{
    json_text(json, "peer", plan->peer_name);
    json_count(json, "size", plan_largest(plan));
    json_count(json, "size_min", plan_smallest(plan));
    json_count(json, "slots", plan->peer.slots);
    json_count(json, "writers", plan->writers);
    json_count(json, "idle", plan->idle);
    json_real(json, "rate", plan->rate);
    json_real(json, "seconds", result->seconds);
    json_real(json, "messages_per_second", result->rate);
    json_real(json, "bytes_per_second", result->seconds > 0 ? (double) result->counts.bytes / result->seconds : 0);
    latency_json(json, &result->latency);
    counts_json(json, &result->counts);
    json_real(json, "writer_seconds", (double) result->writer_time / 1e9);
    json_real(json, "reader_seconds", (double) result->reader_time / 1e9);
    json_real(json, "late_p50_us", (double) result->late_p50 / 1e3);
    json_real(json, "late_p99_us", (double) result->late_p99 / 1e3);
    json_text(json, "writers_priority", punctuality_text(plan->punctual ? result->punctuality : PUNCTUAL_NOT));
    json_count(json, "reader_resident", result->reader_memory.resident);
    if (result->latency.count > 0) {
        curve_json(json, &result->latency);
    }
    if (plan->peer.levels > 1) {
        json_array(json, "levels");
        for (unsigned l = 0; l < plan->peer.levels; l++) {
            json_object(json, NULL);
            json_count(json, "messages", result->levels[l].count);
            latency_json(json, &result->levels[l]);
            json_end_object(json);
        }
        json_end_array(json);
    }
}

void machine_json(struct json *json)
{
    struct machine machine;
    machine_describe(&machine);
    json_object(json, "machine");
    json_text(json, "system", machine.system);
    json_text(json, "processor", machine.processor);
    json_count(json, "processors", machine.processors);
    json_count(json, "memory", machine.memory);
    json_end_object(json);
}

int run_verdict(const struct plan *plan, const struct tally_counts *counts)
{
    if (!tally_damaged(counts)) {
        return BENCH_DONE;
    }
    fail("%s: of %" PRIu64 " messages %" PRIu64 " lost, %" PRIu64 " repeated, %" PRIu64 " out of order, %" PRIu64
         " garbled",
         plan->peer_name, counts->sent, counts->lost, counts->repeated, counts->reordered, counts->garbled);
    return BENCH_DAMAGED;
}
