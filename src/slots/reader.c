/* reader.c: the reader: opening, settings, rename, close.
 *
 * Path    lanes > slot_take > reader_deliver (reader_take.c) > on_message directly, or a batch > the reader's queue
 *         > on_message (reader_turn.c), mr_reader_read or mr_reader_receive (reader_read.c)
 * Owners  `taking` is the right to be inside slot_take or slot_rename, for one thread at a time; the batch and the
 *         counts of direct messages are that thread's. The queue and all flags: the lock. A message in the queue is the
 *         queue's; popped, its popper's; in a direct callback, its lane's.
 * I1      Nothing is taken unless the queue is below both bounds; the message that reaches a bound is the last. So the
 *         queue holds at most queue_messages, and queue_bytes plus one message; and besides, of urgent messages,
 *         URGENT_MESSAGES, and a part of queue_bytes plus one message.
 * I2      Nothing is taken while the reader is paused, stopped or closing (reader_halted).
 * I3      A reader is freed by one thread, after `closing` was set, the turn has ended, and `inside` and `taking` are
 *         clear: nobody else can be between two uses of it.
 * I4      messages == delivered + waiting: nothing leaves the queue but by being delivered, until the close. What does
 *         not go through the queue counts as both at once.
 * I5      In a forked child no lock is touched and nothing changed: another thread of the parent may have been inside.
 * I6      A callback may run inside slot_take, so `taking` may be the calling thread's own, and is then not waited for:
 *         a rename is made in between, a close is left to the turn.
 * I7      What waits unacknowledged when the reader is closed is its writer's again, if that is there still: it is not
 *         lost. All else that waits is.
 * H1      `halted` is stored before mr_reader_pause, _stop and _close return (or wait), and loaded before and after
 *         each direct callback. Relaxed will do: who sends a message after a pause has returned has made the lane pass
 *         on the store with the message. What was there before may be in its callback already, as ever.
 */
#include <string.h>

#include "queue/memory.h"
#include "queue/status.h"
#include "slots/process.h"
#include "slots/reader_private.h"

#define QUEUE_MESSAGES_DEFAULT 1024u
#define QUEUE_BYTES_DEFAULT    ((size_t) 4 << 20)
#define CONNECTIONS_DEFAULT    1024u
#define WINDOW_DEFAULT         4096u
#define WINDOW_MOST            (1u << 20)
#define SPIN_MOST_US           1000u

void mr_reader_options_init(mr_reader_options *options)
{
    *options = (mr_reader_options) MR_READER_OPTIONS_INIT;
}

int reader_check(const mr_reader *reader)
{
    if (reader->generation == process_generation())
        return MR_OK;
    return status_fail_plain(MR_E_FORKED);
}

int reader_usable(const mr_reader *reader, const char *function)
{
    if (reader == NULL)
        return status_fail(MR_E_ARGUMENT, 0, "%s needs a reader", function);
    return reader_check(reader);
}

/* ---- opening ---- */

static int options_check(const mr_reader_options *options)
{
    if (options->size != sizeof *options)
        return status_fail(MR_E_ARGUMENT, 0,
                           "mr_reader_options.size must be the size of the struct "
                           "(MR_READER_OPTIONS_INIT sets it)");
    if (options->on_message != NULL && options->port == NULL)
        return status_fail(MR_E_ARGUMENT, 0, "on_message needs a port whose workers call it");
    if (options->levels > MR_LEVELS_MAX)
        return status_fail(MR_E_ARGUMENT, 0, "a slot has at most %u levels, not %u", MR_LEVELS_MAX, options->levels);
    if (options->timeout_ms == MR_READER_TIMEOUT)
        return status_fail(MR_E_ARGUMENT, 0, "MR_READER_TIMEOUT stands for the reader's time-out and cannot be it");
    if (options->max_message > SIZE_MAX / 2)
        return status_fail(MR_E_ARGUMENT, 0, "max_message is %zu bytes, at most %zu (0: %zu)", options->max_message,
                           SIZE_MAX / 2, MR_MESSAGE_MAX_DEFAULT);
    if (options->acknowledge_window > WINDOW_MOST)
        return status_fail(MR_E_ARGUMENT, 0, "acknowledge_window is %u messages, at most %u (0: %u)",
                           options->acknowledge_window, WINDOW_MOST, WINDOW_DEFAULT);
    if (options->spin_us > SPIN_MOST_US)
        return status_fail(MR_E_ARGUMENT, 0, "spin_us is %u microseconds, at most %u", options->spin_us, SPIN_MOST_US);
    return options->port == NULL ? MR_OK : mr_port_check(options->port);
}

