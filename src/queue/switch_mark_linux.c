/* switch_mark_linux.c: see switch_mark_linux.h. */
#include "queue/switch_mark_linux.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

#if defined(__has_include) && (defined(__x86_64__) || defined(__aarch64__)) && defined(MAILROOM_THREAD_POINTER)
#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#endif
#endif

static atomic_bool refused;

void switch_mark_refuse(bool refuse)
{
    atomic_store_explicit(&refused, refuse, memory_order_relaxed);
}

#ifdef RSEQ_SIG

/* Sleeps after which the mark must have gone, each time. */
#define TRIES 3u

#define TEXT_OF(number)  #number
#define DIGITS_OF(macro) TEXT_OF(macro)

/* A sequence of one instruction that nobody executes. The kernel wants the signature before the place where it would go on;
 * it never goes there. */
/* clang-format off */
__asm__(".pushsection .text.mailroom_switch_mark, \"ax\"\n"
        ".balign 16\n"
        ".long " DIGITS_OF(RSEQ_SIG) "\n"
        ".Lmailroom_switch_abort:\n"
        ".balign 16, 0\n"
        ".Lmailroom_switch_begin:\n"
        ".long 0\n"
        ".Lmailroom_switch_end:\n"
        ".popsection\n"
        ".pushsection .data.rel.ro.mailroom_switch_mark, \"aw\"\n"
        ".balign 32\n"
        ".globl mailroom_switch_mark\n"
        ".hidden mailroom_switch_mark\n"
        "mailroom_switch_mark:\n"
        ".long 0, 0\n" /* version, flags */
        ".quad .Lmailroom_switch_begin\n"
        ".quad .Lmailroom_switch_end - .Lmailroom_switch_begin\n"
        ".quad .Lmailroom_switch_abort\n"
        ".popsection\n");
/* clang-format on */

/* Of the calling thread: NULL where it is not registered, as when a filter has forbidden it since the program began. */
static _Atomic uint64_t *word(void)
{
    if (__rseq_size == 0)
        return NULL;
    struct rseq *area = (struct rseq *) (void *) ((char *) __builtin_thread_pointer() + __rseq_offset);
    return (int32_t) area->cpu_id < 0 ? NULL : (_Atomic uint64_t *) (void *) &area->rseq_cs;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static atomic_bool works;

static void try_it(void)
{
    _Atomic uint64_t *mine = word();
    bool gone = mine != NULL;
    for (unsigned n = 0; n < TRIES && gone; n++) {
        switch_mark_set(mine, true);
        struct timespec moment = {.tv_nsec = 1};
        (void) nanosleep(&moment, NULL); /* by a signal it ends too soon, but then the mark has gone as well */
        gone = !switch_mark_stands(mine);
    }
    if (mine != NULL && switch_mark_stands(mine))
        switch_mark_set(mine, false);
    atomic_store_explicit(&works, gone, memory_order_relaxed);
}

void switch_mark_prepare(void)
{
    (void) pthread_once(&once, try_it);
}

_Atomic uint64_t *switch_mark_word(void)
{
    if (!atomic_load_explicit(&works, memory_order_relaxed) || atomic_load_explicit(&refused, memory_order_relaxed))
        return NULL;
    return word();
}

#else

const char mailroom_switch_mark[1];

void switch_mark_prepare(void)
{
}

_Atomic uint64_t *switch_mark_word(void)
{
    return NULL;
}

#endif
