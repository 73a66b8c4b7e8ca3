/* ring_accept_linux.c: who gets a ring: access rule, quota, hello, memory, ceilings; and how it ends.
 *
 * Path    listener readable > slot_accept > ring_admit: access_check > quota > hello, if it is there already
 *         > else a guest in the inner set > ring_hear_guests > hello
 *         hello > geometry > ceiling > memory (confirmed by the kernel) > doorbell > session > ANSWER > inner set, active
 *         a refusal at any point > ANSWER with the reason > hang up, counted
 * Owners  The taking thread. A socket belongs to its guest, then to its session; who is refused has it closed here.
 * I1      Guests and sessions count in the quota of their user from being let in to being closed, and are charged to the pool.
 * I2      A session's memory is counted in the ceiling from before it is mapped until after it is unmapped.
 * I3      Who is refused is told why, if its socket has room for it (it has: nothing else was sent), and its part of
 *         the turn is spent.
 * I4      A writer that has died, or hung up, by the time of its answer is accepted all the same: what it had committed
 *         is drained.
 * Hostile Everything in the hello is the peer's to choose. The geometry is checked before anything is computed with it, the
 *         memory by the kernel's word; the writer's identity is only a number: it names nobody (pid, uid and gid are the
 *         kernel's), so a peer that takes another's confuses those who look at it, as if it sent under a wrong name.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "queue/memory.h"
#include "queue/status.h"
#include "slots/ring_barrier_linux.h"
#include "slots/ring_ceiling.h"
#include "slots/slot_linux.h"

/* ---- answers ---- */

static int answer_send(const slot *s, int socket, int status, uint32_t ring_bytes, int doorbell)
{
    struct ring_answer answer = {
        .status = status, .levels = s->levels, .max_message = s->max_message, .ring_bytes = ring_bytes};
    ring_packet_init(&answer.packet, PACKET_ANSWER, ring_barrier_prepare() ? RING_FLAG_BARRIER : 0);
    return ring_packet_send(socket, &answer, sizeof answer, doorbell);
}

/* Nothing more comes from it; descriptors that lie in its queue may block whoever closes them. */
static void hang_up(int socket)
{
    (void) shutdown(socket, SHUT_RDWR);
    (void) plain_drain(socket);
    close(socket);
}

static void refuse(slot *s, int socket, int status, uint32_t ring_bytes)
{
    switch (status) {
    case MR_E_ACCESS:
        count_add(&s->counts.refused_access, 1);
        break;
    case MR_E_FULL:
        count_add(&s->counts.refused_quota, 1);
        break;
    case MR_E_ARGUMENT:
        count_add(&s->counts.violations, 1);
        break;
    default:
        count_add(&s->counts.refused_descriptors, 1);
        break;
    }
    (void) answer_send(s, socket, status, ring_bytes, -1); /* where it cannot be told, the hang-up says it */
    hang_up(socket);
}

/* ---- sessions ---- */

static void session_enter(slot *s, struct ring_session *x)
{
    mutex_lock(&s->writers);
    x->next = s->sessions;
    if (x->next != NULL)
        x->next->previous = x;
    s->sessions = x;
    mutex_unlock(&s->writers);
    count_add(&s->counts.connections, 1);
    count_add(&s->counts.rings, 1);
    count_add(&s->counts.ring_bytes, ring_memory_bytes(&x->geometry));
}

/* Both of its descriptors; edge-triggered (slot_take_linux.c, I1). */
static bool session_watch(slot *s, struct ring_session *x)
{
    struct epoll_event socket = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = &x->socket_source};
    struct epoll_event doorbell = {.events = EPOLLIN | EPOLLET, .data.ptr = &x->doorbell_source};
    if (epoll_ctl(s->inner, EPOLL_CTL_ADD, x->doorbell, &doorbell) != 0)
        return false;
    if (epoll_ctl(s->inner, EPOLL_CTL_ADD, x->socket, &socket) == 0)
        return true;
    (void) epoll_ctl(s->inner, EPOLL_CTL_DEL, x->doorbell, NULL);
    return false;
}

