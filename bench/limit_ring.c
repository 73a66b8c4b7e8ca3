/* limit_ring.c: what memory can do at best: a ring between two threads of one process, and memcpy.
 *
 * Path    limit-ring    one thread copies a message into the ring and commits, another copies it out and releases it
 *         limit-memcpy  one thread copies messages from one block of memory to another
 * Owners  tail: the writing thread. head: the reading one. Bytes between: the reader's to read, nobody's to change.
 * I1      0 <= tail - head <= capacity. Both run over 2^64 and never wrap.
 * W1/R1   the writer stores tail with release, the reader loads it with acquire: without it the reader could see a message
 *         whose bytes have not arrived.
 * R2/W2   the reader stores head with release, the writer loads it with acquire: without it the writer could overwrite bytes
 *         that are still being copied out.
 * Batch   Positions are told after BATCH messages, or before waiting for the other side: what a ring can carry at best, not
 *         how soon.
 * Busy    Both threads spin: waking is what the other limits measure. After SPINS looks they let another thread run.
 */
#include <string.h>

#include "limit_list.h"
#include "queue/memory.h"
#include "queue/thread.h"

#define CAPACITY_LEAST ((size_t) 256 * 1024)
#define SPINS          1000u
#define LINE           64u
#define COPY_BLOCK     ((size_t) 1024 * 1024)
/* Messages between two looks at the clock. */
#define LOOK  256u
#define BATCH 32u

struct ring {
    _Alignas(LINE) atomic_uint_fast64_t tail;
    uint64_t head_seen; /* the writer's last look at head */
    _Alignas(LINE) atomic_uint_fast64_t head;
    uint64_t tail_seen; /* the reader's last look at tail */
    _Alignas(LINE) size_t size;
    uint64_t capacity; /* a multiple of `size` */
    char *bytes;
    uint64_t messages; /* the writer's, before `done` is set */
    atomic_bool done;
    bool broken; /* the reader found a message out of its turn; read after the join */
};

/* Waits until `from` is no longer `seen`; false where `done` came first. */
static bool changed_await(const atomic_uint_fast64_t *from, uint64_t seen, const atomic_bool *done, uint64_t *now)
{
    for (unsigned spins = 0;; spins++) {
        /* done before the position: what was committed before done is then seen */
        bool last = done != NULL && atomic_load_explicit(done, memory_order_acquire);
        *now = atomic_load_explicit(from, memory_order_acquire); /* R1, W2 */
        if (*now != seen)
            return true;
        if (last)
            return false;
        if (spins >= SPINS)
            thread_yield(0);
    }
}

static void reader_thread(void *argument)
{
    struct ring *ring = argument;
    char *copy = memory_alloc(ring->size);
    uint64_t head = 0;
    uint64_t at = 0; /* head, in the ring */
    uint64_t expected = 0;
    ring->broken = copy == NULL;
    while (copy != NULL) {
        if (head == ring->tail_seen) {
            atomic_store_explicit(&ring->head, head, memory_order_release); /* R2 */
            if (!changed_await(&ring->tail, head, &ring->done, &ring->tail_seen))
                break;
        }
        memcpy(copy, ring->bytes + at, ring->size);
        uint64_t number;
        memcpy(&number, copy, sizeof number);
        ring->broken |= number != expected++;
        head += ring->size;
        at = at + ring->size == ring->capacity ? 0 : at + ring->size;
        if (expected % BATCH == 0)
            atomic_store_explicit(&ring->head, head, memory_order_release); /* R2 */
    }
    memory_free(copy);
}

