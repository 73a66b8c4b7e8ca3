/* slot_support.h: what the tests of slots share on every platform: a slot directory of their own, plain clients made of
 * nothing but the system's calls (Linux: a socket; Windows: a file handle), and waiting for events. Every function ends the test where it fails, unless it says otherwise. */
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

/* Do readers know how many writers are connected? */
extern const bool slots_tell_connections;

/* A plain client, by a number. */
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
