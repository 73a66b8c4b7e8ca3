/* program_windows.h: starts programs, talks to them through pipes, and waits for what they say. */
#ifndef TESTS_PROGRAM_WINDOWS_H
#define TESTS_PROGRAM_WINDOWS_H

#include <stdbool.h>
#include <stddef.h>

#include <windows.h>

#include "test.h"

#include "queue/thread.h"

/* Everything that a pipe has carried so far, NUL-terminated. */
struct stream {
    HANDLE pipe;
    thread reading;
    mutex lock;
    condition changed;
    char *data;
    size_t length;
    size_t capacity;
    bool ended;
};

struct program {
    HANDLE process;
    DWORD id;
    void *console; /* pseudo console; NULL: that of the test, if it has one */
    HANDLE input;  /* the program's standard input; NULL: closed, or a file */
    struct stream output;
    struct stream errors;
};

/* Starts NAME.exe (mailroom, example_reader) of the build with a command line in UTF-8. `input` is the path of a file for
 * standard input, or NULL for a pipe. */
void program_start(struct program *program, const char *name, const char *input, const char *arguments);

/* The same for mailroom, in a console of its own beside the pipes; then Ctrl-C can be pressed there. */
void program_start_console(struct program *program, const char *arguments);
void program_press_ctrl_c(struct program *program);

/* Writes to standard input; program_finish_input closes it. */
void program_type(struct program *program, const void *data, size_t length);
void program_finish_input(struct program *program);

/* Waits until the stream holds `text`. Its end before that is a failed test. */
void stream_await(struct stream *stream, const char *text);

/* Waits for the end of the program and of both streams: the exit code. */
unsigned program_end(struct program *program);

/* Frees the streams of a program that has ended. */
void program_free(struct program *program);

/* From the start to the end, with nothing on standard input. CHECKs the exit code, and prints what the program said where
 * it is another. The caller frees. */
void program_run(struct program *program, unsigned code, const char *arguments);

/* program_run, and no more interest in what it said. */
void program_do(unsigned code, const char *arguments);

/* Fails the test unless `text` holds `part`. */
void check_holds(const char *text, const char *part);

#endif
