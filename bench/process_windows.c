/* process_windows.c: the processes of a run and their channels (process.h). A process is this program started once more,
 * with the name of its channel as its only argument; its task comes through the channel.
 *
 * Path    process_start ► CreateNamedPipe ► this program again, suspended ► the job ► resumed ► it connects ► its task
 *         channel_send ► overlapped WriteFile, awaited
 *         channel_receive, process_wait ► a read of the next head is under way on each pipe ► the completion port ► the body
 * Owners  An end belongs to the thread that receives on it; others may send, one at a time. All ends of the bench's own
 *         process share a port, which its main thread alone waits on; every other end has one of its own.
 * I1      While an end is PENDING its `head` and `read` are the system's: it is cancelled and its packet awaited before the end
 *         is freed. Each read that was started gives one packet, also where it succeeded at once.
 * I2      All processes are in a job that ends them when its only handle is closed: with this process, however that ends.
 * I3      The pipe has one instance, takes no clients from other machines, and its client must be the process that was started.
 * E       The event of a call that is awaited has its low bit set: no packet is queued for it.
 */
#include "process.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <windows.h>

#include "process_windows.h"
#include "queue/memory.h"
#include "queue/thread.h"
#include "task.h"

#define PIPE_ROOM    65536u
#define PIPE_TEXT    96u
#define CONNECT_MS   60000u
#define PACKET_TASK  0u
#define EXIT_KILLED  1u
#define COMMAND_ROOM 4096u

enum end_state { END_IDLE, END_PENDING, END_DONE };

struct pipe_end {
    HANDLE pipe;
    HANDLE port;
    HANDLE read_event;  /* E */
    HANDLE write_event; /* E */
    bool own_port;
    enum end_state state;
    OVERLAPPED read; /* of the head */
    uint32_t head[2];
    DWORD got; /* of the head, when DONE */
    DWORD error;
};

static HANDLE common_port; /* of this process's ends to those that it has started */
static HANDLE job;
static atomic_bool interrupted;

static int fail_system(const char *what)
{
    DWORD error = GetLastError();
    return status_fail(MR_E_SYSTEM, error, "%s failed: error %lu", what, error);
}

static HANDLE unqueued(HANDLE event)
{
    return (HANDLE) ((uintptr_t) event | 1); /* E */
}

/* ------------------------------------------------------------------------------------------------ one end */

static void end_close(struct pipe_end *end);

/* Takes over the pipe, also where it fails. `port` NULL: one of its own. */
static int end_open(struct pipe_end **out, HANDLE pipe, HANDLE port)
{
    struct pipe_end *end = memory_zalloc(sizeof *end);
    if (end == NULL) {
        CloseHandle(pipe);
        return status_fail(MR_E_MEMORY, 0, "no memory for a channel");
    }
    end->pipe = pipe;
    end->own_port = port == NULL;
    end->port = CreateIoCompletionPort(pipe, port, (ULONG_PTR) end, 1);
    end->read_event = CreateEventW(NULL, TRUE, FALSE, NULL);
    end->write_event = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (end->port == NULL || end->read_event == NULL || end->write_event == NULL) {
        int status = fail_system("making a channel");
        end_close(end);
        return status;
    }
    *out = end;
    return MR_OK;
}

static int end_status(DWORD error)
{
    if (error == ERROR_BROKEN_PIPE || error == ERROR_PIPE_NOT_CONNECTED || error == ERROR_NO_DATA) {
        return status_fail(MR_E_GONE, 0, "another process of the run has ended");
    }
    return status_fail(MR_E_SYSTEM, error, "cannot talk to another process of the run: error %lu", error);
}

/* Waits for one packet of the port up to the deadline; false where none came. */
static bool port_take(HANDLE port, uint64_t deadline)
{
    uint64_t now = clock_now();
    uint64_t left = deadline > now ? (deadline - now + 999999) / 1000000 : 0;
    DWORD wait = deadline == CLOCK_NEVER ? INFINITE : left > INT32_MAX ? INT32_MAX : (DWORD) left;
    DWORD bytes = 0;
    ULONG_PTR key = 0;
    OVERLAPPED *completed = NULL;
    BOOL good = GetQueuedCompletionStatus(port, &bytes, &key, &completed, wait);
    if (completed != NULL) {
        struct pipe_end *end = (struct pipe_end *) key;
        end->error = good ? ERROR_SUCCESS : GetLastError();
        end->got = bytes;
        end->state = END_DONE;
    }
    return completed != NULL || good; /* good without an operation: somebody wants the wait to end */
}

