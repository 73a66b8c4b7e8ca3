/* mailroom/reader.h: the reading end of a slot. Who opens a reader creates the slot and owns its name. */
#ifndef MAILROOM_READER_H
#define MAILROOM_READER_H

#include <stddef.h>
#include <stdint.h>

#include <mailroom/export.h>
#include <mailroom/message.h>
#include <mailroom/port.h>
#include <mailroom/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mr_reader mr_reader;

/* Called once for each message, by a worker of the reader's port. Messages of one reader come one at a time and in
 * order. The callback may block; it may call every function of Mailroom that does not say otherwise. */
typedef void (*mr_on_message)(mr_reader *reader, const mr_message *message, void *context);

/* Called once when a reader that was closed inside its own callback has gone; `lost` is the number of unread messages.
 * `reader` is only a number by then. */
typedef void (*mr_reader_on_closed)(mr_reader *reader, uint64_t lost, void *context);

/* Says at which level a message goes on that came without one: what plain programs write (plain and native lane).
 * Called once for each, before it is queued, on whatever thread takes it; `message->priority` is MR_NORMAL. Above the
 * slot's levels means the highest. It must not block, nor call a function on the reader. */
typedef uint32_t (*mr_classify)(const mr_message *message, void *context);

/* Who may write to a slot. The reader's own user and root always may. */
typedef enum mr_access {
    MR_ACCESS_OWNER = 0,    /* the user who opened the reader, and root */
    MR_ACCESS_GROUP = 1,    /* also members of `access_group` */
    MR_ACCESS_EVERYONE = 2, /* every user of the machine */
    MR_ACCESS_LIST = 3      /* also the listed users and members of the listed groups */
} mr_access;

/* GetMailslotInfo's MAILSLOT_NO_MESSAGE. */
#define MR_NO_MESSAGE ((size_t) -1)

/* A read's time-out that stands for the reader's own one (mr_reader_set_timeout). */
#define MR_READER_TIMEOUT (UINT32_MAX - 1)

typedef struct mr_reader_options {
    size_t size;              /* of this struct, set by the macro or the init function */
    mr_port *port;            /* needed for on_message; NULL: read by calls, or by a foreign loop (mr_reader_fd) */
    mr_on_message on_message; /* NULL: the reader is read by calls */
    mr_reader_on_closed on_closed;
    void *context;                /* handed to the callbacks */
    size_t max_message;           /* bytes, at most SIZE_MAX / 2; 0: MR_MESSAGE_MAX_DEFAULT */
    uint32_t timeout_ms;          /* of reads with MR_READER_TIMEOUT; changed by mr_reader_set_timeout */
    uint32_t queue_messages;      /* bound of what waits in the reader's queue; 0: 1,024 */
    size_t queue_bytes;           /* the same in bytes; 0: 4 MiB. Once either is reached the reader stops taking, the
                                   * writers wait; the message that reaches it is taken whole. Beside it there is room
                                   * for 64 urgent messages, and an eighth of the bytes */
    uint32_t levels;              /* 1 to MR_LEVELS_MAX; 0: MR_LEVELS_DEFAULT */
    uint32_t connections_per_uid; /* connections that one user may hold, root's own included; 0: 1,024 */
    mr_access access;
    uint32_t access_group;       /* gid, with MR_ACCESS_GROUP; UINT32_MAX: the process's own group */
    const uint32_t *access_uids; /* with MR_ACCESS_LIST; copied */
    size_t access_uid_count;
    const uint32_t *access_gids; /* with MR_ACCESS_LIST; copied */
    size_t access_gid_count;
    mr_classify classify;    /* NULL: such messages are MR_NORMAL. Gets `context` */
    const char *access_sddl; /* Windows: who may write, as a security descriptor in SDDL, instead of `access`; copied */
    int access_remote;       /* Windows: 1: other machines may write as well, as far as `access` lets them */
    int acknowledge_by_hand; /* 1: messages are acknowledged by mr_message_acknowledge alone; 0: by themselves, when
                              * on_message returns, or a received message is released. What mr_reader_read has copied
                              * is acknowledged in either case */
    uint32_t acknowledge_window; /* messages of one writer and level that may be unacknowledged until nothing more is
                                  * taken of it, at most 1,048,576; 0: 4,096 */
    uint32_t spin_us; /* look so many microseconds (at most 1,000) for more before sleeping, as long as it pays: gives a
                       * processor away for speed; 0: never */
} mr_reader_options;

#define MR_READER_OPTIONS_INIT                                                                                     \
    {                                                                                                              \
        sizeof(mr_reader_options), NULL, NULL, NULL, NULL, 0, MR_FOREVER, 0, 0, 0, 0, MR_ACCESS_OWNER, UINT32_MAX, \
            NULL, 0, NULL, 0, NULL, NULL, 0, 0, 0, 0                                                               \
    }
MR_API void mr_reader_options_init(mr_reader_options *options);

typedef struct mr_reader_information {
    size_t max_message; /* bytes */
    size_t next_size;   /* bytes of the message that the next read returns, or MR_NO_MESSAGE */
    uint64_t count; /* messages that wait in the reader's queue, and on Windows in the system's (what writers still hold
                           is not in it) */
    uint32_t timeout_ms;
} mr_reader_information;

