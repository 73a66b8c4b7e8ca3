/* mailslot_windows.c: a slot on Windows: a mailslot for each level, read overlapped.
 *
 * Path    writer > the system's queue > the read under way on that mailslot (or the next one, in place) > slot_take > deliver
 *         With a port a completed read is a packet, without one the event `arrived`.
 *
 * The plain name carries level 0. A level above has a companion, NAME\~LEVEL, to which writers of this library send; programs
 * that know nothing of it write to the plain name. Companions are looked at first, so urgent messages pass all others that
 * wait in the system.
 *
 * Owners  Lanes that are IDLE or DONE, and their buffers: the thread inside slot_take or slot_rename, which exclude each
 *         other. All states, flags and counters: the lock. A retired lane: who finds it with nothing under way, its handler
 *         or slot_rename.
 * I1      A lane leaves slot_take IDLE (the budget is spent: no read is started) or PENDING (it was found empty: the read
 *         that found nothing stays, and is the arming). So slot_arm has nothing to start, and whatever arrived since the
 *         last look is a DONE lane, which it sees.
 * I2      on_ready is called by whoever clears `armed`, once per slot_arm.
 * I3      Nothing is closed or freed while a read is under way: slot_settle and the ends of retired lanes wait for the packets.
 *         The system writes into the buffer of a read whose handle was closed.
 * I4      The plain name is created first and closed first: while a companion exists and the plain name is ours, nobody else
 *         can have it. A writer that comes between the two finds no companion and takes the plain name.
 * I5      After 64 messages in a row from companions one is taken from below, the lanes there in turn.
 * I6      With an old name ending (`retiring`) nothing is taken of the new one: what was sent to the old name comes first.
 * I7      When the budget is used up companions alone are served, as far as its share for urgent messages goes.
 * I8      Without a port: every completion that is looked at is followed by a read that resets `arrived` or by a look at all
 *         lanes, so at the end of slot_take the event is set only if something has completed since.
 * Locks   The pool is not called with the lock held: it may call back into a reader, which calls slot_signal.
 */
#include "slots/mailslot_windows.h"

#include <string.h>

#include "queue/memory.h"
#include "queue/status.h"
#include "slots/security_windows.h"
#include "slots/slot_message.h"

#define STREAK_MAX 64u

/* Of what comes to an old name while it is being emptied so many looks are still given; a flood must not keep it for ever. */
#define RETIRE_MORE 1024u

/* ---- opening ---- */

static void lanes_destroy(struct lane **lanes, unsigned levels)
{
    for (unsigned level = 0; level < levels; level++) {
        if (lanes[level] != NULL)
            (void) lane_destroy(lanes[level]);
        lanes[level] = NULL;
    }
}

/* I4 */
static int lanes_create(struct lane **lanes, slot *s, const struct slot_name *name)
{
    for (unsigned level = 0; level < s->levels; level++) {
        int status = lane_create(&lanes[level], s, name, level);
        if (status != MR_OK) {
            lanes_destroy(lanes, level);
            return status;
        }
    }
    return MR_OK;
}

static int slot_open_events(slot *s)
{
    s->arrived = CreateEventW(NULL, TRUE, FALSE, NULL);
    s->wake = CreateEventW(NULL, FALSE, FALSE, NULL);
    if (s->arrived != NULL && s->wake != NULL)
        return MR_OK;
    return status_fail(MR_E_SYSTEM, GetLastError(), "cannot make the slot's events: error %lu", GetLastError());
}

static void slot_free(slot *s)
{
    section_close(s->section);
    if (s->arrived != NULL)
        CloseHandle(s->arrived);
    if (s->wake != NULL)
        CloseHandle(s->wake);
    LocalFree(s->security);
    condition_destroy(&s->changed);
    mutex_destroy(&s->lock);
    memory_free(s);
}

int slot_open(slot **out, const struct slot_config *config)
{
    slot *s = memory_zalloc(sizeof *s);
    if (s == NULL)
        return status_fail_plain(MR_E_MEMORY);
    s->pool = config->pool;
    s->deliver = config->deliver;
    s->on_ready = config->on_ready;
    s->context = config->context;
    s->max_message = config->options->max_message;
    s->levels = config->options->levels;
    s->port = config->port;
    mutex_init(&s->lock);
    condition_init(&s->changed);
    int status = security_make(&s->security, config->options);
    if (status == MR_OK && s->port == NULL)
        status = slot_open_events(s);
    if (status == MR_OK)
        status = lanes_create(s->lane, s, config->name);
    if (status != MR_OK) {
        slot_free(s);
        return status;
    }
    s->section = section_create(config->name, s->max_message);
    *out = s;
    return MR_OK;
}

