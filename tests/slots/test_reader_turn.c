/* test_reader_turn.c: readers with on_message: order, blocking callbacks, pause, closing from everywhere, retained
 * messages, the memory ceiling. */
#include "slot_support.h"

#include <poll.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "slots/process.h"

struct box {
    struct counter got;
    struct counter closed;
    uint64_t lost;
    _Atomic int inside;
    sem_t gate; /* posted once for each callback that may go on */
    bool gated;
    bool ordered; /* messages are numbers from 0 */
    const mr_message *kept[4096];
    size_t keep; /* retain so many */
    size_t kept_count;
    mr_reader *close_inside;
    int close_status;
};

static void box_init(struct box *box)
{
    memset(box, 0, sizeof *box);
    counter_init(&box->got);
    counter_init(&box->closed);
    CHECK_EQ(sem_init(&box->gate, 0, 0), 0);
}

static void box_message(mr_reader *reader, const mr_message *message, void *context)
{
    struct box *box = context;
    CHECK_EQ(atomic_fetch_add(&box->inside, 1), 0); /* one at a time */
    if (box->ordered) {
        uint32_t number;
        CHECK_EQ(message->length, sizeof number);
        memcpy(&number, message->data, sizeof number);
        CHECK_EQ(number, counter_get(&box->got));
        CHECK_EQ(message->sequence, number + 1u);
    }
    if (box->kept_count < box->keep)
        box->kept[box->kept_count++] = mr_message_retain(message);
    if (box->gated) {
        while (sem_wait(&box->gate) != 0) {}
    }
    if (box->close_inside != NULL) {
        uint64_t lost = 77;
        box->close_status = mr_reader_close(reader, &lost);
        CHECK_EQ(lost, 0);
    }
    CHECK_EQ(atomic_fetch_sub(&box->inside, 1), 1);
    counter_add(&box->got, 1);
}

static void box_closed(mr_reader *reader, uint64_t lost, void *context)
{
    struct box *box = context;
    (void) reader;
    box->lost = lost;
    counter_add(&box->closed, 1);
}

static mr_reader *box_reader(struct box *box, const char *name, mr_port *port)
{
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.port = port;
    options.on_message = box_message;
    options.on_closed = box_closed;
    options.context = box;
    return slots_reader(name, &options);
}

static struct box box;
static struct box others[8];

TEST(callback, messages_come_one_at_a_time_and_in_order_on_many_workers)
{
    slots_begin();
    mr_port *port = slots_port(4, 8);
    box_init(&box);
    box.ordered = true;
    mr_reader *reader = box_reader(&box, "order", port);
    int client = plain_connect("order");
    for (uint32_t i = 0; i < 50000; i++)
        plain_send(client, &i, sizeof i);
    counter_await(&box.got, 50000);
    mr_reader_statistics statistics = slots_statistics(reader);
    CHECK_EQ(statistics.messages, 50000);
    CHECK_EQ(statistics.delivered, 50000);
    CHECK_EQ(statistics.bytes, 200000);
    close(client);
    slots_close(reader);
    CHECK_STATUS(mr_port_close(port), MR_OK);
}

TEST(callback, lone_messages_each_wake_the_idle_slot)
{
    slots_begin();
    mr_port *port = slots_port(2, 0);
    box_init(&box);
    box.ordered = true;
    mr_reader *reader = box_reader(&box, "lone", port);
    int client = plain_connect("lone");
    for (uint32_t i = 0; i < 5000; i++) {
        plain_send(client, &i, sizeof i);
        counter_await(&box.got, i + 1);
    }
    close(client);
    slots_close(reader);
    CHECK_STATUS(mr_port_close(port), MR_OK);
}

