/* test_json_read.c: the reader of JSON takes what RFC 8259 allows and nothing else, and does not mind hostile input. */
#include <stdlib.h>
#include <string.h>

#include "json_read.h"
#include "queue/memory.h"
#include "queue/status.h"
#include "test.h"

static struct json_value *parsed(const char *text)
{
    struct json_value *value = NULL;
    CHECK_STATUS(json_parse(text, strlen(text), &value), MR_OK);
    CHECK(value != NULL);
    return value;
}

static void refused(const char *text)
{
    struct json_value *value = NULL;
    int status = json_parse(text, strlen(text), &value);
    CHECK_MSG(status == MR_E_PROTOCOL, "%s: %s", text, mr_status_name(status));
    CHECK(value == NULL);
}

TEST(bench_json_read, all_kinds)
{
    struct json_value *root =
        parsed(" {\"a\": [1, -2.5e1, 0.5 ], \"b\":{} ,\"c\":\"x\\\"\\\\\\/\\n\\u00e9\\ud83d\\ude00\","
               "\"d\":true,\"e\":false,\"f\":null, \"g\": []}\n");
    CHECK_EQ(root->kind, JSON_OBJECT);
    const struct json_value *list = json_member(root, "a");
    CHECK(list != NULL && list->kind == JSON_ARRAY);
    CHECK(list->first->number == 1 && list->first->next->number == -25 && list->first->next->next->number == 0.5);
    CHECK(list->first->next->next->next == NULL);
    CHECK_EQ(json_member(root, "b")->kind, JSON_OBJECT);
    CHECK(json_member(root, "b")->first == NULL);
    CHECK_STR(json_member_text(root, "c", ""), "x\"\\/\n\xc3\xa9\xf0\x9f\x98\x80");
    CHECK_EQ(json_member(root, "d")->kind, JSON_TRUE);
    CHECK_EQ(json_member(root, "e")->kind, JSON_FALSE);
    CHECK_EQ(json_member(root, "f")->kind, JSON_NULL);
    CHECK(json_member(root, "h") == NULL);
    CHECK(json_member_number(root, "c", 7) == 7);
    CHECK_STR(json_member_text(root, "a", "otherwise"), "otherwise");
    CHECK(json_member(list, "a") == NULL);
    json_free(root);
}

TEST(bench_json_read, what_is_no_json)
{
    static const char *const texts[] = {
        "",
        "{",
        "[",
        "[1,]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "[1 2]",
        "1 2",
        "nul",
        "truefalse",
        "\"",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"\\ud800\\u0041\"",
        "\"\n\"",
        "+1",
        "-",
        "nan",
        "infinity",
        "-inf",
        "0x10",
        "[1-2]",
        "1e",
        "]",
        "{\"a\":1]",
        "[1}",
        "\x01",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        refused(texts[i]);
    char deep[200];
    memset(deep, '[', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    refused(deep);
    struct json_value *value = NULL;
    CHECK_STATUS(json_load("/nonexistent/file", &value), MR_E_SYSTEM);
}

/* Bytes changed, removed and cut off, in a text that has everything: never a crash (run under the address sanitizer), and what
 * is accepted can be walked. */
static size_t walked(const struct json_value *value)
{
    size_t count = 0;
    for (; value != NULL; value = value->next)
        count += 1 + walked(value->first);
    return count;
}

TEST(bench_json_read, damaged_input)
{
    static const char text[] =
        "{\"rows\": [{\"peer\": \"a\\u00e9\\ud83d\\ude00\\n\", \"x\": -1.5e3, \"y\": [true, false, null, {}]}]}";
    uint64_t state = test_seed();
    unsigned accepted = 0;
    for (int i = 0; i < 20000; i++) {
        char damaged[sizeof text];
        size_t length = sizeof text - 1;
        memcpy(damaged, text, length);
        for (int changes = 0; changes < 3; changes++) {
            state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            damaged[(state >> 33) % length] = (char) (state >> 24);
        }
        if (state % 3 == 0)
            length = (state >> 40) % length;
        /* In a block of its own size, so that reading beyond it shows. */
        char *block = malloc(length + 1);
        CHECK(block != NULL);
        memcpy(block, damaged, length);
        struct json_value *value = NULL;
        if (json_parse(block, length, &value) == MR_OK) {
            accepted++;
            CHECK(walked(value) > 0);
        }
        json_free(value);
        free(block);
    }
    CHECK(accepted > 0);
}
