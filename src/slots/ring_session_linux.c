/* ring_session_linux.c: one session of a link: the hello, what the reader says, the end.
 *
 * Path    session_begin: memory > HELLO > session_look: ANSWER, REACHED, RENAMED, the end > session_end > backlog
 *
 * Owners, invariants: ring_link_linux.h.
 * S1      The hello says what the reader will find: the number of the first record, and up to which position records
 *         may have been delivered before. Both are computed from the backlog, before a byte of it is in the new memory.
 * S2      The doorbell is rung once when the answer comes: what was committed until then could not ring.
 * S3      The reader's barrier (ring.h, B), when it sleeps: our fence goes when its answer says that it makes one, and
 *         ring_barrier_prepare has registered us before the hello was sent.
 * Hostile The doorbell must be an eventfd, because a write to anything else could raise SIGPIPE or land in a file; it
 *         is made non-blocking. (That a reader, whose user this writer trusts, undoes that and fills it, in the instant
 *         of a write, is left: the kernel has no way of writing to an eventfd that never blocks.)
 *         What is left in a ring is walked once, in one pass; each header is loaded once. Where a reader has written
 *         over headers the rest of that level cannot be told apart any more: it is gone, and told as a gap of at least
 *         one.
 * S4      Where we give a session up whose reader may live, what is left goes to the next one, and is taken back from this
 *         one: zeros are no record, so a reader that was only frozen drops the ring when it goes on. A link that is
 *         closed or renamed takes nothing back: its reader may read on.
 */
#include "slots/ring_link_linux.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "queue/status.h"
#include "slots/janitor_linux.h"
#include "slots/ring_barrier_linux.h"

#define BACKOFF_FIRST_NS UINT64_C(10000000)
#define BACKOFF_LAST_NS  UINT64_C(1000000000)

#define OTHER_LEVELS_BYTES ((uint32_t) 64 << 10)

/* ---- the beginning ---- */

static void geometry_choose(struct ring_link *l)
{
    l->geometry = (struct ring_geometry){.levels = l->levels};
    for (uint32_t level = 0; level < l->levels; level++) {
        uint32_t capacity = level == 0 ? l->ring_bytes : OTHER_LEVELS_BYTES;
        if (l->ring_limit != 0 && capacity > l->ring_limit)
            capacity = l->ring_limit;
        l->geometry.capacity[level] = capacity;
    }
}

/* S1 */
static void hello_make(struct ring_link *l, struct ring_hello *hello)
{
    memset(hello, 0, sizeof *hello);
    ring_packet_init(&hello->packet, PACKET_HELLO, l->barrier ? RING_FLAG_BARRIER : 0);
    hello->writer = l->writer;
    hello->geometry = l->geometry;
    for (uint32_t level = 0; level < l->levels; level++) {
        struct link_level *lv = &l->level[level];
        lv->copied = backlog_layout(&lv->backlog, l->geometry.capacity[level], 0, &lv->redelivered);
        hello->sequence[level] = lv->next - lv->backlog.numbers; /* I3 */
        hello->redelivered[level] = lv->redelivered;
    }
}

int session_begin(struct ring_link *l, int socket)
{
    assert(l->state == SESSION_NONE);
    geometry_choose(l);
    int file;
    int status = ring_memory_make(&l->geometry, &file, &l->memory);
    if (status != MR_OK) {
        close(socket);
        return status;
    }
    l->barrier = ring_barrier_prepare(); /* S3: before the hello */
    l->socket = socket;
    l->answered = false;
    l->refused = MR_OK;
    l->session++;
    l->needy = l->hungry = 0;
    l->room_refused = false;
    l->pause_ns = 0;
    for (uint32_t level = 0; level < l->levels; level++)
        ring_writer_init(&l->level[level].ring, l->memory, &l->geometry, level);
    struct link_level *normal = &l->level[MR_NORMAL];
    if (l->widens && backlog_empty(&normal->backlog) && normal->ring.capacity > RING_SPAN_FIRST) {
        normal->ring.span = RING_SPAN_FIRST; /* else backlog_layout knows where everything comes to lie */
        normal->ring.most = ring_link_share();
    }
    l->state = l->cautious ? SESSION_ASKING : SESSION_FIRST;
    session_pace(l);
    struct ring_hello hello;
    hello_make(l, &hello);
    KILL_POINT(writer, hello);
    status = ring_packet_send(socket, &hello, sizeof hello, file);
    KILL_POINT(writer, hello_sent);
    close(file);
    l->counts.connects += status == MR_OK && l->state == SESSION_FIRST;
    if (status == MR_OK)
        return MR_OK;
    if (status == MR_E_GONE)
        session_look(l); /* it may have said why */
    if (session_alive(l))
        session_end(l, false);
    return status == MR_E_FULL ? MR_E_GONE : status;
}

