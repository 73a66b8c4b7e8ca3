/* workers.c: the worker pool of a completion port: starting, growing, retiring, stopping, counting.
 *
 * Path    port_wait ─► operation->handler, on each worker, until MR_E_STOPPED
 *         last worker leaves port_wait ─► tick (a deadline on the ticker's port) ─► supervisor ─► another worker
 *
 * Owners  `lock` guards the list of ended threads and changes of `workers`. The counters are atomic: workers change
 *         them without a lock, anyone reads them.
 *
 * W1  While no worker waits in port_wait and more may be started, a tick is under way (`ticking`). Each tick that
 *     finds no packet taken since it was set starts a worker (but W8). The worker that makes `waiting` 0 looks at `ticking`
 *     after it; the supervisor that makes `ticking` false looks at `waiting` after it. All four are seq_cst, so one of
 *     them sees the other. While a worker waits, the supervisor sleeps without a time-out. Likewise a worker that leaves
 *     changes `workers` before it looks at `ticking`, and the supervisor looks at `workers` after it has made that false:
 *     it may have found as many as are allowed, the one that was about to leave among them.
 * W2  The tick is a deadline on a port of the supervisor's own, so that setting it wakes no thread: a port whose one
 *     worker is busy in short callbacks costs one wake-up of the supervisor per tick, not one per packet.
 * W3  A worker waits with a time-out only while there are more than `concurrency`; when one of these has been idle for
 *     WORKER_RETIRE_NS it ends. So an idle port converges to `concurrency` threads that sleep for ever.
 * W4  Every started thread is joined once: a retired one by the next that retires or by the close.
 * W5  A worker that waits inside Mailroom for others (`suspended`) does not count against workers_max: what it waits for
 *     may need a worker. It changes `suspended` before it looks at `waiting`, the supervisor `ticking` before it looks
 *     at `suspended` (W1's argument). Who is too many when the waiting has ended leaves after its packet.
 * W6  Closing stops the port, the workers drain it and end (growing meanwhile if they must), then the supervisor.
 * W7  A worker that has rested before each of its last packets is prompt: woken beside a busy sender, it runs at once. One
 *     that is woken again and again after no rest is not: the sender goes on, and the worker finds many messages.
 * W8  Where the system tells, no worker is started while `concurrency` of them run, or wait for a processor: another one
 *     would only wait with them. The ticks go on, and after STUCK_TICKS without a packet one is started all the same: they
 *     may be turning in circles until another callback comes. */
#include "iocp/workers.h"

#include <stdatomic.h>
#include <string.h>

#include "queue/memory.h"
#include "queue/status.h"
#include "queue/thread.h"

/* W8 */
#define STUCK_TICKS 1000u

struct worker {
    mr_port *port;
    thread thread;
    atomic_uint_fast64_t number; /* the system's; 0: not yet known */
    struct worker *next;         /* in `alive` or `ended` */
};

struct mr_port {
    /* Constant after mr_port_open. */
    port *backend;
    port *ticker;
    thread supervisor;
    uint32_t concurrency;
    uint32_t workers_max;
    uint32_t generation;

    atomic_uint_fast64_t packets; /* taken out so far */
    atomic_uint waiting;          /* workers in port_wait, or about to be */
    atomic_uint suspended;        /* workers that wait for others, W5 */
    atomic_bool ticking;          /* W1 */
    atomic_uint_fast64_t mark;    /* `packets` when the tick was set */
    operation tick;
    unsigned stuck; /* the supervisor's: ticks in a row that have found no packet taken */

    atomic_uint workers; /* written under `lock` */
    atomic_uint workers_peak;
    atomic_uint readers;
    atomic_uint writers;

    mutex lock;
    condition ended_all; /* workers has become 0 */
    struct worker *alive;
    struct worker *ended; /* to be joined and freed */
    bool ending;          /* the last worker has ended: none is started any more */
};

/* The port whose worker this thread is. */
static _Thread_local mr_port *current;

