/* name.c: what is a name, and which names are the same.
 *
 * Path    text > UTF-8 checked character by character > server part and path > components checked > folded
 * N1      A name that parses has no control character, no empty, "." or ".." component, and at most
 *         SLOT_NAME_CHARACTERS_MAX characters in `display`.
 * N2      `display` parses to the same name again, whatever the form it was given in.
 * N3      All rules look at the text as it was given; folding is for comparison only.
 * Room    255 characters of at most 4 bytes and a NUL fit into MR_NAME_MAX; the texts cannot overflow once N1 was checked,
 *         and nothing is copied before.
 */
#include "slots/name.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "queue/status.h"
#include "slots/name_fold.h"

#define PREFIX "\\\\.\\mailslot\\"
#define MIDDLE "\\mailslot\\"

_Static_assert(SLOT_NAME_CHARACTERS_MAX * 4 + 1 <= MR_NAME_MAX, "the longest name fits");

/* A text longer than this is no name, whatever its form: this machine's own name (at most 64 characters) is the only part
 * that may be longer than what it stands for. */
#define CHARACTERS_LOOKED_AT (2u * SLOT_NAME_CHARACTERS_MAX)

/* Decodes one character; returns its length in bytes, or 0 where the bytes are not UTF-8 (overlong forms, surrogates and
 * numbers above U+10FFFF are not). Stops at the text's NUL by itself: that is no continuation byte. */
static size_t utf8_decode(const unsigned char *at, uint32_t *character)
{
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (at[0] < 0x80) {
        *character = at[0];
        return 1;
    }
    size_t length = at[0] >= 0xF0 ? 4 : at[0] >= 0xE0 ? 3 : 2;
    if (at[0] < 0xC2 || at[0] > 0xF4)
        return 0;
    uint32_t value = at[0] & (0x7Fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xC0u) != 0x80u)
            return 0;
        value = value << 6 | (at[i] & 0x3Fu);
    }
    if (value < smallest[length] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
        return 0;
    *character = value;
    return length;
}

/* Checks every character and counts them. */
static int characters_check(const char *text, size_t *count)
{
    const unsigned char *start = (const unsigned char *) text;
    size_t characters = 0;
    for (size_t at = 0; start[at] != '\0'; characters++) {
        uint32_t character = 0;
        size_t length = utf8_decode(start + at, &character);
        if (length == 0)
            return status_fail(MR_E_NAME, 0, "a slot's name must be UTF-8; byte %zu (0x%02x) of the given one is not",
                               at, start[at]);
        if (character < 0x20 || (character >= 0x7F && character < 0xA0))
            return status_fail(MR_E_NAME, 0,
                               "a slot's name cannot hold the control character U+%04X at byte %zu; leave it out",
                               (unsigned) character, at);
        if (characters == CHARACTERS_LOOKED_AT)
            return status_fail(MR_E_NAME, 0,
                               "the slot's name has more than %u characters; at most %u are possible, "
                               "\"" PREFIX "\" included",
                               CHARACTERS_LOOKED_AT, SLOT_NAME_CHARACTERS_MAX);
        at += length;
    }
    *count = characters;
    return MR_OK;
}

static size_t characters_count(const char *text, size_t bytes)
{
    size_t count = 0;
    for (size_t i = 0; i < bytes; i++)
        count += ((unsigned char) text[i] & 0xC0u) != 0x80u;
    return count;
}

/* Checks the components of a path that stands at byte `offset` of the given text. `bare`: '/' separates as well. */
static int components_check(const char *path, size_t offset, bool bare)
{
    size_t start = 0;
    for (size_t at = 0;; at++) {
        if (path[at] != '\0' && path[at] != '\\' && !(bare && path[at] == '/'))
            continue;
        size_t length = at - start;
        if (length == 0)
            return status_fail(MR_E_NAME, 0,
                               "a part of the slot's name is empty at byte %zu; take away the separator there",
                               offset + start);
        if ((length == 1 && path[start] == '.') || (length == 2 && path[start] == '.' && path[start + 1] == '.'))
            return status_fail(MR_E_NAME, 0,
                               "a part of a slot's name cannot be '%.*s' (byte %zu); names have no parent and no "
                               "current folder",
                               (int) length, path + start, offset + start);
        if (path[at] == '\0')
            return MR_OK;
        start = at + 1;
    }
}

