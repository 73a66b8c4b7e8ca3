/* test_writer_model.c: a writer on a link in memory, used by several threads at random while its slots fill, drain,
 * vanish and refuse. However it went: every message has one result, those with success have arrived once, those without
 * have not, each thread's messages of a level have kept their order, and the writer's counters agree. On a link that
 * acknowledges, a message may come again, marked so, and whatever was dropped is told to the slot.
 *
 * Path    actor threads > mr_writer_* > link_fake.c > its log, which is compared with what each message was told. */
#include <mailroom/mailroom.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../queue/random.h"
#include "link_fake.h"
#include "queue/thread.h"
#include "test.h"
#include "test_nap.h"

enum { ACTORS = 4, OPERATIONS = 1500, LEVELS = 3 };

struct record {
    uint64_t number;
    uint32_t level;
    bool posted;
    bool untold;      /* posted without on_posted */
    int status;       /* of a write, or of a post that was not taken */
    _Atomic int told; /* times that on_posted was called */
    _Atomic int told_status;
    unsigned arrived;
};

struct actor {
    struct model *model;
    struct random random;
    struct record records[OPERATIONS];
    size_t count;
    thread thread;
};

struct model {
    mr_writer *writer;
    mr_writer_options options;
    bool acknowledges;
    struct random random;
    struct actor actors[ACTORS];
    _Atomic bool over;
};

static void on_told(mr_writer *writer, int status, void *context)
{
    (void) writer;
    struct record *record = context;
    atomic_store_explicit(&record->told_status, status, memory_order_relaxed);
    atomic_fetch_add_explicit(&record->told, 1, memory_order_release);
}

static struct record *record_new(struct actor *actor, uint32_t level)
{
    struct record *record = &actor->records[actor->count];
    record->number = (uint64_t) (actor - actor->model->actors) << 32 | actor->count;
    record->level = level;
    actor->count++;
    return record;
}

static void actor_write(struct actor *actor, uint32_t level)
{
    struct record *record = record_new(actor, level);
    uint32_t timeout = (uint32_t) random_below(&actor->random, 3) * 4;
    char data[64] = {0};
    memcpy(data, &record->number, sizeof record->number);
    size_t length = sizeof record->number + (size_t) random_below(&actor->random, 40);
    record->status = mr_writer_write_timed(actor->model->writer, data, length, level, timeout);
}

static void actor_post(struct actor *actor, uint32_t level)
{
    struct record *record = record_new(actor, level);
    record->posted = true;
    record->untold = random_below(&actor->random, 4) == 0;
    char data[64] = {0};
    memcpy(data, &record->number, sizeof record->number);
    size_t length = sizeof record->number + (size_t) random_below(&actor->random, 40);
    record->status = mr_writer_post(actor->model->writer, data, length, level, record->untold ? NULL : on_told, record);
}

static void actor_run(void *argument)
{
    struct actor *actor = argument;
    mr_writer *writer = actor->model->writer;
    while (actor->count < OPERATIONS) {
        uint32_t level = (uint32_t) random_below(&actor->random, LEVELS);
        uint64_t what = random_below(&actor->random, 100);
        int status = MR_OK;
        if (what < 30) {
            actor_write(actor, level);
        } else if (what < 95) {
            actor_post(actor, level);
        } else if (what < 98) {
            status = mr_writer_flush(writer, (uint32_t) random_below(&actor->random, 5));
            CHECK(status == MR_OK || status == MR_E_TIMEOUT || status == MR_E_DROPPED ||
                  (actor->model->acknowledges && (status == MR_E_ACCESS || status == MR_E_OWNER ||
                                                  status == MR_E_DESCRIPTORS || status == MR_E_SYSTEM)));
        } else if (what < 99 &&
                   !actor->model->acknowledges) { /* a rename would leave behind what success was told of */
            status = mr_writer_rename(writer, fake_name((uint32_t) random_below(&actor->random, 2)));
            CHECK(status == MR_OK || status == MR_E_UNDELIVERED);
        } else {
            mr_writer_statistics statistics = {.size = sizeof statistics};
            CHECK_STATUS(mr_writer_get_statistics(writer, &statistics), MR_OK);
        }
    }
}

