/* test_port_windows.c: what the completion port does with Windows' own handles: mailslots, files, byte pipes, and
 * handles that were opened for synchronous calls. The contract itself is tested on named pipes (fixture_windows.c); the
 * tests here are named after the rules that they show on the other handles. */
#include "contract.h"

#include <stdio.h>
#include <wchar.h>

#include <windows.h>
#include <winternl.h>

#define CHECK_CALL(call) CHECK_MSG((call), "%s: error %lu", #call, GetLastError())

enum { NAME_UNITS = 64 };

/* Mailslots */

static void slot_name(wchar_t *name, const wchar_t *prefix)
{
    static LONG count;
    swprintf(name, NAME_UNITS, L"%lsmailroom-test-%lu-%ld", prefix, GetCurrentProcessId(),
             InterlockedIncrement(&count));
}

/* The handle of CreateMailslotW is synchronous on some systems, which no port takes; made like this it is not. */
static HANDLE slot_create(const wchar_t *name)
{
    typedef NTSTATUS(NTAPI * create_mailslot)(HANDLE *, ULONG, OBJECT_ATTRIBUTES *, IO_STATUS_BLOCK *, ULONG, ULONG,
                                              ULONG, LARGE_INTEGER *);
    create_mailslot create =
        (create_mailslot) (void (*)(void)) GetProcAddress(GetModuleHandleW(L"ntdll"), "NtCreateMailslotFile");
    CHECK(create != NULL);
    UNICODE_STRING path;
    OBJECT_ATTRIBUTES attributes;
    IO_STATUS_BLOCK block;
    LARGE_INTEGER forever = {.QuadPart = -1};
    HANDLE slot;
    RtlInitUnicodeString(&path, name);
    InitializeObjectAttributes(&attributes, &path, OBJ_CASE_INSENSITIVE, NULL, NULL);
    CHECK_EQ(create(&slot, GENERIC_READ | SYNCHRONIZE, &attributes, &block, 0, 0, 0, &forever), 0);
    return slot;
}

struct slot {
    port *port;
    endpoint *reader;
    HANDLE writer;
    wchar_t path[NAME_UNITS + 16];
};

static struct slot slot_new(void)
{
    struct slot s;
    wchar_t name[NAME_UNITS];
    slot_name(name, L"");
    swprintf(s.path, NAME_UNITS + 16, L"\\??\\MAILSLOT\\%ls", name);
    s.port = port_new();
    s.reader = endpoint_new(s.port, (os_handle) slot_create(s.path));
    swprintf(s.path, NAME_UNITS + 16, L"\\\\.\\mailslot\\%ls", name);
    s.writer = CreateFileW(s.path, GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);
    CHECK_CALL(s.writer != INVALID_HANDLE_VALUE);
    return s;
}

static void slot_write(const struct slot *s, const char *text)
{
    DWORD bytes;
    CHECK_CALL(WriteFile(s->writer, text, (DWORD) strlen(text), &bytes, NULL));
    CHECK_EQ(bytes, strlen(text));
}

static void slot_end(struct slot *s)
{
    CHECK_CALL(CloseHandle(s->writer));
    port_finish(s->port, s->reader, NULL);
}

TEST(mailslot, c01_a_message_that_comes_later_is_one_packet)
{
    struct slot s = slot_new();
    char buffer[64];
    operation o = operation_new();
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(port_receive(s.reader, &o, buffer, sizeof buffer), STARTED_PENDING);
        slot_write(&s, "later");
        CHECK(packet_next(s.port) == &o);
        CHECK_STATUS(o.status, MR_OK);
        CHECK_EQ(o.bytes, 5);
        CHECK_MEM(buffer, "later", 5);
    }
    packet_none(s.port);
    slot_end(&s);
}

TEST(mailslot, c03_a_message_that_is_there_is_done_without_a_packet)
{
    struct slot s = slot_new();
    char buffer[64];
    operation o = operation_new();
    slot_write(&s, "one");
    slot_write(&s, "");
    slot_write(&s, "three");
    CHECK_EQ(port_receive(s.reader, &o, buffer, sizeof buffer), STARTED_DONE);
    CHECK_STATUS(o.status, MR_OK);
    CHECK_EQ(o.bytes, 3);
    CHECK_EQ(port_receive(s.reader, &o, buffer, sizeof buffer), STARTED_DONE);
    CHECK_STATUS(o.status, MR_OK);
    CHECK_EQ(o.bytes, 0);
    CHECK_EQ(port_receive(s.reader, &o, buffer, sizeof buffer), STARTED_DONE);
    CHECK_MEM(buffer, "three", 5);
    packet_none(s.port);
    slot_end(&s);
}

