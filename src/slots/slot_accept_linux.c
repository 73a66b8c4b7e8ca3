/* slot_accept_linux.c: who gets into a slot: access rule, quota, descriptors and memory. (What is the ring's own:
 * ring_accept_linux.c.)
 *
 * Path    listener readable > slot_accept > access_check > quota > charge > harden > inner set
 * Owners  As slot_take_linux.c: the taking thread; `listener_masked` is cleared by the janitor's thread as well.
 * I1      A user's count in `uids` is the number of its connections, of both sockets; users without one are not in the table.
 * I2      Each connection in the slot has been charged to the pool, and is uncharged when it goes.
 * I3      Whoever is refused is closed and counted, and takes its share of the turn: a flood of connections spends the
 *         same budget as messages do.
 * M1/M2   Masking: the taking thread stores listener_masked, then changes the set; the janitor's clears it by exchange,
 *         then changes the set back. The waiter is registered after the masking and leaves the list before it is
 *         called, so the order cannot be the other.
 */
#include "slots/slot_linux.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#include "queue/memory.h"
#include "queue/status.h"

#define ACCEPT_SHARE 16u

/* ---- the quota ---- */

static struct uid_count *uid_find(slot *s, uint32_t uid)
{
    for (size_t i = 0; i < s->uid_count; i++) {
        if (s->uids[i].uid == uid)
            return &s->uids[i];
    }
    return NULL;
}

bool uid_has_room(slot *s, uint32_t uid)
{
    const struct uid_count *count = uid_find(s, uid);
    return count == NULL || count->connections < s->connections_per_uid;
}

bool uid_enter(slot *s, uint32_t uid)
{
    struct uid_count *count = uid_find(s, uid);
    if (count != NULL) {
        count->connections++;
        return true;
    }
    if (s->uid_count == s->uid_room) {
        size_t room = s->uid_room == 0 ? 4 : 2 * s->uid_room;
        struct uid_count *uids = memory_realloc(s->uids, room * sizeof *uids);
        if (uids == NULL)
            return false;
        s->uids = uids;
        s->uid_room = room;
    }
    s->uids[s->uid_count++] = (struct uid_count){.uid = uid, .connections = 1};
    return true;
}

void uid_leave(slot *s, uint32_t uid)
{
    struct uid_count *count = uid_find(s, uid);
    if (--count->connections == 0)
        *count = s->uids[--s->uid_count]; /* I1 */
}

/* ---- the listeners ---- */

static int listener_socket(const slot *s, const struct slot_listener *listener)
{
    return rendezvous_listener(s->rendezvous, listener->which);
}

int slot_listen(slot *s)
{
    for (unsigned which = 0; which < 2; which++) {
        struct slot_listener *listener = &s->listeners[which];
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener->source};
        if (listener->in_set)
            continue;
        if (epoll_ctl(s->inner, EPOLL_CTL_ADD, listener_socket(s, listener), &event) != 0)
            return status_fail(MR_E_SYSTEM, errno, "cannot watch the slot's listener: %s", strerror(errno));
        listener->in_set = true;
    }
    return MR_OK;
}

static void listeners_set(slot *s, uint32_t events)
{
    for (unsigned which = 0; which < 2; which++) {
        struct slot_listener *listener = &s->listeners[which];
        struct epoll_event event = {.events = events, .data.ptr = &listener->source};
        (void) epoll_ctl(s->inner, EPOLL_CTL_MOD, listener_socket(s, listener), &event); /* it is in the set */
    }
}

void slot_unmask(void *context)
{
    slot *s = context;
    if (atomic_exchange_explicit(&s->listener_masked, false, memory_order_acq_rel)) /* M2 */
        listeners_set(s, EPOLLIN);
}

static void slot_mask(slot *s)
{
    atomic_store_explicit(&s->listener_masked, true, memory_order_release); /* M1 */
    listeners_set(s, 0);
    janitor_wait_spare(&s->spare);
}

void slot_mask_again(slot *s)
{
    if (atomic_load_explicit(&s->listener_masked, memory_order_relaxed))
        janitor_wait_spare(&s->spare); /* again: its thread may have been impossible to start the first time */
}

void slot_deafen(slot *s)
{
    janitor_cancel_spare(&s->spare);
    atomic_store_explicit(&s->listener_masked, false, memory_order_relaxed);
    for (unsigned which = 0; which < 2; which++) {
        struct slot_listener *listener = &s->listeners[which];
        if (listener->in_set)
            (void) epoll_ctl(s->inner, EPOLL_CTL_DEL, listener_socket(s, listener), NULL);
        listener->in_set = false;
        listener->ready = false;
        /* Connecting is refused from here; who has connected can still be accepted. */
        plain_shut_down(listener_socket(s, listener));
    }
}

/* ---- connections ---- */

/* Passed descriptors may be in its queue, and closing those may block. */
static void close_unread(bool rights_refused, int descriptor)
{
    if (rights_refused)
        close(descriptor);
    else
        janitor_close(&descriptor, 1);
}

static uint64_t writer_identity(void)
{
    uint64_t identity = 0;
    while (identity == 0) {
        /* Not interrupted, and never short for so few bytes, once the system has been up for a moment. */
        if (getrandom(&identity, sizeof identity, 0) < 0 && errno != EINTR)
            identity = clock_now();
    }
    return identity;
}

