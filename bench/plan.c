/* plan.c: see plan.h. */
#include "plan.h"

#include <math.h>
#include <stdio.h>

unsigned plan_connections(const struct plan *plan)
{
    if (plan->every) {
        return plan->writers * plan->peer.slots;
    }
    return plan->writers > plan->peer.slots ? plan->writers : plan->peer.slots;
}

unsigned plan_slot(const struct plan *plan, unsigned connection)
{
    return connection % plan->peer.slots;
}

unsigned plan_writer_connections(const struct plan *plan, unsigned writer)
{
    if (plan->every) {
        return plan->peer.slots;
    }
    if (plan->writers >= plan->peer.slots) {
        return 1;
    }
    return (plan->peer.slots - writer + plan->writers - 1) / plan->writers;
}

unsigned plan_writer_connection(const struct plan *plan, unsigned writer, unsigned k)
{
    return plan->every ? writer * plan->peer.slots + k : writer + k * plan->writers;
}

bool plan_stamped(const struct plan *plan)
{
    return plan->rate > 0;
}

size_t plan_smallest(const struct plan *plan)
{
    return plan->sizes.minimum;
}

size_t plan_largest(const struct plan *plan)
{
    return plan->sizes.maximum;
}

const char *plan_complete(struct plan *plan)
{
    unsigned highest = 0;
    for (unsigned l = 0; l < PLAN_LEVELS_MAX; l++) {
        highest = plan->mix[l] > 0 ? l : highest;
    }
    plan->peer.levels = highest + 1;
    plan->peer.size = plan_largest(plan);
    if ((uint64_t) plan->writers * plan->peer.slots >= MESSAGE_CONNECTIONS) {
        return "too many slots times writers: messages can tell 16,777,215 connections apart";
    }
    plan->peer.connections = plan_connections(plan) + plan->idle;
    if (plan_smallest(plan) < MESSAGE_SHORT && plan_largest(plan) >= MESSAGE_SHORT) {
        return "messages below 8 bytes carry nothing that tells which they are: not together with larger ones";
    }
    if (plan_smallest(plan) < MESSAGE_SHORT && (highest > 0 || plan->idle > 0)) {
        return "messages below 8 bytes carry nothing that tells their level: all of them at one level";
    }
    if (plan_smallest(plan) < MESSAGE_FULL && plan_connections(plan) > MESSAGE_SHORT_CONNECTIONS) {
        return "messages below 24 bytes can tell 8,192 connections apart, not more";
    }
    if (plan_stamped(plan) && plan_smallest(plan) < MESSAGE_FULL) {
        return "messages below 24 bytes do not carry when they were to be sent: at a stated rate, 24 and up";
    }
    return NULL;
}

size_t sizes_pick(const struct sizes *sizes, uint64_t random)
{
    if (sizes->minimum == sizes->maximum) {
        return sizes->minimum;
    }
    switch (sizes->kind) {
    case SIZES_EVEN:
        return sizes->minimum + (size_t) (random % (sizes->maximum - sizes->minimum + 1));
    case SIZES_LOGARITHMIC: {
        double low = log((double) (sizes->minimum == 0 ? 1 : sizes->minimum));
        double part = (double) (random >> 11) / 9007199254740992.0;
        size_t size = (size_t) (exp(low + part * (log((double) sizes->maximum + 1) - low)));
        return size < sizes->minimum ? sizes->minimum : size > sizes->maximum ? sizes->maximum : size;
    }
    case SIZES_LIST:
        break;
    }
    unsigned weight = (unsigned) (random % sizes->weights);
    unsigned i = 0;
    while (weight >= sizes->weight[i]) {
        weight -= sizes->weight[i++];
    }
    return sizes->size[i];
}

uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}
