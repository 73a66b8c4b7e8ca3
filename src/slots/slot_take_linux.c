/* slot_take_linux.c: what a slot takes, and from whom: its inner epoll set, fair turns, sleeping.
 *
 * Path    packet > connection, doorbell > session > inner set > slot_take: harvest > ready list > plain_receive or
 *         ring_session_serve > deliver
 *         nothing left > resting list > armed, all of it at once > SLOT_EMPTY
 *         woken > one message of who was put to sleep last > harvest
 * Owners  Connections, sessions, lists, quota: the thread inside slot_take, slot_rename or slot_close, which exclude each
 *         other. Who acknowledges reaches a session only through the nudged list, which has a lock. The handle's fields:
 *         the thread inside slot_handle or slot_signal. Counters: written by the taking thread, read by any.
 * I1      Listeners and plain connections are level-triggered in the inner set: what is left unread keeps the set readable, so
 *         the kernel remembers what there is to do. Doorbells and ring sockets are edge-triggered, because nobody reads
 *         them then: a session that the set told of is remembered here, in the ready list, until it has been found empty
 *         and armed. So while the ready list holds a session, slot_holds says so, and nobody sleeps. What lies in its
 *         socket is received by then at the latest (`mail`; ring_take_linux.c, I3).
 * I2      What is in the ready list is served for at most a share, then goes to its end, and newcomers queue behind: nobody
 *         waits for more than one share of each other.
 * I3      A turn is in at most one list, once (`queued`). A session is in the ready or the resting list while some ring
 *         of it is neither armed nor paused (ring_lane_linux.c, I1), unless it is `taken`.
 * I4      What was sent to an old name comes before what is sent to the next one: while there are connections or sessions of
 *         old names (`old` of them), only those of the oldest are served, and the listeners are not in the inner set. Being
 *         shut down, or limited, they all come to an end.
 * I5      A descriptor leaves the inner set before it is closed: a forked child may hold another descriptor of the same
 *         socket, which would keep it in the set, with a pointer to freed memory. Nothing is freed during a harvest, nor
 *         while deliver runs (slot_rename frees nothing).
 * Urgent  After every second message at least the watched rings above MR_NORMAL are looked at. Those that are not
 *         watched ring, where they are armed. After HARVEST_MESSAGES, and when a callback has taken its time
 *         (slot_look_linux.c), the inner set is asked again, and in the latter case who is awake is looked at, because an
 *         awake ring does not ring. What is found goes into the urgent list, which comes first, but for one other message
 *         after URGENT_RUN.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "queue/seldom.h"
#include "queue/status.h"
#include "slots/ring_barrier_linux.h"
#include "slots/slot_linux.h"

#define HARVEST 64
/* Turns in a row that bring nothing until everybody is put to rest (or all of them, where they are more), and until one is
 * while others are busy. Looking is cheaper than arming. */
#define QUIET_TURNS   64u
#define QUIET_SESSION 32u
/* Between messages of the reader's queue the system is asked, and whoever is awake looked at, for a small part of the time. */
#define LOOK_NS         UINT64_C(5000)
#define LOOK_SESSION_NS UINT64_C(200)
/* Every so many sleeps the spin is tried at its full length again. */
#define SPIN_PROBE 32u

enum serving {
    SERVED_ALL,   /* nobody has anything, at the last look */
    SERVED_QUIET, /* the same, and they are not to be put to sleep */
    SERVED_OVER,
    SERVED_STARVED
};

/* ---- the inner set ---- */

void slot_activate(slot *s, struct ring_session *x)
{
    if (!slot_serves(s, x->name) && !x->taken)
        return; /* its name's turn comes (slot_next_name) */
    x->quiet = 0;
    turn_push(&s->ready, &x->turn);
    watch_put(s, x);
    if (ring_session_urgent(x))
        turn_push(&s->urgent, &x->urgent_turn);
}

void slot_nudge(slot *s)
{
    uint64_t one = 1;
    ssize_t written = write(s->nudge, &one, sizeof one); /* EAGAIN: it is set already, to the brim */
    (void) written;
}

/* Another thread's list; what is nudged is alive (ring_window.h), and nothing is freed here (I5). */
static void slot_hear_nudges(slot *s)
{
    uint64_t count;
    if (read(s->nudge, &count, sizeof count) < 0)
        return; /* EAGAIN: it was heard before */
    mutex_lock(&s->nudge_lock);
    for (struct slot_turn *turn; (turn = turn_pop(&s->nudged)) != NULL;) {
        slot_activate(s, (struct ring_session *) (void *) ((char *) turn - offsetof(struct ring_session, nudge_turn)));
    }
    mutex_unlock(&s->nudge_lock);
}

