/* plain_link_linux.c: a writer's link to a slot over the plain lane: one SOCK_SEQPACKET connection, a packet is a
 * message.
 *
 * Path    link_connect > rendezvous_connect
 *         link_send > the send buffer is raised, for a message that needs it > send > the reader's queue in the kernel
 *
 * Owners  Everything belongs to who may call link_send, but for `waker` (link_wake_linux.h).
 * L1      watched != NULL: it is the endpoint of `socket`, and owns it. Else the socket is the link's own.
 * L2      retired != NULL: the endpoint of a connection that was ended while link_watch was perhaps under way. Its
 *         socket is shut down, so that the watch completes. There is one at most: a new endpoint is made by link_watch
 *         only, whose caller's previous watch has completed, and then the retired one is closed first.
 * L3      pause_ns != 0: the kernel had no memory for a packet (ENOBUFS, ENOMEM). The socket polls writable all the
 *         same, so the wait is one of time: 1 ms, doubled up to 100 ms, until a send succeeds; only the reader's end
 *         and link_wake end it sooner. A large packet that is without memory for too long is too big.
 */
#include "slots/plain_link_linux.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "queue/memory.h"
#include "queue/status.h"
#include "slots/plain_linux.h"
#include "slots/rendezvous_linux.h"

#define PAUSE_FIRST_NS UINT64_C(1000000)
#define PAUSE_LAST_NS  UINT64_C(100000000)

/* What the kernel keeps of a send buffer for itself: a packet may have SO_SNDBUF less this. */
#define PACKET_OVERHEAD 32u

/* From here on a packet is large in this sense. */
#define PACKET_LARGE ((size_t) 64 << 10)

/* So often in a row may the kernel have no memory for one large packet until it counts as too big: some 6 s. */
#define PAUSES_MOST 64u

struct plain_link {
    struct slot_link base; /* first */
    int socket;
    size_t max_message; /* of the slot, or of the lane once its bound is known; 0 when not connected */
    size_t max_packet;  /* what the send buffer takes as it is */
    endpoint *watched;  /* L1 */
    endpoint *retired;  /* L2 */
    uint64_t pause_ns;  /* L3 */
    unsigned pauses;    /* L3, in a row */
};

int plain_link_make(slot_link **out)
{
    struct plain_link *l = memory_zalloc(sizeof *l);
    if (l == NULL)
        return status_fail_plain(MR_E_MEMORY);
    l->socket = NO_DESCRIPTOR;
    *out = &l->base;
    return MR_OK;
}

static size_t packet_room(int fd)
{
    int bytes = 0;
    socklen_t size = sizeof bytes;
    if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &size) < 0 || bytes < (int) PACKET_OVERHEAD)
        return 0;
    return (size_t) bytes - PACKET_OVERHEAD;
}

/* Raises the send buffer for a message of `length` bytes. Only who sends such messages has the larger buffer, because
 * it is what a reader that has stopped makes the kernel hold. */
static bool packet_room_raise(struct plain_link *l, size_t length)
{
    if (length > PLAIN_PACKET_MAX)
        return false;
    int half = (int) ((length + PACKET_OVERHEAD + 1) / 2); /* the kernel doubles it, and cuts it to what is allowed */
    if (setsockopt(l->socket, SOL_SOCKET, SO_SNDBUF, &half, sizeof half) < 0)
        return false;
    l->max_packet = packet_room(l->socket);
    return length <= l->max_packet;
}

int plain_link_connect(struct plain_link *l, uint64_t deadline)
{
    if (l->socket != NO_DESCRIPTOR)
        return MR_OK;
    struct slot_name name;
    int status = name_parse(&name, l->base.name);
    if (status != MR_OK)
        return status;
    int fd;
    struct slot_limits limits;
    status = rendezvous_connect(&name, RENDEZVOUS_PLAIN, l->base.reader_uid, deadline, &fd, &limits);
    if (status != MR_OK)
        return status;
    l->socket = fd;
    l->max_packet = packet_room(fd);
    l->max_message = limits.max_message < PLAIN_PACKET_MAX ? (size_t) limits.max_message : PLAIN_PACKET_MAX;
    l->pause_ns = 0;
    l->pauses = 0;
    return MR_OK;
}

bool plain_link_connected(const struct plain_link *l)
{
    return l->socket != NO_DESCRIPTOR;
}

void plain_link_disconnect(struct plain_link *l)
{
    if (l->socket == NO_DESCRIPTOR)
        return;
    if (l->watched != NULL) {
        assert(l->retired == NULL); /* L2 */
        (void) shutdown(l->socket, SHUT_RDWR);
        l->retired = l->watched;
        l->watched = NULL;
    } else {
        close(l->socket);
    }
    l->socket = NO_DESCRIPTOR;
    l->max_message = 0;
    l->pause_ns = 0;
}

size_t plain_link_max_message(const struct plain_link *l)
{
    return l->max_message;
}