/* How many workers there may be at this moment (W5). */
static uint32_t workers_allowed(const mr_port *p)
{
    uint32_t suspended = atomic_load_explicit(&p->suspended, memory_order_seq_cst);
    return suspended < UINT32_MAX - p->workers_max ? p->workers_max + suspended : UINT32_MAX;
}

/* Ticks (W1, W2) */

static void tick_set(mr_port *p)
{
    if (atomic_load_explicit(&p->ticking, memory_order_seq_cst) ||
        atomic_exchange_explicit(&p->ticking, true, memory_order_seq_cst))
        return;
    atomic_store_explicit(&p->mark, atomic_load_explicit(&p->packets, memory_order_relaxed), memory_order_relaxed);
    /* The ticker is stopped after the last worker's end, so this is always pending. */
    (void) port_set_deadline(p->ticker, &p->tick, clock_now() + WORKER_TICK_NS);
}

static int worker_start(mr_port *p);

/* W8: are as many workers running, or about to, as there should be? */
static bool workers_run(mr_port *p)
{
    uint32_t running = 0;
    mutex_lock(&p->lock);
    for (const struct worker *w = p->alive; w != NULL && running < p->concurrency; w = w->next)
        running += thread_is_running(atomic_load_explicit(&w->number, memory_order_relaxed));
    mutex_unlock(&p->lock);
    return running >= p->concurrency;
}

static void tick_handle(mr_port *p)
{
    bool stuck =
        atomic_load_explicit(&p->waiting, memory_order_seq_cst) == 0 &&
        atomic_load_explicit(&p->packets, memory_order_relaxed) == atomic_load_explicit(&p->mark, memory_order_relaxed);
    p->stuck = stuck ? p->stuck + 1 : 0;
    if (stuck && (!workers_run(p) || p->stuck >= STUCK_TICKS)) {
        (void) worker_start(p); /* out of threads or memory: the next tick tries again */
        p->stuck = 0;
    }
    atomic_store_explicit(&p->ticking, false, memory_order_seq_cst);
    /* At workers_max there is nothing to watch for until one of them comes back, and goes again. */
    if (atomic_load_explicit(&p->waiting, memory_order_seq_cst) == 0 &&
        atomic_load_explicit(&p->workers, memory_order_seq_cst) < workers_allowed(p))
        tick_set(p);
}

static void supervisor_run(void *argument)
{
    mr_port *p = argument;
    operation *o;
    while (port_wait(p->ticker, &o, CLOCK_NEVER) == MR_OK)
        if (o->status == MR_OK)
            tick_handle(p);
}

/* Workers */

static void workers_join(struct worker *list)
{
    while (list != NULL) {
        struct worker *w = list;
        list = w->next;
        thread_join(w->thread);
        memory_free(w);
    }
}

/* The calling worker ends if `wanted` many stay; joins those that ended before it (W4). */
static bool worker_leave(struct worker *w, uint32_t wanted)
{
    mr_port *p = w->port;
    mutex_lock(&p->lock);
    uint32_t workers = atomic_load_explicit(&p->workers, memory_order_relaxed);
    if (workers <= wanted) {
        mutex_unlock(&p->lock);
        return false;
    }
    struct worker *earlier = p->ended;
    struct worker **place = &p->alive;
    while (*place != w)
        place = &(*place)->next;
    *place = w->next;
    w->next = NULL;
    p->ended = w;
    atomic_store_explicit(&p->workers, --workers, memory_order_seq_cst); /* W1 */
    if (workers == 0)
        condition_signal(&p->ended_all);
    else if (atomic_load_explicit(&p->waiting, memory_order_seq_cst) == 0 && workers < workers_allowed(p))
        tick_set(p);
    mutex_unlock(&p->lock);
    workers_join(earlier);
    return true;
}

/* How a worker is woken, W7. */
struct pace {
    unsigned rests; /* up to PACE_RESTS, less one for each packet that came without a rest */
    bool prompt;
    bool fixed; /* the system lets us change nothing */
};

