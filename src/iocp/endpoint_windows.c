/* endpoint_windows.c: operations on the handles of a completion port.
 *
 * Path    port_receive/port_send ─► ReadFile/WriteFile, overlapped ─► packet (KEY_SYSTEM) ─► endpoint_complete
 *         port_accept, port_watch ─► a wait in the thread pool ─► packet (KEY_POSTED) ─► endpoint_complete
 *
 * What a handle can do
 *   mailslot (reading)   receive. Too small a buffer leaves the message: the system's own way.
 *   mailslot (writing), file, socket and others   receive, send. A file is read from its beginning on and written at
 *                        its end. These and the mailslot skip the packet after an immediate success (C3).
 *   named pipe           receive, send, and accept on a server's end that is not connected yet.
 *   event and what else can be waited for   watch, inward.
 *
 * Owners  An endpoint's lock guards its fields, the operations PENDING on it, and the calls that start and cancel
 *         them. Thread-pool callbacks take no lock and touch nothing but `claimed` and the port.
 *
 * E1  Endpoints are never freed before the port, so port_cancel may take the lock of one that was just closed.
 * E2  `pending[direction]` is set from the start until the packet is taken out: a second one is refused (C5). A start
 *     looks at `stopping` under the lock, and port_stop takes every lock after setting it, so it sees what it must
 *     cancel or the start sees it.
 * E3  An accept's or a watch's packet is queued by whoever sets `claimed` first: the callback or a cancel (C1). The
 *     wait is unregistered when the packet is taken out, which waits for a callback under way; the starter stores
 *     `wait` under the lock, and whoever takes the packet out reads it there.
 * E4  A pipe in message mode loses the rest of a message that is read into too small a buffer, which C6 forbids. So a
 *     receive asks first (PeekNamedPipe), reads at once what is there, and otherwise starts a read of zero bytes, the
 *     gate: the system ends it when a message comes, and leaves the message where it is. The worker that takes the
 *     gate's packet reads the message. (An empty message ends the gate as a success, and is thereby read.) A cancelled
 *     receive has thus taken no message. The gate ends with a warning (ERROR_MORE_DATA), for which the system's rules on
 *     skipping packets say nothing, so pipes do not skip.
 * E5  A pipe's server end serves one peer. Accept hands it over, unassociated, as the connection, and the endpoint goes
 *     on with a further instance of the same pipe; hence server ends are associated at their first receive or send. */
#include "iocp/port_windows.h"

#include "queue/memory.h"

enum endpoint_kind { ENDPOINT_MAILSLOT, ENDPOINT_PIPE, ENDPOINT_FILE, ENDPOINT_OTHER, ENDPOINT_EVENT };

struct endpoint {
    /* Constant while open. */
    port *port;
    enum endpoint_kind kind;
    bool server;   /* a pipe's server end */
    bool messages; /* a pipe that keeps message boundaries */

    endpoint *next_all, *next_free; /* under the port's table lock */
    bool open;

    mutex lock; /* guards what follows */
    HANDLE handle;
    bool associated;
    bool skips;   /* no packet after an immediate success */
    HANDLE event; /* for reads that must not queue a packet; made at the first */
    operation *pending[2];
    uint64_t position; /* of a file's next read */
};

/* ------------------------------------------------------------------------------------------------------- results */

/* Fills in the results of a call that ended with `error`. */
static void results_set(endpoint *e, operation *o, DWORD error, size_t bytes)
{
    o->status = error_status(error);
    o->os_error = error;
    o->bytes = o->status == MR_OK ? bytes : 0;
    if (o->status == MR_E_SMALL && e->kind == ENDPOINT_MAILSLOT) {
        DWORD next;
        if (GetMailslotInfo(e->handle, NULL, &next, NULL, NULL) && next != MAILSLOT_NO_MESSAGE)
            o->bytes = next;
    }
    if (o->status == MR_OK && e->kind == ENDPOINT_FILE && state_of(o)->kind == KIND_RECEIVE)
        e->position += bytes;
}

