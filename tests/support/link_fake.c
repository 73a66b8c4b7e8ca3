/* link_fake.c: link_fake.h. One lock for the whole small world; link_wait waits for its condition, link_watch is a deadline
 * that never comes, which is cancelled by whatever brings it to its end: room, the slot's end, link_disconnect. (So the
 * writer may cancel it, too.) One file, though a long one, because everything in it is under that one lock. */
#include "link_fake.h"

#include <stdlib.h>
#include <string.h>

#include "slots/backend.h"
#include "slots/name_fold.h"
#include "test.h"
#include "test_nap.h"

struct fake_slot {
    bool live;
    uint64_t generation;
    size_t capacity; /* 0: no bound */
    size_t held;
    size_t max_message;
    int connect_result;
    bool drains; /* acknowledges whatever comes */
};

/* What a link that acknowledges has taken. */
struct fake_kept {
    struct fake_kept *next;
    struct fake_entry entry;
    bool sent; /* to a slot, at least once */
};

struct fake_level {
    struct fake_kept *first;
    struct fake_kept *last;
    size_t kept;
    uint64_t taken; /* of all times */
    uint64_t gap;   /* to be told */
};

enum fake_watch { WATCH_ROOM, WATCH_END };

struct slot_link {
    slot_link *next;
    uint32_t slot;
    bool connected;
    bool forced_full; /* the last send met a fault: there is room in truth */
    bool woken;
    uint64_t generation;
    bool acknowledges;
    bool refused;
    bool leaving;        /* the slot's reader lives on under another name, and has what it has */
    uint32_t full_level; /* of the last send, if that was MR_E_FULL; else MR_LEVELS_MAX */
    struct fake_level levels[MR_LEVELS_MAX];
    uint64_t redelivered;
    port *watch_port;
    operation *watch; /* under way, or cancelled by the writer */
    enum fake_watch watch_kind;
};

static struct {
    mutex lock;
    condition changed;
    struct fake_slot slots[FAKE_SLOTS];
    slot_link *links;
    bool acknowledges;
    struct fake_counts counts;
    uint64_t connect_times[FAKE_TIMES]; /* of connect number n at (n - 1) % FAKE_TIMES */
    uint64_t fault_countdown;
    int fault_status; /* MR_OK: none */
    uint64_t send_time;
    uint64_t held_send;
    size_t log_count;
    struct fake_entry log[FAKE_LOG_MAX];
} world;

TEST_BEFORE_MAIN(world_make)
{
    mutex_init(&world.lock);
    condition_init(&world.changed);
}

static bool link_there(const slot_link *l)
{
    const struct fake_slot *s = &world.slots[l->slot];
    return l->connected && s->live && s->generation == l->generation && !l->refused;
}

static bool has_room(const slot_link *l, uint32_t level)
{
    const struct fake_slot *s = &world.slots[l->slot];
    return s->capacity == 0 || (l->acknowledges ? l->levels[level].kept : s->held) < s->capacity;
}

static bool link_usable(const slot_link *l)
{
    if (!link_there(l) || l->forced_full)
        return true; /* a send will tell */
    return l->acknowledges ? l->full_level == MR_LEVELS_MAX || has_room(l, l->full_level) : has_room(l, 0);
}

static bool watch_due(const slot_link *l)
{
    return l->watch_kind == WATCH_ROOM ? link_usable(l) : !link_there(l);
}

static void watch_complete(slot_link *l)
{
    operation *o = l->watch;
    l->watch = NULL;
    if (o != NULL)
        port_cancel(l->watch_port, o);
}

static void world_changed(void)
{
    for (slot_link *l = world.links; l != NULL; l = l->next)
        if (watch_due(l))
            watch_complete(l);
    condition_broadcast(&world.changed);
}

static uint32_t slot_number(const char *folded)
{
    for (uint32_t n = 0; n < FAKE_SLOTS; n++) {
        char mine[64];
        if (name_fold(fake_name(n), mine, sizeof mine) && strcmp(folded, mine) == 0)
            return n;
    }
    CHECK_MSG(false, "no fake slot is called %s", folded);
    return 0;
}

/* ---- backend.h ---- */

int link_open(slot_link **out, const struct link_config *config)
{
    slot_link *l = calloc(1, sizeof *l);
    CHECK(l != NULL);
    l->slot = slot_number(config->name->folded);
    l->full_level = MR_LEVELS_MAX;
    mutex_lock(&world.lock);
    l->acknowledges = world.acknowledges;
    l->next = world.links;
    world.links = l;
    world.counts.links++;
    mutex_unlock(&world.lock);
    *out = l;
    return MR_OK;
}

