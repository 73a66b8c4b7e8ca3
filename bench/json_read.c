/* json_read.c: a reader of JSON by recursive descent.
 *
 * Path    json_load ► json_parse ► value_read ► … ► json_free
 * Owners  The tree owns its values, keys and texts.
 * I1      Nesting is at most DEPTH_MAX: input cannot exhaust the stack.
 * I2      Every value that was allocated hangs in the tree at once, so whatever fails, json_free of its root frees all.
 */
#include "json_read.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "queue/memory.h"
#include "queue/status.h"

#define DEPTH_MAX 32u
#define FILE_MAX  ((size_t) 64 * 1024 * 1024)

struct input {
    const char *start;
    const char *at;
    const char *end;
};

static int malformed(const struct input *input, const char *expected)
{
    return status_fail(MR_E_PROTOCOL, 0, "no JSON: %s expected at byte %zu", expected,
                       (size_t) (input->at - input->start));
}

static void space_skip(struct input *input)
{
    while (input->at < input->end && strchr(" \t\r\n", *input->at) != NULL && *input->at != '\0')
        input->at++;
}

/* Takes the character if it is next. */
static bool take(struct input *input, char character)
{
    if (input->at >= input->end || *input->at != character)
        return false;
    input->at++;
    return true;
}

static bool word_take(struct input *input, const char *word)
{
    size_t length = strlen(word);
    if ((size_t) (input->end - input->at) < length || memcmp(input->at, word, length) != 0)
        return false;
    input->at += length;
    return true;
}

/* Four hexadecimal digits; UINT32_MAX: there are none. */
static uint32_t hexadecimal_take(struct input *input)
{
    uint32_t code = 0;
    for (int i = 0; i < 4; i++, input->at++) {
        static const char digits[] = "0123456789abcdef0123456789ABCDEF";
        const char *digit = input->at < input->end && *input->at != '\0' ? strchr(digits, *input->at) : NULL;
        if (digit == NULL)
            return UINT32_MAX;
        code = code * 16 + (uint32_t) (digit - digits) % 16;
    }
    return code;
}