/* Weather: what slots do while they are written to. */
static void weather_run(void *argument)
{
    struct model *model = argument;
    static const int answers[] = {MR_E_ACCESS, MR_E_OWNER, MR_E_TIMEOUT, MR_E_DESCRIPTORS};
    static const int faults[] = {MR_E_FULL, MR_E_GONE, MR_E_SYSTEM};
    while (!atomic_load_explicit(&model->over, memory_order_acquire)) {
        uint32_t slot = (uint32_t) random_below(&model->random, 2);
        switch (random_below(&model->random, model->acknowledges ? 9 : 8)) {
        case 0:
            fake_live(slot, false);
            break;
        case 1:
            fake_connect_result(slot, answers[random_below(&model->random, 4)]);
            break;
        case 2:
            fake_capacity(slot, (size_t) random_below(&model->random, 20));
            break;
        case 3:
            fake_send_fault(random_below(&model->random, 50), faults[random_below(&model->random, 3)]);
            break;
        case 4:
            fake_max_message(slot, 30 + (size_t) random_below(&model->random, 40));
            break;
        case 8:
            fake_refuse(slot);
            fake_drain(slot, (size_t) random_below(&model->random, 30));
            break;
        default:
            fake_live(slot, true);
            fake_connect_result(slot, MR_OK);
            fake_drain(slot, (size_t) random_below(&model->random, 200));
            break;
        }
        test_nap(random_below(&model->random, 300000));
    }
    for (uint32_t slot = 0; slot < 2; slot++) {
        fake_connect_result(slot, MR_OK);
        fake_max_message(slot, 0);
        fake_capacity(slot, 0);
        fake_live(slot, true);
        fake_drain_always(slot, true);
    }
}

static struct record *record_of(struct model *model, uint64_t number)
{
    uint64_t actor = number >> 32;
    uint64_t index = number & UINT32_MAX;
    CHECK(actor < ACTORS && index < model->actors[actor].count);
    return &model->actors[actor].records[index];
}

static uint64_t arrivals_check(struct model *model, uint64_t *gaps)
{
    static struct fake_entry log[FAKE_LOG_MAX];
    size_t total = fake_log(log, 0, FAKE_LOG_MAX);
    uint64_t last[ACTORS][LEVELS] = {0};
    uint64_t arrived = 0;
    *gaps = 0;
    for (size_t n = 0; n < total; n++) {
        *gaps += log[n].gap;
        if (log[n].gap > 0)
            continue;
        if (log[n].redelivered) {
            CHECK_EQ(record_of(model, log[n].number)->arrived, 1u);
            continue;
        }
        arrived++;
        struct record *record = record_of(model, log[n].number);
        CHECK_EQ(log[n].level, record->level);
        CHECK_EQ(++record->arrived, 1u);
        uint64_t actor = log[n].number >> 32;
        uint64_t index = (log[n].number & UINT32_MAX) + 1;
        CHECK_MSG(index > last[actor][record->level], "actor %llu level %u: %llu came after %llu",
                  (unsigned long long) actor, record->level, (unsigned long long) index,
                  (unsigned long long) last[actor][record->level]);
        last[actor][record->level] = index;
    }
    return arrived;
}

static void record_check(const struct record *record, uint64_t by_told[32])
{
    bool taken = record->posted && record->status == MR_OK;
    int told = atomic_load_explicit(&record->told, memory_order_acquire);
    int status = atomic_load_explicit(&record->told_status, memory_order_relaxed);
    CHECK_EQ(told, taken && !record->untold ? 1 : 0);
    if (told == 1) {
        by_told[-status]++;
        CHECK_EQ(record->arrived, status == MR_OK ? 1u : 0u);
        CHECK_MSG(status == MR_OK || status == MR_E_DROPPED || status == MR_E_TOO_BIG || status == MR_E_ACCESS ||
                      status == MR_E_UNDELIVERED,
                  "told %s", mr_status_name(status));
    } else if (!taken) {
        CHECK_EQ(record->arrived, !record->posted && record->status == MR_OK ? 1u : 0u);
    }
}

