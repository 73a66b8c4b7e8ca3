/* size_class.c: the pool's size classes, and learning which of them a slot's messages need.
 *
 * I1      pool_class_capacity(pool_class_of(size)) >= size, and the next lower class is too small: two classes per
 *         power of two, so that at most a third of a buffer is wasted.
 * I2      The advice is at least every message seen in the current window, and the largest of the window before.
 */
#include "queue/bits.h"
#include "queue/buffer_pool.h"

#include <assert.h>

unsigned pool_class_of(size_t size)
{
    if (size <= POOL_SMALLEST) {
        return 0;
    }
    if (size > POOL_LARGEST) {
        return POOL_CLASSES;
    }
    /* size is in (2^top, 2^(top + 1)]: the class of 1.5 × 2^top, or the next power of two. */
    unsigned top = bits_highest(size - 1);
    size_t middle = ((size_t) 3 << top) / 2;
    return 2 * (top - 6) + (size <= middle ? 1u : 2u);
}

size_t pool_class_capacity(unsigned size_class)
{
    assert(size_class < POOL_CLASSES);
    return (size_class % 2 ? (size_t) 96 : (size_t) 64) << (size_class / 2);
}

size_t pool_right_size(size_t size)
{
    unsigned size_class = pool_class_of(size);
    return size_class < POOL_CLASSES ? pool_class_capacity(size_class) : size;
}

void size_advisor_init(struct size_advisor *advisor, size_t minimum)
{
    advisor->minimum = pool_right_size(minimum ? minimum : SIZE_ADVISOR_START);
    advisor->size = advisor->minimum;
    advisor->largest = 0;
    advisor->seen = 0;
}

void size_advisor_learn(struct size_advisor *advisor, size_t length)
{
    if (length > advisor->size) {
        advisor->size = pool_right_size(length);
    }
    if (length > advisor->largest) {
        advisor->largest = length;
    }
    if (++advisor->seen < SIZE_ADVISOR_WINDOW) {
        return;
    }
    /* The window's end: down to what it needed, by half at most. */
    size_t size = pool_right_size(advisor->largest);
    size = size > advisor->size / 2 ? size : pool_right_size(advisor->size / 2);
    advisor->size = size > advisor->minimum ? size : advisor->minimum;
    advisor->largest = 0;
    advisor->seen = 0;
}
