/* fuzz_ring_lane.c: a slot and the writers on its ring's socket: one keeps the rules, up to three others do what they like.
 *
 * Path    first step: what kind of slot > slot_open > the honest writer connects > a step each: somebody writes, breaks
 *         rules, or the slot is looked at, taken from, renamed > all that is honest is taken > everybody goes > slot_close
 * Inside  What a hostile writer does can happen while the slot takes, where it calls out: before a copy (pool_get), between the
 *         packets of a large message (ring_packet_receive), before it is read (ring_large_read), around a mapping (mmap), in
 *         the callback (deliver), between two looks at the system (epoll_wait). The linker puts this file there (--wrap).
 * I1      Nothing is read or written out of bounds: each mapping of the slot has memory around it that cannot be touched.
 * I2      slot_take delivers no more than its budget, looks at the system no more often than there is reason to, and comes
 *         to SLOT_EMPTY when nothing new is written.
 * I3      Honest messages come whole, in order, once, and the honest writer stays connected; when the slot sleeps, its next
 *         message rings, and what it rings is heard.
 * I4      What is delivered of the others is no larger than the slot takes, and ends with two NULs.
 * I5      After the last take everybody who is still connected keeps the rules; each connection is counted once, at the
 *         most, as a violation; and when everybody has gone nothing is left: descriptors, mappings, charges, buffers.
 * I6      The slot itself never closes a file that it has not had confirmed.
 */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lane.h"
#include "queue/buffer_pool.h"
#include "queue/thread.h"
#include "slots/backend.h"
#include "slots/ring_ceiling.h"
#include "slots/slot_linux.h"
#include "slots/slot_message.h"

#define SLOT_LEVELS 4u
#define HELD_MOST   256u
#define RENAMES     4u
#define GUARD       ((size_t) 1 << 20)
#define MAPPINGS    64u

struct held {
    struct buffer *buffer; /* NULL: only to be acknowledged */
    struct slot_token token;
};

static struct {
    struct buffer_pool *pool;
    char directory[86]; /* and "/fuzzN.ring" behind it is an address still */
    struct sockaddr_un addresses[RENAMES];
    struct slot_name names[RENAMES];
    size_t descriptors;       /* open before the slot */
    bool counted;             /* false: what is made at first use is being made */
    char *mappings[MAPPINGS]; /* shared ones, now */
} process;

static struct {
    slot *slot;
    mr_reader_options options;
    bool later;  /* messages are acknowledged later */
    bool retain; /* callbacks keep buffers */
    unsigned name;
    bool renamed; /* and the honest writer has not connected again */
    bool idle;    /* nothing has happened since SLOT_EMPTY */
    struct honest honest;
    struct held held[HELD_MOST];
    size_t held_count;

    bool taking; /* inside slot_take */
    struct slot_budget *budget;
    size_t delivered; /* in this take */
    size_t harvests;
    size_t refusals;

    struct program *program;
    unsigned hook_after; /* so many calls out of the slot until … */
    unsigned hook_steps; /* … so many steps happen there */
    bool in_hook;
} w;

/* This thread, and not the janitor's. */
static _Thread_local bool is_taker;

/* ---- what happens inside ---- */

static void world_rename(void);
static void held_give_back(size_t index);

static void hook(bool callback)
{
    struct step step;
    if (!w.taking || w.in_hook || w.hook_steps == 0)
        return;
    if (w.hook_after > 0) {
        w.hook_after--;
        return;
    }
    w.in_hook = true;
    for (; w.hook_steps > 0 && program_next(w.program, &step); w.hook_steps--) {
        if (callback && step.operation == 0xff)
            world_rename();
        else if (callback && step.operation == 0xfe && w.held_count > 0)
            held_give_back(step.small % w.held_count);
        else
            hostile_do(&step, &process.addresses[w.name]);
    }
    w.in_hook = false;
}

enum pool_result __real_pool_get(struct buffer_pool *pool, struct pool_cache *cache, size_t size, bool urgent,
                                 struct buffer **buffer);
enum pool_result __wrap_pool_get(struct buffer_pool *pool, struct pool_cache *cache, size_t size, bool urgent,
                                 struct buffer **buffer);
enum pool_result __wrap_pool_get(struct buffer_pool *pool, struct pool_cache *cache, size_t size, bool urgent,
                                 struct buffer **buffer)
{
    hook(false);
    return __real_pool_get(pool, cache, size, urgent, buffer);
}