TEST(mailslot, c06_too_small_a_buffer_leaves_the_message_and_tells_its_size)
{
    struct slot s = slot_new();
    char buffer[8];
    operation o = operation_new();
    for (int round = 0; round < 2; round++) {
        enum started started;
        if (round == 0) { /* at once */
            slot_write(&s, "twelve bytes");
            started = port_receive(s.reader, &o, buffer, sizeof buffer);
            CHECK_EQ(started, STARTED_DONE);
        } else { /* as a packet */
            started = port_receive(s.reader, &o, buffer, sizeof buffer);
            CHECK_EQ(started, STARTED_PENDING);
            slot_write(&s, "twelve bytes");
        }
        operation_finish(s.port, &o, started);
        CHECK_STATUS(o.status, MR_E_SMALL);
        CHECK_EQ(o.os_error, ERROR_INSUFFICIENT_BUFFER);
        CHECK_EQ(o.bytes, 12);
        packet_none(s.port);
        receive_message(s.port, s.reader, "twelve bytes");
    }
    slot_end(&s);
}

TEST(mailslot, c10_a_cancelled_receive_has_taken_no_message)
{
    struct slot s = slot_new();
    char buffer[64];
    operation o = operation_new();
    for (int i = 0; i < 500; i++) {
        CHECK_EQ(port_receive(s.reader, &o, buffer, sizeof buffer), STARTED_PENDING);
        if (i % 2 == 0) {
            port_cancel(s.port, &o);
            slot_write(&s, "kept");
        } else {
            slot_write(&s, "kept");
            port_cancel(s.port, &o);
        }
        CHECK(packet_next(s.port) == &o);
        if (o.status != MR_OK) {
            CHECK_STATUS(o.status, MR_E_CANCELLED);
            CHECK_EQ(o.bytes, 0);
            receive_message(s.port, s.reader, "kept");
        } else {
            CHECK_MEM(buffer, "kept", 4);
        }
    }
    packet_none(s.port);
    slot_end(&s);
}

TEST(mailslot, c07_a_writers_end_sends_through_the_port)
{
    struct slot s = slot_new();
    HANDLE writer = CreateFileW(s.path, GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING,
                                FILE_FLAG_OVERLAPPED, NULL);
    CHECK_CALL(writer != INVALID_HANDLE_VALUE);
    endpoint *e = endpoint_new(s.port, (os_handle) writer);
    operation o = operation_new();
    for (int i = 0; i < 20; i++) {
        operation_finish(s.port, &o, port_send(e, &o, "through the port", 16));
        CHECK_STATUS(o.status, MR_OK);
        CHECK_EQ(o.bytes, 16);
    }
    packet_none(s.port);
    for (int i = 0; i < 20; i++)
        receive_message(s.port, s.reader, "through the port");
    CHECK_CALL(CloseHandle(s.writer));
    port_finish(s.port, e, s.reader);
}

TEST(mailslot, c09_and_c07_what_a_slot_cannot_is_unsupported)
{
    struct slot s = slot_new();
    operation o = operation_new();
    CHECK_EQ(port_send(s.reader, &o, "x", 1), STARTED_DONE);
    CHECK_STATUS(o.status, MR_E_UNSUPPORTED);
    CHECK_EQ(port_watch(s.reader, &o, WAIT_IN), STARTED_DONE);
    CHECK_STATUS(o.status, MR_E_UNSUPPORTED);
    CHECK_EQ(port_accept(s.reader, &o), STARTED_DONE);
    CHECK_STATUS(o.status, MR_E_UNSUPPORTED);
    slot_end(&s);
}

