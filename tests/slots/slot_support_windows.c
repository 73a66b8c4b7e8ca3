/* slot_support_windows.c: slot_support.h with nothing but the system's calls: a plain client is a file handle for the
 * mailslot. */
#include "slot_support.h"

#include <stdio.h>
#include <string.h>

#include <windows.h>

enum { CLIENTS_MAX = 4096 };

/* Clients are numbers, as descriptors are; the number of a closed one is not used again. */
static HANDLE clients[CLIENTS_MAX];
static _Atomic int client_count;

/* A run under Wine has the machine's mailslots to itself, and each test is a process, whose slots end with it. */
void slots_begin(void)
{
}

int plain_try_connect(const char *name)
{
    wchar_t path[512];
    CHECK(swprintf(path, sizeof path / sizeof path[0], L"\\\\.\\mailslot\\%hs", name) > 0);
    HANDLE handle = CreateFileW(path, GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);
    if (handle == INVALID_HANDLE_VALUE)
        return -1;
    int client = client_count++;
    CHECK(client < CLIENTS_MAX);
    clients[client] = handle;
    return client;
}

int plain_connect(const char *name)
{
    int client = plain_try_connect(name);
    CHECK_MSG(client >= 0, "CreateFile of %s: error %lu", name, GetLastError());
    return client;
}

void plain_send(int client, const void *data, size_t length)
{
    DWORD written = 0;
    BOOL done = WriteFile(clients[client], data, (DWORD) length, &written, NULL);
    CHECK_MSG(done && written == length, "WriteFile of %zu bytes: %lu, error %lu", length, written, GetLastError());
}

void plain_text(int client, const char *text)
{
    plain_send(client, text, strlen(text));
}

void plain_close(int client)
{
    CHECK(CloseHandle(clients[client]));
}

size_t slots_descriptors(void)
{
    DWORD count = 0;
    CHECK(GetProcessHandleCount(GetCurrentProcess(), &count));
    return count;
}

uint32_t slots_process_id(void)
{
    return GetCurrentProcessId();
}
