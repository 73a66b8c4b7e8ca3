/* ring_send_linux.c: a message into the ring.
 *
 * Path    ring_link_send > what ring_is_clear, with a copy in line > ring_publish > (asleep) the doorbell
 *         longer, or nearer to the ring's end: send_fast > ring_claim > copy > ring_commit > (asleep) the doorbell
 *         anything out of the ordinary > send_slowly: look at the socket > backlog > gap > record, or a large one
 *         a large one: a sealed memfd > LARGE > its record
 *
 * Owners, invariants: ring_link_linux.h.
 * F1      The fast way is taken where `fast` allows it (I4), the clock's tick is the one of the last look at the
 *         socket, and the reader does not sleep. The clock is asked for the first CLOCK_FIRST messages after a look, and
 *         for every CLOCK_EVERY-th from then on: so a reader's end is seen by the next message if it slept, or if messages
 *         come one or a few in a tick; and within a tick, and a few messages, where they come fast.
 * F2      Before the answer at most RING_FIRST_BYTES of a ring are unacknowledged: so much every reader maps.
 * F3      LARGE is sent before the record is committed. If the record cannot be committed after all, the reader drops
 *         the orphan at the next LARGE or at the end.
 * F4      A ring of the default size is used up to RING_SPAN_FIRST at first, and further where its reader is behind (ring.h,
 *         I6), up to the writer's share of RING_SPANS_BYTES: so who has few writers seldom sleeps, and hundreds of them
 *         stay in the caches, and cost the memory that they use. All of it is used once a message of WIDE_LENGTH or
 *         more does not fit: only a few of those would.
 */
#include "slots/ring_link_linux.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "queue/seldom.h"
#include "queue/status.h"

/* F1 */
#define CLOCK_FIRST 8u
#define CLOCK_EVERY 16u

/* F4 */
#define WIDE_LENGTH ((size_t) 1024)

#define PAUSE_FIRST_NS UINT64_C(1000000)
#define PAUSE_LAST_NS  UINT64_C(100000000)

void ring_doorbell(struct ring_link *l)
{
    uint64_t one = 1;
    if (l->doorbell == NO_DESCRIPTOR)
        return; /* ring_session_linux.c, S2 */
    l->counts.doorbells++;
    KILL_POINT(writer, doorbell);
    if (write(l->doorbell, &one, sizeof one) < 0)
        assert(errno == EAGAIN || errno == EINTR); /* full: it is readable */
    KILL_POINT(writer, rung);
}

void ring_pause(struct ring_link *l)
{
    l->pause_ns = l->pause_ns == 0 ? PAUSE_FIRST_NS : l->pause_ns * 2;
    if (l->pause_ns > PAUSE_LAST_NS)
        l->pause_ns = PAUSE_LAST_NS;
}

/* ---- records ---- */

/* F4 */
static void level_widen(struct ring_link *l, struct link_level *lv)
{
    lv->ring.span = lv->ring.most = lv->ring.capacity;
    lv->ring.halves = false;
    session_pace(l);
}

/* ring_claim, within F2. NULL: `needs` says what is missing, or the ring is broken. */
static void *level_claim(struct ring_link *l, struct link_level *lv, size_t length)
{
    struct ring_writer *ring = &lv->ring;
    if (length > ring_payload_max(ring->span))
        level_widen(l, lv);
    if (!l->answered) {
        uint64_t size = ring_record_bytes(length);
        uint64_t end = ring->tail + ring_skip(ring, size) + size;
        if (end - ring->head > RING_FIRST_BYTES && (!ring_refresh(ring) || end - ring->head > RING_FIRST_BYTES)) {
            lv->needs = end - RING_FIRST_BYTES;
            return NULL;
        }
    }
    void *payload = ring_claim(ring, length);
    if (payload == NULL && ring->span < ring->capacity && length >= WIDE_LENGTH) {
        level_widen(l, lv);
        payload = ring_claim(ring, length);
    }
    if (payload == NULL)
        lv->needs = ring_want_room(ring, length);
    return payload;
}

/* Nothing but the commit: a session that ends here would find its message in two places. */
static void level_commit(struct ring_link *l, struct link_level *lv, enum ring_kind kind, size_t length)
{
    if (!ring_commit(&lv->ring, kind, length))
        return;
    if (l->doorbell != NO_DESCRIPTOR)
        ring_doorbell(l);
    else
        l->look_due = true; /* it has mapped the ring, so the answer is there */
}