/* Compares `length` bytes with a lower-case ASCII text, in any ASCII case. */
static bool ascii_same(const char *text, const char *lower, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (c >= 'A' && c <= 'Z')
            c = (char) (c - 'A' + 'a');
        if (c != lower[i])
            return false;
    }
    return true;
}

/* Finds server and path of \\server\mailslot\path. */
static int unc_split(const char *text, size_t *server_length, const char **path)
{
    const char *server = text + 2;
    size_t length = strcspn(server, "\\/");
    if (length == 0)
        return status_fail(MR_E_NAME, 0,
                           "there is no server part at byte 2; a slot of this machine is " PREFIX "name, or just name");
    if (server[length] != '\\' || !ascii_same(server + length, MIDDLE, sizeof MIDDLE - 1))
        return status_fail(MR_E_NAME, 0, "a full name is \\\\server" MIDDLE "name; at byte %zu there is no " MIDDLE,
                           2 + length);
    if ((length == 2 && memcmp(server, "..", 2) == 0) || (length == 1 && *server == '?'))
        return status_fail(MR_E_NAME, 0, "'%.*s' is no server; a slot of this machine is " PREFIX "name, or just name",
                           (int) length, server);
    *server_length = length;
    *path = server + length + (sizeof MIDDLE - 1);
    return MR_OK;
}

static int length_check(size_t characters)
{
    if (characters <= SLOT_NAME_CHARACTERS_MAX)
        return MR_OK;
    return status_fail(MR_E_NAME, 0,
                       "the slot's full name has %zu characters, \"" PREFIX "\" included; at most %u are possible",
                       characters, SLOT_NAME_CHARACTERS_MAX);
}

int name_parse(struct slot_name *name, const char *text)
{
    if (text == NULL || *text == '\0')
        return status_fail(MR_E_NAME, 0, "the slot's name is empty");
    size_t characters = 0;
    int status = characters_check(text, &characters);
    if (status != MR_OK)
        return status;

    bool bare = strncmp(text, "\\\\", 2) != 0;
    const char *path = text;
    const char *server = ".";
    size_t server_length = 1;
    if (!bare) {
        status = unc_split(text, &server_length, &path);
        if (status != MR_OK)
            return status;
        server = text + 2;
    }
    status = components_check(path, (size_t) (path - text), bare);
    if (status != MR_OK)
        return status;
    /* The server part cannot be longer than the whole may be, so it fits; an own name is shown as ".", which may be shorter. */
    size_t before = characters_count(text, (size_t) (path - text));
    if (server_length >= MR_NAME_MAX)
        return length_check(characters);

    memset(name, 0, sizeof *name);
    memcpy(name->server, server, server_length);
    if (strcmp(name->server, ".") == 0 || name_is_own_host(name->server))
        name->kind = SLOT_NAME_LOCAL;
    else
        name->kind = strcmp(name->server, "*") == 0 ? SLOT_NAME_ALL : SLOT_NAME_HOST;
    size_t front = name->kind == SLOT_NAME_LOCAL ? sizeof PREFIX - 1 : before;
    status = length_check(front + (characters - before));
    if (status != MR_OK)
        return status;

    memcpy(name->path, path, strlen(path) + 1); /* N1 and the assertion above: it fits */
    for (char *c = name->path; bare && *c != '\0'; c++)
        if (*c == '/')
            *c = '\\';
    int length = snprintf(name->display, sizeof name->display, "\\\\%s" MIDDLE "%s",
                          name->kind == SLOT_NAME_LOCAL ? "." : name->server, name->path);
    if (length < 0 || (size_t) length >= sizeof name->display)
        return length_check(characters);
    if (!name_fold(name->path, name->folded, sizeof name->folded))
        return status_fail(MR_E_NAME, 0, "the slot's name cannot be case-folded");
    return MR_OK;
}

bool name_equal(const struct slot_name *a, const struct slot_name *b)
{
    if (a->kind != b->kind || strcmp(a->folded, b->folded) != 0)
        return false;
    if (a->kind != SLOT_NAME_HOST)
        return true;
    char folded_a[sizeof a->folded], folded_b[sizeof b->folded];
    return name_fold(a->server, folded_a, sizeof folded_a) && name_fold(b->server, folded_b, sizeof folded_b) &&
           strcmp(folded_a, folded_b) == 0;
}
