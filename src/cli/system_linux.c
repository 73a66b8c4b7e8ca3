/* system_linux.c: signals, waiting, files, terminals and users on Linux.
 *
 * Path    signal handler or any thread ► eventfd ► poll in system_wait
 * Owners  wake_fd and the counter of interrupts belong to the process; system_wait to the main thread.
 * I1      A handler only adds to an atomic and writes to the eventfd, both allowed in handlers.
 * I2      The handler counts before it writes, system_wait reads the eventfd before it looks at the count: no request
 *         is missed.
 */
#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <sha256.h>

/* How long an output that nobody reads may hold up the end of the program. */
#define LAST_WRITE_MS 1000

static int wake_fd = -1;
static bool standard_closed[3];
static atomic_uint interrupts;

static void ring(void)
{
    uint64_t one = 1;
    /* A full counter means that it rings already. */
    if (write(wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN) {
        abort();
    }
}

static void on_signal(int number)
{
    int saved = errno;
    (void) number;
    atomic_fetch_add_explicit(&interrupts, 1, memory_order_seq_cst);
    ring();
    errno = saved;
}

/* A standard stream that is closed would otherwise become the number of the next file that is opened. */
static bool fill_standard_streams(void)
{
    for (int fd = 0; fd < 3; fd++) {
        if (fcntl(fd, F_GETFD) < 0) {
            standard_closed[fd] = true;
            if (open("/dev/null", O_RDWR | O_NOCTTY) != fd) {
                return false;
            }
        }
    }
    return true;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): on Windows it is written */
char **system_arguments(int *argc, char **argv)
{
    (void) argc;
    return argv; /* bytes; names that are no UTF-8 are refused where they are used */
}

bool system_start(void)
{
    if (!fill_standard_streams()) {
        return false;
    }
    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_fd < 0) {
        return false;
    }
    /* The thread sanitizer prepares for signals in a thread's first blocking call, and loses one that comes just then:
       that call is made here, before any signal is caught. */
    system_wait(0, -1, -1);
    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: a blocked write is to end */
    sigemptyset(&action.sa_mask);
    struct sigaction before;
    const int asked[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
        sigaction(asked[i], NULL, &before);
        /* What the shell or nohup told the program to ignore stays ignored. */
        if (before.sa_handler != SIG_IGN) {
            sigaction(asked[i], &action, NULL);
        }
    }
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
    return true;
}

unsigned system_interrupts(void)
{
    return atomic_load_explicit(&interrupts, memory_order_seq_cst);
}

uint64_t system_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t) now.tv_sec * 1000000000u + (uint64_t) now.tv_nsec;
}

uint64_t system_deadline(uint64_t milliseconds)
{
    return milliseconds >= UINT32_MAX ? SYSTEM_NEVER : system_now() + milliseconds * 1000000u;
}

void system_wake(void)
{
    ring();
}

unsigned system_wait(uint64_t deadline, int input, int output)
{
    static unsigned seen;
    struct pollfd polled[3] = {{wake_fd, POLLIN, 0}, {input, POLLIN, 0}, {output, 0, 0}};
    for (;;) {
        struct timespec left = {0, 0};
        uint64_t now = system_now();
        if (deadline > now) {
            left.tv_sec = (time_t) ((deadline - now) / 1000000000u);
            left.tv_nsec = (long) ((deadline - now) % 1000000000u);
        }
        int ready = ppoll(polled, 3, deadline == SYSTEM_NEVER ? NULL : &left, NULL);
        if (ready < 0 && errno != EINTR) {
            abort(); /* only a bad argument, or a kernel without memory for three descriptors */
        }
        if (ready == 0 && system_now() >= deadline) {
            return 0;
        }
        if (ready > 0) {
            break;
        }
    }
    unsigned result = 0;
    if (polled[0].revents != 0) {
        uint64_t count;
        if (read(wake_fd, &count, sizeof(count)) == (ssize_t) sizeof(count)) {
            result |= SYSTEM_WOKEN;
        }
        unsigned asked = system_interrupts();
        if (asked != seen) {
            seen = asked;
            result |= SYSTEM_INTERRUPTED;
        }
    }
    result |= polled[1].revents != 0 ? SYSTEM_INPUT : 0;
    result |= (polled[2].revents & (POLLERR | POLLHUP)) != 0 ? SYSTEM_OUTPUT_CLOSED : 0;
    return result;
}

bool system_pause(uint64_t milliseconds)
{
    uint64_t deadline = system_deadline(milliseconds);
    while (system_now() < deadline) {
        if ((system_wait(deadline, -1, -1) & SYSTEM_INTERRUPTED) != 0) {
            return false;
        }
    }
    return true;
}

long system_read(int descriptor, void *data, size_t size)
{
    ssize_t got;
    do {
        got = read(descriptor, data, size);
    } while (got < 0 && errno == EINTR && system_interrupts() == 0);
    return (long) got;
}

/* Room to write, or the time for a last write is over. */
static bool wait_writable(int descriptor)
{
    struct pollfd polled = {descriptor, POLLOUT, 0};
    int timeout = system_interrupts() > 0 ? LAST_WRITE_MS : -1;
    int ready = poll(&polled, 1, timeout);
    return ready != 0;
}

