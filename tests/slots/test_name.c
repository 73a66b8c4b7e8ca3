/* test_name.c: each row of the rules for names, and names that nobody thought of. */
#include <stdio.h>
#include <string.h>

#include "name_support.h"
#include "slots/name.h"
#include "slots/name_fold.h"
#include "test.h"

#define PREFIX "\\\\.\\mailslot\\"

static struct slot_name parsed(const char *text)
{
    struct slot_name name;
    CHECK_STATUS(name_parse(&name, text), MR_OK);
    return name;
}

static void refused(const char *text, const char *because)
{
    struct slot_name name;
    CHECK_STATUS(name_parse(&name, text), MR_E_NAME);
    CHECK_MSG(strstr(mr_last_error_text(), because) != NULL, "'%s' does not say '%s'", mr_last_error_text(), because);
}

static bool same(const char *a, const char *b)
{
    struct slot_name left = parsed(a), right = parsed(b);
    return name_equal(&left, &right);
}

TEST(name, form_bare_name_means_local)
{
    struct slot_name name = parsed("alarms");
    CHECK_EQ(name.kind, SLOT_NAME_LOCAL);
    CHECK_STR(name.server, ".");
    CHECK_STR(name.path, "alarms");
    CHECK_STR(name.display, PREFIX "alarms");
    CHECK(same("alarms", PREFIX "alarms"));
}

TEST(name, form_unc)
{
    struct slot_name name = parsed("\\\\.\\MailSlot\\a\\b");
    CHECK_EQ(name.kind, SLOT_NAME_LOCAL);
    CHECK_STR(name.path, "a\\b");
    CHECK_STR(name.display, PREFIX "a\\b");
    name = parsed("\\\\Elsewhere-77\\mailslot\\x");
    CHECK_EQ(name.kind, SLOT_NAME_HOST);
    CHECK_STR(name.server, "Elsewhere-77");
    CHECK_STR(name.display, "\\\\Elsewhere-77\\mailslot\\x");
    name = parsed("\\\\*\\mailslot\\x");
    CHECK_EQ(name.kind, SLOT_NAME_ALL);
    CHECK_STR(name.display, "\\\\*\\mailslot\\x");
}

TEST(name, form_unc_spoilt)
{
    refused("\\\\", "no server part at byte 2");
    refused("\\\\\\mailslot\\x", "no server part");
    refused("\\\\.", "byte 3");
    refused("\\\\.\\", "byte 3");
    refused("\\\\.\\mailslot", "byte 3");
    refused("\\\\.\\mailslots\\x", "byte 3");
    refused("\\\\.\\pipe\\x", "byte 3");
    refused("\\\\host/x\\mailslot\\x", "byte 6");
    refused("\\\\.\\mailslot\\", "empty at byte 13");
    refused("\\\\?\\mailslot\\x", "no server");
    refused("\\\\..\\mailslot\\x", "no server");
}

TEST(name, case_is_ignored_and_kept)
{
    struct slot_name name = parsed("Fire\\ALARM");
    CHECK_STR(name.display, PREFIX "Fire\\ALARM");
    CHECK(same("Fire\\ALARM", "fire\\alarm"));
    CHECK(same("\xC3\x84rger", "\xC3\xA4RGER"));              /* A and a with two dots */
    CHECK(!name_folds_fully || same("\xCE\xA3", "\xCF\x82")); /* capital sigma, final sigma */
    CHECK_EQ(same("Stra\xC3\x9F"
                  "e",
                  "STRASSE"),
             name_folds_fully);            /* full folding: sharp s is ss */
    CHECK(!same("e\xCC\x81", "\xC3\xA9")); /* composed or not is not case */
    CHECK(!same("a", "b"));
    CHECK(same("\\\\Other-9\\mailslot\\x", "\\\\oTHER-9\\mailslot\\X"));
    CHECK(!same("\\\\Other-9\\mailslot\\x", "\\\\Other-8\\mailslot\\x"));
    CHECK(!same("\\\\*\\mailslot\\x", "x"));
}

TEST(name, nesting)
{
    CHECK_STR(parsed("a\\b\\c").path, "a\\b\\c");
    CHECK_STR(parsed("a/b\\c").path, "a\\b\\c");
    CHECK(same("a/b/c", PREFIX "a\\b\\c"));
    CHECK(!same("a\\b", "a_b"));
    /* Only in a bare name is / a separator. */
    CHECK_STR(parsed(PREFIX "a/b").path, "a/b");
    CHECK(!same(PREFIX "a/b", "a/b"));
    CHECK_STR(parsed(PREFIX "../b").path, "../b");
}

