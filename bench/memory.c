/* memory.c: what slots and writers take in memory, idle and after messages.
 *
 * Path    for each number of slots: run_execute with one connection to each ► look when all are connected, and when all
 *         has been counted ► a row; and once more with idle writers at one slot
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "load.h"
#include "progress.h"
#include "row.h"
#include "say.h"

#define MESSAGES_A_SLOT 100u
#define IDLE_WRITERS    1000u

struct memory_row {
    unsigned slots;
    unsigned writers; /* connections, idle ones too */
    struct process_memory idle_reader;
    struct process_memory busy_reader;
    uint64_t idle_writers; /* bytes of all writing processes, shared pages in part */
    uint64_t busy_writers;
    struct tally_counts counts;
};

static uint64_t share_of(const struct process *processes, unsigned count)
{
    uint64_t sum = 0;
    struct process_memory memory;
    for (unsigned i = 0; i < count; i++) {
        if (process_memory(&processes[i], &memory)) {
            sum += memory.proportional != 0 ? memory.proportional : memory.resident;
        }
    }
    return sum;
}

static void look(void *context, const struct run_moment *moment)
{
    struct memory_row *row = context;
    if (moment->phase == RUN_CONNECTED) {
        process_memory(moment->reader, &row->idle_reader);
        row->idle_writers = share_of(moment->writers, moment->writer_count);
    } else if (moment->phase == RUN_COUNTED) {
        process_memory(moment->reader, &row->busy_reader);
        row->busy_writers = share_of(moment->writers, moment->writer_count);
    }
}

static int measure(const struct load_peer *load, const struct options *options, unsigned slots, unsigned idle,
                   struct memory_row *row)
{
    struct plan plan = options->plan;
    struct run_result result = {0};
    struct run_watch watch = {look, row, 0};
    plan.peer.slots = slots;
    plan.writers = 1;
    plan.idle = idle;
    plan.rate = 0;
    plan.duration = 0;
    plan.messages = (uint64_t) slots * MESSAGES_A_SLOT;
    const char *wrong = plan_complete(&plan);
    if (wrong != NULL) {
        return fail_usage("memory", "%s", wrong);
    }
    *row = (struct memory_row){.slots = slots, .writers = plan.peer.connections};
    int code = load_run(load, &plan, &watch, &result);
    row->counts = result.counts;
    return code < 0 && run_verdict(&plan, &result.counts) != BENCH_DONE ? BENCH_DAMAGED : code;
}

static void print_rows(const struct memory_row *rows, unsigned count)
{
    char text[6][32];
    printf("%8s %8s  %12s %12s  %12s %12s  %8s\n", "slots", "writers", "reader idle", "after", "writers idle", "after",
           "threads");
    for (unsigned i = 0; i < count; i++) {
        const struct memory_row *row = &rows[i];
        printf("%8u %8u  %12s %12s  %12s %12s  %8" PRIu64 "\n", row->slots, row->writers,
               bytes_text((double) row->idle_reader.resident, text[0]),
               bytes_text((double) row->busy_reader.resident, text[1]), bytes_text((double) row->idle_writers, text[2]),
               bytes_text((double) row->busy_writers, text[3]), row->busy_reader.threads);
    }
    printf("The reader: all that is resident. The writers: one process, shared pages counted in part.\n");
}

/* What one slot with its writer takes, from the first row and the last of those that grow by slots. */
static void print_each(const struct memory_row *rows, unsigned slot_rows)
{
    const struct memory_row *low = &rows[0];
    const struct memory_row *high = &rows[slot_rows - 1];
    const struct memory_row *many = &rows[slot_rows];
    char text[4][32];
    if (high->slots > low->slots) {
        double slots = (double) (high->slots - low->slots);
        printf("Each slot with its writer: reader %s idle, %s after messages; writer %s idle, %s after.\n",
               bytes_text(((double) high->idle_reader.resident - (double) low->idle_reader.resident) / slots, text[0]),
               bytes_text(((double) high->busy_reader.resident - (double) low->busy_reader.resident) / slots, text[1]),
               bytes_text(((double) high->idle_writers - (double) low->idle_writers) / slots, text[2]),
               bytes_text(((double) high->busy_writers - (double) low->busy_writers) / slots, text[3]));
    }
    if (low->slots == 1) {
        double writers = (double) (many->writers - low->writers);
        printf(
            "Each idle writer at one slot: reader %s, writer %s.\n",
            bytes_text(((double) many->idle_reader.resident - (double) low->idle_reader.resident) / writers, text[0]),
            bytes_text(((double) many->idle_writers - (double) low->idle_writers) / writers, text[1]));
    }
}

