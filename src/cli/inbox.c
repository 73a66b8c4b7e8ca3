/* inbox.c: from many callbacks to one writing thread.
 *
 * Path    on_message (workers) ► retain ► push ► system_wake ► inbox_take (main thread) ► output ► inbox_done: acknowledge
 * Owners  `newest`: pushed by any worker, emptied by the main thread. An entry belongs to the pusher until the
 *         exchange, then to the main thread, which frees it. The slots array belongs to the main thread.
 * I1      Who pushes onto an empty stack wakes the main thread, which looks again after each wake: no entry is left
 *         lying.
 * I2      A slot is paused before its flag is set, and whoever sees the flag resumes it. After setting the flag the
 *         callback looks at the bound again, after lowering the counts the main thread looks at the flags (all
 *         seq_cst): one of them sees the other.
 * I3      A message is acknowledged after it was written, by hand: what a killed program had not written, and what it did not
 *         want, is its writer's, where the lane acknowledges. Only what came by another lane is lost then.
 * P1/T1   push publishes the entry with release, take acquires it.
 * Order   Callbacks of one slot come one at a time, so its entries are pushed in order; the stack is turned round at
 *         once.
 */
#include "inbox.h"

#include <string.h>

#include <mailroom/status.h>

#include "command.h"
#include "queue/memory.h"
#include "system.h"

/* The bound of what waits for the output. The messages hold buffers of the library's pool, so it is well below the
 * pool's ceiling. */
#define PENDING_MESSAGES_MAX ((size_t) 32768)
#define PENDING_BYTES_MAX    ((size_t) 32 << 20)

static bool above(struct inbox *inbox, size_t divisor)
{
    return atomic_load_explicit(&inbox->pending_messages, memory_order_seq_cst) > PENDING_MESSAGES_MAX / divisor ||
           atomic_load_explicit(&inbox->pending_bytes, memory_order_seq_cst) > PENDING_BYTES_MAX / divisor;
}

/* I3: 1, if nobody has it any more when it is given back without having been acknowledged. */
static uint64_t lost_without(const mr_message *message)
{
    return mr_message_lane(message) != MR_LANE_RING;
}

static void resume_if_paused(struct inbox_slot *slot, mr_reader *reader)
{
    if (atomic_exchange_explicit(&slot->paused, false, memory_order_seq_cst)) {
        mr_reader_resume(reader);
    }
}

static void give_up(struct inbox *inbox)
{
    atomic_store_explicit(&inbox->failed, true, memory_order_release);
    system_wake();
}

static void on_message(mr_reader *reader, const mr_message *message, void *context)
{
    struct inbox_slot *slot = context;
    struct inbox *inbox = slot->inbox;
    uint64_t number = atomic_fetch_add_explicit(&inbox->accepted, 1, memory_order_relaxed) + 1;
    if (number >= inbox->limit) {
        mr_reader_pause(reader);
        system_wake();
    }
    if (number > inbox->limit) {
        atomic_fetch_add_explicit(&inbox->surplus, lost_without(message), memory_order_relaxed);
        return;
    }
    struct inbox_entry *entry = memory_alloc(sizeof(*entry));
    if (entry == NULL) {
        give_up(inbox);
        return;
    }
    entry->slot = slot;
    entry->message = mr_message_retain(message);
    atomic_fetch_add_explicit(&inbox->pending_messages, 1, memory_order_seq_cst);
    atomic_fetch_add_explicit(&inbox->pending_bytes, message->length, memory_order_seq_cst);
    struct inbox_entry *top = atomic_load_explicit(&inbox->newest, memory_order_relaxed);
    do {
        entry->next = top;
    } while (!atomic_compare_exchange_weak_explicit(&inbox->newest, &top, entry, memory_order_release,
                                                    memory_order_relaxed)); /* P1 */
    if (top == NULL) {
        system_wake();
    }
    if (above(inbox, 1)) {
        mr_reader_pause(reader);
        atomic_store_explicit(&slot->paused, true, memory_order_seq_cst); /* I2 */
        if (!above(inbox, 1)) {
            resume_if_paused(slot, reader);
        }
    }
}

