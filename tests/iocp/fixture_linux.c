/* fixture_linux.c: the contract's tests on Linux: SOCK_SEQPACKET pairs and eventfds. */
#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "test.h"

bool fixture_can(enum fixture_ability ability)
{
    (void) ability;
    return true;
}

void fixture_threads(void)
{
}

void fixture_pair(os_handle *near_end, os_handle *far_end)
{
    int pair[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    *near_end = pair[0];
    *far_end = pair[1];
}

void fixture_far_send(os_handle far_end, const void *data, size_t length)
{
    CHECK_EQ(send((int) far_end, data, length, MSG_NOSIGNAL | MSG_DONTWAIT), (ssize_t) length);
}

int64_t fixture_far_receive(os_handle far_end, void *buffer, size_t size)
{
    /* An empty message and the end differ by the hang-up alone, which is there only once the queue is empty. */
    for (;;) {
        ssize_t length = recv((int) far_end, buffer, size, 0);
        if (length < 0 && errno == ECONNRESET)
            continue; /* told once, before what is left */
        CHECK_MSG(length >= 0, "recv: %s", strerror(errno));
        struct pollfd state = {.fd = (int) far_end, .events = POLLIN};
        CHECK(poll(&state, 1, 0) >= 0);
        return length == 0 && (state.revents & POLLHUP) != 0 ? -1 : length;
    }
}

void fixture_far_close(os_handle far_end)
{
    CHECK_EQ(close((int) far_end), 0);
}

os_handle fixture_listen(void)
{
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    CHECK(listener >= 0);
    struct sockaddr_un any = {.sun_family = AF_UNIX}; /* the system chooses an abstract name */
    CHECK_EQ(bind(listener, (struct sockaddr *) &any, sizeof any.sun_family), 0);
    CHECK_EQ(listen(listener, FIXTURE_ROOM), 0);
    return listener;
}

os_handle fixture_connect(os_handle listener)
{
    struct sockaddr_un address;
    socklen_t length = sizeof address;
    CHECK_EQ(getsockname((int) listener, (struct sockaddr *) &address, &length), 0);
    int far_end = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    CHECK(far_end >= 0);
    CHECK_EQ(connect(far_end, (struct sockaddr *) &address, length), 0);
    return far_end;
}

os_handle fixture_event(void)
{
    int event = eventfd(0, EFD_CLOEXEC);
    CHECK(event >= 0);
    return event;
}

void fixture_signal(os_handle event)
{
    uint64_t one = 1;
    CHECK_EQ(write((int) event, &one, sizeof one), sizeof one);
}

void fixture_unsignal(os_handle event)
{
    uint64_t count;
    CHECK_EQ(read((int) event, &count, sizeof count), sizeof count);
}

os_handle fixture_one_way(void)
{
    int ends[2];
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    return ends[0]; /* the other end stays open until the test's process ends */
}

os_handle fixture_closed(void)
{
    int event = eventfd(0, EFD_CLOEXEC);
    CHECK(event >= 0);
    CHECK_EQ(close(event), 0);
    return event;
}

enum started fixture_start_failing(endpoint *e, operation *o)
{
    void *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    return port_receive(e, o, page, 4096);
}

bool fixture_is_private(os_handle handle)
{
    int flags = fcntl((int) handle, F_GETFD);
    CHECK(flags >= 0);
    return (flags & FD_CLOEXEC) != 0;
}

void fixture_close(os_handle handle)
{
    CHECK_EQ(close((int) handle), 0);
}

uint64_t fixture_wakeups(const char *threads)
{
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks != NULL);
    uint64_t sum = 0;
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        char path[300], line[256];
        snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
        FILE *status = fopen(path, "re");
        if (status == NULL)
            continue; /* it has ended */
        bool ours = false;
        while (fgets(line, sizeof line, status) != NULL) {
            static const char name[] = "Name:\t", switches[] = "voluntary_ctxt_switches:\t";
            line[strcspn(line, "\n")] = '\0';
            if (strncmp(line, name, sizeof name - 1) == 0)
                ours = strcmp(line + sizeof name - 1, threads) == 0;
            else if (ours && strncmp(line, switches, sizeof switches - 1) == 0)
                sum += strtoull(line + sizeof switches - 1, NULL, 10);
        }
        fclose(status);
    }
    closedir(tasks);
    return sum;
}
