/* test_reader.c: opening a reader, its name, its second name, and what is seen of it. */
#include "slot_support.h"

#include <stdio.h>
#include <string.h>

TEST(reader, options_out_of_range_are_refused)
{
    slots_begin();
    mr_reader *reader = NULL;
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.size = 3;
    CHECK_STATUS(mr_reader_open(&reader, "a", &options), MR_E_ARGUMENT);
    mr_reader_options_init(&options);
    CHECK_EQ(options.size, sizeof options);
    CHECK_EQ(options.timeout_ms, MR_FOREVER);
    options.max_message = SIZE_MAX;
    CHECK_STATUS(mr_reader_open(&reader, "a", &options), MR_E_ARGUMENT);
    options.max_message = 0;
    options.levels = MR_LEVELS_MAX + 1;
    CHECK_STATUS(mr_reader_open(&reader, "a", &options), MR_E_ARGUMENT);
    mr_reader_options_init(&options);
    options.timeout_ms = MR_READER_TIMEOUT;
    CHECK_STATUS(mr_reader_open(&reader, "a", &options), MR_E_ARGUMENT);
    mr_reader_options_init(&options);
    options.access = (mr_access) 9;
    CHECK_STATUS(mr_reader_open(&reader, "a", &options), MR_E_ARGUMENT);
    CHECK_STATUS(mr_reader_open(NULL, "a", NULL), MR_E_ARGUMENT);
    CHECK_STATUS(mr_reader_open(&reader, NULL, NULL), MR_E_ARGUMENT);
    CHECK(reader == NULL);
    CHECK_STATUS(mr_reader_close(NULL, NULL), MR_OK);
    CHECK_STATUS(mr_reader_read(NULL, NULL, 0, NULL, 0), MR_E_ARGUMENT);
    CHECK_STATUS(mr_reader_info(NULL, NULL), MR_E_ARGUMENT);
}

TEST(names, creating_is_for_this_machine_only)
{
    slots_begin();
    mr_reader *reader = NULL;
    CHECK_STATUS(mr_reader_open(&reader, "\\\\otherhost\\mailslot\\x", NULL), MR_E_NAME);
    CHECK_STATUS(mr_reader_open(&reader, "\\\\*\\mailslot\\x", NULL), MR_E_NAME);
    CHECK_STATUS(mr_reader_open(&reader, "", NULL), MR_E_NAME);
    CHECK_STATUS(mr_reader_open(&reader, "a\\..\\b", NULL), MR_E_NAME);
    CHECK(strlen(mr_last_error_text()) > 0);
    reader = slots_reader("\\\\.\\mailslot\\Fine\\Here", NULL);
    char name[MR_NAME_MAX];
    CHECK_STATUS(mr_reader_get_name(reader, name, sizeof name), MR_OK);
    CHECK_STR(name, "\\\\.\\mailslot\\Fine\\Here");
    CHECK_STATUS(mr_reader_get_name(reader, name, 10), MR_E_SMALL);
    slots_close(reader);
}

TEST(names, second_creation_of_a_live_name_fails_and_harms_nothing)
{
    slots_begin();
    mr_reader *reader = slots_reader("Twice", NULL);
    size_t descriptors = slots_descriptors();
    mr_reader *second = NULL;
    CHECK_STATUS(mr_reader_open(&second, "tWICE", NULL), MR_E_EXISTS);
    CHECK(second == NULL);
    CHECK_EQ(slots_descriptors(), descriptors);
    int client = client_connect("twice");
    client_text(client, "still there");
    slots_expect(reader, "still there");
    client_close(client);
    slots_close(reader);
    slots_close(slots_reader("twice", NULL)); /* and free again */
}

