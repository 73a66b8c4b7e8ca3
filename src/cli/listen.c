/* listen.c: mailroom listen: prints what arrives in one or several slots, a line for each message.
 *
 * Path    slots ► inbox ► one line of text or JSON ► standard output ► the messages are acknowledged and released
 * I1      A message is acknowledged after its line was written, and not before; one whose line was not, never. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include <mailroom/status.h>

#include "command.h"
#include "inbox.h"
#include "output.h"
#include "system.h"

static const char help[] =
    "usage: mailroom listen [options] NAME...\n"
    "\n"
    "Creates the slots and prints each message that arrives as one line on standard output.\n"
    "\n"
    "  --count N         end after N messages\n"
    "  --timeout MS      end with exit code 3 when no message has come for MS milliseconds\n"
    "  --json            one JSON object a line: slot, length, priority, pid, uid, gid, writer, sequence,\n"
    "                    redelivered, lane, and text (or base64 where the bytes are no UTF-8).\n"
    "                    writer is a string of digits: it has 64 bits, more than many readers of JSON keep\n"
    "  --raw             the bytes as they came, a newline behind each message\n"
    "  --access WHO      who may write: owner (the default), group, group:NAME, everyone,\n"
    "                    or list:USER,@GROUP,... (names or numbers); on Windows owner, group, everyone, or\n"
    "                    sddl:TEXT, a security descriptor\n"
    "  --max-message N   largest message in bytes (default 16777216)\n"
    "  --quiet           say nothing on standard error but errors\n"
    "  -h, --help        this text\n"
    "\n"
    "Without --json and --raw a message is always one line: newline, carriage return, other control characters,\n"
    "what turns the direction of the text behind it, bytes that are no UTF-8, and the backslash are written as\n"
    "\\n, \\r, \\xHH and \\\\. A tab stays a tab. With several names each line begins with the slot's name,\n"
    "a colon and a blank.\n"
    "\n"
    "It says on standard error when the slots are open. It ends well at Ctrl-C or SIGTERM, and when whoever reads its\n"
    "standard output has gone. A message is acknowledged when its line has been written. What was not printed stays\n"
    "with a sender that waits for that, for the next listener; what else had arrived is counted on standard error.\n"
    "\n"
    "Exit codes: 0 done, 1 error (a name that is taken, for example), 2 usage, 3 time-out, 5 not allowed.\n";

enum { FORM_TEXT, FORM_JSON, FORM_RAW };

struct listen_settings {
    uint64_t count;
    uint64_t timeout_ms;
    int form;
    bool quiet;
    bool prefixed;
    mr_reader_options reader;
    struct access_rule access;
};

enum { OPTION_COUNT = 1000, OPTION_TIMEOUT, OPTION_JSON, OPTION_RAW, OPTION_ACCESS, OPTION_MAX, OPTION_QUIET };

static const struct option options[] = {{"count", required_argument, NULL, OPTION_COUNT},
                                        {"timeout", required_argument, NULL, OPTION_TIMEOUT},
                                        {"json", no_argument, NULL, OPTION_JSON},
                                        {"raw", no_argument, NULL, OPTION_RAW},
                                        {"access", required_argument, NULL, OPTION_ACCESS},
                                        {"max-message", required_argument, NULL, OPTION_MAX},
                                        {"quiet", no_argument, NULL, OPTION_QUIET},
                                        OPTION_HELP,
                                        {NULL, 0, NULL, 0}};

static bool take_option(int option, struct listen_settings *settings)
{
    uint64_t number = 0;
    switch (option) {
    case OPTION_COUNT:
        return argument_number("listen", "--count", optarg, 1, UINT64_MAX - 1, &settings->count);
    case OPTION_TIMEOUT:
        return argument_number("listen", "--timeout", optarg, 0, UINT32_MAX - 1, &settings->timeout_ms);
    case OPTION_JSON:
        settings->form = FORM_JSON;
        return true;
    case OPTION_RAW:
        settings->form = FORM_RAW;
        return true;
    case OPTION_ACCESS:
        return argument_access("listen", optarg, &settings->access);
    case OPTION_MAX:
        if (!argument_number("listen", "--max-message", optarg, 1, UINT32_MAX, &number)) {
            return false;
        }
        settings->reader.max_message = (size_t) number;
        return true;
    default:
        settings->quiet = true;
        return true;
    }
}

static void format_entry(const struct listen_settings *settings, struct text *text, const struct inbox_entry *entry)
{
    const mr_message *message = entry->message;
    if (settings->form == FORM_JSON) {
        text_message_json(text, entry->slot->name, message);
        return;
    }
    if (settings->prefixed) {
        text_puts(text, entry->slot->name);
        text_puts(text, ": ");
    }
    if (settings->form == FORM_RAW) {
        text_put(text, message->data, message->length);
    } else {
        text_escaped(text, message->data, message->length);
    }
    text_putc(text, '\n');
}

struct listen_result {
    uint64_t printed;
    uint64_t unwritten; /* and lost */
    bool timed_out;
    bool interrupted;
};

