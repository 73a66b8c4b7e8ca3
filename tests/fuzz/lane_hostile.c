/* lane_hostile.c: writers that do what they like, with what any process can do to a slot that lets it connect: send any
 * packet with any descriptors, change any byte of the memory that it gave, cut or punch it, ring, say nothing, vanish.
 *
 * I1      A hostile writer never says that it is the honest one: the identity is only a number, and here it tells whose
 *         message has come.
 * I2      Nothing here waits, and nothing fails: what the system refuses was tried.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lane.h"

struct hostile hostiles[HOSTILE_WRITERS];
uint64_t trap_inode;
static int trap[2];
static uint64_t connections;

static void close_if(int *descriptor)
{
    if (*descriptor >= 0)
        close(*descriptor);
    *descriptor = -1;
}

static void hostile_vanish(struct hostile *h)
{
    close_if(&h->socket);
    close_if(&h->doorbell);
    close_if(&h->file);
    memset(h->tail, 0, sizeof h->tail);
}

void hostile_reset(void)
{
    for (unsigned i = 0; i < HOSTILE_WRITERS; i++)
        hostiles[i] = (struct hostile){.socket = -1, .doorbell = -1, .file = -1};
    connections = 0;
}

void hostile_end(void)
{
    for (unsigned i = 0; i < HOSTILE_WRITERS; i++)
        hostile_vanish(&hostiles[i]);
}

uint64_t hostile_connections(void)
{
    return connections;
}

static void hostile_connect(struct hostile *h, const struct step *step, const struct sockaddr_un *address)
{
    hostile_vanish(h);
    h->socket = lane_connect(address);
    if (h->socket < 0)
        return;
    connections++;
    if (step->what & 64) { /* room for little: nobody may wait for us to read */
        int least = 1;
        (void) setsockopt(h->socket, SOL_SOCKET, SO_RCVBUF, &least, sizeof least);
    }
}

/* ---- files ---- */

/* Memory that a slot might take: `seals`, and how far the size is off. */
static int file_memory(size_t size, unsigned seals)
{
    int fd = memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    DEMAND(fd >= 0);
    (void) ftruncate(fd, (off_t) size); /* too large: then it is empty */
    if (seals != 0)
        (void) fcntl(fd, F_ADD_SEALS, (int) seals);
    return fd;
}

void hostile_prepare(void)
{
    struct stat status;
    DEMAND(pipe2(trap, O_CLOEXEC | O_NONBLOCK) == 0 && fstat(trap[0], &status) == 0);
    trap_inode = status.st_ino;
}

/* A file of another kind. The pipe is the trap: who closes it as one closes one's own has not looked at it. A connection
 * that is passed to its own other end, or to that of another one, stays open until it is taken out there. */
static int file_other(unsigned which)
{
    int connection = hostiles[which / 8 % HOSTILE_WRITERS].socket;
    switch (which % 8) {
    case 0:
        return open("/dev/null", O_RDWR | O_CLOEXEC);
    case 1:
        return eventfd(0, EFD_CLOEXEC);
    case 2:
        return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    case 3:
        return open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    case 4:
        return open("/", O_PATH | O_CLOEXEC);
    case 5:
        return fcntl(connection >= 0 ? connection : trap[0], F_DUPFD_CLOEXEC, 0);
    default:
        return fcntl(trap[0], F_DUPFD_CLOEXEC, 0);
    }
}