/* ---- all lanes together; with the lock held ---- */

static void lanes_cancel(slot *s)
{
    for (unsigned level = 0; level < s->levels; level++)
        lane_cancel(s->lane[level]);
}

/* Is there anything but reads under way? */
static bool lanes_ready(slot *s)
{
    bool ready = s->kept_first != NULL;
    for (unsigned level = 0; level < s->levels; level++) {
        lane_poll(s->lane[level]);
        ready = ready || s->lane[level]->state != LANE_PENDING;
    }
    return ready;
}

/* Sets the event or resets it. While paused no read is under way that could set it. Nobody takes. */
static void event_update(slot *s)
{
    if (s->paused)
        lanes_cancel(s);
    ResetEvent(s->arrived);
    if (s->takeable || (!s->paused && lanes_ready(s))) /* what completes after this look sets it */
        SetEvent(s->arrived);
}

/* ---- taking ---- */

/* Something can be done with it: look at a result, or read. With the lock held. */
static bool lane_usable(const struct lane *lane)
{
    if (lane->state == LANE_IDLE && lane->retry_at != 0)
        return clock_now() >= lane->retry_at;
    return lane->state != LANE_PENDING;
}

/* The lane of `from` or a higher level to serve next; NULL: all of them wait. With the lock held. */
static struct lane *lane_pick(slot *s, unsigned from)
{
    struct lane *picked = NULL;
    for (unsigned level = from; level < s->levels; level++) {
        lane_poll(s->lane[level]);
        if (lane_usable(s->lane[level]))
            picked = s->lane[level]; /* the highest */
    }
    for (unsigned i = 0; i < s->levels && s->streak >= STREAK_MAX && from == 0; i++) { /* I5 */
        unsigned level = (s->next_lower + i) % s->levels;
        if (lane_usable(s->lane[level])) {
            s->next_lower = (level + 1) % s->levels;
            return s->lane[level];
        }
    }
    return picked;
}

/* For messages of every level. */
static bool budget_spent(const struct slot_budget *budget)
{
    return budget->messages == 0 || budget->bytes == 0 || budget->stop;
}

/* For urgent ones too (I7). */
static bool budget_over(const struct slot_budget *budget)
{
    return budget->stop || (budget_spent(budget) && budget->urgent == 0);
}

static void budget_spend(struct slot_budget *budget, size_t bytes)
{
    if (budget_spent(budget)) {
        budget->urgent -= budget->urgent > 0;
        return;
    }
    budget->messages--;
    budget->bytes = bytes < budget->bytes ? budget->bytes - bytes : 0;
}

static void slot_deliver(slot *s, struct buffer *message, struct slot_budget *budget)
{
    budget_spend(budget, message->length);
    (void) s->deliver(s->context, message);
}

/* What an old name left (I6). */
static void kept_deliver(slot *s, struct slot_budget *budget)
{
    while (!budget_spent(budget)) {
        mutex_lock(&s->lock);
        struct queue_node *node = s->kept_first;
        if (node != NULL)
            s->kept_first = node->next;
        mutex_unlock(&s->lock);
        if (node == NULL)
            return;
        struct slot_message *message =
            (struct slot_message *) (void *) ((char *) node - offsetof(struct slot_message, node));
        slot_deliver(s, slot_message_buffer(message), budget);
    }
}

/* Looks at one lane's result, or starts a read on it. */
static enum lane_result lane_serve(slot *s, struct lane *lane, struct pool_cache *cache, struct slot_budget *budget,
                                   size_t *wanted)
{
    if (lane->state == LANE_IDLE) { /* it is ours, and stays so until we start something */
        if (lane_prepare(lane, cache, wanted) == LANE_STARVED)
            return LANE_STARVED;
        mutex_lock(&s->lock);
        lane->retry_at = 0;
        lane_start(lane);
        bool pending = lane->state == LANE_PENDING;
        mutex_unlock(&s->lock);
        if (pending)
            return LANE_NOTHING;
    }
    struct buffer *message;
    enum lane_result result = lane_result(lane, cache, &message, wanted);
    if (result == LANE_MESSAGE) {
        s->streak = lane->level > 0 ? s->streak + 1 : 0;
        slot_deliver(s, message, budget);
    } else if (result == LANE_FAILED) {
        budget_spend(budget, 0);
    }
    return result;
}

