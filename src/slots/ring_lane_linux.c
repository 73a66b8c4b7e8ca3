/* ring_lane_linux.c: takes messages out of a writer's rings.
 *
 * Path    ring_session_serve > level_serve > [ ring_peek > copy into a pooled buffer > ring_hand > deliver > ring_release ]*
 *         > REACHED, if the writer waits for that
 * Owners  As ring_lane_linux.h. The buffer that messages are copied into belongs to the call of slot_take, until deliver
 *         keeps it; as long as nobody does, it is used for one message after another, with the sender filled in once.
 * I1      `sequence` is the number of the message at the ring's position: messages, dropped ones and gaps all count.
 * I2      Without a window head is the end of the last record that was delivered; with one, every record from head to
 *         position has an entry in it, and nothing is taken while it is full.
 * I3      A level is `armed` from ring_session_arm_look, having found nothing, until something is found there. What is neither
 *         armed nor paused needs a look now and then: its session has a turn.
 * I4      Of a limited session only what lies before `limit` is read, and tail is not loaded again: a writer that goes on in
 *         a memory that it has hung up on, or for a name that has gone, keeps nobody.
 * I5      A large message's descriptor is received when its record has been reached, not before: so a peer makes us hold at
 *         most RING_LARGE_MOST of them, and only by sending other levels' first.
 * B       (ring.h) S: the reader sleeps. It makes the barrier, if this process could register; the writer needs none of its
 *         own once our answer has said so, and has to be registered itself, or the barrier passes it by: it said so in
 *         its hello. So a session has a `barrier`, and where it is false the writer keeps its fences.
 * H1/N2   As in ring.h. ring_release and the look at `wanted` are made by the taking thread, or under the window's lock.
 * Hostile All that is used of a record was checked by ring_peek, in our own copy; the payload is copied once and looked at
 *         in the copy only.
 */
#include "slots/ring_lane_linux.h"

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "queue/memory.h"
#include "queue/seldom.h"
#include "queue/status.h"
#include "slots/ring_ceiling.h"
#include "slots/slot_linux.h"

/* A buffer that is so much larger than its message is not used for it: the message may be kept. */
#define BUFFER_SLACK ((size_t) 2048)
/* Large messages' packets that are received in search of one. */
#define LARGE_LOOKS (4 * RING_LARGE_MOST)

struct tally {
    unsigned records;
    unsigned messages;
    size_t bytes;
};

/* ---- beginning and end ---- */

static void session_tell(struct ring_session *x)
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
    session_tell(context);
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

/* ---- large messages ---- */

static void held_remove(struct ring_session *x, unsigned index, bool trusted)
{
    if (trusted)
        close(x->held[index].descriptor);
    else
        janitor_close(&x->held[index].descriptor, 1);
    x->held[index] = x->held[--x->held_count];
}

/* The descriptor of the message at the level's position. RING_SHARE: it is held[*index]. */
static enum ring_end large_find(struct ring_session *x, const struct ring_level *l, unsigned *index)
{
    if (x->held == NULL) {
        x->held = memory_calloc(RING_LARGE_MOST, sizeof *x->held);
        if (x->held == NULL)
            return RING_BROKEN; /* its writer still has everything */
    }
    for (unsigned i = x->held_count; i-- > 0;) {
        if (x->held[i].sequence < x->levels[x->held[i].level].sequence)
            held_remove(x, i, false); /* an orphan: its record was never committed */
    }
    for (unsigned look = 0; look < LARGE_LOOKS; look++) {
        for (unsigned i = 0; i < x->held_count; i++) {
            *index = i;
            if (x->held[i].level == l->level && x->held[i].sequence == l->sequence)
                return RING_SHARE;
        }
        union ring_any_packet packet;
        int descriptor = -1;
        if (ring_packet_receive(x->socket, &packet, &descriptor) != MR_OK)
            return RING_BROKEN; /* it is sent before its record is committed */
        KILL_POINT(reader, large_received);
        bool large = packet.packet.type == PACKET_LARGE && packet.large.level < x->geometry.levels;
        if (large && packet.large.sequence >= x->levels[packet.large.level].sequence &&
            x->held_count < RING_LARGE_MOST) {
            x->held[x->held_count++] = (struct ring_held){.level = packet.large.level,
                                                          .descriptor = descriptor,
                                                          .sequence = packet.large.sequence,
                                                          .length = packet.large.length};
            continue;
        }
        if (descriptor >= 0)
            janitor_close(&descriptor, 1);
        if (!large || packet.large.sequence >= x->levels[packet.large.level].sequence)
            return RING_BROKEN;
    }
    return RING_BROKEN;
}

