/* scratch_linux.h: a slot directory of a test's own, and children to do things in. */
#ifndef TEST_SLOTS_SCRATCH_LINUX_H
#define TEST_SLOTS_SCRATCH_LINUX_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

#define SCRATCH_ROOM 128

/* A new directory that every user may pass through, but only this one may write to. */
static inline void scratch_make(char path[SCRATCH_ROOM])
{
    const char *base = getenv("TMPDIR");
    snprintf(path, SCRATCH_ROOM, "%.80s/mailroom-test-XXXXXX", base != NULL && base[0] == '/' ? base : "/tmp");
    CHECK_MSG(mkdtemp(path) != NULL, "mkdtemp %s: %s", path, strerror(errno));
    CHECK_EQ(chmod(path, 0755), 0);
}

/* The same, and MAILROOM_DIR is it. */
static inline void scratch_use(char path[SCRATCH_ROOM])
{
    scratch_make(path);
    CHECK_EQ(setenv("MAILROOM_DIR", path, 1), 0);
}

/* Removes the directory and what is in it. */
static inline void scratch_remove(const char *path)
{
    DIR *directory = opendir(path);
    CHECK_MSG(directory != NULL, "opendir %s: %s", path, strerror(errno));
    for (struct dirent *file; (file = readdir(directory)) != NULL;) {
        char *below = NULL;
        if (strcmp(file->d_name, ".") == 0 || strcmp(file->d_name, "..") == 0)
            continue;
        CHECK(asprintf(&below, "%s/%s", path, file->d_name) > 0);
        if (unlink(below) != 0)
            scratch_remove(below);
        free(below);
    }
    closedir(directory);
    CHECK_MSG(rmdir(path) == 0, "rmdir %s: %s", path, strerror(errno));
}

static inline size_t scratch_count(const char *path)
{
    size_t count = 0;
    DIR *directory = opendir(path);
    CHECK(directory != NULL);
    for (struct dirent *file; (file = readdir(directory)) != NULL;)
        count += file->d_name[0] != '.';
    closedir(directory);
    return count;
}

/* Runs `body` in a child, as user and group `uid` with the supplementary groups given (uid 0: as who we are), and returns
 * what it returns; 0 to 100. A child that does not come to its end is a failure. */
static inline int child_run_as(unsigned uid, const gid_t *groups, size_t group_count, int (*body)(void *),
                               void *argument)
{
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        if (uid != 0 &&
            (setgroups(group_count, groups) != 0 || setresgid(uid, uid, uid) != 0 || setresuid(uid, uid, uid) != 0))
            _exit(120);
        _exit(body(argument));
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        CHECK_EQ(errno, EINTR);
    CHECK_MSG(WIFEXITED(status), "the child died of signal %d", WTERMSIG(status));
    CHECK_MSG(WEXITSTATUS(status) != 120, "the child could not become user %u", uid);
    return WEXITSTATUS(status);
}

static inline int child_run(int (*body)(void *), void *argument)
{
    return child_run_as(0, NULL, 0, body, argument);
}

#define NEED_ROOT()                                                   \
    do {                                                              \
        if (geteuid() != 0)                                           \
            TEST_SKIP("needs two users, and so root to become them"); \
    } while (0)

#endif
