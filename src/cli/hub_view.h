/* hub_view.h: what mailroom hub shows: a live table on a terminal, a line now and then elsewhere, a summary at the
 * end. */
#ifndef CLI_HUB_VIEW_H
#define CLI_HUB_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "inbox.h"
#include "output.h"

/* Sums over all slots, at one moment. */
struct hub_figures {
    uint64_t messages; /* written out by the hub */
    uint64_t bytes;
    uint64_t waiting; /* in the slots' queues */
    uint64_t peak;    /* the most that waited in one slot */
    uint64_t dropped;
    uint64_t refused;
    uint64_t connections;
};

struct hub_slot_view {
    uint64_t messages_before;
    uint64_t rate; /* messages in the last interval */
    uint64_t waiting;
    uint64_t peak;
    uint64_t dropped;
    uint64_t connections;
};

struct hub_view {
    const struct inbox *inbox;
    struct output output;
    struct hub_slot_view *slots;
    size_t *order; /* of the busiest */
    bool shown;    /* false: there is nowhere to show it */
    bool json;
    bool terminal;
    unsigned lines_drawn;
    uint64_t started; /* nanoseconds */
    uint64_t last;
    struct hub_figures before;
};

/* `descriptor` is 1 or 2. An exit code. */
int hub_view_open(struct hub_view *view, const struct inbox *inbox, int descriptor, bool json);

/* Reads the slots' counters and shows them: once a second. */
void hub_view_tick(struct hub_view *view);

/* The summary. `unread` messages had been taken from writers and were not written, `unwritten` could not be. */
void hub_view_end(struct hub_view *view, uint64_t unread, uint64_t unwritten);

/* Reads the counters for hub_view_end, while the slots are still open. */
void hub_view_collect(struct hub_view *view);

void hub_view_close(struct hub_view *view);

#endif
