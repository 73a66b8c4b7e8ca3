/* janitor_linux.c: closes descriptors that may block whoever closes them, and keeps the spare one.
 *
 * Path    janitor_close > list > the thread: no lingering, close
 *         accept: EMFILE > janitor_refuse > (spare stolen) > janitor_wait_spare > the thread gets it back > callback
 * Owners  Everything: the lock. Descriptors in the list are nobody else's.
 * I1      `running` is true from the start of the thread until it has found nothing to do, both under the lock: so a
 *         list that is not empty always has a thread.
 * I2      The thread is detached: nobody can wait for it, because what it closes may block for ever.
 * I3      Callbacks run under the lock, so that janitor_cancel_spare excludes them.
 * Fork    The child makes a janitor of its own (the thread is the parent's) and takes over its copy of the spare.
 */
#include "slots/janitor_linux.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "queue/memory.h"
#include "queue/status.h"
#include "queue/thread.h"

#define SPARE_RETRY_NS UINT64_C(100000000)

struct janitor {
    uint64_t generation;
    mutex lock;
    condition changed;
    int spare; /* -1: none at the moment */
    bool running;
    int *list;
    size_t count;
    size_t room;
    struct spare_waiter *waiting;
};

static _Atomic(struct janitor *) current;

static struct janitor *janitor_current(void)
{
    struct janitor *janitor = atomic_load_explicit(&current, memory_order_acquire);
    if (janitor != NULL && janitor->generation == process_generation())
        return janitor;
    struct janitor *mine = memory_zalloc(sizeof *mine);
    if (mine == NULL)
        return NULL;
    mine->generation = process_generation();
    mine->spare = janitor != NULL ? janitor->spare : -1;
    mutex_init(&mine->lock);
    condition_init(&mine->changed);
    if (atomic_compare_exchange_strong_explicit(&current, &janitor, mine, memory_order_acq_rel, memory_order_acquire))
        return mine;
    condition_destroy(&mine->changed);
    mutex_destroy(&mine->lock);
    memory_free(mine);
    return janitor;
}

static bool spare_get(struct janitor *janitor)
{
    if (janitor->spare < 0)
        janitor->spare = eventfd(0, EFD_CLOEXEC); /* needs no path, and nothing but a descriptor */
    return janitor->spare >= 0;
}

int janitor_prepare(void)
{
    struct janitor *janitor = janitor_current();
    if (janitor == NULL)
        return status_fail_plain(MR_E_MEMORY);
    mutex_lock(&janitor->lock);
    bool there = spare_get(janitor);
    int error = errno;
    mutex_unlock(&janitor->lock);
    if (there)
        return MR_OK;
    return status_fail(MR_E_DESCRIPTORS, error, "no descriptor left: raise the limit (ulimit -n) or open fewer slots");
}

/* The last reference to a lingering socket would block its close; any other holder's close is its own affair. */
static void close_unlingering(int descriptor)
{
    struct linger off = {.l_onoff = 0};
    (void) setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &off, sizeof off); /* fails for what is no socket: fine */
    close(descriptor);
}

static void close_list(int *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        close_unlingering(list[i]);
    memory_free(list);
}

static void serve_waiters(struct janitor *janitor)
{
    if (!spare_get(janitor)) {
        (void) condition_wait_until(&janitor->changed, &janitor->lock, clock_now() + SPARE_RETRY_NS);
        return;
    }
    while (janitor->waiting != NULL) {
        struct spare_waiter *waiter = janitor->waiting;
        janitor->waiting = waiter->next;
        waiter->listed = false;
        waiter->callback(waiter->context); /* I3 */
    }
}

static void janitor_run(void *argument)
{
    struct janitor *janitor = argument;
    mutex_lock(&janitor->lock);
    while (janitor->count > 0 || janitor->waiting != NULL) {
        if (janitor->count > 0) {
            int *list = janitor->list;
            size_t count = janitor->count;
            janitor->list = NULL;
            janitor->count = janitor->room = 0;
            mutex_unlock(&janitor->lock);
            close_list(list, count);
            mutex_lock(&janitor->lock);
        } else {
            serve_waiters(janitor);
        }
    }
    janitor->running = false; /* I1 */
    mutex_unlock(&janitor->lock);
}

/* Under the lock. False: no thread can be had. */
static bool janitor_start(struct janitor *janitor)
{
    if (janitor->running) {
        condition_signal(&janitor->changed);
        return true;
    }
    thread runner;
    if (thread_start(&runner, "mr-janitor", janitor_run, janitor) != MR_OK)
        return false;
    pthread_detach((pthread_t) runner.handle); /* I2 */
    janitor->running = true;
    return true;
}

static bool list_append(struct janitor *janitor, const int *descriptors, size_t count)
{
    if (janitor->count + count > janitor->room) {
        size_t room = 2 * (janitor->count + count);
        int *list = memory_realloc(janitor->list, room * sizeof *list);
        if (list == NULL)
            return false;
        janitor->list = list;
        janitor->room = room;
    }
    memcpy(janitor->list + janitor->count, descriptors, count * sizeof *descriptors);
    janitor->count += count;
    return true;
}

void janitor_close(const int *descriptors, size_t count)
{
    struct janitor *janitor = janitor_current();
    bool taken = false;
    if (count == 0)
        return;
    if (janitor != NULL) {
        mutex_lock(&janitor->lock);
        taken = list_append(janitor, descriptors, count);
        if (taken && !janitor_start(janitor)) {
            janitor->count -= count;
            taken = false;
        }
        mutex_unlock(&janitor->lock);
    }
    for (size_t i = 0; !taken && i < count; i++)
        close_unlingering(descriptors[i]); /* without memory or threads there is no better place */
}

enum refused janitor_refuse(int listener)
{
    struct janitor *janitor = janitor_current();
    if (janitor == NULL)
        return REFUSED_NO_SPARE;
    enum refused result = REFUSED_NO_SPARE;
    mutex_lock(&janitor->lock);
    if (spare_get(janitor)) {
        close(janitor->spare);
        janitor->spare = -1;
        int descriptor = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (descriptor >= 0) {
            close(descriptor);
            result = REFUSED_ONE;
        } else if (errno == EAGAIN || errno == EINVAL || errno == ECONNABORTED) {
            result = REFUSED_NONE;
        }
        (void) spare_get(janitor); /* if it fails, the next call tries again */
    }
    mutex_unlock(&janitor->lock);
    return result;
}

void janitor_wait_spare(struct spare_waiter *waiter)
{
    struct janitor *janitor = janitor_current();
    if (janitor == NULL)
        return;
    mutex_lock(&janitor->lock);
    if (!waiter->listed) {
        waiter->next = janitor->waiting;
        waiter->listed = true;
        janitor->waiting = waiter;
    }
    (void) janitor_start(janitor); /* without a thread the next refusal, or a closed connection, tries again */
    mutex_unlock(&janitor->lock);
}

void janitor_cancel_spare(struct spare_waiter *waiter)
{
    struct janitor *janitor = janitor_current();
    if (janitor == NULL)
        return;
    mutex_lock(&janitor->lock);
    struct spare_waiter **link = &janitor->waiting;
    while (*link != NULL && *link != waiter)
        link = &(*link)->next;
    if (*link != NULL)
        *link = (*link)->next;
    waiter->listed = false;
    mutex_unlock(&janitor->lock);
}
