/* link_windows.c: a writer's link to a mailslot: a file handle for the plain name, and one for each companion it has used.
 *
 * Path    link_connect > CreateFileW(NAME) ; link_send > the level's handle (NAME\~LEVEL, opened at its first message) >
 *         overlapped WriteFile > at once, or awaited
 *
 * Owners  Everything but `wake` belongs to who may call link_send. The data of a write is the caller's: no write is under
 *         way when link_send returns.
 * L1      One write is under way at a time: several could complete in another order. On a mailslot of this machine a write
 *         completes at once, because the system copies the message into the slot's queue. One that does not is given
 *         `patience_ms` (other machines only, where the system has a network to wait for), then cancelled; the result is
 *         awaited, and what succeeded in the same instant is a success. Cancelled is "no room now" (MR_E_FULL).
 * L2      The event's low bit is set: were the handle associated with a port, no packet would be queued.
 * L3      pause_ns != 0: the last write was cancelled; waiting for room is waiting for time, 1 ms, doubled up to 100 ms.
 * L4      A slot without a companion (a program that knows nothing of this library, or has fewer levels) gets urgent messages
 *         by the next lower level that there is. During COMPANION_AGE after connecting the companion is looked for again: the
 *         slot may be just coming up, its plain name is there first.
 * L5      Handles are not inheritable, and let others read and write: the writer that does not would shut the others out.
 * L6      The page of a slot of this library says how large a message may be, which the system does not tell a writer; and
 *         that the slot has left its name, which some systems (Wine) do not tell either.
 */
#include "slots/backend.h"

#include <string.h>

#include <windows.h>

#include "queue/memory.h"
#include "queue/status.h"
#include "slots/statistics_page_windows.h"
#include "slots/wide_windows.h"

#define PAUSE_FIRST_NS UINT64_C(1000000)
#define PAUSE_LAST_NS  UINT64_C(100000000)
#define COMPANION_AGE  UINT64_C(1000000000)

/* What the system carries to a domain, or to all. */
#define BROADCAST_MAX 424u

/* ERROR_REMOTE_MAILSLOTS_DEPRECATED, newer than mingw-w64's headers. */
#define REMOTE_MAILSLOTS_OFF 3025u

struct slot_link {
    struct slot_name *name;
    wchar_t *wide[MR_LEVELS_MAX]; /* the system's names, made at first use */
    HANDLE handle[MR_LEVELS_MAX]; /* INVALID_HANDLE_VALUE: not opened */
    bool alone[MR_LEVELS_MAX];    /* L4: no companion there, and none is looked for again */
    uint32_t levels;
    uint64_t connected_at;
    const void *page;   /* of the slot that it is connected to, where that has one (L6) */
    uint32_t life;      /* as it was when connecting */
    size_t max_message; /* of the way there, and of the slot where it has a page */
    size_t max_way;     /* of the way there alone */
    DWORD patience_ms;
    uint32_t timeout_ms;
    uint64_t pause_ns; /* L3 */
    HANDLE written;    /* the write's event */
    HANDLE wake;
};

static int name_copy(struct slot_name **out, const struct slot_name *name)
{
    *out = memory_alloc(sizeof **out);
    if (*out == NULL)
        return status_fail_plain(MR_E_MEMORY);
    **out = *name;
    return MR_OK;
}

static void names_forget(slot_link *l)
{
    for (unsigned level = 0; level < MR_LEVELS_MAX; level++) {
        memory_free(l->wide[level]);
        l->wide[level] = NULL;
    }
    memory_free(l->name);
    l->name = NULL;
}

/* Is it a name of many machines, as far as this one knows: all, or its own domain? What the system knows beyond that it
 * says when it is written to. */
static bool is_broadcast(const struct slot_name *name)
{
    if (name->kind != SLOT_NAME_HOST)
        return name->kind == SLOT_NAME_ALL;
    wchar_t *server = wide_from_utf8(name->server);
    wchar_t domain[256];
    DWORD units = GetEnvironmentVariableW(L"USERDOMAIN", domain, sizeof domain / sizeof domain[0]);
    bool own = server != NULL && units > 0 && units < sizeof domain / sizeof domain[0] &&
               CompareStringOrdinal(server, -1, domain, -1, TRUE) == CSTR_EQUAL;
    memory_free(server);
    return own;
}

