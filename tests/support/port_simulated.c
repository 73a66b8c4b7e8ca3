/* port_simulated.c: see port_simulated.h.
 *
 * Path    start ─► fault? ─► tried ─► completed (at once or by a packet, the seed decides) or ARMED
 *         far end, event, connection ─► object_changed ─► ARMED operations tried again ─► packet
 *         port_wait ─► one of: posted (first in, first out), due deadlines (in their order), completions (any)
 *
 * S1  `world` guards everything. pending[d] holds its operation until the packet is taken out.
 * S2  The same class of packets comes at most STREAK times in a row while another has some (C11). */
#include "port_simulated.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "iocp/deadline_heap.h"
#include "queue/status.h"
#include "queue/thread.h"

enum { STREAK = 3, HANDLES = 65536, HANDLE_FIRST = 1000 };
enum place { PLACE_IDLE, PLACE_ARMED, PLACE_DEADLINE, PLACE_QUEUED };
enum kind { KIND_RECEIVE, KIND_ACCEPT, KIND_WATCH_IN, KIND_SEND, KIND_WATCH_OUT };
enum class { CLASS_POSTED, CLASS_DUE, CLASS_COMPLETED, CLASSES };

struct __attribute__((may_alias)) state {
    operation *next;
    endpoint *endpoint; /* set while PENDING on it */
    enum place place;
    enum kind kind;
    void *buffer;
    size_t size;
    struct deadline deadline;
};

_Static_assert(sizeof(struct state) <= sizeof(((operation *) 0)->backend), "the backend's part fits");

struct message {
    struct message *next;
    size_t length;
    char data[];
};

enum object_type { OBJECT_CHANNEL, OBJECT_LISTENER, OBJECT_EVENT };

struct object {
    enum object_type type;
    struct message *first, **last; /* what waits to be received here */
    size_t bytes;
    os_handle peer; /* HANDLE_NONE: it has gone */
    os_handle backlog[64];
    unsigned backlog_count;
    bool signalled;
    endpoint *endpoint;
};

struct endpoint {
    port *port;
    os_handle handle;
    operation *pending[2];
    endpoint *next, **link;
};

struct list {
    operation *first, *last;
    size_t count;
};

struct port {
    condition changed;
    struct list ready[CLASSES];
    enum class streak_of;
    unsigned streak;
    struct deadline_heap deadlines;
    endpoint *endpoints;
    bool stopped;
    uint32_t concurrency;
    unsigned waiters;
};

static mutex world = MUTEX_INIT;
static struct object *objects[HANDLES];
static os_handle handles_used;
static unsigned handles_open;
static uint64_t random_state = 1;
static bool threads;
static uint64_t now_simulated = 1000000000;
static uint64_t wakeups;
static struct {
    bool set;
    unsigned countdown;
    int status;
    int64_t os_error;
} faults[SIMULATED_STARTS];

/* The clock, in the place of thread.h's */

uint64_t __real_clock_now(void);
uint64_t __wrap_clock_now(void);
uint64_t __wrap_clock_deadline(uint32_t milliseconds);

static uint64_t clock_locked(void)
{
    return threads ? __real_clock_now() : now_simulated;
}

uint64_t __wrap_clock_now(void)
{
    mutex_lock(&world);
    uint64_t now = clock_locked();
    mutex_unlock(&world);
    return now;
}

uint64_t __wrap_clock_deadline(uint32_t milliseconds)
{
    return milliseconds == UINT32_MAX ? CLOCK_NEVER : __wrap_clock_now() + (uint64_t) milliseconds * 1000000;
}

void simulated_advance(uint64_t nanoseconds)
{
    mutex_lock(&world);
    assert(!threads);
    now_simulated += nanoseconds;
    mutex_unlock(&world);
}

void simulated_threads(void)
{
    mutex_lock(&world);
    threads = true;
    mutex_unlock(&world);
}

void simulated_seed(uint64_t seed)
{
    mutex_lock(&world);
    random_state = seed * 2 + 1;
    mutex_unlock(&world);
}