int __real_ring_packet_receive(int socket, union ring_any_packet *packet, int *descriptor);
int __wrap_ring_packet_receive(int socket, union ring_any_packet *packet, int *descriptor);
int __wrap_ring_packet_receive(int socket, union ring_any_packet *packet, int *descriptor)
{
    hook(false);
    return __real_ring_packet_receive(socket, packet, descriptor);
}

int __real_ring_large_read(int fd, void *data, size_t length);
int __wrap_ring_large_read(int fd, void *data, size_t length);
int __wrap_ring_large_read(int fd, void *data, size_t length)
{
    hook(false);
    return __real_ring_large_read(fd, data, length);
}

int __real_epoll_wait(int set, struct epoll_event *events, int room, int timeout);
int __wrap_epoll_wait(int set, struct epoll_event *events, int room, int timeout);
int __wrap_epoll_wait(int set, struct epoll_event *events, int room, int timeout)
{
    hook(false);
    w.harvests++;
    return __real_epoll_wait(set, events, room, timeout);
}

int __real_close(int descriptor);
int __wrap_close(int descriptor);
int __wrap_close(int descriptor)
{
    struct stat status;
    if (is_taker && w.taking && !w.in_hook && trap_inode != 0 && fstat(descriptor, &status) == 0)
        DEMAND(!S_ISFIFO(status.st_mode) || status.st_ino != trap_inode); /* I6 */
    return __real_close(descriptor);
}

static size_t guarded_size(size_t size)
{
    return (size + 4095) / 4096 * 4096 + 2 * GUARD;
}

/* Mappings of shared files get guards around them (I1), and are counted. */
int __real_munmap(void *at, size_t size);
int __wrap_munmap(void *at, size_t size);
void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    hook(false);
    if (at != NULL || fd < 0 || (flags & MAP_SHARED) == 0)
        return __real_mmap(at, size, protection, flags, fd, offset);
    unsigned place = 0;
    while (place < MAPPINGS && process.mappings[place] != NULL)
        place++;
    DEMAND(place < MAPPINGS);
    size_t whole = guarded_size(size);
    char *room = __real_mmap(NULL, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    DEMAND(room != MAP_FAILED);
    char *memory = __real_mmap(room + GUARD, size, protection, flags | MAP_FIXED, fd, offset);
    if (memory == MAP_FAILED)
        DEMAND(__real_munmap(room, whole) == 0);
    else
        process.mappings[place] = memory;
    hook(false);
    return memory;
}

int __wrap_munmap(void *at, size_t size)
{
    unsigned place = 0;
    while (place < MAPPINGS && process.mappings[place] != at)
        place++;
    if (place == MAPPINGS)
        return __real_munmap(at, size);
    process.mappings[place] = NULL;
    return __real_munmap((char *) at - GUARD, guarded_size(size));
}

static bool mappings_are_gone(void)
{
    for (unsigned place = 0; place < MAPPINGS; place++) {
        if (process.mappings[place] != NULL)
            return false;
    }
    return true;
}

/* ---- the slot's side ---- */

static void held_give_back(size_t index)
{
    struct held held = w.held[index];
    w.held[index] = w.held[--w.held_count];
    slot_acknowledge(&held.token);
    slot_acknowledge(&held.token); /* a second time changes nothing */
    if (held.buffer != NULL)
        buffer_release(held.buffer, NULL);
}

static void held_give_back_all(void)
{
    while (w.held_count > 0)
        held_give_back(w.held_count - 1);
}

static void held_keep(struct buffer *buffer)
{
    if (w.held_count == HELD_MOST)
        held_give_back(0);
    w.held[w.held_count++] = (struct held){buffer, slot_message_of(buffer)->token};
}

