/* ring.c: the parts of the ring that are not on the path of every message. Invariants and atomic pairs: ring.h. */
#include "slots/ring.h"

static bool power_of_two(uint32_t number)
{
    return number != 0 && (number & (number - 1)) == 0;
}

bool ring_geometry_valid(const struct ring_geometry *geometry)
{
    if (geometry->levels == 0 || geometry->levels > RING_LEVELS_MAX)
        return false;
    for (uint32_t level = 0; level < RING_LEVELS_MAX; level++) {
        uint32_t capacity = geometry->capacity[level];
        if (level >= geometry->levels
                ? capacity != 0
                : !power_of_two(capacity) || capacity < RING_CAPACITY_MIN || capacity > RING_CAPACITY_MAX)
            return false;
    }
    return true;
}

/* Where a level's bytes begin; for the level behind the last one, the end. */
static size_t data_offset(const struct ring_geometry *geometry, uint32_t level)
{
    size_t offset = RING_CONTROL_BYTES;
    for (uint32_t below = 0; below < level; below++)
        offset += geometry->capacity[below];
    return offset;
}

size_t ring_memory_bytes(const struct ring_geometry *geometry)
{
    return data_offset(geometry, geometry->levels);
}

static struct ring_control *control_of(void *memory, uint32_t level)
{
    return (struct ring_control *) (void *) ((char *) memory + level * RING_CONTROL_STRIDE);
}

/* ---- the writer's end ---- */

void ring_writer_init(struct ring_writer *w, void *memory, const struct ring_geometry *geometry, uint32_t level)
{
    *w = (struct ring_writer){.control = control_of(memory, level),
                              .data = (unsigned char *) memory + data_offset(geometry, level),
                              .capacity = geometry->capacity[level],
                              .span = geometry->capacity[level],
                              .most = geometry->capacity[level],
                              .fence = true};
}

bool ring_refresh(struct ring_writer *w)
{
    uint64_t head = atomic_load_explicit(&w->control->head, memory_order_seq_cst); /* F1 N1 */
    if (w->broken || head - w->head > w->tail - w->head || head % 8 != 0) {        /* I1 I3 */
        w->broken = true;
        return false;
    }
    KILL_POINT_IF(head != w->head, writer, acknowledged);
    w->head = head;
    return true;
}

/* N2: in bytes. */
#define RING_ENOUGH ((uint64_t) 128 << 10)

/* I5 */
#define TURN_STEP ((uint64_t) 16 << 10)

/* I4 */
static uint64_t clear_of(const struct ring_writer *w)
{
    uint64_t rest = ring_rest(w);
    uint64_t room = w->capacity - (w->tail - w->head);
    if (w->halves) {
        uint64_t step = TURN_STEP - w->tail % TURN_STEP;
        rest = rest < step ? rest : step;
    }
    return w->tail + (rest < room ? rest : room);
}

/* I5: what is left out of this half, because nearly all before it is free again; 0: nothing. */
static uint64_t turn_back(struct ring_writer *w)
{
    uint64_t half = w->capacity / 2;
    uint64_t used = w->tail & (half - 1);
    if (!w->halves || used < TURN_STEP / 2 || !ring_refresh(w) || w->tail - w->head > used / 4)
        return 0;
    return half - used;
}

/* I6. True: the record goes to `tail`. */
static bool widen(struct ring_writer *w, uint64_t size)
{
    if (w->span == w->capacity || 2 * w->span > w->most || !ring_refresh(w) || w->tail - w->head <= w->span / 4)
        return false;
    while (2 * w->span <= w->most && w->span < w->capacity && ring_skip(w, size) > 0) {
        w->span *= 2;
        if (w->span > w->capacity / 2) {
            w->span = w->capacity;
            w->halves = false;
        }
    }
    return ring_skip(w, size) == 0;
}

