/* test_ring_lane.c: the reader's end of the ring, from a writer that the test makes of its parts. */
#include "ring_fake_linux.h"

#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#include "queue/switch_mark_linux.h"
#include "slots/ring_ceiling.h"

/* ---- readers ---- */

struct seen {
    struct counter got;
    struct counter gate; /* what holds the callback, where `held` */
    _Atomic bool held;
    _Atomic uint64_t entered;
    char texts[64][32];
    mr_message messages[64];
    const mr_message *kept[64];
    bool keep;
    uint64_t next; /* numbered messages */
    bool numbered;
};

static void see(mr_reader *reader, const mr_message *message, void *context)
{
    struct seen *seen = context;
    (void) reader;
    uint64_t at = counter_get(&seen->got);
    CHECK_EQ(message->lane, MR_LANE_RING);
    CHECK_EQ(((const char *) message->data)[message->length], 0);
    CHECK_EQ(((const char *) message->data)[message->length + 1], 0);
    if (seen->numbered) {
        uint64_t number;
        CHECK_EQ(message->length, sizeof number);
        memcpy(&number, message->data, sizeof number);
        CHECK_EQ(number, seen->next);
        seen->next++;
        CHECK_EQ(message->sequence, seen->next);
    } else if (at < 64) {
        snprintf(seen->texts[at], sizeof seen->texts[at], "%.31s", (const char *) message->data);
        seen->messages[at] = *message;
        if (seen->keep)
            seen->kept[at] = mr_message_retain(message);
    }
    atomic_fetch_add(&seen->entered, 1);
    if (atomic_load(&seen->held))
        counter_await(&seen->gate, 1);
    counter_add(&seen->got, 1);
}

struct place {
    mr_port *port;
    mr_reader *reader;
    struct seen seen;
};

static mr_reader_options place_options(struct place *place)
{
    slots_begin();
    memset(place, 0, sizeof *place);
    counter_init(&place->seen.got);
    counter_init(&place->seen.gate);
    place->port = slots_port(1, 0);
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.port = place->port;
    options.on_message = see;
    options.context = &place->seen;
    return options;
}

static void place_begin(struct place *place)
{
    mr_reader_options options = place_options(place);
    place->reader = slots_reader("ring", &options);
}

static void place_end(struct place *place)
{
    slots_close(place->reader);
    CHECK_STATUS(mr_port_close(place->port), MR_OK);
    CHECK_EQ(ring_ceiling_taken(), 0);
}

/* A good writer gets through, whatever happened before. */
static void place_works(struct place *place)
{
    struct fake good;
    uint64_t before = counter_get(&place->seen.got);
    fake_open(&good, "ring", 2);
    CHECK_STATUS(fake_await_answer(&good), MR_OK);
    fake_text(&good, MR_NORMAL, "good");
    counter_await(&place->seen.got, before + 1);
    CHECK_STR(place->seen.texts[before], "good");
    fake_close(&good);
}

static void await_connections(mr_reader *reader, uint64_t count)
{
    while (slots_statistics(reader).connections != count)
        usleep(200); /* closing is told to nobody */
}

static void await_unacknowledged(mr_reader *reader, uint64_t count)
{
    while (slots_statistics(reader).unacknowledged != count)
        usleep(200); /* counted after the callback has returned */
}

/* ---- what arrives ---- */

TEST(lane, what_was_committed_before_the_answer_arrives_without_a_doorbell)
{
    struct place place;
    place_begin(&place);
    struct fake fake;
    struct ring_geometry geometry = fake_geometry(2, (uint32_t) 64 << 10, (uint32_t) 16 << 10);
    fake_connect(&fake, "ring", &geometry);
    fake_text(&fake, MR_NORMAL, "one");
    fake_text(&fake, MR_NORMAL, "");
    fake_text(&fake, MR_URGENT, "fire");
    fake_say_hello(&fake);
    CHECK_STATUS(fake_await_answer(&fake), MR_OK);
    counter_await(&place.seen.got, 3);
    CHECK_STR(place.seen.texts[0], "fire"); /* urgent overtakes */
    CHECK_STR(place.seen.texts[1], "one");
    CHECK_STR(place.seen.texts[2], "");
    CHECK_EQ(fake.answer.levels, 2);
    CHECK_EQ(fake.answer.max_message, MR_MESSAGE_MAX_DEFAULT);
    CHECK_EQ(place.seen.messages[0].priority, MR_URGENT);
    CHECK_EQ(place.seen.messages[0].sequence, 1);
    CHECK_EQ(place.seen.messages[2].sequence, 2);
    CHECK_EQ(place.seen.messages[1].sender.writer, fake.hello.writer);
    CHECK_EQ(place.seen.messages[1].sender.pid, (uint32_t) getpid());
    CHECK_EQ(place.seen.messages[1].sender.uid, (uint32_t) getuid());
    CHECK_EQ(place.seen.messages[1].sender.gid, (uint32_t) getgid());
    CHECK_EQ(place.seen.messages[1].redelivered, 0);
    fake_await_taken(&fake, MR_NORMAL); /* acknowledged by themselves */
    fake_await_taken(&fake, MR_URGENT);
    CHECK_EQ(slots_statistics(place.reader).rings, 1);
    CHECK_EQ(slots_statistics(place.reader).connections, 1);
    CHECK_EQ(slots_statistics(place.reader).ring_bytes, ring_memory_bytes(&geometry));
    fake_close(&fake);
    await_connections(place.reader, 0);
    CHECK_EQ(slots_statistics(place.reader).ring_bytes, 0);
    place_end(&place);
}

TEST(lane, a_sleeping_reader_is_woken_by_the_doorbell_once_for_each_sleep)
{
    struct place place;
    place_begin(&place);
    struct fake fake;
    fake_open(&fake, "ring", 2);
    CHECK_STATUS(fake_await_answer(&fake), MR_OK);
    for (uint64_t i = 1; i <= 50; i++) {
        struct ring_writer *ring = &fake.rings[i % 2];
        while (atomic_load(&ring->control->asleep) == ring->rung)
            usleep(200); /* falling asleep is told to nobody */
        fake_text(&fake, i % 2, "x");
        CHECK_EQ(fake.rung, i);
        counter_await(&place.seen.got, i);
    }
    place_end(&place);
    fake_await_end(&fake);
    fake_close(&fake);
}

/* One thread writes, the reader's worker reads: every message, in order, through many full rings. */
static void stream(uint64_t count, bool refuse_reader, bool refuse_writer, uint32_t spin_us)
{
    struct place place;
    mr_reader_options options = place_options(&place);
    options.spin_us = spin_us;
    place.seen.numbered = true;
    place.reader = slots_reader("ring", &options);
    struct fake fake;
    struct ring_geometry geometry = fake_geometry(1, RING_CAPACITY_MIN, 0);
    ring_barrier_refuse(refuse_writer);
    fake_connect(&fake, "ring", &geometry);
    ring_barrier_refuse(refuse_reader);
    fake_say_hello(&fake);
    CHECK_STATUS(fake_await_answer(&fake), MR_OK);
    for (uint64_t number = 0; number < count; number++) {
        fake_send_waiting(&fake, MR_NORMAL, &number, sizeof number);
        if (number % 1000 == 0)
            fake_await_taken(&fake, MR_NORMAL); /* so that the reader falls asleep now and then */
    }
    fake_await_taken(&fake, MR_NORMAL);
    CHECK_EQ(counter_get(&place.seen.got), count);
    CHECK_EQ(slots_statistics(place.reader).violations, 0);
    fake_close(&fake);
    place_end(&place);
}

