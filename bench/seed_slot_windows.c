/* seed_slot_windows.c: the peer seed's slot as the system's mailslot, with the calls of the article.
 *
 * Path    seed_end_write ► overlapped WriteFile ► the mailslot ► overlapped ReadFile ► seed_slot_read
 * Owners  A slot belongs to the one thread that reads it; its stop event alone is set by others. An end belongs to its
 *         writer's own thread.
 * I1      Nothing is under way when a read or a write has returned: one that was interrupted is cancelled and awaited. What
 *         came in the same instant is a message all the same.
 *
 * CSyncMailslotReader, Connect  CreateMailslot(name, 0, MAILSLOT_WAIT_FOREVER, NULL). Where that gives a handle for synchronous
 *                               calls (Wine), the library's own way of getting the other kind is used here too.
 * CSyncMailslotReader, Read     m_overlapped.Read(…, m_hStopEvent): ReadFile with an event, and a wait for it and the stop event.
 * CSyncMailslotWriter, Connect  CreateFile for overlapped writing, FILE_SHARE_READ | FILE_SHARE_WRITE.
 * CSyncMailslotWriter, Write    m_overlapped.Write: the same with WriteFile; all of it written, or a failure.
 */
#include "seed_slot.h"

#include <stdio.h>

#include <windows.h>

#include "queue/memory.h"
#include "slots/mailslot_windows.h"

#define NAME_ROOM 128u

const char seed_slot_summary[] =
    "the article's design on native mailslots: a thread per slot, 64 KiB and a copy per message, "
    "a deque and a thread per writer";

struct seed_slot {
    HANDLE mailslot;
    HANDLE done;
    HANDLE stop;
};

struct seed_end {
    HANDLE mailslot;
    HANDLE done;
};

static int fail_system(const char *what)
{
    DWORD error = GetLastError();
    return status_fail(MR_E_SYSTEM, error, "%s failed: error %lu", what, error);
}

static void slot_name(wchar_t name[NAME_ROOM], const struct peer_options *options, unsigned number)
{
    swprintf(name, NAME_ROOM, L"\\\\.\\mailslot\\seed\\%hs\\%u", options->name, number);
}

int seed_slot_create(struct seed_slot **made, const struct peer_options *options, unsigned number)
{
    wchar_t name[NAME_ROOM];
    struct seed_slot *created = memory_zalloc(sizeof *created);
    if (created == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a slot");
    slot_name(name, options, number);
    created->done = CreateEventW(NULL, TRUE, FALSE, NULL);
    created->stop = CreateEventW(NULL, TRUE, FALSE, NULL);
    created->mailslot = mailslot_create(name, 0, NULL);
    if (created->mailslot == INVALID_HANDLE_VALUE || created->done == NULL || created->stop == NULL) {
        int status = fail_system("creating a mailslot");
        seed_slot_close(created);
        return status;
    }
    *made = created;
    return MR_OK;
}

int seed_slot_read(struct seed_slot *from, void *buffer, size_t room, size_t *length)
{
    OVERLAPPED read = {.hEvent = from->done};
    HANDLE either[2] = {from->stop, from->done};
    DWORD got = 0;
    *length = 0;
    if (!ReadFile(from->mailslot, buffer, (DWORD) room, NULL, &read)) {
        if (GetLastError() != ERROR_IO_PENDING)
            return fail_system("ReadFile");
        if (WaitForMultipleObjects(2, either, FALSE, INFINITE) == WAIT_OBJECT_0)
            CancelIoEx(from->mailslot, &read); /* I1 */
    }
    if (!GetOverlappedResult(from->mailslot, &read, &got, TRUE))
        return GetLastError() == ERROR_OPERATION_ABORTED ? MR_OK : fail_system("ReadFile");
    *length = got;
    return MR_OK;
}

void seed_slot_stop(struct seed_slot *from)
{
    SetEvent(from->stop);
}

void seed_slot_close(struct seed_slot *from)
{
    if (from->mailslot != INVALID_HANDLE_VALUE)
        CloseHandle(from->mailslot);
    if (from->done != NULL)
        CloseHandle(from->done);
    if (from->stop != NULL)
        CloseHandle(from->stop);
    memory_free(from);
}

int seed_end_connect(struct seed_end **end, const struct peer_options *options, unsigned number)
{
    wchar_t name[NAME_ROOM];
    struct seed_end *connected = memory_zalloc(sizeof *connected);
    if (connected == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a connection");
    slot_name(name, options, number);
    connected->done = CreateEventW(NULL, TRUE, FALSE, NULL);
    connected->mailslot = CreateFileW(name, GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING,
                                      FILE_FLAG_OVERLAPPED, NULL);
    if (connected->mailslot == INVALID_HANDLE_VALUE || connected->done == NULL) {
        int status = fail_system("connecting to a mailslot");
        seed_end_close(connected);
        return status;
    }
    *end = connected;
    return MR_OK;
}

int seed_end_write(struct seed_end *end, const void *data, size_t length)
{
    OVERLAPPED write = {.hEvent = end->done};
    DWORD written = 0;
    if (!WriteFile(end->mailslot, data, (DWORD) length, NULL, &write) && GetLastError() != ERROR_IO_PENDING)
        return fail_system("WriteFile");
    if (!GetOverlappedResult(end->mailslot, &write, &written, TRUE))
        return fail_system("WriteFile");
    return written == length ? MR_OK : status_fail(MR_E_SYSTEM, 0, "%lu of %zu bytes were written", written, length);
}

void seed_end_close(struct seed_end *end)
{
    if (end->mailslot != INVALID_HANDLE_VALUE)
        CloseHandle(end->mailslot);
    if (end->done != NULL)
        CloseHandle(end->done);
    memory_free(end);
}
