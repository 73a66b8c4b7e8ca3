/* writer.c: opens a writer, writes through it synchronously, and counts.
 *
 * Path    mr_writer_write > the gate is open: take it, link_send, count, open it
 *                         > else the lock; nothing in the way and connected: link_send under the lock, and done
 *                         > else join the line > claim the role, or wait for who has it > leave with a result
 *
 * Owners, invariants G1 to I11: writer_private.h.
 * Time-out  A message that its writer withdraws has not been sent; one that went out in the same instant is a success
 *           (writer_line_leave decides). A write with a time-out of 0 has its turn all the same: it returns
 *           MR_E_TIMEOUT only after a run of the pump that found the slot full since the write began, or while who has
 *           the role waits for the slot.
 */
#include "slots/writer_private.h"

#include <string.h>

#include "queue/memory.h"
#include "queue/seldom.h"
#include "queue/status.h"

#define RING_BYTES_MIN ((size_t) 16 << 10)
#define RING_BYTES_MAX ((size_t) 64 << 20)
#define SPIN_US_MAX    1000u

void mr_writer_options_init(mr_writer_options *options)
{
    *options = (mr_writer_options) MR_WRITER_OPTIONS_INIT;
}

/* Those that have to do with the lane; which lanes there are is the link's to say. */
static int options_check_lane(const mr_writer_options *mine)
{
    if (mine->when_absent != MR_FAIL && mine->when_absent != MR_KEEP)
        return status_fail(MR_E_ARGUMENT, 0, "when_absent %d is none", (int) mine->when_absent);
    if (mine->ring_bytes != 0 && (mine->ring_bytes < RING_BYTES_MIN || mine->ring_bytes > RING_BYTES_MAX ||
                                  (mine->ring_bytes & (mine->ring_bytes - 1)) != 0))
        return status_fail(MR_E_ARGUMENT, 0, "ring_bytes is %zu: a power of two from %zu to %zu", mine->ring_bytes,
                           RING_BYTES_MIN, RING_BYTES_MAX);
    if (mine->spin_us > SPIN_US_MAX)
        return status_fail(MR_E_ARGUMENT, 0, "spin_us is %u, at most %u", mine->spin_us, SPIN_US_MAX);
    return MR_OK;
}

/* Copies what the caller knows of the struct, fills in the defaults, and checks. */
static int options_take(mr_writer_options *mine, const mr_writer_options *options)
{
    mr_writer_options_init(mine);
    if (options != NULL) {
        if (options->size == 0 || options->size > sizeof *mine)
            return status_fail(MR_E_ARGUMENT, 0, "mr_writer_options.size is %zu, this library knows %zu bytes",
                               options->size, sizeof *mine);
        memcpy(mine, options, options->size);
        mine->size = sizeof *mine;
    }
    if (mine->levels == 0)
        mine->levels = MR_LEVELS_DEFAULT;
    if (mine->queue_messages == 0)
        mine->queue_messages = 65536;
    if (mine->queue_bytes == 0)
        mine->queue_bytes = (size_t) 16 << 20;
    if (mine->backoff_min_ms == 0)
        mine->backoff_min_ms = 10;
    if (mine->backoff_max_ms == 0)
        mine->backoff_max_ms = mine->backoff_min_ms > 1000 ? mine->backoff_min_ms : 1000;
    if (mine->levels > MR_LEVELS_MAX)
        return status_fail(MR_E_ARGUMENT, 0, "levels is %u, at most %u", mine->levels, MR_LEVELS_MAX);
    if (mine->policy < MR_POLICY_BLOCK || mine->policy > MR_POLICY_DROP_OLDEST)
        return status_fail(MR_E_ARGUMENT, 0, "policy %d is none", (int) mine->policy);
    if (mine->backoff_max_ms < mine->backoff_min_ms)
        return status_fail(MR_E_ARGUMENT, 0, "backoff_max_ms (%u) is below backoff_min_ms (%u)", mine->backoff_max_ms,
                           mine->backoff_min_ms);
    return options_check_lane(mine);
}

