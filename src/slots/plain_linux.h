/* plain_linux.h: the plain lane. One connection of SOCK_SEQPACKET, a packet is a message.
 *
 * Path    accept > connection_open > [ plain_receive ]* > RECEIVED_END > connection_close
 * Owners  A connection belongs to its slot and is touched only by the thread that is inside slot_take (or slot_rename,
 *         slot_close, which exclude it).
 */
#ifndef SLOTS_PLAIN_LINUX_H
#define SLOTS_PLAIN_LINUX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "queue/buffer_pool.h"
#include "slots/slot_turn_linux.h"

/* The largest packet that is taken, in bytes: room for it is held during each turn. */
#define PLAIN_PACKET_MAX ((size_t) 256 * 1024)
/* SCM_MAX_FD of the kernel. */
#define PLAIN_RIGHTS_MAX 253u
/* What a connection counts against the pool's ceiling: itself, and about what the kernel holds for it. */
#define PLAIN_CONNECTION_CHARGE ((size_t) 2048)

struct connection {
    struct slot_source source;
    struct slot_turn turn;   /* the slot's ready list */
    struct connection *next; /* all of the slot's, in no order */
    struct connection *previous;
    int descriptor;
    bool violator; /* has broken the rules: what it had sent is counted, not delivered */
    bool banished; /* … and has been shut down for it */
    uint32_t uid;  /* whose quota it counts against */
    uint32_t pid;  /* who connected, by the kernel's word */
    uint32_t gid;
    uint64_t name; /* which of the slot's names it connected to: the first, the second, … */
    uint64_t writer;
    uint64_t sequence; /* of the last message */

    /* Stored by the taking thread, read by any that keeps it from being closed. */
    _Atomic uint64_t messages;
    _Atomic uint64_t bytes;
};

/* What the receives of one call of slot_take share. Zero it, set the first four, clear it with plain_receiver_clear. */
struct plain_receiver {
    struct buffer_pool *pool;
    struct pool_cache *cache;
    struct size_advisor *advisor;
    size_t max_message;

    /* private */
    struct buffer *buffer;   /* the next message's, as large as advised */
    struct buffer *overflow; /* where the rest of a larger one goes: with PLAIN_PACKET_MAX of room */
    /* for descriptors and credentials (a pid, a uid, a gid) */
    _Alignas(size_t) char control[CMSG_SPACE(PLAIN_RIGHTS_MAX * sizeof(int)) + CMSG_SPACE(3 * sizeof(int))];
};

enum received {
    RECEIVED_MESSAGE,   /* *message, complete */
    RECEIVED_NOTHING,   /* nothing there now */
    RECEIVED_TOO_BIG,   /* a message was dropped: larger than the lane or the slot takes */
    RECEIVED_VIOLATION, /* a message was dropped: its sender has broken the rules */
    RECEIVED_STARVED,   /* the pool has no buffer of *wanted bytes; nothing was taken */
    RECEIVED_END        /* the peer has gone, and everything that it had sent was taken */
};

/* Takes one packet of `c`. Never blocks. */
enum received plain_receive(struct connection *c, struct plain_receiver *r, struct buffer **message, size_t *wanted);

/* Gives the receiver's buffers back. */
void plain_receiver_clear(struct plain_receiver *r);

/* Takes and throws away everything that has been sent on `descriptor`, descriptors in it too; returns the number of
 * packets. The caller has shut it down, so that this ends. */
uint64_t plain_drain(int descriptor);

/* Refuses what the peer may send from now on; what it has sent stays to be taken, and then comes RECEIVED_END. */
void plain_shut_down(int descriptor);

#endif