static struct connection *connection_new(slot *s, int descriptor, const struct access_peer *peer)
{
    if (pool_charge(s->pool, PLAIN_CONNECTION_CHARGE, true) != POOL_OK)
        return NULL;
    struct connection *c = memory_zalloc(sizeof *c);
    if (c == NULL)
        goto uncharge;
    c->source.kind = SOURCE_CONNECTION;
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = &c->source};
    if (!uid_enter(s, peer->uid))
        goto release;
    if (epoll_ctl(s->inner, EPOLL_CTL_ADD, descriptor, &event) != 0)
        goto leave;
    c->descriptor = descriptor;
    c->uid = peer->uid;
    c->pid = peer->pid;
    c->gid = peer->gid;
    c->name = s->name;
    c->writer = writer_identity();
    mutex_lock(&s->writers);
    c->next = s->connections;
    if (c->next != NULL)
        c->next->previous = c;
    s->connections = c;
    mutex_unlock(&s->writers);
    count_add(&s->counts.connections, 1);
    return c;
leave:
    uid_leave(s, peer->uid);
release:
    memory_free(c);
uncharge:
    pool_uncharge(s->pool, PLAIN_CONNECTION_CHARGE);
    return NULL;
}

void slot_disconnect(slot *s, struct connection *c)
{
    (void) epoll_ctl(s->inner, EPOLL_CTL_DEL, c->descriptor, NULL); /* slot_take_linux.c, I5 */
    (void) shutdown(c->descriptor, SHUT_RDWR); /* a forked child may hold it too: the peer is told all the same */
    close(c->descriptor);
    mutex_lock(&s->writers);
    if (c->next != NULL)
        c->next->previous = c->previous;
    if (c->previous != NULL)
        c->previous->next = c->next;
    else
        s->connections = c->next;
    mutex_unlock(&s->writers);
    if (c->name < s->name)
        s->old--;
    slot_mask_again(s);
    uid_leave(s, c->uid);
    count_add(&s->counts.connections, (uint64_t) -1);
    memory_free(c);
    pool_uncharge(s->pool, PLAIN_CONNECTION_CHARGE);
}

/* Lets an accepted connection in, or closes and counts it. */
static struct connection *slot_admit(slot *s, int descriptor)
{
    bool rights_refused = false;
    struct access_peer peer;
    struct connection *c = NULL;
    struct status_memo before; /* a refusal is counted; to the call that it happens in it is no error */
    status_save(&before);
    if (rendezvous_harden(descriptor, &rights_refused) != MR_OK || access_check(&s->rule, descriptor, &peer) != MR_OK) {
        count_add(&s->counts.refused_access, 1);
    } else {
        if (!uid_has_room(s, peer.uid)) {
            count_add(&s->counts.refused_quota, 1);
        } else {
            c = connection_new(s, descriptor, &peer);
            if (c == NULL)
                count_add(&s->counts.refused_descriptors, 1);
        }
    }
    if (c == NULL) {
        /* Who connects may send before it is looked at; what was taken from it that way is counted. */
        plain_shut_down(descriptor);
        count_add(&s->counts.dropped_refused, plain_drain(descriptor));
        close_unread(rights_refused, descriptor);
    }
    status_restore(&before);
    return c;
}

enum accepted {
    ACCEPTED_ONE, /* admitted or refused */
    ACCEPTED_NONE
};

/* `last`: the slot ends, and nobody is waited for. */
static enum accepted slot_accept_one(slot *s, const struct slot_listener *listener, bool may_mask, bool last)
{
    int socket = listener_socket(s, listener);
    int descriptor = accept4(socket, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (descriptor >= 0 && listener->which == RENDEZVOUS_RING) {
        KILL_POINT(reader, accept);
        ring_admit(s, descriptor, last);
        return ACCEPTED_ONE;
    }
    if (descriptor >= 0) {
        struct connection *c = slot_admit(s, descriptor);
        if (c != NULL && slot_serves(s, c->name))
            turn_push(&s->ready, &c->turn); /* most have sent something already */
        return ACCEPTED_ONE;
    }
    if (errno == EINTR || errno == ECONNABORTED)
        return ACCEPTED_ONE;
    if (errno != EMFILE && errno != ENFILE && errno != ENOMEM && errno != ENOBUFS)
        return ACCEPTED_NONE; /* EAGAIN, or EINVAL from a listener that was shut down */
    switch (janitor_refuse(socket)) {
    case REFUSED_ONE:
        count_add(&s->counts.refused_descriptors, 1);
        return ACCEPTED_ONE;
    case REFUSED_NO_SPARE:
        if (may_mask)
            slot_mask(s);
        break;
    case REFUSED_NONE:
        break;
    }
    return ACCEPTED_NONE;
}

void slot_accept(slot *s, struct slot_listener *listener, struct slot_budget *budget)
{
    for (unsigned i = 0; i < ACCEPT_SHARE && budget->messages > 0; i++) {
        if (slot_accept_one(s, listener, true, false) == ACCEPTED_NONE)
            return;
        budget->messages--; /* I3 */
    }
}

void slot_accept_leftovers(slot *s, bool last)
{
    for (unsigned which = 0; which < 2; which++) {
        while (slot_accept_one(s, &s->listeners[which], false, last) == ACCEPTED_ONE) {}
    }
}
