/* test_ring_link.c: the writing end of slots/backend.h over the ring, with a reader at the other end that is made of
 * ring.h and ring_hello_linux.h, and does what each test wants of it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "slot_support_linux.h"
#include "slots/backend.h"
#include "slots/rendezvous_linux.h"
#include "slots/ring_barrier_linux.h"
#include "slots/ring_hello_linux.h"
#include "writer_common.h"

#define LEVELS 2u

/* ---- the reader ---- */

static struct rendezvous *slot_claim(const char *text, uint64_t max_message)
{
    struct slot_name name;
    CHECK_STATUS(name_parse(&name, text), MR_OK);
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    struct access_rule rule = {0};
    CHECK_STATUS(access_rule_init(&rule, &options), MR_OK);
    struct rendezvous *rendezvous;
    CHECK_STATUS(rendezvous_claim(&rendezvous, &name, &rule, max_message), MR_OK);
    access_rule_clear(&rule);
    statistics_page_publish(rendezvous_page(rendezvous), &(struct slot_figures){.max_message = max_message});
    return rendezvous;
}

/* One session, from the reader's side. */
struct peer {
    int socket;
    int doorbell;
    struct ring_hello hello;
    void *memory;
    struct ring_reader ring[LEVELS];
    uint64_t sequence[LEVELS]; /* of the next record */
};