static void ring_write(struct ring *ring, char *message, uint64_t deadline)
{
    uint64_t tail = 0;
    uint64_t at = 0; /* tail, in the ring */
    while (ring->messages % LOOK != 0 || clock_now() < deadline) {
        while (tail - ring->head_seen > ring->capacity - ring->size) {
            atomic_store_explicit(&ring->tail, tail, memory_order_release); /* W1 */
            (void) changed_await(&ring->head, ring->head_seen, NULL, &ring->head_seen);
        }
        memcpy(message, &ring->messages, sizeof ring->messages);
        memcpy(ring->bytes + at, message, ring->size);
        tail += ring->size;
        at = at + ring->size == ring->capacity ? 0 : at + ring->size;
        if (++ring->messages % BATCH == 0)
            atomic_store_explicit(&ring->tail, tail, memory_order_release); /* W1 */
    }
    atomic_store_explicit(&ring->tail, tail, memory_order_release); /* W1 */
    atomic_store_explicit(&ring->done, true, memory_order_release);
}

static int ring_measure(size_t size, double seconds, uint64_t lead, struct limit_result *result)
{
    (void) lead;
    size_t step = size < sizeof(uint64_t) ? sizeof(uint64_t) : size;
    size_t capacity = step * 4 > CAPACITY_LEAST ? step * 4 : CAPACITY_LEAST / step * step;
    struct ring *ring = memory_aligned(LINE, sizeof *ring);
    char *bytes = memory_zalloc(capacity);
    char *message = memory_zalloc(step);
    int status = MR_OK;
    if (ring == NULL || bytes == NULL || message == NULL) {
        status = status_fail(MR_E_MEMORY, 0, "no memory for a ring of %zu bytes", capacity);
        goto end;
    }
    memset(ring, 0, sizeof *ring);
    ring->size = step;
    ring->capacity = capacity;
    ring->bytes = bytes;
    thread reader;
    status = thread_start(&reader, "limit-ring", reader_thread, ring);
    if (status != MR_OK)
        goto end;
    uint64_t start = clock_now();
    ring_write(ring, message, start + (uint64_t) (seconds * 1e9));
    thread_join(reader);
    double taken = (double) (clock_now() - start) / 1e9;
    if (ring->broken)
        status = status_fail(MR_E_PROTOCOL, 0, "the ring gave a message out of its turn");
    else
        *result = (struct limit_result){(double) ring->messages / taken, 0, 0};
end:
    memory_free(message);
    memory_free(bytes);
    if (ring != NULL)
        memory_aligned_free(ring);
    return status;
}

static int memcpy_measure(size_t size, double seconds, uint64_t lead, struct limit_result *result)
{
    (void) lead;
    size_t step = size == 0 ? 1 : size;
    size_t block = step > COPY_BLOCK ? step : COPY_BLOCK / step * step;
    char *from = memory_zalloc(block);
    char *to = memory_zalloc(block);
    if (from == NULL || to == NULL) {
        memory_free(from);
        memory_free(to);
        return status_fail(MR_E_MEMORY, 0, "no memory for two blocks of %zu bytes", block);
    }
    uint64_t messages = 0;
    uint64_t start = clock_now();
    uint64_t deadline = start + (uint64_t) (seconds * 1e9);
    size_t at = 0;
    uint64_t now = start;
    for (; now < deadline; now = clock_now()) {
        for (unsigned i = 0; i < LOOK; i++) {
            from[at] = (char) i; /* or the compiler could see that nothing changes */
            memcpy(to + at, from + at, step);
            at = at + step == block ? 0 : at + step;
        }
        messages += LOOK;
    }
    *result = (struct limit_result){(double) messages / ((double) (now - start) / 1e9), 0, 0};
    memory_free(from);
    memory_free(to);
    return MR_OK;
}

const struct limit limit_ring = {
    .name = "limit-ring",
    .summary =
        "a ring between two spinning threads of one process, at least 256 KiB, a copy in and a copy out, in batches",
    .sized = true,
    .measure = ring_measure,
};

const struct limit limit_memcpy = {
    .name = "limit-memcpy",
    .summary = "memcpy of messages from one block of 1 MiB to another, one thread",
    .sized = true,
    .measure = memcpy_measure,
};
