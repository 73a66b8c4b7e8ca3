/* statistics_page_linux.c: a statistics page as a file that its owner writes through a mapping and everybody else reads by
 * pread.
 *
 * Path    statistics_page_publish (statistics_page.c) > the mapping ...... pread of the whole page > statistics_image_read
 * Owners  Others have the file read-only (0644), and never map it: a hostile owner who cuts the file short gives a pread
 *         fewer bytes, where a mapping would give SIGBUS. The head is complete before the file gets its final name.
 * Hostile Size and kind of the file are checked at each of a bounded number of tries.
 */
#include "slots/statistics_page.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/memory.h"
#include "queue/status.h"

enum { READ_TRIES = 64 };

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
    statistics_page_image(image, display, max_message, 0);
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
    statistics_page_start(page, mapping);
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

bool statistics_page_read(int fd, struct statistics_view *view)
{
    for (int i = 0; i < READ_TRIES; i++) {
        struct stat file;
        if (fstat(fd, &file) != 0 || !S_ISREG(file.st_mode) || file.st_size != (off_t) STATISTICS_PAGE_SIZE)
            return false;
        _Alignas(uint64_t) char image[STATISTICS_PAGE_SIZE];
        if (pread(fd, image, sizeof image, 0) != (ssize_t) sizeof image)
            return false;
        enum statistics_image found = statistics_image_read(image, view);
        if (found != IMAGE_TORN)
            return found == IMAGE_WHOLE;
        /* Both copies were caught in the middle: the owner published twice during one read. */
    }
    return false;
}
