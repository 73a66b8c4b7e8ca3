/* ring_ceiling.c: see ring_ceiling.h.
 *
 * Owners  Everything: the lock.
 * I1      `taken` is the sum of all users' `bytes`; users without any are not in the table.
 * I2      taken <= ceiling, and a user's bytes <= his share, at every instant (unless the ceiling was lowered).
 * Fork    The rings are not mapped in a child (MADV_DONTFORK), so it starts from nothing.
 */
#include "slots/ring_ceiling.h"

#include <stdatomic.h>
#include <unistd.h>

#include "queue/memory.h"
#include "queue/thread.h"

/* So many rings of the size that is accepted should still fit. */
#define CEILING_RINGS 256u
/* As ring_hello_linux.h has it: so much is accepted whatever the ceiling, while anything is. */
#define FIRST_CAPACITY ((uint32_t) 64 << 10)

struct ceiling_user {
    uint32_t uid;
    uint64_t bytes;
};

struct ceiling {
    uint32_t process;
    mutex lock;
    uint64_t taken;
    struct ceiling_user *users;
    size_t count;
    size_t room;
};

static _Atomic(struct ceiling *) current;
static _Atomic uint64_t ceiling_bytes = RING_CEILING_DEFAULT;
static _Atomic bool ceiling_strict;

static struct ceiling *ceiling_current(void)
{
    struct ceiling *c = atomic_load_explicit(&current, memory_order_acquire);
    if (c != NULL && c->process == process_generation())
        return c;
    struct ceiling *mine = memory_zalloc(sizeof *mine);
    if (mine == NULL)
        return NULL;
    mine->process = process_generation();
    mutex_init(&mine->lock);
    if (atomic_compare_exchange_strong_explicit(&current, &c, mine, memory_order_acq_rel, memory_order_acquire))
        return mine;
    mutex_destroy(&mine->lock);
    memory_free(mine);
    return c;
}

/* With the lock held. NULL: not there, and no memory to put it there. */
static struct ceiling_user *user_find(struct ceiling *c, uint32_t uid)
{
    for (size_t i = 0; i < c->count; i++) {
        if (c->users[i].uid == uid)
            return &c->users[i];
    }
    if (c->count == c->room) {
        size_t room = c->room == 0 ? 4 : 2 * c->room;
        struct ceiling_user *users = memory_realloc(c->users, room * sizeof *users);
        if (users == NULL)
            return NULL;
        c->users = users;
        c->room = room;
    }
    c->users[c->count] = (struct ceiling_user){.uid = uid};
    return &c->users[c->count++];
}

static void user_forget_empty(struct ceiling *c, struct ceiling_user *user)
{
    if (user->bytes == 0)
        *user = c->users[--c->count]; /* I1 */
}

/* What this user may still take. */
static uint64_t user_rest(const struct ceiling *c, const struct ceiling_user *user)
{
    uint64_t all = atomic_load_explicit(&ceiling_bytes, memory_order_relaxed);
    bool own = !atomic_load_explicit(&ceiling_strict, memory_order_relaxed) &&
               (user->uid == 0 || user->uid == (uint32_t) geteuid());
    uint64_t share = own ? all : all / 2;
    uint64_t rest = all > c->taken ? all - c->taken : 0;
    uint64_t own_rest = share > user->bytes ? share - user->bytes : 0;
    return rest < own_rest ? rest : own_rest;
}

static uint32_t allowed_capacity(uint64_t rest, uint32_t levels)
{
    uint32_t capacity = RING_CAPACITY_MAX;
    while (capacity > FIRST_CAPACITY && capacity > rest / CEILING_RINGS)
        capacity /= 2;
    return RING_CONTROL_BYTES + (uint64_t) levels * capacity <= rest ? capacity : 0;
}

bool ring_ceiling_take(uint32_t uid, const struct ring_geometry *geometry, uint32_t *allowed)
{
    struct ceiling *c = ceiling_current();
    *allowed = 0;
    if (c == NULL)
        return false;
    uint64_t bytes = ring_memory_bytes(geometry);
    mutex_lock(&c->lock);
    struct ceiling_user *user = user_find(c, uid);
    bool taken = false;
    if (user != NULL) {
        uint64_t rest = user_rest(c, user);
        *allowed = allowed_capacity(rest, geometry->levels);
        taken = bytes <= rest;
        for (uint32_t level = 0; level < geometry->levels; level++)
            taken = taken && geometry->capacity[level] <= *allowed;
        if (taken) {
            user->bytes += bytes;
            c->taken += bytes;
        }
        user_forget_empty(c, user);
    }
    mutex_unlock(&c->lock);
    return taken;
}

void ring_ceiling_return(uint32_t uid, const struct ring_geometry *geometry)
{
    struct ceiling *c = ceiling_current(); /* there since this was taken */
    uint64_t bytes = ring_memory_bytes(geometry);
    mutex_lock(&c->lock);
    struct ceiling_user *user = user_find(c, uid); /* it is there */
    user->bytes -= bytes;
    c->taken -= bytes;
    user_forget_empty(c, user);
    mutex_unlock(&c->lock);
}

uint64_t ring_ceiling_taken(void)
{
    struct ceiling *c = ceiling_current();
    if (c == NULL)
        return 0;
    mutex_lock(&c->lock);
    uint64_t taken = c->taken;
    mutex_unlock(&c->lock);
    return taken;
}

void ring_ceiling_set(uint64_t ceiling, bool strict)
{
    atomic_store_explicit(&ceiling_bytes, ceiling == 0 ? RING_CEILING_DEFAULT : ceiling, memory_order_relaxed);
    atomic_store_explicit(&ceiling_strict, strict, memory_order_relaxed);
}
