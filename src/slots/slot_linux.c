/* slot_linux.c: a slot on Linux: its inner epoll set, fair turns between its connections, its beginning and end.
 *
 * Path    packet > connection > inner set > port (slot_arm), ppoll (slot_wait) or a foreign loop (slot_handle)
 *         > slot_take: harvest > ready list > plain_receive > deliver
 * Owners  Connections, ready list, quota: the thread inside slot_take, slot_rename or slot_close, which exclude each
 *         other. The handle's fields: the thread inside slot_handle or slot_signal. Counters: written by the taking
 *         thread, read by any.
 * I1      Everything in the inner set is level-triggered: what is left unread keeps the set readable, so the kernel
 *         remembers what there is to do, and the ready list is an order of service that may be forgotten at any time.
 *         (Edge-triggered, each connection would have to be read until it is empty or be remembered for ever.)
 * I2      A connection in the ready list is served for at most SHARE_MESSAGES or SHARE_BYTES, then goes to its end, and
 *         newcomers queue behind: nobody waits for more than one share of each other connection.
 * I3      `c->ready` is true exactly while c is in the ready list.
 * I4      What was sent to an old name comes before what is sent to the next one: while there are connections of old
 *         names, only those of the oldest are served, and the listener is not in the inner set. Being shut down, they
 *         all end, and are readable until they do.
 * I5      A descriptor leaves the inner set before it is closed: a forked child may hold another descriptor of the same
 *         socket, which would keep it in the set, with a pointer to freed memory.
 */
#include "slots/slot_linux.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "queue/memory.h"
#include "queue/status.h"

#define HARVEST        64
#define SHARE_MESSAGES 16u
#define SHARE_BYTES    ((size_t) 64 * 1024)
#define NANOSECONDS    1000000000u

/* ---- beginning ---- */

static void slot_on_watch(operation *watch)
{
    slot *s = (slot *) (void *) ((char *) watch - offsetof(slot, watch));
    s->on_ready(s->context);
}

static int descriptor_fail(const char *what)
{
    int error = errno;
    if (error == EMFILE || error == ENFILE)
        return status_fail(MR_E_DESCRIPTORS, error, "no descriptor left for %s: raise the limit (ulimit -n)", what);
    return status_fail(error == ENOMEM ? MR_E_MEMORY : MR_E_SYSTEM, error, "cannot make %s: %s", what, strerror(error));
}

