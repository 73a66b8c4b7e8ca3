/* test_process_linux.c: a test as a child in a process group of its own.
 *
 * Path    posix_spawn > poll on the child's pidfd > kill what is left of its group > waitpid
 * I1      The child is reaped after its group has been killed, so that the group's number cannot be another's. */
#include "test_process.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static _Atomic pid_t running_group; /* lock-free: read by the signal handler */

/* The terminal's Ctrl-C reaches the runner's group only. */
static void stop_all(int number)
{
    pid_t group = atomic_load_explicit(&running_group, memory_order_relaxed);
    if (group > 0) {
        kill(-group, SIGKILL);
    }
    signal(number, SIG_DFL);
    raise(number);
}

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* 1 when the process has ended, 0 at the deadline, -1 with errno. */
static int await_end(pid_t child, unsigned seconds)
{
    int process = pidfd_open(child, 0);
    if (process < 0) {
        return -1;
    }
    struct pollfd wait = {.fd = process, .events = POLLIN};
    long long deadline = now_ms() + (long long) seconds * 1000;
    int result;
    do {
        long long left = deadline - now_ms();
        result = poll(&wait, 1, left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int) left);
    } while (result < 0 && errno == EINTR);
    close(process);
    return result;
}

static int spawn_test(const char *test, pid_t *child)
{
    static char run[] = "--run";
    static char self[] = "/proc/self/exe";
    char path[PATH_MAX];
    ssize_t length = readlink(self, path, sizeof(path) - 1);
    if (length < 0) {
        return errno;
    }
    path[length] = '\0';
    char *name = strdup(test);
    if (name == NULL) {
        return ENOMEM;
    }
    char *argv[] = {path, run, name, NULL};
    posix_spawnattr_t attributes;
    int error = posix_spawnattr_init(&attributes);
    if (error == 0) {
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
        posix_spawnattr_setpgroup(&attributes, 0);
        error = posix_spawn(child, path, NULL, &attributes, argv, environ);
        posix_spawnattr_destroy(&attributes);
    }
    free(name);
    return error;
}

struct test_result test_process_run(const char *test, unsigned seconds)
{
    signal(SIGINT, stop_all);
    signal(SIGTERM, stop_all);
    pid_t child;
    int error = spawn_test(test, &child);
    if (error != 0) {
        return (struct test_result){TEST_NOT_RUN, (unsigned) error};
    }
    atomic_store_explicit(&running_group, child, memory_order_relaxed);
    int ended = await_end(child, seconds);
    unsigned error_code = ended < 0 ? (unsigned) errno : 0;
    kill(-child, SIGKILL);
    atomic_store_explicit(&running_group, 0, memory_order_relaxed);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (ended <= 0) {
        return (struct test_result){ended == 0 ? TEST_TIMED_OUT : TEST_NOT_RUN, error_code};
    }
    if (WIFSIGNALED(status)) {
        return (struct test_result){TEST_CRASHED, (unsigned) WTERMSIG(status)};
    }
    return (struct test_result){TEST_ENDED, (unsigned) WEXITSTATUS(status)};
}