static void options_fill(mr_reader_options *options)
{
    if (options->max_message == 0)
        options->max_message = MR_MESSAGE_MAX_DEFAULT;
    if (options->queue_messages == 0)
        options->queue_messages = QUEUE_MESSAGES_DEFAULT;
    if (options->queue_bytes == 0)
        options->queue_bytes = QUEUE_BYTES_DEFAULT;
    if (options->levels == 0)
        options->levels = MR_LEVELS_DEFAULT;
    if (options->connections_per_uid == 0)
        options->connections_per_uid = CONNECTIONS_DEFAULT;
    if (options->acknowledge_window == 0)
        options->acknowledge_window = WINDOW_DEFAULT;
}

static mr_reader *reader_new(const mr_reader_options *options, const char *display)
{
    mr_reader *reader = memory_zalloc(sizeof *reader);
    if (reader == NULL)
        return NULL;
    struct queue_options queue = {.levels = options->levels,
                                  .policy = QUEUE_POLICY_FAIL,
                                  .messages_max = SIZE_MAX, /* I1 is kept before the taking */
                                  .bytes_max = SIZE_MAX,
                                  .fairness = QUEUE_FAIRNESS_DEFAULT};
    reader->display = memory_strdup(display);
    if (reader->display == NULL || !queue_init(&reader->queue, &queue)) {
        memory_free(reader->display);
        memory_free(reader);
        return NULL;
    }
    reader->generation = process_generation();
    reader->port = options->port;
    reader->on_message = options->on_message;
    reader->on_closed = options->on_closed;
    reader->classify = options->classify;
    reader->context = options->context;
    reader->max_message = options->max_message;
    reader->queue_messages = options->queue_messages;
    reader->queue_bytes = options->queue_bytes;
    reader->levels = options->levels;
    reader->by_hand = options->acknowledge_by_hand != 0;
    reader->timeout_ms = options->timeout_ms;
    reader->turn = TURN_ENDED;
    reader->posted.handler = turn_on_posted;
    reader->look.handler = turn_on_look;
    reader->waiter.context = reader;
    reader->waiter.callback = read_on_memory;
    if (reader->on_message != NULL) {
        reader->backend = mr_port_backend(options->port);
        reader->waiter.callback = turn_on_memory;
    }
    mutex_init(&reader->lock);
    condition_init(&reader->changed);
    return reader;
}

static void reader_free(mr_reader *reader)
{
    condition_destroy(&reader->changed);
    mutex_destroy(&reader->lock);
    memory_free(reader->display);
    memory_free(reader);
}

/* On the heap: a struct slot_name is too large for the stack of a callback. */
static int name_parse_local(struct slot_name **out, const char *text)
{
    if (text == NULL)
        return status_fail(MR_E_ARGUMENT, 0, "a slot needs a name");
    struct slot_name *name = memory_alloc(sizeof *name);
    if (name == NULL)
        return status_fail_plain(MR_E_MEMORY);
    int status = name_parse(name, text);
    if (status == MR_OK && name->kind != SLOT_NAME_LOCAL)
        status = status_fail(MR_E_NAME, 0, "a slot can be created on this machine only: \\\\.\\mailslot\\%s, not %s",
                             name->path, text);
    if (status != MR_OK) {
        memory_free(name);
        return status;
    }
    *out = name;
    return MR_OK;
}

