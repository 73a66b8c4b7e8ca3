/* arguments_windows.h: a command line of Windows as arguments. */
#ifndef CLI_ARGUMENTS_WINDOWS_H
#define CLI_ARGUMENTS_WINDOWS_H

/* Cuts a command line (UTF-8) as Microsoft's C run-time does. One block of memory_alloc, NULL: no memory. The array ends
 * with NULL. */
char **arguments_split(const char *line, int *count);

#endif
