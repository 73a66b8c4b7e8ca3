/* test_reader_turn_linux.c: readers with on_message, over each lane: senders, the memory ceiling, forks. */
#include "box.h"
#include "slot_support_linux.h"

#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "slots/process.h"

static struct box box;

/* Atomic, because the thread sanitizer cannot see that a message through a ring orders the two ends: each has a mapping of
 * its own. */
static _Atomic(const mr_message *) seen;

static void keep_one(mr_reader *reader, const mr_message *message, void *context)
{
    (void) reader;
    seen = mr_message_retain(message);
    counter_add(context, 1);
}

TEST(callback, message_tells_sender_lane_level_and_its_accessors_agree)
{
    slots_begin();
    mr_port *port = slots_port(1, 0);
    struct counter got;
    counter_init(&got);
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.port = port;
    options.on_message = keep_one;
    options.context = &got;
    mr_reader *reader = slots_reader("fields", &options);
    int client = client_connect("fields");
    client_text(client, "hello");
    counter_await(&got, 1);
    const mr_message *first = seen;
    CHECK_EQ(first->length, 5);
    CHECK_MEM(first->data, "hello\0", 7);
    CHECK_EQ(first->sequence, 1);
    CHECK_EQ(first->priority, MR_NORMAL);
    CHECK_EQ(first->redelivered, 0);
    CHECK_EQ(first->sender.pid, getpid());
    CHECK_EQ(first->sender.uid, getuid());
    CHECK_EQ(first->sender.gid, getgid());
    CHECK(first->sender.writer != 0);
    CHECK_STR(mr_lane_name(first->lane), slots_lane()->name);
    CHECK(mr_message_data(first) == first->data);
    CHECK_EQ(mr_message_length(first), 5);
    CHECK_EQ(mr_message_sequence(first), 1);
    CHECK_EQ(mr_message_priority(first), MR_NORMAL);
    CHECK_EQ(mr_message_lane(first), slots_lane()->lane);
    CHECK_EQ(mr_message_redelivered(first), 0);
    CHECK_EQ(mr_message_writer(first), first->sender.writer);
    CHECK_EQ(mr_message_pid(first), first->sender.pid);
    CHECK_EQ(mr_message_uid(first), first->sender.uid);
    CHECK_EQ(mr_message_gid(first), first->sender.gid);
    client_text(client, "again");
    counter_await(&got, 2);
    const mr_message *second = seen;
    CHECK_EQ(second->sequence, 2);
    CHECK_EQ(second->sender.writer, first->sender.writer);
    int other = client_connect("fields");
    client_text(other, "other");
    counter_await(&got, 3);
    CHECK_EQ(seen->sequence, 1);
    CHECK(seen->sender.writer != first->sender.writer);
    mr_message_release(first);
    mr_message_release(second);
    mr_message_release(seen);
    mr_message_release(NULL);
    client_close(client);
    client_close(other);
    slots_close(reader);
    CHECK_STATUS(mr_port_close(port), MR_OK);
}

TEST(callback, at_the_memory_ceiling_the_slots_stop_taking_and_go_on_when_memory_is_back)
{
    slots_begin();
    CHECK_STATUS(mr_set_memory_ceiling(100), MR_E_ARGUMENT);
    CHECK_STATUS(mr_set_memory_ceiling(2u << 20), MR_OK);
    mr_port *port = slots_port(2, 0);
    CHECK_STATUS(mr_set_memory_ceiling(2u << 20), MR_OK); /* a port alone holds no messages */
    box_init(&box);
    box.keep = 4096;
    mr_reader *reader = box_reader(&box, "ceiling", port);
    CHECK_STATUS(mr_set_memory_ceiling(4u << 20), MR_E_ARGUMENT);
    int client = client_connect("ceiling");
    static char data[10000];
    unsigned sent = 0;
    mr_memory_statistics memory = {.size = sizeof memory};
    /* Until the pressure has come to the writer: the reader keeps each message, and the memory is 2 MiB. */
    for (bool full = false; !full;) {
        memcpy(data, &sent, sizeof sent);
        if (client_try(client, data, sizeof data)) {
            sent++;
        } else {
            CHECK_STATUS(mr_get_memory_statistics(&memory), MR_OK);
            full = memory.refusals > 0;
            usleep(2000);
        }
    }
    uint64_t got = counter_get(&box.got);
    CHECK(got < sent);
    CHECK(got * sizeof data < (2u << 20));
    CHECK_STATUS(mr_get_memory_statistics(&memory), MR_OK);
    CHECK_EQ(memory.ceiling, 2u << 20);
    CHECK(memory.peak <= memory.ceiling);
    CHECK(memory.used <= memory.ceiling);
    CHECK(memory.refusals > 0);
    /* Some are given back: some more arrive. */
    for (size_t i = 0; i < 60; i++)
        mr_message_release(box.kept[i]);
    counter_await(&box.got, got + 20 < sent ? got + 20 : sent);
    /* Closing while it starves for memory. */
    uint64_t lost = 0;
    int status = mr_reader_close(reader, &lost);
    CHECK_STATUS(status, lost == 0 ? MR_OK : MR_E_UNREAD);
    CHECK_EQ(lost, slots_lost(sent - counter_get(&box.got)));
    for (size_t i = 0; i < counter_get(&box.got); i++) {
        unsigned number;
        if (i < 60)
            continue;
        memcpy(&number, box.kept[i]->data, sizeof number);
        CHECK_EQ(number, i);
        mr_message_release(box.kept[i]);
    }
    client_close(client);
    CHECK_STATUS(mr_port_close(port), MR_OK);
}