int system_write(int descriptor, const void *data, size_t length, size_t *written)
{
    const char *from = data;
    *written = 0;
    while (*written < length) {
        /* Asked to end: never again into a write that may block for good. */
        if (system_interrupts() > 0 && !wait_writable(descriptor)) {
            return EINTR;
        }
        size_t part = length - *written;
        if (system_interrupts() > 0 && part > PIPE_BUF) {
            part = PIPE_BUF;
        }
        ssize_t put = write(descriptor, from + *written, part);
        if (put >= 0) {
            *written += (size_t) put;
        } else if (errno == EAGAIN) {
            wait_writable(descriptor);
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

int system_create(const char *path, bool append)
{
    return open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | (append ? O_APPEND : O_TRUNC), 0644);
}

int system_close(int descriptor)
{
    return close(descriptor) != 0 ? errno : 0;
}

/* Makes a rename in the folder of `path` last. */
static int sync_folder(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 1 : slash == path ? 1 : (size_t) (slash - path);
    if (length >= sizeof(folder)) {
        return ENAMETOOLONG;
    }
    memcpy(folder, slash == NULL ? "." : path, length);
    folder[length] = '\0';
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return errno;
    }
    int error = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    return error;
}

int system_replace_file(const char *path, const void *data, size_t length, bool durable)
{
    char private_path[PATH_MAX];
    int written = snprintf(private_path, sizeof(private_path), "%s.new", path);
    if (written < 0 || (size_t) written >= sizeof(private_path)) {
        return ENAMETOOLONG;
    }
    int fd = open(private_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return errno;
    }
    size_t done = 0;
    int error = system_write(fd, data, length, &done);
    if (error == 0 && durable && fsync(fd) != 0) {
        error = errno;
    }
    if (close(fd) != 0 && error == 0) {
        error = errno;
    }
    if (error == 0 && rename(private_path, path) != 0) {
        error = errno;
    }
    if (error != 0) {
        unlink(private_path);
        return error;
    }
    return durable ? sync_folder(path) : 0;
}

long system_read_file(const char *path, char *data, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        return -1;
    }
    size_t length = 0;
    ssize_t got = 0;
    while (length < size && (got = read(fd, data + length, size - length)) > 0) {
        length += (size_t) got;
    }
    int error = got < 0 ? errno : length == size ? EFBIG : 0;
    close(fd);
    if (error != 0) {
        errno = error;
        return -1;
    }
    data[length] = '\0';
    return (long) length;
}

bool system_is_open(int descriptor)
{
    return descriptor >= 0 && (descriptor > 2 || !standard_closed[descriptor]);
}

bool system_terminal(int descriptor, unsigned *rows, unsigned *columns)
{
    const char *kind = getenv("TERM");
    struct winsize size;
    if (!isatty(descriptor) || kind == NULL || strcmp(kind, "dumb") == 0) {
        return false;
    }
    bool known = ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0;
    *rows = known ? size.ws_row : 24;
    *columns = known ? size.ws_col : 80;
    return true;
}

void system_error_text(int64_t error, char *buffer, size_t size)
{
    snprintf(buffer, size, "%s", strerror((int) error));
}

uint64_t system_raise_descriptors(uint64_t wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return 0;
    }
    if (limit.rlim_cur >= wanted) {
        return limit.rlim_cur;
    }
    struct rlimit raised = {wanted, limit.rlim_max > wanted ? limit.rlim_max : wanted};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) {
        return wanted;
    }
    raised = (struct rlimit){limit.rlim_max < wanted ? limit.rlim_max : wanted, limit.rlim_max};
    return setrlimit(RLIMIT_NOFILE, &raised) == 0 ? raised.rlim_cur : limit.rlim_cur;
}

bool system_numbers_users(void)
{
    return true;
}

static bool decimal_id(const char *text, uint32_t *id)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 10 || text[digits] != '\0') {
        return false;
    }
    unsigned long long value = strtoull(text, NULL, 10);
    if (value >= UINT32_MAX) {
        return false; /* (uid_t) -1 is nobody at all */
    }
    *id = (uint32_t) value;
    return true;
}

bool system_user_id(const char *text, uint32_t *uid)
{
    const struct passwd *entry = getpwnam(text);
    if (entry != NULL) {
        *uid = entry->pw_uid;
        return true;
    }
    return decimal_id(text, uid);
}

bool system_group_id(const char *text, uint32_t *gid)
{
    const struct group *entry = getgrnam(text);
    if (entry != NULL) {
        *gid = entry->gr_gid;
        return true;
    }
    return decimal_id(text, gid);
}

void system_user_name(uint32_t uid, char *buffer, size_t size)
{
    const struct passwd *entry = getpwuid(uid);
    if (entry != NULL) {
        snprintf(buffer, size, "%s", entry->pw_name);
    } else {
        snprintf(buffer, size, "%u", uid);
    }
}

uint32_t system_process_id(void)
{
    return (uint32_t) getpid();
}

void system_digest(const void *data, size_t length, char hexadecimal[65])
{
    SHA256_CTX context;
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256_Init(&context);
    SHA256_Update(&context, data, length);
    SHA256_Final(digest, &context);
    for (size_t i = 0; i < sizeof(digest); i++) {
        snprintf(hexadecimal + 2 * i, 3, "%02x", digest[i]);
    }
}