TEST(lane, a_stream_with_barriers)
{
    stream(200000, false, false, 0);
}

TEST(lane, a_stream_without_barriers)
{
    stream(200000, true, true, 0);
}

TEST(lane, a_stream_where_only_the_reader_can_make_barriers)
{
    stream(100000, false, true, 0);
}

TEST(lane, a_stream_with_a_spinning_reader)
{
    stream(100000, false, false, 50);
}

struct slow {
    struct counter entered;
    struct counter told;
};

static void take_slowly(mr_reader *reader, const mr_message *message, void *context)
{
    struct slow *slow = context;
    (void) reader;
    (void) message;
    counter_add(&slow->entered, 1);
    if (counter_get(&slow->entered) == 3)
        counter_await(&slow->told, 1);
}

/* Four messages fill the ring, and lie there when the reader comes, with a writer that waits to write a fifth. When two
 * are taken half of the ring is free, and the third one's callback waits until the writer has been told so. */
TEST(lane, who_waits_for_room_is_told_before_a_callback_that_takes_its_time)
{
    struct place place;
    struct slow slow;
    char bytes[4000] = {0};
    mr_reader_options options = place_options(&place);
    counter_init(&slow.entered);
    counter_init(&slow.told);
    options.on_message = take_slowly;
    options.context = &slow;
    place.reader = slots_reader("ring", &options);
    struct fake fake;
    struct ring_geometry geometry = fake_geometry(1, RING_CAPACITY_MIN, 0);
    fake_connect(&fake, "ring", &geometry);
    for (int i = 0; i < 4; i++)
        CHECK(fake_send(&fake, MR_NORMAL, bytes, sizeof bytes));
    CHECK(!fake_send(&fake, MR_NORMAL, bytes, sizeof bytes));
    uint64_t wanted = ring_want_room(&fake.rings[MR_NORMAL], sizeof bytes);
    ring_want(&fake.rings[MR_NORMAL], wanted);
    CHECK(ring_refresh(&fake.rings[MR_NORMAL]));
    CHECK(!ring_reached(&fake.rings[MR_NORMAL], wanted));
    fake_say_hello(&fake);
    CHECK_STATUS(fake_await_answer(&fake), MR_OK);
    union ring_any_packet packet;
    int descriptor;
    CHECK_STATUS(fake_receive(&fake, &packet, &descriptor), MR_OK);
    CHECK_EQ(packet.packet.type, PACKET_REACHED);
    CHECK(fake_send(&fake, MR_NORMAL, bytes, sizeof bytes));
    counter_add(&slow.told, 1);
    counter_await(&slow.entered, 5);
    fake_await_taken(&fake, MR_NORMAL);
    fake_close(&fake);
    place_end(&place);
}

TEST(lane, gaps_leave_holes_in_the_sequence_and_are_counted)
{
    struct place place;
    place_begin(&place);
    struct fake fake;
    fake_open(&fake, "ring", 2);
    CHECK_STATUS(fake_await_answer(&fake), MR_OK);
    fake_text(&fake, MR_NORMAL, "one");
    fake_number(&fake, MR_NORMAL, RING_GAP, 41);
    fake_text(&fake, MR_NORMAL, "forty-three");
    counter_await(&place.seen.got, 2);
    CHECK_EQ(place.seen.messages[1].sequence, 43);
    fake_number(&fake, MR_NORMAL, RING_GAP, 7);
    fake_await_taken(&fake, MR_NORMAL); /* a gap that nothing follows is acknowledged too */
    CHECK_EQ(slots_statistics(place.reader).dropped_by_writers, 48);
    mr_reader_writer writer;
    size_t count;
    CHECK_STATUS(mr_reader_get_writers(place.reader, &writer, 1, &count), MR_OK);
    CHECK_EQ(count, 1);
    CHECK_EQ(writer.dropped, 48);
    CHECK_EQ(writer.messages, 2);
    CHECK_EQ(writer.bytes, 14);
    CHECK_EQ(writer.lane, MR_LANE_RING);
    CHECK_EQ(writer.waiting, 0);
    place_end(&place);
    fake_close(&fake);
}

TEST(lane, what_may_repeat_is_flagged)
{
    struct place place;
    place_begin(&place);
    struct fake fake;
    struct ring_geometry geometry = fake_geometry(1, RING_CAPACITY_MIN, 0);
    fake_connect(&fake, "ring", &geometry);
    fake_text(&fake, MR_NORMAL, "again");
    fake.hello.redelivered[0] = fake.rings[0].tail;
    fake.hello.sequence[0] = 70;
    fake_text(&fake, MR_NORMAL, "new");
    fake_say_hello(&fake);
    counter_await(&place.seen.got, 2);
    CHECK_EQ(place.seen.messages[0].redelivered, 1);
    CHECK_EQ(place.seen.messages[0].sequence, 70);
    CHECK_EQ(place.seen.messages[1].redelivered, 0);
    CHECK_EQ(slots_statistics(place.reader).redelivered, 1);
    place_end(&place);
    fake_close(&fake);
}

TEST(lane, a_dead_writers_messages_all_arrive)
{
    struct place place;
    place_begin(&place);
    atomic_store(&place.seen.held, true);
    struct fake fake;
    fake_open(&fake, "ring", 2);
    for (int i = 0; i < 30; i++)
        fake_text(&fake, i % 2 == 0 ? MR_NORMAL : MR_URGENT, "last words");
    fake_close(&fake);
    atomic_store(&place.seen.held, false);
    counter_add(&place.seen.gate, 1);
    counter_await(&place.seen.got, 30);
    await_connections(place.reader, 0);
    place_end(&place);
}

TEST(lane, a_writer_that_dies_before_its_answer_is_drained)
{
    struct place place;
    mr_reader_options options = place_options(&place);
    options.port = NULL;
    options.on_message = NULL;
    place.reader = slots_reader("ring", &options);
    struct fake fake;
    fake_open(&fake, "ring", 2);
    fake_text(&fake, MR_NORMAL, "last words");
    fake_close(&fake); /* nobody has accepted it yet */
    slots_expect(place.reader, "last words");
    char nothing[8];
    size_t length;
    CHECK_STATUS(mr_reader_read(place.reader, nothing, sizeof nothing, &length, 0), MR_E_TIMEOUT);
    CHECK_EQ(slots_statistics(place.reader).connections, 0);
    place_end(&place);
}

static void send_descriptor(struct fake *fake, uint64_t sequence, int descriptor)
{
    struct ring_large packet = {.sequence = sequence, .length = 5};
    ring_packet_init(&packet.packet, PACKET_LARGE, 0);
    CHECK_STATUS(ring_packet_send(fake->socket, &packet, sizeof packet, descriptor), MR_OK);
}

/* A socket in the queue of its own other end stays open until somebody takes it from there. */
TEST(lane, writers_that_die_with_their_sockets_on_their_way_to_the_reader_are_noticed)
{
    struct place place;
    place_begin(&place);
    struct fake alone, first, second;
    fake_open(&alone, "ring", 2);
    fake_open(&first, "ring", 2);
    fake_open(&second, "ring", 2);
    CHECK_STATUS(fake_await_answer(&alone), MR_OK);
    CHECK_STATUS(fake_await_answer(&first), MR_OK);
    CHECK_STATUS(fake_await_answer(&second), MR_OK);
    send_descriptor(&alone, 1, alone.socket);
    send_descriptor(&first, 1, second.socket);
    send_descriptor(&second, 1, first.socket);
    fake_close(&alone);
    fake_close(&first);
    fake_close(&second);
    await_connections(place.reader, 0);
    CHECK(slots_statistics(place.reader).violations > 0);
    place_works(&place);
    place_end(&place);
}