/* ---- one record ---- */

/* A buffer for so many bytes. RING_SHARE: it is there; RING_EMPTY: there can never be one. */
static SELDOM enum ring_end taking_get(struct taking *t, const struct ring_level *l, size_t length)
{
    if (t->buffer != NULL)
        buffer_release(t->buffer, t->cache);
    t->filled = NULL;
    enum pool_result result = pool_get(t->slot->pool, t->cache, length, l->level > MR_NORMAL, &t->buffer);
    if (result == POOL_OK)
        return RING_SHARE;
    t->buffer = NULL;
    if (result == POOL_NEVER)
        return RING_EMPTY;
    *t->wanted = length;
    return RING_STARVED;
}

static inline bool taking_has_buffer(const struct taking *t, size_t length)
{
    return t->buffer != NULL && t->buffer->capacity >= length && t->buffer->capacity <= 4 * length + BUFFER_SLACK;
}

/* Steps over a record that brings no message. */
static SELDOM void level_skip(struct taking *t, struct ring_level *l, uint64_t end)
{
    ring_advance(&l->ring, end);
    watch_move(t->slot, l);
    KILL_POINT(reader, skip);
    if (l->window != NULL)
        ring_window_add_done(l->window, end);
    else
        ring_release(&l->ring, end);
}

static SELDOM enum ring_end level_skip_too_big(struct taking *t, struct ring_level *l, uint64_t end)
{
    count_add(&t->slot->counts.dropped_too_big, 1);
    l->sequence++;
    level_skip(t, l, end);
    return RING_SHARE;
}

/* N2, in the middle of a share (a window has looked when it moved the head). */
static SELDOM void level_look(struct ring_session *x, struct ring_level *l)
{
    if (ring_release_look(&l->ring, l->ring.position))
        session_tell(x);
}

/* The message in t->buffer goes to the slot's user. Inlined by force: it saves a seventh of what taking a small message
 * takes, and the other place that it is called from, for large ones, keeps the compiler from doing it. */
static inline __attribute__((always_inline)) enum ring_end level_deliver(struct taking *t, struct ring_session *x,
                                                                         struct ring_level *l, size_t length,
                                                                         uint64_t end, struct tally *tally)
{
    slot *s = t->slot;
    struct buffer *buffer = t->buffer;
    struct slot_message *message = slot_message_of(buffer);
    uint64_t start = l->ring.position;
    if (t->filled != x) {
        *message = (struct slot_message){.public = {.sender = x->sender, .lane = MR_LANE_RING}};
        t->filled = x;
    }
    message->public.sequence = l->sequence;
    message->public.priority = l->level;
    message->public.redelivered = start < l->redelivered;
    slot_message_finish(buffer, length);
    if (l->window != NULL) {
        ring_window_add(l->window, end, &message->token);
        count_add(&s->counts.held, 1);
    } else if (ring_release_due(&l->ring)) {
        level_look(x, l); /* the callback may take its time: who waits for what is free already is told before */
    }
    KILL_POINT(reader, added);
    ring_hand(&l->ring, end);
    KILL_POINT(reader, handed);
    ring_advance(&l->ring, end);
    watch_move(s, l);
    enum slot_delivered delivered = s->deliver(s->context, buffer);
    KILL_POINT(reader, delivered);
    if (delivered == DELIVERED_REFUSED) {
        ring_advance(&l->ring, start);
        ring_hand(&l->ring, start);
        watch_move(s, l);
        if (l->window != NULL) {
            ring_window_retract(l->window);
            count_add(&s->counts.held, (uint64_t) -1);
        }
        t->refused = true;
        return RING_OVER;
    }
    if (delivered == DELIVERED_KEPT || !buffer_is_sole(buffer)) {
        if (delivered != DELIVERED_KEPT)
            buffer_release(buffer, t->cache);
        t->buffer = NULL;
        t->filled = NULL;
    }
    if (l->window == NULL)
        ring_release(&l->ring, end); /* I2 */
    if (start < l->redelivered)
        count_add(&s->counts.redelivered, 1);
    l->sequence++;
    tally->messages++;
    tally->bytes += length;
    if (delivered == DELIVERED_DONE && taking_is_late(t))
        t->late = true;
    return RING_SHARE;
}

