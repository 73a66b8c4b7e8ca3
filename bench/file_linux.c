/* file_linux.c: see file.h. */
#include "file.h"

FILE *file_open(const char *path, bool write)
{
    return fopen(path, write ? "we" : "re");
}
