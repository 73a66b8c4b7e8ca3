/* test_stragglers_linux.c: nothing that a test has started outlives it.
 *
 * Path    test_stragglers_adopt before the first test > a test ends, its children fall to the runner
 *         > test_stragglers_end kills and reaps them, and what falls to the runner through that, until none is left.
 * A straggler would hold the runner's standard output open, and with it whoever reads that through a pipe. */
#include "test_process.h"

#include <dirent.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void test_stragglers_adopt(void)
{
    if (prctl(PR_SET_CHILD_SUBREAPER, 1UL, 0UL, 0UL, 0UL) != 0) {
        perror("prctl(PR_SET_CHILD_SUBREAPER)");
    }
}

/* The parent of a process, 0 when it cannot be told. */
static pid_t process_parent(pid_t process)
{
    char path[64];
    char line[1024];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int) process);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return 0;
    }
    size_t length = fread(line, 1, sizeof(line) - 1, file);
    fclose(file);
    line[length] = '\0';
    /* "pid (name) state parent …", and a name may contain anything. */
    char *rest = strrchr(line, ')');
    if (rest == NULL || strlen(rest) < 5) {
        return 0;
    }
    return (pid_t) strtol(rest + 4, NULL, 10);
}

static bool end_children(void)
{
    bool found = false;
    DIR *processes = opendir("/proc");
    if (processes == NULL) {
        return false;
    }
    const struct dirent *entry;
    while ((entry = readdir(processes)) != NULL) {
        pid_t process = (pid_t) strtol(entry->d_name, NULL, 10);
        if (process > 0 && process_parent(process) == getpid()) {
            kill(process, SIGKILL);
            waitpid(process, NULL, 0);
            found = true;
        }
    }
    closedir(processes);
    return found;
}

void test_stragglers_end(void)
{
    while (end_children()) {}
}