static enum slot_delivered deliver(void *context, struct buffer *buffer)
{
    (void) context;
    const struct mr_message *message = &slot_message_of(buffer)->public;
    const unsigned char *data = message->data;
    DEMAND(w.taking && !w.in_hook);
    DEMAND(message->length <= w.options.max_message && message->length == buffer->length); /* I4 */
    DEMAND(data[message->length] == 0 && data[message->length + 1] == 0);
    DEMAND(message->sender.pid == (uint32_t) getpid() && message->lane == MR_LANE_RING);
    hook(true); /* what happens now changes nothing of the message any more */
    if (w.refusals > 0 && w.refusals-- == 1)
        return DELIVERED_REFUSED;
    w.delivered++;
    if (message->sender.writer == HONEST_WRITER) {
        DEMAND(!message->redelivered);
        honest_receive(&w.honest, message->priority, message->sequence, data, message->length); /* I3 */
    }
    if (w.delivered % 16 == 15)
        w.budget->stop = w.retain;
    if (w.later) {
        held_keep(buffer);
        return DELIVERED_KEPT;
    }
    if (w.retain) {
        buffer_retain(buffer);
        held_keep(buffer);
    }
    return DELIVERED_DONE;
}

static void on_ready(void *context)
{
    (void) context;
}

static enum slot_taken world_take(size_t messages, size_t bytes, size_t urgent)
{
    struct slot_budget budget = {.messages = messages, .bytes = bytes, .urgent = urgent};
    size_t wanted = 0;
    w.budget = &budget;
    w.delivered = w.harvests = 0;
    w.taking = true;
    enum slot_taken taken = slot_take(w.slot, NULL, &budget, &wanted);
    w.taking = false;
    DEMAND(w.delivered <= messages + urgent); /* I2 */
    w.idle = taken == SLOT_EMPTY && w.held_count == 0 && w.hook_steps == 0 && !w.renamed;
    if (taken == SLOT_STARVED)
        held_give_back_all();
    return taken;
}

/* I2: everything, with nothing new coming. */
static void world_take_all(void)
{
    /* More than what fits into the rings, and the packets on their way, at 8 bytes each. */
    size_t rounds = 4096;
    w.hook_steps = 0;
    w.refusals = 0;
    for (;;) {
        held_give_back_all();
        enum slot_taken taken = world_take(256, SIZE_MAX, 4);
        held_give_back_all();
        if (taken == SLOT_EMPTY && !slot_holds(w.slot) && slot_wait(w.slot, 0) == MR_E_TIMEOUT)
            return;
        DEMAND(--rounds > 0);
    }
}

static void world_open(const struct step *first)
{
    static const size_t sizes[] = {4096, 100, 20000, 1 << 20};
    struct slot_config config = {.name = &process.names[0],
                                 .options = &w.options,
                                 .pool = process.pool,
                                 .deliver = deliver,
                                 .on_ready = on_ready};
    w.options = (mr_reader_options) MR_READER_OPTIONS_INIT;
    w.later = first->operation & 1;
    w.retain = (first->operation & 2) != 0;
    w.options.max_message = sizes[first->what % 4];
    w.options.levels = SLOT_LEVELS;
    w.options.connections_per_uid = 8;
    w.options.acknowledge_window = first->what & 4 ? 4 : 1024;
    config.acknowledged_later = w.later;
    ring_ceiling_set(first->what & 8 ? 64 << 20 : 0, (first->what & 16) != 0);
    w.name = 0;
    w.renamed = w.idle = w.taking = w.in_hook = false;
    w.held_count = w.refusals = 0;
    w.hook_after = w.hook_steps = 0;
    DEMAND(slot_open(&w.slot, &config) == MR_OK);
    for (uint32_t level = 0; level < HONEST_LEVELS; level++)
        w.honest.delivered[level] = 0;
    hostile_reset();
    honest_connect(&w.honest, &process.addresses[0]);
}

/* ---- steps ---- */

static void world_rename(void)
{
    if (w.renamed)
        return;
    unsigned next = (w.name + 1) % RENAMES;
    DEMAND(slot_rename(w.slot, &process.names[next]) == MR_OK);
    w.name = next;
    w.renamed = true;
}

/* After a rename: what the honest writer had committed has been taken, and it is hung up on; then it connects anew. */
static void world_settle_rename(void)
{
    if (!w.renamed)
        return;
    honest_listen(&w.honest);
    world_take_all();
    DEMAND(honest_is_over(&w.honest));
    if (!w.later)
        DEMAND(honest_is_delivered(&w.honest));
    honest_end(&w.honest);
    w.renamed = false;
    honest_connect(&w.honest, &process.addresses[w.name]);
}

