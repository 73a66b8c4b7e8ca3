/* thread_linux.c: thread.h on POSIX threads and CLOCK_MONOTONIC. */
#include "queue/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "queue/memory.h"
#include "queue/status.h"

enum { YIELDS = 100 };

_Static_assert(sizeof(pthread_mutex_t) <= sizeof(mutex), "mutex has room for the system's");
_Static_assert(sizeof(pthread_cond_t) <= sizeof(condition), "condition has room for the system's");
_Static_assert(sizeof(pthread_t) <= sizeof(uintptr_t), "a thread's handle fits");

#define NANOSECONDS 1000000000u

static void must(int error, const char *what)
{
    if (error != 0) {
        fprintf(stderr, "mailroom: %s: %s\n", what, strerror(error));
        abort();
    }
}

void mutex_init(mutex *m)
{
    must(pthread_mutex_init((pthread_mutex_t *) (void *) m, NULL), "pthread_mutex_init");
}

void mutex_destroy(mutex *m)
{
    must(pthread_mutex_destroy((pthread_mutex_t *) (void *) m), "pthread_mutex_destroy");
}

void mutex_lock(mutex *m)
{
    must(pthread_mutex_lock((pthread_mutex_t *) (void *) m), "pthread_mutex_lock");
}

bool mutex_try_lock(mutex *m)
{
    int error = pthread_mutex_trylock((pthread_mutex_t *) (void *) m);
    if (error == EBUSY)
        return false;
    must(error, "pthread_mutex_trylock");
    return true;
}

void mutex_unlock(mutex *m)
{
    must(pthread_mutex_unlock((pthread_mutex_t *) (void *) m), "pthread_mutex_unlock");
}

void condition_init(condition *c)
{
    pthread_condattr_t attributes;
    must(pthread_condattr_init(&attributes), "pthread_condattr_init");
    must(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC), "pthread_condattr_setclock");
    must(pthread_cond_init((pthread_cond_t *) (void *) c, &attributes), "pthread_cond_init");
    must(pthread_condattr_destroy(&attributes), "pthread_condattr_destroy");
}

void condition_destroy(condition *c)
{
    must(pthread_cond_destroy((pthread_cond_t *) (void *) c), "pthread_cond_destroy");
}

void condition_wait(condition *c, mutex *m)
{
    must(pthread_cond_wait((pthread_cond_t *) (void *) c, (pthread_mutex_t *) (void *) m), "pthread_cond_wait");
}

bool condition_wait_until(condition *c, mutex *m, uint64_t deadline)
{
    if (deadline == CLOCK_NEVER) {
        condition_wait(c, m);
        return true;
    }
    struct timespec when = {.tv_sec = (time_t) (deadline / NANOSECONDS), .tv_nsec = (long) (deadline % NANOSECONDS)};
    int error = pthread_cond_timedwait((pthread_cond_t *) (void *) c, (pthread_mutex_t *) (void *) m, &when);
    if (error == ETIMEDOUT)
        return false;
    must(error, "pthread_cond_timedwait");
    return true;
}

void condition_signal(condition *c)
{
    must(pthread_cond_signal((pthread_cond_t *) (void *) c), "pthread_cond_signal");
}

void condition_broadcast(condition *c)
{
    must(pthread_cond_broadcast((pthread_cond_t *) (void *) c), "pthread_cond_broadcast");
}

struct start {
    void (*run)(void *);
    void *argument;
    char name[16];
};

static void *thread_main(void *argument)
{
    struct start start = *(struct start *) argument;
    memory_free(argument);
    (void) pthread_setname_np(pthread_self(), start.name); /* a name is a comfort, its failure none */
    start.run(start.argument);
    return NULL;
}

