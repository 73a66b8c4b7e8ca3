/* reader_turn.c: a reader with on_message: its turns on the port's workers.
 *
 * Path    on_ready or posted packet > turn_run: take a share (on_message directly for a ring's messages) > on_message
 *         for each in the queue > idle (armed), ready (posted), …
 * Owners  The turn: whoever runs it (TURN_RUNNING); in every other state the one thing that leads out of it.
 *
 * Why no wake-up is lost. A slot leaves a worker idle or ready, and there is no third way but to wait for memory or
 * for resume, each with its own waker:
 * I1      Idle (TURN_ARMED) only after slot_take said SLOT_EMPTY and the queue is empty; slot_arm then completes also
 *         for what came between that look and the arming.
 * I2      Ready (TURN_POSTED) whenever anything is left, in the queue or (SLOT_MORE) in the lanes. The packet is in the
 *         port's run queue behind everybody else's, and is not taken out without turn_run.
 * I3      State and action (arm, post, register, park) change under one hold of the lock, so whoever sees the state
 *         knows that the action has been taken: turn_end can cancel an arming, turn_resume can post a parked turn.
 *         For this the waiter's callback takes no lock of the reader's: it only posts.
 * I4      Only the thread in TURN_RUNNING touches the reader after leaving the lock; having left the state, it does
 *         not.
 * I5      One turn at a time, one callback at a time within it: so messages reach on_message in order.
 * I6      Urgent first: before each message of the queue the lanes are asked whether they have an urgent one, unless
 *         the queue has one itself. After those that are then taken, at most a share, one of the queue passes.
 * I7      A turn takes at most a share, and delivers at most a share of what waits; then further shares, until TURN_NS
 *         have passed, or TURN_ALONE_NS with nobody waiting in the port: the way through the port costs as much as some
 *         dozens of messages. A share of slow callbacks is the last one.
 *         What is found empty while others wait goes round with them a few times before it is put to sleep (SLOT_QUIET,
 *         which is I2's: ready).
 * I8      While the pool refuses memory for normal messages the lanes are asked for urgent ones every STARVED_LOOK_NS,
 *         because memory is kept for those. So two things may lead out of TURN_STARVED: the waiter's packet and the
 *         look. Whichever comes first takes the other back, or leaves the turn to it; a look that comes too late finds
 *         another state. The turn does not end before the look has (turn_look_ended).
 */
#include "slots/process.h"
#include "slots/reader_private.h"

/* I2, with the lock held. */
static void turn_posted(mr_reader *reader, int status)
{
    /* Not posted: the port is being closed under an open reader, and nothing will run any more. */
    reader->turn = status == MR_OK ? TURN_POSTED : TURN_PARKED;
}

static void turn_post(mr_reader *reader)
{
    turn_posted(reader, port_post(reader->backend, &reader->posted));
}

/* I1, with the lock held. */
static void turn_arm(mr_reader *reader)
{
    reader->turn = TURN_ARMED;
    if (!slot_arm(reader->slot))
        turn_post(reader);
}

void turn_start(mr_reader *reader)
{
    mutex_lock(&reader->lock);
    turn_arm(reader);
    mutex_unlock(&reader->lock);
}

/* Hands messages of the queue to on_message, at most a turn's share, urgent ones first, also those that come meanwhile
 * (I6); with the lock held, free during the callbacks. */
static void turn_deliver(mr_reader *reader, struct pool_cache *cache)
{
    size_t bytes = 0, wanted;
    for (size_t left = TURN_MESSAGES; left > 0 && bytes < TURN_BYTES && !reader_halted(reader);) {
        if (reader->queue.messages > 0 && !reader->taking && reader_sees_urgent(reader)) {
            uint64_t before = atomic_load_explicit(&reader->direct_messages, memory_order_relaxed);
            (void) reader_take_urgent(reader, cache, left, &wanted);
            uint64_t urgent = atomic_load_explicit(&reader->direct_messages, memory_order_relaxed) - before;
            left -= urgent < left ? (size_t) urgent : left - 1; /* one of the queue always passes */
            if (reader_halted(reader))
                return;
        }
        struct queue_node *node = queue_pop(&reader->queue);
        if (node == NULL)
            return;
        struct slot_message *message = message_of_node(node);
        bytes += message->public.length;
        left--;
        reader->delivered++;
        mutex_unlock(&reader->lock);
        reader->on_message(reader, &message->public, reader->context);
        buffer_release(slot_message_buffer(message), cache);
        mutex_lock(&reader->lock);
    }
}

