/* test_native.c: slots on the system's mailslots, together with programs that know nothing of Mailroom, in numbers and from
 * several processes. */
#include "slot_support.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <windows.h>

#include <tlhelp32.h>
#include <winternl.h>

#include "native_windows.h"
#include "test_nap.h"

/* ---- children ---- */

/* Starts `program`.exe, which is beside this one. */
static HANDLE child_start(const char *program, const char *arguments)
{
    char path[MAX_PATH], line[2 * MAX_PATH];
    DWORD length = GetModuleFileNameA(NULL, path, sizeof path);
    CHECK(length > 0 && length < sizeof path);
    *strrchr(path, '\\') = '\0';
    snprintf(line, sizeof line, "\"%s\\%s.exe\" %s", path, program, arguments);
    STARTUPINFOA startup = {.cb = sizeof startup};
    PROCESS_INFORMATION process;
    CHECK_MSG(CreateProcessA(NULL, line, NULL, NULL, FALSE, 0, NULL, NULL, &startup, &process), "%s: error %lu", line,
              GetLastError());
    CloseHandle(process.hThread);
    return process.hProcess;
}

static void child_join(HANDLE child)
{
    DWORD code = 1;
    CHECK_EQ(WaitForSingleObject(child, INFINITE), WAIT_OBJECT_0);
    CHECK(GetExitCodeProcess(child, &code));
    CHECK_EQ(code, 0);
    CloseHandle(child);
}

static unsigned threads_count(void)
{
    unsigned count = 0;
    HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
    CHECK(snapshot != INVALID_HANDLE_VALUE);
    THREADENTRY32 entry = {.dwSize = sizeof entry};
    for (BOOL more = Thread32First(snapshot, &entry); more; more = Thread32Next(snapshot, &entry))
        count += entry.th32OwnerProcessID == GetCurrentProcessId();
    CloseHandle(snapshot);
    return count;
}

/* How many mailslots of this process are associated with a completion port themselves: a handle that is not synchronous and
 * that no other port takes any more. */
static unsigned direct_count(void)
{
    enum { FILE_MODE_INFORMATION_CLASS = 16, SYNCHRONOUS = 0x30 };
    unsigned count = 0;
    HANDLE other = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1);
    CHECK(other != NULL);
    for (uintptr_t value = 4; value < 4 * 8192; value += 4) {
        HANDLE handle = (HANDLE) value;
        IO_STATUS_BLOCK block;
        ULONG mode = SYNCHRONOUS;
        if (!GetMailslotInfo(handle, NULL, NULL, NULL, NULL))
            continue;
        CHECK(NtQueryInformationFile(handle, &block, &mode, sizeof mode,
                                     (FILE_INFORMATION_CLASS) FILE_MODE_INFORMATION_CLASS) >= 0);
        if ((mode & SYNCHRONOUS) == 0 && CreateIoCompletionPort(handle, other, 1, 0) == NULL &&
            GetLastError() == ERROR_INVALID_PARAMETER)
            count++;
    }
    CloseHandle(other);
    return count;
}

/* ---- programs that know nothing of Mailroom ---- */

enum { WRITERS = 8, SLOTS_MAX = 500 };

struct hall {
    struct counter got;
    _Atomic uint32_t next[SLOTS_MAX][WRITERS]; /* the number that is expected */
};

struct hall_slot {
    struct hall *hall;
    uint32_t number;
};

static struct hall hall;
static struct hall_slot hall_slots[SLOTS_MAX];

static void hall_message(mr_reader *reader, const mr_message *message, void *context)
{
    (void) reader;
    const struct hall_slot *slot = context;
    struct native_message content;
    CHECK_EQ(message->length, sizeof content);
    memcpy(&content, message->data, sizeof content);
    CHECK_EQ(content.slot, slot->number);
    CHECK(content.writer < WRITERS);
    CHECK_EQ(content.filler, ~content.number);
    /* Exactly once and in order, per writer and slot. */
    CHECK_EQ(content.number, atomic_fetch_add(&slot->hall->next[slot->number][content.writer], 1));
    CHECK_EQ(message->lane, MR_LANE_NATIVE);
    counter_add(&slot->hall->got, 1);
}