static void slot_hear_ring(slot *s, struct ring_session *x)
{
    count_add(&x->doorbells, 1);
    count_add(&s->counts.doorbells, 1);
    ring_session_wake(x);
    slot_activate(s, x);
}

static void slot_hear_socket(slot *s, struct ring_session *x, bool end)
{
    x->gone = x->gone || end;
    x->mail = true;
    if (!x->gone && ring_session_hear(x))
        return;
    ring_session_wake(x);
    slot_activate(s, x);
}

static void slot_hear(slot *s, struct slot_source *source, uint32_t events)
{
    char *at = (char *) source;
    switch (source->kind) {
    case SOURCE_LISTENER:
        ((struct slot_listener *) (void *) at)->ready = true;
        break;
    case SOURCE_NUDGE:
        slot_hear_nudges(s);
        break;
    case SOURCE_CONNECTION:
        if (slot_serves(s, ((struct connection *) (void *) at)->name))
            turn_push(&s->ready, &((struct connection *) (void *) at)->turn);
        break;
    case SOURCE_GUEST:
        s->guests_ready += !((struct ring_guest *) (void *) at)->ready;
        ((struct ring_guest *) (void *) at)->ready = true;
        break;
    case SOURCE_RING_SOCKET:
        slot_hear_socket(s, (struct ring_session *) (void *) (at - offsetof(struct ring_session, socket_source)),
                         (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
        break;
    case SOURCE_RING_DOORBELL:
        slot_hear_ring(s, (struct ring_session *) (void *) (at - offsetof(struct ring_session, doorbell_source)));
        break;
    }
}

/* Asks the inner set what there is. True: perhaps more than it told. */
static bool slot_harvest(slot *s)
{
    struct epoll_event events[HARVEST];
    int count = epoll_wait(s->inner, events, HARVEST, 0);
    for (int i = 0; i < count; i++)
        slot_hear(s, events[i].data.ptr, events[i].events);
    return count == HARVEST;
}

/* Rings above MR_NORMAL that are awake and not watched: by one look at each. */
static void slot_look_around(slot *s)
{
    for (struct slot_turn *turn = s->ready.first; turn != NULL; turn = turn->next) {
        if (turn->ring && ring_session_urgent(ring_session_of_turn(turn)))
            turn_push(&s->urgent, &ring_session_of_turn(turn)->urgent_turn);
    }
}

void slot_next_name(slot *s)
{
    if (s->old == 0) {
        if (!s->listeners[0].in_set || !s->listeners[1].in_set)
            (void) slot_listen(s); /* if it fails, the next call tries again */
        return;
    }
    s->oldest = s->name;
    for (const struct connection *c = s->connections; c != NULL; c = c->next) {
        if (c->name < s->oldest)
            s->oldest = c->name;
    }
    for (const struct ring_session *x = s->sessions; x != NULL; x = x->next) {
        if (x->name < s->oldest && !x->taken)
            s->oldest = x->name;
    }
    for (struct connection *c = s->connections; c != NULL; c = c->next) {
        if (c->name == s->oldest)
            turn_push(&s->ready, &c->turn); /* not left to the inner set, which may be busy telling of the others */
    }
    for (struct ring_session *x = s->sessions; x != NULL; x = x->next) {
        if (x->name == s->oldest && !x->taken)
            turn_push(&s->ready, &x->turn);
    }
}

/* ---- sleeping ---- */

/* The watch is for those who are awake, where there is not room for all. */
static void slot_sleeps(slot *s, struct ring_session *x)
{
    if (atomic_load_explicit(&s->counts.rings, memory_order_relaxed) <= WATCH_ROOM)
        return;
    for (uint32_t level = MR_URGENT; level < x->geometry.levels; level++)
        watch_remove(s, &x->levels[level]);
}

/* Puts the resting sessions to sleep. False: some of them cannot, because something has come. */
static bool slot_arm_resting(slot *s)
{
    bool barrier = false;
    bool asleep = true;
    for (struct slot_turn *turn = s->resting.first; turn != NULL; turn = turn->next) {
        struct ring_session *x = ring_session_of_turn(turn);
        ring_session_arm(x);
        barrier = barrier || x->barrier;
    }
    KILL_POINT(reader, arm);
    if (barrier)
        ring_barrier(); /* ring.h, B: once for all of them */
    KILL_POINT(reader, look);
    for (struct slot_turn *turn; (turn = turn_pop(&s->resting)) != NULL;) {
        struct ring_session *x = ring_session_of_turn(turn);
        x->quiet = 0;
        /* Who was limited while it was resting, by a rename, has yet to come to its end. */
        if (ring_session_arm_look(x) && !x->gone && !x->limited && ring_session_hear(x)) {
            slot_sleeps(s, x);
            s->sleeper = x;
            continue;
        }
        turn_push(&s->ready, turn);
        asleep = false;
    }
    return asleep;
}

/* Looks on for a while, as long as that has been worth it. True: something has come. */
static bool slot_spin(slot *s)
{
    if (s->spin_most == 0 || s->ready.first == NULL)
        return false;
    uint64_t length = ++s->sleeps % SPIN_PROBE == 0 ? s->spin_most : s->spin;
    if (length == 0)
        return false;
    uint64_t end = clock_now() + length;
    do {
        for (struct slot_turn *turn = s->ready.first; turn != NULL; turn = turn->next) {
            if (turn->ring && ring_session_glance(ring_session_of_turn(turn))) {
                s->spin = s->spin_most;
                return true;
            }
        }
    } while (clock_now() < end);
    s->spin = s->spin / 2 < 1000 ? 0 : s->spin / 2;
    return false;
}

/* Everybody in the ready list was found empty: true, all are asleep now. */
static bool slot_rest(slot *s)
{
    if (slot_spin(s))
        return false;
    for (size_t count = s->ready.count; count > 0; count--) {
        struct slot_turn *turn = turn_pop(&s->ready);
        turn_push(turn->ring && !ring_session_of_turn(turn)->limited ? &s->resting : &s->ready, turn);
    }
    return slot_arm_resting(s) && s->ready.first == NULL;
}

/* ---- turns ---- */

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

static bool slot_gives_way(slot *s, const struct taking *t)
{
    return t->late || t->since_harvest >= HARVEST_MESSAGES ||
           (s->urgent_run < URGENT_RUN && watch_differs(&s->watched));
}

static void slot_account(slot *s, struct taking *t, size_t bytes)
{
    budget_spend(t->budget, bytes);
    t->since_harvest++;
    s->urgent_run = 0;
}

/* One share of one connection (I2). */
static void slot_serve_plain(slot *s, struct connection *c, struct taking *t, unsigned share)
{
    size_t bytes = 0;
    for (unsigned taken = 0; taken < share && bytes < SHARE_BYTES && taking_allows_normal(t); taken++) {
        struct buffer *message;
        if (taken > 0 && slot_gives_way(s, t))
            break;
        switch (plain_receive(c, &t->plain, &message, t->wanted)) {
        case RECEIVED_MESSAGE:
            bytes += message->length;
            count_add(&c->messages, 1);
            count_add(&c->bytes, message->length);
            slot_account(s, t, message->length);
            if (s->deliver(s->context, message) == DELIVERED_DONE) {
                buffer_release(message, t->cache);
                t->late = (taking_is_second(t) && taking_sees_late(t)) || t->late;
            }
            break;
        case RECEIVED_TOO_BIG:
            slot_account(s, t, 0);
            count_add(&s->counts.dropped_too_big, 1);
            break;
        case RECEIVED_VIOLATION:
            slot_account(s, t, 0);
            slot_violation(s, c);
            break;
        case RECEIVED_NOTHING:
            return;
        case RECEIVED_END:
            slot_account(s, t, 0);
            slot_disconnect(s, c);
            return;
        case RECEIVED_STARVED:
            t->starved = true;
            turn_push_front(&s->ready, &c->turn);
            return;
        }
    }
    turn_push(&s->ready, &c->turn);
}

/* Nothing more is taken of a session; it goes when everything is acknowledged. Who has hung up waits for nothing. */
static void slot_finish_session(slot *s, struct ring_session *x)
{
    if (!x->taken && x->name < s->name)
        s->old--;
    x->taken = true;
    if (x->gone || ring_session_settle(x))
        slot_drop(s, x);
}

/* One share of one session. True: it has brought something, or cannot for reasons of our own. */
static bool slot_serve_ring(slot *s, struct ring_session *x, struct taking *t, unsigned share)
{
    unsigned brought = 0;
    if (x->broken || (x->gone && !ring_session_limit(x))) {
        slot_drop_violator(s, x);
        return true;
    }
    if (x->taken) {
        slot_finish_session(s, x);
        return true;
    }
    watch_put(s, x);
    enum ring_end end = ring_session_serve(t, x, share, false, &brought);
    if (end == RING_BROKEN) {
        slot_drop_violator(s, x);
        return true;
    }
    if (end == RING_STARVED)
        t->starved = true;
    if (end == RING_STARVED || (end == RING_OVER && brought == 0)) {
        turn_push_front(&s->ready, &x->turn);
        return true;
    }
    /* A window that is full holds no new name up: what is left is its writer's, who is there to keep it. */
    if (x->limited && (ring_session_exhausted(x) || (end == RING_EMPTY && !x->gone))) {
        slot_finish_session(s, x);
        return true;
    }
    x->quiet = brought > 0 ? 0 : x->quiet + 1;
    if (end == RING_EMPTY && (x->limited || ring_session_at_rest(x)))
        return brought > 0; /* limited: a window is full; else the doorbell, or a window, brings it back (I3) */
    turn_push(x->quiet < QUIET_SESSION ? &s->ready : &s->resting, &x->turn);
    return brought > 0;
}

/* On waking: who was put to sleep last has probably rung. One look tells, in less time than the inner set does; and one
 * message of its own goes before those of whoever has rung besides. Its bell is still to be heard, or to be rung: that
 * costs another look (docs/ring.md). */
static void slot_serve_sleeper(slot *s, struct taking *t)
{
    struct ring_session *x = s->sleeper;
    s->sleeper = NULL;
    if (x == NULL || !taking_allows_normal(t) || !slot_serves(s, x->name) || x->limited || !ring_session_glance(x) ||
        slot_has_urgent(s))
        return;
    ring_session_wake(x);
    x->quiet = 0;
    turn_remove(&s->ready, &x->turn);
    (void) slot_serve_ring(s, x, t, 1);
}

/* A share of what is urgent from one session. False: there is no memory even for that. */
static bool slot_serve_urgent(slot *s, struct taking *t)
{
    struct slot_turn *turn = turn_pop(&s->urgent);
    struct ring_session *x = ring_session_of_urgent(turn);
    unsigned brought = 0;
    if (x->limited)
        return true; /* all of it comes in its turn */
    enum ring_end end = ring_session_serve(t, x, URGENT_RUN / 4, true, &brought);
    if (end == RING_BROKEN) {
        slot_drop_violator(s, x);
        return true;
    }
    if (end != RING_EMPTY)
        turn_push(&s->urgent, turn);
    if (!ring_session_at_rest(x))
        turn_push(&s->ready, &x->turn); /* I3 */
    return end != RING_STARVED;
}

static bool slot_has_callers(const slot *s)
{
    return s->listeners[0].ready || s->listeners[1].ready || s->guests_ready > 0;
}

/* With a budget of urgent messages alone as well: who comes only now may bring one. */
static void slot_open_doors(slot *s, struct taking *t)
{
    struct slot_budget doors = {.messages = t->budget->urgent};
    struct slot_budget *budget = budget_spent(t->budget) ? &doors : t->budget;
    for (unsigned which = 0; which < 2; which++) {
        struct slot_listener *listener = &s->listeners[which];
        if (!listener->ready || budget->messages == 0)
            continue;
        listener->ready = false;
        slot_accept(s, listener, budget);
    }
    if (s->guests_ready > 0)
        ring_hear_guests(s);
}

/* Asks the set while others are busy, and puts to sleep who rests: nobody else does until they are quiet. `around`: a while has
 * passed, and who is awake does not ring. */
static void slot_ask(slot *s, uint64_t now, bool around)
{
    s->harvested = now;
    (void) slot_harvest(s);
    if (around)
        slot_look_around(s);
    if (s->resting.first != NULL)
        (void) slot_arm_resting(s);
}

/* So many turns in a row bring nothing before nobody has anything. Who calls again soon looks then. */
static size_t quiet_most(const slot *s, const struct taking *t)
{
    return s->ready.count < QUIET_TURNS && !t->budget->linger ? QUIET_TURNS : s->ready.count + 1;
}

/* Serves the lists until nobody has anything, or the taking has to end. */
static enum serving slot_serve(slot *s, struct taking *t)
{
    size_t quiet = 0;
    for (;;) {
        if (t->late || t->since_harvest >= HARVEST_MESSAGES) {
            if (t->late && t->budget->brisk) {
                slot_look_around(s);
                return SERVED_OVER;
            }
            if (t->late || taking_is_due(t))
                slot_ask(s, clock_now(), t->late);
            t->late = false;
            t->since_harvest = 0;
        }
        slot_open_doors(s, t);
        bool normal = taking_allows_normal(t);
        if (taking_allows_urgent(t) && slot_has_urgent(s) && (s->urgent_run < URGENT_RUN || !normal)) {
            if (!slot_serve_urgent(s, t))
                return SERVED_STARVED;
            quiet = 0;
            continue;
        }
        if (!normal)
            return t->starved && !taking_stopped(t) ? SERVED_STARVED : SERVED_OVER;
        struct slot_turn *turn = turn_pop(&s->ready);
        if (turn == NULL || quiet >= quiet_most(s, t)) {
            if (turn != NULL)
                turn_push_front(&s->ready, turn);
            if (s->urgent.first == NULL)
                return SERVED_ALL;
            s->urgent_run = 0; /* nothing else wants to pass */
            continue;
        }
        quiet++;
        /* While something urgent waits, one message passes. */
        bool ring = turn->ring; /* serving may free it */
        unsigned share = s->urgent.first != NULL ? 1 : ring ? RING_SHARE_MESSAGES : PLAIN_SHARE_MESSAGES;
        if (!ring)
            slot_serve_plain(s, (struct connection *) (void *) ((char *) turn - offsetof(struct connection, turn)), t,
                             share);
        if (!ring || slot_serve_ring(s, ring_session_of_turn(turn), t, share))
            quiet = 0;
    }
}

enum slot_taken slot_take(slot *s, struct pool_cache *cache, struct slot_budget *budget, size_t *wanted)
{
    struct taking t; /* its control buffer is large: only what must be is initialised */
    t.slot = s;
    t.cache = t.plain.cache = cache;
    t.budget = budget;
    t.wanted = wanted;
    t.starved = t.refused = t.late = false;
    t.second = 0;
    t.since_harvest = 0;
    t.harvest_ns = s->port == NULL || port_quiet(s->port) ? HARVEST_NS : HARVEST_BUSY_NS;
    taking_begin_clock(&t);
    t.buffer = NULL;
    t.session = NULL;
    t.fit_least = t.fits = 0;
    t.skipped = 0;
    t.called = false;
    t.plain.pool = s->pool;
    t.plain.advisor = &s->advisor;
    t.plain.max_message = s->max_message;
    t.plain.buffer = t.plain.overflow = NULL;
    enum serving serving = SERVED_ALL;
    slot_serve_sleeper(s, &t);
    bool asks = s->ready.first == NULL || t.clock - s->harvested >= t.harvest_ns;
    for (;; asks = true) {
        if (!s->listeners[0].in_set || !s->listeners[1].in_set)
            slot_next_name(s);
        size_t old = s->old;
        bool more = false;
        if (asks) {
            s->harvested = t.clock;
            more = slot_harvest(s);
        }
        serving = slot_serve(s, &t);
        if (serving == SERVED_ALL && budget->linger && s->ready.first != NULL)
            serving = SERVED_QUIET;
        if (serving != SERVED_ALL)
            break;
        if (asks && slot_rest(s) && !more && s->old == old)
            break; /* nobody sleeps before the set was asked */
    }
    taking_end_clock(&t);
    if (t.buffer != NULL)
        buffer_release(t.buffer, cache);
    plain_receiver_clear(&t.plain);
    atomic_store_explicit(&s->holds, s->ready.first != NULL || s->resting.first != NULL, memory_order_relaxed); /* I1 */
    if (serving == SERVED_STARVED)
        return SLOT_STARVED;
    if (serving == SERVED_QUIET)
        return SLOT_QUIET;
    return serving == SERVED_OVER ? SLOT_MORE : SLOT_EMPTY;
}

/* ---- looking ---- */

bool slot_urgent(slot *s)
{
    if (slot_has_urgent(s))
        return true;
    uint64_t now = clock_now();
    if (now - s->harvested < LOOK_NS + s->ready.count * LOOK_SESSION_NS)
        return false;
    slot_ask(s, now, true);
    atomic_store_explicit(&s->holds, s->ready.first != NULL || s->resting.first != NULL, memory_order_relaxed);
    return slot_has_urgent(s) || slot_has_callers(s);
}

bool slot_holds(slot *s)
{
    return atomic_load_explicit(&s->holds, memory_order_relaxed);
}
