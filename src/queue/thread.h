/* thread.h: the threads, locks and clock that every module uses, one file per platform behind it.
 *
 * C11's <threads.h> would do, but mingw-w64 has none. All functions here succeed or end the process with a
 * message: a mutex that cannot be locked is a broken program, not an error to handle. Only thread_start can fail. */
#ifndef QUEUE_THREAD_H
#define QUEUE_THREAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Room for the platform's own object; the platform's file checks at compile time that it is enough. */
typedef union mutex {
    uint64_t room[8];
    void *alignment;
} mutex;

typedef union condition {
    uint64_t room[8];
    void *alignment;
} condition;

typedef struct thread {
    uintptr_t handle;
} thread;

/* A plain lock: not recursive, no time-out. A static one starts as MUTEX_INIT and needs no mutex_init. */
/* clang-format off */
#define MUTEX_INIT {{0}}
/* clang-format on */
void mutex_init(mutex *m);
void mutex_destroy(mutex *m);
void mutex_lock(mutex *m);
bool mutex_try_lock(mutex *m);
void mutex_unlock(mutex *m);

/* A condition variable; its waits may wake for no reason, so the caller loops. */
void condition_init(condition *c);
void condition_destroy(condition *c);
void condition_wait(condition *c, mutex *m);
/* Waits until signalled or until clock_now() reaches `deadline`; false when the time had come. */
bool condition_wait_until(condition *c, mutex *m, uint64_t deadline);
void condition_signal(condition *c);
void condition_broadcast(condition *c);

/* Starts a thread with every asynchronous signal blocked (a library's threads take no signal meant for the
 * program). 0, or MR_E_SYSTEM with the system's code kept. `name` shows in ps and debuggers, 15 bytes at most. */
int thread_start(thread *t, const char *name, void (*run)(void *), void *argument);
/* Waits for the thread's end and frees it: exactly once per started thread. */
void thread_join(thread t);
/* Instead of joining: the thread frees itself at its end. */
void thread_detach(thread t);
/* A number that tells this thread from every other living one of the process; never 0. One instruction where the compiler
 * has it (cmake/MailroomSettings.cmake). */
#ifdef MAILROOM_THREAD_POINTER
static inline uint64_t thread_self(void)
{
    return (uint64_t) (uintptr_t) __builtin_thread_pointer();
}
#else
uint64_t thread_self(void);
#endif

/* The system's number of the calling thread, … */
uint64_t thread_number(void);
/* … and whether the thread of that number, one of this process, is known to be running, or to wait for nothing but a
 * processor. A system call or more. False where the system does not say (Windows). */
bool thread_is_running(uint64_t number);

/* For who waits for another thread to take a step that it is in the middle of: lets others run; from some rounds on by a
 * short sleep, because a thread of lower priority does not get the processor by a yield. Call it with 0, 1, 2, … */
void thread_yield(unsigned round);

/* Lets the calling thread run sooner when it is woken beside others that are busy, in turns that are shorter for it; or as
 * before. Linux from 6.12 on: a scheduling slice of THREAD_PROMPT_NS, if the thread has the normal policy and a longer one.
 * False: the system has nothing of the kind, or refuses; nothing has changed. Windows raises who is woken by itself. */
#define THREAD_PROMPT_NS 100000u
bool thread_set_prompt(bool prompt);

/* A barrier for all threads of the process, by the one of two sides that needs it rarely. That side stores, calls
 * thread_barrier, then loads; the other one stores and then loads with nothing but the compiler held between the two
 * (atomic_signal_fence): at least one of them sees what the other has stored. Only where thread_barrier_prepare, which makes
 * the process ready for it, has said true: not every system can. */
bool thread_barrier_prepare(void);
void thread_barrier(void);
/* For tests: from now on thread_barrier_prepare says false (or, with false, the truth again). */
void thread_barrier_refuse(bool refuse);

/* Monotonic time in nanoseconds. NEVER (see below) is a deadline that does not come. */
uint64_t clock_now(void);
#define CLOCK_NEVER UINT64_MAX
/* The same cheaper and behind by up to one of the system's ticks (1 to 16 ms): for telling that some time has passed, by
 * comparison with itself only. */
uint64_t clock_coarse(void);
/* now + milliseconds, saturating at CLOCK_NEVER; MR_FOREVER (UINT32_MAX) gives CLOCK_NEVER. */
uint64_t clock_deadline(uint32_t milliseconds);

/* The number of this process, re-read after a fork. */
uint32_t process_id(void);

/* Changes with every fork, in the child: an object whose generation is not the present one is the parent's. Cheap.
 * Forks before the first call are not counted: there was nothing to tell apart. */
uint32_t process_generation(void);
/* The same for who has called process_generation before: one load. */
extern atomic_uint process_forks;
static inline uint32_t process_generation_again(void)
{
    return atomic_load_explicit(&process_forks, memory_order_relaxed);
}

/* Calls `in_child` in every forked child from now on, before fork returns there, for locks that another thread may
 * have held. It must not allocate. At most 8 such functions, never taken back. */
void process_at_fork(void (*in_child)(void));

#endif
