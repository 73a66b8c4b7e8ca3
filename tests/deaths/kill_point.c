/* kill_point.c: see queue/kill_point.h. The environment is looked at once in a process, at its first pass; a forked
 * child that is to die sets it before it uses the library. */
#include "queue/kill_point.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "deaths.h"

#define POINT_NAME(side, point) #side "." #point,
static const char *const names[] = {KILL_POINTS(POINT_NAME)};

static pthread_once_t looked = PTHREAD_ONCE_INIT;
static enum kill_point_number chosen = KILL_POINT_COUNT;
static _Atomic uint64_t passes_left;

static void look(void)
{
    const char *text = getenv("MAILROOM_KILL");
    const char *colon = text == NULL ? NULL : strchr(text, ':');
    if (colon == NULL)
        return;
    for (unsigned n = 0; n < KILL_POINT_COUNT; n++) {
        if (strlen(names[n]) == (size_t) (colon - text) && strncmp(names[n], text, (size_t) (colon - text)) == 0)
            chosen = (enum kill_point_number) n;
    }
    atomic_store(&passes_left, strtoull(colon + 1, NULL, 10));
}

const char *kill_point_name(unsigned point)
{
    return names[point];
}

void kill_point_pass(enum kill_point_number point)
{
    pthread_once(&looked, look);
    if (point == chosen && atomic_fetch_sub(&passes_left, 1) == 1) {
        (void) kill(getpid(), SIGKILL);
        for (;;)
            pause();
    }
}

void kill_point_half(enum kill_point_number point, void *to, const void *from, size_t length)
{
    pthread_once(&looked, look);
    if (point != chosen)
        return;
    memcpy(to, from, length / 2);
    kill_point_pass(point);
}