void slot_drop(slot *s, struct ring_session *x)
{
    KILL_POINT(reader, drop);
    (void) epoll_ctl(s->inner, EPOLL_CTL_DEL, x->socket, NULL); /* slot_take_linux.c, I5 */
    (void) epoll_ctl(s->inner, EPOLL_CTL_DEL, x->doorbell, NULL);
    turn_remove(&s->ready, &x->turn);
    turn_remove(&s->resting, &x->turn);
    turn_remove(&s->urgent, &x->urgent_turn);
    if (s->sleeper == x)
        s->sleeper = NULL;
    for (uint32_t level = 0; level < x->geometry.levels; level++)
        watch_remove(s, &x->levels[level]);
    if (x->name < s->name && !x->taken)
        s->old--;
    mutex_lock(&s->writers);
    if (x->next != NULL)
        x->next->previous = x->previous;
    if (x->previous != NULL)
        x->previous->next = x->next;
    else
        s->sessions = x->next;
    mutex_unlock(&s->writers);
    struct ring_geometry geometry = x->geometry;
    uint32_t uid = x->sender.uid;
    ring_session_free(x);
    ring_ceiling_return(uid, &geometry);
    uid_leave(s, uid);
    pool_uncharge(s->pool, RING_SESSION_CHARGE);
    count_add(&s->counts.connections, (uint64_t) -1);
    count_add(&s->counts.rings, (uint64_t) -1);
    count_add(&s->counts.ring_bytes, (uint64_t) -ring_memory_bytes(&geometry));
    slot_mask_again(s);
    KILL_POINT(reader, dropped);
}

void slot_drop_violator(slot *s, struct ring_session *x)
{
    count_add(&s->counts.violations, 1);
    slot_drop(s, x);
}

/* ---- the hello ---- */

static bool hello_valid(const struct ring_hello *hello)
{
    if (!ring_geometry_valid(&hello->geometry) || hello->writer == 0)
        return false;
    for (uint32_t level = 0; level < hello->geometry.levels; level++) {
        if (hello->sequence[level] == 0)
            return false;
    }
    return true;
}

/* Makes the session; it is in the ceiling already. MR_OK, or why not; the socket is still the caller's then. */
static int session_make(slot *s, struct ring_guest_facts *facts, int memory_fd, struct ring_session **session)
{
    const struct ring_geometry *geometry = &facts->hello->geometry;
    int status = ring_memory_take(geometry, memory_fd, &facts->memory);
    if (status != MR_OK)
        return status;
    KILL_POINT(reader, mapped);
    facts->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (facts->doorbell < 0) {
        ring_memory_free(geometry, facts->memory);
        return MR_E_DESCRIPTORS;
    }
    struct ring_session *x = ring_session_new(s, facts);
    if (x == NULL || !session_watch(s, x)) {
        close(facts->doorbell);
        if (x != NULL)
            ring_session_discard(x);
        ring_memory_free(geometry, facts->memory);
        return MR_E_MEMORY;
    }
    *session = x;
    return MR_OK;
}

/* The guest has said its hello: it becomes a session, or is refused; the socket is ours either way. */
static void hello_take(slot *s, int socket, const struct access_peer *peer, const struct ring_hello *hello,
                       int memory_fd)
{
    struct ring_guest_facts facts = {
        .sender = {.writer = hello->writer, .pid = peer->pid, .uid = peer->uid, .gid = peer->gid},
        .hello = hello,
        .socket = socket,
        .barrier = (hello->packet.flags & RING_FLAG_BARRIER) != 0 && ring_barrier_prepare()};
    struct ring_session *x = NULL;
    uint32_t allowed = 0;
    int status = hello_valid(hello) ? MR_OK : MR_E_ARGUMENT;
    if (status == MR_OK && !ring_ceiling_take(peer->uid, &hello->geometry, &allowed))
        status = MR_E_FULL;
    if (status == MR_OK) {
        status = session_make(s, &facts, memory_fd, &x);
        if (status != MR_OK)
            ring_ceiling_return(peer->uid, &hello->geometry);
    }
    if (status == MR_OK)
        close(memory_fd);
    else
        janitor_close(&memory_fd, 1); /* it may be anything, where nobody has asked the kernel about it */
    if (status != MR_OK) {
        uid_leave(s, peer->uid);
        pool_uncharge(s->pool, RING_SESSION_CHARGE);
        refuse(s, socket, status, allowed);
        return;
    }
    session_enter(s, x);
    KILL_POINT(reader, entered);
    (void) answer_send(s, socket, MR_OK, 0, x->doorbell); /* I4 */
    KILL_POINT(reader, answered);
    slot_activate(s, x); /* what it has committed until now came without a doorbell */
}

