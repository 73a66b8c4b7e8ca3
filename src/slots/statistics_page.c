/* statistics_page.c: one page of memory that its owner writes and everybody else copies, on every platform.
 *
 * Path    statistics_page_publish > one of two copies in the mapping ...... the reader's copy of the whole page > the newest
 *         copy whose check word fits > statistics_view
 * Owners  The page: the slot's owner. How others come by an image of it is the platform's matter.
 * P1      The head (magic, sizes, name) is written before anybody can find the page, and never changes.
 * P2      publish writes the copy that is not the newest. An owner stopped in the middle of it (SIGSTOP, SIGKILL) leaves the
 *         newest one whole, so a frozen owner can still be looked at; one sequence counter around one copy could not.
 * P3      A copy is taken only if its check word is the mix of its sequence number and figures. A copy read while it was
 *         written is a mixture of two generations: it passes with a chance of 2^-64.
 * Atomics Every word of a copy is stored relaxed, so that no store is torn or invented by the compiler. No order between
 *         them is needed or claimed: P3 finds a mixture whatever the order in which the words became visible. A reader is
 *         another process, with which C11's orders would not pair anyway.
 * P4      The busiest writers stand behind the name, in two copies of the same kind; they are shown less often than the
 *         figures. Caught in the middle of both, none is shown.
 * E1      `life` is odd while a slot has the name, and counts up when it leaves the name and when one takes it: stored with
 *         release, loaded with acquire by those who have the page mapped. Another value than before: the slot is gone. (The
 *         same value says nothing: a killed owner counts no more.) The head changes only while it is even.
 * Hostile The reader takes nothing on trust: lengths, the end of the text. Figures may be lies, and are only shown.
 */
#include "slots/statistics_page.h"

#include <stdatomic.h>
#include <string.h>

#include "slots/backend.h"

#define PAGE_MAGIC   "MRSLOT\r\n" /* the line end shows a file that was converted as text */
#define PAGE_VERSION 2u
#define NAME_OFFSET  512u

enum {
    FIGURES = 15,
    COPIES = 2,
    WRITER_WORDS = 11,
    TABLE_WORDS = 1 + STATISTICS_WRITERS_MOST * WRITER_WORDS, /* how many there are, then each */
};

struct page_head {
    char magic[8];
    uint32_t version;
    uint32_t size; /* of the file */
    uint64_t max_message;
    uint32_t name_length; /* bytes, at NAME_OFFSET, without the NUL that follows */
    uint32_t owner;       /* its process; 0 where the page's place tells */
};

/* Each in cache lines of its own. All numbers are in the machine's byte order: the file does not leave the machine. */
struct page_copy {
    _Alignas(64) _Atomic uint64_t sequence; /* 1, 2, 3 …; 0: never written */
    _Atomic uint64_t figures[FIGURES];
    _Atomic uint64_t check;
};

/* P4: behind the name. */
struct page_table {
    _Atomic uint64_t sequence;
    _Atomic uint64_t words[TABLE_WORDS];
    _Atomic uint64_t check;
};
#define TABLES_OFFSET (NAME_OFFSET + MR_NAME_MAX)

struct page_layout {
    struct page_head head;
    struct page_copy copies[COPIES];
    _Alignas(64) _Atomic uint32_t life; /* E1 */
};

_Static_assert(sizeof(struct page_layout) <= NAME_OFFSET, "the name stands behind the copies");
_Static_assert(TABLES_OFFSET + COPIES * sizeof(struct page_table) <= STATISTICS_PAGE_SIZE, "name and writers fit");
_Static_assert(sizeof(_Atomic uint64_t) == sizeof(uint64_t) && ATOMIC_LLONG_LOCK_FREE == 2,
               "an atomic word is just the word, also in a file");

/* The check word: each word changes all bits that follow (a step of splitmix64). */
static uint64_t check_mix(uint64_t sequence, const uint64_t *words, size_t count)
{
    uint64_t mix = sequence;
    for (size_t i = 0; i < count; i++) {
        mix = (mix ^ words[i]) + 0x9E3779B97F4A7C15u;
        mix = (mix ^ mix >> 30) * 0xBF58476D1CE4E5B9u;
        mix = (mix ^ mix >> 27) * 0x94D049BB133111EBu;
        mix ^= mix >> 31;
    }
    return mix;
}

