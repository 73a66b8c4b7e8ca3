/* directory_linux.c: mr_slots_list and mr_slot_path.
 *
 * Path    slot directories > rendezvous_visit > copies, sorted > the caller's visit
 * Owners  The copies are this call's. The caller's visit runs when every directory is closed again, so it may open and close
 *         slots, or take its time.
 */
#include <mailroom/directory.h>

#include <stdlib.h>
#include <string.h>

#include "queue/memory.h"
#include "queue/status.h"
#include "slots/rendezvous_linux.h"

struct found {
    mr_slot_entry entry;
    char *folded; /* what the list is sorted by */
    char *display;
    char *directory;
    mr_reader_writer *writers;
};

struct catalogue {
    struct found *list;
    size_t count;
    size_t room;
};

static void found_free(struct found *found)
{
    memory_free(found->folded);
    memory_free(found->display);
    memory_free(found->directory);
    memory_free(found->writers);
}

static int found_copy(struct found *to, const struct rendezvous_entry *from)
{
    *to = (struct found){.folded = memory_strdup(from->name->folded),
                         .display = memory_strdup(from->name->display),
                         .directory = memory_strdup(from->directory)};
    if (to->folded == NULL || to->display == NULL || to->directory == NULL) {
        found_free(to);
        return status_fail(MR_E_MEMORY, 0, "no memory for the list of slots");
    }
    to->entry = (mr_slot_entry){.size = sizeof to->entry,
                                .name = to->display,
                                .directory = to->directory,
                                .pid = from->pid,
                                .uid = from->uid,
                                .readable = from->view != NULL};
    if (from->view == NULL)
        return MR_OK;
    statistics_view_show(from->view, &to->entry);
    if (from->view->writer_count > 0) {
        to->writers = memory_alloc(from->view->writer_count * sizeof *to->writers);
        if (to->writers == NULL) {
            found_free(to);
            return status_fail(MR_E_MEMORY, 0, "no memory for the list of slots");
        }
        memcpy(to->writers, from->view->writers, from->view->writer_count * sizeof *to->writers);
    }
    to->entry.writers = to->writers;
    return MR_OK;
}

static int catalogue_add(const struct rendezvous_entry *entry, void *context)
{
    struct catalogue *catalogue = context;
    if (catalogue->count == catalogue->room) {
        size_t room = catalogue->room == 0 ? 64 : 2 * catalogue->room;
        struct found *list = memory_realloc(catalogue->list, room * sizeof *list);
        if (list == NULL)
            return status_fail(MR_E_MEMORY, 0, "no memory for the list of slots");
        catalogue->list = list;
        catalogue->room = room;
    }
    int status = found_copy(&catalogue->list[catalogue->count], entry);
    if (status == MR_OK)
        catalogue->count++;
    return status;
}

static int found_compare(const void *left, const void *right)
{
    const struct found *a = left, *b = right;
    int order = strcmp(a->folded, b->folded);
    return order != 0 ? order : strcmp(a->directory, b->directory);
}

int mr_slots_list(int (*visit)(const mr_slot_entry *entry, void *context), void *context)
{
    if (visit == NULL)
        return status_fail(MR_E_ARGUMENT, 0, "mr_slots_list needs a function to call");
    struct catalogue catalogue = {0};
    int status = rendezvous_visit(catalogue_add, &catalogue);
    if (status == MR_OK && catalogue.count > 0) {
        qsort(catalogue.list, catalogue.count, sizeof *catalogue.list, found_compare);
        for (size_t i = 0; i < catalogue.count; i++)
            if (visit(&catalogue.list[i].entry, context) != 0)
                break;
    }
    for (size_t i = 0; i < catalogue.count; i++)
        found_free(&catalogue.list[i]);
    memory_free(catalogue.list);
    return status;
}

int mr_slot_path(const char *name, char *buffer, size_t size)
{
    if (buffer == NULL)
        return status_fail(MR_E_ARGUMENT, 0, "mr_slot_path needs a buffer");
    struct slot_name parsed;
    int status = name_parse(&parsed, name);
    return status == MR_OK ? rendezvous_path(&parsed, buffer, size) : status;
}
