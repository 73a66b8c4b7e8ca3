/* slot_view_linux.c: what is to be seen of a slot: its counts, its writers, its page.
 *
 * Owners  Counts are atomic and stored by the taking thread, but for those that who acknowledges adds to. Connections and
 *         sessions stay in their lists, and alive, while the lock `writers` is held.
 * Hostile A ring's tail is read here as what it is: a number that its writer may set to anything. It is bounded by the ring.
 */
#include "slots/slot_linux.h"

void slot_waiting(slot *s, uint64_t *count, uint64_t *next)
{
    (void) s;
    *count = 0;
    *next = UINT64_MAX;
}

static uint64_t count_get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void slot_get_counts(slot *s, struct slot_counts *counts)
{
    uint64_t acknowledged = count_get(&s->counts.acknowledged); /* first: it is never more than `held` then */
    *counts = (struct slot_counts){
        .dropped_too_big = count_get(&s->counts.dropped_too_big),
        .dropped_violation = count_get(&s->counts.dropped_violation),
        .dropped_refused = count_get(&s->counts.dropped_refused),
        .refused_access = count_get(&s->counts.refused_access),
        .refused_quota = count_get(&s->counts.refused_quota),
        .refused_descriptors = count_get(&s->counts.refused_descriptors),
        .violations = count_get(&s->counts.violations),
        .connections = count_get(&s->counts.connections),
        .rings = count_get(&s->counts.rings),
        .ring_bytes = count_get(&s->counts.ring_bytes),
        .dropped_by_writers = count_get(&s->counts.dropped_by_writers),
        .redelivered = count_get(&s->counts.redelivered),
        .doorbells = count_get(&s->counts.doorbells),
        .waits = count_get(&s->counts.waits),
        .unacknowledged = count_get(&s->counts.held) - acknowledged,
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

/* ---- writers ---- */

static mr_reader_writer view_connection(const struct connection *c)
{
    return (mr_reader_writer){.sender = {.writer = c->writer, .pid = c->pid, .uid = c->uid, .gid = c->gid},
                              .lane = MR_LANE_PLAIN,
                              .messages = count_get(&c->messages),
                              .bytes = count_get(&c->bytes)};
}

static mr_reader_writer view_session(struct ring_session *x)
{
    mr_reader_writer view = {.sender = x->sender,
                             .lane = MR_LANE_RING,
                             .gone = atomic_load_explicit(&x->gone, memory_order_relaxed),
                             .messages = count_get(&x->messages),
                             .bytes = count_get(&x->bytes),
                             .dropped = count_get(&x->dropped),
                             .waiting_peak = count_get(&x->waiting_peak),
                             .waits = count_get(&x->waits),
                             .doorbells = count_get(&x->doorbells),
                             .unacknowledged = ring_session_unacknowledged(x)};
    for (uint32_t level = 0; level < x->geometry.levels; level++) {
        const struct ring_level *l = &x->levels[level];
        view.waiting +=
            ring_waiting(l->ring.control, l->ring.capacity, count_get(&l->shown), count_get(&l->shown_left_out));
    }
    return view;
}

/* Is one that has written so much among those that there is room for? Who only is connected is looked at no further. */
static bool view_has_place(const mr_reader_writer *writers, size_t room, size_t count, uint64_t bytes)
{
    return count < room || (room > 0 && writers[room - 1].bytes < bytes);
}

/* Into its place among those that there is room for. */
static void view_insert(mr_reader_writer *writers, size_t room, size_t *count, const mr_reader_writer *view)
{
    size_t place = *count < room ? (*count)++ : room - 1;
    for (; place > 0 && writers[place - 1].bytes < view->bytes; place--)
        writers[place] = writers[place - 1];
    writers[place] = *view;
}

size_t slot_writers(slot *s, mr_reader_writer *writers, size_t room)
{
    size_t count = 0;
    size_t total = 0;
    mutex_lock(&s->writers);
    for (const struct connection *c = s->connections; c != NULL; c = c->next, total++) {
        if (!view_has_place(writers, room, count, count_get(&c->bytes)))
            continue;
        mr_reader_writer view = view_connection(c);
        view_insert(writers, room, &count, &view);
    }
    for (struct ring_session *x = s->sessions; x != NULL; x = x->next, total++) {
        if (!view_has_place(writers, room, count, count_get(&x->bytes)))
            continue;
        mr_reader_writer view = view_session(x);
        view_insert(writers, room, &count, &view);
    }
    mutex_unlock(&s->writers);
    return total;
}
