/* name_fold_windows.c: name_fold.h with the system's own table.
 *
 * Mailslots are compared unit by unit (UTF-16) in the upper case of ntdll's table, which is the kernel's; so are names here.
 */
#include "slots/name_fold.h"

#include <string.h>

#include <windows.h>

#include <winternl.h>

#include <mailroom/reader.h>

#include "queue/memory.h"
#include "slots/wide_windows.h"

/* In ntdll, and documented for drivers. */
NTSYSAPI WCHAR NTAPI RtlUpcaseUnicodeChar(WCHAR unit);

static bool fold_wide(wchar_t *text, char *folded, size_t room)
{
    int units = (int) wcslen(text) + 1;
    for (int i = 0; i < units; i++)
        text[i] = RtlUpcaseUnicodeChar(text[i]);
    return WideCharToMultiByte(CP_UTF8, 0, text, units, folded, room > INT32_MAX ? INT32_MAX : (int) room, NULL, NULL) >
           0;
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
