/* name_fold_linux.c: name_fold.h with utf8proc and gethostname.
 *
 * Folding is Unicode's full case folding, character by character, without normalisation: an accented letter and the
 * same one composed of two characters are different names, as they are on Windows. */
#include "slots/name_fold.h"

#include <string.h>
#include <unistd.h>
#include <utf8proc.h>

#include <mailroom/reader.h>

bool name_fold(const char *text, char *folded, size_t room)
{
    const utf8proc_uint8_t *at = (const utf8proc_uint8_t *) text;
    size_t used = 0;
    while (*at != '\0') {
        utf8proc_int32_t character, parts[8];
        utf8proc_ssize_t bytes = utf8proc_iterate(at, -1, &character);
        if (bytes <= 0)
            return false;
        at += bytes;
        int boundary = 0;
        utf8proc_ssize_t count = utf8proc_decompose_char(character, parts, 8, UTF8PROC_CASEFOLD, &boundary);
        if (count < 0 || count > 8)
            return false;
        for (utf8proc_ssize_t i = 0; i < count; i++) {
            utf8proc_uint8_t encoded[4];
            size_t length = (size_t) utf8proc_encode_char(parts[i], encoded);
            if (used + length >= room)
                return false;
            memcpy(folded + used, encoded, length);
            used += length;
        }
    }
    folded[used] = '\0';
    return true;
}

bool name_is_own_host(const char *server)
{
    char host[MR_NAME_MAX];
    if (gethostname(host, sizeof host) != 0)
        return false; /* a machine without a name has no own one: "." remains */
    host[sizeof host - 1] = '\0';
    char own[4 * MR_NAME_MAX], given[4 * MR_NAME_MAX];
    if (!name_fold(server, given, sizeof given) || !name_fold(host, own, sizeof own))
        return false; /* a host name that is no UTF-8 */
    if (own[0] == '\0')
        return false;
    if (strcmp(own, given) == 0)
        return true;
    size_t label = strcspn(own, ".");
    return label > 0 && strncmp(own, given, label) == 0 && given[label] == '\0';
}