/* A copy: its number, its words, the check word. */
static void copy_store(_Atomic uint64_t *copy, uint64_t sequence, const uint64_t *words, size_t count)
{
    atomic_store_explicit(copy, sequence, memory_order_relaxed);
    for (size_t i = 0; i < count; i++)
        atomic_store_explicit(&copy[1 + i], words[i], memory_order_relaxed);
    atomic_store_explicit(&copy[1 + count], check_mix(sequence, words, count), memory_order_relaxed);
}

static void page_store(struct statistics_page *page, const uint64_t figures[FIGURES])
{
    page->sequence++;
    copy_store(&((struct page_layout *) page->layout)->copies[page->sequence % COPIES].sequence, page->sequence,
               figures, FIGURES);
}

void statistics_page_image(char *image, const char *display, uint64_t max_message, uint32_t owner)
{
    size_t length = strlen(display);
    memset(image, 0, STATISTICS_PAGE_SIZE);
    struct page_head head = {.version = PAGE_VERSION,
                             .size = STATISTICS_PAGE_SIZE,
                             .max_message = max_message,
                             .name_length = (uint32_t) length,
                             .owner = owner};
    memcpy(head.magic, PAGE_MAGIC, sizeof head.magic);
    memcpy(image, &head, sizeof head);
    memcpy(image + NAME_OFFSET, display, length);
}

static void life_next(struct page_layout *layout)
{
    uint32_t life = atomic_load_explicit(&layout->life, memory_order_relaxed); /* its owner's alone to change */
    atomic_store_explicit(&layout->life, life + 1, memory_order_release);
}

void statistics_page_start(struct statistics_page *page, void *mapping)
{
    static const uint64_t nothing[FIGURES] = {[2] = UINT64_MAX}; /* next_size: nothing waits */
    *page = (struct statistics_page){.layout = mapping};
    page_store(page, nothing);
    life_next(mapping);
}

void statistics_page_take_over(struct statistics_page *page, void *mapping, const char *image)
{
    struct page_layout *layout = mapping;
    if (statistics_page_life(mapping) % 2 != 0)
        life_next(layout); /* its owner was killed */
    memcpy((char *) mapping + offsetof(struct page_layout, copies), image + offsetof(struct page_layout, copies),
           sizeof layout->copies);
    memcpy((char *) mapping + NAME_OFFSET, image + NAME_OFFSET, STATISTICS_PAGE_SIZE - NAME_OFFSET);
    memcpy(&layout->head, image, sizeof layout->head);
    statistics_page_start(page, mapping);
}

void statistics_page_publish(struct statistics_page *page, const struct slot_figures *f)
{
    const uint64_t figures[FIGURES] = {
        f->waiting,        f->waiting_bytes, f->next_size,   f->waiting_peak, f->messages,           f->bytes,
        f->dropped,        f->refused,       f->connections, f->rings,        f->dropped_by_writers, f->redelivered,
        f->unacknowledged, f->waits,         f->doorbells};
    page_store(page, figures);
}

static void writer_pack(uint64_t words[WRITER_WORDS], const mr_reader_writer *w)
{
    const uint64_t packed[WRITER_WORDS] = {w->sender.pid | (uint64_t) w->sender.uid << 32,
                                           w->sender.gid | (uint64_t) w->lane << 32 | (uint64_t) (w->gone != 0) << 40,
                                           w->sender.writer,
                                           w->messages,
                                           w->bytes,
                                           w->dropped,
                                           w->waiting,
                                           w->waiting_peak,
                                           w->waits,
                                           w->doorbells,
                                           w->unacknowledged};
    memcpy(words, packed, sizeof packed);
}

static void writer_unpack(mr_reader_writer *w, const uint64_t words[WRITER_WORDS])
{
    *w = (mr_reader_writer){.sender = {.writer = words[2],
                                       .pid = (uint32_t) words[0],
                                       .uid = (uint32_t) (words[0] >> 32),
                                       .gid = (uint32_t) words[1]},
                            .lane = (mr_lane) (words[1] >> 32 & 0xFF),
                            .gone = words[1] >> 40 & 1,
                            .messages = words[3],
                            .bytes = words[4],
                            .dropped = words[5],
                            .waiting = words[6],
                            .waiting_peak = words[7],
                            .waits = words[8],
                            .doorbells = words[9],
                            .unacknowledged = words[10]};
}

static struct page_table *page_table(void *mapping, uint64_t sequence)
{
    return (struct page_table *) (void *) ((char *) mapping + TABLES_OFFSET) + sequence % COPIES;
}

