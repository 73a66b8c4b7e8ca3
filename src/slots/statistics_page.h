/* statistics_page.h: what a slot shows to `mailroom list`, also while its owner is frozen.
 *
 * One page. On Linux a file beside the slot's socket, which its owner maps and writes and everybody else reads with pread
 * (statistics_page_linux.c); on Windows a named section (statistics_page_windows.c). The layout and why a reader never sees
 * half of an update are in statistics_page.c.
 */
#ifndef SLOTS_STATISTICS_PAGE_H
#define SLOTS_STATISTICS_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mailroom/directory.h>
#include <mailroom/reader.h>

#define STATISTICS_PAGE_SIZE    4096u
#define STATISTICS_WRITERS_MOST 14u /* that a page shows: the busiest */

struct slot_figures; /* slots/backend.h */

/* The owner's end. */
struct statistics_page {
    void *layout;      /* the mapping */
    uint64_t sequence; /* of the newest copy */
    uint64_t writers;  /* of the newest copy of the writers */
};

/* What a page said. Checked: every text ends, every number is in its range. Whether it is true is the owner's matter. */
struct statistics_view {
    char display[MR_NAME_MAX]; /* the slot's name as its creator spelled it; not yet parsed */
    uint32_t owner;            /* a process, or 0 */
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
    uint64_t rings;
    uint64_t dropped_by_writers;
    uint64_t redelivered;
    uint64_t unacknowledged;
    uint64_t waits;
    uint64_t doorbells;
    uint64_t writers_total; /* how many writers there were when they were shown */
    size_t writer_count;    /* of them, here */
    mr_reader_writer writers[STATISTICS_WRITERS_MOST];
};

/* Fills in a page that shows no figures yet. The name is shorter than MR_NAME_MAX. */
void statistics_page_image(char *image, const char *display, uint64_t max_message, uint32_t owner);
/* The image is in `mapping`: nothing waits. */
void statistics_page_start(struct statistics_page *page, void *mapping);

/* Shows new figures. One thread at a time; never blocks, never fails. `max_message` of the figures is not looked at. */
void statistics_page_publish(struct statistics_page *page, const struct slot_figures *figures);

/* Shows the busiest writers: the first STATISTICS_WRITERS_MOST of `count`, of `total` that there are. As publish. */
void statistics_page_publish_writers(struct statistics_page *page, const mr_reader_writer *writers, size_t count,
                                     uint64_t total);

/* The same in a page that another slot had before, and that others may have mapped still. */
void statistics_page_take_over(struct statistics_page *page, void *mapping, const char *image);
/* The slot leaves its name: whoever has the page mapped can see it. */
void statistics_page_end(struct statistics_page *page);
/* Odd while a slot has the name; another value than before: that slot has gone. */
uint32_t statistics_page_life(const void *mapping);

/* The figures of a list's entry: all but name, place and writers' array. */
void statistics_view_show(const struct statistics_view *view, mr_slot_entry *entry);

enum statistics_image {
    IMAGE_NONE, /* no page */
    IMAGE_TORN, /* caught in the middle of two updates: copy it again */
    IMAGE_WHOLE
};
/* Reads an image of a page, whoever made it; it does not change meanwhile. */
enum statistics_image statistics_image_read(const char *image, struct statistics_view *view);

/* ---- Linux: statistics_page_linux.c ---- */

/* Makes the empty file `fd` a page for the slot and maps it. The descriptor stays the caller's. MR_E_MEMORY, MR_E_SYSTEM. */
int statistics_page_create(struct statistics_page **out, int fd, const char *display, uint64_t max_message);
/* Unmaps. The file is the caller's matter. NULL is allowed. */
void statistics_page_close(struct statistics_page *page);

/* Reads the page in `fd`, whoever made it. False: it is none, or its owner kept changing it under our eyes. */
bool statistics_page_read(int fd, struct statistics_view *view);

#endif