static inline enum ring_end level_take_data(struct taking *t, struct ring_session *x, struct ring_level *l,
                                            const struct ring_record *record, struct tally *tally)
{
    if (record->length > t->slot->max_message)
        return level_skip_too_big(t, l, record->end);
    if (!taking_has_buffer(t, record->length)) {
        enum ring_end got = taking_get(t, l, record->length);
        if (got != RING_SHARE)
            return got == RING_EMPTY ? level_skip_too_big(t, l, record->end) : got;
    }
    KILL_POINT_HALF(reader, copy, buffer_data(t->buffer), record->payload, record->length);
    memcpy(buffer_data(t->buffer), record->payload, record->length);
    KILL_POINT(reader, copied);
    return level_deliver(t, x, l, record->length, record->end, tally);
}

static enum ring_end level_take_large(struct taking *t, struct ring_session *x, struct ring_level *l,
                                      const struct ring_record *record, struct tally *tally)
{
    unsigned index = 0;
    enum ring_end end = large_find(x, l, &index);
    if (end != RING_SHARE)
        return end;
    const struct ring_held held = x->held[index];
    if (held.length != record->number)
        return RING_BROKEN;
    if (held.length <= t->slot->max_message && !taking_has_buffer(t, (size_t) held.length))
        end = taking_get(t, l, (size_t) held.length);
    if (end == RING_STARVED)
        return end;
    if (end == RING_EMPTY || held.length > t->slot->max_message) {
        held_remove(x, index, false);
        return level_skip_too_big(t, l, record->end);
    }
    if (ring_large_read(held.descriptor, buffer_data(t->buffer), (size_t) held.length) != MR_OK)
        return RING_BROKEN;
    KILL_POINT(reader, large_read);
    end = level_deliver(t, x, l, (size_t) held.length, record->end, tally);
    if (end == RING_SHARE)
        held_remove(x, index, true); /* it is what it has to be, or it could not have been read */
    return end;
}

static SELDOM enum ring_end level_take_rare(struct taking *t, struct ring_session *x, struct ring_level *l,
                                            const struct ring_record *record, struct tally *tally)
{
    if (record->kind == RING_LARGE) {
        struct status_memo
            before; /* what is wrong with a peer is counted; to the call that it happens in it is no error */
        status_save(&before);
        enum ring_end end = level_take_large(t, x, l, record, tally);
        status_restore(&before);
        return end;
    }
    count_add(&x->dropped, record->number);
    count_add(&t->slot->counts.dropped_by_writers, record->number);
    l->sequence += record->number; /* I1 */
    level_skip(t, l, record->end);
    return RING_SHARE;
}

/* ---- a level's share ---- */

/* How much may be taken now, and afterwards how much was. */
struct share {
    unsigned records;
    size_t bytes;
    bool budgeted; /* else of what is kept for urgent messages alone */
};

/* At most so many records: those of the share that the budget has, but with no look at the inner set put off. */
static struct share share_of(const struct taking *t, unsigned records)
{
    const struct slot_budget *budget = t->budget;
    struct share share = {.records = records, .bytes = SHARE_BYTES, .budgeted = !budget_spent(budget)};
    size_t allowed = share.budgeted ? budget->messages : budget->urgent;
    unsigned looked = t->since_harvest < HARVEST_MESSAGES ? HARVEST_MESSAGES - t->since_harvest : 1;
    if (allowed < share.records)
        share.records = (unsigned) allowed;
    if (looked < share.records)
        share.records = looked;
    if (share.budgeted && budget->bytes < share.bytes)
        share.bytes = budget->bytes;
    return share;
}