/* … also behind a packet that looks like an end. */
TEST(lane, a_writer_that_dies_with_its_socket_behind_an_empty_packet_is_noticed)
{
    struct place place;
    place_begin(&place);
    struct fake fake;
    fake_open(&fake, "ring", 2);
    CHECK_STATUS(fake_await_answer(&fake), MR_OK);
    CHECK_EQ(send(fake.socket, "", 0, 0), 0);
    send_descriptor(&fake, 1, fake.socket);
    fake_close(&fake);
    await_connections(place.reader, 0);
    place_works(&place);
    place_end(&place);
}

/* … also one that comes while its session is awake, behind a large message's memory or before it. */
static void die_beside_large(bool before)
{
    struct place place;
    place_begin(&place);
    atomic_store(&place.seen.held, true);
    struct fake fake;
    fake_open(&fake, "ring", 2);
    CHECK_STATUS(fake_await_answer(&fake), MR_OK);
    fake_text(&fake, MR_NORMAL, "held");
    while (atomic_load(&place.seen.entered) == 0)
        usleep(200);
    int large;
    CHECK_STATUS(ring_large_make("large", 5, &large), MR_OK);
    if (before)
        send_descriptor(&fake, 100, fake.socket);
    send_descriptor(&fake, 2, large);
    if (!before)
        send_descriptor(&fake, 100, fake.socket);
    fake_number(&fake, MR_NORMAL, RING_LARGE, 5);
    close(large);
    fake_close(&fake);
    atomic_store(&place.seen.held, false);
    counter_add(&place.seen.gate, 1);
    await_connections(place.reader, 0);
    CHECK_EQ(slots_statistics(place.reader).violations, 1);
    CHECK_EQ(counter_get(&place.seen.got), before ? 1 : 2);
    place_works(&place);
    place_end(&place);
}

TEST(lane, a_writer_that_dies_with_its_socket_before_a_large_message_is_noticed)
{
    die_beside_large(true);
}

TEST(lane, a_writer_that_dies_with_its_socket_behind_a_large_message_is_noticed)
{
    die_beside_large(false);
}

/* Large messages' packets that no record will ask for: they bring memory, or their writer goes. */
TEST(lane, an_orphan_that_is_no_memory_is_a_violation)
{
    struct place place;
    place_begin(&place);
    struct fake fake;
    int ends[2];
    CHECK_EQ(pipe(ends), 0);
    fake_open(&fake, "ring", 2);
    CHECK_STATUS(fake_await_answer(&fake), MR_OK);
    send_descriptor(&fake, 0, ends[0]);
    fake_await_end(&fake);
    CHECK_EQ(slots_statistics(place.reader).violations, 1);
    close(ends[0]);
    close(ends[1]);
    fake_close(&fake);
    place_works(&place);
    place_end(&place);
}

/* Closing it blocks for an hour. */
static void fake_leave_lingering(struct fake *fake, int *holder)
{
    int lingering = slots_lingering_socket(holder);
    CHECK(lingering >= 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(send(fake->socket, "", 0, 0), 0);
    send_descriptor(fake, 100, lingering);
    close(lingering);
    CHECK_EQ(shutdown(fake->socket, SHUT_WR), 0);
}

TEST(lane, what_lies_behind_empty_packets_is_closed_elsewhere)
{
    struct place place;
    place_begin(&place);
    struct fake session, guest;
    struct ring_geometry geometry = fake_geometry(1, RING_CAPACITY_MIN, 0);
    int holders[2];
    fake_open(&session, "ring", 2);
    CHECK_STATUS(fake_await_answer(&session), MR_OK);
    atomic_store(&place.seen.held, true);
    fake_text(&session, MR_NORMAL, "held");
    while (atomic_load(&place.seen.entered) == 0)
        usleep(200);
    fake_connect(&guest, "ring", &geometry);
    fake_leave_lingering(&session, &holders[0]);
    fake_leave_lingering(&guest, &holders[1]);
    atomic_store(&place.seen.held, false);
    counter_add(&place.seen.gate, 1);
    await_connections(place.reader, 0);
    fake_await_end(&guest);
    place_works(&place);
    fake_close(&session);
    fake_close(&guest);
    close(holders[0]);
    close(holders[1]);
    place_end(&place);
}

TEST(lane, the_descriptor_of_a_reader_without_a_port_tells_of_rings)
{
    struct place place;
    mr_reader_options options = place_options(&place);
    options.port = NULL;
    options.on_message = NULL;
    place.reader = slots_reader("ring", &options);
    intptr_t descriptor;
    CHECK_STATUS(mr_reader_fd(place.reader, &descriptor), MR_OK);
    struct pollfd wait = {.fd = (int) descriptor, .events = POLLIN};
    struct fake fake;
    char text[8];
    size_t length;
    fake_open(&fake, "ring", 2);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 200; i++)
            fake_text(&fake, MR_NORMAL, "x");
        for (int i = 0; i < 200; i++) { /* level-triggered: as long as there is something */
            CHECK_EQ(poll(&wait, 1, -1), 1);
            CHECK_STATUS(mr_reader_read(place.reader, text, sizeof text, &length, 0), MR_OK);
        }
        CHECK_STATUS(mr_reader_read(place.reader, text, sizeof text, &length, 0), MR_E_TIMEOUT);
        CHECK_EQ(poll(&wait, 1, 0), 0);
        if (round == 0)
            CHECK_STATUS(fake_await_answer(&fake), MR_OK);
    }
    place_end(&place);
    fake_close(&fake);
}

/* ---- refusals ---- */

TEST(refusal, one_connection_too_many_is_told)
{
    struct place place;
    mr_reader_options options = place_options(&place);
    options.connections_per_uid = 1;
    place.reader = slots_reader("ring", &options);
    struct fake first, second;
    fake_open(&first, "ring", 2);
    CHECK_STATUS(fake_await_answer(&first), MR_OK);
    fake_open(&second, "ring", 2);
    CHECK_STATUS(fake_await_answer(&second), MR_E_FULL);
    CHECK_EQ(second.answer.ring_bytes, 0);
    fake_await_end(&second);
    CHECK_EQ(slots_statistics(place.reader).refused_quota, 1);
    fake_close(&second);
    fake_close(&first);
    await_connections(place.reader, 0);
    fake_open(&second, "ring", 2);
    CHECK_STATUS(fake_await_answer(&second), MR_OK);
    place_end(&place);
    fake_close(&second);
}

