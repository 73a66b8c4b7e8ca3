/* copy.h: a copy of a few bytes in line. A call would cost as much as the copy, and its caller all that it has in
 * registers. */
#ifndef QUEUE_COPY_H
#define QUEUE_COPY_H

#include <stddef.h>
#include <string.h>

#define COPY_SHORT ((size_t) 64)

/* Up to COPY_SHORT bytes, which do not overlap: two, or four, pieces of the same size, from both ends. Either pointer may be
 * NULL where there is nothing to copy. */
static inline void copy_short(void *to, const void *from, size_t length)
{
    unsigned char *t = to;
    const unsigned char *f = from;
    if (length >= 16) {
        memcpy(t, f, 16);
        if (length > 32) {
            memcpy(t + 16, f + 16, 16);
            memcpy(t + length - 32, f + length - 32, 16);
        }
        memcpy(t + length - 16, f + length - 16, 16);
    } else if (length >= 8) {
        memcpy(t, f, 8);
        memcpy(t + length - 8, f + length - 8, 8);
    } else if (length >= 4) {
        memcpy(t, f, 4);
        memcpy(t + length - 4, f + length - 4, 4);
    } else {
        for (size_t i = 0; i < length; i++)
            t[i] = f[i];
    }
}

#endif