static void model_run(uint64_t seed, mr_policy policy, mr_port *port, bool acknowledges)
{
    struct model *model = calloc(1, sizeof *model);
    CHECK(model != NULL);
    model->random.state = seed;
    model->acknowledges = acknowledges;
    fake_acknowledges(acknowledges);
    for (uint32_t slot = 0; slot < 2; slot++)
        fake_drain_always(slot, false);
    mr_writer_options_init(&model->options);
    model->options.port = port;
    model->options.levels = LEVELS;
    model->options.policy = policy;
    model->options.queue_messages = 1 + (uint32_t) random_below(&model->random, 200);
    model->options.timeout_ms = 1 + (uint32_t) random_below(&model->random, 10);
    model->options.backoff_min_ms = 1;
    model->options.backoff_max_ms = 4;
    model->options.when_absent = acknowledges && random_below(&model->random, 2) == 0 ? MR_KEEP : MR_FAIL;
    model->options.linger_ms = (uint32_t) random_below(&model->random, 3) * 10;
    CHECK_STATUS(mr_writer_open(&model->writer, fake_name(0), &model->options), MR_OK);
    fake_log_clear();
    fake_send_time(random_below(&model->random, 2) * 20000); /* so that withdrawals and drops meet what is being sent */
    thread weather;
    for (size_t n = 0; n < ACTORS; n++) {
        model->actors[n].model = model;
        model->actors[n].random.state = random_next(&model->random);
    }
    CHECK_STATUS(thread_start(&weather, "weather", weather_run, model), MR_OK);
    for (size_t n = 0; n < ACTORS; n++)
        CHECK_STATUS(thread_start(&model->actors[n].thread, "actor", actor_run, &model->actors[n]), MR_OK);
    for (size_t n = 0; n < ACTORS; n++)
        thread_join(model->actors[n].thread);
    atomic_store_explicit(&model->over, true, memory_order_release);
    thread_join(weather);
    /* what the last reader left is waited for here, because a close counts it as undelivered, though it has arrived */
    bool flush = acknowledges || random_below(&model->random, 2) == 0;
    if (flush) {
        int status;
        do
            status = mr_writer_flush(model->writer, MR_FOREVER);
        while (status == MR_E_ACCESS); /* a refusal that nobody has met yet */
        CHECK(status == MR_OK || status == MR_E_DROPPED);
    }
    mr_writer_statistics counts = {.size = sizeof counts};
    CHECK_STATUS(mr_writer_get_statistics(model->writer, &counts), MR_OK);
    uint64_t undelivered;
    int status = mr_writer_close(model->writer, &undelivered);
    CHECK_STATUS(status, undelivered > 0 ? MR_E_UNDELIVERED : MR_OK);
    uint64_t gaps, arrived = arrivals_check(model, &gaps);
    uint64_t by_told[32] = {0};
    uint64_t taken = 0, silent = 0;
    for (size_t n = 0; n < ACTORS; n++) {
        for (size_t i = 0; i < model->actors[n].count; i++) {
            const struct record *record = &model->actors[n].records[i];
            record_check(record, by_told);
            taken += record->posted && record->status == MR_OK;
            silent += record->posted && record->status == MR_OK && record->untold;
        }
    }
    if (flush) {
        CHECK_EQ(undelivered, 0u);
        CHECK_EQ(counts.posted, taken);
        CHECK_EQ(counts.written, arrived);
        CHECK_EQ(counts.waiting, 0u);
        CHECK(counts.dropped_oldest >= by_told[-MR_E_DROPPED]);
        CHECK(counts.dropped_refused >= by_told[-MR_E_ACCESS] + by_told[-MR_E_TOO_BIG]);
        uint64_t told_away =
            by_told[-MR_E_DROPPED] + by_told[-MR_E_ACCESS] + by_told[-MR_E_TOO_BIG] + by_told[-MR_E_UNDELIVERED];
        uint64_t away = counts.dropped_oldest + counts.dropped_refused + counts.undelivered;
        CHECK(away >= told_away && away <= told_away + silent);
        CHECK_EQ(gaps, acknowledges ? away + counts.dropped_newest : 0);
        CHECK_EQ(counts.unacknowledged, 0u);
    }
    CHECK_EQ(fake_counts().links, 0u);
    free(model);
}

static void models_run(mr_policy policy)
{
    struct random random = {test_seed() + (uint64_t) policy};
    unsigned rounds = test_campaign() ? 400 : 8;
    for (unsigned round = 0; round < rounds; round++) {
        mr_port *port = NULL;
        if (round % 2 == 0)
            CHECK_STATUS(mr_port_open(&port, NULL), MR_OK);
        model_run(random_next(&random), policy, port, round / 2 % 2 == 1);
        CHECK_STATUS(mr_port_close(port), MR_OK);
    }
}

TEST_TIMEOUT(writer_model, every_message_has_one_result_block, 600)
{
    models_run(MR_POLICY_BLOCK);
}

TEST_TIMEOUT(writer_model, every_message_has_one_result_fail, 600)
{
    models_run(MR_POLICY_FAIL);
}

TEST_TIMEOUT(writer_model, every_message_has_one_result_drop_newest, 600)
{
    models_run(MR_POLICY_DROP_NEWEST);
}

TEST_TIMEOUT(writer_model, every_message_has_one_result_drop_oldest, 600)
{
    models_run(MR_POLICY_DROP_OLDEST);
}
