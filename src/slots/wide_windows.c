/* wide_windows.c: texts and errors between the library and Windows.
 *
 * Owners  Every text returned belongs to the caller. */
#include "slots/wide_windows.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "queue/memory.h"
#include "queue/status.h"

wchar_t *wide_from_utf8(const char *text)
{
    int units = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, NULL, 0);
    if (units <= 0)
        return NULL;
    wchar_t *wide = memory_calloc((size_t) units, sizeof *wide);
    if (wide != NULL)
        (void) MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, wide, units);
    return wide;
}

char *wide_to_utf8(const wchar_t *text, size_t units)
{
    if (units == 0 || units > INT_MAX / 4)
        return units == 0 ? memory_zalloc(1) : NULL;
    int bytes = WideCharToMultiByte(CP_UTF8, WC_ERR_INVALID_CHARS, text, (int) units, NULL, 0, NULL, NULL);
    if (bytes <= 0)
        return NULL;
    char *narrow = memory_zalloc((size_t) bytes + 1);
    if (narrow != NULL)
        (void) WideCharToMultiByte(CP_UTF8, WC_ERR_INVALID_CHARS, text, (int) units, narrow, bytes, NULL, NULL);
    return narrow;
}

wchar_t *wide_slot_name(const struct slot_name *name, unsigned level)
{
    size_t room = strlen(name->display) + sizeof "\\~4294967295";
    char *text = memory_alloc(room);
    if (text == NULL)
        return NULL;
    if (level == 0)
        (void) snprintf(text, room, "%s", name->display);
    else
        (void) snprintf(text, room, "%s\\~%u", name->display, level);
    wchar_t *wide = wide_from_utf8(text);
    memory_free(text);
    return wide;
}

int wide_status(DWORD error)
{
    switch (error) {
    case ERROR_SUCCESS:
        return MR_OK;
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_BAD_NETPATH:
    case ERROR_BAD_NET_NAME:
    case ERROR_NETWORK_UNREACHABLE:
    case ERROR_HOST_UNREACHABLE:
        return MR_E_NO_SLOT;
    case ERROR_ACCESS_DENIED:
        return MR_E_ACCESS;
    case ERROR_ALREADY_EXISTS:
    case ERROR_FILE_EXISTS:
        return MR_E_EXISTS;
    case ERROR_INVALID_NAME:
    case ERROR_BAD_PATHNAME:
    case ERROR_FILENAME_EXCED_RANGE:
        return MR_E_NAME;
    case ERROR_TOO_MANY_OPEN_FILES:
        return MR_E_DESCRIPTORS;
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_OUTOFMEMORY:
    case ERROR_NO_SYSTEM_RESOURCES:
    case ERROR_NOT_ENOUGH_QUOTA:
        return MR_E_MEMORY;
    default:
        return MR_E_SYSTEM;
    }
}
