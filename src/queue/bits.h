/* bits.h: the highest and the lowest bit that is set, by each compiler's own word for it. */
#ifndef QUEUE_BITS_H
#define QUEUE_BITS_H

#include <stdint.h>

#if defined(__GNUC__)

/* `value` is not 0. */
static inline unsigned bits_highest(uint64_t value)
{
    return 63u - (unsigned) __builtin_clzll((unsigned long long) value);
}

/* `value` is not 0. */
static inline unsigned bits_lowest(uint64_t value)
{
    return (unsigned) __builtin_ctzll((unsigned long long) value);
}

#elif defined(_MSC_VER)

#include <intrin.h>

static inline unsigned bits_highest(uint64_t value)
{
    unsigned long index;
    (void) _BitScanReverse64(&index, value);
    return (unsigned) index;
}

static inline unsigned bits_lowest(uint64_t value)
{
    unsigned long index;
    (void) _BitScanForward64(&index, value);
    return (unsigned) index;
}

#else

static inline unsigned bits_highest(uint64_t value)
{
    unsigned index = 0;
    while (value >>= 1) {
        index++;
    }
    return index;
}

static inline unsigned bits_lowest(uint64_t value)
{
    return bits_highest(value & (~value + 1));
}

#endif

#endif
