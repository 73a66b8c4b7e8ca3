/* ring_link_linux.c: the life of a link that goes by the ring.
 *
 * Path    link_connect: (the old name's session has ended) > rendezvous_connect > the owner of what is left? >
 *         session_begin > the backlog > connected; after a refusal only once the answer has come
 *
 * Owners, invariants: ring_link_linux.h.
 */
#include "slots/ring_link_linux.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "queue/memory.h"
#include "queue/status.h"
#include "slots/rendezvous_linux.h"

#define RING_BYTES_DEFAULT ((uint32_t) 1 << 20)

/* Links of this process whose rings' size is left to us. */
static _Atomic uint64_t link_count;

uint64_t ring_link_share(void)
{
    uint64_t count = atomic_load_explicit(&link_count, memory_order_relaxed);
    return RING_SPANS_BYTES / (count > 0 ? count : 1);
}

static int identity_make(uint64_t *identity)
{
    *identity = 0;
    while (*identity == 0)
        if (getrandom(identity, sizeof *identity, 0) < 0 && errno != EINTR)
            return status_fail(MR_E_SYSTEM, errno, "no random numbers: %s", strerror(errno));
    return MR_OK;
}

int ring_link_make(slot_link **out, const mr_writer_options *options)
{
    size_t bytes = options->ring_bytes == 0 ? RING_BYTES_DEFAULT : options->ring_bytes;
    if (bytes < RING_CAPACITY_MIN || bytes > RING_CAPACITY_MAX || (bytes & (bytes - 1)) != 0)
        return status_fail(MR_E_ARGUMENT, 0, "ring_bytes is %zu: a power of two from %u to %u", bytes,
                           RING_CAPACITY_MIN, RING_CAPACITY_MAX);
    struct ring_link *l = memory_zalloc(sizeof *l);
    if (l == NULL)
        return status_fail_plain(MR_E_MEMORY);
    int status = identity_make(&l->writer);
    if (status != MR_OK) {
        memory_free(l);
        return status;
    }
    l->socket = l->doorbell = NO_DESCRIPTOR;
    l->levels = options->levels;
    l->ring_bytes = (uint32_t) bytes;
    l->widens = options->ring_bytes == 0;
    atomic_fetch_add_explicit(&link_count, l->widens, memory_order_relaxed);
    l->owner = UINT32_MAX;
    l->spin_ns = l->spin_most_ns = (uint64_t) options->spin_us * 1000u;
    for (uint32_t level = 0; level < l->levels; level++)
        l->level[level].next = 1;
    for (size_t n = 0; n < RING_LARGE_MOST; n++)
        l->large[n].descriptor = NO_DESCRIPTOR;
    *out = &l->base;
    return MR_OK;
}

bool ring_link_connected(const struct ring_link *l)
{
    return l->state == SESSION_OPEN || l->state == SESSION_FIRST;
}

size_t ring_link_max_message(const struct ring_link *l)
{
    return l->max_message;
}

/* ---- connecting ---- */

/* Waits for a packet, link_wake, or `until`. */
static void reader_wait(struct ring_link *l, uint64_t until)
{
    struct pollfd polled[] = {{.fd = l->socket, .events = POLLIN},
                              {.fd = waker_event(&l->base.waker), .events = POLLIN}};
    if (waker_take(&l->base.waker))
        return;
    struct timespec left = time_until(until);
    if (ppoll(polled, 2, until == CLOCK_NEVER ? NULL : &left, NULL) > 0 && polled[1].revents != 0)
        (void) waker_take(&l->base.waker);
}

/* The reader has left the name, and has not let go of everything yet. */
static int parting_wait(struct ring_link *l, const struct slot_name *name, uint64_t deadline)
{
    char path[1];
    while (l->state == SESSION_PARTING) {
        session_look(l);
        if (l->state != SESSION_PARTING)
            break;
        for (uint32_t level = 0; level < l->levels; level++)
            ring_want(&l->level[level].ring, l->level[level].ring.tail);
        if (!session_refresh(l))
            break;
        if (session_acknowledged(l)) {
            session_end(l, false);
            break;
        }
        struct status_memo before;
        status_save(&before);
        int status = rendezvous_path(name, path, sizeof path); /* is anybody there? */
        if (status != MR_E_SMALL && status != MR_OK)
            return status;
        status_restore(&before);
        if (clock_now() >= deadline)
            return status_fail(MR_E_TIMEOUT, 0, "the reader that has left the name %.300s still has messages of it",
                               l->base.name);
        reader_wait(l, deadline);
    }
    return MR_OK;
}

