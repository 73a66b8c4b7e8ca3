/* statistics_page_windows.c: statistics pages as named sections of memory.
 *
 * Path    section_create > a section named by a hash of the folded slot name > statistics_page_publish ...... another
 *         process: section_look (by name), section_visit (all that the object directory lists) > a copy > statistics_view
 * Owners  The section is the reader's; it is complete before anybody else can be told that the slot exists, but may be seen
 *         before: then it holds no page yet (no magic).
 * S0      The mailslot's name is ours when the page is made, so a page that is there already is a former owner's: kept by a
 *         writer that looks at it still, or of a process that was killed just now. It is taken over, where we may write to it.
 * S1      Machine-wide (Global) sections need a privilege that services and administrators have; others make theirs for the
 *         session (Local). Who looks, looks in both.
 * S2      Everybody may read, the owner, SYSTEM and administrators may write.
 * Hostile A section has its size for good, so a view of it cannot fault. What is in it is the maker's word: it is copied
 *         first and checked then, and the name in it is compared. Writers believe only pages of their own user, SYSTEM and
 *         administrators, for such a page can make them reconnect and refuse; a list shows every page.
 */
#include "slots/statistics_page_windows.h"

#include <stdio.h>
#include <string.h>

#include <windows.h>

#include <winternl.h>

#include "queue/memory.h"
#include "queue/status.h"
#include "slots/security_windows.h"

#define NAME_PREFIX L"mailroom-slot-"
#define NAME_ROOM   64
#define READ_TRIES  64

static const wchar_t *const places[] = {L"Global", L"Local"};
static const char *const place_names[] = {"Global", "Local"};
enum { PLACES = 2 };

struct section {
    HANDLE handle;
    struct statistics_page page;
};

/* Two hashes (FNV-1a, from different beginnings) of the folded name. A collision costs the page, no more. */
static void section_name(wchar_t name[NAME_ROOM], const wchar_t *place, const struct slot_name *slot)
{
    uint64_t a = UINT64_C(0xcbf29ce484222325), b = UINT64_C(0x9e3779b97f4a7c15);
    for (const char *at = slot->folded; *at != '\0'; at++) {
        a = (a ^ (unsigned char) *at) * UINT64_C(0x100000001b3);
        b = (b ^ (unsigned char) *at) * UINT64_C(0x100000001b3);
    }
    (void) swprintf(name, NAME_ROOM, L"%ls\\" NAME_PREFIX L"%016llx%016llx", place, (unsigned long long) a,
                    (unsigned long long) b);
}

struct section *section_create(const struct slot_name *name, uint64_t max_message)
{
    PSECURITY_DESCRIPTOR security = NULL;
    struct section *section = memory_zalloc(sizeof *section);
    if (section == NULL || security_make_page(&security) != MR_OK)
        goto fail;
    SECURITY_ATTRIBUTES attributes = {.nLength = sizeof attributes, .lpSecurityDescriptor = security};
    for (int i = 0; i < PLACES && section->handle == NULL; i++) { /* S0, S1 */
        wchar_t text[NAME_ROOM];
        section_name(text, places[i], name);
        section->handle =
            CreateFileMappingW(INVALID_HANDLE_VALUE, &attributes, PAGE_READWRITE, 0, STATISTICS_PAGE_SIZE, text);
    }
    if (section->handle != NULL && !security_is_trusted(section->handle))
        goto fail; /* another user was there first, to see or change what others are shown */
    char *mapping =
        section->handle == NULL ? NULL : MapViewOfFile(section->handle, FILE_MAP_WRITE, 0, 0, STATISTICS_PAGE_SIZE);
    if (mapping == NULL)
        goto fail;
    char image[STATISTICS_PAGE_SIZE];
    statistics_page_image(image, name->display, max_message, GetCurrentProcessId());
    statistics_page_take_over(&section->page, mapping, image);
    LocalFree(security);
    return section;
fail:
    LocalFree(security);
    section_close(section);
    return NULL;
}

struct statistics_page *section_page(struct section *section)
{
    return section == NULL ? NULL : &section->page;
}

void section_close(struct section *section)
{
    if (section == NULL)
        return;
    if (section->page.layout != NULL) {
        statistics_page_end(&section->page);
        UnmapViewOfFile(section->page.layout);
    }
    if (section->handle != NULL)
        CloseHandle(section->handle);
    memory_free(section);
}

/* ---- looking ---- */

/* The page, mapped, and a whole copy of it; NULL: none, or its slot has left the name. */
static const void *section_read(const wchar_t *name, bool trusted, struct statistics_view *view)
{
    HANDLE handle = OpenFileMappingW(FILE_MAP_READ | READ_CONTROL, FALSE, name);
    if (handle == NULL)
        return NULL;
    const char *mapping =
        trusted && !security_is_trusted(handle)
            ? NULL
            : MapViewOfFile(handle, FILE_MAP_READ, 0, 0, STATISTICS_PAGE_SIZE); /* fails on a smaller one */
    CloseHandle(handle);                                                        /* the mapping keeps the section */
    enum statistics_image found = mapping == NULL ? IMAGE_NONE : IMAGE_TORN;
    for (int i = 0; i < READ_TRIES && found == IMAGE_TORN; i++) {
        char image[STATISTICS_PAGE_SIZE];
        uint32_t life = statistics_page_life(mapping);
        memcpy(image, mapping, sizeof image);
        found = life % 2 == 0 ? IMAGE_NONE : statistics_image_read(image, view);
        if (statistics_page_life(mapping) != life)
            found = IMAGE_TORN;
    }
    if (found == IMAGE_WHOLE)
        return mapping;
    section_unmap(mapping);
    return NULL;
}