TEST(mailslot, c17_stop_cancels_the_receives_of_hundreds_of_slots)
{
    enum { SLOTS = 300 };
    static operation o[SLOTS];
    static char buffers[SLOTS][64];
    endpoint *e[SLOTS];
    port *p = port_new();
    for (int i = 0; i < SLOTS; i++) {
        wchar_t name[NAME_UNITS];
        slot_name(name, L"\\??\\MAILSLOT\\");
        e[i] = endpoint_new(p, (os_handle) slot_create(name));
        o[i] = operation_new();
        CHECK_EQ(port_receive(e[i], &o[i], buffers[i], sizeof buffers[i]), STARTED_PENDING);
    }
    CHECK_EQ(port_drain(p), SLOTS);
    for (int i = 0; i < SLOTS; i++) {
        CHECK_STATUS(o[i].status, MR_E_CANCELLED);
        endpoint_close(e[i]);
    }
    port_close(p);
}

TEST(mailslot, an_ordinary_slot_is_associated_or_refused_and_stays_the_callers)
{
    wchar_t name[NAME_UNITS];
    slot_name(name, L"\\\\.\\mailslot\\");
    HANDLE slot = CreateMailslotW(name, 0, MAILSLOT_WAIT_FOREVER, NULL);
    CHECK_CALL(slot != INVALID_HANDLE_VALUE);
    port *p = port_new();
    endpoint *e;
    int status = endpoint_open(&e, p, (os_handle) slot);
    if (status == MR_OK) {
        port_finish(p, e, NULL);
        return;
    }
    CHECK_STATUS(status, MR_E_UNSUPPORTED);
    CHECK_CALL(GetMailslotInfo(slot, NULL, NULL, NULL, NULL));
    CHECK_CALL(CloseHandle(slot));
    port_finish(p, NULL, NULL);
}

/* Files */

static HANDLE file_new(DWORD flags)
{
    wchar_t folder[MAX_PATH], path[MAX_PATH];
    CHECK_CALL(GetTempPathW(MAX_PATH, folder) != 0);
    CHECK_CALL(GetTempFileNameW(folder, L"mr", 0, path) != 0);
    HANDLE file = CreateFileW(path, GENERIC_READ | GENERIC_WRITE, 0, NULL, CREATE_ALWAYS,
                              flags | FILE_FLAG_DELETE_ON_CLOSE, NULL);
    CHECK_CALL(file != INVALID_HANDLE_VALUE);
    return file;
}

TEST(file, c06_and_c07_it_is_read_from_the_beginning_and_written_at_the_end)
{
    port *p = port_new();
    endpoint *e = endpoint_new(p, (os_handle) file_new(FILE_FLAG_OVERLAPPED));
    char buffer[5];
    operation in = operation_new(), out = operation_new();
    operation_finish(p, &out, port_send(e, &out, "seven b", 7));
    CHECK_STATUS(out.status, MR_OK);
    CHECK_EQ(out.bytes, 7);
    operation_finish(p, &in, port_receive(e, &in, buffer, sizeof buffer));
    CHECK_STATUS(in.status, MR_OK);
    CHECK_EQ(in.bytes, 5);
    CHECK_MEM(buffer, "seven", 5);
    operation_finish(p, &out, port_send(e, &out, "yte", 3));
    CHECK_EQ(out.bytes, 3);
    operation_finish(p, &in, port_receive(e, &in, buffer, sizeof buffer));
    CHECK_EQ(in.bytes, 5);
    CHECK_MEM(buffer, " byte", 5);
    for (int i = 0; i < 2; i++) {
        operation_finish(p, &in, port_receive(e, &in, buffer, sizeof buffer));
        CHECK_STATUS(in.status, MR_E_GONE); /* its end */
        CHECK_EQ(in.bytes, 0);
    }
    packet_none(p);
    port_finish(p, e, NULL);
}

TEST(file, one_that_was_opened_for_synchronous_calls_is_refused_and_stays_the_callers)
{
    port *p = port_new();
    HANDLE file = file_new(0);
    endpoint *e;
    CHECK_STATUS(endpoint_open(&e, p, (os_handle) file), MR_E_UNSUPPORTED);
    DWORD bytes;
    CHECK_CALL(WriteFile(file, "mine", 4, &bytes, NULL));
    CHECK_CALL(CloseHandle(file));
    port_finish(p, NULL, NULL);
}

TEST(file, c18_one_that_is_associated_already_is_refused)
{
    port *p = port_new(), *other = port_new();
    HANDLE file = file_new(FILE_FLAG_OVERLAPPED);
    endpoint *e = endpoint_new(p, (os_handle) file), *twice;
    CHECK_STATUS(endpoint_open(&twice, p, (os_handle) file), MR_E_ARGUMENT);
    CHECK_STATUS(endpoint_open(&twice, other, (os_handle) file), MR_E_ARGUMENT);
    port_finish(p, e, NULL);
    port_finish(other, NULL, NULL);
}