static const mr_message *seen;

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
    int client = plain_connect("fields");
    plain_text(client, "hello");
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
    CHECK_STR(mr_lane_name(first->lane), "plain");
    CHECK(mr_message_data(first) == first->data);
    CHECK_EQ(mr_message_length(first), 5);
    CHECK_EQ(mr_message_sequence(first), 1);
    CHECK_EQ(mr_message_priority(first), MR_NORMAL);
    CHECK_EQ(mr_message_lane(first), MR_LANE_PLAIN);
    CHECK_EQ(mr_message_redelivered(first), 0);
    CHECK_EQ(mr_message_writer(first), first->sender.writer);
    CHECK_EQ(mr_message_pid(first), first->sender.pid);
    CHECK_EQ(mr_message_uid(first), first->sender.uid);
    CHECK_EQ(mr_message_gid(first), first->sender.gid);
    plain_text(client, "again");
    counter_await(&got, 2);
    const mr_message *second = seen;
    CHECK_EQ(second->sequence, 2);
    CHECK_EQ(second->sender.writer, first->sender.writer);
    int other = plain_connect("fields");
    plain_text(other, "other");
    counter_await(&got, 3);
    CHECK_EQ(seen->sequence, 1);
    CHECK(seen->sender.writer != first->sender.writer);
    mr_message_release(first);
    mr_message_release(second);
    mr_message_release(seen);
    mr_message_release(NULL);
    close(client);
    close(other);
    slots_close(reader);
    CHECK_STATUS(mr_port_close(port), MR_OK);
}

TEST(callback, two_that_block_do_not_delay_other_slots_messages)
{
    slots_begin();
    mr_port *port = slots_port(2, 0); /* as many workers as blocked callbacks, to begin with */
    struct box *blocked[2] = {&others[0], &others[1]};
    mr_reader *blockers[2];
    int clients[2];
    static const char *const names[2] = {"blocked a", "blocked b"};
    for (int i = 0; i < 2; i++) {
        box_init(blocked[i]);
        blocked[i]->gated = true;
        blockers[i] = box_reader(blocked[i], names[i], port);
        clients[i] = plain_connect(names[i]);
        plain_text(clients[i], "block");
    }
    for (int i = 0; i < 2; i++) {
        while (atomic_load(&blocked[i]->inside) == 0)
            usleep(100); /* both are inside their callbacks now */
    }
    box_init(&box);
    box.ordered = true;
    mr_reader *reader = box_reader(&box, "free", port);
    int client = plain_connect("free");
    for (uint32_t i = 0; i < 1000; i++)
        plain_send(client, &i, sizeof i);
    counter_await(&box.got, 1000); /* all of them, while both are still held */
    CHECK_EQ(counter_get(&blocked[0]->got), 0);
    CHECK_EQ(counter_get(&blocked[1]->got), 0);
    for (int i = 0; i < 2; i++) {
        sem_post(&blocked[i]->gate);
        counter_await(&blocked[i]->got, 1);
        close(clients[i]);
        slots_close(blockers[i]);
    }
    close(client);
    slots_close(reader);
    CHECK_STATUS(mr_port_close(port), MR_OK);
}

TEST(callback, pause_and_resume_from_any_thread_lose_nothing_and_keep_order)
{
    slots_begin();
    mr_port *port = slots_port(2, 0);
    box_init(&box);
    box.ordered = true;
    mr_reader *reader = box_reader(&box, "pause", port);
    int client = plain_connect("pause");
    uint32_t sent = 0;
    for (int round = 0; round < 500; round++) {
        for (int burst = 0; burst < 20; burst++, sent++)
            plain_send(client, &sent, sizeof sent);
        CHECK_STATUS(mr_reader_pause(reader), MR_OK);
        CHECK_STATUS(mr_reader_resume(reader), MR_OK);
        if (round % 50 == 0)
            counter_await(&box.got, sent);
        CHECK_STATUS(mr_reader_stop(reader), MR_OK);
        CHECK_STATUS(mr_reader_restart(reader), MR_OK);
    }
    counter_await(&box.got, sent);
    CHECK_STATUS(mr_reader_pause(reader), MR_OK);
    plain_send(client, &sent, sizeof sent);
    usleep(20000); /* nothing may come: there is no event to wait for */
    CHECK_EQ(counter_get(&box.got), sent);
    CHECK_STATUS(mr_reader_stop(reader), MR_OK);
    CHECK_STATUS(mr_reader_resume(reader), MR_OK);
    usleep(5000);
    CHECK_EQ(counter_get(&box.got), sent); /* stopped still */
    CHECK_STATUS(mr_reader_restart(reader), MR_OK);
    counter_await(&box.got, sent + 1);
    close(client);
    slots_close(reader);
    CHECK_STATUS(mr_port_close(port), MR_OK);
}

static void pause_self(mr_reader *reader, const mr_message *message, void *context)
{
    struct box *self = context;
    (void) message;
    CHECK_STATUS(mr_reader_pause(reader), MR_OK);
    counter_add(&self->got, 1);
}

