/* lines.h: cuts a stream of bytes into lines. */
#ifndef CLI_LINES_H
#define CLI_LINES_H

#include <stdbool.h>
#include <stddef.h>

/* Longer lines are reported and left out: memory stays bounded whatever the input is. */
#define LINE_BYTES_MAX ((size_t) 64 * 1024 * 1024)

/* Takes a line without its newline; too_long: its bytes were left out. False ends the splitting. */
typedef bool (*line_visit)(void *context, const void *line, size_t length, bool too_long);

/* Zero-initialise; lines_free at the end. */
struct lines {
    char *data;
    size_t capacity;
    size_t begin; /* of the line that is not complete */
    size_t end;
    bool skipping; /* inside a line that is too long */
};

/* Where to put the next bytes, and how many at most; NULL: out of memory. */
char *lines_room(struct lines *lines, size_t *room);

/* `got` bytes were put there: visits the lines that are complete now. False when `visit` ended it. */
bool lines_split(struct lines *lines, size_t got, line_visit visit, void *context);

/* The end of the input: visits what is left, if anything. */
void lines_end(struct lines *lines, line_visit visit, void *context);

void lines_free(struct lines *lines);

#endif
