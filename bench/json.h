/* json.h: writes one JSON value, piece by piece, to a stream. Keys are NULL inside arrays and for the outermost
 * value. */
#ifndef BENCH_JSON_H
#define BENCH_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define JSON_DEPTH 16

struct json {
    FILE *stream;
    unsigned depth;
    bool filled[JSON_DEPTH]; /* something stands before, on each depth */
};

void json_object(struct json *json, const char *key);
void json_array(struct json *json, const char *key);
void json_end_object(struct json *json);
void json_end_array(struct json *json);
/* UTF-8; what is none is replaced. */
void json_text(struct json *json, const char *key, const char *text);
void json_count(struct json *json, const char *key, uint64_t number);
/* Six significant digits; null where it is no finite number. */
void json_real(struct json *json, const char *key, double number);
void json_bool(struct json *json, const char *key, bool value);
void json_null(struct json *json, const char *key);

#endif
