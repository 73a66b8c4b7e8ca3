/* slot_turn_linux.h: whose turn it is: first in, first out, each at most once.
 *
 * The node is part of the connection or session that waits for its turn. What the inner epoll set tells of says what it is
 * by the struct slot_source that its event points at. */
#ifndef SLOTS_SLOT_TURN_LINUX_H
#define SLOTS_SLOT_TURN_LINUX_H

#include <stdbool.h>
#include <stddef.h>

enum slot_source_kind {
    SOURCE_LISTENER,      /* struct slot_listener */
    SOURCE_NUDGE,         /* of the slot: another thread has made something possible again */
    SOURCE_CONNECTION,    /* struct connection: a plain one */
    SOURCE_GUEST,         /* struct ring_guest: a writer that has not said its hello yet */
    SOURCE_RING_SOCKET,   /* struct ring_session: its socket, */
    SOURCE_RING_DOORBELL, /* … and its doorbell */
};

struct slot_source {
    enum slot_source_kind kind;
};

struct slot_turn {
    struct slot_turn *next;
    bool queued; /* is in the list */
    bool ring;   /* part of a struct ring_session, else of a struct connection */
};

struct turn_list {
    struct slot_turn *first;
    struct slot_turn *last;
    size_t count;
};

/* At the end, unless it is in the list. */
static inline void turn_push(struct turn_list *list, struct slot_turn *turn)
{
    if (turn->queued)
        return;
    turn->queued = true;
    turn->next = NULL;
    if (list->first == NULL)
        list->first = turn;
    else
        list->last->next = turn;
    list->last = turn;
    list->count++;
}

static inline void turn_push_front(struct turn_list *list, struct slot_turn *turn)
{
    if (turn->queued)
        return;
    turn->queued = true;
    turn->next = list->first;
    if (list->first == NULL)
        list->last = turn;
    list->first = turn;
    list->count++;
}

static inline struct slot_turn *turn_pop(struct turn_list *list)
{
    struct slot_turn *turn = list->first;
    if (turn != NULL) {
        list->first = turn->next;
        list->count--;
        turn->queued = false;
    }
    return turn;
}

/* From anywhere in the list, if it is there. Takes time; for what goes for good. */
static inline void turn_remove(struct turn_list *list, struct slot_turn *turn)
{
    struct slot_turn *previous = NULL;
    struct slot_turn *at = list->first;
    while (at != NULL && at != turn) {
        previous = at;
        at = at->next;
    }
    if (at == NULL)
        return;
    if (previous == NULL)
        list->first = turn->next;
    else
        previous->next = turn->next;
    if (list->last == turn)
        list->last = previous;
    list->count--;
    turn->queued = false;
}

#endif