/* A worker that waits less for its next packet than this has not rested; so many rests make it prompt, half of them and it
 * is no longer. */
#define PACE_REST_NS UINT64_C(100000)
#define PACE_RESTS   8u

static void pace_note(struct pace *pace, uint64_t waited)
{
    if (waited >= PACE_REST_NS)
        pace->rests += pace->rests < PACE_RESTS;
    else
        pace->rests -= pace->rests > 0;
    if (pace->rests != (pace->prompt ? PACE_RESTS / 2 : PACE_RESTS))
        return;
    pace->prompt = !pace->prompt;
    pace->fixed = !thread_set_prompt(pace->prompt);
}

static void worker_run(void *argument)
{
    struct worker *w = argument;
    mr_port *p = w->port;
    struct pace pace = {0};
    current = p;
    atomic_store_explicit(&w->number, thread_number(), memory_order_relaxed);
    for (;;) {
        bool extra = atomic_load_explicit(&p->workers, memory_order_relaxed) > p->concurrency; /* W3 */
        uint64_t deadline = extra ? clock_now() + WORKER_RETIRE_NS : CLOCK_NEVER;
        operation *o;
        bool rests = !pace.fixed && port_quiet(p->backend); /* else a packet is there already */
        uint64_t before = rests ? clock_now() : 0;
        int status = port_wait(p->backend, &o, deadline);
        if (!pace.fixed)
            pace_note(&pace, rests ? clock_now() - before : 0);
        if (atomic_fetch_sub_explicit(&p->waiting, 1, memory_order_seq_cst) == 1)
            tick_set(p);
        if (status == MR_OK) {
            atomic_fetch_add_explicit(&p->packets, 1, memory_order_relaxed);
            o->handler(o);
            uint32_t allowed = workers_allowed(p);
            if (atomic_load_explicit(&p->workers, memory_order_relaxed) > allowed && worker_leave(w, allowed)) {
                port_hand_on(p->backend);
                return; /* W5 */
            }
        } else if (worker_leave(w, status == MR_E_STOPPED ? 0 : p->concurrency)) {
            return;
        }
        atomic_fetch_add_explicit(&p->waiting, 1, memory_order_seq_cst);
    }
}

static int worker_start(mr_port *p)
{
    struct worker *w = memory_zalloc(sizeof *w);
    if (w == NULL)
        return status_fail_plain(MR_E_MEMORY);
    w->port = p;
    /* The lock is held over the start: a worker that ends at once must find its own handle in place. */
    mutex_lock(&p->lock);
    uint32_t workers = atomic_load_explicit(&p->workers, memory_order_relaxed);
    int status = MR_E_FULL;
    if (!p->ending && workers < workers_allowed(p)) {
        /* It counts as waiting before it runs: else a loaded machine would start one after the other. */
        atomic_fetch_add_explicit(&p->waiting, 1, memory_order_seq_cst);
        atomic_store_explicit(&p->workers, workers + 1, memory_order_relaxed);
        if (workers + 1 > atomic_load_explicit(&p->workers_peak, memory_order_relaxed))
            atomic_store_explicit(&p->workers_peak, workers + 1, memory_order_relaxed);
        status = thread_start(&w->thread, "mr-worker", worker_run, w);
        if (status != MR_OK) {
            atomic_store_explicit(&p->workers, workers, memory_order_relaxed);
            atomic_fetch_sub_explicit(&p->waiting, 1, memory_order_seq_cst);
        } else {
            w->next = p->alive;
            p->alive = w;
        }
    }
    mutex_unlock(&p->lock);
    if (status != MR_OK)
        memory_free(w);
    return status;
}

/* Opening and closing */

void mr_port_options_init(mr_port_options *options)
{
    *options = (mr_port_options) MR_PORT_OPTIONS_INIT;
}