static void peer_accept(struct peer *peer, struct rendezvous *rendezvous)
{
    *peer = (struct peer){.doorbell = -1};
    peer->socket = accept4(rendezvous_listener(rendezvous, RENDEZVOUS_RING), NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    CHECK_MSG(peer->socket >= 0, "accept: %s", strerror(errno));
    union ring_any_packet packet;
    int memory;
    CHECK_STATUS(ring_packet_receive(peer->socket, &packet, &memory), MR_OK);
    CHECK_EQ(packet.packet.type, PACKET_HELLO);
    peer->hello = packet.hello;
    CHECK(peer->hello.writer != 0);
    CHECK_EQ(peer->hello.geometry.levels, LEVELS);
    CHECK_STATUS(ring_memory_take(&peer->hello.geometry, memory, &peer->memory), MR_OK);
    close(memory);
    for (uint32_t level = 0; level < LEVELS; level++) {
        ring_reader_init(&peer->ring[level], peer->memory, &peer->hello.geometry, level);
        peer->sequence[level] = peer->hello.sequence[level];
    }
}

static void peer_send(struct peer *peer, enum ring_packet_type type)
{
    struct ring_packet packet;
    ring_packet_init(&packet, type, 0);
    CHECK_STATUS(ring_packet_send(peer->socket, &packet, sizeof packet, -1), MR_OK);
}

static void peer_answer(struct peer *peer, int status, uint64_t ring_bytes, uint64_t max_message, uint32_t flags)
{
    struct ring_answer answer = {
        .status = status, .levels = LEVELS, .max_message = max_message, .ring_bytes = ring_bytes};
    ring_packet_init(&answer.packet, PACKET_ANSWER, flags);
    if (status == MR_OK)
        peer->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK_STATUS(ring_packet_send(peer->socket, &answer, sizeof answer, peer->doorbell), MR_OK);
}

static void peer_welcome(struct peer *peer)
{
    peer_answer(peer, MR_OK, 0, MR_MESSAGE_MAX_DEFAULT, ring_barrier_prepare() ? RING_FLAG_BARRIER : 0);
}

static bool peer_rung(const struct peer *peer)
{
    uint64_t count;
    return read(peer->doorbell, &count, sizeof count) == sizeof count;
}

/* As a reader that is killed: what it has mapped goes as well, unless it is only frozen. */
static void peer_die(struct peer *peer)
{
    close(peer->socket);
    if (peer->doorbell >= 0)
        close(peer->doorbell);
    ring_memory_free(&peer->hello.geometry, peer->memory);
    peer->memory = NULL;
}

struct got {
    enum ring_kind kind;
    size_t length;
    uint64_t number;
    uint64_t sequence;
    bool redelivered;
    char data[70000];
};

/* Takes the next record of the level; false: there is none. */
static bool peer_take(struct peer *peer, uint32_t level, struct got *got)
{
    struct ring_reader *ring = &peer->ring[level];
    struct ring_record record;
    enum ring_look look = ring_peek(ring, &record);
    CHECK(look != RING_VIOLATION);
    if (look == RING_NOTHING)
        return false;
    got->kind = record.kind;
    got->length = record.length;
    got->number = record.number;
    got->sequence = peer->sequence[level];
    got->redelivered = ring->position < peer->hello.redelivered[level];
    if (record.kind == RING_DATA) {
        CHECK(record.length < sizeof got->data);
        memcpy(got->data, record.payload, record.length);
        got->data[record.length] = '\0';
    }
    peer->sequence[level] += record.kind == RING_GAP ? record.number : 1;
    ring_hand(ring, record.end);
    ring_advance(ring, record.end);
    return true;
}

/* Acknowledges what was taken. True: the writer is to be told. */
static bool peer_acknowledge(struct peer *peer, uint32_t level)
{
    ring_release(&peer->ring[level], peer->ring[level].position);
    return ring_release_look(&peer->ring[level], peer->ring[level].position);
}

static void peer_expect(struct peer *peer, uint32_t level, const char *text, uint64_t sequence, bool redelivered)
{
    static struct got got;
    CHECK_MSG(peer_take(peer, level, &got), "nothing instead of \"%s\"", text);
    CHECK_EQ(got.kind, RING_DATA);
    CHECK_STR(got.data, text);
    CHECK_EQ(got.length, strlen(text));
    CHECK_EQ(got.sequence, sequence);
    CHECK_EQ(got.redelivered, redelivered);
}

static void peer_expect_nothing(struct peer *peer, uint32_t level)
{
    static struct got got;
    CHECK(!peer_take(peer, level, &got));
}

/* Takes everything of the level, numbers from `next` on; returns the next. */
static uint64_t peer_take_numbers(struct peer *peer, uint32_t level, uint64_t next)
{
    static struct got got;
    while (peer_take(peer, level, &got)) {
        uint64_t number;
        CHECK_EQ(got.kind, RING_DATA);
        CHECK(got.length >= sizeof number);
        memcpy(&number, got.data, sizeof number);
        CHECK_EQ(number, next);
        CHECK_EQ(got.sequence, next);
        next++;
    }
    return next;
}

/* ---- the writer ---- */

static slot_link *link_make_with(const mr_writer_options *wishes)
{
    struct slot_name name;
    CHECK_STATUS(name_parse(&name, "link"), MR_OK);
    mr_writer_options options = *wishes;
    options.lane = MR_LANE_RING;
    options.levels = LEVELS;
    slot_link *l;
    CHECK_STATUS(link_open(&l, &(struct link_config){.name = &name, .options = &options}), MR_OK);
    CHECK(link_acknowledges(l));
    return l;
}

static slot_link *link_make(void)
{
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    return link_make_with(&options);
}

static int send_text(slot_link *l, const char *text, uint32_t level)
{
    return link_send(l, text, strlen(text), level);
}

static int send_number(slot_link *l, uint64_t number, size_t length)
{
    static char data[70000];
    memcpy(data, &number, sizeof number);
    return link_send(l, data, length, 0);
}

/* Sends numbers of `length` bytes until there is no room; returns the next one. */
static uint64_t send_until_full(slot_link *l, uint64_t next, size_t length)
{
    int status;
    while ((status = send_number(l, next, length)) == MR_OK)
        next++;
    CHECK_STATUS(status, MR_E_FULL);
    return next;
}

/* A link, its slot, and a session that has been accepted. */
struct pair {
    struct rendezvous *rendezvous;
    slot_link *link;
    struct peer peer;
};

static void pair_make_with(struct pair *pair, const mr_writer_options *options)
{
    slots_begin();
    pair->rendezvous = slot_claim("link", MR_MESSAGE_MAX_DEFAULT);
    pair->link = link_make_with(options);
    CHECK_STATUS(link_connect(pair->link, 0), MR_OK);
    peer_accept(&pair->peer, pair->rendezvous);
    peer_welcome(&pair->peer);
}

static void pair_make(struct pair *pair)
{
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    pair_make_with(pair, &options);
}

static void pair_end(struct pair *pair)
{
    link_close(pair->link, false);
    if (pair->peer.memory != NULL)
        peer_die(&pair->peer);
    rendezvous_release(pair->rendezvous, false);
}

/* Has the link look at its socket. */
static void link_look(slot_link *l)
{
    struct link_mark mark;
    link_mark(l, &mark);
    (void) link_passed(l, &mark);
}

/* The reader dies, and the link notices. */
static void pair_kill(struct pair *pair)
{
    peer_die(&pair->peer);
    link_look(pair->link);
    CHECK(!link_connected(pair->link));
}

static void pair_again(struct pair *pair)
{
    CHECK_STATUS(link_connect(pair->link, 0), MR_OK);
    peer_accept(&pair->peer, pair->rendezvous);
    peer_welcome(&pair->peer);
}

/* ---- beginning ---- */

TEST(ring_link, nothing_is_mapped_and_no_bound_is_known_before_a_slot_is_live)
{
    slots_begin();
    slot_link *l = link_make();
    CHECK_STATUS(link_connect(l, 0), MR_E_NO_SLOT);
    CHECK(!link_connected(l));
    CHECK_EQ(link_max_message(l), 0);
    CHECK_STATUS(send_text(l, "x", 0), MR_E_GONE);
    struct link_counts counts;
    link_get_counts(l, &counts);
    CHECK_EQ(counts.ring_bytes, 0);
    CHECK_EQ(link_unacknowledged(l), 0);
    struct rendezvous *rendezvous = slot_claim("link", 1000);
    CHECK_STATUS(link_connect(l, 0), MR_OK);
    CHECK_STATUS(link_connect(l, 0), MR_OK);
    CHECK_EQ(link_max_message(l), 1000); /* of the page */
    link_get_counts(l, &counts);
    CHECK_EQ(counts.ring_bytes, (4 + 256 + 64) << 10);
    link_close(l, false);
    rendezvous_release(rendezvous, false);
}

TEST(ring_link, other_lanes_and_ring_sizes_are_refused_with_a_sentence)
{
    struct slot_name name;
    slot_link *l;
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    struct link_config config = {.name = &name, .options = &options};
    CHECK_STATUS(name_parse(&name, "link"), MR_OK);
    options.levels = LEVELS;
    options.lane = MR_LANE_NATIVE;
    CHECK_STATUS(link_open(&l, &config), MR_E_ARGUMENT);
    CHECK(strstr(mr_last_error_text(), "ring") != NULL);
    options.lane = MR_LANE_REMOTE;
    CHECK_STATUS(link_open(&l, &config), MR_E_ARGUMENT);
    options.lane = MR_LANE_RING;
    options.ring_bytes = 100000;
    CHECK_STATUS(link_open(&l, &config), MR_E_ARGUMENT);
    options.ring_bytes = 8 << 10;
    CHECK_STATUS(link_open(&l, &config), MR_E_ARGUMENT);
    options.ring_bytes = 16 << 10;
    CHECK_STATUS(link_open(&l, &config), MR_OK);
    link_close(l, false);
}

TEST(ring_link, messages_may_be_committed_before_the_slot_has_looked)
{
    slots_begin();
    struct rendezvous *rendezvous = slot_claim("link", MR_MESSAGE_MAX_DEFAULT);
    slot_link *l = link_make();
    CHECK_STATUS(link_connect(l, 0), MR_OK);
    CHECK_STATUS(send_text(l, "one", 0), MR_OK);
    CHECK_STATUS(send_text(l, "soon", 1), MR_OK);
    CHECK_STATUS(send_text(l, "", 0), MR_OK);
    CHECK_EQ(link_unacknowledged(l), 3);
    struct peer peer;
    peer_accept(&peer, rendezvous);
    CHECK_EQ(peer.hello.geometry.capacity[0], 256 << 10);
    CHECK_EQ(peer.hello.geometry.capacity[1], 64 << 10);
    CHECK_EQ(peer.hello.sequence[0], 1);
    CHECK_EQ(peer.hello.redelivered[0], 0);
    peer_expect(&peer, 1, "soon", 1, false);
    peer_expect(&peer, 0, "one", 1, false);
    peer_expect(&peer, 0, "", 2, false);
    peer_expect_nothing(&peer, 0);
    peer_welcome(&peer);
    CHECK_STATUS(send_text(l, "two", 0), MR_OK);
    CHECK(peer_rung(&peer)); /* once when the answer comes */
    peer_expect(&peer, 0, "two", 3, false);
    peer_die(&peer);
    link_close(l, false);
    rendezvous_release(rendezvous, false);
}

TEST(ring_link, until_the_answer_a_reader_has_little_to_take_at_most)
{
    slots_begin();
    struct rendezvous *rendezvous = slot_claim("link", MR_MESSAGE_MAX_DEFAULT);
    slot_link *l = link_make();
    CHECK_STATUS(link_connect(l, 0), MR_OK);
    uint64_t next = send_until_full(l, 1, 1000);
    CHECK_EQ(next - 1, RING_FIRST_BYTES / 1008);
    CHECK_STATUS(link_wait(l, clock_deadline(20)), MR_E_TIMEOUT);
    struct peer peer;
    peer_accept(&peer, rendezvous);
    peer_welcome(&peer);
    CHECK_STATUS(link_wait(l, clock_deadline(LONG_MS)), MR_OK); /* the answer brings room */
    next = send_until_full(l, next, 1000);
    CHECK(next - 1 >= (256u << 10) / 1008 - 1);
    CHECK_EQ(peer_take_numbers(&peer, 0, 1), next);
    peer_die(&peer);
    link_close(l, false);
    rendezvous_release(rendezvous, false);
}

TEST(ring_link, a_sleeping_reader_is_rung_for_once_for_each_sleep)
{
    for (unsigned refuse = 0; refuse < 4; refuse++) { /* barriers on both sides, on one, on none */
        struct pair pair;
        struct link_counts before, after;
        ring_barrier_refuse((refuse & 1) != 0);
        slots_begin();
        pair.rendezvous = slot_claim("link", MR_MESSAGE_MAX_DEFAULT);
        pair.link = link_make();
        CHECK_STATUS(link_connect(pair.link, 0), MR_OK);
        peer_accept(&pair.peer, pair.rendezvous);
        ring_barrier_refuse(false);
        bool works = ring_barrier_prepare();
        CHECK_EQ((pair.peer.hello.packet.flags & RING_FLAG_BARRIER) != 0, works && (refuse & 1) == 0);
        peer_answer(&pair.peer, MR_OK, 0, 1000, works && (refuse & 2) == 0 ? RING_FLAG_BARRIER : 0);
        CHECK_STATUS(send_text(pair.link, "x", 0), MR_OK);
        CHECK_STATUS(send_text(pair.link, "x", 0), MR_OK);
        CHECK(!peer_rung(&pair.peer)); /* it has never slept */
        link_get_counts(pair.link, &before);
        for (unsigned n = 0; n < 100; n++) {
            struct ring_reader *ring = &pair.peer.ring[0];
            static struct got got;
            while (peer_take(&pair.peer, 0, &got)) {}
            (void) peer_acknowledge(&pair.peer, 0);
            ring_arm(ring);
            CHECK(ring_arm_look(ring));
            CHECK(!peer_rung(&pair.peer));
            CHECK_STATUS(send_text(pair.link, "x", 0), MR_OK);
            CHECK(peer_rung(&pair.peer));
            CHECK_STATUS(send_text(pair.link, "x", 0), MR_OK);
            CHECK(!peer_rung(&pair.peer));
        }
        link_get_counts(pair.link, &after);
        CHECK_EQ(after.doorbells - before.doorbells, 100);
        pair_end(&pair);
    }
}

TEST(ring_link, a_reader_that_arms_before_its_answer_is_rung_for_when_the_answer_comes)
{
    slots_begin();
    struct rendezvous *rendezvous = slot_claim("link", MR_MESSAGE_MAX_DEFAULT);
    slot_link *l = link_make();
    CHECK_STATUS(link_connect(l, 0), MR_OK);
    struct peer peer;
    peer_accept(&peer, rendezvous);
    ring_arm(&peer.ring[0]);
    CHECK_STATUS(send_text(l, "x", 0), MR_OK); /* nothing to ring with */
    peer_welcome(&peer);
    CHECK_STATUS(send_text(l, "y", 0), MR_OK);
    CHECK(peer_rung(&peer));
    peer_die(&peer);
    link_close(l, false);
    rendezvous_release(rendezvous, false);
}

TEST(ring_link, the_answers_bound_counts_and_a_message_above_it_leaves_the_session_alone)
{
    slots_begin();
    struct rendezvous *rendezvous = slot_claim("link", MR_MESSAGE_MAX_DEFAULT);
    slot_link *l = link_make();
    CHECK_STATUS(link_connect(l, 0), MR_OK);
    struct peer peer;
    peer_accept(&peer, rendezvous);
    peer_answer(&peer, MR_OK, 0, 1000, 0);
    CHECK_STATUS(send_number(l, 1, 1000), MR_OK);
    CHECK_EQ(link_max_message(l), 1000);
    CHECK_STATUS(send_number(l, 2, 1001), MR_E_TOO_BIG);
    CHECK(link_connected(l));
    CHECK_STATUS(send_number(l, 2, 1000), MR_OK);
    CHECK_EQ(peer_take_numbers(&peer, 0, 1), 3);
    peer_die(&peer);
    link_close(l, false);
    rendezvous_release(rendezvous, false);
}

/* ---- refusals ---- */

TEST(ring_link, a_refused_writer_is_told_and_from_then_on_asks_first)
{
    slots_begin();
    struct rendezvous *rendezvous = slot_claim("link", MR_MESSAGE_MAX_DEFAULT);
    slot_link *l = link_make();
    CHECK_STATUS(link_connect(l, 0), MR_OK);
    CHECK_STATUS(send_text(l, "early", 0), MR_OK);
    struct peer peer;
    peer_accept(&peer, rendezvous);
    peer_answer(&peer, MR_E_ACCESS, 0, 0, 0);
    peer_die(&peer);
    CHECK_STATUS(send_text(l, "x", 0), MR_E_ACCESS);
    CHECK(strstr(mr_last_error_text(), "link") != NULL);
    CHECK(!link_connected(l));
    CHECK_STATUS(send_text(l, "x", 0), MR_E_ACCESS);
    CHECK_EQ(link_unacknowledged(l), 1);
    CHECK_STATUS(link_connect(l, 0), MR_E_TIMEOUT); /* the answer has not come */
    CHECK(!link_connected(l));
    peer_accept(&peer, rendezvous);
    peer_answer(&peer, MR_E_ACCESS, 0, 0, 0);
    peer_die(&peer);
    CHECK_STATUS(link_connect(l, clock_deadline(LONG_MS)), MR_E_ACCESS);
    CHECK_STATUS(link_connect(l, 0), MR_E_TIMEOUT);
    peer_accept(&peer, rendezvous);
    peer_welcome(&peer);
    CHECK_STATUS(link_connect(l, clock_deadline(LONG_MS)), MR_OK);
    CHECK_STATUS(send_text(l, "late", 0), MR_OK);
    peer_expect(&peer, 0, "early", 1, false);
    peer_expect(&peer, 0, "late", 2, false);
    peer_die(&peer);
    link_look(l);
    CHECK_STATUS(send_text(l, "x", 0), MR_E_GONE);
    link_close(l, false);
    rendezvous_release(rendezvous, false);
}

TEST(ring_link, a_smaller_ring_is_offered_when_the_reader_has_no_more)
{
    slots_begin();
    struct rendezvous *rendezvous = slot_claim("link", MR_MESSAGE_MAX_DEFAULT);
    slot_link *l = link_make();
    CHECK_STATUS(link_connect(l, 0), MR_OK);
    uint64_t next = send_until_full(l, 1, 30000); /* more than a quarter of what comes */
    CHECK_EQ(next, 3);
    struct peer peer;
    peer_accept(&peer, rendezvous);
    peer_answer(&peer, MR_E_FULL, 100000, 0, 0);
    peer_die(&peer);
    CHECK_STATUS(send_number(l, next, 8), MR_E_GONE);
    CHECK_STATUS(link_connect(l, 0), MR_OK);
    peer_accept(&peer, rendezvous);
    CHECK_EQ(peer.hello.geometry.capacity[0], 64 << 10);
    CHECK_EQ(peer.hello.geometry.capacity[1], 64 << 10);
    peer_welcome(&peer);
    CHECK_STATUS(send_number(l, 3, 8), MR_OK);
    static struct got got;
    for (uint64_t n = 1; n <= 2; n++) { /* the two are large ones now */
        union ring_any_packet packet;
        int file;
        static char data[30000];
        CHECK_STATUS(ring_packet_receive(peer.socket, &packet, &file), MR_OK);
        CHECK_EQ(packet.packet.type, PACKET_LARGE);
        CHECK_EQ(packet.large.sequence, n);
        CHECK_EQ(packet.large.length, 30000);
        CHECK_STATUS(ring_large_read(file, data, sizeof data), MR_OK);
        CHECK_MEM(data, &n, sizeof n);
        close(file);
        CHECK(peer_take(&peer, 0, &got));
        CHECK_EQ(got.kind, RING_LARGE);
        CHECK_EQ(got.number, 30000);
    }
    CHECK_EQ(peer_take_numbers(&peer, 0, 3), 4);
    peer_die(&peer);
    link_close(l, false);
    rendezvous_release(rendezvous, false);
}

TEST(ring_link, a_reader_without_a_place_is_asked_again_after_a_while)
{
    slots_begin();
    struct rendezvous *rendezvous = slot_claim("link", MR_MESSAGE_MAX_DEFAULT);
    slot_link *l = link_make();
    CHECK_STATUS(link_connect(l, 0), MR_OK);
    CHECK_STATUS(send_text(l, "x", 0), MR_OK);
    struct peer peer;
    for (unsigned n = 0; n < 3; n++) {
        peer_accept(&peer, rendezvous);
        peer_answer(&peer, MR_E_FULL, 0, 0, 0);
        peer_die(&peer);
        CHECK_STATUS(send_text(l, "y", 0), MR_E_GONE); /* the refusal is seen */
        CHECK_STATUS(link_connect(l, 0), MR_E_TIMEOUT);
        CHECK_MSG(accept(rendezvous_listener(rendezvous, RENDEZVOUS_RING), NULL, NULL) < 0, "at once, time %u", n);
        uint64_t begin = clock_now();
        CHECK_STATUS(link_connect(l, begin + (100u << n) * MS), MR_E_TIMEOUT); /* no answer in that time */
        CHECK(elapsed_ms(begin) >= 100u << n);
    }
    peer_accept(&peer, rendezvous);
    peer_welcome(&peer);
    CHECK_STATUS(link_connect(l, clock_deadline(LONG_MS)), MR_OK);
    peer_expect(&peer, 0, "x", 1, false);
    peer_die(&peer);
    link_close(l, false);
    rendezvous_release(rendezvous, false);
}

/* ---- waiting ---- */

struct waiter {
    slot_link *link;
    const struct link_mark *mark;
    int status;
    _Atomic bool done;
    thread thread;
};

static void waiter_run(void *argument)
{
    struct waiter *waiter = argument;
    waiter->status = waiter->mark != NULL ? link_await(waiter->link, waiter->mark, CLOCK_NEVER)
                                          : link_wait(waiter->link, CLOCK_NEVER);
    atomic_store_explicit(&waiter->done, true, memory_order_release);
}

/* As a reader does: takes, acknowledges and tells, until the waiter has what it waits for. Returns the next number. */
static uint64_t peer_serve(struct peer *peer, struct waiter *waiter, uint64_t next)
{
    while (!atomic_load_explicit(&waiter->done, memory_order_acquire)) {
        next = peer_take_numbers(peer, 0, next);
        if (peer_acknowledge(peer, 0))
            peer_send(peer, PACKET_REACHED);
    }
    thread_join(waiter->thread);
    CHECK_STATUS(waiter->status, MR_OK);
    return next;
}

static void wait_for_room(bool refuse, uint32_t spin_us)
{
    struct pair pair;
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.spin_us = spin_us;
    options.ring_bytes = 16 << 10;
    ring_barrier_refuse(refuse);
    pair_make_with(&pair, &options);
    uint64_t sent = 1, taken = 1;
    for (unsigned n = 0; n < 200; n++) {
        sent = send_until_full(pair.link, sent, 64);
        if (n % 50 == 0)
            CHECK_STATUS(link_wait(pair.link, clock_deadline(20)), MR_E_TIMEOUT);
        struct waiter waiter = {.link = pair.link};
        CHECK_STATUS(thread_start(&waiter.thread, "waiter", waiter_run, &waiter), MR_OK);
        taken = peer_serve(&pair.peer, &waiter, taken);
        CHECK_EQ(taken, sent);
    }
    ring_barrier_refuse(false);
    pair_end(&pair);
}

TEST(ring_link, a_full_ring_is_waited_for_with_barriers)
{
    wait_for_room(false, 0);
}

TEST(ring_link, a_full_ring_is_waited_for_without_barriers)
{
    wait_for_room(true, 0);
}

TEST(ring_link, a_full_ring_is_spun_for)
{
    wait_for_room(false, 200);
}

TEST(ring_link, a_wait_is_ended_by_link_wake_before_or_during_it)
{
    struct pair pair;
    pair_make(&pair);
    (void) send_until_full(pair.link, 1, 4000);
    link_wake(pair.link);
    CHECK_STATUS(link_wait(pair.link, CLOCK_NEVER), MR_OK);
    CHECK_STATUS(link_wait(pair.link, clock_deadline(20)), MR_E_TIMEOUT);
    for (unsigned n = 0; n < 300; n++) {
        struct waiter waiter = {.link = pair.link};
        CHECK_STATUS(thread_start(&waiter.thread, "waiter", waiter_run, &waiter), MR_OK);
        link_wake(pair.link);
        thread_join(waiter.thread);
        CHECK_STATUS(waiter.status, MR_OK);
    }
    pair_end(&pair);
}

TEST(ring_link, a_wait_ends_when_the_reader_goes)
{
    struct pair pair;
    pair_make(&pair);
    uint64_t next = send_until_full(pair.link, 1, 4000);
    struct waiter waiter = {.link = pair.link};
    CHECK_STATUS(thread_start(&waiter.thread, "waiter", waiter_run, &waiter), MR_OK);
    peer_die(&pair.peer);
    thread_join(waiter.thread);
    CHECK_STATUS(waiter.status, MR_OK);
    CHECK_STATUS(send_text(pair.link, "x", 0), MR_E_GONE);
    CHECK_EQ(link_unacknowledged(pair.link), next - 1);
    pair_end(&pair);
}

/* ---- marks ---- */

TEST(ring_link, a_mark_is_passed_when_everything_before_it_is_acknowledged)
{
    struct pair pair;
    struct link_mark none, mark;
    pair_make(&pair);
    link_mark(pair.link, &none);
    CHECK(link_passed(pair.link, &none));
    CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
    CHECK_STATUS(send_text(pair.link, "b", 1), MR_OK);
    link_mark(pair.link, &mark);
    CHECK_STATUS(send_text(pair.link, "c", 0), MR_OK);
    CHECK(!link_passed(pair.link, &mark));
    CHECK_STATUS(link_await(pair.link, &mark, clock_deadline(20)), MR_E_TIMEOUT);
    peer_expect(&pair.peer, 0, "a", 1, false);
    CHECK(peer_acknowledge(&pair.peer, 0)); /* it was asked for */
    peer_send(&pair.peer, PACKET_REACHED);
    CHECK_EQ(link_unacknowledged(pair.link), 3); /* as far as the link has looked */
    CHECK(!link_passed(pair.link, &mark));
    CHECK_EQ(link_unacknowledged(pair.link), 2);
    CHECK_STATUS(link_await(pair.link, &mark, clock_deadline(20)), MR_E_TIMEOUT);
    struct waiter waiter = {.link = pair.link, .mark = &mark};
    CHECK_STATUS(thread_start(&waiter.thread, "waiter", waiter_run, &waiter), MR_OK);
    peer_expect(&pair.peer, 1, "b", 1, false);
    CHECK(peer_acknowledge(&pair.peer, 1));
    peer_send(&pair.peer, PACKET_REACHED);
    thread_join(waiter.thread);
    CHECK_STATUS(waiter.status, MR_OK);
    CHECK(link_passed(pair.link, &mark));
    CHECK_EQ(link_unacknowledged(pair.link), 1);
    pair_end(&pair);
}

TEST(ring_link, a_mark_of_an_older_session_is_passed_with_what_was_taken_over)
{
    struct pair pair;
    struct link_mark mark, between;
    pair_make(&pair);
    CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
    link_mark(pair.link, &mark);
    pair_kill(&pair);
    CHECK(!link_passed(pair.link, &mark));
    CHECK_STATUS(link_keep(pair.link, "b", 1, 0), MR_OK);
    link_mark(pair.link, &between);
    pair_again(&pair);
    CHECK_STATUS(send_text(pair.link, "c", 0), MR_OK);
    CHECK(!link_passed(pair.link, &mark));
    peer_expect(&pair.peer, 0, "a", 1, false);
    (void) peer_acknowledge(&pair.peer, 0);
    CHECK(!link_passed(pair.link, &between));
    peer_expect(&pair.peer, 0, "b", 2, false);
    (void) peer_acknowledge(&pair.peer, 0);
    CHECK(link_passed(pair.link, &mark));
    CHECK(link_passed(pair.link, &between));
    CHECK_EQ(link_unacknowledged(pair.link), 1);
    pair_end(&pair);
}

/* ---- the reader dies ---- */

TEST(ring_link, a_killed_readers_messages_go_to_the_next_one_and_say_so)
{
    struct pair pair;
    pair_make(&pair);
    uint64_t writer = pair.peer.hello.writer;
    CHECK_STATUS(send_text(pair.link, "acknowledged", 0), MR_OK);
    CHECK_STATUS(send_text(pair.link, "handed", 0), MR_OK);
    CHECK_STATUS(send_text(pair.link, "waiting", 0), MR_OK);
    CHECK_STATUS(send_text(pair.link, "urgent", 1), MR_OK);
    peer_expect(&pair.peer, 0, "acknowledged", 1, false);
    (void) peer_acknowledge(&pair.peer, 0);
    peer_expect(&pair.peer, 0, "handed", 2, false);
    pair_kill(&pair);
    CHECK_EQ(link_unacknowledged(pair.link), 3);
    struct link_counts counts;
    link_get_counts(pair.link, &counts);
    CHECK_EQ(counts.ring_bytes, 0);
    pair_again(&pair);
    CHECK_EQ(pair.peer.hello.writer, writer);
    CHECK_STATUS(send_text(pair.link, "new", 0), MR_OK);
    peer_expect(&pair.peer, 0, "handed", 2, true);
    peer_expect(&pair.peer, 0, "waiting", 3, false);
    peer_expect(&pair.peer, 0, "new", 4, false);
    peer_expect(&pair.peer, 1, "urgent", 1, false);
    link_get_counts(pair.link, &counts);
    CHECK_EQ(counts.redelivered, 3);
    pair_end(&pair);
}

TEST(ring_link, what_was_handed_once_stays_flagged_over_any_number_of_readers)
{
    struct pair pair;
    pair_make(&pair);
    for (uint64_t n = 1; n <= 20; n++)
        CHECK_STATUS(send_number(pair.link, n, 8), MR_OK);
    static struct got got;
    for (unsigned n = 0; n < 10; n++)
        CHECK(peer_take(&pair.peer, 0, &got));
    pair_kill(&pair);
    pair_again(&pair);
    CHECK(peer_take(&pair.peer, 0, &got)); /* fewer than the one before */
    (void) peer_acknowledge(&pair.peer, 0);
    pair_kill(&pair);
    pair_again(&pair);
    for (uint64_t n = 2; n <= 20; n++) {
        CHECK(peer_take(&pair.peer, 0, &got));
        CHECK_EQ(got.sequence, n);
        CHECK_EQ(got.redelivered, n <= 10);
    }
    pair_end(&pair);
}

TEST(ring_link, a_full_ring_is_taken_over_in_parts_and_whole)
{
    struct pair pair;
    pair_make(&pair);
    CHECK_STATUS(send_number(pair.link, 1, 8), MR_OK); /* the answer is taken in */
    uint64_t next = 2, taken = 1;
    next = send_until_full(pair.link, next, 500);
    taken = peer_take_numbers(&pair.peer, 0, taken);
    for (unsigned n = 0; n < 4; n++) { /* so that the ring has wrapped */
        (void) peer_acknowledge(&pair.peer, 0);
        next = send_until_full(pair.link, next, 333);
        if (n < 3)
            taken = peer_take_numbers(&pair.peer, 0, taken);
    }
    CHECK_EQ(link_unacknowledged(pair.link), next - taken);
    pair_kill(&pair);
    CHECK_EQ(link_unacknowledged(pair.link), next - taken);
    CHECK_STATUS(link_connect(pair.link, 0), MR_OK);
    peer_accept(&pair.peer, pair.rendezvous);
    CHECK_EQ(pair.peer.hello.sequence[0], taken);
    static struct got got;
    CHECK(peer_take(&pair.peer, 0, &got));
    CHECK_EQ(got.sequence, taken);
    taken = peer_take_numbers(&pair.peer, 0, taken + 1);
    CHECK((taken - pair.peer.hello.sequence[0]) * 344 <= RING_FIRST_BYTES); /* not more before the answer */
    CHECK_STATUS(send_number(pair.link, next, 8), MR_E_FULL);
    peer_welcome(&pair.peer);
    CHECK_EQ(link_unacknowledged(pair.link), next - pair.peer.hello.sequence[0]);
    (void) peer_acknowledge(&pair.peer, 0);
    CHECK_STATUS(link_wait(pair.link, clock_deadline(LONG_MS)), MR_OK);
    CHECK_STATUS(send_number(pair.link, next, 8), MR_OK);
    CHECK_EQ(peer_take_numbers(&pair.peer, 0, taken), next + 1);
    pair_end(&pair);
}

TEST(ring_link, waiting_for_acknowledgement_feeds_the_rest_of_a_backlog)
{
    struct pair pair;
    struct link_mark mark;
    pair_make(&pair);
    CHECK_STATUS(send_number(pair.link, 1, 8), MR_OK);
    uint64_t next = send_until_full(pair.link, 2, 500);
    pair_kill(&pair);
    pair_again(&pair);
    link_mark(pair.link, &mark);
    struct waiter waiter = {.link = pair.link, .mark = &mark};
    CHECK_STATUS(thread_start(&waiter.thread, "waiter", waiter_run, &waiter), MR_OK);
    CHECK_EQ(peer_serve(&pair.peer, &waiter, 1), next);
    CHECK_EQ(link_unacknowledged(pair.link), 0);
    pair_end(&pair);
}

TEST(ring_link, a_reader_that_was_only_frozen_moves_nothing_any_more)
{
    struct pair pair;
    pair_make(&pair);
    CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
    struct peer frozen = pair.peer;
    shutdown(frozen.socket, SHUT_RDWR); /* as the end of its connection looks from here */
    link_look(pair.link);
    CHECK_STATUS(send_text(pair.link, "b", 0), MR_E_GONE);
    uint64_t kept = link_unacknowledged(pair.link);
    peer_expect(&frozen, 0, "a", 1, false);
    (void) peer_acknowledge(&frozen, 0);
    CHECK_EQ(link_unacknowledged(pair.link), kept);
    pair_again(&pair);
    (void) peer_acknowledge(&frozen, 0);
    memset(frozen.memory, 0xff, ring_memory_bytes(&frozen.hello.geometry));
    CHECK_STATUS(send_text(pair.link, "c", 0), MR_OK);
    peer_expect(&pair.peer, 0, "a", 1, false);
    CHECK_EQ(link_unacknowledged(pair.link), kept + 1);
    peer_die(&frozen);
    pair_end(&pair);
}

TEST(ring_link, a_disconnected_links_messages_may_come_twice_and_say_so)
{
    struct pair pair;
    pair_make(&pair);
    CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
    link_disconnect(pair.link);
    CHECK(!link_connected(pair.link));
    struct peer old = pair.peer;
    peer_expect(&old, 0, "a", 1, false); /* it drains what was committed */
    pair_again(&pair);
    peer_expect(&pair.peer, 0, "a", 1, true);
    peer_die(&old);
    pair_end(&pair);
}

TEST(ring_link, a_reader_of_another_user_does_not_get_what_the_first_one_left)
{
    if (geteuid() != 0)
        TEST_SKIP("needs root");
    struct pair pair;
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.reader_uid = 12345;
    pair_make_with(&pair, &options);
    CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
    pair_kill(&pair);
    rendezvous_release(pair.rendezvous, false);
    char directory[64];
    snprintf(directory, sizeof directory, "%s", getenv("MAILROOM_DIR"));
    slots_begin(); /* the files of the first one would stand in the other's way */
    int done[2], ready[2];
    CHECK_EQ(pipe2(done, O_CLOEXEC), 0);
    CHECK_EQ(pipe2(ready, O_CLOEXEC), 0);
    CHECK_EQ(chmod(getenv("MAILROOM_DIR"), 01777), 0);
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        char byte;
        close(done[1]);
        if (setresgid(12345, 12345, 12345) != 0 || setresuid(12345, 12345, 12345) != 0)
            _exit(1);
        struct rendezvous *r = slot_claim("link", 1000);
        if (write(ready[1], "x", 1) != 1 || read(done[0], &byte, 1) < 0)
            _exit(2);
        rendezvous_release(r, false);
        _exit(0);
    }
    char byte;
    close(ready[1]);
    CHECK_EQ(read(ready[0], &byte, 1), 1);
    CHECK_STATUS(link_connect(pair.link, 0), MR_E_OWNER);
    CHECK(strstr(mr_last_error_text(), "12345") != NULL);
    CHECK_EQ(link_unacknowledged(pair.link), 1);
    slot_link *fresh = link_make_with(&options); /* one that owes nothing */
    CHECK_STATUS(link_connect(fresh, 0), MR_OK);
    link_close(fresh, false);
    close(done[1]);
    slots_join(child);
    CHECK_EQ(setenv("MAILROOM_DIR", directory, 1), 0);
    pair.rendezvous = slot_claim("link", 1000);
    pair_again(&pair);
    peer_expect(&pair.peer, 0, "a", 1, false);
    pair_end(&pair);
}

