/* test_text.c: lines and JSON made from messages, against what the rules say byte by byte. */
#include <string.h>

#include "cli/text.h"
#include "test.h"

static void check_text(struct text *text, const char *expected)
{
    CHECK(!text->failed);
    CHECK_EQ(text->length, strlen(expected));
    CHECK_MEM(text->data, expected, text->length);
    text_free(text);
}

TEST(text, utf8_sequences_follow_rfc_3629)
{
    /* Every sequence of two bytes, and the borders of the longer ones. */
    for (unsigned first = 0; first < 256; first++) {
        for (unsigned second = 0; second < 256; second++) {
            const uint8_t bytes[] = {(uint8_t) first, (uint8_t) second};
            bool two = first >= 0xC2 && first <= 0xDF && second >= 0x80 && second <= 0xBF;
            CHECK_EQ(utf8_sequence(bytes, 2), first < 0x80 ? 1 : two ? 2 : 0);
            CHECK_EQ(utf8_sequence(bytes, 1), first < 0x80 ? 1 : 0);
        }
    }
    CHECK(utf8_valid("\xE0\xA0\x80", 3));
    CHECK(!utf8_valid("\xE0\x9F\xBF", 3)); /* overlong */
    CHECK(utf8_valid("\xED\x9F\xBF", 3));
    CHECK(!utf8_valid("\xED\xA0\x80", 3)); /* a surrogate */
    CHECK(utf8_valid("\xEE\x80\x80", 3));
    CHECK(utf8_valid("\xF0\x90\x80\x80", 4));
    CHECK(!utf8_valid("\xF0\x8F\xBF\xBF", 4)); /* overlong */
    CHECK(utf8_valid("\xF4\x8F\xBF\xBF", 4));
    CHECK(!utf8_valid("\xF4\x90\x80\x80", 4)); /* above U+10FFFF */
    CHECK(!utf8_valid("\xF0\x90\x80", 3));     /* cut off */
    CHECK(!utf8_valid("\x80", 1));
    CHECK(!utf8_valid("ab\xFF", 3));
    CHECK(utf8_valid("", 0));
    CHECK(utf8_valid("a\0b", 3));
}

TEST(text, json_strings_escape_what_json_demands)
{
    struct text text = {0};
    text_json_string(&text, "", 0);
    check_text(&text, "\"\"");
    text_json_string(&text, "a\"\\/\b\f\n\r\t\x01\x1f\x7f\0z", 14);
    check_text(&text, "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f\\u0000z\"");
    text_json_string(&text,
                     "\xC2\x9B"
                     "1m\xC2\x80\xC2\x9F\xC2\xA0",
                     10); /* controls a terminal obeys */
    check_text(&text, "\"\\u009b1m\\u0080\\u009f\xC2\xA0\"");
    text_json_string(&text, "Gr\xC3\xBC\xC3\x9F", 6);
    check_text(&text, "\"Gr\xC3\xBC\xC3\x9F\"");
}

TEST(text, base64_is_that_of_rfc_4648)
{
    static const char *const pairs[][2] = {{"", "\"\""},
                                           {"f", "\"Zg==\""},
                                           {"fo", "\"Zm8=\""},
                                           {"foo", "\"Zm9v\""},
                                           {"foob", "\"Zm9vYg==\""},
                                           {"fooba", "\"Zm9vYmE=\""},
                                           {"foobar", "\"Zm9vYmFy\""},
                                           {"\xFB\xFF\xBF", "\"+/+/\""}};
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct text text = {0};
        text_json_base64(&text, pairs[i][0], strlen(pairs[i][0]));
        check_text(&text, pairs[i][1]);
    }
}