static void name_adopt(slot_link *l, struct slot_name *name)
{
    names_forget(l);
    l->name = name;
    l->patience_ms = name->kind == SLOT_NAME_LOCAL ? 0 : l->timeout_ms;
    l->max_way = l->max_message = is_broadcast(name) ? BROADCAST_MAX : UINT32_MAX;
}

int link_open(slot_link **out, const struct link_config *config)
{
    mr_lane lane = config->options->lane;
    if (lane != MR_LANE_NONE && lane != MR_LANE_NATIVE)
        return status_fail(MR_E_ARGUMENT, 0, "lane %d: a writer on Windows goes by the system's own mailslots (%d)",
                           (int) lane, (int) MR_LANE_NATIVE);
    slot_link *l = memory_zalloc(sizeof *l);
    if (l == NULL)
        return status_fail_plain(MR_E_MEMORY);
    for (unsigned level = 0; level < MR_LEVELS_MAX; level++)
        l->handle[level] = INVALID_HANDLE_VALUE;
    l->levels = config->options->levels;
    l->timeout_ms = config->options->timeout_ms;
    struct slot_name *name = NULL;
    int status = name_copy(&name, config->name);
    l->written = CreateEventW(NULL, TRUE, FALSE, NULL);
    l->wake = CreateEventW(NULL, FALSE, FALSE, NULL);
    if (status == MR_OK && (l->written == NULL || l->wake == NULL))
        status = status_fail(MR_E_SYSTEM, GetLastError(), "cannot make the writer's events: error %lu", GetLastError());
    if (status != MR_OK) {
        memory_free(name);
        link_close(l, false);
        return status;
    }
    name_adopt(l, name);
    *out = l;
    return MR_OK;
}

bool link_is_named(const slot_link *l, const struct slot_name *name)
{
    return name_equal(l->name, name);
}

int link_rename(slot_link *l, const struct slot_name *name)
{
    struct slot_name *copy;
    int status = name_copy(&copy, name);
    if (status != MR_OK)
        return status;
    link_disconnect(l);
    name_adopt(l, copy);
    return MR_OK;
}

/* ---- connecting ---- */

static HANDLE handle_open(slot_link *l, unsigned level, DWORD *error)
{
    if (l->wide[level] == NULL)
        l->wide[level] = wide_slot_name(l->name, level);
    if (l->wide[level] == NULL) {
        *error = ERROR_NOT_ENOUGH_MEMORY;
        return INVALID_HANDLE_VALUE;
    }
    HANDLE handle = CreateFileW(l->wide[level], GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING,
                                FILE_FLAG_OVERLAPPED, NULL); /* L5 */
    *error = handle == INVALID_HANDLE_VALUE ? GetLastError() : ERROR_SUCCESS;
    return handle;
}

static int error_explain(const slot_link *l, DWORD error)
{
    const char *name = l->name->display;
    switch (error) {
    case REMOTE_MAILSLOTS_OFF:
        return status_fail(MR_E_UNSUPPORTED, error,
                           "this Windows has mailslots of other machines turned off (error 3025), as all "
                           "do by default since Windows 11 24H2 and Windows Server 2025: %s",
                           name);
    case ERROR_BAD_NETPATH:
        return status_fail(MR_E_NO_SLOT, error, "%s: no such machine or domain can be reached", name);
    case ERROR_SHARING_VIOLATION:
        return status_fail(MR_E_SYSTEM, error,
                           "%s: another program writes to it that lets no other writer in (it was opened "
                           "without FILE_SHARE_WRITE)",
                           name);
    case ERROR_ACCESS_DENIED:
        return status_fail(MR_E_ACCESS, error, "%s: this user may not write to it", name);
    default:
        break;
    }
    int status = wide_status(error);
    return status_fail(status, error, "cannot open %s for writing: error %lu", name, error);
}

/* L6 */
static void page_open(slot_link *l)
{
    struct statistics_view *view = l->name->kind == SLOT_NAME_LOCAL ? memory_alloc(sizeof *view) : NULL;
    if (view == NULL)
        return;
    l->page = section_look(l->name, view);
    if (l->page != NULL) {
        l->life = statistics_page_life(l->page);
        l->max_message = view->max_message < l->max_way ? (size_t) view->max_message : l->max_way;
    }
    memory_free(view);
}