TEST(name, components_are_not_empty_or_dots)
{
    refused("", "empty");
    refused(NULL, "empty");
    refused("\\a", "byte 0");
    refused("/a", "byte 0");
    refused("a\\", "byte 2");
    refused("a//b", "byte 2");
    refused("a\\\\b", "byte 2");
    refused(".", "'.'");
    refused("..", "'..'");
    refused("../x", "'..'");
    refused("a/../b", "byte 2");
    refused("a\\.", "byte 2");
    refused(PREFIX "a\\..\\b", "byte 15");
    CHECK_STR(parsed("...").path, "...");
    CHECK_STR(parsed("..a\\.b").path, "..a\\.b");
}

TEST(name, control_characters_are_refused)
{
    for (unsigned c = 1; c < 0x20; c++) {
        char text[] = {'a', (char) c, 'b', '\0'};
        refused(text, "control character");
        refused(text, "byte 1");
    }
    refused("a\x7F", "U+007F at byte 1");
    for (unsigned c = 0x80; c < 0xA0; c++) {
        char text[] = {'a', (char) 0xC2, (char) c, '\0'};
        refused(text, "control character");
    }
    CHECK_STR(parsed("a\xC2\xA0").path, "a\xC2\xA0");
}

TEST(name, any_other_character_is_legal)
{
    for (unsigned c = 0x20; c < 0x7F; c++) {
        char text[] = {'a', (char) c, 'b', '\0'};
        struct slot_name name = parsed(text);
        CHECK_STR(name.path, c == '/' ? "a\\b" : text);
    }
    CHECK_STR(parsed("c:\\a*?\"<>|%00 ~").path, "c:\\a*?\"<>|%00 ~");
    CHECK_STR(parsed("\xF0\x9F\x93\xAC").path, "\xF0\x9F\x93\xAC");
    CHECK_STR(parsed(" ").path, " ");
}

TEST(name, not_utf8_is_refused)
{
    static const char *const bad[] = {"\xC0\x80",         "\xC1\xBF",     "\xE0\x80\x80", "\xE0\x9F\xBF",
                                      "\xF0\x80\x80\x80", "\xED\xA0\x80", "\xED\xBF\xBF", "\xF4\x90\x80\x80",
                                      "\xF5\x80\x80\x80", "\xC3",         "\xE2\x82",     "\xF0\x9F\x93",
                                      "\xC3\x61",         "\xE2\x82\x61"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[16];
        snprintf(text, sizeof text, "ab%s", bad[i]);
        refused(text, "byte 2");
        refused(text, "UTF-8");
    }
    for (unsigned c = 0x80; c <= 0xFF; c++) {
        char text[] = {(char) c, '\0'};
        refused(text, "UTF-8");
    }
}

static void repeat(char *to, const char *what, size_t times)
{
    for (*to = '\0'; times > 0; times--)
        to += sprintf(to, "%s", what);
}

TEST(name, at_most_255_characters)
{
    char text[4 * 600 + 1];
    size_t most = SLOT_NAME_CHARACTERS_MAX - strlen(PREFIX);
    static const char *const characters[] = {"x", "\xC3\xA4", "\xE2\x82\xAC", "\xF0\x9F\x93\xAC",
                                             "\xCE\x90" /* folds to 3 */};
    for (size_t i = 0; i < sizeof characters / sizeof characters[0]; i++) {
        repeat(text, characters[i], most);
        struct slot_name name = parsed(text);
        CHECK_STR(name.path, text);
        CHECK(strlen(name.display) < sizeof name.display - 1);
        repeat(text, characters[i], most + 1);
        refused(text, "256 characters");
        repeat(text, characters[i], 600);
        refused(text, "510");
        char full[sizeof text + 16];
        repeat(text, characters[i], most);
        snprintf(full, sizeof full, PREFIX "%s", text);
        CHECK_STR(parsed(full).path, text);
    }
    repeat(text, "h", 240);
    char remote[512];
    static const char *const names[] = {"ab", "abc", "abcd"}; /* 2 + 240 + 10 + 2 = 254, 255 and 256 */
    for (size_t i = 0; i < 2; i++) {
        snprintf(remote, sizeof remote, "\\\\%.240s\\mailslot\\%s", text, names[i]);
        CHECK_EQ(parsed(remote).kind, SLOT_NAME_HOST);
    }
    snprintf(remote, sizeof remote, "\\\\%.240s\\mailslot\\%s", text, names[2]);
    refused(remote, "256 characters");
}

