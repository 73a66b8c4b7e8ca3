/* slot_support_windows.c: slot_support.h with nothing but the system's calls: a plain client is a file handle for the
 * mailslot. */
#include "slot_support.h"

#include <stdio.h>
#include <string.h>

#include <windows.h>

enum { CLIENTS_MAX = 8192 };

const bool slots_reach_other_machines = true;
const char *const slots_default_lane = "native";
const bool slots_tell_connections = false;

/* Clients are numbers, as descriptors are; the number of a closed one is not used again. */
static HANDLE handles[CLIENTS_MAX];
static int handle_count; /* the test's first thread alone makes clients */

/* A run under Wine has the machine's mailslots to itself, and each test is a process, whose slots end with it. */
void slots_begin(void)
{
}

int plain_connect(const char *name)
{
    wchar_t path[512];
    CHECK(swprintf(path, sizeof path / sizeof path[0], L"\\\\.\\mailslot\\%hs", name) > 0);
    HANDLE handle = CreateFileW(path, GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);
    CHECK_MSG(handle != INVALID_HANDLE_VALUE, "CreateFile of %s: error %lu", name, GetLastError());
    int client = handle_count++;
    CHECK(client < CLIENTS_MAX);
    handles[client] = handle;
    return client;
}

void plain_send(int client, const void *data, size_t length)
{
    DWORD written = 0;
    BOOL done = WriteFile(handles[client], data, (DWORD) length, &written, NULL);
    CHECK_MSG(done && written == length, "WriteFile of %zu bytes: %lu, error %lu", length, written, GetLastError());
}

void plain_close(int client)
{
    CHECK(CloseHandle(handles[client]));
}

size_t slots_descriptors(void)
{
    DWORD count = 0;
    CHECK(GetProcessHandleCount(GetCurrentProcess(), &count));
    return count;
}

bool plain_gone(int client)
{
    DWORD written;
    bool told = GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "wine_get_version") == NULL;
    return !WriteFile(handles[client], "x", 1, &written, NULL) || !told;
}

void plain_await_end(int client)
{
    CHECK(plain_gone(client)); /* a mailslot ends with the call that closes it */
}