/* What is passed as a packet's descriptor: mostly memory of `size` bytes, sealed with `good`. */
static int file_make(const struct step *step, size_t size, unsigned good)
{
    static const unsigned first = 22; /* a step of zeros is as it should be */
    switch (step->small >> 11 < first ? UINT_MAX : (step->small >> 11) - first) {
    case 0:
        return file_memory(size, 0);
    case 1:
        return file_memory(size, good & ~(unsigned) F_SEAL_SHRINK);
    case 2:
        return file_memory(size, good & ~(unsigned) F_SEAL_GROW);
    case 3:
        return file_memory(size, good & ~(unsigned) F_SEAL_SEAL);
    case 4:
        return file_memory(size / 2, good);
    case 5:
        return file_memory(size + 4096, good);
    case 6:
        return file_memory(step->small & 1 && size > 0 ? size - 1 : 0, good);
    case 7:
        return file_memory(size, good ^ F_SEAL_WRITE);
    case 8:
        return file_memory(size, good | F_SEAL_FUTURE_WRITE);
    case 9:
        return file_other(step->small);
    default:
        return file_memory(size, good);
    }
}

/* ---- packets ---- */

/* `count` times the same descriptor. */
static void packet_send(const struct hostile *h, const void *packet, size_t size, int descriptor, unsigned count)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(253 * sizeof(int))];
    } control;
    struct iovec part = {(void *) (uintptr_t) packet, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    memset(&control, 0, sizeof control);
    if (count > 0 && descriptor >= 0) {
        int descriptors[253];
        for (unsigned i = 0; i < count; i++)
            descriptors[i] = descriptor;
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(header), descriptors, count * sizeof(int));
    }
    (void) sendmsg(h->socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL); /* I2 */
}

/* Changes the packet, its size, and how many descriptors it has, mostly not. */
static void packet_send_bent(const struct hostile *h, const struct step *step, void *packet, size_t size,
                             int descriptor)
{
    unsigned count = descriptor >= 0;
    switch (step->large % 64) {
    case 1:
        if (size > 0)
            ((unsigned char *) packet)[step->large / 64 % size] ^= (unsigned char) (step->large >> 16 | 1);
        break;
    case 2:
        size = step->large / 64 % (size + 1);
        break;
    case 3:
        count = step->large / 64 % 4;
        break;
    case 4:
        count = 253;
        break;
    default:
        break;
    }
    packet_send(h, packet, size, descriptor, count);
}

static const uint32_t capacities[] = {RING_CAPACITY_MIN,
                                      2 * RING_CAPACITY_MIN,
                                      4 * RING_CAPACITY_MIN,
                                      RING_CAPACITY_MAX,
                                      2 * RING_CAPACITY_MAX,
                                      RING_CAPACITY_MIN / 2,
                                      RING_CAPACITY_MIN + 8,
                                      0,
                                      UINT32_MAX,
                                      1};

