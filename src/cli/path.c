/* path.c: mailroom path: where plain programs connect to. */
#include <limits.h>
#include <stdio.h>

#include <mailroom/directory.h>

#include "command.h"

static const char help[] =
    "usage: mailroom path NAME\n"
    "\n"
    "Prints the path of the slot's Unix socket, for programs that do without the library: connect to it with\n"
    "SOCK_SEQPACKET, each packet is a message, an empty one included. In Python:\n"
    "\n"
    "  s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(path); s.send(b'door open')\n"
    "\n"
    "With socat:  echo door open | socat -u - UNIX-CONNECT:\"$(mailroom path alarms)\",type=5\n"
    "\n"
    "On Windows a slot has no socket (exit code 1): programs open \\\\.\\mailslot\\NAME itself.\n"
    "\n"
    "Exit codes: 0 done, 1 error, 2 usage, 4 no such slot, 5 not allowed.\n";

static const struct option options[] = {OPTION_HELP, {NULL, 0, NULL, 0}};

static int run(int argc, char **argv)
{
    int option = option_next(&command_path, argc, argv, options);
    if (option != -1) {
        return option == 'h' ? CLI_DONE : CLI_USAGE;
    }
    if (argc - optind != 1) {
        return fail_usage("path", "%s",
                          optind == argc ? "of which slot? mailroom path NAME"
                                         : "one NAME at a time; a name with blanks needs quotes around it");
    }
    char path[8192];
    int status = mr_slot_path(argv[optind], path, sizeof(path));
    if (status != MR_OK) {
        char about[MR_NAME_MAX + 32];
        snprintf(about, sizeof(about), "no path for %s", argv[optind]);
        return fail_status(status, about);
    }
    puts(path);
    return CLI_DONE;
}

const struct command command_path = {"path", "print the socket that plain programs connect to", help, run};
