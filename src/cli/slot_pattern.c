/* slot_pattern.c: reads a pattern for names once, and makes names from it. */
#include "slot_pattern.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH_MAX 20

/* At a percent sign: true for %d with its width, and where it ends. */
static bool parse_conversion(const char *at, struct slot_pattern *pattern, size_t *length)
{
    size_t used = 1;
    pattern->zeros = at[used] == '0';
    size_t digits = strspn(at + used, "0123456789");
    if (digits > 3) {
        return false;
    }
    pattern->width = digits == 0 ? 0 : (size_t) strtoul(at + used, NULL, 10);
    used += digits;
    *length = used + 1;
    return at[used] == 'd' && pattern->width <= WIDTH_MAX;
}

/* The text from `text` up to `end` without its doubled percent signs and its one %d. */
static const char *parse_name(const char *text, const char *end, struct slot_pattern *pattern)
{
    char *to = pattern->before;
    while (text < end) {
        if (*text != '%') {
            *to++ = *text++;
            continue;
        }
        if (text[1] == '%') {
            *to++ = '%';
            text += 2;
            continue;
        }
        size_t length = 0;
        if (pattern->numbered || !parse_conversion(text, pattern, &length)) {
            return pattern->numbered ? "one %d is enough (a percent sign in a name is written %%)"
                                     : "behind a % comes d, a width and d as in %03d, or a second %";
        }
        pattern->numbered = true;
        *to = '\0';
        to = pattern->after;
        text += length;
    }
    *to = '\0';
    return NULL;
}

const char *slot_pattern_parse(const char *text, struct slot_pattern *pattern)
{
    *pattern = (struct slot_pattern){.count = 1};
    size_t length = strlen(text);
    if (length == 0 || length >= SLOT_PATTERN_BYTES) {
        return length == 0 ? "a name is missing" : "the name is too long";
    }
    const char *wrong = parse_name(text, text + length, pattern);
    if (wrong != NULL || !pattern->numbered) {
        return wrong;
    }
    const char *colon = strrchr(pattern->after, ':');
    if (colon == NULL) {
        return "how many? Put a colon and the number behind it, as in 'NAME-%03d:200'";
    }
    size_t digits = strspn(colon + 1, "0123456789");
    if (digits == 0 || colon[1 + digits] != '\0') {
        return "behind the last colon comes a whole number, as in 'NAME-%03d:200'";
    }
    pattern->count = digits > 9 ? SLOT_PATTERN_MAX + 1 : strtoull(colon + 1, NULL, 10);
    if (pattern->count < 1 || pattern->count > SLOT_PATTERN_MAX) {
        return "the number of slots must lie between 1 and 100000";
    }
    pattern->after[colon - pattern->after] = '\0';
    return NULL;
}

bool slot_pattern_name(const struct slot_pattern *pattern, uint64_t number, char *buffer, size_t size)
{
    char digits[WIDTH_MAX + 2] = "";
    if (pattern->numbered) {
        int width = (int) pattern->width;
        snprintf(digits, sizeof(digits), pattern->zeros ? "%0*" PRIu64 : "%*" PRIu64, width, number);
    }
    int length = snprintf(buffer, size, "%s%s%s", pattern->before, digits, pattern->after);
    return length >= 0 && (size_t) length < size;
}
