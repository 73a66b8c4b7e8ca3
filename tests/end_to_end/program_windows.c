/* program_windows.c: programs as children, with pipes for their standard streams.
 *
 * Path    CreateProcessW > pipes > a thread for each > stream, for whoever waits
 * I1      The child's ends of the pipes are closed here as soon as it has started, and no other child is started
 *         meanwhile: so a pipe ends with the program. */
#include "program_windows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void stream_read(void *argument)
{
    struct stream *stream = argument;
    char part[4096];
    DWORD got;
    while (ReadFile(stream->pipe, part, sizeof(part), &got, NULL)) {
        mutex_lock(&stream->lock);
        if (stream->length + got + 1 > stream->capacity) {
            stream->capacity = 2 * (stream->length + got + 1);
            stream->data = realloc(stream->data, stream->capacity);
            CHECK(stream->data != NULL);
        }
        memcpy(stream->data + stream->length, part, got);
        stream->length += got;
        stream->data[stream->length] = '\0';
        condition_broadcast(&stream->changed);
        mutex_unlock(&stream->lock);
    }
    mutex_lock(&stream->lock);
    stream->ended = true;
    condition_broadcast(&stream->changed);
    mutex_unlock(&stream->lock);
}

static HANDLE make_pipe(HANDLE *child, bool child_reads)
{
    HANDLE reading;
    HANDLE writing;
    CHECK(CreatePipe(&reading, &writing, NULL, 0));
    *child = child_reads ? reading : writing;
    CHECK(SetHandleInformation(*child, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT));
    return child_reads ? writing : reading;
}

static void stream_start(struct stream *stream, HANDLE pipe)
{
    memset(stream, 0, sizeof(*stream));
    stream->pipe = pipe;
    stream->capacity = 1;
    stream->data = calloc(1, 1);
    CHECK(stream->data != NULL);
    mutex_init(&stream->lock);
    condition_init(&stream->changed);
    CHECK_EQ(thread_start(&stream->reading, "stream", stream_read, stream), 0);
}

static void stream_finish(struct stream *stream)
{
    thread_join(stream->reading);
    CloseHandle(stream->pipe);
}

static void wide(const char *text, wchar_t *buffer, size_t units)
{
    CHECK(MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, buffer, (int) units) > 0);
}

/* bin/NAME.exe beside the folder tests/ that this program lies in. */
static void find_program(const char *name, wchar_t *path, size_t units)
{
    wchar_t self[MAX_PATH];
    DWORD length = GetModuleFileNameW(NULL, self, ARRAYSIZE(self));
    CHECK(length > 0 && length < ARRAYSIZE(self));
    for (int i = 0; i < 2; i++) {
        wchar_t *slash = wcsrchr(self, L'\\');
        CHECK(slash != NULL);
        *slash = L'\0';
    }
    CHECK(swprintf(path, units, L"%ls\\bin\\%hs.exe", self, name) > 0);
}

static HANDLE open_input(const char *path)
{
    wchar_t name[MAX_PATH];
    SECURITY_ATTRIBUTES inherited = {.nLength = sizeof(inherited), .bInheritHandle = TRUE};
    wide(path, name, ARRAYSIZE(name));
    HANDLE file = CreateFileW(name, GENERIC_READ, FILE_SHARE_READ, &inherited, OPEN_EXISTING, 0, NULL);
    CHECK_MSG(file != INVALID_HANDLE_VALUE, "%s: error %lu", path, GetLastError());
    return file;
}

/* Pseudo consoles are of Windows 10 1809; headers may be older. */
#ifndef PROC_THREAD_ATTRIBUTE_PSEUDOCONSOLE
#define PROC_THREAD_ATTRIBUTE_PSEUDOCONSOLE 0x00020016
#endif
typedef HRESULT(WINAPI *create_console)(COORD size, HANDLE input, HANDLE output, DWORD flags, void **console);

static void *open_console(void)
{
    union {
        FARPROC found;
        create_console call;
    } create = {.found = GetProcAddress(GetModuleHandleW(L"kernel32.dll"), "CreatePseudoConsole")};
    HANDLE ends[4];
    void *console = NULL;
    CHECK(create.found != NULL);
    CHECK(CreatePipe(&ends[0], &ends[1], NULL, 0) && CreatePipe(&ends[2], &ends[3], NULL, 0));
    CHECK_EQ(create.call((COORD){100, 30}, ends[0], ends[3], 0, &console), S_OK);
    return console; /* and its pipes stay open as long as the test */
}

