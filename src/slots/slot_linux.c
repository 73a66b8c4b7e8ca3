/* slot_linux.c: a slot on Linux: its beginning, its names and its end. What it takes: slot_take_linux.c, where owners and
 * invariants are.
 *
 * Path    slot_open: rendezvous_claim > inner set > listeners
 *         slot_rename: claim the new name > the old one's connections are shut down, its sessions limited (I4)
 *         slot_close: sessions dropped (their writers have what was not acknowledged), connections drained > name > memory
 */
#include "slots/slot_linux.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "queue/memory.h"
#include "queue/status.h"
#include "slots/ring_barrier_linux.h"

#define NANOSECONDS_PER_US 1000u
#define SPIN_MOST_US       1000u

/* ---- beginning ---- */

static void slot_on_watch(operation *watch)
{
    slot *s = (slot *) (void *) ((char *) watch - offsetof(slot, watch));
    s->on_ready(s->context);
}

int slot_descriptor_fail(const char *what)
{
    int error = errno;
    if (error == EMFILE || error == ENFILE)
        return status_fail(MR_E_DESCRIPTORS, error, "no descriptor left for %s: raise the limit (ulimit -n)", what);
    return status_fail(error == ENOMEM ? MR_E_MEMORY : MR_E_SYSTEM, error, "cannot make %s: %s", what, strerror(error));
}

/* The inner set, and what wakes whoever waits on it. */
static int slot_open_set(slot *s, port *p)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &s->nudge_source};
    s->inner = epoll_create1(EPOLL_CLOEXEC);
    if (s->inner < 0)
        return slot_descriptor_fail("the slot's epoll set");
    s->nudge_source.kind = SOURCE_NUDGE;
    s->nudge = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->nudge < 0 || epoll_ctl(s->inner, EPOLL_CTL_ADD, s->nudge, &event) != 0)
        return slot_descriptor_fail("the slot's nudge");
    if (p == NULL) {
        s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        return s->wake < 0 ? slot_descriptor_fail("the slot's wake-up") : MR_OK;
    }
    s->port = p;
    s->watch.handler = slot_on_watch;
    return endpoint_open(&s->end, p, s->inner);
}

static void close_if(int *descriptor)
{
    if (*descriptor >= 0)
        close(*descriptor);
    *descriptor = -1;
}

static void slot_free(slot *s)
{
    if (s->end != NULL) {
        endpoint_close(s->end);
        s->inner = -1;
    }
    close_if(&s->outer);
    close_if(&s->takeable);
    close_if(&s->wake);
    close_if(&s->inner);
    close_if(&s->nudge);
    mutex_destroy(&s->writers);
    mutex_destroy(&s->nudge_lock);
    access_rule_clear(&s->rule);
    memory_free(s->uids);
    memory_free(s);
}

/* What stays as it is. */
static void slot_configure(slot *s, const struct slot_config *config)
{
    const mr_reader_options *options = config->options;
    uint32_t spin_us = options->spin_us < SPIN_MOST_US ? options->spin_us : SPIN_MOST_US;
    s->pool = config->pool;
    s->deliver = config->deliver;
    s->on_ready = config->on_ready;
    s->context = config->context;
    s->max_message = options->max_message;
    s->levels = options->levels;
    s->connections_per_uid = options->connections_per_uid;
    s->acknowledged_later = config->acknowledged_later;
    s->acknowledge_window = options->acknowledge_window == 0 ? RING_WINDOW_DEFAULT : options->acknowledge_window;
    s->spin = s->spin_most = (uint64_t) spin_us * NANOSECONDS_PER_US;
    s->clock_every = 1;
    s->spare = (struct spare_waiter){.callback = slot_unmask, .context = s};
    s->inner = s->wake = s->outer = s->takeable = s->nudge = -1;
    s->listeners[0] = (struct slot_listener){.source = {SOURCE_LISTENER}, .which = RENDEZVOUS_PLAIN};
    s->listeners[1] = (struct slot_listener){.source = {SOURCE_LISTENER}, .which = RENDEZVOUS_RING};
    mutex_init(&s->writers);
    mutex_init(&s->nudge_lock);
    size_advisor_init(&s->advisor, 0);
}

int slot_open(slot **out, const struct slot_config *config)
{
    switch_mark_prepare();
    slot *s = memory_zalloc(sizeof *s);
    if (s == NULL)
        return status_fail_plain(MR_E_MEMORY);
    slot_configure(s, config);
    /* The kernel may take milliseconds over it, once in a process that has threads: now, not while a writer waits. */
    (void) ring_barrier_prepare();
    int status = janitor_prepare();
    if (status == MR_OK)
        status = access_rule_init(&s->rule, config->options);
    if (status == MR_OK)
        status = slot_open_set(s, config->port);
    if (status == MR_OK)
        status = rendezvous_claim(&s->rendezvous, config->name, &s->rule, s->max_message);
    if (status == MR_OK)
        status = slot_listen(s);
    if (status != MR_OK) {
        rendezvous_release(s->rendezvous, false);
        slot_free(s);
        return status;
    }
    *out = s;
    return MR_OK;
}

