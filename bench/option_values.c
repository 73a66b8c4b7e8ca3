/* option_values.c: numbers, sizes and mixes as they are written behind options. Each returns NULL, or what is wrong in
 * words that follow the option and its value. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

const char *options_count(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *number)
{
    static const struct {
        const char *name;
        uint64_t factor;
    } units[] = {{"", 1}, {"k", 1000}, {"M", 1000000}, {"G", 1000000000}, {"KiB", 1024}, {"MiB", 1024 * 1024}};
    char *end;
    if (*text < '0' || *text > '9') {
        return "is not a number";
    }
    unsigned long long value = strtoull(text, &end, 10);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].name) == 0) {
            if (value > maximum / units[i].factor || value * units[i].factor > maximum) {
                return "is too large";
            }
            *number = value * units[i].factor;
            return *number < minimum ? "is too small" : NULL;
        }
    }
    return "is not a number (k, M, G, KiB and MiB may stand behind one)";
}

const char *options_real(const char *text, double minimum, double maximum, double *number)
{
    char *end;
    double value = strtod(text, &end);
    double factor = strcmp(end, "k") == 0 ? 1e3 : strcmp(end, "M") == 0 ? 1e6 : 1;
    if (end == text || (*end != '\0' && factor == 1) || !isfinite(value)) {
        return "is not a number (k and M may stand behind one)";
    }
    value *= factor;
    if (value < minimum || value > maximum) {
        return value < minimum ? "is too small" : "is too large";
    }
    *number = value;
    return NULL;
}

const char *options_part(const char *from, const char *end, uint64_t minimum, uint64_t maximum, uint64_t *number)
{
    char part[32];
    if ((size_t) (end - from) >= sizeof(part)) {
        return "is not a number";
    }
    memcpy(part, from, (size_t) (end - from));
    part[end - from] = '\0';
    return options_count(part, minimum, maximum, number);
}

static const char *sizes_list(const char *text, struct sizes *sizes)
{
    sizes->kind = SIZES_LIST;
    sizes->minimum = SIZE_MAX;
    while (*text != '\0') {
        const char *end = text + strcspn(text, ",");
        const char *colon = memchr(text, ':', (size_t) (end - text));
        uint64_t size;
        uint64_t weight = 1;
        const char *wrong = options_part(text, colon == NULL ? end : colon, 0, OPTIONS_SIZE_MAX, &size);
        if (wrong == NULL && colon != NULL) {
            wrong = options_part(colon + 1, end, 1, 1000000, &weight);
        }
        if (wrong == NULL && sizes->count == PLAN_SIZES_MAX) {
            wrong = "has too many sizes, 16 at most";
        }
        if (wrong != NULL) {
            return wrong;
        }
        sizes->size[sizes->count] = (size_t) size;
        sizes->weight[sizes->count++] = (unsigned) weight;
        sizes->weights += (unsigned) weight;
        sizes->minimum = size < sizes->minimum ? (size_t) size : sizes->minimum;
        sizes->maximum = size > sizes->maximum ? (size_t) size : sizes->maximum;
        text = *end == ',' ? end + 1 : end;
    }
    return sizes->count == 0 ? "has no size" : NULL;
}

const char *options_sizes(const char *text, struct sizes *sizes)
{
    uint64_t low = 0;
    uint64_t high = 0;
    *sizes = (struct sizes){.kind = SIZES_EVEN};
    if (strpbrk(text, ",") != NULL || (strchr(text, ':') != NULL && strncmp(text, "log:", 4) != 0)) {
        return sizes_list(text, sizes);
    }
    if (strncmp(text, "log:", 4) == 0) {
        sizes->kind = SIZES_LOGARITHMIC;
        text += 4;
    }
    const char *dash = strchr(text, '-');
    const char *end = text + strlen(text);
    const char *wrong = options_part(text, dash == NULL ? end : dash, 0, OPTIONS_SIZE_MAX, &low);
    high = low;
    if (wrong == NULL && dash != NULL) {
        wrong = options_part(dash + 1, end, 0, OPTIONS_SIZE_MAX, &high);
    }
    if (wrong == NULL && high < low) {
        wrong = "ends below where it begins";
    }
    sizes->minimum = (size_t) low;
    sizes->maximum = (size_t) high;
    return wrong;
}

const char *options_mix(const char *text, unsigned mix[PLAN_LEVELS_MAX])
{
    double parts[PLAN_LEVELS_MAX] = {0};
    double sum = 0;
    unsigned count = 0;
    while (*text != '\0') {
        char *end;
        if (count == PLAN_LEVELS_MAX) {
            return "has more than 8 levels";
        }
        parts[count] = strtod(text, &end);
        if (end == text || (*end != '\0' && *end != ',') || !isfinite(parts[count]) || parts[count] < 0) {
            return "is no list of parts, as in 99,1";
        }
        sum += parts[count++];
        text = *end == ',' ? end + 1 : end;
    }
    if (sum <= 0) {
        return "adds up to nothing";
    }
    unsigned given = 0;
    unsigned largest = 0;
    for (unsigned l = 0; l < PLAN_LEVELS_MAX; l++) {
        mix[l] = (unsigned) (parts[l] * 1000 / sum + 0.5);
        if (parts[l] > 0 && mix[l] == 0) {
            mix[l] = 1;
        }
        given += mix[l];
        largest = mix[l] > mix[largest] ? l : largest;
    }
    mix[largest] = mix[largest] + 1000 - given; /* what rounding has left over, or taken too much */
    return NULL;
}