static int link_prepare(mr_writer *w, const char *name)
{
    struct slot_name parsed;
    int status = name_parse(&parsed, name);
    if (status != MR_OK)
        return status;
    struct link_config config = {.name = &parsed, .options = &w->options};
    status = link_open(&w->link, &config);
    if (status != MR_OK)
        return status;
    w->max_message = link_max_message(w->link);
    w->acknowledges = link_acknowledges(w->link);
    if (w->options.when_absent == MR_KEEP && !w->acknowledges) {
        link_close(w->link, false);
        return status_fail(MR_E_ARGUMENT, 0,
                           "when_absent is MR_KEEP: nothing is kept on the way to %s, which has no ring", name);
    }
    if (!w->options.require_slot)
        return MR_OK;
    mr_port_wait_begin();
    status = link_connect(w->link, clock_deadline(w->options.timeout_ms));
    mr_port_wait_end();
    if (status != MR_OK) {
        link_close(w->link, false);
        return status;
    }
    w->counts.connects = 1;
    w->max_message = link_max_message(w->link);
    return MR_OK;
}

int mr_writer_open(mr_writer **writer, const char *name, const mr_writer_options *options)
{
    if (writer == NULL || name == NULL)
        return status_fail(MR_E_ARGUMENT, 0, "mr_writer_open needs a place for the writer, and a name");
    mr_writer *w = memory_zalloc(sizeof *w);
    if (w == NULL)
        return status_fail_plain(MR_E_MEMORY);
    int status = options_take(&w->options, options);
    if (status == MR_OK && w->options.port != NULL)
        status = mr_port_check(w->options.port);
    if (status == MR_OK)
        status = link_prepare(w, name);
    if (status != MR_OK) {
        memory_free(w);
        return status;
    }
    mutex_init(&w->lock);
    writer_gate_init(&w->gate);
    condition_init(&w->changed);
    w->generation = process_generation();
    writer_lock(w);
    writer_unlock(w); /* opens the gate, if it may be */
    if (w->options.port != NULL)
        mr_port_bind_writer(w->options.port);
    *writer = w;
    return MR_OK;
}

int writer_check(const mr_writer *w)
{
    if (w == NULL)
        return status_fail(MR_E_ARGUMENT, 0, "the writer is NULL");
    if (w->generation != process_generation())
        return status_fail(MR_E_FORKED, 0, "the writer was opened before the fork, by the parent process");
    return MR_OK;
}

int writer_check_message(const mr_writer *w, const void *data, size_t length, uint32_t priority)
{
    int status = writer_check(w);
    if (status != MR_OK)
        return status;
    if (data == NULL && length > 0)
        return status_fail(MR_E_ARGUMENT, 0, "the data is NULL, its length %zu", length);
    if (priority >= w->options.levels)
        return status_fail(MR_E_ARGUMENT, 0, "priority %u: the writer has the levels 0 to %u", priority,
                           w->options.levels - 1);
    return MR_OK;
}

/* ---- the lock and the gate ---- */

static bool nothing_in_the_way(const mr_writer *w)
{
    return w->role == PUMP_IDLE && w->line == NULL && w->wanted == 0 && !w->closing && link_connected(w->link);
}

/* Lock held, and let go of next. */
static void open_gate(mr_writer *w)
{
    if (nothing_in_the_way(w))
        writer_gate_open(&w->gate);
}

void writer_lock(mr_writer *w)
{
    mutex_lock(&w->lock);
    writer_gate_close(&w->gate);
}

void writer_unlock(mr_writer *w)
{
    open_gate(w);
    mutex_unlock(&w->lock);
}

bool writer_wait(mr_writer *w, condition *changed, uint64_t deadline)
{
    open_gate(w);
    bool in_time = condition_wait_until(changed, &w->lock, deadline);
    writer_gate_close(&w->gate);
    return in_time;
}

bool writer_watch(mr_writer *w, uint64_t deadline)
{
    w->watchers++;
    bool in_time = writer_wait(w, &w->changed, deadline);
    w->watchers--;
    return in_time;
}

void writer_leave(mr_writer *w)
{
    w->inside--;
    if (w->watchers > 0)
        condition_broadcast(&w->changed);
}

/* ---- synchronous writes ---- */

/* Has the role and pumps until its own message is settled, its time is up, or somebody needs the role more. */
static void pump_for(mr_writer *w, struct writer_waiter *self, uint64_t deadline)
{
    w->role = PUMP_RUNNING;
    enum pump_end end = pump_run(w, self);
    while (!self->done && !w->closing && w->wanted == 0 && end != PUMP_UNTOLD && clock_now() < deadline) {
        if (end == PUMP_FULL || end == PUMP_BUSY || end == PUMP_ABSENT)
            pump_wait(w, end, deadline);
        end = pump_run(w, self);
    }
    pump_release(w, end);
}