static void hostile_hello(struct hostile *h, const struct step *step)
{
    struct ring_hello hello = {.writer = 1 + (uint64_t) (h - hostiles)};
    struct ring_geometry *geometry = &hello.geometry;
    ring_packet_init(&hello.packet, PACKET_HELLO, step->small & 1);
    bool odd = (step->what & 192) == 192;
    geometry->levels = odd ? step->small / 8 % 16 : 1 + step->small / 8 % 4;
    for (uint32_t level = 0; level < RING_LEVELS_MAX; level++) {
        if (level < geometry->levels || (odd && (step->small & 2) != 0))
            geometry->capacity[level] =
                capacities[step->what & 128 ? (step->large >> (4 * level)) % (odd ? 10 : 4) : 0];
        hello.sequence[level] = 1;
        if (step->small & 4)
            hello.redelivered[level] = (uint64_t) step->large * level;
        if (odd && (step->small & 0x400) != 0)
            hello.sequence[level] = UINT64_MAX - (step->large >> 28);
        h->sequence[level] = hello.sequence[level];
    }
    bool valid = ring_geometry_valid(geometry);
    if (h->file < 0) {
        h->file = file_make(step, valid ? ring_memory_bytes(geometry) : RING_CONTROL_BYTES + RING_CAPACITY_MIN,
                            F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
        h->geometry = valid ? *geometry : (struct ring_geometry){0};
        memset(h->tail, 0, sizeof h->tail);
    }
    packet_send_bent(h, step, &hello, sizeof hello, h->file);
}

static void hostile_large(struct hostile *h, const struct step *step)
{
    static const unsigned char levels[] = {0, 0, 0, 0, 1, 1, 2, RING_LEVELS_MAX};
    uint32_t level = step->what & 64 ? step->small : levels[step->small % 8];
    struct ring_large large = {.level = level, .length = step->large / 64 % 20000};
    ring_packet_init(&large.packet, PACKET_LARGE, 0);
    large.sequence = h->sequence[level % RING_LEVELS_MAX];
    if (step->what & 128)
        large.sequence += 1 + (uint64_t) (step->small / 8 % 32) - (step->small & 0x100 ? 8 : 0);
    if (step->small & 0x400)
        large.length = step->small & 0x200 ? UINT64_MAX - large.length : large.length << 16;
    int file = file_make(step, large.length < (1 << 20) ? (size_t) large.length : 4096,
                         F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | F_SEAL_WRITE);
    /* Perhaps many, of which a record names at most one. */
    for (unsigned count = 1 + (step->what & 128 ? 2 * (step->large % 16) : 0); count > 0; count--) {
        packet_send_bent(h, step, &large, sizeof large, file);
        large.sequence++;
    }
    close_if(&file);
}

static void hostile_packet(const struct hostile *h, const struct step *step)
{
    union ring_any_packet packet;
    static const size_t sizes[] = {sizeof packet.packet, sizeof packet.answer, sizeof packet.large, sizeof packet.hello,
                                   0};
    memset(&packet, 0, sizeof packet);
    ring_packet_init(&packet.packet, (enum ring_packet_type)(step->small % 8), step->large >> 16);
    packet.answer.status = (int32_t) step->large;
    int file = step->what & 64 ? file_make(step, 4096, 0) : -1;
    packet_send_bent(h, step, &packet, sizes[step->what / 8 % 5], file);
    close_if(&file);
}

/* Takes the doorbell out of the answer, and throws away the rest. */
static void hostile_listen(struct hostile *h)
{
    union ring_any_packet packet;
    int descriptor;
    while (ring_packet_receive(h->socket, &packet, &descriptor) == 0) {
        if (descriptor >= 0) {
            close_if(&h->doorbell);
            h->doorbell = descriptor;
        }
    }
}

/* ---- memory ---- */

/* It writes through the file, not a mapping: the same bytes, and what it has cut off is no harm to itself. */
static void memory_write(const struct hostile *h, uint64_t at, const void *data, size_t length)
{
    struct stat status;
    if (fstat(h->file, &status) == 0 && at + length <= (uint64_t) status.st_size)
        (void) pwrite(h->file, data, length, (off_t) at);
}

static void memory_write_word(const struct hostile *h, uint64_t at, uint64_t word)
{
    memory_write(h, at, &word, sizeof word);
}

static uint64_t memory_word(const struct hostile *h, uint64_t at)
{
    uint64_t word = 0;
    (void) pread(h->file, &word, sizeof word, (off_t) at);
    return word;
}

/* Where a level's words and bytes are. */
struct place {
    uint32_t level;
    uint64_t control;
    uint64_t data;
    uint64_t mask;
};

static bool hostile_place(const struct hostile *h, uint32_t number, struct place *place)
{
    if (h->file < 0 || h->geometry.levels == 0)
        return false;
    place->level = number % h->geometry.levels;
    place->control = place->level * RING_CONTROL_STRIDE;
    place->data = RING_CONTROL_BYTES;
    for (uint32_t below = 0; below < place->level; below++)
        place->data += h->geometry.capacity[below];
    place->mask = h->geometry.capacity[place->level] - 1;
    return true;
}

static uint64_t control_word(const struct hostile *h, const struct place *place, size_t field)
{
    return memory_word(h, place->control + field);
}

#define CONTROL(field) offsetof(struct ring_control, field)

static uint64_t word_of(const struct hostile *h, const struct place *place, const struct step *step)
{
    uint64_t capacity = place->mask + 1, tail = h->tail[place->level];
    uint64_t head = control_word(h, place, CONTROL(head));
    const uint64_t bases[] = {tail,
                              control_word(h, place, CONTROL(tail)),
                              head,
                              head + capacity,
                              control_word(h, place, CONTROL(handed)),
                              tail + capacity - (tail & place->mask),
                              (uint64_t) step->large << 32,
                              0};
    uint64_t base = bases[step->small / 64 % 8];
    switch (step->small / 512 % 4) {
    case 0:
        return base + 8 * (uint64_t) (step->large % 8192);
    case 1:
        return base - 8 * (uint64_t) (step->large % 8192);
    case 2:
        return base + step->large;
    default:
        return base;
    }
}

static void hostile_word(const struct hostile *h, const struct step *step)
{
    static const size_t fields[] = {CONTROL(tail),   CONTROL(tail),   CONTROL(tail),   CONTROL(head),
                                    CONTROL(handed), CONTROL(wanted), CONTROL(asleep), CONTROL(tail)};
    struct place place;
    if (hostile_place(h, step->what / 64, &place))
        memory_write_word(h, place.control + fields[step->small / 8 % 8], word_of(h, &place, step));
}

/* One record at the tail, as an honest writer would commit it, or almost. */
static void record_put(struct hostile *h, const struct place *place, const struct step *step)
{
    static const uint32_t kinds[] = {RING_DATA, RING_DATA, RING_LARGE,   RING_LARGE,
                                     RING_GAP,  RING_WRAP, RING_INVALID, RING_HALF};
    uint32_t kind = kinds[step->small % 8];
    uint64_t *tail = &h->tail[place->level];
    uint64_t length = kind == RING_DATA ? step->large % (place->mask / 4 + 2) : sizeof(uint64_t);
    uint64_t rest = place->mask + 1 - (*tail & place->mask);
    uint64_t number = step->large / 64 % 20000;
    if (kind == RING_INVALID || kind > RING_GAP)
        length = 0;
    if (ring_record_bytes((size_t) length) > rest && (step->small & 0x400) == 0) {
        memory_write_word(h, place->data + (*tail & place->mask), (uint64_t) RING_WRAP << 32);
        *tail += rest;
    }
    uint64_t header = (length | (uint64_t) kind << 32) + (step->small & 0x800 ? step->large >> 16 : 0);
    memory_write_word(h, place->data + (*tail & place->mask), header);
    if (kind != RING_DATA)
        memory_write_word(h, place->data + (*tail & place->mask) + RING_HEADER, number);
    bool turns = kind == RING_WRAP || kind == RING_HALF;
    if (kind == RING_HALF)
        rest = rest > (place->mask + 1) / 2 ? rest - (place->mask + 1) / 2 : rest;
    *tail += turns ? rest : ring_record_bytes((size_t) length);
    h->sequence[place->level] += kind == RING_GAP ? number : !turns;
}

static void hostile_record(struct hostile *h, const struct step *step)
{
    struct place place;
    if (!hostile_place(h, step->what / 64, &place))
        return;
    for (unsigned count = 1 + (step->small & 8 ? step->small / 16 % 64 : 0); count > 0; count--)
        record_put(h, &place, step);
    memory_write_word(h, place.control + CONTROL(tail), h->tail[place.level]);
}

/* The packet, and the record that belongs to it. */
static void hostile_large_whole(struct hostile *h, const struct step *step)
{
    struct step part = *step;
    uint16_t rest = step->small & 0xf810;
    static const uint16_t places[] = {0, 4, 6, 7}; /* hostile_large's, of its levels */
    part.small = rest | places[h->geometry.levels == 0 ? 0 : step->what / 64 % h->geometry.levels % 4];
    part.what &= 63;
    hostile_large(h, &part);
    part = *step;
    part.small = rest | 3;
    hostile_record(h, &part);
}

/* A word at a place from which something may be read soon: a header, a payload. */
static void hostile_bytes(const struct hostile *h, const struct step *step)
{
    struct place place;
    if (!hostile_place(h, step->what / 64, &place))
        return;
    uint64_t at = step->small & 8 ? h->tail[place.level] : control_word(h, &place, CONTROL(handed));
    at += step->small / 16 * 8;
    if (step->small & 1)
        at = step->small * 8;
    uint64_t word = step->small & 2 ? step->large : (uint64_t) step->large << 32 | step->large >> 16;
    if (step->small & 4)
        word = (uint64_t) (step->large % 8) << 32 | step->large % 16384;
    memory_write_word(h, place.data + (at & place.mask & ~(uint64_t) 7), word);
}

/* Tries to take away what the slot has mapped. */
static void hostile_cut(const struct hostile *h, const struct step *step)
{
    if (h->file < 0)
        return;
    off_t at = (off_t) (step->large % 65536) * 8;
    switch (step->small / 64 % 4) {
    case 0:
        (void) ftruncate(h->file, at);
        break;
    case 1:
        (void) fallocate(h->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, 4096 + at);
        break;
    case 2:
        (void) ftruncate(h->file, 0);
        break;
    default:
        (void) fcntl(h->file, F_ADD_SEALS, F_SEAL_SHRINK << step->small % 5);
        break;
    }
}

static void hostile_bell(struct hostile *h, const struct step *step)
{
    if (h->doorbell < 0)
        hostile_listen(h);
    if (h->doorbell < 0)
        return;
    uint64_t amount = step->small & 64 ? UINT64_MAX - 1 : 1;
    (void) fcntl(h->doorbell, F_SETFL, O_NONBLOCK); /* I2 */
    for (unsigned i = 0; i <= step->small % 32; i++)
        (void) write(h->doorbell, &amount, sizeof amount);
    if (step->small & 128)
        (void) read(h->doorbell, &amount, sizeof amount);
    /* A shared description: its flags are everybody's who has it. */
    if (step->small & 256)
        (void) fcntl(h->doorbell, F_SETFL, step->small & 512 ? 0 : O_NONBLOCK);
}

bool hostile_can_ring(uint64_t writer)
{
    return writer >= 1 && writer <= HOSTILE_WRITERS && hostiles[writer - 1].doorbell >= 0;
}

void hostile_ring_all(void)
{
    for (unsigned i = 0; i < HOSTILE_WRITERS; i++) {
        struct step once = {.small = 128}; /* emptied, so that what is full can be rung again */
        if (hostiles[i].socket < 0)
            continue;
        hostile_bell(&hostiles[i], &once);
        hostile_bell(&hostiles[i], &(struct step){0});
    }
}

void hostile_do(const struct step *step, const struct sockaddr_un *address)
{
    static const unsigned char whose[] = {0, 0, 0, 0, 1, 1, 2, 0};
    struct hostile *h = &hostiles[whose[step->what % 8]];
    unsigned operation = step->operation % HOSTILE_OPERATIONS;
    if (operation == 0)
        hostile_connect(h, step, address);
    if (operation <= 1 && h->socket >= 0)
        hostile_hello(h, step);
    if (operation <= 1 || (h->socket < 0 && operation != 2))
        return;
    switch (operation) {
    case 2:
        hostile_vanish(h);
        break;
    case 3:
    case 4:
        hostile_word(h, step);
        break;
    case 5:
        hostile_bytes(h, step);
        break;
    case 6:
        hostile_large(h, step);
        break;
    case 7:
        hostile_packet(h, step);
        break;
    case 8:
        hostile_cut(h, step);
        break;
    case 9:
        hostile_bell(h, step);
        break;
    case 10:
        hostile_listen(h);
        break;
    case 11:
        (void) shutdown(h->socket, (int) (step->small % 3));
        break;
    case 12:
        hostile_large_whole(h, step);
        break;
    default:
        hostile_record(h, step);
        break;
    }
}
