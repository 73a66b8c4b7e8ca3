/* slot_fake.c: slot_fake.h. One lock for the whole small world, free during deliver and the hook. */
#include "slot_fake.h"

#include <stdlib.h>
#include <string.h>

#include "queue/memory.h"
#include "slots/backend.h"
#include "test.h"

#define SHARE 16u /* messages of one writer in a row */

struct fake_message {
    uint64_t number;
    size_t length;
    uint64_t sequence;
    uint32_t next; /* in its writer's and level's list, by index + 1 */
    uint32_t level;
    uint32_t writer;
    mr_lane lane;
    bool taken;
    bool acknowledged;
};

struct fake_list {
    uint32_t first, last; /* index + 1; 0: none */
    uint64_t sequence;
};

struct slot {
    struct buffer_pool *pool;
    enum slot_delivered (*deliver)(void *context, struct buffer *message);
    void (*on_ready)(void *context);
    void *context;
    port *port;
    operation ready;
    uint64_t taking; /* the thread's, inside slot_take or slot_rename */
    bool armed;
    bool woken;
    uint32_t turn; /* whose share it is, and how much of it is left */
    uint32_t share;
};

static struct {
    mutex lock;
    condition changed;
    slot *slot;
    uint64_t generation; /* of the slot; odd while there is one */
    size_t count;
    struct fake_message *messages; /* FAKE_MESSAGES_MAX */
    struct fake_list lists[FAKE_WRITERS][MR_LEVELS_MAX];
    void (*hook)(void *context);
    void *hook_context;
    struct fake_slot_counts counts;
} world;

TEST_BEFORE_MAIN(world_make)
{
    mutex_init(&world.lock);
    condition_init(&world.changed);
}

/* ---- with the lock held ---- */

static bool level_waits(uint32_t level)
{
    for (uint32_t writer = 0; writer < FAKE_WRITERS; writer++)
        if (world.lists[writer][level].first != 0)
            return true;
    return false;
}

static bool urgent_waits(void)
{
    for (uint32_t level = 1; level < MR_LEVELS_MAX; level++)
        if (level_waits(level))
            return true;
    return false;
}

static bool anything_waits(void)
{
    return urgent_waits() || level_waits(0);
}

static void ready_tell(slot *s)
{
    if (s == NULL || !s->armed)
        return;
    s->armed = false;
    CHECK_STATUS(port_post(s->port, &s->ready), MR_OK);
}

/* The next message of the highest level from `least` on, in turns of SHARE. */
static struct fake_list *list_pick(slot *s, uint32_t least)
{
    for (uint32_t level = MR_LEVELS_MAX; level-- > least;) {
        if (!level_waits(level))
            continue;
        while (s->share == 0 || world.lists[s->turn][level].first == 0) {
            s->turn = (s->turn + 1) % FAKE_WRITERS;
            s->share = SHARE;
        }
        s->share--;
        return &world.lists[s->turn][level];
    }
    return NULL;
}

static void list_pop(struct fake_list *list)
{
    struct fake_message *m = &world.messages[list->first - 1];
    CHECK(!m->taken);
    m->taken = true;
    list->first = m->next;
    world.counts.waiting--;
}

/* ---- the test's ---- */

size_t fake_put_long(uint32_t writer, mr_lane lane, uint32_t level, uint64_t number, size_t length)
{
    CHECK(writer < FAKE_WRITERS && level < MR_LEVELS_MAX && length >= sizeof number);
    mutex_lock(&world.lock);
    if (world.messages == NULL)
        world.messages = calloc(FAKE_MESSAGES_MAX, sizeof *world.messages);
    CHECK(world.messages != NULL && world.count < FAKE_MESSAGES_MAX);
    struct fake_list *list = &world.lists[writer][level];
    size_t index = world.count++;
    world.messages[index] = (struct fake_message){.number = number,
                                                  .length = length,
                                                  .sequence = ++list->sequence,
                                                  .level = level,
                                                  .writer = writer,
                                                  .lane = lane};
    uint32_t handle = (uint32_t) index + 1;
    if (list->first == 0)
        list->first = handle;
    else
        world.messages[list->last - 1].next = handle;
    list->last = handle;
    world.counts.waiting++;
    ready_tell(world.slot);
    condition_broadcast(&world.changed);
    mutex_unlock(&world.lock);
    return index;
}