/* ---- large messages ---- */

static int large_receive(struct peer *peer, uint64_t sequence, size_t length)
{
    union ring_any_packet packet;
    int file;
    CHECK_STATUS(ring_packet_receive(peer->socket, &packet, &file), MR_OK);
    CHECK_EQ(packet.packet.type, PACKET_LARGE);
    CHECK_EQ(packet.large.level, 0);
    CHECK_EQ(packet.large.sequence, sequence);
    CHECK_EQ(packet.large.length, length);
    return file;
}

TEST(ring_link, large_messages_go_beside_the_ring_a_few_at_a_time)
{
    struct pair pair;
    pair_make(&pair);
    static char data[300000], back[300000];
    for (size_t n = 0; n < sizeof data; n++)
        data[n] = (char) (n * 31 + n / 977);
    CHECK_STATUS(send_text(pair.link, "before", 0), MR_OK);
    size_t before = slots_descriptors();
    unsigned sent = 0;
    int status;
    while ((status = link_send(pair.link, data, sizeof data, 0)) == MR_OK)
        sent++;
    CHECK_STATUS(status, MR_E_FULL);
    CHECK_EQ(sent, RING_LARGE_MOST);
    CHECK_EQ(slots_descriptors(), before + sent);
    CHECK_STATUS(link_wait(pair.link, clock_deadline(20)), MR_E_TIMEOUT);
    CHECK_STATUS(send_text(pair.link, "small", 0), MR_OK); /* these have room */
    CHECK_EQ(link_unacknowledged(pair.link), sent + 2);
    peer_expect(&pair.peer, 0, "before", 1, false);
    static struct got got;
    CHECK(peer_take(&pair.peer, 0, &got));
    CHECK_EQ(got.kind, RING_LARGE);
    CHECK_EQ(got.number, sizeof data);
    int file = large_receive(&pair.peer, 2, sizeof data);
    CHECK_STATUS(ring_large_read(file, back, sizeof back), MR_OK);
    CHECK_MEM(back, data, sizeof data);
    close(file);
    CHECK_STATUS(link_send(pair.link, data, sizeof data, 0), MR_E_FULL);
    CHECK_STATUS(link_wait(pair.link, clock_deadline(20)), MR_E_TIMEOUT);
    CHECK(peer_acknowledge(&pair.peer, 0));
    peer_send(&pair.peer, PACKET_REACHED);
    CHECK_STATUS(link_wait(pair.link, clock_deadline(LONG_MS)), MR_OK);
    CHECK_STATUS(link_send(pair.link, data, sizeof data, 0), MR_OK);
    pair_end(&pair);
    slots_await_descriptors(before - 1); /* the doorbell's copy and the sockets went as well */
}

