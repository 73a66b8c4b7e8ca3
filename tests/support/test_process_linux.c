/* test_process_linux.c: a test as a child process.
 *
 * Path    posix_spawn > poll on the child's pidfd until it ends or its time is up > kill > waitpid > stragglers
 * I1      The child is reaped last, so its number is nobody else's when it is killed. */
#include "test_process.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

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
        if (left < 0) {
            left = 0;
        }
        result = poll(&wait, 1, left > INT_MAX ? INT_MAX : (int) left);
    } while (result < 0 && errno == EINTR);
    close(process);
    return result;
}

static int spawn_test(const char *test, pid_t *child)
{
    static char run[] = "--run";
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
    if (length < 0) {
        return errno;
    }
    path[length] = '\0';
    char *name = strdup(test);
    if (name == NULL) {
        return ENOMEM;
    }
    char *argv[] = {path, run, name, NULL};
    int error = posix_spawn(child, path, NULL, NULL, argv, environ);
    free(name);
    return error;
}

struct test_result test_process_run(const char *test, unsigned seconds)
{
    pid_t child;
    test_stragglers_adopt();
    int error = spawn_test(test, &child);
    if (error != 0) {
        return (struct test_result){TEST_NOT_RUN, (unsigned) error};
    }
    int ended = await_end(child, seconds);
    unsigned wait_error = ended < 0 ? (unsigned) errno : 0;
    kill(child, SIGKILL);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    test_stragglers_end();
    if (ended <= 0) {
        return (struct test_result){ended == 0 ? TEST_TIMED_OUT : TEST_NOT_RUN, wait_error};
    }
    if (WIFSIGNALED(status)) {
        return (struct test_result){TEST_CRASHED, (unsigned) WTERMSIG(status)};
    }
    return (struct test_result){TEST_ENDED, (unsigned) WEXITSTATUS(status)};
}