TEST(refusal, a_ring_above_what_the_ceiling_leaves_is_told_how_large_one_may_be)
{
    struct place place;
    place_begin(&place);
    ring_ceiling_set((uint64_t) 64 << 20, true); /* a user has half: rings of 128 KiB, at first */
    struct fake large, small;
    fake_open(&large, "ring", 2);
    CHECK_STATUS(fake_await_answer(&large), MR_E_FULL);
    CHECK_EQ(large.answer.ring_bytes, (uint64_t) 128 << 10);
    fake_await_end(&large);
    fake_close(&large);
    struct ring_geometry geometry = fake_geometry(2, (uint32_t) 128 << 10, (uint32_t) 64 << 10);
    fake_connect(&small, "ring", &geometry);
    fake_say_hello(&small);
    CHECK_STATUS(fake_await_answer(&small), MR_OK);
    CHECK_EQ(ring_ceiling_taken(), ring_memory_bytes(&geometry));
    ring_ceiling_set((uint64_t) 256 << 10, true); /* less than what is taken: nothing is left */
    fake_open(&large, "ring", 2);
    CHECK_STATUS(fake_await_answer(&large), MR_E_FULL);
    CHECK_EQ(large.answer.ring_bytes, 0);
    fake_close(&large);
    ring_ceiling_set(0, false);
    fake_close(&small);
    await_connections(place.reader, 0);
    place_end(&place);
}