TEST(ring_link, large_messages_in_flight_are_sent_again_to_the_next_reader)
{
    struct pair pair;
    pair_make(&pair);
    static char data[100000], back[100000];
    static struct got got;
    for (char n = 0; n < 3; n++) {
        memset(data, n, sizeof data);
        CHECK_STATUS(link_send(pair.link, data, sizeof data, 0), MR_OK);
        CHECK_STATUS(link_send(pair.link, &n, 1, 0), MR_OK);
    }
    CHECK(peer_take(&pair.peer, 0, &got));
    CHECK(peer_take(&pair.peer, 0, &got));
    (void) peer_acknowledge(&pair.peer, 0); /* the first pair is done with */
    CHECK(peer_take(&pair.peer, 0, &got));
    pair_kill(&pair);
    CHECK_EQ(link_unacknowledged(pair.link), 4);
    pair_again(&pair);
    for (char n = 1; n < 3; n++) {
        CHECK(peer_take(&pair.peer, 0, &got));
        CHECK_EQ(got.kind, RING_LARGE);
        CHECK_EQ(got.sequence, 1 + 2 * n);
        CHECK_EQ(got.redelivered, n == 1);
        int file = large_receive(&pair.peer, got.sequence, sizeof data);
        CHECK_STATUS(ring_large_read(file, back, sizeof back), MR_OK);
        memset(data, n, sizeof data);
        CHECK_MEM(back, data, sizeof data);
        close(file);
        CHECK(peer_take(&pair.peer, 0, &got));
        CHECK_EQ(got.data[0], n);
    }
    (void) peer_acknowledge(&pair.peer, 0);
    struct link_mark mark;
    link_mark(pair.link, &mark);
    CHECK(link_passed(pair.link, &mark));
    pair_end(&pair);
}

