/* hub.c: mailroom hub: many slots in one process, on one completion port.
 *
 * Path    slots ► inbox ► one line a message ► --output
 *         slots' counters ► table, progress lines, summary
 * I1      A message is acknowledged after its line was written;
 *         else it is its writer's still, or counted as not written.
 * I2      At the end the slots are emptied first: until nothing has come for DRAIN_QUIET_MS, at most DRAIN_LIMIT_MS.
 *         */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <mailroom/status.h>

#include "command.h"
#include "hub_view.h"
#include "inbox.h"
#include "output.h"
#include "queue/memory.h"
#include "slot_pattern.h"
#include "system.h"

#define DRAIN_QUIET_MS 250
#define DRAIN_LIMIT_MS 5000
#define TICK_MS        1000
/* Descriptors that a slot may need beside its connections, and those of the process. */
#define DESCRIPTORS_PER_SLOT 8
#define DESCRIPTORS_PER_HUB  65536

static const char help[] =
    "usage: mailroom hub [options] --slots PATTERN...\n"
    "\n"
    "Hosts many slots in one process on one completion port, and writes down what arrives.\n"
    "\n"
    "  --slots PATTERN   'sensor-%03d:200' is sensor-000 to sensor-199; a text without %d is one name;\n"
    "                    %% is a percent sign. May be given several times\n"
    "  --seconds S       end after S seconds; else at Ctrl-C or SIGTERM\n"
    "  --output FILE     write one JSON object a line for each message to FILE (- is standard output), the same\n"
    "                    as mailroom listen --json\n"
    "  --json            progress and summary as JSON objects, one a line\n"
    "  --access WHO      who may write: owner (the default), group, group:NAME, everyone,\n"
    "                    or list:USER,@GROUP,... (names or numbers); on Windows owner, group, everyone, or\n"
    "                    sddl:TEXT, a security descriptor\n"
    "  --max-message N   largest message in bytes (default 16777216)\n"
    "  -h, --help        this text\n"
    "\n"
    "Standard output (standard error with --output -) shows a live table where it is a terminal, elsewhere a line a\n"
    "second, and in any case a summary at the end. Before it ends the hub takes what writers have already sent: until\n"
    "nothing has come for a quarter of a second, at most 5 s. An output that cannot be written ends it with exit\n"
    "code 1 and the number of messages that were received but not written, and that nobody has any more: a message\n"
    "is acknowledged when its line has been written, and else stays with a sender that waits for that.\n"
    "\n"
    "It raises its own limit of open descriptors as far as it may.\n"
    "\n"
    "Exit codes: 0 done, 1 error, 2 usage, 5 not allowed.\n";

struct hub_settings {
    struct slot_pattern *patterns;
    size_t pattern_count;
    uint64_t seconds; /* 0: no end */
    const char *output;
    bool json;
    mr_reader_options reader;
    struct access_rule access;
};

struct hub {
    const struct hub_settings *settings;
    struct inbox inbox;
    struct output output;
    struct hub_view view;
    uint64_t unwritten;
};

enum { OPTION_SLOTS = 1000, OPTION_SECONDS, OPTION_OUTPUT, OPTION_JSON, OPTION_ACCESS, OPTION_MAX };

static const struct option options[] = {{"slots", required_argument, NULL, OPTION_SLOTS},
                                        {"seconds", required_argument, NULL, OPTION_SECONDS},
                                        {"output", required_argument, NULL, OPTION_OUTPUT},
                                        {"json", no_argument, NULL, OPTION_JSON},
                                        {"access", required_argument, NULL, OPTION_ACCESS},
                                        {"max-message", required_argument, NULL, OPTION_MAX},
                                        OPTION_HELP,
                                        {NULL, 0, NULL, 0}};

