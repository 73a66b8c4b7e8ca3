/* system_windows.c: time, folders, streams and the machine (the rest of process.h on Windows).
 *
 * Texts   Paths are UTF-8 here and UTF-16 at the system.
 */
#include "process.h"

#include <fcntl.h>
#include <io.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <windows.h>
#include <winternl.h>

#include <psapi.h>
#include <tlhelp32.h>

#include "peer.h"
#include "process_windows.h"
#include "queue/memory.h"
#include "queue/thread.h"
#include "slots/wide_windows.h"

#ifndef CREATE_WAITABLE_TIMER_HIGH_RESOLUTION
#define CREATE_WAITABLE_TIMER_HIGH_RESOLUTION 2 /* newer than mingw-w64's headers */
#endif
#define TICK         UINT64_C(100) /* nanoseconds of the system's times */
#define COMMAND_ROOM 2048u

static UINT console_code_page; /* to be set again; 0: none was changed */
static HANDLE console;         /* whose mode was changed, or NULL */
static DWORD console_mode;
static const char *own_name;

/* ------------------------------------------------------------------------------------------------ this process */

static void console_restore(void)
{
    if (console_code_page != 0) {
        SetConsoleOutputCP(console_code_page);
    }
    if (console != NULL) {
        SetConsoleMode(console, console_mode);
    }
}

void system_prepare(void)
{
    for (int stream = 1; stream <= 2; stream++) {
        (void) _setmode(stream, _O_BINARY);
    }
    UINT code_page = GetConsoleOutputCP();
    if (code_page != 0 && code_page != CP_UTF8 && SetConsoleOutputCP(CP_UTF8)) {
        console_code_page = code_page;
    }
    atexit(console_restore);
}

void system_name(const char *text)
{
    own_name = text;
}

static uint64_t ticks(FILETIME time)
{
    return (uint64_t) time.dwHighDateTime << 32 | time.dwLowDateTime;
}

uint64_t system_processor_time(HANDLE process)
{
    FILETIME begun;
    FILETIME ended;
    FILETIME kernel;
    FILETIME user;
    return GetProcessTimes(process, &begun, &ended, &kernel, &user) ? (ticks(kernel) + ticks(user)) * TICK : 0;
}

void process_usage(uint64_t *processor_time, uint64_t *waits)
{
    *waits = own_name == NULL ? 0 : wine_waits(own_name);
    *processor_time = system_processor_time(GetCurrentProcess());
}

static uint64_t thread_count(DWORD process)
{
    PROCESSENTRY32W entry = {.dwSize = sizeof entry};
    uint64_t threads = 0;
    HANDLE all = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
    if (all == INVALID_HANDLE_VALUE) {
        return 0;
    }
    for (BOOL more = Process32FirstW(all, &entry); more && threads == 0; more = Process32NextW(all, &entry)) {
        threads = entry.th32ProcessID == process ? entry.cntThreads : 0;
    }
    CloseHandle(all);
    return threads;
}

bool process_memory(const struct process *process, struct process_memory *memory)
{
    PROCESS_MEMORY_COUNTERS counters = {.cb = sizeof counters};
    HANDLE handle = process->handle != 0 ? (HANDLE) process->handle : GetCurrentProcess();
    *memory = (struct process_memory){0};
    if (!GetProcessMemoryInfo(handle, &counters, sizeof counters)) {
        return false;
    }
    memory->resident = counters.WorkingSetSize;
    memory->threads = thread_count(GetProcessId(handle));
    return memory->threads != 0;
}

/* ------------------------------------------------------------------------------------------------ time */

void sleep_until(uint64_t time)
{
    HANDLE timer = CreateWaitableTimerExW(NULL, NULL, CREATE_WAITABLE_TIMER_HIGH_RESOLUTION, TIMER_ALL_ACCESS);
    if (timer == NULL) {
        timer = CreateWaitableTimerExW(NULL, NULL, 0, TIMER_ALL_ACCESS); /* before Windows 10, version 1803 */
    }
    for (uint64_t now = clock_now(); now < time; now = clock_now()) {
        LARGE_INTEGER due = {.QuadPart = -(LONGLONG) ((time - now + TICK - 1) / TICK)};
        if (timer == NULL || !SetWaitableTimer(timer, &due, 0, NULL, NULL, FALSE)) {
            Sleep((DWORD) ((time - now) / 1000000) + 1);
        } else {
            WaitForSingleObject(timer, INFINITE);
        }
    }
    if (timer != NULL) {
        CloseHandle(timer);
    }
}

void sleep_exactly(void)
{
    /* the timers of sleep_until are asked for it */
}

