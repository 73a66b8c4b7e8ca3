/* security_windows.c: who may write to a slot (Windows).
 *
 * Path    mr_access > SDDL text > security descriptor > the mailslot's, from its first instant
 * S0      There is a list: a descriptor without one (an empty text, an owner alone) would mean the system's default.
 * S1      The list is protected (P): nothing is inherited into it.
 * S2      Denials come first. The NETWORK group is denied everything unless options->access_remote is set: a mailslot can be
 *         written from other machines, without a password, by whoever reaches the SMB port.
 * S3      Writers get what CreateFile with GENERIC_WRITE asks for, not the right to read or to change the list. That is
 *         FILE_GENERIC_WRITE and FILE_READ_ATTRIBUTES, which CreateFile adds to every request; SDDL's FW is the first alone.
 */
#include "slots/security_windows.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <sddl.h>

#include "queue/memory.h"
#include "queue/status.h"
#include "slots/wide_windows.h"

#define TEXT_MAX 1024

/* FILE_GENERIC_WRITE | FILE_READ_ATTRIBUTES (S3) */
#define WRITER_RIGHTS "0x120196"
_Static_assert((FILE_GENERIC_WRITE | FILE_READ_ATTRIBUTES) == 0x120196, "the text and the headers agree");

/* Room for a TOKEN_USER or TOKEN_PRIMARY_GROUP with its SID behind it. */
union token_information {
    TOKEN_USER user;
    TOKEN_PRIMARY_GROUP group;
    char room[sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE];
};

/* The SID of this process's user or primary group as text; LocalFree frees it. */
static int own_sid(TOKEN_INFORMATION_CLASS class, char **text)
{
    HANDLE token;
    union token_information information;
    DWORD size;
    if (!OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token))
        return status_fail(MR_E_SYSTEM, GetLastError(), "cannot open this process's token: error %lu", GetLastError());
    bool done =
        GetTokenInformation(token, class, &information, sizeof information, &size) &&
        ConvertSidToStringSidA(class == TokenUser ? information.user.User.Sid : information.group.PrimaryGroup, text);
    DWORD error = done ? ERROR_SUCCESS : GetLastError();
    CloseHandle(token);
    return done ? MR_OK : status_fail(MR_E_SYSTEM, error, "cannot read this process's token: error %lu", error);
}

static int security_parse(PSECURITY_DESCRIPTOR *out, const char *sddl)
{
    wchar_t *wide = wide_from_utf8(sddl);
    if (wide == NULL)
        return status_fail(MR_E_ARGUMENT, 0, "access_sddl is no UTF-8");
    bool done = ConvertStringSecurityDescriptorToSecurityDescriptorW(wide, SDDL_REVISION_1, out, NULL);
    DWORD error = done ? ERROR_SUCCESS : GetLastError();
    memory_free(wide);
    if (!done)
        return status_fail(MR_E_ARGUMENT, error, "not a security descriptor in SDDL: %s", sddl);
    BOOL present = FALSE, defaulted;
    PACL list;
    if (GetSecurityDescriptorDacl(*out, &present, &list, &defaulted) && present)
        return MR_OK;
    LocalFree(*out);
    *out = NULL;
    return status_fail(MR_E_ARGUMENT, 0,
                       "access_sddl has no access list (D:…), and the system's own would be taken: '%s'", sddl);
}

/* Appends to `text`, which has room for all that is ever put there. */
static void text_add(char *text, const char *format, const char *sid)
{
    size_t length = strlen(text);
    (void) snprintf(text + length, TEXT_MAX - length, format, sid);
}

int security_make(PSECURITY_DESCRIPTOR *out, const mr_reader_options *options)
{
    if (options->access_sddl != NULL)
        return security_parse(out, options->access_sddl);
    if (options->access == MR_ACCESS_LIST ||
        (options->access == MR_ACCESS_GROUP && options->access_group != UINT32_MAX))
        return status_fail(MR_E_UNSUPPORTED, 0,
                           "Windows has no numbers for users and groups: say who may write in access_sddl");
    if (options->access < MR_ACCESS_OWNER || options->access > MR_ACCESS_LIST)
        return status_fail(MR_E_ARGUMENT, 0, "access %d is none", (int) options->access);
    char *user = NULL, *group = NULL;
    int status = own_sid(TokenUser, &user);
    if (status == MR_OK && options->access == MR_ACCESS_GROUP)
        status = own_sid(TokenPrimaryGroup, &group);
    if (status == MR_OK) {
        char text[TEXT_MAX] = "D:P";
        if (!options->access_remote)
            text_add(text, "(D;;GA;;;%s)", "NU"); /* S2 */
        text_add(text, "(A;;GA;;;%s)", "SY");
        text_add(text, "(A;;GA;;;%s)", "BA");
        text_add(text, "(A;;GA;;;%s)", user);
        if (group != NULL)
            text_add(text, "(A;;" WRITER_RIGHTS ";;;%s)", group); /* S3 */
        if (options->access == MR_ACCESS_EVERYONE)
            text_add(text, "(A;;" WRITER_RIGHTS ";;;%s)",
                     options->access_remote ? "WD)(A;;" WRITER_RIGHTS ";;;AN" : "WD");
        status = security_parse(out, text);
    }
    LocalFree(user);
    LocalFree(group);
    return status;
}

int security_make_page(PSECURITY_DESCRIPTOR *out)
{
    char *user = NULL;
    int status = own_sid(TokenUser, &user);
    if (status == MR_OK) {
        char text[TEXT_MAX] = "";
        text_add(text, "O:%s", user); /* or else the token's default, which may be a group of many */
        text_add(text, "D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GR;;;WD)(A;;GA;;;%s)", user);
        status = security_parse(out, text);
    }
    LocalFree(user);
    return status;
}

static bool sid_is_own(PSID sid)
{
    HANDLE token;
    union token_information information;
    DWORD size;
    if (!OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token))
        return false;
    bool own = GetTokenInformation(token, TokenUser, &information, sizeof information, &size) &&
               EqualSid(sid, information.user.User.Sid);
    CloseHandle(token);
    return own;
}

bool security_is_trusted(HANDLE handle)
{
    union {
        SECURITY_DESCRIPTOR_RELATIVE descriptor;
        char room[sizeof(SECURITY_DESCRIPTOR_RELATIVE) + SECURITY_MAX_SID_SIZE];
    } security;
    DWORD size;
    PSID owner = NULL;
    BOOL defaulted;
    if (!GetKernelObjectSecurity(handle, OWNER_SECURITY_INFORMATION, &security, sizeof security, &size) ||
        !GetSecurityDescriptorOwner(&security, &owner, &defaulted) || owner == NULL)
        return false;
    return sid_is_own(owner) || IsWellKnownSid(owner, WinLocalSystemSid) ||
           IsWellKnownSid(owner, WinBuiltinAdministratorsSid);
}
