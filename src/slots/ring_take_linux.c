/* ring_take_linux.c: takes messages out of a writer's rings.
 *
 * Path    ring_session_serve > level_serve > [ ring_peek > copy into a pooled buffer > ring_hand > deliver > ring_release ]*
 *         > REACHED, if the writer waits for that
 * Owners  As ring_lane_linux.h. The buffer that messages are copied into belongs to the call of slot_take, until deliver
 *         keeps it; as long as nobody does, it is used for one message after another, and what a level's messages have in
 *         common is filled in once for a share.
 * I1      `sequence` is the number of the message at the ring's position: messages, dropped ones and gaps all count.
 * I2      Without a window head is the end of the last record that was delivered; with one, every record from head to
 *         position has an entry in it, and nothing is taken while it is full.
 * I3      A large message's descriptor is received when its record has been reached, not before: so a peer makes us hold at
 *         most RING_LARGE_MOST of them, and only by sending other levels' first. But what has come to a session that sleeps
 *         is received then, and only memory is held: a socket that was sent over itself would else never be seen to end.
 * I4      While `fits` is not 0, t->buffer is held by nobody else, t->data is its data, and whose and of which level its next
 *         message is has been filled in.
 * H1/N2   As in ring.h. ring_release and the look at `wanted` are made by the taking thread, or under the window's lock.
 * Hostile All that is used of a record was checked by ring_peek, in our own copy; the payload is copied once and looked at
 *         in the copy only.
 */
#include "slots/ring_lane_linux.h"

#include <string.h>
#include <unistd.h>

#include "queue/copy.h"
#include "queue/memory.h"
#include "queue/seldom.h"
#include "queue/status.h"
#include "slots/slot_linux.h"

/* A buffer that is so much larger than its message is not used for it: the message may be kept. */
#define BUFFER_SLACK ((size_t) 2048)
/* Large messages' packets that are received in search of one. */
#define LARGE_LOOKS (4 * RING_LARGE_MOST)

/* How much may be taken yet. */
struct share {
    unsigned records;
    int64_t bytes;
};

/* What has been taken. */
struct tally {
    unsigned records;
    unsigned messages;
    uint64_t bytes;
};

/* ---- large messages ---- */

static void held_remove(struct ring_session *x, unsigned index, bool quick)
{
    if (quick)
        close(x->held[index].descriptor);
    else
        janitor_close(&x->held[index].descriptor, 1);
    x->held[index] = x->held[--x->held_count];
}

/* Makes room for what is received next. False: no memory; its writer still has everything. */
static bool held_prepare(struct ring_session *x)
{
    if (x->held == NULL)
        x->held = memory_calloc(RING_LARGE_MOST, sizeof *x->held);
    for (unsigned i = x->held_count; i-- > 0;) {
        if (x->held[i].sequence < x->levels[x->held[i].level].sequence)
            held_remove(x, i, false); /* an orphan: its record was never committed */
    }
    return x->held != NULL;
}

/* One packet. RING_SHARE: it is held, or was an orphan; RING_EMPTY: there is none, and an end is an end only where the peer
 * has hung up: an empty packet looks like one. */
static enum ring_end large_receive(struct ring_session *x)
{
    union ring_any_packet packet;
    int descriptor = -1;
    int status = ring_packet_receive(x->socket, &packet, &descriptor);
    if (status != MR_OK)
        return status == MR_E_FULL || (status == MR_E_GONE && ring_session_has_hung_up(x)) ? RING_EMPTY : RING_BROKEN;
    KILL_POINT(reader, large_received);
    bool large = packet.packet.type == PACKET_LARGE && packet.large.level < x->geometry.levels;
    bool sealed = large && ring_large_check(descriptor, packet.large.length) == MR_OK;
    bool orphan = sealed && packet.large.sequence < x->levels[packet.large.level].sequence;
    if (sealed && !orphan && x->held_count < RING_LARGE_MOST) {
        x->held[x->held_count++] = (struct ring_held){.level = packet.large.level,
                                                      .descriptor = descriptor,
                                                      .sequence = packet.large.sequence,
                                                      .length = packet.large.length};
        return RING_SHARE;
    }
    if (descriptor >= 0)
        janitor_close(&descriptor, 1);
    return orphan ? RING_SHARE : RING_BROKEN;
}

bool ring_session_hear(struct ring_session *x)
{
    if (!x->mail || !ring_session_asleep(x))
        return true;
    struct status_memo before;
    status_save(&before);
    x->mail = false;
    enum ring_end end = held_prepare(x) ? RING_SHARE : RING_BROKEN;
    for (unsigned look = 0; look < LARGE_LOOKS && end == RING_SHARE; look++)
        end = large_receive(x);
    x->broken = x->broken || end != RING_EMPTY;
    status_restore(&before);
    return !x->broken;
}

