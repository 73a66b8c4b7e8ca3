/* inbox.h: messages on their way from the slots' callbacks to the one thread that writes them out.
 *
 * A callback keeps the message, puts it into the inbox and returns: it never waits for an output. Above the inbox's
 * bound the slot that brings more is paused, so that its writers wait; below half of it all slots go on. */
#ifndef CLI_INBOX_H
#define CLI_INBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mailroom/port.h>
#include <mailroom/reader.h>

struct inbox;

/* One slot that feeds the inbox. */
struct inbox_slot {
    struct inbox *inbox;
    mr_reader *reader;
    char name[MR_NAME_MAX]; /* the short form */
    size_t index;
    atomic_bool paused;

    /* For whoever empties the inbox. */
    uint64_t messages;
    uint64_t bytes;
};

struct inbox_entry {
    struct inbox_entry *next;
    struct inbox_slot *slot;
    const mr_message *message;
};

struct inbox {
    _Atomic(struct inbox_entry *) newest; /* a stack: pushed by callbacks, taken as a whole */
    _Alignas(64) atomic_size_t pending_messages;
    atomic_size_t pending_bytes;
    atomic_uint_least64_t accepted;
    atomic_uint_least64_t surplus; /* messages beyond the limit that are lost: their writer has them no more */
    atomic_bool failed;            /* out of memory in a callback */
    uint64_t limit;                /* take this many and no more; UINT64_MAX: no limit */
    size_t count;
    struct inbox_slot **slots;
    mr_port *port;
};

/* Opens the port. `options` may be NULL. A status of the library. */
int inbox_open(struct inbox *inbox, uint64_t limit);

/* Opens a slot that feeds the inbox; `options` says all but port, callback and context. */
int inbox_add(struct inbox *inbox, const char *name, const mr_reader_options *options);

/* All that has come since the last call, in order for each slot, or NULL. */
struct inbox_entry *inbox_take(struct inbox *inbox);

/* Gives the entries back, from `first` up to but not including `end`: the first `written` of them are done with, and
 * acknowledged. Returns how many of the others are lost: those whose writers do not have them any more. */
uint64_t inbox_done(struct inbox *inbox, struct inbox_entry *first, const struct inbox_entry *end, uint64_t written);

/* Whether all messages of the limit have been accepted. */
bool inbox_full(const struct inbox *inbox);

/* Pauses every slot for good; what was accepted can still be taken. */
void inbox_stop(struct inbox *inbox);

/* Closes slots and port. Returns how many messages were taken from writers and given to nobody, and are lost. What the inbox
 * still holds is among them; what their writers still have is not. */
uint64_t inbox_close(struct inbox *inbox);

#endif
