/* test_lanes.c: what a reader is told of a message, whichever way it was sent; docs/lanes.md in tests. On Linux
 * library writers go by the ring, or by the plain lane, where the reader cannot tell them from a plain program. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "slot_support_linux.h"
#include "writer_common.h"

enum way { WRITTEN, POSTED, WRITTEN_PLAIN, POSTED_PLAIN, PLAIN, WAYS };

struct told_message {
    mr_sender sender;
    uint64_t sequence;
    uint32_t priority;
    mr_lane lane;
    uint32_t redelivered;
    size_t length;
    bool ended; /* by two NUL bytes */
    char text[32];
};

struct ear {
    struct counter heard;
    struct told_message messages[64];
};

static void on_message(mr_reader *reader, const mr_message *message, void *context)
{
    (void) reader;
    struct ear *ear = context;
    struct told_message *told = &ear->messages[counter_get(&ear->heard)];
    const char *data = message->data;
    *told = (struct told_message){.sender = message->sender,
                                  .sequence = message->sequence,
                                  .priority = message->priority,
                                  .lane = message->lane,
                                  .redelivered = message->redelivered,
                                  .length = message->length,
                                  .ended = data[message->length] == 0 && data[message->length + 1] == 0};
    CHECK(message->length < sizeof told->text);
    memcpy(told->text, data, message->length);
    counter_add(&ear->heard, 1);
}

/* One end that sends. */
struct mouth {
    enum way way;
    mr_writer *writer;
    int socket;
};

static struct mouth mouth_open(enum way way)
{
    struct mouth mouth = {.way = way, .socket = -1};
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    if (way == WRITTEN_PLAIN || way == POSTED_PLAIN)
        options.lane = MR_LANE_PLAIN;
    if (way == PLAIN)
        mouth.socket = plain_connect("lanes");
    else
        CHECK_STATUS(mr_writer_open(&mouth.writer, "lanes", &options), MR_OK);
    return mouth;
}

static void mouth_say(const struct mouth *mouth, const char *text, uint32_t priority)
{
    switch (mouth->way) {
    case WRITTEN:
    case WRITTEN_PLAIN:
        CHECK_STATUS(mr_writer_write(mouth->writer, text, strlen(text), priority), MR_OK);
        break;
    case POSTED:
    case POSTED_PLAIN:
        CHECK_STATUS(mr_writer_post(mouth->writer, text, strlen(text), priority, NULL, NULL), MR_OK);
        CHECK_STATUS(mr_writer_flush(mouth->writer, LONG_MS), MR_OK);
        break;
    default:
        plain_send(mouth->socket, text, strlen(text));
        break;
    }
}

static void mouth_close(struct mouth *mouth)
{
    if (mouth->writer != NULL)
        CHECK_STATUS(mr_writer_close(mouth->writer, NULL), MR_OK);
    if (mouth->socket >= 0)
        close(mouth->socket);
}

static struct ear ear;
static mr_port *workers;
static mr_reader *reader;

static void ear_open(void)
{
    slots_begin();
    workers = slots_port(1, 2);
    counter_init(&ear.heard);
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.port = workers;
    options.on_message = on_message;
    options.context = &ear;
    reader = slots_reader("lanes", &options);
}

static void ear_close(void)
{
    slots_close(reader);
    CHECK_STATUS(mr_port_close(workers), MR_OK);
}

TEST(lanes, every_way_of_sending_tells_the_reader_the_same)
{
    ear_open();
    uint64_t writers[WAYS];
    uint64_t heard = 0;
    for (enum way way = WRITTEN; way < WAYS; way++) {
        static const char *const texts[] = {"one", "", "three"};
        struct mouth mouth = mouth_open(way);
        for (size_t n = 0; n < 3; n++) {
            mouth_say(&mouth, texts[n], MR_NORMAL);
            counter_await(&ear.heard, ++heard);
            const struct told_message *told = &ear.messages[heard - 1];
            CHECK_EQ(told->length, strlen(texts[n]));
            CHECK_STR(told->text, texts[n]);
            CHECK(told->ended);
            CHECK_EQ(told->lane, way == WRITTEN || way == POSTED ? MR_LANE_RING : MR_LANE_PLAIN);
            CHECK_EQ(told->sender.pid, (uint32_t) getpid());
            CHECK_EQ(told->sender.uid, geteuid());
            CHECK_EQ(told->sender.gid, getegid());
            CHECK_EQ(told->sequence, n + 1);
            CHECK_EQ(told->priority, MR_NORMAL);
            CHECK_EQ(told->redelivered, 0u);
            if (n == 0)
                writers[way] = told->sender.writer;
            CHECK(told->sender.writer != 0);
            CHECK_EQ(told->sender.writer, writers[way]);
        }
        mouth_close(&mouth);
    }
    for (enum way way = WRITTEN; way < WAYS; way++)
        for (enum way other = WRITTEN; other < way; other++)
            CHECK(writers[way] != writers[other]);
    ear_close();
}