static enum slot_taken lanes_serve(slot *s, struct pool_cache *cache, struct slot_budget *budget, size_t *wanted)
{
    kept_deliver(s, budget);
    while (!budget_over(budget)) {
        bool spent = budget_spent(budget);
        mutex_lock(&s->lock);
        bool kept = s->kept_first != NULL;
        bool old = s->retiring > 0 || (kept && spent); /* I6 */
        struct lane *lane = old ? NULL : lane_pick(s, spent);
        mutex_unlock(&s->lock);
        if (kept && !spent)
            kept_deliver(s, budget); /* an old name has ended just now */
        else if (lane == NULL)
            return spent ? SLOT_MORE : SLOT_EMPTY;
        else if (lane_serve(s, lane, cache, budget, wanted) == LANE_STARVED)
            return SLOT_STARVED;
    }
    return SLOT_MORE;
}

enum slot_taken slot_take(slot *s, struct pool_cache *cache, struct slot_budget *budget, size_t *wanted)
{
    mutex_lock(&s->lock);
    s->taking = true;
    mutex_unlock(&s->lock);
    enum slot_taken taken = lanes_serve(s, cache, budget, wanted);
    mutex_lock(&s->lock);
    s->taking = false;
    if (s->handed)
        event_update(s);
    mutex_unlock(&s->lock);
    return taken;
}

/* ---- with a port ---- */

bool slot_arm(slot *s)
{
    mutex_lock(&s->lock);
    bool waits = s->kept_first == NULL;
    for (unsigned level = 0; level < s->levels && s->retiring == 0; level++)
        waits = waits && s->lane[level]->state == LANE_PENDING; /* I1 */
    s->armed = waits;
    mutex_unlock(&s->lock);
    return waits;
}

void slot_cancel(slot *s)
{
    mutex_lock(&s->lock);
    if (s->armed)
        lanes_cancel(s);
    mutex_unlock(&s->lock);
}

bool slot_settle(slot *s)
{
    mutex_lock(&s->lock);
    lanes_cancel(s);
    s->settling = s->armed = s->pending > 0;
    bool settled = !s->settling;
    mutex_unlock(&s->lock);
    return settled;
}

/* ---- old names ---- */

/* Takes what is in a retired mailslot, and closes it. False: a read turned out to be under way, its packet goes on. */
static bool lane_retire(slot *s, struct lane *lane)
{
    struct queue_node *first = NULL, *last = NULL;
    bool going_on = true;
    uint64_t next;
    size_t wanted;
    uint64_t looks =
        4 * lane_waiting(lane, &next) + RETIRE_MORE; /* a message may take several: a larger buffer first */
    while (going_on && looks-- > 0 && (lane->state == LANE_DONE || lane_waiting(lane, &next) > 0)) {
        struct buffer *message = NULL;
        if (lane->state == LANE_IDLE) {
            if (lane_prepare(lane, NULL, &wanted) == LANE_STARVED)
                break;
            mutex_lock(&s->lock);
            lane_start(lane);
            lane_cancel(lane); /* should it be under way after all: nobody may ever write to the old name again */
            going_on = lane->state == LANE_DONE;
            mutex_unlock(&s->lock);
        }
        enum lane_result result = going_on ? lane_result(lane, NULL, &message, &wanted) : LANE_NOTHING;
        if (result == LANE_STARVED || result == LANE_FAILED)
            break;
        if (result == LANE_MESSAGE) {
            struct queue_node *node = &slot_message_of(message)->node;
            node->next = NULL;
            *(first == NULL ? &first : &last->next) = node;
            last = node;
        }
    }
    uint64_t lost = going_on ? lane_destroy(lane) : 0;
    atomic_fetch_add_explicit(&s->counts.dropped_unread, lost, memory_order_relaxed);
    mutex_lock(&s->lock);
    if (first != NULL) {
        *(s->kept_first == NULL ? &s->kept_first : &s->kept_last->next) = first;
        s->kept_last = last;
    }
    mutex_unlock(&s->lock);
    return going_on;
}

