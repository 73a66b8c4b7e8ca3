/* send.c: mailroom send: one text, standard input as one message or line by line, or a file that grows.
 *
 * Path    text | standard input | file ► sender ► slot
 * I1      The exit code is 0 only if every message that was read has arrived: it was handed over, and acknowledged where the
 *         lane acknowledges. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <mailroom/message.h>

#include "command.h"
#include "follow.h"
#include "lines.h"
#include "queue/memory.h"
#include "sender.h"
#include "system.h"

static const char help[] =
    "usage: mailroom send [options] NAME TEXT\n"
    "       mailroom send [options] NAME --stdin | --lines | --follow FILE\n"
    "\n"
    "Sends messages to a slot.\n"
    "\n"
    "  TEXT              one message with these bytes (\"\" is an empty message, which is legal)\n"
    "  --stdin           one message with all of standard input\n"
    "  --lines           each line of standard input is a message, the last one without a newline too\n"
    "  --follow FILE     each line of a file that grows is a message, from its beginning on, until Ctrl-C or SIGTERM\n"
    "                    (Linux only; elsewhere: a program that prints the lines, and --lines behind a pipe)\n"
    "\n"
    "  --urgent          send at the urgent level instead of the normal one\n"
    "  --wait MS         how long a message waits for an absent or a full slot, and at the end (with --follow:\n"
    "                    after each batch) how long all wait to be acknowledged; without it 0 for an absent\n"
    "                    slot and 5000 for the rest; 4294967295 waits for ever\n"
    "  --repeat N        send the TEXT, or standard input, N times\n"
    "  --state FILE      with --follow: keep in FILE how far it got, and go on from there\n"
    "  --from-end        with --follow: leave out what is in the file already\n"
    "  --owner USER      trust a slot of this user too; by default only those of root and of the user who sends\n"
    "  --log FILE        write number, SHA-256 and length of each message that was sent to FILE\n"
    "  -h, --help        this text\n"
    "\n"
    "A message has arrived when its reader has acknowledged it (mailroom listen does when it has written it out).\n"
    "What a reader that dies has not acknowledged goes to the next one of the slot within --wait; it may come twice.\n"
    "Where the system carries the messages (Windows), they have arrived when the system has them.\n"
    "\n"
    "--follow reads a file that is rotated by renaming to its end and then goes on with the new one, also when that\n"
    "happens several times at once. A truncated file is reported with the offset that had been reached, and read\n"
    "again from its beginning. A last line without newline waits for it. At SIGTERM what is in the file is still sent.\n"
    "\n"
    "The state file is replaced as a whole (written beside it and renamed) when a batch of lines, at most 64 KiB or\n"
    "one line, has arrived, and forced to the disk within a second and at the end; the first one is written before the\n"
    "first line is sent. From then on, after a kill at any instant no line is missing; lines of the last batch may\n"
    "come again. After a failure of the machine, those since the state was last forced to the disk may.\n"
    "\n"
    "Exit codes: 0 all has arrived, 1 error, 2 usage, 3 the slot stayed full or did not acknowledge, 4 no such slot,\n"
    "5 not allowed.\n";

struct send_settings {
    struct sender_settings sender;
    const char *text;
    bool standard_input;
    bool lines;
    const char *follow;
    const char *state;
    bool from_end;
    uint64_t repeat;
    bool repeated;
};

enum {
    OPTION_STDIN = 1000,
    OPTION_LINES,
    OPTION_FOLLOW,
    OPTION_URGENT,
    OPTION_WAIT,
    OPTION_REPEAT,
    OPTION_STATE,
    OPTION_FROM_END,
    OPTION_OWNER,
    OPTION_LOG
};

static const struct option options[] = {{"stdin", no_argument, NULL, OPTION_STDIN},
                                        {"lines", no_argument, NULL, OPTION_LINES},
                                        {"follow", required_argument, NULL, OPTION_FOLLOW},
                                        {"urgent", no_argument, NULL, OPTION_URGENT},
                                        {"wait", required_argument, NULL, OPTION_WAIT},
                                        {"repeat", required_argument, NULL, OPTION_REPEAT},
                                        {"state", required_argument, NULL, OPTION_STATE},
                                        {"from-end", no_argument, NULL, OPTION_FROM_END},
                                        {"owner", required_argument, NULL, OPTION_OWNER},
                                        {"log", required_argument, NULL, OPTION_LOG},
                                        OPTION_HELP,
                                        {NULL, 0, NULL, 0}};

static bool take_wait(struct send_settings *settings)
{
    uint64_t wait_ms = 0;
    if (!argument_number("send", "--wait", optarg, 0, UINT32_MAX, &wait_ms)) {
        return false;
    }
    settings->sender.wait_absent_ms = wait_ms;
    settings->sender.wait_full_ms = wait_ms;
    return true;
}

static bool take_option(int option, struct send_settings *settings)
{
    switch (option) {
    case OPTION_STDIN:
        settings->standard_input = true;
        return true;
    case OPTION_LINES:
        settings->lines = true;
        return true;
    case OPTION_FOLLOW:
        settings->follow = optarg;
        return true;
    case OPTION_URGENT:
        settings->sender.priority = MR_URGENT;
        return true;
    case OPTION_WAIT:
        return take_wait(settings);
    case OPTION_REPEAT:
        settings->repeated = true;
        return argument_number("send", "--repeat", optarg, 1, UINT64_MAX, &settings->repeat);
    case OPTION_STATE:
        settings->state = optarg;
        return true;
    case OPTION_FROM_END:
        settings->from_end = true;
        return true;
    case OPTION_OWNER:
        return argument_user("send", "--owner", optarg, &settings->sender.reader_uid);
    default:
        settings->sender.log_path = optarg;
        return true;
    }
}

/* What does not go together. */
static int check_settings(const struct send_settings *settings)
{
    int sources = (settings->text != NULL) + settings->standard_input + settings->lines + (settings->follow != NULL);
    if (sources == 0) {
        return fail_usage("send", "send what to %s? Give a TEXT, --stdin, --lines or --follow FILE",
                          settings->sender.name);
    }
    if (sources > 1) {
        return fail_usage("send", "only one of TEXT, --stdin, --lines and --follow can be sent");
    }
    if (settings->repeated && (settings->lines || settings->follow != NULL)) {
        return fail_usage("send", "--repeat goes with a TEXT or --stdin only");
    }
    if (settings->follow != NULL && !follow_supported) {
        return fail_usage("send",
                          "--follow is not available on this system; let another program print the lines of %s "
                          "and pipe them into mailroom send %s --lines",
                          settings->follow, settings->sender.name);
    }
    if (settings->follow == NULL && (settings->state != NULL || settings->from_end)) {
        return fail_usage("send", "%s goes with --follow only", settings->state != NULL ? "--state" : "--from-end");
    }
    if (settings->sender.log_path != NULL && strcmp(settings->sender.log_path, "-") == 0) {
        return fail_usage("send", "--log needs a file; - is none");
    }
    return CLI_DONE;
}

