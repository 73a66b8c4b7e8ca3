/* name_support_linux.c: see name_support.h. */
#include "name_support.h"

#include <unistd.h>
#include <utf8proc.h>

#include "test.h"

const bool name_folds_fully = true;

void name_of_host(char *name, size_t size)
{
    CHECK_EQ(gethostname(name, size), 0);
}

size_t name_decode(const char *text, size_t length, uint32_t *character)
{
    utf8proc_int32_t decoded = 0;
    utf8proc_ssize_t bytes = utf8proc_iterate((const utf8proc_uint8_t *) text, (utf8proc_ssize_t) length, &decoded);
    *character = bytes > 0 ? (uint32_t) decoded : 0;
    return bytes > 0 ? (size_t) bytes : 0;
}