void session_pace(struct ring_link *l)
{
    for (uint32_t level = 0; level < l->levels; level++) {
        struct link_level *lv = &l->level[level];
        bool fast = l->state == SESSION_OPEN && backlog_empty(&lv->backlog) && lv->gap == 0;
        size_t most = ring_payload_max(lv->ring.span);
        if (most > l->max_message)
            most = l->max_message;
        lv->fast = fast ? most + 1 : 0;
        lv->brief = lv->fast > COPY_SHORT ? COPY_SHORT + 1 : lv->fast;
    }
}

/* ---- what is left ---- */

static struct ring_large_kept *large_in_ring(struct ring_link *l, uint32_t level, uint64_t end)
{
    for (size_t n = 0; n < RING_LARGE_MOST; n++) {
        struct ring_large_kept *kept = &l->large[n];
        if (kept->descriptor != NO_DESCRIPTOR && !kept->in_backlog && kept->level == level && kept->end == end)
            return kept;
    }
    return NULL;
}

/* A reader over what the writer has committed and has not seen released. */
static struct ring_reader walker_make(const struct ring_link *l, uint32_t level)
{
    const struct ring_writer *ring = &l->level[level].ring;
    struct ring_reader walker;
    ring_reader_init(&walker, l->memory, &l->geometry, level);
    ring_reader_begin_at(&walker, ring->head);
    walker.tail = ring->tail;
    return walker;
}

uint64_t session_messages(const struct ring_link *l, uint32_t level)
{
    if (l->memory == NULL)
        return 0;
    struct ring_reader walker = walker_make(l, level);
    struct ring_record record;
    uint64_t messages = 0;
    while (walker.position != walker.tail) {
        if (ring_peek(&walker, &record) != RING_RECORD)
            return messages + 1;
        messages += record.kind != RING_GAP;
        ring_advance(&walker, record.end);
    }
    return messages;
}

/* Takes one record of the ring over into `left`. False: the reader has written over it. */
static bool record_salvage(struct ring_link *l, uint32_t level, const struct ring_record *record, uint32_t flags,
                           struct backlog *left)
{
    struct backlog_record kept = {.payload = record->payload,
                                  .length = record->length,
                                  .number = record->number,
                                  .kind = record->kind,
                                  .flags = flags};
    if (record->kind == RING_LARGE) {
        struct ring_large_kept *large = large_in_ring(l, level, record->end);
        if (large == NULL)
            return false;
        large->in_backlog = true;
        kept.number = large->number;
    }
    backlog_append(left, &kept);
    return true;
}

/* Puts what is left in the level's ring before its backlog. False: no memory, nothing has changed. */
static bool level_salvage(struct ring_link *l, uint32_t level)
{
    struct link_level *lv = &l->level[level];
    if (lv->ring.tail == lv->ring.head)
        return true;
    struct backlog left = {0};
    /* Besides the ring's records there may be a gap, in the place of one of them at least. */
    size_t room = (size_t) (lv->ring.tail - lv->ring.head + ring_record_bytes(sizeof(uint64_t)));
    if (!backlog_reserve(&left, room + backlog_bytes(&lv->backlog)))
        return false;
    struct ring_reader walker = walker_make(l, level);
    struct ring_record record;
    while (walker.position != walker.tail) {
        bool whole = ring_peek(&walker, &record) == RING_RECORD;
        bool handed = lv->redelivered - walker.position - 1 < UINT64_MAX / 2; /* position < redelivered */
        uint32_t flags = BACKLOG_OFFERED | (handed ? BACKLOG_HANDED : 0u);
        if (!whole || !record_salvage(l, level, &record, flags, &left)) {
            backlog_append(&left, &(struct backlog_record){.kind = RING_GAP, .number = 1, .flags = flags});
            break;
        }
        ring_advance(&walker, record.end);
    }
    bool prepended = backlog_prepend(&lv->backlog, &left);
    assert(prepended); /* the room was reserved */
    (void) prepended;
    lv->ring.head = lv->ring.tail;
    KILL_POINT(writer, salvage);
    return true;
}

static bool backlog_any(const struct ring_link *l)
{
    for (uint32_t level = 0; level < l->levels; level++)
        if (!backlog_empty(&l->level[level].backlog))
            return true;
    return false;
}

/* S4. From `head` to the tail; level_salvage comes after it. */
static void level_withdraw(struct link_level *lv, uint64_t head)
{
    struct ring_writer *ring = &lv->ring;
    uint64_t length = ring->tail - head;
    uint64_t offset = head & (ring->capacity - 1);
    uint64_t rest = ring->capacity - offset < length ? ring->capacity - offset : length;
    memset(ring->data + offset, 0, (size_t) rest);
    memset(ring->data, 0, (size_t) (length - rest));
}

