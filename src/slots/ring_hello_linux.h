/* ring_hello_linux.h: what writer and reader of a ring say to each other on the slot's second socket (STEM.ring), and
 * the memory that is handed over there.
 *
 *   writer ► HELLO (with the ring's memfd)                     once, at once after connecting; it may commit from
 *                                                              then on
 *   reader ► ANSWER (MR_OK with the doorbell, or the reason)   once; after a refusal the reader hangs up
 *                                                              A writer whose ring_commit asked for the doorbell before
 *                                                              it had one rings it as soon as it has: the reader may have
 *                                                              looked, and gone to sleep, in between
 *   writer ► LARGE (with a sealed memfd)                       before the RING_LARGE record is committed
 *   reader ► REACHED                                           head has come to the `wanted` of some level (ring.h, N)
 *   reader ► RENAMED                                           the name has gone: commit nothing more. What was
 *                                                              committed is still taken; then the reader hangs up, and what it
 *                                                              had not acknowledged by then is the writer's again
 *
 * One SOCK_SEQPACKET packet each, of exactly the struct below. Anything else is a violation: the peer is dropped.
 *
 * Hostile The reader has the kernel confirm everything about the memory before it maps it: that it is a memfd on tmpfs
 *         of the very size that the geometry makes, and sealed against shrinking, growing and further seals (so no access
 *         to the mapping can ever raise SIGBUS). A LARGE one is sealed against writing too, and never mapped. All
 *         figures are taken from the packet, never from the memory.
 * Owners  Descriptors that a function here receives belong to its caller; those that it is given stay the caller's.
 */
#ifndef SLOTS_RING_HELLO_LINUX_H
#define SLOTS_RING_HELLO_LINUX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "slots/ring.h"

#define RING_MAGIC   UINT32_C(0x314e524d) /* "MRN1" */
#define RING_VERSION 2u

/* What the writer may have committed and unacknowledged in one ring before the answer has come, in bytes: so much a
 * reader that accepts the writer at all always accepts, whatever its ceiling. */
#define RING_FIRST_BYTES ((uint32_t) 64 << 10)
/* RING_LARGE records that may be unacknowledged at a time, over all levels. */
#define RING_LARGE_MOST 16u

enum ring_packet_type { PACKET_HELLO = 1, PACKET_ANSWER, PACKET_LARGE, PACKET_REACHED, PACKET_RENAMED };

enum ring_flag {
    RING_FLAG_BARRIER = 1 /* the sender is registered for, and can make, barriers (ring.h, B) */
};

/* Every packet begins so. */
struct ring_packet {
    uint32_t magic;
    uint16_t version;
    uint16_t type;
    uint32_t flags;
    uint32_t zero;
};

struct ring_hello {
    struct ring_packet packet;
    uint64_t writer; /* the writer's identity, random, not 0: the same in all its connections */
    struct ring_geometry geometry;
    uint32_t zero;
    uint64_t sequence[RING_LEVELS_MAX];    /* of the first record (position 0), from 1 */
    uint64_t redelivered[RING_LEVELS_MAX]; /* position: records that begin before it may have been delivered already */
};

struct ring_answer {
    struct ring_packet packet;
    int32_t status;  /* MR_OK; MR_E_ACCESS; MR_E_FULL: too many connections or too much mapped: then see ring_bytes;
                     * MR_E_ARGUMENT: hello or memory break the rules; MR_E_DESCRIPTORS, MR_E_MEMORY */
    uint32_t levels; /* of the slot */
    uint64_t max_message; /* bytes */
    uint64_t ring_bytes;  /* with MR_E_FULL: the largest capacity of a ring that is accepted now; 0: none */
};

struct ring_large {
    struct ring_packet packet;
    uint32_t level;
    uint32_t zero;
    uint64_t sequence; /* of the message that it belongs to */
    uint64_t length;   /* bytes, the file's size */
};

/* The reader's other packets are a bare struct ring_packet. */

/* ---- memory ---- */

/* The writer's: makes the memfd, full of zeros, with its seals, and maps it (MADV_DONTFORK).
 * MR_E_DESCRIPTORS, MR_E_MEMORY, MR_E_SYSTEM. */
int ring_memory_make(const struct ring_geometry *geometry, int *fd, void **memory);
/* The reader's: has the kernel confirm `fd`, and maps it (MADV_DONTFORK). MR_E_ARGUMENT: it is not what the geometry
 * says, with a sentence; MR_E_MEMORY, MR_E_SYSTEM. */
int ring_memory_take(const struct ring_geometry *geometry, int fd, void **memory);
void ring_memory_free(const struct ring_geometry *geometry, void *memory);

/* A large message's memfd, written and sealed. MR_E_DESCRIPTORS, MR_E_MEMORY, MR_E_SYSTEM. */
int ring_large_make(const void *data, size_t length, int *fd);
/* MR_E_ARGUMENT: not sealed, not tmpfs, not `length` bytes; or any other kind of descriptor. */
int ring_large_check(int fd, uint64_t length);
/* Reads what has been checked whole into `data`. MR_E_ARGUMENT: that failed. */
int ring_large_read(int fd, void *data, size_t length);

/* ---- packets ---- */

void ring_packet_init(struct ring_packet *packet, enum ring_packet_type type, uint32_t flags);

/* Sends one packet (its first member is a struct ring_packet) with a descriptor or none (-1). Never blocks.
 * MR_OK; MR_E_FULL: no room in the socket; MR_E_GONE; MR_E_SYSTEM. */
int ring_packet_send(int socket, const void *packet, size_t size, int descriptor);

union ring_any_packet {
    struct ring_packet packet;
    struct ring_hello hello;
    struct ring_answer answer;
    struct ring_large large;
};

/* Receives one packet. Never blocks. *descriptor: the one that came with it, or -1. HELLO and LARGE have one, an
 * ANSWER may, the others have none; another number, or a size that is not the type's: MR_E_ARGUMENT, and they went to
 * the janitor. MR_OK; MR_E_FULL: nothing there; MR_E_GONE: the peer has hung up, and nothing is left; MR_E_ARGUMENT;
 * MR_E_DESCRIPTORS: a packet is lost, because this process has no number left for what came with it; MR_E_SYSTEM. Only
 * the frame is checked here (magic, version, type, size, descriptors, `zero` fields); what the figures mean is the
 * caller's. */
int ring_packet_receive(int socket, union ring_any_packet *packet, int *descriptor);

#endif