/* A size in the system's own width: no call moves more than this at once. */
static DWORD size_clamp(size_t size)
{
    return size > INT32_MAX ? INT32_MAX : (DWORD) size;
}

/* --------------------------------------------------------------------------------------------- overlapped calls */

/* Each of these returns whether the operation has completed, its results filled in; if not, a packet will come. */

/* After ReadFile or WriteFile with o's OVERLAPPED. */
static bool call_ended(endpoint *e, operation *o, BOOL succeeded)
{
    DWORD error = succeeded ? ERROR_SUCCESS : GetLastError(), bytes = 0;
    if (error == ERROR_IO_PENDING || ((error == ERROR_SUCCESS || error == ERROR_MORE_DATA) && !e->skips))
        return false;
    if (error == ERROR_SUCCESS && !GetOverlappedResult(e->handle, &state_of(o)->system.overlapped, &bytes, FALSE))
        error = GetLastError();
    results_set(e, o, error, bytes);
    return true;
}

static void overlapped_clear(struct state *s, uint64_t position)
{
    s->system.overlapped = (OVERLAPPED){0};
    s->system.overlapped.Offset = (DWORD) position;
    s->system.overlapped.OffsetHigh = (DWORD) (position >> 32);
}

static bool read_start(endpoint *e, operation *o)
{
    struct state *s = state_of(o);
    overlapped_clear(s, e->kind == ENDPOINT_FILE ? e->position : 0);
    return call_ended(e, o, ReadFile(e->handle, s->buffer, size_clamp(s->size), NULL, &s->system.overlapped));
}

static bool write_start(endpoint *e, operation *o)
{
    struct state *s = state_of(o);
    if (s->size > UINT32_MAX) { /* C7: the whole message or nothing */
        o->status = MR_E_TOO_BIG;
        return true;
    }
    overlapped_clear(s, e->kind == ENDPOINT_FILE ? UINT64_MAX : 0); /* at the end of a file */
    return call_ended(e, o, WriteFile(e->handle, s->buffer, (DWORD) s->size, NULL, &s->system.overlapped));
}

/* Reads from a pipe what is known to be there. Sets *bytes; returns an error, ERROR_IO_PENDING where nothing was. */
static DWORD pipe_read(endpoint *e, void *buffer, DWORD size, DWORD *bytes)
{
    if (e->event == NULL) {
        e->event = CreateEventW(NULL, TRUE, FALSE, NULL);
        if (e->event == NULL)
            return GetLastError();
    }
    /* The low bit of the event keeps the packet from the port. */
    OVERLAPPED overlapped = {.hEvent = (HANDLE) ((ULONG_PTR) e->event | 1)};
    if (!ReadFile(e->handle, buffer, size, NULL, &overlapped)) {
        DWORD error = GetLastError();
        if (error != ERROR_IO_PENDING)
            return error;
        CancelIoEx(e->handle, &overlapped);
    }
    if (GetOverlappedResult(e->handle, &overlapped, bytes, TRUE))
        return ERROR_SUCCESS;
    DWORD error = GetLastError();
    return error == ERROR_OPERATION_ABORTED ? ERROR_IO_PENDING : error;
}

/* E4: takes a message that is there already. */
static bool pipe_take(endpoint *e, operation *o)
{
    const struct state *s = state_of(o);
    DWORD available = 0, left = 0, bytes = 0;
    if (!PeekNamedPipe(e->handle, NULL, 0, NULL, &available, &left)) {
        results_set(e, o, GetLastError(), 0);
        return true;
    }
    if (available == 0)
        return false; /* nothing, or an empty message: the gate tells */
    if (e->messages && left > s->size) {
        o->status = MR_E_SMALL;
        o->os_error = ERROR_MORE_DATA;
        o->bytes = left;
        return true;
    }
    DWORD error = pipe_read(e, s->buffer, size_clamp(s->size), &bytes);
    if (error == ERROR_IO_PENDING)
        return false;
    results_set(e, o, error, bytes);
    return true;
}

