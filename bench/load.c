/* load.c: the commands that put load on one peer and report it: throughput, latency, fan-in, burst.
 *
 * Path    options ► plan ► run_execute, once or more ► lines or JSON on standard output ► verdict
 */
#include "load.h"

#include <stdio.h>
#include <string.h>

#include "progress.h"
#include "queue/thread.h"
#include "row.h"
#include "say.h"

#define IDLE_RATE   1000.0
#define IDLE_LEAST  10.0
#define PROBE_NANOS UINT64_C(500000000)

int load_begin(struct load_peer *load, const struct peer *peer)
{
    *load = (struct load_peer){.peer = peer};
    const char *parent = bench_directory();
    if (parent == NULL) {
        return MR_E_SYSTEM;
    }
    if (peer->service_start == NULL) {
        return MR_OK;
    }
    int status = directory_make_in(parent, peer->name, load->directory);
    return status == MR_OK ? peer->service_start(&load->service, load->directory, load->address) : status;
}

void load_end(struct load_peer *load)
{
    if (load->service != NULL) {
        load->peer->service_stop(load->service);
    }
    if (load->directory[0] != '\0') {
        directory_remove(load->directory);
    }
    *load = (struct load_peer){0};
}

double load_seconds(const struct plan *plan)
{
    return (plan->messages != 0 ? 5 : (double) plan->duration / 1e9) + 0.05;
}

int load_run(const struct load_peer *load, struct plan *plan, const struct run_watch *watch, struct run_result *result)
{
    const char *parent = bench_directory();
    if (parent == NULL) {
        return BENCH_ERROR;
    }
    memcpy(plan->peer.address, load->address, sizeof(plan->peer.address));
    int status = run_execute(plan, parent, watch, result);
    if (status == MR_OK) {
        return -1;
    }
    int code = fail_status(status, NULL);
    return plan->peer.target[0] != '\0' ? code
                                        : BENCH_ERROR; /* a slot of the run's own that is not there is another matter */
}

/* ---------------------------------------------------------------------------------------- runs of one command */

#define PARTS_MAX 3u

/* A command's runs: a few plans, carried out one after the other. */
struct part {
    const char *name; /* in the report; "" for a command's only run */
    struct plan plan;
    struct run_result result;
    bool versus;  /* its rate is compared with the first part's */
    double ratio; /* 0: none */
};

struct bar {
    const struct part *part;
    double before; /* seconds of the parts before */
};

static void draw(void *context, const struct run_moment *moment)
{
    const struct bar *now = context;
    char text[128];
    char count[32];
    double done = (double) moment->elapsed / 1e9;
    double whole = load_seconds(&now->part->plan);
    snprintf(text, sizeof(text), "%s%s%s, %s messages", now->part->plan.peer_name,
             now->part->name[0] == '\0' ? "" : ", ", now->part->name, number_text(moment->received, count));
    if (now->part->plan.messages != 0 && moment->received != 0) {
        done = whole * (double) moment->received / (double) now->part->plan.messages;
    }
    progress_show(now->before + (done > whole ? whole : done), text);
}

static int part_run(const struct load_peer *load, struct part *part, double before)
{
    struct bar now = {part, before};
    struct run_watch watch = {draw, &now, progress_shown() ? UINT64_C(200000000) : 0};
    return load_run(load, &part->plan, progress_shown() ? &watch : NULL, &part->result);
}

static void parts_report(const struct command *command, const struct options *options, struct part *parts,
                         unsigned count)
{
    progress_clear();
    if (!options->json) {
        for (unsigned i = 0; i < count; i++) {
            run_print(stdout, parts[i].name, &parts[i].plan, &parts[i].result);
            if (parts[i].ratio > 0) {
                printf("  ratio      %.2f of %s\n", parts[i].ratio, parts[0].name);
            }
        }
        return;
    }
    struct json json = {.stream = stdout};
    json_object(&json, NULL);
    json_text(&json, "command", command->name);
    machine_json(&json);
    json_array(&json, "rows");
    for (unsigned i = 0; i < count; i++) {
        json_object(&json, NULL);
        if (parts[i].name[0] != '\0') {
            json_text(&json, "part", parts[i].name);
        }
        run_json(&json, &parts[i].plan, &parts[i].result);
        if (parts[i].ratio > 0) {
            json_real(&json, "ratio", parts[i].ratio);
        }
        json_end_object(&json);
    }
    json_end_array(&json);
    json_end_object(&json);
}

