/* box.h: what the tests of on_message put messages into: counts them, compares them, holds the callback at a gate. */
#ifndef TEST_SLOTS_BOX_H
#define TEST_SLOTS_BOX_H

#include <stdatomic.h>
#include <string.h>

#include "slot_support.h"

struct box {
    struct counter got;
    struct counter closed;
    uint64_t lost;
    _Atomic int inside;
    struct counter gate; /* one more for each callback that may go on */
    uint64_t passed;     /* of it, used up */
    bool gated;
    bool ordered; /* messages are numbers from 0 */
    const mr_message *kept[4096];
    size_t keep; /* retain so many */
    size_t kept_count;
    mr_reader *close_inside;
    int close_status;
};

static inline void box_init(struct box *box)
{
    memset(box, 0, sizeof *box);
    counter_init(&box->got);
    counter_init(&box->closed);
    counter_init(&box->gate);
}

static inline void box_message(mr_reader *reader, const mr_message *message, void *context)
{
    struct box *box = context;
    CHECK_EQ(atomic_fetch_add(&box->inside, 1), 0); /* one at a time */
    CHECK_EQ(message->lane, slots_lane()->lane);
    if (box->ordered) {
        uint32_t number;
        CHECK_EQ(message->length, sizeof number);
        memcpy(&number, message->data, sizeof number);
        CHECK_EQ(number, counter_get(&box->got));
        if (message->lane != MR_LANE_NATIVE) /* which has no sequence */
            CHECK_EQ(message->sequence, number + 1u);
    }
    if (box->kept_count < box->keep)
        box->kept[box->kept_count++] = mr_message_retain(message);
    if (box->gated)
        counter_await(&box->gate, ++box->passed);
    if (box->close_inside != NULL) {
        uint64_t lost = 77;
        box->close_status = mr_reader_close(reader, &lost);
        CHECK_EQ(lost, 0);
    }
    CHECK_EQ(atomic_fetch_sub(&box->inside, 1), 1);
    counter_add(&box->got, 1);
}

static inline void box_closed(mr_reader *reader, uint64_t lost, void *context)
{
    struct box *box = context;
    (void) reader;
    box->lost = lost;
    counter_add(&box->closed, 1);
}

static inline mr_reader *box_reader(struct box *box, const char *name, mr_port *port)
{
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.port = port;
    options.on_message = box_message;
    options.on_closed = box_closed;
    options.context = box;
    return slots_reader(name, &options);
}

#endif
