/* system_windows.c: arguments, Ctrl-C, waiting, files and consoles on Windows.
 *
 * Path    console's thread or any thread > wake_event > WaitForMultipleObjects in system_wait
 * Owners  wake_event and the counter of interrupts belong to the process; system_wait and system_write to the main
 *         thread, the watchdog only cancels a write of it.
 * I1      The handler counts before it sets the event, system_wait resets the event before it looks at the count: no
 *         request is missed.
 * I2      write_number is odd while the main thread is in WriteFile. The watchdog cancels a write that has the same odd
 *         number for LAST_WRITE_MS. Should it hit the next one instead, that one ends as the first would have: the
 *         program is ending, and the output is not read.
 * Bytes   Standard streams are binary. A console takes and gives UTF-8; what is changed for that is changed back at the
 *         end. */
#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <io.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <windows.h>

#include <bcrypt.h>

#include "arguments_windows.h"
#include "input_windows.h"
#include "queue/memory.h"
#include "queue/thread.h"

/* How long an output that nobody reads may hold up the end of the program. */
#define LAST_WRITE_MS 1000
/* In one WriteFile, so that a slow reader is seen to read. */
#define WRITE_BYTES ((size_t) 64 * 1024)

static HANDLE wake_event;
static HANDLE main_thread;
static bool standard_closed[3];
static atomic_uint interrupts;
static atomic_uint_least64_t write_number;
static UINT console_code_page; /* to be set again; 0: none was changed */
static DWORD console_modes[3];
static bool console_changed[3];

/* ---- the program's beginning ---- */

static char *utf8_from_wide(const wchar_t *wide)
{
    int size = WideCharToMultiByte(CP_UTF8, WC_ERR_INVALID_CHARS, wide, -1, NULL, 0, NULL, NULL);
    char *text = size > 0 ? memory_alloc((size_t) size) : NULL;
    if (text == NULL) {
        errno = size > 0 ? ENOMEM : EILSEQ;
        return NULL;
    }
    WideCharToMultiByte(CP_UTF8, 0, wide, -1, text, size, NULL, NULL);
    return text;
}

char **system_arguments(int *argc, char **argv)
{
    (void) argv; /* in the ANSI code page, which has not every character */
    char *line = utf8_from_wide(GetCommandLineW());
    char **arguments = line == NULL ? NULL : arguments_split(line, argc);
    if (line != NULL && arguments == NULL) {
        errno = ENOMEM;
    }
    memory_free(line);
    return arguments;
}

/* From the first request to end until the end. */
static void watchdog(void *unused)
{
    (void) unused;
    uint64_t before = 0;
    for (;;) {
        uint64_t number = atomic_load_explicit(&write_number, memory_order_relaxed);
        if (number == before && number % 2 == 1) {
            CancelSynchronousIo(main_thread); /* I2 */
        }
        before = number;
        WaitForSingleObject(main_thread, LAST_WRITE_MS);
    }
}

static BOOL WINAPI on_control(DWORD type)
{
    unsigned asked = atomic_fetch_add_explicit(&interrupts, 1, memory_order_seq_cst);
    SetEvent(wake_event);
    thread dog;
    if (asked == 0 && thread_start(&dog, "watchdog", watchdog, NULL) == 0) {
        thread_detach(dog);
    }
    if (type != CTRL_C_EVENT && type != CTRL_BREAK_EVENT) {
        /* The console is being closed: the process is ended as soon as this returns. */
        WaitForSingleObject(main_thread, INFINITE);
    }
    return TRUE;
}

/* What is started without a stream has none to write to: NUL stands in. */
static bool fill_standard_streams(void)
{
    for (int fd = 0; fd < 3; fd++) {
        if (_get_osfhandle(fd) < 0) {
            standard_closed[fd] = true;
            int nothing = _open("NUL", _O_RDWR | _O_BINARY | _O_NOINHERIT);
            if (nothing < 0 || (nothing != fd && _dup2(nothing, fd) != 0)) {
                return false;
            }
            if (nothing != fd) {
                _close(nothing);
            }
        }
        _setmode(fd, _O_BINARY);
    }
    return true;
}

static void restore_console(void)
{
    if (console_code_page != 0) {
        SetConsoleOutputCP(console_code_page);
    }
    for (int fd = 1; fd < 3; fd++) {
        if (console_changed[fd]) {
            SetConsoleMode((HANDLE) _get_osfhandle(fd), console_modes[fd]);
        }
    }
}