static int parts_verdict(const struct part *parts, unsigned count)
{
    int code = BENCH_DONE;
    for (unsigned i = 0; i < count; i++) {
        if (run_verdict(&parts[i].plan, &parts[i].result.counts) != BENCH_DONE) {
            code = BENCH_DAMAGED;
        }
    }
    return code;
}

/* Reads the options into the first part, and starts the peer's service. -1: go on. */
static int command_begin(const struct command *command, int argc, char **argv, struct options *options,
                         struct load_peer *load)
{
    int code = options_read(command, argc, argv, options);
    if (code < 0) {
        code = options_complete(command, options);
    }
    if (code >= 0) {
        return code;
    }
    int status = load_begin(load, peer_find(options->plan.peer_name));
    if (status != MR_OK) {
        fail_status(status, options->plan.peer_name);
        load_end(load);
        return BENCH_ERROR;
    }
    return -1;
}

/* Runs the parts as they are, each once, and reports. */
static int parts_run(const struct command *command, const struct options *options, const struct load_peer *load,
                     struct part *parts, unsigned count)
{
    double all = 0;
    double before = 0;
    for (unsigned i = 0; i < count; i++) {
        all += load_seconds(&parts[i].plan);
    }
    progress_begin(all);
    for (unsigned i = 0; i < count; i++) {
        int code = part_run(load, &parts[i], before);
        if (code >= 0) {
            return code;
        }
        before += load_seconds(&parts[i].plan);
        if (parts[i].versus && parts[0].result.rate > 0) {
            parts[i].ratio = parts[i].result.rate / parts[0].result.rate;
        }
    }
    parts_report(command, options, parts, count);
    return parts_verdict(parts, count);
}

/* ------------------------------------------------------------------------------------------------ throughput, burst */

static int run_throughput(int argc, char **argv)
{
    struct options options;
    struct load_peer load;
    struct part part = {.name = ""};
    options_default(&options);
    int code = command_begin(&command_throughput, argc, argv, &options, &load);
    if (code >= 0) {
        return code;
    }
    part.plan = options.plan;
    code = parts_run(&command_throughput, &options, &load, &part, 1);
    load_end(&load);
    return code;
}

const struct command command_throughput = {
    "throughput", "how many messages a second, or whether a stated rate is held",
    "usage: mailroom-bench throughput [options]\n"
    "\n"
    "Writers send, one reader hosts the slots, receives and checks. S slots are shared out among W writers: with more\n"
    "writers than slots several write to one, with fewer each serves several in turn; --every connects each with all.\n"
    "The rate is of messages received and checked, from the common start to the last one. With --rate the latency is\n"
    "reported too, from when each message was due (see latency --help).\n",
    LOAD_OPTIONS | OPTION_BIT(OPTION_TARGET) | OPTION_BIT(OPTION_EVERY) | OPTION_BIT(OPTION_FLOODS) |
        OPTION_BIT(OPTION_PUNCTUAL) | OPTION_BIT(OPTION_BURST),
    run_throughput};

static int run_burst(int argc, char **argv)
{
    struct options options;
    struct load_peer load;
    struct part part = {.name = ""};
    options_default(&options);
    options.plan.writers = 8;
    options.plan.burst = 1000;
    options.plan.duration *= 2;
    options.plan.rate = 1; /* for the checks that depend on there being one */
    int code = command_begin(&command_burst, argc, argv, &options, &load);
    if (code >= 0) {
        return code;
    }
    part.plan = options.plan;
    if (!options.given[OPTION_RATE]) {
        part.plan.rate = 10.0 * part.plan.burst * part.plan.writers;
    }
    code = parts_run(&command_burst, &options, &load, &part, 1);
    load_end(&load);
    return code;
}

