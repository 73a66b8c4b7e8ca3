/* plain_linux.c: receives the packets of the plain lane.
 *
 * Path    recvmsg > the advised buffer, the rest of a larger packet into the overflow buffer > right-sized > the slot
 * Owners  The receiver's buffers belong to the call of slot_take that it is part of; a message's buffer passes on.
 * I1      Before a packet is taken there is room for PLAIN_PACKET_MAX bytes of it: what has been taken never has to
 *         wait for memory. If the packet spills over, the overflow buffer, which has room for all of it, becomes the
 *         message.
 * I2      A packet of 0 bytes carries credentials (SO_PASSCRED), the end of a connection carries nothing.
 * I3      A descriptor that was passed is given to the janitor, whatever else is wrong with its packet.
 * I4      A message that is dropped takes a number of the sequence with it, so that the hole shows.
 * Hostile Everything in a packet but the credentials is the peer's to choose; nothing of it is interpreted here. A
 *         process may name another pid, uid or gid of its own in SCM_CREDENTIALS only where the kernel lets it.
 */
#include "slots/plain_linux.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "slots/janitor_linux.h"
#include "slots/slot_message.h"

/* Below this a buffer that is too large is not worth a copy. */
#define SHRINK_FROM ((size_t) 1024)

struct packet {
    size_t length; /* the packet's own, even if it was truncated */
    struct ucred sender;
    bool credentials;
    bool rights;
    bool truncated;
};

/* Reads the ancillary data; unexpected descriptors go to the janitor (I3). */
static void control_read(struct packet *packet, struct msghdr *header)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level != SOL_SOCKET)
            continue;
        if (c->cmsg_type == SCM_CREDENTIALS && c->cmsg_len >= CMSG_LEN(sizeof packet->sender)) {
            memcpy(&packet->sender, CMSG_DATA(c), sizeof packet->sender);
            packet->credentials = true;
        } else if (c->cmsg_type == SCM_RIGHTS) {
            int descriptors[PLAIN_RIGHTS_MAX];
            size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            if (count > PLAIN_RIGHTS_MAX)
                count = PLAIN_RIGHTS_MAX;
            memcpy(descriptors, CMSG_DATA(c), count * sizeof(int));
            janitor_close(descriptors, count);
            packet->rights = true;
        }
    }
    packet->truncated = (header->msg_flags & MSG_TRUNC) != 0;
    if (header->msg_flags & MSG_CTRUNC)
        packet->rights = true; /* nobody else sends more than there is room for */
}

/* 0, or an error number; EAGAIN: nothing there; EPIPE: the end. */
static int packet_receive(int descriptor, struct plain_receiver *r, struct iovec *parts, size_t count,
                          struct packet *packet)
{
    int resets = 0;
    *packet = (struct packet){0};
    for (;;) {
        struct msghdr header = {
            .msg_iov = parts, .msg_iovlen = count, .msg_control = r->control, .msg_controllen = sizeof r->control};
        ssize_t length = recvmsg(descriptor, &header, MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);
        if (length >= 0) {
            control_read(packet, &header);
            packet->length = (size_t) length;
            return length == 0 && !packet->credentials ? EPIPE : 0; /* I2 */
        }
        /* A reset is reported once, before what had been sent. */
        if (errno != EINTR && (errno != ECONNRESET || ++resets > 1))
            return errno;
    }
}

static bool receiver_get(struct plain_receiver *r, struct buffer **buffer, size_t size, size_t *wanted)
{
    if (*buffer != NULL && (*buffer)->capacity >= size)
        return true;
    if (*buffer != NULL)
        buffer_release(*buffer, r->cache);
    *buffer = NULL;
    *wanted = size;
    return pool_get(r->pool, r->cache, size, false, buffer) == POOL_OK;
}

void plain_receiver_clear(struct plain_receiver *r)
{
    if (r->buffer != NULL)
        buffer_release(r->buffer, r->cache);
    if (r->overflow != NULL)
        buffer_release(r->overflow, r->cache);
    r->buffer = r->overflow = NULL;
}

/* Makes the packet, which has arrived, a message of its own (I1). */
static struct buffer *message_make(struct connection *c, struct plain_receiver *r, const struct packet *packet)
{
    struct buffer *buffer;
    if (packet->length <= r->buffer->capacity) {
        buffer = r->buffer;
        r->buffer = NULL;
    } else {
        buffer = r->overflow;
        r->overflow = NULL;
        memcpy(buffer_data(buffer), buffer_data(r->buffer), r->buffer->capacity);
    }
    *slot_message_of(buffer) = (struct slot_message){
        .public = {.sequence = c->sequence,
                   .sender = {.writer = c->writer,
                              .pid = (uint32_t) packet->sender.pid,
                              .uid = packet->sender.uid,
                              .gid = packet->sender.gid},
                   .priority = MR_NORMAL,
                   .lane = MR_LANE_PLAIN},
    };
    slot_message_finish(buffer, packet->length);
    if (buffer->capacity >= SHRINK_FROM && packet->length <= buffer->capacity / 2) {
        buffer = buffer_shrink(buffer, r->cache, false);
        slot_message_finish(buffer, packet->length);
    }
    return buffer;
}

enum received plain_receive(struct connection *c, struct plain_receiver *r, struct buffer **message, size_t *wanted)
{
    size_t advised = r->advisor->size < PLAIN_PACKET_MAX ? r->advisor->size : PLAIN_PACKET_MAX;
    if (!receiver_get(r, &r->buffer, advised, wanted) || !receiver_get(r, &r->overflow, PLAIN_PACKET_MAX, wanted))
        return RECEIVED_STARVED;
    size_t first = r->buffer->capacity;
    struct iovec parts[2] = {{buffer_data(r->buffer), first}, {NULL, 0}};
    size_t count = 1;
    if (first < r->overflow->capacity) {
        parts[1] = (struct iovec){(char *) buffer_data(r->overflow) + first, r->overflow->capacity - first};
        count = 2;
    }
    struct packet packet;
    int error = packet_receive(c->descriptor, r, parts, count, &packet);
    if (error == EAGAIN)
        return RECEIVED_NOTHING;
    if (error != 0)
        return RECEIVED_END;
    c->sequence++; /* I4 */
    if (packet.rights || !packet.credentials)
        c->violator = true;
    if (c->violator)
        return RECEIVED_VIOLATION;
    if (packet.truncated || packet.length > r->max_message)
        return RECEIVED_TOO_BIG;
    size_advisor_learn(r->advisor, packet.length);
    *message = message_make(c, r, &packet);
    return RECEIVED_MESSAGE;
}

uint64_t plain_drain(int descriptor)
{
    struct plain_receiver receiver;
    receiver.buffer = receiver.overflow = NULL;
    char nothing[1];
    uint64_t packets = 0;
    struct packet packet;
    int yes = 1;
    (void) setsockopt(descriptor, SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes); /* I2, also for a ring's socket */
    for (;;) {
        struct iovec part = {nothing, 0};
        if (packet_receive(descriptor, &receiver, &part, 1, &packet) != 0)
            return packets;
        packets++;
    }
}

void plain_shut_down(int descriptor)
{
    (void) shutdown(descriptor, SHUT_RD); /* ENOTCONN: the peer has gone, which is what is wanted */
}