TEST(names, reader_asked_for_the_name_it_has_is_a_no_op_and_nothing_is_lost)
{
    slots_begin();
    mr_reader *reader = slots_reader("Same", NULL);
    int client = client_connect("same");
    client_text(client, "one");
    CHECK_STATUS(mr_reader_rename(reader, "\\\\.\\mailslot\\sAME"), MR_OK);
    client_text(client, "two"); /* the connection lives */
    slots_expect(reader, "one");
    slots_expect(reader, "two");
    char name[MR_NAME_MAX];
    CHECK_STATUS(mr_reader_get_name(reader, name, sizeof name), MR_OK);
    CHECK_STR(name, "\\\\.\\mailslot\\Same"); /* as its creator spelled it */
    client_close(client);
    slots_close(reader);
}

TEST(names, rename_to_a_taken_or_illegal_name_leaves_everything_as_it_was)
{
    slots_begin();
    mr_reader *other = slots_reader("taken", NULL);
    mr_reader *reader = slots_reader("mine", NULL);
    int client = client_connect("mine");
    size_t descriptors = slots_descriptors();
    CHECK_STATUS(mr_reader_rename(reader, "taken"), MR_E_EXISTS);
    CHECK_STATUS(mr_reader_rename(reader, "\\\\host\\mailslot\\x"), MR_E_NAME);
    CHECK_STATUS(mr_reader_rename(reader, NULL), MR_E_ARGUMENT);
    CHECK_EQ(slots_descriptors(), descriptors);
    client_text(client, "as it was");
    slots_expect(reader, "as it was");
    client_close(client);
    slots_close(reader);
    slots_close(other);
}

/* The article's scenario: a reader that is opened again under another name gave every second message as garbage. Here
 * each round sends to the present name (sometimes before the rename, sometimes after) and every byte is compared. */
TEST(names, rename_the_seeds_scenario_a_thousand_rounds_no_garbled_stale_or_lost_message)
{
    slots_begin();
    static const char *const names[2] = {"my-slot-one", "my\\slot\\two"};
    mr_reader *reader = slots_reader(names[0], NULL);
    char text[128];
    for (int round = 0; round < 1000; round++) {
        int client = client_connect(names[round % 2]);
        snprintf(text, sizeof text, "round %d first, with some text behind it: %0*d", round, round % 40 + 1, round);
        client_text(client, text);
        if (round % 3 != 0)
            slots_expect(reader, text);
        snprintf(text, sizeof text, "round %d second", round);
        client_text(client, text);
        if (round % 3 == 1)
            slots_expect(reader, text);
        CHECK_STATUS(mr_reader_rename(reader, names[(round + 1) % 2]), MR_OK);
        int next = client_connect(names[(round + 1) % 2]);
        char third[64];
        snprintf(third, sizeof third, "round %d third", round);
        client_text(next, third);
        if (round % 3 == 0) {
            char first[128];
            snprintf(first, sizeof first, "round %d first, with some text behind it: %0*d", round, round % 40 + 1,
                     round);
            slots_expect(reader, first);
        }
        if (round % 3 != 1)
            slots_expect(reader, text);
        slots_expect(reader, third);
        CHECK(client_gone(client));
        mr_reader_information information;
        CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
        CHECK_EQ(information.count, 0);
        client_close(client);
        client_close(next);
    }
    mr_reader_statistics statistics = slots_statistics(reader);
    CHECK_EQ(statistics.messages, 3000);
    CHECK_EQ(statistics.delivered, 3000);
    slots_close(reader);
}

struct stream {
    struct counter got;
    uint32_t next;
};

static void stream_message(mr_reader *reader, const mr_message *message, void *context)
{
    struct stream *stream = context;
    uint32_t number;
    (void) reader;
    CHECK_EQ(message->length, sizeof number);
    memcpy(&number, message->data, sizeof number);
    CHECK_EQ(number, stream->next);
    stream->next++;
    counter_add(&stream->got, 1);
}

