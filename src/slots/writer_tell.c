/* writer_tell.c: calls back for messages that are finished.
 *
 * Path    `finished` > writer_tell, on a worker or the closing thread > on_posted
 *         dropped by a post > writer_tell_dropped, on the posting thread > on_posted
 *
 * Owners, invariants G1 to I11: writer_private.h. A frame belongs to its thread, on whose stack it is.
 */
#include "slots/writer_private.h"

#include "queue/memory.h"

static _Thread_local struct writer_frame *frames;

void message_list_append(struct message_list *list, struct writer_message *message)
{
    message->node.next = NULL;
    if (list->last != NULL)
        list->last->node.next = &message->node;
    else
        list->first = message;
    list->last = message;
}

struct writer_message *message_list_take(struct message_list *list)
{
    struct writer_message *message = list->first;
    if (message != NULL) {
        list->first = message_of(message->node.next);
        if (list->first == NULL)
            list->last = NULL;
    }
    return message;
}

struct writer_frame *writer_frame_of(const mr_writer *w)
{
    struct writer_frame *frame = frames;
    while (frame != NULL && frame->writer != w)
        frame = frame->outer;
    return frame;
}

/* Calls back for `message`, then for what posts inside the callbacks dropped. */
static void frame_tell(struct writer_frame *frame, struct writer_message *message)
{
    while (message != NULL) {
        message->on_posted(frame->writer, message->status, message->context);
        memory_free(message);
        message = message_list_take(&frame->dropped);
    }
}

bool writer_tell(mr_writer *w)
{
    if (w->posting == NULL || w->posting->finished.first == NULL)
        return false;
    struct writer_frame frame = {.writer = w, .outer = frames};
    frames = &frame;
    struct writer_message *message = message_list_take(&w->posting->finished);
    while (message != NULL) {
        writer_unlock(w);
        frame_tell(&frame, message);
        writer_lock(w);
        w->posting->told_total++;
        message = message_list_take(&w->posting->finished);
    }
    frames = frame.outer;
    return frame.close;
}

bool writer_tell_dropped(mr_writer *w, struct message_list *dropped)
{
    struct writer_message *message = message_list_take(dropped);
    if (message == NULL)
        return false;
    struct writer_frame *outer = writer_frame_of(w);
    if (outer != NULL) {
        for (; message != NULL; message = message_list_take(dropped))
            message_list_append(&outer->dropped, message);
        return false;
    }
    struct writer_frame frame = {.writer = w, .outer = frames};
    frames = &frame;
    for (; message != NULL; message = message_list_take(dropped))
        frame_tell(&frame, message);
    frames = frame.outer;
    return frame.close;
}
