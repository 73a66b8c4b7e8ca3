/* test_copy.c: each length is copied whole, and nothing beside it. */
#include <string.h>

#include "queue/copy.h"
#include "test.h"

TEST(copy, each_length_whole_and_nothing_beside_it)
{
    unsigned char from[2 * COPY_SHORT + 16];
    unsigned char to[sizeof from];
    for (size_t i = 0; i < sizeof from; i++)
        from[i] = (unsigned char) (i + 1);
    for (size_t length = 0; length <= COPY_SHORT; length++) {
        for (size_t at = 0; at < 16; at++) {
            memset(to, 0, sizeof to);
            copy_short(to + COPY_SHORT, from + at, length);
            CHECK_MEM(to + COPY_SHORT, from + at, length);
            for (size_t i = 0; i < sizeof to; i++)
                CHECK_MSG(to[i] == 0 || (i >= COPY_SHORT && i < COPY_SHORT + length), "byte %zu, %zu copied", i,
                          length);
        }
    }
    copy_short(to, NULL, 0);
}
