/* progress.c: see progress.h. One per program, drawn by the thread that started it. */
#include "progress.h"

#include <stdio.h>
#include <string.h>

#include "process.h"
#include "queue/thread.h"

#define BAR       24u
#define WIDTH_MAX 200u

static struct {
    bool terminal;
    bool drawn;
    unsigned columns;
    double seconds;
    uint64_t begun;
} bar;

void progress_begin(double seconds)
{
    bar.terminal = terminal_width(2, &bar.columns);
    bar.columns = bar.columns > WIDTH_MAX ? WIDTH_MAX : bar.columns;
    bar.seconds = seconds;
    bar.begun = clock_now();
}

void progress_clear(void)
{
    if (bar.drawn) {
        fputs("\r\x1b[K", stderr);
        fflush(stderr);
        bar.drawn = false;
    }
}

bool progress_shown(void)
{
    return bar.terminal;
}

void progress_show(double done, const char *text)
{
    if (!bar.terminal || bar.seconds <= 0) {
        return;
    }
    double part = done / bar.seconds;
    part = part < 0 ? 0 : part > 1 ? 1 : part;
    double elapsed = (double) (clock_now() - bar.begun) / 1e9;
    /* By the plan at first, then more and more by how long things really take. */
    double left = part > 0.05 ? elapsed * (1 - part) / part : bar.seconds * (1 - part);
    unsigned full = (unsigned) (part * BAR + 0.5);
    char line[WIDTH_MAX + 1];
    char marks[BAR + 1];
    memset(marks, '.', BAR);
    memset(marks, '#', full);
    marks[BAR] = '\0';
    unsigned seconds = (unsigned) (left + 0.5);
    snprintf(line, bar.columns, "[%s] %3.0f %%, %u:%02u left  %s", marks, part * 100, seconds / 60, seconds % 60, text);
    fprintf(stderr, "\r%s\x1b[K", line);
    fflush(stderr);
    bar.drawn = true;
}
