/* counts.c: the program mailroom-counts, which scripts/perf-counts runs under callgrind: how many instructions a message costs
 * on the hot paths. Counts can be repeated where times cannot.
 *
 * Path    hold the reader ► write a batch, counted ► let the reader go ► it takes and delivers the batch, counted ► again
 *         without a port: write a batch ► drain or read it by calls, counted ► again
 *         without a lane: what the bench does beside it for each message: makes it, and checks it
 * Owners  Collecting is a thread's own state: each thread turns it on and off for itself (CALLGRIND_TOGGLE_COLLECT), so that
 *         what the other one does meanwhile is not in the figure. It is off at the start (--collect-atstart=no).
 * I1      The reader's only worker is inside the callback of the gate, a message of one byte, while a batch is written; it
 *         finds all of the batch when it leaves. So both sides do the same work in every round.
 * I2      A batch fits into what a lane holds, so no write waits.
 *
 * Each figure becomes a dump of callgrind's with its name, and a line "name messages" on standard output.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <valgrind/callgrind.h>

#include <mailroom/mailroom.h>

#include "message_head.h"
#include "plan.h"
#include "queue/thread.h"
#include "tally.h"

#define BATCH     64u
#define ROUNDS    40u
#define SIZE_MOST 1024u

static void must(int status, const char *what)
{
    if (status == MR_OK)
        return;
    (void) fprintf(stderr, "mailroom-counts: %s: %s: %s\n", what, mr_status_text(status), mr_last_error_text());
    exit(1);
}

/* Under the lock. */
struct round {
    mutex lock;
    condition changed;
    bool held;     /* the worker is inside the gate's callback */
    bool open;     /* it may leave */
    bool complete; /* the batch has been delivered */
    bool counting;
    unsigned delivered; /* the worker's alone, from the gate on */
};

static void gate_pass(struct round *round)
{
    mutex_lock(&round->lock);
    round->held = true;
    condition_broadcast(&round->changed);
    while (!round->open)
        condition_wait(&round->changed, &round->lock);
    round->held = false;
    round->open = false;
    round->delivered = 0;
    bool counting = round->counting;
    mutex_unlock(&round->lock);
    if (counting)
        CALLGRIND_TOGGLE_COLLECT;
}

static void on_message(mr_reader *reader, const mr_message *message, void *context)
{
    struct round *round = context;
    (void) reader;
    if (message->length == 1) {
        gate_pass(round);
        return;
    }
    if (++round->delivered < BATCH)
        return;
    if (round->counting)
        CALLGRIND_TOGGLE_COLLECT;
    mutex_lock(&round->lock);
    round->complete = true;
    condition_broadcast(&round->changed);
    mutex_unlock(&round->lock);
}

static void batch_write(mr_writer *writer, const char *message, size_t size)
{
    for (unsigned i = 0; i < BATCH; i++)
        must(mr_writer_write(writer, message, size, MR_NORMAL), "mr_writer_write");
}

enum counted { COUNT_WRITE, COUNT_DISPATCH };

static void round_run(struct round *round, mr_writer *writer, const char *message, size_t size, enum counted counted,
                      bool warm)
{
    must(mr_writer_write(writer, "g", 1, MR_NORMAL), "the gate");
    mutex_lock(&round->lock);
    while (!round->held)
        condition_wait(&round->changed, &round->lock);
    round->complete = false;
    round->counting = counted == COUNT_DISPATCH && !warm;
    mutex_unlock(&round->lock);
    if (counted == COUNT_WRITE && !warm)
        CALLGRIND_TOGGLE_COLLECT;
    batch_write(writer, message, size);
    if (counted == COUNT_WRITE && !warm)
        CALLGRIND_TOGGLE_COLLECT;
    mutex_lock(&round->lock);
    round->open = true;
    condition_broadcast(&round->changed);
    while (!round->complete)
        condition_wait(&round->changed, &round->lock);
    mutex_unlock(&round->lock);
}

static void name_say(const char *path, size_t size, char *name, size_t room)
{
    (void) snprintf(name, room, "%s-%zu", path, size);
    (void) printf("%s %u\n", name, BATCH * ROUNDS);
}

static void callback_count(const char *slot, const char *message, size_t size, enum counted counted)
{
    struct round round = {.held = false};
    mutex_init(&round.lock);
    condition_init(&round.changed);
    mr_port *port;
    mr_port_options one = MR_PORT_OPTIONS_INIT;
    one.concurrency = 1;
    one.workers_max = 1;
    must(mr_port_open(&port, &one), "mr_port_open");
    mr_reader *reader;
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.port = port;
    options.on_message = on_message;
    options.context = &round;
    must(mr_reader_open(&reader, slot, &options), "mr_reader_open");
    mr_writer *writer;
    must(mr_writer_open(&writer, slot, NULL), "mr_writer_open");
    round_run(&round, writer, message, size, counted, true);
    for (unsigned i = 0; i < ROUNDS; i++)
        round_run(&round, writer, message, size, counted, false);
    must(mr_writer_close(writer, NULL), "mr_writer_close");
    must(mr_reader_close(reader, NULL), "mr_reader_close");
    must(mr_port_close(port), "mr_port_close");
    condition_destroy(&round.changed);
    mutex_destroy(&round.lock);
}

