/* test_process_windows.c: a test as a process inside a job object of its own.
 *
 * Path    CreateProcessW suspended > assigned to the job > resumed > waited for > the job ended
 * I1      The process is in the job before its first instruction, so whatever it starts is in the job as well. */
#include "test_process.h"

#include <stdio.h>
#include <windows.h>

/* Exception codes have both upper bits set (STATUS_SEVERITY_ERROR). */
#define CRASH_BITS 0xC0000000u

static struct test_result not_run(void)
{
    return (struct test_result){TEST_NOT_RUN, (unsigned) GetLastError()};
}

static struct test_result await_end(HANDLE process, HANDLE job, unsigned seconds)
{
    DWORD wait = WaitForSingleObject(process, seconds > 4000000 ? INFINITE : (DWORD) seconds * 1000);
    DWORD code = 0;
    BOOL known = GetExitCodeProcess(process, &code);
    TerminateJobObject(job, TEST_EXIT_FAILED);
    if (wait == WAIT_TIMEOUT) {
        WaitForSingleObject(process, INFINITE);
        return (struct test_result){TEST_TIMED_OUT, 0};
    }
    if (wait != WAIT_OBJECT_0 || !known) {
        return not_run();
    }
    if ((code & CRASH_BITS) == CRASH_BITS) {
        return (struct test_result){TEST_CRASHED, (unsigned) code};
    }
    return (struct test_result){TEST_ENDED, (unsigned) code};
}

struct test_result test_process_run(const char *test, unsigned seconds)
{
    wchar_t self[4096];
    wchar_t command[8192];
    DWORD length = GetModuleFileNameW(NULL, self, ARRAYSIZE(self));
    if (length == 0 || length == ARRAYSIZE(self)) {
        return not_run();
    }
    swprintf(command, ARRAYSIZE(command), L"\"%ls\" --run %hs", self, test);

    HANDLE job = CreateJobObjectW(NULL, NULL);
    if (job == NULL) {
        return not_run();
    }
    STARTUPINFOW startup = {.cb = sizeof(startup), .dwFlags = STARTF_USESTDHANDLES};
    startup.hStdInput = GetStdHandle(STD_INPUT_HANDLE);
    startup.hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE);
    startup.hStdError = GetStdHandle(STD_ERROR_HANDLE);
    PROCESS_INFORMATION process;
    struct test_result result;
    if (!CreateProcessW(self, command, NULL, NULL, TRUE, CREATE_SUSPENDED, NULL, NULL, &startup, &process)) {
        result = not_run();
    } else if (!AssignProcessToJobObject(job, process.hProcess) || ResumeThread(process.hThread) == (DWORD) -1) {
        result = not_run();
        TerminateProcess(process.hProcess, TEST_EXIT_FAILED);
        CloseHandle(process.hThread);
        CloseHandle(process.hProcess);
    } else {
        result = await_end(process.hProcess, job, seconds);
        CloseHandle(process.hThread);
        CloseHandle(process.hProcess);
    }
    CloseHandle(job);
    return result;
}
