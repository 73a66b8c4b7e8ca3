/* message.h: what the bench writes into each message, and how a reader sees that it arrived as it was written.
 *
 * From 24 bytes on a message carries all of it; the first bytes are, in the machine's own byte order,
 *     0  checksum (32 bits)    4  connection (24 bits), level (8)    8  number (64)    16  intended send time (64, ns)
 * With 8 to 23 bytes it is
 *     0  checksum (16)         2  connection (13), level (3)         4  number (32)    and no time: no latency
 * and with 0 to 7 bytes nothing: such messages are only counted.
 *
 * The rest of the message is a fixed pattern of 64-bit words, but every 64th word (one in 512 bytes) is a mark, made
 * from the connection and the number: a message put together from two others does not pass.
 *
 * The reader checks all of it. The checksum is over the head, length and slot (message_head.h): no single changed bit and
 * no single changed word of the head can go unseen, and what else is changed goes unseen once in 2^32 (a short one: 2^16).
 * Each mark has to be what that head makes of it, and every other byte that of the pattern: they are compared. With
 * MESSAGE_MARKS the head and the marks only: a reader then touches one cache line in eight, for measuring transports
 * whose cost per byte is below that of a comparison.
 *
 * Cost    The writer touches head and marks only; the reader compares at about the speed of a copy.
 */
#ifndef BENCH_MESSAGE_H
#define BENCH_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MESSAGE_FULL              24u
#define MESSAGE_SHORT             8u
#define MESSAGE_CONNECTIONS       (1u << 24) /* as many can be told apart */
#define MESSAGE_SHORT_CONNECTIONS (1u << 13)

enum message_check { MESSAGE_ALL = 0, MESSAGE_MARKS = 1 };

/* What a message says of itself. */
struct message_note {
    uint32_t connection;
    uint32_t level;
    uint64_t number; /* of this connection's messages at this level, from 0 */
    uint64_t time;   /* when it was to be sent, clock_now's nanoseconds; 0: not stated */
};

/* A writer's buffer: one message at a time is made in it. */
struct message_maker {
    uint8_t *data;
    size_t size; /* of the largest message */
};

/* False when there is no memory; then there is nothing to close. */
bool message_maker_open(struct message_maker *maker, size_t size);
void message_maker_close(struct message_maker *maker);

/* Makes a message of `length` bytes (at most `size`) at maker->data. */
void message_make(struct message_maker *maker, size_t length, unsigned slot, const struct message_note *note);

/* True when the message is one that message_make made for this slot and length, with the note filled in as far as the
 * length allows (a short one's number has 32 bits). False: garbled. Not for messages below MESSAGE_SHORT. */
bool message_read(const void *data, size_t length, unsigned slot, enum message_check check, struct message_note *note);

#endif