static uint32_t random_below(uint32_t bound)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t) ((random_state >> 33) % bound);
}

void simulated_fail(enum simulated_start kind, unsigned countdown, int status, int64_t os_error)
{
    mutex_lock(&world);
    faults[kind].set = true;
    faults[kind].countdown = countdown;
    faults[kind].status = status;
    faults[kind].os_error = os_error;
    mutex_unlock(&world);
}

static bool fault_strikes(enum simulated_start kind)
{
    if (!faults[kind].set || faults[kind].countdown-- > 0)
        return false;
    faults[kind].set = false;
    return true;
}

uint64_t simulated_wakeups(void)
{
    mutex_lock(&world);
    uint64_t count = wakeups;
    mutex_unlock(&world);
    return count;
}

/* Packets */

static struct state *state_of(operation *o)
{
    return (struct state *) (void *) &o->backend;
}

static void packet_push(port *p, operation *o, enum class class)
{
    struct list *list = &p->ready[class];
    state_of(o)->place = PLACE_QUEUED;
    state_of(o)->next = NULL;
    if (list->last != NULL)
        state_of(list->last)->next = o;
    else
        list->first = o;
    list->last = o;
    list->count++;
    condition_signal(&p->changed);
}

static operation *packet_pop(struct list *list, size_t index)
{
    operation *before = NULL, *o = list->first;
    for (; index > 0; index--) {
        before = o;
        o = state_of(o)->next;
    }
    if (before != NULL)
        state_of(before)->next = state_of(o)->next;
    else
        list->first = state_of(o)->next;
    if (list->last == o)
        list->last = before;
    list->count--;
    return o;
}

static void results_fill(operation *o, int status, int64_t os_error, size_t bytes)
{
    o->status = status;
    o->os_error = os_error;
    o->bytes = bytes;
    o->accepted = HANDLE_NONE;
}

/* Objects */

static os_handle object_new(enum object_type type)
{
    struct object *object = calloc(1, sizeof *object);
    if (object == NULL || handles_used == HANDLES)
        abort();
    object->type = type;
    object->last = &object->first;
    object->peer = HANDLE_NONE;
    objects[handles_used] = object;
    handles_open++;
    return HANDLE_FIRST + handles_used++;
}

static struct object *object_at(os_handle handle)
{
    return handle >= HANDLE_FIRST && handle < HANDLE_FIRST + handles_used ? objects[handle - HANDLE_FIRST] : NULL;
}

static struct object *object_must(os_handle handle)
{
    struct object *object = object_at(handle);
    if (object == NULL) {
        fprintf(stderr, "simulated port: handle %lld is not open\n", (long long) handle);
        abort();
    }
    return object;
}

static bool message_fits(const struct object *to, size_t length)
{
    return to->bytes + length <= SIMULATED_CAPACITY;
}

static void message_push(struct object *to, const void *data, size_t length)
{
    struct message *message = malloc(sizeof *message + length);
    if (message == NULL)
        abort();
    message->next = NULL;
    message->length = length;
    if (length > 0)
        memcpy(message->data, data, length);
    *to->last = message;
    to->last = &message->next;
    to->bytes += length;
}

static void message_drop(struct object *from)
{
    struct message *message = from->first;
    from->first = message->next;
    if (from->first == NULL)
        from->last = &from->first;
    from->bytes -= message->length;
    free(message);
}

static void object_changed(os_handle handle);

static void object_close(os_handle handle)
{
    struct object *object = object_must(handle);
    os_handle peer = object->peer;
    for (unsigned i = 0; i < object->backlog_count; i++)
        object_close(object->backlog[i]);
    while (object->first != NULL)
        message_drop(object);
    objects[handle - HANDLE_FIRST] = NULL;
    handles_open--;
    free(object);
    if (peer != HANDLE_NONE && object_at(peer) != NULL) {
        object_at(peer)->peer = HANDLE_NONE;
        object_changed(peer);
    }
}

/* Carrying out. Returns whether the operation has completed; false: it would block. */