TEST(callback, pause_inside_the_callback_holds_from_the_next_message_on)
{
    slots_begin();
    mr_port *port = slots_port(2, 0);
    box_init(&box);
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.port = port;
    options.on_message = pause_self;
    options.context = &box;
    mr_reader *reader = slots_reader("self", &options);
    int client = plain_connect("self");
    for (uint64_t i = 0; i < 20; i++)
        plain_send(client, &i, sizeof i);
    for (uint64_t i = 1; i <= 20; i++) {
        counter_await(&box.got, i);
        usleep(2000);
        CHECK_EQ(counter_get(&box.got), i);
        CHECK_STATUS(mr_reader_resume(reader), MR_OK);
    }
    close(client);
    slots_close(reader);
    CHECK_STATUS(mr_port_close(port), MR_OK);
}

TEST(callback, close_inside_its_own_callback_completes_later_and_on_closed_tells)
{
    slots_begin();
    mr_port *port = slots_port(2, 0);
    for (int round = 0; round < 50; round++) {
        box_init(&box);
        box.close_status = 1;
        box.gated = true;
        mr_reader *reader = box_reader(&box, "inside", port);
        box.close_inside = reader;
        int client = plain_connect("inside");
        plain_text(client, "close");
        plain_text(client, "lost");
        plain_text(client, "lost");
        sem_post(&box.gate);
        counter_await(&box.closed, 1);
        CHECK_STATUS(box.close_status, MR_OK);
        CHECK_EQ(box.lost, 2);
        CHECK_EQ(counter_get(&box.got), 1);
        plain_await_end(client);
        close(client);
    }
    CHECK_STATUS(mr_port_close(port), MR_OK);
}

TEST(callback, close_from_another_thread_awaits_the_running_callback_and_counts_the_rest)
{
    slots_begin();
    mr_port *port = slots_port(2, 0);
    box_init(&box);
    box.gated = true;
    mr_reader *reader = box_reader(&box, "await", port);
    int client = plain_connect("await");
    for (int i = 0; i < 10; i++)
        plain_text(client, "x");
    while (atomic_load(&box.inside) == 0)
        usleep(100);
    sem_post(&box.gate); /* one goes through; the close comes before, while or after it */
    uint64_t lost = 0;
    /* Should the second callback have begun, it would wait for the gate. */
    for (int i = 0; i < 10; i++)
        sem_post(&box.gate);
    int status = mr_reader_close(reader, &lost);
    CHECK_EQ(atomic_load(&box.inside), 0);
    CHECK_EQ(counter_get(&box.got) + lost, 10);
    CHECK_STATUS(status, lost == 0 ? MR_OK : MR_E_UNREAD);
    CHECK_EQ(counter_get(&box.closed), 0);
    close(client);
    CHECK_STATUS(mr_port_close(port), MR_OK);
}

TEST(callback, close_in_every_state_of_a_turn_ends)
{
    slots_begin();
    mr_port *port = slots_port(3, 0);
    for (int round = 0; round < 400; round++) {
        box_init(&box);
        mr_reader *reader = box_reader(&box, "states", port);
        int client = plain_connect("states");
        int messages = round % 7;
        for (int i = 0; i < messages; i++)
            plain_text(client, "x");
        if (round % 5 == 1)
            CHECK_STATUS(mr_reader_pause(reader), MR_OK);
        if (round % 3 == 1 && round % 5 != 1)
            counter_await(&box.got, (uint64_t) messages);
        uint64_t lost = 0;
        int status = mr_reader_close(reader, &lost);
        CHECK_STATUS(status, lost == 0 ? MR_OK : MR_E_UNREAD);
        CHECK_EQ(counter_get(&box.got) + lost, messages);
        close(client);
    }
    CHECK_STATUS(mr_port_close(port), MR_OK);
}