/* What the guest has sent. False: nothing yet. */
static bool guest_hear(slot *s, int socket, const struct access_peer *peer)
{
    union ring_any_packet packet;
    int memory_fd = -1;
    int status = ring_packet_receive(socket, &packet, &memory_fd);
    if (status == MR_E_FULL)
        return false;
    if (status == MR_OK && packet.packet.type == PACKET_HELLO) {
        KILL_POINT(reader, hello);
        hello_take(s, socket, peer, &packet.hello, memory_fd);
        return true;
    }
    if (memory_fd >= 0)
        janitor_close(&memory_fd, 1);
    uid_leave(s, peer->uid);
    pool_uncharge(s->pool, RING_SESSION_CHARGE);
    if (status == MR_E_GONE)
        hang_up(socket); /* it has thought better of it */
    else
        refuse(s, socket, status == MR_OK ? MR_E_ARGUMENT : status, 0);
    return true;
}

/* ---- guests ---- */

static bool guest_enter(slot *s, int socket, const struct access_peer *peer)
{
    struct ring_guest *guest = memory_zalloc(sizeof *guest);
    if (guest == NULL)
        return false;
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = &guest->source};
    if (epoll_ctl(s->inner, EPOLL_CTL_ADD, socket, &event) != 0) {
        memory_free(guest);
        return false;
    }
    guest->source.kind = SOURCE_GUEST;
    guest->socket = socket;
    guest->peer = *peer;
    guest->next = s->guests;
    if (guest->next != NULL)
        guest->next->previous = guest;
    s->guests = guest;
    return true;
}

/* Its socket goes elsewhere. */
static void guest_leave(slot *s, struct ring_guest *guest)
{
    (void) epoll_ctl(s->inner, EPOLL_CTL_DEL, guest->socket, NULL);
    if (guest->next != NULL)
        guest->next->previous = guest->previous;
    if (guest->previous != NULL)
        guest->previous->next = guest->next;
    else
        s->guests = guest->next;
    s->guests_ready -= guest->ready;
    memory_free(guest);
}

void ring_hear_guests(slot *s)
{
    struct status_memo before;
    status_save(&before);
    struct ring_guest *next;
    for (struct ring_guest *guest = s->guests; guest != NULL && s->guests_ready > 0; guest = next) {
        next = guest->next;
        if (!guest->ready)
            continue;
        int socket = guest->socket;
        struct access_peer peer = guest->peer;
        guest_leave(s, guest);
        if (!guest_hear(s, socket, &peer) && !guest_enter(s, socket, &peer)) {
            uid_leave(s, peer.uid);
            pool_uncharge(s->pool, RING_SESSION_CHARGE);
            refuse(s, socket, MR_E_MEMORY, 0);
        }
    }
    status_restore(&before);
}

void ring_dismiss_guests(slot *s, bool hear)
{
    while (s->guests != NULL) {
        struct ring_guest *guest = s->guests;
        int socket = guest->socket;
        struct access_peer peer = guest->peer;
        guest_leave(s, guest);
        if (hear && guest_hear(s, socket, &peer))
            continue; /* the hello had come, and nobody had looked yet */
        uid_leave(s, peer.uid);
        pool_uncharge(s->pool, RING_SESSION_CHARGE);
        hang_up(socket);
    }
}

void ring_admit(slot *s, int socket, bool last)
{
    struct access_peer peer;
    struct status_memo before; /* a refusal is counted; to the call that it happens in it is no error */
    status_save(&before);
    if (last) {
        hang_up(socket); /* it has its messages still */
    } else if (access_check(&s->rule, socket, &peer) != MR_OK) {
        refuse(s, socket, MR_E_ACCESS, 0);
    } else if (!uid_has_room(s, peer.uid)) {
        refuse(s, socket, MR_E_FULL, 0);
    } else if (pool_charge(s->pool, RING_SESSION_CHARGE, true) != POOL_OK) {
        refuse(s, socket, MR_E_MEMORY, 0);
    } else if (!uid_enter(s, peer.uid)) {
        pool_uncharge(s->pool, RING_SESSION_CHARGE);
        refuse(s, socket, MR_E_MEMORY, 0);
    } else if (!guest_hear(s, socket, &peer) && !guest_enter(s, socket, &peer)) {
        uid_leave(s, peer.uid);
        pool_uncharge(s->pool, RING_SESSION_CHARGE);
        refuse(s, socket, MR_E_MEMORY, 0);
    }
    status_restore(&before);
}
