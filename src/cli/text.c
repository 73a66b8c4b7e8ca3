/* text.c: formatting of messages. */
#include "text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "queue/memory.h"

/* Memory that is kept when a text is cleared. */
#define KEPT_BYTES ((size_t) 1 << 20)

void text_free(struct text *text)
{
    memory_free(text->data);
    *text = (struct text){0};
}

void text_clear(struct text *text)
{
    if (text->capacity > KEPT_BYTES) {
        text_free(text);
    }
    text->length = 0;
    text->failed = false;
}

/* Room for `more` bytes at the end, or NULL. */
static char *reserve(struct text *text, size_t more)
{
    if (text->failed || more > SIZE_MAX / 2 - text->length) {
        text->failed = true;
        return NULL;
    }
    size_t needed = text->length + more;
    if (needed > text->capacity) {
        size_t capacity = text->capacity < 4096 ? 4096 : text->capacity;
        while (capacity < needed) {
            capacity *= 2;
        }
        char *data = memory_realloc(text->data, capacity);
        if (data == NULL) {
            text->failed = true;
            return NULL;
        }
        text->data = data;
        text->capacity = capacity;
    }
    return text->data + text->length;
}

void text_put(struct text *text, const void *data, size_t length)
{
    char *to = reserve(text, length);
    if (to != NULL && length > 0) {
        memcpy(to, data, length);
        text->length += length;
    }
}

void text_puts(struct text *text, const char *string)
{
    text_put(text, string, strlen(string));
}

void text_putc(struct text *text, char character)
{
    text_put(text, &character, 1);
}

void text_number(struct text *text, uint64_t number)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char) ('0' + number % 10);
        number /= 10;
    } while (number > 0);
    text_put(text, digits + at, sizeof(digits) - at);
}

void text_printf(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int needed = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *to = needed < 0 ? NULL : reserve(text, (size_t) needed + 1);
    if (to == NULL) {
        text->failed = true;
        return;
    }
    va_start(arguments, format);
    vsnprintf(to, (size_t) needed + 1, format, arguments);
    va_end(arguments);
    text->length += (size_t) needed;
}

static bool continuation(uint8_t byte)
{
    return (byte & 0xC0) == 0x80;
}

size_t utf8_sequence(const uint8_t *data, size_t length)
{
    uint8_t first = data[0];
    if (first < 0x80) {
        return 1;
    }
    if (first >= 0xC2 && first <= 0xDF) {
        return length >= 2 && continuation(data[1]) ? 2 : 0;
    }
    if (first >= 0xE0 && first <= 0xEF) {
        uint8_t low = first == 0xE0 ? 0xA0 : 0x80;
        uint8_t high = first == 0xED ? 0x9F : 0xBF;
        return length >= 3 && data[1] >= low && data[1] <= high && continuation(data[2]) ? 3 : 0;
    }
    if (first >= 0xF0 && first <= 0xF4) {
        uint8_t low = first == 0xF0 ? 0x90 : 0x80;
        uint8_t high = first == 0xF4 ? 0x8F : 0xBF;
        return length >= 4 && data[1] >= low && data[1] <= high && continuation(data[2]) && continuation(data[3]) ? 4
                                                                                                                  : 0;
    }
    return 0;
}

bool utf8_valid(const void *data, size_t length)
{
    const uint8_t *bytes = data;
    for (size_t at = 0; at < length;) {
        size_t sequence = utf8_sequence(bytes + at, length - at);
        if (sequence == 0) {
            return false;
        }
        at += sequence;
    }
    return true;
}

size_t text_width(const char *data, size_t length)
{
    size_t width = 0;
    for (size_t i = 0; i < length; i++) {
        width += ((unsigned char) data[i] & 0xC0) != 0x80;
    }
    return width;
}

static void json_escape(struct text *text, uint8_t byte)
{
    static const char hexadecimal[] = "0123456789abcdef";
    static const char named[] = "\b\f\n\r\t\"\\";
    static const char names[] = "bfnrt\"\\";
    const char *found = byte == 0 ? NULL : strchr(named, byte);
    if (found != NULL) {
        char pair[2] = {'\\', names[found - named]};
        text_put(text, pair, 2);
    } else {
        char code[6] = {'\\', 'u', '0', '0', hexadecimal[byte >> 4], hexadecimal[byte & 15]};
        text_put(text, code, sizeof(code));
    }
}

