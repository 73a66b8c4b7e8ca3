/* handle_windows.c: what a completion port's endpoints ask of the system that is no overlapped call: what an error
 * means, how a handle was opened, and further instances of a pipe. No state of its own; any thread. */
#include "iocp/port_windows.h"

#include <string.h>

#include <winternl.h>

#include "queue/memory.h"

int error_status(DWORD error)
{
    switch (error) {
    case ERROR_SUCCESS:
        return MR_OK;
    case ERROR_OPERATION_ABORTED:
        return MR_E_CANCELLED;
    case ERROR_BROKEN_PIPE:
    case ERROR_NO_DATA:
    case ERROR_PIPE_NOT_CONNECTED:
    case ERROR_HANDLE_EOF:
    case ERROR_NETNAME_DELETED:
    case ERROR_CONNECTION_ABORTED:
        return MR_E_GONE;
    case ERROR_INSUFFICIENT_BUFFER:
    case ERROR_MORE_DATA:
        return MR_E_SMALL;
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_OUTOFMEMORY:
    case ERROR_NO_SYSTEM_RESOURCES:
    case ERROR_NOT_ENOUGH_QUOTA:
        return MR_E_MEMORY;
    case ERROR_TOO_MANY_OPEN_FILES:
        return MR_E_DESCRIPTORS;
    case ERROR_INVALID_FUNCTION:
    case ERROR_NOT_SUPPORTED:
        return MR_E_UNSUPPORTED;
    default:
        return MR_E_SYSTEM;
    }
}

bool handle_synchronous(HANDLE handle)
{
    enum { FILE_MODE_INFORMATION_CLASS = 16, SYNCHRONOUS_ALERT = 0x10, SYNCHRONOUS_NONALERT = 0x20 };
    IO_STATUS_BLOCK block;
    ULONG mode = 0;
    NTSTATUS status = NtQueryInformationFile(handle, &block, &mode, sizeof mode,
                                             (FILE_INFORMATION_CLASS) FILE_MODE_INFORMATION_CLASS);
    return status >= 0 && (mode & (SYNCHRONOUS_ALERT | SYNCHRONOUS_NONALERT)) != 0;
}

/* The name that a pipe's further instances are made by. The caller frees it. */
static wchar_t *pipe_name(HANDLE handle)
{
    static const wchar_t prefix[] = L"\\\\.\\pipe";
    enum { PREFIX = sizeof prefix / sizeof prefix[0] - 1, NAME_MAX_UNITS = 1024 };
    size_t size = sizeof(FILE_NAME_INFO) + NAME_MAX_UNITS * sizeof(wchar_t);
    FILE_NAME_INFO *info = memory_alloc(size);
    wchar_t *name = memory_alloc((PREFIX + NAME_MAX_UNITS + 2) * sizeof *name);
    if (info != NULL && name != NULL && GetFileInformationByHandleEx(handle, FileNameInfo, info, (DWORD) size)) {
        size_t length = info->FileNameLength / sizeof(wchar_t), at = PREFIX;
        memcpy(name, prefix, sizeof prefix);
        if (length == 0 || info->FileName[0] != L'\\')
            name[at++] = L'\\';
        memcpy(name + at, info->FileName, length * sizeof *name);
        name[at + length] = L'\0';
    } else {
        memory_free(name);
        name = NULL;
    }
    memory_free(info);
    return name;
}

/* The access rules of a pipe, for its further instances; NULL where they cannot be read, which means the default. The
 * caller frees it. */
static void *pipe_security(HANDLE handle)
{
    DWORD size = 0;
    (void) GetKernelObjectSecurity(handle, DACL_SECURITY_INFORMATION, NULL, 0, &size);
    void *descriptor = size == 0 ? NULL : memory_alloc(size);
    if (descriptor != NULL && !GetKernelObjectSecurity(handle, DACL_SECURITY_INFORMATION, descriptor, size, &size)) {
        memory_free(descriptor);
        descriptor = NULL;
    }
    return descriptor;
}

HANDLE pipe_instance(HANDLE handle)
{
    DWORD flags, out_size, in_size, instances;
    if (!GetNamedPipeInfo(handle, &flags, &out_size, &in_size, &instances))
        return NULL;
    wchar_t *name = pipe_name(handle);
    if (name == NULL) {
        SetLastError(ERROR_NOT_ENOUGH_MEMORY);
        return NULL;
    }
    SECURITY_ATTRIBUTES security = {.nLength = sizeof security, .lpSecurityDescriptor = pipe_security(handle)};
    DWORD mode = (flags & PIPE_TYPE_MESSAGE) != 0 ? PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE : PIPE_TYPE_BYTE;
    HANDLE again = CreateNamedPipeW(name, PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED, mode | PIPE_REJECT_REMOTE_CLIENTS,
                                    instances, out_size, in_size, 0, &security);
    DWORD error = GetLastError();
    memory_free(security.lpSecurityDescriptor);
    memory_free(name);
    SetLastError(error);
    return again == INVALID_HANDLE_VALUE ? NULL : again;
}
