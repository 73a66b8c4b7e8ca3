/* slot_look_linux.c: how a slot that is taking messages notices that there may be something more urgent.
 *
 * Path    after a callback > watch_differs > slot_has_urgent > the urgent list
 *         after every second callback > taking_sees_late > taking_looks_closer > late: everything is looked at
 * Owners  The thread inside slot_take, slot_urgent, slot_rename or slot_close.
 *
 * Late    What is not watched is asked for by system calls, which cost as much as taking dozens of messages. So it is
 *         done when some time has passed, and even looking at a clock is dear. What is looked at, the cheaper the more
 *         often:
 * L1      After every second callback: has the thread left the processor (switch_mark_linux.h)? Then clock_now says for how
 *         long. So a callback that has waited for something is noticed at once.
 * L2      After every second callback, or every COARSE_EVERY second one while the callbacks are so short that it would
 *         be felt, the coarse clock: another tick is late. So is noticed who has been at work for longer than that.
 *         Where there is no mark, after every second one.
 * L3      Sometimes clock_now, the longer the callbacks the more often: LATE_NS is late. */
#include "queue/seldom.h"
#include "slots/slot_linux.h"

/* A callback that takes so long may have let something urgent wait. */
#define LATE_NS UINT64_C(100000)
/* Looks for one at clock_now, at most; and for one at the coarse clock, while there are so many of those. */
#define CLOCK_MOST   64u
#define COARSE_EVERY 16u
/* clock_now is looked at as often as this is long, or up to four times that. */
#define CLOCK_NS UINT64_C(2500)
/* Times that it may be used for the harvest, which is asked about by the share: as long as the callbacks look at it, they look
 * oftener. */
#define SEEN_MOST 2u

/* ---- the watch ---- */

static void watch_forget(struct slot *s, unsigned place)
{
    struct urgent_watch *watch = &s->watched;
    watch->levels[place]->watched = RING_UNWATCHED;
    unsigned last = --watch->count;
    if (place == last)
        return;
    watch->tails[place] = watch->tails[last];
    watch->positions[place] = watch->positions[last];
    watch->sessions[place] = watch->sessions[last];
    watch->levels[place] = watch->levels[last];
    watch->levels[place]->watched = (uint8_t) place;
}

void watch_remove(struct slot *s, struct ring_level *l)
{
    if (l->watched != RING_UNWATCHED)
        watch_forget(s, l->watched);
}

void watch_put(struct slot *s, struct ring_session *x)
{
    struct urgent_watch *watch = &s->watched;
    if (x->limited)
        return;
    for (uint32_t level = MR_URGENT; level < x->geometry.levels; level++) {
        struct ring_level *l = &x->levels[level];
        if (l->watched != RING_UNWATCHED || l->paused)
            continue;
        if (watch->count == WATCH_ROOM)
            watch_forget(s, watch->oldest++ % WATCH_ROOM);
        unsigned place = watch->count++;
        watch->tails[place] = &l->ring.control->tail;
        watch->positions[place] = l->ring.position;
        watch->sessions[place] = x;
        watch->levels[place] = l;
        l->watched = (uint8_t) place;
    }
}

bool slot_has_urgent(slot *s)
{
    const struct urgent_watch *watch = &s->watched;
    if (watch_differs(watch)) {
        for (unsigned i = 0; i < watch->count; i++) {
            if (atomic_load_explicit(watch->tails[i], memory_order_relaxed) != watch->positions[i])
                turn_push(&s->urgent, &watch->sessions[i]->urgent_turn);
        }
    }
    return s->urgent.first != NULL;
}

/* ---- the clock ---- */

/* In the place of a word that there is not. */
static const _Atomic uint64_t unmarked;

static void taking_mark(struct taking *t)
{
    _Atomic uint64_t *word = switch_mark_word();
    if (word != NULL)
        switch_mark_set(word, true);
    t->mark = word != NULL ? word : &unmarked;
}

/* L2 */
static void taking_space(struct taking *t)
{
    bool spaced = t->mark != &unmarked && t->slot->clock_every == CLOCK_MOST;
    t->coarse_every = t->until_coarse = spaced ? COARSE_EVERY : 1;
}

void taking_begin_clock(struct taking *t)
{
    taking_mark(t);
    taking_space(t);
    t->until_clock = t->slot->clock_every;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t->coarse);
    t->clock = t->seen = t->budget->now != 0 ? t->budget->now : clock_now();
    t->seen_used = 0;
}

void taking_end_clock(struct taking *t)
{
    _Atomic uint64_t *word = switch_mark_word();
    if (word != NULL && switch_mark_stands(word))
        switch_mark_set(word, false);
    t->mark = &unmarked;
}

/* L3 */
static bool taking_sees_clock(struct taking *t)
{
    uint64_t now = clock_now();
    uint64_t passed = now - t->clock;
    unsigned *every = &t->slot->clock_every;
    t->clock = t->seen = now;
    t->seen_used = 0;
    if (passed >= LATE_NS)
        *every = 1;
    else if (passed < CLOCK_NS)
        *every = *every < CLOCK_MOST ? 2 * *every : CLOCK_MOST;
    else if (passed > 4 * CLOCK_NS)
        *every = *every > 1 ? *every / 2 : 1;
    t->until_clock = *every;
    return passed >= LATE_NS;
}

SEPARATE bool taking_looks_closer(struct taking *t)
{
    bool stayed = switch_mark_stands(t->mark);
    bool left = !stayed && t->mark != &unmarked;
    unsigned looks = t->coarse_every - t->until_coarse + !stayed; /* with this one */
    if (left)
        taking_mark(t);
    struct timespec coarse;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &coarse);
    bool late = coarse.tv_nsec != t->coarse.tv_nsec || coarse.tv_sec != t->coarse.tv_sec;
    t->coarse = coarse;
    t->budget->ticked = t->budget->ticked || late;
    t->until_clock = looks < t->until_clock ? t->until_clock - looks : 0;
    if (left || t->until_clock == 0)
        late = taking_sees_clock(t) || late;
    taking_space(t);
    return late;
}

bool taking_is_due(struct taking *t)
{
    if (++t->seen_used > SEEN_MOST) {
        t->seen = clock_now();
        t->seen_used = 0;
    }
    return t->seen - t->slot->harvested >= t->harvest_ns;
}
