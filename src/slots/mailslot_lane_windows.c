/* mailslot_lane_windows.c: one mailslot of a slot.
 *
 * Path    lane_create > lane_prepare (a buffer) > lane_start (overlapped ReadFile) > PENDING > packet or event > DONE
 *         > lane_result > the message, in the buffer that it was read into
 * Owners  While PENDING, buffer and operation are the system's (and change under the slot's lock only from there on);
 *         otherwise the taking thread's.
 * L1      At most one read is under way on a mailslot: too small a buffer makes *every* pending read fail, and two
 *         completions may be handled in either order.
 * L2      Immediate success, immediate error and packet end in the same place: state DONE, the result in `operation`.
 * L3      A message larger than max_message (or than the pool can ever hold) is read all the same, into memory of its own,
 *         and dropped and counted: nothing else takes it out of the system's queue.
 * L4      The mailslot's own time-out is MAILSLOT_WAIT_FOREVER.
 * L5      Where CreateMailslotW gives a handle for synchronous calls (such a handle cannot be associated with a port, error
 *         87, and its ReadFile blocks), NtCreateMailslotFile with options 0 gives one that is not. Which of the two serves
 *         is found out once, on a mailslot of a name of our own, so that the slot itself is created once.
 * L6      After a failure of the system's a pause of 1 ms, doubled up to 1 s: a read that fails at once is not repeated at
 *         once.
 * L7      The event is the slot's, for all lanes: GetOverlappedResult, told to wait, would take another lane's completion for
 *         this one's. The result is stored before the event is set, so after a reset and another look the wait is for it.
 */
#include "slots/mailslot_windows.h"

#include <stdio.h>
#include <string.h>

#include <winternl.h>

#include "queue/memory.h"
#include "queue/status.h"
#include "slots/slot_message.h"
#include "slots/wide_windows.h"

#define PAUSE_FIRST_NS UINT64_C(1000000)
#define PAUSE_LAST_NS  UINT64_C(1000000000)

/* Below this a buffer that is too large is not worth a copy. */
#define SHRINK_FROM ((size_t) 1024)

/* ---- creating ---- */

typedef NTSTATUS(NTAPI *create_function)(HANDLE *handle, ULONG access, OBJECT_ATTRIBUTES *attributes,
                                         IO_STATUS_BLOCK *block, ULONG options, ULONG quota, ULONG size,
                                         LARGE_INTEGER *time_out);

enum way { WAY_UNKNOWN, WAY_DOCUMENTED, WAY_NATIVE };
static _Atomic int way;

/* An overlapped read works on such a handle? (L5) */
static bool handle_overlapped(HANDLE handle)
{
    enum { FILE_MODE_INFORMATION_CLASS = 16, SYNCHRONOUS_ALERT = 0x10, SYNCHRONOUS_NONALERT = 0x20 };
    IO_STATUS_BLOCK block;
    ULONG mode = 0;
    NTSTATUS status = NtQueryInformationFile(handle, &block, &mode, sizeof mode,
                                             (FILE_INFORMATION_CLASS) FILE_MODE_INFORMATION_CLASS);
    return status >= 0 && (mode & (SYNCHRONOUS_ALERT | SYNCHRONOUS_NONALERT)) == 0;
}

static enum way way_find(void)
{
    enum way known = (enum way) atomic_load_explicit(&way, memory_order_relaxed);
    if (known != WAY_UNKNOWN)
        return known;
    wchar_t name[96];
    (void) swprintf(name, sizeof name / sizeof name[0], L"\\\\.\\mailslot\\mailroom\\probe\\%lu\\%lu",
                    GetCurrentProcessId(), GetCurrentThreadId());
    HANDLE probe = CreateMailslotW(name, 0, MAILSLOT_WAIT_FOREVER, NULL);
    if (probe == INVALID_HANDLE_VALUE)
        return WAY_DOCUMENTED; /* for this time: the slot's own creation tells what is wrong */
    known = handle_overlapped(probe) ? WAY_DOCUMENTED : WAY_NATIVE;
    CloseHandle(probe);
    atomic_store_explicit(&way, known, memory_order_relaxed);
    return known;
}

