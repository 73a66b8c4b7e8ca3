/* link_linux.c: a writer's link to a slot over the plain lane: one SOCK_SEQPACKET connection, a packet is a message.
 *
 * Path    link_connect > rendezvous_connect
 *         link_send > the send buffer is raised, for a message that needs it > send > the reader's queue in the kernel
 *
 * Owners  `socket` and `watched` belong to who may call link_send. `wake_*` are any thread's.
 * L1      watched != NULL: it is the endpoint of `socket`, and owns it. Else the socket is the link's own.
 * L2      retired != NULL: the endpoint of a connection that was ended while link_watch was perhaps under way. Its
 *         socket is shut down, so that the watch completes. There is one at most: a new endpoint is made by link_watch
 *         only, whose caller's previous watch has completed, and then the retired one is closed first.
 * L3      pause_ns != 0: the kernel had no memory for a packet (ENOBUFS, ENOMEM). The socket polls writable all the
 *         same, so the wait is one of time: 1 ms, doubled up to 100 ms, until a send succeeds; only the reader's end
 *         and link_wake end it sooner. A large packet that is without memory for too long is too big.
 * W1/K1   link_wake stores `woken`, then loads wake_event; link_wait stores wake_event, then exchanges `woken`. Both
 *         seq_cst: at least one of them sees the other, so no wake-up is lost. The event exists only once somebody has
 *         waited.
 */
#include "slots/backend.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
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

#define NO_SOCKET (-1)

struct slot_link {
    int socket;
    uint32_t reader_uid;
    size_t max_message; /* of the slot, or of the lane once its bound is known; 0 when not connected */
    size_t max_packet;  /* what the send buffer takes as it is */
    endpoint *watched;  /* L1 */
    endpoint *retired;  /* L2 */
    uint64_t pause_ns;  /* L3 */
    unsigned pauses;    /* L3, in a row */
    char *name;         /* as displayed; parsed anew at each connection, because a parsed name takes 7 KiB */
    _Atomic int wake_event;
    _Atomic bool woken;
};

static int name_keep(slot_link *l, const struct slot_name *name)
{
    char *copy = memory_strdup(name->display);
    if (copy == NULL)
        return status_fail_plain(MR_E_MEMORY);
    memory_free(l->name);
    l->name = copy;
    return MR_OK;
}

int link_open(slot_link **out, const struct link_config *config)
{
    if (config->name->kind != SLOT_NAME_LOCAL)
        return status_fail(MR_E_NAME, 0, "%s is on another machine, and this library has no remote lane",
                           config->name->display);
    slot_link *l = memory_zalloc(sizeof *l);
    if (l == NULL)
        return status_fail_plain(MR_E_MEMORY);
    l->socket = NO_SOCKET;
    l->reader_uid = config->options->reader_uid;
    atomic_init(&l->wake_event, NO_SOCKET);
    int status = name_keep(l, config->name);
    if (status != MR_OK) {
        memory_free(l);
        return status;
    }
    *out = l;
    return MR_OK;
}

bool link_is_named(const slot_link *l, const struct slot_name *name)
{
    struct slot_name mine;
    return name_parse(&mine, l->name) == MR_OK && name_equal(&mine, name);
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
static bool packet_room_raise(slot_link *l, size_t length)
{
    if (length > PLAIN_PACKET_MAX)
        return false;
    int half = (int) ((length + PACKET_OVERHEAD + 1) / 2); /* the kernel doubles it, and cuts it to what is allowed */
    if (setsockopt(l->socket, SOL_SOCKET, SO_SNDBUF, &half, sizeof half) < 0)
        return false;
    l->max_packet = packet_room(l->socket);
    return length <= l->max_packet;
}

int link_connect(slot_link *l, uint64_t deadline)
{
    if (l->socket != NO_SOCKET)
        return MR_OK;
    struct slot_name name;
    int status = name_parse(&name, l->name);
    if (status != MR_OK)
        return status;
    int fd;
    struct slot_limits limits;
    status = rendezvous_connect(&name, RENDEZVOUS_PLAIN, l->reader_uid, deadline, &fd, &limits);
    if (status != MR_OK)
        return status;
    l->socket = fd;
    l->max_packet = packet_room(fd);
    l->max_message = limits.max_message < PLAIN_PACKET_MAX ? (size_t) limits.max_message : PLAIN_PACKET_MAX;
    l->pause_ns = 0;
    l->pauses = 0;
    return MR_OK;
}

bool link_connected(const slot_link *l)
{
    return l->socket != NO_SOCKET;
}

void link_disconnect(slot_link *l)
{
    if (l->socket == NO_SOCKET)
        return;
    if (l->watched != NULL) {
        assert(l->retired == NULL); /* L2 */
        (void) shutdown(l->socket, SHUT_RDWR);
        l->retired = l->watched;
        l->watched = NULL;
    } else {
        close(l->socket);
    }
    l->socket = NO_SOCKET;
    l->max_message = 0;
    l->pause_ns = 0;
}

int link_rename(slot_link *l, const struct slot_name *name)
{
    if (name->kind != SLOT_NAME_LOCAL)
        return status_fail(MR_E_NAME, 0, "%s is on another machine, and this library has no remote lane",
                           name->display);
    int status = name_keep(l, name);
    if (status == MR_OK)
        link_disconnect(l);
    return status;
}

size_t link_max_message(const slot_link *l)
{
    return l->max_message;
}

static int too_big(const slot_link *l, size_t length)
{
    return status_fail(MR_E_TOO_BIG, 0, "%zu bytes; slot and plain lane take messages of up to %zu bytes", length,
                       l->max_message);
}

/* L3 */
static int send_no_memory(slot_link *l, size_t length)
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

static int send_failed(slot_link *l, size_t length, int error)
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
        link_disconnect(l);
        return MR_E_GONE;
    default:
        link_disconnect(l);
        return status_fail(MR_E_SYSTEM, error, "cannot send to %s: %s", l->name, strerror(error));
    }
}