enum punctuality sleep_punctually(void)
{
    return SetThreadPriority(GetCurrentThread(), THREAD_PRIORITY_TIME_CRITICAL) ? PUNCTUAL_REAL_TIME : PUNCTUAL_NOT;
}

const char *punctuality_text(enum punctuality punctuality)
{
    return punctuality == PUNCTUAL_REAL_TIME ? "THREAD_PRIORITY_TIME_CRITICAL" : "usual";
}

/* ------------------------------------------------------------------------------------------------ folders, files */

static int fail_folder(const char *what, const char *path)
{
    DWORD error = GetLastError();
    return status_fail(MR_E_SYSTEM, error, "cannot %s the folder %s: error %lu", what, path, error);
}

static int folder_make(const char *path, bool may_be_there)
{
    wchar_t *wide = wide_from_utf8(path);
    if (wide == NULL) {
        return status_fail(MR_E_NAME, 0, "%s is no path in UTF-8", path);
    }
    bool good = CreateDirectoryW(wide, NULL) || (may_be_there && GetLastError() == ERROR_ALREADY_EXISTS);
    int status = good ? MR_OK : fail_folder("make", path);
    memory_free(wide);
    return status;
}

int directory_make(char *path)
{
    wchar_t parent[PEER_TEXT_ROOM];
    DWORD units = GetTempPathW(PEER_TEXT_ROOM, parent);
    char *text = units == 0 || units >= PEER_TEXT_ROOM ? NULL : wide_to_utf8(parent, units);
    int length = text == NULL ? -1
                              : snprintf(path, PEER_TEXT_ROOM, "%smailroom-bench-%lu-%llx", text, GetCurrentProcessId(),
                                         (unsigned long long) clock_now());
    memory_free(text);
    if (length < 0 || length >= (int) PEER_TEXT_ROOM) {
        return status_fail(MR_E_NAME, 0, "the folder for temporary files has too long a path (TMP names another)");
    }
    return folder_make(path, false);
}

int directory_make_in(const char *parent, const char *name, char *path)
{
    if (snprintf(path, PEER_TEXT_ROOM, "%s\\%s", parent, name) >= (int) PEER_TEXT_ROOM) {
        return status_fail(MR_E_NAME, 0, "the path %s\\%s is too long", parent, name);
    }
    return folder_make(path, false);
}

int directory_ensure(const char *path)
{
    return folder_make(path, true);
}

int directory_use(const char *path)
{
    (void) path; /* slots are the system's, and not in a folder */
    return MR_OK;
}

static bool folder_remove(const wchar_t *path);