static int send_repeated(struct sender *sender, const void *data, size_t length, uint64_t repeat)
{
    for (uint64_t i = 0; i < repeat; i++) {
        bool skip = false;
        int code = sender_send(sender, data, length, &skip);
        if (code != CLI_DONE) {
            if (repeat > 1) {
                remark("%" PRIu64 " of %" PRIu64 " messages were sent", i, repeat);
            }
            return code;
        }
        if (system_interrupts() > 0 && i + 1 < repeat) {
            return fail("ended by a signal after %" PRIu64 " of %" PRIu64 " messages", i + 1, repeat);
        }
    }
    return CLI_DONE;
}

/* Waits until standard input has something; false when the program was asked to end. */
static bool wait_for_input(int descriptor)
{
    /* A wait for the slot may have taken the wake-up of a signal, so the wait itself would not tell. */
    while (system_interrupts() == 0) {
        unsigned events = system_wait(SYSTEM_NEVER, descriptor, -1);
        if ((events & SYSTEM_INTERRUPTED) != 0) {
            return false;
        }
        if ((events & SYSTEM_INPUT) != 0) {
            return true;
        }
    }
    return false;
}

/* More than any slot takes: an endless input is not to eat the machine's memory. */
#define STDIN_MAX ((size_t) 1 << 30)