static int reader_open_named(mr_reader **out, const struct slot_name *name, const mr_reader_options *options)
{
    mr_reader *reader = reader_new(options, name->display);
    if (reader == NULL)
        return status_fail_plain(MR_E_MEMORY);
    reader->pool = process_pool();
    struct slot_config config = {.name = name,
                                 .options = options,
                                 .port = reader->backend,
                                 .pool = reader->pool,
                                 .acknowledged_later = reader->on_message == NULL || reader->by_hand,
                                 .deliver = reader_deliver,
                                 .on_ready = turn_on_ready,
                                 .context = reader};
    int status = reader->pool == NULL ? status_fail_plain(MR_E_MEMORY) : slot_open(&reader->slot, &config);
    if (status != MR_OK) {
        reader_free(reader);
        return status;
    }
    if (reader->port != NULL)
        mr_port_bind_reader(reader->port);
    reader_publish(reader);
    *out = reader; /* before the first callback can come */
    if (reader->on_message != NULL)
        turn_start(reader);
    return MR_OK;
}

int mr_reader_open(mr_reader **reader, const char *name, const mr_reader_options *options)
{
    if (reader == NULL)
        return status_fail(MR_E_ARGUMENT, 0, "mr_reader_open needs a place for the reader");
    mr_reader_options filled = MR_READER_OPTIONS_INIT;
    int status = options == NULL ? MR_OK : options_check(options);
    if (status != MR_OK)
        return status;
    if (options != NULL)
        filled = *options;
    options_fill(&filled);
    struct slot_name *parsed = NULL;
    status = name_parse_local(&parsed, name);
    if (status != MR_OK)
        return status;
    status = reader_open_named(reader, parsed, &filled);
    memory_free(parsed);
    return status;
}

/* ---- settings ---- */

int mr_reader_set_timeout(mr_reader *reader, uint32_t timeout_ms)
{
    int status = reader_usable(reader, "mr_reader_set_timeout");
    if (status != MR_OK)
        return status;
    if (timeout_ms == MR_READER_TIMEOUT)
        return status_fail(MR_E_ARGUMENT, 0, "MR_READER_TIMEOUT stands for the reader's time-out and cannot be it");
    mutex_lock(&reader->lock);
    reader->timeout_ms = timeout_ms;
    mutex_unlock(&reader->lock);
    return MR_OK;
}

/* Sets a flag that halts the reader, or clears it. */
static int reader_halt(mr_reader *reader, bool *flag, bool halted)
{
    mutex_lock(&reader->lock);
    *flag = halted;
    reader_update_halted(reader); /* H1 */
    reader_signal(reader);
    condition_broadcast(&reader->changed);
    if (halted && reader->leading)
        slot_wake(reader->slot);
    turn_resume(reader);
    mutex_unlock(&reader->lock);
    return MR_OK;
}

int mr_reader_stop(mr_reader *reader)
{
    int status = reader_usable(reader, "mr_reader_stop");
    return status == MR_OK ? reader_halt(reader, &reader->stopped, true) : status;
}

int mr_reader_restart(mr_reader *reader)
{
    int status = reader_usable(reader, "mr_reader_restart");
    return status == MR_OK ? reader_halt(reader, &reader->stopped, false) : status;
}

int mr_reader_pause(mr_reader *reader)
{
    int status = reader_usable(reader, "mr_reader_pause");
    return status == MR_OK ? reader_halt(reader, &reader->paused, true) : status;
}

int mr_reader_resume(mr_reader *reader)
{
    int status = reader_usable(reader, "mr_reader_resume");
    return status == MR_OK ? reader_halt(reader, &reader->paused, false) : status;
}

/* ---- rename ---- */

static bool name_is_present(const mr_reader *reader, const struct slot_name *name)
{
    struct slot_name *present = NULL;
    if (name_parse_local(&present, reader->display) != MR_OK)
        return false; /* no memory: then the rename finds the name taken, by ourselves */
    bool equal = name_equal(present, name);
    memory_free(present);
    return equal;
}