static void world_write(const struct step *step)
{
    bool idle = w.idle;
    uint32_t level = step->what / 4 % HONEST_LEVELS;
    size_t most = ring_payload_max(w.honest.rings[level].capacity);
    if (most > w.options.max_message)
        most = w.options.max_message;
    size_t large_most = w.options.max_message < HONEST_LARGE ? w.options.max_message : HONEST_LARGE;
    for (unsigned count = 1 + step->small % 16; count > 0; count--) {
        enum honest_wrote wrote;
        if (step->what % 4 == 0)
            wrote = honest_gap(&w.honest, level, 1 + step->large % 3);
        else if (step->what % 4 == 1)
            wrote = honest_write(&w.honest, level, 1 + step->large % large_most, true);
        else
            wrote = honest_write(&w.honest, level, step->large % (most + 1), false);
        if (wrote == HONEST_FULL)
            break;
        if (idle) { /* I3: it slept */
            DEMAND(wrote == HONEST_RANG || slot_holds(w.slot));
            DEMAND(slot_holds(w.slot) || slot_wait(w.slot, 0) == MR_OK);
        }
        idle = false;
        w.idle = false;
    }
}

static void world_look(const struct step *step)
{
    mr_reader_writer writers[HOSTILE_WRITERS + 1];
    struct slot_counts counts;
    switch (step->what % 4) {
    case 0:
        (void) slot_urgent(w.slot);
        w.idle = false;
        break;
    case 1:
        DEMAND(slot_writers(w.slot, writers, HOSTILE_WRITERS + 1) <= HOSTILE_WRITERS + 1 + 8);
        break;
    case 2:
        slot_get_counts(w.slot, &counts);
        DEMAND(counts.violations <= hostile_connections());
        break;
    default:
        if (slot_wait(w.slot, 0) == MR_E_TIMEOUT)
            DEMAND(!slot_holds(w.slot));
        break;
    }
}

static void world_step(const struct step *step)
{
    switch (step->operation % 32) {
    case 16:
    case 17:
        world_write(step);
        break;
    case 18:
    case 19:
    case 20:
        (void) world_take(1 + step->small % 64, step->what & 1 ? SIZE_MAX : 1 + step->large % 100000,
                          step->what / 2 % 8);
        world_settle_rename();
        break;
    case 21:
    case 22:
        w.hook_after = step->what % 32;
        w.hook_steps = step->small % 8;
        (void) world_take(1 + step->large % 64, SIZE_MAX, step->large / 64 % 8);
        world_settle_rename();
        w.hook_steps = 0;
        break;
    case 23:
        for (unsigned i = 0; i <= step->small % 16 && w.held_count > 0; i++)
            held_give_back(step->large % w.held_count);
        w.idle = false;
        break;
    case 24:
        world_look(step);
        break;
    case 25:
        if (step->what % 4 == 0) {
            world_rename();
            world_settle_rename();
        }
        break;
    case 26:
        w.refusals = 1 + step->small % 8;
        break;
    case 27:
        honest_listen(&w.honest);
        break;
    default:
        hostile_do(step, &process.addresses[w.name]);
        w.idle = false;
        break;
    }
}

/* ---- the end ---- */

/* I5: who is here keeps the rules, as its own memory says; and has been heard, unless it is without a doorbell. */
static bool sessions_are_heard(void)
{
    bool heard = true;
    for (const struct ring_session *x = w.slot->sessions; x != NULL; x = x->next) {
        for (uint32_t level = 0; level < x->geometry.levels; level++) {
            const struct ring_reader *r = &x->levels[level].ring;
            uint64_t head = atomic_load(&r->head);
            DEMAND(r->tail - head <= r->capacity && r->position - head <= r->tail - head);
            heard = heard && (r->position == atomic_load(&r->control->tail) || !hostile_can_ring(x->sender.writer));
        }
    }
    return heard;
}

static uint64_t world_connections(void)
{
    struct slot_counts counts;
    slot_get_counts(w.slot, &counts);
    DEMAND(counts.rings == counts.connections);
    return counts.connections;
}

static bool only_the_honest_is_here(void)
{
    return world_connections() == 1;
}

static bool nobody_is_here(void)
{
    return world_connections() == 0;
}

/* A connection that was on its way to the slot when its writer went is closed by the janitor's thread, and its end is noticed
 * only then. */
static void world_take_until(bool (*come)(void))
{
    uint64_t give_up = clock_now() + UINT64_C(5000000000);
    for (world_take_all(); !come(); world_take_all()) {
        DEMAND(clock_now() < give_up);
        sched_yield();
    }
}

