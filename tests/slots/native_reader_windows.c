/* native_reader_windows.c: a program that knows nothing of Mailroom and reads a mailslot.
 *
 *     native_reader NAME COUNT MAXIMUM
 *
 * creates the mailslot, reads COUNT messages, and checks: the n-th (from 0) has n % 50 bytes, each of them n % 256. Exit
 * status 0, 1 a wrong message, or the system's error. */
#include <stdio.h>
#include <stdlib.h>

#include <windows.h>

int main(int argc, char **argv)
{
    if (argc != 4)
        return 87;
    char name[300];
    snprintf(name, sizeof name, "\\\\.\\mailslot\\%s", argv[1]);
    HANDLE slot = CreateMailslotA(name, (DWORD) atoi(argv[3]), MAILSLOT_WAIT_FOREVER, NULL);
    if (slot == INVALID_HANDLE_VALUE)
        return (int) GetLastError();
    unsigned count = (unsigned) atoi(argv[2]);
    for (unsigned n = 0; n < count; n++) {
        unsigned char data[64];
        DWORD length = 0;
        if (!ReadFile(slot, data, sizeof data, &length, NULL))
            return (int) GetLastError();
        if (length != n % 50)
            return 1;
        for (DWORD i = 0; i < length; i++)
            if (data[i] != n % 256)
                return 1;
    }
    CloseHandle(slot);
    return 0;
}