static int too_big(const struct plain_link *l, size_t length)
{
    return status_fail(MR_E_TOO_BIG, 0, "%zu bytes; slot and plain lane take messages of up to %zu bytes", length,
                       l->max_message);
}

/* L3 */
static int send_no_memory(struct plain_link *l, size_t length)
{
    l->pause_ns = l->pause_ns == 0 ? PAUSE_FIRST_NS : l->pause_ns * 2;
    if (l->pause_ns > PAUSE_LAST_NS)
        l->pause_ns = PAUSE_LAST_NS;
    if (++l->pauses < PAUSES_MOST || length < PACKET_LARGE)
        return MR_E_FULL;
    l->pause_ns = 0;
    l->pauses = 0;
    return status_fail(MR_E_TOO_BIG, 0, "%zu bytes; the kernel has no memory for a packet of that size", length);
}

static int send_failed(struct plain_link *l, size_t length, int error)
{
    switch (error) {
    case EAGAIN:
        return MR_E_FULL;
    case ENOBUFS:
    case ENOMEM:
        return send_no_memory(l, length);
    case EMSGSIZE:
        return too_big(l, length);
    case EPIPE:
    case ECONNRESET:
    case ECONNREFUSED:
    case ENOTCONN:
        plain_link_disconnect(l);
        return MR_E_GONE;
    default:
        plain_link_disconnect(l);
        return status_fail(MR_E_SYSTEM, error, "cannot send to %s: %s", l->base.name, strerror(error));
    }
}

/* Has the slot closed its end? */
static bool peer_gone(const struct plain_link *l)
{
    struct pollfd peer = {.fd = l->socket};
    return poll(&peer, 1, 0) == 1 && (peer.revents & (POLLHUP | POLLERR)) != 0;
}

int plain_link_send(struct plain_link *l, const void *data, size_t length)
{
    if (l->socket == NO_DESCRIPTOR)
        return MR_E_GONE;
    if (length > l->max_message) {
        if (!peer_gone(l))
            return too_big(l, length);
        plain_link_disconnect(l); /* the next slot of the name may take it */
        return MR_E_GONE;
    }
    if (length > l->max_packet && !packet_room_raise(l, length)) {
        l->max_message = l->max_packet; /* the lane's bound is known now */
        return too_big(l, length);
    }
    ssize_t sent;
    do
        sent = send(l->socket, data, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return send_failed(l, length, errno);
    l->pause_ns = 0;
    l->pauses = 0;
    return MR_OK;
}

/* ---- waiting ---- */

int plain_link_wait(struct plain_link *l, uint64_t deadline)
{
    if (l->socket == NO_DESCRIPTOR)
        return MR_OK;
    uint64_t until = deadline;
    if (l->pause_ns != 0 && clock_now() + l->pause_ns < deadline)
        until = clock_now() + l->pause_ns; /* L3 */
    struct pollfd polled[] = {{.fd = l->socket, .events = l->pause_ns != 0 ? 0 : POLLOUT},
                              {.fd = waker_event(&l->base.waker), .events = POLLIN}};
    while (!waker_take(&l->base.waker)) {
        struct timespec left = time_until(until);
        int ready = ppoll(polled, 2, until == CLOCK_NEVER ? NULL : &left, NULL);
        if (ready < 0 && errno != EINTR) {
            int error = errno;
            (void) nanosleep(&(struct timespec){.tv_nsec = (long) PAUSE_FIRST_NS},
                             NULL); /* no memory: not at once again */
            return status_fail(MR_E_SYSTEM, error, "cannot wait for room in %s: %s", l->base.name, strerror(error));
        }
        if (ready > 0 && polled[0].revents != 0)
            return MR_OK;
        if (clock_now() >= until)
            return until == deadline ? MR_E_TIMEOUT : MR_OK;
    }
    return MR_OK;
}

enum started plain_link_watch(struct plain_link *l, port *p, operation *o)
{
    if (l->pause_ns != 0) /* L3 */
        return port_set_deadline(p, o, clock_now() + l->pause_ns);
    if (l->socket == NO_DESCRIPTOR) {
        o->status = MR_E_GONE;
        return STARTED_DONE;
    }
    if (l->watched == NULL) {
        if (l->retired != NULL)
            endpoint_close(l->retired);
        l->retired = NULL;
        int status = endpoint_open(&l->watched, p, l->socket);
        if (status != MR_OK) {
            l->watched = NULL;
            o->status = status;
            return STARTED_DONE;
        }
    }
    return port_watch(l->watched, o, WAIT_OUT);
}

/* A forked child closes descriptors only: the parent's port has its own registration of the socket. */
static void endpoint_end(endpoint *e, bool in_child)
{
    if (e == NULL)
        return;
    if (in_child)
        close((int) endpoint_handle(e));
    else
        endpoint_close(e);
}

void plain_link_clear(struct plain_link *l, bool in_child)
{
    if (l->socket != NO_DESCRIPTOR && l->watched == NULL)
        close(l->socket);
    endpoint_end(l->watched, in_child);
    endpoint_end(l->retired, in_child);
}