bool system_start(void)
{
    if (!fill_standard_streams()) {
        return false;
    }
    HANDLE self = GetCurrentProcess();
    wake_event = CreateEventW(NULL, FALSE, FALSE, NULL);
    if (wake_event == NULL ||
        !DuplicateHandle(self, GetCurrentThread(), self, &main_thread, 0, FALSE, DUPLICATE_SAME_ACCESS)) {
        errno = ENOMEM;
        return false;
    }
    UINT code_page = GetConsoleOutputCP();
    if (code_page != 0 && code_page != CP_UTF8 && SetConsoleOutputCP(CP_UTF8)) {
        console_code_page = code_page;
    }
    atexit(restore_console);
    SetConsoleCtrlHandler(on_control, TRUE); /* fails where there is no console, and nobody to ask then */
    return true;
}

unsigned system_interrupts(void)
{
    return atomic_load_explicit(&interrupts, memory_order_seq_cst);
}

/* ---- time and waiting ---- */

uint64_t system_now(void)
{
    return clock_now();
}

uint64_t system_deadline(uint64_t milliseconds)
{
    return milliseconds >= UINT32_MAX ? SYSTEM_NEVER : system_now() + milliseconds * 1000000u;
}

void system_wake(void)
{
    SetEvent(wake_event);
}

/* Milliseconds for a wait of the system's, rounded up, and again where it is a long time. */
static DWORD wait_time(uint64_t deadline)
{
    uint64_t now = system_now();
    uint64_t left = deadline <= now ? 0 : (deadline - now + 999999) / 1000000;
    return deadline == SYSTEM_NEVER ? INFINITE : left < INT32_MAX ? (DWORD) left : INT32_MAX;
}

unsigned system_wait(uint64_t deadline, int input, int output)
{
    static unsigned seen;
    HANDLE handles[2] = {wake_event, input == 0 ? input_event() : NULL};
    (void) output;
    if (input == 0 && handles[1] == NULL) {
        return SYSTEM_INPUT; /* system_read has the error */
    }
    DWORD count = input == 0 ? 2 : 1;
    DWORD ready;
    do {
        ready = WaitForMultipleObjects(count, handles, FALSE, wait_time(deadline));
        if (ready == WAIT_FAILED) {
            abort(); /* only a bad handle */
        }
    } while (ready == WAIT_TIMEOUT && system_now() < deadline);
    unsigned result = 0;
    if (ready == WAIT_OBJECT_0) {
        result |= SYSTEM_WOKEN;
        unsigned asked = system_interrupts();
        if (asked != seen) {
            seen = asked;
            result |= SYSTEM_INTERRUPTED;
        }
    }
    if (ready != WAIT_TIMEOUT && input == 0 && WaitForSingleObject(handles[1], 0) == WAIT_OBJECT_0) {
        result |= SYSTEM_INPUT;
    }
    return result;
}

bool system_pause(uint64_t milliseconds)
{
    uint64_t deadline = system_deadline(milliseconds);
    while (system_now() < deadline) {
        if ((system_wait(deadline, -1, -1) & SYSTEM_INTERRUPTED) != 0) {
            return false;
        }
    }
    return true;
}

/* ---- reading and writing ---- */

long system_read(int descriptor, void *data, size_t size)
{
    if (descriptor != 0) {
        errno = EBADF;
        return -1;
    }
    return input_read(data, size);
}

static int errno_of(DWORD error)
{
    switch (error) {
    case ERROR_BROKEN_PIPE:
    case ERROR_NO_DATA:
    case ERROR_PIPE_NOT_CONNECTED:
        return EPIPE;
    case ERROR_OPERATION_ABORTED:
        return EINTR;
    case ERROR_DISK_FULL:
    case ERROR_HANDLE_DISK_FULL:
        return ENOSPC;
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_NAME:
        return ENOENT;
    case ERROR_ACCESS_DENIED:
    case ERROR_SHARING_VIOLATION:
        return EACCES;
    case ERROR_TOO_MANY_OPEN_FILES:
        return EMFILE;
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_OUTOFMEMORY:
        return ENOMEM;
    default:
        return EIO;
    }
}

int system_write(int descriptor, const void *data, size_t length, size_t *written)
{
    const char *from = data;
    HANDLE handle = (HANDLE) _get_osfhandle(descriptor);
    *written = 0;
    while (*written < length) {
        size_t part = length - *written < WRITE_BYTES ? length - *written : WRITE_BYTES;
        DWORD put = 0;
        atomic_fetch_add_explicit(&write_number, 1, memory_order_relaxed); /* I2 */
        BOOL done = WriteFile(handle, from + *written, (DWORD) part, &put, NULL);
        DWORD error = GetLastError();
        atomic_fetch_add_explicit(&write_number, 1, memory_order_relaxed);
        *written += put;
        if (!done) {
            return errno_of(error);
        }
    }
    return 0;
}