static void end_arm(struct pipe_end *end)
{
    if (end->state != END_IDLE) {
        return;
    }
    end->read = (OVERLAPPED){0};
    end->state = END_PENDING;
    if (!ReadFile(end->pipe, end->head, sizeof end->head, NULL, &end->read) && GetLastError() != ERROR_IO_PENDING) {
        end->error = GetLastError();
        end->got = 0;
        end->state = END_DONE;
    }
}

static void end_close(struct pipe_end *end)
{
    if (end->state == END_PENDING) {
        CancelIoEx(end->pipe, &end->read);
        while (end->state == END_PENDING) {
            (void) port_take(end->port, CLOCK_NEVER); /* I1 */
        }
    }
    CloseHandle(end->pipe);
    if (end->read_event != NULL) {
        CloseHandle(end->read_event);
    }
    if (end->write_event != NULL) {
        CloseHandle(end->write_event);
    }
    if (end->own_port && end->port != NULL) {
        CloseHandle(end->port);
    }
    memory_free(end);
}

static int end_read(struct pipe_end *end, void *data, size_t length)
{
    char *to = data;
    while (length > 0) {
        OVERLAPPED read = {.hEvent = unqueued(end->read_event)};
        DWORD got = 0;
        if (!ReadFile(end->pipe, to, (DWORD) length, NULL, &read) && GetLastError() != ERROR_IO_PENDING) {
            return end_status(GetLastError());
        }
        if (!GetOverlappedResult(end->pipe, &read, &got, TRUE)) {
            return end_status(GetLastError());
        }
        to += got;
        length -= got;
    }
    return MR_OK;
}

static int end_write(struct pipe_end *end, const void *data, size_t length)
{
    const char *from = data;
    while (length > 0) {
        OVERLAPPED write = {.hEvent = unqueued(end->write_event)};
        DWORD written = 0;
        if (!WriteFile(end->pipe, from, (DWORD) length, NULL, &write) && GetLastError() != ERROR_IO_PENDING) {
            return end_status(GetLastError());
        }
        if (!GetOverlappedResult(end->pipe, &write, &written, TRUE)) {
            return end_status(GetLastError());
        }
        from += written;
        length -= written;
    }
    return MR_OK;
}

/* ------------------------------------------------------------------------------------------------ channels */

static struct pipe_end *end_of(const struct channel *channel)
{
    return channel->descriptor == -1 ? NULL : (struct pipe_end *) channel->descriptor;
}

int channel_send(struct channel *channel, uint32_t kind, const void *body, size_t length)
{
    uint32_t head[2] = {kind, (uint32_t) length};
    int status = end_write(end_of(channel), head, sizeof head);
    return status == MR_OK ? end_write(end_of(channel), body, length) : status;
}

int channel_receive(struct channel *channel, struct packet *packet, uint64_t deadline)
{
    struct pipe_end *end = end_of(channel);
    end_arm(end);
    while (end->state == END_PENDING) {
        if (!port_take(end->port, deadline) && clock_now() >= deadline) {
            return MR_E_TIMEOUT;
        }
    }
    end->state = END_IDLE;
    if (end->error != ERROR_SUCCESS) {
        return end_status(end->error);
    }
    int status = end_read(end, (char *) end->head + end->got, sizeof end->head - end->got);
    if (status != MR_OK) {
        return status;
    }
    size_t length = end->head[1];
    if (packet->room < length + 1) {
        void *body = memory_realloc(packet->body, length + 1);
        if (body == NULL) {
            return status_fail(MR_E_MEMORY, 0, "no memory for %zu bytes", length);
        }
        packet->body = body;
        packet->room = length + 1;
    }
    packet->kind = end->head[0];
    packet->length = end->head[1];
    status = end_read(end, packet->body, length);
    ((char *) packet->body)[length] = '\0';
    return status;
}

void packet_free(struct packet *packet)
{
    memory_free(packet->body);
    *packet = (struct packet){0};
}

/* ------------------------------------------------------------------------------------------------ starting */

/* The bench's own end, and the name for the other. */
static HANDLE pipe_create(char name[PIPE_TEXT])
{
    static atomic_uint count;
    unsigned number = atomic_fetch_add_explicit(&count, 1, memory_order_relaxed);
    snprintf(name, PIPE_TEXT, "\\\\.\\pipe\\mailroom-bench-%lu-%u-%llx", GetCurrentProcessId(), number,
             (unsigned long long) clock_now());
    return CreateNamedPipeA(name, PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
                            PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS, 1, PIPE_ROOM,
                            PIPE_ROOM, 0, NULL);
}