static bool try_receive(struct object *object, operation *o, void *buffer, size_t size)
{
    const struct message *message = object->first;
    if (message == NULL) {
        results_fill(o, MR_E_GONE, 0, 0);
        return object->peer == HANDLE_NONE;
    }
    if (message->length > size) {
        results_fill(o, MR_E_SMALL, 0, message->length);
        return true;
    }
    if (message->length > 0)
        memcpy(buffer, message->data, message->length);
    results_fill(o, MR_OK, 0, message->length);
    message_drop(object);
    if (object->peer != HANDLE_NONE)
        object_changed(object->peer); /* there is room again */
    return true;
}

static bool try_send(struct object *object, operation *o, const void *data, size_t length)
{
    struct object *to = object->peer == HANDLE_NONE ? NULL : object_must(object->peer);
    if (to == NULL) {
        results_fill(o, MR_E_GONE, 0, 0);
    } else if (length > SIMULATED_CAPACITY) {
        results_fill(o, MR_E_TOO_BIG, 0, 0);
    } else if (message_fits(to, length)) {
        message_push(to, data, length);
        results_fill(o, MR_OK, 0, length);
        object_changed(object->peer);
    } else {
        return false;
    }
    return true;
}

static bool try_accept(struct object *object, operation *o)
{
    if (object->backlog_count == 0)
        return false;
    results_fill(o, MR_OK, 0, 0);
    o->accepted = object->backlog[0];
    object->backlog_count--;
    memmove(object->backlog, object->backlog + 1, object->backlog_count * sizeof *object->backlog);
    return true;
}

static bool is_ready(const struct object *object, enum kind kind)
{
    if (object->type == OBJECT_EVENT)
        return object->signalled;
    if (object->type == OBJECT_LISTENER)
        return object->backlog_count > 0;
    return object->peer == HANDLE_NONE ||
           (kind == KIND_WATCH_IN ? object->first != NULL : message_fits(object_must(object->peer), 1));
}

static bool operation_try(struct object *object, operation *o)
{
    struct state *s = state_of(o);
    switch (s->kind) {
    case KIND_RECEIVE:
        return try_receive(object, o, s->buffer, s->size);
    case KIND_SEND:
        return try_send(object, o, s->buffer, s->size);
    case KIND_ACCEPT:
        return try_accept(object, o);
    case KIND_WATCH_IN:
    case KIND_WATCH_OUT:
        results_fill(o, MR_OK, 0, 0);
        return is_ready(object, s->kind);
    }
    abort();
}

/* Tries again what waits on the object. */
static void object_changed(os_handle handle)
{
    struct object *object = object_at(handle);
    if (object == NULL || object->endpoint == NULL)
        return;
    for (int d = 0; d < 2; d++) {
        operation *o = object->endpoint->pending[d];
        if (o != NULL && state_of(o)->place == PLACE_ARMED && operation_try(object, o))
            packet_push(object->endpoint->port, o, CLASS_COMPLETED);
    }
}

/* backend.h */

int port_open(port **out, const struct port_options *options)
{
    mutex_lock(&world);
    bool fails = fault_strikes(SIMULATED_PORT);
    mutex_unlock(&world);
    if (fails)
        return status_fail(faults[SIMULATED_PORT].status, faults[SIMULATED_PORT].os_error, "simulated");
    port *p = calloc(1, sizeof *p);
    if (p == NULL)
        return status_fail_plain(MR_E_MEMORY);
    condition_init(&p->changed);
    p->concurrency = options != NULL && options->concurrency != 0 ? options->concurrency : 2;
    *out = p;
    return MR_OK;
}

uint32_t port_concurrency(const port *p)
{
    return p->concurrency;
}

void port_close(port *p)
{
    mutex_lock(&world);
    assert(p->stopped && p->waiters == 0 && p->endpoints == NULL);
    for (int class = 0; class < CLASSES; class ++)
        assert(p->ready[class].count == 0);
    mutex_unlock(&world);
    condition_destroy(&p->changed);
    free(p);
}

