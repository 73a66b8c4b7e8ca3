/* fixture_windows.c: the contract's tests on Windows: pairs are two ends of a named pipe in message mode, what is
 * waited for is an event.
 *
 * A far end is the address of a struct far_side: where all instances of a pipe are taken when fixture_connect is
 * called, a thread of the far end waits for the next, as a client would. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include <windows.h>

#include "test.h"

enum { NAME_UNITS = 64, PIPE_BYTES = 64 * 1024, LISTENERS_MAX = 8 };

struct far_side {
    HANDLE pipe; /* once `connecting` has ended */
    HANDLE connecting;
    wchar_t name[NAME_UNITS];
};

/* The names of the pipes that fixture_listen made. An accept hands the listener's own handle over as the connection, so
 * the handle would not tell the name later. */
static struct {
    HANDLE handle;
    wchar_t name[NAME_UNITS];
} listeners[LISTENERS_MAX];

#define CHECK_CALL(call) CHECK_MSG((call), "%s: error %lu", #call, GetLastError())

bool fixture_can(enum fixture_ability ability)
{
    return ability != FIXTURE_WATCH_PAIR;
}

void fixture_threads(void)
{
}

static void name_make(wchar_t *name)
{
    static LONG count;
    swprintf(name, NAME_UNITS, L"\\\\.\\pipe\\mailroom-test-%lu-%ld", GetCurrentProcessId(),
             InterlockedIncrement(&count));
}

static HANDLE server_make(const wchar_t *name)
{
    HANDLE server = CreateNamedPipeW(name, PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED,
                                     PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_REJECT_REMOTE_CLIENTS,
                                     PIPE_UNLIMITED_INSTANCES, PIPE_BYTES, PIPE_BYTES, 0, NULL);
    CHECK_CALL(server != INVALID_HANDLE_VALUE);
    return server;
}

