/* slot_fake.h: slots/backend.h's reading end in memory: one slot, whose messages the test puts there, by whatever lane.
 * Link slot_fake.c into a test program, and the library's own slot is left out. All functions may be called on any
 * thread. It holds the reader to the contract: a call that must not come ends the test. */
#ifndef TEST_SUPPORT_SLOT_FAKE_H
#define TEST_SUPPORT_SLOT_FAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mailroom/message.h>

#define FAKE_WRITERS      8u
#define FAKE_MESSAGES_MAX 200000u

/* Puts a message there: eight bytes, its number, and as many zeros behind it as make `length`. Returns its index.
 * Messages of one writer and level come in the order in which they were put; urgent ones first. */
size_t fake_put(uint32_t writer, mr_lane lane, uint32_t level, uint64_t number);
size_t fake_put_long(uint32_t writer, mr_lane lane, uint32_t level, uint64_t number, size_t length);

/* Forgets every message; there is no slot. */
void fake_clear(void);

/* Runs before each message that slot_take brings, without a lock, on the taking thread; NULL: nothing. */
void fake_before_each(void (*hook)(void *context), void *context);

struct fake_slot_counts {
    uint64_t takes;        /* calls of slot_take */
    uint64_t refused;      /* messages that the reader would not have */
    uint64_t acknowledged; /* messages */
    uint64_t again;        /* acknowledgements of messages that were acknowledged, or whose slot had gone */
    uint64_t starved;      /* messages that the pool had no memory for */
    uint64_t arms;         /* calls of slot_arm */
    uint64_t waits;        /* … of slot_wait */
    uint64_t renames;
    uint64_t publishes;
    uint64_t waiting;   /* messages that nobody has taken */
    bool takeable;      /* by the last slot_signal */
    bool paused;        /* … */
    bool acknowledging; /* slot_config.acknowledged_later */
    uint32_t window;    /* options.acknowledge_window */
};
struct fake_slot_counts fake_slot_counts(void);
bool fake_acknowledged(size_t index);
/* Waits for so many calls of slot_wait; of slot_arm; for so many times that the pool refused memory; for so many
 * messages that are acknowledged. */
void fake_await_waits(uint64_t times);
void fake_await_arms(uint64_t times);
void fake_await_starved(uint64_t times);
void fake_await_acknowledged(uint64_t count);

#endif