/* How many there are; also says which, if `tell`. */
static size_t count_descriptors(bool tell)
{
    size_t count = 0;
    DIR *directory = opendir("/proc/self/fd");
    DEMAND(directory != NULL);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL; count++) {
        char what[128];
        ssize_t length = tell ? readlinkat(dirfd(directory), entry->d_name, what, sizeof what) : 0;
        if (length > 0)
            fprintf(stderr, "open: %s %.*s\n", entry->d_name, (int) length, what);
    }
    closedir(directory);
    return count;
}

/* The janitor's thread closes what it was given when it comes to it. */
static void check_descriptors(void)
{
    uint64_t give_up = clock_now() + UINT64_C(5000000000);
    while (process.counted && count_descriptors(false) != process.descriptors) {
        if (clock_now() >= give_up) {
            DEMAND(count_descriptors(true) == process.descriptors);
        }
        sched_yield();
    }
}

static void world_end(bool quickly)
{
    struct slot_counts counts;
    uint64_t lost = 0;
    world_settle_rename();
    if (!quickly) {
        hostile_ring_all();
        world_take_until(sessions_are_heard);
        honest_listen(&w.honest);
        DEMAND(honest_is_delivered(&w.honest) && honest_is_acknowledged(&w.honest) &&
               !honest_is_over(&w.honest)); /* I3 */
        hostile_end();
        world_take_until(only_the_honest_is_here);
        slot_get_counts(w.slot, &counts);
        DEMAND(counts.violations <= hostile_connections());
        honest_end(&w.honest);
        world_take_until(nobody_is_here);
        slot_get_counts(w.slot, &counts);
        DEMAND(counts.ring_bytes == 0 && counts.unacknowledged == 0);
    }
    slot_close(w.slot, false, &lost);
    DEMAND(quickly || lost == 0);
    held_give_back_all(); /* late */
    hostile_end();
    honest_end(&w.honest);
    struct pool_statistics pool;
    pool_statistics(process.pool, &pool);
    DEMAND(pool.bytes_charged == 0 && pool.buffers_out == 0);
    DEMAND(ring_ceiling_taken() == 0 && mappings_are_gone());
    check_descriptors();
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void) status, (void) type, (void) where;
    return remove(path);
}

static void process_end(void)
{
    (void) nftw(process.directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void process_begin(void)
{
    struct pool_options options = {
        .ceiling = 1 << 20, .urgent_share = POOL_SHARE_DEFAULT, .header_bytes = sizeof(struct slot_message)};
    const char *base = getenv("TMPDIR");
    if (base == NULL && access("/dev/shm", W_OK) == 0)
        base = "/dev/shm";
    snprintf(process.directory, sizeof process.directory, "%.70s/mr-fuzz-XXXXXX",
             base != NULL && base[0] == '/' ? base : "/tmp");
    hostile_prepare();
    DEMAND(mkdtemp(process.directory) != NULL && setenv("MAILROOM_DIR", process.directory, 1) == 0);
    process.pool = pool_open(&options);
    DEMAND(process.pool != NULL);
    for (unsigned i = 0; i < RENAMES; i++) {
        char name[16];
        struct sockaddr_un *address = &process.addresses[i];
        snprintf(name, sizeof name, "fuzz%u", i);
        address->sun_family = AF_UNIX;
        snprintf(address->sun_path, sizeof address->sun_path, "%s/%s.ring", process.directory, name);
        DEMAND(name_parse(&process.names[i], name) == MR_OK);
    }
    w.honest.socket = -1;
    DEMAND(atexit(process_end) == 0);
}

static void world_run(struct program *program)
{
    struct step first, step;
    if (!program_next(program, &first))
        return;
    w.program = program;
    world_open(&first);
    while (program_next(program, &step))
        world_step(&step);
    world_end((first.operation & 12) == 12);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct program program = program_of(bytes, size);
    if (process.pool == NULL) {
        static const uint8_t nothing[sizeof(struct step)];
        struct program warm_up = program_of(nothing, sizeof nothing);
        process_begin();
        world_run(&warm_up);
        process.counted = true;
    }
    is_taker = true;
    process.descriptors = count_descriptors(false);
    world_run(&program);
    return 0;
}