/* Pipes */

TEST(pipe, c06_without_message_boundaries_it_gives_what_is_there)
{
    wchar_t name[NAME_UNITS];
    slot_name(name, L"\\\\.\\pipe\\");
    HANDLE server =
        CreateNamedPipeW(name, PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED, PIPE_TYPE_BYTE, 1, 4096, 4096, 0, NULL);
    CHECK_CALL(server != INVALID_HANDLE_VALUE);
    HANDLE client = CreateFileW(name, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
    CHECK_CALL(client != INVALID_HANDLE_VALUE);
    port *p = port_new();
    endpoint *e = endpoint_new(p, (os_handle) server);
    char buffer[8];
    operation o = operation_new();
    DWORD bytes;
    CHECK_CALL(WriteFile(client, "twelve bytes", 12, &bytes, NULL));
    operation_finish(p, &o, port_receive(e, &o, buffer, sizeof buffer));
    CHECK_STATUS(o.status, MR_OK);
    CHECK_EQ(o.bytes, 8);
    CHECK_MEM(buffer, "twelve b", 8);
    receive_message(p, e, "ytes");
    CHECK_EQ(port_receive(e, &o, buffer, sizeof buffer), STARTED_PENDING);
    CHECK_CALL(WriteFile(client, "more", 4, &bytes, NULL));
    CHECK(packet_next(p) == &o);
    CHECK_STATUS(o.status, MR_OK);
    CHECK_EQ(o.bytes, 4);
    CHECK_CALL(CloseHandle(client));
    operation_finish(p, &o, port_receive(e, &o, buffer, sizeof buffer));
    CHECK_STATUS(o.status, MR_E_GONE);
    port_finish(p, e, NULL);
}

TEST(pipe, c06_a_clients_end_keeps_message_boundaries)
{
    wchar_t name[NAME_UNITS];
    slot_name(name, L"\\\\.\\pipe\\");
    HANDLE server = CreateNamedPipeW(name, PIPE_ACCESS_DUPLEX, PIPE_TYPE_MESSAGE, 1, 4096, 4096, 0, NULL);
    CHECK_CALL(server != INVALID_HANDLE_VALUE);
    /* It begins in byte mode, where two messages would be read as one. */
    HANDLE client = CreateFileW(name, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, NULL);
    CHECK_CALL(client != INVALID_HANDLE_VALUE);
    port *p = port_new();
    endpoint *e = endpoint_new(p, (os_handle) client);
    char buffer[4];
    operation o = operation_new();
    DWORD bytes;
    CHECK_CALL(WriteFile(server, "first", 5, &bytes, NULL));
    CHECK_CALL(WriteFile(server, "", 0, &bytes, NULL));
    CHECK_CALL(WriteFile(server, "third", 5, &bytes, NULL));
    operation_finish(p, &o, port_receive(e, &o, buffer, sizeof buffer));
    CHECK_STATUS(o.status, MR_E_SMALL);
    CHECK_EQ(o.bytes, 5);
    receive_message(p, e, "first");
    receive_message(p, e, "");
    receive_message(p, e, "third");
    CHECK_CALL(CloseHandle(server));
    port_finish(p, e, NULL);
}

TEST(pipe, c08_accept_hands_over_one_instance_after_the_other)
{
    enum { PEERS = 20 };
    port *p = port_new();
    os_handle listening = fixture_listen();
    endpoint *listener = endpoint_new(p, listening), *connections[PEERS];
    os_handle far_ends[PEERS];
    for (int i = 0; i < PEERS; i++) {
        operation o = operation_new();
        far_ends[i] = fixture_connect(listening);
        operation_finish(p, &o, port_accept(listener, &o));
        CHECK_STATUS(o.status, MR_OK);
        CHECK(endpoint_handle(listener) != o.accepted);
        connections[i] = endpoint_new(p, o.accepted);
        fixture_far_send(far_ends[i], "hello", 5);
    }
    for (int i = PEERS - 1; i >= 0; i--) {
        receive_message(p, connections[i], "hello");
        endpoint_close(connections[i]);
    }
    port_finish(p, listener, NULL);
}
