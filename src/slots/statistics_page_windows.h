/* statistics_page_windows.h: statistics pages (statistics_page.h) as named sections of memory.
 *
 * A mailslot tells nobody but its reader what waits in it, and a writer not even how large a message may be. So each slot of
 * this library has a page, whose name follows from the slot's. It vanishes with the last handle to it: a reader that dies
 * leaves none. */
#ifndef SLOTS_STATISTICS_PAGE_WINDOWS_H
#define SLOTS_STATISTICS_PAGE_WINDOWS_H

#include "slots/name.h"
#include "slots/statistics_page.h"

struct section;

/* Makes the page of a slot that is ours: machine-wide where this process may, else for the session. NULL where it cannot be
 * had: the slot works without. */
struct section *section_create(const struct slot_name *name, uint64_t max_message);
/* The page of `section` for figures; NULL for NULL. */
struct statistics_page *section_page(struct section *section);
void section_close(struct section *section); /* NULL is allowed */

/* Reads the page of the slot `name`, and keeps it mapped, which section_unmap ends. NULL: it has none that can be read. */
const void *section_look(const struct slot_name *name, struct statistics_view *view);
void section_unmap(const void *mapping); /* NULL is allowed */

/* Calls `visit` for each page that this process can see, until it returns other than MR_OK; `place` is "Global" or "Local".
 * MR_OK, MR_E_MEMORY, what visit returned. */
int section_visit(int (*visit)(const struct statistics_view *view, const char *place, void *context), void *context);

#endif