static int asking_wait(struct ring_link *l, uint64_t deadline)
{
    for (;;) {
        session_look(l);
        if (l->state != SESSION_ASKING)
            break;
        if (clock_now() >= deadline)
            return status_fail(MR_E_TIMEOUT, 0, "the slot %.300s does not answer", l->base.name);
        reader_wait(l, deadline);
    }
    return ring_link_connected(l) ? MR_OK : session_refused(l);
}

/* The reader had no place for us: not sooner than it may have one. */
static int back_off_wait(struct ring_link *l, uint64_t deadline)
{
    while (l->not_before > clock_now()) {
        if (clock_now() >= deadline)
            return status_fail(MR_E_TIMEOUT, 0, "the slot %.300s has no room for another writer", l->base.name);
        reader_wait(l, deadline < l->not_before ? deadline : l->not_before);
    }
    return MR_OK;
}

static int owner_check(const struct ring_link *l, uint32_t uid)
{
    if (l->owner == UINT32_MAX || l->owner == uid)
        return MR_OK;
    return status_fail(
        MR_E_OWNER, 0,
        "the slot %.300s belongs to user %u now, and what a reader of user %u has not acknowledged would go "
        "there",
        l->base.name, (unsigned) uid, (unsigned) l->owner);
}

/* One session more, with what is left of the ones before. */
static int connect_anew(struct ring_link *l, const struct slot_name *name, uint64_t deadline)
{
    int status = back_off_wait(l, deadline);
    if (status != MR_OK)
        return status;
    int fd;
    struct slot_limits limits;
    status = rendezvous_connect(name, RENDEZVOUS_RING, l->base.reader_uid, deadline, &fd, &limits);
    if (status != MR_OK)
        return status;
    status = owner_check(l, limits.owner_uid);
    if (status != MR_OK) {
        close(fd);
        return status;
    }
    KILL_POINT(writer, connected);
    l->reader = limits.owner_uid;
    l->max_message = limits.max_message < SIZE_MAX / 2 ? (size_t) limits.max_message : SIZE_MAX / 2;
    status = session_begin(l, fd);
    if (status != MR_OK)
        l->max_message = 0;
    if (status == MR_E_GONE)
        return session_refused(l);
    if (status != MR_OK)
        return status;
    struct status_memo before;
    status_save(&before);
    if (ring_feed(l, NULL) != MR_OK)
        status_restore(&before); /* the next link_send meets it, and tells */
    return MR_OK;
}

static int connect_session(struct ring_link *l, uint64_t deadline)
{
    struct slot_name name;
    int status = name_parse(&name, l->base.name);
    if (status == MR_OK && l->state == SESSION_PARTING)
        status = parting_wait(l, &name, deadline);
    if (status == MR_OK && l->state == SESSION_OVER)
        status = session_salvage(l);
    if (status == MR_OK && l->state == SESSION_NONE)
        status = connect_anew(l, &name, deadline);
    if (status == MR_OK && !ring_link_connected(l))
        status = asking_wait(l, deadline);
    return status;
}

int ring_link_connect(struct ring_link *l, uint64_t deadline)
{
    int status = ring_link_connected(l) ? MR_OK : connect_session(l, deadline);
    if (status == MR_OK)
        l->counts.connects--; /* the caller counts it: a session may also begin, and end, without being told of here */
    return status;
}

/* ---- the end ---- */

void ring_link_disconnect(struct ring_link *l)
{
    if (session_alive(l))
        session_leave(l);
}

static void larges_close(struct ring_link *l)
{
    for (size_t n = 0; n < RING_LARGE_MOST; n++) {
        if (l->large[n].descriptor != NO_DESCRIPTOR)
            close(l->large[n].descriptor);
        l->large[n].descriptor = NO_DESCRIPTOR;
    }
}

void ring_link_forget(struct ring_link *l)
{
    ring_link_disconnect(l);
    for (uint32_t level = 0; level < l->levels; level++) {
        struct link_level *lv = &l->level[level];
        backlog_clear(&lv->backlog);
        lv->ring.head = lv->ring.tail;
        lv->next += lv->gap; /* a hole, for whoever sees both sides of it */
        lv->gap = 0;
    }
    larges_close(l);
    if (l->state == SESSION_OVER)
        (void) session_salvage(l); /* nothing is left, so it needs no memory */
    l->owner = UINT32_MAX;
    l->cautious = false;
    l->refused = MR_OK;
    l->ring_limit = 0;
    l->not_before = l->backoff_ns = 0;
}

