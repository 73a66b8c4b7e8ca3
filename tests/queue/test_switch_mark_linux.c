/* test_switch_mark_linux.c: a mark that stands as long as the thread has not left the processor. */
#include "queue/switch_mark_linux.h"

#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include "queue/thread.h"
#include "test.h"

enum { TRIES = 1000 };

static volatile uint64_t *word_or_skip(void)
{
    volatile uint64_t *word = switch_mark_word();
    if (word == NULL)
        puts("no restartable sequences here: not looked at");
    return word;
}

TEST(switch_mark, stands_until_the_thread_sleeps)
{
    volatile uint64_t *word = word_or_skip();
    if (word == NULL)
        return;
    /* Between two instructions the thread may be preempted; not a thousand times in a row. */
    unsigned stood = 0;
    for (unsigned n = 0; n < TRIES; n++) {
        *word = switch_mark();
        for (volatile unsigned work = 0; work < 100; work++) {}
        stood += *word == switch_mark();
    }
    CHECK(stood > 0);
    for (unsigned n = 0; n < 10; n++) {
        *word = switch_mark();
        usleep(100);
        CHECK(*word != switch_mark());
    }
    *word = 0;
}

static void look(void *argument)
{
    volatile uint64_t **words = argument;
    words[1] = switch_mark_word();
    *words[1] = switch_mark();
    usleep(100);
    CHECK(*words[1] != switch_mark());
}

TEST(switch_mark, is_each_threads_own)
{
    volatile uint64_t *words[2] = {word_or_skip(), NULL};
    if (words[0] == NULL)
        return;
    thread other;
    CHECK_STATUS(thread_start(&other, "other", look, words), 0);
    thread_join(other);
    CHECK(words[1] != NULL && words[1] != words[0]);
}

TEST(switch_mark, can_be_refused)
{
    switch_mark_refuse(true);
    CHECK(switch_mark_word() == NULL);
    switch_mark_refuse(false);
}
