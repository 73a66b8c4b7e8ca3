/* options.c: see options.h. One table has every option; a command's --help is printed from it. What single values may
 * be is in option_values.c. */
#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <getopt.h>

#include "cli/slot_pattern.h"
#include "say.h"

#define WRITERS_MAX 100000u
#define SLOTS_MAX   100000u

/* ------------------------------------------------------------------------------------------------ each option */

static const char *read_count(const char *text, unsigned minimum, unsigned maximum, unsigned *to)
{
    uint64_t number;
    const char *wrong = options_count(text, minimum, maximum, &number);
    if (wrong == NULL) {
        *to = (unsigned) number;
    }
    return wrong;
}

static const char *set_slots(struct options *options, const char *text)
{
    return read_count(text, 1, SLOTS_MAX, &options->plan.peer.slots);
}

static const char *set_writers(struct options *options, const char *text)
{
    return read_count(text, 1, WRITERS_MAX, &options->plan.writers);
}

static const char *set_size(struct options *options, const char *text)
{
    return options_sizes(text, &options->plan.sizes);
}

static const char *set_rate(struct options *options, const char *text)
{
    if (strcmp(text, "max") == 0) {
        options->plan.rate = 0;
        return NULL;
    }
    return options_real(text, 0.001, 1e10, &options->plan.rate);
}

static const char *set_mix(struct options *options, const char *text)
{
    return options_mix(text, options->plan.mix);
}

static const char *set_duration(struct options *options, const char *text)
{
    double seconds;
    const char *wrong = options_real(text, 0.001, 1e7, &seconds);
    if (wrong == NULL) {
        options->plan.duration = (uint64_t) (seconds * 1e9);
        options->plan.messages = 0;
    }
    return wrong;
}

static const char *set_messages(struct options *options, const char *text)
{
    const char *wrong = options_count(text, 1, UINT64_C(1) << 50, &options->plan.messages);
    if (wrong == NULL) {
        options->plan.duration = 0;
    }
    return wrong;
}

static const char *set_peer(struct options *options, const char *text)
{
    if (strlen(text) >= sizeof(options->plan.peer_name)) {
        return "is no peer";
    }
    snprintf(options->plan.peer_name, sizeof(options->plan.peer_name), "%s", text);
    return NULL;
}

static const char *set_lane(struct options *options, const char *text)
{
    if (strcmp(text, "ring") != 0 && strcmp(text, "plain") != 0 && strcmp(text, "native") != 0) {
        return "is no lane: ring, plain or native";
    }
    snprintf(options->plan.peer_name, sizeof(options->plan.peer_name), "mailroom-%s", text);
    return NULL;
}

static const char *set_workers(struct options *options, const char *text)
{
    return read_count(text, 1, 1024, &options->plan.peer.workers);
}

static const char *set_depth(struct options *options, const char *text)
{
    return read_count(text, 1, 100000000, &options->plan.peer.depth);
}

static const char *set_ring_bytes(struct options *options, const char *text)
{
    return read_count(text, 16384, 64u << 20, &options->plan.peer.ring_bytes);
}

static const char *set_threads(struct options *options, const char *text)
{
    (void) text;
    options->plan.threads = true;
    return NULL;
}

static const char *set_target(struct options *options, const char *text)
{
    struct slot_pattern pattern;
    const char *wrong = slot_pattern_parse(text, &pattern);
    if (wrong == NULL && strlen(text) >= sizeof(options->plan.peer.target)) {
        wrong = "is too long a name";
    }
    if (wrong == NULL) {
        snprintf(options->plan.peer.target, sizeof(options->plan.peer.target), "%s", text);
        options->plan.peer.slots = (unsigned) pattern.count;
    }
    return wrong;
}

static const char *set_every(struct options *options, const char *text)
{
    (void) text;
    options->plan.every = true;
    return NULL;
}

static const char *set_turn(struct options *options, const char *text)
{
    return read_count(text, 1, 1000000, &options->plan.turn);
}

static const char *set_burst(struct options *options, const char *text)
{
    return read_count(text, 1, 10000000, &options->plan.burst);
}

static const char *set_idle(struct options *options, const char *text)
{
    return read_count(text, 0, 1000000, &options->plan.idle);
}

static const char *set_floods(struct options *options, const char *text)
{
    return read_count(text, 0, WRITERS_MAX, &options->plan.floods);
}

static const char *set_punctual(struct options *options, const char *text)
{
    (void) text;
    options->plan.punctual = true;
    return NULL;
}

