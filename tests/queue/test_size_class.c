/* test_size_class.c: the pool's classes, and the learning of sizes. */
#include "queue/buffer_pool.h"

#include "random.h"
#include "test.h"

static void check_size(size_t size)
{
    unsigned size_class = pool_class_of(size);
    CHECK(size_class < POOL_CLASSES);
    CHECK(pool_class_capacity(size_class) >= size);
    CHECK_MSG(size_class == 0 || pool_class_capacity(size_class - 1) < size, "%llu would fit class %u",
              (unsigned long long) size, size_class - 1);
    CHECK_EQ(pool_right_size(size), pool_class_capacity(size_class));
}

TEST(size_class, serves_each_size_with_the_smallest_class)
{
    for (size_t size = 0; size <= 100000; size++) {
        check_size(size);
    }
    for (size_t size = 100000; size <= POOL_LARGEST; size += 997) {
        check_size(size);
    }
    for (unsigned size_class = 0; size_class < POOL_CLASSES; size_class++) {
        size_t capacity = pool_class_capacity(size_class);
        CHECK_EQ(pool_class_of(capacity), size_class);
        CHECK_EQ(pool_class_of(capacity + 1), size_class + 1);
    }
    CHECK_EQ(pool_class_capacity(0), POOL_SMALLEST);
    CHECK_EQ(pool_class_capacity(POOL_CLASSES - 1), POOL_LARGEST);
}

TEST(size_class, is_exact_above_the_largest)
{
    CHECK_EQ(pool_class_of(POOL_LARGEST + 1), POOL_CLASSES);
    CHECK_EQ(pool_right_size(POOL_LARGEST + 1), POOL_LARGEST + 1);
    CHECK_EQ(pool_class_of(SIZE_MAX), POOL_CLASSES);
    CHECK_EQ(pool_right_size(SIZE_MAX), SIZE_MAX);
}

TEST(size_advisor, starts_small_grows_at_once_shrinks_slowly)
{
    struct size_advisor advisor;
    size_advisor_init(&advisor, 0);
    CHECK_EQ(advisor.size, SIZE_ADVISOR_START);
    size_advisor_learn(&advisor, 100);
    CHECK_EQ(advisor.size, SIZE_ADVISOR_START);
    size_advisor_learn(&advisor, 60000);
    CHECK_EQ(advisor.size, 65536);
    unsigned messages = 0;
    size_t before = advisor.size;
    while (advisor.size > SIZE_ADVISOR_START) {
        size_advisor_learn(&advisor, 100);
        CHECK(advisor.size == before || advisor.size == before / 2);
        before = advisor.size;
        messages++;
    }
    /* The rest of the first window, which saw the large one; then eight halvings. */
    CHECK_EQ(messages, (SIZE_ADVISOR_WINDOW - 2) + 8 * SIZE_ADVISOR_WINDOW);
}

TEST(size_advisor, keeps_to_its_minimum)
{
    struct size_advisor advisor;
    size_advisor_init(&advisor, 1000);
    CHECK_EQ(advisor.size, 1024);
    for (unsigned i = 0; i < 10 * SIZE_ADVISOR_WINDOW; i++) {
        size_advisor_learn(&advisor, 0);
        CHECK_EQ(advisor.size, 1024);
    }
}

TEST(size_advisor, is_never_below_the_window_and_the_one_before)
{
    struct random random = {test_seed()};
    struct size_advisor advisor;
    size_advisor_init(&advisor, 0);
    size_t largest = 0;
    size_t largest_before = 0;
    unsigned seen = 0;
    for (int i = 0; i < 200000; i++) {
        size_t length = (size_t) random_below(&random, UINT64_C(1) << random_below(&random, 26));
        size_advisor_learn(&advisor, length);
        largest = length > largest ? length : largest;
        if (++seen == SIZE_ADVISOR_WINDOW) {
            largest_before = largest;
            largest = 0;
            seen = 0;
        }
        CHECK(advisor.size >= largest);
        CHECK(advisor.size >= largest_before);
        CHECK(advisor.size >= SIZE_ADVISOR_START);
    }
}
