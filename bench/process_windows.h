/* process_windows.h: what process_windows.c (processes, channels), system_windows.c (time, folders, the machine) and
 * wine_windows.c (what the kernel below Wine tells) share. */
#ifndef BENCH_PROCESS_WINDOWS_H
#define BENCH_PROCESS_WINDOWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <windows.h>

/* The first argument of a process of a run; the second is its channel's name. */
#define PROCESS_ARGUMENT "--process"

/* system_windows.c */

/* Once, before anything is printed: streams take bytes as they are, a console takes UTF-8. */
void system_prepare(void);
/* This process is one of a run; the text stands in its command line and in no other's. Borrowed. */
void system_name(const char *text);
/* Nanoseconds. */
uint64_t system_processor_time(HANDLE process);

/* wine_windows.c */

/* Wine's version and the system below it, "Wine 10.0 on Linux 6.1.0"; false on Windows itself. */
bool wine_version(char *text, size_t size);
/* The processor's name; "" where the kernel does not tell it. */
void wine_processor(char *text, size_t size);
/* How often the threads of this process have slept, as the kernel below Wine counts it. `name` stands in this process's
 * command line and in no other's. The main thread's alone to call. 0: not known. */
uint64_t wine_waits(const char *name);

#endif
