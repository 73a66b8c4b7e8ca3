/* test_programs_windows.c: mailroom list, listen, send and hub as their users start them, several processes at a time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "program_windows.h"

enum { DONE = 0, ERROR_CODE = 1, USAGE = 2, TIME_OUT = 3, NO_SLOT = 4 };

/* A listener that is ready. */
static void listen_start(struct program *listener, const char *arguments, const char *name)
{
    char line[512];
    char ready[256];
    snprintf(line, sizeof(line), "listen %s", arguments);
    snprintf(ready, sizeof(ready), "listening on %s\n", name);
    program_start(listener, "mailroom", NULL, line);
    stream_await(&listener->errors, ready);
}

static void check_ended(struct program *program, unsigned code)
{
    unsigned ended = program_end(program);
    CHECK_MSG(ended == code, "ended with %u instead of %u and said:\n%s%s", ended, code, program->output.data,
              program->errors.data);
}

static void temporary_path(const char *name, char *path, size_t size)
{
    char folder[MAX_PATH];
    CHECK(GetTempPathA(sizeof(folder), folder) > 0);
    snprintf(path, size, "%smailroom-%lu-%s", folder, GetCurrentProcessId(), name);
}

static void write_file(const char *path, const char *data, size_t length)
{
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL);
    CHECK_EQ(fwrite(data, 1, length, file), length);
    CHECK_EQ(fclose(file), 0);
}

static char *read_file(const char *path)
{
    static char data[65536];
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL);
    size_t length = fread(data, 1, sizeof(data) - 1, file);
    CHECK_EQ(fclose(file), 0);
    data[length] = '\0';
    return data;
}

TEST(programs, enumerate_listen_write)
{
    struct program listener;
    struct program list;
    char row[64];
    program_run(&list, DONE, "list");
    CHECK(strstr(list.output.data, "alarms") == NULL);
    program_free(&list);
    listen_start(&listener, "alarms --count 3", "alarms");
    program_do(DONE, "send alarms \"door open\"");
    stream_await(&listener.output, "door open\n");
    program_run(&list, DONE, "list");
    check_holds(list.output.data, "alarms");
    snprintf(row, sizeof(row), " %lu ", listener.id);
    check_holds(list.output.data, row);
    program_free(&list);
    program_run(&list, DONE, "list --json");
    check_holds(list.output.data, "\"slot\":\"alarms\"");
    check_holds(list.output.data, "\"messages\":1,\"bytes\":9,");
    check_holds(list.output.data, "\"uid\":null,\"user\":null");
    program_free(&list);
    program_do(DONE, "send ALARMS \"\"");
    program_do(DONE, "send \\\\.\\mailslot\\alarms \"door \\\"closed\\\"\"");
    check_ended(&listener, DONE);
    CHECK_STR(listener.output.data, "door open\n\ndoor \"closed\"\n");
    program_free(&listener);
    program_run(&list, DONE, "list");
    CHECK(strstr(list.output.data, "alarms") == NULL);
    program_free(&list);
}

TEST(programs, exit_codes)
{
    program_do(DONE, "--help");
    program_do(USAGE, "");
    program_do(USAGE, "lisen");
    program_do(USAGE, "listen");
    program_do(USAGE, "listen a --count x");
    program_do(USAGE, "list --json=yes");
    program_do(USAGE, "send a");
    program_do(USAGE, "listen a --access list:somebody");
    program_do(USAGE, "send a\x01 b");
    program_do(TIME_OUT, "listen quiet --timeout 100");
    program_do(NO_SLOT, "send nobody here");
    program_do(NO_SLOT, "send nobody here --wait 100");
    program_do(ERROR_CODE, "path alarms");
}

TEST(programs, wrong_use_is_told)
{
    static const struct {
        const char *arguments;
        const char *says;
    } uses[] = {{"list --bla", "there is no option --bla"},
                {"list -x", "there is no option -x"},
                {"list --json=yes", "the option --json=yes takes no value"},
                {"listen a --count", "the option --count needs a value behind it"},
                {"listen a --access group:x", "not for this system"},
                {"send a --owner x", "not for this system"},
                {"send a --follow log.txt", "--follow is not available on this system"},
                {"send a b c", "'c' is one argument too many"}};
    for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++) {
        struct program program;
        program_run(&program, USAGE, uses[i].arguments);
        check_holds(program.errors.data, uses[i].says);
        CHECK_STR(program.output.data, "");
        program_free(&program);
    }
}

