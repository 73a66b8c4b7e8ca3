/* test_rename_scenario.c: the known bug of the class that this library began with, step by step as its author tells it:
 * "create a mailslot in the listener, connect to the listener, send one or more messages and then change the name in
 * the listener, match the change in the writer and send repeated messages: you'll see that every second message is
 * garbage". Here: a thousand times, with messages of changing lengths (a stale tail would show), read at once, late, or
 * by callback, written and posted; and nothing is garbled, stale, lost or repeated. */
#include <stdio.h>
#include <string.h>

#include "slot_support.h"
#include "writer_common.h"

enum { ROUNDS = 1000, BEFORE = 3, AFTER = 5, TEXT_ROOM = 600 };

/* The text of the nth message: long and short ones in turn. */
static size_t text_make(char text[TEXT_ROOM], uint64_t n)
{
    int length = snprintf(text, TEXT_ROOM, "message %llu:", (unsigned long long) n);
    size_t end = n % 2 == 0 ? 400 + n % 150 : (size_t) length + n % 7;
    for (size_t at = (size_t) length; at < end; at++)
        text[at] = (char) ('a' + (n + at) % 26);
    text[end] = '\0';
    return end;
}

static const char *slot_text(unsigned round)
{
    static const char *const names[] = {"Demo", "demo2", "Other\\Place",
                                        "a rather longer name for the very same thing"};
    return names[round % 4];
}

static void message_check(const char *data, size_t length, uint64_t n)
{
    char text[TEXT_ROOM];
    size_t expected = text_make(text, n);
    CHECK_MSG(length == expected && memcmp(data, text, length + 1) == 0, "message %llu is \"%.*s\"",
              (unsigned long long) n, (int) length, data);
}

/* ---- the listener, both ways ---- */

struct listener {
    mr_reader *reader;
    bool calls;
    uint64_t next; /* number of the next message; on_message's own */
    struct counter heard;
};

static void on_message(mr_reader *reader, const mr_message *message, void *context)
{
    (void) reader;
    struct listener *listener = context;
    message_check(message->data, message->length, listener->next++);
    counter_add(&listener->heard, 1);
}

/* Until `count` messages have been heard in all. */
static void listener_hear(struct listener *listener, uint64_t count)
{
    if (!listener->calls) {
        counter_await(&listener->heard, count);
        return;
    }
    while (listener->next < count) {
        static char buffer[65536]; /* the seed reads into one and the same */
        size_t length;
        CHECK_STATUS(mr_reader_read(listener->reader, buffer, sizeof buffer, &length, LONG_MS), MR_OK);
        message_check(buffer, length, listener->next++);
    }
}

/* ---- the writer, both ways ---- */

/* Messages that on_posted has told of. (A flush would wait until the reader has read them, on this very thread.) */
static struct counter handed_over;

static void on_handed_over(mr_writer *writer, int status, void *context)
{
    (void) writer, (void) context;
    CHECK_STATUS(status, MR_OK);
    counter_add(&handed_over, 1);
}

static uint64_t send_some(mr_writer *writer, bool posts, uint64_t n, unsigned count)
{
    for (unsigned i = 0; i < count; i++, n++) {
        char text[TEXT_ROOM];
        size_t length = text_make(text, n);
        CHECK_STATUS(posts ? mr_writer_post(writer, text, length, MR_NORMAL, on_handed_over, NULL)
                           : mr_writer_write(writer, text, length, MR_NORMAL),
                     MR_OK);
    }
    if (posts)
        counter_await(&handed_over, n);
    return n;
}

static void scenario(bool calls, bool posts)
{
    slots_begin();
    mr_port *workers = slots_port(0, 0);
    static struct listener listener;
    listener.calls = calls;
    counter_init(&listener.heard);
    counter_init(&handed_over);
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    if (!calls) {
        options.port = workers;
        options.on_message = on_message;
        options.context = &listener;
    }
    listener.reader = slots_reader(slot_text(0), &options);
    mr_writer_options writer_options = slots_writer_options();
    writer_options.port = workers;
    writer_options.require_slot = 1;
    writer_options.linger_ms = 0;
    mr_writer *writer = slots_writer(slot_text(0), &writer_options);
    uint64_t sent = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        sent = send_some(writer, posts, sent, BEFORE);
        if (round % 3 == 0)
            listener_hear(&listener, sent);
        CHECK_STATUS(mr_reader_rename(listener.reader, slot_text(round + 1)), MR_OK);
        if (round % 5 == 0)
            CHECK_STATUS(mr_writer_write(writer, "x", 1, MR_NORMAL), MR_E_NO_SLOT); /* the old name is gone */
        int status = mr_writer_rename(writer, slot_text(round + 1));
        if (!slots_lane()->acknowledges || status != MR_E_UNDELIVERED) /* … which the reader takes all the same */
            CHECK_STATUS(status, MR_OK);
        sent = send_some(writer, posts, sent, AFTER);
        if (round % 2 == 0)
            listener_hear(&listener, sent);
    }
    listener_hear(&listener, sent);
    CHECK_EQ(sent, (uint64_t) ROUNDS * (BEFORE + AFTER));
    CHECK_EQ(listener.next, sent);
    CHECK_EQ(counts_of(writer).written, sent);
    if (mr_writer_flush(writer, LONG_MS) !=
        MR_OK) /* it tells once that renames left messages behind, and all has been heard */
        CHECK_STATUS(mr_writer_flush(writer, LONG_MS), MR_OK);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
    slots_close(listener.reader); /* nothing unread */
    CHECK_STATUS(mr_port_close(workers), MR_OK);
}

TEST(rename_scenario, read_by_calls_written)
{
    scenario(true, false);
}

TEST(rename_scenario, read_by_calls_posted)
{
    scenario(true, true);
}

TEST(rename_scenario, read_by_callback_written)
{
    scenario(false, false);
}

TEST(rename_scenario, read_by_callback_posted)
{
    scenario(false, true);
}

/* The first half of the author's remark: the same name again is a no-op on either side. */
TEST(rename_scenario, the_same_name_again_is_a_no_op)
{
    slots_begin();
    mr_reader *reader = slots_reader("same", NULL);
    mr_writer *writer = slots_writer("same", NULL);
    for (unsigned n = 0; n < 100; n++) {
        CHECK_STATUS(mr_writer_write(writer, "kept", 4, MR_NORMAL), MR_OK);
        CHECK_STATUS(mr_reader_rename(reader, "SAME"), MR_OK);
        CHECK_STATUS(mr_writer_rename(writer, "\\\\.\\mailslot\\Same"), MR_OK);
    }
    for (unsigned n = 0; n < 100; n++)
        slots_expect(reader, "kept");
    CHECK_EQ(counts_of(writer).connects, 1);
    CHECK_STATUS(mr_writer_close(writer, NULL), MR_OK);
    slots_close(reader);
}
