/* peer_tools.c: see peer_tools.h.
 *
 * Path    slot_threads_run ► thread_start for slots 1 and up ► receive(slot 0) here ► thread_join ► the first error
 * Owners  A slot's task belongs to its thread until that has been joined.
 * I1      Every thread that was started is joined before slot_threads_run returns, errors included: each `receive` ends by
 *         itself once *stop is set.
 */
#include "peer_tools.h"

#include <stdio.h>

#include "queue/memory.h"
#include "queue/thread.h"

int peer_path(char *text, size_t room, const char *prefix, const struct peer_options *options, const char *kind,
              unsigned number)
{
    int length = snprintf(text, room, "%s%s/%s-%u", prefix, options->directory, kind, number);
    if (length < 0 || (size_t) length >= room)
        return status_fail(MR_E_NAME, 0, "the path %s/%s-%u is too long; set TMPDIR to a shorter one",
                           options->directory, kind, number);
    return MR_OK;
}

unsigned depth_for(size_t size, size_t bytes, unsigned least, unsigned most)
{
    size_t depth = size == 0 ? most : bytes / size;
    if (depth < least)
        return least;
    return depth > most ? most : (unsigned) depth;
}

struct slot_task {
    slot_receive receive;
    void *reader;
    peer_sink sink;
    void *context;
    const atomic_bool *stop;
    unsigned slot;
    int status;
    struct status_memo memo; /* of a status that is an error: the sentence belongs to the thread */
    thread thread;
};

static void slot_task_run(void *argument)
{
    struct slot_task *task = argument;
    task->status = task->receive(task->reader, task->slot, task->sink, task->context, task->stop);
    if (task->status != MR_OK)
        status_save(&task->memo);
}

int slot_threads_run(unsigned slots, slot_receive receive, void *reader, peer_sink sink, void *context,
                     const atomic_bool *stop)
{
    struct slot_task *tasks = memory_calloc(slots, sizeof *tasks);
    if (tasks == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for %u threads", slots);
    unsigned started = 1;
    int status = MR_OK;
    for (unsigned slot = 0; slot < slots; slot++)
        tasks[slot] = (struct slot_task){receive, reader, sink, context, stop, slot, MR_OK, {0}, {0}};
    for (; started < slots && status == MR_OK; started++) {
        status = thread_start(&tasks[started].thread, "bench-slot", slot_task_run, &tasks[started]);
        if (status != MR_OK)
            break;
    }
    slot_task_run(&tasks[0]);
    struct status_memo memo;
    if (status != MR_OK)
        status_save(&memo);
    for (unsigned slot = 0; slot < started; slot++) {
        if (slot > 0)
            thread_join(tasks[slot].thread);
        if (status == MR_OK && tasks[slot].status != MR_OK) {
            status = tasks[slot].status;
            memo = tasks[slot].memo;
        }
    }
    memory_free(tasks);
    if (status != MR_OK)
        status_restore(&memo);
    return status;
}