typedef struct mr_reader_statistics {
    size_t size;                /* of this struct, set by the caller */
    uint64_t messages;          /* taken from writers so far */
    uint64_t bytes;             /* of them */
    uint64_t delivered;         /* handed to on_message, or returned by reads */
    uint64_t dropped_too_big;   /* messages above max_message, or above what the lane carries */
    uint64_t dropped_violation; /* messages refused with the connection, because the peer broke the rules */
    uint64_t dropped_unread;  /* Windows: in the system's queue when a rename ended the old name, and not to be kept */
    uint64_t dropped_refused; /* messages that came on connections refused by access rule or quota, before that */
    uint64_t refused_access;  /* connections refused by the access rule */
    uint64_t refused_quota;   /* … by connections_per_uid */
    uint64_t refused_descriptors; /* … because the process had no descriptor, or no memory, left */
    uint64_t violations;          /* connections ended because the peer broke the rules (passed descriptors, …) */
    uint64_t connections;         /* open at this moment */
    uint64_t waiting;             /* messages in the queue at this moment */
    uint64_t waiting_bytes;
    uint64_t waiting_peak;       /* high-water mark of `waiting` */
    uint64_t rings;              /* writers with a ring at this moment; they are among the connections */
    uint64_t ring_bytes;         /* memory of theirs that is mapped here */
    uint64_t dropped_by_writers; /* messages that writers dropped by their own policies, and have told of */
    uint64_t redelivered;        /* messages that came with `redelivered` set */
    uint64_t unacknowledged;     /* messages taken from rings and not acknowledged, at this moment */
    uint64_t doorbells;          /* times that a writer's doorbell woke the slot */
    uint64_t waits;              /* times that a writer that waited was told to go on */
} mr_reader_statistics;

/* One writer as its slot sees it. */
typedef struct mr_reader_writer {
    mr_sender sender;
    mr_lane lane;
    uint32_t gone;           /* 1: it has gone, and what it had sent is still being taken */
    uint64_t messages;       /* taken from it */
    uint64_t bytes;          /* of them */
    uint64_t dropped;        /* messages that it dropped by its own policy, and has told of */
    uint64_t waiting;        /* bytes that it has committed and nobody has taken yet (ring), at this moment */
    uint64_t waiting_peak;   /* high-water mark of `waiting`, as seen when something was taken */
    uint64_t waits;          /* times that it waited, for room or for an acknowledgement, and was told to go on */
    uint64_t doorbells;      /* times that it woke the slot */
    uint64_t unacknowledged; /* messages taken from it and not acknowledged, at this moment */
} mr_reader_writer;

/* Creates a slot and opens its reader. `name` is UTF-8: `\\.\mailslot\[path\]name`, or a bare `name` for the same.
 * `options` may be NULL: no port, read by calls.
 * Returns MR_OK and *reader (close it with mr_reader_close), or
 *   MR_E_NAME         the text is no name, or names another machine
 *   MR_E_EXISTS       a live slot has the name; mr_last_error_text says which process holds it
 *   MR_E_ACCESS       no slot directory that this user may create in, or one that is not safe to use
 *   MR_E_ARGUMENT     an option is out of its range, or on_message without a port
 *   MR_E_DESCRIPTORS, MR_E_MEMORY, MR_E_SYSTEM.
 * The name is live, with its final permissions, from the moment it appears. A name left by a dead process is taken
 * over. Any thread, callbacks too. Mirrors CreateMailslot. */
MR_NODISCARD MR_API int mr_reader_open(mr_reader **reader, const char *name, const mr_reader_options *options);

/* Ends the slot: the name goes, blocked reads return MR_E_STOPPED, a running callback is awaited, and what still
 * waits is lost and counted, but for what its writer still has, because it was not acknowledged: that goes to the next
 * reader. Returns MR_OK, or MR_E_UNREAD where messages were lost (the reader is closed all the same); *lost, if not
 * NULL, is their number. Inside the reader's own callback the end comes after the callback:
 * MR_OK at once, and on_closed tells. Two callbacks that close each other's readers would wait for each other for ever:
 * let one owner close both. MR_E_FORKED in a forked child (whose copies of the descriptors are closed; the
 * parent's slot lives on). NULL is MR_OK. The handle is invalid afterwards in every case. Any thread. */
MR_API int mr_reader_close(mr_reader *reader, uint64_t *lost);

/* Copies the next message into `buffer` (at most `size` bytes), waiting for it up to `timeout_ms` milliseconds
 * (0, MR_FOREVER, MR_READER_TIMEOUT). *length is its length; two NUL bytes follow it where the buffer has the room.
 * MR_OK; MR_E_TIMEOUT after that time and not before; MR_E_SMALL with *length the needed size: the message stays;
 * MR_E_STOPPED by mr_reader_stop or a close; MR_E_MODE if the reader has on_message; MR_E_FORKED; MR_E_ARGUMENT.
 * The message is acknowledged, also with acknowledge_by_hand: nobody else could. An urgent one that has come (some
 * microseconds before) is among the next two that are read, however many wait. Any thread, several at once (each
 * message goes to one of them).
 * Mirrors ReadFile on a mailslot. */
