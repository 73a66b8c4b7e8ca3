/* compare.c: Mailroom beside other ways of sending messages, in one interleaved run.
 *
 * Path    options ► entries (size × slots × writers × peer) ► repetition 1: every entry once, in turn; repetition 2 … ►
 *         medians, ratios, spreads ► compare_report.c: table | JSON ► plots
 * I1      A ratio is of two runs of the same repetition, which are seconds apart: what changes on the machine from one
 *         minute to the next changes both.
 * I2      Every peer that was asked for has its entries. One that is missing, or cannot do this, or whose run fails, says
 *         why in its row, and is not run (again); all others go on.
 */
#include "compare.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "progress.h"
#include "queue/memory.h"
#include "queue/thread.h"
#include "row.h"
#include "say.h"

#define QUICK_SECONDS  0.25
#define QUICK_REPEAT   3u
#define QUICK_DEADLINE UINT64_C(150000000000)
#define LIMIT_SECONDS  0.2
#define OVERHEAD       0.05 /* of starting and ending a run, seconds */

/* ------------------------------------------------------------------------------------------------ what to measure */

static bool is_chosen(const struct options *options, const char *name)
{
    for (unsigned i = 0; i < options->name_count; i++) {
        if (strcmp(options->names[i], name) == 0) {
            return true;
        }
    }
    return options->name_count == 0;
}

static struct entry *add_entry(struct comparison *comparison, const char *name, size_t size, unsigned slots,
                               unsigned writers)
{
    struct entry *entry = &comparison->entries[comparison->count++];
    *entry = (struct entry){.name = name, .size = size, .slots = slots, .writers = writers};
    return entry;
}

/* It is not measured (any more), and why. */
PRINTF_FORMAT(3, 4)
static void entry_give_up(struct entry *entry, enum entry_state state, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(entry->why, sizeof(entry->why), format, arguments);
    va_end(arguments);
    entry->state = state;
}

/* Starts what the peer needs. */
static void add_peer(struct comparison *comparison, const struct peer *peer)
{
    struct load_peer *load = &comparison->loads[comparison->load_count];
    char *missing = comparison->missing[comparison->load_count++];
    if (peer->missing != NULL) {
        snprintf(missing, sizeof(comparison->missing[0]), "%s", peer->missing);
    } else if (load_begin(load, peer) != MR_OK) {
        snprintf(missing, sizeof(comparison->missing[0]), "%s", mr_last_error_text());
        load_end(load);
    }
    load->peer = peer;
    if (*missing != '\0') {
        remark("without %s: %s", peer->name, missing);
    }
}

static void add_peers(struct comparison *comparison, size_t size, unsigned slots, unsigned writers)
{
    for (unsigned p = 0; p < comparison->load_count; p++) {
        const struct peer *peer = comparison->loads[p].peer;
        struct entry *entry = add_entry(comparison, peer->name, size, slots, writers);
        entry->load = &comparison->loads[p];
        if (comparison->missing[p][0] != '\0') {
            entry_give_up(entry, ENTRY_MISSING, "%s", comparison->missing[p]);
        } else if (peer->size_max != 0 && size > peer->size_max) {
            entry_give_up(entry, ENTRY_UNABLE, "it takes messages of up to %zu bytes", peer->size_max);
        } else if (peer->slots_max != 0 && slots > peer->slots_max) {
            entry_give_up(entry, ENTRY_UNABLE, "it has %u slots at most", peer->slots_max);
        }
    }
}

static void add_size(struct comparison *comparison, size_t size)
{
    const struct options *options = &comparison->options;
    for (unsigned s = 0; s < options->slot_count; s++) {
        for (unsigned w = 0; w < options->writer_count; w++) {
            add_peers(comparison, size, options->slots[s], options->writers[w]);
        }
    }
    for (size_t l = 0; l < limit_count; l++) {
        if (is_chosen(options, limits[l]->name) && (limits[l]->sized || size == options->sizes[0])) {
            struct entry *entry = add_entry(comparison, limits[l]->name, size, 1, 1);
            entry->limit = limits[l];
            if (limits[l]->missing != NULL) {
                entry_give_up(entry, ENTRY_MISSING, "%s", limits[l]->missing);
            }
        }
    }
}

