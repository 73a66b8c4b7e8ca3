/* ring_fake_linux.h: a writer's end of the ring made of its parts, by the test: honest where the test wants it, and every
 * word of it the test's to change. */
#ifndef TEST_SLOTS_RING_FAKE_LINUX_H
#define TEST_SLOTS_RING_FAKE_LINUX_H

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "queue/memory.h"
#include "slot_support_linux.h"
#include "slots/rendezvous_linux.h"
#include "slots/ring_barrier_linux.h"
#include "slots/ring_hello_linux.h"

struct fake {
    int socket;
    int memory_fd;
    int doorbell; /* -1 before the answer */
    bool told;    /* a REACHED has come and was not asked for */
    bool renamed;
    void *memory;
    struct ring_hello hello;
    struct ring_answer answer;
    struct ring_writer rings[RING_LEVELS_MAX];
    uint64_t rung;
};

static inline struct ring_geometry fake_geometry(uint32_t levels, uint32_t normal, uint32_t urgent)
{
    struct ring_geometry geometry = {.levels = levels, .capacity = {normal}};
    for (uint32_t level = 1; level < levels; level++)
        geometry.capacity[level] = urgent;
    return geometry;
}

/* Connects, has everything ready; says nothing. */
static inline void fake_connect(struct fake *fake, const char *name, const struct ring_geometry *geometry)
{
    static _Atomic uint64_t identity = 1000;
    struct slot_limits limits;
    struct slot_name *parsed = malloc(sizeof *parsed);
    memset(fake, 0, sizeof *fake);
    fake->doorbell = -1;
    CHECK(parsed != NULL);
    CHECK_STATUS(name_parse(parsed, name), MR_OK);
    CHECK_STATUS(rendezvous_connect(parsed, RENDEZVOUS_RING, UINT32_MAX, 0, &fake->socket, &limits), MR_OK);
    free(parsed);
    CHECK_STATUS(ring_memory_make(geometry, &fake->memory_fd, &fake->memory), MR_OK);
    ring_packet_init(&fake->hello.packet, PACKET_HELLO, ring_barrier_prepare() ? RING_FLAG_BARRIER : 0);
    fake->hello.writer = atomic_fetch_add(&identity, 1);
    fake->hello.geometry = *geometry;
    for (uint32_t level = 0; level < geometry->levels; level++) {
        fake->hello.sequence[level] = 1;
        ring_writer_init(&fake->rings[level], fake->memory, geometry, level);
    }
}

static inline void fake_say_hello(struct fake *fake)
{
    int status = ring_packet_send(fake->socket, &fake->hello, sizeof fake->hello, fake->memory_fd);
    CHECK(status == MR_OK || status == MR_E_GONE); /* refused before it has spoken: the answer is there to be read */
}

static inline void fake_open(struct fake *fake, const char *name, uint32_t levels)
{
    struct ring_geometry geometry = fake_geometry(levels, (uint32_t) 256 << 10, (uint32_t) 64 << 10);
    fake_connect(fake, name, &geometry);
    fake_say_hello(fake);
}

/* The next packet; waits for it. MR_OK or MR_E_GONE. */
static inline int fake_receive(struct fake *fake, union ring_any_packet *packet, int *descriptor)
{
    for (;;) {
        int status = ring_packet_receive(fake->socket, packet, descriptor);
        if (status != MR_E_FULL)
            return status;
        struct pollfd wait = {.fd = fake->socket, .events = POLLIN};
        CHECK(poll(&wait, 1, -1) > 0 || errno == EINTR);
    }
}

static inline void fake_ring(struct fake *fake)
{
    uint64_t one = 1;
    if (fake->doorbell >= 0)
        CHECK_EQ(write(fake->doorbell, &one, sizeof one), sizeof one);
    fake->rung++;
}

/* Waits for the answer. */
static inline int fake_await_answer(struct fake *fake)
{
    union ring_any_packet packet;
    CHECK_STATUS(fake_receive(fake, &packet, &fake->doorbell), MR_OK);
    CHECK_EQ(packet.packet.type, PACKET_ANSWER);
    fake->answer = packet.answer;
    bool barrier = (packet.packet.flags & RING_FLAG_BARRIER) != 0 && ring_barrier_prepare();
    for (uint32_t level = 0; level < RING_LEVELS_MAX; level++)
        fake->rings[level].fence = !barrier;
    if (fake->rung > 0 && packet.answer.status == MR_OK)
        fake_ring(fake); /* what was committed after the reader had looked, and before there was a doorbell */
    return packet.answer.status;
}

/* False: no room. */
static inline bool fake_send(struct fake *fake, uint32_t level, const void *data, size_t length)
{
    void *place = ring_claim(&fake->rings[level], length);
    if (place == NULL)
        return false;
    if (length > 0)
        memcpy(place, data, length);
    if (ring_commit(&fake->rings[level], RING_DATA, length))
        fake_ring(fake);
    return true;
}

static inline void fake_text(struct fake *fake, uint32_t level, const char *text)
{
    CHECK(fake_send(fake, level, text, strlen(text)));
}

static inline void fake_number(struct fake *fake, uint32_t level, enum ring_kind kind, uint64_t number)
{
    void *place = ring_claim(&fake->rings[level], sizeof number);
    CHECK(place != NULL);
    memcpy(place, &number, sizeof number);
    if (ring_commit(&fake->rings[level], kind, sizeof number))
        fake_ring(fake);
}

/* Waits until head has come to `position`; MR_OK or MR_E_GONE. */
static inline int fake_await_head(struct fake *fake, uint32_t level, uint64_t position)
{
    struct ring_writer *w = &fake->rings[level];
    for (;;) {
        CHECK(ring_refresh(w));
        if (ring_reached(w, position))
            return MR_OK;
        ring_want(w, position);
        CHECK(ring_refresh(w));
        if (ring_reached(w, position))
            return MR_OK;
        union ring_any_packet packet;
        int descriptor;
        int status = fake_receive(fake, &packet, &descriptor);
        if (status != MR_OK)
            return status;
        if (packet.packet.type == PACKET_RENAMED)
            fake->renamed = true;
    }
}

static inline void fake_await_taken(struct fake *fake, uint32_t level)
{
    CHECK_STATUS(fake_await_head(fake, level, fake->rings[level].tail), MR_OK);
}

/* Sends, waiting for room. */
static inline void fake_send_waiting(struct fake *fake, uint32_t level, const void *data, size_t length)
{
    while (!fake_send(fake, level, data, length))
        CHECK_STATUS(fake_await_head(fake, level, ring_want_room(&fake->rings[level], length)), MR_OK);
}

/* Waits until the reader has hung up. */
static inline void fake_await_end(struct fake *fake)
{
    union ring_any_packet packet;
    int descriptor;
    int status;
    while ((status = fake_receive(fake, &packet, &descriptor)) == MR_OK) {
        if (packet.packet.type == PACKET_RENAMED)
            fake->renamed = true;
        if (descriptor >= 0)
            close(descriptor);
    }
    CHECK_STATUS(status, MR_E_GONE);
}

static inline void fake_close(struct fake *fake)
{
    close(fake->socket);
    close(fake->memory_fd);
    if (fake->doorbell >= 0)
        close(fake->doorbell);
    ring_memory_free(&fake->hello.geometry, fake->memory);
}

#endif