int thread_start(thread *t, const char *name, void (*run)(void *), void *argument)
{
    struct start *start = memory_alloc(sizeof *start);
    if (start == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory to start a thread");
    *start = (struct start){.run = run, .argument = argument};
    snprintf(start->name, sizeof start->name, "%s", name);

    sigset_t all, before;
    sigfillset(&all);
    /* Faults are the thread's own and stay deliverable: blocking them would turn a handler into a silent kill. */
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    must(pthread_sigmask(SIG_SETMASK, &all, &before), "pthread_sigmask");
    pthread_t handle;
    int error = pthread_create(&handle, NULL, thread_main, start);
    must(pthread_sigmask(SIG_SETMASK, &before, NULL), "pthread_sigmask");
    if (error != 0) {
        memory_free(start);
        return status_fail(MR_E_SYSTEM, error, "cannot start a thread: %s", strerror(error));
    }
    t->handle = (uintptr_t) handle;
    return MR_OK;
}

void thread_join(thread t)
{
    must(pthread_join((pthread_t) t.handle, NULL), "pthread_join");
}

void thread_detach(thread t)
{
    must(pthread_detach((pthread_t) t.handle), "pthread_detach");
}

#ifndef MAILROOM_THREAD_POINTER
uint64_t thread_self(void)
{
    return (uint64_t) pthread_self();
}
#endif

void thread_yield(unsigned round)
{
    if (round < YIELDS)
        (void) sched_yield();
    else
        (void) nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
}

/* ---- the scheduler ---- */

/* The first form of the kernel's struct sched_attr (sched_setattr(2)), whose header cannot stand beside <sched.h>. */
struct scheduling {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime; /* SCHED_OTHER: the slice, in ns */
    uint64_t deadline;
    uint64_t period;
};
#define SCHEDULING_RESET_ON_FORK UINT64_C(1)

bool thread_set_prompt(bool prompt)
{
    static _Thread_local uint64_t usual; /* the thread's slice before; 0: not asked for yet */
    struct scheduling now = {.size = sizeof now};
    if (syscall(SYS_sched_getattr, 0, &now, sizeof now, 0) != 0 || now.policy != SCHED_OTHER)
        return false;
    if (usual == 0)
        usual = now.runtime; /* before 6.12 it is 0 */
    if (usual <= THREAD_PROMPT_NS)
        return false;
    now.flags &= SCHEDULING_RESET_ON_FORK;
    now.runtime = prompt ? THREAD_PROMPT_NS : usual;
    return syscall(SYS_sched_setattr, 0, &now, 0) == 0;
}

/* ---- other threads ---- */

uint64_t thread_number(void)
{
    return (uint64_t) gettid();
}

bool thread_is_running(uint64_t number)
{
    char path[64];
    char stat[128]; /* number (name) state …; a name has 15 bytes at most */
    (void) snprintf(path, sizeof path, "/proc/self/task/%llu/stat", (unsigned long long) number);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return false;
    ssize_t length = read(file, stat, sizeof stat - 1);
    close(file);
    stat[length > 0 ? length : 0] = '\0';
    const char *name_end = strrchr(stat, ')');
    return name_end != NULL && strncmp(name_end, ") R", 3) == 0;
}

/* ---- the barrier of all threads ---- */

enum { BARRIER_UNKNOWN, BARRIER_WORKS, BARRIER_FAILS };

static atomic_int barrier_state = BARRIER_UNKNOWN;
static atomic_bool barrier_refused;

static bool membarrier_works(int command)
{
    return syscall(SYS_membarrier, command, 0, 0) == 0;
}

bool thread_barrier_prepare(void)
{
    int state = atomic_load_explicit(&barrier_state, memory_order_relaxed);
    if (state == BARRIER_UNKNOWN) { /* two threads may both register: the second time changes nothing */
        state = membarrier_works(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) ? BARRIER_WORKS : BARRIER_FAILS;
        atomic_store_explicit(&barrier_state, state, memory_order_relaxed);
    }
    return state == BARRIER_WORKS && !atomic_load_explicit(&barrier_refused, memory_order_relaxed);
}

void thread_barrier(void)
{
    if (membarrier_works(MEMBARRIER_CMD_PRIVATE_EXPEDITED))
        return;
    /* A forked child that the kernel does not know as registered. */
    if (membarrier_works(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) &&
        membarrier_works(MEMBARRIER_CMD_PRIVATE_EXPEDITED))
        return;
    must(errno, "membarrier"); /* it has worked before: a rule that came later forbids it */
}

void thread_barrier_refuse(bool refuse)
{
    atomic_store_explicit(&barrier_refused, refuse, memory_order_relaxed);
}

uint64_t clock_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t) now.tv_sec * NANOSECONDS + (uint64_t) now.tv_nsec;
}

uint64_t clock_coarse(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t) now.tv_sec * NANOSECONDS + (uint64_t) now.tv_nsec;
}

uint64_t clock_deadline(uint32_t milliseconds)
{
    return milliseconds == UINT32_MAX ? CLOCK_NEVER : clock_now() + (uint64_t) milliseconds * 1000000u;
}

uint32_t process_id(void)
{
    return (uint32_t) getpid();
}

enum { FORK_FUNCTIONS = 8 };

atomic_uint process_forks;
static pthread_once_t generation_once = PTHREAD_ONCE_INIT;
static void (*_Atomic fork_functions[FORK_FUNCTIONS])(void);
static atomic_uint fork_function_count;

static void forked(void)
{
    atomic_fetch_add_explicit(&process_forks, 1, memory_order_relaxed);
    for (size_t i = 0; i < FORK_FUNCTIONS; i++) {
        void (*function)(void) = atomic_load_explicit(&fork_functions[i], memory_order_relaxed);
        if (function != NULL)
            function();
    }
}

static void generation_watch(void)
{
    must(pthread_atfork(NULL, NULL, forked), "pthread_atfork");
}

uint32_t process_generation(void)
{
    must(pthread_once(&generation_once, generation_watch), "pthread_once");
    return atomic_load_explicit(&process_forks, memory_order_relaxed);
}

void process_at_fork(void (*in_child)(void))
{
    (void) process_generation();
    unsigned index = atomic_fetch_add_explicit(&fork_function_count, 1, memory_order_relaxed);
    must(index < FORK_FUNCTIONS ? 0 : ENOMEM, "process_at_fork");
    atomic_store_explicit(&fork_functions[index], in_child, memory_order_relaxed);
}
