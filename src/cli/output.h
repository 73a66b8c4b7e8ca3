/* output.h: where lines go. A line is written as a whole or reported; nothing is dropped in silence. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "text.h"

struct output {
    int descriptor;
    const char *path; /* for errors */
    struct text text; /* formatted, not yet written */
    int error;        /* errno of the first write that failed; nothing is written after it */
    size_t whole;     /* lines that this write put out whole before it failed */
};

/* Bytes after which a batch is written out. */
#define OUTPUT_BATCH ((size_t) 256 * 1024)

/* Standard output. False where it is closed: an error has been printed. */
bool output_standard(struct output *output);

/* Creates or empties `path`; "-" is standard output. False where that fails: an error has been printed. */
bool output_open(struct output *output, const char *path);

/* Writes out what `text` holds. False when that failed, now or earlier. */
bool output_flush(struct output *output);

/* The reader of a pipe has gone: no error, the end. */
bool output_closed(const struct output *output);

/* Prints what went wrong, with how many messages were not written if any, and returns CLI_ERROR; CLI_DONE where nothing did,
 * or only the reader of a pipe has gone. */
int output_result(const struct output *output, uint64_t unwritten);

/* Frees it, and closes a file: false, with an error printed, where that fails. */
bool output_close(struct output *output);

#endif
