/* lines.c: a buffer that slides and grows.
 *
 * I1  begin <= end <= capacity; data[begin, end) holds no newline between two calls. */
#include "lines.h"

#include <string.h>

#include "queue/memory.h"

#define FIRST_BYTES ((size_t) 64 * 1024)

char *lines_room(struct lines *lines, size_t *room)
{
    if (lines->begin > 0) {
        memmove(lines->data, lines->data + lines->begin, lines->end - lines->begin);
        lines->end -= lines->begin;
        lines->begin = 0;
    }
    if (lines->end >= LINE_BYTES_MAX) {
        lines->skipping = true;
        lines->end = 0;
    }
    if (lines->end == lines->capacity) {
        size_t capacity = lines->capacity == 0 ? FIRST_BYTES : lines->capacity * 2;
        char *data = memory_realloc(lines->data, capacity);
        if (data == NULL) {
            return NULL;
        }
        lines->data = data;
        lines->capacity = capacity;
    }
    *room = lines->capacity - lines->end;
    return lines->data + lines->end;
}

bool lines_split(struct lines *lines, size_t got, line_visit visit, void *context)
{
    size_t search = lines->end;
    lines->end += got;
    for (;;) {
        char *newline = memchr(lines->data + search, '\n', lines->end - search);
        if (newline == NULL) {
            return true;
        }
        size_t at = (size_t) (newline - lines->data);
        bool go_on = visit(context, lines->data + lines->begin, at - lines->begin, lines->skipping);
        lines->skipping = false;
        lines->begin = search = at + 1;
        if (!go_on) {
            return false;
        }
    }
}

void lines_end(struct lines *lines, line_visit visit, void *context)
{
    if (lines->end > lines->begin || lines->skipping) {
        visit(context, lines->data + lines->begin, lines->end - lines->begin, lines->skipping);
    }
    lines->begin = lines->end = 0;
    lines->skipping = false;
}

void lines_free(struct lines *lines)
{
    memory_free(lines->data);
}