/* Stops what mr_port_open has started and frees it all (W6). */
static void port_end(mr_port *p)
{
    port_stop(p->backend);
    mutex_lock(&p->lock);
    while (atomic_load_explicit(&p->workers, memory_order_relaxed) > 0)
        condition_wait(&p->ended_all, &p->lock);
    p->ending = true;
    mutex_unlock(&p->lock);
    port_stop(p->ticker);
    thread_join(p->supervisor);
    workers_join(p->ended);
    condition_destroy(&p->ended_all);
    mutex_destroy(&p->lock);
    port_close(p->ticker);
    port_close(p->backend);
    memory_free(p);
}

static int options_check(const mr_port_options *options)
{
    if (options == NULL)
        return MR_OK;
    if (options->size != sizeof *options)
        return status_fail(MR_E_ARGUMENT, 0, "mr_port_options.size is %zu and not %zu: use MR_PORT_OPTIONS_INIT",
                           options->size, sizeof *options);
    if (options->concurrency > MR_PORT_CONCURRENCY_MAX)
        return status_fail(MR_E_ARGUMENT, 0, "concurrency is %u; a port has at most %u such workers",
                           options->concurrency, MR_PORT_CONCURRENCY_MAX);
    if (options->workers_max != 0 && options->workers_max < options->concurrency)
        return status_fail(MR_E_ARGUMENT, 0, "workers_max is %u, below the concurrency of %u", options->workers_max,
                           options->concurrency);
    return MR_OK;
}

int mr_port_open(mr_port **out, const mr_port_options *options)
{
    int status = out == NULL ? status_fail_plain(MR_E_ARGUMENT) : options_check(options);
    if (status != MR_OK)
        return status;
    mr_port *p = memory_zalloc(sizeof *p);
    if (p == NULL)
        return status_fail_plain(MR_E_MEMORY);
    status = port_open(&p->backend, &(struct port_options){options != NULL ? options->concurrency : 0});
    if (status != MR_OK)
        goto free_port;
    status = port_open(&p->ticker, &(struct port_options){1});
    if (status != MR_OK)
        goto close_backend;

    p->generation = process_generation();
    p->concurrency = port_concurrency(p->backend);
    p->workers_max = options != NULL ? options->workers_max : 0;
    if (p->workers_max == 0)
        p->workers_max = 4 * p->concurrency + 4;
    if (p->workers_max < p->concurrency) /* a concurrency by default above a maximum by choice */
        p->concurrency = p->workers_max;
    mutex_init(&p->lock);
    condition_init(&p->ended_all);
    status = thread_start(&p->supervisor, "mr-supervisor", supervisor_run, p);
    if (status != MR_OK)
        goto close_ticker;
    for (uint32_t i = 0; i < p->concurrency; i++) {
        status = worker_start(p);
        if (status != MR_OK) {
            port_end(p);
            return status;
        }
    }
    *out = p;
    return MR_OK;

close_ticker:
    condition_destroy(&p->ended_all);
    mutex_destroy(&p->lock);
    port_stop(p->ticker);
    port_close(p->ticker);
close_backend:
    port_stop(p->backend);
    port_close(p->backend);
free_port:
    memory_free(p);
    return status;
}

int mr_port_close(mr_port *p)
{
    if (p == NULL)
        return MR_OK;
    int status = mr_port_check(p);
    if (status != MR_OK)
        return status;
    if (mr_port_is_worker(p))
        return status_fail(MR_E_CALLBACK, 0, "a port cannot be closed inside one of its callbacks");
    uint32_t readers = atomic_load_explicit(&p->readers, memory_order_acquire);
    uint32_t writers = atomic_load_explicit(&p->writers, memory_order_acquire);
    if (readers + writers > 0)
        return status_fail(MR_E_ARGUMENT, 0,
                           "%u reader%s and %u writer%s are still bound to the port: close them first", readers,
                           readers == 1 ? "" : "s", writers, writers == 1 ? "" : "s");
    port_end(p);
    return MR_OK;
}