void slot_lane_completed(slot *s, struct lane *lane)
{
    mutex_lock(&s->lock);
    lane->state = LANE_DONE;
    bool retired = lane->retired;
    if (retired) {
        mutex_unlock(&s->lock);
        retired = lane_retire(s, lane); /* false: its read counts as another one */
        mutex_lock(&s->lock);
        s->retiring -= retired;
        if (s->retiring == 0)
            condition_broadcast(&s->changed);
    }
    s->pending--;
    bool ready = s->armed && s->retiring == 0 && (!s->settling || s->pending == 0);
    if (ready)
        s->armed = false; /* I2 */
    mutex_unlock(&s->lock);
    if (ready)
        s->on_ready(s->context);
}

int slot_rename(slot *s, const struct slot_name *name)
{
    struct lane *old[MR_LEVELS_MAX], *next[MR_LEVELS_MAX] = {NULL};
    int status = lanes_create(next, s, name);
    if (status != MR_OK)
        return status;
    section_close(s->section); /* from here on writers of this library know that the old name is gone */
    mutex_lock(&s->lock);
    unsigned ended = 0;
    for (unsigned level = 0; level < s->levels; level++) { /* the plain name first (I4) */
        struct lane *lane = s->lane[level];
        lane->retired = true;
        lane_cancel(lane);
        if (lane->state == LANE_PENDING)
            s->retiring++; /* its handler goes on */
        else
            old[ended++] = lane;
        s->lane[level] = next[level];
    }
    s->retiring += ended; /* until they are closed */
    mutex_unlock(&s->lock);
    for (unsigned i = 0; i < ended; i++) {
        bool closed = lane_retire(s, old[i]);
        mutex_lock(&s->lock);
        s->retiring -= closed;
        mutex_unlock(&s->lock);
    }
    s->section = section_create(name, s->max_message);
    mutex_lock(&s->lock);
    if (s->handed)
        event_update(s);
    mutex_unlock(&s->lock);
    return MR_OK;
}

void slot_rename_finish(slot *s)
{
    if (s->port == NULL)
        return;
    mr_port_wait_begin(); /* the packets of the old name's reads need a worker */
    mutex_lock(&s->lock);
    while (s->retiring > 0)
        condition_wait(&s->changed, &s->lock);
    mutex_unlock(&s->lock);
    mr_port_wait_end();
}

/* ---- without a port ---- */

/* The system waits in whole milliseconds: rounded up, in parts. */
static DWORD wait_milliseconds(uint64_t deadline)
{
    if (deadline == CLOCK_NEVER)
        return INFINITE;
    uint64_t now = clock_now();
    if (deadline <= now)
        return 0;
    uint64_t milliseconds = (deadline - now - 1) / 1000000u + 1;
    return milliseconds > INT32_MAX ? INT32_MAX : (DWORD) milliseconds;
}

/* When the first lane that pauses goes on; at most `deadline`. */
static uint64_t wait_until(slot *s, uint64_t deadline)
{
    mutex_lock(&s->lock);
    for (unsigned level = 0; level < s->levels; level++) {
        const struct lane *lane = s->lane[level];
        if (lane->state == LANE_IDLE && lane->retry_at != 0 && lane->retry_at < deadline)
            deadline = lane->retry_at;
    }
    mutex_unlock(&s->lock);
    return deadline;
}

int slot_wait(slot *s, uint64_t deadline)
{
    HANDLE events[2] = {s->wake, s->arrived};
    uint64_t until = wait_until(s, deadline);
    for (;;) {
        DWORD woken = WaitForMultipleObjects(2, events, FALSE, wait_milliseconds(until));
        if (woken == WAIT_FAILED)
            return status_fail(MR_E_SYSTEM, GetLastError(), "cannot wait for the slot: error %lu", GetLastError());
        if (woken != WAIT_TIMEOUT)
            return MR_OK;
        if (until != CLOCK_NEVER && clock_now() >= until)
            return until == deadline ? MR_E_TIMEOUT : MR_OK;
    }
}

void slot_wake(slot *s)
{
    if (s->wake != NULL)
        SetEvent(s->wake);
}

