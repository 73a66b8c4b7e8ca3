/* statistics_page.h: what a slot shows to `mailroom list`, also while its owner is frozen (Linux).
 *
 * A file of one page beside the slot's socket. Its owner maps and writes it, everybody else reads it with pread.
 * The layout and why a reader never sees half of an update are in statistics_page_linux.c.
 */
#ifndef SLOTS_STATISTICS_PAGE_H
#define SLOTS_STATISTICS_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mailroom/reader.h>

#define STATISTICS_PAGE_SIZE 4096u

struct slot_figures; /* slots/backend.h */
struct statistics_page;

/* What a page said. Checked: every text ends, every number is in its range. Whether it is true is the owner's matter. */
struct statistics_view {
    char display[MR_NAME_MAX]; /* the slot's name as its creator spelled it; not yet parsed */
    uint64_t max_message;
    uint64_t waiting;
    uint64_t waiting_bytes;
    uint64_t next_size;
    uint64_t waiting_peak;
    uint64_t messages;
    uint64_t bytes;
    uint64_t dropped;
    uint64_t refused;
    uint64_t connections;
};

/* Makes the empty file `fd` a page for the slot and maps it. The descriptor stays the caller's. MR_E_MEMORY, MR_E_SYSTEM. */
int statistics_page_create(struct statistics_page **out, int fd, const char *display, uint64_t max_message);
/* Unmaps. The file is the caller's matter. NULL is allowed. */
void statistics_page_close(struct statistics_page *page);

/* Shows new figures. One thread at a time; never blocks, never fails. `max_message` of the figures is not looked at. */
void statistics_page_publish(struct statistics_page *page, const struct slot_figures *figures);

/* Reads the page in `fd`, whoever made it. False: it is none, or its owner kept changing it under our eyes. */
bool statistics_page_read(int fd, struct statistics_view *view);

#endif