/* Each spoils an honest hello in one way; the answer is MR_E_ARGUMENT, unless nothing can be answered to that. */
static void spoil_levels_none(struct fake *fake)
{
    fake->hello.geometry.levels = 0;
}
static void spoil_levels_many(struct fake *fake)
{
    fake->hello.geometry.levels = RING_LEVELS_MAX + 1;
}
static void spoil_capacity_odd(struct fake *fake)
{
    fake->hello.geometry.capacity[0] -= 8;
}
static void spoil_capacity_small(struct fake *fake)
{
    fake->hello.geometry.capacity[1] = RING_CAPACITY_MIN / 2;
}
static void spoil_capacity_large(struct fake *fake)
{
    fake->hello.geometry.capacity[1] = 2 * RING_CAPACITY_MAX;
}
static void spoil_capacity_unused(struct fake *fake)
{
    fake->hello.geometry.capacity[5] = RING_CAPACITY_MIN;
}
static void spoil_size(struct fake *fake)
{
    fake->hello.geometry.capacity[1] *= 2; /* the memory is smaller than that */
}
static void spoil_writer(struct fake *fake)
{
    fake->hello.writer = 0;
}
static void spoil_sequence(struct fake *fake)
{
    fake->hello.sequence[1] = 0;
}
static void spoil_magic(struct fake *fake)
{
    fake->hello.packet.magic++;
}
static void spoil_version(struct fake *fake)
{
    fake->hello.packet.version++;
}
static void spoil_type(struct fake *fake)
{
    fake->hello.packet.type = PACKET_ANSWER;
}
static void spoil_zero(struct fake *fake)
{
    fake->hello.zero = 1;
}
static void spoil_unsealed(struct fake *fake)
{
    close(fake->memory_fd);
    fake->memory_fd = memfd_create("bare", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(fake->memory_fd >= 0);
    CHECK_EQ(ftruncate(fake->memory_fd, (off_t) ring_memory_bytes(&fake->hello.geometry)), 0);
}
static void spoil_file(struct fake *fake)
{
    char path[] = "/var/tmp/mr-test-XXXXXX";
    close(fake->memory_fd);
    fake->memory_fd = mkstemp(path);
    CHECK(fake->memory_fd >= 0);
    CHECK_EQ(unlink(path), 0);
    CHECK_EQ(ftruncate(fake->memory_fd, (off_t) ring_memory_bytes(&fake->hello.geometry)), 0);
}
static void spoil_pipe(struct fake *fake)
{
    int ends[2];
    close(fake->memory_fd);
    CHECK_EQ(pipe(ends), 0);
    close(ends[1]);
    fake->memory_fd = ends[0];
}

static const struct {
    const char *what;
    void (*spoil)(struct fake *fake);
} spoilers[] = {
    {"no levels", spoil_levels_none},
    {"too many levels", spoil_levels_many},
    {"capacity no power of two", spoil_capacity_odd},
    {"capacity too small", spoil_capacity_small},
    {"capacity too large", spoil_capacity_large},
    {"capacity of a level that is not there", spoil_capacity_unused},
    {"memory of another size", spoil_size},
    {"no identity", spoil_writer},
    {"sequence 0", spoil_sequence},
    {"another magic", spoil_magic},
    {"another version", spoil_version},
    {"no hello", spoil_type},
    {"zeros that are none", spoil_zero},
    {"memory not sealed", spoil_unsealed},
    {"a file on a disk", spoil_file},
    {"a pipe", spoil_pipe},
};

TEST(refusal, each_broken_hello_is_refused_and_counted_and_hurts_nobody)
{
    struct place place;
    place_begin(&place);
    size_t before = slots_descriptors();
    for (size_t i = 0; i < sizeof spoilers / sizeof spoilers[0]; i++) {
        struct fake fake;
        struct ring_geometry geometry = fake_geometry(2, (uint32_t) 64 << 10, (uint32_t) 64 << 10);
        fake_connect(&fake, "ring", &geometry);
        fake_text(&fake, MR_NORMAL, "never seen");
        spoilers[i].spoil(&fake);
        fake_say_hello(&fake);
        int status = fake_await_answer(&fake);
        CHECK_MSG(status == MR_E_ARGUMENT, "%s: answered %s", spoilers[i].what, mr_status_name(status));
        fake_await_end(&fake);
        fake.hello.geometry = geometry;
        fake_close(&fake);
        CHECK_EQ(slots_statistics(place.reader).violations, i + 1);
        CHECK_EQ(slots_statistics(place.reader).connections, 0);
    }
    CHECK_EQ(counter_get(&place.seen.got), 0);
    CHECK_EQ(ring_ceiling_taken(), 0);
    place_works(&place);
    await_connections(place.reader, 0);
    slots_await_descriptors(before);
    place_end(&place);
}

/* ---- violations of the memory ---- */

static _Atomic uint64_t *word_at(struct fake *fake, uint64_t position)
{
    struct ring_writer *w = &fake->rings[0];
    return (_Atomic uint64_t *) (void *) (w->data + (position & (w->capacity - 1)));
}
static void raw_commit(struct fake *fake, uint64_t header, uint64_t bytes)
{
    struct ring_writer *w = &fake->rings[0];
    atomic_store(word_at(fake, w->tail), header);
    w->tail += bytes;
    atomic_store(&w->control->tail, w->tail);
    fake_ring(fake);
}
static void break_tail_beyond(struct fake *fake)
{
    atomic_store(&fake->rings[0].control->tail, fake->rings[0].tail + fake->rings[0].capacity + 8);
    fake_ring(fake);
}
static void break_tail_back(struct fake *fake)
{
    atomic_store(&fake->rings[0].control->tail, fake->rings[0].tail - 8);
    fake_ring(fake);
}
static void break_tail_odd(struct fake *fake)
{
    atomic_store(&fake->rings[0].control->tail, fake->rings[0].tail + 12);
    fake_ring(fake);
}
static void break_zero_header(struct fake *fake)
{
    raw_commit(fake, 0, 64);
}
static void break_kind(struct fake *fake)
{
    raw_commit(fake, UINT64_C(8) | UINT64_C(9) << 32, 64);
}
static void break_zero_bits(struct fake *fake)
{
    raw_commit(fake, UINT64_C(8) | (uint64_t) RING_DATA << 32 | UINT64_C(1) << 40, 64);
}
static void break_length_beyond_tail(struct fake *fake)
{
    raw_commit(fake, UINT64_C(1000) | (uint64_t) RING_DATA << 32, 64);
}
static void break_length_beyond_quarter(struct fake *fake)
{
    raw_commit(fake, (fake->rings[0].capacity / 4 + 1) | (uint64_t) RING_DATA << 32, fake->rings[0].capacity / 2);
}
static void break_length_huge(struct fake *fake)
{
    raw_commit(fake, UINT64_C(0xffffffff) | (uint64_t) RING_DATA << 32, 64);
}
static void break_wrap_alone(struct fake *fake)
{
    raw_commit(fake, (uint64_t) RING_WRAP << 32, 8);
}
static void break_gap_zero(struct fake *fake)
{
    fake_number(fake, 0, RING_GAP, 0);
}
static void break_gap_short(struct fake *fake)
{
    raw_commit(fake, UINT64_C(4) | (uint64_t) RING_GAP << 32, 16);
}
static void break_large_missing(struct fake *fake)
{
    fake_number(fake, 0, RING_LARGE, 100000);
}
static void send_large(struct fake *fake, uint32_t level, uint64_t sequence, uint64_t length, const char *data,
                       size_t size)
{
    int fd;
    struct ring_large large = {.level = level, .sequence = sequence, .length = length};
    CHECK_STATUS(ring_large_make(data, size, &fd), MR_OK);
    ring_packet_init(&large.packet, PACKET_LARGE, 0);
    CHECK_STATUS(ring_packet_send(fake->socket, &large, sizeof large, fd), MR_OK);
    close(fd);
}
static void break_large_of_another_number(struct fake *fake)
{
    send_large(fake, 0, 3, 5, "large", 5); /* its record's number is 2 */
    fake_number(fake, 0, RING_LARGE, 5);
}
static void break_large_length(struct fake *fake)
{
    send_large(fake, 0, 2, 4, "large", 5);
    fake_number(fake, 0, RING_LARGE, 5);
}
static void break_large_file_length(struct fake *fake)
{
    send_large(fake, 0, 2, 6, "large", 5);
    fake_number(fake, 0, RING_LARGE, 6);
}
static void break_large_level(struct fake *fake)
{
    send_large(fake, 7, 2, 5, "large", 5);
    fake_number(fake, 0, RING_LARGE, 5);
}
static void break_large_unsealed(struct fake *fake)
{
    int fd = memfd_create("bare", MFD_CLOEXEC);
    struct ring_large large = {.level = 0, .sequence = 2, .length = 5};
    CHECK_EQ(write(fd, "large", 5), 5);
    ring_packet_init(&large.packet, PACKET_LARGE, 0);
    CHECK_STATUS(ring_packet_send(fake->socket, &large, sizeof large, fd), MR_OK);
    close(fd);
    fake_number(fake, 0, RING_LARGE, 5);
}
static void break_large_hoard(struct fake *fake)
{
    for (uint64_t i = 0; i <= RING_LARGE_MOST; i++)
        send_large(fake, 1, 10 + i, 5, "hoard", 5);
    fake_number(fake, 0, RING_LARGE, 5);
}
static void break_second_hello(struct fake *fake)
{
    fake_say_hello(fake);
    fake_number(fake, 0, RING_LARGE, 5);
}

static const struct {
    const char *what;
    void (*act)(struct fake *fake);
} breaks[] = {
    {"tail beyond the ring", break_tail_beyond},
    {"tail goes back", break_tail_back},
    {"tail no multiple of 8", break_tail_odd},
    {"a header of zeros", break_zero_header},
    {"an unknown kind", break_kind},
    {"bits that must be zero", break_zero_bits},
    {"a length beyond tail", break_length_beyond_tail},
    {"a length beyond a quarter of the ring", break_length_beyond_quarter},
    {"a length of 4 GiB", break_length_huge},
    {"a wrap with nothing behind it", break_wrap_alone},
    {"a gap of nothing", break_gap_zero},
    {"a gap of the wrong size", break_gap_short},
    {"a large message that was not sent", break_large_missing},
    {"a large message of another number", break_large_of_another_number},
    {"a large message of another length", break_large_length},
    {"a large message whose file is of another length", break_large_file_length},
    {"a large message of a level that is not there", break_large_level},
    {"a large message that is not sealed", break_large_unsealed},
    {"more large messages than may be held", break_large_hoard},
    {"a second hello", break_second_hello},
};

TEST_TIMEOUT(violation, each_broken_record_ends_that_writer_alone, 120)
{
    struct place place;
    place_begin(&place);
    size_t before = slots_descriptors();
    struct fake good;
    fake_open(&good, "ring", 2);
    CHECK_STATUS(fake_await_answer(&good), MR_OK);
    uint64_t got = 0;
    for (size_t i = 0; i < sizeof breaks / sizeof breaks[0]; i++) {
        struct fake fake;
        fake_open(&fake, "ring", 2);
        CHECK_STATUS(fake_await_answer(&fake), MR_OK);
        fake_text(&fake, MR_NORMAL, "before");
        counter_await(&place.seen.got, ++got);
        breaks[i].act(&fake);
        fake_await_end(&fake);
        CHECK_MSG(slots_statistics(place.reader).violations == i + 1, "%s: not counted", breaks[i].what);
        CHECK_MSG(counter_get(&place.seen.got) == got, "%s: something was delivered", breaks[i].what);
        fake_close(&fake);
        fake_text(&good, MR_NORMAL, "good");
        counter_await(&place.seen.got, ++got);
    }
    fake_close(&good);
    await_connections(place.reader, 0);
    slots_await_descriptors(before);
    place_end(&place);
}

TEST(violation, a_writer_that_only_rings_is_no_message_and_no_violation)
{
    struct place place;
    place_begin(&place);
    struct fake fake;
    fake_open(&fake, "ring", 2);
    CHECK_STATUS(fake_await_answer(&fake), MR_OK);
    for (int i = 0; i < 1000; i++)
        fake_ring(&fake);
    fake_text(&fake, MR_NORMAL, "in the end");
    counter_await(&place.seen.got, 1);
    CHECK_EQ(slots_statistics(place.reader).violations, 0);
    CHECK_EQ(slots_statistics(place.reader).messages, 1);
    place_end(&place);
    fake_close(&fake);
}

/* ---- large messages ---- */

TEST(large, arrive_whole_in_order_and_orphans_are_dropped)
{
    struct place place;
    mr_reader_options options = place_options(&place);
    options.max_message = 1000000;
    place.reader = slots_reader("ring", &options);
    size_t before = slots_descriptors();
    char *data = malloc(2000000);
    CHECK(data != NULL);
    memset(data, 'x', 2000000);
    struct fake fake;
    fake_open(&fake, "ring", 2);
    CHECK_STATUS(fake_await_answer(&fake), MR_OK);
    fake_text(&fake, MR_NORMAL, "one");
    counter_await(&place.seen.got, 1);
    send_large(&fake, 0, 1, 5, "never", 5); /* its record was never committed: number 1 was another message */
    memcpy(data, "second", 6);
    send_large(&fake, 0, 2, 1000000, data, 1000000);
    memcpy(data, "urgent", 6);
    send_large(&fake, 1, 1, 300000, data, 300000);
    fake_number(&fake, 0, RING_LARGE, 1000000); /* both orders of packets and records */
    counter_await(&place.seen.got, 2);
    fake_number(&fake, 1, RING_LARGE, 300000);
    counter_await(&place.seen.got, 3);
    CHECK_EQ(place.seen.messages[1].length, 1000000);
    CHECK_EQ(memcmp(place.seen.texts[1], "secondxxx", 9), 0);
    CHECK_EQ(place.seen.messages[2].length, 300000);
    CHECK_EQ(place.seen.messages[2].priority, MR_URGENT);
    send_large(&fake, 0, 3, 1000001, data, 1000001);
    fake_number(&fake, 0, RING_LARGE, 1000001);
    fake_text(&fake, MR_NORMAL, "after");
    counter_await(&place.seen.got, 4);
    CHECK_EQ(place.seen.messages[3].sequence, 4);
    CHECK_EQ(slots_statistics(place.reader).dropped_too_big, 1);
    CHECK_EQ(slots_statistics(place.reader).violations, 0);
    send_large(&fake, 0, 5, 6, "orphan", 6); /* goes with the session */
    free(data);
    fake_close(&fake);
    await_connections(place.reader, 0);
    slots_await_descriptors(before);
    place_end(&place);
}

TEST(large, of_a_dead_writer_are_still_taken)
{
    struct place place;
    place_begin(&place);
    struct fake fake;
    fake_open(&fake, "ring", 1);
    for (uint64_t i = 1; i <= 10; i++) {
        send_large(&fake, 0, i, 5, "large", 5);
        fake_number(&fake, 0, RING_LARGE, 5);
    }
    fake_close(&fake);
    counter_await(&place.seen.got, 10);
    await_connections(place.reader, 0);
    CHECK_EQ(slots_statistics(place.reader).violations, 0);
    place_end(&place);
}

/* ---- urgent ---- */

static void counter_clear(struct counter *counter)
{
    mutex_lock(&counter->lock);
    counter->value = 0;
    mutex_unlock(&counter->lock);
}

TEST(urgent, overtakes_from_the_same_another_and_a_new_writer)
{
    struct place place;
    place_begin(&place);
    struct fake fake[3];
    for (int i = 0; i < 2; i++) {
        fake_open(&fake[i], "ring", 2);
        CHECK_STATUS(fake_await_answer(&fake[i]), MR_OK);
    }
    for (int which = 0; which < 3; which++) {
        atomic_store(&place.seen.entered, 0);
        atomic_store(&place.seen.held, true);
        counter_clear(&place.seen.gate);
        while (fake_send(&fake[0], MR_NORMAL, "normal", 6)) {}
        while (atomic_load(&place.seen.entered) == 0)
            usleep(100);
        if (which == 2)
            fake_open(&fake[2], "ring", 2);
        fake_text(&fake[which], MR_URGENT, "urgent");
        usleep(10000);                  /* a callback that takes its time: more than a tick of the coarse clock */
        counter_clear(&place.seen.got); /* the held one is number 0 from here on */
        memset(place.seen.texts, 0, sizeof place.seen.texts);
        atomic_store(&place.seen.held, false);
        counter_add(&place.seen.gate, 1);
        counter_await(&place.seen.got, 3);
        CHECK_MSG(strcmp(place.seen.texts[1], "urgent") == 0 || strcmp(place.seen.texts[2], "urgent") == 0,
                  "writer %d: after the held one came %s, %s", which, place.seen.texts[1], place.seen.texts[2]);
        fake_await_taken(&fake[0], MR_NORMAL);
    }
    place_end(&place);
    for (int i = 0; i < 3; i++)
        fake_close(&fake[i]);
}

/* Messages that are taken as fast as they can be, but for one whose callback sleeps, or works. */
struct quick {
    struct counter entered;
    struct counter gate;
    bool works;
    _Atomic uint64_t after;  /* messages since the callback slept … */
    _Atomic uint64_t urgent; /* … until an urgent one came; 0: it has not */
};

static void take_quickly(mr_reader *reader, const mr_message *message, void *context)
{
    struct quick *quick = context;
    (void) reader;
    if (message->length == 4) { /* "hold" */
        counter_add(&quick->entered, 1);
        while (quick->works && counter_get(&quick->gate) < counter_get(&quick->entered)) {}
        counter_await(&quick->gate, counter_get(&quick->entered));
        atomic_store(&quick->after, 0);
        return;
    }
    atomic_fetch_add_explicit(&quick->after, 1, memory_order_relaxed);
    if (message->priority > MR_NORMAL)
        atomic_store(&quick->urgent, atomic_load(&quick->after));
}

/* The clocks are looked at seldom by then. How many messages at most, until the urgent one has come? */
static void quick_rounds(bool works, uint64_t most)
{
    struct place place;
    struct quick quick = {.works = works};
    mr_reader_options options = place_options(&place);
    counter_init(&quick.entered);
    counter_init(&quick.gate);
    options.on_message = take_quickly;
    options.context = &quick;
    place.reader = slots_reader("ring", &options);
    struct fake fake;
    fake_open(&fake, "ring", 2);
    CHECK_STATUS(fake_await_answer(&fake), MR_OK);
    for (unsigned round = 1; round <= 5; round++) {
        for (unsigned n = 0; n < 20000; n++)
            while (!fake_send(&fake, MR_NORMAL, "n", 1))
                sched_yield();
        while (!fake_send(&fake, MR_NORMAL, "hold", 4))
            sched_yield();
        counter_await(&quick.entered, round);
        for (unsigned n = 0; n < 1000; n++)
            CHECK(fake_send(&fake, MR_NORMAL, "n", 1));
        atomic_store(&quick.urgent, 0);
        struct fake new;
        fake_open(&new, "ring", 2);
        fake_text(&new, MR_URGENT, "urgent");
        usleep(10000); /* more than a tick of the coarse clock */
        counter_add(&quick.gate, 1);
        fake_await_taken(&new, MR_URGENT);
        uint64_t place_of_it = atomic_load(&quick.urgent);
        CHECK_MSG(place_of_it >= 1 && place_of_it <= most, "it was number %llu", (unsigned long long) place_of_it);
        fake_await_taken(&fake, MR_NORMAL);
        fake_close(&new);
    }
    place_end(&place);
    fake_close(&fake);
}

TEST(urgent, from_a_new_writer_passes_after_one_long_callback_among_thousands_that_were_quick)
{
    quick_rounds(false, 2);
    switch_mark_refuse(true);
    quick_rounds(false, 2);
    quick_rounds(true, 2);
    switch_mark_refuse(false);
    quick_rounds(true, 34); /* docs/ring.md */
}

/* ---- acknowledging ---- */

TEST(window, a_full_one_pauses_its_ring_and_acknowledgements_bring_it_back)
{
    struct place place;
    mr_reader_options options = place_options(&place);
    options.acknowledge_by_hand = 1;
    options.acknowledge_window = 8;
    place.seen.keep = true;
    place.reader = slots_reader("ring", &options);
    struct fake fake, other;
    fake_open(&fake, "ring", 1);
    CHECK_STATUS(fake_await_answer(&fake), MR_OK);
    for (int i = 0; i < 20; i++)
        fake_text(&fake, MR_NORMAL, "x");
    counter_await(&place.seen.got, 8);
    fake_open(&other, "ring", 1); /* the pause is that ring's alone */
    CHECK_STATUS(fake_await_answer(&other), MR_OK);
    fake_text(&other, MR_NORMAL, "other");
    counter_await(&place.seen.got, 9);
    CHECK_STR(place.seen.texts[8], "other");
    await_unacknowledged(place.reader, 9);
    CHECK_EQ(atomic_load(&fake.rings[0].control->head), 0);
    CHECK_EQ(atomic_load(&fake.rings[0].control->handed), 8 * ring_record_bytes(1));
    for (int i = 7; i > 0; i--) /* not the oldest */
        CHECK_STATUS(mr_message_acknowledge(place.seen.kept[i]), MR_OK);
    CHECK_EQ(atomic_load(&fake.rings[0].control->head), 0);
    CHECK_STATUS(mr_message_acknowledge(place.seen.kept[0]), MR_OK);
    CHECK_STATUS(mr_message_acknowledge(place.seen.kept[0]), MR_OK); /* nothing happens */
    CHECK_EQ(atomic_load(&fake.rings[0].control->head), 8 * ring_record_bytes(1));
    counter_await(&place.seen.got, 17);
    await_unacknowledged(place.reader, 9);
    slots_close(place.reader);
    fake_await_end(&fake);
    CHECK_EQ(atomic_load(&fake.rings[0].control->head), 8 * ring_record_bytes(1)); /* the rest is the writer's */
    CHECK_STATUS(mr_message_acknowledge(place.seen.kept[10]), MR_OK);              /* too late */
    for (int i = 0; i < 17; i++)
        mr_message_release(place.seen.kept[i]);
    CHECK_STATUS(mr_port_close(place.port), MR_OK);
    fake_close(&fake);
    fake_close(&other);
}

TEST(window, a_writer_that_waits_is_told_by_who_acknowledges)
{
    struct place place;
    mr_reader_options options = place_options(&place);
    options.acknowledge_by_hand = 1;
    place.seen.keep = true;
    place.reader = slots_reader("ring", &options);
    struct fake fake;
    fake_open(&fake, "ring", 1);
    CHECK_STATUS(fake_await_answer(&fake), MR_OK);
    for (int i = 0; i < 20; i++)
        fake_text(&fake, MR_NORMAL, "x");
    counter_await(&place.seen.got, 20);
    ring_want(&fake.rings[0], fake.rings[0].tail);
    for (int i = 0; i < 20; i++) {
        CHECK_STATUS(mr_message_acknowledge(place.seen.kept[i]), MR_OK);
        mr_message_release(place.seen.kept[i]);
    }
    fake_await_taken(&fake, MR_NORMAL);
    CHECK_EQ(slots_statistics(place.reader).waits, 1);
    CHECK_EQ(slots_statistics(place.reader).unacknowledged, 0);
    place_end(&place);
    fake_close(&fake);
}

/* ---- names and ends ---- */

TEST(names, what_was_committed_to_the_old_name_comes_first_and_its_writers_are_told)
{
    struct place place;
    mr_reader_options options = place_options(&place);
    options.port = NULL;
    options.on_message = NULL;
    place.reader = slots_reader("ring", &options);
    struct fake old, new;
    fake_open(&old, "ring", 2);
    fake_text(&old, MR_NORMAL, "old 1");
    CHECK_STATUS(mr_reader_rename(place.reader, "other"), MR_OK); /* accepts it, and limits it */
    CHECK_STATUS(fake_await_answer(&old), MR_OK);
    fake_text(&old, MR_NORMAL, "too late");
    fake_open(&new, "other", 2);
    fake_text(&new, MR_NORMAL, "new 1");
    slots_expect(place.reader, "old 1");
    slots_expect(place.reader, "new 1");
    char text[32];
    size_t length;
    CHECK_STATUS(mr_reader_read(place.reader, text, sizeof text, &length, 0), MR_E_TIMEOUT);
    fake_await_end(&old); /* everything was acknowledged */
    CHECK(old.renamed);
    CHECK(ring_refresh(&old.rings[0]));
    CHECK_EQ(old.rings[0].head, ring_record_bytes(5)); /* what came too late is the writer's */
    CHECK_EQ(slots_statistics(place.reader).connections, 1);
    place_end(&place);
    fake_close(&old);
    fake_close(&new);
}

TEST(names, an_idle_writer_of_the_old_name_is_told_and_hung_up_on)
{
    for (int calls = 0; calls < 2; calls++) {
        struct place place;
        mr_reader_options options = place_options(&place);
        if (calls) {
            options.port = NULL;
            options.on_message = NULL;
        }
        place.reader = slots_reader("ring", &options);
        struct fake fake;
        char text[32];
        size_t length;
        fake_open(&fake, "ring", 2);
        if (calls)
            CHECK_STATUS(mr_reader_read(place.reader, text, sizeof text, &length, 0), MR_E_TIMEOUT);
        CHECK_STATUS(fake_await_answer(&fake), MR_OK);
        fake_text(&fake, MR_NORMAL, "before");
        if (calls)
            slots_expect(place.reader, "before");
        else
            fake_await_taken(&fake, MR_NORMAL);
        CHECK_STATUS(mr_reader_rename(place.reader, "other"), MR_OK);
        if (calls)
            CHECK_STATUS(mr_reader_read(place.reader, text, sizeof text, &length, 0), MR_E_TIMEOUT);
        fake_await_end(&fake);
        CHECK(fake.renamed);
        place_end(&place);
        fake_close(&fake);
    }
}

TEST(names, sessions_of_many_names_come_in_the_order_of_the_names)
{
    enum { ROUNDS = 400, EACH = 8 };
    struct place place;
    mr_reader_options options = place_options(&place);
    place.seen.numbered = true;
    place.reader = slots_reader("name 0", &options);
    static struct fake fakes[ROUNDS];
    uint64_t number = 0;
    for (int round = 0; round < ROUNDS; round++) {
        char name[32];
        struct fake *fake = &fakes[round];
        struct ring_geometry geometry = fake_geometry(1, RING_CAPACITY_MIN, 0);
        snprintf(name, sizeof name, "name %d", round);
        fake_connect(fake, name, &geometry);
        fake->hello.sequence[0] = number + 1;
        fake_say_hello(fake);
        if (round % 3 == 0)
            CHECK_STATUS(fake_await_answer(fake), MR_OK); /* else it is perhaps still in the listener's queue */
        for (int i = 0; i < EACH; i++, number++)
            CHECK(fake_send(fake, MR_NORMAL, &number, sizeof number));
        if (round % 4 == 0)
            fake_close(fake); /* else its writer lives on, and is told */
        snprintf(name, sizeof name, "name %d", round + 1);
        CHECK_STATUS(mr_reader_rename(place.reader, name), MR_OK);
        if (round % 7 == 0)
            counter_await(&place.seen.got, number);
    }
    counter_await(&place.seen.got, number);
    for (int round = 0; round < ROUNDS; round++) {
        if (round % 4 == 0)
            continue;
        fake_await_end(&fakes[round]);
        fake_close(&fakes[round]);
    }
    place_end(&place);
}

struct flood {
    struct fake fake;
    _Atomic bool stop;
};

static void flood_run(void *argument)
{
    struct flood *flood = argument;
    while (!atomic_load(&flood->stop)) {
        if (!fake_send(&flood->fake, MR_NORMAL, "flood", 5))
            (void) ring_refresh(&flood->fake.rings[0]);
    }
}

static void flood_patiently(void *argument)
{
    struct flood *flood = argument;
    while (!atomic_load(&flood->stop))
        fake_send_waiting(&flood->fake, MR_NORMAL, "flood", 5);
}

static void see_slowly(mr_reader *reader, const mr_message *message, void *context)
{
    (void) reader;
    (void) message;
    (void) context;
    usleep(1000);
}

/* What it said is not forgotten because what it says later, before its turn, is in order. */
TEST(lane, a_violation_is_not_forgiven)
{
    enum { FLOODS = 4 };
    struct place place;
    mr_reader_options options = place_options(&place);
    options.on_message = see_slowly;
    place.reader = slots_reader("ring", &options);
    struct ring_geometry geometry = fake_geometry(1, RING_CAPACITY_MIN, 0);
    struct flood floods[FLOODS];
    thread runners[FLOODS];
    struct fake evil;
    int ends[2], memory;
    CHECK_EQ(pipe(ends), 0);
    CHECK_STATUS(ring_large_make("large", 5, &memory), MR_OK);
    for (int i = 0; i < FLOODS; i++) {
        atomic_init(&floods[i].stop, false);
        fake_connect(&floods[i].fake, "ring", &geometry);
        fake_say_hello(&floods[i].fake);
        CHECK_STATUS(fake_await_answer(&floods[i].fake), MR_OK);
        CHECK_STATUS(thread_start(&runners[i], "flood", flood_patiently, &floods[i]), MR_OK);
    }
    fake_open(&evil, "ring", 2);
    CHECK_STATUS(fake_await_answer(&evil), MR_OK);
    struct ring_large packet = {.sequence = 100, .length = 5};
    ring_packet_init(&packet.packet, PACKET_LARGE, 0);
    CHECK_STATUS(ring_packet_send(evil.socket, &packet, sizeof packet, ends[0]), MR_OK);
    packet.sequence = 0;
    for (int status = MR_OK; status != MR_E_GONE;) {
        int unread = 0;
        usleep(300); /* one or two for each look */
        CHECK_EQ(ioctl(evil.socket, TIOCOUTQ, &unread), 0);
        if (unread < 2000)
            status = ring_packet_send(evil.socket, &packet, sizeof packet, memory);
    }
    CHECK_EQ(slots_statistics(place.reader).violations, 1);
    for (int i = 0; i < FLOODS; i++) {
        atomic_store(&floods[i].stop, true);
        thread_join(runners[i]);
        fake_close(&floods[i].fake);
    }
    close(ends[0]);
    close(ends[1]);
    close(memory);
    fake_close(&evil);
    uint64_t lost;
    (void) mr_reader_close(place.reader, &lost); /* what the floods have left */
    CHECK_STATUS(mr_port_close(place.port), MR_OK);
}

/* Reads by calls: who was silent is heard again, however busy another one keeps the reader. */
TEST(lane, a_flood_hides_nobody_from_a_reader_that_calls)
{
    enum { ROUNDS = 10, SILENCE = 50000, PATIENCE = 1000000 };
    struct place place;
    mr_reader_options options = place_options(&place);
    options.port = NULL;
    options.on_message = NULL;
    place.reader = slots_reader("ring", &options);
    struct flood flood;
    struct fake other;
    thread runner;
    char text[16];
    size_t length;
    atomic_init(&flood.stop, false);
    fake_open(&flood.fake, "ring", 2);
    fake_open(&other, "ring", 2);
    CHECK_STATUS(mr_reader_read(place.reader, text, sizeof text, &length, 0), MR_E_TIMEOUT);
    CHECK_STATUS(fake_await_answer(&flood.fake), MR_OK);
    CHECK_STATUS(fake_await_answer(&other), MR_OK);
    CHECK_STATUS(thread_start(&runner, "flood", flood_run, &flood), MR_OK);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < SILENCE; i++)
            CHECK_STATUS(mr_reader_read(place.reader, text, sizeof text, &length, MR_FOREVER), MR_OK);
        fake_text(&other, MR_NORMAL, "other");
        for (int i = 0; text[0] != 'o'; i++) {
            CHECK(i < PATIENCE);
            CHECK_STATUS(mr_reader_read(place.reader, text, sizeof text, &length, MR_FOREVER), MR_OK);
        }
    }
    atomic_store(&flood.stop, true);
    thread_join(runner);
    fake_close(&flood.fake);
    fake_close(&other);
    uint64_t lost;
    (void) mr_reader_close(place.reader, &lost); /* what the flood has left */
    CHECK_STATUS(mr_port_close(place.port), MR_OK);
}