int endpoint_open(endpoint **out, port *p, os_handle handle)
{
    int status = MR_OK;
    int64_t os_error = 0;
    mutex_lock(&world);
    struct object *object = object_at(handle);
    endpoint *e = NULL;
    if (fault_strikes(SIMULATED_ENDPOINT)) {
        status = faults[SIMULATED_ENDPOINT].status;
        os_error = faults[SIMULATED_ENDPOINT].os_error;
    } else if (object == NULL || object->endpoint != NULL) {
        status = MR_E_ARGUMENT;
    } else if ((e = calloc(1, sizeof *e)) == NULL) {
        status = MR_E_MEMORY;
    } else {
        e->port = p;
        e->handle = handle;
        e->next = p->endpoints;
        e->link = &p->endpoints;
        if (e->next != NULL)
            e->next->link = &e->next;
        p->endpoints = e;
        object->endpoint = e;
        *out = e;
    }
    mutex_unlock(&world);
    return status == MR_OK ? MR_OK : status_fail(status, os_error, "the handle cannot be associated");
}

os_handle endpoint_handle(const endpoint *e)
{
    return e->handle;
}

void endpoint_close(endpoint *e)
{
    mutex_lock(&world);
    assert(e->pending[0] == NULL && e->pending[1] == NULL);
    *e->link = e->next;
    if (e->next != NULL)
        e->next->link = e->link;
    object_close(e->handle);
    mutex_unlock(&world);
    free(e);
}

static bool operation_fits(const struct object *object, enum kind kind)
{
    switch (object->type) {
    case OBJECT_CHANNEL:
        return kind != KIND_ACCEPT;
    case OBJECT_LISTENER:
        return kind == KIND_ACCEPT || kind == KIND_WATCH_IN;
    case OBJECT_EVENT:
        return kind == KIND_WATCH_IN;
    }
    abort();
}

static enum started operation_start(endpoint *e, operation *o, enum kind kind, void *buffer, size_t size)
{
    static const enum simulated_start starts[] = {[KIND_RECEIVE] = SIMULATED_RECEIVE,
                                                  [KIND_ACCEPT] = SIMULATED_ACCEPT,
                                                  [KIND_WATCH_IN] = SIMULATED_WATCH,
                                                  [KIND_SEND] = SIMULATED_SEND,
                                                  [KIND_WATCH_OUT] = SIMULATED_WATCH};
    int direction = kind == KIND_SEND || kind == KIND_WATCH_OUT;
    enum started started = STARTED_DONE;
    mutex_lock(&world);
    struct object *object = object_must(e->handle);
    struct state *s = state_of(o);
    if (e->port->stopped) {
        results_fill(o, MR_E_STOPPED, 0, 0);
    } else if (e->pending[direction] != NULL) {
        results_fill(o, MR_E_ARGUMENT, 0, 0);
    } else if (!operation_fits(object, kind)) {
        results_fill(o, MR_E_UNSUPPORTED, 0, 0);
    } else {
        assert(s->place == PLACE_IDLE);
        s->kind = kind;
        s->buffer = buffer;
        s->size = size;
        bool completed = true;
        if (fault_strikes(starts[kind]))
            results_fill(o, faults[starts[kind]].status, faults[starts[kind]].os_error, 0);
        else
            completed = operation_try(object, o);
        if (!completed || random_below(2) == 0) {
            started = STARTED_PENDING;
            s->endpoint = e;
            s->place = PLACE_ARMED;
            e->pending[direction] = o;
            if (completed)
                packet_push(e->port, o, CLASS_COMPLETED);
        }
    }
    mutex_unlock(&world);
    return started;
}

enum started port_receive(endpoint *e, operation *o, void *buffer, size_t size)
{
    return operation_start(e, o, KIND_RECEIVE, buffer, size);
}

enum started port_send(endpoint *e, operation *o, const void *data, size_t length)
{
    return operation_start(e, o, KIND_SEND, (void *) (uintptr_t) data, length);
}