/* The inner set, and what wakes whoever waits on it. */
static int slot_open_set(slot *s, port *p)
{
    s->inner = epoll_create1(EPOLL_CLOEXEC);
    if (s->inner < 0)
        return descriptor_fail("the slot's epoll set");
    if (p == NULL) {
        s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        return s->wake < 0 ? descriptor_fail("the slot's wake-up") : MR_OK;
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
    access_rule_clear(&s->rule);
    memory_free(s->uids);
    memory_free(s);
}

int slot_open(slot **out, const struct slot_config *config)
{
    slot *s = memory_zalloc(sizeof *s);
    if (s == NULL)
        return status_fail_plain(MR_E_MEMORY);
    s->pool = config->pool;
    s->deliver = config->deliver;
    s->on_ready = config->on_ready;
    s->context = config->context;
    s->max_message = config->options->max_message;
    s->connections_per_uid = config->options->connections_per_uid;
    s->spare = (struct spare_waiter){.callback = slot_unmask, .context = s};
    s->inner = s->wake = s->outer = s->takeable = -1;
    size_advisor_init(&s->advisor, 0);
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

/* ---- taking ---- */

void slot_ready(slot *s, struct connection *c)
{
    if (c->ready)
        return;
    c->ready = true; /* I3 */
    c->ready_next = NULL;
    if (s->ready_first == NULL)
        s->ready_first = c;
    else
        s->ready_last->ready_next = c;
    s->ready_last = c;
}

static struct connection *ready_pop(slot *s)
{
    struct connection *c = s->ready_first;
    if (c != NULL) {
        s->ready_first = c->ready_next;
        c->ready = false;
    }
    return c;
}

static void ready_prepend(slot *s, struct connection *c)
{
    c->ready = true;
    c->ready_next = s->ready_first;
    if (s->ready_first == NULL)
        s->ready_last = c;
    s->ready_first = c;
}

/* Asks the inner set what there is. True: perhaps more than it told. */
static bool slot_harvest(slot *s)
{
    struct epoll_event events[HARVEST];
    int count = epoll_wait(s->inner, events, HARVEST, 0);
    for (int i = 0; i < count; i++) {
        struct connection *c = events[i].data.ptr;
        if (c == NULL)
            s->listener_ready = true;
        else if (s->old == 0 || c->name == s->oldest)
            slot_ready(s, c);
    }
    return count == HARVEST;
}

/* I4: whose turn it is, when the last connection of a name has ended. */
static void slot_next_name(slot *s)
{
    if (s->old == 0) {
        if (!s->listener_in_set)
            (void) slot_listen(s); /* if it fails, the next call tries again */
        return;
    }
    s->oldest = s->name;
    for (const struct connection *c = s->connections; c != NULL; c = c->next) {
        if (c->name < s->oldest)
            s->oldest = c->name;
    }
    for (struct connection *c = s->connections; c != NULL; c = c->next) {
        if (c->name == s->oldest)
            slot_ready(s, c); /* not left to the inner set, which may be busy telling of the others */
    }
}

static void budget_spend(struct slot_budget *budget, size_t bytes)
{
    budget->messages--;
    budget->bytes -= bytes < budget->bytes ? bytes : budget->bytes;
}

static bool budget_spent(const struct slot_budget *budget)
{
    return budget->messages == 0 || budget->bytes == 0;
}

/* The first one that breaks the rules, and all that its sender had sent after it. */
static void slot_violation(slot *s, struct connection *c)
{
    count_add(&s->counts.dropped_violation, 1);
    if (c->banished)
        return;
    c->banished = true;
    count_add(&s->counts.violations, 1);
    plain_shut_down(c->descriptor);
}

/* One share of one connection (I2). False: starved. */
static bool slot_serve(slot *s, struct connection *c, struct plain_receiver *receiver, struct slot_budget *budget,
                       size_t *wanted)
{
    size_t bytes = 0;
    for (unsigned taken = 0; taken < SHARE_MESSAGES && bytes < SHARE_BYTES && !budget_spent(budget); taken++) {
        struct buffer *message;
        switch (plain_receive(c, receiver, &message, wanted)) {
        case RECEIVED_MESSAGE:
            bytes += message->length;
            budget_spend(budget, message->length);
            (void) s->deliver(s->context, message);
            break;
        case RECEIVED_TOO_BIG:
            budget_spend(budget, 0);
            count_add(&s->counts.dropped_too_big, 1);
            break;
        case RECEIVED_VIOLATION:
            budget_spend(budget, 0);
            slot_violation(s, c);
            break;
        case RECEIVED_NOTHING:
            return true;
        case RECEIVED_END:
            budget_spend(budget, 0);
            slot_disconnect(s, c);
            return true;
        case RECEIVED_STARVED:
            ready_prepend(s, c);
            return false;
        }
    }
    slot_ready(s, c);
    return true;
}

/* Serves the ready list until it is empty or the budget is spent. False: starved. */
static bool slot_serve_all(slot *s, struct plain_receiver *receiver, struct slot_budget *budget, size_t *wanted)
{
    while (!budget_spent(budget)) {
        if (s->listener_ready) {
            s->listener_ready = false;
            slot_accept(s, budget);
            continue;
        }
        struct connection *c = ready_pop(s);
        if (c == NULL)
            return true;
        if (!slot_serve(s, c, receiver, budget, wanted))
            return false;
    }
    return true;
}

enum slot_taken slot_take(slot *s, struct pool_cache *cache, struct slot_budget *budget, size_t *wanted)
{
    struct plain_receiver receiver; /* its control buffer is large: only what must be is initialised */
    receiver.pool = s->pool;
    receiver.cache = cache;
    receiver.advisor = &s->advisor;
    receiver.max_message = s->max_message;
    receiver.buffer = receiver.overflow = NULL;
    bool fed = true;
    bool more = true;
    while (fed && more && !budget_spent(budget)) {
        if (!s->listener_in_set)
            slot_next_name(s);
        more = slot_harvest(s) || s->old > 0;
        if (s->ready_first == NULL && !s->listener_ready)
            break;
        fed = slot_serve_all(s, &receiver, budget, wanted);
        more = more || s->listener_ready;
    }
    plain_receiver_clear(&receiver);
    if (!fed)
        return SLOT_STARVED;
    return budget_spent(budget) ? SLOT_MORE : SLOT_EMPTY;
}

/* ---- waiting ---- */

bool slot_arm(slot *s)
{
    return port_watch(s->end, &s->watch, WAIT_IN) == STARTED_PENDING;
}

void slot_cancel(slot *s)
{
    port_cancel(s->port, &s->watch);
}

/* The port watches the inner set, nothing else is under way. */
bool slot_settle(slot *s)
{
    (void) s;
    return true;
}

int slot_wait(slot *s, uint64_t deadline)
{
    struct pollfd waits[2] = {{.fd = s->inner, .events = POLLIN}, {.fd = s->wake, .events = POLLIN}};
    for (;;) {
        struct timespec left = {0};
        uint64_t now = deadline == CLOCK_NEVER ? 0 : clock_now();
        if (deadline > now && deadline != CLOCK_NEVER)
            left = (struct timespec){.tv_sec = (time_t) ((deadline - now) / NANOSECONDS),
                                     .tv_nsec = (long) ((deadline - now) % NANOSECONDS)};
        int count = ppoll(waits, 2, deadline == CLOCK_NEVER ? NULL : &left, NULL);
        if (count > 0)
            break;
        if (count == 0 && clock_now() >= deadline)
            return MR_E_TIMEOUT;
        if (count < 0 && errno != EINTR)
            return status_fail(MR_E_SYSTEM, errno, "cannot wait for the slot: %s", strerror(errno));
    }
    uint64_t woken;
    if (waits[1].revents != 0 && read(s->wake, &woken, sizeof woken) < 0 && errno != EAGAIN)
        return status_fail(MR_E_SYSTEM, errno, "cannot read the slot's wake-up: %s", strerror(errno));
    return MR_OK;
}

static void event_set(int descriptor)
{
    uint64_t one = 1;
    ssize_t written = write(descriptor, &one, sizeof one); /* EAGAIN: it is set already, to the brim */
    (void) written;
}

void slot_wake(slot *s)
{
    if (s->wake >= 0)
        event_set(s->wake);
}

/* ---- a foreign loop's handle ---- */

static bool outer_add(slot *s, int descriptor)
{
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(s->outer, EPOLL_CTL_ADD, descriptor, &event) == 0;
}

int slot_handle(slot *s, enum slot_handle_kind kind, os_handle *handle)
{
    if (kind != SLOT_HANDLE_DESCRIPTOR)
        return status_fail(MR_E_UNSUPPORTED, 0, "events are Windows' own; use mr_reader_fd");
    if (s->outer < 0) {
        s->takeable = eventfd(s->takeable_set ? 1 : 0, EFD_CLOEXEC | EFD_NONBLOCK);
        s->outer = s->takeable < 0 ? -1 : epoll_create1(EPOLL_CLOEXEC);
        if (s->outer < 0 || !outer_add(s, s->takeable) || (!s->paused && !outer_add(s, s->inner))) {
            int status = descriptor_fail("the slot's descriptor");
            close_if(&s->outer);
            close_if(&s->takeable);
            return status;
        }
    }
    *handle = s->outer;
    return MR_OK;
}

void slot_signal(slot *s, bool takeable, bool paused)
{
    if (s->outer < 0) {
        s->takeable_set = takeable;
        s->paused = paused;
        return;
    }
    if (takeable && !s->takeable_set)
        event_set(s->takeable);
    uint64_t taken;
    if (!takeable && s->takeable_set && read(s->takeable, &taken, sizeof taken) < 0 && errno != EAGAIN)
        return;
    s->takeable_set = takeable;
    if (paused == s->paused)
        return;
    /* Where adding fails for want of memory, `paused` stays and the next call tries again. */
    if (paused ? epoll_ctl(s->outer, EPOLL_CTL_DEL, s->inner, NULL) == 0 : outer_add(s, s->inner))
        s->paused = paused;
}

/* ---- rename and end ---- */

int slot_rename(slot *s, const struct slot_name *name)
{
    struct rendezvous *next;
    int status = rendezvous_claim(&next, name, &s->rule, s->max_message);
    if (status != MR_OK)
        return status;
    slot_deafen(s);
    slot_accept_leftovers(s);
    s->name++;
    s->old = 0;
    for (struct connection *c = s->connections; c != NULL; c = c->next) {
        s->old++;
        plain_shut_down(c->descriptor);
    }
    rendezvous_release(s->rendezvous, false);
    s->rendezvous = next;
    slot_next_name(s);
    return MR_OK;
}

/* Its sockets went with slot_rename. */
void slot_rename_finish(slot *s)
{
    (void) s;
}

void slot_waiting(slot *s, uint64_t *count, uint64_t *next)
{
    (void) s;
    *count = 0;
    *next = UINT64_MAX;
}

void slot_get_counts(slot *s, struct slot_counts *counts)
{
    *counts = (struct slot_counts){
        .dropped_too_big = atomic_load_explicit(&s->counts.dropped_too_big, memory_order_relaxed),
        .dropped_violation = atomic_load_explicit(&s->counts.dropped_violation, memory_order_relaxed),
        .dropped_refused = atomic_load_explicit(&s->counts.dropped_refused, memory_order_relaxed),
        .refused_access = atomic_load_explicit(&s->counts.refused_access, memory_order_relaxed),
        .refused_quota = atomic_load_explicit(&s->counts.refused_quota, memory_order_relaxed),
        .refused_descriptors = atomic_load_explicit(&s->counts.refused_descriptors, memory_order_relaxed),
        .violations = atomic_load_explicit(&s->counts.violations, memory_order_relaxed),
        .connections = atomic_load_explicit(&s->counts.connections, memory_order_relaxed),
    };
}

void slot_publish(slot *s, const struct slot_figures *figures)
{
    statistics_page_publish(rendezvous_page(s->rendezvous), figures);
}

void slot_publish_writers(slot *s)
{
    mr_reader_writer writers[STATISTICS_WRITERS_MOST];
    size_t total = slot_writers(s, writers, STATISTICS_WRITERS_MOST);
    statistics_page_publish_writers(rendezvous_page(s->rendezvous), writers, total, total);
}

/* The parent's epoll sets and sockets are shared objects: a child closes its descriptors and changes nothing. */
static void slot_leave(slot *s)
{
    for (struct connection *c = s->connections; c != NULL; c = c->next)
        close(c->descriptor);
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
    slot_accept_leftovers(s);
    while (s->connections != NULL) {
        struct connection *c = s->connections;
        plain_shut_down(c->descriptor);
        uint64_t packets = plain_drain(c->descriptor);
        if (!c->violator)
            *lost += packets;
        slot_disconnect(s, c);
    }
    rendezvous_release(s->rendezvous, false);
    slot_free(s);
}

/* ---- acknowledgement: this lane has none ---- */

bool slot_urgent(slot *s)
{
    (void) s;
    return false;
}

bool slot_holds(slot *s)
{
    (void) s;
    return false;
}

void slot_acknowledge(const struct slot_token *token)
{
    (void) token;
}

size_t slot_writers(slot *s, mr_reader_writer *writers, size_t room)
{
    (void) s, (void) writers, (void) room;
    return 0;
}
