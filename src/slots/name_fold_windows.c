/* name_fold_windows.c: name_fold.h with the system's own table.
 *
 * A mailslot's name is compared by the system's upper-case table, character by character (UTF-16 unit by unit), as
 * CompareStringOrdinal does. Lower-casing with the invariant locale (LCMapStringEx without LCMAP_LINGUISTIC_CASING) uses the
 * inverse of that table. Upper first: letters that share an upper-case form only are one to the system. */
#include "slots/name_fold.h"

#include <string.h>

#include <windows.h>

#include <mailroom/reader.h>

#include "queue/memory.h"
#include "slots/wide_windows.h"

/* Maps `text` in place; the length does not change. */
static bool map_case(wchar_t *text, int units, DWORD flag)
{
    wchar_t mapped[2 * MR_NAME_MAX];
    if (units > (int) (sizeof mapped / sizeof mapped[0]) ||
        LCMapStringEx(LOCALE_NAME_INVARIANT, flag, text, units, mapped, units, NULL, NULL, 0) != units)
        return false;
    memcpy(text, mapped, (size_t) units * sizeof *text);
    return true;
}

static bool fold_wide(wchar_t *text, char *folded, size_t room)
{
    int units = (int) wcslen(text) + 1;
    if (!map_case(text, units, LCMAP_UPPERCASE) || !map_case(text, units, LCMAP_LOWERCASE))
        return false;
    return WideCharToMultiByte(CP_UTF8, 0, text, units, folded, room > INT32_MAX ? INT32_MAX : (int) room, NULL, NULL) > 0;
}

bool name_fold(const char *text, char *folded, size_t room)
{
    wchar_t *wide = wide_from_utf8(text);
    bool done = wide != NULL && fold_wide(wide, folded, room);
    memory_free(wide);
    return done;
}

/* The machine's name in that form, and is it `given` (folded)? */
static bool is_own(COMPUTER_NAME_FORMAT format, const char *given)
{
    wchar_t host[MR_NAME_MAX];
    DWORD units = MR_NAME_MAX;
    char own[4 * MR_NAME_MAX];
    if (!GetComputerNameExW(format, host, &units) || units == 0)
        return false;
    return fold_wide(host, own, sizeof own) && strcmp(own, given) == 0;
}

bool name_is_own_host(const char *server)
{
    char given[4 * MR_NAME_MAX];
    if (!name_fold(server, given, sizeof given))
        return false;
    return is_own(ComputerNameNetBIOS, given) || is_own(ComputerNameDnsHostname, given) ||
           is_own(ComputerNameDnsFullyQualified, given);
}