TEST(callback, retained_messages_stay_valid_after_the_reader_and_its_port_have_gone)
{
    slots_begin();
    mr_port *port = slots_port(2, 0);
    box_init(&box);
    box.keep = 1000;
    mr_reader *reader = box_reader(&box, "retain", port);
    int client = plain_connect("retain");
    char text[64];
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof text, "message %d", i);
        plain_text(client, text);
    }
    counter_await(&box.got, 1000);
    close(client);
    slots_close(reader);
    CHECK_STATUS(mr_port_close(port), MR_OK);
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof text, "message %d", i);
        CHECK_STR((const char *) box.kept[i]->data, text);
        mr_message_release(box.kept[i]);
    }
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
    int client = plain_connect("ceiling");
    static char data[10000];
    unsigned sent = 0;
    mr_memory_statistics memory = {.size = sizeof memory};
    /* Until the pressure has come to the writer: the reader keeps each message, and the memory is 2 MiB. */
    for (bool full = false; !full;) {
        memcpy(data, &sent, sizeof sent);
        if (send(client, data, sizeof data, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t) sizeof data) {
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
    CHECK_EQ(counter_get(&box.got) + lost, sent);
    for (size_t i = 0; i < counter_get(&box.got); i++) {
        unsigned number;
        if (i < 60)
            continue;
        memcpy(&number, box.kept[i]->data, sizeof number);
        CHECK_EQ(number, i);
        mr_message_release(box.kept[i]);
    }
    close(client);
    CHECK_STATUS(mr_port_close(port), MR_OK);
}

TEST(callback, starved_reads_by_call_wait_for_memory_too)
{
    slots_begin();
    CHECK_STATUS(mr_set_memory_ceiling(1u << 20), MR_OK);
    mr_reader *reader = slots_reader("starved", NULL);
    int client = plain_connect("starved");
    plain_text(client, "at last");
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
    close(client);
    slots_close(reader);
}

TEST(callback, modes_exclude_each_other)
{
    slots_begin();
    mr_port *port = slots_port(1, 0);
    box_init(&box);
    mr_reader *reader = box_reader(&box, "mode", port);
    char buffer[8];
    size_t length;
    intptr_t descriptor;
    CHECK_STATUS(mr_reader_read(reader, buffer, sizeof buffer, &length, 0), MR_E_MODE);
    CHECK_STATUS(mr_reader_fd(reader, &descriptor), MR_E_MODE);
    slots_close(reader);
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.on_message = box_message;
    CHECK_STATUS(mr_reader_open(&reader, "mode", &options), MR_E_ARGUMENT);
    options.on_message = NULL;
    options.port = port; /* bound to a port, read by calls */
    reader = slots_reader("mode", &options);
    CHECK_STATUS(mr_port_close(port), MR_E_ARGUMENT);
    int client = plain_connect("mode");
    plain_text(client, "by call");
    slots_expect(reader, "by call");
    close(client);
    slots_close(reader);
    CHECK_STATUS(mr_port_close(port), MR_OK);
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
    int client = plain_connect("child");
    plain_text(client, "mine");
    if (mr_reader_read(own, buffer, sizeof buffer, &length, MR_FOREVER) != MR_OK || strcmp(buffer, "mine") != 0)
        _exit(3);
    close(client);
    if (mr_reader_close(own, NULL) != MR_OK)
        _exit(4);
    if (mr_reader_open(&own, "forked", NULL) != MR_E_EXISTS)
        _exit(5); /* the parent's slot lives on */
}

TEST(callback, forked_child_is_told_and_the_parents_slot_lives_on)
{
    slots_begin();
    mr_reader *reader = slots_reader("forked", NULL);
    int client = plain_connect("forked");
    plain_text(client, "before");
    mr_reader_information information;
    CHECK_STATUS(mr_reader_info(reader, &information), MR_OK);
    slots_join(slots_fork(child_uses_parents_reader, reader));
    plain_text(client, "after");
    slots_expect(reader, "before");
    slots_expect(reader, "after");
    int newcomer = plain_connect("forked");
    plain_text(newcomer, "new");
    slots_expect(reader, "new");
    close(client);
    close(newcomer);
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
    int client = plain_connect("held");
    plain_text(client, "x");
    counter_await(&box.got, 1);
    int ends[2];
    CHECK_EQ(pipe(ends), 0);
    pid_t child = slots_fork(child_sleeps, ends);
    slots_close(reader);
    plain_await_end(client);
    CHECK(send(client, "y", 1, MSG_NOSIGNAL) < 0);
    close(client);
    close(ends[1]);
    close(ends[0]);
    slots_join(child);
    CHECK_STATUS(mr_port_close(port), MR_OK);
}
