/* mailroom/message.h: a message as its reader sees it. */
#ifndef MAILROOM_MESSAGE_H
#define MAILROOM_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#include <mailroom/export.h>
#include <mailroom/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Levels of priority: higher is sooner. A slot has 1 to MR_LEVELS_MAX of them, 2 unless said otherwise. */
#define MR_NORMAL         0u
#define MR_URGENT         1u
#define MR_LEVELS_MAX     8u
#define MR_LEVELS_DEFAULT 2u

/* Largest message where the creator of the slot states none, in bytes. */
#define MR_MESSAGE_MAX_DEFAULT ((size_t) 16 * 1024 * 1024)

/* Time-outs are milliseconds. 0 does not wait. */
#define MR_FOREVER UINT32_MAX

/* By which way a message came. What each lane can and cannot tell is in docs/lanes.md. */
typedef enum mr_lane {
    MR_LANE_NONE = 0,
    MR_LANE_NATIVE = 1, /* a mailslot of Windows */
    MR_LANE_PLAIN = 2,  /* a packet through the slot's Unix socket */
    MR_LANE_RING = 3,   /* shared memory */
    MR_LANE_REMOTE = 4  /* another machine */
} mr_lane;

/* Who sent a message, as the system says it, not as the writer claims. Fields that a lane cannot tell are 0;
 * uid and gid are UINT32_MAX there (0 would be root). */
typedef struct mr_sender {
    uint64_t writer; /* tells this writer (a connection) from every other; random, never 0 on Linux */
    uint32_t pid;
    uint32_t uid;
    uint32_t gid;
} mr_sender;

/* One message. The struct and its data belong to the library; they hold until on_message returns, or until
 * mr_message_release where they were retained or received. Fields may be added at the end in later versions. */
typedef struct mr_message {
    const void *data;  /* followed by two NUL bytes that `length` does not count */
    size_t length;     /* bytes; 0 is a legal message */
    uint64_t sequence; /* counts this writer's messages of this priority from 1; a hole is a loss */
    mr_sender sender;
    uint32_t priority;    /* MR_NORMAL, MR_URGENT, … */
    mr_lane lane;         /* by which way it came */
    uint32_t redelivered; /* 1: may have been delivered before, to a reader that died */
} mr_message;

/* Keeps a message beyond its callback: the caller owes one mr_message_release for each call. A kept message
 * holds memory of the pool; at the pool's ceiling the slots stop taking and the writers wait. Any thread. */
MR_API const mr_message *mr_message_retain(const mr_message *message);

/* Gives back what mr_message_retain gave. NULL is ignored. Any thread. */
MR_API void mr_message_release(const mr_message *message);

/* Tells the writer that this message is done with: stored, answered, or not wanted. Until then the writer keeps it, and
 * sends it again to the slot's next reader if this one dies (`redelivered`). For readers with acknowledge_by_hand; for
 * others the library does it (a received message may be acknowledged sooner than by its release; inside on_message, a
 * second time, and where the lane has no acknowledgement: MR_OK, and nothing happens). In any order, on any thread,
 * also when the reader has been closed (then nothing happens). The message must still be held: inside on_message, or
 * retained, or received. MR_OK, MR_E_ARGUMENT (NULL), MR_E_FORKED. */
MR_API int mr_message_acknowledge(const mr_message *message);

/* The fields, for languages that cannot read the struct. */
MR_API const void *mr_message_data(const mr_message *message);
MR_API size_t mr_message_length(const mr_message *message);
MR_API uint64_t mr_message_sequence(const mr_message *message);
MR_API uint32_t mr_message_priority(const mr_message *message);
MR_API mr_lane mr_message_lane(const mr_message *message);
MR_API int mr_message_redelivered(const mr_message *message);
MR_API uint64_t mr_message_writer(const mr_message *message);
MR_API uint32_t mr_message_pid(const mr_message *message);
MR_API uint32_t mr_message_uid(const mr_message *message);
MR_API uint32_t mr_message_gid(const mr_message *message);

/* The lane's name: "native", "plain", "ring", "remote", "none". Static text. */
MR_API const char *mr_lane_name(mr_lane lane);

#ifdef __cplusplus
}
#endif

#endif