static int reader_rename(mr_reader *reader, const struct slot_name *name)
{
    char *display = memory_strdup(name->display);
    if (display == NULL)
        return status_fail_plain(MR_E_MEMORY);
    int status = MR_OK;
    mutex_lock(&reader->lock);
    reader->inside++;
    bool own = reader->taking && reader->callback_thread == thread_self(); /* I6 */
    while (reader->taking && !own)
        condition_wait(&reader->changed, &reader->lock);
    if (reader->closing) {
        status = status_fail_plain(MR_E_STOPPED);
    } else if (!name_is_present(reader, name)) {
        reader->taking = reader->renaming = true;
        if (own)
            reader->budget->stop = true; /* what has come in this taking goes before what the new name brings */
        mutex_unlock(&reader->lock);
        status = slot_rename(reader->slot, name);
        mutex_lock(&reader->lock);
        reader->taking = own;
        reader->renaming = false;
        if (status == MR_OK) {
            char *old = reader->display;
            reader->display = display;
            display = old;
        }
        reader_publish(reader);
        condition_broadcast(&reader->changed);
        mutex_unlock(&reader->lock);
        slot_rename_finish(reader->slot); /* `inside` keeps the slot */
        mutex_lock(&reader->lock);
    }
    reader->inside--;
    condition_broadcast(&reader->changed);
    mutex_unlock(&reader->lock);
    memory_free(display);
    return status;
}

int mr_reader_rename(mr_reader *reader, const char *name)
{
    int status = reader_usable(reader, "mr_reader_rename");
    if (status != MR_OK)
        return status;
    struct slot_name *parsed = NULL;
    status = name_parse_local(&parsed, name);
    if (status != MR_OK)
        return status;
    status = reader_rename(reader, parsed);
    memory_free(parsed);
    return status;
}

/* ---- close ---- */

uint64_t reader_finish(mr_reader *reader)
{
    uint64_t lost = 0;
    uint64_t left = 0; /* with the slot */
    (void) pool_cancel(reader->pool, &reader->waiter);
    struct queue_node *node = queue_drain(&reader->queue);
    while (node != NULL) {
        struct queue_node *next = node->next;
        lost += !slot_kept(&message_of_node(node)->token); /* I7 */
        buffer_release(slot_message_buffer(message_of_node(node)), NULL);
        node = next;
    }
    slot_close(reader->slot, false, &left);
    lost += left;
    mr_port *bound = reader->port;
    reader_free(reader);
    if (bound != NULL)
        mr_port_unbind_reader(bound);
    return lost;
}

int mr_reader_close(mr_reader *reader, uint64_t *lost)
{
    uint64_t count = 0;
    if (reader == NULL)
        return MR_OK;
    if (reader->generation != process_generation()) {
        slot_close(reader->slot, true, &count); /* I5; the struct's memory is left as it is */
        return status_fail_plain(MR_E_FORKED);
    }
    mutex_lock(&reader->lock);
    reader->closing = true;
    reader_update_halted(reader); /* H1 */
    condition_broadcast(&reader->changed);
    if (reader->callback_thread == thread_self()) {
        reader->close_after = true; /* the turn that we are inside of goes on from here */
    } else {
        if (reader->leading)
            slot_wake(reader->slot);
        turn_end(reader);
        mr_port_wait_begin(); /* a turn that is posted, or cancelled, needs a worker to end it */
        while (reader->turn != TURN_ENDED || reader->inside > 0 || reader->taking)
            condition_wait(&reader->changed, &reader->lock); /* I3 */
        mr_port_wait_end();
    }
    bool after = reader->close_after;
    mutex_unlock(&reader->lock);
    if (!after)
        count = reader_finish(reader);
    if (lost != NULL)
        *lost = count;
    return count == 0 ? MR_OK
                      : status_fail(MR_E_UNREAD, 0, "%llu unread messages were lost", (unsigned long long) count);
}
