/* link_fake.h: slots/backend.h's writing end in memory, with faults by countdown. Link link_fake.c into a test program,
 * and the library's own link is left out. All functions may be called on any thread.
 *
 * After fake_acknowledges(true) links are like the ring's: each keeps what it has sent until the slot acknowledges it
 * (fake_drain), sends it again to the next slot of the name, and is full by level. */
#ifndef TEST_SUPPORT_LINK_FAKE_H
#define TEST_SUPPORT_LINK_FAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_SLOTS   4u
#define FAKE_LOG_MAX 400000u

/* One message that was handed over, in the order in which that happened over all slots. Messages of at least eight
 * bytes begin with their number. */
struct fake_entry {
    uint64_t number;
    size_t length;
    uint32_t level;
    uint32_t slot;
    bool redelivered; /* not for the first time */
    uint64_t gap;     /* not 0: no message, but word of so many that were dropped here */
};

struct fake_counts {
    uint64_t connects; /* calls of link_connect that were no no-ops */
    uint64_t sends;    /* calls of link_send */
    uint64_t waits;
    uint64_t watches;
    uint64_t awaits;       /* calls of link_await */
    uint64_t watched_ends; /* calls of link_watch_mark */
    uint64_t links;        /* open now */
};

/* The slot fake_name(number): live or not. Going down ends its connections; coming up, it is empty. */
const char *fake_name(uint32_t number);
void fake_live(uint32_t number, bool live);
/* Whether links acknowledge that are opened from now on. */
void fake_acknowledges(bool acknowledges);
/* How many messages it holds before it is full; beginning: no bound. For a link that acknowledges: how many of a level may
 * be unacknowledged. */
void fake_capacity(uint32_t number, size_t messages);
/* It acknowledges whatever comes, at once; and what is there. */
void fake_drain_always(uint32_t number, bool always);
/* Goes down as a slot that gets another name does: what links that acknowledge have sent, it may still acknowledge. */
void fake_leave(uint32_t number);
/* Refuses the links that are connected and acknowledge: their next send, or their wait, is MR_E_ACCESS. */
void fake_refuse(uint32_t number);
/* Takes up to `messages` out of it: acknowledges them, the oldest of a link and of its highest level first. */
void fake_drain(uint32_t number, size_t messages);
void fake_max_message(uint32_t number, size_t bytes);
/* What connecting to it results in while it is live: MR_OK; MR_E_ACCESS, …; MR_E_TIMEOUT: its queue of connections is
 * full, so that link_connect waits for its deadline. */
void fake_connect_result(uint32_t number, int status);

/* The send after `countdown` others, over all slots, results in `status` (MR_E_FULL: link_wait and link_watch return at
 * once; MR_E_GONE; MR_E_SYSTEM). One fault is set at a time. */
void fake_send_fault(uint64_t countdown, int status);

/* The send of this number (fake_counts().sends at its beginning; the first is 1) waits until another is named here, or
 * 0, for meeting it half-way. */
void fake_hold_send(uint64_t number);
/* link_send takes this long. */
void fake_send_time(uint64_t nanoseconds);

struct fake_counts fake_counts(void);
/* Waits until so many calls of a function have been made (each counted at its beginning). That of connects returns when
 * the last of them began, by clock_now, if not more than FAKE_TIMES have come since. */
#define FAKE_TIMES 64u
uint64_t fake_await_connects(uint64_t count);
void fake_await_sends(uint64_t count);
void fake_await_waits(uint64_t count);
void fake_await_watches(uint64_t count);
void fake_await_awaits(uint64_t count);
void fake_await_watched_ends(uint64_t count);
/* Waits until so many messages have been handed over. */
void fake_await_log(size_t count);
/* Forgets what has been handed over so far. */
void fake_log_clear(void);
/* Copies the log's entries from `from` on; returns how many there are in all. */
size_t fake_log(struct fake_entry *entries, size_t from, size_t count);

#endif