/* Writes all entries out and gives them back. */
static void print_batch(const struct listen_settings *settings, struct inbox *inbox, struct output *output,
                        struct inbox_entry *first, struct listen_result *result)
{
    while (first != NULL) {
        struct inbox_entry *entry = first;
        uint64_t taken = 0;
        while (entry != NULL && output->text.length < OUTPUT_BATCH) {
            format_entry(settings, &output->text, entry);
            entry = entry->next;
            taken++;
        }
        uint64_t written = taken;
        if (!output_flush(output)) {
            written = settings->form == FORM_RAW ? 0 : output->whole; /* a raw one may have newlines */
        }
        result->printed += written;
        result->unwritten += inbox_done(inbox, first, entry, written); /* I1 */
        first = entry;
    }
}

static struct listen_result print_until_end(const struct listen_settings *settings, struct inbox *inbox,
                                            struct output *output)
{
    struct listen_result result = {0};
    uint64_t deadline = system_deadline(settings->timeout_ms);
    unsigned events = 0;
    while (result.printed < settings->count) {
        struct inbox_entry *first = inbox_take(inbox);
        if (first != NULL) {
            print_batch(settings, inbox, output, first, &result);
            deadline = system_deadline(settings->timeout_ms);
            if (output->error != 0) {
                break;
            }
            continue;
        }
        if ((events & SYSTEM_INTERRUPTED) != 0) {
            result.interrupted = true;
            break;
        }
        if ((events & SYSTEM_OUTPUT_CLOSED) != 0) {
            output->error = EPIPE;
        }
        if (output->error != 0 || atomic_load_explicit(&inbox->failed, memory_order_acquire)) {
            break;
        }
        events = system_wait(deadline, -1, output->descriptor);
        if (events == 0) {
            /* The last look: a message that came at the last moment counts. */
            if (atomic_load_explicit(&inbox->newest, memory_order_acquire) == NULL) {
                result.timed_out = true;
                break;
            }
        }
        if ((events & SYSTEM_INTERRUPTED) != 0) {
            inbox_stop(inbox);
        }
    }
    return result;
}

static int listen_slots(const struct listen_settings *settings, struct inbox *inbox, struct output *output,
                        char **names, int name_count)
{
    for (int i = 0; i < name_count; i++) {
        int status = inbox_add(inbox, names[i], &settings->reader);
        if (status != MR_OK) {
            char about[MR_NAME_MAX + 32];
            snprintf(about, sizeof(about), "cannot listen on %s", names[i]);
            int code = fail_status(status, about);
            inbox_close(inbox);
            return code;
        }
    }
    for (size_t i = 0; i < inbox->count && !settings->quiet; i++) {
        remark("listening on %s", inbox->slots[i]->name);
    }
    struct listen_result result = print_until_end(settings, inbox, output);
    bool failed = atomic_load_explicit(&inbox->failed, memory_order_acquire);
    uint64_t lost = inbox_close(inbox);
    int code = output_result(output, result.unwritten);
    if (failed) {
        code = fail("out of memory");
    }
    /* Whoever closed the pipe wants no more of them, and no word about it. */
    bool wanted = result.interrupted || result.timed_out || (lost > 0 && !output_closed(output));
    if (!settings->quiet && wanted) {
        remark("%" PRIu64 " messages printed, %" PRIu64 " had arrived but were not printed", result.printed, lost);
    }
    if (result.timed_out && code == CLI_DONE) {
        fail("no message came for %" PRIu64 " ms", settings->timeout_ms);
        code = CLI_TIMEOUT;
    }
    return code;
}

static int run(int argc, char **argv)
{
    struct listen_settings settings = {.count = UINT64_MAX,
                                       .timeout_ms = UINT32_MAX,
                                       .reader = MR_READER_OPTIONS_INIT,
                                       .access = {.group = UINT32_MAX}};
    int option;
    while ((option = option_next(&command_listen, argc, argv, options)) != -1) {
        if (option == 'h') {
            return CLI_DONE;
        }
        if (option == '?' || !take_option(option, &settings)) {
            return CLI_USAGE;
        }
    }
    if (optind == argc) {
        return fail_usage("listen", "which slot? Give at least one NAME: mailroom listen alarms");
    }
    access_apply(&settings.access, &settings.reader);
    settings.prefixed = argc - optind > 1;
    struct output output;
    struct inbox inbox;
    if (!output_standard(&output)) {
        return CLI_ERROR;
    }
    int status = inbox_open(&inbox, settings.count);
    int code = status != MR_OK ? fail_status(status, "cannot open a completion port")
                               : listen_slots(&settings, &inbox, &output, argv + optind, argc - optind);
    output_close(&output);
    return code;
}

const struct command command_listen = {"listen", "print what arrives in slots", help, run};