int link_connect(slot_link *l, uint64_t deadline)
{
    (void) deadline; /* the system does not let anybody wait */
    if (l->handle[0] != INVALID_HANDLE_VALUE)
        return MR_OK;
    DWORD error;
    l->handle[0] = handle_open(l, 0, &error);
    if (l->handle[0] == INVALID_HANDLE_VALUE)
        return error_explain(l, error);
    page_open(l);
    l->connected_at = clock_now();
    l->pause_ns = 0;
    memset(l->alone, 0, sizeof l->alone);
    return MR_OK;
}

bool link_connected(const slot_link *l)
{
    return l->handle[0] != INVALID_HANDLE_VALUE;
}

void link_disconnect(slot_link *l)
{
    for (unsigned level = 0; level < MR_LEVELS_MAX; level++) {
        if (l->handle[level] != INVALID_HANDLE_VALUE)
            CloseHandle(l->handle[level]);
        l->handle[level] = INVALID_HANDLE_VALUE;
    }
    section_unmap(l->page);
    l->page = NULL;
    l->max_message = l->max_way;
    l->pause_ns = 0;
}

size_t link_max_message(const slot_link *l)
{
    return l->max_message;
}

/* The handle for a level (L4). */
static HANDLE handle_for(slot_link *l, unsigned level)
{
    for (; level > 0; level--) {
        if (l->handle[level] != INVALID_HANDLE_VALUE)
            return l->handle[level];
        if (l->alone[level] || l->name->kind != SLOT_NAME_LOCAL)
            continue;
        DWORD error;
        l->handle[level] = handle_open(l, level, &error);
        if (l->handle[level] != INVALID_HANDLE_VALUE)
            return l->handle[level];
        l->alone[level] = clock_now() - l->connected_at > COMPANION_AGE;
    }
    return l->handle[0];
}

/* ---- sending ---- */

static int too_big(const slot_link *l, size_t length)
{
    if (l->name->kind == SLOT_NAME_LOCAL && length > l->max_message)
        return status_fail(MR_E_TOO_BIG, 0, "%zu bytes; %s takes messages of up to %zu bytes", length, l->name->display,
                           l->max_message);
    if (l->name->kind == SLOT_NAME_LOCAL) /* the system's word, which has no number */
        return status_fail(MR_E_TOO_BIG, 0, "%zu bytes are more than %s takes", length, l->name->display);
    return status_fail(MR_E_TOO_BIG, 0, "%zu bytes; the system carries up to %u to %s", length, BROADCAST_MAX,
                       l->name->display);
}

static int send_failed(slot_link *l, size_t length, DWORD error)
{
    switch (error) {
    case ERROR_OPERATION_ABORTED:
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_NO_SYSTEM_RESOURCES:
    case ERROR_NOT_ENOUGH_QUOTA: /* L3 */
        l->pause_ns = l->pause_ns == 0 ? PAUSE_FIRST_NS : l->pause_ns * 2;
        if (l->pause_ns > PAUSE_LAST_NS)
            l->pause_ns = PAUSE_LAST_NS;
        return MR_E_FULL;
    case ERROR_INVALID_PARAMETER: /* what the system says to a message above the slot's maximum */
    case ERROR_BAD_LENGTH:
    case ERROR_INVALID_USER_BUFFER:
        return too_big(l, length);
    case ERROR_BAD_NETPATH:
        link_disconnect(l);
        return length > BROADCAST_MAX ? too_big(l, length) : error_explain(l, error);
    case ERROR_HANDLE_EOF: /* the reader has closed the mailslot */
    case ERROR_BROKEN_PIPE:
    case ERROR_NO_DATA:
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_HANDLE:
        link_disconnect(l);
        return MR_E_GONE;
    case REMOTE_MAILSLOTS_OFF:
        link_disconnect(l);
        return error_explain(l, error);
    default:
        link_disconnect(l);
        return status_fail(MR_E_SYSTEM, error, "cannot write to %s: error %lu", l->name->display, error);
    }
}

