/* system.h: what the programs ask of the operating system beyond the library. One file per platform behind it:
 * system_linux.c. Descriptors are ints, as every C library has them.
 *
 * Signals: SIGINT and SIGTERM (Ctrl-C, and the console's closing elsewhere) ask the program to end. They are counted,
 * they interrupt system_wait and a blocked system_write, and nothing else happens. A closed pipe is an error of the
 * write, never a signal. */
#ifndef CLI_SYSTEM_H
#define CLI_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SYSTEM_NEVER UINT64_MAX

/* The arguments in UTF-8, before anything else. NULL, with errno set, where they cannot be had. Never freed. */
char **system_arguments(int *argc, char **argv);

/* Once, before anything is opened. False, with errno set, where the system has no descriptor left. */
bool system_start(void);

/* How often the program was asked to end. */
unsigned system_interrupts(void);

/* Monotonic time in nanoseconds, and a deadline that many milliseconds from now (UINT32_MAX: never). */
uint64_t system_now(void);
uint64_t system_deadline(uint64_t milliseconds);

/* Waits for the first of: system_wake; a request to end; `input` readable or at its end; `output` closed by whoever
 * read it; the deadline. -1 for a descriptor that is of no interest. Returns a set of bits, 0 at the deadline. One
 * thread only. Windows: `input` is 0 (standard input) or -1, and an output's closing is not told: the next write
 * fails. */
#define SYSTEM_WOKEN         1u
#define SYSTEM_INTERRUPTED   2u
#define SYSTEM_INPUT         4u
#define SYSTEM_OUTPUT_CLOSED 8u
unsigned system_wait(uint64_t deadline, int input, int output);

/* Ends a system_wait, the running one or the next. Any thread. */
void system_wake(void);

/* Waits a moment between two attempts; false when the program was asked to end. */
bool system_pause(uint64_t milliseconds);

/* Reads what there is: bytes, 0 at the end, -1 with errno. */
long system_read(int descriptor, void *data, size_t size);

/* Writes all of it. 0, or errno: EPIPE where the reader has gone, EINTR where the program was asked to end and nobody
 * took the bytes for a second. *written says how much got out in any case. */
int system_write(int descriptor, const void *data, size_t length, size_t *written);

/* Creates or empties a file for writing, or opens it for appending: a descriptor, or -1 with errno. */
int system_create(const char *path, bool append);

/* 0, or errno. */
int system_close(int descriptor);

/* Writes a whole small file under a private name, puts it in the place of `path`, and where `durable` forces it to
 * the disk first. 0 or errno. */
int system_replace_file(const char *path, const void *data, size_t length, bool durable);

/* Reads a whole small file into `data`, NUL-terminated. Its length, or -1 with errno (EFBIG where it is not small).
 * */
long system_read_file(const char *path, char *data, size_t size);

/* False for a standard stream that was closed when the program began. */
bool system_is_open(int descriptor);

/* True and the size in characters where the descriptor is a terminal that can move its cursor. */
bool system_terminal(int descriptor, unsigned *rows, unsigned *columns);

/* What the system says about one of its error codes (mr_last_os_error). */
void system_error_text(int64_t error, char *buffer, size_t size);

/* Raises the limit of open descriptors towards `wanted`; returns the limit that holds now. */
uint64_t system_raise_descriptors(uint64_t wanted);

/* False where users and groups have no numbers (Windows): then none is found. */
bool system_numbers_users(void);

/* A user or group by name or decimal number. */
bool system_user_id(const char *text, uint32_t *uid);
bool system_group_id(const char *text, uint32_t *gid);
/* The user's name, or the number where there is none. */
void system_user_name(uint32_t uid, char *buffer, size_t size);

uint32_t system_process_id(void);

/* SHA-256 as 64 hexadecimal digits. */
void system_digest(const void *data, size_t length, char hexadecimal[65]);

#endif
