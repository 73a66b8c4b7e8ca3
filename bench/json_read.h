/* json_read.h: reads JSON (RFC 8259) into a tree, for drawing results that were written earlier. */
#ifndef BENCH_JSON_READ_H
#define BENCH_JSON_READ_H

#include <stddef.h>

enum json_kind { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_TEXT, JSON_ARRAY, JSON_OBJECT };

struct json_value {
    enum json_kind kind;
    const char *key;          /* inside an object, else NULL */
    double number;            /* JSON_NUMBER */
    const char *text;         /* JSON_TEXT */
    struct json_value *first; /* of an array or object */
    struct json_value *next;  /* in the same array or object */
};

/* The tree of `text`; MR_OK and *value, for json_free, or MR_E_PROTOCOL with the place, or MR_E_MEMORY. */
int json_parse(const char *text, size_t length, struct json_value **value);
/* The same of a file; also MR_E_SYSTEM. */
int json_load(const char *path, struct json_value **value);
void json_free(struct json_value *value);

/* NULL where `object` is none, or has no such member. */
const struct json_value *json_member(const struct json_value *object, const char *key);
/* What is there, or else what was given. */
double json_member_number(const struct json_value *object, const char *key, double otherwise);
const char *json_member_text(const struct json_value *object, const char *key, const char *otherwise);

#endif