TEST(programs, a_name_that_is_taken)
{
    struct program owner;
    struct program second;
    listen_start(&owner, "alarms --count 1", "alarms");
    program_run(&second, ERROR_CODE, "listen Alarms --timeout 1000");
    check_holds(second.errors.data, "cannot listen on Alarms");
    check_holds(second.errors.data, "MR_E_EXISTS");
    program_free(&second);
    program_do(DONE, "send alarms x");
    check_ended(&owner, DONE);
    program_free(&owner);
}

/* That the list is obeyed is not seen here: Wine 10 gives everybody a handle that can write. */
TEST(programs, access_is_an_access_list_in_sddl)
{
    struct program listener;
    struct program wrong;
    program_run(&wrong, ERROR_CODE, "listen closed --access sddl:nobody --timeout 1000");
    check_holds(wrong.errors.data, "not a security descriptor in SDDL: nobody");
    program_free(&wrong);
    listen_start(&listener, "open --access \"sddl:D:P(A;;GA;;;WD)\" --count 1", "open");
    program_do(DONE, "send open x");
    check_ended(&listener, DONE);
    program_free(&listener);
}

/* Freezes and thaws a whole process; ntdll has had both since Windows XP, and no header. */
typedef LONG(NTAPI *process_call)(HANDLE process);

static void call_on_process(const char *call, HANDLE process)
{
    union {
        FARPROC found;
        process_call call;
    } function = {.found = GetProcAddress(GetModuleHandleW(L"ntdll.dll"), call)};
    CHECK(function.found != NULL);
    CHECK_EQ(function.call(process), 0);
}

/* What was taken before the reader froze, and the one read that was pending, come first. */
TEST(programs, one_urgent_message_overtakes_ten_thousand)
{
    struct program listener;
    listen_start(&listener, "alarms --count 10001", "alarms");
    call_on_process("NtSuspendProcess", listener.process);
    program_do(DONE, "send alarms normal --repeat 10000");
    program_do(DONE, "send alarms URGENT --urgent");
    call_on_process("NtResumeProcess", listener.process);
    check_ended(&listener, DONE);
    const char *urgent = strstr(listener.output.data, "URGENT\n");
    CHECK(urgent != NULL);
    size_t before = (size_t) (urgent - listener.output.data) / strlen("normal\n");
    CHECK_MSG(before <= 64, "%zu normal messages came before the urgent one", before);
    CHECK_EQ(listener.output.length, 10000 * strlen("normal\n") + strlen("URGENT\n"));
    program_free(&listener);
}

TEST(programs, hub_of_two_hundred_slots)
{
    enum { WRITERS = 20, EACH = 100 };
    struct program hub;
    struct program writers[WRITERS];
    char path[MAX_PATH];
    char line[2 * MAX_PATH];
    temporary_path("hub", path, sizeof(path));
    snprintf(line, sizeof(line), "hub --slots x-%%03d:200 --seconds 12 --json --output \"%s\"", path);
    program_start(&hub, "mailroom", NULL, line);
    stream_await(&hub.errors, "200 slots are open");
    for (int i = 0; i < WRITERS; i++) {
        snprintf(line, sizeof(line), "send x-%03d message --repeat %d", i * 10, EACH);
        program_start(&writers[i], "mailroom", NULL, line);
    }
    for (int i = 0; i < WRITERS; i++) {
        check_ended(&writers[i], DONE);
        program_free(&writers[i]);
    }
    stream_await(&hub.output, "\"messages\":2000,");
    check_ended(&hub, DONE);
    const char *summary = strstr(hub.output.data, "{\"type\":\"summary\"");
    CHECK(summary != NULL);
    check_holds(summary, "\"slots\":200,\"messages\":2000,\"bytes\":14000,\"waiting\":0,");
    check_holds(summary, "\"dropped\":0,");
    check_holds(summary, "\"unread\":0,\"unwritten\":0}");
    program_free(&hub);
    size_t lines = 0;
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL);
    for (int character; (character = fgetc(file)) != EOF;) {
        lines += character == '\n';
    }
    fclose(file);
    CHECK_EQ(lines, WRITERS * EACH);
    CHECK(DeleteFileA(path));
}