static bool take_pattern(struct hub_settings *settings)
{
    struct slot_pattern *patterns =
        memory_realloc(settings->patterns, (settings->pattern_count + 1) * sizeof(*patterns));
    if (patterns == NULL) {
        fail("out of memory");
        return false;
    }
    settings->patterns = patterns;
    const char *wrong = slot_pattern_parse(optarg, &patterns[settings->pattern_count]);
    if (wrong != NULL) {
        fail_usage("hub", "--slots '%s': %s", optarg, wrong);
        return false;
    }
    settings->pattern_count++;
    return true;
}

static bool take_option(int option, struct hub_settings *settings)
{
    uint64_t number = 0;
    switch (option) {
    case OPTION_SLOTS:
        return take_pattern(settings);
    case OPTION_SECONDS:
        return argument_number("hub", "--seconds", optarg, 1, UINT32_MAX / 1000, &settings->seconds);
    case OPTION_OUTPUT:
        settings->output = optarg;
        return true;
    case OPTION_JSON:
        settings->json = true;
        return true;
    case OPTION_ACCESS:
        return argument_access("hub", optarg, &settings->access);
    default:
        if (!argument_number("hub", "--max-message", optarg, 1, UINT32_MAX, &number)) {
            return false;
        }
        settings->reader.max_message = (size_t) number;
        return true;
    }
}

/* Writes out one batch of what has come. False when nothing had. */
static bool write_arrived(struct hub *hub)
{
    struct inbox_entry *first = inbox_take(&hub->inbox);
    bool some = first != NULL;
    while (first != NULL) {
        struct inbox_entry *entry = first;
        uint64_t taken = 0;
        while (entry != NULL && hub->output.text.length < OUTPUT_BATCH && taken < 4096) {
            if (hub->settings->output != NULL) {
                text_message_json(&hub->output.text, entry->slot->name, entry->message);
            }
            taken++;
            entry = entry->next;
        }
        uint64_t written = hub->settings->output == NULL || output_flush(&hub->output) ? taken : hub->output.whole;
        struct inbox_entry *counted = first;
        for (uint64_t i = 0; i < written && counted != NULL; i++, counted = counted->next) {
            counted->slot->messages++;
            counted->slot->bytes += counted->message->length;
        }
        hub->unwritten += inbox_done(&hub->inbox, first, entry, written); /* I1 */
        first = entry;
    }
    return some;
}

static bool broken(struct hub *hub)
{
    return hub->output.error != 0 || atomic_load_explicit(&hub->inbox.failed, memory_order_acquire);
}

static int watched_output(const struct hub *hub)
{
    return hub->settings->output != NULL ? hub->output.descriptor : -1;
}

/* Until the time is over, the program is asked to end, or the output breaks. */
static void work(struct hub *hub)
{
    uint64_t end = hub->settings->seconds == 0 ? SYSTEM_NEVER : system_deadline(hub->settings->seconds * 1000);
    uint64_t tick = system_deadline(TICK_MS);
    while (!broken(hub) && system_interrupts() == 0 && system_now() < end) {
        if (system_now() >= tick) {
            hub_view_tick(&hub->view);
            tick += TICK_MS * (uint64_t) 1000000;
            tick = tick < system_now() ? system_deadline(TICK_MS) : tick;
        }
        if (write_arrived(hub)) {
            continue;
        }
        if ((system_wait(tick < end ? tick : end, -1, watched_output(hub)) & SYSTEM_OUTPUT_CLOSED) != 0) {
            hub->output.error = EPIPE;
        }
    }
}

/* I2 */
static void drain(struct hub *hub)
{
    uint64_t limit = system_deadline(DRAIN_LIMIT_MS);
    uint64_t quiet = system_deadline(DRAIN_QUIET_MS);
    while (!broken(hub) && system_interrupts() < 2 && system_now() < limit) {
        if (write_arrived(hub)) {
            quiet = system_deadline(DRAIN_QUIET_MS);
        } else if (system_now() >= quiet) {
            return;
        } else {
            system_wait(quiet < limit ? quiet : limit, -1, -1);
        }
    }
}