static bool gate_start(endpoint *e, operation *o)
{
    struct state *s = state_of(o);
    char nothing;
    overlapped_clear(s, 0);
    return call_ended(e, o, ReadFile(e->handle, &nothing, 0, NULL, &s->system.overlapped));
}

/* E5: server ends of pipes are associated at their first use as a connection. */
static DWORD endpoint_associate(endpoint *e)
{
    if (e->associated)
        return ERROR_SUCCESS;
    if (CreateIoCompletionPort(e->handle, e->port->iocp, KEY_SYSTEM, 0) == NULL)
        return GetLastError();
    e->associated = true;
    if (e->kind == ENDPOINT_MAILSLOT || e->kind == ENDPOINT_FILE)
        e->skips = SetFileCompletionNotificationModes(e->handle, FILE_SKIP_COMPLETION_PORT_ON_SUCCESS |
                                                                     FILE_SKIP_SET_EVENT_ON_HANDLE);
    return ERROR_SUCCESS;
}

/* ----------------------------------------------------------------------------------------- waits in the thread pool */

static void CALLBACK wait_run(void *context, BOOLEAN timed_out)
{
    (void) timed_out;
    operation *o = context;
    struct state *s = state_of(o);
    /* The endpoint cannot change before the packet is taken out, and that waits for this callback's end (E3). */
    port *p = atomic_load_explicit(&s->endpoint, memory_order_acquire)->port;
    if (!atomic_exchange_explicit(&s->claimed, true, memory_order_acq_rel))
        packet_queue(p, o);
}

static bool wait_start(endpoint *e, operation *o, HANDLE object)
{
    struct state *s = state_of(o);
    atomic_store_explicit(&s->claimed, false, memory_order_relaxed);
    if (RegisterWaitForSingleObject(&s->wait, object, wait_run, o, INFINITE,
                                    WT_EXECUTEINWAITTHREAD | WT_EXECUTEONLYONCE))
        return false;
    results_set(e, o, GetLastError(), 0);
    if (o->status == MR_E_SYSTEM && (o->os_error == ERROR_INVALID_HANDLE || o->os_error == ERROR_ACCESS_DENIED))
        o->status = MR_E_UNSUPPORTED; /* nothing that can be waited for */
    s->wait = NULL;
    return true;
}

static bool watch_start(endpoint *e, operation *o)
{
    return wait_start(e, o, e->handle);
}

/* ---------------------------------------------------------------------------------------------------------- accept */

/* E5: a peer is connected: its end is handed over and the next one made. */
static void accept_finish(endpoint *e, operation *o)
{
    HANDLE again = pipe_instance(e->handle);
    if (again == NULL) { /* the peer stays, for the next try */
        results_set(e, o, GetLastError(), 0);
        if (o->status == MR_OK || o->status == MR_E_GONE)
            o->status = MR_E_SYSTEM;
        return;
    }
    results_set(e, o, ERROR_SUCCESS, 0);
    o->accepted = (os_handle) e->handle;
    e->handle = again;
}

static bool accept_start(endpoint *e, operation *o)
{
    struct state *s = state_of(o);
    overlapped_clear(s, 0);
    s->system.overlapped.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (s->system.overlapped.hEvent == NULL) {
        results_set(e, o, GetLastError(), 0);
        return true;
    }
    DWORD error = ConnectNamedPipe(e->handle, &s->system.overlapped) ? ERROR_SUCCESS : GetLastError();
    if (error == ERROR_IO_PENDING) {
        if (!wait_start(e, o, s->system.overlapped.hEvent))
            return false;
        DWORD bytes;
        int status = o->status;
        int64_t os_error = o->os_error;
        CancelIoEx(e->handle, &s->system.overlapped);
        (void) GetOverlappedResult(e->handle, &s->system.overlapped, &bytes, TRUE);
        o->status = status; /* a peer that connected meanwhile stays, for the next try */
        o->os_error = os_error;
    } else if (error == ERROR_SUCCESS || error == ERROR_PIPE_CONNECTED || error == ERROR_NO_DATA) {
        accept_finish(e, o); /* ERROR_NO_DATA: the peer has gone already, but what it sent is there */
    } else {
        results_set(e, o, error, 0);
    }
    CloseHandle(s->system.overlapped.hEvent);
    return true;
}