size_t fake_put(uint32_t writer, mr_lane lane, uint32_t level, uint64_t number)
{
    return fake_put_long(writer, lane, level, number, sizeof number);
}

void fake_clear(void)
{
    mutex_lock(&world.lock);
    CHECK(world.slot == NULL);
    memset(world.lists, 0, sizeof world.lists);
    world.count = 0;
    world.counts.waiting = 0;
    mutex_unlock(&world.lock);
}

void fake_before_each(void (*hook)(void *context), void *context)
{
    mutex_lock(&world.lock);
    world.hook = hook;
    world.hook_context = context;
    mutex_unlock(&world.lock);
}

static void await(const uint64_t *counter, uint64_t least)
{
    mutex_lock(&world.lock);
    while (*counter < least)
        condition_wait(&world.changed, &world.lock);
    mutex_unlock(&world.lock);
}

void fake_await_starved(uint64_t times)
{
    await(&world.counts.starved, times);
}

void fake_await_acknowledged(uint64_t count)
{
    await(&world.counts.acknowledged, count);
}

void fake_await_waits(uint64_t times)
{
    await(&world.counts.waits, times);
}

void fake_await_arms(uint64_t times)
{
    await(&world.counts.arms, times);
}

struct fake_slot_counts fake_slot_counts(void)
{
    mutex_lock(&world.lock);
    struct fake_slot_counts counts = world.counts;
    mutex_unlock(&world.lock);
    return counts;
}

bool fake_acknowledged(size_t index)
{
    mutex_lock(&world.lock);
    CHECK(index < world.count);
    bool acknowledged = world.messages[index].acknowledged;
    mutex_unlock(&world.lock);
    return acknowledged;
}

/* ---- backend.h: life ---- */

static void slot_on_ready(operation *ready)
{
    slot *s = (slot *) (void *) ((char *) ready - offsetof(slot, ready));
    s->on_ready(s->context);
}

int slot_open(slot **out, const struct slot_config *config)
{
    slot *s = calloc(1, sizeof *s);
    CHECK(s != NULL);
    s->pool = config->pool;
    s->deliver = config->deliver;
    s->on_ready = config->on_ready;
    s->context = config->context;
    s->port = config->port;
    s->ready.handler = slot_on_ready;
    mutex_lock(&world.lock);
    CHECK(world.slot == NULL); /* one at a time */
    world.slot = s;
    world.generation++;
    world.counts.acknowledging = config->acknowledged_later;
    world.counts.window = config->options->acknowledge_window;
    mutex_unlock(&world.lock);
    *out = s;
    return MR_OK;
}

void slot_close(slot *s, bool in_child, uint64_t *lost)
{
    CHECK(!in_child);
    *lost = 0;
    mutex_lock(&world.lock);
    CHECK(world.slot == s && s->taking == 0 && !s->armed);
    for (size_t i = 0; i < world.count; i++)
        *lost += !world.messages[i].taken && world.messages[i].lane != MR_LANE_RING;
    world.slot = NULL;
    world.generation++;
    mutex_unlock(&world.lock);
    free(s);
}

/* ---- taking ---- */

static bool budget_spent(const struct slot_budget *budget)
{
    return budget->messages == 0 || budget->bytes == 0;
}

