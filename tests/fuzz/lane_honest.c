/* lane_honest.c: a writer that keeps the rules, and knows what has become of each of its messages.
 *
 * I1      `sequence` counts messages and gaps; a session's positions begin at 0, with the first message that was not
 *         delivered before.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lane.h"

static const struct ring_geometry honest_geometry = {.levels = HONEST_LEVELS, .capacity = {32 << 10, 16 << 10}};

int lane_connect(const struct sockaddr_un *address)
{
    int client = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    DEMAND(client >= 0);
    if (connect(client, (const struct sockaddr *) address, sizeof *address) == 0)
        return client;
    close(client);
    return -1;
}

void honest_connect(struct honest *h, const struct sockaddr_un *address)
{
    struct ring_hello hello = {.writer = HONEST_WRITER, .geometry = honest_geometry};
    ring_packet_init(&hello.packet, PACKET_HELLO, 0);
    h->socket = lane_connect(address);
    DEMAND(h->socket >= 0);
    h->doorbell = -1;
    h->told = false;
    h->larges = 0;
    DEMAND(ring_memory_make(&honest_geometry, &h->file, &h->memory) == 0);
    for (uint32_t level = 0; level < HONEST_LEVELS; level++) {
        ring_writer_init(&h->rings[level], h->memory, &honest_geometry, level);
        h->sequence[level] = h->delivered[level];
        hello.sequence[level] = h->sequence[level] + 1;
    }
    DEMAND(ring_packet_send(h->socket, &hello, sizeof hello, h->file) == 0);
}

void honest_end(struct honest *h)
{
    if (h->socket < 0)
        return;
    close(h->socket);
    if (h->doorbell >= 0)
        close(h->doorbell);
    close(h->file);
    ring_memory_free(&honest_geometry, h->memory);
    h->socket = h->doorbell = h->file = -1;
    h->memory = NULL;
}

void honest_listen(struct honest *h)
{
    union ring_any_packet packet;
    int descriptor;
    while (ring_packet_receive(h->socket, &packet, &descriptor) == 0) {
        if (packet.packet.type == PACKET_ANSWER) {
            DEMAND(packet.answer.status == 0 && descriptor >= 0 && h->doorbell < 0);
            h->doorbell = descriptor;
        } else {
            DEMAND(descriptor < 0);
            DEMAND(packet.packet.type == PACKET_REACHED || packet.packet.type == PACKET_RENAMED);
            h->told = h->told || packet.packet.type == PACKET_RENAMED;
        }
    }
}

bool honest_is_over(const struct honest *h)
{
    struct pollfd end = {.fd = h->socket, .events = POLLRDHUP};
    return poll(&end, 1, 0) > 0;
}

static enum honest_wrote honest_commit(struct honest *h, uint32_t level, enum ring_kind kind, size_t length)
{
    if (!ring_commit(&h->rings[level], kind, length))
        return HONEST_WROTE;
    uint64_t one = 1;
    if (h->doorbell < 0)
        honest_listen(h);
    DEMAND(h->doorbell >= 0); /* who sleeps has answered */
    DEMAND(write(h->doorbell, &one, sizeof one) == sizeof one);
    return HONEST_RANG;
}

static bool honest_send_large(struct honest *h, uint32_t level, size_t length)
{
    static unsigned char data[HONEST_LARGE];
    struct ring_large large = {.level = level, .sequence = h->sequence[level] + 1, .length = length};
    int file;
    pattern_fill(data, length, honest_seed(level, h->sequence[level] + 1));
    ring_packet_init(&large.packet, PACKET_LARGE, 0);
    DEMAND(ring_large_make(data, length, &file) == 0);
    bool sent = ring_packet_send(h->socket, &large, sizeof large, file) == 0;
    close(file);
    return sent;
}

enum honest_wrote honest_write(struct honest *h, uint32_t level, size_t length, bool large)
{
    size_t payload = large ? sizeof(uint64_t) : length;
    if (h->told)
        return HONEST_FULL;
    if (large && honest_is_acknowledged(h))
        h->larges = 0;
    if (large && h->larges == RING_LARGE_MOST)
        return HONEST_FULL;
    unsigned char *room = ring_claim(&h->rings[level], payload);
    DEMAND(room != NULL || !h->rings[level].broken);
    if (room == NULL)
        return HONEST_FULL;
    if (large && !honest_send_large(h, level, length))
        return HONEST_FULL;
    h->larges += large;
    h->sequence[level]++; /* I1 */
    h->lengths[level][h->sequence[level] % HONEST_ROOM] = (uint32_t) length;
    if (large) {
        uint64_t number = length;
        memcpy(room, &number, sizeof number);
    } else {
        pattern_fill(room, length, honest_seed(level, h->sequence[level]));
    }
    return honest_commit(h, level, large ? RING_LARGE : RING_DATA, payload);
}

enum honest_wrote honest_gap(struct honest *h, uint32_t level, uint64_t count)
{
    uint64_t *room = h->told ? NULL : ring_claim(&h->rings[level], sizeof count);
    if (room == NULL)
        return HONEST_FULL;
    *room = count;
    for (uint64_t i = 0; i < count; i++)
        h->lengths[level][++h->sequence[level] % HONEST_ROOM] = HONEST_GAP;
    return honest_commit(h, level, RING_GAP, sizeof count);
}

static void honest_pass_gaps(struct honest *h, uint32_t level)
{
    while (h->delivered[level] != h->sequence[level] &&
           h->lengths[level][(h->delivered[level] + 1) % HONEST_ROOM] == HONEST_GAP)
        h->delivered[level]++;
}

void honest_receive(struct honest *h, uint32_t level, uint64_t sequence, const void *data, size_t length)
{
    DEMAND(level < HONEST_LEVELS);
    honest_pass_gaps(h, level);
    DEMAND(h->delivered[level] != h->sequence[level] && sequence == h->delivered[level] + 1);
    DEMAND(length == h->lengths[level][sequence % HONEST_ROOM]);
    DEMAND(pattern_matches(data, length, honest_seed(level, sequence)));
    h->delivered[level] = sequence;
}

bool honest_is_delivered(struct honest *h)
{
    for (uint32_t level = 0; level < HONEST_LEVELS; level++) {
        honest_pass_gaps(h, level);
        if (h->delivered[level] != h->sequence[level])
            return false;
    }
    return true;
}

bool honest_is_acknowledged(struct honest *h)
{
    for (uint32_t level = 0; level < HONEST_LEVELS; level++) {
        DEMAND(ring_refresh(&h->rings[level])); /* the slot keeps the rules towards it */
        if (h->rings[level].head != h->rings[level].tail)
            return false;
    }
    return true;
}
