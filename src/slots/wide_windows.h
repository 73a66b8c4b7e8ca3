/* wide_windows.h: texts and errors between the library and Windows: UTF-8 inside, UTF-16 at the system. */
#ifndef SLOTS_WIDE_WINDOWS_H
#define SLOTS_WIDE_WINDOWS_H

#include <wchar.h>

#include <windows.h>

#include "slots/name.h"

/* `text` in UTF-16, from memory_alloc; NULL: no memory (or no UTF-8, which parsed names always are). */
wchar_t *wide_from_utf8(const char *text);

/* The first `units` of `text` in UTF-8, from memory_alloc; NULL: no memory, or unpaired surrogates. */
char *wide_to_utf8(const wchar_t *text, size_t units);

/* The system's name of the mailslot for `level` of the slot `name`: \\server\mailslot\path, with \~LEVEL behind it for a
 * level above 0 (the companion). From memory_alloc; NULL: no memory. */
wchar_t *wide_slot_name(const struct slot_name *name, unsigned level);

/* What `error` is in the library's codes, for calls that open or create something. */
int wide_status(DWORD error);

#endif
