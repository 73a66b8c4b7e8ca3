/* test_deadline_heap.c: the heap against a plain array, random operations. */
#include <stdlib.h>

#include "iocp/deadline_heap.h"
#include "test.h"

enum { NODES = 300 };

static uint64_t state;

static uint32_t random_below(uint32_t bound)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t) ((state >> 33) % bound);
}

/* The model: which nodes are inside, and in which order they went in. */
static struct deadline nodes[NODES];
static bool inside[NODES];
static unsigned order[NODES];

static int model_first(void)
{
    int best = -1;
    for (int i = 0; i < NODES; i++)
        if (inside[i] && (best < 0 || nodes[i].when < nodes[best].when ||
                          (nodes[i].when == nodes[best].when && order[i] < order[best])))
            best = i;
    return best;
}

TEST(deadline_heap, random_operations_agree_with_an_array)
{
    struct deadline_heap heap = {0};
    state = test_seed();
    unsigned steps = test_campaign() ? 20000000 : 40000;
    for (unsigned step = 0; step < steps; step++) {
        uint32_t i = random_below(NODES);
        /* Long stretches in which it mostly grows, then mostly shrinks; few different times, so that many are equal. */
        bool grow = random_below(100) < ((step / 1000) % 2 == 0 ? 80u : 20u);
        if (grow && !inside[i]) {
            order[i] = step;
            deadline_insert(&heap, &nodes[i], random_below(50));
            inside[i] = true;
        } else if (!grow && random_below(2) == 0 && inside[i]) {
            deadline_remove(&heap, &nodes[i]);
            inside[i] = false;
        } else if (!grow && deadline_first(&heap) != NULL) {
            struct deadline *first = deadline_first(&heap);
            deadline_remove(&heap, first);
            inside[first - nodes] = false;
        }
        int expected = model_first();
        CHECK(deadline_first(&heap) == (expected < 0 ? NULL : &nodes[expected]));
    }
}

TEST(deadline_heap, sorts_what_went_in)
{
    struct deadline_heap heap = {0};
    static struct deadline many[100000];
    state = test_seed();
    for (size_t i = 0; i < sizeof many / sizeof *many; i++)
        deadline_insert(&heap, &many[i], (uint64_t) random_below(1u << 30) << 20);
    uint64_t last = 0;
    for (size_t i = 0; i < sizeof many / sizeof *many; i++) {
        struct deadline *first = deadline_first(&heap);
        CHECK(first != NULL && first->when >= last);
        last = first->when;
        deadline_remove(&heap, first);
    }
    CHECK(deadline_first(&heap) == NULL);
}