void section_unmap(const void *mapping)
{
    if (mapping != NULL)
        UnmapViewOfFile(mapping);
}

static bool view_is_of(const struct statistics_view *view, const struct slot_name *name)
{
    struct slot_name *shown = memory_alloc(sizeof *shown);
    bool same = shown != NULL && name_parse(shown, view->display) == MR_OK && name_equal(shown, name);
    memory_free(shown);
    return same;
}

const void *section_look(const struct slot_name *name, struct statistics_view *view)
{
    for (int i = 0; i < PLACES; i++) {
        wchar_t text[NAME_ROOM];
        section_name(text, places[i], name);
        const void *mapping = section_read(text, true, view);
        if (mapping != NULL && view_is_of(view, name))
            return mapping;
        section_unmap(mapping);
    }
    return NULL;
}

/* ---- all of them ---- */

/* The system's object directories; not in its documentation's headers, but documented by name. */
typedef NTSTATUS(NTAPI *open_function)(HANDLE *handle, ACCESS_MASK access, OBJECT_ATTRIBUTES *attributes);
typedef NTSTATUS(NTAPI *query_function)(HANDLE handle, void *buffer, ULONG size, BOOLEAN single, BOOLEAN restart,
                                        ULONG *position, ULONG *length);
struct directory_entry {
    UNICODE_STRING name;
    UNICODE_STRING type;
};
enum { DIRECTORY_QUERY_RIGHT = 1, ENTRY_ROOM = 4096 };

static FARPROC system_function(const char *name)
{
    HMODULE system = GetModuleHandleW(L"ntdll.dll");
    return system == NULL ? NULL : GetProcAddress(system, name);
}

static HANDLE directory_open(int place)
{
    open_function open = (open_function) (void (*)(void)) system_function("NtOpenDirectoryObject");
    wchar_t path[NAME_ROOM] = L"\\BaseNamedObjects";
    DWORD session = 0;
    if (open == NULL || !ProcessIdToSessionId(GetCurrentProcessId(), &session))
        return NULL;
    if (place == 1 && session != 0)
        (void) swprintf(path, NAME_ROOM, L"\\Sessions\\%lu\\BaseNamedObjects", session);
    UNICODE_STRING text = {
        .Length = (USHORT) (wcslen(path) * sizeof path[0]), .MaximumLength = sizeof path, .Buffer = path};
    OBJECT_ATTRIBUTES attributes = {
        .Length = sizeof attributes, .ObjectName = &text, .Attributes = OBJ_CASE_INSENSITIVE};
    HANDLE handle;
    if (place == 1 && session == 0)
        return NULL; /* the session of services has one directory, which was looked at already */
    return open(&handle, DIRECTORY_QUERY_RIGHT, &attributes) >= 0 ? handle : NULL;
}

/* The entry's name with its place, where it is one of ours. */
static bool entry_name(const struct directory_entry *entry, const wchar_t *place, wchar_t name[NAME_ROOM])
{
    size_t prefix = wcslen(NAME_PREFIX), units = entry->name.Length / sizeof *entry->name.Buffer;
    if (units < prefix || units + wcslen(place) + 2 > NAME_ROOM ||
        wcsncmp(entry->name.Buffer, NAME_PREFIX, prefix) != 0)
        return false;
    return swprintf(name, NAME_ROOM, L"%ls\\%.*ls", place, (int) units, entry->name.Buffer) > 0;
}

int section_visit(int (*visit)(const struct statistics_view *view, const char *place, void *context), void *context)
{
    query_function query = (query_function) (void (*)(void)) system_function("NtQueryDirectoryObject");
    void *entry = memory_alloc(ENTRY_ROOM);
    struct statistics_view *view = memory_alloc(sizeof *view);
    int status = entry == NULL || view == NULL ? status_fail_plain(MR_E_MEMORY) : MR_OK;
    for (int place = 0; place < PLACES && query != NULL && status == MR_OK; place++) {
        HANDLE handle = directory_open(place);
        ULONG position = 0, length;
        BOOLEAN first = TRUE;
        wchar_t name[NAME_ROOM];
        /* The last answer is a warning or an error; 0 is an entry. */
        for (; handle != NULL && status == MR_OK &&
               query(handle, entry, ENTRY_ROOM, TRUE, first, &position, &length) == 0;
             first = FALSE) {
            const void *mapping = entry_name(entry, places[place], name) ? section_read(name, false, view) : NULL;
            if (mapping != NULL)
                status = visit(view, place_names[place], context);
            section_unmap(mapping);
        }
        if (handle != NULL)
            NtClose(handle);
    }
    memory_free(entry);
    memory_free(view);
    return status;
}