static const char *set_check(struct options *options, const char *text)
{
    if (strcmp(text, "all") != 0 && strcmp(text, "marks") != 0) {
        return "is neither all nor marks";
    }
    options->plan.check = strcmp(text, "all") == 0 ? MESSAGE_ALL : MESSAGE_MARKS;
    return NULL;
}

static const char *set_lead(struct options *options, const char *text)
{
    double lead;
    const char *wrong = options_real(text, 0, 1e6, &lead);
    if (wrong == NULL) {
        options->plan.lead = (uint64_t) (lead * 1000);
    }
    return wrong;
}

static const char *set_settle(struct options *options, const char *text)
{
    double seconds;
    const char *wrong = options_real(text, 0.01, 3600, &seconds);
    if (wrong == NULL) {
        options->plan.settle = (uint64_t) (seconds * 1e9);
    }
    return wrong;
}

static const char *set_seed(struct options *options, const char *text)
{
    return options_count(text, 0, UINT64_MAX, &options->plan.seed);
}

static const char *set_json(struct options *options, const char *text)
{
    (void) text;
    options->json = true;
    return NULL;
}

static const char *set_quick(struct options *options, const char *text)
{
    (void) text;
    options->quick = true;
    return NULL;
}

static const char *set_no_latency(struct options *options, const char *text)
{
    (void) text;
    options->no_latency = true;
    return NULL;
}

/* Numbers, comma-separated. */
static const char *read_list(const char *text, uint64_t minimum, uint64_t maximum, uint64_t numbers[OPTIONS_LIST_MAX],
                             unsigned *count)
{
    *count = 0;
    do {
        const char *end = text + strcspn(text, ",");
        if (*count == OPTIONS_LIST_MAX) {
            return "has too many numbers, 32 at most";
        }
        const char *wrong = options_part(text, end, minimum, maximum, &numbers[(*count)++]);
        if (wrong != NULL) {
            return wrong;
        }
        text = *end == ',' ? end + 1 : NULL;
    } while (text != NULL);
    return NULL;
}

static const char *set_sizes(struct options *options, const char *text)
{
    uint64_t numbers[OPTIONS_LIST_MAX];
    const char *wrong = read_list(text, MESSAGE_FULL, OPTIONS_SIZE_MAX, numbers, &options->size_count);
    for (unsigned i = 0; wrong == NULL && i < options->size_count; i++) {
        options->sizes[i] = (size_t) numbers[i];
    }
    return wrong;
}

static const char *set_writer_list(struct options *options, const char *text)
{
    uint64_t numbers[OPTIONS_LIST_MAX];
    const char *wrong = read_list(text, 1, WRITERS_MAX, numbers, &options->writer_count);
    for (unsigned i = 0; wrong == NULL && i < options->writer_count; i++) {
        options->writers[i] = (unsigned) numbers[i];
    }
    return wrong;
}

static const char *set_slot_list(struct options *options, const char *text)
{
    uint64_t numbers[OPTIONS_LIST_MAX];
    const char *wrong = read_list(text, 1, SLOTS_MAX, numbers, &options->slot_count);
    for (unsigned i = 0; wrong == NULL && i < options->slot_count; i++) {
        options->slots[i] = (unsigned) numbers[i];
    }
    return wrong;
}

static const char *set_peers(struct options *options, const char *text)
{
    static char names[1024];
    if (strlen(text) >= sizeof(names)) {
        return "is too long a list";
    }
    snprintf(names, sizeof(names), "%s", text);
    options->name_count = 0;
    for (char *name = names; name != NULL;) {
        char *comma = strchr(name, ',');
        if (comma != NULL) {
            *comma++ = '\0';
        }
        if (peer_find(name) == NULL && limit_find(name) == NULL) {
            return "names a peer that there is not (mailroom-bench peers lists them)";
        }
        if (options->name_count == OPTIONS_LIST_MAX) {
            return "has too many names";
        }
        options->names[options->name_count++] = name;
        name = comma;
    }
    return NULL;
}

static const char *set_seconds(struct options *options, const char *text)
{
    return options_real(text, 0.01, 86400, &options->seconds);
}

static const char *set_repeat(struct options *options, const char *text)
{
    return read_count(text, 1, 1000, &options->repeat);
}

static const char *set_plot(struct options *options, const char *text)
{
    options->plot = text;
    return *text == '\0' ? "is no folder" : NULL;
}

static const char *set_only(struct options *options, const char *text)
{
    options->only = text;
    return NULL;
}

struct option_rule {
    enum option_id option;
    const char *name;
    const char *value; /* what stands behind it in the help; NULL: nothing */
    const char *help;
    const char *(*set)(struct options *options, const char *text);
};