/* Fills a buffer with the message; NULL: starved. With the lock held. */
static struct buffer *message_make(slot *s, struct pool_cache *cache, const struct fake_message *m, size_t *wanted)
{
    struct buffer *buffer = NULL;
    *wanted = m->length;
    if (pool_get(s->pool, cache, m->length, m->level > 0, &buffer) != POOL_OK) {
        world.counts.starved++;
        condition_broadcast(&world.changed);
        return NULL;
    }
    memset(buffer_data(buffer), 0, m->length);
    memcpy(buffer_data(buffer), &m->number, sizeof m->number);
    *slot_message_of(buffer) = (struct slot_message){
        .public = {
            .sequence = m->sequence, .sender = {.writer = m->writer + 1}, .priority = m->level, .lane = m->lane}};
    if (m->lane == MR_LANE_RING && world.counts.acknowledging)
        slot_message_of(buffer)->token = (struct slot_token){
            .window = &world, .generation = world.generation, .number = (uint64_t) (m - world.messages)};
    slot_message_finish(buffer, m->length);
    return buffer;
}

/* Delivers one; the lock is free meanwhile. False: it was refused. */
static bool message_deliver(slot *s, struct fake_message *m, struct buffer *buffer, struct pool_cache *cache)
{
    void (*hook)(void *context) = world.hook;
    void *context = world.hook_context;
    mutex_unlock(&world.lock);
    if (hook != NULL)
        hook(context);
    enum slot_delivered delivered = s->deliver(s->context, buffer);
    if (delivered != DELIVERED_KEPT)
        buffer_release(buffer, cache);
    mutex_lock(&world.lock);
    CHECK_EQ(s->taking, thread_self());
    if (delivered == DELIVERED_REFUSED) {
        CHECK_EQ(m->lane, MR_LANE_RING);
        world.counts.refused++;
    } else {
        CHECK(delivered == DELIVERED_KEPT || m->lane == MR_LANE_RING);
        CHECK(delivered == DELIVERED_DONE || m->lane != MR_LANE_RING || world.counts.acknowledging);
        if (m->lane == MR_LANE_RING && !world.counts.acknowledging) {
            m->acknowledged = true;
            world.counts.acknowledged++;
            condition_broadcast(&world.changed);
        }
    }
    return delivered != DELIVERED_REFUSED;
}

enum slot_taken slot_take(slot *s, struct pool_cache *cache, struct slot_budget *budget, size_t *wanted)
{
    mutex_lock(&world.lock);
    CHECK_EQ(s->taking, 0);
    s->taking = thread_self();
    world.counts.takes++;
    enum slot_taken taken = SLOT_MORE;
    while (!budget->stop && (!budget_spent(budget) || budget->urgent > 0)) {
        bool spent = budget_spent(budget);
        struct fake_list *list = list_pick(s, spent);
        if (list == NULL) {
            taken = spent ? SLOT_MORE : SLOT_EMPTY;
            break;
        }
        struct fake_message *m = &world.messages[list->first - 1];
        struct buffer *buffer = message_make(s, cache, m, wanted);
        if (buffer == NULL) {
            taken = SLOT_STARVED;
            break;
        }
        struct fake_list before = *list;
        list_pop(list); /* so that a look inside the callback does not find it */
        budget->ticked = true;
        if (!message_deliver(s, m, buffer, cache)) {
            m->taken = false;
            m->next = list->first;
            list->first = before.first;
            if (m->next == 0)
                list->last = before.first;
            world.counts.waiting++;
            break;
        }
        if (spent) {
            budget->urgent--;
        } else {
            budget->messages--;
            budget->bytes -= m->length < budget->bytes ? m->length : budget->bytes;
        }
    }
    s->taking = 0;
    mutex_unlock(&world.lock);
    return taken;
}

bool slot_urgent(slot *s)
{
    mutex_lock(&world.lock);
    CHECK_EQ(s->taking, 0);
    bool urgent = urgent_waits();
    mutex_unlock(&world.lock);
    return urgent;
}

bool slot_holds(slot *s)
{
    (void) s;
    mutex_lock(&world.lock);
    bool holds = anything_waits();
    mutex_unlock(&world.lock);
    return holds;
}

