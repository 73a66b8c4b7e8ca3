/* command.h: what the commands of the program mailroom have in common: exit codes, errors, arguments.
 *
 * Each command is one file with one `struct command`; main.c picks it by its name. Every wrong argument is answered
 * with its own text and the remedy on standard error, and exit code 2. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <getopt.h>

#include <mailroom/reader.h>

#include "queue/printf_format.h"

/* Exit codes, part of the interface. */
enum exit_code { CLI_DONE = 0, CLI_ERROR = 1, CLI_USAGE = 2, CLI_TIMEOUT = 3, CLI_NO_SLOT = 4, CLI_NOT_ALLOWED = 5 };

struct command {
    const char *name;
    const char *summary;               /* one line for `mailroom --help` */
    const char *help;                  /* the whole text of `mailroom NAME --help` */
    int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns an exit code */
};

extern const struct command command_listen;
extern const struct command command_send;
extern const struct command command_list;
extern const struct command command_path;
extern const struct command command_hub;

/* Prints "mailroom: TEXT" and returns CLI_ERROR. */
PRINTF_FORMAT(1, 2) int fail(const char *format, ...);

/* Prints what the library says about its last error on this thread, and returns the exit code for `status`. `about`
 * is what was being done, "listening on a" for example. */
int fail_status(int status, const char *about);

/* Prints "mailroom COMMAND: TEXT" with a hint at --help and returns CLI_USAGE. */
PRINTF_FORMAT(2, 3) int fail_usage(const char *command, const char *format, ...);

/* Prints a remark on standard error: no error, and nothing that a script reads. */
PRINTF_FORMAT(1, 2) void remark(const char *format, ...);

/* getopt_long for a command: the option's character, 'h' for --help (already printed, end with CLI_DONE), -1 at the
 * end, or '?' after an error that has been printed. `options` ends with a zero entry and contains OPTION_HELP. */
#define OPTION_HELP                    \
    {                                  \
        "help", no_argument, NULL, 'h' \
    }
int option_next(const struct command *command, int argc, char **argv, const struct option *options);

/* Reads a decimal number from `minimum` to `maximum`, nothing before or behind it. On an error prints what is wrong
 * with `what` ("--count") and returns false. */
bool argument_number(const char *command, const char *what, const char *text, uint64_t minimum, uint64_t maximum,
                     uint64_t *number);

/* Who may write, from `owner | group[:NAME] | everyone | list:USER,@GROUP,… | sddl:TEXT`. The lists live in `rule`. */
#define ACCESS_LIST_MAX 64
struct access_rule {
    mr_access access;
    uint32_t group;
    uint32_t uids[ACCESS_LIST_MAX];
    uint32_t gids[ACCESS_LIST_MAX];
    size_t uid_count;
    size_t gid_count;
    const char *sddl; /* NULL: none; borrowed from the arguments */
};
bool argument_access(const char *command, const char *text, struct access_rule *rule);
/* Enters the rule into the options, which borrow its lists. */
void access_apply(const struct access_rule *rule, mr_reader_options *options);

/* A user by name or number. */
bool argument_user(const char *command, const char *what, const char *text, uint32_t *uid);

/* A slot's name without `\\.\mailslot\`: what every command takes and what people read. */
const char *name_short(const char *name);

#endif
