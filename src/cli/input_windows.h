/* input_windows.h: standard input that can be waited for, whatever it is: file, pipe, console. */
#ifndef CLI_INPUT_WINDOWS_H
#define CLI_INPUT_WINDOWS_H

#include <stddef.h>

#include <windows.h>

/* An event that is set while there is something to read, the end included. Starts the reading at its first call. NULL:
 * no memory, or no thread. One thread only. */
HANDLE input_event(void);

/* Waits, then bytes, 0 at the end, -1 with errno. The same thread. */
long input_read(void *data, size_t size);

#endif
