/* test_arguments_windows.c: command lines, cut by the documented rules. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "cli/arguments_windows.h"
#include "queue/memory.h"

/* Cuts the line behind a program's name and compares what comes out, joined with |. */
static void check_split(const char *line, const char *expected)
{
    char whole[256] = "mailroom ";
    char joined[256] = "";
    int count = 0;
    strcat(whole, line);
    char **arguments = arguments_split(whole, &count);
    CHECK(arguments != NULL);
    CHECK_STR(arguments[0], "mailroom");
    CHECK(arguments[count] == NULL);
    for (int i = 1; i < count; i++) {
        strcat(joined, i == 1 ? "" : "|");
        strcat(joined, arguments[i]);
    }
    CHECK_STR(joined, expected);
    memory_free(arguments);
}

TEST(arguments, blanks_separate)
{
    check_split("", "");
    check_split("  \t ", "");
    check_split("send  alarms\tdoor ", "send|alarms|door");
    check_split("gr\xc3\xbc\xc3\x9f"
                "e \xf0\x9f\x9a\xaa",
                "gr\xc3\xbc\xc3\x9f"
                "e|\xf0\x9f\x9a\xaa");
}

TEST(arguments, quotes_hold_together)
{
    check_split("\"door open\" x", "door open|x");
    check_split("a\"b c\"d", "ab cd");
    check_split("\"\" x \"\"", "|x|");
    check_split("\"a b", "a b");
    check_split("\"say \"\"no\"\" twice\" x", "say \"no\" twice|x");
}

TEST(arguments, backslashes_matter_before_quotes_only)
{
    check_split("\\\\.\\mailslot\\alarms", "\\\\.\\mailslot\\alarms");
    check_split("\"\\\\.\\mailslot\\a b\\\\\" x", "\\\\.\\mailslot\\a b\\|x");
    check_split("a\\\"b c", "a\"b|c");
    check_split("a\\\\\\\"b c", "a\\\"b|c");
    check_split("a\\\\\\\\\"b c\"", "a\\\\b c");
    check_split("x\\", "x\\");
}

TEST(arguments, program_name_knows_no_backslashes)
{
    int count = 0;
    char **arguments = arguments_split("\"C:\\Program Files\\\" list", &count);
    CHECK(arguments != NULL);
    CHECK_EQ(count, 2);
    CHECK_STR(arguments[0], "C:\\Program Files\\");
    CHECK_STR(arguments[1], "list");
    memory_free(arguments);
}
