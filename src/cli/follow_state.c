/* follow_state.c: the state file of --follow.
 *
 *     mailroom follow 1
 *     path PATH
 *     floor BORN
 *     file DEVICE INODE BORN OFFSET FINISHED TAIL      one line for each file, oldest first
 *     end
 *
 * FINISHED is 0, 1, or 2 for a file that is only remembered, so that it is not sent again. Numbers are decimal, TAIL is
 * hexadecimal (the up to 64 bytes before OFFSET; - for none). The file is replaced as a whole, so that one without its
 * last line is damaged, and is refused instead of half believed. */
#include "follow_state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "queue/memory.h"
#include "system.h"
#include "text.h"

#define HEAD           "mailroom follow 1\n"
#define STATE_SIZE_MAX ((size_t) 1 << 20)

struct followed *followed_insert(struct followed_list *list, size_t position)
{
    struct followed *files = memory_realloc(list->files, (list->count + 1) * sizeof(*files));
    if (files == NULL) {
        return NULL;
    }
    list->files = files;
    memmove(files + position + 1, files + position, (list->count - position) * sizeof(*files));
    list->count++;
    files[position] = (struct followed){.descriptor = -1, .watch = -1};
    return &files[position];
}

void followed_remove(struct followed_list *list, size_t position)
{
    lines_free(&list->files[position].lines);
    list->count--;
    memmove(list->files + position, list->files + position + 1, (list->count - position) * sizeof(*list->files));
}

void followed_free(struct followed_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        lines_free(&list->files[i].lines);
        if (list->files[i].descriptor >= 0) {
            file_close(list->files[i].descriptor);
        }
    }
    memory_free(list->files);
    *list = (struct followed_list){0};
}

int follow_state_save(const char *state, const char *path, const struct followed_list *list, bool durable)
{
    struct text text = {0};
    text_puts(&text, HEAD);
    text_printf(&text, "path %s\nfloor %" PRIu64 "\n", path, list->floor);
    for (size_t i = 0; i < list->count; i++) {
        const struct followed *file = &list->files[i];
        text_printf(&text, "file %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %d ", file->identity.device,
                    file->identity.inode, file->identity.born, file->offset, file->closed ? 2 : file->finished);
        for (size_t j = 0; j < file->tail_length; j++) {
            text_printf(&text, "%02x", file->tail[j]);
        }
        text_puts(&text, file->tail_length == 0 ? "-\n" : "\n");
    }
    text_puts(&text, "end\n");
    int error = text.failed ? ENOMEM : system_replace_file(state, text.data, text.length, durable);
    text_free(&text);
    return error == 0 ? CLI_DONE : fail("cannot write the state file %s: %s", state, strerror(error));
}

/* Reads a decimal number and the blank behind it, if there is one; nothing else is taken. */
static bool take_number(const char **at, uint64_t *number)
{
    size_t digits = strspn(*at, "0123456789");
    if (digits == 0 || ((*at)[digits] != ' ' && (*at)[digits] != '\0')) {
        return false;
    }
    errno = 0;
    *number = strtoull(*at, NULL, 10);
    *at += digits + ((*at)[digits] == ' ');
    return errno == 0;
}

static uint8_t digit_of(char hexadecimal)
{
    return (uint8_t) (hexadecimal <= '9' ? hexadecimal - '0' : hexadecimal - 'a' + 10);
}

static bool parse_tail(struct followed *file, const char *text)
{
    if (strcmp(text, "-") == 0) {
        return true;
    }
    size_t length = strlen(text);
    if (length == 0 || length % 2 != 0 || length / 2 > TAIL_BYTES || strspn(text, "0123456789abcdef") != length) {
        return false;
    }
    for (size_t i = 0; i < length / 2; i++) {
        file->tail[i] = (uint8_t) (digit_of(text[2 * i]) << 4 | digit_of(text[2 * i + 1]));
    }
    file->tail_length = length / 2;
    return file->tail_length <= file->offset;
}

static bool parse_file(struct followed_list *list, const char *line)
{
    struct followed *file = followed_insert(list, list->count);
    uint64_t finished = 0;
    if (file == NULL || strncmp(line, "file ", 5) != 0) {
        return false;
    }
    const char *at = line + 5;
    if (!take_number(&at, &file->identity.device) || !take_number(&at, &file->identity.inode) ||
        !take_number(&at, &file->identity.born) || !take_number(&at, &file->offset) || !take_number(&at, &finished) ||
        finished > 2) {
        return false;
    }
    file->finished = finished != 0;
    file->closed = finished == 2;
    file->read_at = file->offset;
    return parse_tail(file, at);
}

static bool parse_floor(struct followed_list *list, const char *line)
{
    const char *at = line + 6;
    return strncmp(line, "floor ", 6) == 0 && take_number(&at, &list->floor) && *at == '\0';
}

/* NULL, or what is wrong with it. */
static const char *parse_state(char *text, const char *path, struct followed_list *list)
{
    static const char damaged[] = "it is damaged";
    if (strncmp(text, HEAD, strlen(HEAD)) != 0) {
        return "it is no state file of mailroom send";
    }
    char *line = text + strlen(HEAD);
    unsigned number = 0;
    for (char *newline = strchr(line, '\n'); newline != NULL; newline = strchr(line, '\n')) {
        *newline = '\0';
        if (number == 0) {
            if (strncmp(line, "path ", 5) != 0) {
                return damaged;
            }
            if (strcmp(line + 5, path) != 0) {
                return "it belongs to another file";
            }
        } else if (number == 1) {
            if (!parse_floor(list, line)) {
                return damaged;
            }
        } else if (strcmp(line, "end") == 0) {
            return newline[1] == '\0' ? NULL : damaged;
        } else if (!parse_file(list, line)) {
            return damaged;
        }
        number++;
        line = newline + 1;
    }
    return damaged;
}

int follow_state_load(const char *state, const char *path, struct followed_list *list, bool *found)
{
    *found = false;
    char *text = memory_alloc(STATE_SIZE_MAX);
    if (text == NULL) {
        return fail("out of memory");
    }
    long length = system_read_file(state, text, STATE_SIZE_MAX);
    if (length < 0) {
        int error = errno;
        memory_free(text);
        return error == ENOENT ? CLI_DONE : fail("cannot read the state file %s: %s", state, strerror(error));
    }
    const char *wrong = strlen(text) != (size_t) length ? "it is damaged" : parse_state(text, path, list);
    memory_free(text);
    if (wrong != NULL) {
        return fail(
            "the state file %s cannot be used: %s. Give another one, or remove it to send %s from its beginning", state,
            wrong, path);
    }
    *found = true;
    return CLI_DONE;
}
