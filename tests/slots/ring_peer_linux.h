/* ring_peer_linux.h: a link over the ring, and a reader at its other end that is made of ring.h and ring_hello_linux.h, and
 * does what each test wants of it. Every function ends the test where it fails. */
#ifndef TEST_SLOTS_RING_PEER_LINUX_H
#define TEST_SLOTS_RING_PEER_LINUX_H

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

static inline struct rendezvous *slot_claim(const char *text, uint64_t max_message)
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

static inline void peer_accept(struct peer *peer, struct rendezvous *rendezvous)
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

static inline void peer_send(struct peer *peer, enum ring_packet_type type)
{
    struct ring_packet packet;
    ring_packet_init(&packet, type, 0);
    CHECK_STATUS(ring_packet_send(peer->socket, &packet, sizeof packet, -1), MR_OK);
}

static inline void peer_answer(struct peer *peer, int status, uint64_t ring_bytes, uint64_t max_message, uint32_t flags)
{
    struct ring_answer answer = {
        .status = status, .levels = LEVELS, .max_message = max_message, .ring_bytes = ring_bytes};
    ring_packet_init(&answer.packet, PACKET_ANSWER, flags);
    if (status == MR_OK)
        peer->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK_STATUS(ring_packet_send(peer->socket, &answer, sizeof answer, peer->doorbell), MR_OK);
}

static inline void peer_welcome(struct peer *peer)
{
    peer_answer(peer, MR_OK, 0, MR_MESSAGE_MAX_DEFAULT, ring_barrier_prepare() ? RING_FLAG_BARRIER : 0);
}

static inline bool peer_rung(const struct peer *peer)
{
    uint64_t count;
    return read(peer->doorbell, &count, sizeof count) == sizeof count;
}

/* As a reader that is killed: what it has mapped goes as well, unless it is only frozen. */
static inline void peer_die(struct peer *peer)
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
static inline bool peer_take(struct peer *peer, uint32_t level, struct got *got)
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
static inline bool peer_acknowledge(struct peer *peer, uint32_t level)
{
    ring_release(&peer->ring[level], peer->ring[level].position);
    return ring_release_look(&peer->ring[level], peer->ring[level].position);
}

static inline void peer_expect(struct peer *peer, uint32_t level, const char *text, uint64_t sequence, bool redelivered)
{
    static struct got got;
    CHECK_MSG(peer_take(peer, level, &got), "nothing instead of \"%s\"", text);
    CHECK_EQ(got.kind, RING_DATA);
    CHECK_STR(got.data, text);
    CHECK_EQ(got.length, strlen(text));
    CHECK_EQ(got.sequence, sequence);
    CHECK_EQ(got.redelivered, redelivered);
}

static inline void peer_expect_nothing(struct peer *peer, uint32_t level)
{
    static struct got got;
    CHECK(!peer_take(peer, level, &got));
}

/* Takes everything of the level, numbers from `next` on; returns the next. */
static inline uint64_t peer_take_numbers(struct peer *peer, uint32_t level, uint64_t next)
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

static inline slot_link *link_make_with(const mr_writer_options *wishes)
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

static inline slot_link *link_make(void)
{
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.ring_bytes = (size_t) 256 << 10;
    return link_make_with(&options);
}

static inline int send_text(slot_link *l, const char *text, uint32_t level)
{
    return link_send(l, text, strlen(text), level);
}

static inline int send_number(slot_link *l, uint64_t number, size_t length)
{
    static char data[70000];
    memcpy(data, &number, sizeof number);
    return link_send(l, data, length, 0);
}

/* Sends numbers of `length` bytes until there is no room; returns the next one. */
static inline uint64_t send_until_full(slot_link *l, uint64_t next, size_t length)
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

static inline void pair_make_with(struct pair *pair, const mr_writer_options *options)
{
    slots_begin();
    pair->rendezvous = slot_claim("link", MR_MESSAGE_MAX_DEFAULT);
    pair->link = link_make_with(options);
    CHECK_STATUS(link_connect(pair->link, 0), MR_OK);
    peer_accept(&pair->peer, pair->rendezvous);
    peer_welcome(&pair->peer);
}

static inline void pair_make(struct pair *pair)
{
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.ring_bytes = (size_t) 256 << 10;
    pair_make_with(pair, &options);
}

static inline void pair_end(struct pair *pair)
{
    link_close(pair->link, false);
    if (pair->peer.memory != NULL)
        peer_die(&pair->peer);
    rendezvous_release(pair->rendezvous, false);
}

/* Has the link look at its socket. */
static inline void link_look(slot_link *l)
{
    struct link_mark mark;
    link_mark(l, &mark);
    (void) link_passed(l, &mark);
}

/* The reader dies, and the link notices. */
static inline void pair_kill(struct pair *pair)
{
    peer_die(&pair->peer);
    link_look(pair->link);
    CHECK(!link_connected(pair->link));
}

static inline void pair_again(struct pair *pair)
{
    CHECK_STATUS(link_connect(pair->link, 0), MR_OK);
    peer_accept(&pair->peer, pair->rendezvous);
    peer_welcome(&pair->peer);
}

/* ---- threads that wait ---- */

struct waiter {
    slot_link *link;
    const struct link_mark *mark;
    int status;
    _Atomic bool done;
    thread thread;
};

static inline void waiter_run(void *argument)
{
    struct waiter *waiter = argument;
    waiter->status = waiter->mark != NULL ? link_await(waiter->link, waiter->mark, CLOCK_NEVER)
                                          : link_wait(waiter->link, CLOCK_NEVER);
    atomic_store_explicit(&waiter->done, true, memory_order_release);
}

/* As a reader does: takes, acknowledges and tells, until the waiter has what it waits for. Returns the next number. */
static inline uint64_t peer_serve(struct peer *peer, struct waiter *waiter, uint64_t next)
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

#endif