static int comparison_open(struct comparison *comparison)
{
    const struct options *options = &comparison->options;
    size_t most = (size_t) options->size_count *
                  ((size_t) options->slot_count * options->writer_count * peer_count + limit_count);
    comparison->entries = memory_calloc(most, sizeof(*comparison->entries));
    if (comparison->entries == NULL || peer_count > OPTIONS_LIST_MAX) {
        return fail("out of memory");
    }
    for (size_t p = 0; p < peer_count; p++) {
        if (is_chosen(options, peers[p]->name)) {
            add_peer(comparison, peers[p]);
        }
    }
    for (unsigned s = 0; s < options->size_count; s++) {
        add_size(comparison, options->sizes[s]);
    }
    for (unsigned i = 0; i < comparison->count; i++) {
        if (comparison->entries[i].state == ENTRY_MEASURED) {
            return -1;
        }
    }
    return fail("nothing of this can be measured");
}

static void comparison_close(struct comparison *comparison)
{
    for (unsigned i = 0; i < comparison->count; i++) {
        series_free(&comparison->entries[i].rates);
        series_free(&comparison->entries[i].ratios);
        series_free(&comparison->entries[i].p50_us);
        series_free(&comparison->entries[i].p99_us);
        series_free(&comparison->entries[i].resident);
        series_free(&comparison->entries[i].waits);
    }
    memory_free(comparison->entries);
    while (comparison->load_count > 0) {
        load_end(&comparison->loads[--comparison->load_count]);
    }
}

/* ------------------------------------------------------------------------------------------------ measuring */

static void plan_entry(const struct comparison *comparison, const struct entry *entry, struct plan *plan)
{
    *plan = comparison->options.plan;
    snprintf(plan->peer_name, sizeof(plan->peer_name), "%s", entry->name);
    plan->writers = entry->writers;
    plan->peer.slots = entry->slots;
    plan->sizes = (struct sizes){.kind = SIZES_EVEN, .minimum = entry->size, .maximum = entry->size};
    plan->check = entry->size > COMPARE_CHECK_ALL ? MESSAGE_MARKS : MESSAGE_ALL;
}

/* What a run flat out took besides time. */
static void take_costs(struct entry *entry, const struct run_result *result)
{
    if (result->reader_memory.resident > 0) {
        series_add(&entry->resident, (double) result->reader_memory.resident);
        entry->threads = result->reader_memory.threads;
    }
    if (result->reader_waits > 0 && result->writer_waits > 0 && result->counts.received > 0) {
        series_add(&entry->waits,
                   (double) (result->reader_waits + result->writer_waits) / (double) result->counts.received);
    }
}

/* One run of a peer. MR_OK; MR_E_STOPPED; otherwise the entry has failed, and says why. */
static int measure_peer(struct comparison *comparison, struct entry *entry, bool latency)
{
    struct plan plan;
    struct run_result result = {0};
    const char *parent = bench_directory();
    plan_entry(comparison, entry, &plan);
    plan.rate = latency ? COMPARE_LATENCY_RATE : 0;
    plan.messages = latency ? 0 : comparison->options.plan.messages;
    plan.duration = plan.messages != 0
                        ? 0
                        : (uint64_t) ((latency ? comparison->latency_seconds : comparison->options.seconds) * 1e9);
    memcpy(plan.peer.address, entry->load->address, sizeof(plan.peer.address));
    const char *wrong = plan_complete(&plan);
    int status = wrong != NULL || parent == NULL
                     ? status_fail(MR_E_ARGUMENT, 0, "%s", wrong == NULL ? "no folder" : wrong)
                     : run_execute(&plan, parent, NULL, &result);
    if (status != MR_OK) {
        bool unable = status == MR_E_TOO_BIG || status == MR_E_UNSUPPORTED;
        entry_give_up(entry, unable ? ENTRY_UNABLE : ENTRY_FAILED, "%s", mr_last_error_text());
        return status;
    }
    tally_add(&entry->counts, &result.counts);
    if (latency) {
        entry->latency = result.latency;
        series_add(&entry->p50_us, (double) result.latency.p50 / 1e3);
        series_add(&entry->p99_us, (double) result.latency.p99 / 1e3);
    } else {
        entry->rate_now = result.rate;
        series_add(&entry->rates, result.rate);
        take_costs(entry, &result);
    }
    return MR_OK;
}