int session_salvage(struct ring_link *l)
{
    assert(l->state == SESSION_OVER);
    for (uint32_t level = 0; level < l->levels; level++) {
        uint64_t head = l->level[level].ring.head;
        if (!level_salvage(l, level))
            return status_fail(MR_E_MEMORY, 0, "no memory for the messages that a reader of %s has left", l->base.name);
        if (l->withdraws)
            level_withdraw(&l->level[level], head);
    }
    for (size_t n = 0; n < RING_LARGE_MOST; n++) { /* those of acknowledged records, and of records that are lost */
        if (l->large[n].descriptor != NO_DESCRIPTOR && !l->large[n].in_backlog) {
            close(l->large[n].descriptor);
            l->large[n].descriptor = NO_DESCRIPTOR;
        }
    }
    ring_memory_free(&l->geometry, l->memory);
    l->memory = NULL;
    l->state = SESSION_NONE;
    l->owner = backlog_any(l) ? l->reader : UINT32_MAX;
    KILL_POINT(writer, salvaged);
    return MR_OK;
}

/* ---- the end ---- */

static void socket_end(struct ring_link *l)
{
    if (l->watched != NULL) {
        assert(l->retired == NULL); /* plain_link_linux.c, L2 */
        (void) shutdown(l->socket, SHUT_RDWR);
        l->retired = l->watched;
        l->watched = NULL;
    } else {
        close(l->socket);
    }
    l->socket = NO_DESCRIPTOR;
    if (l->doorbell != NO_DESCRIPTOR)
        close(l->doorbell); /* an eventfd: does not block */
    l->doorbell = NO_DESCRIPTOR;
}

/* Up to where what is in the ring may have been delivered: the reader's `handed`, if it can be true. */
static void level_end(struct link_level *lv, bool perhaps)
{
    (void) ring_refresh(&lv->ring);
    uint64_t handed = atomic_load_explicit(&lv->ring.control->handed, memory_order_relaxed);
    if (perhaps || lv->ring.broken || handed - lv->ring.head > lv->ring.tail - lv->ring.head)
        handed = lv->ring.tail;
    if (handed - lv->redelivered <= UINT64_MAX / 2)
        lv->redelivered = handed;
}

static void session_over(struct ring_link *l, bool perhaps, bool withdraws)
{
    assert(session_alive(l));
    KILL_POINT(writer, end);
    l->withdraws = withdraws;
    if (l->answered && l->refused == MR_OK)
        l->ring_limit = 0; /* the next reader may have more room */
    socket_end(l);
    l->state = SESSION_OVER;
    l->max_message = 0;
    l->session++;
    l->pause_ns = 0;
    l->needy = l->hungry = 0;
    for (uint32_t level = 0; level < l->levels; level++)
        level_end(&l->level[level], perhaps);
    session_pace(l);
    struct status_memo before;
    status_save(&before);
    if (session_salvage(l) != MR_OK)
        status_restore(&before); /* link_connect tries again, and reports */
}

void session_end(struct ring_link *l, bool perhaps)
{
    session_over(l, perhaps, perhaps);
}

void session_leave(struct ring_link *l)
{
    session_over(l, true, false);
}

bool session_acknowledged(const struct ring_link *l)
{
    for (uint32_t level = 0; level < l->levels; level++)
        if (l->memory != NULL && l->level[level].ring.head != l->level[level].ring.tail)
            return false;
    return true;
}

bool session_refresh(struct ring_link *l)
{
    for (uint32_t level = 0; level < l->levels; level++) {
        if (!ring_refresh(&l->level[level].ring)) {
            session_end(l, true);
            return false;
        }
    }
    return true;
}

int session_refused(const struct ring_link *l)
{
    if (l->refused == MR_E_ACCESS)
        return status_fail(MR_E_ACCESS, 0, "the slot %.300s lets this user write nothing", l->base.name);
    if (l->refused != MR_OK)
        return status_fail(MR_E_TIMEOUT, 0, "the slot %.300s has no room for another writer", l->base.name);
    return status_fail(MR_E_NO_SLOT, 0, "the slot %.300s has just gone", l->base.name);
}

/* ---- what the reader says ---- */

static bool is_eventfd(int fd)
{
    static const char kind[] = "anon_inode:[eventfd]";
    char path[32], target[sizeof kind];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return readlink(path, target, sizeof target) == (ssize_t) sizeof kind - 1 &&
           memcmp(target, kind, sizeof kind - 1) == 0;
}

static bool doorbell_take(struct ring_link *l, int descriptor)
{
    int flags = descriptor < 0 || !is_eventfd(descriptor) ? -1 : fcntl(descriptor, F_GETFL);
    if (flags < 0 || fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) != 0)
        return false;
    l->doorbell = descriptor;
    return true;
}

