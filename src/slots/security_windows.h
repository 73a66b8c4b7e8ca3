/* security_windows.h: who may write to a slot (Windows): an access list, made before the name is. */
#ifndef SLOTS_SECURITY_WINDOWS_H
#define SLOTS_SECURITY_WINDOWS_H

#include <stdbool.h>

#include <windows.h>

#include <mailroom/reader.h>

/* Makes the descriptor of `options`. MR_E_ARGUMENT (a text that is no SDDL), MR_E_UNSUPPORTED (numbers of users and groups),
 * MR_E_MEMORY, MR_E_SYSTEM. LocalFree frees it. */
int security_make(PSECURITY_DESCRIPTOR *out, const mr_reader_options *options);

/* For a statistics page: everybody may read it, this user alone (and administrators) write. */
int security_make_page(PSECURITY_DESCRIPTOR *out);

/* Does the object belong to this user, to SYSTEM or to the administrators? The handle has READ_CONTROL. */
bool security_is_trusted(HANDLE handle);

#endif
