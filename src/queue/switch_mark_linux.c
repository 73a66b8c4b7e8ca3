/* switch_mark_linux.c: see switch_mark_linux.h. */
#include "queue/switch_mark_linux.h"

#include <stdatomic.h>
#include <stddef.h>

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

#define TEXT_OF(number)  #number
#define DIGITS_OF(macro) TEXT_OF(macro)

/* A sequence of one instruction that nobody executes. The kernel wants the signature before the place where it would go on;
 * it never goes there. */
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

_Atomic uint64_t *switch_mark_word(void)
{
    if (__rseq_size == 0 || atomic_load_explicit(&refused, memory_order_relaxed))
        return NULL;
    struct rseq *area = (struct rseq *) (void *) ((char *) __builtin_thread_pointer() + __rseq_offset);
    return (_Atomic uint64_t *) (void *) &area->rseq_cs;
}

#else

const char mailroom_switch_mark[1];

_Atomic uint64_t *switch_mark_word(void)
{
    return NULL;
}

#endif