/* No place for us now: ask again after a while. */
static void back_off(struct ring_link *l)
{
    l->backoff_ns = l->backoff_ns == 0 ? BACKOFF_FIRST_NS : l->backoff_ns * 2;
    if (l->backoff_ns > BACKOFF_LAST_NS)
        l->backoff_ns = BACKOFF_LAST_NS;
    l->not_before = clock_now() + l->backoff_ns;
}

static void answer_refused(struct ring_link *l, const struct ring_answer *answer)
{
    uint32_t limit = 0;
    for (uint32_t power = RING_CAPACITY_MIN; power <= RING_CAPACITY_MAX && power <= answer->ring_bytes; power *= 2)
        limit = power;
    uint32_t largest = 0;
    for (uint32_t level = 0; level < l->levels; level++)
        if (l->geometry.capacity[level] > largest)
            largest = l->geometry.capacity[level];
    if (answer->status == MR_E_ACCESS) {
        l->refused = MR_E_ACCESS;
        l->cautious = true;
    } else if (answer->status == MR_E_FULL && limit > 0 && limit < largest) {
        l->refused = MR_E_FULL;
        l->ring_limit = limit;
    } else {
        l->refused = MR_E_FULL;
        l->cautious = true;
        back_off(l);
    }
    session_end(l, false);
}

static void answer_take(struct ring_link *l, const struct ring_answer *answer, int descriptor)
{
    bool accepted = answer->status == MR_OK;
    bool taken = accepted && !l->answered && doorbell_take(l, descriptor);
    if (!taken && descriptor >= 0)
        janitor_close(&descriptor, 1);
    if (l->answered || taken != accepted) {
        session_end(l, true);
        return;
    }
    l->answered = true;
    if (!accepted) {
        answer_refused(l, answer);
        return;
    }
    l->cautious = false;
    l->backoff_ns = l->not_before = 0;
    l->max_message = answer->max_message < SIZE_MAX / 2 ? (size_t) answer->max_message : SIZE_MAX / 2;
    bool committed = false;
    for (uint32_t level = 0; level < l->levels; level++) {
        struct ring_writer *ring = &l->level[level].ring;
        ring->halves = ring->span <= ring->capacity / 2;
        committed = committed || ring->tail != 0;
        ring->fence = !l->barrier || (answer->packet.flags & RING_FLAG_BARRIER) == 0; /* S3 */
    }
    l->counts.connects += l->state == SESSION_ASKING;
    if (l->state != SESSION_PARTING)
        l->state = SESSION_OPEN;
    session_pace(l);
    KILL_POINT(writer, answered);
    if (committed)
        ring_doorbell(l); /* S2 */
}

static void packet_take(struct ring_link *l, const union ring_any_packet *packet, int descriptor)
{
    switch (packet->packet.type) {
    case PACKET_ANSWER:
        answer_take(l, &packet->answer, descriptor);
        return;
    case PACKET_REACHED: /* the heads are loaded by whoever looks */
        return;
    case PACKET_RENAMED:
        KILL_POINT(writer, parting);
        l->state = SESSION_PARTING;
        l->max_message = 0;
        l->needy = l->hungry = 0;
        session_pace(l);
        return;
    default:
        if (descriptor >= 0)
            janitor_close(&descriptor, 1);
        session_end(l, true);
    }
}

/* Nothing to receive, and no end: asked in less than half the time that it takes to receive nothing. Before a message that
 * wakes the reader this is the only thing that is done besides. */
static bool socket_is_silent(const struct ring_link *l)
{
    struct pollfd polled = {.fd = l->socket, .events = POLLIN};
    return poll(&polled, 1, 0) == 0;
}

void session_look(struct ring_link *l)
{
    l->looked = clock_coarse();
    l->unasked = 1;
    l->asked = 0;
    if (!session_alive(l) || socket_is_silent(l))
        return;
    struct status_memo before;
    status_save(&before);
    for (unsigned n = 0; session_alive(l); n++) {
        union ring_any_packet packet;
        int descriptor;
        int status = ring_packet_receive(l->socket, &packet, &descriptor);
        if (status == MR_E_FULL)
            break;
        if (n == PACKETS_MOST) {
            if (descriptor >= 0)
                janitor_close(&descriptor, 1);
            session_end(l, true);
        } else if (status == MR_OK) {
            packet_take(l, &packet, descriptor);
        } else {
            if (status == MR_E_DESCRIPTORS) {
                l->cautious = true; /* the answer may be what was lost */
                back_off(l);
            }
            session_end(l, status != MR_E_GONE);
        }
    }
    status_restore(&before); /* what the state says is told by whoever asked for the look */
}