static int measure_limit(struct entry *entry, uint64_t lead)
{
    struct limit_result result = {0};
    int status = run_limit(entry->name, entry->size, LIMIT_SECONDS, lead, &result);
    if (status != MR_OK) {
        entry_give_up(entry, ENTRY_FAILED, "%s", mr_last_error_text());
        return status;
    }
    if (result.messages_per_second > 0) {
        entry->rate_now = result.messages_per_second;
        series_add(&entry->rates, result.messages_per_second);
    }
    if (result.p50_us > 0) {
        series_add(&entry->p50_us, result.p50_us);
        series_add(&entry->p99_us, result.p99_us);
    }
    return MR_OK;
}

static void show(struct comparison *comparison, const struct entry *entry, const char *what)
{
    char text[128];
    char where[64];
    snprintf(text, sizeof(text), "%s, %s%s", entry->name, entry_circumstances(comparison, entry, where), what);
    progress_show((double) comparison->step++, text);
}

/* Ratios of the repetition that has just ended: each entry against the base's under the same load. */
static void take_ratios(struct comparison *comparison)
{
    for (unsigned i = 0; i < comparison->count; i++) {
        struct entry *entry = &comparison->entries[i];
        for (unsigned b = 0; b < comparison->count && entry->rate_now > 0; b++) {
            const struct entry *base = &comparison->entries[b];
            if (strcmp(base->name, peer_base) == 0 && entry_same_load(base, entry) && base->rate_now > 0) {
                series_add(&entry->ratios, base->rate_now / entry->rate_now);
            }
        }
    }
    for (unsigned i = 0; i < comparison->count; i++) {
        comparison->entries[i].rate_now = 0;
    }
}

/* MR_OK; MR_E_STOPPED; MR_E_TIMEOUT where the time is up. */
static int repetition(struct comparison *comparison, unsigned number)
{
    const struct options *options = &comparison->options;
    bool latencies = !options->no_latency && (number == 0 || !options->quick);
    for (unsigned i = 0; i < comparison->count; i++) {
        struct entry *entry = &comparison->entries[i];
        if (number > 0 && clock_now() > comparison->deadline) {
            return MR_E_TIMEOUT;
        }
        if (entry->state != ENTRY_MEASURED) {
            continue;
        }
        show(comparison, entry, "");
        int status = entry->load == NULL ? measure_limit(entry, comparison->options.plan.lead)
                                         : measure_peer(comparison, entry, false);
        if (status == MR_OK && entry->load != NULL && latencies) {
            show(comparison, entry, ", latency");
            status = measure_peer(comparison, entry, true);
        }
        if (process_interrupted()) {
            return MR_E_STOPPED;
        }
        if (status != MR_OK) {
            char where[64];
            remark("%s, %s: %s", entry->name, entry_circumstances(comparison, entry, where), entry->why);
        }
    }
    return MR_OK;
}

static int measure_all(struct comparison *comparison)
{
    const struct options *options = &comparison->options;
    unsigned runs = 0;
    for (unsigned i = 0; i < comparison->count; i++) {
        const struct entry *entry = &comparison->entries[i];
        if (entry->state == ENTRY_MEASURED) {
            bool latencies = entry->load != NULL && !options->no_latency;
            runs += options->repeat + (!latencies ? 0 : options->quick ? 1 : options->repeat);
        }
    }
    comparison->steps = runs;
    progress_begin((double) runs);
    comparison->begun = clock_now();
    comparison->deadline = options->quick ? comparison->begun + QUICK_DEADLINE : CLOCK_NEVER;
    for (unsigned r = 0; r < options->repeat; r++) {
        int status = repetition(comparison, r);
        take_ratios(comparison);
        if (status == MR_E_STOPPED) {
            return fail("ended by a signal");
        }
        if (status == MR_E_TIMEOUT) {
            remark("the time was up in repetition %u of %u", r + 1, options->repeat);
            break;
        }
    }
    progress_clear();
    return -1;
}

/* ------------------------------------------------------------------------------------------------ the command */