/* Stands in line until there is a result. Lock held, released meanwhile. */
static int line_wait(mr_writer *w, struct writer_waiter *self, uint64_t deadline)
{
    bool ran = false;
    while (!self->done && !w->closing && !(ran && clock_now() >= deadline)) {
        if (pump_free(w)) {
            pump_for(w, self, deadline);
            ran = true;
        } else if (clock_now() < deadline) {
            (void) writer_wait(w, &self->changed, deadline);
        } else if (w->role == PUMP_RUNNING && !w->role_blocked) {
            (void) writer_watch(w, CLOCK_NEVER); /* its run ends soon */
        } else {
            break;
        }
    }
    writer_line_leave(w, self);
    if (self->done)
        return self->status;
    return w->closing ? MR_E_STOPPED : MR_E_TIMEOUT;
}

static int write_in_line(mr_writer *w, struct writer_waiter *self, uint64_t deadline)
{
    condition_init(&self->changed);
    writer_line_join(w, self);
    w->inside++;
    mr_port_wait_begin(); /* the slot's reader, and who tells what was posted before, may need a worker of this port */
    int status = line_wait(w, self, deadline);
    mr_port_wait_end();
    if (w->line != NULL && pump_free(w))
        condition_signal(&w->line->changed); /* I1: this thread may have been the one that was signalled */
    writer_leave(w);
    writer_unlock(w);
    condition_destroy(&self->changed);
    return status;
}

static int write_result(int status, uint32_t timeout_ms)
{
    switch (status) {
    case MR_E_TIMEOUT:
        return status_fail(status, 0, "the slot stayed full for %u ms", timeout_ms);
    case MR_E_STOPPED:
        return status_fail(status, 0, "the writer is being closed");
    default:
        return status;
    }
}

/* Has the slot, or the way to it, said what there is to say to this message? */
static bool is_final(int status)
{
    return status == MR_OK || status == MR_E_TOO_BIG || status == MR_E_ACCESS;
}

/* By who has the gate. */
static int send_directly(mr_writer *w, const void *data, size_t length, uint32_t priority)
{
    int status = link_send(w->link, data, length, priority);
    if (status == MR_OK) {
        w->messages++;
        w->bytes += length;
    }
    return status;
}

/* `tried`: what the gate's way has brought already; MR_OK: it was not open. */
static SELDOM int write_slowly(mr_writer *w, const void *data, size_t length, uint32_t priority, uint32_t timeout_ms,
                               int tried)
{
    struct writer_waiter self = {.data = data, .length = length, .level = priority};
    writer_lock(w);
    if (w->closing) {
        writer_unlock(w);
        return write_result(MR_E_STOPPED, 0);
    }
    bool direct = tried == MR_OK && nothing_in_the_way(w);
    /* Directly it is the link's to say, which sees whether the slot is still the one that had this bound. */
    if (!direct && tried == MR_OK && w->max_message != 0 && length > w->max_message) {
        size_t most = w->max_message;
        writer_unlock(w);
        return status_fail(MR_E_TOO_BIG, 0, "%zu bytes; the slot, or the way there, takes messages of up to %zu bytes",
                           length, most);
    }
    if (direct) {
        tried = send_directly(w, data, length, priority);
        if (is_final(tried)) {
            writer_unlock(w);
            return tried;
        }
    }
    self.attempts = tried == MR_E_GONE;
    if (w->posting != NULL && w->posting->queue.occupied >> priority != 0 && writer_frame_of(w) != NULL) {
        writer_unlock(w);
        return status_fail(MR_E_CALLBACK, 0, "messages posted before go first, and this is the writer's own callback");
    }
    return write_result(write_in_line(w, &self, clock_deadline(timeout_ms)), timeout_ms);
}

/* What writer_check_message finds nothing wrong with. */
static inline bool is_sound(const mr_writer *w, const void *data, size_t length, uint32_t priority)
{
    return w != NULL && w->generation == process_generation_again() && (data != NULL || length == 0) &&
           priority < w->options.levels;
}