const struct command command_burst = {
    "burst", "many messages at once into an idle slot: how long until each is there",
    "usage: mailroom-bench burst [options]\n"
    "\n"
    "All writers send --burst messages (default 1,000) at the same moment, and nothing until the next; ten times a\n"
    "second where --rate says no other. The latency of each message counts from that moment: the largest is the time\n"
    "in which a burst is through. Defaults: 8 writers, 2 seconds.\n",
    LOAD_OPTIONS | OPTION_BIT(OPTION_BURST) | OPTION_BIT(OPTION_EVERY), run_burst};

/* ------------------------------------------------------------------------------------------------ latency */

static int run_latency(int argc, char **argv)
{
    struct options options;
    struct load_peer load;
    struct part parts[2] = {{.name = "idle"}, {.name = "loaded"}};
    options_default(&options);
    options.plan.duration *= 2;
    options.plan.rate = IDLE_RATE;
    int code = command_begin(&command_latency, argc, argv, &options, &load);
    if (code >= 0) {
        return code;
    }
    parts[0].plan = options.plan;
    parts[1].plan = options.plan;
    if (options.plan.rate <= 0) {
        load_end(&load);
        return fail_usage("latency", "latency is measured at a stated rate: flat out, messages only queue up");
    }
    if (options.given[OPTION_RATE]) {
        parts[0].plan.rate = options.plan.rate < IDLE_RATE ? options.plan.rate : IDLE_RATE;
    } else {
        struct part probe = {.name = "how much it carries", .plan = options.plan};
        probe.plan.rate = 0;
        probe.plan.messages = 0;
        probe.plan.duration = PROBE_NANOS;
        code = part_run(&load, &probe, 0);
        if (code < 0) {
            code = parts_verdict(&probe, 1) == BENCH_DONE ? -1 : BENCH_DAMAGED;
        }
        parts[1].plan.rate = probe.result.rate / 2 > IDLE_LEAST ? probe.result.rate / 2 : IDLE_LEAST;
    }
    if (code < 0) {
        code = parts_run(&command_latency, &options, &load, parts, 2);
    }
    load_end(&load);
    return code;
}

const struct command command_latency = {
    "latency", "how long messages take, into an idle slot and into a loaded one",
    "usage: mailroom-bench latency [options]\n"
    "\n"
    "Open loop: every message is due at a time set by the rate alone, and its latency counts from there, whatever\n"
    "held it up; a writer that was stopped sends what has become due meanwhile at once. Two runs: `idle` at 1,000\n"
    "messages a second, where the reader sleeps before each; `loaded` at --rate, or where none is given at half of\n"
    "what half a second flat out has carried. A writer sleeps until --lead microseconds before a message is due and\n"
    "then looks at the clock; above 5,000 messages a second for each writer, messages are due in groups, 5,000 times\n"
    "a second. Percentiles are from a histogram that is exact to 1 % (3 % above 32 slots). Default: 2 seconds each.\n",
    LOAD_OPTIONS | OPTION_BIT(OPTION_EVERY) | OPTION_BIT(OPTION_FLOODS) | OPTION_BIT(OPTION_PUNCTUAL), run_latency};

/* ------------------------------------------------------------------------------------------------ fan-in */

static int run_fan_in(int argc, char **argv)
{
    struct options options;
    struct load_peer load;
    struct part parts[2] = {{.name = "one slot"}, {.name = "all slots", .versus = true}};
    options_default(&options);
    options.plan.peer.slots = 200;
    options.plan.writers = 2;
    options.plan.every = true;
    int code = command_begin(&command_fan_in, argc, argv, &options, &load);
    if (code >= 0) {
        return code;
    }
    parts[0].plan = options.plan;
    parts[1].plan = options.plan;
    parts[0].plan.peer.slots = 1;
    if (plan_complete(&parts[0].plan) != NULL) {
        parts[0].plan = options.plan; /* it cannot be: what holds for many slots holds for one */
    }
    code = parts_run(&command_fan_in, &options, &load, parts, 2);
    load_end(&load);
    return code;
}

const struct command command_fan_in = {
    "fan-in", "many writers into many slots, beside the same writers into one",
    "usage: mailroom-bench fan-in [options]\n"
    "\n"
    "Each of W writers is connected with each of S slots, and writes to them in turn, --turn messages each time;\n"
    "then the same writers write to a single slot. Defaults: 200 slots, 2 writers.\n",
    LOAD_OPTIONS, run_fan_in};