static void hall_run(uint32_t slots, uint32_t each)
{
    enum { WORKERS = 4 };
    static mr_reader *readers[SLOTS_MAX];
    counter_init(&hall.got);
    unsigned threads_before = threads_count();
    mr_port *port = slots_port(WORKERS, WORKERS);
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.port = port;
    options.on_message = hall_message;
    char name[64];
    for (uint32_t i = 0; i < slots; i++) {
        hall_slots[i] = (struct hall_slot){.hall = &hall, .number = i};
        options.context = &hall_slots[i];
        snprintf(name, sizeof name, "hall\\slot %u", i);
        readers[i] = slots_reader(name, &options);
    }
    unsigned direct = direct_count() / MR_LEVELS_DEFAULT; /* a reader has a mailslot for each level */
    CHECK_EQ(direct, slots);
    HANDLE children[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        snprintf(name, sizeof name, "\"hall\\slot \" %u %u %d", slots, each, i);
        children[i] = child_start("native_writer", name);
    }
    counter_await(&hall.got, (uint64_t) slots * each * WRITERS / 2);
    unsigned threads = threads_count() - threads_before;
    counter_await(&hall.got, (uint64_t) slots * each * WRITERS);
    for (int i = 0; i < WRITERS; i++)
        child_join(children[i]);
    for (uint32_t i = 0; i < slots; i++) {
        mr_reader_statistics statistics = slots_statistics(readers[i]);
        CHECK_EQ(statistics.messages, (uint64_t) each * WRITERS);
        CHECK_EQ(statistics.delivered, statistics.messages);
        slots_close(readers[i]);
    }
    CHECK_EQ(counter_get(&hall.got), (uint64_t) slots * each * WRITERS);
    CHECK_STATUS(mr_port_close(port), MR_OK);
    printf("direct IOCP: %u of %u readers, %u workers, %u threads more than before\n", direct, slots, WORKERS, threads);
    CHECK(threads <= WORKERS + 4); /* the constant: the port's ticker, the system's thread pool */
}

TEST_TIMEOUT(native, five_hundred_slots_four_workers_eight_processes_exactly_once_and_in_order, 300)
{
    hall_run(500, 5);
}

TEST_TIMEOUT(native, one_slot_eight_processes_exactly_once_and_in_order, 300)
{
    hall_run(1, 2000);
}