int inbox_open(struct inbox *inbox, uint64_t limit)
{
    *inbox = (struct inbox){.limit = limit};
    return mr_port_open(&inbox->port, NULL);
}

int inbox_add(struct inbox *inbox, const char *name, const mr_reader_options *options)
{
    struct inbox_slot **slots = memory_realloc(inbox->slots, (inbox->count + 1) * sizeof(struct inbox_slot *));
    if (slots == NULL) {
        return MR_E_MEMORY;
    }
    inbox->slots = slots;
    struct inbox_slot *slot = memory_zalloc(sizeof(*slot));
    if (slot == NULL) {
        return MR_E_MEMORY;
    }
    slot->inbox = inbox;
    slot->index = inbox->count;
    mr_reader_options own = *options;
    own.port = inbox->port;
    own.on_message = on_message;
    own.context = slot;
    own.acknowledge_by_hand = 1; /* I3 */
    /* Callbacks may come before slot->reader is set: they use the reader that they are given. */
    int status = mr_reader_open(&slot->reader, name, &own);
    if (status != MR_OK) {
        memory_free(slot);
        return status;
    }
    char full[MR_NAME_MAX];
    if (mr_reader_get_name(slot->reader, full, sizeof(full)) == MR_OK) {
        const char *brief = name_short(full);
        memcpy(slot->name, brief, strlen(brief) + 1);
    }
    inbox->slots[inbox->count++] = slot;
    return MR_OK;
}

struct inbox_entry *inbox_take(struct inbox *inbox)
{
    struct inbox_entry *entry = atomic_exchange_explicit(&inbox->newest, NULL, memory_order_acquire); /* T1 */
    struct inbox_entry *oldest = NULL;
    while (entry != NULL) {
        struct inbox_entry *next = entry->next;
        entry->next = oldest;
        oldest = entry;
        entry = next;
    }
    return oldest;
}

uint64_t inbox_done(struct inbox *inbox, struct inbox_entry *first, const struct inbox_entry *end, uint64_t written)
{
    size_t messages = 0;
    size_t bytes = 0;
    uint64_t lost = 0;
    while (first != end) {
        struct inbox_entry *next = first->next;
        if (messages < written) {
            mr_message_acknowledge(first->message); /* I3 */
        } else {
            lost += lost_without(first->message);
        }
        messages++;
        bytes += first->message->length;
        mr_message_release(first->message);
        memory_free(first);
        first = next;
    }
    atomic_fetch_sub_explicit(&inbox->pending_messages, messages, memory_order_seq_cst);
    atomic_fetch_sub_explicit(&inbox->pending_bytes, bytes, memory_order_seq_cst);
    for (size_t i = 0; i < inbox->count && !above(inbox, 2); i++) {
        resume_if_paused(inbox->slots[i], inbox->slots[i]->reader); /* I2 */
    }
    return lost;
}

bool inbox_full(const struct inbox *inbox)
{
    return atomic_load_explicit(&inbox->accepted, memory_order_relaxed) >= inbox->limit;
}

void inbox_stop(struct inbox *inbox)
{
    for (size_t i = 0; i < inbox->count; i++) {
        mr_reader_stop(inbox->slots[i]->reader);
    }
}

uint64_t inbox_close(struct inbox *inbox)
{
    uint64_t lost = 0;
    for (size_t i = 0; i < inbox->count; i++) {
        uint64_t unread = 0;
        mr_reader_close(inbox->slots[i]->reader, &unread);
        lost += unread;
    }
    if (inbox->port != NULL) {
        mr_port_close(inbox->port);
    }
    struct inbox_entry *left = inbox_take(inbox);
    while (left != NULL) {
        struct inbox_entry *next = left->next;
        lost += lost_without(left->message);
        mr_message_release(left->message);
        memory_free(left);
        left = next;
    }
    for (size_t i = 0; i < inbox->count; i++) {
        memory_free(inbox->slots[i]);
    }
    memory_free(inbox->slots);
    return lost + atomic_load_explicit(&inbox->surplus, memory_order_relaxed);
}
