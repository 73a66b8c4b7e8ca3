/* replay.c: runs a fuzzer over files that are kept, without libFuzzer: a test for every compiler and checker.
 *
 *     PROGRAM FOLDER-OR-FILE…
 *
 * Each file runs in this one process, so what one of them leaves behind meets the next. Prints the runners' line. */
#include "program.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FILE_LIMIT ((long) 1 << 20)
#define HANG_GUARD 60u /* seconds for one file */

static unsigned files;

static void replay_fail(const char *path)
{
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    exit(2);
}

static void replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        replay_fail(path);
    uint8_t *bytes = malloc((size_t) FILE_LIMIT);
    if (bytes == NULL)
        replay_fail(path);
    size_t size = fread(bytes, 1, (size_t) FILE_LIMIT, file);
    if (ferror(file) != 0)
        replay_fail(path);
    (void) fclose(file);
    /* Said before, so that it can be read whatever happens; kept to one line per file that fails. */
    fprintf(stderr, "\r%s ", path);
    alarm(HANG_GUARD);
    (void) LLVMFuzzerTestOneInput(bytes, size);
    alarm(0);
    free(bytes);
    files++;
}

static int by_name(const struct dirent **one, const struct dirent **other)
{
    return strcmp((*one)->d_name, (*other)->d_name);
}

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void replay_path(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0)
        replay_fail(path);
    if (!S_ISDIR(status.st_mode)) {
        replay_file(path);
        return;
    }
    struct dirent **entries;
    int count = scandir(path, &entries, visible, by_name);
    if (count < 0)
        replay_fail(path);
    for (int i = 0; i < count; i++) {
        char *below = NULL;
        if (asprintf(&below, "%s/%s", path, entries[i]->d_name) < 0)
            replay_fail(path);
        replay_file(below);
        free(below);
        free(entries[i]);
    }
    free(entries);
}

int main(int count, char **arguments)
{
    for (int i = 1; i < count; i++)
        replay_path(arguments[i]);
    fprintf(stderr, "\n");
    if (files == 0) {
        fprintf(stderr, "no file to run\n");
        return 2;
    }
    printf("[====] Synthesis: Tested: %u | Passing: %u | Failing: 0 | Crashing: 0 \n", files, files);
    return 0;
}
