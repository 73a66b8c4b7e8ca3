/* command.c: errors, options and arguments, the same way in every command. */
#include "command.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mailroom/status.h>

#include "system.h"

/* An argument may hold what a terminal obeys. */
static void mask_controls(unsigned char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == 0xC2 && text[1] >= 0x80 && text[1] < 0xA0) {
            *text++ = '?'; /* U+0080 to U+009F */
            *text = '?';
        } else if (*text < ' ' || *text == 0x7F) {
            *text = '?';
        }
    }
}

PRINTF_FORMAT(2, 0) static void say(const char *prefix, const char *format, va_list arguments)
{
    char text[2048];
    char line[sizeof(text) + 128];
    vsnprintf(text, sizeof(text), format, arguments);
    mask_controls((unsigned char *) text);
    int length = snprintf(line, sizeof(line), "%s: %s\n", prefix, text);
    /* One call, so that lines of several processes on one terminal do not mix. */
    fwrite(line, 1, (size_t) length, stderr);
    fflush(stderr); /* not every C library leaves it unbuffered */
}

int fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say("mailroom", format, arguments);
    va_end(arguments);
    return CLI_ERROR;
}

void remark(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say("mailroom", format, arguments);
    va_end(arguments);
}

static int exit_code_of(int status)
{
    switch (status) {
    case MR_OK:
        return CLI_DONE;
    case MR_E_NAME:
        return CLI_USAGE;
    case MR_E_TIMEOUT:
        return CLI_TIMEOUT;
    case MR_E_NO_SLOT:
        return CLI_NO_SLOT;
    case MR_E_ACCESS:
    case MR_E_OWNER:
        return CLI_NOT_ALLOWED;
    default:
        return CLI_ERROR;
    }
}

int fail_status(int status, const char *about)
{
    const char *sentence = mr_last_error_text();
    const char *text = mr_status_text(status);
    if (sentence[0] != '\0') {
        fail("%s: %s (%s)", about, sentence, mr_status_name(status));
    } else if (status == MR_E_SYSTEM || status == MR_E_DESCRIPTORS) {
        char reason[512];
        system_error_text(mr_last_os_error(), reason, sizeof(reason));
        fail("%s: %s: %s (%s)", about, text, reason, mr_status_name(status));
    } else {
        fail("%s: %s (%s)", about, text, mr_status_name(status));
    }
    return exit_code_of(status);
}

int fail_usage(const char *command, const char *format, ...)
{
    char prefix[64];
    va_list arguments;
    snprintf(prefix, sizeof(prefix), "mailroom %s", command);
    va_start(arguments, format);
    say(prefix, format, arguments);
    va_end(arguments);
    fprintf(stderr, "mailroom %s --help tells all options.\n", command);
    return CLI_USAGE;
}

int option_next(const struct command *command, int argc, char **argv, const struct option *options)
{
    opterr = 0;
    int option = getopt_long(argc, argv, ":h", options, NULL);
    if (option == 'h') {
        printf("%s", command->help);
        return 'h';
    }
    /* C libraries differ in what they return for --json=yes, and in whether optind counts an option without its value,
     * which is the last argument then. A bundle of short options need not be finished, and then the argument before
     * optind is an earlier one. */
    const char *last = argv[optind - 1];
    bool valued = strncmp(last, "--", 2) == 0 && strchr(last, '=') != NULL;
    if (option == ':' && !valued) {
        fail_usage(command->name, "the option %s needs a value behind it", argv[argc - 1]);
        return '?';
    }
    if (option == ':' || option == '?') {
        if (optopt == 0) {
            fail_usage(command->name, "there is no option %s, or it is short for several", last);
        } else if (valued) {
            fail_usage(command->name, "the option %s takes no value", last);
        } else {
            fail_usage(command->name, "there is no option -%c; put -- before text that begins with a dash", optopt);
        }
        return '?';
    }
    return option;
}

bool argument_number(const char *command, const char *what, const char *text, uint64_t minimum, uint64_t maximum,
                     uint64_t *number)
{
    /* strtoull would take a sign, blanks and other bases. */
    size_t digits = strspn(text, "0123456789");
    uint64_t value = 0;
    bool huge = false;
    if (digits == 0 || text[digits] != '\0') {
        fail_usage(command, "%s takes a whole number from %" PRIu64 " to %" PRIu64 ", not '%s'", what, minimum, maximum,
                   text);
        return false;
    }
    errno = 0;
    value = strtoull(text, NULL, 10);
    huge = errno == ERANGE;
    if (huge || value < minimum || value > maximum) {
        fail_usage(command, "%s is %s, but it must lie between %" PRIu64 " and %" PRIu64, what, text, minimum, maximum);
        return false;
    }
    *number = value;
    return true;
}