int system_create(const char *path, bool append)
{
    int size = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, NULL, 0);
    wchar_t *wide = size > 0 ? memory_alloc((size_t) size * sizeof(wchar_t)) : NULL;
    if (wide == NULL) {
        errno = size > 0 ? ENOMEM : EILSEQ;
        return -1;
    }
    MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, size);
    HANDLE handle = CreateFileW(wide, append ? FILE_APPEND_DATA : GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_DELETE,
                                NULL, append ? OPEN_ALWAYS : CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
    DWORD error = GetLastError();
    memory_free(wide);
    if (handle == INVALID_HANDLE_VALUE) {
        errno = errno_of(error);
        return -1;
    }
    int descriptor = _open_osfhandle((intptr_t) handle, _O_BINARY | _O_NOINHERIT);
    if (descriptor < 0) {
        CloseHandle(handle);
        errno = EMFILE;
    }
    return descriptor;
}

int system_close(int descriptor)
{
    return _close(descriptor) != 0 ? errno : 0;
}

bool system_is_open(int descriptor)
{
    return descriptor >= 0 && (descriptor > 2 || !standard_closed[descriptor]);
}

bool system_terminal(int descriptor, unsigned *rows, unsigned *columns)
{
    HANDLE handle = (HANDLE) _get_osfhandle(descriptor);
    CONSOLE_SCREEN_BUFFER_INFO screen;
    DWORD mode;
    if (descriptor < 1 || descriptor > 2 || !GetConsoleMode(handle, &mode)) {
        return false;
    }
    if ((mode & ENABLE_VIRTUAL_TERMINAL_PROCESSING) == 0) {
        if (!SetConsoleMode(handle, mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING)) {
            return false; /* it cannot move its cursor at a program's text */
        }
        console_modes[descriptor] = mode;
        console_changed[descriptor] = true;
    }
    bool known = GetConsoleScreenBufferInfo(handle, &screen) != 0 && screen.srWindow.Bottom >= screen.srWindow.Top &&
                 screen.srWindow.Right >= screen.srWindow.Left;
    *rows = known ? (unsigned) (screen.srWindow.Bottom - screen.srWindow.Top + 1) : 24;
    *columns = known ? (unsigned) (screen.srWindow.Right - screen.srWindow.Left + 1) : 80;
    return true;
}

/* ---- the rest ---- */

void system_error_text(int64_t error, char *buffer, size_t size)
{
    wchar_t wide[256];
    DWORD length = FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL, (DWORD) error, 0,
                                  wide, ARRAYSIZE(wide), NULL);
    while (length > 0 && (wide[length - 1] <= L' ' || wide[length - 1] == L'.')) {
        length--;
    }
    int bytes = WideCharToMultiByte(CP_UTF8, 0, wide, (int) length, buffer, (int) size - 1, NULL, NULL);
    buffer[bytes > 0 ? bytes : 0] = '\0';
    if (bytes <= 0) {
        snprintf(buffer, size, "Windows error %ld", (long) error);
    }
}

/* A process may have 16 million handles; there is nothing to raise. */
uint64_t system_raise_descriptors(uint64_t wanted)
{
    return wanted;
}

bool system_numbers_users(void)
{
    return false;
}

bool system_user_id(const char *text, uint32_t *uid)
{
    (void) text;
    (void) uid;
    return false;
}

bool system_group_id(const char *text, uint32_t *gid)
{
    (void) text;
    (void) gid;
    return false;
}

void system_user_name(uint32_t uid, char *buffer, size_t size)
{
    (void) uid;
    snprintf(buffer, size, "-");
}

uint32_t system_process_id(void)
{
    return GetCurrentProcessId();
}

void system_digest(const void *data, size_t length, char hexadecimal[65])
{
    static BCRYPT_ALG_HANDLE algorithm; /* the main thread's */
    UCHAR digest[32];
    if (algorithm == NULL &&
        !BCRYPT_SUCCESS(BCryptOpenAlgorithmProvider(&algorithm, BCRYPT_SHA256_ALGORITHM, NULL, 0))) {
        abort(); /* it is part of every Windows */
    }
    BCRYPT_HASH_HANDLE hash;
    bool good = BCRYPT_SUCCESS(BCryptCreateHash(algorithm, &hash, NULL, 0, NULL, 0, 0));
    const UCHAR *from = data;
    while (good && length > 0) {
        ULONG part = length < (ULONG) INT32_MAX ? (ULONG) length : (ULONG) INT32_MAX;
        good = BCRYPT_SUCCESS(BCryptHashData(hash, (PUCHAR) (uintptr_t) from, part, 0));
        from += part;
        length -= part;
    }
    if (!good || !BCRYPT_SUCCESS(BCryptFinishHash(hash, digest, sizeof(digest), 0))) {
        abort(); /* out of memory */
    }
    BCryptDestroyHash(hash);
    for (size_t i = 0; i < sizeof(digest); i++) {
        snprintf(hexadecimal + 2 * i, 3, "%02x", digest[i]);
    }
}