static HANDLE create_native(const wchar_t *name, DWORD size, PSECURITY_DESCRIPTOR security)
{
    static const wchar_t prefix[] = L"\\??\\";
    HMODULE system = GetModuleHandleW(L"ntdll.dll");
    create_function create =
        system == NULL ? NULL : (create_function) (void (*)(void)) GetProcAddress(system, "NtCreateMailslotFile");
    size_t units = sizeof prefix / sizeof prefix[0] - 1 + wcslen(name + 4);
    wchar_t *path = create == NULL ? NULL : memory_calloc(units + 1, sizeof *path);
    if (path == NULL) {
        SetLastError(create == NULL ? ERROR_NOT_SUPPORTED : ERROR_NOT_ENOUGH_MEMORY);
        return INVALID_HANDLE_VALUE;
    }
    (void) swprintf(path, units + 1, L"%ls%ls", prefix, name + 4); /* behind \\.\ */
    UNICODE_STRING text = {.Length = (USHORT) (units * sizeof *path),
                           .MaximumLength = (USHORT) ((units + 1) * sizeof *path),
                           .Buffer = path};
    OBJECT_ATTRIBUTES attributes = {.Length = sizeof attributes,
                                    .ObjectName = &text,
                                    .Attributes = OBJ_CASE_INSENSITIVE,
                                    .SecurityDescriptor = security};
    IO_STATUS_BLOCK block;
    LARGE_INTEGER forever = {.QuadPart = -1}; /* L4 */
    HANDLE handle;
    NTSTATUS status =
        create(&handle, GENERIC_READ | SYNCHRONIZE | WRITE_DAC, &attributes, &block, 0, 0, size, &forever);
    memory_free(path);
    if (status >= 0)
        return handle;
    SetLastError(RtlNtStatusToDosError(status));
    return INVALID_HANDLE_VALUE;
}

HANDLE mailslot_create(const wchar_t *name, size_t max_message, PSECURITY_DESCRIPTOR security)
{
    DWORD size = max_message > UINT32_MAX ? 0 : (DWORD) max_message; /* 0: any */
    SECURITY_ATTRIBUTES attributes = {.nLength = sizeof attributes, .lpSecurityDescriptor = security};
    if (way_find() == WAY_NATIVE)
        return create_native(name, size, security);
    return CreateMailslotW(name, size, MAILSLOT_WAIT_FOREVER, &attributes);
}

static int create_fail(const struct slot_name *name, unsigned level, DWORD error)
{
    int status = wide_status(error);
    if (status == MR_E_EXISTS && level > 0)
        return status_fail(status, error, "%s\\~%u is taken, which would carry this slot's messages of level %u",
                           name->display, level, level);
    if (status == MR_E_EXISTS)
        return status_fail(status, error, "%s: a live slot has this name", name->display);
    if (status == MR_E_NO_SLOT)
        status = MR_E_NAME; /* "path not found": the system takes no such name */
    return status_fail(status, error, "cannot create the mailslot %s: error %lu", name->display, error);
}

static void lane_on_packet(operation *completed);

int lane_create(struct lane **out, slot *s, const struct slot_name *name, unsigned level)
{
    struct lane *lane = memory_zalloc(sizeof *lane);
    wchar_t *wide = lane == NULL ? NULL : wide_slot_name(name, level);
    if (wide == NULL) {
        memory_free(lane);
        return status_fail_plain(MR_E_MEMORY);
    }
    lane->slot = s;
    lane->level = level;
    lane->operation.handler = lane_on_packet;
    size_advisor_init(&lane->advisor, 0);
    lane->handle = mailslot_create(wide, s->max_message, s->security);
    int status = lane->handle == INVALID_HANDLE_VALUE ? create_fail(name, level, GetLastError()) : MR_OK;
    memory_free(wide);
    if (status == MR_OK && s->port != NULL) {
        status = endpoint_open(&lane->end, s->port, (os_handle) lane->handle);
        if (status != MR_OK)
            CloseHandle(lane->handle);
    }
    if (status != MR_OK) {
        memory_free(lane);
        return status;
    }
    *out = lane;
    return MR_OK;
}

uint64_t lane_waiting(const struct lane *lane, uint64_t *next)
{
    DWORD size = MAILSLOT_NO_MESSAGE, count = 0;
    if (!GetMailslotInfo(lane->handle, NULL, &size, &count, NULL) || count == 0)
        return 0;
    *next = size;
    return count;
}