/* L1 */
static DWORD write_await(slot_link *l, HANDLE handle, OVERLAPPED *overlapped)
{
    DWORD bytes;
    if (l->patience_ms == 0 || WaitForSingleObject(l->written, l->patience_ms) != WAIT_OBJECT_0)
        (void) CancelIoEx(handle, overlapped); /* an error: it has completed */
    return GetOverlappedResult(handle, overlapped, &bytes, TRUE) ? ERROR_SUCCESS : GetLastError();
}

int link_send(slot_link *l, const void *data, size_t length, uint32_t priority)
{
    if (l->handle[0] == INVALID_HANDLE_VALUE)
        return MR_E_GONE;
    if (l->page != NULL && statistics_page_life(l->page) != l->life) {
        link_disconnect(l);
        return MR_E_GONE;
    }
    if (length > l->max_message)
        return too_big(l, length);
    HANDLE handle = handle_for(l, priority < l->levels ? priority : l->levels - 1);
    OVERLAPPED overlapped = {.hEvent = (HANDLE) ((ULONG_PTR) l->written | 1)}; /* L2 */
    DWORD error = ERROR_SUCCESS;
    if (!WriteFile(handle, data, (DWORD) length, NULL, &overlapped))
        error = GetLastError();
    if (error == ERROR_IO_PENDING)
        error = write_await(l, handle, &overlapped);
    if (error != ERROR_SUCCESS)
        return send_failed(l, length, error);
    l->pause_ns = 0;
    return MR_OK;
}

/* ---- waiting ---- */

void link_wake(slot_link *l)
{
    SetEvent(l->wake);
}

int link_wait(slot_link *l, uint64_t deadline)
{
    uint64_t until = clock_now() + (l->pause_ns == 0 ? PAUSE_FIRST_NS : l->pause_ns);
    if (until > deadline)
        until = deadline;
    for (uint64_t now = clock_now(); now < until; now = clock_now()) {
        DWORD woken = WaitForSingleObject(l->wake, (DWORD) ((until - now - 1) / 1000000u + 1));
        if (woken == WAIT_OBJECT_0)
            return MR_OK;
        if (woken == WAIT_FAILED)
            return status_fail(MR_E_SYSTEM, GetLastError(), "cannot wait for room in %s: error %lu", l->name->display,
                               GetLastError());
    }
    return until == deadline ? MR_E_TIMEOUT : MR_OK;
}

enum started link_watch(slot_link *l, port *p, operation *o)
{
    return port_set_deadline(p, o, clock_now() + (l->pause_ns == 0 ? PAUSE_FIRST_NS : l->pause_ns));
}

void link_close(slot_link *l, bool in_child)
{
    (void) in_child; /* Windows does not fork */
    link_disconnect(l);
    if (l->written != NULL)
        CloseHandle(l->written);
    if (l->wake != NULL)
        CloseHandle(l->wake);
    names_forget(l);
    memory_free(l);
}

/* ---- acknowledgement: this lane has none ---- */

bool link_acknowledges(const slot_link *l)
{
    (void) l;
    return false;
}

int link_keep(slot_link *l, const void *data, size_t length, uint32_t priority)
{
    (void) l, (void) data, (void) length, (void) priority;
    return status_fail_plain(MR_E_UNSUPPORTED);
}

void link_gap(slot_link *l, uint32_t priority, uint64_t count)
{
    (void) l, (void) priority, (void) count;
}

int link_tell_gaps(slot_link *l)
{
    (void) l;
    return MR_OK;
}

void link_mark(const slot_link *l, struct link_mark *mark)
{
    (void) l;
    *mark = (struct link_mark){0};
}

bool link_passed(slot_link *l, const struct link_mark *mark)
{
    (void) l, (void) mark;
    return true;
}

int link_await(slot_link *l, const struct link_mark *mark, uint64_t deadline)
{
    (void) l, (void) mark, (void) deadline;
    return MR_OK;
}

enum started link_watch_mark(slot_link *l, const struct link_mark *mark, port *p, operation *o)
{
    (void) l, (void) mark, (void) p;
    o->status = MR_OK;
    return STARTED_DONE;
}

uint64_t link_unacknowledged(slot_link *l)
{
    (void) l;
    return 0;
}

bool link_leaving(const slot_link *l)
{
    (void) l;
    return false;
}

void link_get_counts(const slot_link *l, struct link_counts *counts)
{
    (void) l;
    *counts = (struct link_counts){0};
}