int mr_port_get_statistics(const mr_port *p, mr_port_statistics *statistics)
{
    if (p == NULL || statistics == NULL || statistics->size != sizeof *statistics)
        return status_fail(MR_E_ARGUMENT, 0, "mr_port_get_statistics needs a port, and a struct whose size is set");
    statistics->packets = atomic_load_explicit(&p->packets, memory_order_relaxed);
    statistics->workers = atomic_load_explicit(&p->workers, memory_order_relaxed);
    statistics->workers_peak = atomic_load_explicit(&p->workers_peak, memory_order_relaxed);
    statistics->waiting = atomic_load_explicit(&p->waiting, memory_order_relaxed);
    statistics->readers = atomic_load_explicit(&p->readers, memory_order_relaxed);
    statistics->writers = atomic_load_explicit(&p->writers, memory_order_relaxed);
    return MR_OK;
}

/* For slots and writers */

port *mr_port_backend(const mr_port *p)
{
    return p->backend;
}

bool mr_port_is_worker(const mr_port *p)
{
    return current == p;
}

void mr_port_wait_begin(void)
{
    mr_port *p = current;
    if (p == NULL)
        return;
    atomic_fetch_add_explicit(&p->suspended, 1, memory_order_seq_cst); /* W5 */
    if (atomic_load_explicit(&p->waiting, memory_order_seq_cst) == 0)
        tick_set(p);
}

void mr_port_wait_end(void)
{
    if (current != NULL)
        atomic_fetch_sub_explicit(&current->suspended, 1, memory_order_seq_cst);
}

int mr_port_check(const mr_port *p)
{
    if (p->generation != process_generation())
        return status_fail(MR_E_FORKED, 0, "the port belongs to the parent process: open another after fork");
    return MR_OK;
}

void mr_port_bind_reader(mr_port *p)
{
    atomic_fetch_add_explicit(&p->readers, 1, memory_order_relaxed);
}

void mr_port_unbind_reader(mr_port *p)
{
    /* Release, with the acquire in mr_port_close: what the reader did to the port is done before it is freed. */
    atomic_fetch_sub_explicit(&p->readers, 1, memory_order_release);
}

void mr_port_bind_writer(mr_port *p)
{
    atomic_fetch_add_explicit(&p->writers, 1, memory_order_relaxed);
}

void mr_port_unbind_writer(mr_port *p)
{
    atomic_fetch_sub_explicit(&p->writers, 1, memory_order_release);
}

/* The shared port */

static struct {
    mutex lock;
    mr_port *port;
    uint32_t references;
    bool at_fork;
} shared = {.lock = MUTEX_INIT};

/* In a forked child: the parent's port stays the parent's, and the lock may have been held by a thread that is not
 * here. */
static void shared_forget(void)
{
    mutex_init(&shared.lock);
    shared.port = NULL;
    shared.references = 0;
}

int mr_port_shared_acquire(mr_port **out)
{
    int status = MR_OK;
    mutex_lock(&shared.lock);
    if (!shared.at_fork) {
        process_at_fork(shared_forget);
        shared.at_fork = true;
    }
    if (shared.port == NULL) {
        mr_port_options options = MR_PORT_OPTIONS_INIT;
        options.concurrency = 1;
        status = mr_port_open(&shared.port, &options);
    }
    if (status == MR_OK) {
        shared.references++;
        *out = shared.port;
    }
    mutex_unlock(&shared.lock);
    return status;
}

static void shared_end(void *p)
{
    port_end(p);
}

void mr_port_shared_release(mr_port *p)
{
    mutex_lock(&shared.lock);
    bool last = p == shared.port && --shared.references == 0;
    bool own_worker = mr_port_is_worker(p);
    if (last && own_worker) {
        /* Its end cannot be waited for here. Without a thread to wait for it, it stays for the next acquire. */
        thread reaper;
        if (thread_start(&reaper, "mr-port-end", shared_end, p) == MR_OK) {
            thread_detach(reaper);
            shared.port = NULL;
        }
    } else if (last) {
        shared.port = NULL;
    }
    mutex_unlock(&shared.lock);
    if (last && !own_worker)
        port_end(p);
}