uint64_t lane_destroy(struct lane *lane)
{
    uint64_t next;
    uint64_t lost = lane_waiting(lane, &next);
    if (lane->state == LANE_DONE && !lane->pausing && lane->operation.status == MR_OK && lane->spill == NULL)
        lost++; /* read, and not looked at */
    if (lane->end != NULL)
        endpoint_close(lane->end);
    else
        CloseHandle(lane->handle);
    if (lane->buffer != NULL)
        buffer_release(lane->buffer, NULL);
    memory_free(lane->spill);
    memory_free(lane);
    return lost;
}

/* ---- reading ---- */

/* Without a port: what endpoint_windows.c does with one. */
static void result_set(struct lane *lane, DWORD error, DWORD bytes)
{
    operation *o = &lane->operation;
    uint64_t next = 0;
    o->os_error = error;
    o->bytes = bytes;
    switch (error) {
    case ERROR_SUCCESS:
        o->status = MR_OK;
        break;
    case ERROR_OPERATION_ABORTED:
        o->status = MR_E_CANCELLED;
        break;
    case ERROR_INSUFFICIENT_BUFFER:
        o->status = MR_E_SMALL;
        o->bytes = lane_waiting(lane, &next) > 0 ? (size_t) next : 0;
        break;
    default:
        o->status = MR_E_SYSTEM;
        break;
    }
    lane->state = LANE_DONE;
}

static void read_direct(struct lane *lane, void *data, DWORD size)
{
    lane->overlapped = (OVERLAPPED){.hEvent = lane->slot->arrived};
    DWORD bytes = 0;
    if (ReadFile(lane->handle, data, size, NULL, &lane->overlapped)) {
        DWORD error =
            GetOverlappedResult(lane->handle, &lane->overlapped, &bytes, FALSE) ? ERROR_SUCCESS : GetLastError();
        result_set(lane, error, bytes);
        return;
    }
    DWORD error = GetLastError();
    if (error == ERROR_IO_PENDING)
        lane->state = LANE_PENDING;
    else
        result_set(lane, error, 0);
}

void lane_start(struct lane *lane)
{
    slot *s = lane->slot;
    void *data = lane->spill != NULL ? lane->spill : buffer_data(lane->buffer);
    size_t size = lane->spill != NULL ? lane->spill_size : lane->buffer->capacity;
    if (s->port == NULL) {
        read_direct(lane, data, size > INT32_MAX ? INT32_MAX : (DWORD) size);
        return;
    }
    bool pending = port_receive(lane->end, &lane->operation, data, size) == STARTED_PENDING;
    lane->state = pending ? LANE_PENDING : LANE_DONE; /* L2; its packet waits for the lock */
    s->pending += pending;
}

void lane_poll(struct lane *lane)
{
    DWORD bytes = 0;
    if (lane->state != LANE_PENDING || lane->slot->port != NULL)
        return;
    if (GetOverlappedResult(lane->handle, &lane->overlapped, &bytes, FALSE)) {
        result_set(lane, ERROR_SUCCESS, bytes);
        return;
    }
    DWORD error = GetLastError();
    if (error != ERROR_IO_INCOMPLETE)
        result_set(lane, error, 0);
}

void lane_cancel(struct lane *lane)
{
    if (lane->state != LANE_PENDING)
        return;
    if (lane->slot->port != NULL) {
        port_cancel(lane->slot->port, &lane->operation);
        return;
    }
    (void) CancelIoEx(lane->handle, &lane->overlapped); /* an error: it has completed */
    lane_poll(lane);
    while (lane->state == LANE_PENDING) { /* L7 */
        ResetEvent(lane->slot->arrived);
        lane_poll(lane);
        if (lane->state == LANE_PENDING)
            (void) WaitForSingleObject(lane->slot->arrived, INFINITE);
    }
}

static void lane_release(struct lane *lane, struct pool_cache *cache)
{
    if (lane->buffer != NULL)
        buffer_release(lane->buffer, cache);
    lane->buffer = NULL;
    memory_free(lane->spill);
    lane->spill = NULL;
}