static const struct option_rule rules[] = {
    {OPTION_HELP, "help", NULL, "this text", NULL},
    {OPTION_SLOTS, "slots", "S", "slots that the reader hosts; default 1", set_slots},
    {OPTION_WRITERS, "writers", "W", "writers, each a process; default 1", set_writers},
    {OPTION_SIZE, "size", "B",
     "bytes of a message: 64, a range 64-4096, log:64-65536 (evenly over its logarithm),\n"
     "or sizes with weights 64:90,1024:9,65536:1; default 64",
     set_size},
    {OPTION_RATE, "rate", "R", "messages a second, all writers together, or max: as fast as they can", set_rate},
    {OPTION_MIX, "priority-mix", "P", "parts of the levels, the lowest first: 99,1 is one urgent message in a hundred",
     set_mix},
    {OPTION_DURATION, "duration", "SECONDS", "how long to send", set_duration},
    {OPTION_MESSAGES, "messages", "N", "how many to send in all, instead of for a time", set_messages},
    {OPTION_LANE, "lane", "LANE", "Mailroom's lane: ring (Linux, the default there), plain (Linux), native (Windows)",
     set_lane},
    {OPTION_PEER, "peer", "NAME", "another way than Mailroom's (mailroom-bench peers lists them)", set_peer},
    {OPTION_WORKERS, "workers", "N", "workers of the reader's port; default: one for each processor", set_workers},
    {OPTION_DEPTH, "depth", "N", "messages that the reader's queue holds; default: the peer's", set_depth},
    {OPTION_RING_BYTES, "ring-bytes", "N", "size of the writers' rings; default: Mailroom's", set_ring_bytes},
    {OPTION_THREADS, "threads", NULL, "reader and writers are threads of one process", set_threads},
    {OPTION_TARGET, "target", "NAME",
     "send to a slot that another program hosts ('sensor-%03d:200' for many); only what\n"
     "the writers know is checked",
     set_target},
    {OPTION_EVERY, "every", NULL, "each writer is connected with each slot", set_every},
    {OPTION_TURN, "turn", "N", "messages that a writer sends to one of its slots before the next; default 16",
     set_turn},
    {OPTION_BURST, "burst", "N", "messages that are due at once", set_burst},
    {OPTION_IDLE, "idle", "N", "further writers, connected, that send nothing", set_idle},
    {OPTION_FLOODS, "floods", "N",
     "so many of the writers send as fast as they can whatever --rate says; latency is of\n"
     "the others",
     set_floods},
    {OPTION_PUNCTUAL, "punctual", NULL,
     "writers with a rate ask for a real-time priority (or else a short scheduling slice),\n"
     "so that what is measured is not how long they waited for a processor themselves",
     set_punctual},
    {OPTION_CHECK, "check", "all|marks",
     "what of each message is verified: all bytes, or head and one word in 512 bytes;\n"
     "default all",
     set_check},
    {OPTION_LEAD, "lead", "MICROSECONDS",
     "a writer awakes so long before a message is due and looks at the clock from\n"
     "then on; default 60",
     set_lead},
    {OPTION_SETTLE, "settle", "SECONDS", "silence after which what has not come is lost; default 3", set_settle},
    {OPTION_SEED, "seed", "N", "of sizes and levels", set_seed},
    {OPTION_QUICK, "quick", NULL, "all of it within three minutes, each figure less certain", set_quick},
    {OPTION_NO_LATENCY, "no-latency", NULL, "messages a second alone", set_no_latency},
    {OPTION_SIZES, "sizes", "B,B,...", "message sizes, 24 bytes and up; default 64,1024,65536", set_sizes},
    {OPTION_WRITER_LIST, "writers", "W,W,...", "numbers of writers; default 1,8", set_writer_list},
    {OPTION_SLOT_LIST, "slots", "S,S,...", "numbers of slots; default 1,10,100,500 (compare: 1)", set_slot_list},
    {OPTION_PEERS, "peers", "NAME,...", "which peers and limits; default all that are there", set_peers},
    {OPTION_SECONDS, "seconds", "T", "how long each measurement sends", set_seconds},
    {OPTION_REPEAT, "repeat", "N", "how often everything is measured; figures are medians", set_repeat},
    {OPTION_PLOT, "plot", "DIR", "also draw into this folder, as SVG", set_plot},
    {OPTION_ONLY, "only", "NAME,...", "only these", set_only},
    {OPTION_JSON, "json", NULL, "one JSON object on standard output, and nothing else", set_json},
};
#define RULES (sizeof(rules) / sizeof(rules[0]))

