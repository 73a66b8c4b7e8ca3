/* file_windows.c: see file.h. Paths are UTF-8 here and UTF-16 at the system. */
#include "file.h"

#include <errno.h>

#include "queue/memory.h"
#include "slots/wide_windows.h"

FILE *file_open(const char *path, bool write)
{
    wchar_t *wide = wide_from_utf8(path);
    if (wide == NULL) {
        errno = EINVAL;
        return NULL;
    }
    FILE *file = _wfopen(wide, write ? L"wbN" : L"rbN");
    memory_free(wide);
    return file;
}