/* Takes a batch by calls that copy. */
static void batch_read(mr_reader *reader, size_t size)
{
    static char buffer[SIZE_MOST + 2];
    size_t length;
    for (unsigned k = 0; k < BATCH; k++)
        must(mr_reader_read(reader, buffer, size + 2, &length, MR_FOREVER), "mr_reader_read");
}

/* Takes a batch in as few calls as it comes in. */
static void batch_drain(mr_reader *reader, size_t size)
{
    const mr_message *messages[BATCH];
    (void) size;
    for (unsigned taken = 0; taken < BATCH;) {
        size_t count;
        must(mr_reader_receive_many(reader, messages, BATCH, &count, MR_FOREVER), "mr_reader_receive_many");
        for (size_t i = 0; i < count; i++)
            mr_message_release(messages[i]);
        taken += (unsigned) count;
    }
}

static void calls_count(const char *slot, const char *message, size_t size, void (*take)(mr_reader *, size_t))
{
    mr_reader *reader;
    must(mr_reader_open(&reader, slot, NULL), "mr_reader_open");
    mr_writer *writer;
    must(mr_writer_open(&writer, slot, NULL), "mr_writer_open");
    /* Once to and fro, so that the connection is made before a batch has to fit into it (I2). */
    const mr_message *first;
    must(mr_writer_write(writer, message, size, MR_NORMAL), "mr_writer_write");
    must(mr_reader_receive(reader, &first, MR_FOREVER), "mr_reader_receive");
    mr_message_release(first);
    for (unsigned i = 0; i <= ROUNDS; i++) {
        batch_write(writer, message, size);
        if (i > 0)
            CALLGRIND_TOGGLE_COLLECT;
        take(reader, size);
        if (i > 0)
            CALLGRIND_TOGGLE_COLLECT;
    }
    must(mr_writer_close(writer, NULL), "mr_writer_close");
    must(mr_reader_close(reader, NULL), "mr_reader_close");
}

enum load { LOAD_MAKE, LOAD_CHECK };

static void load_count(size_t size, enum load load)
{
    static char batch[BATCH][SIZE_MOST];
    struct plan plan = {.writers = 1, .mix = {1000}};
    struct tally tally;
    struct message_maker maker;
    plan.peer.slots = 1;
    plan.sizes.minimum = plan.sizes.maximum = size;
    if (plan_complete(&plan) != NULL || !tally_open(&tally, &plan) || !message_maker_open(&maker, size)) {
        (void) fprintf(stderr, "mailroom-counts: no plan, or no memory for it\n");
        exit(1);
    }
    for (uint64_t number = 0; number < BATCH * ROUNDS; number += BATCH) {
        if (load == LOAD_MAKE)
            CALLGRIND_TOGGLE_COLLECT;
        for (unsigned i = 0; i < BATCH; i++)
            make_plainly(&maker, size, 0, 0, number + i);
        if (load == LOAD_MAKE)
            CALLGRIND_TOGGLE_COLLECT;
        for (unsigned i = 0; i < BATCH; i++) {
            make_plainly(&maker, size, 0, 0, number + i);
            memcpy(batch[i], maker.data, size);
        }
        if (load == LOAD_CHECK)
            CALLGRIND_TOGGLE_COLLECT;
        for (unsigned i = 0; i < BATCH; i++)
            tally_take(&tally, 0, batch[i], size);
        if (load == LOAD_CHECK)
            CALLGRIND_TOGGLE_COLLECT;
    }
    struct tally_counts counts = tally_result(&tally, &(uint64_t){BATCH * ROUNDS});
    if (tally_damaged(&counts)) {
        (void) fprintf(stderr, "mailroom-counts: the bench does not take its own messages for right\n");
        exit(1);
    }
    tally_close(&tally);
    message_maker_close(&maker);
}

int main(void)
{
    static const size_t sizes[] = {64, SIZE_MOST};
    static char message[SIZE_MOST];
    char slot[64];
    char name[32];
    memset(message, 'm', sizeof message);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        (void) snprintf(slot, sizeof slot, "counts-%u-%zu", process_id(), sizes[i]);
        name_say("write", sizes[i], name, sizeof name);
        callback_count(slot, message, sizes[i], COUNT_WRITE);
        CALLGRIND_DUMP_STATS_AT(name);
        name_say("dispatch", sizes[i], name, sizeof name);
        callback_count(slot, message, sizes[i], COUNT_DISPATCH);
        CALLGRIND_DUMP_STATS_AT(name);
        name_say("drain", sizes[i], name, sizeof name);
        calls_count(slot, message, sizes[i], batch_drain);
        CALLGRIND_DUMP_STATS_AT(name);
        name_say("read", sizes[i], name, sizeof name);
        calls_count(slot, message, sizes[i], batch_read);
        CALLGRIND_DUMP_STATS_AT(name);
        name_say("make", sizes[i], name, sizeof name);
        load_count(sizes[i], LOAD_MAKE);
        CALLGRIND_DUMP_STATS_AT(name);
        name_say("check", sizes[i], name, sizeof name);
        load_count(sizes[i], LOAD_CHECK);
        CALLGRIND_DUMP_STATS_AT(name);
    }
    return 0;
}
