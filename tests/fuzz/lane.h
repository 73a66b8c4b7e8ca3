/* lane.h: the ends of the ring lane as fuzz_ring_lane.c has them: one writer that keeps the rules, several that do not.
 *
 * Path    fuzz_ring_lane.c (the slot, and what must hold) > honest_… (lane_honest.c), hostile_… (lane_hostile.c)
 * Owners  All of it is one thread's. A hostile step may run at any time, also inside slot_take, at the places where
 *         fuzz_ring_lane.c stands between the slot and the system.
 */
#ifndef TEST_FUZZ_LANE_H
#define TEST_FUZZ_LANE_H

#include <sys/un.h>

#include "program.h"
#include "slots/ring_hello_linux.h"

#define HOSTILE_WRITERS 3u
#define HONEST_WRITER   UINT64_C(0x686f6e657374)
#define HONEST_LEVELS   2u
#define HONEST_ROOM     8192u /* messages that can be committed and not delivered, with a margin */
#define HONEST_LARGE    ((size_t) 60000)
#define HONEST_GAP      UINT32_MAX
/* One kind of file that a slot must never close itself, because that may block. Its inode. */
extern uint64_t trap_inode;

/* A socket that is connected to the slot's STEM.ring; -1: nobody listens there, or its queue is full. */
int lane_connect(const struct sockaddr_un *address);

/* ---- the honest one ---- */

struct honest {
    int socket;
    int doorbell; /* -1 until the answer has come */
    int file;
    void *memory;
    struct ring_writer rings[HONEST_LEVELS];
    uint64_t sequence[HONEST_LEVELS];             /* of the last message committed */
    uint64_t delivered[HONEST_LEVELS];            /* … and delivered */
    uint32_t lengths[HONEST_LEVELS][HONEST_ROOM]; /* by sequence; HONEST_GAP: dropped, and told of */
    unsigned larges;
    bool told; /* RENAMED, or hung up: commits nothing more */
};

/* Connects and says its hello; what was committed and not delivered is sent again. */
void honest_connect(struct honest *h, const struct sockaddr_un *address);
void honest_end(struct honest *h);
/* Takes in what the slot has said. */
void honest_listen(struct honest *h);
/* Has the slot hung up? */
bool honest_is_over(const struct honest *h);

enum honest_wrote {
    HONEST_FULL,
    HONEST_WROTE,
    HONEST_RANG /* and the slot was asleep: the doorbell has been rung */
};

/* A message of this level and length; `large`: beside the ring; or a gap. */
enum honest_wrote honest_write(struct honest *h, uint32_t level, size_t length, bool large);
enum honest_wrote honest_gap(struct honest *h, uint32_t level, uint64_t count);

static inline uint64_t honest_seed(uint32_t level, uint64_t sequence)
{
    return sequence * HONEST_LEVELS + level;
}

/* One of its messages has been delivered: the next one, whole. */
void honest_receive(struct honest *h, uint32_t level, uint64_t sequence, const void *data, size_t length);
/* Has everything been delivered, and acknowledged? */
bool honest_is_delivered(struct honest *h);
bool honest_is_acknowledged(struct honest *h);

/* ---- the hostile ones ---- */

struct hostile {
    int socket; /* -1: not there */
    int doorbell;
    int file; /* the memory that it gave, or was going to */
    struct ring_geometry geometry;
    uint64_t tail[RING_LEVELS_MAX]; /* where an honest writer would be */
    uint64_t sequence[RING_LEVELS_MAX];
    uint64_t sent; /* connections so far */
};
extern struct hostile hostiles[HOSTILE_WRITERS];

#define HOSTILE_OPERATIONS 16u

/* Once. */
void hostile_prepare(void);
void hostile_reset(void);
/* One thing that a hostile writer does. */
void hostile_do(const struct step *step, const struct sockaddr_un *address);
/* Those who have a doorbell ring it, all of them. */
void hostile_ring_all(void);
/* Does the writer with this identity have a doorbell? */
bool hostile_can_ring(uint64_t writer);
/* All of them go. */
void hostile_end(void);
/* How many connections there have been. */
uint64_t hostile_connections(void);

#endif
