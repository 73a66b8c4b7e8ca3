/* wine_windows.c: what the Linux kernel below Wine knows of this process and Wine does not tell: context switches.
 *
 * Path    \\?\unix\proc: the folder whose cmdline has our name ► task: a folder for each thread ► status ►
 *         voluntary_ctxt_switches, summed up
 * Owners  The main thread alone calls it; it is the first of the process's threads there, too.
 * I1      Reading makes this thread sleep. Its own count is taken before and after, and what lies between is left out of
 *         this sum and of all later ones: the difference of two sums is what others, and this thread otherwise, did.
 */
#include "process_windows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROC      L"\\\\?\\unix\\proc"
#define PATH_ROOM 128u
#define TEXT_ROOM 8192u
#define FIELD     "\nvoluntary_ctxt_switches:"

static wchar_t self[PATH_ROOM]; /* this process's number there; "" where it has not been found */
static bool looked;
static uint64_t own; /* sleeps of all readings so far */

/* Numbers alone are processes and threads. */
static bool numbered(const wchar_t *name)
{
    return name[0] >= L'0' && name[0] <= L'9';
}

/* Reads a small file; its length, NUL-terminated, or 0. */
static size_t text_read(const wchar_t *path, char text[TEXT_ROOM])
{
    size_t length = 0;
    DWORD got = 0;
    HANDLE handle = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                                OPEN_EXISTING, 0, NULL);
    if (handle == INVALID_HANDLE_VALUE) {
        return 0;
    }
    while (length < TEXT_ROOM - 1 && ReadFile(handle, text + length, (DWORD) (TEXT_ROOM - 1 - length), &got, NULL) &&
           got > 0) {
        length += got;
    }
    CloseHandle(handle);
    text[length] = '\0';
    return length;
}

/* Calls `use` for each numbered folder in `folder` until it returns false. */
static void folders_each(const wchar_t *folder, bool (*use)(void *context, const wchar_t *name), void *context)
{
    wchar_t pattern[PATH_ROOM + 4];
    WIN32_FIND_DATAW found;
    swprintf(pattern, sizeof pattern / sizeof pattern[0], L"%ls\\*", folder);
    HANDLE search = FindFirstFileW(pattern, &found);
    if (search == INVALID_HANDLE_VALUE) {
        return;
    }
    do {
        if (numbered(found.cFileName) && !use(context, found.cFileName)) {
            break;
        }
    } while (FindNextFileW(search, &found));
    FindClose(search);
}

static bool process_is(void *context, const wchar_t *name)
{
    char text[TEXT_ROOM];
    const char *wanted = context;
    wchar_t path[PATH_ROOM];
    swprintf(path, PATH_ROOM, PROC L"\\%ls\\cmdline", name);
    size_t length = text_read(path, text);
    /* Arguments end with NUL each. */
    for (size_t at = 0; at < length; at += strlen(text + at) + 1) {
        if (strcmp(text + at, wanted) == 0) {
            swprintf(self, PATH_ROOM, L"%ls", name);
            return false;
        }
    }
    return true;
}

static uint64_t waits_read(const wchar_t *folder, const wchar_t *name)
{
    char text[TEXT_ROOM];
    wchar_t path[PATH_ROOM * 2];
    swprintf(path, sizeof path / sizeof path[0], L"%ls\\%ls\\status", folder, name);
    const char *field = text_read(path, text) == 0 ? NULL : strstr(text, FIELD);
    return field == NULL ? 0 : strtoull(field + sizeof FIELD - 1, NULL, 10);
}

struct threads {
    wchar_t folder[PATH_ROOM * 2];
    uint64_t waits; /* of all but the main thread */
};

static bool thread_add(void *context, const wchar_t *name)
{
    struct threads *threads = context;
    threads->waits += wcscmp(name, self) == 0 ? 0 : waits_read(threads->folder, name);
    return true;
}

bool wine_version(char *text, size_t size)
{
    typedef const char *(*version_function)(void);
    typedef void (*host_function)(const char **system, const char **release);
    const char *system = "";
    const char *release = "";
    HMODULE ntdll = GetModuleHandleW(L"ntdll");
    if (ntdll == NULL) {
        return false;
    }
    version_function version = (version_function) (void (*)(void)) GetProcAddress(ntdll, "wine_get_version");
    host_function host = (host_function) (void (*)(void)) GetProcAddress(ntdll, "wine_get_host_version");
    if (version == NULL) {
        return false;
    }
    if (host != NULL) {
        host(&system, &release);
    }
    snprintf(text, size, "Wine %s on %s %s", version(), system, release);
    return true;
}

void wine_processor(char *text, size_t size)
{
    char all[TEXT_ROOM];
    const char *field = text_read(PROC L"\\cpuinfo", all) == 0 ? NULL : strstr(all, "model name");
    const char *value = field == NULL ? NULL : strstr(field, ": ");
    snprintf(text, size, "%.*s", value == NULL ? 0 : (int) strcspn(value + 2, "\n"), value == NULL ? "" : value + 2);
}

uint64_t wine_waits(const char *name)
{
    char version[64];
    struct threads threads = {.waits = 0};
    if (!looked && wine_version(version, sizeof version)) {
        folders_each(PROC, process_is, (void *) (uintptr_t) name);
    }
    looked = true;
    if (self[0] == L'\0') {
        return 0;
    }
    uint64_t before = waits_read(PROC, self);
    swprintf(threads.folder, sizeof threads.folder / sizeof threads.folder[0], L"%ls\\%ls\\task", PROC, self);
    folders_each(threads.folder, thread_add, &threads);
    uint64_t waits = threads.waits + before - own;
    own += waits_read(PROC, self) - before; /* I1 */
    return waits;
}