void statistics_page_publish_writers(struct statistics_page *page, const mr_reader_writer *writers, size_t count,
                                     uint64_t total)
{
    uint64_t words[TABLE_WORDS] = {total};
    for (size_t i = 0; i < count && i < STATISTICS_WRITERS_MOST; i++)
        writer_pack(words + 1 + i * WRITER_WORDS, &writers[i]);
    page->writers++;
    copy_store(&page_table(page->layout, page->writers)->sequence, page->writers, words, TABLE_WORDS);
}

/* Takes the newest whole copy out of a page's image. */
static bool copies_read(const char *image, struct statistics_view *view)
{
    uint64_t newest = 0;
    for (size_t i = 0; i < COPIES; i++) {
        uint64_t words[FIGURES + 2]; /* sequence, figures, check */
        memcpy(words, image + offsetof(struct page_layout, copies) + i * sizeof(struct page_copy), sizeof words);
        const uint64_t *f = words + 1;
        if (words[0] <= newest || words[FIGURES + 1] != check_mix(words[0], f, FIGURES))
            continue;
        newest = words[0];
        view->waiting = f[0];
        view->waiting_bytes = f[1];
        view->next_size = f[2];
        view->waiting_peak = f[3];
        view->messages = f[4];
        view->bytes = f[5];
        view->dropped = f[6];
        view->refused = f[7];
        view->connections = f[8];
        view->rings = f[9];
        view->dropped_by_writers = f[10];
        view->redelivered = f[11];
        view->unacknowledged = f[12];
        view->waits = f[13];
        view->doorbells = f[14];
    }
    return newest != 0;
}

/* P4 */
static void tables_read(const char *image, struct statistics_view *view)
{
    uint64_t newest = 0;
    for (size_t i = 0; i < COPIES; i++) {
        uint64_t words[TABLE_WORDS + 2];
        memcpy(words, image + TABLES_OFFSET + i * sizeof(struct page_table), sizeof words);
        if (words[0] <= newest || words[TABLE_WORDS + 1] != check_mix(words[0], words + 1, TABLE_WORDS))
            continue;
        newest = words[0];
        view->writers_total = words[1];
        view->writer_count = words[1] < STATISTICS_WRITERS_MOST ? (size_t) words[1] : STATISTICS_WRITERS_MOST;
        for (size_t n = 0; n < view->writer_count; n++)
            writer_unpack(&view->writers[n], words + 2 + n * WRITER_WORDS);
    }
}

static bool head_read(const char *image, struct statistics_view *view)
{
    struct page_head head;
    memcpy(&head, image, sizeof head);
    if (memcmp(head.magic, PAGE_MAGIC, sizeof head.magic) != 0 || head.version != PAGE_VERSION ||
        head.size != STATISTICS_PAGE_SIZE)
        return false;
    if (head.max_message == 0 || head.max_message > SIZE_MAX / 2 || head.name_length >= MR_NAME_MAX)
        return false;
    const char *text = image + NAME_OFFSET;
    if (memchr(text, '\0', MR_NAME_MAX) != text + head.name_length)
        return false;
    memcpy(view->display, text, head.name_length + 1u);
    view->max_message = head.max_message;
    view->owner = head.owner;
    return true;
}

enum statistics_image statistics_image_read(const char *image, struct statistics_view *view)
{
    memset(view, 0, sizeof *view);
    if (!head_read(image, view))
        return IMAGE_NONE;
    tables_read(image, view);
    return copies_read(image, view) ? IMAGE_WHOLE : IMAGE_TORN;
}

void statistics_view_show(const struct statistics_view *view, mr_slot_entry *entry)
{
    entry->max_message = view->max_message;
    entry->waiting = view->waiting;
    entry->waiting_bytes = view->waiting_bytes;
    entry->next_size = view->next_size;
    entry->waiting_peak = view->waiting_peak;
    entry->messages = view->messages;
    entry->bytes = view->bytes;
    entry->dropped = view->dropped;
    entry->refused = view->refused;
    entry->connections = view->connections;
    entry->rings = view->rings;
    entry->dropped_by_writers = view->dropped_by_writers;
    entry->redelivered = view->redelivered;
    entry->unacknowledged = view->unacknowledged;
    entry->waits = view->waits;
    entry->doorbells = view->doorbells;
    entry->writer_count = view->writer_count;
    entry->writers_total = view->writers_total;
}

void statistics_page_end(struct statistics_page *page)
{
    life_next(page->layout);
}

uint32_t statistics_page_life(const void *mapping)
{
    return atomic_load_explicit(&((const struct page_layout *) mapping)->life, memory_order_acquire);
}
