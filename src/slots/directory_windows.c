/* directory_windows.c: mr_slots_list and mr_slot_path.
 *
 * Path    statistics pages (slots of this library) + the system's own list of mailslots (all the others) > sorted, each name
 *         once, companions left out > the caller's visit
 * Owners  The copies are this call's. The visit runs when everything is closed again.
 *
 * The system's list is FindFirstFileW on \\.\mailslot\*, which is documented by use only. Where it does not work (Wine), slots
 * of other programs are not seen.
 */
#include <mailroom/directory.h>

#include <stdlib.h>
#include <string.h>

#include <windows.h>

#include "queue/memory.h"
#include "queue/status.h"
#include "slots/name.h"
#include "slots/statistics_page_windows.h"
#include "slots/wide_windows.h"

#define SYSTEM_PLACE "\\\\.\\mailslot"

struct found {
    mr_slot_entry entry;
    char *folded; /* what the list is sorted by */
    char *display;
};

struct catalogue {
    struct found *list;
    size_t count;
    size_t room;
    struct slot_name name; /* too large for a stack */
};

static int catalogue_add(struct catalogue *catalogue, const char *display, const mr_slot_entry *entry)
{
    if (name_parse(&catalogue->name, display) != MR_OK)
        return MR_OK; /* not a name that could be opened */
    if (catalogue->count == catalogue->room) {
        size_t room = catalogue->room == 0 ? 64 : 2 * catalogue->room;
        struct found *list = memory_realloc(catalogue->list, room * sizeof *list);
        if (list == NULL)
            return status_fail(MR_E_MEMORY, 0, "no memory for the list of slots");
        catalogue->list = list;
        catalogue->room = room;
    }
    struct found found = {.entry = *entry,
                          .folded = memory_strdup(catalogue->name.folded),
                          .display = memory_strdup(catalogue->name.display)};
    if (found.folded == NULL || found.display == NULL) {
        memory_free(found.folded);
        memory_free(found.display);
        return status_fail(MR_E_MEMORY, 0, "no memory for the list of slots");
    }
    found.entry.name = found.display;
    catalogue->list[catalogue->count++] = found;
    return MR_OK;
}

static int page_add(const struct statistics_view *view, const char *place, void *context)
{
    mr_slot_entry entry = {
        .size = sizeof entry, .directory = place, .pid = view->owner, .uid = UINT32_MAX, .readable = 1};
    statistics_view_show(view, &entry); /* nobody's writers: the native lane does not tell them */
    entry.writer_count = 0;
    entry.writers_total = 0;
    return catalogue_add(context, view->display, &entry);
}

static int system_add(struct catalogue *catalogue)
{
    const mr_slot_entry entry = {.size = sizeof entry, .directory = SYSTEM_PLACE, .uid = UINT32_MAX};
    WIN32_FIND_DATAW data;
    HANDLE search = FindFirstFileW(L"\\\\.\\mailslot\\*", &data);
    if (search == INVALID_HANDLE_VALUE)
        return MR_OK;
    int status = MR_OK;
    do {
        char *name = wide_to_utf8(data.cFileName, wcslen(data.cFileName));
        if (name != NULL && name[0] != '\0')
            status = catalogue_add(catalogue, name, &entry);
        memory_free(name);
    } while (status == MR_OK && FindNextFileW(search, &data));
    FindClose(search);
    return status;
}

/* By name; of the same name the one with a page first. */
static int found_compare(const void *left, const void *right)
{
    const struct found *a = left, *b = right;
    int order = strcmp(a->folded, b->folded);
    return order != 0 ? order : b->entry.readable - a->entry.readable;
}

/* Is it NAME\~LEVEL of a slot that has a page? Those are listed as one slot. */
static bool is_companion(const struct catalogue *catalogue, const struct found *found)
{
    const char *mark = strrchr(found->folded, '\\');
    if (mark == NULL || mark[1] != '~' || mark[2] < '1' || mark[2] > '7' || mark[3] != '\0')
        return false;
    size_t length = (size_t) (mark - found->folded);
    for (size_t i = 0; i < catalogue->count; i++) {
        const struct found *slot = &catalogue->list[i];
        if (slot->entry.readable && strncmp(slot->folded, found->folded, length) == 0 && slot->folded[length] == '\0')
            return true;
    }
    return false;
}

static bool is_shown(const struct catalogue *catalogue, size_t i)
{
    const struct found *list = catalogue->list;
    if (i > 0 && strcmp(list[i].folded, list[i - 1].folded) == 0)
        return false;
    return list[i].entry.readable || !is_companion(catalogue, &list[i]);
}

int mr_slots_list(int (*visit)(const mr_slot_entry *entry, void *context), void *context)
{
    if (visit == NULL)
        return status_fail(MR_E_ARGUMENT, 0, "mr_slots_list needs a function to call");
    struct catalogue *catalogue = memory_zalloc(sizeof *catalogue);
    if (catalogue == NULL)
        return status_fail_plain(MR_E_MEMORY);
    int status = section_visit(page_add, catalogue);
    if (status == MR_OK)
        status = system_add(catalogue);
    if (status == MR_OK && catalogue->count > 0) {
        qsort(catalogue->list, catalogue->count, sizeof *catalogue->list, found_compare);
        for (size_t i = 0; i < catalogue->count; i++)
            if (is_shown(catalogue, i) && visit(&catalogue->list[i].entry, context) != 0)
                break;
    }
    for (size_t i = 0; i < catalogue->count; i++) {
        memory_free(catalogue->list[i].folded);
        memory_free(catalogue->list[i].display);
    }
    memory_free(catalogue->list);
    memory_free(catalogue);
    return status;
}

int mr_slot_path(const char *name, char *buffer, size_t size)
{
    (void) size;
    if (name == NULL || buffer == NULL)
        return status_fail(MR_E_ARGUMENT, 0, "mr_slot_path needs a name and a buffer");
    return status_fail(MR_E_UNSUPPORTED, 0, "slots have no sockets on Windows: programs open %s itself", name);
}
