/* soak.c: load for a long time, and the memory of all its processes over that time.
 *
 * Path    run_execute ► sample, every so often ► what the memory was in each tenth of the time ► verdict
 * I1      Memory is flat when the last tenth's mean is not above that of the third tenth by more than GROWTH_PART and
 *         GROWTH_BYTES both: caches and rings have filled by then.
 */
#include <math.h>
#include <stdio.h>

#include "load.h"
#include "progress.h"
#include "row.h"
#include "say.h"

#define TENTHS       10u
#define FILLED       2u /* the third tenth */
#define GROWTH_PART  0.05
#define GROWTH_BYTES (4.0 * 1024 * 1024)

struct tenth {
    double bytes; /* summed up over the samples */
    unsigned samples;
};

struct soak {
    const struct plan *plan;
    struct tenth tenths[TENTHS];
    double writers; /* bytes, at the latest sample */
    double reader;
};

static double part_of(const struct soak *soak, const struct run_moment *moment)
{
    if (soak->plan->messages != 0) {
        return (double) moment->received / (double) soak->plan->messages;
    }
    return (double) moment->elapsed / (double) soak->plan->duration;
}

/* What is shared counts once: each process's proportional part. */
static double bytes_of(const struct process *process)
{
    struct process_memory memory;
    if (!process_memory(process, &memory)) {
        return 0;
    }
    return (double) (memory.proportional != 0 ? memory.proportional : memory.resident);
}

static void sample(void *context, const struct run_moment *moment)
{
    struct soak *soak = context;
    char text[160];
    char count[32];
    char bytes[32];
    double part = part_of(soak, moment);
    if (moment->phase != RUN_GOING) {
        return;
    }
    soak->reader = bytes_of(moment->reader);
    soak->writers = 0;
    for (unsigned w = 0; !soak->plan->threads && w < moment->writer_count; w++) {
        soak->writers += bytes_of(&moment->writers[w]);
    }
    if (part < 1) {
        struct tenth *tenth = &soak->tenths[(unsigned) (part * TENTHS)];
        tenth->bytes += soak->reader + soak->writers;
        tenth->samples++;
    }
    snprintf(text, sizeof(text), "%s messages, %s in all processes", number_text(moment->received, count),
             bytes_text(soak->reader + soak->writers, bytes));
    progress_show(part * load_seconds(soak->plan), text);
}

static double tenth_mean(const struct soak *soak, unsigned tenth)
{
    return soak->tenths[tenth].samples == 0 ? NAN : soak->tenths[tenth].bytes / soak->tenths[tenth].samples;
}

static bool has_grown(const struct soak *soak)
{
    double filled = tenth_mean(soak, FILLED);
    double last = tenth_mean(soak, TENTHS - 1);
    return last - filled > GROWTH_BYTES && last > filled * (1 + GROWTH_PART);
}

static void report(const struct options *options, const struct soak *soak, const struct run_result *result)
{
    char text[32];
    if (!options->json) {
        run_print(stdout, "soak", soak->plan, result);
        printf("  memory     of all processes in each tenth of the time, MiB:");
        for (unsigned i = 0; i < TENTHS; i++) {
            if (soak->tenths[i].samples > 0) {
                printf(" %.1f", tenth_mean(soak, i) / 1048576);
            } else {
                printf(" -");
            }
        }
        printf("\n             reader %s", bytes_text(soak->reader, text));
        printf(", writers %s at the end: %s\n", bytes_text(soak->writers, text), has_grown(soak) ? "it grew" : "flat");
        return;
    }
    struct json json = {.stream = stdout};
    json_object(&json, NULL);
    json_text(&json, "command", "soak");
    machine_json(&json);
    json_array(&json, "rows");
    json_object(&json, NULL);
    run_json(&json, soak->plan, result);
    json_array(&json, "memory_tenths");
    for (unsigned i = 0; i < TENTHS; i++) {
        json_real(&json, NULL, tenth_mean(soak, i));
    }
    json_end_array(&json);
    json_bool(&json, "grew", has_grown(soak));
    json_end_object(&json);
    json_end_array(&json);
    json_end_object(&json);
}

static int run_soak(int argc, char **argv)
{
    struct options options;
    struct load_peer load;
    struct run_result result;
    struct soak soak = {0};
    options_default(&options);
    options.plan.duration = UINT64_C(60000000000);
    options.plan.writers = 4;
    options.plan.peer.slots = 4;
    options_sizes("64:90,1024:9,65536:1", &options.plan.sizes);
    options_mix("99,1", options.plan.mix);
    int code = options_read(&command_soak, argc, argv, &options);
    if (code < 0) {
        code = options_complete(&command_soak, &options);
    }
    if (code >= 0) {
        return code;
    }
    int status = load_begin(&load, peer_find(options.plan.peer_name));
    if (status != MR_OK) {
        fail_status(status, options.plan.peer_name);
        load_end(&load);
        return BENCH_ERROR;
    }
    soak.plan = &options.plan;
    /* Looking at 500 processes takes its time: a hundred looks in all, one a second at most. */
    uint64_t every = options.plan.messages != 0 ? UINT64_C(250000000) : options.plan.duration / 100;
    struct run_watch watch = {sample, &soak, every > UINT64_C(1000000000) ? UINT64_C(1000000000) : every};
    if (watch.every < UINT64_C(20000000)) {
        watch.every = UINT64_C(20000000);
    }
    progress_begin(load_seconds(&options.plan));
    code = load_run(&load, &options.plan, &watch, &result);
    progress_clear();
    if (code < 0) {
        report(&options, &soak, &result);
        code = run_verdict(&options.plan, &result.counts);
        if (has_grown(&soak)) {
            fail("the memory grew from %.1f MiB in the third tenth of the time to %.1f MiB in the last",
                 tenth_mean(&soak, FILLED) / 1048576, tenth_mean(&soak, TENTHS - 1) / 1048576);
            code = code == BENCH_DONE ? BENCH_GREW : code;
        }
    }
    load_end(&load);
    return code;
}

const struct command command_soak = {
    "soak", "load for a long time: nothing lost, and the memory flat",
    "usage: mailroom-bench soak [options]\n"
    "\n"
    "Sends for --duration (default 60 seconds) and looks meanwhile at the memory of all processes, shared pages\n"
    "counted once. It has grown where the last tenth of the time has 5 % and 4 MiB more than the third tenth: then\n"
    "the exit code is 6. Defaults: 4 slots, 4 writers, sizes 64:90,1024:9,65536:1, one urgent message in a hundred.\n",
    LOAD_OPTIONS | OPTION_BIT(OPTION_EVERY) | OPTION_BIT(OPTION_BURST), run_soak};