static bool access_member(const char *command, const char *member, struct access_rule *rule)
{
    bool group = member[0] == '@';
    size_t *count = group ? &rule->gid_count : &rule->uid_count;
    uint32_t id = 0;
    if (*count == ACCESS_LIST_MAX) {
        fail_usage(command, "--access list: at most %d users and %d groups", ACCESS_LIST_MAX, ACCESS_LIST_MAX);
        return false;
    }
    if (group ? !system_group_id(member + 1, &id) : !system_user_id(member, &id)) {
        fail_usage(command, "--access list: there is no %s '%s' on this machine (a number does as well)",
                   group ? "group" : "user", group ? member + 1 : member);
        return false;
    }
    if (group) {
        rule->gids[rule->gid_count++] = id;
    } else {
        rule->uids[rule->uid_count++] = id;
    }
    return true;
}

static bool access_list(const char *command, const char *text, struct access_rule *rule)
{
    char list[4096];
    if (strlen(text) >= sizeof(list)) {
        fail_usage(command, "--access list: the list is longer than %zu characters", sizeof(list) - 1);
        return false;
    }
    memcpy(list, text, strlen(text) + 1);
    rule->access = MR_ACCESS_LIST;
    for (char *member = list; member != NULL;) {
        char *comma = strchr(member, ',');
        if (comma != NULL) {
            *comma++ = '\0';
        }
        if (!access_member(command, member, rule)) {
            return false;
        }
        member = comma;
    }
    return true;
}

bool argument_access(const char *command, const char *text, struct access_rule *rule)
{
    *rule = (struct access_rule){.access = MR_ACCESS_OWNER, .group = UINT32_MAX};
    if (strcmp(text, "owner") == 0) {
        return true;
    }
    if (strcmp(text, "everyone") == 0) {
        rule->access = MR_ACCESS_EVERYONE;
        return true;
    }
    if (strcmp(text, "group") == 0) {
        rule->access = MR_ACCESS_GROUP;
        return true;
    }
    if (strncmp(text, "sddl:", 5) == 0) {
        rule->sddl = text + 5;
        return true;
    }
    if (!system_numbers_users() && (strncmp(text, "group:", 6) == 0 || strncmp(text, "list:", 5) == 0)) {
        fail_usage(command, "--access %s is not for this system, where users have no numbers; sddl:TEXT says the same",
                   text);
        return false;
    }
    if (strncmp(text, "group:", 6) == 0) {
        rule->access = MR_ACCESS_GROUP;
        if (system_group_id(text + 6, &rule->group)) {
            return true;
        }
        fail_usage(command, "--access group: there is no group '%s' on this machine (a number does as well)", text + 6);
        return false;
    }
    if (strncmp(text, "list:", 5) == 0) {
        return access_list(command, text + 5, rule);
    }
    fail_usage(command,
               "--access takes owner, group, group:NAME, everyone, list:USER,@GROUP,… or sddl:TEXT and not "
               "'%s'",
               text);
    return false;
}

void access_apply(const struct access_rule *rule, mr_reader_options *options)
{
    options->access = rule->access;
    options->access_group = rule->group;
    options->access_uids = rule->uids;
    options->access_uid_count = rule->uid_count;
    options->access_gids = rule->gids;
    options->access_gid_count = rule->gid_count;
    options->access_sddl = rule->sddl;
}

bool argument_user(const char *command, const char *what, const char *text, uint32_t *uid)
{
    if (!system_numbers_users()) {
        fail_usage(command, "%s is not for this system, where users have no numbers", what);
        return false;
    }
    if (system_user_id(text, uid)) {
        return true;
    }
    fail_usage(command, "%s: there is no user '%s' on this machine (a number does as well)", what, text);
    return false;
}

const char *name_short(const char *name)
{
    static const char prefix[] = "\\\\.\\mailslot\\";
    size_t i = 0;
    while (i < sizeof(prefix) - 1 && tolower((unsigned char) name[i]) == prefix[i]) {
        i++;
    }
    return i == sizeof(prefix) - 1 ? name + i : name;
}