void slot_acknowledge(const struct slot_token *token)
{
    if (token->window == NULL)
        return;
    CHECK(token->window == &world);
    mutex_lock(&world.lock);
    struct fake_message *m = &world.messages[token->number];
    if (token->generation != world.generation || m->acknowledged) {
        world.counts.again++;
    } else {
        CHECK(m->taken);
        m->acknowledged = true;
        world.counts.acknowledged++;
        condition_broadcast(&world.changed);
    }
    mutex_unlock(&world.lock);
}

bool slot_kept(const struct slot_token *token)
{
    return token->window == &world;
}

size_t slot_writers(slot *s, mr_reader_writer *writers, size_t room)
{
    mutex_lock(&world.lock);
    CHECK(world.slot == s);
    if (room > 0)
        writers[0] = (mr_reader_writer){.sender = {.writer = 1}, .messages = world.lists[0][0].sequence};
    mutex_unlock(&world.lock);
    return 2;
}

/* ---- waiting ---- */

bool slot_arm(slot *s)
{
    mutex_lock(&world.lock);
    CHECK(s->port != NULL && !s->armed && s->taking == 0);
    world.counts.arms++;
    condition_broadcast(&world.changed);
    s->armed = !anything_waits();
    bool armed = s->armed;
    mutex_unlock(&world.lock);
    return armed;
}

void slot_cancel(slot *s)
{
    mutex_lock(&world.lock);
    ready_tell(s);
    mutex_unlock(&world.lock);
}

bool slot_settle(slot *s)
{
    CHECK(!s->armed);
    return true;
}

int slot_wait(slot *s, uint64_t deadline)
{
    bool in_time = true;
    mutex_lock(&world.lock);
    CHECK(s->port == NULL);
    world.counts.waits++;
    condition_broadcast(&world.changed);
    while (!anything_waits() && !s->woken && in_time)
        in_time = condition_wait_until(&world.changed, &world.lock, deadline);
    s->woken = false;
    mutex_unlock(&world.lock);
    return in_time ? MR_OK : MR_E_TIMEOUT;
}

void slot_wake(slot *s)
{
    mutex_lock(&world.lock);
    s->woken = true;
    condition_broadcast(&world.changed);
    mutex_unlock(&world.lock);
}

int slot_handle(slot *s, enum slot_handle_kind kind, os_handle *handle)
{
    (void) s, (void) kind;
    *handle = HANDLE_NONE;
    return MR_E_UNSUPPORTED;
}

void slot_signal(slot *s, bool takeable, bool paused)
{
    (void) s;
    mutex_lock(&world.lock);
    world.counts.takeable = takeable;
    world.counts.paused = paused;
    mutex_unlock(&world.lock);
}

/* ---- names and what is seen ---- */

int slot_rename(slot *s, const struct slot_name *name)
{
    (void) name;
    mutex_lock(&world.lock);
    uint64_t taking = s->taking;
    CHECK(taking == 0 || taking == thread_self()); /* inside deliver */
    s->taking = thread_self();
    world.counts.renames++;
    mutex_unlock(&world.lock);
    mutex_lock(&world.lock);
    s->taking = taking;
    mutex_unlock(&world.lock);
    return MR_OK;
}

void slot_rename_finish(slot *s)
{
    (void) s;
}

void slot_get_counts(slot *s, struct slot_counts *counts)
{
    (void) s;
    /* Numbers that tell each field from every other. */
    *counts = (struct slot_counts){.connections = 3,
                                   .rings = 2,
                                   .ring_bytes = 4096,
                                   .dropped_by_writers = 5,
                                   .redelivered = 6,
                                   .doorbells = 7,
                                   .waits = 8,
                                   .unacknowledged = 9};
}

void slot_waiting(slot *s, uint64_t *count, uint64_t *next)
{
    (void) s;
    *count = 0;
    *next = UINT64_MAX;
}

void slot_publish(slot *s, const struct slot_figures *figures)
{
    (void) figures;
    mutex_lock(&world.lock);
    CHECK(world.slot == s);
    world.counts.publishes++;
    mutex_unlock(&world.lock);
}

void slot_publish_writers(slot *s)
{
    (void) s;
}
