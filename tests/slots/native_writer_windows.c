/* native_writer_windows.c: a program that knows nothing of Mailroom and writes to mailslots.
 *
 *     native_writer PREFIX SLOTS EACH WRITER
 *
 * writes EACH numbered messages to each of the mailslots PREFIX0, PREFIX1, … in turns. Exit status 0, or the system's error. */
#include <stdio.h>
#include <stdlib.h>

#include <windows.h>

#include "native_windows.h"

int main(int argc, char **argv)
{
    if (argc != 5)
        return 87;
    uint32_t slots = (uint32_t) atoi(argv[2]), each = (uint32_t) atoi(argv[3]), writer = (uint32_t) atoi(argv[4]);
    HANDLE *handles = calloc(slots, sizeof *handles);
    for (uint32_t i = 0; i < slots; i++) {
        char name[300];
        snprintf(name, sizeof name, "\\\\.\\mailslot\\%s%u", argv[1], i);
        handles[i] = CreateFileA(name, GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);
        if (handles[i] == INVALID_HANDLE_VALUE)
            return (int) GetLastError();
    }
    for (uint32_t number = 0; number < each; number++) {
        for (uint32_t i = 0; i < slots; i++) {
            struct native_message message = {.writer = writer, .slot = i, .number = number, .filler = ~number};
            DWORD written;
            if (!WriteFile(handles[i], &message, sizeof message, &written, NULL) || written != sizeof message)
                return (int) GetLastError();
        }
    }
    return 0;
}