int slot_handle(slot *s, enum slot_handle_kind kind, os_handle *handle)
{
    if (kind != SLOT_HANDLE_EVENT)
        return status_fail(MR_E_UNSUPPORTED, 0, "Windows has no descriptors; use mr_reader_event");
    mutex_lock(&s->lock);
    s->handed = true;
    if (!s->taking)
        event_update(s);
    mutex_unlock(&s->lock);
    *handle = (os_handle) s->arrived;
    return MR_OK;
}

void slot_signal(slot *s, bool takeable, bool paused)
{
    if (s->port != NULL)
        return;
    mutex_lock(&s->lock);
    s->takeable = takeable;
    s->paused = paused;
    if (s->handed && !s->taking)
        event_update(s);
    mutex_unlock(&s->lock);
}

/* ---- what is seen of it, and the end ---- */

void slot_get_counts(slot *s, struct slot_counts *counts)
{
    *counts = (struct slot_counts){
        .dropped_too_big = atomic_load_explicit(&s->counts.dropped_too_big, memory_order_relaxed),
        .dropped_unread = atomic_load_explicit(&s->counts.dropped_unread, memory_order_relaxed),
    };
}

void slot_waiting(slot *s, uint64_t *count, uint64_t *next)
{
    *count = 0;
    *next = UINT64_MAX;
    mutex_lock(&s->lock);
    for (unsigned level = 0; level < s->levels; level++) {
        struct lane *lane = s->lane[level];
        if (!s->taking)
            lane_poll(lane);
        uint64_t size = UINT64_MAX, waiting = lane_waiting(lane, &size);
        if (lane->state == LANE_DONE && !lane->pausing && lane->operation.status == MR_OK) {
            size = lane->operation.bytes;
            waiting++;
        }
        *count += waiting;
        if (waiting > 0)
            *next = size; /* the highest level's */
    }
    for (const struct queue_node *node = s->kept_first; node != NULL; node = node->next) {
        const struct slot_message *message =
            (const struct slot_message *) (const void *) ((const char *) node - offsetof(struct slot_message, node));
        if (node == s->kept_first)
            *next = message->public.length;
        ++*count;
    }
    mutex_unlock(&s->lock);
}

void slot_publish(slot *s, const struct slot_figures *figures)
{
    /* Not what waits in the system: to ask costs a call for each mailslot, and on some systems (Wine) the longer the more
     * there is. */
    if (s->section != NULL)
        statistics_page_publish(section_page(s->section), figures);
}

/* The system does not tell who writes. */
void slot_publish_writers(slot *s)
{
    (void) s;
}

void slot_close(slot *s, bool in_child, uint64_t *lost)
{
    (void) in_child; /* Windows does not fork */
    *lost = 0;
    section_close(s->section);
    s->section = NULL;
    mutex_lock(&s->lock);
    if (s->port == NULL)
        lanes_cancel(s); /* with one, slot_settle has seen to it */
    struct queue_node *node = s->kept_first;
    mutex_unlock(&s->lock);
    for (unsigned level = 0; level < s->levels; level++)
        *lost += lane_destroy(s->lane[level]); /* I4 */
    for (struct queue_node *next; node != NULL; node = next, ++*lost) {
        next = node->next;
        struct slot_message *message =
            (struct slot_message *) (void *) ((char *) node - offsetof(struct slot_message, node));
        buffer_release(slot_message_buffer(message), NULL);
    }
    slot_free(s);
}

/* A companion that is IDLE has perhaps something: a read will tell, and is under way from then on. */
bool slot_urgent(slot *s)
{
    bool urgent = false;
    mutex_lock(&s->lock);
    for (unsigned level = 1; level < s->levels && s->retiring == 0 && s->kept_first == NULL; level++) { /* I6 */
        lane_poll(s->lane[level]);
        urgent = urgent || lane_usable(s->lane[level]);
    }
    mutex_unlock(&s->lock);
    return urgent;
}

/* ---- this lane does not acknowledge, and knows no writers ---- */

bool slot_holds(slot *s)
{
    (void) s;
    return false;
}

void slot_acknowledge(const struct slot_token *token)
{
    (void) token;
}

bool slot_kept(const struct slot_token *token)
{
    (void) token;
    return false;
}

size_t slot_writers(slot *s, mr_reader_writer *writers, size_t room)
{
    (void) s, (void) writers, (void) room;
    return 0;
}