TEST(name, own_host_name_is_local)
{
    char host[256], text[512];
    name_of_host(host, sizeof host);
    snprintf(text, sizeof text, "\\\\%s\\mailslot\\x", host);
    CHECK_EQ(parsed(text).kind, SLOT_NAME_LOCAL);
    CHECK_STR(parsed(text).display, PREFIX "x");
    CHECK(same(text, "x"));
    for (char *c = text; *c != '\0'; c++)
        if (*c >= 'a' && *c <= 'z')
            *c = (char) (*c - 'a' + 'A');
    CHECK_EQ(parsed(text).kind, SLOT_NAME_LOCAL);
    snprintf(text, sizeof text, "\\\\%.*s\\mailslot\\x", (int) strcspn(host, "."), host);
    CHECK_EQ(parsed(text).kind, SLOT_NAME_LOCAL);
    snprintf(text, sizeof text, "\\\\%sx\\mailslot\\x", host);
    CHECK_EQ(parsed(text).kind, SLOT_NAME_HOST);
}

static uint64_t next_random(uint64_t *state)
{
    *state += 0x9E3779B97F4A7C15u;
    uint64_t mix = (*state ^ *state >> 30) * 0xBF58476D1CE4E5B9u;
    mix = (mix ^ mix >> 27) * 0x94D049BB133111EBu;
    return mix ^ mix >> 31;
}

/* Random bytes and random mixtures of likely pieces: what is accepted is what another decoder accepts too, and is stable. */
TEST(name, model_random_texts)
{
    static const char *const pieces[] = {"\\",
                                         "/",
                                         ".",
                                         "..",
                                         "a",
                                         "Z",
                                         "\\\\.\\mailslot\\",
                                         "\xC3\x9F",
                                         "\xC4\xB0",
                                         "\x1F",
                                         "\xED\xA0",
                                         "\xF4\x8F\xBF\xBF",
                                         "\xEF\xBF\xBE",
                                         "%",
                                         "~",
                                         " ",
                                         "\xC2\x85",
                                         "*"};
    uint64_t state = test_seed();
    size_t accepted = 0;
    for (int round = 0; round < (test_campaign() ? 2000000 : 60000); round++) {
        char text[64];
        size_t length = 0, count = 1 + next_random(&state) % 8;
        for (size_t i = 0; i < count; i++) {
            char byte[2] = {(char) (1 + next_random(&state) % 255), '\0'};
            const char *piece = next_random(&state) % 4 == 0 ? byte : pieces[next_random(&state) % 18];
            if (length + strlen(piece) + 1 < sizeof text)
                length += (size_t) sprintf(text + length, "%s", piece);
        }
        bool valid = true;
        for (size_t at = 0; at < length && valid;) {
            uint32_t c = 0;
            size_t bytes = name_decode(text + at, length - at, &c);
            valid = bytes > 0 && c >= 0x20 && !(c >= 0x7F && c < 0xA0);
            at += bytes > 0 ? bytes : 1;
        }
        struct slot_name name, again;
        int status = name_parse(&name, text);
        CHECK_MSG(status == MR_OK || status == MR_E_NAME, "status %d", status);
        if (status != MR_OK)
            continue;
        accepted++;
        CHECK_MSG(valid, "accepted: %s", text);
        CHECK_STATUS(name_parse(&again, name.display), MR_OK);
        CHECK(name_equal(&name, &again));
        CHECK_STR(again.display, name.display);
        CHECK_STR(again.folded, name.folded);
        char twice[sizeof name.folded];
        CHECK(name_fold(name.folded, twice, sizeof twice));
        CHECK_STR(twice, name.folded);
    }
    CHECK_MSG(accepted > 1000, "only %zu names were accepted", accepted);
}

TEST(name, folding_says_when_there_is_no_room)
{
    char folded[7];
    /* Fully folded: three characters of two bytes, and the NUL. Else one. */
    size_t room = name_folds_fully ? 7 : 3;
    CHECK(name_fold("\xCE\x90", folded, room));
    CHECK(!name_fold("\xCE\x90", folded, room - 1));
    CHECK(!name_fold("\xFF", folded, 7));
}