/* A forked child closes descriptors only: the parent's port has its own registration of the socket. */
static void endpoint_end(endpoint *e, bool in_child)
{
    if (e == NULL)
        return;
    if (in_child)
        close((int) endpoint_handle(e));
    else
        endpoint_close(e);
}

void ring_link_clear(struct ring_link *l, bool in_child)
{
    if (l->socket != NO_DESCRIPTOR && l->watched == NULL)
        close(l->socket);
    if (l->doorbell != NO_DESCRIPTOR)
        close(l->doorbell);
    endpoint_end(l->watched, in_child);
    endpoint_end(l->retired, in_child);
    larges_close(l);
    atomic_fetch_sub_explicit(&link_count, l->widens, memory_order_relaxed);
    for (uint32_t level = 0; level < l->levels; level++)
        backlog_clear(&l->level[level].backlog);
    if (l->memory != NULL && !in_child) /* a child has no copy of it, and perhaps something else in its place */
        ring_memory_free(&l->geometry, l->memory);
}

/* ---- taking without a session ---- */

/* What a level has taken and has no acknowledgement of, as it would lie in a ring. */
static uint64_t level_bytes(const struct link_level *lv)
{
    return backlog_bytes(&lv->backlog) + (lv->ring.tail - lv->ring.head);
}

static int keep_large(struct ring_link *l, const void *data, size_t length, uint32_t level, uint64_t *number)
{
    if (session_alive(l)) {
        if (!session_refresh(l))
            return MR_E_FULL; /* the caller comes again */
        large_collect(l);
    }
    struct ring_large_kept *kept = large_free(l);
    int descriptor;
    if (kept == NULL)
        return MR_E_FULL;
    int status = ring_large_make(data, length, &descriptor);
    if (status != MR_OK)
        return status;
    *kept = (struct ring_large_kept){
        .descriptor = descriptor, .level = level, .length = length, .number = ++l->large_numbers, .in_backlog = true};
    *number = kept->number;
    return MR_OK;
}

int ring_link_keep(struct ring_link *l, const void *data, size_t length, uint32_t priority)
{
    assert(!ring_link_connected(l));
    struct link_level *lv = &l->level[priority];
    uint64_t capacity = priority == 0 ? l->ring_bytes : RING_FIRST_BYTES;
    bool whole = length <= ring_payload_max(capacity);
    uint64_t size = ring_record_bytes(whole ? length : sizeof(uint64_t));
    uint64_t gap = lv->gap == 0 ? 0 : ring_record_bytes(sizeof(uint64_t));
    if (level_bytes(lv) + gap + size > capacity)
        return MR_E_FULL;
    if (!backlog_reserve(&lv->backlog, (size_t) (gap + size)))
        return status_fail(MR_E_MEMORY, 0, "no memory for a copy of %zu bytes", length);
    struct backlog_record record = {.payload = data, .length = length, .kind = whole ? RING_DATA : RING_LARGE};
    int status = whole ? MR_OK : keep_large(l, data, length, priority, &record.number);
    if (status != MR_OK)
        return status;
    if (lv->gap > 0)
        backlog_append(&lv->backlog, &(struct backlog_record){.kind = RING_GAP, .number = lv->gap});
    backlog_append(&lv->backlog, &record);
    KILL_POINT(writer, keep);
    lv->next += lv->gap + 1;
    lv->gap = 0;
    uint64_t handed;
    if (session_alive(l)) {
        lv->ring.span = lv->ring.most = lv->ring.capacity; /* as the layout has it */
        lv->ring.halves = false;
        lv->copied = backlog_layout(&lv->backlog, lv->ring.capacity, lv->ring.tail, &handed);
    }
    return MR_OK;
}

void ring_link_gap(struct ring_link *l, uint32_t priority, uint64_t count)
{
    l->level[priority].gap += count;
    l->level[priority].fast = l->level[priority].brief = 0;
}

/* ---- counting ---- */

uint64_t ring_link_unacknowledged(struct ring_link *l)
{
    uint64_t messages = 0;
    for (uint32_t level = 0; level < l->levels; level++)
        messages += l->level[level].backlog.messages + session_messages(l, level);
    return messages;
}

void ring_link_get_counts(const struct ring_link *l, struct link_counts *counts)
{
    *counts = l->counts;
    counts->ring_bytes = l->memory == NULL ? 0 : ring_memory_bytes(&l->geometry);
}
