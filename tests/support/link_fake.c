/* link_fake.c: link_fake.h. One lock for the whole small world; link_wait waits for its condition, link_watch is kept
 * in the link and posted to its port by whatever brings it to its end: room, the slot's end, link_disconnect. */
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
};

struct slot_link {
    slot_link *next;
    uint32_t slot;
    bool connected;
    bool forced_full; /* the last send met a fault: there is room in truth */
    bool woken;
    uint64_t generation;
    port *watch_port;
    operation *watch; /* under way */
};

static struct {
    mutex lock;
    condition changed;
    struct fake_slot slots[FAKE_SLOTS];
    slot_link *links;
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

static bool link_usable(const slot_link *l)
{
    const struct fake_slot *s = &world.slots[l->slot];
    if (!l->connected || !s->live || s->generation != l->generation || l->forced_full)
        return true; /* a send will tell */
    return s->capacity == 0 || s->held < s->capacity;
}

static void watch_complete(slot_link *l)
{
    operation *o = l->watch;
    if (o == NULL)
        return;
    l->watch = NULL;
    o->status = MR_OK;
    CHECK_STATUS(port_post(l->watch_port, o), MR_OK);
}

static void world_changed(void)
{
    for (slot_link *l = world.links; l != NULL; l = l->next)
        if (link_usable(l))
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
    mutex_lock(&world.lock);
    l->next = world.links;
    world.links = l;
    world.counts.links++;
    mutex_unlock(&world.lock);
    *out = l;
    return MR_OK;
}

int link_connect(slot_link *l, uint64_t deadline)
{
    mutex_lock(&world.lock);
    if (l->connected) {
        mutex_unlock(&world.lock);
        return MR_OK;
    }
    world.connect_times[world.counts.connects++ % FAKE_TIMES] = clock_now();
    condition_broadcast(&world.changed);
    struct fake_slot *s = &world.slots[l->slot];
    while (s->live && s->connect_result == MR_E_TIMEOUT &&
           condition_wait_until(&world.changed, &world.lock, deadline)) {}
    int status = !s->live ? MR_E_NO_SLOT : s->connect_result;
    if (status == MR_OK) {
        l->connected = true;
        l->generation = s->generation;
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

static int send_locked(slot_link *l, const void *data, size_t length, uint32_t level)
{
    struct fake_slot *s = &world.slots[l->slot];
    l->forced_full = false;
    if (l->connected && fault_due()) {
        int status = world.fault_status;
        world.fault_status = MR_OK;
        l->forced_full = status == MR_E_FULL;
        l->connected = status == MR_E_FULL;
        return status;
    }
    if (!l->connected || !s->live || s->generation != l->generation) {
        l->connected = false;
        return MR_E_GONE;
    }
    if (s->max_message != 0 && length > s->max_message)
        return MR_E_TOO_BIG;
    if (s->capacity != 0 && s->held >= s->capacity)
        return MR_E_FULL;
    CHECK(world.log_count < FAKE_LOG_MAX);
    struct fake_entry *entry = &world.log[world.log_count++];
    *entry = (struct fake_entry){.length = length, .level = level, .slot = l->slot};
    if (length >= sizeof entry->number)
        memcpy(&entry->number, data, sizeof entry->number);
    s->held++;
    condition_broadcast(&world.changed);
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

enum started link_watch(slot_link *l, port *p, operation *o)
{
    mutex_lock(&world.lock);
    world.counts.watches++;
    CHECK(l->watch == NULL);
    bool done = link_usable(l) && world.counts.watches % 2 == 0; /* both ways that C3 allows */
    if (done) {
        o->status = MR_OK;
    } else {
        l->watch = o;
        l->watch_port = p;
        if (link_usable(l))
            watch_complete(l);
    }
    condition_broadcast(&world.changed);
    mutex_unlock(&world.lock);
    return done ? STARTED_DONE : STARTED_PENDING;
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

/* ---- acknowledgement: this lane has none ---- */

bool link_acknowledges(const slot_link *l)
{
    (void) l;
    return false;
}

int link_keep(slot_link *l, const void *data, size_t length, uint32_t priority)
{
    (void) l, (void) data, (void) length, (void) priority;
    return status_fail_plain(MR_E_UNSUPPORTED);
}

void link_gap(slot_link *l, uint32_t priority, uint64_t count)
{
    (void) l, (void) priority, (void) count;
}

int link_tell_gaps(slot_link *l)
{
    (void) l;
    return MR_OK;
}

void link_mark(const slot_link *l, struct link_mark *mark)
{
    (void) l;
    *mark = (struct link_mark){0};
}

bool link_passed(slot_link *l, const struct link_mark *mark)
{
    (void) l, (void) mark;
    return true;
}

int link_await(slot_link *l, const struct link_mark *mark, uint64_t deadline)
{
    (void) l, (void) mark, (void) deadline;
    return MR_OK;
}

enum started link_watch_mark(slot_link *l, const struct link_mark *mark, port *p, operation *o)
{
    (void) l, (void) mark, (void) p;
    o->status = MR_OK;
    return STARTED_DONE;
}

uint64_t link_unacknowledged(slot_link *l)
{
    (void) l;
    return 0;
}

void link_get_counts(const slot_link *l, struct link_counts *counts)
{
    (void) l;
    *counts = (struct link_counts){0};
}