TEST(native, our_writer_into_a_program_that_created_the_mailslot_itself)
{
    enum { COUNT = 3000 };
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.linger_ms = 60000;
    mr_writer *writer;
    CHECK_STATUS(mr_writer_open(&writer, "raw reader", &options), MR_OK);
    CHECK_STATUS(mr_writer_write(writer, "", 0, MR_NORMAL), MR_E_NO_SLOT);
    unsigned char data[64];
    /* Posted before the slot is there: kept, and tried again. Urgent ones have no companion there, and go the plain way. */
    for (unsigned n = 0; n < COUNT; n++) {
        memset(data, (int) (n % 256), sizeof data);
        CHECK_STATUS(mr_writer_post(writer, data, n % 50, n < 1000 ? MR_URGENT : MR_NORMAL, NULL, NULL), MR_OK);
    }
    HANDLE child = child_start("native_reader", "\"RAW reader\" 3000 0");
    child_join(child);
    CHECK_STATUS(mr_writer_flush(writer, 0), MR_OK);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

/* ---- two programs of Mailroom ---- */

struct overtaking {
    struct counter got;
    uint32_t first_priority;
    uint32_t normal;
};

static void overtaking_message(mr_reader *reader, const mr_message *message, void *context)
{
    (void) reader;
    struct overtaking *overtaking = context;
    uint32_t number;
    CHECK_EQ(message->length, sizeof number);
    memcpy(&number, message->data, sizeof number);
    if (counter_get(&overtaking->got) == 0)
        overtaking->first_priority = message->priority;
    if (message->priority == MR_NORMAL)
        CHECK_EQ(number, overtaking->normal++);
    counter_add(&overtaking->got, 1);
}

TEST_TIMEOUT(native, one_urgent_message_overtakes_ten_thousand_waiting_normal_ones, 180)
{
    struct overtaking overtaking = {.first_priority = 99};
    counter_init(&overtaking.got);
    mr_port *port = slots_port(2, 0);
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.port = port;
    options.on_message = overtaking_message;
    options.context = &overtaking;
    mr_reader *reader = slots_reader("overtaking", &options);
    CHECK_STATUS(mr_reader_pause(reader), MR_OK);
    child_join(child_start("slot_sender", "overtaking 10000 1"));
    mr_reader_information information;
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_EQ(information.count, 10001);
    CHECK_EQ(counter_get(&overtaking.got), 0);
    CHECK_STATUS(mr_reader_resume(reader), MR_OK);
    counter_await(&overtaking.got, 10001);
    CHECK_EQ(overtaking.first_priority, MR_URGENT);
    CHECK_EQ(overtaking.normal, 10000);
    slots_close(reader);
    CHECK_STATUS(mr_port_close(port), MR_OK);
}

TEST_TIMEOUT(native, a_flood_of_urgent_messages_does_not_starve_normal_ones, 180)
{
    mr_reader *reader = slots_reader("flood", NULL);
    mr_writer *writer;
    CHECK_STATUS(mr_writer_open(&writer, "flood", NULL), MR_OK);
    CHECK_STATUS(mr_writer_write(writer, "normal", 6, MR_NORMAL), MR_OK);
    for (int i = 0; i < 1000; i++)
        CHECK_STATUS(mr_writer_write(writer, "urgent", 6, MR_URGENT), MR_OK);
    int before = 0;
    for (char buffer[16] = ""; strcmp(buffer, "normal") != 0; before++) {
        size_t length;
        CHECK_STATUS(mr_reader_read(reader, buffer, sizeof buffer, &length, 0), MR_OK);
    }
    CHECK(before > 32 && before <= 2 * 64 + 2); /* at most 64 in the system, and 64 in the reader's queue */
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
    CHECK_STATUS(mr_reader_close(reader, NULL), MR_E_UNREAD);
}

/* ---- amounts ---- */

TEST_TIMEOUT(native, two_hundred_thousand_messages_wait_and_come_in_order, 300)
{
    enum { COUNT = 200000 };
    mr_reader *reader = slots_reader("deep", NULL);
    int client = plain_connect("deep");
    for (uint32_t i = 0; i < COUNT; i++)
        plain_send(client, &i, sizeof i);
    mr_reader_information information;
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_EQ(information.count, COUNT);
    CHECK_EQ(information.next_size, sizeof(uint32_t));
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t number = 0;
        size_t length;
        CHECK_STATUS(mr_reader_read(reader, &number, sizeof number, &length, 0), MR_OK);
        CHECK_EQ(number, i);
    }
    plain_close(client);
    slots_close(reader);
}

TEST(native, sizes_up_to_four_megabytes_arrive_whole)
{
    static const size_t sizes[] = {1, 255, 256, 257, 65535, 65536, 100000, 0, 4000000, 3, 4 << 20, 424, 425};
    size_t room = (4 << 20) + 2;
    unsigned char *data = malloc(room), *buffer = malloc(room);
    CHECK(data != NULL && buffer != NULL);
    for (size_t i = 0; i < room; i++)
        data[i] = (unsigned char) (i * 7 + i / 256);
    mr_reader *reader = slots_reader("sizes", NULL);
    mr_writer *writer;
    CHECK_STATUS(mr_writer_open(&writer, "sizes", NULL), MR_OK);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        CHECK_STATUS(mr_writer_write(writer, data, sizes[i], (uint32_t) i % 2), MR_OK);
        size_t length = 99;
        mr_reader_information information;
        CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
        CHECK_EQ(information.next_size, sizes[i]);
        CHECK_STATUS(mr_reader_read(reader, buffer, room, &length, MR_FOREVER), MR_OK);
        CHECK_EQ(length, sizes[i]);
        CHECK_MEM(buffer, data, length);
    }
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
    slots_close(reader);
    free(data);
    free(buffer);
}

/* ---- cancellation ---- */

struct stream {
    const char *name;
    uint32_t count;
};