/* The reader was closed inside its own callback: this is after it. */
static void turn_finish(mr_reader *reader)
{
    mr_reader_on_closed on_closed = reader->on_closed;
    void *context = reader->context;
    uint64_t lost = reader_finish(reader);
    if (on_closed != NULL)
        on_closed(reader, lost, context);
}

/* I8 */
static void turn_look(mr_reader *reader)
{
    if (!reader->looking)
        reader->looking = port_set_deadline(reader->backend, &reader->look, clock_now() + STARVED_LOOK_NS) ==
                          STARTED_PENDING; /* else the port is being closed under an open reader */
}

static void turn_starve(mr_reader *reader, size_t wanted)
{
    reader->turn = TURN_STARVED;
    if (!pool_wait(reader->pool, &reader->waiter, wanted, false)) {
        turn_post(reader); /* the memory is there already */
        return;
    }
    reader->asked = true;
    turn_look(reader);
}

/* Before the end: is the look out of the port? If not, it comes now, and leads on from TURN_STARVED. */
static bool turn_look_ended(mr_reader *reader)
{
    if (!reader->looking)
        return true;
    reader->turn = TURN_STARVED;
    port_cancel(reader->backend, &reader->look);
    return false;
}

/* Leaves the turn, and the lock. */
static void turn_leave(mr_reader *reader, enum slot_taken taken, size_t wanted)
{
    if (reader->closing && !turn_look_ended(reader)) {
        mutex_unlock(&reader->lock);
        return;
    }
    if (reader->closing && !slot_settle(reader->slot)) {
        reader->turn = TURN_ARMED; /* on_ready brings us here again */
        mutex_unlock(&reader->lock);
        return;
    }
    if (reader->closing) {
        while (reader->close_after && reader->inside > 0)
            condition_wait(&reader->changed, &reader->lock);
        bool finish = reader->close_after;
        reader->turn = TURN_ENDED;
        condition_broadcast(&reader->changed);
        mutex_unlock(&reader->lock);
        if (finish)
            turn_finish(reader);
        return;
    }
    bool ready = !reader_halted(reader) && (reader->queue.messages > 0 || taken == SLOT_MORE || taken == SLOT_QUIET);
    if (ready)
        reader_publish_sometimes(reader);
    else
        reader_publish(reader);
    if (reader_halted(reader)) {
        reader->turn = TURN_PARKED;
    } else if (ready) {
        turn_posted(reader, port_post_last(reader->backend, &reader->posted));
    } else if (taken == SLOT_STARVED) {
        turn_starve(reader, wanted);
    } else {
        turn_arm(reader);
    }
    mutex_unlock(&reader->lock); /* I4 */
}

/* Another share at once, instead of by way of the port (I7)? Then `now` is the time. */
static bool turn_goes_on(const mr_reader *reader, enum slot_taken taken, uint64_t began, uint64_t *now)
{
    if (reader_halted(reader) || (reader->queue.messages == 0 && taken != SLOT_MORE))
        return false;
    *now = clock_now();
    return *now - began < (port_quiet(reader->backend) ? TURN_ALONE_NS : TURN_NS);
}

