/* slot_support_linux.c: slot_support.h with sockets, and slot_support_linux.h. */
#include "slot_support_linux.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

const bool slots_reach_other_machines = false;
const char *const slots_default_lane = "ring";
const bool slots_tell_connections = true;

static char directory[64];
static pid_t directory_owner;

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void) status;
    (void) type;
    (void) where;
    return remove(path);
}

static void remove_directory(void)
{
    if (getpid() == directory_owner)
        (void) nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

void slots_begin(void)
{
    snprintf(directory, sizeof directory, "/tmp/mr-test-XXXXXX");
    CHECK(mkdtemp(directory) != NULL);
    directory_owner = getpid();
    CHECK_EQ(setenv("MAILROOM_DIR", directory, 1), 0);
    CHECK_EQ(atexit(remove_directory), 0);
}

struct sockaddr_un plain_address(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    CHECK_STATUS(mr_slot_path(name, address.sun_path, sizeof address.sun_path), MR_OK);
    return address;
}

int plain_dial(const struct sockaddr_un *address)
{
    int client = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (client < 0)
        return -1;
    int result;
    do {
        result = connect(client, (const struct sockaddr *) address, sizeof *address);
    } while (result != 0 && errno == EINTR);
    if (result == 0)
        return client;
    int error = errno;
    close(client);
    errno = error;
    return -1;
}

int plain_connect(const char *name)
{
    struct sockaddr_un address = plain_address(name);
    int client = plain_dial(&address);
    CHECK_MSG(client >= 0, "connect to %s: %s", name, strerror(errno));
    return client;
}

void plain_send(int client, const void *data, size_t length)
{
    ssize_t sent;
    do {
        sent = send(client, data, length, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    CHECK_MSG(sent == (ssize_t) length, "send of %zu bytes: %zd, %s", length, sent, strerror(errno));
}

bool client_try(int client, const void *data, size_t length)
{
    mr_writer *writer = client_writer(client);
    if (writer == NULL)
        return send(client, data, length, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t) length;
    int status = mr_writer_write_timed(writer, data, length, MR_NORMAL, 0);
    CHECK(status == MR_OK || status == MR_E_TIMEOUT);
    return status == MR_OK;
}

void plain_close(int client)
{
    CHECK_EQ(close(client), 0);
}

bool plain_gone(int client)
{
    return send(client, "x", 1, MSG_NOSIGNAL) < 0;
}

void plain_await_end(int client)
{
    struct pollfd end = {.fd = client, .events = POLLRDHUP};
    while (poll(&end, 1, -1) <= 0)
        CHECK_EQ(errno, EINTR);
}

pid_t slots_fork(void (*body)(void *argument), void *argument)
{
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        body(argument);
        _exit(0);
    }
    return child;
}

void slots_join(pid_t child)
{
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        CHECK_EQ(errno, EINTR);
    CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child ended with wait status 0x%x", (unsigned) status);
}

size_t slots_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    CHECK(folder != NULL);
    size_t count = 0;
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count - 3; /* "." and ".." and the folder's own */
}

void slots_await_descriptors(size_t most)
{
    /* A thread's closing cannot be waited for by any event; the test's time limit ends this. */
    while (slots_descriptors() > most)
        usleep(1000);
}

int slots_lingering_socket(int *holder)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int small = 1;
    (void) setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    if (bind(listener, (struct sockaddr *) &address, length) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *) &address, &length) != 0)
        return -1;
    int client = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(client, (struct sockaddr *) &address, length) != 0)
        return -1;
    *holder = accept(listener, NULL, NULL);
    close(listener);
    struct linger hour = {.l_onoff = 1, .l_linger = 3600};
    (void) setsockopt(client, SOL_SOCKET, SO_LINGER, &hour, sizeof hour);
    static char data[65536];
    while (send(client, data, sizeof data, MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {}
    return client;
}