void *ring_claim_anew(struct ring_writer *w, uint64_t size)
{
    uint64_t turn = turn_back(w);
    uint64_t skip = turn > 0 ? turn : ring_skip(w, size);
    if (turn == 0 && skip > 0 && widen(w, size))
        skip = 0;
    uint64_t offset = w->tail & (w->capacity - 1);
    enum ring_kind kind = offset + skip < w->capacity ? RING_HALF : RING_WRAP;
    if (w->tail == w->turned && w->skipped > 0) { /* that claim was forgotten */
        w->skipped = 0;
        atomic_store_explicit(&w->control->left_out, w->left_out, memory_order_relaxed);
    }
    if (w->tail - w->head + skip + size > w->capacity &&
        (!ring_refresh(w) || w->tail - w->head + skip + size > w->capacity))
        return NULL;
    w->clear = skip > 0 ? w->tail : clear_of(w);
    if (skip > 0) {
        _Atomic uint64_t *header = (_Atomic uint64_t *) (void *) (w->data + offset);
        atomic_store_explicit(header, (uint64_t) kind << 32, memory_order_relaxed);
        w->left_out += w->skipped;
        w->turned = w->tail;
        w->skipped = skip;
        atomic_store_explicit(&w->control->left_out, w->left_out + skip, memory_order_relaxed);
        KILL_POINT(writer, wrap);
    }
    w->claimed = w->tail + skip;
    KILL_POINT(writer, claim);
    return w->data + (w->claimed & (w->capacity - 1)) + RING_HEADER;
}

uint64_t ring_want_room(const struct ring_writer *w, size_t length)
{
    uint64_t size = ring_record_bytes(length);
    return w->tail + ring_skip(w, size) + size - w->capacity;
}

void ring_want(struct ring_writer *w, uint64_t position)
{
    atomic_store_explicit(&w->control->wanted, position, memory_order_seq_cst); /* N1 */
}

/* ---- the reader's end ---- */

void ring_reader_init(struct ring_reader *r, void *memory, const struct ring_geometry *geometry, uint32_t level)
{
    *r = (struct ring_reader){.control = control_of(memory, level),
                              .data = (const unsigned char *) memory + data_offset(geometry, level),
                              .capacity = geometry->capacity[level],
                              .span = geometry->capacity[level]};
}

void ring_reader_begin_at(struct ring_reader *r, uint64_t position)
{
    r->position = r->stop = r->tail = position;
    atomic_store_explicit(&r->head, position, memory_order_relaxed);
}

bool ring_reload(struct ring_reader *r)
{
    uint64_t tail = atomic_load_explicit(&r->control->tail, memory_order_acquire); /* R1 */
    uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    if (tail - head > r->capacity || tail - r->position < r->tail - r->position || /* I1 */
        tail - r->position > r->capacity || tail % 8 != 0)                         /* I2 I3 */
        return false;
    r->tail = tail;
    return true;
}

enum ring_look ring_stretch(struct ring_reader *r)
{
    if (r->position == r->tail && !ring_reload(r))
        return RING_VIOLATION;
    uint64_t rest = r->capacity - (r->position & (r->capacity - 1));
    uint64_t left = r->tail - r->position;
    r->stop = r->position + (left < rest ? left : rest);
    return left > 0 ? RING_RECORD : RING_NOTHING;
}

/* A record whose payload is one number that is not 0. */
static enum ring_look peek_number(const struct ring_reader *r, struct ring_record *record)
{
    uint64_t offset = r->position & (r->capacity - 1);
    uint64_t size = ring_record_bytes(sizeof(uint64_t));
    if (record->length != sizeof(uint64_t) || size > r->stop - r->position)
        return RING_VIOLATION;
    record->payload = r->data + offset + RING_HEADER;
    record->number = atomic_load_explicit((const _Atomic uint64_t *) (const void *) record->payload,
                                          memory_order_relaxed); /* once: our own copy */
    record->end = r->position + size;
    return record->number == 0 ? RING_VIOLATION : RING_RECORD;
}