enum started port_accept(endpoint *e, operation *o)
{
    return operation_start(e, o, KIND_ACCEPT, NULL, 0);
}

enum started port_watch(endpoint *e, operation *o, enum wait_direction direction)
{
    return operation_start(e, o, direction == WAIT_IN ? KIND_WATCH_IN : KIND_WATCH_OUT, NULL, 0);
}

int port_post(port *p, operation *o)
{
    mutex_lock(&world);
    bool stopped = p->stopped;
    if (!stopped) {
        assert(state_of(o)->place == PLACE_IDLE);
        packet_push(p, o, CLASS_POSTED);
    }
    mutex_unlock(&world);
    return stopped ? status_fail_plain(MR_E_STOPPED) : MR_OK;
}

int port_post_last(port *p, operation *o)
{
    return port_post(p, o);
}

void port_hand_on(port *p)
{
    (void) p; /* every packet wakes somebody */
}

bool port_quiet(const port *p)
{
    (void) p;
    return false;
}

enum started port_set_deadline(port *p, operation *o, uint64_t deadline)
{
    enum started started = STARTED_DONE;
    mutex_lock(&world);
    if (p->stopped) {
        results_fill(o, MR_E_STOPPED, 0, 0);
    } else if (fault_strikes(SIMULATED_DEADLINE)) {
        results_fill(o, faults[SIMULATED_DEADLINE].status, faults[SIMULATED_DEADLINE].os_error, 0);
    } else {
        results_fill(o, MR_OK, 0, 0);
        state_of(o)->place = PLACE_DEADLINE;
        deadline_insert(&p->deadlines, &state_of(o)->deadline, deadline);
        if (deadline_first(&p->deadlines) == &state_of(o)->deadline)
            condition_signal(&p->changed); /* somebody's time-out is too long now */
        started = STARTED_PENDING;
    }
    mutex_unlock(&world);
    return started;
}

static operation *deadline_owner(struct deadline *node)
{
    char *s = (char *) node - offsetof(struct state, deadline);
    return (operation *) (void *) (s - offsetof(operation, backend));
}

static void cancel_locked(port *p, operation *o)
{
    struct state *s = state_of(o);
    if (s->place == PLACE_DEADLINE)
        deadline_remove(&p->deadlines, &s->deadline);
    else if (s->place != PLACE_ARMED)
        return;
    results_fill(o, MR_E_CANCELLED, 0, 0);
    packet_push(p, o, CLASS_COMPLETED);
}

void port_cancel(port *p, operation *o)
{
    mutex_lock(&world);
    cancel_locked(p, o);
    mutex_unlock(&world);
}

void port_stop(port *p)
{
    mutex_lock(&world);
    p->stopped = true;
    for (endpoint *e = p->endpoints; e != NULL; e = e->next)
        for (int d = 0; d < 2; d++)
            if (e->pending[d] != NULL)
                cancel_locked(p, e->pending[d]);
    for (struct deadline *first; (first = deadline_first(&p->deadlines)) != NULL;)
        cancel_locked(p, deadline_owner(first));
    condition_broadcast(&p->changed);
    mutex_unlock(&world);
}

static void deadlines_collect(port *p)
{
    uint64_t now = clock_locked();
    for (struct deadline *first; (first = deadline_first(&p->deadlines)) != NULL && first->when <= now;) {
        deadline_remove(&p->deadlines, first);
        packet_push(p, deadline_owner(first), CLASS_DUE);
    }
}

/* One packet of a class that the seed chooses (S2), or NULL. */
static operation *packet_choose(port *p)
{
    enum class classes[CLASSES];
    unsigned count = 0;
    for (enum class class = 0; class < CLASSES; class ++)
        if (p->ready[class].count > 0 && !(class == p->streak_of && p->streak >= STREAK))
            classes[count++] = class;
    if (count == 0 && p->ready[p->streak_of].count > 0)
        classes[count++] = p->streak_of;
    if (count == 0)
        return NULL;
    enum class class = classes[random_below(count)];
    p->streak = class == p->streak_of ? p->streak + 1 : 1;
    p->streak_of = class;
    struct list *list = &p->ready[class];
    operation *o = packet_pop(list, class == CLASS_COMPLETED ? random_below((uint32_t) list->count) : 0);
    struct state *s = state_of(o);
    if (s->endpoint != NULL)
        s->endpoint->pending[s->endpoint->pending[0] == o ? 0 : 1] = NULL;
    s->endpoint = NULL;
    s->place = PLACE_IDLE;
    return o;
}

