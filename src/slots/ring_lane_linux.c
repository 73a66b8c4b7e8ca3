/* ring_lane_linux.c: a writer's session at its slot: beginning, sleeping, ending. Taking its messages: ring_take_linux.c.
 *
 * Path    hello accepted > ring_session_new > [ ring_session_serve > ring_session_arm > ring_session_arm_look ]* >
 *         ring_session_limit > ring_session_settle > ring_session_free
 * Owners  As ring_lane_linux.h.
 * I1      A level is `armed` from ring_session_arm_look, having found nothing, until something is found there. What is neither
 *         armed nor paused needs a look now and then: its session has a turn.
 * I2      Of a limited session only what lies before `limit` is read, and tail is not loaded again: a writer that goes on in
 *         a memory that it has hung up on, or for a name that has gone, keeps nobody.
 * B       (ring.h) S: the reader sleeps. It makes the barrier, if this process could register; the writer needs none of its
 *         own once our answer has said so, and has to be registered itself, or the barrier passes it by: it said so in
 *         its hello. So a session has a `barrier`, and where it is false the writer keeps its fences.
 * N2      As in ring.h: the look at `wanted` is made by the taking thread, or under the window's lock.
 */
#include "slots/ring_lane_linux.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "queue/memory.h"
#include "queue/status.h"
#include "slots/ring_ceiling.h"
#include "slots/slot_linux.h"

/* ---- beginning and end ---- */

void ring_session_tell(struct ring_session *x)
{
    struct ring_packet packet;
    struct status_memo before;
    status_save(&before);
    KILL_POINT(reader, tell);
    ring_packet_init(&packet, PACKET_REACHED, 0);
    /* No room: then others that it has not heard wait there, and tell the same. Gone: then nobody waits. */
    (void) ring_packet_send(x->socket, &packet, sizeof packet, -1);
    KILL_POINT(reader, told);
    status_restore(&before);
    atomic_fetch_add_explicit(&x->waits, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&x->slot->counts.waits, 1, memory_order_relaxed);
}

/* For the windows; any thread, but the session lives (ring_window.c, I3). */
static void session_reached(void *context)
{
    ring_session_tell(context);
}

static void session_resume(void *context)
{
    struct ring_session *x = context;
    slot *s = x->slot;
    mutex_lock(&s->nudge_lock);
    turn_push(&s->nudged, &x->nudge_turn);
    mutex_unlock(&s->nudge_lock);
    slot_nudge(s);
}

static bool level_init(struct ring_session *x, uint32_t level, const struct ring_hello *hello)
{
    struct ring_level *l = &x->levels[level];
    l->level = level;
    l->watched = RING_UNWATCHED;
    l->sequence = hello->sequence[level];
    l->redelivered = hello->redelivered[level];
    ring_reader_init(&l->ring, x->memory, &x->geometry, level);
    if (!x->slot->acknowledged_later)
        return true;
    struct ring_window_owner owner = {.reached = session_reached,
                                      .resume = session_resume,
                                      .context = x,
                                      .acknowledged = &x->slot->counts.acknowledged};
    l->window = ring_window_open(&l->ring, x->slot->acknowledge_window, &owner);
    return l->window != NULL;
}

void ring_session_discard(struct ring_session *x)
{
    for (uint32_t level = 0; level < x->geometry.levels; level++) {
        if (x->levels[level].window != NULL)
            ring_window_close(x->levels[level].window);
    }
    memory_free(x);
}

struct ring_session *ring_session_new(struct slot *s, const struct ring_guest_facts *facts)
{
    const struct ring_geometry *geometry = &facts->hello->geometry;
    struct ring_session *x = memory_zalloc(sizeof *x + geometry->levels * sizeof x->levels[0]);
    if (x == NULL)
        return NULL;
    x->socket_source.kind = SOURCE_RING_SOCKET;
    x->doorbell_source.kind = SOURCE_RING_DOORBELL;
    x->turn.ring = true;
    x->slot = s;
    x->name = s->name;
    x->sender = facts->sender;
    x->geometry = *geometry;
    x->memory = facts->memory;
    x->barrier = facts->barrier;
    for (uint32_t level = 0; level < geometry->levels; level++) {
        if (level_init(x, level, facts->hello))
            continue;
        ring_session_discard(x);
        return NULL;
    }
    x->socket = facts->socket;
    x->doorbell = facts->doorbell;
    return x;
}

/* Every ring seems to fall asleep: before it would ring, a writer looks at its socket, and finds what is said there. */
void ring_session_alarm(struct ring_session *x)
{
    for (uint32_t level = 0; level < x->geometry.levels; level++)
        ring_arm(&x->levels[level].ring);
}