static int send_standard_input(struct sender *sender, uint64_t repeat)
{
    struct text message = {0};
    char part[65536];
    long got = 0;
    for (;;) {
        if (!wait_for_input(0)) {
            text_free(&message);
            return fail("ended by a signal before standard input came to its end; nothing was sent");
        }
        got = system_read(0, part, sizeof(part));
        if (got <= 0) {
            break;
        }
        text_put(&message, part, (size_t) got);
        if (message.failed || message.length > STDIN_MAX) {
            text_free(&message);
            return fail("standard input is too long for one message; nothing was sent (--lines sends it line by line)");
        }
    }
    int code = got < 0 ? fail("cannot read standard input: %s; nothing was sent", strerror(errno))
                       : send_repeated(sender, message.data, message.length, repeat);
    text_free(&message);
    return code;
}

struct line_context {
    struct sender *sender;
    int code; /* of the worst line so far */
};

static bool send_line(void *context, const void *line, size_t length, bool too_long)
{
    struct line_context *lines = context;
    bool skip = too_long;
    int code = too_long ? fail("line %" PRIu64 " is longer than %zu bytes and was not sent",
                               lines->sender->sent + lines->sender->skipped + 1, LINE_BYTES_MAX)
                        : sender_send(lines->sender, line, length, &skip);
    if (too_long) {
        lines->sender->skipped++;
    }
    if (code != CLI_DONE) {
        lines->code = code;
    }
    return code == CLI_DONE || skip;
}

static int send_lines(struct sender *sender)
{
    struct line_context context = {sender, CLI_DONE};
    struct lines lines = {0};
    bool go_on = true;
    while (go_on && wait_for_input(0)) {
        size_t room = 0;
        char *to = lines_room(&lines, &room);
        if (to == NULL) {
            context.code = fail("out of memory");
            break;
        }
        long got = system_read(0, to, room);
        if (got < 0) {
            context.code = fail("cannot read standard input: %s", strerror(errno));
            break;
        }
        go_on = got == 0 ? (lines_end(&lines, send_line, &context), false)
                         : lines_split(&lines, (size_t) got, send_line, &context);
    }
    if (system_interrupts() > 0) {
        remark("ended by a signal after %" PRIu64 " lines", sender->sent);
    }
    if (sender->skipped > 0) {
        remark("%" PRIu64 " lines were sent, %" PRIu64 " were too long", sender->sent, sender->skipped);
    } else if (context.code != CLI_DONE) {
        remark("%" PRIu64 " lines were sent", sender->sent);
    }
    lines_free(&lines);
    return context.code;
}

static int send_all(const struct send_settings *settings)
{
    struct sender sender;
    if ((settings->standard_input || settings->lines) && !system_is_open(0)) {
        return fail("standard input is closed; there is nothing to send");
    }
    int code = sender_open(&sender, &settings->sender);
    if (code != CLI_DONE) {
        return code;
    }
    if (settings->follow != NULL) {
        const struct follow_settings follow = {settings->follow, settings->state, settings->from_end};
        code = follow_file(&sender, &follow);
    } else if (settings->lines) {
        code = send_lines(&sender);
    } else if (settings->standard_input) {
        code = send_standard_input(&sender, settings->repeat);
    } else if (settings->text != NULL) {
        code = send_repeated(&sender, settings->text, strlen(settings->text), settings->repeat);
    }
    return sender_close(&sender, code);
}

static int run(int argc, char **argv)
{
    struct send_settings settings = {
        .sender = {.priority = MR_NORMAL, .wait_absent_ms = 0, .wait_full_ms = 5000, .reader_uid = UINT32_MAX},
        .repeat = 1};
    int option;
    while ((option = option_next(&command_send, argc, argv, options)) != -1) {
        if (option == 'h') {
            return CLI_DONE;
        }
        if (option == '?' || !take_option(option, &settings)) {
            return CLI_USAGE;
        }
    }
    if (optind == argc) {
        return fail_usage("send", "to which slot? mailroom send NAME TEXT");
    }
    settings.sender.name = argv[optind];
    settings.text = argc - optind > 1 ? argv[optind + 1] : NULL;
    if (argc - optind > 2) {
        return fail_usage("send", "'%s' is one argument too many; a TEXT with blanks needs quotes around it",
                          argv[optind + 2]);
    }
    int code = check_settings(&settings);
    if (code != CLI_DONE) {
        return code;
    }
    settings.sender.patience = settings.lines || settings.follow != NULL ? 1 : 0;
    return send_all(&settings);
}

const struct command command_send = {"send", "send messages to a slot", help, run};