MR_NODISCARD MR_API int mr_reader_read(mr_reader *reader, void *buffer, size_t size, size_t *length,
                                       uint32_t timeout_ms);

/* The pulling form that keeps everything: *message is the next message, the caller's until mr_message_release, with
 * sender, priority, sequence. It is acknowledged at that release (the first, where it was retained as well), or by
 * mr_message_acknowledge alone where the reader has acknowledge_by_hand. Waits, and fails, as mr_reader_read does (but
 * for MR_E_SMALL). Any thread, several at once. */
MR_NODISCARD MR_API int mr_reader_receive(mr_reader *reader, const mr_message **message, uint32_t timeout_ms);

/* Up to `room` messages in one call: waits for the first one as mr_reader_receive does, takes what else is there
 * without waiting. *count of them, in order, with MR_OK. */
MR_NODISCARD MR_API int mr_reader_receive_many(mr_reader *reader, const mr_message **messages, size_t room,
                                               size_t *count, uint32_t timeout_ms);

/* What waits, without consuming any of it: a reader that is read by calls first takes from the writers what its queue
 * has room for. MR_OK, MR_E_FORKED, MR_E_ARGUMENT. Any thread, callbacks too.
 * Mirrors GetMailslotInfo. */
MR_API int mr_reader_info(mr_reader *reader, mr_reader_information *information);

/* Changes the time-out of reads with MR_READER_TIMEOUT, also of those that begin later only; one that blocks already
 * keeps what it began with. Any thread. Mirrors SetMailslotInfo. */
MR_API int mr_reader_set_timeout(mr_reader *reader, uint32_t timeout_ms);

/* Wakes every blocked read with MR_E_STOPPED, at once, and lets later ones return it, until mr_reader_restart.
 * Nothing is consumed or lost. In callback mode it acts like mr_reader_pause. Any thread. Mirrors CancelIoEx. */
MR_API int mr_reader_stop(mr_reader *reader);
MR_API int mr_reader_restart(mr_reader *reader);

/* Stops taking messages: on_message is not called (a callback that runs ends first, on its own thread), the queue
 * fills, and the pressure reaches the writers. mr_reader_resume goes on. Any thread, callbacks too. Calls do not nest.
 * In call mode reads still return what waits in the queue; nothing further is taken from writers. */
MR_API int mr_reader_pause(mr_reader *reader);
MR_API int mr_reader_resume(mr_reader *reader);

/* Gives the slot another name. The new name is held before the old one is let go. Writers of the old name see it gone;
 * messages already waiting in the reader's queue stay and are delivered, and so is what had been sent to the old name,
 * before anything that is sent to the new one. The name it already has is a no-op.
 * On an error the old name stays: MR_E_NAME, MR_E_EXISTS, MR_E_ACCESS, MR_E_DESCRIPTORS, MR_E_SYSTEM, MR_E_FORKED.
 * Any thread, callbacks too. */
MR_NODISCARD MR_API int mr_reader_rename(mr_reader *reader, const char *name);

/* A descriptor that polls readable (level-triggered) while something can be read, for libuv, asyncio, GLib, sd-event.
 * It stays the reader's: never read, write or close it. After it, mr_reader_read with time-out 0 until MR_E_TIMEOUT.
 * While the reader is paused or stopped, or the pool is at its ceiling, arrivals do not make it readable.
 * MR_E_MODE if the reader has on_message, MR_E_DESCRIPTORS, MR_E_FORKED, MR_E_UNSUPPORTED on Windows. Any thread. */
MR_API int mr_reader_fd(mr_reader *reader, intptr_t *descriptor);

/* The same for loops on Windows: an event (HANDLE) that is signalled while something can be read, for
 * WaitForMultipleObjects and RegisterWaitForSingleObject. Never set, reset or close it. MR_E_MODE if the reader has
 * on_message, MR_E_UNSUPPORTED elsewhere. Any thread. */
MR_API int mr_reader_event(mr_reader *reader, intptr_t *event);

/* The slot's full name as its creator spelled it, `\\.\mailslot\…`, NUL-terminated. MR_E_SMALL if `size` (bytes) does
 * not do; MR_NAME_MAX always does. Any thread. */
#define MR_NAME_MAX 1024
MR_API int mr_reader_get_name(mr_reader *reader, char *buffer, size_t size);

/* The reader's counters. MR_OK, MR_E_ARGUMENT, MR_E_FORKED. Any thread, callbacks too. */
MR_API int mr_reader_get_statistics(mr_reader *reader, mr_reader_statistics *statistics);

/* The slot's writers, the busiest (by bytes) first: who is flooding, who waits. Fills up to `room` of `writers`; *count
 * is how many there are (it may be more). MR_OK, MR_E_ARGUMENT, MR_E_FORKED. Any thread, callbacks too. */
MR_API int mr_reader_get_writers(mr_reader *reader, mr_reader_writer *writers, size_t room, size_t *count);

#ifdef __cplusplus
}
#endif

#endif
