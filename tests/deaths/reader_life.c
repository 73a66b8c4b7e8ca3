/* reader_life.c: a reader's process: notes what is delivered, in one of the ways in which a slot can be read.
 *
 * Path    on_message or mr_reader_receive_many > board_deliver > (by hand: the hand's list > its thread > acknowledged)
 * Owners  The sight: whoever delivers, one at a time. The list of the hand: its lock.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "deaths.h"
#include "queue/buffer_pool.h"
#include "queue/kill_point.h"
#include "slots/reader_private.h"
#include "test_nap.h"

enum { HAND = 32, LATE_NS = 500000, CHANGE_MS = 2, SLOW_EVERY = 128, SETTLE_MS = 2000 };

/* Acknowledges later, the last one first. */
struct hand {
    mutex lock;
    condition changed;
    const mr_message *held[HAND];
    unsigned count;
    bool stop;
    thread thread;
};

struct life {
    struct board *board;
    const struct plan *plan;
    struct reader_sight sight;
    struct hand hand;
    uint64_t slow;
};

static struct life self;

static void deliver(const mr_message *message)
{
    board_deliver(self.board, &self.sight, message, self.plan->traffic == TRAFFIC_DROPS);
    KILL_POINT(reader, callback);
    if (++self.slow % SLOW_EVERY == 0)
        test_nap(200000); /* so that writers come to wait */
}

/* ---- by hand ---- */

static void hand_run(void *argument)
{
    struct hand *hand = argument;
    mutex_lock(&hand->lock);
    while (!hand->stop || hand->count > 0) {
        uint64_t until = clock_now() + LATE_NS;
        while (hand->count == 0 && !hand->stop)
            condition_wait(&hand->changed, &hand->lock);
        while (hand->count < HAND && !hand->stop && condition_wait_until(&hand->changed, &hand->lock, until)) {}
        for (; hand->count > 0; hand->count--) {
            CHECK_STATUS(mr_message_acknowledge(hand->held[hand->count - 1]), MR_OK);
            mr_message_release(hand->held[hand->count - 1]);
        }
        condition_broadcast(&hand->changed);
    }
    mutex_unlock(&hand->lock);
}

static void hand_take(struct hand *hand, const mr_message *message)
{
    mutex_lock(&hand->lock);
    while (hand->count == HAND)
        condition_wait(&hand->changed, &hand->lock);
    hand->held[hand->count++] = mr_message_retain(message);
    condition_broadcast(&hand->changed);
    mutex_unlock(&hand->lock);
}

static void on_message(mr_reader *reader, const mr_message *message, void *context)
{
    (void) reader;
    (void) context;
    deliver(message);
    if (self.plan->traffic == TRAFFIC_BY_HAND)
        hand_take(&self.hand, message);
}

/* ---- the slot ---- */

static mr_reader *life_open(mr_port *bound)
{
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    if (self.plan->traffic != TRAFFIC_CALLS) {
        options.port = bound;
        options.on_message = on_message;
    }
    options.acknowledge_by_hand = self.plan->traffic == TRAFFIC_BY_HAND;
    options.acknowledge_window = 64;
    mr_reader *reader;
    memset(&self.sight, 0, sizeof self.sight);
    CHECK_STATUS(mr_reader_open(&reader, SLOT_NAME, &options), MR_OK);
    return reader;
}

/* Unread messages are their writer's to keep, and nothing is lost; those of one that has died before they were read are
 * nobody's. */
static void life_reopen(mr_reader **reader, mr_port *bound)
{
    uint64_t lost;
    int status = mr_reader_close(*reader, &lost);
    if (status == MR_E_UNREAD && self.plan->victim_is_writer && self.plan->kill != NULL)
        atomic_fetch_add(&self.board->unread, lost);
    else
        CHECK_STATUS(status, MR_OK);
    *reader = life_open(bound);
}

static void life_change(mr_reader **reader, mr_port *bound, uint64_t change)
{
    if (change % 2 == 0) {
        CHECK_STATUS(mr_reader_rename(*reader, SLOT_OTHER_NAME), MR_OK);
        CHECK_STATUS(mr_reader_rename(*reader, SLOT_NAME), MR_OK);
    } else {
        life_reopen(reader, bound);
    }
}

