/* input_windows.c: a thread that reads standard input ahead, one buffer.
 *
 * Path    ReadFile | ReadConsoleW > data > `ready` > input_read > `taken` > the next ReadFile
 * Owners  The buffer is the thread's until it sets `ready`, then the reader's until it sets `taken`.
 * I1      `ready` stays set until the buffer has been read to its end; after the end of the input for ever.
 * Why     No wait of Windows' tells that a pipe or a console has something: only a read does, and it blocks. The thread
 *         ends with the process, whatever it waits for. */
#include "input_windows.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "queue/memory.h"
#include "queue/thread.h"

#define BUFFER_BYTES  ((size_t) 64 * 1024)
#define CONSOLE_UNITS 4096 /* UTF-16; at most three bytes each */
#define CONTROL_Z     0x1A

struct input {
    HANDLE handle;
    HANDLE ready;
    HANDLE taken;
    char *data;
    size_t length;
    size_t at;
    int error; /* errno of the read that failed */
    bool console;
    bool ended;
    bool line_begins; /* console: the next unit is the first of its line */
    wchar_t high;     /* console: first half of a pair whose second half comes with the next read; 0: none */
};

static struct input input;

/* UTF-8, lines that end with a newline alone, and Ctrl-Z at the beginning of a line for the end. */
static void take_units(struct input *in, wchar_t *units, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count && !in->ended; i++) {
        if (in->line_begins && units[i] == CONTROL_Z) {
            in->ended = true;
        } else if (units[i] != L'\r') {
            in->line_begins = units[i] == L'\n';
            units[kept++] = units[i];
        }
    }
    in->high = 0;
    if (kept > 0 && !in->ended && units[kept - 1] >= 0xD800 && units[kept - 1] <= 0xDBFF) {
        in->high = units[--kept];
    }
    in->length = kept == 0 ? 0
                           : (size_t) WideCharToMultiByte(CP_UTF8, 0, units, (int) kept, in->data, (int) BUFFER_BYTES,
                                                          NULL, NULL);
}

static void read_console(struct input *in)
{
    wchar_t units[CONSOLE_UNITS + 1];
    size_t kept = in->high != 0;
    units[0] = in->high;
    DWORD got = 0;
    SetLastError(ERROR_SUCCESS);
    if (!ReadConsoleW(in->handle, units + kept, CONSOLE_UNITS, &got, NULL)) {
        in->error = EIO;
    } else if (got > 0) {
        take_units(in, units, kept + got);
    } else if (GetLastError() != ERROR_OPERATION_ABORTED) {
        in->ended = true; /* not Ctrl-C, which reads nothing either */
    }
}

static void read_bytes(struct input *in)
{
    DWORD got = 0;
    if (ReadFile(in->handle, in->data, (DWORD) BUFFER_BYTES, &got, NULL)) {
        in->length = got;
        /* Someone may write nothing to a pipe. */
        in->ended = got == 0 && GetFileType(in->handle) != FILE_TYPE_PIPE;
    } else if (GetLastError() == ERROR_BROKEN_PIPE || GetLastError() == ERROR_HANDLE_EOF) {
        in->ended = true;
    } else {
        in->error = EIO;
    }
}

static void run(void *argument)
{
    struct input *in = argument;
    for (;;) {
        in->length = in->at = 0;
        if (in->console) {
            read_console(in);
        } else {
            read_bytes(in);
        }
        bool last = in->ended || in->error != 0;
        if (in->length == 0 && !last) {
            continue;
        }
        SetEvent(in->ready);
        if (last) {
            return;
        }
        WaitForSingleObject(in->taken, INFINITE);
    }
}

HANDLE input_event(void)
{
    struct input *in = &input;
    thread reading;
    if (in->data != NULL) {
        return in->ready;
    }
    DWORD mode;
    in->handle = GetStdHandle(STD_INPUT_HANDLE);
    in->console = GetConsoleMode(in->handle, &mode) != 0;
    in->line_begins = true;
    in->ready = CreateEventW(NULL, TRUE, FALSE, NULL);
    in->taken = CreateEventW(NULL, FALSE, FALSE, NULL);
    in->data = memory_alloc(BUFFER_BYTES);
    if (in->ready != NULL && in->taken != NULL && in->data != NULL && thread_start(&reading, "input", run, in) == 0) {
        thread_detach(reading);
        return in->ready;
    }
    memory_free(in->data);
    in->data = NULL;
    return NULL;
}

long input_read(void *data, size_t size)
{
    struct input *in = &input;
    HANDLE ready = input_event();
    if (ready == NULL) {
        errno = ENOMEM;
        return -1;
    }
    WaitForSingleObject(ready, INFINITE);
    size_t left = in->length - in->at;
    if (left == 0) {
        errno = in->error;
        return in->error != 0 ? -1 : 0;
    }
    size_t part = left < size ? left : size;
    memcpy(data, in->data + in->at, part);
    in->at += part;
    if (in->at == in->length && !in->ended && in->error == 0) {
        ResetEvent(ready);
        SetEvent(in->taken);
    }
    return (long) part;
}