TEST(callback, starved_reads_by_call_wait_for_memory_too)
{
    slots_begin();
    CHECK_STATUS(mr_set_memory_ceiling(1u << 20), MR_OK);
    mr_reader *reader = slots_reader("starved", NULL);
    int client = client_connect("starved");
    client_text(client, "at last");
    struct buffer_pool *pool = process_pool();
    size_t charged = 0;
    while (pool_charge(pool, 1024, false) == POOL_OK)
        charged += 1024;
    char buffer[16];
    size_t length;
    CHECK_STATUS(mr_reader_read(reader, buffer, sizeof buffer, &length, 0), MR_E_TIMEOUT);
    intptr_t descriptor;
    CHECK_STATUS(mr_reader_fd(reader, &descriptor), MR_OK);
    struct pollfd wait = {.fd = (int) descriptor, .events = POLLIN};
    uint64_t begin = clock_now();
    CHECK_STATUS(mr_reader_read(reader, buffer, sizeof buffer, &length, 30), MR_E_TIMEOUT);
    CHECK(clock_now() - begin >= 30000000);
    CHECK_EQ(poll(&wait, 1, 0), 0); /* nothing can be read: a foreign loop must not spin */
    pool_uncharge(pool, charged);
    CHECK_EQ(poll(&wait, 1, -1), 1);
    slots_expect(reader, "at last");
    client_close(client);
    slots_close(reader);
}

static void child_uses_parents_reader(void *argument)
{
    mr_reader *reader = argument;
    char buffer[8];
    size_t length;
    mr_reader_information information;
    if (mr_reader_read(reader, buffer, sizeof buffer, &length, 0) != MR_E_FORKED ||
        mr_reader_info(reader, &information) != MR_E_FORKED || mr_reader_stop(reader) != MR_E_FORKED ||
        mr_reader_pause(reader) != MR_E_FORKED || mr_reader_rename(reader, "other") != MR_E_FORKED ||
        mr_reader_close(reader, NULL) != MR_E_FORKED)
        _exit(1);
    /* A reader of its own. */
    mr_reader *own;
    if (mr_reader_open(&own, "child", NULL) != MR_OK)
        _exit(2);
    int client = client_connect("child");
    client_text(client, "mine");
    if (mr_reader_read(own, buffer, sizeof buffer, &length, MR_FOREVER) != MR_OK || strcmp(buffer, "mine") != 0)
        _exit(3);
    client_close(client);
    if (mr_reader_close(own, NULL) != MR_OK)
        _exit(4);
    if (mr_reader_open(&own, "forked", NULL) != MR_E_EXISTS)
        _exit(5); /* the parent's slot lives on */
}

TEST(callback, forked_child_is_told_and_the_parents_slot_lives_on)
{
    slots_begin();
    mr_reader *reader = slots_reader("forked", NULL);
    int client = client_connect("forked");
    client_text(client, "before");
    mr_reader_information information;
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    slots_join(slots_fork(child_uses_parents_reader, reader));
    client_text(client, "after");
    slots_expect(reader, "before");
    slots_expect(reader, "after");
    int newcomer = client_connect("forked");
    client_text(newcomer, "new");
    slots_expect(reader, "new");
    client_close(client);
    client_close(newcomer);
    slots_close(reader);
}

static void child_sleeps(void *argument)
{
    char byte;
    int *pipe_ends = argument;
    close(pipe_ends[1]);
    (void) !read(pipe_ends[0], &byte, 1);
}

TEST(callback, connections_end_for_their_writers_while_a_forked_child_still_holds_copies)
{
    slots_begin();
    mr_port *port = slots_port(1, 0);
    box_init(&box);
    mr_reader *reader = box_reader(&box, "held", port);
    int client = client_connect("held");
    client_text(client, "x");
    counter_await(&box.got, 1);
    int ends[2];
    CHECK_EQ(pipe(ends), 0);
    pid_t child = slots_fork(child_sleeps, ends);
    slots_close(reader);
    client_await_end(client);
    CHECK(client_gone(client));
    client_close(client);
    close(ends[1]);
    close(ends[0]);
    slots_join(child);
    CHECK_STATUS(mr_port_close(port), MR_OK);
}