/* Lets time pass until `until` or a change. */
static void time_pass(port *p, uint64_t until)
{
    if (threads) {
        p->waiters++;
        condition_wait_until(&p->changed, &world, until);
        p->waiters--;
    } else if (until == CLOCK_NEVER) {
        fprintf(stderr, "simulated port: a thread that is alone would wait for ever\n");
        abort();
    } else {
        now_simulated = until;
    }
}

int port_wait(port *p, operation **out, uint64_t deadline)
{
    int status = MR_OK;
    bool slept = false;
    mutex_lock(&world);
    for (;;) {
        deadlines_collect(p);
        operation *o = packet_choose(p);
        if (o != NULL) {
            *out = o;
            break;
        }
        if (p->stopped) {
            status = MR_E_STOPPED;
            break;
        }
        if (deadline <= clock_locked()) {
            status = MR_E_TIMEOUT;
            break;
        }
        wakeups += slept;
        slept = true;
        const struct deadline *first = deadline_first(&p->deadlines);
        time_pass(p, first != NULL && first->when < deadline ? first->when : deadline);
    }
    mutex_unlock(&world);
    return status;
}

/* The far ends */

void simulated_pair(os_handle *near_end, os_handle *far_end)
{
    mutex_lock(&world);
    *near_end = object_new(OBJECT_CHANNEL);
    *far_end = object_new(OBJECT_CHANNEL);
    object_must(*near_end)->peer = *far_end;
    object_must(*far_end)->peer = *near_end;
    mutex_unlock(&world);
}

bool simulated_send(os_handle far_end, const void *data, size_t length)
{
    mutex_lock(&world);
    os_handle peer = object_must(far_end)->peer;
    bool fits = peer != HANDLE_NONE && message_fits(object_must(peer), length);
    if (fits) {
        message_push(object_must(peer), data, length);
        object_changed(peer);
    }
    mutex_unlock(&world);
    return fits;
}

int64_t simulated_receive(os_handle far_end, void *buffer, size_t size)
{
    operation o;
    memset(&o, 0, sizeof o);
    mutex_lock(&world);
    bool completed = try_receive(object_must(far_end), &o, buffer, size);
    mutex_unlock(&world);
    return !completed ? -2 : o.status == MR_OK ? (int64_t) o.bytes : -1;
}

void simulated_close(os_handle handle)
{
    mutex_lock(&world);
    object_close(handle);
    mutex_unlock(&world);
}

os_handle simulated_listener(void)
{
    mutex_lock(&world);
    os_handle handle = object_new(OBJECT_LISTENER);
    mutex_unlock(&world);
    return handle;
}

os_handle simulated_connect(os_handle listener)
{
    os_handle near_end, far_end;
    simulated_pair(&near_end, &far_end);
    mutex_lock(&world);
    struct object *object = object_must(listener);
    assert(object->backlog_count < sizeof object->backlog / sizeof *object->backlog);
    object->backlog[object->backlog_count++] = near_end;
    object_changed(listener);
    mutex_unlock(&world);
    return far_end;
}

os_handle simulated_event(void)
{
    mutex_lock(&world);
    os_handle handle = object_new(OBJECT_EVENT);
    mutex_unlock(&world);
    return handle;
}

void simulated_signal(os_handle event, bool signalled)
{
    mutex_lock(&world);
    object_must(event)->signalled = signalled;
    object_changed(event);
    mutex_unlock(&world);
}

unsigned simulated_open_handles(void)
{
    mutex_lock(&world);
    unsigned count = handles_open;
    mutex_unlock(&world);
    return count;
}