static int open_slots(struct hub *hub)
{
    char name[2 * SLOT_PATTERN_BYTES + 32];
    for (size_t i = 0; i < hub->settings->pattern_count; i++) {
        const struct slot_pattern *pattern = &hub->settings->patterns[i];
        for (uint64_t number = 0; number < pattern->count; number++) {
            int status = slot_pattern_name(pattern, number, name, sizeof(name))
                             ? inbox_add(&hub->inbox, name, &hub->settings->reader)
                             : MR_E_NAME;
            if (status != MR_OK) {
                char about[sizeof(name) + 32];
                snprintf(about, sizeof(about), "cannot open the slot %s", name);
                return fail_status(status, about);
            }
            if (system_interrupts() > 0) {
                return fail("ended by a signal while %zu slots were open", hub->inbox.count);
            }
        }
    }
    return CLI_DONE;
}

static int host(struct hub *hub)
{
    const struct hub_settings *settings = hub->settings;
    int code = open_slots(hub);
    if (code == CLI_DONE) {
        bool taken = settings->output != NULL && strcmp(settings->output, "-") == 0;
        code = hub_view_open(&hub->view, &hub->inbox, taken ? 2 : 1, settings->json);
    }
    if (code != CLI_DONE) {
        inbox_close(&hub->inbox);
        return code;
    }
    remark("%zu slots are open", hub->inbox.count);
    work(hub);
    drain(hub);
    inbox_stop(&hub->inbox);
    while (!broken(hub) && write_arrived(hub)) {}
    hub_view_collect(&hub->view);
    bool failed = atomic_load_explicit(&hub->inbox.failed, memory_order_acquire);
    uint64_t unread = inbox_close(&hub->inbox);
    hub_view_end(&hub->view, unread, hub->unwritten);
    hub_view_close(&hub->view);
    return failed ? fail("out of memory") : output_result(&hub->output, hub->unwritten);
}

static int run_hub(const struct hub_settings *settings)
{
    struct hub hub = {.settings = settings, .output = {.descriptor = -1}};
    uint64_t slots = 0;
    for (size_t i = 0; i < settings->pattern_count; i++) {
        slots += settings->patterns[i].count;
    }
    uint64_t wanted = slots * DESCRIPTORS_PER_SLOT + DESCRIPTORS_PER_HUB;
    uint64_t limit = system_raise_descriptors(wanted);
    if (limit < slots * DESCRIPTORS_PER_SLOT) {
        remark("%" PRIu64 " slots may need more than the %" PRIu64 " descriptors that are allowed (ulimit -n)", slots,
               limit);
    }
    if (settings->output != NULL && !output_open(&hub.output, settings->output)) {
        return CLI_ERROR;
    }
    int status = inbox_open(&hub.inbox, UINT64_MAX);
    int code = status != MR_OK ? fail_status(status, "cannot open a completion port") : host(&hub);
    if (settings->output != NULL && !output_close(&hub.output)) {
        code = CLI_ERROR;
    }
    return code;
}

static int run(int argc, char **argv)
{
    struct hub_settings settings = {.reader = MR_READER_OPTIONS_INIT, .access = {.group = UINT32_MAX}};
    int code = CLI_DONE;
    int option;
    while (code == CLI_DONE && (option = option_next(&command_hub, argc, argv, options)) != -1) {
        if (option == 'h') {
            memory_free(settings.patterns);
            return CLI_DONE;
        }
        code = option == '?' || !take_option(option, &settings) ? CLI_USAGE : CLI_DONE;
    }
    if (code == CLI_DONE && optind < argc) {
        code = fail_usage("hub", "'%s' is one argument too many; names of slots go behind --slots", argv[optind]);
    } else if (code == CLI_DONE && settings.pattern_count == 0) {
        code = fail_usage("hub", "which slots? --slots 'NAME-%%03d:200'");
    }
    if (code == CLI_DONE) {
        access_apply(&settings.access, &settings.reader);
        code = run_hub(&settings);
    }
    memory_free(settings.patterns);
    return code;
}

const struct command command_hub = {"hub", "host many slots in one process", help, run};