/* ---- rename and end ---- */

/* The old name's sessions: what they have committed until now is taken, and their writers are told to commit no more. */
static void slot_end_sessions(slot *s)
{
    struct ring_packet packet;
    ring_packet_init(&packet, PACKET_RENAMED, 0);
    for (struct ring_session *x = s->sessions; x != NULL; x = x->next) {
        if (x->name + 1 != s->name)
            continue; /* an older name's already */
        /* One that is not to be told, because it does not listen, finds out when it is hung up on. */
        (void) ring_packet_send(x->socket, &packet, sizeof packet, -1);
        ring_session_alarm(x);
        if (!ring_session_limit(x))
            x->gone = true; /* a violation: found again, and dealt with, in its turn */
        s->old += !x->taken;
    }
}

int slot_rename(slot *s, const struct slot_name *name)
{
    struct rendezvous *next;
    int status = rendezvous_claim(&next, name, &s->rule, s->max_message);
    if (status != MR_OK)
        return status;
    KILL_POINT(reader, rename_claimed);
    slot_deafen(s);
    KILL_POINT(reader, rename_deaf);
    slot_accept_leftovers(s, false);
    ring_dismiss_guests(s, true);
    s->name++;
    struct status_memo before;
    status_save(&before);
    slot_end_sessions(s);
    status_restore(&before);
    KILL_POINT(reader, rename_told);
    for (struct connection *c = s->connections; c != NULL; c = c->next) {
        s->old += c->name + 1 == s->name;
        plain_shut_down(c->descriptor);
    }
    rendezvous_release(s->rendezvous, false);
    s->rendezvous = next;
    KILL_POINT(reader, rename_done);
    slot_next_name(s);
    if (s->ready.first != NULL) {
        atomic_store_explicit(&s->holds, true, memory_order_relaxed);
        slot_nudge(s); /* sessions to end, of which nothing else may tell */
    }
    return MR_OK;
}

/* Its sockets went with slot_rename. */
void slot_rename_finish(slot *s)
{
    (void) s;
}

/* The parent's epoll sets and sockets are shared objects: a child closes its descriptors and changes nothing. */
static void slot_leave(slot *s)
{
    for (struct connection *c = s->connections; c != NULL; c = c->next)
        close(c->descriptor);
    for (struct ring_guest *guest = s->guests; guest != NULL; guest = guest->next)
        close(guest->socket);
    for (struct ring_session *x = s->sessions; x != NULL; x = x->next) {
        for (unsigned i = 0; i < x->held_count; i++)
            close(x->held[i].descriptor);
        close(x->socket);
        close(x->doorbell); /* the mapping stayed in the parent */
    }
    close_if(&s->nudge);
    close_if(&s->outer);
    close_if(&s->takeable);
    close_if(&s->wake);
    close_if(&s->inner);
    rendezvous_release(s->rendezvous, true);
    /* The memory is left: another thread of the parent may have been changing it when the child was made. */
}

void slot_close(slot *s, bool in_child, uint64_t *lost)
{
    *lost = 0;
    if (in_child) {
        slot_leave(s);
        return;
    }
    slot_deafen(s);
    KILL_POINT(reader, close_deaf);
    slot_accept_leftovers(s, true);
    ring_dismiss_guests(s, false);
    /* First the sessions, whose turns are taken out of lists in which the connections' may stand. */
    while (s->sessions != NULL) {
        struct ring_session *x = s->sessions;
        KILL_POINT(reader, close_session);
        if (ring_session_has_hung_up(x) && ring_session_limit(x))
            *lost += ring_session_count_left(x); /* nobody else has them */
        slot_drop(s, x);
    }
    while (s->connections != NULL) {
        struct connection *c = s->connections;
        plain_shut_down(c->descriptor);
        uint64_t packets = plain_drain(c->descriptor);
        if (!c->violator)
            *lost += packets;
        slot_disconnect(s, c);
    }
    KILL_POINT(reader, close_release);
    rendezvous_release(s->rendezvous, false);
    KILL_POINT(reader, closed);
    slot_free(s);
}

void slot_acknowledge(const struct slot_token *token)
{
    ring_window_acknowledge(token);
}

bool slot_kept(const struct slot_token *token)
{
    const struct ring_session *x = ring_window_context(token);
    return x != NULL && !ring_session_has_hung_up(x);
}