static void print_help(const struct command *command)
{
    printf("%s\nOptions:\n", command->help);
    for (size_t i = 0; i < RULES; i++) {
        if ((command->takes & OPTION_BIT(rules[i].option)) == 0 && rules[i].option != OPTION_HELP) {
            continue;
        }
        char head[48];
        snprintf(head, sizeof(head), "--%s%s%s", rules[i].name, rules[i].value == NULL ? "" : " ",
                 rules[i].value == NULL ? "" : rules[i].value);
        printf("  %-22s ", head);
        if (strlen(head) > 22) {
            printf("\n  %-22s ", "");
        }
        for (const char *at = rules[i].help; *at != '\0'; at++) {
            printf(*at == '\n' ? "\n%25s" : "%.1s", *at == '\n' ? "" : at);
        }
        putchar('\n');
    }
    printf("\nExit codes: 0 done, 1 error, 2 usage, 3 messages lost, repeated, out of order or garbled,\n"
           "4 no such slot, 5 not allowed, 6 the memory grew (soak).\n");
}

static size_t rules_of(const struct command *command, struct option *list, const struct option_rule **chosen)
{
    size_t count = 0;
    for (size_t i = 0; i < RULES; i++) {
        if ((command->takes & OPTION_BIT(rules[i].option)) != 0 || rules[i].option == OPTION_HELP) {
            chosen[count] = &rules[i];
            list[count++] =
                (struct option){rules[i].name, rules[i].value == NULL ? no_argument : required_argument, NULL, 0};
        }
    }
    list[count] = (struct option){NULL, 0, NULL, 0};
    return count;
}

int options_read(const struct command *command, int argc, char **argv, struct options *options)
{
    struct option list[RULES + 1];
    const struct option_rule *chosen[RULES];
    rules_of(command, list, chosen);
    opterr = 0;
    optind = 0; /* begins anew, also within one process */
    for (;;) {
        int index = -1;
        int found = getopt_long(argc, argv, ":", list, &index);
        if (found == -1) {
            break;
        }
        if (found == ':') {
            return fail_usage(command->name, "the option %s needs a value behind it", argv[optind - 1]);
        }
        if (found != 0 || index < 0) {
            return fail_usage(command->name, "%s is no option here", argv[optind - 1]);
        }
        const struct option_rule *rule = chosen[index];
        if (rule->option == OPTION_HELP) {
            print_help(command);
            return BENCH_DONE;
        }
        const char *wrong = rule->set(options, optarg);
        if (wrong != NULL) {
            return fail_usage(command->name, "--%s '%s' %s", rule->name, optarg, wrong);
        }
        options->given[rule->option] = true;
    }
    if (optind < argc) {
        return fail_usage(command->name, "'%s' is no option: all arguments here are options", argv[optind]);
    }
    return -1;
}

void options_default(struct options *options)
{
    *options = (struct options){.seconds = 1, .repeat = 5};
    struct plan *plan = &options->plan;
    snprintf(plan->peer_name, sizeof(plan->peer_name), "%s", peer_base);
    plan->peer.slots = 1;
    plan->writers = 1;
    plan->turn = 16;
    plan->burst = 1;
    plan->sizes = (struct sizes){.kind = SIZES_EVEN, .minimum = 64, .maximum = 64};
    plan->mix[0] = 1000;
    plan->duration = UINT64_C(1000000000);
    plan->settle = UINT64_C(3000000000);
    plan->lead = 60000;
    plan->seed = 1;
}

int options_complete(const struct command *command, struct options *options)
{
    struct plan *plan = &options->plan;
    const struct peer *peer = peer_find(plan->peer_name);
    if (peer == NULL) {
        return fail_usage(command->name, "there is no peer '%s' (mailroom-bench peers lists them)", plan->peer_name);
    }
    if (peer->missing != NULL) {
        return fail("%s is not in this program: %s", peer->name, peer->missing);
    }
    const char *wrong = plan_complete(plan);
    if (wrong != NULL) {
        return fail_usage(command->name, "%s", wrong);
    }
    if (plan->floods > 0 && (plan->floods >= plan->writers || plan->rate <= 0)) {
        return fail_usage(command->name, "--floods needs --rate for the other writers, and at least one of them");
    }
    if (plan->peer.target[0] != '\0' && strncmp(plan->peer_name, "mailroom-", 9) != 0) {
        return fail_usage(command->name, "--target is for Mailroom's slots, not for %s", plan->peer_name);
    }
    if (peer->size_max != 0 && plan_largest(plan) > peer->size_max) {
        return fail_usage(command->name, "%s takes messages of up to %zu bytes", peer->name, peer->size_max);
    }
    if (peer->slots_max != 0 && plan->peer.slots > peer->slots_max) {
        return fail_usage(command->name, "%s has %u slots at most", peer->name, peer->slots_max);
    }
    return -1;
}