static void print_json(const struct options *options, const struct memory_row *rows, unsigned count)
{
    struct json json = {.stream = stdout};
    json_object(&json, NULL);
    json_text(&json, "command", "memory");
    machine_json(&json);
    json_array(&json, "rows");
    for (unsigned i = 0; i < count; i++) {
        json_object(&json, NULL);
        json_text(&json, "peer", options->plan.peer_name);
        json_count(&json, "slots", rows[i].slots);
        json_count(&json, "writers", rows[i].writers);
        json_count(&json, "reader_idle_resident", rows[i].idle_reader.resident);
        json_count(&json, "reader_busy_resident", rows[i].busy_reader.resident);
        json_count(&json, "writers_idle_share", rows[i].idle_writers);
        json_count(&json, "writers_busy_share", rows[i].busy_writers);
        json_count(&json, "reader_threads", rows[i].busy_reader.threads);
        counts_json(&json, &rows[i].counts);
        json_end_object(&json);
    }
    json_end_array(&json);
    json_end_object(&json);
}

static int measure_all(const struct load_peer *load, const struct options *options, struct memory_row *rows)
{
    unsigned count = options->slot_count;
    progress_begin((double) count + 1);
    for (unsigned i = 0; i <= count; i++) {
        char text[64];
        unsigned slots = i < count ? options->slots[i] : 1;
        snprintf(text, sizeof(text), i < count ? "%u slots" : "%u slot with idle writers", slots);
        progress_show((double) i, text);
        int code = measure(load, options, slots, i < count ? 0 : options->plan.idle, &rows[i]);
        if (code >= 0) {
            return code;
        }
    }
    progress_clear();
    return -1;
}

static int run_memory(int argc, char **argv)
{
    static const unsigned slots[] = {1, 10, 100, 500};
    struct options options;
    struct load_peer load;
    struct memory_row rows[OPTIONS_LIST_MAX + 1] = {{.slots = 0}};
    options_default(&options);
    options.plan.idle = IDLE_WRITERS;
    memcpy(options.slots, slots, sizeof(slots));
    options.slot_count = sizeof(slots) / sizeof(slots[0]);
    int code = options_read(&command_memory, argc, argv, &options);
    if (code < 0) {
        code = options_complete(&command_memory, &options);
    }
    if (code < 0 && options.plan.threads) {
        code = fail_usage("memory", "reader and writers cannot be told apart in one process");
    }
    if (code >= 0) {
        return code;
    }
    int status = load_begin(&load, peer_find(options.plan.peer_name));
    code = status == MR_OK ? measure_all(&load, &options, rows) : fail_status(status, options.plan.peer_name);
    if (code < 0) {
        code = BENCH_DONE;
        if (options.json) {
            print_json(&options, rows, options.slot_count + 1);
        } else {
            print_rows(rows, options.slot_count + 1);
            print_each(rows, options.slot_count);
        }
    }
    load_end(&load);
    return code;
}

const struct command command_memory = {
    "memory", "what slots and writers take in memory",
    "usage: mailroom-bench memory [options]\n"
    "\n"
    "One writing process connects to every slot, once; the memory of reader and writers is taken when all are\n"
    "connected, and again after 100 messages to each slot. At last one slot with --idle further writers (default\n"
    "1,000).\n",
    OPTION_BIT(OPTION_SLOT_LIST) | OPTION_BIT(OPTION_SIZE) | OPTION_BIT(OPTION_LANE) | OPTION_BIT(OPTION_PEER) |
        OPTION_BIT(OPTION_WORKERS) | OPTION_BIT(OPTION_DEPTH) | OPTION_BIT(OPTION_RING_BYTES) |
        OPTION_BIT(OPTION_IDLE) | OPTION_BIT(OPTION_JSON),
    run_memory};