void ring_session_free(struct ring_session *x)
{
    slot *s = x->slot;
    for (uint32_t level = 0; level < x->geometry.levels; level++) {
        if (x->levels[level].window != NULL)
            ring_window_close(x->levels[level].window); /* from here on nobody else knows the session */
        x->levels[level].window = NULL;
    }
    mutex_lock(&s->nudge_lock);
    turn_remove(&s->nudged, &x->nudge_turn);
    mutex_unlock(&s->nudge_lock);
    for (unsigned i = 0; i < x->held_count; i++)
        janitor_close(&x->held[i].descriptor, 1);
    memory_free(x->held);
    (void) shutdown(x->socket, SHUT_RDWR); /* a forked child may hold it too: the peer is told all the same */
    ring_session_alarm(x);
    (void) plain_drain(x->socket); /* descriptors may lie there, and closing those may block */
    close(x->socket);
    close(x->doorbell);
    ring_memory_free(&x->geometry, x->memory);
    ring_session_discard(x);
}

/* ---- sleeping ---- */

bool ring_session_urgent(const struct ring_session *x)
{
    if (x->limited)
        return false;
    for (uint32_t level = MR_URGENT; level < x->geometry.levels; level++) {
        if (!x->levels[level].paused && ring_glance(&x->levels[level].ring))
            return true;
    }
    return false;
}

void ring_session_wake(struct ring_session *x)
{
    /* All of them: which one has rung is not told, and for the epoch that it has rung for it does not ring again, though
     * what it rang for may have been taken before. */
    for (uint32_t level = 0; level < x->geometry.levels; level++)
        x->levels[level].armed = false;
}

bool ring_session_glance(const struct ring_session *x)
{
    return (!x->levels[0].paused && ring_glance(&x->levels[0].ring)) || ring_session_urgent(x);
}

bool ring_session_asleep(const struct ring_session *x)
{
    for (uint32_t level = 0; level < x->geometry.levels; level++) {
        if (!x->levels[level].armed)
            return false;
    }
    return true;
}

bool ring_session_at_rest(const struct ring_session *x)
{
    for (uint32_t level = 0; level < x->geometry.levels; level++) {
        if (!x->levels[level].armed && !x->levels[level].paused)
            return false;
    }
    return true;
}

void ring_session_arm(struct ring_session *x)
{
    for (uint32_t level = 0; level < x->geometry.levels; level++) {
        struct ring_level *l = &x->levels[level];
        l->paused = l->paused && !ring_window_has_room(l->window);
        if (l->armed || l->paused)
            continue;
        ring_arm(&l->ring);
        /* Nothing is left to deliver: now the writer is told even if less than half of the ring is free. */
        if (l->window != NULL ? ring_window_look(l->window) : ring_release_look(&l->ring, l->ring.position))
            ring_session_tell(x);
    }
}

bool ring_session_arm_look(struct ring_session *x)
{
    bool asleep = true;
    for (uint32_t level = 0; level < x->geometry.levels; level++) {
        struct ring_level *l = &x->levels[level];
        if (l->armed || l->paused)
            continue;
        l->armed = ring_arm_look(&l->ring);
        asleep = asleep && l->armed;
    }
    return asleep;
}

/* ---- ending ---- */

bool ring_session_has_hung_up(const struct ring_session *x)
{
    struct pollfd end = {.fd = x->socket, .events = POLLRDHUP};
    return poll(&end, 1, 0) > 0;
}

bool ring_session_limit(struct ring_session *x)
{
    if (x->limited)
        return true;
    for (uint32_t level = 0; level < x->geometry.levels; level++) {
        struct ring_level *l = &x->levels[level];
        if (!ring_reload(&l->ring))
            return false;
        l->limit = l->ring.tail;
        watch_remove(x->slot, l);
    }
    x->limited = true;
    KILL_POINT(reader, limit);
    return true;
}

bool ring_session_exhausted(const struct ring_session *x)
{
    for (uint32_t level = 0; level < x->geometry.levels; level++) {
        if (x->levels[level].ring.position != x->levels[level].limit)
            return false;
    }
    return true;
}

bool ring_session_settle(struct ring_session *x)
{
    bool settled = true;
    for (uint32_t level = 0; level < x->geometry.levels; level++) {
        struct ring_window *window = x->levels[level].window;
        settled = (window == NULL || ring_window_await(window)) && settled;
    }
    return settled;
}

uint64_t ring_session_count_left(struct ring_session *x)
{
    uint64_t left = 0;
    for (uint32_t level = 0; level < x->geometry.levels; level++) {
        struct ring_level *l = &x->levels[level];
        struct ring_record record;
        while (l->ring.position != l->limit && ring_peek(&l->ring, &record) == RING_RECORD) {
            left += record.kind != RING_GAP;
            ring_advance(&l->ring, record.end);
        }
    }
    return left;
}

uint64_t ring_session_unacknowledged(struct ring_session *x)
{
    uint64_t count = 0;
    for (uint32_t level = 0; level < x->geometry.levels; level++) {
        if (x->levels[level].window != NULL)
            count += ring_window_unacknowledged(x->levels[level].window);
    }
    return count;
}
