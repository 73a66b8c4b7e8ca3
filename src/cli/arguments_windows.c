/* arguments_windows.c: cuts a command line into arguments.
 *
 * Rules   Microsoft's, "Parsing C command-line arguments": blanks and tabs separate; quotes hold together; before a quote
 *         two backslashes are one, and an odd one makes the quote a plain character; two quotes within quotes are one;
 *         elsewhere a backslash is a backslash. The program's own name knows quotes but no backslashes.
 * Why     The run-time cuts the line for main in the ANSI code page, which has not every character, and
 *         CommandLineToArgvW brings the libraries of the desktop into a program that has no window. */
#include "arguments_windows.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "queue/memory.h"

static bool blank(char character)
{
    return character == ' ' || character == '\t';
}

/* The program's name; returns where its end was found. */
static const char *take_program(const char *from, char **to)
{
    bool quoted = false;
    for (; *from != '\0' && (quoted || !blank(*from)); from++) {
        if (*from == '"') {
            quoted = !quoted;
        } else {
            *(*to)++ = *from;
        }
    }
    return from;
}

static const char *take_argument(const char *from, char **to)
{
    bool quoted = false;
    while (*from != '\0' && (quoted || !blank(*from))) {
        size_t backslashes = strspn(from, "\\");
        from += backslashes;
        bool before_quote = *from == '"';
        for (size_t i = before_quote ? backslashes / 2 : backslashes; i > 0; i--) {
            *(*to)++ = '\\';
        }
        if (!before_quote) {
            if (backslashes == 0) {
                *(*to)++ = *from++;
            }
        } else if (backslashes % 2 == 1) {
            *(*to)++ = *from++;
        } else if (quoted && from[1] == '"') {
            *(*to)++ = '"';
            from += 2;
        } else {
            quoted = !quoted;
            from++;
        }
    }
    return from;
}

char **arguments_split(const char *line, int *count)
{
    /* No more arguments than every second character, and no more text than the line. */
    size_t most = strlen(line) / 2 + 3;
    char **arguments = memory_alloc(most * sizeof(char *) + 2 * strlen(line) + 2);
    if (arguments == NULL) {
        return NULL;
    }
    char *to = (char *) (arguments + most);
    size_t taken = 0;
    arguments[taken++] = to;
    line = take_program(line, &to);
    *to++ = '\0';
    for (;;) {
        line += strspn(line, " \t");
        if (*line == '\0') {
            break;
        }
        arguments[taken++] = to;
        line = take_argument(line, &to);
        *to++ = '\0';
    }
    arguments[taken] = NULL;
    *count = (int) taken;
    return arguments;
}