/* The plain lane carries no level: urgent messages leave the writer first, and are as any other from there on. */
TEST(lanes, the_plain_lane_does_not_tell_the_priority)
{
    ear_open();
    struct mouth mouth = mouth_open(WRITTEN_PLAIN);
    mouth_say(&mouth, "fire", MR_URGENT);
    mouth_say(&mouth, "tea", MR_NORMAL);
    counter_await(&ear.heard, 2);
    CHECK_STR(ear.messages[0].text, "fire");
    CHECK_EQ(ear.messages[0].priority, MR_NORMAL);
    CHECK_EQ(ear.messages[0].sequence, 1);
    CHECK_EQ(ear.messages[1].sequence, 2);
    mouth_close(&mouth);
    ear_close();
}

TEST(lanes, the_ring_tells_the_priority_and_counts_each_for_itself)
{
    ear_open();
    struct mouth mouth = mouth_open(WRITTEN);
    mouth_say(&mouth, "fire", MR_URGENT);
    counter_await(&ear.heard, 1);
    mouth_say(&mouth, "tea", MR_NORMAL);
    counter_await(&ear.heard, 2);
    CHECK_STR(ear.messages[0].text, "fire");
    CHECK_EQ(ear.messages[0].priority, MR_URGENT);
    CHECK_EQ(ear.messages[1].priority, MR_NORMAL);
    CHECK_EQ(ear.messages[0].sequence, 1);
    CHECK_EQ(ear.messages[1].sequence, 1);
    mouth_close(&mouth);
    ear_close();
}

/* Says "before" twice, and "after" to the next slot of the name. */
static void reconnect(enum way way)
{
    ear_open();
    struct mouth mouth = mouth_open(way);
    mouth_say(&mouth, "before", MR_NORMAL);
    mouth_say(&mouth, "before", MR_NORMAL);
    counter_await(&ear.heard, 2);
    CHECK_STATUS(mr_reader_rename(reader, "elsewhere"), MR_OK);
    CHECK_STATUS(mr_reader_rename(reader, "lanes"), MR_OK);
    mouth_say(&mouth, "after", MR_NORMAL);
    counter_await(&ear.heard, 3);
    CHECK_STR(ear.messages[2].text, "after");
    mouth_close(&mouth);
    ear_close();
}

TEST(lanes, a_writer_that_reconnects_is_another_on_the_plain_lane_and_counts_from_one)
{
    reconnect(WRITTEN_PLAIN);
    CHECK_EQ(ear.messages[2].sequence, 1);
    CHECK(ear.messages[2].sender.writer != ear.messages[0].sender.writer);
}

TEST(lanes, a_writer_that_reconnects_is_the_same_on_the_ring_and_counts_on)
{
    reconnect(WRITTEN);
    CHECK_EQ(ear.messages[2].sequence, 3);
    CHECK_EQ(ear.messages[2].sender.writer, ear.messages[0].sender.writer);
}

TEST(lanes, an_end_that_sends_too_much_is_refused_by_the_library_and_dropped_and_counted_from_a_plain_program)
{
    slots_begin();
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.max_message = 10;
    mr_reader *small = slots_reader("lanes", &options);
    struct mouth library = mouth_open(WRITTEN);
    struct mouth plain = mouth_open(PLAIN);
    CHECK_STATUS(mr_writer_write(library.writer, "eleven byte", 11, MR_NORMAL), MR_E_TOO_BIG);
    plain_send(plain.socket, "eleven byte", 11);
    mouth_say(&plain, "fits", MR_NORMAL);
    slots_expect(small, "fits");
    mouth_say(&library, "fits too", MR_NORMAL);
    slots_expect(small, "fits too");
    CHECK_EQ(slots_statistics(small).dropped_too_big, 1);
    mouth_close(&library);
    mouth_close(&plain);
    slots_close(small);
}

TEST(lanes, a_reader_is_closed_while_one_of_each_lane_is_connected_and_the_plain_one_waits_for_its_turn)
{
    slots_begin();
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.queue_messages = 1; /* so the second is left in its socket, and the sender among those who have more */
    mr_reader *narrow = slots_reader("lanes", &options);
    struct mouth library = mouth_open(WRITTEN);
    struct mouth plain = mouth_open(PLAIN);
    mouth_say(&library, "by the ring", MR_NORMAL);
    slots_expect(narrow, "by the ring");
    char text[16];
    size_t length;
    CHECK_STATUS(mr_reader_read(narrow, text, sizeof text, &length, 0), MR_E_TIMEOUT); /* now the ring sleeps */
    mouth_say(&plain, "first", MR_NORMAL);
    mouth_say(&plain, "second", MR_NORMAL);
    slots_expect(narrow, "first");
    uint64_t lost;
    CHECK_STATUS(mr_reader_close(narrow, &lost), MR_E_UNREAD);
    CHECK_EQ(lost, 1);
    mouth_close(&library);
    mouth_close(&plain);
}
