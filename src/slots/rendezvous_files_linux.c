/* rendezvous_files_linux.c: a slot's name as one file name.
 *
 * STEM is the case-folded name, in which every byte but a-z 0-9 _ - . (and a dot in front) is %xx. No stem has a slash
 * or is "." or "..", so no name leaves the slot directory. Above FILE_STEM_MAX bytes it is cut and ends in ~ and 32
 * hexadecimal digits: the 128-bit FNV-1a hash of the whole folded name. Since ~ is always escaped, short and
 * hashed stems never meet; two names with one hash would (anybody can make such a pair: FNV is no cryptographic hash),
 * so the full name is in the page and is compared.
 *
 *   STEM.lock   who owns the name     STEM.sock   the plain lane's socket     STEM.ring   the ring's socket
 *   STEM.page   statistics, name, sign of life
 *   ~HASH.sock, ~HASH.ring, ~HASH.page            the same while they are being made, under the lock
 *
 * No two of these suffixes make two different stems into one file name, because none of them ends another.
 */
#include "slots/rendezvous_files_linux.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct hash {
    uint64_t high;
    uint64_t low;
};

/* FNV-1a, 128 bits: the prime is 2^88 + 0x13b. Multiplied in halves, for there need be no 128-bit type. */
static struct hash hash_of(const char *text)
{
    struct hash h = {0x6c62272e07bb0142u, 0x62b821756295c58du};
    const uint64_t factor = 0x13b;
    for (; *text != '\0'; text++) {
        h.low ^= (unsigned char) *text;
        uint64_t bottom = (h.low & UINT32_MAX) * factor;
        uint64_t top = (h.low >> 32) * factor + (bottom >> 32);
        h.high = h.high * factor + (h.low << 24) + (top >> 32);
        h.low = top << 32 | (bottom & UINT32_MAX);
    }
    return h;
}

static bool byte_is_plain(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || (c == '.' && !first);
}

/* Writes the stem, at most FILE_STEM_MAX bytes and a NUL. */
static void stem_write(char stem[FILE_STEM_MAX + 1], const char *folded, struct hash hash)
{
    enum { HASH_LENGTH = 33, CUT = FILE_STEM_MAX - HASH_LENGTH };
    size_t length = 0, cut = 0;
    for (const char *c = folded; *c != '\0'; c++) {
        bool plain = byte_is_plain(*c, c == folded);
        size_t more = plain ? 1 : 3;
        if (length + more > FILE_STEM_MAX) {
            snprintf(stem + cut, HASH_LENGTH + 1, "~%016llx%016llx", (unsigned long long) hash.high,
                     (unsigned long long) hash.low);
            return;
        }
        if (plain)
            stem[length] = *c;
        else
            snprintf(stem + length, 4, "%%%02x", (unsigned) (unsigned char) *c);
        length += more;
        if (length <= CUT)
            cut = length; /* never in the middle of an escape */
    }
    stem[length] = '\0';
}

void slot_files_of(struct slot_files *files, const struct slot_name *name)
{
    struct hash hash = hash_of(name->folded);
    char stem[FILE_STEM_MAX + 1];
    stem_write(stem, name->folded, hash);
    snprintf(files->lock, sizeof files->lock, "%s.lock", stem);
    snprintf(files->socket[RENDEZVOUS_PLAIN], sizeof files->socket[0], "%s.sock", stem);
    snprintf(files->socket[RENDEZVOUS_RING], sizeof files->socket[0], "%s.ring", stem);
    snprintf(files->page, sizeof files->page, "%s" PAGE_SUFFIX, stem);
    unsigned long long high = hash.high, low = hash.low;
    snprintf(files->new_socket[RENDEZVOUS_PLAIN], sizeof files->new_socket[0], "~%016llx%016llx.sock", high, low);
    snprintf(files->new_socket[RENDEZVOUS_RING], sizeof files->new_socket[0], "~%016llx%016llx.ring", high, low);
    snprintf(files->new_page, sizeof files->new_page, "~%016llx%016llx.page", high, low);
}

static int digit_of(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool slot_files_unescape(const char *page, char *folded, size_t room)
{
    size_t length = strlen(page), suffix = sizeof PAGE_SUFFIX - 1;
    if (length <= suffix || strcmp(page + length - suffix, PAGE_SUFFIX) != 0)
        return false;
    size_t used = 0;
    for (size_t i = 0; i < length - suffix; i++) {
        char c = page[i];
        if (c == '%') {
            int high = digit_of(page[i + 1]), low = high < 0 ? -1 : digit_of(page[i + 2]);
            if (low < 0)
                return false;
            c = (char) (high << 4 | low);
            i += 2;
            if (byte_is_plain(c, i == 2))
                return false; /* a second spelling of the same name is none of ours */
        } else if (!byte_is_plain(c, i == 0)) {
            return false;
        }
        if (used + 1 >= room)
            return false;
        folded[used++] = c;
    }
    folded[used] = '\0';
    return true;
}
