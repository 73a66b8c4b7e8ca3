/* test_reader.c: opening a reader, its name, its second name, and what is seen of it. */
#include "slot_support.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <unistd.h>

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
    int client = plain_connect("twice");
    plain_text(client, "still there");
    slots_expect(reader, "still there");
    close(client);
    slots_close(reader);
    slots_close(slots_reader("twice", NULL)); /* and free again */
}

TEST(names, reader_asked_for_the_name_it_has_is_a_no_op_and_nothing_is_lost)
{
    slots_begin();
    mr_reader *reader = slots_reader("Same", NULL);
    int client = plain_connect("same");
    plain_text(client, "one");
    CHECK_STATUS(mr_reader_rename(reader, "\\\\.\\mailslot\\sAME"), MR_OK);
    plain_text(client, "two"); /* the connection lives */
    slots_expect(reader, "one");
    slots_expect(reader, "two");
    char name[MR_NAME_MAX];
    CHECK_STATUS(mr_reader_get_name(reader, name, sizeof name), MR_OK);
    CHECK_STR(name, "\\\\.\\mailslot\\Same"); /* as its creator spelled it */
    close(client);
    slots_close(reader);
}

TEST(names, rename_old_name_gone_new_name_live_writers_of_the_old_one_see_it_gone)
{
    slots_begin();
    mr_reader *reader = slots_reader("old", NULL);
    struct sockaddr_un old = plain_address("old");
    int accepted = plain_connect("old");
    plain_text(accepted, "accepted");
    mr_reader_information information;
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK); /* into the queue */
    plain_text(accepted, "in the socket");
    int waiting = plain_connect("old"); /* not accepted yet */
    plain_text(waiting, "in the backlog");
    CHECK_STATUS(mr_reader_rename(reader, "new"), MR_OK);
    char path[256];
    CHECK_STATUS(mr_slot_path("old", path, sizeof path), MR_E_NO_SLOT);
    CHECK(plain_dial(&old) < 0);
    CHECK(send(accepted, "x", 1, MSG_NOSIGNAL) < 0);
    CHECK(send(waiting, "x", 1, MSG_NOSIGNAL) < 0);
    int client = plain_connect("new");
    plain_text(client, "new name");
    slots_expect(reader, "accepted");
    /* Two writers, so in either order; but both before what was sent to the new name. */
    char buffer[32] = "";
    size_t length;
    unsigned found = 0;
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(mr_reader_read(reader, buffer, sizeof buffer, &length, MR_FOREVER), MR_OK);
        found |= strcmp(buffer, "in the socket") == 0 ? 1u : strcmp(buffer, "in the backlog") == 0 ? 2u : 4u;
    }
    CHECK_EQ(found, 3);
    slots_expect(reader, "new name");
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_EQ(information.count, 0);
    CHECK_EQ(slots_statistics(reader).connections, 1);
    close(accepted);
    close(waiting);
    close(client);
    slots_close(reader);
}

TEST(names, rename_to_a_taken_or_illegal_name_leaves_everything_as_it_was)
{
    slots_begin();
    mr_reader *other = slots_reader("taken", NULL);
    mr_reader *reader = slots_reader("mine", NULL);
    int client = plain_connect("mine");
    size_t descriptors = slots_descriptors();
    CHECK_STATUS(mr_reader_rename(reader, "taken"), MR_E_EXISTS);
    CHECK_STATUS(mr_reader_rename(reader, "\\\\host\\mailslot\\x"), MR_E_NAME);
    CHECK_STATUS(mr_reader_rename(reader, NULL), MR_E_ARGUMENT);
    CHECK_EQ(slots_descriptors(), descriptors);
    plain_text(client, "as it was");
    slots_expect(reader, "as it was");
    close(client);
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
        int client = plain_connect(names[round % 2]);
        snprintf(text, sizeof text, "round %d first, with some text behind it: %0*d", round, round % 40 + 1, round);
        plain_text(client, text);
        if (round % 3 != 0)
            slots_expect(reader, text);
        snprintf(text, sizeof text, "round %d second", round);
        plain_text(client, text);
        if (round % 3 == 1)
            slots_expect(reader, text);
        CHECK_STATUS(mr_reader_rename(reader, names[(round + 1) % 2]), MR_OK);
        int next = plain_connect(names[(round + 1) % 2]);
        char third[64];
        snprintf(third, sizeof third, "round %d third", round);
        plain_text(next, third);
        if (round % 3 == 0) {
            char first[128];
            snprintf(first, sizeof first, "round %d first, with some text behind it: %0*d", round, round % 40 + 1,
                     round);
            slots_expect(reader, first);
        }
        if (round % 3 != 1)
            slots_expect(reader, text);
        slots_expect(reader, third);
        CHECK(send(client, "x", 1, MSG_NOSIGNAL) < 0);
        mr_reader_information information;
        CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
        CHECK_EQ(information.count, 0);
        close(client);
        close(next);
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
        int client = plain_connect(name);
        for (int i = 0; i < 50; i++, sent++)
            plain_send(client, &sent, sizeof sent);
        snprintf(name, sizeof name, "load %d", round + 1);
        CHECK_STATUS(mr_reader_rename(reader, name), MR_OK);
        CHECK(send(client, "x", 1, MSG_NOSIGNAL) < 0);
        close(client);
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
        int client = plain_connect(names[i]);
        plain_text(client, names[i + 1]);
        counter_await(&got, i + 1);
        close(client);
    }
    slots_close(reader);
    CHECK_STATUS(mr_port_close(port), MR_OK);
}

static int page_visit(const mr_slot_entry *entry, void *context)
{
    mr_slot_entry *copy = context;
    CHECK(copy->size == 0); /* one slot only */
    *copy = *entry;
    return 0;
}

