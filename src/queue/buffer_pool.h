/* buffer_pool.h: reference-counted buffers in size classes, with a hard ceiling in bytes.
 *
 * Path    pool_get > this thread's cache, or the allocator > caller fills it > buffer_retain/buffer_release by anybody
 *         > the releasing thread's cache, or back to the allocator
 * Owners  A buffer belongs to whoever holds a reference; the last release gives it back. A cache belongs to one thread
 *         at a time. The pool lives until it is closed and the last buffer and cache are back.
 *
 * Everything the pool takes from the allocator (buffers in use, buffers in caches, the caches and the pool itself) and
 * everything charged with pool_charge counts against the ceiling, at every instant. Memory never comes back zeroed.
 * The invariants and atomic pairs are in pool_private.h.
 */
#ifndef MAILROOM_QUEUE_BUFFER_POOL_H
#define MAILROOM_QUEUE_BUFFER_POOL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POOL_CEILING_DEFAULT ((size_t) 256 << 20)
#define POOL_SMALLEST        ((size_t) 64)       /* capacity of the smallest class */
#define POOL_LARGEST         ((size_t) 16 << 20) /* of the largest; above it exact sizes, never cached */
#define POOL_CLASSES         37u                 /* 64, 96, 128, 192, … 16 MiB */

struct buffer_pool; /* any thread */
struct pool_cache;  /* one thread at a time */

/* A buffer: this, then the caller's header, then the data. Read its fields freely; only `length` is changed from
 * outside, by buffer_set_length. */
struct buffer {
    struct buffer_pool *pool;
    size_t capacity; /* bytes of data there is room for, two NUL bytes behind them not counted */
    size_t length;   /* bytes of data there are */
    _Atomic uint32_t refs;
    uint16_t size_class;  /* POOL_CLASSES for an exact size */
    uint16_t data_offset; /* from the start of this struct */
};

struct pool_options {
    size_t ceiling;      /* bytes; 0: POOL_CEILING_DEFAULT */
    size_t urgent_share; /* bytes of the ceiling that only urgent requests may use; POOL_SHARE_DEFAULT: an eighth */
    size_t header_bytes; /* room for the caller's header in each buffer; at most 4096 */
};
#define POOL_SHARE_DEFAULT SIZE_MAX

enum pool_result {
    POOL_OK,
    POOL_CEILING,   /* not now: register a waiter */
    POOL_NEVER,     /* more than the ceiling (less the urgent share) can ever allow: waiting is useless */
    POOL_NO_MEMORY, /* the allocator itself refused */
};

/* Opens a pool; NULL when the allocator refuses or an option is out of range: a header too large, a share
 * that is no less than the ceiling, a ceiling that cannot hold the pool itself (some 2 KiB). */
struct buffer_pool *pool_open(const struct pool_options *options);

/* Closes a pool: no pool_get, pool_charge or pool_wait afterwards. Returns the number of buffers that are still out.
 * They stay valid; the pool's memory goes with the last of them (and the last cache). Charges must have been given
 * back and waiters cancelled before. */
size_t pool_close(struct buffer_pool *pool);

/* Opens a cache for the calling thread (or whoever uses it alone). Bounded: per class at most 64 buffers and 256 KiB.
 * NULL when there is no memory under the ceiling; every function takes a NULL cache and then goes to the allocator. */
struct pool_cache *pool_cache_open(struct buffer_pool *pool);
/* Gives the cached buffers back to the allocator, and the cache. By its owner. NULL is allowed. */
void pool_cache_close(struct pool_cache *cache);
/* Gives the cached buffers back to the allocator; for an owner that goes idle. NULL is allowed. */
void pool_cache_flush(struct pool_cache *cache);

/* Gets a buffer with room for at least `size` bytes and two NULs, one reference, length 0, contents undefined (header
 * too). Where the ceiling would be passed every thread's cache is flushed before the request is refused. */
enum pool_result pool_get(struct buffer_pool *pool, struct pool_cache *cache, size_t size, bool urgent,
                          struct buffer **buffer);

/* Another reference. Any thread that holds one. */
void buffer_retain(struct buffer *buffer);
/* Gives up a reference. Any thread; `cache` is the calling thread's own, or NULL. Everything the other holders wrote
 * before their release happens before the buffer is used again. */
void buffer_release(struct buffer *buffer, struct pool_cache *cache);

static inline void *buffer_header(struct buffer *buffer)
{
    return (char *) buffer + ((sizeof *buffer + 15) & ~(size_t) 15);
}

static inline void *buffer_data(struct buffer *buffer)
{
    return (char *) buffer + buffer->data_offset;
}

/* Whether the caller's reference is the only one: then nobody else can get another. */
static inline bool buffer_is_sole(const struct buffer *buffer)
{
    return atomic_load_explicit(&buffer->refs, memory_order_acquire) == 1;
}

/* The buffer of a header that buffer_header returned. */
static inline struct buffer *buffer_of_header(void *header)
{
    return (struct buffer *) (void *) ((char *) header - ((sizeof(struct buffer) + 15) & ~(size_t) 15));
}

