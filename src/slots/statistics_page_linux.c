/* statistics_page_linux.c: one page of a file that its owner writes through a mapping and everybody else reads by pread.
 *
 * Path    statistics_page_publish > one of two copies in the mapping ...... pread of the whole page > the newest copy whose
 *         check word fits > statistics_view
 * Owners  The page: the slot's owner. Others have the file read-only (0644), and never map it: a hostile owner who cuts
 *         the file short gives a pread fewer bytes, where a mapping would give SIGBUS.
 * P1      The head (magic, sizes, name) is written before the file gets its final name, and never changes.
 * P2      publish writes the copy that is not the newest. An owner stopped in the middle of it (SIGSTOP, SIGKILL) leaves the
 *         newest one whole, so a frozen owner can still be looked at; one sequence counter around one copy could not.
 * P3      A copy is taken only if its check word is the mix of its sequence number and figures. A copy read while it was
 *         written is a mixture of two generations: it passes with a chance of 2^-64.
 * Atomics Every word of a copy is stored relaxed, so that no store is torn or invented by the compiler. No order between
 *         them is needed or claimed: P3 finds a mixture whatever the order in which the words became visible. A reader is
 *         another process's system call, with which C11's orders would not pair anyway.
 * Hostile The reader takes nothing on trust: size and kind of the file, lengths, the end of the text. It tries a bounded
 *         number of times. Figures may be lies, and are only shown.
 */
#include "slots/statistics_page.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/memory.h"
#include "queue/status.h"
#include "slots/backend.h"

#define PAGE_MAGIC   "MRSLOT\r\n" /* the line end shows a file that was converted as text */
#define PAGE_VERSION 1u
#define NAME_OFFSET  512u

enum {
    FIGURES = 9,
    COPIES = 2,
    READ_TRIES = 64,
};

struct page_head {
    char magic[8];
    uint32_t version;
    uint32_t size; /* of the file */
    uint64_t max_message;
    uint32_t name_length; /* bytes, at NAME_OFFSET, without the NUL that follows */
    uint32_t reserved;
};

/* Each in cache lines of its own. All numbers are in the machine's byte order: the file does not leave the machine. */
struct page_copy {
    _Alignas(64) _Atomic uint64_t sequence; /* 1, 2, 3 …; 0: never written */
    _Atomic uint64_t figures[FIGURES];
    _Atomic uint64_t check;
};

struct page_layout {
    struct page_head head;
    struct page_copy copies[COPIES];
};

_Static_assert(sizeof(struct page_layout) <= NAME_OFFSET, "the name stands behind the copies");
_Static_assert(NAME_OFFSET + MR_NAME_MAX <= STATISTICS_PAGE_SIZE, "every name fits");
_Static_assert(sizeof(_Atomic uint64_t) == sizeof(uint64_t) && ATOMIC_LLONG_LOCK_FREE == 2,
               "an atomic word is just the word, also in a file");

struct statistics_page {
    struct page_layout *layout;
    uint64_t sequence; /* of the newest copy; copies[sequence % COPIES] */
};

/* The check word: each word changes all bits that follow (a step of splitmix64). */
static uint64_t check_mix(uint64_t sequence, const uint64_t figures[FIGURES])
{
    uint64_t mix = sequence;
    for (size_t i = 0; i < FIGURES; i++) {
        mix = (mix ^ figures[i]) + 0x9E3779B97F4A7C15u;
        mix = (mix ^ mix >> 30) * 0xBF58476D1CE4E5B9u;
        mix = (mix ^ mix >> 27) * 0x94D049BB133111EBu;
        mix ^= mix >> 31;
    }
    return mix;
}

static void copy_store(struct page_copy *copy, uint64_t sequence, const uint64_t figures[FIGURES])
{
    atomic_store_explicit(&copy->sequence, sequence, memory_order_relaxed);
    for (size_t i = 0; i < FIGURES; i++)
        atomic_store_explicit(&copy->figures[i], figures[i], memory_order_relaxed);
    atomic_store_explicit(&copy->check, check_mix(sequence, figures), memory_order_relaxed);
}