/* Has the slot closed its end? */
static bool peer_gone(const slot_link *l)
{
    struct pollfd peer = {.fd = l->socket};
    return poll(&peer, 1, 0) == 1 && (peer.revents & (POLLHUP | POLLERR)) != 0;
}

int link_send(slot_link *l, const void *data, size_t length, uint32_t priority)
{
    (void) priority; /* a packet has none */
    if (l->socket == NO_SOCKET)
        return MR_E_GONE;
    if (length > l->max_message) {
        if (!peer_gone(l))
            return too_big(l, length);
        link_disconnect(l); /* the next slot of the name may take it */
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

/* The event that link_wake writes; without one (no descriptor left) a wait cannot be cut short. */
static int wake_event(slot_link *l)
{
    int event = atomic_load_explicit(&l->wake_event, memory_order_relaxed);
    if (event == NO_SOCKET) {
        event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        atomic_store_explicit(&l->wake_event, event, memory_order_seq_cst); /* W1 */
    }
    return event;
}

void link_wake(slot_link *l)
{
    atomic_store_explicit(&l->woken, true, memory_order_seq_cst); /* K1 */
    int event = atomic_load_explicit(&l->wake_event, memory_order_seq_cst);
    uint64_t one = 1;
    if (event != NO_SOCKET && write(event, &one, sizeof one) < 0)
        assert(errno == EAGAIN); /* it is set already */
}

static struct timespec time_until(uint64_t until)
{
    uint64_t now = clock_now();
    uint64_t left = until > now ? until - now : 0;
    return (struct timespec){.tv_sec = (time_t) (left / 1000000000u), .tv_nsec = (long) (left % 1000000000u)};
}

int link_wait(slot_link *l, uint64_t deadline)
{
    if (l->socket == NO_SOCKET)
        return MR_OK;
    int event = wake_event(l);
    uint64_t until = deadline;
    if (l->pause_ns != 0 && clock_now() + l->pause_ns < deadline)
        until = clock_now() + l->pause_ns; /* L3 */
    struct pollfd polled[] = {{.fd = l->socket, .events = l->pause_ns != 0 ? 0 : POLLOUT},
                              {.fd = event, .events = POLLIN}};
    while (!atomic_exchange_explicit(&l->woken, false, memory_order_seq_cst)) { /* W1 */
        struct timespec left = time_until(until);
        int ready = ppoll(polled, 2, until == CLOCK_NEVER ? NULL : &left, NULL);
        if (ready < 0 && errno != EINTR) {
            int error = errno;
            (void) nanosleep(&(struct timespec){.tv_nsec = (long) PAUSE_FIRST_NS},
                             NULL); /* no memory: not at once again */
            return status_fail(MR_E_SYSTEM, error, "cannot wait for room in %s: %s", l->name, strerror(error));
        }
        if (ready > 0 && polled[0].revents != 0)
            return MR_OK;
        if (clock_now() >= until)
            return until == deadline ? MR_E_TIMEOUT : MR_OK;
        if (ready > 0)
            break;
    }
    uint64_t count;
    if (event != NO_SOCKET && read(event, &count, sizeof count) < 0)
        assert(errno == EAGAIN); /* woken before it was written */
    atomic_store_explicit(&l->woken, false, memory_order_seq_cst);
    return MR_OK;
}

enum started link_watch(slot_link *l, port *p, operation *o)
{
    if (l->pause_ns != 0) /* L3 */
        return port_set_deadline(p, o, clock_now() + l->pause_ns);
    if (l->socket == NO_SOCKET) {
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

void link_close(slot_link *l, bool in_child)
{
    if (l->socket != NO_SOCKET && l->watched == NULL)
        close(l->socket);
    endpoint_end(l->watched, in_child);
    endpoint_end(l->retired, in_child);
    int event = atomic_load_explicit(&l->wake_event, memory_order_relaxed);
    if (event != NO_SOCKET)
        close(event);
    memory_free(l->name);
    memory_free(l);
}

/* ---- acknowledgement: this lane has none ---- */

bool link_acknowledges(const slot_link *l)
{
    (void) l;
    return false;
}

int link_keep(slot_link *l, const void *data, size_t length, uint32_t priority)
{
    (void) l, (void) data, (void) length, (void) priority;
    return status_fail_plain(MR_E_UNSUPPORTED);
}

void link_gap(slot_link *l, uint32_t priority, uint64_t count)
{
    (void) l, (void) priority, (void) count;
}

int link_tell_gaps(slot_link *l)
{
    (void) l;
    return MR_OK;
}

void link_mark(const slot_link *l, struct link_mark *mark)
{
    (void) l;
    *mark = (struct link_mark){0};
}

bool link_passed(slot_link *l, const struct link_mark *mark)
{
    (void) l, (void) mark;
    return true;
}

int link_await(slot_link *l, const struct link_mark *mark, uint64_t deadline)
{
    (void) l, (void) mark, (void) deadline;
    return MR_OK;
}

enum started link_watch_mark(slot_link *l, const struct link_mark *mark, port *p, operation *o)
{
    (void) l, (void) mark, (void) p;
    o->status = MR_OK;
    return STARTED_DONE;
}

uint64_t link_unacknowledged(slot_link *l)
{
    (void) l;
    return 0;
}

void link_get_counts(const slot_link *l, struct link_counts *counts)
{
    (void) l;
    *counts = (struct link_counts){0};
}