static HANDLE client_open(const wchar_t *name)
{
    return CreateFileW(name, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
}

static void client_adjust(HANDLE client)
{
    DWORD mode = PIPE_READMODE_MESSAGE | PIPE_WAIT;
    CHECK_CALL(SetNamedPipeHandleState(client, &mode, NULL, NULL));
}

static DWORD WINAPI far_connect(void *argument)
{
    struct far_side *far_end = argument;
    do {
        (void) WaitNamedPipeW(far_end->name, NMPWAIT_WAIT_FOREVER); /* another may be faster: then again */
        far_end->pipe = client_open(far_end->name);
    } while (far_end->pipe == INVALID_HANDLE_VALUE && GetLastError() == ERROR_PIPE_BUSY);
    return far_end->pipe == INVALID_HANDLE_VALUE ? GetLastError() : 0;
}

static os_handle far_make(const wchar_t *name)
{
    struct far_side *far_end = calloc(1, sizeof *far_end);
    CHECK(far_end != NULL);
    wcscpy(far_end->name, name);
    far_end->pipe = client_open(name);
    if (far_end->pipe != INVALID_HANDLE_VALUE) {
        client_adjust(far_end->pipe);
    } else {
        CHECK_EQ(GetLastError(), ERROR_PIPE_BUSY);
        far_end->connecting = CreateThread(NULL, 0, far_connect, far_end, 0, NULL);
        CHECK_CALL(far_end->connecting != NULL);
    }
    return (os_handle) far_end;
}

static HANDLE far_pipe(os_handle handle)
{
    struct far_side *far_end = (struct far_side *) handle;
    if (far_end->connecting != NULL) {
        DWORD error;
        CHECK_EQ(WaitForSingleObject(far_end->connecting, INFINITE), WAIT_OBJECT_0);
        CHECK_CALL(GetExitCodeThread(far_end->connecting, &error));
        CHECK_EQ(error, 0);
        CHECK_CALL(CloseHandle(far_end->connecting));
        far_end->connecting = NULL;
        client_adjust(far_end->pipe);
    }
    return far_end->pipe;
}

void fixture_pair(os_handle *near_end, os_handle *far_end)
{
    wchar_t name[NAME_UNITS];
    name_make(name);
    *near_end = (os_handle) server_make(name);
    *far_end = far_make(name);
}

void fixture_far_send(os_handle far_end, const void *data, size_t length)
{
    DWORD bytes;
    CHECK_CALL(WriteFile(far_pipe(far_end), data, (DWORD) length, &bytes, NULL));
    CHECK_EQ(bytes, length);
}

int64_t fixture_far_receive(os_handle far_end, void *buffer, size_t size)
{
    DWORD bytes;
    if (ReadFile(far_pipe(far_end), buffer, (DWORD) size, &bytes, NULL))
        return bytes;
    DWORD error = GetLastError();
    CHECK_MSG(error == ERROR_BROKEN_PIPE || error == ERROR_PIPE_NOT_CONNECTED, "ReadFile: error %lu", error);
    return -1;
}

void fixture_far_close(os_handle far_end)
{
    CHECK_CALL(CloseHandle(far_pipe(far_end)));
    free((struct far_side *) far_end);
}

os_handle fixture_listen(void)
{
    for (size_t i = 0; i < LISTENERS_MAX; i++) {
        if (listeners[i].handle != NULL)
            continue;
        name_make(listeners[i].name);
        listeners[i].handle = server_make(listeners[i].name);
        return (os_handle) listeners[i].handle;
    }
    test_fail(__FILE__, __LINE__, "more than %d listeners in a test", LISTENERS_MAX);
}

os_handle fixture_connect(os_handle listener)
{
    for (size_t i = 0; i < LISTENERS_MAX; i++)
        if (listeners[i].handle == (HANDLE) listener)
            return far_make(listeners[i].name);
    test_fail(__FILE__, __LINE__, "fixture_listen did not make this");
}

os_handle fixture_event(void)
{
    HANDLE event = CreateEventW(NULL, TRUE, FALSE, NULL);
    CHECK_CALL(event != NULL);
    return (os_handle) event;
}

void fixture_signal(os_handle event)
{
    CHECK_CALL(SetEvent((HANDLE) event));
}

void fixture_unsignal(os_handle event)
{
    CHECK_CALL(ResetEvent((HANDLE) event));
}

os_handle fixture_one_way(void)
{
    return fixture_event();
}

os_handle fixture_closed(void)
{
    os_handle event = fixture_event();
    CHECK_CALL(CloseHandle((HANDLE) event));
    return event;
}

enum started fixture_start_failing(endpoint *e, operation *o)
{
    void *page = VirtualAlloc(NULL, 4096, MEM_RESERVE | MEM_COMMIT, PAGE_NOACCESS);
    CHECK_CALL(page != NULL);
    return port_receive(e, o, page, 4096);
}

bool fixture_is_private(os_handle handle)
{
    DWORD flags;
    CHECK_CALL(GetHandleInformation((HANDLE) handle, &flags));
    return (flags & HANDLE_FLAG_INHERIT) == 0;
}

void fixture_close(os_handle handle)
{
    CHECK_CALL(CloseHandle((HANDLE) handle));
}

/* Windows tells no thread's context switches in a documented way. Under Wine a thread is one of Linux, whose files are
 * seen on drive Z. */
static uint64_t task_wakeups(const wchar_t *folder, const char *threads)
{
    wchar_t path[MAX_PATH];
    char line[256];
    uint64_t sum = 0;
    bool named = false;
    swprintf(path, MAX_PATH, L"%ls\\status", folder);
    FILE *status = _wfopen(path, L"r");
    if (status == NULL)
        return 0; /* it has ended */
    while (fgets(line, sizeof line, status) != NULL) {
        char name[32];
        unsigned long long count;
        if (sscanf(line, "Name: %31[^\r\n]", name) == 1)
            named = strcmp(name, threads) == 0;
        else if (named && sscanf(line, "voluntary_ctxt_switches: %llu", &count) == 1)
            sum += count;
    }
    fclose(status);
    return sum;
}

static uint64_t folder_wakeups(const wchar_t *folder, const char *threads, bool tasks)
{
    wchar_t path[MAX_PATH];
    WIN32_FIND_DATAW found;
    uint64_t sum = 0;
    swprintf(path, MAX_PATH, L"%ls\\*", folder);
    HANDLE search = FindFirstFileW(path, &found);
    if (search == INVALID_HANDLE_VALUE)
        return 0;
    do {
        if (wcstol(found.cFileName, NULL, 10) <= 0)
            continue;
        swprintf(path, MAX_PATH, tasks ? L"%ls\\%ls" : L"%ls\\%ls\\task", folder, found.cFileName);
        sum += tasks ? task_wakeups(path, threads) : folder_wakeups(path, threads, true);
    } while (FindNextFileW(search, &found));
    FindClose(search);
    return sum;
}

uint64_t fixture_wakeups(const char *threads)
{
    return folder_wakeups(L"Z:\\proc", threads, false);
}