static int pipe_join(const char *name, struct channel *channel)
{
    struct pipe_end *end = NULL;
    HANDLE pipe = CreateFileA(name, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, NULL);
    int status = pipe == INVALID_HANDLE_VALUE ? fail_system("opening a channel") : end_open(&end, pipe, NULL);
    channel->descriptor = status == MR_OK ? (intptr_t) end : -1;
    return status;
}

static int commons_open(void)
{
    if (common_port == NULL) {
        common_port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1);
    }
    if (job == NULL) {
        JOBOBJECT_EXTENDED_LIMIT_INFORMATION rules = {
            .BasicLimitInformation = {.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE}};
        job = CreateJobObjectW(NULL, NULL);
        if (job != NULL && !SetInformationJobObject(job, JobObjectExtendedLimitInformation, &rules, sizeof rules)) {
            CloseHandle(job);
            job = NULL;
        }
    }
    return common_port == NULL || job == NULL ? fail_system("making a job for the run's processes") : MR_OK;
}

/* This program once more, in the job. */
static int program_start(const char *pipe, PROCESS_INFORMATION *started)
{
    wchar_t self[COMMAND_ROOM];
    wchar_t command[COMMAND_ROOM + PIPE_TEXT + 32];
    STARTUPINFOW startup = {.cb = sizeof startup,
                            .dwFlags = STARTF_USESTDHANDLES,
                            .hStdInput = GetStdHandle(STD_INPUT_HANDLE),
                            .hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE),
                            .hStdError = GetStdHandle(STD_ERROR_HANDLE)};
    DWORD length = GetModuleFileNameW(NULL, self, COMMAND_ROOM);
    if (length == 0 || length == COMMAND_ROOM) {
        return fail_system("GetModuleFileName");
    }
    swprintf(command, sizeof command / sizeof command[0], L"\"%ls\" %hs %hs", self, PROCESS_ARGUMENT, pipe);
    fflush(NULL);
    if (!CreateProcessW(self, command, NULL, NULL, TRUE, CREATE_SUSPENDED, NULL, NULL, &startup, started)) {
        return fail_system("CreateProcess");
    }
    bool good = AssignProcessToJobObject(job, started->hProcess) && ResumeThread(started->hThread) != (DWORD) -1;
    int status = good ? MR_OK : fail_system("starting a process");
    CloseHandle(started->hThread);
    if (!good) {
        TerminateProcess(started->hProcess, EXIT_KILLED);
        CloseHandle(started->hProcess);
    }
    return status;
}

/* Waits until the process has connected. */
static int pipe_await(struct pipe_end *end, const PROCESS_INFORMATION *started)
{
    OVERLAPPED connect = {.hEvent = unqueued(end->read_event)};
    HANDLE either[2] = {end->read_event, started->hProcess};
    ULONG client = 0;
    DWORD none = 0;
    if (!ConnectNamedPipe(end->pipe, &connect)) {
        DWORD error = GetLastError();
        if (error != ERROR_PIPE_CONNECTED && error != ERROR_IO_PENDING) {
            return fail_system("ConnectNamedPipe");
        }
        if (error == ERROR_IO_PENDING && WaitForMultipleObjects(2, either, FALSE, CONNECT_MS) != WAIT_OBJECT_0) {
            CancelIoEx(end->pipe, &connect);
            GetOverlappedResult(end->pipe, &connect, &none, TRUE);
            return status_fail(MR_E_SYSTEM, 0, "a process of the run did not begin");
        }
    }
    if (!GetNamedPipeClientProcessId(end->pipe, &client) || client != started->dwProcessId) {
        return status_fail(MR_E_SYSTEM, 0, "another program has taken the channel of a process of the run"); /* I3 */
    }
    return MR_OK;
}

static int start_process(struct process *process, struct pipe_end *end, const char *pipe, const struct task *task)
{
    PROCESS_INFORMATION started;
    int status = program_start(pipe, &started);
    if (status != MR_OK) {
        return status;
    }
    process->handle = (intptr_t) started.hProcess;
    status = pipe_await(end, &started);
    return status == MR_OK ? channel_send(&process->channel, PACKET_TASK, task, sizeof *task) : status;
}

struct start {
    struct task task;
    struct channel channel;
};

static void carry_out(void *argument)
{
    struct start *start = argument;
    task_run(&start->task, &start->channel);
    end_close(end_of(&start->channel));
}

static int start_thread(struct process *process, const char *pipe, const struct task *task)
{
    struct start *start = memory_alloc(sizeof *start);
    thread started;
    if (start == NULL) {
        return status_fail(MR_E_MEMORY, 0, "no memory for another thread");
    }
    start->task = *task;
    int status = pipe_join(pipe, &start->channel);
    if (status != MR_OK) {
        memory_free(start);
        return status;
    }
    status = thread_start(&started, "bench", carry_out, start);
    if (status != MR_OK) {
        end_close(end_of(&start->channel));
        memory_free(start);
        return status;
    }
    process->start = start;
    process->thread = started.handle;
    return MR_OK;
}

