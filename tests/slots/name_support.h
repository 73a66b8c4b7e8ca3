/* name_support.h: what the tests of names ask of the system. */
#ifndef TEST_SLOTS_NAME_SUPPORT_H
#define TEST_SLOTS_NAME_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Does folding change the number of characters (Unicode's full folding)? Windows compares unit by unit. */
extern const bool name_folds_fully;

void name_of_host(char *name, size_t size);

/* Another decoder of UTF-8 than the one that is tested: the length of the first character, or 0. */
size_t name_decode(const char *text, size_t length, uint32_t *character);

#endif