static void log_add(struct fake_entry entry)
{
    CHECK(world.log_count < FAKE_LOG_MAX);
    world.log[world.log_count++] = entry;
}

static void kept_drop(struct fake_level *level)
{
    struct fake_kept *kept = level->first;
    level->first = kept->next;
    if (level->first == NULL)
        level->last = NULL;
    level->kept--;
    free(kept);
}

static size_t link_acknowledge(slot_link *l, size_t messages)
{
    size_t count = 0;
    for (uint32_t level = MR_LEVELS_MAX; level-- > 0;)
        for (; count < messages && l->levels[level].first != NULL && l->levels[level].first->sent; count++)
            kept_drop(&l->levels[level]);
    return count;
}

static void slot_acknowledges(uint32_t number, size_t messages)
{
    for (slot_link *l = world.links; l != NULL; l = l->next)
        if (l->slot == number && (link_there(l) || l->leaving))
            messages -= link_acknowledge(l, messages);
}

/* A new slot gets what the last one has not acknowledged. */
static void link_offer(slot_link *l)
{
    for (uint32_t level = MR_LEVELS_MAX; level-- > 0;) {
        for (struct fake_kept *kept = l->levels[level].first; kept != NULL; kept = kept->next) {
            kept->entry.redelivered = kept->sent;
            kept->entry.slot = l->slot;
            l->redelivered += kept->sent;
            kept->sent = true;
            log_add(kept->entry);
        }
    }
    if (world.slots[l->slot].drains)
        slot_acknowledges(l->slot, SIZE_MAX);
}

static int gone(slot_link *l)
{
    int status = l->refused ? MR_E_ACCESS : MR_E_GONE;
    l->refused = false;
    l->connected = false;
    return status;
}

int link_connect(slot_link *l, uint64_t deadline)
{
    mutex_lock(&world.lock);
    if (l->connected) {
        mutex_unlock(&world.lock);
        return MR_OK;
    }
    if (l->refused) {
        int status = gone(l);
        mutex_unlock(&world.lock);
        return status;
    }
    world.connect_times[world.counts.connects++ % FAKE_TIMES] = clock_now();
    condition_broadcast(&world.changed);
    struct fake_slot *s = &world.slots[l->slot];
    while (s->live && s->connect_result == MR_E_TIMEOUT &&
           condition_wait_until(&world.changed, &world.lock, deadline)) {}
    int status = !s->live ? MR_E_NO_SLOT : s->connect_result;
    if (status == MR_OK) {
        l->connected = true;
        l->leaving = false;
        l->full_level = MR_LEVELS_MAX;
        l->generation = s->generation;
        link_offer(l);
        world_changed();
    }
    mutex_unlock(&world.lock);
    return status;
}

bool link_connected(const slot_link *l)
{
    return l->connected;
}

void link_disconnect(slot_link *l)
{
    mutex_lock(&world.lock);
    l->connected = false;
    l->forced_full = false;
    watch_complete(l);
    mutex_unlock(&world.lock);
}

int link_rename(slot_link *l, const struct slot_name *name)
{
    link_disconnect(l);
    mutex_lock(&world.lock);
    l->slot = slot_number(name->folded);
    l->leaving = false;
    for (uint32_t level = 0; level < MR_LEVELS_MAX; level++) {
        l->levels[level].gap = 0;
        while (l->levels[level].first != NULL)
            kept_drop(&l->levels[level]);
    }
    mutex_unlock(&world.lock);
    return MR_OK;
}

bool link_is_named(const slot_link *l, const struct slot_name *name)
{
    return l->slot == slot_number(name->folded);
}

size_t link_max_message(const slot_link *l)
{
    mutex_lock(&world.lock);
    size_t bytes = world.slots[l->slot].max_message;
    if (!l->connected)
        bytes = 0;
    else if (bytes == 0)
        bytes = MR_MESSAGE_MAX_DEFAULT;
    mutex_unlock(&world.lock);
    return bytes;
}

static bool fault_due(void)
{
    if (world.fault_status == MR_OK)
        return false;
    if (world.fault_countdown > 0) {
        world.fault_countdown--;
        return false;
    }
    return true;
}

