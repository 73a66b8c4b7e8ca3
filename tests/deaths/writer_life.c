/* writer_life.c: a writer's process: messages of all sizes, until all are acknowledged.
 *
 * I1      A record is BEGUN, and its number used up, before the library hears of the message; TAKEN only after it
 *         said MR_OK.
 */
#include <stdlib.h>
#include <unistd.h>

#include "deaths.h"
#include "test_nap.h"

static unsigned char buffer[MESSAGE_MOST];
static unsigned posts;

static void on_posted(mr_writer *writer, int status, void *context)
{
    (void) writer;
    struct record *record = context;
    CHECK_MSG(status == MR_OK || status == MR_E_DROPPED, "posted: %s", mr_status_name(status));
    atomic_store(&record->state, status == MR_OK ? RECORD_TAKEN : RECORD_DROPPED);
}

static void write_one(mr_writer *writer, struct record *record, size_t length, uint32_t priority, bool post)
{
    int status;
    if (post) {
        status = mr_writer_post(writer, buffer, length, priority, on_posted, record);
        CHECK_MSG(status == MR_OK || status == MR_E_DROPPED, "post: %s", mr_last_error_text());
        if (status == MR_E_DROPPED)
            atomic_store(&record->state, RECORD_DROPPED);
        if (++posts % 16 == 0)
            test_nap(1000000); /* so that not all but the last ones are dropped */
        return;
    }
    /* Nothing tells when a slot comes back. */
    while ((status = mr_writer_write(writer, buffer, length, priority)) == MR_E_NO_SLOT)
        test_nap(500000);
    CHECK_STATUS(status, MR_OK);
    atomic_store(&record->state, RECORD_TAKEN);
}

static void flush_all(mr_writer *writer)
{
    int status = mr_writer_flush(writer, GUARD_MS);
    if (status == MR_E_DROPPED)
        status = mr_writer_flush(writer, GUARD_MS);
    CHECK_STATUS(status, MR_OK);
}

void writer_life(struct board *board, const struct plan *plan, unsigned writer, unsigned life, int socket)
{
    struct writer_side *side = &board->writers[writer];
    bool post = plan->traffic == TRAFFIC_DROPS;
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.ring_bytes = 16 << 10;
    options.timeout_ms = MR_FOREVER;
    options.linger_ms = GUARD_MS;
    options.backoff_min_ms = 1;
    options.backoff_max_ms = 10;
    options.when_absent = writer == 0 ? MR_KEEP : MR_FAIL;
    options.policy = MR_POLICY_DROP_OLDEST;
    options.queue_messages = 8;
    mr_writer *handle;
    CHECK_STATUS(mr_writer_open(&handle, SLOT_NAME, &options), MR_OK);
    for (bool first = true;; first = true) {
        uint64_t number;
        /* One at least, so that every life has a session. */
        while ((number = atomic_load(&side->next)) < plan->total && !atomic_load(&board->stop) ? true : first) {
            first = false;
            CHECK(number < NUMBERS);
            uint32_t priority;
            struct record *record = &side->records[number];
            size_t length = board_compose(writer, life, number, buffer, &priority);
            atomic_store(&record->life, (uint16_t) life);
            atomic_store(&record->state, RECORD_BEGUN);
            atomic_store(&side->next, number + 1); /* I1 */
            write_one(handle, record, length, priority, post);
            if (number == plan->total / 2)
                say(socket, SAID_HALF);
        }
        flush_all(handle);
        holdings_note(&side->holdings);
        say(socket, SAID_DONE);
        if (hear(socket) == SAY_QUIT)
            break;
    }
    CHECK_STATUS(mr_writer_close(handle, NULL), MR_OK);
    _exit(0);
}
