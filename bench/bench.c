/* bench.c: picks the command, and lists the peers. */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <mailroom/version.h>

#include "process.h"
#include "progress.h"
#include "say.h"

static const struct command *const commands[] = {
    &command_throughput, &command_latency, &command_fan_in, &command_burst, &command_soak,
    &command_memory,     &command_compare, &command_rows,   &command_plot,  &command_peers,
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static char directory[PEER_TEXT_ROOM];

const char *bench_directory(void)
{
    if (directory[0] == '\0') {
        int status = directory_make(directory);
        if (status != MR_OK) {
            directory[0] = '\0';
            fail_status(status, NULL);
            return NULL;
        }
    }
    return directory;
}

const struct peer *peer_find(const char *name)
{
    for (size_t i = 0; i < peer_count; i++) {
        if (strcmp(peers[i]->name, name) == 0) {
            return peers[i];
        }
    }
    return NULL;
}

const struct limit *limit_find(const char *name)
{
    for (size_t i = 0; i < limit_count; i++) {
        if (strcmp(limits[i]->name, name) == 0) {
            return limits[i];
        }
    }
    return NULL;
}

static void peer_line(const char *name, const char *summary, const char *missing)
{
    printf("  %-16s %s\n", name, summary);
    if (missing != NULL) {
        printf("  %-16s not here: %s\n", "", missing);
    }
}

static int run_peers(int argc, char **argv)
{
    struct options options;
    options_default(&options);
    int code = options_read(&command_peers, argc, argv, &options);
    if (code >= 0) {
        return code;
    }
    printf("Ways of sending messages:\n");
    for (size_t i = 0; i < peer_count; i++) {
        peer_line(peers[i]->name, peers[i]->summary, peers[i]->missing);
    }
    printf("What the machine can do:\n");
    for (size_t i = 0; i < limit_count; i++) {
        peer_line(limits[i]->name, limits[i]->summary, limits[i]->missing);
    }
    return BENCH_DONE;
}

const struct command command_peers = {
    "peers", "list the peers and limits that compare knows",
    "usage: mailroom-bench peers\n"
    "\n"
    "Lists what can be compared, what exactly each is, and what was not found when the program was built.\n",
    0, run_peers};

static void print_help(FILE *stream)
{
    fprintf(stream,
            "usage: mailroom-bench COMMAND [options]\n"
            "\n"
            "Puts load on Mailroom's slots and measures it, beside other ways of sending messages. Every message\n"
            "carries its writer, its number and a checksum: each run counts what was lost, repeated, out of order or\n"
            "garbled, and says so.\n"
            "\n");
    for (size_t i = 0; i < COMMANDS; i++) {
        fprintf(stream, "  %-10s  %s\n", commands[i]->name, commands[i]->summary);
    }
    fprintf(
        stream,
        "\n"
        "mailroom-bench COMMAND --help tells all about a command, mailroom-bench --version the version.\n"
        "\n"
        "Exit codes: 0 done, 1 error, 2 usage, 3 messages lost, repeated, out of order or garbled, 4 no such slot,\n"
        "5 not allowed, 6 the memory grew (soak).\n");
}

static int finish(int code)
{
    progress_clear();
    if (directory[0] != '\0') {
        directory_remove(directory);
        directory[0] = '\0';
    }
    if (fflush(stdout) != 0 && errno != EPIPE && code == BENCH_DONE) {
        return fail("cannot write to standard output: %s", strerror(errno));
    }
    return code;
}

int bench_main(int argc, char **argv)
{
    int code = process_main(argc, argv);
    if (code >= 0) {
        return code;
    }
    if (argc < 2) {
        fprintf(stderr, "mailroom-bench: which command?\n\n");
        print_help(stderr);
        return BENCH_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        printf("mailroom-bench %s\n", MR_VERSION_STRING);
        return finish(BENCH_DONE);
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(stdout);
        return finish(BENCH_DONE);
    }
    process_prepare();
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i]->name, argv[1]) == 0) {
            return finish(commands[i]->run(argc - 1, argv + 1));
        }
    }
    fail("there is no command '%s' (mailroom-bench --help lists them)", argv[1]);
    return BENCH_USAGE;
}
