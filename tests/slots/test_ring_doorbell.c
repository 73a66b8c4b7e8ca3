/* test_ring_doorbell.c: a writer that only rings its doorbell: what each ring costs the slot, and how little it takes from
 * another writer. The costs are counted in looks at the system, and demanded; the rates depend on the machine, and are
 * printed. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lane.h"
#include "queue/thread.h"
#include "slot_support_linux.h"
#include "slots/backend.h"
#include "slots/slot_message.h"

#define MESSAGES 20000u
#define BATCH    200u

static struct {
    slot *slot;
    struct buffer_pool *pool;
    mr_reader_options options;
    struct sockaddr_un address;
    struct honest honest;
    struct honest ringer; /* keeps the rules but for its doorbell */
    bool ring_in_callback;
    uint64_t delivered;
    uint64_t looks;
    _Atomic bool stop;
    _Atomic uint64_t rings;
} w;

int __real_epoll_wait(int set, struct epoll_event *events, int room, int timeout);
int __wrap_epoll_wait(int set, struct epoll_event *events, int room, int timeout);
int __wrap_epoll_wait(int set, struct epoll_event *events, int room, int timeout)
{
    w.looks++;
    return __real_epoll_wait(set, events, room, timeout);
}

static void ring(void)
{
    uint64_t one = 1;
    CHECK_EQ(write(w.ringer.doorbell, &one, sizeof one), sizeof one);
    atomic_fetch_add_explicit(&w.rings, 1, memory_order_relaxed);
}

static enum slot_delivered deliver(void *context, struct buffer *buffer)
{
    const struct mr_message *message = &slot_message_of(buffer)->public;
    (void) context;
    honest_receive(&w.honest, message->priority, message->sequence, message->data, message->length);
    w.delivered++;
    if (w.ring_in_callback)
        ring();
    return DELIVERED_DONE;
}

static enum slot_taken take(size_t messages)
{
    struct slot_budget budget = {.messages = messages, .bytes = SIZE_MAX};
    size_t wanted;
    return slot_take(w.slot, NULL, &budget, &wanted);
}

static void begin(void)
{
    struct slot_name name;
    struct pool_options pool = {.urgent_share = POOL_SHARE_DEFAULT, .header_bytes = sizeof(struct slot_message)};
    slots_begin();
    w.options = (mr_reader_options) MR_READER_OPTIONS_INIT;
    w.options.max_message = 4096;
    w.options.levels = 2;
    w.options.connections_per_uid = 8;
    w.pool = pool_open(&pool);
    CHECK(w.pool != NULL);
    CHECK_STATUS(name_parse(&name, "bell"), MR_OK);
    struct slot_config config = {.name = &name, .options = &w.options, .pool = w.pool, .deliver = deliver};
    CHECK_STATUS(slot_open(&w.slot, &config), MR_OK);
    w.address = plain_address("bell");
    char *suffix = strrchr(w.address.sun_path, '.');
    CHECK(suffix != NULL && strcmp(suffix, ".sock") == 0);
    memcpy(suffix, ".ring", sizeof ".ring");
    honest_connect(&w.honest, &w.address);
    honest_connect(&w.ringer, &w.address);
    CHECK_EQ(take(16), SLOT_EMPTY);
    honest_listen(&w.honest);
    honest_listen(&w.ringer);
    CHECK(w.honest.doorbell >= 0 && w.ringer.doorbell >= 0);
}

static void end(void)
{
    uint64_t lost;
    honest_end(&w.honest);
    honest_end(&w.ringer);
    slot_close(w.slot, false, &lost);
    CHECK_EQ(lost, 0);
    CHECK_EQ(pool_close(w.pool), 0);
}

/* BATCH messages at a time; the number of calls of slot_take. */
static uint64_t pass_messages(uint64_t messages)
{
    uint64_t takes = 0;
    for (uint64_t sent = 0; sent < messages; sent += BATCH) {
        for (unsigned i = 0; i < BATCH; i++)
            CHECK(honest_write(&w.honest, MR_NORMAL, 64, false) != HONEST_FULL);
        do
            takes++;
        while (take(256) != SLOT_EMPTY || !honest_is_delivered(&w.honest));
    }
    return takes;
}

TEST(ring_doorbell, a_ring_without_a_message_costs_a_few_looks)
{
    begin();
    for (unsigned i = 0; i < 1000; i++) {
        for (unsigned rings = 0; rings <= i % 50; rings++)
            ring();
        w.looks = 0;
        CHECK_EQ(take(256), SLOT_EMPTY);
        CHECK_MSG(w.looks <= 4, "%llu looks at the system after %u rings", (unsigned long long) w.looks, i % 50 + 1);
        CHECK(!slot_holds(w.slot));
    }
    CHECK_EQ(w.delivered, 0);
    end();
}

TEST(ring_doorbell, rings_between_messages_do_not_add_looks)
{
    begin();
    w.ring_in_callback = true;
    w.looks = 0;
    uint64_t takes = pass_messages(MESSAGES);
    CHECK_EQ(w.delivered, MESSAGES);
    /* One after each 64 messages; two or three for a call that comes to an end; and where a callback was late. */
    CHECK_MSG(w.looks <= MESSAGES / 16 + 8 * takes, "%llu looks at the system for %u messages in %llu calls",
              (unsigned long long) w.looks, MESSAGES, (unsigned long long) takes);
    end();
}

static void ring_on(void *argument)
{
    (void) argument;
    while (!atomic_load_explicit(&w.stop, memory_order_relaxed))
        ring();
}

static double rate(uint64_t messages)
{
    uint64_t began = clock_now();
    (void) pass_messages(messages);
    return (double) messages * 1e9 / (double) (clock_now() - began);
}

TEST(ring_doorbell, another_writer_keeps_its_rate)
{
    double alone = 0, beside = 0;
    uint64_t messages = test_campaign() ? 50 * (uint64_t) MESSAGES : 2 * (uint64_t) MESSAGES;
    begin();
    (void) rate(messages / 4);
    for (unsigned round = 0; round < 5;
         round++) { /* the best of five, one after another: the machine is others', too */
        thread ringer;
        double now = rate(messages);
        alone = now > alone ? now : alone;
        atomic_store(&w.stop, false);
        CHECK_STATUS(thread_start(&ringer, "ringer", ring_on, NULL), MR_OK);
        now = rate(messages);
        beside = now > beside ? now : beside;
        atomic_store(&w.stop, true);
        thread_join(ringer);
    }
    CHECK(honest_is_delivered(&w.honest));
    printf("64 B, one writer alone: %.2f M/s; beside one that rings all the time (%llu times): %.2f M/s, %.0f %%\n",
           alone / 1e6, (unsigned long long) atomic_load(&w.rings), beside / 1e6, 100 * beside / alone);
    end();
}