/* After commits, with all the books in order. */
static void look_if_due(struct ring_link *l)
{
    if (!l->look_due)
        return;
    l->look_due = false;
    if (session_alive(l))
        session_look(l);
}

/* MR_E_FULL, or MR_E_GONE: the reader has broken the rules. */
static int level_full(struct ring_link *l, uint32_t level)
{
    l->full = 1u << level;
    if (!l->level[level].ring.broken)
        return MR_E_FULL;
    session_end(l, true);
    return MR_E_GONE;
}

static int send_inline(struct ring_link *l, uint32_t level, enum ring_kind kind, const void *data, size_t length)
{
    struct link_level *lv = &l->level[level];
    void *payload = level_claim(l, lv, length);
    if (payload == NULL)
        return level_full(l, level);
    KILL_POINT_HALF(writer, copy, payload, data, length);
    if (length > 0)
        memcpy(payload, data, length);
    level_commit(l, lv, kind, length);
    return MR_OK;
}

/* ---- large messages ---- */

void large_collect(struct ring_link *l)
{
    for (size_t n = 0; n < RING_LARGE_MOST; n++) {
        struct ring_large_kept *kept = &l->large[n];
        if (kept->descriptor == NO_DESCRIPTOR || kept->in_backlog ||
            !ring_reached(&l->level[kept->level].ring, kept->end))
            continue;
        KILL_POINT(writer, large_collect);
        close(kept->descriptor);
        kept->descriptor = NO_DESCRIPTOR;
    }
}

struct ring_large_kept *large_free(struct ring_link *l)
{
    for (size_t n = 0; n < RING_LARGE_MOST; n++)
        if (l->large[n].descriptor == NO_DESCRIPTOR)
            return &l->large[n];
    return NULL;
}

/* All are kept: the first of each level that head passes frees one. (Those in the backlog go to the ring before.) */
static int large_full(struct ring_link *l)
{
    l->full = 0;
    for (size_t n = 0; n < RING_LARGE_MOST; n++) {
        const struct ring_large_kept *kept = &l->large[n];
        struct link_level *lv = &l->level[kept->level];
        if (kept->in_backlog)
            continue;
        if ((l->full & 1u << kept->level) == 0 || lv->needs - kept->end <= UINT64_MAX / 2)
            lv->needs = kept->end;
        l->full |= 1u << kept->level;
    }
    return MR_E_FULL;
}

/* Sends the memory of `kept`, and commits its record; `sequence` is the message's. */
static int large_send(struct ring_link *l, struct ring_large_kept *kept, uint64_t sequence)
{
    struct link_level *lv = &l->level[kept->level];
    void *payload = level_claim(l, lv, sizeof kept->length);
    if (payload == NULL)
        return level_full(l, kept->level);
    struct ring_large packet = {.level = kept->level, .sequence = sequence, .length = kept->length};
    ring_packet_init(&packet.packet, PACKET_LARGE, 0);
    int status = ring_packet_send(l->socket, &packet, sizeof packet, kept->descriptor); /* F3 */
    if (status == MR_E_FULL) {
        l->full = 0;
        ring_pause(l);
        return MR_E_FULL;
    }
    if (status != MR_OK) {
        session_look(l); /* it may have said why */
        if (session_alive(l))
            session_end(l, status != MR_E_GONE);
        return MR_E_GONE;
    }
    KILL_POINT(writer, large_sent);
    l->pause_ns = 0;
    memcpy(payload, &kept->length, sizeof kept->length);
    kept->in_backlog = false;
    kept->end = lv->ring.claimed + ring_record_bytes(sizeof kept->length);
    level_commit(l, lv, RING_LARGE, sizeof kept->length);
    KILL_POINT(writer, large_committed);
    return MR_OK;
}

/* Makes the memory, and sends it. */
static int large_make_and_send(struct ring_link *l, uint32_t level, const void *data, size_t length, uint64_t sequence)
{
    struct ring_large_kept *kept = large_free(l);
    if (kept == NULL) {
        if (!session_refresh(l))
            return MR_E_GONE;
        large_collect(l);
        kept = large_free(l);
    }
    if (kept == NULL)
        return large_full(l);
    if (level_claim(l, &l->level[level], sizeof kept->length) == NULL) /* before the memory is made */
        return level_full(l, level);
    int descriptor;
    int status = ring_large_make(data, length, &descriptor);
    if (status != MR_OK)
        return status;
    KILL_POINT(writer, large_made);
    *kept = (struct ring_large_kept){.descriptor = descriptor,
                                     .level = level,
                                     .length = length,
                                     .number = ++l->large_numbers,
                                     .in_backlog = true}; /* in neither yet */
    status = large_send(l, kept, sequence);
    if (status != MR_OK) {
        close(descriptor);
        kept->descriptor = NO_DESCRIPTOR;
    }
    return status;
}