/* ---- gaps, and what is kept ---- */

TEST(ring_link, a_gap_comes_before_the_next_message_and_takes_its_numbers)
{
    struct pair pair;
    static struct got got;
    pair_make(&pair);
    CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
    link_gap(pair.link, 0, 3);
    link_gap(pair.link, 0, 2);
    CHECK_STATUS(send_text(pair.link, "other", 1), MR_OK);
    CHECK_STATUS(send_text(pair.link, "b", 0), MR_OK);
    peer_expect(&pair.peer, 0, "a", 1, false);
    CHECK(peer_take(&pair.peer, 0, &got));
    CHECK_EQ(got.kind, RING_GAP);
    CHECK_EQ(got.number, 5);
    peer_expect(&pair.peer, 0, "b", 7, false);
    peer_expect(&pair.peer, 1, "other", 1, false);
    link_gap(pair.link, 1, 1);
    CHECK_STATUS(link_tell_gaps(pair.link), MR_OK);
    CHECK_STATUS(link_tell_gaps(pair.link), MR_OK); /* once */
    CHECK(peer_take(&pair.peer, 1, &got));
    CHECK_EQ(got.kind, RING_GAP);
    CHECK_EQ(got.number, 1);
    peer_expect_nothing(&pair.peer, 1);
    CHECK_EQ(link_unacknowledged(pair.link), 3); /* messages */
    pair_kill(&pair);
    link_gap(pair.link, 0, 9);
    CHECK_STATUS(link_tell_gaps(pair.link), MR_E_GONE);
    pair_again(&pair);
    CHECK_STATUS(send_text(pair.link, "c", 0), MR_OK);
    peer_expect(&pair.peer, 0, "a", 1, true);
    CHECK(peer_take(&pair.peer, 0, &got));
    CHECK_EQ(got.number, 5);
    peer_expect(&pair.peer, 0, "b", 7, true);
    CHECK(peer_take(&pair.peer, 0, &got));
    CHECK_EQ(got.number, 9);
    peer_expect(&pair.peer, 0, "c", 17, false);
    pair_end(&pair);
}