/* Says how many bytes (at most capacity) of data there are, and writes the two NUL bytes behind them. */
static inline void buffer_set_length(struct buffer *buffer, size_t length)
{
    char *end = (char *) buffer_data(buffer) + length;
    end[0] = 0;
    end[1] = 0;
    buffer->length = length;
}

/* Moves a short message (buffer->length) out of a much larger buffer: when a class that fits is at most half of this
 * one and at least 512 bytes are saved, header and data are copied into a new buffer and this one is released. Returns
 * the buffer to go on with: the new one, or the same one where nothing is gained, somebody else holds a reference or
 * there is no memory. Pointers into the old buffer are void when it differs. */
struct buffer *buffer_shrink(struct buffer *buffer, struct pool_cache *cache, bool urgent);

/* Other things that count against the same ceiling (descriptors, mappings): POOL_OK, POOL_CEILING or POOL_NEVER. */
enum pool_result pool_charge(struct buffer_pool *pool, size_t bytes, bool urgent);
void pool_uncharge(struct buffer_pool *pool, size_t bytes);

/* Waiting for memory. The waiter lives in the caller's object; zero it before the first use.
 *
 * `callback` is called exactly once per successful pool_wait, outside of the pool's lock, on whatever thread gave
 * memory back: inside any function here but pool_wait and pool_wait_charge. It must not block nor take a lock that is
 * held around such a call (post a packet). Inside it the waiter may be registered again, cancelled or freed.
 * Memory is promised to as many waiters as it suffices for, urgent ones first, then first come first served; one that
 * asks for more than there is does not hold up those behind it. A promise is no reservation: try pool_get again, and
 * wait again if it is refused. Whoever was called and does not try soon calls pool_wake, so that the next one gets its
 * chance; pool_cancel does that by itself.
 */
struct pool_waiter {
    void (*callback)(struct pool_waiter *waiter, void *context);
    void *context;
    /* private to the pool */
    struct pool_waiter *next;
    struct pool_waiter *previous;
    size_t bytes;
    bool urgent;
    bool listed;
};

/* Registers for `size` bytes of data after a POOL_CEILING; callback and context are set by the caller before. Returns
 * true when registered (another thread may run the callback before this returns), false when the memory is there already
 * or can never be: not registered, try pool_get again. A waiter that is registered must not be registered again before
 * its call. */
bool pool_wait(struct buffer_pool *pool, struct pool_waiter *waiter, size_t size, bool urgent);
/* The same for pool_charge of `bytes`. */
bool pool_wait_charge(struct buffer_pool *pool, struct pool_waiter *waiter, size_t bytes, bool urgent);

/* After it returns the callback is not running and will not run (unless called inside that very callback: then it will
 * not run again). Returns true when the callback was thereby prevented. A zeroed waiter is fine. Any thread; do not
 * hold a lock that the callback takes. */
bool pool_cancel(struct buffer_pool *pool, struct pool_waiter *waiter);

/* Calls the waiters for whom there is memory now. */
void pool_wake(struct buffer_pool *pool);

struct pool_statistics {
    size_t ceiling;
    size_t bytes;         /* everything counted against the ceiling, now */
    size_t bytes_high;    /* its high-water mark */
    size_t bytes_cached;  /* of it, buffers in caches */
    size_t bytes_charged; /* of it, pool_charge */
    size_t bytes_own;     /* of it, the pool and its caches themselves */
    size_t bytes_in_use;  /* of it, buffers that are out: the rest */
    size_t buffers_out;
    size_t waiters;
    uint64_t refusals;                 /* pool_get and pool_charge answered with POOL_CEILING */
    uint64_t refusals_never;           /* … with POOL_NEVER */
    uint64_t failures;                 /* … with POOL_NO_MEMORY */
    uint64_t gets[POOL_CLASSES + 1];   /* buffers handed out by class; the last: exact sizes */
    uint64_t misses[POOL_CLASSES + 1]; /* of them, taken from the allocator */
};

/* Each figure is exact at some instant during the call, the whole is no snapshot while other threads work. */
void pool_statistics(struct buffer_pool *pool, struct pool_statistics *statistics);

/* The class that serves a size; POOL_CLASSES above POOL_LARGEST. */
unsigned pool_class_of(size_t size);
/* Capacity of a class. */
size_t pool_class_capacity(unsigned size_class);
/* The capacity pool_get gives for a size. */
size_t pool_right_size(size_t size);

/* Learns how large a slot's messages are, so that a reader asks for buffers that fit: starts small, grows at once,
 * shrinks by at most half per 64 messages. Caller-locked. */
struct size_advisor {
    size_t size;    /* the advice: ask for this many bytes */
    size_t largest; /* seen in this window */
    unsigned seen;  /* messages in this window */
    size_t minimum;
};
#define SIZE_ADVISOR_START  ((size_t) 256)
#define SIZE_ADVISOR_WINDOW 64u

void size_advisor_init(struct size_advisor *advisor, size_t minimum); /* 0: SIZE_ADVISOR_START */
void size_advisor_learn(struct size_advisor *advisor, size_t length);

#endif
