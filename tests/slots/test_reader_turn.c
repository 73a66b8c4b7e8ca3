/* test_reader_turn.c: readers with on_message: order, blocking callbacks, pause, closing from everywhere, retained
 * messages, the memory ceiling. */
#include "box.h"
#include "test_nap.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static struct box box;
static struct box others[8];

TEST(callback, messages_come_one_at_a_time_and_in_order_on_many_workers)
{
    slots_begin();
    mr_port *port = slots_port(4, 8);
    box_init(&box);
    box.ordered = true;
    mr_reader *reader = box_reader(&box, "order", port);
    int client = client_connect("order");
    for (uint32_t i = 0; i < 50000; i++)
        client_send(client, &i, sizeof i);
    counter_await(&box.got, 50000);
    mr_reader_statistics statistics = slots_statistics(reader);
    CHECK_EQ(statistics.messages, 50000);
    CHECK_EQ(statistics.delivered, 50000);
    CHECK_EQ(statistics.bytes, 200000);
    client_close(client);
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
    int client = client_connect("lone");
    for (uint32_t i = 0; i < 5000; i++) {
        client_send(client, &i, sizeof i);
        counter_await(&box.got, i + 1);
    }
    client_close(client);
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
        clients[i] = client_connect(names[i]);
        client_text(clients[i], "block");
    }
    for (int i = 0; i < 2; i++) {
        while (atomic_load(&blocked[i]->inside) == 0)
            test_nap(100 * UINT64_C(1000)); /* both are inside their callbacks now */
    }
    box_init(&box);
    box.ordered = true;
    mr_reader *reader = box_reader(&box, "free", port);
    int client = client_connect("free");
    for (uint32_t i = 0; i < 1000; i++)
        client_send(client, &i, sizeof i);
    counter_await(&box.got, 1000); /* all of them, while both are still held */
    CHECK_EQ(counter_get(&blocked[0]->got), 0);
    CHECK_EQ(counter_get(&blocked[1]->got), 0);
    for (int i = 0; i < 2; i++) {
        counter_add(&blocked[i]->gate, 1);
        counter_await(&blocked[i]->got, 1);
        client_close(clients[i]);
        slots_close(blockers[i]);
    }
    client_close(client);
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
    int client = client_connect("pause");
    uint32_t sent = 0;
    for (int round = 0; round < 500; round++) {
        for (int burst = 0; burst < 20; burst++, sent++)
            client_send(client, &sent, sizeof sent);
        CHECK_STATUS(mr_reader_pause(reader), MR_OK);
        CHECK_STATUS(mr_reader_resume(reader), MR_OK);
        if (round % 50 == 0)
            counter_await(&box.got, sent);
        CHECK_STATUS(mr_reader_stop(reader), MR_OK);
        CHECK_STATUS(mr_reader_restart(reader), MR_OK);
    }
    counter_await(&box.got, sent);
    CHECK_STATUS(mr_reader_pause(reader), MR_OK);
    client_send(client, &sent, sizeof sent);
    test_nap(20000 * UINT64_C(1000)); /* nothing may come: there is no event to wait for */
    CHECK_EQ(counter_get(&box.got), sent);
    CHECK_STATUS(mr_reader_stop(reader), MR_OK);
    CHECK_STATUS(mr_reader_resume(reader), MR_OK);
    test_nap(5000 * UINT64_C(1000));
    CHECK_EQ(counter_get(&box.got), sent); /* stopped still */
    CHECK_STATUS(mr_reader_restart(reader), MR_OK);
    counter_await(&box.got, sent + 1);
    client_close(client);
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
    int client = client_connect("self");
    for (uint64_t i = 0; i < 20; i++)
        client_send(client, &i, sizeof i);
    for (uint64_t i = 1; i <= 20; i++) {
        counter_await(&box.got, i);
        test_nap(2000 * UINT64_C(1000));
        CHECK_EQ(counter_get(&box.got), i);
        CHECK_STATUS(mr_reader_resume(reader), MR_OK);
    }
    client_close(client);
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
        int client = client_connect("inside");
        client_text(client, "close");
        client_text(client, "lost");
        client_text(client, "lost");
        counter_add(&box.gate, 1);
        counter_await(&box.closed, 1);
        CHECK_STATUS(box.close_status, MR_OK);
        CHECK_EQ(box.lost, slots_lost(2));
        CHECK_EQ(counter_get(&box.got), 1);
        client_await_end(client);
        client_close(client);
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
    int client = client_connect("await");
    for (int i = 0; i < 10; i++)
        client_text(client, "x");
    while (atomic_load(&box.inside) == 0)
        test_nap(100 * UINT64_C(1000));
    counter_add(&box.gate, 1); /* one goes through; the close comes before, while or after it */
    uint64_t lost = 0;
    /* Should the second callback have begun, it would wait for the gate. */
    for (int i = 0; i < 10; i++)
        counter_add(&box.gate, 1);
    int status = mr_reader_close(reader, &lost);
    CHECK_EQ(atomic_load(&box.inside), 0);
    CHECK_EQ(lost, slots_lost(10 - counter_get(&box.got)));
    CHECK_STATUS(status, lost == 0 ? MR_OK : MR_E_UNREAD);
    CHECK_EQ(counter_get(&box.closed), 0);
    client_close(client);
    CHECK_STATUS(mr_port_close(port), MR_OK);
}

TEST(callback, close_in_every_state_of_a_turn_ends)
{
    slots_begin();
    mr_port *port = slots_port(3, 0);
    for (int round = 0; round < 400; round++) {
        box_init(&box);
        mr_reader *reader = box_reader(&box, "states", port);
        int client = client_connect("states");
        int messages = round % 7;
        for (int i = 0; i < messages; i++)
            client_text(client, "x");
        if (round % 5 == 1)
            CHECK_STATUS(mr_reader_pause(reader), MR_OK);
        if (round % 3 == 1 && round % 5 != 1)
            counter_await(&box.got, (uint64_t) messages);
        uint64_t lost = 0;
        int status = mr_reader_close(reader, &lost);
        CHECK_STATUS(status, lost == 0 ? MR_OK : MR_E_UNREAD);
        CHECK_EQ(lost, slots_lost((uint64_t) messages - counter_get(&box.got)));
        client_close(client);
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
    int client = client_connect("retain");
    char text[64];
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof text, "message %d", i);
        client_text(client, text);
    }
    counter_await(&box.got, 1000);
    client_close(client);
    slots_close(reader);
    CHECK_STATUS(mr_port_close(port), MR_OK);
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof text, "message %d", i);
        CHECK_STR((const char *) box.kept[i]->data, text);
        mr_message_release(box.kept[i]);
    }
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
    int client = client_connect("mode");
    client_text(client, "by call");
    slots_expect(reader, "by call");
    client_close(client);
    slots_close(reader);
    CHECK_STATUS(mr_port_close(port), MR_OK);
}