TEST(ring_link, messages_are_kept_for_a_slot_that_is_not_there)
{
    slots_begin();
    slot_link *l = link_make();
    static char data[200000];
    CHECK_STATUS(link_connect(l, 0), MR_E_NO_SLOT);
    CHECK_STATUS(link_keep(l, "a", 1, 0), MR_OK);
    link_gap(l, 0, 2);
    CHECK_STATUS(link_keep(l, "b", 1, 0), MR_OK);
    CHECK_STATUS(link_keep(l, data, sizeof data, 0), MR_OK);
    CHECK_STATUS(link_keep(l, "", 0, 1), MR_OK);
    CHECK_EQ(link_unacknowledged(l), 4);
    struct rendezvous *rendezvous = slot_claim("link", MR_MESSAGE_MAX_DEFAULT);
    CHECK_STATUS(link_connect(l, 0), MR_OK);
    CHECK_STATUS(send_text(l, "c", 0), MR_OK);
    struct peer peer;
    static struct got got;
    peer_accept(&peer, rendezvous);
    CHECK_EQ(peer.hello.sequence[0], 1);
    peer_expect(&peer, 0, "a", 1, false);
    CHECK(peer_take(&peer, 0, &got));
    CHECK_EQ(got.kind, RING_GAP);
    CHECK_EQ(got.number, 2);
    peer_expect(&peer, 0, "b", 4, false);
    CHECK(peer_take(&peer, 0, &got));
    CHECK_EQ(got.kind, RING_LARGE);
    close(large_receive(&peer, 5, sizeof data));
    peer_expect(&peer, 0, "c", 6, false);
    peer_expect(&peer, 1, "", 1, false);
    struct link_counts counts;
    link_get_counts(l, &counts);
    CHECK_EQ(counts.redelivered, 0);
    peer_die(&peer);
    link_close(l, false);
    rendezvous_release(rendezvous, false);
}

