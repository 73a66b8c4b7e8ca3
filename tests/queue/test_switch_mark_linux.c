/* test_switch_mark_linux.c: a mark that stands as long as the thread has not left the processor. */
#include "queue/switch_mark_linux.h"

#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include "queue/thread.h"
#include "test.h"

enum { TRIES = 1000 };

static _Atomic uint64_t *word_or_skip(void)
{
    switch_mark_prepare();
    _Atomic uint64_t *word = switch_mark_word();
    if (word == NULL)
        puts("no mark that goes when a thread sleeps: not looked at");
    return word;
}

TEST(switch_mark, stands_until_the_thread_sleeps)
{
    _Atomic uint64_t *word = word_or_skip();
    if (word == NULL)
        return;
    /* Between two instructions the thread may be preempted; not a thousand times in a row. */
    unsigned stood = 0;
    for (unsigned n = 0; n < TRIES; n++) {
        switch_mark_set(word, true);
        for (volatile unsigned work = 0; work < 100; work++) {}
        stood += switch_mark_stands(word);
    }
    CHECK(stood > 0);
    for (unsigned n = 0; n < 10; n++) {
        switch_mark_set(word, true);
        usleep(100);
        CHECK(!switch_mark_stands(word));
    }
    switch_mark_set(word, false);
    CHECK(!switch_mark_stands(word));
}

static void look(void *argument)
{
    _Atomic uint64_t **words = argument;
    words[1] = switch_mark_word();
    switch_mark_set(words[1], true);
    usleep(100);
    CHECK(!switch_mark_stands(words[1]));
}

TEST(switch_mark, is_each_threads_own)
{
    _Atomic uint64_t *words[2] = {word_or_skip(), NULL};
    if (words[0] == NULL)
        return;
    thread other;
    CHECK_STATUS(thread_start(&other, "other", look, words), 0);
    thread_join(other);
    CHECK(words[1] != NULL && words[1] != words[0]);
}

TEST(switch_mark, can_be_refused)
{
    switch_mark_prepare();
    switch_mark_refuse(true);
    CHECK(switch_mark_word() == NULL);
    switch_mark_refuse(false);
}