void text_json_string(struct text *text, const void *data, size_t length)
{
    const uint8_t *bytes = data;
    size_t plain = 0; /* where the bytes begin that need no escape */
    text_putc(text, '"');
    for (size_t at = 0; at < length; at++) {
        uint8_t byte = bytes[at];
        bool second_control = byte == 0xC2 && at + 1 < length && bytes[at + 1] < 0xA0; /* U+0080-9F: CSI, for one */
        if (byte >= 0x20 && byte != '"' && byte != '\\' && byte != 0x7F && !second_control) {
            continue;
        }
        text_put(text, bytes + plain, at - plain);
        if (second_control) {
            byte = bytes[++at];
        }
        json_escape(text, byte);
        plain = at + 1;
    }
    if (length > plain) {
        text_put(text, bytes + plain, length - plain);
    }
    text_putc(text, '"');
}

void text_json_base64(struct text *text, const void *data, size_t length)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *bytes = data;
    text_putc(text, '"');
    for (size_t at = 0; at < length; at += 3) {
        size_t have = length - at < 3 ? length - at : 3;
        uint32_t group = (uint32_t) bytes[at] << 16;
        group |= have > 1 ? (uint32_t) bytes[at + 1] << 8 : 0;
        group |= have > 2 ? (uint32_t) bytes[at + 2] : 0;
        char four[4] = {alphabet[group >> 18], alphabet[group >> 12 & 63], alphabet[group >> 6 & 63],
                        alphabet[group & 63]};
        for (size_t i = have + 1; i < 4; i++) {
            four[i] = '=';
        }
        text_put(text, four, 4);
    }
    text_putc(text, '"');
}

/* Whether the sequence may stand in a line as it is. */
static bool printable(const uint8_t *at, size_t sequence)
{
    if (sequence == 1) {
        return at[0] == '\t' || (at[0] >= 0x20 && at[0] != 0x7F && at[0] != '\\');
    }
    if (sequence == 2) {
        return !(at[0] == 0xC2 && at[1] < 0xA0);
    }
    if (sequence == 3 && at[0] == 0xE2) {
        /* Line and paragraph separator; what turns the direction of the text that follows (U+202A-E, U+2066-9). */
        return !(at[1] == 0x80 && at[2] >= 0xA8 && at[2] <= 0xAE) && !(at[1] == 0x81 && at[2] >= 0xA6 && at[2] <= 0xA9);
    }
    return true;
}

static void escape_byte(struct text *text, uint8_t byte)
{
    switch (byte) {
    case '\n':
        text_puts(text, "\\n");
        break;
    case '\r':
        text_puts(text, "\\r");
        break;
    case '\\':
        text_puts(text, "\\\\");
        break;
    default:
        text_printf(text, "\\x%02x", byte);
        break;
    }
}

void text_escaped(struct text *text, const void *data, size_t length)
{
    const uint8_t *bytes = data;
    size_t plain = 0;
    for (size_t at = 0; at < length;) {
        size_t sequence = utf8_sequence(bytes + at, length - at);
        if (sequence > 0 && printable(bytes + at, sequence)) {
            at += sequence;
            continue;
        }
        text_put(text, bytes + plain, at - plain);
        size_t end = at + (sequence == 0 ? 1 : sequence);
        while (at < end) {
            escape_byte(text, bytes[at++]);
        }
        plain = at;
    }
    if (length > plain) {
        text_put(text, bytes + plain, length - plain);
    }
}

static void put_id(struct text *text, const char *key, uint32_t id, uint32_t absent)
{
    text_puts(text, key);
    if (id == absent) {
        text_puts(text, "null");
    } else {
        text_number(text, id);
    }
}

void text_message_json(struct text *text, const char *slot, const mr_message *message)
{
    text_puts(text, "{\"slot\":");
    text_json_string(text, slot, strlen(slot));
    text_puts(text, ",\"length\":");
    text_number(text, message->length);
    text_puts(text, ",\"priority\":");
    text_number(text, message->priority);
    put_id(text, ",\"pid\":", message->sender.pid, 0);
    put_id(text, ",\"uid\":", message->sender.uid, UINT32_MAX);
    put_id(text, ",\"gid\":", message->sender.gid, UINT32_MAX);
    text_puts(text, ",\"writer\":\"");
    text_number(text, message->sender.writer);
    text_puts(text, "\",\"sequence\":");
    text_number(text, message->sequence);
    text_puts(text, message->redelivered ? ",\"redelivered\":true" : ",\"redelivered\":false");
    text_puts(text, ",\"lane\":\"");
    text_puts(text, mr_lane_name(message->lane));
    if (utf8_valid(message->data, message->length)) {
        text_puts(text, "\",\"text\":");
        text_json_string(text, message->data, message->length);
    } else {
        text_puts(text, "\",\"base64\":");
        text_json_base64(text, message->data, message->length);
    }
    text_puts(text, "}\n");
}
