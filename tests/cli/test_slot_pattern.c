/* test_slot_pattern.c: names from a pattern, and patterns that are none. */
#include <string.h>

#include "cli/slot_pattern.h"
#include "test.h"

static void check_name(const char *text, uint64_t number, const char *expected, uint64_t count)
{
    struct slot_pattern pattern;
    char name[64];
    CHECK_STR(slot_pattern_parse(text, &pattern), NULL);
    CHECK(slot_pattern_name(&pattern, number, name, sizeof(name)));
    CHECK_STR(name, expected);
    CHECK_EQ(pattern.count, count);
}

TEST(slot_pattern, names)
{
    check_name("NAME-%03d:200", 7, "NAME-007", 200);
    check_name("NAME-%03d:2000", 1234, "NAME-1234", 2000);
    check_name("%d:1", 0, "0", 1);
    check_name("a%dz:100000", 99999, "a99999z", 100000);
    check_name("a%5d:9", 42, "a   42", 9);
    check_name("100%%-%d%%:3", 2, "100%-2%", 3);
    check_name("a:b:%d:c:3", 1, "a:b:1:c", 3);
    check_name("plain", 0, "plain", 1);
    check_name("plain:3", 0, "plain:3", 1);
    check_name("50%%", 0, "50%", 1);
    check_name("\\\\.\\mailslot\\a%d:2", 1, "\\\\.\\mailslot\\a1", 2);
}

TEST(slot_pattern, what_is_no_pattern_is_told)
{
    static const char *const wrong[] = {"",        "%",      "a%",       "%s:3",      "%n:3",
                                        "%ld:3",   "%*d:3",  "%.3d:3",   "%-3d:3",    "%+d:3",
                                        "%i:3",    "%1$d:3", "%d",       "%d:",       "%d:0",
                                        "%d:x",    "%d:-1",  "%d: 3",    "%d:3x",     "%d%d:3",
                                        "%d-%d:3", "%21d:3", "%9999d:3", "%d:100001", "%d:99999999999999999999"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct slot_pattern pattern;
        CHECK_MSG(slot_pattern_parse(wrong[i], &pattern) != NULL, "'%s' was taken", wrong[i]);
    }
}

TEST(slot_pattern, too_long)
{
    char text[2 * SLOT_PATTERN_BYTES];
    char name[32];
    struct slot_pattern pattern;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    CHECK(slot_pattern_parse(text, &pattern) != NULL);
    text[SLOT_PATTERN_BYTES - 1] = '\0';
    CHECK_STR(slot_pattern_parse(text, &pattern), NULL);
    CHECK(!slot_pattern_name(&pattern, 0, name, sizeof(name)));
}
