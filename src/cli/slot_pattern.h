/* slot_pattern.h: many names from one text: 'sensor-%03d:200' is sensor-000 to sensor-199.
 *
 * %d, %5d or %05d stands for the number, once; %% for a percent sign; the text behind the last colon is how many
 * there are. A text without %d is one name as it is (with %% as well), colons included. The pattern is read by this
 * code alone: it never reaches printf. */
#ifndef CLI_SLOT_PATTERN_H
#define CLI_SLOT_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLOT_PATTERN_MAX   ((uint64_t) 100000)
#define SLOT_PATTERN_BYTES 1024

struct slot_pattern {
    char before[SLOT_PATTERN_BYTES];
    char after[SLOT_PATTERN_BYTES];
    bool numbered;
    bool zeros;
    size_t width;
    uint64_t count;
};

/* NULL, or what is wrong with the text, in words that follow "--slots 'TEXT':". */
const char *slot_pattern_parse(const char *text, struct slot_pattern *pattern);

/* The name with that number; false where `size` does not do. */
bool slot_pattern_name(const struct slot_pattern *pattern, uint64_t number, char *buffer, size_t size);

#endif