static void take(slot_link *l, struct fake_entry entry, bool sent)
{
    struct fake_level *level = &l->levels[entry.level];
    struct fake_kept *kept = calloc(1, sizeof *kept);
    CHECK(kept != NULL);
    *kept = (struct fake_kept){.entry = entry, .sent = sent};
    if (level->last != NULL)
        level->last->next = kept;
    else
        level->first = kept;
    level->last = kept;
    level->kept++;
    level->taken++;
}

static struct fake_entry entry_of(const slot_link *l, const void *data, size_t length, uint32_t level)
{
    struct fake_entry entry = {.length = length, .level = level, .slot = l->slot};
    if (length >= sizeof entry.number)
        memcpy(&entry.number, data, sizeof entry.number);
    return entry;
}

static void tell_gap(slot_link *l, uint32_t level)
{
    if (l->levels[level].gap > 0)
        log_add((struct fake_entry){.gap = l->levels[level].gap, .level = level, .slot = l->slot});
    l->levels[level].gap = 0;
}

static int send_locked(slot_link *l, const void *data, size_t length, uint32_t level)
{
    struct fake_slot *s = &world.slots[l->slot];
    l->forced_full = false;
    l->full_level = MR_LEVELS_MAX;
    if (l->connected && fault_due()) {
        int status = world.fault_status;
        world.fault_status = MR_OK;
        l->forced_full = status == MR_E_FULL;
        l->connected = status == MR_E_FULL;
        return status;
    }
    if (!link_there(l))
        return gone(l);
    if (s->max_message != 0 && length > s->max_message)
        return MR_E_TOO_BIG;
    if (!has_room(l, level)) {
        l->full_level = level;
        return MR_E_FULL;
    }
    tell_gap(l, level);
    struct fake_entry entry = entry_of(l, data, length, level);
    log_add(entry);
    if (l->acknowledges)
        take(l, entry, true);
    else
        s->held++;
    if (s->drains)
        slot_acknowledges(l->slot, SIZE_MAX);
    world_changed();
    return MR_OK;
}

int link_send(slot_link *l, const void *data, size_t length, uint32_t priority)
{
    mutex_lock(&world.lock);
    uint64_t number = ++world.counts.sends;
    condition_broadcast(&world.changed);
    while (world.held_send == number)
        condition_wait(&world.changed, &world.lock);
    uint64_t time = world.send_time;
    mutex_unlock(&world.lock);
    if (time > 0)
        test_nap(time);
    mutex_lock(&world.lock);
    int status = send_locked(l, data, length, priority);
    mutex_unlock(&world.lock);
    return status;
}

int link_wait(slot_link *l, uint64_t deadline)
{
    mutex_lock(&world.lock);
    world.counts.waits++;
    condition_broadcast(&world.changed);
    bool in_time = true;
    while (in_time && !link_usable(l) && !l->woken)
        in_time = condition_wait_until(&world.changed, &world.lock, deadline);
    l->woken = false;
    mutex_unlock(&world.lock);
    return in_time ? MR_OK : MR_E_TIMEOUT;
}

void link_wake(slot_link *l)
{
    mutex_lock(&world.lock);
    l->woken = true;
    condition_broadcast(&world.changed);
    mutex_unlock(&world.lock);
}

static enum started watch(slot_link *l, port *p, operation *o, enum fake_watch kind, bool done)
{
    CHECK(l->watch == NULL || l->watch == o);
    l->watch = NULL;
    if (done) {
        o->status = MR_OK;
        condition_broadcast(&world.changed);
        return STARTED_DONE;
    }
    enum started started = port_set_deadline(p, o, CLOCK_NEVER);
    if (started == STARTED_PENDING) {
        l->watch = o;
        l->watch_port = p;
        l->watch_kind = kind;
        if (watch_due(l))
            watch_complete(l);
    }
    condition_broadcast(&world.changed);
    return started;
}

enum started link_watch(slot_link *l, port *p, operation *o)
{
    mutex_lock(&world.lock);
    world.counts.watches++;
    /* both ways that C3 allows */
    enum started started = watch(l, p, o, WATCH_ROOM, link_usable(l) && world.counts.watches % 2 == 0);
    mutex_unlock(&world.lock);
    return started;
}

/* ---- backend.h: acknowledgement ---- */

bool link_acknowledges(const slot_link *l)
{
    return l->acknowledges;
}

int link_keep(slot_link *l, const void *data, size_t length, uint32_t priority)
{
    mutex_lock(&world.lock);
    CHECK(!l->connected);
    int status = has_room(l, priority) ? MR_OK : MR_E_FULL;
    if (!l->acknowledges)
        status = MR_E_UNSUPPORTED;
    if (status == MR_OK)
        take(l, entry_of(l, data, length, priority), false);
    mutex_unlock(&world.lock);
    return status;
}