/* A peer that may drop by its own rules is shown, and is not the run's failure. */
static int verdict(const struct comparison *comparison)
{
    int code = BENCH_DONE;
    for (unsigned i = 0; i < comparison->count; i++) {
        const struct entry *entry = &comparison->entries[i];
        if (entry->state == ENTRY_FAILED && code == BENCH_DONE) {
            code = BENCH_ERROR;
        }
        if (!tally_damaged(&entry->counts)) {
            continue;
        }
        if (entry->load != NULL && entry->load->peer->lossy && entry->counts.garbled == 0) {
            char where[64];
            remark("%s, %s: %" PRIu64 " of %" PRIu64 " messages lost, as its rules allow", entry->name,
                   entry_circumstances(comparison, entry, where), entry->counts.lost, entry->counts.sent);
            continue;
        }
        struct plan plan;
        plan_entry(comparison, entry, &plan);
        run_verdict(&plan, &entry->counts);
        code = BENCH_DAMAGED;
    }
    return code;
}

static int compare_read(struct options *options, int argc, char **argv)
{
    static const size_t sizes[] = {64, 1024, 65536};
    static const unsigned writers[] = {1, 8};
    options_default(options);
    memcpy(options->sizes, sizes, sizeof(sizes));
    memcpy(options->writers, writers, sizeof(writers));
    options->size_count = 3;
    options->writer_count = 2;
    options->slots[0] = 1;
    options->slot_count = 1;
    int code = options_read(&command_compare, argc, argv, options);
    if (code < 0 && options->quick) {
        options->seconds = options->given[OPTION_SECONDS] ? options->seconds : QUICK_SECONDS;
        options->repeat = options->given[OPTION_REPEAT] ? options->repeat : QUICK_REPEAT;
    }
    return code;
}

static int run_compare(int argc, char **argv)
{
    struct comparison comparison = {.count = 0};
    int code = compare_read(&comparison.options, argc, argv);
    if (code >= 0) {
        return code;
    }
    comparison.latency_seconds = comparison.options.seconds < 0.5 ? comparison.options.seconds : 0.5;
    code = comparison_open(&comparison);
    if (code < 0) {
        code = measure_all(&comparison);
    }
    if (code < 0) {
        if (comparison.options.json) {
            comparison_json(&comparison, stdout);
        } else {
            comparison_print(&comparison);
        }
        code = verdict(&comparison);
        if (comparison.options.plot != NULL && plot_comparison(&comparison, comparison.options.plot) != BENCH_DONE) {
            code = code == BENCH_DONE ? BENCH_ERROR : code;
        }
    }
    comparison_close(&comparison);
    return code;
}

const struct command command_compare = {
    "compare", "Mailroom beside other ways of sending messages, in one run",
    "usage: mailroom-bench compare [options]\n"
    "\n"
    "Measures every peer with every size and number of writers: the rate flat out, and the latency at 2,000 messages\n"
    "a second (see latency --help). Repetitions are interleaved; figures are medians; the ratio is the rate of\n"
    "Mailroom's best lane here to the peer's in the same repetition, with its smallest and largest. Messages above\n"
    "4 KiB are checked by head and marks. A peer that is missing here, or cannot do this, has its row with the reason.\n"
    "Defaults: 5 repetitions of 1 second; with --quick 3 of 0.25 seconds, latency in the first only.\n",
    OPTION_BIT(OPTION_QUICK) | OPTION_BIT(OPTION_SIZES) | OPTION_BIT(OPTION_SLOT_LIST) |
        OPTION_BIT(OPTION_WRITER_LIST) | OPTION_BIT(OPTION_PEERS) | OPTION_BIT(OPTION_SECONDS) |
        OPTION_BIT(OPTION_REPEAT) | OPTION_BIT(OPTION_JSON) | OPTION_BIT(OPTION_PLOT) | OPTION_BIT(OPTION_THREADS) |
        OPTION_BIT(OPTION_MESSAGES) | OPTION_BIT(OPTION_NO_LATENCY) | OPTION_BIT(OPTION_WORKERS) |
        OPTION_BIT(OPTION_DEPTH) | OPTION_BIT(OPTION_RING_BYTES) | OPTION_BIT(OPTION_SETTLE) | OPTION_BIT(OPTION_LEAD) |
        OPTION_BIT(OPTION_EVERY),
    run_compare};