enum ring_look ring_peek_other(struct ring_reader *r, uint64_t header, struct ring_record *record)
{
    *record = (struct ring_record){.length = (size_t) (uint32_t) header};
    if (header >> 32 == RING_LARGE || header >> 32 == RING_GAP) {
        record->kind = header >> 32 == RING_LARGE ? RING_LARGE : RING_GAP;
        return peek_number(r, record);
    }
    uint64_t offset = r->position & (r->capacity - 1);
    uint64_t half = r->capacity / 2;
    uint64_t rest = (header >> 32 == RING_HALF ? half : r->capacity) - offset; /* behind the half: more than there is */
    if ((header >> 32 != RING_WRAP && header >> 32 != RING_HALF) || record->length != 0 || offset == 0 || rest == 0 ||
        rest > r->capacity || rest >= r->tail - r->position)
        return RING_VIOLATION; /* nobody wraps without a record behind it */
    if (header >> 32 == RING_WRAP)
        atomic_store_explicit(&r->span, offset <= half ? offset : r->capacity, memory_order_relaxed);
    r->position += rest;
    r->left_out += rest;
    r->stop = r->position;
    KILL_POINT(reader, wrap);
    return ring_peek(r, record); /* once: a half begins here */
}

/* How many bytes more are occupied than a writer is let wait for (N2): half of what it uses; but of a large ring only what keeps
 * the reader busy until the writer has been woken. */
static uint64_t beyond_enough(const struct ring_reader *r, uint64_t occupied)
{
    uint64_t span = atomic_load_explicit(&r->span, memory_order_relaxed);
    uint64_t left_out = r->capacity - span;
    uint64_t used = occupied > span && occupied > left_out ? occupied - left_out : occupied;
    uint64_t enough = span / 2 < RING_ENOUGH ? span / 2 : span / 8 > RING_ENOUGH ? span / 8 : RING_ENOUGH;
    return used > enough ? used - enough : 0;
}

bool ring_release_look(struct ring_reader *r, uint64_t position)
{
    uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    atomic_store_explicit(&r->control->head, head, memory_order_seq_cst); /* B N2: again, for the load behind it */
    uint64_t wanted = atomic_load_explicit(&r->control->wanted, memory_order_seq_cst);
    if (wanted == r->told || head - wanted > UINT64_MAX / 2)
        return false;
    /* All that it had committed when it asked. A tail that breaks the rules deceives the one who waits, and nobody else. */
    uint64_t tail = atomic_load_explicit(&r->control->tail, memory_order_relaxed);
    uint64_t beyond = beyond_enough(r, tail - head);
    if (beyond > 0 && position != tail) {
        r->due = head + beyond;
        return false; /* there is more to deliver before the writer is needed: wake it once for most of the ring */
    }
    r->told = wanted;
    return true;
}

void ring_arm(struct ring_reader *r)
{
    r->epoch++;
    atomic_store_explicit(&r->control->asleep, r->epoch, memory_order_seq_cst); /* S1 */
}

bool ring_arm_look(struct ring_reader *r)
{
    return atomic_load_explicit(&r->control->tail, memory_order_seq_cst) == r->position; /* S1 */
}

/* ---- for tests ---- */

bool ring_writer_valid(const struct ring_writer *w)
{
    uint64_t end = w->tail | (w->capacity - 1); /* the last byte of this round */
    return w->tail - w->head <= w->capacity && w->tail % 8 == 0 && w->head % 8 == 0 &&
           (!ring_is_clear(w, 0) || (w->clear - w->head <= w->capacity && w->clear - w->tail <= end - w->tail + 1)) &&
           atomic_load_explicit(&w->control->tail, memory_order_relaxed) == w->tail;
}

bool ring_reader_valid(const struct ring_reader *r)
{
    uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    return r->tail - head <= r->capacity && r->position - head <= r->tail - head && r->position % 8 == 0 &&
           r->stop - r->position <= r->tail - r->position &&
           atomic_load_explicit(&r->control->head, memory_order_relaxed) == head;
}