static void stream_send(void *argument)
{
    const struct stream *stream = argument;
    mr_writer *writer;
    CHECK_STATUS(mr_writer_open(&writer, stream->name, NULL), MR_OK);
    for (uint32_t i = 0; i < stream->count; i++)
        CHECK_STATUS(mr_writer_write(writer, &i, sizeof i, MR_NORMAL), MR_OK);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

/* With the event asked for, each pause cancels the reads that are under way, and awaits them. */
TEST_TIMEOUT(native, cancellation_against_arrival_twenty_thousand_none_lost_none_twice, 300)
{
    enum { COUNT = 20000 };
    mr_reader *reader = slots_reader("cancel", NULL);
    intptr_t event;
    CHECK_STATUS(mr_reader_event(reader, &event), MR_OK);
    struct stream stream = {"cancel", COUNT};
    thread sender;
    CHECK_STATUS(thread_start(&sender, "sender", stream_send, &stream), MR_OK);
    uint32_t expected = 0;
    uint64_t cancels = 0;
    while (expected < COUNT) {
        uint32_t number;
        size_t length;
        int status = mr_reader_read(reader, &number, sizeof number, &length, 0);
        if (status == MR_OK)
            CHECK_EQ(number, expected++);
        else
            CHECK_STATUS(status, MR_E_TIMEOUT); /* now reads are under way */
        if (status == MR_E_TIMEOUT || expected % 7 == 0) {
            CHECK_STATUS(mr_reader_pause(reader), MR_OK);
            CHECK_STATUS(mr_reader_resume(reader), MR_OK);
            cancels++;
        }
    }
    thread_join(sender);
    CHECK(cancels > 1000);
    slots_close(reader);
}

/* ---- foreign loops ---- */

static bool signalled(intptr_t event, DWORD milliseconds)
{
    DWORD woken = WaitForSingleObject((HANDLE) event, milliseconds);
    CHECK(woken == WAIT_OBJECT_0 || woken == WAIT_TIMEOUT);
    return woken == WAIT_OBJECT_0;
}

TEST(native, event_is_signalled_exactly_while_something_can_be_read)
{
    mr_reader *reader = slots_reader("loop", NULL);
    intptr_t event = -1;
    CHECK_STATUS(mr_reader_fd(reader, &event), MR_E_UNSUPPORTED);
    CHECK_STATUS(mr_reader_event(reader, &event), MR_OK);
    char buffer[8];
    size_t length;
    CHECK_STATUS(mr_reader_read(reader, buffer, sizeof buffer, &length, 0), MR_E_TIMEOUT);
    CHECK(!signalled(event, 0));
    int client = plain_connect("loop");
    plain_text(client, "one");
    plain_text(client, "two");
    CHECK(signalled(event, INFINITE));
    CHECK(signalled(event, 0)); /* it stays so */
    slots_expect(reader, "one");
    CHECK(signalled(event, 0));
    slots_expect(reader, "two");
    CHECK_STATUS(mr_reader_read(reader, buffer, sizeof buffer, &length, 0), MR_E_TIMEOUT);
    CHECK(!signalled(event, 0));
    CHECK_STATUS(mr_reader_pause(reader), MR_OK);
    plain_text(client, "later");
    CHECK(!signalled(event, 20));
    CHECK_STATUS(mr_reader_resume(reader), MR_OK);
    CHECK(signalled(event, INFINITE));
    slots_expect(reader, "later");
    plain_close(client);
    slots_close(reader);
}

TEST(native, event_serves_three_readers_in_one_wait)
{
    mr_reader *readers[3];
    static const char *const names[3] = {"loop a", "loop b", "loop c"};
    HANDLE events[3];
    int clients[3];
    for (int i = 0; i < 3; i++) {
        readers[i] = slots_reader(names[i], NULL);
        clients[i] = plain_connect(names[i]);
        intptr_t event;
        CHECK_STATUS(mr_reader_event(readers[i], &event), MR_OK);
        events[i] = (HANDLE) event;
    }
    unsigned got[3] = {0};
    for (unsigned sent = 0; got[0] + got[1] + got[2] < 1500;) {
        for (unsigned burst = 0; burst < 30 && sent < 500; burst++, sent++)
            for (int i = 0; i < 3; i++)
                plain_send(clients[i], &sent, sizeof sent);
        DWORD woken = WaitForMultipleObjects(3, events, FALSE, INFINITE);
        CHECK(woken < WAIT_OBJECT_0 + 3);
        unsigned message = 0;
        size_t length;
        int status;
        while ((status = mr_reader_read(readers[woken], &message, sizeof message, &length, 0)) == MR_OK)
            CHECK_EQ(message, got[woken]++);
        CHECK_STATUS(status, MR_E_TIMEOUT);
    }
    for (int i = 0; i < 3; i++) {
        plain_close(clients[i]);
        slots_close(readers[i]);
    }
}
