/* thread_windows.c: thread.h on slim locks, _beginthreadex and the performance counter. */
#include "queue/thread.h"

#include <process.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <windows.h>

#include "queue/memory.h"
#include "queue/status.h"

enum { YIELDS = 100 };

_Static_assert(sizeof(SRWLOCK) <= sizeof(mutex), "mutex has room for the system's");
_Static_assert(sizeof(CONDITION_VARIABLE) <= sizeof(condition), "condition has room for the system's");
_Static_assert(sizeof(HANDLE) <= sizeof(uintptr_t), "a thread's handle fits");

#define NANOSECONDS UINT64_C(1000000000)
#define MILLISECOND UINT64_C(1000000)

static void must(bool done, const char *what)
{
    if (!done) {
        fprintf(stderr, "mailroom: %s: error %lu\n", what, GetLastError());
        abort();
    }
}

static SRWLOCK *lock_of(mutex *m)
{
    return (SRWLOCK *) (void *) m;
}

static CONDITION_VARIABLE *variable_of(condition *c)
{
    return (CONDITION_VARIABLE *) (void *) c;
}

void mutex_init(mutex *m)
{
    InitializeSRWLock(lock_of(m));
}

void mutex_destroy(mutex *m)
{
    (void) m; /* a slim lock owns nothing */
}

void mutex_lock(mutex *m)
{
    AcquireSRWLockExclusive(lock_of(m));
}

bool mutex_try_lock(mutex *m)
{
    return TryAcquireSRWLockExclusive(lock_of(m)) != 0;
}

void mutex_unlock(mutex *m)
{
    ReleaseSRWLockExclusive(lock_of(m));
}

void condition_init(condition *c)
{
    InitializeConditionVariable(variable_of(c));
}

void condition_destroy(condition *c)
{
    (void) c; /* nor does a condition variable */
}

void condition_wait(condition *c, mutex *m)
{
    must(SleepConditionVariableSRW(variable_of(c), lock_of(m), INFINITE, 0), "SleepConditionVariableSRW");
}

bool condition_wait_until(condition *c, mutex *m, uint64_t deadline)
{
    if (deadline == CLOCK_NEVER) {
        condition_wait(c, m);
        return true;
    }
    uint64_t now = clock_now();
    if (now >= deadline)
        return false;
    uint64_t milliseconds = (deadline - now - 1) / MILLISECOND + 1; /* rounded up: not before the time */
    DWORD wait = milliseconds > INT32_MAX ? INT32_MAX : (DWORD) milliseconds;
    if (SleepConditionVariableSRW(variable_of(c), lock_of(m), wait, 0))
        return true;
    must(GetLastError() == ERROR_TIMEOUT, "SleepConditionVariableSRW");
    return clock_now() < deadline; /* the system's ticks may be early: then this is a wake-up for no reason */
}

void condition_signal(condition *c)
{
    WakeConditionVariable(variable_of(c));
}

void condition_broadcast(condition *c)
{
    WakeAllConditionVariable(variable_of(c));
}

struct start {
    void (*run)(void *);
    void *argument;
    wchar_t name[16];
};

/* A name is a comfort, its failure none. Looked up, as mingw-w64 10 does not declare it. */
static void name_show(const wchar_t *name)
{
    typedef HRESULT(WINAPI * set_description)(HANDLE, PCWSTR);
    HMODULE kernel = GetModuleHandleW(L"kernel32");
    set_description set =
        kernel == NULL ? NULL : (set_description) (void (*)(void)) GetProcAddress(kernel, "SetThreadDescription");
    if (set != NULL)
        (void) set(GetCurrentThread(), name);
}

static unsigned __stdcall thread_main(void *argument)
{
    struct start start = *(struct start *) argument;
    memory_free(argument);
    name_show(start.name);
    start.run(start.argument);
    return 0;
}

int thread_start(thread *t, const char *name, void (*run)(void *), void *argument)
{
    struct start *start = memory_alloc(sizeof *start);
    if (start == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory to start a thread");
    *start = (struct start){.run = run, .argument = argument};
    for (size_t i = 0; i + 1 < sizeof start->name / sizeof start->name[0] && name[i] != '\0'; i++)
        start->name[i] = (unsigned char) name[i];

    uintptr_t handle = _beginthreadex(NULL, 0, thread_main, start, 0, NULL);
    if (handle == 0) {
        DWORD error = GetLastError();
        memory_free(start);
        return status_fail(MR_E_SYSTEM, error, "cannot start a thread: error %lu", error);
    }
    t->handle = handle;
    return MR_OK;
}

void thread_join(thread t)
{
    must(WaitForSingleObject((HANDLE) t.handle, INFINITE) == WAIT_OBJECT_0, "WaitForSingleObject");
    must(CloseHandle((HANDLE) t.handle), "CloseHandle");
}

void thread_detach(thread t)
{
    must(CloseHandle((HANDLE) t.handle), "CloseHandle");
}

uint64_t thread_self(void)
{
    return GetCurrentThreadId(); /* never 0 */
}

uint64_t thread_number(void)
{
    return GetCurrentThreadId();
}

bool thread_is_running(uint64_t number)
{
    (void) number;
    return false;
}

void thread_yield(unsigned round)
{
    if (round < YIELDS)
        (void) SwitchToThread();
    else
        Sleep(1);
}

bool thread_set_prompt(bool prompt)
{
    (void) prompt;
    return false;
}

/* FlushProcessWriteBuffers would do it; but what a writer does here is a call of the system each time, beside which a locked
 * instruction is nothing. */
bool thread_barrier_prepare(void)
{
    return false;
}

void thread_barrier(void)
{
}

void thread_barrier_refuse(bool refuse)
{
    (void) refuse;
}

uint64_t clock_now(void)
{
    LARGE_INTEGER frequency, counter;
    QueryPerformanceFrequency(&frequency);
    QueryPerformanceCounter(&counter);
    uint64_t ticks = (uint64_t) counter.QuadPart, per_second = (uint64_t) frequency.QuadPart;
    return ticks / per_second * NANOSECONDS + ticks % per_second * NANOSECONDS / per_second;
}

uint64_t clock_coarse(void)
{
    return GetTickCount64() * MILLISECOND;
}

uint64_t clock_deadline(uint32_t milliseconds)
{
    return milliseconds == UINT32_MAX ? CLOCK_NEVER : clock_now() + (uint64_t) milliseconds * MILLISECOND;
}

uint32_t process_id(void)
{
    return GetCurrentProcessId();
}

/* Windows does not fork. */
atomic_uint process_forks;

uint32_t process_generation(void)
{
    return 0;
}

void process_at_fork(void (*in_child)(void))
{
    (void) in_child;
}
