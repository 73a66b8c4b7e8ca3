/* ring_window.c: see ring_window.h.
 *
 * Owners  `next` and the entry that it points at: the taking thread. Entries in [first, next): the lock, but for their
 *         place in memory, which the taking thread changes, holding the lock. The ring's head: the lock. The table: its lock.
 * I1      first <= next, next - first <= room <= the power of two at or above `most`.
 * I2      Entries in [first, next) hold ends that grow; entry `first` is not done. So head is the end of the entry before
 *         `first`, and moves as soon as it can.
 * I3      The lock is held while `reached` or `resume` runs, and ring_window_close takes it: the lane lives as long.
 * I4      A token counts while its generation is the window's and its entry is in [first, next) and not done: so once.
 * E1      ring_window_add stores the entry, then `next` with release; who acknowledges loads `next` with acquire. Without
 *         the pair it could see another round's entry as done.
 * E2      The advance stores `first` with release after it has read the entries; the taking thread loads it with acquire
 *         before it writes an entry again.
 * Fork    A child starts with a table of its own; the parent's tokens are told by `process`, before the lock is touched
 *         (a thread of the parent's may have held it).
 */
#include "slots/ring_window.h"

#include <string.h>

#include "queue/memory.h"

#define ROOM_FIRST UINT64_C(64)
#define DONE       UINT64_C(1) /* ends are multiples of 8 */

struct window_table {
    uint32_t process;
    mutex lock;
    struct ring_window *free;
};

static _Atomic(struct window_table *) current;

static struct window_table *table_current(void)
{
    struct window_table *table = atomic_load_explicit(&current, memory_order_acquire);
    if (table != NULL && table->process == process_generation())
        return table;
    struct window_table *mine = memory_zalloc(sizeof *mine);
    if (mine == NULL)
        return NULL;
    mine->process = process_generation();
    mutex_init(&mine->lock);
    if (atomic_compare_exchange_strong_explicit(&current, &table, mine, memory_order_acq_rel, memory_order_acquire))
        return mine;
    mutex_destroy(&mine->lock);
    memory_free(mine);
    return table;
}

static struct ring_window *table_take(void)
{
    struct window_table *table = table_current();
    if (table == NULL)
        return NULL;
    mutex_lock(&table->lock);
    struct ring_window *w = table->free;
    if (w != NULL)
        table->free = w->next_free;
    mutex_unlock(&table->lock);
    if (w != NULL)
        return w;
    w = memory_zalloc(sizeof *w);
    if (w == NULL)
        return NULL;
    mutex_init(&w->lock);
    w->process = table->process;
    return w;
}

static void table_return(struct ring_window *w)
{
    struct window_table *table = table_current(); /* there since this window was taken */
    mutex_lock(&table->lock);
    w->next_free = table->free;
    table->free = w;
    mutex_unlock(&table->lock);
}

struct ring_window *ring_window_open(struct ring_reader *ring, uint32_t most, const struct ring_window_owner *owner)
{
    struct ring_window *w = table_take();
    if (w == NULL)
        return NULL;
    uint64_t room = 1;
    while (room < most && room < ROOM_FIRST)
        room *= 2;
    uint64_t *ends = memory_calloc((size_t) room, sizeof *ends);
    if (ends == NULL) {
        table_return(w);
        return NULL;
    }
    mutex_lock(&w->lock);
    w->ends = ends;
    w->room = room;
    w->most = most;
    w->ring = ring;
    w->owner = *owner;
    w->position = 0;
    w->paused = w->awaiting = false;
    atomic_store_explicit(&w->next, 0, memory_order_relaxed);
    atomic_store_explicit(&w->first, 0, memory_order_relaxed);
    atomic_store_explicit(&w->done, 0, memory_order_relaxed);
    atomic_store_explicit(&w->held, 0, memory_order_relaxed);
    mutex_unlock(&w->lock);
    return w;
}

void ring_window_close(struct ring_window *w)
{
    mutex_lock(&w->lock);
    atomic_fetch_add_explicit(w->owner.acknowledged, ring_window_unacknowledged(w), memory_order_relaxed);
    w->generation++; /* I4 */
    w->ring = NULL;
    memory_free(w->ends);
    w->ends = NULL;
    mutex_unlock(&w->lock);
    table_return(w);
}

uint64_t ring_window_unacknowledged(struct ring_window *w)
{
    uint64_t done = atomic_load_explicit(&w->done, memory_order_relaxed); /* first: it is never more than `held` then */
    return atomic_load_explicit(&w->held, memory_order_relaxed) - done;
}

