/* test_statistics_page.c: what is published is what is read, never half of it, and no file can hurt whoever reads it. */
#include <stdatomic.h>
#include <sys/mman.h>

#include "queue/thread.h"
#include "scratch_linux.h"
#include "slots/backend.h"
#include "slots/statistics_page.h"

static int file_new(void)
{
    int fd = memfd_create("page", MFD_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

static struct slot_figures figures_of(uint64_t n)
{
    return (struct slot_figures){.waiting = n,
                                 .waiting_bytes = n + 1,
                                 .next_size = n + 2,
                                 .waiting_peak = n + 3,
                                 .messages = n + 4,
                                 .bytes = n + 5,
                                 .dropped = n + 6,
                                 .refused = n + 7,
                                 .connections = n + 8,
                                 .rings = n + 9,
                                 .dropped_by_writers = n + 10,
                                 .redelivered = n + 11,
                                 .unacknowledged = n + 12,
                                 .waits = n + 13,
                                 .doorbells = n + 14};
}

static bool view_is_of(const struct statistics_view *v, uint64_t n)
{
    return v->waiting == n && v->waiting_bytes == n + 1 && v->next_size == n + 2 && v->waiting_peak == n + 3 &&
           v->messages == n + 4 && v->bytes == n + 5 && v->dropped == n + 6 && v->refused == n + 7 &&
           v->connections == n + 8 && v->rings == n + 9 && v->dropped_by_writers == n + 10 &&
           v->redelivered == n + 11 && v->unacknowledged == n + 12 && v->waits == n + 13 && v->doorbells == n + 14;
}

TEST(statistics_page, shows_what_was_published)
{
    int fd = file_new();
    struct statistics_page *page;
    struct statistics_view view;
    CHECK(!statistics_page_read(fd, &view));
    CHECK_STATUS(statistics_page_create(&page, fd, "\\\\.\\mailslot\\Alarms", 12345), MR_OK);
    CHECK(statistics_page_read(fd, &view));
    CHECK_STR(view.display, "\\\\.\\mailslot\\Alarms");
    CHECK_EQ(view.max_message, 12345);
    CHECK_EQ(view.waiting, 0);
    CHECK_EQ(view.next_size, UINT64_MAX);
    for (uint64_t n = 1; n < 100; n++) {
        struct slot_figures figures = figures_of(n * 1000003);
        statistics_page_publish(page, &figures);
        CHECK(statistics_page_read(fd, &view));
        CHECK(view_is_of(&view, n * 1000003));
    }
    statistics_page_close(page);
    CHECK(statistics_page_read(fd, &view));
    CHECK(view_is_of(&view, 99 * 1000003));
    statistics_page_close(NULL);
}

static mr_reader_writer writer_of(uint64_t n)
{
    return (mr_reader_writer){
        .sender = {.writer = n, .pid = (uint32_t) n + 1, .uid = (uint32_t) n + 2, .gid = UINT32_MAX},
        .lane = MR_LANE_RING,
        .gone = n % 2,
        .messages = n + 3,
        .bytes = n + 4,
        .dropped = n + 5,
        .waiting = n + 6,
        .waiting_peak = n + 7,
        .waits = n + 8,
        .doorbells = n + 9,
        .unacknowledged = n + 10};
}

TEST(statistics_page, shows_the_busiest_writers)
{
    int fd = file_new();
    struct statistics_page *page;
    struct statistics_view view;
    CHECK_STATUS(statistics_page_create(&page, fd, "x", 1), MR_OK);
    CHECK(statistics_page_read(fd, &view));
    CHECK_EQ(view.writer_count, 0);
    mr_reader_writer writers[STATISTICS_WRITERS_MOST + 3];
    for (size_t i = 0; i < sizeof writers / sizeof writers[0]; i++)
        writers[i] = writer_of(i * UINT64_C(0x100000007));
    for (size_t count = 0; count <= STATISTICS_WRITERS_MOST + 3; count++) {
        statistics_page_publish_writers(page, writers, count, count);
        CHECK(statistics_page_read(fd, &view));
        CHECK_EQ(view.writers_total, count);
        CHECK_EQ(view.writer_count, count < STATISTICS_WRITERS_MOST ? count : STATISTICS_WRITERS_MOST);
        for (size_t i = 0; i < view.writer_count; i++) {
            const mr_reader_writer *seen = &view.writers[i], *put = &writers[i];
            CHECK_EQ(seen->sender.writer, put->sender.writer);
            CHECK_EQ(seen->sender.pid, put->sender.pid);
            CHECK_EQ(seen->sender.uid, put->sender.uid);
            CHECK_EQ(seen->sender.gid, put->sender.gid);
            CHECK_EQ(seen->lane, put->lane);
            CHECK_EQ(seen->gone, put->gone);
            CHECK_EQ(seen->messages, put->messages);
            CHECK_EQ(seen->bytes, put->bytes);
            CHECK_EQ(seen->dropped, put->dropped);
            CHECK_EQ(seen->waiting, put->waiting);
            CHECK_EQ(seen->waiting_peak, put->waiting_peak);
            CHECK_EQ(seen->waits, put->waits);
            CHECK_EQ(seen->doorbells, put->doorbells);
            CHECK_EQ(seen->unacknowledged, put->unacknowledged);
        }
    }
    statistics_page_close(page);
}

TEST(statistics_page, the_longest_name_fits)
{
    char name[MR_NAME_MAX];
    memset(name, 'x', sizeof name);
    name[sizeof name - 1] = '\0';
    int fd = file_new();
    struct statistics_page *page;
    struct statistics_view view;
    CHECK_STATUS(statistics_page_create(&page, fd, name, 1), MR_OK);
    CHECK(statistics_page_read(fd, &view));
    CHECK_STR(view.display, name);
    statistics_page_close(page);
}

/* An owner that is stopped in the middle of publishing: whatever prefix of the words was stored, the last whole figures can
 * be read. Played by writing every prefix of the next state over the present one, word by word. */
TEST(statistics_page, an_owner_stopped_in_the_middle_can_be_read)
{
    int fd = file_new();
    struct statistics_page *page;
    struct statistics_view view;
    CHECK_STATUS(statistics_page_create(&page, fd, "x", 1), MR_OK);
    uint64_t before[512], after[512], mixed[512];
    struct slot_figures figures = figures_of(10);
    statistics_page_publish(page, &figures);
    CHECK_EQ(pread(fd, before, sizeof before, 0), sizeof before);
    figures = figures_of(77777);
    statistics_page_publish(page, &figures);
    CHECK_EQ(pread(fd, after, sizeof after, 0), sizeof after);
    statistics_page_close(page);
    size_t changed = 0;
    for (size_t i = 0; i < 512; i++) {
        if (before[i] == after[i])
            continue;
        changed++;
        /* The words become visible in any order: everything up to here, only this one, everything but this one. */
        memcpy(mixed, before, sizeof mixed);
        memcpy(mixed, after, i * sizeof mixed[0]);
        CHECK_EQ(pwrite(fd, mixed, sizeof mixed, 0), sizeof mixed);
        CHECK(statistics_page_read(fd, &view));
        CHECK(view_is_of(&view, 10));
        memcpy(mixed, before, sizeof mixed);
        mixed[i] = after[i];
        CHECK_EQ(pwrite(fd, mixed, sizeof mixed, 0), sizeof mixed);
        CHECK(statistics_page_read(fd, &view));
        CHECK(view_is_of(&view, 10));
        memcpy(mixed, after, sizeof mixed);
        mixed[i] = before[i];
        CHECK_EQ(pwrite(fd, mixed, sizeof mixed, 0), sizeof mixed);
        CHECK(statistics_page_read(fd, &view));
        CHECK(view_is_of(&view, 10));
    }
    CHECK_EQ(changed, 17); /* sequence, fifteen figures, check: all of one copy, nothing of the other */
}

struct shared_page {
    struct statistics_page *page;
    atomic_bool stop;
};

static void publish_forever(void *argument)
{
    struct shared_page *shared = argument;
    for (uint64_t n = 0; !atomic_load_explicit(&shared->stop, memory_order_relaxed); n++) {
        struct slot_figures figures = figures_of(n * 0x9E3779B97F4A7C15u);
        statistics_page_publish(shared->page, &figures);
    }
}

TEST(statistics_page, never_half_of_an_update)
{
    struct shared_page shared = {0};
    int fd = file_new();
    CHECK_STATUS(statistics_page_create(&shared.page, fd, "x", 1), MR_OK);
    struct slot_figures first = figures_of(0);
    statistics_page_publish(shared.page, &first);
    thread publisher;
    CHECK_STATUS(thread_start(&publisher, "publisher", publish_forever, &shared), MR_OK);
    size_t good = 0, changes = 0;
    uint64_t last = 0;
    size_t enough = test_campaign() ? 20000 : 500; /* changes seen: the publisher has to get a processor for that */
    while (changes < enough) {
        struct statistics_view view;
        if (!statistics_page_read(fd, &view))
            continue; /* caught in the middle every time: allowed, never half */
        CHECK(view_is_of(&view, view.waiting));
        good++;
        changes += view.waiting != last;
        last = view.waiting;
    }
    atomic_store_explicit(&shared.stop, true, memory_order_relaxed);
    thread_join(publisher);
    CHECK(good >= changes);
    statistics_page_close(shared.page);
}

TEST(statistics_page, other_files_are_no_pages)
{
    struct statistics_view view;
    int fd = file_new();
    struct statistics_page *page;
    CHECK_STATUS(statistics_page_create(&page, fd, "x", 1), MR_OK);
    statistics_page_close(page);
    static const off_t sizes[] = {0, 1, 63, 4095, 4097, 8192, (off_t) 1 << 40};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        CHECK_EQ(ftruncate(fd, sizes[i]), 0);
        CHECK(!statistics_page_read(fd, &view));
    }
    int pair[2];
    CHECK_EQ(pipe(pair), 0);
    CHECK(!statistics_page_read(pair[0], &view));
    CHECK(!statistics_page_read(-1, &view));
    CHECK(!statistics_page_read(open("/dev/zero", O_RDONLY | O_CLOEXEC), &view));
}

/* Every damage: either it is no page, or everything in the view is in its range. */
TEST(statistics_page, hostile_bytes)
{
    int fd = file_new();
    struct statistics_page *page;
    CHECK_STATUS(statistics_page_create(&page, fd, "\\\\.\\mailslot\\x", 99), MR_OK);
    statistics_page_close(page);
    unsigned char good[4096], bad[4096];
    CHECK_EQ(pread(fd, good, sizeof good, 0), sizeof good);
    uint64_t state = test_seed() | 1;
    size_t refused = 0;
    for (size_t at = 0; at < 600; at++) {
        for (int kind = 0; kind < 4; kind++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            memcpy(bad, good, sizeof bad);
            if (kind == 3)
                memset(bad + at, (int) (state >> 56), 8);
            else
                bad[at] = (unsigned char) (kind == 0   ? bad[at] ^ 0xFFu
                                           : kind == 1 ? bad[at] + 1u
                                                       : (unsigned) (state >> 56));
            CHECK_EQ(pwrite(fd, bad, sizeof bad, 0), sizeof bad);
            struct statistics_view view;
            if (!statistics_page_read(fd, &view)) {
                refused++;
                continue;
            }
            CHECK(memchr(view.display, '\0', sizeof view.display) != NULL);
            CHECK(view.max_message > 0 && view.max_message <= SIZE_MAX / 2);
        }
    }
    CHECK(refused > 100);
}