static char *utf8_put(char *to, uint32_t code)
{
    if (code < 0x80) {
        *to++ = (char) code;
    } else if (code < 0x800) {
        *to++ = (char) (0xC0 | code >> 6);
        *to++ = (char) (0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        *to++ = (char) (0xE0 | code >> 12);
        *to++ = (char) (0x80 | (code >> 6 & 0x3F));
        *to++ = (char) (0x80 | (code & 0x3F));
    } else {
        *to++ = (char) (0xF0 | code >> 18);
        *to++ = (char) (0x80 | (code >> 12 & 0x3F));
        *to++ = (char) (0x80 | (code >> 6 & 0x3F));
        *to++ = (char) (0x80 | (code & 0x3F));
    }
    return to;
}

/* What follows a backslash. NULL: nothing legal does. */
static char *escape_take(struct input *input, char *to)
{
    static const char names[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    const char *name = input->at < input->end && *input->at != '\0' ? strchr(names, *input->at) : NULL;
    if (name != NULL) {
        input->at++;
        *to++ = meanings[name - names];
        return to;
    }
    if (!take(input, 'u'))
        return NULL;
    uint32_t code = hexadecimal_take(input);
    if (code >= 0xD800 && code < 0xDC00 && word_take(input, "\\u")) {
        uint32_t low = hexadecimal_take(input);
        if (low < 0xDC00 || low > 0xDFFF)
            return NULL;
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    if (code == 0 || code == UINT32_MAX || (code >= 0xD800 && code < 0xE000))
        return NULL; /* no character, or one that a C string cannot hold */
    return utf8_put(to, code);
}

/* The opening quote has been taken. No escape is longer than what it stands for. */
static int text_read(struct input *input, const char **text)
{
    const char *end = input->at;
    while (end < input->end && *end != '"')
        end += *end == '\\' ? 2 : 1;
    if (end >= input->end)
        return malformed(input, "a closing quote");
    char *copy = memory_alloc((size_t) (end - input->at) + 1);
    if (copy == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a text");
    *text = copy;
    char *to = copy;
    while (to != NULL && input->at < end && (unsigned char) *input->at >= 0x20)
        to = take(input, '\\') ? escape_take(input, to) : (*to = *input->at++, to + 1);
    if (to != NULL)
        *to = '\0';
    else
        *copy = '\0';
    return to != NULL && take(input, '"') ? MR_OK : malformed(input, "a character");
}

static int number_read(struct input *input, double *number)
{
    /* The bytes end with a NUL (json_parse), so strtod stays inside. */
    char *end;
    size_t length = strspn(input->at, "0123456789+-.eE"); /* strtod knows more than JSON: hexadecimal, inf */
    if (length == 0 || (*input->at != '-' && (*input->at < '0' || *input->at > '9')))
        return malformed(input, "a value");
    *number = strtod(input->at, &end);
    if (end != input->at + length)
        return malformed(input, "a number");
    input->at = end;
    return MR_OK;
}

static int value_read(struct input *input, struct json_value *value, unsigned depth);

/* Behind the opening bracket; both arrays and objects. */
static int members_read(struct input *input, struct json_value *parent, unsigned depth)
{
    bool object = parent->kind == JSON_OBJECT;
    char closing = object ? '}' : ']';
    struct json_value **link = &parent->first;
    space_skip(input);
    if (take(input, closing))
        return MR_OK;
    do {
        struct json_value *value = memory_zalloc(sizeof *value);
        if (value == NULL)
            return status_fail(MR_E_MEMORY, 0, "no memory for a value");
        *link = value; /* I2 */
        link = &value->next;
        space_skip(input);
        if (object) {
            int status = take(input, '"') ? text_read(input, &value->key) : malformed(input, "a key");
            if (status != MR_OK)
                return status;
            space_skip(input);
            if (!take(input, ':'))
                return malformed(input, "a colon");
        }
        int status = value_read(input, value, depth + 1);
        if (status != MR_OK)
            return status;
        space_skip(input);
    } while (take(input, ','));
    return take(input, closing) ? MR_OK : malformed(input, object ? "a closing brace" : "a closing bracket");
}

static int value_read(struct input *input, struct json_value *value, unsigned depth)
{
    space_skip(input);
    if (depth > DEPTH_MAX)
        return malformed(input, "less nesting");
    if (input->at >= input->end)
        return malformed(input, "a value");
    if (take(input, '{') || take(input, '[')) {
        value->kind = input->at[-1] == '{' ? JSON_OBJECT : JSON_ARRAY;
        return members_read(input, value, depth);
    }
    if (take(input, '"')) {
        value->kind = JSON_TEXT;
        return text_read(input, &value->text);
    }
    if (word_take(input, "null"))
        return MR_OK;
    if (word_take(input, "true") || word_take(input, "false")) {
        value->kind = input->at[-1] == 'e' && input->at[-2] == 'u' ? JSON_TRUE : JSON_FALSE;
        return MR_OK;
    }
    value->kind = JSON_NUMBER;
    return number_read(input, &value->number);
}

int json_parse(const char *text, size_t length, struct json_value **value)
{
    char *copy = memory_alloc(length + 1);
    struct json_value *root = memory_zalloc(sizeof *root);
    if (copy == NULL || root == NULL) {
        memory_free(copy);
        memory_free(root);
        return status_fail(MR_E_MEMORY, 0, "no memory for %zu bytes of JSON", length);
    }
    memcpy(copy, text, length);
    copy[length] = '\0';
    struct input input = {copy, copy, copy + length};
    int status = value_read(&input, root, 0);
    space_skip(&input);
    if (status == MR_OK && input.at != input.end)
        status = malformed(&input, "the end");
    memory_free(copy);
    if (status != MR_OK) {
        json_free(root);
        return status;
    }
    *value = root;
    return MR_OK;
}

int json_load(const char *path, struct json_value **value)
{
    FILE *file = file_open(path, false);
    if (file == NULL)
        return status_fail(MR_E_SYSTEM, errno, "cannot open %s: %s", path, strerror(errno));
    size_t room = (size_t) 64 * 1024;
    size_t length = 0;
    int status = MR_OK;
    char *text = memory_alloc(room);
    while (text != NULL && (length += fread(text + length, 1, room - length, file)) == room && room < FILE_MAX) {
        char *larger = memory_realloc(text, room *= 2);
        if (larger == NULL)
            memory_free(text);
        text = larger;
    }
    if (text == NULL)
        status = status_fail(MR_E_MEMORY, 0, "no memory for %s", path);
    else if (ferror(file) != 0 || !feof(file))
        status = status_fail(MR_E_SYSTEM, errno, "cannot read %s, or it is too large", path);
    (void) fclose(file);
    if (status == MR_OK && text != NULL)
        status = json_parse(text, length, value);
    memory_free(text);
    return status;
}

void json_free(struct json_value *value)
{
    while (value != NULL) {
        struct json_value *next = value->next;
        json_free(value->first);
        memory_free((char *) (uintptr_t) value->key);
        memory_free((char *) (uintptr_t) value->text);
        memory_free(value);
        value = next;
    }
}

const struct json_value *json_member(const struct json_value *object, const char *key)
{
    if (object == NULL || object->kind != JSON_OBJECT)
        return NULL;
    const struct json_value *member = object->first;
    while (member != NULL && strcmp(member->key, key) != 0)
        member = member->next;
    return member;
}

double json_member_number(const struct json_value *object, const char *key, double otherwise)
{
    const struct json_value *member = json_member(object, key);
    return member != NULL && member->kind == JSON_NUMBER ? member->number : otherwise;
}

const char *json_member_text(const struct json_value *object, const char *key, const char *otherwise)
{
    const struct json_value *member = json_member(object, key);
    return member != NULL && member->kind == JSON_TEXT ? member->text : otherwise;
}