/* Whatever there is about a write, but what write_seated has done. */
static __attribute__((noinline)) int write_unseated(mr_writer *w, const void *data, size_t length, uint32_t priority,
                                                    uint32_t timeout_ms)
{
    int status = writer_check_message(w, data, length, priority);
    if (status != MR_OK)
        return status;
    uint32_t entered = length <= DIRECT_BYTES ? writer_gate_enter(&w->gate) : GATE_CLOSED;
    if (entered != GATE_CLOSED) {
        status = send_directly(w, data, length, priority);
        writer_gate_leave(&w->gate, entered);
        if (is_final(status))
            return status;
    }
    return write_slowly(w, data, length, priority, timeout_ms, status);
}

/* What one thread that writes again and again comes to. False: not tried, see write_unseated. */
static inline bool write_seated(mr_writer *w, const void *data, size_t length, uint32_t priority, int *status)
{
    if (!is_sound(w, data, length, priority) || length > DIRECT_BYTES)
        return false;
    uint32_t seat = writer_gate_sit(&w->gate);
    if (seat == GATE_CLOSED)
        return false;
    *status = send_directly(w, data, length, priority);
    writer_gate_rise(&w->gate, seat);
    return true;
}

int mr_writer_write_timed(mr_writer *writer, const void *data, size_t length, uint32_t priority, uint32_t timeout_ms)
{
    int status;
    if (!write_seated(writer, data, length, priority, &status))
        return write_unseated(writer, data, length, priority, timeout_ms);
    return is_final(status) ? status : write_slowly(writer, data, length, priority, timeout_ms, status);
}

int mr_writer_write(mr_writer *writer, const void *data, size_t length, uint32_t priority)
{
    int status;
    if (!write_seated(writer, data, length, priority, &status))
        return writer == NULL ? writer_check(writer)
                              : write_unseated(writer, data, length, priority, writer->options.timeout_ms);
    return is_final(status) ? status : write_slowly(writer, data, length, priority, writer->options.timeout_ms, status);
}

/* ---- counters ---- */

void writer_look(mr_writer *w)
{
    struct link_counts counts;
    if (w->acknowledges) {
        struct link_mark mark;
        link_mark(w->link, &mark);
        (void) link_passed(w->link, &mark); /* whatever it says: it looks */
        w->counts.unacknowledged = link_unacknowledged(w->link);
    }
    link_get_counts(w->link, &counts);
    w->counts.redelivered = counts.redelivered;
    w->counts.doorbells = counts.doorbells;
    w->counts.ring_bytes = counts.ring_bytes;
    w->connects_late = counts.connects;
    w->looks++;
    if (w->look_wanted > 0)
        condition_broadcast(&w->changed);
}

void writer_have_looked(mr_writer *w)
{
    uint64_t looks = w->looks;
    if (!w->acknowledges)
        return;
    w->inside++;
    w->look_wanted++;
    mr_port_wait_begin();
    while (w->role == PUMP_RUNNING && w->looks == looks && !w->closing) {
        pump_wake(w);
        (void) writer_watch(w, CLOCK_NEVER);
    }
    mr_port_wait_end();
    w->look_wanted--;
    if (w->looks == looks && !w->closing) {
        writer_look(w);
        pump_looked(w);
    }
    writer_leave(w);
}

int mr_writer_get_statistics(mr_writer *writer, mr_writer_statistics *statistics)
{
    mr_writer *w = writer;
    int status = writer_check(w);
    if (status != MR_OK)
        return status;
    if (statistics == NULL || statistics->size < sizeof statistics->size || statistics->size > sizeof *statistics)
        return status_fail(MR_E_ARGUMENT, 0, "mr_writer_statistics.size is not set, or this library is too old for it");
    writer_lock(w);
    writer_have_looked(w);
    mr_writer_statistics counts = w->counts;
    counts.connects += w->connects_late;
    counts.written += w->messages;
    counts.bytes += w->bytes;
    if (w->posting != NULL) {
        counts.waiting = w->posting->queue.messages;
        counts.waiting_bytes = w->posting->queue.bytes;
        counts.waiting_peak = w->posting->queue.messages_high;
    }
    writer_unlock(w);
    counts.size = statistics->size;
    memcpy(statistics, &counts, statistics->size);
    return MR_OK;
}