/* The descriptor of the message at the level's position. RING_SHARE: it is held[*index]. */
static enum ring_end large_find(struct ring_session *x, const struct ring_level *l, unsigned *index)
{
    if (!held_prepare(x))
        return RING_BROKEN;
    for (unsigned look = 0; look < LARGE_LOOKS; look++) {
        for (unsigned i = 0; i < x->held_count; i++) {
            *index = i;
            if (x->held[i].level == l->level && x->held[i].sequence == l->sequence)
                return RING_SHARE;
        }
        if (large_receive(x) != RING_SHARE)
            return RING_BROKEN; /* it is sent before its record is committed */
    }
    return RING_BROKEN;
}

/* ---- one record ---- */

/* A buffer for so many bytes. RING_SHARE: it is there; RING_EMPTY: there can never be one. */
static enum ring_end taking_get(struct taking *t, const struct ring_level *l, size_t length)
{
    if (t->buffer != NULL)
        buffer_release(t->buffer, t->cache);
    enum pool_result result = pool_get(t->slot->pool, t->cache, length, l->level > MR_NORMAL, &t->buffer);
    if (result == POOL_OK)
        return RING_SHARE;
    t->buffer = NULL;
    if (result == POOL_NEVER)
        return RING_EMPTY;
    *t->wanted = length;
    return RING_STARVED;
}

/* Messages as long as this go into the buffer as it is? */
static inline bool taking_fits(const struct taking *t, size_t length)
{
    return length - t->fit_least < t->fits;
}

/* Whatever is in the buffer has to be filled in anew. */
static inline void taking_forget(struct taking *t)
{
    t->fits = 0;
}

/* The same as taking_get, for a message of the level; and what all of the level's messages have in common is filled in. */
static SEPARATE enum ring_end taking_prepare(struct taking *t, const struct ring_session *x, const struct ring_level *l,
                                             size_t length)
{
    taking_forget(t);
    if (length > t->slot->max_message)
        return RING_EMPTY;
    if (t->buffer == NULL || t->buffer->capacity < length || t->buffer->capacity > 4 * length + BUFFER_SLACK) {
        enum ring_end got = taking_get(t, l, length);
        if (got != RING_SHARE)
            return got;
    }
    const struct buffer *buffer = t->buffer;
    size_t most = buffer->capacity < t->slot->max_message ? buffer->capacity : t->slot->max_message;
    t->fit_least = buffer->capacity > BUFFER_SLACK ? (buffer->capacity - BUFFER_SLACK + 3) / 4 : 0;
    t->fits = most - t->fit_least + 1;
    struct slot_message *message = slot_message_of(t->buffer);
    t->data = buffer_data(t->buffer);
    message->public.data = t->data;
    message->public.sender = x->sender;
    message->public.priority = l->level;
    message->public.lane = MR_LANE_RING;
    message->public.redelivered = 0;
    message->token = (struct slot_token){0};
    return RING_SHARE;
}

/* The buffer is somebody else's now, or also somebody else's. */
static SEPARATE void taking_give(struct taking *t, enum slot_delivered delivered)
{
    if (delivered == DELIVERED_DONE)
        buffer_release(t->buffer, t->cache);
    t->buffer = NULL;
    taking_forget(t);
}

/* Steps over a record that brings no message. */
static SELDOM void level_skip(struct taking *t, struct ring_level *l, uint64_t end)
{
    ring_advance(&l->ring, end);
    watch_move(t->slot, l);
    t->skipped++;
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
        ring_session_tell(x);
}

/* Not taken: it stays in its ring, and the next one. */
static SELDOM enum ring_end level_refuse(struct taking *t, struct ring_level *l, uint64_t start)
{
    ring_advance(&l->ring, start);
    ring_hand(&l->ring, start);
    watch_move(t->slot, l);
    if (l->window != NULL) {
        ring_window_retract(l->window);
        count_add(&t->slot->counts.held, (uint64_t) -1);
    }
    t->refused = true;
    return RING_OVER;
}

/* The message in t->buffer goes to the slot's user. `simple` as in level_share. Inlined by force: it saves a seventh of what
 * taking a small message takes, and the other place that it is called from, for large ones, keeps the compiler from doing
 * it. */