bool ring_window_grow(struct ring_window *w)
{
    if (w->room >= w->most)
        return false;
    uint64_t *ends = memory_calloc((size_t) (2 * w->room), sizeof *ends);
    if (ends == NULL)
        return false; /* room comes with the next acknowledgement */
    mutex_lock(&w->lock);
    uint64_t next = atomic_load_explicit(&w->next, memory_order_relaxed);
    for (uint64_t i = atomic_load_explicit(&w->first, memory_order_relaxed); i != next; i++)
        ends[i & (2 * w->room - 1)] = w->ends[i & (w->room - 1)];
    uint64_t *old = w->ends;
    w->ends = ends;
    w->room *= 2;
    mutex_unlock(&w->lock);
    memory_free(old);
    return true;
}

void ring_window_retract(struct ring_window *w)
{
    mutex_lock(&w->lock);
    uint64_t next = atomic_load_explicit(&w->next, memory_order_relaxed);
    uint64_t held = atomic_load_explicit(&w->held, memory_order_relaxed);
    atomic_store_explicit(&w->next, next - 1, memory_order_relaxed);
    atomic_store_explicit(&w->held, held - 1, memory_order_relaxed);
    mutex_unlock(&w->lock);
}

/* With the lock held: head moves over what is done (I2). */
static void window_advance(struct ring_window *w)
{
    uint64_t first = atomic_load_explicit(&w->first, memory_order_relaxed);
    uint64_t next = atomic_load_explicit(&w->next, memory_order_acquire); /* E1 */
    uint64_t head = 0;
    bool moved = false;
    while (first != next && (w->ends[first & (w->room - 1)] & DONE) != 0) {
        head = w->ends[first & (w->room - 1)] & ~DONE;
        first++;
        moved = true;
    }
    if (!moved)
        return;
    ring_release(w->ring, head);
    atomic_store_explicit(&w->first, first, memory_order_release); /* E2 */
    if (ring_release_look(w->ring, w->position))
        w->owner.reached(w->owner.context);
    bool resume = (w->paused && next - first <= w->room / 2) || (w->awaiting && next == first);
    if (!resume)
        return;
    w->paused = w->awaiting = false;
    w->owner.resume(w->owner.context);
}

void ring_window_add_done(struct ring_window *w, uint64_t end)
{
    mutex_lock(&w->lock);
    uint64_t next = atomic_load_explicit(&w->next, memory_order_relaxed);
    w->ends[next & (w->room - 1)] = end | DONE;
    atomic_store_explicit(&w->next, next + 1, memory_order_release); /* E1 */
    if (next == atomic_load_explicit(&w->first, memory_order_relaxed))
        window_advance(w);
    mutex_unlock(&w->lock);
}

bool ring_window_look(struct ring_window *w)
{
    mutex_lock(&w->lock);
    w->position = w->ring->position;
    bool reached = ring_release_look(w->ring, w->position);
    mutex_unlock(&w->lock);
    return reached;
}

bool ring_window_pause(struct ring_window *w)
{
    mutex_lock(&w->lock);
    uint64_t next = atomic_load_explicit(&w->next, memory_order_relaxed);
    w->paused = next - atomic_load_explicit(&w->first, memory_order_relaxed) >= w->room;
    bool paused = w->paused;
    mutex_unlock(&w->lock);
    return paused;
}

bool ring_window_await(struct ring_window *w)
{
    mutex_lock(&w->lock);
    uint64_t next = atomic_load_explicit(&w->next, memory_order_relaxed);
    w->awaiting = next != atomic_load_explicit(&w->first, memory_order_relaxed);
    bool over = !w->awaiting;
    mutex_unlock(&w->lock);
    return over;
}

/* With the lock held. */
static void window_mark(struct ring_window *w, uint64_t number)
{
    uint64_t first = atomic_load_explicit(&w->first, memory_order_relaxed);
    uint64_t next = atomic_load_explicit(&w->next, memory_order_acquire); /* E1 */
    if (number - first >= next - first || (w->ends[number & (w->room - 1)] & DONE) != 0)
        return; /* I4 */
    w->ends[number & (w->room - 1)] |= DONE;
    KILL_POINT(reader, marked);
    atomic_store_explicit(&w->done, atomic_load_explicit(&w->done, memory_order_relaxed) + 1, memory_order_relaxed);
    atomic_fetch_add_explicit(w->owner.acknowledged, 1, memory_order_relaxed);
    if (number == first)
        window_advance(w);
}

void *ring_window_context(const struct slot_token *token)
{
    struct ring_window *w = token->window;
    if (w == NULL || w->process != process_generation())
        return NULL;
    mutex_lock(&w->lock);
    void *context = w->generation == token->generation ? w->owner.context : NULL;
    mutex_unlock(&w->lock);
    return context;
}

void ring_window_acknowledge(const struct slot_token *token)
{
    struct ring_window *w = token->window;
    if (w == NULL || w->process != process_generation())
        return;
    mutex_lock(&w->lock);
    if (w->generation == token->generation)
        window_mark(w, token->number);
    mutex_unlock(&w->lock);
}
