/* mailroom/directory.h: which slots there are, and the memory that the process gives to messages. */
#ifndef MAILROOM_DIRECTORY_H
#define MAILROOM_DIRECTORY_H

#include <stddef.h>
#include <stdint.h>

#include <mailroom/export.h>
#include <mailroom/reader.h>
#include <mailroom/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a slot's statistics page says. It can be read also while the slot's owner is frozen. */
typedef struct mr_slot_entry {
    size_t size;           /* of this struct as the library knows it */
    const char *name;      /* \\.\mailslot\… as its creator spelled it */
    const char *directory; /* the slot directory it was found in */
    uint32_t pid;          /* of the owner */
    uint32_t uid;          /* of the owner */
    int readable;          /* 0: the page could not be read, the fields below are 0 */
    uint64_t max_message;  /* bytes */
    uint64_t waiting;      /* messages in the reader's queue */
    uint64_t waiting_bytes;
    uint64_t next_size; /* bytes, or UINT64_MAX where nothing waits */
    uint64_t waiting_peak;
    uint64_t messages; /* taken so far */
    uint64_t bytes;
    uint64_t dropped;                /* for every reason together */
    uint64_t refused;                /* connections, for every reason together */
    uint64_t connections;            /* open */
    uint64_t rings;                  /* writers with a ring */
    uint64_t dropped_by_writers;     /* messages that writers dropped by their own policies, and have told of */
    uint64_t redelivered;            /* messages that had perhaps been delivered before, to a reader that died */
    uint64_t unacknowledged;         /* messages taken from rings and not acknowledged */
    uint64_t waits;                  /* times that a writer that waited was told to go on */
    uint64_t doorbells;              /* times that a writer woke the slot */
    const mr_reader_writer *writers; /* the busiest, by bytes; shown less often than the figures */
    size_t writer_count;             /* of them here, at most 14 */
    uint64_t writers_total;
} mr_slot_entry;

/* Calls `visit` for each live slot that this user can see, in the order of their names, until it returns non-zero.
 * The entry holds during the call only. MR_OK, MR_E_MEMORY, MR_E_SYSTEM. Any thread, callbacks too. */
MR_API int mr_slots_list(int (*visit)(const mr_slot_entry *entry, void *context), void *context);

/* The path of the Unix socket that plain programs connect to (SOCK_SEQPACKET, a packet is a message) for the live slot
 * `name`, NUL-terminated into `buffer` of `size` bytes. The path may be longer than the 107 bytes of sun_path: then
 * connect through /proc/self/fd/N/ of its directory. MR_E_NAME, MR_E_NO_SLOT, MR_E_SMALL, MR_E_UNSUPPORTED (Windows). */
MR_API int mr_slot_path(const char *name, char *buffer, size_t size);

/* The ceiling of all memory that the process holds for messages, in bytes; default 256 MiB, at least 1 MiB. One eighth of it
 * is kept for urgent messages. To be called before the first port, reader or writer is opened: MR_E_ARGUMENT later. */
MR_API int mr_set_memory_ceiling(size_t bytes);

typedef struct mr_memory_statistics {
    size_t size;      /* of this struct, set by the caller */
    uint64_t ceiling; /* bytes */
    uint64_t used;    /* bytes taken from the allocator, caches included */
    uint64_t peak;
    uint64_t refusals; /* times that a request had to wait because of the ceiling */
} mr_memory_statistics;

MR_API int mr_get_memory_statistics(mr_memory_statistics *statistics);

#ifdef __cplusplus
}
#endif

#endif