#define GREETING "gr\xc3\xbc\xc3\x9f\x65 \xd0\xbc\xd0\xb8\xd1\x80 \xf0\x9f\x9a\xaa"

TEST(programs, names_and_texts_are_utf8)
{
    struct program listener;
    struct program list;
    listen_start(&listener, "\"" GREETING "\" --count 2", GREETING);
    program_run(&list, DONE, "list");
    check_holds(list.output.data, GREETING);
    program_free(&list);
    program_do(DONE, "send \"" GREETING "\" \"" GREETING "\"");
    /* The same name in capital letters. */
    program_do(DONE, "send \"GR\xc3\x9c\xc3\x9f\x45 \xd0\x9c\xd0\x98\xd0\xa0 \xf0\x9f\x9a\xaa\" \xc3\xa4");
    check_ended(&listener, DONE);
    CHECK_STR(listener.output.data, GREETING "\n\xc3\xa4\n");
    program_free(&listener);
}

TEST(programs, lines_of_a_file)
{
    enum { LINES = 3000 };
    char path[MAX_PATH];
    struct program listener;
    struct program sender;
    char *text = malloc(LINES * 16);
    CHECK(text != NULL);
    size_t length = 0;
    for (int i = 0; i < LINES; i++) {
        length += (size_t) sprintf(text + length, i % 7 == 0 ? "\n" : "line %d\n", i);
    }
    length += (size_t) sprintf(text + length, "no newline");
    temporary_path("lines", path, sizeof(path));
    write_file(path, text, length);
    listen_start(&listener, "alarms --count 3001", "alarms");
    program_start(&sender, "mailroom", path, "send alarms --lines");
    check_ended(&sender, DONE);
    program_free(&sender);
    check_ended(&listener, DONE);
    CHECK_EQ(listener.output.length, length + 1);
    CHECK_MEM(listener.output.data, text, length);
    program_free(&listener);
    free(text);
    CHECK(DeleteFileA(path));
}

TEST(programs, lines_as_they_are_typed)
{
    struct program listener;
    struct program sender;
    listen_start(&listener, "alarms --count 3", "alarms");
    program_start(&sender, "mailroom", NULL, "send alarms --lines");
    program_type(&sender, "one\nt", 5);
    stream_await(&listener.output, "one\n"); /* without waiting for the end of the input */
    program_type(&sender, "wo\nthree", 8);
    stream_await(&listener.output, "two\n");
    program_finish_input(&sender);
    check_ended(&sender, DONE);
    program_free(&sender);
    check_ended(&listener, DONE);
    CHECK_STR(listener.output.data, "one\ntwo\nthree\n");
    program_free(&listener);
}

/* Newlines, Ctrl-Z and zero bytes pass both ends as they are; the log has their SHA-256. */
TEST(programs, bytes_stay_as_they_are)
{
    static const char bytes[] = "a\r\nb\x1a"
                                "c\n\0\xff";
    char path[MAX_PATH];
    char line[2 * MAX_PATH];
    struct program listener;
    struct program sender;
    temporary_path("log", path, sizeof(path));
    snprintf(line, sizeof(line), "send alarms --stdin --log \"%s\"", path);
    listen_start(&listener, "alarms --count 2 --raw", "alarms");
    program_start(&sender, "mailroom", NULL, line);
    program_type(&sender, bytes, sizeof(bytes) - 1);
    check_ended(&sender, DONE);
    program_free(&sender);
    program_start(&sender, "mailroom", NULL, "send alarms --stdin");
    check_ended(&sender, DONE);
    program_free(&sender);
    check_ended(&listener, DONE);
    CHECK_EQ(listener.output.length, sizeof(bytes) + 1);
    CHECK_MEM(listener.output.data, bytes, sizeof(bytes) - 1);
    CHECK_STR(listener.output.data + sizeof(bytes) - 1, "\n\n");
    program_free(&listener);
    char expected[128];
    snprintf(expected, sizeof(expected), "\n1 %s 9\n",
             "2ab81be5968cec583fb94b9695fe06c57ee869025e6eeb99d89e8356af0703a7");
    check_holds(read_file(path), expected);
    CHECK(DeleteFileA(path));
}