static INLINED enum ring_end level_deliver(struct taking *t, struct ring_level *l, size_t length, uint64_t start,
                                           uint64_t end, const bool simple)
{
    slot *s = t->slot;
    struct buffer *buffer = t->buffer;
    struct slot_message *message = slot_message_of(buffer);
    slot_message_resize(buffer, t->data, length);
    message->public.sequence = l->sequence;
    if (!simple)
        message->public.redelivered = start < l->redelivered;
    if (!simple && l->window != NULL) {
        ring_window_add(l->window, end, &message->token);
        count_add(&s->counts.held, 1);
    } else if (RARELY(ring_release_due(&l->ring))) {
        level_look(t->session,
                   l); /* the callback may take its time: who waits for what is free already is told before */
    }
    KILL_POINT(reader, added);
    ring_hand(&l->ring, end);
    KILL_POINT(reader, handed);
    ring_advance(&l->ring, end);
    if (!simple)
        watch_move(s, l);
    enum slot_delivered delivered = s->deliver(s->context, buffer);
    KILL_POINT(reader, delivered);
    if (RARELY(delivered != DELIVERED_DONE || !buffer_is_sole(buffer))) {
        if (delivered == DELIVERED_REFUSED)
            return level_refuse(t, l, start);
        taking_give(t, delivered);
    }
    if (simple || l->window == NULL)
        ring_release(&l->ring, end); /* I2 */
    if (!simple && start < l->redelivered)
        count_add(&s->counts.redelivered, 1);
    l->sequence++;
    if (!simple)
        t->called = delivered == DELIVERED_DONE;
    return RING_SHARE;
}

static INLINED enum ring_end level_take_data(struct taking *t, struct ring_level *l, const struct ring_record *record,
                                             struct share *left, const bool simple)
{
    if (RARELY(!taking_fits(t, record->length))) {
        enum ring_end got = taking_prepare(t, t->session, l, record->length);
        if (got == RING_EMPTY) {
            left->bytes += (int64_t) record->length; /* the caller takes it for a message */
            return level_skip_too_big(t, l, record->end);
        }
        if (got != RING_SHARE)
            return got;
    }
    KILL_POINT_HALF(reader, copy, buffer_data(t->buffer), record->payload, record->length);
    if (record->length <= COPY_SHORT)
        copy_short(t->data, record->payload, record->length);
    else
        memcpy(t->data, record->payload, record->length);
    KILL_POINT(reader, copied);
    return level_deliver(t, l, record->length, record->end - ring_record_bytes(record->length), record->end, simple);
}

static enum ring_end level_take_large(struct taking *t, struct ring_session *x, struct ring_level *l,
                                      const struct ring_record *record, struct share *left)
{
    unsigned index = 0;
    enum ring_end end = large_find(x, l, &index);
    if (end != RING_SHARE)
        return end;
    const struct ring_held held = x->held[index];
    if (held.length != record->number)
        return RING_BROKEN;
    end = held.length <= t->slot->max_message ? taking_prepare(t, x, l, (size_t) held.length) : RING_EMPTY;
    if (end == RING_STARVED)
        return end;
    if (end == RING_EMPTY) {
        held_remove(x, index, false);
        return level_skip_too_big(t, l, record->end);
    }
    if (ring_large_read(held.descriptor, buffer_data(t->buffer), (size_t) held.length) != MR_OK)
        return RING_BROKEN;
    KILL_POINT(reader, large_read);
    end = level_deliver(t, l, (size_t) held.length, l->ring.position, record->end, false);
    if (end != RING_SHARE)
        return end;
    left->bytes -= (int64_t) held.length;
    held_remove(x, index, true); /* no larger than the slot allows: it does not take long */
    return RING_SHARE;
}