TEST(ring_link, what_is_kept_has_the_rings_bounds)
{
    slots_begin();
    slot_link *l = link_make();
    static char data[70000];
    uint64_t kept = 0;
    int status;
    while ((status = link_keep(l, data, 1000, 0)) == MR_OK)
        kept++;
    CHECK_STATUS(status, MR_E_FULL);
    CHECK_EQ(kept, (256u << 10) / 1008);
    CHECK_EQ(link_unacknowledged(l), kept);
    kept = 0;
    while ((status = link_keep(l, data, 20000, 1)) == MR_OK) /* large ones at this level */
        kept++;
    CHECK_STATUS(status, MR_E_FULL);
    CHECK_EQ(kept, RING_LARGE_MOST);
    link_close(l, false);
}

/* ---- the slot is renamed ---- */

TEST(ring_link, a_reader_that_leaves_the_name_acknowledges_what_it_has_and_the_rest_goes_to_the_next)
{
    struct pair pair;
    pair_make(&pair);
    CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
    CHECK_STATUS(send_text(pair.link, "b", 0), MR_OK);
    peer_send(&pair.peer, PACKET_RENAMED);
    rendezvous_release(pair.rendezvous, false);
    struct link_mark mark;
    link_mark(pair.link, &mark);
    CHECK(!link_passed(pair.link, &mark)); /* looks */
    CHECK(!link_connected(pair.link));
    CHECK_STATUS(send_text(pair.link, "x", 0), MR_E_GONE);
    CHECK_STATUS(link_connect(pair.link, clock_deadline(LONG_MS)), MR_E_NO_SLOT); /* at once */
    pair.rendezvous = slot_claim("link", 1000);
    uint64_t begin = clock_now();
    CHECK_STATUS(link_connect(pair.link, clock_deadline(30)), MR_E_TIMEOUT);
    CHECK(elapsed_ms(begin) >= 29);
    CHECK_STATUS(link_keep(pair.link, "kept", 4, 0), MR_OK);
    CHECK_EQ(link_unacknowledged(pair.link), 3);
    peer_expect(&pair.peer, 0, "a", 1, false);
    (void) peer_acknowledge(&pair.peer, 0);
    CHECK_EQ(link_passed(pair.link, &mark), false);
    CHECK_EQ(link_unacknowledged(pair.link), 2);
    peer_expect(&pair.peer, 0, "b", 2, false);
    peer_die(&pair.peer); /* not acknowledged */
    pair_again(&pair);
    peer_expect(&pair.peer, 0, "b", 2, true);
    peer_expect(&pair.peer, 0, "kept", 3, false);
    pair_end(&pair);
}

TEST(ring_link, once_all_is_acknowledged_the_writer_leaves_a_renamed_reader)
{
    struct pair pair;
    pair_make(&pair);
    CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
    peer_expect(&pair.peer, 0, "a", 1, false);
    peer_send(&pair.peer, PACKET_RENAMED);
    (void) peer_acknowledge(&pair.peer, 0);
    struct peer old = pair.peer;
    link_look(pair.link);
    CHECK_STATUS(send_text(pair.link, "b", 0), MR_E_GONE);
    pair_again(&pair);
    struct pollfd end = {.fd = old.socket, .events = POLLIN};
    CHECK_EQ(poll(&end, 1, 0), 1);
    CHECK((end.revents & POLLHUP) != 0);
    CHECK_STATUS(send_text(pair.link, "b", 0), MR_OK);
    peer_expect(&pair.peer, 0, "b", 2, false);
    peer_die(&old);
    pair_end(&pair);
}

TEST(ring_link, another_name_forgets_what_was_left)
{
    struct pair pair;
    pair_make(&pair);
    static char data[100000];
    CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
    CHECK_STATUS(link_send(pair.link, data, sizeof data, 0), MR_OK);
    struct slot_name name;
    CHECK_STATUS(name_parse(&name, "other"), MR_OK);
    struct rendezvous *other = slot_claim("other", 1000);
    CHECK_STATUS(link_rename(pair.link, &name), MR_OK);
    CHECK(link_is_named(pair.link, &name));
    CHECK_EQ(link_unacknowledged(pair.link), 0);
    struct peer old = pair.peer, peer;
    CHECK_STATUS(link_connect(pair.link, 0), MR_OK);
    peer_accept(&peer, other);
    CHECK_STATUS(send_text(pair.link, "b", 0), MR_OK);
    peer_expect(&peer, 0, "b", 3, false);
    peer_expect(&old, 0, "a", 1, false);
    peer_die(&peer);
    peer_die(&old);
    rendezvous_release(other, false);
    pair.peer.memory = NULL;
    pair_end(&pair);
}

/* ---- readers that break the rules ---- */

TEST(ring_link, a_head_that_breaks_the_rules_ends_the_session_and_the_last_valid_one_counts)
{
    static const int64_t wrong[] = {8, 4, -1, INT64_MIN, -4096};
    for (size_t n = 0; n < sizeof wrong / sizeof wrong[0]; n++) {
        struct pair pair;
        struct link_mark mark;
        pair_make(&pair);
        CHECK_STATUS(send_text(pair.link, "one", 0), MR_OK);
        CHECK_STATUS(send_text(pair.link, "two", 0), MR_OK);
        CHECK_STATUS(send_text(pair.link, "three", 0), MR_OK);
        peer_expect(&pair.peer, 0, "one", 1, false);
        (void) peer_acknowledge(&pair.peer, 0);
        link_mark(pair.link, &mark);
        CHECK(!link_passed(pair.link, &mark)); /* sees the valid one */
        struct ring_control *control = pair.peer.ring[0].control;
        uint64_t tail = atomic_load_explicit(&control->tail, memory_order_relaxed);
        uint64_t base = n == 4 ? 0 : n >= 2 ? pair.peer.ring[0].head : tail;
        atomic_store_explicit(&control->head, base + (uint64_t) wrong[n], memory_order_release);
        CHECK(!link_passed(pair.link, &mark));
        CHECK(!link_connected(pair.link));
        CHECK_STATUS(send_text(pair.link, "x", 0), MR_E_GONE);
        struct peer old = pair.peer;
        pair_again(&pair);
        peer_expect(&pair.peer, 0, "two", 2, true);
        peer_expect(&pair.peer, 0, "three", 3, true);
        peer_die(&old);
        pair_end(&pair);
    }
}

TEST(ring_link, a_handed_that_cannot_be_flags_everything)
{
    struct pair pair;
    pair_make(&pair);
    CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
    atomic_store_explicit(&pair.peer.ring[0].control->handed, 1 << 20, memory_order_relaxed);
    pair_kill(&pair);
    pair_again(&pair);
    peer_expect(&pair.peer, 0, "a", 1, true);
    pair_end(&pair);
}

TEST(ring_link, headers_that_the_reader_wrote_over_cost_their_messages_and_nothing_else)
{
    struct pair pair;
    static struct got got;
    pair_make(&pair);
    for (uint64_t n = 1; n <= 5; n++)
        CHECK_STATUS(send_number(pair.link, n, 8), MR_OK);
    unsigned char *data = (unsigned char *) pair.peer.memory + RING_CONTROL_BYTES;
    memset(data + 2 * 16, 0xff, 8); /* the third's */
    CHECK(link_unacknowledged(pair.link) >= 3);
    pair_kill(&pair);
    pair_again(&pair);
    CHECK_STATUS(send_number(pair.link, 6, 8), MR_OK);
    for (unsigned n = 0; n < 2; n++) {
        CHECK(peer_take(&pair.peer, 0, &got));
        CHECK_EQ(got.kind, RING_DATA);
    }
    CHECK(peer_take(&pair.peer, 0, &got));
    CHECK_EQ(got.kind, RING_GAP);
    CHECK_EQ(got.number, 1);
    CHECK(peer_take(&pair.peer, 0, &got));
    CHECK_EQ(got.sequence, 6);
    peer_expect_nothing(&pair.peer, 0);
    pair_end(&pair);
}

