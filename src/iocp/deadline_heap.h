/* deadline_heap.h: the deadlines of a port, earliest first.
 *
 * A pairing heap whose nodes lie inside the caller's objects, so that nothing is allocated and nothing can fail.
 * Inserting is O(1), removing any node O(log n) amortised. Equal times leave in the order in which they were inserted.
 * No lock of its own: the port's lock guards it. */
#ifndef IOCP_DEADLINE_HEAP_H
#define IOCP_DEADLINE_HEAP_H

#include <stdint.h>

struct deadline {
    struct deadline *child;    /* the first of this node's children */
    struct deadline *next;     /* the next child of the same parent */
    struct deadline *previous; /* the child before, or the parent; NULL for the root */
    uint64_t when;
    uint64_t order;
};

struct deadline_heap {
    struct deadline *root;
    uint64_t inserted;
};

void deadline_insert(struct deadline_heap *heap, struct deadline *node, uint64_t when);
void deadline_remove(struct deadline_heap *heap, struct deadline *node);

/* The earliest, or NULL. It stays in the heap. */
struct deadline *deadline_first(const struct deadline_heap *heap);

#endif
