/* test_native_rules.c: slots on the system's mailslots: names, companions, bounds, access, the list, writers of other machines;
 * each row of what a mailslot does that Wine can show and no other test has. */
#include "slot_support.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <windows.h>

#include <sddl.h>

#include "slots/name.h"
#include "slots/security_windows.h"

static mr_writer *writer_to(const char *name)
{
    mr_writer *writer;
    CHECK_STATUS(mr_writer_open(&writer, name, NULL), MR_OK);
    return writer;
}

static void writer_end(mr_writer *writer)
{
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
}

/* ---- names ---- */

TEST(names, case_is_ignored_and_the_name_is_shown_as_its_creator_spelled_it)
{
    mr_reader *reader = slots_reader("\\\\.\\mailslot\\Some\\\xC3\x84mter: All", NULL); /* A with two dots */
    mr_writer *writer = writer_to("some/\xC3\xA4MTER: all");
    CHECK_STATUS(mr_writer_write(writer, "x", 1, MR_NORMAL), MR_OK);
    slots_expect(reader, "x");
    char name[MR_NAME_MAX];
    CHECK_STATUS(mr_reader_get_name(reader, name, sizeof name), MR_OK);
    CHECK_STR(name, "\\\\.\\mailslot\\Some\\\xC3\x84mter: All");
    mr_reader *second;
    CHECK_STATUS(mr_reader_open(&second, "SOME\\\xC3\x84MTER: ALL", NULL), MR_E_EXISTS);
    writer_end(writer);
    slots_close(reader);
}

