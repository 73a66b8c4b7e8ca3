/* test_reader_linux.c: what a reader does with sockets: connections of an old name, quotas, the access rule, the page. */
#include "slot_support_linux.h"

#include <poll.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <unistd.h>

TEST(names, rename_old_name_gone_new_name_live_writers_of_the_old_one_see_it_gone)
{
    slots_begin();
    mr_reader *reader = slots_reader("old", NULL);
    struct sockaddr_un old = plain_address("old");
    int accepted = client_connect("old");
    client_text(accepted, "accepted");
    mr_reader_information information;
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK); /* into the queue */
    client_text(accepted, "handed over");
    int waiting = client_connect("old"); /* not accepted yet */
    client_text(waiting, "by one who waits to be accepted");
    CHECK_STATUS(mr_reader_rename(reader, "new"), MR_OK);
    char path[256];
    CHECK_STATUS(mr_slot_path("old", path, sizeof path), MR_E_NO_SLOT);
    CHECK(plain_dial(&old) < 0);
    CHECK(client_gone(accepted));
    CHECK(client_gone(waiting));
    int client = client_connect("new");
    client_text(client, "new name");
    slots_expect(reader, "accepted");
    /* Two writers, so in either order; but both before what was sent to the new name. */
    char buffer[64] = "";
    size_t length;
    unsigned found = 0;
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(mr_reader_read(reader, buffer, sizeof buffer, &length, MR_FOREVER), MR_OK);
        found |= strcmp(buffer, "handed over") == 0                       ? 1u
                 : strcmp(buffer, "by one who waits to be accepted") == 0 ? 2u
                                                                          : 4u;
    }
    CHECK_EQ(found, 3);
    slots_expect(reader, "new name");
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    CHECK_EQ(information.count, 0);
    CHECK_EQ(slots_statistics(reader).connections, 1);
    client_close(accepted);
    client_close(waiting);
    client_close(client);
    slots_close(reader);
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

TEST(reader, what_only_windows_has_words_for_is_refused)
{
    slots_begin();
    mr_reader *reader = NULL;
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.access_sddl = "D:(A;;GA;;;WD)";
    CHECK_STATUS(mr_reader_open(&reader, "sddl", &options), MR_E_UNSUPPORTED);
    mr_reader_options_init(&options);
    options.access_remote = 1;
    CHECK_STATUS(mr_reader_open(&reader, "remote", &options), MR_E_UNSUPPORTED);
    CHECK(reader == NULL);
}

static void acknowledge_in_child(void *message)
{
    CHECK_STATUS(mr_message_acknowledge(message), MR_E_FORKED);
}

TEST(acknowledge, in_a_forked_child_is_refused)
{
    slots_begin();
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.acknowledge_by_hand = 1;
    mr_reader *reader = slots_reader("forked", &options);
    int client = client_connect("forked");
    client_text(client, "the parent's");
    const mr_message *message = NULL;
    CHECK_STATUS(mr_reader_receive(reader, &message, MR_FOREVER), MR_OK);
    slots_join(slots_fork(acknowledge_in_child, (void *) (uintptr_t) message));
    CHECK_STATUS(mr_message_acknowledge(message), MR_OK);
    CHECK_STR((const char *) message->data, "the parent's");
    mr_message_release(message);
    client_close(client);
    slots_close(reader);
}