static void share_spend(struct taking *t, const struct share *share, const struct tally *tally)
{
    struct slot_budget *budget = t->budget;
    t->since_harvest += tally->records;
    if (!share->budgeted) {
        budget->urgent -= tally->records;
        return;
    }
    budget->messages -= tally->records;
    budget->bytes -= tally->bytes < budget->bytes ? tally->bytes : budget->bytes;
}

/* The next record, if it may be taken: RING_SHARE. */
static inline enum ring_end level_next(struct taking *t, struct ring_session *x, struct ring_level *l,
                                       struct ring_record *record)
{
    if (x->limited && l->ring.position == l->limit)
        return RING_EMPTY; /* I4 */
    enum ring_look look = ring_peek(&l->ring, record);
    if (look != RING_RECORD)
        return look == RING_NOTHING ? RING_EMPTY : RING_BROKEN;
    KILL_POINT(reader, peek);
    l->armed = false; /* I3 */
    if (l->window == NULL || ring_window_has_room(l->window))
        return RING_SHARE;
    l->paused = ring_window_pause(l->window);
    if (!l->paused)
        return RING_SHARE;
    watch_remove(t->slot, l);
    return RING_EMPTY;
}

/* After a message: is it time to look at something else? */
static inline bool level_gives_way(const struct taking *t, const struct ring_level *l)
{
    if (t->late || t->budget->stop)
        return true;
    return l->level == MR_NORMAL && watch_differs(&t->slot->watched) && t->slot->urgent_run < URGENT_RUN;
}

static void level_account(struct ring_session *x, struct ring_level *l, const struct tally *tally)
{
    uint64_t waiting = l->ring.tail - l->ring.position;
    atomic_store_explicit(&l->shown, l->ring.position, memory_order_relaxed);
    count_add(&x->messages, tally->messages);
    count_add(&x->bytes, tally->bytes);
    if (waiting + tally->bytes > atomic_load_explicit(&x->waiting_peak, memory_order_relaxed))
        atomic_store_explicit(&x->waiting_peak, waiting + tally->bytes, memory_order_relaxed);
    if (l->window != NULL ? ring_window_look(l->window) : ring_release_look(&l->ring, l->ring.position))
        session_tell(x);
}

static enum ring_end level_serve(struct taking *t, struct ring_session *x, struct ring_level *l, unsigned share,
                                 unsigned *brought)
{
    if (l->level == MR_NORMAL ? !taking_allows_normal(t) : !taking_allows_urgent(t))
        return t->starved && !taking_stopped(t) ? RING_STARVED : RING_OVER;
    const struct share most = share_of(t, share);
    struct tally tally = {0};
    struct ring_record record;
    enum ring_end end = RING_SHARE;
    while (tally.records < most.records && tally.bytes < most.bytes) {
        end = level_next(t, x, l, &record);
        if (end != RING_SHARE)
            break;
        end = record.kind == RING_DATA ? level_take_data(t, x, l, &record, &tally)
                                       : level_take_rare(t, x, l, &record, &tally);
        if (end != RING_SHARE)
            break;
        tally.records++;
        if (l->level == MR_NORMAL)
            t->slot->urgent_run = 0;
        else
            t->slot->urgent_run++;
        if (level_gives_way(t, l))
            break;
    }
    share_spend(t, &most, &tally);
    if (tally.records > 0 && end != RING_BROKEN)
        level_account(x, l, &tally);
    *brought += tally.records;
    return end;
}

enum ring_end ring_session_serve(struct taking *t, struct ring_session *x, unsigned share, bool urgent,
                                 unsigned *brought)
{
    uint32_t lowest = urgent ? MR_URGENT : MR_NORMAL;
    *brought = 0;
    t->filled = NULL; /* a session may have gone since the last call, and another have come to its place in memory */
    for (uint32_t level = x->geometry.levels; level-- > lowest;) {
        struct ring_level *l = &x->levels[level];
        if (l->paused) {
            if (!ring_window_has_room(l->window))
                continue;
            l->paused = false;
        }
        if (level > MR_NORMAL && l->armed && !x->limited && !ring_glance(&l->ring))
            continue;
        enum ring_end end = level_serve(t, x, l, share - *brought, brought);
        if (end != RING_EMPTY || *brought >= share)
            return end == RING_EMPTY ? RING_SHARE : end;
    }
    return RING_EMPTY;
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
            session_tell(x);
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