TEST(names, a_flood_to_the_old_name_keeps_nothing)
{
    struct place place;
    mr_reader_options options = place_options(&place);
    place.reader = slots_reader("ring", &options);
    struct flood flood;
    thread runner;
    atomic_init(&flood.stop, false);
    fake_open(&flood.fake, "ring", 1);
    CHECK_STATUS(fake_await_answer(&flood.fake), MR_OK);
    CHECK_EQ(thread_start(&runner, "flood", flood_run, &flood), 0);
    counter_await(&place.seen.got, 1000);
    CHECK_STATUS(mr_reader_rename(place.reader, "other"), MR_OK);
    fake_await_end(&flood.fake); /* while it floods on */
    struct fake new;
    fake_open(&new, "other", 1);
    CHECK_STATUS(fake_await_answer(&new), MR_OK);
    fake_text(&new, MR_NORMAL, "new");
    fake_await_taken(&new, MR_NORMAL);
    atomic_store(&flood.stop, true);
    thread_join(runner);
    place_end(&place);
    fake_close(&new);
    fake_close(&flood.fake);
}

TEST(names, closing_loses_nothing_of_a_living_writer_and_counts_a_dead_ones)
{
    struct place place;
    mr_reader_options options = place_options(&place);
    options.port = NULL;
    options.on_message = NULL;
    place.reader = slots_reader("ring", &options);
    struct fake living, dead;
    fake_open(&living, "ring", 1);
    fake_open(&dead, "ring", 1);
    char text[32];
    size_t length;
    CHECK_STATUS(mr_reader_read(place.reader, text, sizeof text, &length, 0), MR_E_TIMEOUT);
    for (int i = 0; i < 5; i++) {
        fake_text(&living, MR_NORMAL, "living");
        fake_text(&dead, MR_NORMAL, "dead");
    }
    fake_close(&dead);
    uint64_t lost = 0;
    CHECK_STATUS(mr_reader_close(place.reader, &lost), MR_E_UNREAD);
    CHECK_EQ(lost, 5);
    fake_await_end(&living);
    CHECK_EQ(atomic_load(&living.rings[0].control->head), 0);
    fake_close(&living);
    CHECK_STATUS(mr_port_close(place.port), MR_OK);
    CHECK_EQ(ring_ceiling_taken(), 0);
}

/* ---- many ---- */

#define IDLE 500

TEST_TIMEOUT(many, five_hundred_idle_writers_come_and_go, 120)
{
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max < 4000 ? limit.rlim_max : 4000;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < 4000)
        TEST_SKIP("the limit of open files is too low (ulimit -Hn)");
    struct place place;
    place_begin(&place);
    size_t before = slots_descriptors();
    struct fake *fakes = calloc(IDLE, sizeof *fakes);
    CHECK(fakes != NULL);
    for (int i = 0; i < IDLE; i++) {
        fake_open(&fakes[i], "ring", 2);
        CHECK_STATUS(fake_await_answer(&fakes[i]), MR_OK);
    }
    CHECK_EQ(slots_statistics(place.reader).rings, IDLE);
    uint64_t got = 0;
    for (int i = 0; i < IDLE; i += 7) { /* any of them wakes it */
        fake_text(&fakes[i], (uint32_t) i % 2, "x");
        counter_await(&place.seen.got, ++got);
    }
    for (int i = 0; i < IDLE; i++)
        fake_close(&fakes[i]);
    await_connections(place.reader, 0);
    slots_await_descriptors(before);
    CHECK_EQ(ring_ceiling_taken(), 0);
    free(fakes);
    place_end(&place);
}