int process_start(struct process *process, const struct task *task, bool as_thread)
{
    char name[PIPE_TEXT];
    struct pipe_end *end;
    struct status_memo memo;
    *process = (struct process){.channel = {-1}};
    int status = commons_open();
    if (status != MR_OK) {
        return status;
    }
    HANDLE pipe = pipe_create(name);
    status = pipe == INVALID_HANDLE_VALUE ? fail_system("CreateNamedPipe") : end_open(&end, pipe, common_port);
    if (status != MR_OK) {
        return status;
    }
    process->channel.descriptor = (intptr_t) end;
    status = as_thread ? start_thread(process, name, task) : start_process(process, end, name, task);
    if (status != MR_OK) {
        status_save(&memo);
        process_close(process, 0, NULL);
        status_restore(&memo);
    }
    return status;
}

int process_main(int argc, char **argv)
{
    struct start start;
    struct packet packet = {0};
    if (argc != 3 || strcmp(argv[1], PROCESS_ARGUMENT) != 0) {
        return -1;
    }
    SetConsoleCtrlHandler(NULL, TRUE); /* Ctrl-C is for the parent */
    system_name(argv[2]);
    int status = pipe_join(argv[2], &start.channel);
    if (status == MR_OK) {
        status = channel_receive(&start.channel, &packet, CLOCK_NEVER);
        if (status == MR_OK && (packet.kind != PACKET_TASK || packet.length != sizeof start.task)) {
            status = status_fail(MR_E_PROTOCOL, 0, "what came first is no task of this version");
        }
        if (status == MR_OK) {
            memcpy(&start.task, packet.body, sizeof start.task);
            carry_out(&start);
        } else {
            end_close(end_of(&start.channel));
        }
    }
    if (status != MR_OK) {
        fprintf(stderr, "mailroom-bench: %s\n", mr_last_error_text());
    }
    packet_free(&packet);
    return status == MR_OK ? 0 : 1;
}

/* ------------------------------------------------------------------------------------------- waiting, ending */

int process_wait(struct process *processes, size_t count, size_t after, uint64_t deadline, size_t *index)
{
    for (size_t i = 0; i < count; i++) {
        if (end_of(&processes[i].channel) != NULL) {
            end_arm(end_of(&processes[i].channel));
        }
    }
    for (;;) {
        if (process_interrupted()) {
            return MR_E_STOPPED;
        }
        for (size_t i = 0; i < count; i++) {
            size_t at = (after + i) % count;
            const struct pipe_end *end = end_of(&processes[at].channel);
            if (end != NULL && end->state == END_DONE) {
                *index = at;
                return MR_OK;
            }
        }
        if (!port_take(common_port, deadline) && clock_now() >= deadline) {
            return MR_E_TIMEOUT;
        }
    }
}

void process_hang_up(struct process *process)
{
    if (end_of(&process->channel) != NULL) {
        end_close(end_of(&process->channel));
        process->channel.descriptor = -1;
    }
}

void process_close(struct process *process, uint32_t patience, uint64_t *processor_time)
{
    if (processor_time != NULL) {
        *processor_time = 0;
    }
    process_hang_up(process);
    if (process->start != NULL) {
        thread_join((thread){process->thread});
        memory_free(process->start);
    }
    if (process->handle != 0) {
        HANDLE child = (HANDLE) process->handle;
        if (WaitForSingleObject(child, patience) != WAIT_OBJECT_0) {
            TerminateProcess(child, EXIT_KILLED);
            WaitForSingleObject(child, INFINITE);
        }
        if (processor_time != NULL) {
            *processor_time = system_processor_time(child);
        }
        CloseHandle(child);
    }
    *process = (struct process){.channel = {-1}};
}

/* On a thread of the system's. */
static BOOL WINAPI on_control(DWORD type)
{
    (void) type;
    atomic_store_explicit(&interrupted, true, memory_order_seq_cst);
    if (common_port != NULL) {
        PostQueuedCompletionStatus(common_port, 0, 0, NULL);
    }
    return TRUE;
}

void process_prepare(void)
{
    system_prepare();
    (void) commons_open(); /* before there is a handler that uses the port; process_start tells what is wrong */
    SetConsoleCtrlHandler(on_control, TRUE);
}

bool process_interrupted(void)
{
    return atomic_load_explicit(&interrupted, memory_order_seq_cst);
}