/* Until nobody else is taking: a rename on another thread, which is short. */
static void turn_await(mr_reader *reader)
{
    while (reader->taking)
        condition_wait(&reader->changed, &reader->lock);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* When this thread's last turn ended, if nobody waited in the port then; else 0. */
static _Thread_local uint64_t turn_ended;

/* Is what is found empty to be left awake (I7)? */
static bool turn_lingers(const mr_reader *reader, uint64_t began)
{
    if (!port_quiet(reader->backend))
        return reader->quiet_rounds < QUIET_ROUNDS;
    return reader->quiet_rounds == 0 && began - turn_ended < STRAIGHT_NS;
}

/* All that has come so far; with the lock held, nobody taking. */
static uint64_t turn_count(const mr_reader *reader)
{
    return reader->messages + atomic_load_explicit(&reader->direct_messages, memory_order_relaxed);
}

static void turn_run(mr_reader *reader)
{
    struct pool_cache *cache = process_cache_borrow();
    enum slot_taken taken;
    size_t wanted = 0;
    uint64_t began = clock_now();
    uint64_t now = began;
    size_t messages = TURN_MESSAGES;
    size_t bytes = TURN_BYTES;
    mutex_lock(&reader->lock);
    reader->turn = TURN_RUNNING;
    reader->callback_thread = thread_self();
    uint64_t before = turn_count(reader);
    do {
        turn_await(reader);
        taken = SLOT_MORE;
        reader->lingers = turn_lingers(reader, began);
        if (!reader_halted(reader) && reader->queue.messages == 0)
            taken = reader_take(reader, cache, messages, bytes, now, &wanted);
        if (reader->queue.messages > 0) {
            reader_publish(reader); /* what waits is seen while callbacks take their time */
            turn_deliver(reader, cache);
        }
        bool quiet = port_quiet(reader->backend);
        messages = least(2 * messages, quiet ? SHARE_MESSAGES_MOST : SHARE_MESSAGES_BUSY);
        bytes = least(2 * bytes, quiet ? SHARE_BYTES_MOST : TURN_BYTES);
    } while (turn_goes_on(reader, taken, began, &now));
    reader->callback_thread = 0;
    process_cache_return(cache);
    turn_await(reader); /* what follows asks the slot */
    reader->lingers = false;
    reader->quiet_rounds = turn_count(reader) != before ? 0 : reader->quiet_rounds + 1;
    bool quiet = port_quiet(reader->backend);
    turn_leave(reader, taken, wanted);
    turn_ended = quiet ? clock_now() : 0;
}

void turn_on_ready(void *context)
{
    turn_run(context);
}

void turn_on_posted(operation *posted)
{
    mr_reader *reader = (mr_reader *) (void *) ((char *) posted - offsetof(mr_reader, posted));
    mutex_lock(&reader->lock);
    reader->asked = false;
    mutex_unlock(&reader->lock);
    turn_run(reader);
}

/* I8. In another state than TURN_STARVED it is a left-over. */
void turn_on_look(operation *look)
{
    mr_reader *reader = (mr_reader *) (void *) ((char *) look - offsetof(mr_reader, look));
    bool run = false;
    mutex_lock(&reader->lock);
    reader->looking = false;
    if (reader->turn == TURN_STARVED) {
        bool reason = reader->closing || (!reader->taking && reader_sees_urgent(reader));
        if (!reason)
            turn_look(reader);
        else if (!reader->asked || pool_cancel(reader->pool, &reader->waiter))
            run = true; /* else the waiter has posted, and that packet leads on */
        reader->asked = reader->asked && !run;
    }
    mutex_unlock(&reader->lock);
    if (run)
        turn_run(reader);
}

void turn_on_memory(struct pool_waiter *waiter, void *context)
{
    mr_reader *reader = context;
    (void) waiter;
    (void) port_post(reader->backend, &reader->posted); /* still TURN_STARVED, as good as TURN_POSTED */
}

void turn_resume(mr_reader *reader)
{
    if (reader->turn == TURN_PARKED && !reader_halted(reader))
        turn_post(reader);
}

/* Nothing leads out of the present state any more: the end, or first what is under way in the port. */
static void turn_settle(mr_reader *reader)
{
    if (turn_look_ended(reader))
        reader->turn = slot_settle(reader->slot) ? TURN_ENDED : TURN_ARMED;
}

void turn_end(mr_reader *reader)
{
    switch (reader->turn) {
    case TURN_ARMED:
        slot_cancel(reader->slot);
        break;
    case TURN_PARKED:
        turn_settle(reader);
        break;
    case TURN_STARVED:
        if (reader->looking)
            port_cancel(reader->backend, &reader->look);
        else if (pool_cancel(reader->pool, &reader->waiter))
            turn_settle(reader); /* else it has posted */
        break;
    case TURN_POSTED:
    case TURN_RUNNING:
    case TURN_ENDED:
        break; /* the turn sees `closing` */
    }
}
