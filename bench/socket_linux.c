/* socket_linux.c: Unix sockets and epoll for the peers that are nothing but the kernel's own means.
 *
 * Path    reader: source_set_open ► socket_bind_slot ► source_set_add ► source_set_run ► ready ► … ► source_set_close
 *         writer: socket_connect_slot ► socket_send
 * Owners  A source belongs to its set, and the set to the thread that runs it; source_set_wake alone comes from others.
 * I1      Every source of the set is in `sources` exactly once, but for `waker`, which is part of the set.
 */
#include "socket_linux.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "peer_tools.h"
#include "queue/memory.h"

#define EVENTS 64

static int slot_address(struct sockaddr_un *address, const struct peer_options *options, unsigned slot)
{
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    return peer_path(address->sun_path, sizeof address->sun_path, "", options, "slot", slot);
}

int socket_bind_slot(const struct peer_options *options, int type, unsigned slot)
{
    struct sockaddr_un address;
    if (slot_address(&address, options, slot) != MR_OK)
        return -1;
    int descriptor = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0) {
        (void) status_fail(MR_E_SYSTEM, errno, "socket failed: %s", strerror(errno));
        return -1;
    }
    if (bind(descriptor, (const struct sockaddr *) &address, sizeof address) != 0 ||
        (type == SOCK_SEQPACKET && listen(descriptor, SOMAXCONN) != 0)) {
        (void) status_fail(MR_E_SYSTEM, errno, "binding %s failed: %s", address.sun_path, strerror(errno));
        close(descriptor);
        return -1;
    }
    return descriptor;
}

int socket_connect_slot(const struct peer_options *options, int type, unsigned slot)
{
    struct sockaddr_un address;
    if (slot_address(&address, options, slot) != MR_OK)
        return -1;
    int descriptor = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (descriptor < 0) {
        (void) status_fail(MR_E_SYSTEM, errno, "socket failed: %s", strerror(errno));
        return -1;
    }
    int failed;
    do
        failed = connect(descriptor, (const struct sockaddr *) &address, sizeof address);
    while (failed != 0 && errno == EINTR);
    if (failed != 0) {
        (void) status_fail(MR_E_SYSTEM, errno, "connecting to %s failed: %s", address.sun_path, strerror(errno));
        close(descriptor);
        return -1;
    }
    return descriptor;
}

int socket_send(int descriptor, const void *data, size_t length)
{
    ssize_t sent;
    do
        sent = send(descriptor, data, length, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return status_fail(errno == EMSGSIZE ? MR_E_TOO_BIG : MR_E_SYSTEM, errno, "sending %zu bytes failed: %s",
                           length, strerror(errno));
    return MR_OK;
}

int source_set_open(struct source_set *set)
{
    *set = (struct source_set){-1, -1, NULL, {NULL, -1, 0, false}};
    set->epoll = epoll_create1(EPOLL_CLOEXEC);
    set->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &set->waker};
    if (set->epoll < 0 || set->wake < 0 || epoll_ctl(set->epoll, EPOLL_CTL_ADD, set->wake, &event) != 0) {
        int status = status_fail(MR_E_SYSTEM, errno, "making an epoll set failed: %s", strerror(errno));
        source_set_close(set);
        return status;
    }
    set->waker.descriptor = set->wake;
    return MR_OK;
}

int source_set_add(struct source_set *set, int descriptor, unsigned slot, bool listening)
{
    struct source *source = memory_alloc(sizeof *source);
    if (source == NULL) {
        close(descriptor);
        return status_fail(MR_E_MEMORY, 0, "no memory for a connection");
    }
    *source = (struct source){set->sources, descriptor, slot, listening};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};
    if (epoll_ctl(set->epoll, EPOLL_CTL_ADD, descriptor, &event) != 0) {
        int status = status_fail(MR_E_SYSTEM, errno, "epoll_ctl failed: %s", strerror(errno));
        close(descriptor);
        memory_free(source);
        return status;
    }
    set->sources = source;
    return MR_OK;
}

int source_set_accept(struct source_set *set, const struct source *listener)
{
    for (;;) {
        int descriptor = accept4(listener->descriptor, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (descriptor < 0) {
            if (errno == EAGAIN)
                return MR_OK;
            if (errno == EINTR || errno == ECONNABORTED)
                continue;
            return status_fail(MR_E_SYSTEM, errno, "accept failed: %s", strerror(errno));
        }
        int status = source_set_add(set, descriptor, listener->slot, false);
        if (status != MR_OK)
            return status;
    }
}

void source_set_remove(struct source_set *set, struct source *source)
{
    struct source **link = &set->sources;
    while (*link != source)
        link = &(*link)->next;
    *link = source->next;
    close(source->descriptor);
    memory_free(source);
}

void source_set_wake(struct source_set *set)
{
    uint64_t one = 1;
    /* It fails only when the counter is full, and then the reader is awake. */
    ssize_t written = write(set->wake, &one, sizeof one);
    (void) written;
}

void source_set_close(struct source_set *set)
{
    while (set->sources != NULL)
        source_set_remove(set, set->sources);
    if (set->wake >= 0)
        close(set->wake);
    if (set->epoll >= 0)
        close(set->epoll);
}

int source_set_run(struct source_set *set, source_ready ready, void *context, const atomic_bool *stop)
{
    struct epoll_event events[EVENTS];
    while (!atomic_load_explicit(stop, memory_order_acquire)) {
        int count = epoll_wait(set->epoll, events, EVENTS, -1);
        if (count < 0 && errno != EINTR)
            return status_fail(MR_E_SYSTEM, errno, "epoll_wait failed: %s", strerror(errno));
        for (int i = 0; i < count; i++) {
            struct source *source = events[i].data.ptr;
            if (source == &set->waker) {
                uint64_t rung;
                if (read(set->wake, &rung, sizeof rung) < 0 && errno != EAGAIN)
                    return status_fail(MR_E_SYSTEM, errno, "reading an eventfd failed: %s", strerror(errno));
                continue;
            }
            int status = source->listening ? source_set_accept(set, source) : ready(context, source);
            if (status != MR_OK)
                return status;
        }
    }
    return MR_OK;
}