/* ---- the backlog ---- */

static struct ring_large_kept *large_numbered(struct ring_link *l, uint64_t number)
{
    for (size_t n = 0; n < RING_LARGE_MOST; n++)
        if (l->large[n].descriptor != NO_DESCRIPTOR && l->large[n].number == number)
            return &l->large[n];
    assert(false);
    return NULL;
}

static int feed_record(struct ring_link *l, uint32_t level, const struct backlog_record *record)
{
    struct link_level *lv = &l->level[level];
    uint64_t sequence = lv->next - lv->backlog.numbers; /* I3 */
    if (record->kind == RING_GAP)
        return send_inline(l, level, RING_GAP, &record->number, sizeof record->number);
    if (record->kind == RING_LARGE)
        return large_send(l, large_numbered(l, record->number), sequence);
    if (record->length <= ring_payload_max(lv->ring.capacity))
        return send_inline(l, level, RING_DATA, record->payload, record->length);
    return large_make_and_send(l, level, record->payload, record->length, sequence); /* the ring is smaller now */
}

static int level_feed(struct ring_link *l, uint32_t level, bool *moved)
{
    struct link_level *lv = &l->level[level];
    struct backlog_record record;
    while (backlog_peek(&lv->backlog, &record)) {
        int status = feed_record(l, level, &record);
        if (status == MR_E_FULL)
            l->hungry |= l->full;
        if (status != MR_OK)
            return status == MR_E_FULL ? MR_OK : status;
        KILL_POINT(writer, feed);
        l->counts.redelivered += record.kind != RING_GAP && (record.flags & BACKLOG_OFFERED) != 0;
        backlog_drop(&lv->backlog);
        *moved = true;
    }
    return MR_OK;
}

int ring_feed(struct ring_link *l, bool *moved)
{
    int status = MR_OK;
    bool some = false;
    l->hungry = 0;
    for (uint32_t level = l->levels; level-- > 0 && status == MR_OK;)
        if (!backlog_empty(&l->level[level].backlog))
            status = level_feed(l, level, &some);
    if (moved != NULL)
        *moved = some;
    if (some) {
        KILL_POINT(writer, fed);
        session_pace(l);
    }
    look_if_due(l);
    return session_alive(l) ? status : MR_E_GONE;
}

/* ---- sending ---- */

/* Commits the level's gap. */
static int gap_send(struct ring_link *l, uint32_t level)
{
    struct link_level *lv = &l->level[level];
    if (lv->gap == 0)
        return MR_OK;
    KILL_POINT(writer, gap);
    int status = send_inline(l, level, RING_GAP, &lv->gap, sizeof lv->gap);
    if (status != MR_OK)
        return status;
    KILL_POINT(writer, gap_told);
    lv->next += lv->gap;
    lv->gap = 0;
    session_pace(l);
    return MR_OK;
}

static int fail_too_big(const struct ring_link *l, size_t length)
{
    return status_fail(MR_E_TOO_BIG, 0, "%zu bytes; the slot takes messages of up to %zu bytes", length,
                       l->max_message);
}

/* Why nothing can be sent. */
static int fail_gone(const struct ring_link *l)
{
    return l->refused == MR_E_ACCESS ? session_refused(l) : MR_E_GONE;
}

/* Does a message go into the ring itself? Not one that F2 has no room for, ever: it would wait for the answer of a reader
 * that may be this very thread's. */
static bool goes_inline(const struct ring_link *l, const struct link_level *lv, size_t length)
{
    return length <= ring_payload_max(lv->ring.capacity) &&
           (l->answered || ring_record_bytes(length) <= RING_FIRST_BYTES);
}

static int send_one(struct ring_link *l, const void *data, size_t length, uint32_t level)
{
    struct link_level *lv = &l->level[level];
    if (length > l->max_message)
        return fail_too_big(l, length);
    if (!backlog_empty(&lv->backlog)) {
        int status = ring_feed(l, NULL);
        if (status != MR_OK)
            return status;
        if (!backlog_empty(&lv->backlog)) {
            l->full = l->hungry;
            return MR_E_FULL;
        }
    }
    int status = gap_send(l, level);
    if (status == MR_OK && goes_inline(l, lv, length))
        status = send_inline(l, level, RING_DATA, data, length);
    else if (status == MR_OK)
        status = large_make_and_send(l, level, data, length, lv->next);
    if (status == MR_OK) {
        lv->next++;
        l->pause_ns = 0;
    }
    return status;
}