void link_gap(slot_link *l, uint32_t priority, uint64_t count)
{
    CHECK(count > 0);
    mutex_lock(&world.lock);
    if (l->acknowledges)
        l->levels[priority].gap += count;
    mutex_unlock(&world.lock);
}

int link_tell_gaps(slot_link *l)
{
    mutex_lock(&world.lock);
    int status = link_there(l) ? MR_OK : gone(l);
    for (uint32_t level = 0; status == MR_OK && level < MR_LEVELS_MAX; level++)
        tell_gap(l, level);
    mutex_unlock(&world.lock);
    return status;
}

void link_mark(const slot_link *l, struct link_mark *mark)
{
    *mark = (struct link_mark){0};
    mutex_lock(&world.lock);
    for (uint32_t level = 0; level < MR_LEVELS_MAX; level++)
        mark->position[level] = l->levels[level].taken;
    mutex_unlock(&world.lock);
}

static bool passed_locked(const slot_link *l, const struct link_mark *mark)
{
    bool passed = true;
    for (uint32_t level = 0; level < MR_LEVELS_MAX; level++)
        passed = passed && l->levels[level].taken - l->levels[level].kept >= mark->position[level];
    return passed;
}

bool link_passed(slot_link *l, const struct link_mark *mark)
{
    mutex_lock(&world.lock);
    if (l->acknowledges && !link_there(l))
        l->connected = false;
    bool passed = passed_locked(l, mark);
    mutex_unlock(&world.lock);
    return passed;
}

int link_await(slot_link *l, const struct link_mark *mark, uint64_t deadline)
{
    mutex_lock(&world.lock);
    world.counts.awaits++;
    condition_broadcast(&world.changed);
    bool in_time = true;
    while (in_time && link_there(l) && !passed_locked(l, mark) && !l->woken)
        in_time = condition_wait_until(&world.changed, &world.lock, deadline);
    l->woken = false;
    int status = in_time ? MR_OK : MR_E_TIMEOUT;
    if (!link_there(l))
        status = gone(l);
    mutex_unlock(&world.lock);
    return status;
}

enum started link_watch_mark(slot_link *l, const struct link_mark *mark, port *p, operation *o)
{
    CHECK(mark == NULL);
    mutex_lock(&world.lock);
    world.counts.watched_ends++;
    enum started started = watch(l, p, o, WATCH_END, !link_there(l) && world.counts.watched_ends % 2 == 0);
    mutex_unlock(&world.lock);
    return started;
}

uint64_t link_unacknowledged(slot_link *l)
{
    mutex_lock(&world.lock);
    uint64_t count = 0;
    for (uint32_t level = 0; level < MR_LEVELS_MAX; level++)
        count += l->levels[level].kept;
    mutex_unlock(&world.lock);
    return count;
}

bool link_leaving(const slot_link *l)
{
    mutex_lock(&world.lock);
    bool leaving = l->leaving;
    mutex_unlock(&world.lock);
    return leaving;
}

void link_get_counts(const slot_link *l, struct link_counts *counts)
{
    mutex_lock(&world.lock);
    *counts = (struct link_counts){.redelivered = l->redelivered, .ring_bytes = l->acknowledges ? 4096 : 0};
    mutex_unlock(&world.lock);
}

void link_close(slot_link *l, bool in_child)
{
    CHECK(!in_child);
    mutex_lock(&world.lock);
    CHECK(l->watch == NULL);
    slot_link **link = &world.links;
    while (*link != l)
        link = &(*link)->next;
    *link = l->next;
    world.counts.links--;
    for (uint32_t level = 0; level < MR_LEVELS_MAX; level++)
        while (l->levels[level].first != NULL)
            kept_drop(&l->levels[level]);
    condition_broadcast(&world.changed);
    mutex_unlock(&world.lock);
    free(l);
}

/* ---- link_fake.h ---- */

const char *fake_name(uint32_t number)
{
    static const char *const names[FAKE_SLOTS] = {"fake0", "fake1", "fake2", "fake3"};
    return names[number];
}

void fake_live(uint32_t number, bool live)
{
    mutex_lock(&world.lock);
    struct fake_slot *s = &world.slots[number];
    if (s->live != live) {
        s->live = live;
        s->generation++;
        s->held = 0;
    }
    world_changed();
    mutex_unlock(&world.lock);
}

