/* json.c: see json.h. Objects stand on lines of their own down to the third depth. */
#include "json.h"

#include <inttypes.h>
#include <math.h>

#define LINES_DOWN_TO 2u

static void put_string(struct json *json, const char *text)
{
    fputc('"', json->stream);
    for (const unsigned char *at = (const unsigned char *) text; *at != '\0'; at++) {
        if (*at == '"' || *at == '\\') {
            fprintf(json->stream, "\\%c", *at);
        } else if (*at < 0x20 || *at == 0x7F) {
            fprintf(json->stream, "\\u%04x", *at);
        } else if (*at < 0x80) {
            fputc(*at, json->stream);
        } else {
            /* Two to four bytes that belong together, or else a question mark. */
            unsigned more = *at >= 0xF0 && *at < 0xF5   ? 3
                            : *at >= 0xE0 && *at < 0xF0 ? 2
                            : *at >= 0xC2 && *at < 0xE0 ? 1
                                                        : 0;
            unsigned have = 0;
            while (have < more && (at[have + 1] & 0xC0) == 0x80) {
                have++;
            }
            if (more > 0 && have == more) {
                fwrite(at, 1, more + 1, json->stream);
                at += more;
            } else {
                fputc('?', json->stream);
            }
        }
    }
    fputc('"', json->stream);
}

static void begin_value(struct json *json, const char *key)
{
    if (json->filled[json->depth]) {
        fputc(',', json->stream);
    }
    if (json->depth > 0 && json->depth <= LINES_DOWN_TO) {
        fprintf(json->stream, "\n%*s", (int) json->depth * 2, "");
    } else if (json->filled[json->depth]) {
        fputc(' ', json->stream);
    }
    json->filled[json->depth] = true;
    if (key != NULL) {
        put_string(json, key);
        fputs(": ", json->stream);
    }
}

static void open_level(struct json *json, const char *key, char bracket)
{
    begin_value(json, key);
    fputc(bracket, json->stream);
    if (json->depth + 1 < JSON_DEPTH) {
        json->depth++;
    }
    json->filled[json->depth] = false;
}

static void close_level(struct json *json, char bracket)
{
    json->depth--;
    if (json->depth < LINES_DOWN_TO && json->filled[json->depth + 1]) {
        fprintf(json->stream, "\n%*s", (int) json->depth * 2, "");
    }
    fputc(bracket, json->stream);
    if (json->depth == 0) {
        fputc('\n', json->stream);
    }
}

void json_object(struct json *json, const char *key)
{
    open_level(json, key, '{');
}

void json_array(struct json *json, const char *key)
{
    open_level(json, key, '[');
}

void json_end_object(struct json *json)
{
    close_level(json, '}');
}

void json_end_array(struct json *json)
{
    close_level(json, ']');
}

void json_text(struct json *json, const char *key, const char *text)
{
    begin_value(json, key);
    put_string(json, text);
}

void json_count(struct json *json, const char *key, uint64_t number)
{
    begin_value(json, key);
    fprintf(json->stream, "%" PRIu64, number);
}

void json_real(struct json *json, const char *key, double number)
{
    if (!isfinite(number)) {
        json_null(json, key);
        return;
    }
    begin_value(json, key);
    if (fabs(number) >= 1e6) {
        fprintf(json->stream, "%.0f", number);
    } else {
        fprintf(json->stream, "%.6g", number);
    }
}

void json_bool(struct json *json, const char *key, bool value)
{
    begin_value(json, key);
    fputs(value ? "true" : "false", json->stream);
}

void json_null(struct json *json, const char *key)
{
    begin_value(json, key);
    fputs("null", json->stream);
}
