/* text.h: a growing piece of output, and how a message is written into it: as one line of text, or as JSON. */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mailroom/message.h>

#include "queue/printf_format.h"

/* `failed` is set when memory ran out; what was put after that is missing. Zero-initialise; text_free at the end. */
struct text {
    char *data;
    size_t length;
    size_t capacity;
    bool failed;
};

void text_free(struct text *text);
void text_clear(struct text *text); /* empty, memory kept unless there is much of it */
void text_put(struct text *text, const void *data, size_t length);
void text_puts(struct text *text, const char *string);
void text_putc(struct text *text, char character);
void text_number(struct text *text, uint64_t number);
PRINTF_FORMAT(2, 3) void text_printf(struct text *text, const char *format, ...);

/* How long the UTF-8 sequence at `data` is (1 to 4, RFC 3629: no surrogates, nothing overlong, at most U+10FFFF),
 * or 0 where there is none. `length` is at least 1. */
size_t utf8_sequence(const uint8_t *data, size_t length);
bool utf8_valid(const void *data, size_t length);

/* How many characters the bytes are: those that continue a UTF-8 sequence do not count. */
size_t text_width(const char *data, size_t length);

/* A JSON string with its quotes; `data` is valid UTF-8. Control characters, quote and backslash are escaped. */
void text_json_string(struct text *text, const void *data, size_t length);
/* RFC 4648 with padding, in quotes. */
void text_json_base64(struct text *text, const void *data, size_t length);

/* One printable line without its newline: a control character, DEL, a C1 control (U+0080 to U+009F), a line or
 * paragraph separator (U+2028, U+2029), a byte that is no UTF-8, and the backslash are written as in C: \n \r \\
 * \x1b. A tab stays. So a message is always one line, no message can command the terminal, and the bytes can be had
 * back. */
void text_escaped(struct text *text, const void *data, size_t length);

/* One JSON object and a newline: slot, length, priority, pid, uid, gid, writer, sequence, redelivered, lane, and text
 * or base64. `writer` has 64 bits, more than a JSON number carries everywhere: it is a string of decimal digits. A
 * sender that the lane cannot tell has null in pid, uid, gid. */
void text_message_json(struct text *text, const char *slot, const mr_message *message);

#endif