static bool entry_remove(const wchar_t *folder, const WIN32_FIND_DATAW *entry)
{
    wchar_t path[PEER_TEXT_ROOM * 2];
    if (wcscmp(entry->cFileName, L".") == 0 || wcscmp(entry->cFileName, L"..") == 0) {
        return true;
    }
    if (wcslen(folder) + wcslen(entry->cFileName) + 2 > sizeof path / sizeof path[0]) {
        SetLastError(ERROR_FILENAME_EXCED_RANGE);
        return false;
    }
    swprintf(path, sizeof path / sizeof path[0], L"%ls\\%ls", folder, entry->cFileName);
    bool inner = (entry->dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0 &&
                 (entry->dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) == 0;
    return inner ? folder_remove(path) : DeleteFileW(path) != 0;
}

static bool folder_remove(const wchar_t *path)
{
    wchar_t pattern[PEER_TEXT_ROOM * 2 + 4];
    WIN32_FIND_DATAW entry;
    bool good = true;
    swprintf(pattern, sizeof pattern / sizeof pattern[0], L"%ls\\*", path);
    HANDLE search = FindFirstFileW(pattern, &entry);
    if (search != INVALID_HANDLE_VALUE) {
        do {
            good = entry_remove(path, &entry);
        } while (good && FindNextFileW(search, &entry));
        FindClose(search);
    }
    return good && RemoveDirectoryW(path);
}

void directory_remove(const char *path)
{
    wchar_t *wide = wide_from_utf8(path);
    if (wide == NULL || !folder_remove(wide)) {
        fprintf(stderr, "mailroom-bench: cannot remove %s: error %lu\n", path, GetLastError());
    }
    memory_free(wide);
}

/* Arguments are names without quotes. */
static wchar_t *command_line(const char *const *arguments)
{
    char line[COMMAND_ROOM] = "";
    size_t used = 0;
    for (; *arguments != NULL && used < sizeof line; arguments++) {
        used += (size_t) snprintf(line + used, sizeof line - used, "%s\"%s\"", used == 0 ? "" : " ", *arguments);
    }
    return used < sizeof line ? wide_from_utf8(line) : NULL;
}

int process_command(const char *directory, const char *const *arguments)
{
    /* What the program prints is no result of ours. */
    STARTUPINFOW startup = {.cb = sizeof startup,
                            .dwFlags = STARTF_USESTDHANDLES,
                            .hStdInput = GetStdHandle(STD_INPUT_HANDLE),
                            .hStdOutput = GetStdHandle(STD_ERROR_HANDLE),
                            .hStdError = GetStdHandle(STD_ERROR_HANDLE)};
    PROCESS_INFORMATION started;
    DWORD code = 1;
    wchar_t *line = command_line(arguments);
    wchar_t *folder = wide_from_utf8(directory);
    fflush(NULL);
    bool good = line != NULL && folder != NULL &&
                CreateProcessW(NULL, line, NULL, NULL, TRUE, 0, NULL, folder, &startup, &started);
    DWORD error = GetLastError();
    memory_free(line);
    memory_free(folder);
    if (!good) {
        return status_fail(MR_E_SYSTEM, error, "%s cannot be started: error %lu", arguments[0], error);
    }
    WaitForSingleObject(started.hProcess, INFINITE);
    GetExitCodeProcess(started.hProcess, &code);
    CloseHandle(started.hThread);
    CloseHandle(started.hProcess);
    return code == 0 ? MR_OK : status_fail(MR_E_SYSTEM, 0, "%s failed", arguments[0]);
}

/* ------------------------------------------------------------------------------------------------ the machine */

void os_error_text(int64_t error, char *text, size_t size)
{
    snprintf(text, size, "error %lld", (long long) error);
}

/* Windows' true version, whatever the program says that it knows. */
static void system_version(char *text, size_t size)
{
    typedef NTSTATUS(NTAPI * version_function)(RTL_OSVERSIONINFOW *);
    RTL_OSVERSIONINFOW version = {.dwOSVersionInfoSize = sizeof version};
    char wine[80];
    HMODULE ntdll = GetModuleHandleW(L"ntdll");
    version_function get =
        ntdll == NULL ? NULL : (version_function) (void (*)(void)) GetProcAddress(ntdll, "RtlGetVersion");
    if (get != NULL) {
        get(&version);
    }
    if (wine_version(wine, sizeof wine)) {
        snprintf(text, size, "%s (as Windows %lu.%lu.%lu)", wine, version.dwMajorVersion, version.dwMinorVersion,
                 version.dwBuildNumber);
    } else {
        snprintf(text, size, "Windows %lu.%lu.%lu", version.dwMajorVersion, version.dwMinorVersion,
                 version.dwBuildNumber);
    }
}

void machine_describe(struct machine *machine)
{
    MEMORYSTATUSEX memory = {.dwLength = sizeof memory};
    DWORD_PTR mine = 0;
    DWORD_PTR all;
    DWORD size = sizeof machine->processor;
    char wine[80];
    *machine = (struct machine){.processors = 1};
    system_version(machine->system, sizeof machine->system);
    if (RegGetValueA(HKEY_LOCAL_MACHINE, "HARDWARE\\DESCRIPTION\\System\\CentralProcessor\\0", "ProcessorNameString",
                     RRF_RT_REG_SZ, NULL, machine->processor, &size) != ERROR_SUCCESS) {
        machine->processor[0] = '\0';
        if (wine_version(wine, sizeof wine)) {
            wine_processor(machine->processor, sizeof machine->processor);
        }
    }
    size_t length = strlen(machine->processor);
    while (length > 0 && machine->processor[length - 1] == ' ') {
        machine->processor[--length] = '\0';
    }
    if (GlobalMemoryStatusEx(&memory)) {
        machine->memory = memory.ullTotalPhys;
    }
    if (GetProcessAffinityMask(GetCurrentProcess(), &mine, &all)) {
        machine->processors = 0;
        for (; mine != 0; mine &= mine - 1) {
            machine->processors++;
        }
    }
}

bool terminal_width(int descriptor, unsigned *columns)
{
    CONSOLE_SCREEN_BUFFER_INFO info;
    DWORD mode;
    HANDLE handle = (HANDLE) _get_osfhandle(descriptor);
    *columns = 80;
    if (!GetConsoleMode(handle, &mode)) {
        return false;
    }
    if (console == NULL && (mode & ENABLE_VIRTUAL_TERMINAL_PROCESSING) == 0) {
        if (!SetConsoleMode(handle, mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING)) {
            return false;
        }
        console = handle;
        console_mode = mode;
    }
    if (GetConsoleScreenBufferInfo(handle, &info) && info.dwSize.X > 0) {
        *columns = (unsigned) info.dwSize.X;
    }
    return true;
}