/* ------------------------------------------------------------------------------------------------------ starting */

static bool kind_possible(const endpoint *e, enum kind kind, enum direction d)
{
    switch (kind) {
    case KIND_RECEIVE:
        return e->kind != ENDPOINT_EVENT;
    case KIND_SEND:
        return e->kind != ENDPOINT_EVENT && e->kind != ENDPOINT_MAILSLOT;
    case KIND_ACCEPT:
        return e->kind == ENDPOINT_PIPE && e->server && !e->associated;
    case KIND_WATCH:
        return e->kind == ENDPOINT_EVENT && d == INWARD;
    default:
        return false;
    }
}

/* Starts what s->kind says. Returns whether it has completed. */
static bool operation_call(endpoint *e, operation *o)
{
    struct state *s = state_of(o);
    if (s->kind == KIND_ACCEPT)
        return accept_start(e, o);
    if (s->kind == KIND_WATCH)
        return watch_start(e, o);
    DWORD error = endpoint_associate(e);
    if (error != ERROR_SUCCESS) {
        results_set(e, o, error, 0);
        return true;
    }
    if (s->kind == KIND_SEND)
        return write_start(e, o);
    if (e->kind == ENDPOINT_PIPE)
        return pipe_take(e, o) || gate_start(e, o);
    return read_start(e, o);
}

static void operation_forget(endpoint *e, operation *o, enum direction d)
{
    e->pending[d] = NULL;
    state_of(o)->kind = KIND_NONE;
    atomic_store_explicit(&state_of(o)->endpoint, NULL, memory_order_release);
}

static enum started operation_start(endpoint *e, operation *o, enum kind kind, enum direction d, void *buffer,
                                    size_t size)
{
    struct state *s = state_of(o);
    port *p = e->port;
    bool done = true;
    results_clear(o);
    pending_add(p);
    mutex_lock(&e->lock);
    if (atomic_load_explicit(&p->stopping, memory_order_seq_cst)) {
        o->status = MR_E_STOPPED;
    } else if (e->pending[d] != NULL) {
        o->status = MR_E_ARGUMENT;
    } else if (!kind_possible(e, kind, d)) {
        o->status = MR_E_UNSUPPORTED;
    } else {
        s->kind = (unsigned char) kind;
        s->buffer = buffer;
        s->size = size;
        s->cancelled = false;
        s->wait = NULL;
        e->pending[d] = o;
        atomic_store_explicit(&s->endpoint, e, memory_order_release);
        done = operation_call(e, o);
        if (done)
            operation_forget(e, o, d);
    }
    mutex_unlock(&e->lock);
    if (!done)
        return STARTED_PENDING;
    pending_drop(p);
    return STARTED_DONE;
}

enum started port_receive(endpoint *e, operation *o, void *buffer, size_t size)
{
    return operation_start(e, o, KIND_RECEIVE, INWARD, buffer, size);
}

enum started port_send(endpoint *e, operation *o, const void *data, size_t length)
{
    return operation_start(e, o, KIND_SEND, OUTWARD, (void *) (uintptr_t) data, length); /* WriteFile only reads it */
}

enum started port_accept(endpoint *e, operation *o)
{
    return operation_start(e, o, KIND_ACCEPT, INWARD, NULL, 0);
}

enum started port_watch(endpoint *e, operation *o, enum wait_direction direction)
{
    return operation_start(e, o, KIND_WATCH, direction == WAIT_IN ? INWARD : OUTWARD, NULL, 0);
}

/* ---------------------------------------------------------------------------------------------------- completing */