static LPPROC_THREAD_ATTRIBUTE_LIST console_attributes(void *console)
{
    SIZE_T size = 0;
    InitializeProcThreadAttributeList(NULL, 1, 0, &size);
    LPPROC_THREAD_ATTRIBUTE_LIST list = malloc(size);
    CHECK(list != NULL && InitializeProcThreadAttributeList(list, 1, 0, &size));
    CHECK(
        UpdateProcThreadAttribute(list, 0, PROC_THREAD_ATTRIBUTE_PSEUDOCONSOLE, console, sizeof(console), NULL, NULL));
    return list;
}

static void start(struct program *program, const char *name, const char *input, const char *arguments)
{
    wchar_t path[MAX_PATH];
    wchar_t behind[4096];
    wchar_t line[MAX_PATH + 4100];
    STARTUPINFOEXW extended = {.StartupInfo = {.cb = sizeof(extended.StartupInfo), .dwFlags = STARTF_USESTDHANDLES}};
    STARTUPINFOW *startup = &extended.StartupInfo;
    DWORD flags = 0;
    PROCESS_INFORMATION started;
    if (program->console != NULL) {
        startup->cb = sizeof(extended);
        extended.lpAttributeList = console_attributes(program->console);
        flags = EXTENDED_STARTUPINFO_PRESENT;
    }
    find_program(name, path, ARRAYSIZE(path));
    wide(arguments, behind, ARRAYSIZE(behind));
    CHECK(swprintf(line, ARRAYSIZE(line), L"\"%ls\" %ls", path, behind) > 0);
    if (input != NULL) {
        startup->hStdInput = open_input(input);
    } else {
        program->input = make_pipe(&startup->hStdInput, true);
    }
    HANDLE output = make_pipe(&startup->hStdOutput, false);
    HANDLE errors = make_pipe(&startup->hStdError, false);
    CHECK_MSG(CreateProcessW(path, line, NULL, NULL, TRUE, flags, NULL, NULL, startup, &started), "%s: error %lu", name,
              GetLastError());
    CloseHandle(startup->hStdInput); /* I1 */
    CloseHandle(startup->hStdOutput);
    CloseHandle(startup->hStdError);
    CloseHandle(started.hThread);
    program->process = started.hProcess;
    program->id = started.dwProcessId;
    stream_start(&program->output, output);
    stream_start(&program->errors, errors);
}

void program_start(struct program *program, const char *name, const char *input, const char *arguments)
{
    memset(program, 0, sizeof(*program));
    start(program, name, input, arguments);
}

void program_start_console(struct program *program, const char *arguments)
{
    memset(program, 0, sizeof(*program));
    program->console = open_console();
    start(program, "mailroom", NULL, arguments);
}

void program_press_ctrl_c(struct program *program)
{
    FreeConsole(); /* fails where there is none */
    CHECK_MSG(AttachConsole(program->id), "AttachConsole: error %lu", GetLastError());
    CHECK(SetConsoleCtrlHandler(NULL, TRUE)); /* not this program */
    CHECK_MSG(GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0), "GenerateConsoleCtrlEvent: error %lu", GetLastError());
}

void program_type(struct program *program, const void *data, size_t length)
{
    DWORD written = 0;
    CHECK(WriteFile(program->input, data, (DWORD) length, &written, NULL));
    CHECK_EQ(written, length);
}

void program_finish_input(struct program *program)
{
    CHECK(CloseHandle(program->input));
    program->input = NULL;
}

void stream_await(struct stream *stream, const char *text)
{
    mutex_lock(&stream->lock);
    while (strstr(stream->data, text) == NULL) {
        CHECK_MSG(!stream->ended, "it ended without saying '%s'; it said:\n%s", text, stream->data);
        condition_wait(&stream->changed, &stream->lock);
    }
    mutex_unlock(&stream->lock);
}

unsigned program_end(struct program *program)
{
    DWORD code = 0;
    if (program->input != NULL) {
        program_finish_input(program);
    }
    CHECK_EQ(WaitForSingleObject(program->process, INFINITE), WAIT_OBJECT_0);
    CHECK(GetExitCodeProcess(program->process, &code));
    CloseHandle(program->process);
    stream_finish(&program->output);
    stream_finish(&program->errors);
    return code;
}

void program_free(struct program *program)
{
    free(program->output.data);
    free(program->errors.data);
}

void program_run(struct program *program, unsigned code, const char *arguments)
{
    program_start(program, "mailroom", NULL, arguments);
    unsigned ended = program_end(program);
    CHECK_MSG(ended == code, "mailroom %s ended with %u instead of %u and said:\n%s%s", arguments, ended, code,
              program->output.data, program->errors.data);
}

void program_do(unsigned code, const char *arguments)
{
    struct program program;
    program_run(&program, code, arguments);
    program_free(&program);
}

void check_holds(const char *text, const char *part)
{
    CHECK_MSG(strstr(text, part) != NULL, "'%s' is not in:\n%s", part, text);
}
