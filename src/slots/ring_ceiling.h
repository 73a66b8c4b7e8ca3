/* ring_ceiling.h: how much memory of writers' rings this process maps, in all and for each user.
 *
 * The memory is the writers', but what a slot maps stays in its address space, and in the machine's memory, until it lets
 * go: so there is a ceiling for the whole process, and one user may have half of it. The reader's own user and root may have
 * all of it. Before a ceiling is reached, the rings that are accepted become smaller, so that the last who come get small ones
 * instead of none.
 */
#ifndef SLOTS_RING_CEILING_H
#define SLOTS_RING_CEILING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "slots/ring.h"

#define RING_CEILING_DEFAULT ((uint64_t) 1 << 30)

/* Any thread may call these. */

/* Takes what this geometry needs. False: it does not fit, or one of its rings is larger than is accepted now; *allowed is the
 * largest capacity of a ring that is, for so many levels (0: none). Also false without memory, and then *allowed is 0. */
bool ring_ceiling_take(uint32_t uid, const struct ring_geometry *geometry, uint32_t *allowed);
void ring_ceiling_return(uint32_t uid, const struct ring_geometry *geometry);

/* What is taken now. */
uint64_t ring_ceiling_taken(void);

/* For tests: another ceiling (0: the default), and whether the own user is like any other. */
void ring_ceiling_set(uint64_t ceiling, bool strict);

#endif
