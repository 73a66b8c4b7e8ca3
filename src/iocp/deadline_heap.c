/* deadline_heap.c: a pairing heap.
 *
 * H1  A node's children are not earlier than the node.
 * H2  previous->child == node for a first child, previous->next == node for any other; the root has neither previous
 *     nor next. */
#include "iocp/deadline_heap.h"

#include <stdbool.h>
#include <stddef.h>

static bool earlier(const struct deadline *a, const struct deadline *b)
{
    return a->when != b->when ? a->when < b->when : a->order < b->order;
}

/* Makes one heap of two roots: the later becomes the first child of the earlier. */
static struct deadline *meld(struct deadline *a, struct deadline *b)
{
    if (a == NULL)
        return b;
    if (b == NULL)
        return a;
    if (earlier(b, a)) {
        struct deadline *swap = a;
        a = b;
        b = swap;
    }
    b->previous = a;
    b->next = a->child;
    if (b->next != NULL)
        b->next->previous = b;
    a->child = b;
    a->next = NULL;
    a->previous = NULL;
    return a;
}

/* Makes one heap of a list of siblings: pairs from left to right, then all of them from right to left. The two passes
 * are what keeps removal logarithmic. */
static struct deadline *meld_siblings(struct deadline *first)
{
    struct deadline *pairs = NULL;
    while (first != NULL) {
        struct deadline *a = first;
        struct deadline *b = a->next;
        first = b != NULL ? b->next : NULL;
        a->next = NULL;
        if (b != NULL)
            b->next = NULL;
        struct deadline *pair = meld(a, b);
        pair->next = pairs;
        pairs = pair;
    }
    struct deadline *root = NULL;
    while (pairs != NULL) {
        struct deadline *pair = pairs;
        pairs = pair->next;
        pair->next = NULL;
        root = meld(root, pair);
    }
    if (root != NULL)
        root->previous = NULL;
    return root;
}

void deadline_insert(struct deadline_heap *heap, struct deadline *node, uint64_t when)
{
    *node = (struct deadline){.when = when, .order = heap->inserted++};
    heap->root = meld(heap->root, node);
}

void deadline_remove(struct deadline_heap *heap, struct deadline *node)
{
    struct deadline *orphans = meld_siblings(node->child);
    if (heap->root == node) {
        heap->root = orphans;
    } else {
        if (node->previous->child == node)
            node->previous->child = node->next;
        else
            node->previous->next = node->next;
        if (node->next != NULL)
            node->next->previous = node->previous;
        heap->root = meld(heap->root, orphans);
    }
    node->child = node->next = node->previous = NULL;
}

struct deadline *deadline_first(const struct deadline_heap *heap)
{
    return heap->root;
}