/* What we take for one name is what the system takes for one. */
TEST(names, case_is_ignored_exactly_as_the_system_does)
{
    static const char *const pairs[][2] = {
        {"a", "A"},
        {"\xC3\x84", "\xC3\xA4"},                 /* a with two dots */
        {"\xCE\xA3", "\xCF\x83"},                 /* sigma */
        {"\xCE\xA3", "\xCF\x82"},                 /* capital sigma, final sigma */
        {"\xC3\x9F", "SS"},                       /* sharp s */
        {"\xC3\x9F", "\xE1\xBA\x9E"},             /* sharp s, capital sharp s */
        {"i", "\xC4\xB0"},                        /* i, I with a dot */
        {"I", "\xC4\xB1"},                        /* I, i without one */
        {"\xD0\x96", "\xD0\xB6"},                 /* Cyrillic zhe */
        {"\xF0\x90\x90\x80", "\xF0\x90\x90\xA8"}, /* Deseret, outside of 16 bits */
        {"e\xCC\x81", "\xC3\xA9"},                /* composed or not */
        {"~", "^"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct slot_name left, right;
        CHECK_STATUS(name_parse(&left, pairs[i][0]), MR_OK);
        CHECK_STATUS(name_parse(&right, pairs[i][1]), MR_OK);
        mr_reader *reader = slots_reader(pairs[i][0], NULL), *other = NULL;
        int status = mr_reader_open(&other, pairs[i][1], NULL);
        CHECK_STATUS(status, name_equal(&left, &right) ? MR_E_EXISTS : MR_OK);
        if (status == MR_OK)
            slots_close(other);
        slots_close(reader);
    }
}

TEST(names, longest_name_of_255_characters_works_and_its_companion_too)
{
    char name[300] = "";
    memset(name, 'n', 255 - 13); /* \\.\mailslot\ has 13 */
    mr_reader *reader = slots_reader(name, NULL);
    mr_writer *writer = writer_to(name);
    CHECK_STATUS(mr_writer_write(writer, "normal", 6, MR_NORMAL), MR_OK);
    CHECK_STATUS(mr_writer_write(writer, "urgent", 6, MR_URGENT), MR_OK);
    slots_expect(reader, "urgent");
    slots_expect(reader, "normal");
    writer_end(writer);
    slots_close(reader);
    strcat(name, "n");
    mr_reader *none;
    CHECK_STATUS(mr_reader_open(&none, name, NULL), MR_E_NAME);
}

TEST(names, second_creation_by_the_system_itself_sees_a_live_name)
{
    mr_reader *reader = slots_reader("live", NULL);
    HANDLE other = CreateMailslotW(L"\\\\.\\mailslot\\LIVE", 0, 0, NULL);
    CHECK(other == INVALID_HANDLE_VALUE);
    CHECK_EQ(GetLastError(), ERROR_ALREADY_EXISTS);
    slots_close(reader);
    other = CreateMailslotW(L"\\\\.\\mailslot\\LIVE", 0, 0, NULL);
    CHECK(other != INVALID_HANDLE_VALUE);
    mr_reader *none;
    CHECK_STATUS(mr_reader_open(&none, "live", NULL), MR_E_EXISTS);
    CloseHandle(other);
    slots_close(slots_reader("live", NULL));
}

TEST(names, a_taken_companion_is_said_by_name_and_leaves_nothing_behind)
{
    HANDLE other = CreateMailslotW(L"\\\\.\\mailslot\\guarded\\~1", 0, 0, NULL);
    CHECK(other != INVALID_HANDLE_VALUE);
    size_t handles = slots_descriptors();
    mr_reader *reader;
    CHECK_STATUS(mr_reader_open(&reader, "guarded", NULL), MR_E_EXISTS);
    CHECK(strstr(mr_last_error_text(), "~1") != NULL);
    CHECK_EQ(slots_descriptors(), handles);
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.levels = 1; /* needs no companion */
    slots_close(slots_reader("guarded", &options));
    CloseHandle(other);
}

/* Writes as fast as it can until told to stop. */
static void flood(void *argument)
{
    atomic_bool *stop = argument;
    while (!atomic_load(stop)) {
        HANDLE slot = CreateFileW(L"\\\\.\\mailslot\\flooded", GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
                                  OPEN_EXISTING, 0, NULL);
        if (slot == INVALID_HANDLE_VALUE)
            return; /* the old name has gone; under Wine it stays while another has it open */
        DWORD written;
        for (int i = 0; i < 200 && WriteFile(slot, "flood", 5, &written, NULL); i++)
            continue;
        CloseHandle(slot);
    }
}

TEST(names, a_flood_to_the_old_name_does_not_keep_a_rename)
{
    mr_reader *reader = slots_reader("flooded", NULL);
    thread flooders[4];
    atomic_bool stop = false;
    for (size_t i = 0; i < 4; i++)
        CHECK_STATUS(thread_start(&flooders[i], "flood", flood, &stop), MR_OK);
    slots_expect(reader, "flood");
    CHECK_STATUS(mr_reader_rename(reader, "dry"), MR_OK);
    atomic_store(&stop, true);
    for (size_t i = 0; i < 4; i++)
        thread_join(flooders[i]);
    uint64_t lost;
    int status = mr_reader_close(reader, &lost);
    CHECK(status == MR_OK || status == MR_E_UNREAD); /* as far as the flood had come */
}

TEST(names, handles_are_not_inheritable)
{
    mr_reader *reader = slots_reader("inherit", NULL);
    mr_writer *writer = writer_to("inherit");
    CHECK_STATUS(mr_writer_write(writer, "x", 1, MR_URGENT), MR_OK);
    unsigned seen = 0;
    for (uintptr_t value = 4; value < 4096; value += 4) {
        DWORD flags = 0;
        if (!GetHandleInformation((HANDLE) value, &flags) || !GetMailslotInfo((HANDLE) value, NULL, NULL, NULL, NULL))
            continue;
        CHECK_EQ(flags & HANDLE_FLAG_INHERIT, 0);
        seen++;
    }
    CHECK_EQ(seen, 2); /* the slot and its companion */
    slots_expect(reader, "x");
    writer_end(writer);
    slots_close(reader);
}

/* ---- levels ---- */

TEST(levels, eight_levels_come_highest_first_and_in_order_within_each)
{
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.levels = MR_LEVELS_MAX;
    mr_reader *reader = slots_reader("levels", &options);
    mr_writer_options writing = MR_WRITER_OPTIONS_INIT;
    writing.levels = MR_LEVELS_MAX;
    mr_writer *writer;
    CHECK_STATUS(mr_writer_open(&writer, "levels", &writing), MR_OK);
    char text[16];
    for (int round = 0; round < 3; round++) {
        for (uint32_t level = 0; level < MR_LEVELS_MAX; level++) {
            snprintf(text, sizeof text, "%u.%d", level, round);
            CHECK_STATUS(mr_writer_write(writer, text, strlen(text), level), MR_OK);
        }
    }
    for (uint32_t level = MR_LEVELS_MAX; level-- > 0;) {
        for (int round = 0; round < 3; round++) {
            snprintf(text, sizeof text, "%u.%d", level, round);
            slots_expect(reader, text);
        }
    }
    writer_end(writer);
    slots_close(reader);
}

TEST(levels, a_reader_with_one_level_gets_urgent_messages_by_the_plain_name)
{
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.levels = 1;
    mr_reader *reader = slots_reader("one level", &options);
    mr_writer *writer = writer_to("one level");
    CHECK_STATUS(mr_writer_write(writer, "first", 5, MR_NORMAL), MR_OK);
    CHECK_STATUS(mr_writer_write(writer, "second", 6, MR_URGENT), MR_OK);
    slots_expect(reader, "first");
    slots_expect(reader, "second");
    writer_end(writer);
    slots_close(reader);
}

/* ---- messages ---- */

TEST(messages, maximum_larger_ones_are_refused_at_the_writer_and_the_connection_is_kept)
{
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.max_message = 100;
    mr_reader *reader = slots_reader("bounded", &options);
    mr_writer *writer = writer_to("bounded");
    char data[101];
    memset(data, 'm', sizeof data);
    CHECK_STATUS(mr_writer_write(writer, data, 101, MR_NORMAL), MR_E_TOO_BIG);
    CHECK_STATUS(mr_writer_write(writer, data, 100, MR_NORMAL), MR_OK);
    CHECK_STATUS(mr_writer_write(writer, data, 101, MR_URGENT), MR_E_TOO_BIG);
    CHECK_STATUS(mr_writer_post(writer, data, 101, MR_NORMAL, NULL, NULL), MR_E_TOO_BIG);
    mr_writer_statistics statistics = {.size = sizeof statistics};
    CHECK_STATUS(mr_writer_get_statistics(writer, &statistics), MR_OK);
    CHECK_EQ(statistics.connects, 1);
    CHECK_EQ(statistics.written, 1);
    char buffer[128];
    size_t length;
    CHECK_STATUS(mr_reader_read(reader, buffer, sizeof buffer, &length, MR_FOREVER), MR_OK);
    CHECK_EQ(length, 100);
    CHECK_EQ(slots_statistics(reader).dropped_too_big, 0);
    writer_end(writer);
    slots_close(reader);
}

struct kept {
    struct counter got;
    const mr_message *message[2];
};

static void keep_message(mr_reader *reader, const mr_message *message, void *context)
{
    (void) reader;
    struct kept *kept = context;
    kept->message[counter_get(&kept->got)] = mr_message_retain(message);
    counter_add(&kept->got, 1);
}

TEST(messages, fields_that_a_mailslot_cannot_tell_are_empty)
{
    mr_port *port = slots_port(1, 0);
    static struct kept kept;
    counter_init(&kept.got);
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.port = port;
    options.on_message = keep_message;
    options.context = &kept;
    mr_reader *reader = slots_reader("fields", &options);
    mr_writer *writer = writer_to("fields");
    CHECK_STATUS(mr_writer_write(writer, "hello", 5, MR_NORMAL), MR_OK);
    counter_await(&kept.got, 1);
    CHECK_STATUS(mr_writer_write(writer, "now!", 4, MR_URGENT), MR_OK);
    counter_await(&kept.got, 2);
    for (uint32_t i = 0; i < 2; i++) {
        const mr_message *message = kept.message[i];
        CHECK_EQ(message->length, i == 0 ? 5 : 4);
        CHECK_MEM(message->data, i == 0 ? "hello\0" : "now!\0", message->length + 2); /* two NUL bytes behind it */
        CHECK_EQ(message->priority, i);
        CHECK_EQ(message->lane, MR_LANE_NATIVE);
        CHECK_EQ(message->sequence, 0);
        CHECK_EQ(message->sender.writer, 0);
        CHECK_EQ(message->sender.pid, 0);
        CHECK_EQ(message->sender.uid, UINT32_MAX);
        CHECK_EQ(message->sender.gid, UINT32_MAX);
        CHECK_EQ(message->redelivered, 0);
        mr_message_release(message);
    }
    CHECK_STR(mr_lane_name(MR_LANE_NATIVE), "native");
    writer_end(writer);
    slots_close(reader);
    CHECK_STATUS(mr_port_close(port), MR_OK);
}

TEST(messages, unread_when_the_reader_closes_are_counted_also_those_in_the_system)
{
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.queue_messages = 3;
    mr_reader *reader = slots_reader("unread", &options);
    mr_writer *writer = writer_to("unread");
    for (int i = 0; i < 5; i++)
        CHECK_STATUS(mr_writer_write(writer, "waits", 5, MR_NORMAL), MR_OK);
    mr_reader_information information;
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_EQ(slots_statistics(reader).waiting, 3);
    CHECK_EQ(information.count, 5);
    CHECK_STATUS(mr_writer_write(writer, "", 0, MR_URGENT), MR_OK);
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_EQ(information.count, 6);
    uint64_t lost = 0;
    CHECK_STATUS(mr_reader_close(reader, &lost), MR_E_UNREAD);
    CHECK_EQ(lost, 6);
    writer_end(writer);
}

/* ---- reading and writing ---- */

TEST(reading, bound_of_the_queue_stops_the_taking_and_the_rest_waits_in_the_system)
{
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.queue_messages = 10;
    mr_reader *reader = slots_reader("bound", &options);
    mr_writer *writer = writer_to("bound");
    for (unsigned i = 0; i < 1000; i++)
        CHECK_STATUS(mr_writer_write(writer, &i, sizeof i, MR_NORMAL), MR_OK);
    mr_reader_information information;
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_EQ(information.count, 1000);
    CHECK_EQ(slots_statistics(reader).waiting, 10);
    for (unsigned i = 0; i < 1000; i++) {
        unsigned message = 0;
        size_t length;
        CHECK_STATUS(mr_reader_read(reader, &message, sizeof message, &length, MR_FOREVER), MR_OK);
        CHECK_EQ(message, i);
    }
    CHECK_EQ(slots_statistics(reader).waiting_peak, 10);
    writer_end(writer);
    slots_close(reader);
}

TEST(writing, no_such_slot_takes_two_attempts_and_does_not_block)
{
    mr_writer *writer = writer_to("absent");
    CHECK_STATUS(mr_writer_write_timed(writer, "x", 1, MR_NORMAL, MR_FOREVER), MR_E_NO_SLOT);
    CHECK_EQ(mr_last_os_error(), ERROR_FILE_NOT_FOUND);
    CHECK_STATUS(mr_writer_write_timed(writer, "x", 1, MR_URGENT, MR_FOREVER), MR_E_NO_SLOT);
    writer_end(writer);
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.require_slot = 1;
    CHECK_STATUS(mr_writer_open(&writer, "absent", &options), MR_E_NO_SLOT);
}

TEST(writing, reader_comes_back_posted_messages_wait_for_it)
{
    for (int round = 0; round < 3; round++) {
        mr_writer *writer = writer_to("back");
        CHECK_STATUS(mr_writer_post(writer, "one", 3, MR_NORMAL, NULL, NULL), MR_OK);
        CHECK_STATUS(mr_writer_post(writer, "two", 3, MR_NORMAL, NULL, NULL), MR_OK);
        CHECK_STATUS(mr_writer_flush(writer, 20), MR_E_TIMEOUT);
        mr_reader *reader = slots_reader("back", NULL);
        CHECK_STATUS(mr_writer_flush(writer, MR_FOREVER), MR_OK);
        slots_expect(reader, "one");
        slots_expect(reader, "two");
        writer_end(writer);
        slots_close(reader);
    }
}

TEST(writing, writer_gone_what_it_wrote_is_delivered)
{
    mr_reader *reader = slots_reader("gone", NULL);
    mr_writer *writer = writer_to("gone");
    CHECK_STATUS(mr_writer_write(writer, "last words", 10, MR_NORMAL), MR_OK);
    CHECK_STATUS(mr_writer_write(writer, "urgent last words", 17, MR_URGENT), MR_OK);
    writer_end(writer);
    slots_expect(reader, "urgent last words");
    slots_expect(reader, "last words");
    slots_close(reader);
}

TEST(writing, sharing_a_writer_that_lets_nobody_else_in_is_explained)
{
    mr_reader *reader = slots_reader("sharing", NULL);
    HANDLE selfish =
        CreateFileW(L"\\\\.\\mailslot\\sharing", GENERIC_WRITE, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    CHECK(selfish != INVALID_HANDLE_VALUE);
    mr_writer *writer = writer_to("sharing");
    CHECK_STATUS(mr_writer_write(writer, "x", 1, MR_NORMAL), MR_E_SYSTEM);
    CHECK_EQ(mr_last_os_error(), ERROR_SHARING_VIOLATION);
    CHECK(strstr(mr_last_error_text(), "FILE_SHARE_WRITE") != NULL);
    CHECK_STATUS(mr_writer_post(writer, "kept", 4, MR_NORMAL, NULL, NULL), MR_OK);
    CloseHandle(selfish);
    CHECK_STATUS(mr_writer_flush(writer, MR_FOREVER), MR_OK);
    slots_expect(reader, "kept");
    writer_end(writer);
    slots_close(reader);
}

TEST(remote, four_hundred_and_twenty_four_bytes_to_all_is_the_most_and_checked_first)
{
    mr_writer *writer = writer_to("\\\\*\\mailslot\\x");
    char data[425] = "";
    CHECK_STATUS(mr_writer_write(writer, data, 425, MR_NORMAL), MR_E_TOO_BIG);
    CHECK(strstr(mr_last_error_text(), "424") != NULL);
    CHECK_STATUS(mr_writer_post(writer, data, 425, MR_NORMAL, NULL, NULL), MR_E_TOO_BIG);
    CHECK_STATUS(mr_writer_write(writer, data, 424, MR_NORMAL), MR_E_NO_SLOT); /* Wine has no other machines: error 3 */
    writer_end(writer);
    CHECK_STATUS(mr_writer_open(&writer, "\\\\some-other-host\\mailslot\\x", NULL), MR_OK);
    CHECK_STATUS(mr_writer_write(writer, data, 425, MR_NORMAL), MR_E_NO_SLOT); /* a machine: no such bound */
    CHECK_STATUS(mr_writer_rename(writer, "\\\\*\\mailslot\\y"), MR_OK);
    CHECK_STATUS(mr_writer_write(writer, data, 425, MR_NORMAL), MR_E_TOO_BIG);
    writer_end(writer);
}

/* ---- access ---- */

/* The rights that the list gives to everyone. */
static ACCESS_MASK rights_of_everyone(const mr_reader_options *options)
{
    PSECURITY_DESCRIPTOR descriptor = NULL;
    BOOL present = FALSE, defaulted;
    PACL list = NULL;
    ACCESS_MASK rights = 0;
    CHECK_STATUS(security_make(&descriptor, options), MR_OK);
    CHECK(GetSecurityDescriptorDacl(descriptor, &present, &list, &defaulted) && present && list != NULL);
    for (DWORD i = 0; i < list->AceCount; i++) {
        void *entry;
        CHECK(GetAce(list, i, &entry));
        ACCESS_ALLOWED_ACE *ace = entry;
        if (ace->Header.AceType == ACCESS_ALLOWED_ACE_TYPE && IsWellKnownSid(&ace->SidStart, WinWorldSid))
            rights |= ace->Mask;
    }
    LocalFree(descriptor);
    return rights;
}

static void descriptor_expect(const mr_reader_options *options, const char *first, const char *last)
{
    PSECURITY_DESCRIPTOR descriptor = NULL;
    char *text = NULL;
    CHECK_STATUS(security_make(&descriptor, options), MR_OK);
    CHECK(ConvertSecurityDescriptorToStringSecurityDescriptorA(descriptor, SDDL_REVISION_1, DACL_SECURITY_INFORMATION,
                                                               &text, NULL));
    CHECK_MSG(strncmp(text, first, strlen(first)) == 0, "%s does not begin with %s", text, first);
    size_t length = strlen(text);
    CHECK_MSG(length >= strlen(last) && strcmp(text + length - strlen(last), last) == 0, "%s does not end with %s",
              text, last);
    LocalFree(text);
    LocalFree(descriptor);
}

TEST(access, becomes_an_explicit_list_that_denies_the_network)
{
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    descriptor_expect(&options, "D:P(D;;GA;;;NU)(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;", ")");
    options.access = MR_ACCESS_EVERYONE;
    descriptor_expect(&options, "D:P(D;;GA;;;NU)(A;;GA;;;SY)(A;;GA;;;BA)", "(A;;0x120196;;;WD)");
    options.access_remote = 1;
    descriptor_expect(&options, "D:P(A;;GA;;;SY)(A;;GA;;;BA)", "(A;;0x120196;;;WD)(A;;0x120196;;;AN)");
    options.access = MR_ACCESS_GROUP;
    descriptor_expect(&options, "D:P(A;;GA;;;SY)", ")");
    options.access_sddl = "D:(A;;FW;;;BU)";
    descriptor_expect(&options, "D:(A;;FW;;;BU)", "D:(A;;FW;;;BU)");
}

/* CreateFile with GENERIC_WRITE asks for more than that: FILE_READ_ATTRIBUTES and SYNCHRONIZE always. */
TEST(access, gives_writers_all_that_opening_asks_for_and_no_reading)
{
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    CHECK_EQ(rights_of_everyone(&options), 0);
    options.access = MR_ACCESS_EVERYONE;
    ACCESS_MASK rights = rights_of_everyone(&options), asked = FILE_GENERIC_WRITE | FILE_READ_ATTRIBUTES | SYNCHRONIZE;
    CHECK_EQ(rights & asked, asked);
    CHECK_EQ(rights & (FILE_READ_DATA | WRITE_DAC | WRITE_OWNER | DELETE), 0);
}

TEST(access, what_windows_has_no_words_for_is_refused)
{
    mr_reader *reader;
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.access_sddl = "no descriptor";
    CHECK_STATUS(mr_reader_open(&reader, "sddl", &options), MR_E_ARGUMENT);
    static const char *const without_list[] = {"", "O:BA"};
    for (size_t i = 0; i < sizeof without_list / sizeof without_list[0]; i++) {
        options.access_sddl = without_list[i];
        CHECK_STATUS(mr_reader_open(&reader, "sddl", &options), MR_E_ARGUMENT);
    }
    mr_reader_options_init(&options);
    static const uint32_t uids[] = {1};
    options.access = MR_ACCESS_LIST;
    options.access_uids = uids;
    options.access_uid_count = 1;
    CHECK_STATUS(mr_reader_open(&reader, "sddl", &options), MR_E_UNSUPPORTED);
    options.access = MR_ACCESS_GROUP;
    options.access_group = 5;
    CHECK_STATUS(mr_reader_open(&reader, "sddl", &options), MR_E_UNSUPPORTED);
    mr_reader_options_init(&options);
    options.access_sddl = "D:(A;;GA;;;WD)";
    slots_close(slots_reader("sddl", &options));
}

/* ---- the list ---- */

struct listed {
    mr_slot_entry entry[8];
    char name[8][64];
    int count;
};

static int list_note(const mr_slot_entry *entry, void *context)
{
    struct listed *listed = context;
    CHECK(listed->count < 8);
    listed->entry[listed->count] = *entry;
    snprintf(listed->name[listed->count++], 64, "%s", entry->name);
    return 0;
}

TEST(list, shows_slots_by_name_with_exact_figures_and_no_companions)
{
    struct listed listed = {.count = 0};
    CHECK_STATUS(mr_slots_list(list_note, &listed), MR_OK);
    CHECK_EQ(listed.count, 0);
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.max_message = 5000;
    mr_reader *second = slots_reader("Zebra", NULL);
    mr_reader *first = slots_reader("deep\\Apple", &options);
    int client = plain_connect("deep\\apple");
    plain_text(client, "12345");
    plain_text(client, "123");
    char large[6000] = "";
    plain_send(client, large, sizeof large); /* Wine lets it through: the reader drops it */
    mr_reader_information information;
    CHECK_STATUS(mr_reader_info(first, &information), MR_OK);
    CHECK_STATUS(mr_slots_list(list_note, &listed), MR_OK);
    CHECK_EQ(listed.count, 2);
    CHECK_STR(listed.name[0], "\\\\.\\mailslot\\deep\\Apple");
    CHECK_STR(listed.name[1], "\\\\.\\mailslot\\Zebra");
    const mr_slot_entry *entry = &listed.entry[0];
    CHECK_EQ(entry->readable, 1);
    CHECK_EQ(entry->pid, GetCurrentProcessId());
    CHECK_EQ(entry->max_message, 5000);
    CHECK_EQ(entry->waiting, 2);
    CHECK_EQ(entry->waiting_bytes, 8);
    CHECK_EQ(entry->next_size, 5);
    CHECK_EQ(entry->messages, 2);
    CHECK_EQ(entry->bytes, 8);
    CHECK_EQ(entry->dropped, 1);
    CHECK_EQ(listed.entry[1].next_size, UINT64_MAX);
    plain_close(client);
    slots_expect(first, "12345");
    slots_expect(first, "123");
    CHECK_STATUS(mr_reader_rename(second, "aardvark"), MR_OK);
    listed.count = 0;
    CHECK_STATUS(mr_slots_list(list_note, &listed), MR_OK);
    CHECK_EQ(listed.count, 2);
    CHECK_STR(listed.name[0], "\\\\.\\mailslot\\aardvark");
    slots_close(first);
    slots_close(second);
    listed.count = 0;
    CHECK_STATUS(mr_slots_list(list_note, &listed), MR_OK);
    CHECK_EQ(listed.count, 0);
    char path[64];
    CHECK_STATUS(mr_slot_path("aardvark", path, sizeof path), MR_E_UNSUPPORTED);
}
