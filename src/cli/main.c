/* main.c: the program mailroom: picks the command. */
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include <mailroom/version.h>

#include "command.h"
#include "system.h"

static const struct command *const commands[] = {&command_listen, &command_send, &command_list, &command_path,
                                                 &command_hub};

static void print_help(FILE *stream)
{
    fprintf(stream, "usage: mailroom COMMAND [options] [arguments]\n"
                    "\n"
                    "Mailslots for programs: many writers, one reader, whole messages, found by name.\n"
                    "\n");
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        fprintf(stream, "  %-8s  %s\n", commands[i]->name, commands[i]->summary);
    }
    fprintf(
        stream,
        "\n"
        "mailroom COMMAND --help tells all about a command, mailroom --version the version.\n"
        "\n"
        "A NAME is any text, as in alarms or door/front; case makes no difference. \\\\.\\mailslot\\alarms is the\n"
        "same slot as alarms. The folder of the slots is looked for in the environment variable MAILROOM_DIR first.\n"
        "\n"
        "Exit codes: 0 done, 1 error, 2 usage, 3 time-out, 4 no such slot, 5 not allowed.\n");
}

static int wrong_command(const char *name)
{
    char list[256];
    int length = 0;
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        length +=
            snprintf(list + length, sizeof(list) - (size_t) length, "%s %s", i == 0 ? "" : ",", commands[i]->name);
    }
    fail("there is no command '%s'; there are%s (mailroom --help)", name, list);
    return CLI_USAGE;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i]->name, name) == 0) {
            return commands[i];
        }
    }
    return NULL;
}

/* --help and --version, too, are lost without a word if nobody could print them. */
static int finish_output(int code)
{
    if (fflush(stdout) != 0 && errno != EPIPE && code == CLI_DONE) {
        return fail("cannot write to standard output: %s", strerror(errno));
    }
    return code;
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, "");
    argv = system_arguments(&argc, argv);
    if (argv == NULL) {
        return fail("cannot read the arguments: %s", strerror(errno));
    }
    if (argc < 2) {
        fprintf(stderr, "mailroom: which command?\n\n");
        print_help(stderr);
        return CLI_USAGE;
    }
    if (!system_start()) {
        return fail("cannot start: %s", strerror(errno));
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("mailroom %s\n", MR_VERSION_STRING);
        return finish_output(CLI_DONE);
    }
    bool help = strcmp(name, "help") == 0;
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || (help && argc == 2)) {
        print_help(stdout);
        return finish_output(CLI_DONE);
    }
    const struct command *command = find_command(help ? argv[2] : name);
    if (command == NULL) {
        return wrong_command(help ? argv[2] : name);
    }
    if (help) {
        printf("%s", command->help);
        return finish_output(CLI_DONE);
    }
    return finish_output(command->run(argc - 1, argv + 1));
}
