/* name_support_windows.c: see name_support.h. */
#include "name_support.h"

#include <windows.h>

#include "test.h"

const bool name_folds_fully = false;

void name_of_host(char *name, size_t size)
{
    DWORD room = (DWORD) size;
    CHECK(GetComputerNameExA(ComputerNameDnsHostname, name, &room));
}

size_t name_decode(const char *text, size_t length, uint32_t *character)
{
    for (size_t bytes = 1; bytes <= 4 && bytes <= length; bytes++) {
        wchar_t units[4];
        int count = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, (int) bytes, units, 4);
        if (count == 0)
            continue;
        *character = count == 1 ? units[0] : 0x10000u + ((units[0] & 0x3FFu) << 10) + (units[1] & 0x3FFu);
        return bytes;
    }
    return 0;
}