/* The packet of a receive or a send. Returns whether the operation has completed. */
static bool call_complete(endpoint *e, operation *o)
{
    struct state *s = state_of(o);
    DWORD bytes = 0;
    BOOL succeeded = GetOverlappedResult(e->handle, &s->system.overlapped, &bytes, FALSE);
    DWORD error = succeeded ? ERROR_SUCCESS : GetLastError();
    bool gate = e->kind == ENDPOINT_PIPE && s->kind == KIND_RECEIVE;
    bool opened = error == ERROR_MORE_DATA || (error == ERROR_SUCCESS && !e->messages);
    if (!gate || !opened) {
        results_set(e, o, error, bytes); /* a gate that succeeded has read an empty message */
        return true;
    }
    if (pipe_take(e, o))
        return true;
    if (s->cancelled) { /* what the gate was opened for has gone, and nobody waits for the next */
        results_set(e, o, ERROR_OPERATION_ABORTED, 0);
        return true;
    }
    return gate_start(e, o);
}

static void accept_complete(endpoint *e, operation *o)
{
    struct state *s = state_of(o);
    DWORD bytes;
    if (GetOverlappedResult(e->handle, &s->system.overlapped, &bytes, FALSE))
        accept_finish(e, o);
    else
        results_set(e, o, GetLastError(), 0);
    CloseHandle(s->system.overlapped.hEvent);
}

bool endpoint_complete(endpoint *e, operation *o)
{
    struct state *s = state_of(o);
    bool done = true;
    mutex_lock(&e->lock);
    enum direction d = e->pending[INWARD] == o ? INWARD : OUTWARD;
    if (s->wait != NULL) { /* E3: callbacks take no lock, so waiting for one here cannot block for long */
        port_must(UnregisterWaitEx(s->wait, INVALID_HANDLE_VALUE), "UnregisterWaitEx");
        s->wait = NULL;
    }
    if (s->kind == KIND_ACCEPT)
        accept_complete(e, o);
    else if (s->kind != KIND_WATCH) /* a watch has its result */
        done = call_complete(e, o);
    if (done)
        operation_forget(e, o, d);
    mutex_unlock(&e->lock);
    return done;
}

static void operation_cancel(endpoint *e, operation *o)
{
    struct state *s = state_of(o);
    s->cancelled = true;
    if (s->kind != KIND_WATCH) {
        (void) CancelIoEx(e->handle, &s->system.overlapped); /* an error: it has completed, its packet is on its way */
    } else if (!atomic_exchange_explicit(&s->claimed, true, memory_order_acq_rel)) {
        o->status = MR_E_CANCELLED;
        packet_queue(e->port, o);
    }
}

void endpoint_cancel(endpoint *e, operation *o)
{
    mutex_lock(&e->lock);
    if (e->pending[INWARD] == o || e->pending[OUTWARD] == o)
        operation_cancel(e, o);
    mutex_unlock(&e->lock);
}

void endpoints_stop(port *p)
{
    mutex_lock(&p->table_lock);
    endpoint *all = p->all; /* what is opened from here on sees `stopping` at its first start */
    mutex_unlock(&p->table_lock);
    for (endpoint *e = all; e != NULL; e = e->next_all) {
        mutex_lock(&e->lock);
        for (int d = INWARD; d <= OUTWARD; d++)
            if (e->pending[d] != NULL)
                operation_cancel(e, e->pending[d]);
        mutex_unlock(&e->lock);
    }
}

/* ------------------------------------------------------------------------------------------- opening and closing */

static void handle_classify(endpoint *e)
{
    DWORD flags;
    e->server = e->messages = false;
    if (GetNamedPipeInfo(e->handle, &flags, NULL, NULL, NULL)) {
        e->kind = ENDPOINT_PIPE;
        e->server = (flags & PIPE_SERVER_END) != 0;
        e->messages = (flags & PIPE_TYPE_MESSAGE) != 0;
        DWORD mode = PIPE_READMODE_MESSAGE | PIPE_WAIT; /* a client's end begins in byte mode */
        if (e->messages && !SetNamedPipeHandleState(e->handle, &mode, NULL, NULL))
            e->messages = false;
    } else if (GetMailslotInfo(e->handle, NULL, NULL, NULL, NULL)) {
        e->kind = ENDPOINT_MAILSLOT;
    } else {
        e->kind = GetFileType(e->handle) == FILE_TYPE_DISK ? ENDPOINT_FILE : ENDPOINT_OTHER;
    }
}

