/* file.h: opening files. One file per platform behind it. */
#ifndef BENCH_FILE_H
#define BENCH_FILE_H

#include <stdbool.h>
#include <stdio.h>

/* For reading, or emptied or new for writing: bytes as they are, not inherited by processes. NULL with errno. */
FILE *file_open(const char *path, bool write);

#endif