static void life_read(mr_reader *reader)
{
    const mr_message *messages[16];
    size_t count = 0;
    int status = mr_reader_receive_many(reader, messages, 16, &count, 1);
    CHECK_MSG(status == MR_OK || status == MR_E_TIMEOUT, "receive: %s", mr_last_error_text());
    for (size_t n = 0; n < count; n++)
        deliver(messages[n]);
    for (size_t n = 0; n < count; n++)
        mr_message_release(messages[n]);
}

/* Waits until so many writers are connected and nothing is unacknowledged, and notes what is held then. */
static void life_note(mr_reader *reader, unsigned writers)
{
    for (uint64_t end = clock_deadline(GUARD_MS);;) {
        mr_reader_statistics s = {.size = sizeof s};
        struct pool_statistics pool;
        CHECK_STATUS(mr_reader_get_statistics(reader, &s), MR_OK);
        pool_statistics(reader->pool, &pool);
        struct holdings *holdings = &self.board->reader;
        holdings->pool_used = pool.bytes_in_use;
        holdings->pool_charged = pool.bytes_charged;
        if (s.rings == writers && s.unacknowledged == 0 && pool.bytes_in_use == 0)
            break;
        CHECK_MSG(clock_now() < end, "%llu rings (of %u), %llu unacknowledged, %zu bytes in use",
                  (unsigned long long) s.rings, writers, (unsigned long long) s.unacknowledged, pool.bytes_in_use);
        if (self.plan->traffic == TRAFFIC_CALLS)
            life_read(reader); /* sessions end where somebody reads */
        else
            test_nap(500000);
    }
    /* The janitor closes on a thread of its own; a memfd that stays is a leak. */
    uint64_t end = clock_deadline(SETTLE_MS);
    for (holdings_note(&self.board->reader); self.board->reader.memories > 0 && clock_now() < end;) {
        test_nap(500000);
        holdings_note(&self.board->reader);
    }
}

/* What the test says next; SAID_OPEN: nothing now. */
static enum saying life_hear(int socket, int timeout_ms)
{
    struct pollfd polled = {.fd = socket, .events = POLLIN};
    return poll(&polled, 1, timeout_ms) > 0 ? hear(socket) : SAID_OPEN;
}

void reader_life(struct board *board, const struct plan *plan, int socket)
{
    bool calls = plan->traffic == TRAFFIC_CALLS;
    bool changes = plan->traffic == TRAFFIC_CHANGES;
    self.board = board;
    self.plan = plan;
    mr_port *bound = NULL;
    mr_port_options options = MR_PORT_OPTIONS_INIT;
    options.concurrency = 2;
    options.workers_max = 2;
    if (!calls)
        CHECK_STATUS(mr_port_open(&bound, &options), MR_OK);
    if (plan->traffic == TRAFFIC_BY_HAND) {
        mutex_init(&self.hand.lock);
        condition_init(&self.hand.changed);
        CHECK_STATUS(thread_start(&self.hand.thread, "hand", hand_run, &self.hand), MR_OK);
    }
    mr_reader *reader = life_open(bound);
    say(socket, SAID_OPEN);
    for (uint64_t change = 0;;) {
        enum saying said = life_hear(socket, calls ? 0 : changes ? CHANGE_MS : -1);
        if (said == SAY_QUIT)
            break;
        if (said == SAY_NOTE || said == SAY_STAY) {
            if (changes && change == 0)
                life_change(&reader, bound, change++); /* takes over the other name from one that died with it */
            changes = false;
            if (said == SAY_NOTE)
                life_note(reader, (unsigned) hear(socket) - '0');
            say(socket, SAID_NOTED);
        } else if (calls) {
            life_read(reader);
        } else if (changes) {
            life_change(&reader, bound, change++);
        }
    }
    if (plan->traffic == TRAFFIC_BY_HAND) {
        mutex_lock(&self.hand.lock);
        self.hand.stop = true;
        condition_broadcast(&self.hand.changed);
        mutex_unlock(&self.hand.lock);
        thread_join(self.hand.thread);
    }
    CHECK_STATUS(mr_reader_close(reader, NULL), MR_OK);
    CHECK_STATUS(mr_port_close(bound), MR_OK);
    _exit(0);
}
