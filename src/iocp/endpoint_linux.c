/* endpoint_linux.c: overlapped operations on handles, carried out when epoll says that they will succeed.
 *
 * Path    port_receive/… ─► tried at once ─► STARTED_DONE
 *                              └─ would block ─► ARMED, one-shot registration in epoll ─► STARTED_PENDING
 *         epoll's event ─► endpoint_event, on the worker that dequeued it ─► tried again ─► completed, or armed again
 *
 * Owners  An endpoint's lock guards its pending operations, their places and its registration. Both directions share
 *         one registration. Operations are tried under the lock: the calls do not block. Lock order: then the port's.
 *
 * E1  Each (re-)registration carries a new stamp in epoll's data, and so does closing. An event whose stamp is not the
 *     endpoint's present one belongs to an earlier registration, or to an earlier owner of the table's entry: it is
 *     ignored (C18). Nothing is lost by that: registering looks at the handle again.
 * E2  The registration's events are those of the ARMED operations, or it has fired and nothing is ARMED.
 * E3  One event completes one operation. With both directions ready the other is armed again, and has the next turn.
 * E4  pending[d] holds its operation until the packet has been taken out (C5), also while it is QUEUED.
 * E5  An operation found ARMED under the lock is completed by whoever found it: by its event, by cancel or by stop. */
#include "iocp/port_linux.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "queue/memory.h"

struct endpoint {
    mutex lock;
    port *port;
    uint32_t index;
    uint32_t stamp; /* E1 */
    int descriptor;
    bool is_socket;
    bool is_unix;
    bool is_message; /* keeps message boundaries */
    bool is_readable;
    bool is_writable;
    enum direction turn; /* E3 */
    operation *pending[2];
    endpoint *next_free;
};

static enum direction direction_of(enum kind kind)
{
    return kind == KIND_SEND || kind == KIND_WATCH_OUT ? OUTWARD : INWARD;
}

static bool armed(operation *o)
{
    return o != NULL && place_get(state_of(o)) == PLACE_ARMED;
}

/* The table */

static void chunk_find(uint32_t index, uint32_t *chunk, uint32_t *offset)
{
    uint32_t count = CHUNK_FIRST;
    *chunk = 0;
    while (index >= count) {
        index -= count;
        count *= 2;
        ++*chunk;
    }
    *offset = index;
}

static endpoint *endpoint_at(port *p, uint32_t index)
{
    uint32_t chunk, offset;
    chunk_find(index, &chunk, &offset);
    return atomic_load_explicit(&p->chunks[chunk], memory_order_acquire) + offset;
}

/* A chunk of closed endpoints. Their locks are made before the chunk is shown: a worker gets to them by an index out of
 * the kernel, and locks first. */
static endpoint *chunk_create(port *p, uint32_t chunk)
{
    uint32_t count = (uint32_t) CHUNK_FIRST << chunk;
    endpoint *entries = memory_calloc(count, sizeof *entries);
    if (entries == NULL)
        return NULL;
    for (uint32_t i = 0; i < count; i++) {
        entries[i].port = p;
        entries[i].descriptor = -1;
        mutex_init(&entries[i].lock);
    }
    atomic_store_explicit(&p->chunks[chunk], entries, memory_order_release);
    return entries;
}

static endpoint *endpoint_create(port *p)
{
    mutex_lock(&p->table_lock);
    endpoint *e = p->free;
    if (e != NULL) {
        p->free = e->next_free;
        mutex_unlock(&p->table_lock);
        return e;
    }
    uint32_t chunk, offset;
    chunk_find(p->endpoints, &chunk, &offset);
    endpoint *entries = chunk < CHUNKS ? atomic_load_explicit(&p->chunks[chunk], memory_order_relaxed) : NULL;
    if (entries == NULL && chunk < CHUNKS)
        entries = chunk_create(p, chunk);
    if (entries != NULL) {
        e = &entries[offset];
        e->index = p->endpoints++;
    }
    mutex_unlock(&p->table_lock);
    return e;
}