static SELDOM enum ring_end level_take_rare(struct taking *t, struct ring_session *x, struct ring_level *l,
                                            const struct ring_record *record, struct share *left)
{
    if (record->kind == RING_LARGE) {
        struct status_memo
            before; /* what is wrong with a peer is counted; to the call that it happens in it is no error */
        status_save(&before);
        enum ring_end end = level_take_large(t, x, l, record, left);
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

/* At most so many records: those of the share that the budget has, but with no look at the inner set put off. */
static struct share share_of(const struct taking *t, unsigned records)
{
    const struct slot_budget *budget = t->budget;
    bool spent = budget_spent(budget); /* what is kept for urgent messages alone is left */
    size_t allowed = spent ? budget->urgent : budget->messages;
    unsigned looked = t->since_harvest < HARVEST_MESSAGES ? HARVEST_MESSAGES - t->since_harvest : 1;
    size_t bytes = spent || budget->bytes > SHARE_BYTES ? SHARE_BYTES : budget->bytes;
    if (allowed < records)
        records = (unsigned) allowed;
    return (struct share){.records = looked < records ? looked : records, .bytes = (int64_t) bytes};
}

static void share_spend(struct taking *t, const struct tally *tally)
{
    struct slot_budget *budget = t->budget;
    t->since_harvest += tally->records;
    if (budget_spent(budget)) {
        budget->urgent -= tally->records;
        return;
    }
    budget->messages -= tally->records;
    budget->bytes -= tally->bytes < budget->bytes ? (size_t) tally->bytes : budget->bytes;
}

/* The next record, if it may be taken: RING_SHARE. */
static INLINED enum ring_end level_next(struct taking *t, struct ring_session *x, struct ring_level *l,
                                        struct ring_record *record, const bool simple)
{
    if (l->ring.position == l->ring.stop && x->limited && l->ring.position == l->limit)
        return RING_EMPTY; /* ring_lane_linux.c, I2 */
    enum ring_look look = ring_peek(&l->ring, record);
    if (look != RING_RECORD)
        return look == RING_NOTHING ? RING_EMPTY : RING_BROKEN;
    KILL_POINT(reader, peek);
    l->armed = false; /* ring_lane_linux.c, I1 */
    if (simple || l->window == NULL || ring_window_has_room(l->window))
        return RING_SHARE;
    l->paused = ring_window_pause(l->window);
    if (!l->paused)
        return RING_SHARE;
    watch_remove(t->slot, l);
    return RING_EMPTY;
}

/* After a message: is it time to look at something else? The clock is read after every second callback, and so are the
 * watched rings where messages are taken fast. */
static INLINED bool level_gives_way(struct taking *t, const struct ring_level *l, const bool simple)
{
    if (RARELY(t->budget->stop))
        return true;
    bool looks = (simple || t->called) && taking_is_second(t);
    if (looks && RARELY(taking_sees_late(t))) {
        t->late = true;
        return true;
    }
    if (simple && !looks)
        return false;
    return (simple || (l->level == MR_NORMAL && t->slot->urgent_run < URGENT_RUN)) && watch_differs(&t->slot->watched);
}

static void level_account(struct ring_session *x, struct ring_level *l, const struct tally *tally)
{
    uint64_t waiting = ring_waiting(l->ring.control, l->ring.capacity, l->ring.position, l->ring.left_out);
    atomic_store_explicit(&l->shown, l->ring.position, memory_order_relaxed);
    atomic_store_explicit(&l->shown_left_out, l->ring.left_out, memory_order_relaxed);
    count_add(&x->messages, tally->messages);
    count_add(&x->bytes, tally->bytes);
    if (waiting + tally->bytes > atomic_load_explicit(&x->waiting_peak, memory_order_relaxed))
        atomic_store_explicit(&x->waiting_peak, waiting + tally->bytes, memory_order_relaxed);
    if (l->window != NULL ? ring_window_look(l->window) : ring_release_look(&l->ring, l->ring.position))
        ring_session_tell(x);
}

/* `simple`, known to the compiler: normal messages that are acknowledged as soon as they are delivered, and are none that may
 * have been delivered before. */
static INLINED enum ring_end level_share(struct taking *t, struct ring_session *x, struct ring_level *l,
                                         struct share *left, const bool simple)
{
    do {
        struct ring_record record;
        enum ring_end end = level_next(t, x, l, &record, simple);
        if (end != RING_SHARE)
            return end;
        size_t bytes = 0;
        if (record.kind == RING_DATA) {
            bytes = record.length;
            end = level_take_data(t, l, &record, left, simple);
        } else {
            struct ring_record rare = record; /* else `record` could not stay in registers */
            end = level_take_rare(t, x, l, &rare, left);
        }
        if (end != RING_SHARE)
            return end;
        if (!simple)
            t->slot->urgent_run = l->level == MR_NORMAL ? 0 : t->slot->urgent_run + 1;
        bool over = level_gives_way(t, l, simple);
        left->records--;
        left->bytes -= (int64_t) bytes;
        if (left->bytes <= 0 || over)
            return RING_SHARE;
    } while (left->records > 0);
    return RING_SHARE;
}

static enum ring_end level_serve(struct taking *t, struct ring_session *x, struct ring_level *l, unsigned share,
                                 unsigned *brought)
{
    if (l->level == MR_NORMAL ? !taking_allows_normal(t) : !taking_allows_urgent(t))
        return t->starved && !taking_stopped(t) ? RING_STARVED : RING_OVER;
    const struct share most = share_of(t, share);
    struct share left = most;
    taking_forget(t); /* what is filled in is another level's, or another session's */
    t->session = x;
    t->skipped = 0;
    bool simple = l->level == MR_NORMAL && l->window == NULL && l->ring.position >= l->redelivered;
    enum ring_end end = simple ? level_share(t, x, l, &left, true) : level_share(t, x, l, &left, false);
    struct tally tally = {.records = most.records - left.records,
                          .messages = most.records - left.records - t->skipped,
                          .bytes = (uint64_t) (most.bytes - left.bytes)};
    share_spend(t, &tally);
    if (simple && tally.records > 0)
        t->slot->urgent_run = 0;
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