TEST(programs, ctrl_c_ends_a_listener_well)
{
    struct program listener;
    program_start_console(&listener, "listen alarms");
    stream_await(&listener.errors, "listening on alarms\n");
    program_do(DONE, "send alarms one");
    stream_await(&listener.output, "one\n");
    program_press_ctrl_c(&listener);
    check_ended(&listener, DONE);
    check_holds(listener.errors.data, "1 messages printed, 0 had arrived but were not printed");
    program_free(&listener);
}

TEST(programs, ctrl_c_ends_a_write_that_nobody_reads)
{
    struct program listener;
    program_start_console(&listener, "listen alarms");
    stream_await(&listener.errors, "listening on alarms\n");
    mutex_lock(&listener.output.lock); /* so its reader takes one piece and no more */
    program_do(DONE, "send alarms \"a message of some forty bytes, all the same\" --repeat 5000");
    program_press_ctrl_c(&listener);
    CHECK_EQ(WaitForSingleObject(listener.process, INFINITE), WAIT_OBJECT_0);
    mutex_unlock(&listener.output.lock);
    check_ended(&listener, ERROR_CODE);
    check_holds(listener.errors.data, "standard output is not read; ");
    program_free(&listener);
}

TEST(programs, ctrl_c_ends_a_wait_for_input)
{
    struct program listener;
    struct program sender;
    listen_start(&listener, "alarms --count 1", "alarms");
    program_start_console(&sender, "send alarms --lines");
    program_type(&sender, "one\ntwo", 7);
    stream_await(&listener.output, "one\n");
    program_press_ctrl_c(&sender);
    stream_await(&sender.errors, "ended by a signal after 1 lines");
    check_ended(&sender, DONE);
    program_free(&sender);
    check_ended(&listener, DONE);
    program_free(&listener);
}

TEST(programs, ctrl_c_ends_a_hub_with_its_summary)
{
    struct program hub;
    program_start_console(&hub, "hub --slots h-%d:5");
    stream_await(&hub.errors, "5 slots are open");
    program_do(DONE, "send h-3 message --repeat 10");
    program_press_ctrl_c(&hub);
    check_ended(&hub, DONE);
    check_holds(hub.output.data, "5 slots, ");
    check_holds(hub.output.data, ": 10 messages (70 B)");
    program_free(&hub);
}

TEST(programs, who_reads_the_output_goes_away)
{
    struct program listener;
    listen_start(&listener, "alarms", "alarms");
    /* The thread that reads the pipe has to let go of it first. */
    CancelSynchronousIo((HANDLE) listener.output.reading.handle);
    thread_join(listener.output.reading);
    CHECK(CloseHandle(listener.output.pipe));
    program_do(DONE, "send alarms one");
    CHECK_EQ(WaitForSingleObject(listener.process, INFINITE), WAIT_OBJECT_0);
    DWORD code = 99;
    CHECK(GetExitCodeProcess(listener.process, &code));
    CHECK_EQ(code, DONE);
}

TEST(programs, examples)
{
    struct program reader;
    struct program writer;
    program_start(&reader, "example_reader", NULL, "");
    program_do(DONE, "send alarms ready --wait 20000");
    program_start(&writer, "example_writer", NULL, "\"door open\" \"door closed\"");
    check_ended(&writer, DONE);
    program_free(&writer);
    stream_await(&reader.output, "ready");
    stream_await(&reader.output, "door open");
    stream_await(&reader.output, "door closed");
    stream_await(&reader.output, "fire");
    program_type(&reader, "\n", 1);
    check_ended(&reader, DONE);
    program_free(&reader);
}