enum lane_result lane_prepare(struct lane *lane, struct pool_cache *cache, size_t *wanted)
{
    if (lane->buffer != NULL || lane->spill != NULL)
        return LANE_NOTHING;
    *wanted = lane->advisor.size;
    bool got = pool_get(lane->slot->pool, cache, *wanted, lane->level > 0, &lane->buffer) == POOL_OK;
    return got ? LANE_NOTHING : LANE_STARVED;
}

/* L6 */
static enum lane_result lane_pause(struct lane *lane)
{
    slot *s = lane->slot;
    lane->pause_ns = lane->pause_ns == 0 ? PAUSE_FIRST_NS : lane->pause_ns * 2;
    if (lane->pause_ns > PAUSE_LAST_NS)
        lane->pause_ns = PAUSE_LAST_NS;
    mutex_lock(&s->lock);
    lane->state = LANE_IDLE;
    if (lane->retired) { /* who ends it does not try again */
        mutex_unlock(&s->lock);
        return LANE_FAILED;
    }
    lane->retry_at = clock_now() + lane->pause_ns;
    if (s->port != NULL && port_set_deadline(s->port, &lane->operation, lane->retry_at) == STARTED_PENDING) {
        lane->pausing = true;
        lane->state = LANE_PENDING;
        s->pending++;
    }
    mutex_unlock(&s->lock);
    return LANE_FAILED;
}

/* The next message has `size` bytes: another buffer, or memory to drop it from (L3). */
static enum lane_result lane_enlarge(struct lane *lane, struct pool_cache *cache, size_t size, size_t *wanted)
{
    slot *s = lane->slot;
    lane_release(lane, cache);
    if (size <= s->max_message) {
        *wanted = size;
        enum pool_result got = pool_get(s->pool, cache, size, lane->level > 0, &lane->buffer);
        if (got == POOL_OK)
            return LANE_NOTHING;
        if (got != POOL_NEVER)
            return LANE_STARVED;
    }
    lane->spill = memory_alloc(size);
    lane->spill_size = size;
    return lane->spill == NULL ? lane_pause(lane) : LANE_NOTHING;
}

static struct buffer *message_make(struct lane *lane, struct pool_cache *cache)
{
    struct buffer *buffer = lane->buffer;
    size_t length = lane->operation.bytes;
    lane->buffer = NULL;
    *slot_message_of(buffer) = (struct slot_message){
        .public = {.sender = {.uid = UINT32_MAX, .gid = UINT32_MAX}, .priority = lane->level, .lane = MR_LANE_NATIVE},
    };
    slot_message_finish(buffer, length);
    if (buffer->capacity >= SHRINK_FROM && length <= buffer->capacity / 2) {
        buffer = buffer_shrink(buffer, cache, lane->level > 0);
        slot_message_finish(buffer, length);
    }
    return buffer;
}

static enum lane_result lane_arrived(struct lane *lane, struct pool_cache *cache, struct buffer **message)
{
    slot *s = lane->slot;
    lane->pause_ns = 0;
    if (lane->spill != NULL || lane->operation.bytes > s->max_message) {
        lane_release(lane, cache);
        atomic_fetch_add_explicit(&s->counts.dropped_too_big, 1, memory_order_relaxed);
        return LANE_NOTHING;
    }
    size_advisor_learn(&lane->advisor, lane->operation.bytes);
    *message = message_make(lane, cache);
    return LANE_MESSAGE;
}

enum lane_result lane_result(struct lane *lane, struct pool_cache *cache, struct buffer **message, size_t *wanted)
{
    slot *s = lane->slot;
    const operation *o = &lane->operation;
    mutex_lock(&s->lock);
    lane->state = LANE_IDLE;
    bool paused = lane->pausing;
    lane->pausing = false;
    mutex_unlock(&s->lock);
    if (paused || o->status == MR_E_CANCELLED)
        return LANE_NOTHING;
    if (o->status == MR_OK)
        return lane_arrived(lane, cache, message);
    if (o->status != MR_E_SMALL)
        return lane_pause(lane);
    size_t size = lane->spill != NULL ? lane->spill_size : lane->buffer->capacity;
    return lane_enlarge(lane, cache, o->bytes > size ? o->bytes : size * 2, wanted);
}

/* ---- packets ---- */

static void lane_on_packet(operation *completed)
{
    struct lane *lane = (struct lane *) (void *) ((char *) completed - offsetof(struct lane, operation));
    slot_lane_completed(lane->slot, lane);
}