static void page_store(struct statistics_page *page, const uint64_t figures[FIGURES])
{
    page->sequence++;
    copy_store(&page->layout->copies[page->sequence % COPIES], page->sequence, figures);
}

int statistics_page_create(struct statistics_page **out, int fd, const char *display, uint64_t max_message)
{
    size_t length = strlen(display);
    struct statistics_page *page = memory_zalloc(sizeof *page);
    char *image = memory_zalloc(STATISTICS_PAGE_SIZE);
    int status = MR_E_MEMORY;
    if (page == NULL || image == NULL || length >= MR_NAME_MAX) {
        status_fail(status, 0, "no memory for a slot's statistics page");
        goto fail;
    }
    struct page_head head = {.version = PAGE_VERSION,
                             .size = STATISTICS_PAGE_SIZE,
                             .max_message = max_message,
                             .name_length = (uint32_t) length};
    memcpy(head.magic, PAGE_MAGIC, sizeof head.magic);
    memcpy(image, &head, sizeof head);
    memcpy(image + NAME_OFFSET, display, length);
    /* All of it is written before it is mapped: a full file system fails here, not with SIGBUS at a store. */
    ssize_t written = pwrite(fd, image, STATISTICS_PAGE_SIZE, 0);
    if (written != (ssize_t) STATISTICS_PAGE_SIZE) {
        int error = written < 0 ? errno : ENOSPC;
        status = status_fail(MR_E_SYSTEM, error, "a slot's statistics page cannot be written: %s", strerror(error));
        goto fail;
    }
    void *mapping = mmap(NULL, STATISTICS_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapping == MAP_FAILED) {
        status = status_fail(MR_E_SYSTEM, errno, "a slot's statistics page cannot be mapped: %s", strerror(errno));
        goto fail;
    }
    page->layout = mapping;
    static const uint64_t nothing[FIGURES] = {[2] = UINT64_MAX}; /* next_size: nothing waits */
    page_store(page, nothing);
    memory_free(image);
    *out = page;
    return MR_OK;
fail:
    memory_free(image);
    memory_free(page);
    return status;
}

void statistics_page_close(struct statistics_page *page)
{
    if (page == NULL)
        return;
    munmap(page->layout, STATISTICS_PAGE_SIZE);
    memory_free(page);
}

void statistics_page_publish(struct statistics_page *page, const struct slot_figures *f)
{
    const uint64_t figures[FIGURES] = {f->waiting, f->waiting_bytes, f->next_size, f->waiting_peak, f->messages,
                                       f->bytes,   f->dropped,       f->refused,   f->connections};
    page_store(page, figures);
}

/* Takes the newest whole copy out of a page's image. */
static bool copies_read(const char *image, struct statistics_view *view)
{
    uint64_t newest = 0;
    for (size_t i = 0; i < COPIES; i++) {
        uint64_t words[FIGURES + 2]; /* sequence, figures, check */
        memcpy(words, image + offsetof(struct page_layout, copies) + i * sizeof(struct page_copy), sizeof words);
        const uint64_t *f = words + 1;
        if (words[0] <= newest || words[FIGURES + 1] != check_mix(words[0], f))
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
    }
    return newest != 0;
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
    return true;
}

bool statistics_page_read(int fd, struct statistics_view *view)
{
    for (int i = 0; i < READ_TRIES; i++) {
        struct stat file;
        if (fstat(fd, &file) != 0 || !S_ISREG(file.st_mode) || file.st_size != (off_t) STATISTICS_PAGE_SIZE)
            return false;
        _Alignas(uint64_t) char image[STATISTICS_PAGE_SIZE];
        if (pread(fd, image, sizeof image, 0) != (ssize_t) sizeof image)
            return false;
        memset(view, 0, sizeof *view);
        if (!head_read(image, view))
            return false;
        if (copies_read(image, view))
            return true;
        /* Both copies were caught in the middle: the owner published twice during one read. */
    }
    return false;
}