/* Whether an open endpoint of the port has this handle. A server's end is not associated yet (E5), so the system does
 * not tell. */
static bool handle_known(port *p, HANDLE handle)
{
    bool known = false;
    mutex_lock(&p->table_lock);
    for (endpoint *e = p->all; e != NULL && !known; e = e->next_all) {
        if (!e->open)
            continue;
        mutex_lock(&e->lock);
        known = e->handle == handle;
        mutex_unlock(&e->lock);
    }
    mutex_unlock(&p->table_lock);
    return known;
}

/* Associates a handle that was just put into `e`. MR_OK or the status that endpoint_open returns. */
static int handle_adopt(endpoint *e)
{
    DWORD flags;
    if (!GetHandleInformation(e->handle, &flags))
        return status_fail(MR_E_ARGUMENT, GetLastError(), "not an open handle");
    handle_classify(e);
    if (e->server) {
        if (handle_synchronous(e->handle))
            return status_fail(MR_E_UNSUPPORTED, 0, "the pipe was not opened with FILE_FLAG_OVERLAPPED");
        if (handle_known(e->port, e->handle))
            return status_fail(MR_E_ARGUMENT, 0, "the handle is associated already");
        return MR_OK;
    }
    DWORD error = endpoint_associate(e);
    if (error == ERROR_SUCCESS)
        return MR_OK;
    if (error == ERROR_INVALID_PARAMETER && !handle_synchronous(e->handle))
        return status_fail(MR_E_ARGUMENT, error, "the handle is associated already");
    if (error != ERROR_INVALID_HANDLE)
        return status_fail(MR_E_UNSUPPORTED, error, "the system associates no such handle: error %lu", error);
    e->kind = ENDPOINT_EVENT; /* no file */
    return MR_OK;
}

/* A closed endpoint to use again, or a new one. */
static endpoint *endpoint_take(port *p)
{
    mutex_lock(&p->table_lock);
    endpoint *e = p->free;
    if (e != NULL)
        p->free = e->next_free;
    mutex_unlock(&p->table_lock);
    if (e != NULL)
        return e;
    e = memory_zalloc(sizeof *e);
    if (e == NULL)
        return NULL;
    e->port = p;
    mutex_init(&e->lock);
    mutex_lock(&p->table_lock);
    e->next_all = p->all;
    p->all = e;
    mutex_unlock(&p->table_lock);
    return e;
}

static void endpoint_return(endpoint *e)
{
    mutex_lock(&e->port->table_lock);
    e->open = false;
    e->next_free = e->port->free;
    e->port->free = e;
    mutex_unlock(&e->port->table_lock);
}

int endpoint_open(endpoint **out, port *p, os_handle handle)
{
    if (handle == HANDLE_NONE || handle == 0)
        return status_fail(MR_E_ARGUMENT, 0, "no handle");
    endpoint *e = endpoint_take(p);
    if (e == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for an endpoint");
    mutex_lock(&e->lock);
    e->handle = (HANDLE) handle;
    e->associated = e->skips = false;
    e->position = 0;
    mutex_unlock(&e->lock);
    int status = handle_adopt(e);
    if (status != MR_OK) {
        endpoint_return(e);
        return status;
    }
    mutex_lock(&p->table_lock);
    e->open = true;
    mutex_unlock(&p->table_lock);
    *out = e;
    return MR_OK;
}

os_handle endpoint_handle(const endpoint *e)
{
    return (os_handle) e->handle;
}

void endpoint_close(endpoint *e)
{
    mutex_lock(&e->lock);
    port_must(CloseHandle(e->handle), "CloseHandle");
    if (e->event != NULL)
        CloseHandle(e->event);
    e->handle = e->event = NULL;
    mutex_unlock(&e->lock);
    endpoint_return(e);
}

void endpoints_free(port *p)
{
    for (endpoint *e = p->all, *next; e != NULL; e = next) {
        next = e->next_all;
        mutex_destroy(&e->lock);
        memory_free(e);
    }
}
