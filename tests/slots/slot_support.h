/* slot_support.h: what the tests of slots share on every platform: a slot directory of their own, the lanes, clients that
 * send by them, and waiting for events. Every function ends the test where it fails, unless it says otherwise. */
#ifndef TEST_SLOTS_SLOT_SUPPORT_H
#define TEST_SLOTS_SLOT_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mailroom/mailroom.h>

#include "queue/thread.h"
#include "test.h"

/* An empty slot directory for this process and its children (MAILROOM_DIR); removed when the process exits. */
void slots_begin(void);

mr_port *slots_port(uint32_t concurrency, uint32_t workers_max);

/* Opens a reader; options may be NULL. */
mr_reader *slots_reader(const char *name, const mr_reader_options *options);

/* Ends a reader of which nothing is unread. */
void slots_close(mr_reader *reader);

/* Reads the next message, waiting for it, and compares it with a text. */
void slots_expect(mr_reader *reader, const char *text);

mr_reader_statistics slots_statistics(mr_reader *reader);

/* Does the system carry messages to slots of other machines? */
extern const bool slots_reach_other_machines;

/* The lane that a library writer takes here. */
extern const char *const slots_default_lane;

/* Do readers know how many writers are connected? */
extern const bool slots_tell_connections;

/* The lane of this run: what one text is tested over. The environment variable MR_TEST_LANE names it (ctest runs a program
 * for each lane of the platform); without it, it is the one that library writers take. What the lanes do differently, by
 * docs/lanes.md, stands in slot_support.c's table, and in the tests only as one of its columns. */
struct slot_lane {
    const char *name;
    mr_lane lane;      /* what a message is told to have come by */
    bool raw;          /* clients are plain programs; else library writers */
    bool acknowledges; /* what was handed over and is unread stays the writer's: flush and close wait for the reader,
                            * and a reader that closes has lost nothing of a writer that lives */
    bool stays;        /* a writer is the same to the next reader, and its numbers go on */
    bool levels;       /* one way for each level: an urgent message overtakes what was handed over, not only what is
                            * posted, and the reader is told the level */
    bool refuses;      /* a message that is too large does not leave its client; else the reader drops and counts it */
    size_t largest;    /* bytes of a message; 0: as the slot has it */
};
const struct slot_lane *slots_lane(void);

/* How many of so many messages are lost that nobody has read when their reader closes, their writers being alive. */
uint64_t slots_lost(uint64_t unread);

/* A library writer of this run's lane, and the options for one (the defaults else). */
mr_writer_options slots_writer_options(void);
mr_writer *slots_writer(const char *name, const mr_writer_options *options);
/* Of a writer's messages, those that no reader has acknowledged. */
uint64_t slots_unacknowledged(mr_writer *writer);

/* A client of this run's lane, by a number: a plain one, or a library writer that waits for room as long as it takes and
 * does not linger. The functions are those of the plain ones below. */
int client_connect(const char *name);
void client_close(int client);
void client_send(int client, const void *data, size_t length);
void client_text(int client, const char *text);
/* The slot takes no message of this length. */
void client_send_too_big(int client, const void *data, size_t length);
bool client_gone(int client);
/* The library writer that it is; NULL where clients are plain ones. */
mr_writer *client_writer(int client);
void client_await_end(int client);

/* A plain client, by a number: nothing but the system's calls (Linux: a socket; Windows: a file handle). */
int plain_connect(const char *name);
void plain_close(int client);
void plain_send(int client, const void *data, size_t length);
void plain_text(int client, const char *text);
/* Has the slot that it is connected to gone? True also under Wine, which does not tell writers. */
bool plain_gone(int client);
/* Waits until the other end has gone. */
void plain_await_end(int client);

/* How many descriptors (handles) this process has open. */
size_t slots_descriptors(void);

/* A number that threads wait for. */
struct counter {
    mutex lock;
    condition changed;
    uint64_t value;
};
void counter_init(struct counter *counter);
void counter_add(struct counter *counter, uint64_t amount);
void counter_await(struct counter *counter, uint64_t least);
uint64_t counter_get(struct counter *counter);

#endif