void fake_acknowledges(bool acknowledges)
{
    mutex_lock(&world.lock);
    world.acknowledges = acknowledges;
    mutex_unlock(&world.lock);
}

void fake_drain_always(uint32_t number, bool always)
{
    mutex_lock(&world.lock);
    world.slots[number].drains = always;
    if (always)
        slot_acknowledges(number, SIZE_MAX);
    world_changed();
    mutex_unlock(&world.lock);
}

void fake_leave(uint32_t number)
{
    mutex_lock(&world.lock);
    for (slot_link *l = world.links; l != NULL; l = l->next)
        if (l->slot == number && link_there(l))
            l->leaving = l->acknowledges;
    world.slots[number].live = false;
    world.slots[number].generation++;
    world_changed();
    mutex_unlock(&world.lock);
}

void fake_refuse(uint32_t number)
{
    mutex_lock(&world.lock);
    for (slot_link *l = world.links; l != NULL; l = l->next)
        if (l->slot == number && link_there(l))
            l->refused = l->acknowledges;
    world_changed();
    mutex_unlock(&world.lock);
}

void fake_capacity(uint32_t number, size_t messages)
{
    mutex_lock(&world.lock);
    world.slots[number].capacity = messages;
    world_changed();
    mutex_unlock(&world.lock);
}

void fake_drain(uint32_t number, size_t messages)
{
    mutex_lock(&world.lock);
    struct fake_slot *s = &world.slots[number];
    s->held -= s->held < messages ? s->held : messages;
    slot_acknowledges(number, messages);
    world_changed();
    mutex_unlock(&world.lock);
}

void fake_max_message(uint32_t number, size_t bytes)
{
    mutex_lock(&world.lock);
    world.slots[number].max_message = bytes;
    mutex_unlock(&world.lock);
}

void fake_connect_result(uint32_t number, int status)
{
    mutex_lock(&world.lock);
    world.slots[number].connect_result = status;
    world_changed();
    mutex_unlock(&world.lock);
}

void fake_send_fault(uint64_t countdown, int status)
{
    mutex_lock(&world.lock);
    world.fault_countdown = countdown;
    world.fault_status = status;
    mutex_unlock(&world.lock);
}

void fake_hold_send(uint64_t number)
{
    mutex_lock(&world.lock);
    world.held_send = number;
    condition_broadcast(&world.changed);
    mutex_unlock(&world.lock);
}

void fake_send_time(uint64_t nanoseconds)
{
    mutex_lock(&world.lock);
    world.send_time = nanoseconds;
    mutex_unlock(&world.lock);
}

struct fake_counts fake_counts(void)
{
    mutex_lock(&world.lock);
    struct fake_counts counts = world.counts;
    mutex_unlock(&world.lock);
    return counts;
}

static void await(const uint64_t *counter, uint64_t count)
{
    mutex_lock(&world.lock);
    while (*counter < count)
        condition_wait(&world.changed, &world.lock);
    mutex_unlock(&world.lock);
}

uint64_t fake_await_connects(uint64_t count)
{
    await(&world.counts.connects, count);
    mutex_lock(&world.lock);
    uint64_t when = world.connect_times[(count - 1) % FAKE_TIMES];
    mutex_unlock(&world.lock);
    return when;
}

void fake_await_sends(uint64_t count)
{
    await(&world.counts.sends, count);
}

void fake_await_waits(uint64_t count)
{
    await(&world.counts.waits, count);
}

void fake_await_watches(uint64_t count)
{
    await(&world.counts.watches, count);
}

void fake_await_awaits(uint64_t count)
{
    await(&world.counts.awaits, count);
}

void fake_await_watched_ends(uint64_t count)
{
    await(&world.counts.watched_ends, count);
}

void fake_await_log(size_t count)
{
    mutex_lock(&world.lock);
    while (world.log_count < count)
        condition_wait(&world.changed, &world.lock);
    mutex_unlock(&world.lock);
}

void fake_log_clear(void)
{
    mutex_lock(&world.lock);
    world.log_count = 0;
    mutex_unlock(&world.lock);
}

size_t fake_log(struct fake_entry *entries, size_t from, size_t count)
{
    mutex_lock(&world.lock);
    size_t total = world.log_count;
    for (size_t n = 0; n < count && from + n < total; n++)
        entries[n] = world.log[from + n];
    mutex_unlock(&world.lock);
    return total;
}