TEST(reader, page_of_an_idle_slot_is_exact)
{
    slots_begin();
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.max_message = 5000;
    mr_reader *reader = slots_reader("Page", &options);
    int client = plain_connect("page");
    plain_text(client, "12345");
    plain_text(client, "123");
    char large[6000] = "";
    plain_send(client, large, sizeof large);
    mr_reader_information information;
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    mr_slot_entry entry = {0};
    CHECK_STATUS(mr_slots_list(page_visit, &entry), MR_OK);
    CHECK_EQ(entry.readable, 1);
    CHECK_EQ(entry.pid, getpid());
    CHECK_EQ(entry.max_message, 5000);
    CHECK_EQ(entry.waiting, 2);
    CHECK_EQ(entry.waiting_bytes, 8);
    CHECK_EQ(entry.next_size, 5);
    CHECK_EQ(entry.waiting_peak, 2);
    CHECK_EQ(entry.messages, 2);
    CHECK_EQ(entry.bytes, 8);
    CHECK_EQ(entry.dropped, 1);
    CHECK_EQ(entry.connections, 1);
    slots_expect(reader, "12345");
    slots_expect(reader, "123");
    close(client);
    size_t length;
    CHECK_STATUS(mr_reader_read(reader, large, sizeof large, &length, 0), MR_E_TIMEOUT);
    entry = (mr_slot_entry){0};
    CHECK_STATUS(mr_slots_list(page_visit, &entry), MR_OK);
    CHECK_EQ(entry.waiting, 0);
    CHECK_EQ(entry.next_size, UINT64_MAX);
    CHECK_EQ(entry.connections, 0);
    slots_close(reader);
}

TEST(reader, quota_of_connections_per_user_refuses_counts_and_frees)
{
    slots_begin();
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.connections_per_uid = 3;
    mr_reader *reader = slots_reader("quota", &options);
    int clients[5];
    for (int i = 0; i < 5; i++)
        clients[i] = plain_connect("quota");
    mr_reader_information information;
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_EQ(slots_statistics(reader).connections, 3);
    CHECK_EQ(slots_statistics(reader).refused_quota, 2);
    plain_await_end(clients[3]);
    plain_await_end(clients[4]);
    close(clients[0]);
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    int again = plain_connect("quota");
    plain_text(again, "in again");
    slots_expect(reader, "in again");
    CHECK_EQ(slots_statistics(reader).refused_quota, 2);
    for (int i = 1; i < 5; i++)
        close(clients[i]);
    close(again);
    slots_close(reader);
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

struct stranger {
    struct sockaddr_un address;
    int result; /* 0: taken, 1: closed by the slot */
    int knocks;
    int told[2]; /* a pipe: written when all is sent */
};

/* Another user, who finds the way to the socket as before. */
static void knock(void *argument)
{
    const struct stranger *stranger = argument;
    if (seteuid(12345) != 0)
        _exit(1);
    setfsuid(0);
    int client = plain_dial(&stranger->address);
    if (client < 0)
        _exit(2);
    for (int i = 0; i < stranger->knocks; i++)
        (void) send(client, "let me in", 9, MSG_NOSIGNAL);
    if (write(stranger->told[1], "", 1) != 1)
        _exit(4);
    struct pollfd end = {.fd = client, .events = POLLRDHUP};
    if (stranger->result == 1 && poll(&end, 1, -1) != 1)
        _exit(3);
}

TEST(reader, access_rule_is_enforced_at_accept_and_refusals_are_counted)
{
    if (getuid() != 0)
        TEST_SKIP("needs root, to be two users");
    slots_begin();
    static const uint32_t listed[] = {777, 12345};
    static const uint32_t unlisted[] = {777};
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.access = MR_ACCESS_LIST;
    options.access_uids = listed;
    options.access_uid_count = 2;
    mr_reader *open = slots_reader("listed", &options);
    options.access_uids = unlisted;
    options.access_uid_count = 1;
    mr_reader *closed = slots_reader("unlisted", &options);
    struct stranger stranger = {.address = plain_address("listed"), .result = 0, .knocks = 1};
    CHECK_EQ(pipe(stranger.told), 0);
    slots_join(slots_fork(knock, &stranger));
    slots_expect(open, "let me in");
    CHECK_EQ(slots_statistics(open).refused_access, 0);

    stranger.address = plain_address("unlisted");
    stranger.result = 1;
    stranger.knocks = 3;
    pid_t child = slots_fork(knock, &stranger);
    char buffer[16];
    for (int i = 0; i < 2; i++) /* the other knock's, and this one's: the slot has not looked yet */
        CHECK_EQ(read(stranger.told[0], buffer, 1), 1);
    size_t length;
    while (slots_statistics(closed).refused_access == 0)
        CHECK_STATUS(mr_reader_read(closed, buffer, sizeof buffer, &length, 5), MR_E_TIMEOUT);
    slots_join(child);
    CHECK_EQ(slots_statistics(closed).messages, 0);
    CHECK_EQ(slots_statistics(closed).connections, 0);
    CHECK_EQ(slots_statistics(closed).dropped_refused, 3);
    close(stranger.told[0]);
    close(stranger.told[1]);
    slots_close(open);
    slots_close(closed);
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
        int busy = plain_connect("busy"), client = plain_connect("closer");
        for (int i = 0; i < 50; i++)
            plain_text(busy, "x");
        plain_text(client, "close");
        counter_await(&closed, 1);
        close(busy);
        close(client);
        slots_close(reader);
    }
    CHECK_STATUS(mr_port_close(port), MR_OK);
}