static SELDOM int send_slowly(struct ring_link *l, const void *data, size_t length, uint32_t level)
{
    l->room_refused = false;
    if (session_alive(l))
        session_look(l);
    if (!ring_link_connected(l))
        return fail_gone(l);
    int status = send_one(l, data, length, level);
    look_if_due(l);
    if (status == MR_E_FULL) {
        l->room_refused = true;
        l->needy = l->full;
    }
    return status == MR_E_GONE ? fail_gone(l) : status;
}

/* F1: the clock costs as much as a small message. */
static bool is_tick_same(struct ring_link *l)
{
    l->asked += l->asked < CLOCK_FIRST;
    l->unasked = l->asked < CLOCK_FIRST ? 1 : CLOCK_EVERY;
    return clock_coarse() == l->looked;
}

/* F1 */
static inline bool is_awake(const struct ring_writer *ring)
{
    return atomic_load_explicit(&ring->control->asleep, memory_order_relaxed) == ring->rung;
}

/* &l->level[level], which the compiler would reckon anew for each member. */
static inline struct link_level *level_of(struct ring_link *l, uint32_t level)
{
    return (struct link_level *) (void *) ((char *) l->level + level * sizeof l->level[0]);
}

static SELDOM int ring_and_leave(struct ring_link *l)
{
    ring_doorbell(l);
    return MR_OK;
}

/* Whatever may go the fast way. */
static __attribute__((noinline)) int send_fast(struct ring_link *l, const void *data, size_t length, uint32_t level)
{
    struct link_level *lv = level_of(l, level);
    if (length < lv->fast && (--l->unasked > 0 || is_tick_same(l)) && is_awake(&lv->ring)) {
        void *payload = ring_claim(&lv->ring, length);
        if (payload != NULL) {
            KILL_POINT_HALF(writer, copy, payload, data, length);
            if (length > 0)
                memcpy(payload, data, length);
            lv->next++;
            return ring_commit(&lv->ring, RING_DATA, length) ? ring_and_leave(l) : MR_OK;
        }
    }
    return send_slowly(l, data, length, level);
}

static __attribute__((noinline)) int send_asking(struct ring_link *l, const void *data, size_t length, uint32_t level)
{
    if (!is_tick_same(l))
        return send_slowly(l, data, length, level);
    l->unasked++; /* this one is counted again */
    return ring_link_send(l, data, length, level);
}

/* Other calls at the end only: so nothing is saved on the stack. */
int ring_link_send(struct ring_link *l, const void *data, size_t length, uint32_t priority)
{
    struct link_level *lv = level_of(l, priority);
    struct ring_writer *ring = &lv->ring;
    if (length >= lv->brief)
        return send_fast(l, data, length, priority);
    if (--l->unasked == 0)
        return send_asking(l, data, length, priority);
    if (!is_awake(ring))
        return send_slowly(l, data, length, priority);
    if (!ring_is_clear(ring, ring_record_bytes(length)))
        return send_fast(l, data, length, priority);
    uint64_t begin = ring->tail;
    unsigned char *record = ring->data + (begin & (ring->capacity - 1));
    KILL_POINT(writer, claim);
    KILL_POINT_HALF(writer, copy, record + RING_HEADER, data, length);
    copy_short(record + RING_HEADER, data, length);
    lv->next++;
    return ring_publish(ring, record, begin, RING_DATA, length) ? ring_and_leave(l) : MR_OK;
}

int ring_link_tell_gaps(struct ring_link *l)
{
    if (session_alive(l))
        session_look(l);
    if (!ring_link_connected(l))
        return MR_E_GONE;
    int status = ring_feed(l, NULL);
    for (uint32_t level = 0; level < l->levels && status == MR_OK; level++) {
        if (l->level[level].gap == 0)
            continue;
        l->full = l->hungry;
        status = backlog_empty(&l->level[level].backlog) ? gap_send(l, level) : MR_E_FULL;
    }
    look_if_due(l);
    l->room_refused = status == MR_E_FULL;
    l->needy = status == MR_E_FULL ? l->full : 0;
    return status;
}