static void endpoint_destroy(endpoint *e)
{
    port *p = e->port;
    mutex_lock(&p->table_lock);
    e->next_free = p->free;
    p->free = e;
    mutex_unlock(&p->table_lock);
}

void endpoints_free(port *p)
{
    for (uint32_t chunk = 0; chunk < CHUNKS; chunk++) {
        endpoint *entries = atomic_load_explicit(&p->chunks[chunk], memory_order_relaxed);
        for (uint32_t i = 0; entries != NULL && i < (uint32_t) CHUNK_FIRST << chunk; i++) {
            assert(entries[i].descriptor == -1);
            mutex_destroy(&entries[i].lock);
        }
        memory_free(entries);
    }
}

/* Opening and closing */

/* Finds out what the descriptor is and makes it fit. 0 or an errno. */
static int endpoint_prepare(endpoint *e)
{
    int flags = fcntl(e->descriptor, F_GETFL);
    if (flags < 0 || fcntl(e->descriptor, F_SETFL, flags | O_NONBLOCK) != 0)
        return errno;
    e->is_readable = (flags & O_ACCMODE) != O_WRONLY;
    e->is_writable = (flags & O_ACCMODE) != O_RDONLY;
    int type = 0, domain = 0, on = 1;
    socklen_t length = sizeof type;
    e->is_socket = getsockopt(e->descriptor, SOL_SOCKET, SO_TYPE, &type, &length) == 0;
    length = sizeof domain;
    e->is_unix =
        e->is_socket && getsockopt(e->descriptor, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_UNIX;
    e->is_message = e->is_socket && (type == SOCK_SEQPACKET || type == SOCK_DGRAM);
    /* With it an empty message comes with credentials, and the end without (C6). */
    if (e->is_unix && setsockopt(e->descriptor, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0)
        return errno;
    return 0;
}

static int open_failed(int error)
{
    switch (error) {
    case EBADF:
    case EEXIST:
    case EINVAL: /* the port's own epoll descriptor */
        return status_fail(MR_E_ARGUMENT, error, "cannot associate the descriptor with the port: %s", strerror(error));
    case EPERM: /* regular files and directories */
    case ELOOP:
        return status_fail(MR_E_UNSUPPORTED, error, "epoll cannot wait for this kind of descriptor: %s",
                           strerror(error));
    case ENOMEM:
        return status_fail(MR_E_MEMORY, error, "no memory to associate a descriptor with the port");
    case ENOSPC:
        return status_fail(MR_E_DESCRIPTORS, error,
                           "the user's limit of descriptors in epoll sets is reached "
                           "(/proc/sys/fs/epoll/max_user_watches)");
    default:
        return status_fail(MR_E_SYSTEM, error, "cannot associate the descriptor with the port: %s", strerror(error));
    }
}

int endpoint_open(endpoint **out, port *p, os_handle handle)
{
    int descriptor = handle >= 0 && handle <= INT32_MAX ? (int) handle : -1;
    if (descriptor < 0)
        return open_failed(EBADF);
    endpoint *e = endpoint_create(p);
    if (e == NULL)
        return status_fail_plain(MR_E_MEMORY);

    mutex_lock(&e->lock);
    e->descriptor = descriptor;
    e->turn = INWARD;
    e->stamp++;
    struct epoll_event event = {.events = EPOLLONESHOT, .data.u64 = (uint64_t) e->stamp << 32 | e->index};
    int error = epoll_ctl(p->epoll, EPOLL_CTL_ADD, descriptor, &event) == 0 ? 0 : errno;
    if (error == 0) {
        error = endpoint_prepare(e);
        if (error != 0)
            (void) epoll_ctl(p->epoll, EPOLL_CTL_DEL, descriptor, NULL);
    }
    if (error != 0) {
        e->descriptor = -1;
        e->stamp++;
    }
    mutex_unlock(&e->lock);
    if (error != 0) {
        endpoint_destroy(e);
        return open_failed(error);
    }
    *out = e;
    return MR_OK;
}

os_handle endpoint_handle(const endpoint *e)
{
    return e->descriptor;
}

void endpoint_close(endpoint *e)
{
    mutex_lock(&e->lock);
    assert(e->pending[INWARD] == NULL && e->pending[OUTWARD] == NULL);
    e->stamp++; /* E1 */
    /* Not left to close: a duplicate of the descriptor, in a forked child say, would keep the registration. */
    (void) epoll_ctl(e->port->epoll, EPOLL_CTL_DEL, e->descriptor, NULL);
    (void) close(e->descriptor);
    e->descriptor = -1;
    mutex_unlock(&e->lock);
    endpoint_destroy(e);
}

/* Carrying out. Each returns whether the operation has completed, well or badly; false: it would block. */

static bool complete(operation *o, int status, int error, size_t bytes)
{
    o->status = status;
    o->os_error = error;
    o->bytes = bytes;
    return true;
}

static bool fail(operation *o, int error)
{
    switch (error) {
    case EAGAIN:
#if EWOULDBLOCK != EAGAIN
    case EWOULDBLOCK:
#endif
        return false;
    case EPIPE:
    case ECONNRESET:
    case ECONNREFUSED:
    case ENOTCONN:
        return complete(o, MR_E_GONE, error, 0);
    case EMSGSIZE:
        return complete(o, MR_E_TOO_BIG, error, 0);
    case EMFILE:
    case ENFILE:
        return complete(o, MR_E_DESCRIPTORS, error, 0);
    case ENOMEM:
    case ENOBUFS:
        return complete(o, MR_E_MEMORY, error, 0);
    default:
        return complete(o, MR_E_SYSTEM, error, 0);
    }
}

/* recvmsg with room for the sender's credentials and for nothing else: descriptors that come along are closed by the
 * kernel and never enter the process. *end is set when what was received is the end and not an empty message. */
static ssize_t message_receive(endpoint *e, void *buffer, size_t size, int flags, bool *end)
{
    union {
        char room[CMSG_SPACE(sizeof(struct ucred))];
        struct cmsghdr alignment;
    } control;
    struct iovec part = {.iov_base = buffer, .iov_len = size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (e->is_unix) {
        message.msg_control = control.room;
        message.msg_controllen = sizeof control.room;
    }
    ssize_t length;
    do {
        length = recvmsg(e->descriptor, &message, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (length < 0 && errno == EINTR);
    *end = length == 0 && e->is_unix && message.msg_controllen == 0;
    return length;
}

static bool try_receive_message(endpoint *e, operation *o, void *buffer, size_t size)
{
    /* The peer closed with our messages unread: an error that is told once, before what it had sent. Its messages
     * come first (C6), then the end. */
    int error = 0;
    for (;;) {
        bool end;
        ssize_t length = message_receive(e, NULL, 0, MSG_PEEK | MSG_TRUNC, &end);
        if (length > 0 && (size_t) length > size)
            return complete(o, MR_E_SMALL, 0, (size_t) length);
        if (length >= 0 && !end)
            length = message_receive(e, buffer, size, 0, &end);
        if (length < 0 && errno == ECONNRESET && error == 0)
            error = ECONNRESET;
        else if (length < 0)
            return fail(o, errno);
        else if (end)
            return complete(o, MR_E_GONE, error, 0);
        else
            return complete(o, MR_OK, 0, (size_t) length);
    }
}

static bool try_receive(endpoint *e, operation *o, void *buffer, size_t size)
{
    if (e->is_message)
        return try_receive_message(e, o, buffer, size);
    ssize_t length;
    do {
        length = e->is_socket ? recv(e->descriptor, buffer, size, MSG_DONTWAIT) : read(e->descriptor, buffer, size);
    } while (length < 0 && errno == EINTR);
    if (length < 0)
        return fail(o, errno);
    return length == 0 && size > 0 ? complete(o, MR_E_GONE, 0, 0) : complete(o, MR_OK, 0, (size_t) length);
}

static bool try_send(endpoint *e, operation *o, const void *data, size_t length)
{
    ssize_t sent;
    do {
        sent = send(e->descriptor, data, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? fail(o, errno) : complete(o, MR_OK, 0, (size_t) sent);
}

static bool try_accept(endpoint *e, operation *o)
{
    int accepted;
    do {
        accepted = accept4(e->descriptor, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    } while (accepted < 0 && (errno == EINTR || errno == ECONNABORTED || errno == EPROTO));
    if (accepted < 0 && (errno == EINVAL || errno == EOPNOTSUPP))
        return complete(o, MR_E_UNSUPPORTED, errno, 0);
    if (accepted < 0)
        return fail(o, errno);
    o->accepted = accepted;
    return complete(o, MR_OK, 0, 0);
}

static bool operation_try(endpoint *e, operation *o, const struct state *s)
{
    switch (s->kind) {
    case KIND_RECEIVE:
        return try_receive(e, o, s->buffer, s->size);
    case KIND_SEND:
        return try_send(e, o, s->buffer, s->size);
    case KIND_ACCEPT:
        return try_accept(e, o);
    case KIND_WATCH_IN:
    case KIND_WATCH_OUT:
        return false; /* its event completes it */
    }
    return false;
}

/* Registers for what is ARMED (E2). 0 or an errno. */
static int endpoint_arm(endpoint *e)
{
    uint32_t events = EPOLLONESHOT;
    bool any = false;
    for (enum direction d = INWARD; d <= OUTWARD; d++) {
        if (armed(e->pending[d])) {
            events |= d == INWARD ? EPOLLIN : EPOLLOUT;
            any = true;
        }
    }
    if (!any)
        return 0;
    e->stamp++;
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t) e->stamp << 32 | e->index};
    return epoll_ctl(e->port->epoll, EPOLL_CTL_MOD, e->descriptor, &event) == 0 ? 0 : errno;
}

/* Whether the handle can tell of that direction at all (C9), and take the operation. */
static bool operation_fits(const endpoint *e, enum kind kind)
{
    if (kind == KIND_SEND || kind == KIND_ACCEPT)
        return e->is_socket; /* writing to a pipe could raise SIGPIPE, and take half a message */
    if (kind == KIND_WATCH_OUT && e->is_socket) {
        int listening = 0;
        socklen_t length = sizeof listening;
        return getsockopt(e->descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) != 0 || !listening;
    }
    return direction_of(kind) == OUTWARD ? e->is_writable : e->is_readable;
}

/* The operation leaves the endpoint; its direction is free again. */
static void endpoint_forget(endpoint *e, operation *o, enum direction d)
{
    struct state *s = state_of(o);
    e->pending[d] = NULL;
    place_set(s, PLACE_IDLE);
    atomic_store_explicit(&s->endpoint, NULL, memory_order_relaxed);
}

/* Queues `o`, which is ARMED, with a result other than its own (E5). Returns whether the port is to be rung. */
static bool endpoint_abandon(endpoint *e, operation *o, int status, int error)
{
    (void) complete(o, status, error, 0);
    return packet_queue(e->port, o);
}

static enum started operation_start(endpoint *e, operation *o, enum kind kind, void *buffer, size_t size)
{
    struct state *s = state_of(o);
    enum direction d = direction_of(kind);
    enum started started = STARTED_DONE;
    results_clear(o);
    mutex_lock(&e->lock);
    if (atomic_load_explicit(&e->port->stopping, memory_order_relaxed)) {
        o->status = MR_E_STOPPED;
    } else if (e->pending[d] != NULL) {
        o->status = MR_E_ARGUMENT;
    } else if (!operation_fits(e, kind)) {
        o->status = MR_E_UNSUPPORTED;
    } else {
        assert(place_get(s) == PLACE_IDLE);
        s->kind = kind;
        s->buffer = buffer;
        s->size = size;
        if (!operation_try(e, o, s)) {
            place_set(s, PLACE_ARMED);
            e->pending[d] = o;
            atomic_store_explicit(&s->endpoint, e, memory_order_release);
            int error = endpoint_arm(e);
            if (error == 0) {
                started = STARTED_PENDING;
            } else {
                endpoint_forget(e, o, d);
                (void) complete(o, MR_E_SYSTEM, error, 0);
            }
        }
    }
    mutex_unlock(&e->lock);
    return started; /* pending: another thread may have freed the operation by now */
}

enum started port_receive(endpoint *e, operation *o, void *buffer, size_t size)
{
    return operation_start(e, o, KIND_RECEIVE, buffer, size);
}

enum started port_send(endpoint *e, operation *o, const void *data, size_t length)
{
    return operation_start(e, o, KIND_SEND, (void *) (uintptr_t) data, length);
}

enum started port_accept(endpoint *e, operation *o)
{
    return operation_start(e, o, KIND_ACCEPT, NULL, 0);
}

enum started port_watch(endpoint *e, operation *o, enum wait_direction direction)
{
    return operation_start(e, o, direction == WAIT_IN ? KIND_WATCH_IN : KIND_WATCH_OUT, NULL, 0);
}

/* Completing */

operation *endpoint_event(port *p, uint32_t index, uint32_t stamp, uint32_t events)
{
    endpoint *e = endpoint_at(p, index);
    operation *completed = NULL;
    bool ring = false;
    mutex_lock(&e->lock);
    if (e->stamp != stamp) { /* E1 */
        mutex_unlock(&e->lock);
        return NULL;
    }
    for (int i = 0; i < 2 && completed == NULL; i++) {
        enum direction d = i == 0 ? e->turn : e->turn == INWARD ? OUTWARD : INWARD;
        uint32_t ready = (d == INWARD ? EPOLLIN : EPOLLOUT) | EPOLLERR | EPOLLHUP;
        operation *o = e->pending[d];
        if (!armed(o) || (events & ready) == 0)
            continue;
        const struct state *s = state_of(o);
        if (s->kind == KIND_WATCH_IN || s->kind == KIND_WATCH_OUT || operation_try(e, o, s)) {
            endpoint_forget(e, o, d);
            e->turn = d == INWARD ? OUTWARD : INWARD; /* E3 */
            completed = o;
        }
    }
    int error = endpoint_arm(e);
    if (error != 0) /* C20: no event will come, so whoever waits for one is told */
        for (enum direction d = INWARD; d <= OUTWARD; d++)
            if (armed(e->pending[d]))
                ring |= endpoint_abandon(e, e->pending[d], MR_E_SYSTEM, error);
    mutex_unlock(&e->lock);
    if (ring)
        port_ring(p);
    return completed;
}

void endpoint_release(endpoint *e, operation *o)
{
    mutex_lock(&e->lock);
    endpoint_forget(e, o, e->pending[INWARD] == o ? INWARD : OUTWARD);
    mutex_unlock(&e->lock);
}

void endpoint_cancel(endpoint *e, operation *o)
{
    bool ring = false;
    mutex_lock(&e->lock);
    if ((e->pending[INWARD] == o || e->pending[OUTWARD] == o) && armed(o))
        ring = endpoint_abandon(e, o, MR_E_CANCELLED, 0);
    mutex_unlock(&e->lock);
    if (ring)
        port_ring(e->port);
}

void endpoints_stop(port *p)
{
    mutex_lock(&p->table_lock);
    uint32_t count = p->endpoints; /* what is opened from here on sees `stopping` at its first start */
    mutex_unlock(&p->table_lock);
    for (uint32_t i = 0; i < count; i++) {
        endpoint *e = endpoint_at(p, i);
        bool ring = false;
        mutex_lock(&e->lock);
        for (enum direction d = INWARD; d <= OUTWARD; d++)
            if (armed(e->pending[d]))
                ring |= endpoint_abandon(e, e->pending[d], MR_E_CANCELLED, 0);
        mutex_unlock(&e->lock);
        if (ring)
            port_ring(p);
    }
}