TEST(ring_link, wrong_packets_and_wrong_doorbells_end_the_session)
{
    for (unsigned n = 0; n < 7; n++) {
        struct pair pair;
        pair_make(&pair);
        CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
        int ends[2];
        CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
        close(ends[0]); /* a write to the other would raise SIGPIPE */
        struct ring_hello hello = {.writer = 1};
        ring_packet_init(&hello.packet, PACKET_HELLO, 0);
        struct ring_answer answer = {.status = MR_OK};
        ring_packet_init(&answer.packet, PACKET_ANSWER, 0);
        switch (n) {
        case 0:
            CHECK_EQ(send(pair.peer.socket, "garbage", 7, 0), 7);
            break;
        case 1:
            CHECK_STATUS(ring_packet_send(pair.peer.socket, &hello, sizeof hello, ends[1]), MR_OK);
            break;
        case 2: /* a second answer */
            peer_welcome(&pair.peer);
            break;
        case 3:
            for (unsigned k = 0; k < 40; k++)
                peer_send(&pair.peer, PACKET_REACHED);
            break;
        default: /* an answer whose doorbell is none */
            link_disconnect(pair.link);
            CHECK_STATUS(link_connect(pair.link, 0), MR_OK);
            peer_die(&pair.peer);
            peer_accept(&pair.peer, pair.rendezvous);
            answer.status = n == 6 ? MR_E_ACCESS : MR_OK; /* a refusal with one */
            CHECK_STATUS(ring_packet_send(pair.peer.socket, &answer, sizeof answer, n == 4 ? -1 : ends[1]), MR_OK);
            break;
        }
        link_look(pair.link);
        CHECK_STATUS(send_text(pair.link, "b", 0), n == 6 ? MR_E_ACCESS : MR_E_GONE);
        CHECK(!link_connected(pair.link));
        CHECK(link_unacknowledged(pair.link) >= 1);
        close(ends[1]);
        pair_end(&pair);
    }
}

TEST(ring_link, a_doorbell_that_is_full_and_blocking_does_not_block)
{
    struct pair pair;
    pair_make(&pair);
    uint64_t most = UINT64_MAX - 1;
    int flags = fcntl(pair.peer.doorbell, F_GETFL);
    CHECK_EQ(write(pair.peer.doorbell, &most, sizeof most), sizeof most);
    CHECK_EQ(fcntl(pair.peer.doorbell, F_SETFL, flags & ~O_NONBLOCK), 0);
    for (unsigned n = 0; n < 10; n++) {
        ring_arm(&pair.peer.ring[0]);
        CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
    }
    pair_end(&pair);
}

/* ---- with a port ---- */

struct watch {
    operation operation;
    bool completed;
};

static void on_watched(operation *completed)
{
    ((struct watch *) (void *) completed)->completed = true;
}

static void port_step(port *p)
{
    operation *o;
    CHECK_STATUS(port_wait(p, &o, clock_deadline(LONG_MS)), MR_OK);
    o->handler(o);
}

static void port_expect_nothing(port *p)
{
    operation *o;
    CHECK_STATUS(port_wait(p, &o, clock_deadline(20)), MR_E_TIMEOUT);
}

TEST(ring_link, a_watch_completes_with_room_with_the_readers_end_and_with_a_disconnect)
{
    struct pair pair;
    pair_make(&pair);
    port *p;
    CHECK_STATUS(port_open(&p, NULL), MR_OK);
    struct watch watch = {.operation.handler = on_watched};
    uint64_t next = 1;
    for (unsigned n = 0; n < 60; n++) {
        CHECK_STATUS(send_number(pair.link, next++, 8), MR_OK); /* the answer is taken in */
        next = send_until_full(pair.link, next, 4000);
        watch.completed = false;
        CHECK_EQ(link_watch(pair.link, p, &watch.operation), STARTED_PENDING);
        if (n % 20 == 0)
            port_expect_nothing(p);
        struct peer old = pair.peer;
        switch (n % 3) {
        case 0:
            (void) peer_take_numbers(&pair.peer, 0, pair.peer.sequence[0]);
            CHECK(peer_acknowledge(&pair.peer, 0));
            peer_send(&pair.peer, PACKET_REACHED);
            break;
        case 1:
            peer_die(&pair.peer);
            break;
        case 2:
            link_disconnect(pair.link);
            break;
        }
        port_step(p);
        CHECK(watch.completed);
        CHECK(watch.operation.status == MR_OK || watch.operation.status == MR_E_CANCELLED);
        if (n % 3 == 1)
            link_look(pair.link);
        if (n % 3 == 2)
            peer_die(&old);
        if (n % 3 != 0) {
            pair_again(&pair);
            uint64_t taken = pair.peer.sequence[0];
            while (taken < next) {
                struct link_mark mark;
                link_mark(pair.link, &mark);
                taken = peer_take_numbers(&pair.peer, 0, taken);
                (void) peer_acknowledge(&pair.peer, 0);
                (void) link_passed(pair.link, &mark); /* feeds */
            }
            peer_send(&pair.peer, PACKET_REACHED); /* told or not */
        }
    }
    pair_end(&pair);
    port_close(p);
}

TEST(ring_link, a_watch_for_acknowledgement_completes_with_it_and_one_for_nothing_with_the_end)
{
    struct pair pair;
    pair_make(&pair);
    port *p;
    CHECK_STATUS(port_open(&p, NULL), MR_OK);
    struct watch watch = {.operation.handler = on_watched};
    struct link_mark mark;
    CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
    link_mark(pair.link, &mark);
    CHECK_EQ(link_watch_mark(pair.link, &mark, p, &watch.operation), STARTED_PENDING);
    port_expect_nothing(p);
    peer_expect(&pair.peer, 0, "a", 1, false);
    CHECK(peer_acknowledge(&pair.peer, 0));
    peer_send(&pair.peer, PACKET_REACHED);
    port_step(p);
    CHECK(link_passed(pair.link, &mark));
    CHECK_EQ(link_watch_mark(pair.link, &mark, p, &watch.operation), STARTED_DONE);
    CHECK_STATUS(watch.operation.status, MR_OK);
    CHECK_STATUS(send_text(pair.link, "b", 0), MR_OK);
    watch.completed = false;
    CHECK_EQ(link_watch_mark(pair.link, NULL, p, &watch.operation), STARTED_PENDING);
    peer_expect(&pair.peer, 0, "b", 2, false);
    CHECK(!peer_acknowledge(&pair.peer, 0)); /* nothing is asked of the reader */
    port_expect_nothing(p);
    peer_die(&pair.peer);
    port_step(p);
    CHECK(watch.completed);
    CHECK(link_passed(pair.link, &mark));
    CHECK(!link_connected(pair.link));
    CHECK_EQ(link_watch_mark(pair.link, NULL, p, &watch.operation), STARTED_DONE);
    CHECK_STATUS(watch.operation.status, MR_E_GONE);
    pair_end(&pair);
    port_close(p);
}

/* ---- fork ---- */

static void child_closes(void *argument)
{
    struct pair *pair = argument;
    link_close(pair->link, true);
}

TEST(ring_link, closing_in_a_forked_child_leaves_the_parents_session_alone)
{
    struct pair pair;
    pair_make(&pair);
    static char data[100000];
    CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
    CHECK_STATUS(link_send(pair.link, data, sizeof data, 0), MR_OK);
    slots_join(slots_fork(child_closes, &pair));
    CHECK_STATUS(send_text(pair.link, "b", 0), MR_OK);
    CHECK(link_connected(pair.link));
    peer_expect(&pair.peer, 0, "a", 1, false);
    static struct got got;
    CHECK(peer_take(&pair.peer, 0, &got));
    peer_expect(&pair.peer, 0, "b", 3, false);
    pair_end(&pair);
}