/* Takes the escapes back. */
static size_t unescape(const char *line, size_t length, char *to)
{
    size_t put = 0;
    for (size_t at = 0; at < length; at++) {
        if (line[at] != '\\') {
            to[put++] = line[at];
            continue;
        }
        at++;
        static const char digits[] = "0123456789abcdef";
        switch (line[at]) {
        case 'n':
            to[put++] = '\n';
            break;
        case 'r':
            to[put++] = '\r';
            break;
        case '\\':
            to[put++] = '\\';
            break;
        default:
            CHECK_EQ(line[at], 'x');
            to[put++] = (char) ((strchr(digits, line[at + 1]) - digits) * 16 + (strchr(digits, line[at + 2]) - digits));
            at += 2;
            break;
        }
    }
    return put;
}

TEST(text, escaped_lines_are_one_printable_line_and_can_be_taken_back)
{
    uint64_t state = test_seed() | 1;
    for (int round = 0; round < 2000; round++) {
        char message[64];
        char back[64];
        size_t length = (size_t) (state % sizeof(message));
        for (size_t i = 0; i < length; i++) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            message[i] = (char) state;
        }
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        struct text text = {0};
        text_escaped(&text, message, length);
        CHECK(utf8_valid(text.data, text.length));
        for (size_t i = 0; i < text.length; i++) {
            CHECK((unsigned char) text.data[i] >= 0x20 || text.data[i] == '\t');
            CHECK(text.data[i] != 0x7F);
        }
        CHECK_EQ(unescape(text.data, text.length, back), length);
        CHECK_MEM(back, message, length);
        text_free(&text);
    }
}

TEST(text, what_a_terminal_obeys_is_escaped)
{
    struct text text = {0};
    text_escaped(&text,
                 "\x1B[2J\xC2\x9B"
                 "2J",
                 8);
    check_text(&text, "\\x1b[2J\\xc2\\x9b2J");
    text_escaped(&text,
                 /* NOLINTNEXTLINE(misc-misleading-bidirectional): escaped here, so it misleads nobody */
                 "\xE2\x80\xAE"
                 "a\xE2\x81\xA9\xE2\x80\xAF\xE2\x81\xAA",
                 13); /* U+202E, 2069, 202F, 206A */
    check_text(&text, "\\xe2\\x80\\xaea\\xe2\\x81\\xa9\xE2\x80\xAF\xE2\x81\xAA");
}

TEST(text, numbers_of_any_size)
{
    struct text text = {0};
    text_number(&text, 0);
    text_putc(&text, ' ');
    text_number(&text, UINT64_MAX);
    check_text(&text, "0 18446744073709551615");
}

TEST(text, a_message_as_json)
{
    struct text text = {0};
    mr_message message = {.data = "hi",
                          .length = 2,
                          .sequence = 7,
                          .sender = {UINT64_MAX, 12, 0, 5},
                          .priority = 1,
                          .lane = MR_LANE_RING,
                          .redelivered = 1};
    text_message_json(&text, "a\\b", &message);
    check_text(&text, "{\"slot\":\"a\\\\b\",\"length\":2,\"priority\":1,\"pid\":12,\"uid\":0,\"gid\":5,"
                      "\"writer\":\"18446744073709551615\",\"sequence\":7,\"redelivered\":true,\"lane\":\"ring\","
                      "\"text\":\"hi\"}\n");
    /* What a lane cannot tell is null. */
    message.sender = (mr_sender){0, 0, UINT32_MAX, UINT32_MAX};
    message.data = "\xFF";
    message.length = 1;
    message.redelivered = 0;
    message.lane = MR_LANE_NATIVE;
    text_message_json(&text, "a", &message);
    check_text(&text,
               "{\"slot\":\"a\",\"length\":1,\"priority\":1,\"pid\":null,\"uid\":null,\"gid\":null,"
               "\"writer\":\"0\",\"sequence\":7,\"redelivered\":false,\"lane\":\"native\",\"base64\":\"/w==\"}\n");
}

TEST(text, width_counts_characters)
{
    CHECK_EQ(text_width("", 0), 0);
    CHECK_EQ(text_width("Stra\xC3\x9F"
                        "e",
                        7),
             6);
}