TEST(names, rename_under_load_with_on_message_loses_nothing_and_keeps_order)
{
    slots_begin();
    mr_port *port = slots_port(2, 0);
    struct stream stream = {.next = 0};
    counter_init(&stream.got);
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.port = port;
    options.on_message = stream_message;
    options.context = &stream;
    mr_reader *reader = slots_reader("load 0", &options);
    char name[32];
    uint32_t sent = 0;
    for (int round = 0; round < 300; round++) {
        snprintf(name, sizeof name, "load %d", round);
        int client = client_connect(name);
        for (int i = 0; i < 50; i++, sent++)
            client_send(client, &sent, sizeof sent);
        snprintf(name, sizeof name, "load %d", round + 1);
        CHECK_STATUS(mr_reader_rename(reader, name), MR_OK);
        CHECK(client_gone(client));
        client_close(client);
    }
    counter_await(&stream.got, sent);
    slots_close(reader);
    CHECK_STATUS(mr_port_close(port), MR_OK);
}

static void rename_self(mr_reader *reader, const mr_message *message, void *context)
{
    char name[32];
    (void) context;
    snprintf(name, sizeof name, "%.*s", (int) message->length, (const char *) message->data);
    CHECK_STATUS(mr_reader_rename(reader, name), MR_OK);
    counter_add(context, 1);
}

TEST(names, rename_inside_the_callback)
{
    slots_begin();
    mr_port *port = slots_port(2, 0);
    struct counter got;
    counter_init(&got);
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.port = port;
    options.on_message = rename_self;
    options.context = &got;
    mr_reader *reader = slots_reader("first", &options);
    static const char *const names[] = {"first", "second", "third", "fourth"};
    for (unsigned i = 0; i < 3; i++) {
        int client = client_connect(names[i]);
        client_text(client, names[i + 1]);
        counter_await(&got, i + 1);
        client_close(client);
    }
    slots_close(reader);
    CHECK_STATUS(mr_port_close(port), MR_OK);
}

TEST(reader, statistics_and_memory_figures_need_their_size)
{
    slots_begin();
    mr_memory_statistics memory = {.size = sizeof memory};
    CHECK_STATUS(mr_get_memory_statistics(&memory), MR_OK);
    CHECK_EQ(memory.ceiling, 256u << 20);
    CHECK_EQ(memory.used, 0);
    memory.size = 1;
    CHECK_STATUS(mr_get_memory_statistics(&memory), MR_E_ARGUMENT);
    mr_reader *reader = slots_reader("figures", NULL);
    mr_reader_statistics statistics = {.size = 1};
    CHECK_STATUS(mr_reader_get_statistics(reader, &statistics), MR_E_ARGUMENT);
    slots_close(reader);
}

static mr_reader *victims[3];

static void ignore_message(mr_reader *reader, const mr_message *message, void *context)
{
    (void) reader;
    (void) message;
    (void) context;
}

static void close_victims(mr_reader *reader, const mr_message *message, void *context)
{
    (void) reader;
    (void) message;
    for (int i = 0; i < 3; i++)
        (void) mr_reader_close(victims[i], NULL);
    counter_add(context, 1);
}

TEST(close, of_other_readers_inside_a_callback_needs_no_second_worker)
{
    slots_begin();
    mr_port *port = slots_port(1, 1);
    for (int round = 0; round < 20; round++) {
        struct counter closed;
        counter_init(&closed);
        mr_reader_options options = MR_READER_OPTIONS_INIT;
        options.port = port;
        options.on_message = close_victims;
        options.context = &closed;
        mr_reader *reader = slots_reader("closer", &options);
        static const char *const names[3] = {"idle", "paused", "busy"};
        for (int i = 0; i < 3; i++) {
            options.on_message = ignore_message;
            victims[i] = slots_reader(names[i], &options);
        }
        CHECK_STATUS(mr_reader_pause(victims[1]), MR_OK);
        int busy = client_connect("busy"), client = client_connect("closer");
        for (int i = 0; i < 50; i++)
            client_text(busy, "x");
        client_text(client, "close");
        counter_await(&closed, 1);
        client_close(busy);
        client_close(client);
        slots_close(reader);
    }
    CHECK_STATUS(mr_port_close(port), MR_OK);
}
