/* peers_faulty.c: see peers_faulty.h.
 *
 * A faulty writer is a sound one with something in front of it; its reader is the sound one's. */
#include "peers_faulty.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peer.h"
#include "queue/memory.h"

extern const struct peer peer_mailroom_ring, peer_mailroom_plain;

enum fault { FAULT_DROP, FAULT_REPEAT, FAULT_SWAP, FAULT_GARBLE, FAULT_ERROR, FAULT_SLOT };

struct faulty {
    void *sound;
    void *elsewhere; /* FAULT_SLOT: a writer to the next slot */
    uint64_t count;
    bool armed; /* the first connection only */
    unsigned char held[4096];
    size_t held_length;
};

static int faulty_open(const struct peer *sound, enum fault fault, void **writer, const struct peer_options *options,
                       unsigned slot, unsigned connection)
{
    struct faulty *faulty = memory_zalloc(sizeof(*faulty));
    if (faulty == NULL) {
        return status_fail(MR_E_MEMORY, 0, "no memory");
    }
    faulty->armed = connection == 0;
    int status = sound->writer_open(&faulty->sound, options, slot, connection);
    if (status == MR_OK && fault == FAULT_SLOT) {
        status = sound->writer_open(&faulty->elsewhere, options, (slot + 1) % options->slots, connection);
    }
    if (status != MR_OK) {
        memory_free(faulty);
        return status;
    }
    *writer = faulty;
    return MR_OK;
}

static int faulty_send(const struct peer *sound, enum fault fault, void *writer, const void *data, size_t length,
                       unsigned priority)
{
    struct faulty *faulty = writer;
    if (faulty->held_length != 0) {
        /* The one that was held back comes after this one. */
        size_t held = faulty->held_length;
        faulty->held_length = 0;
        int status = sound->writer_send(faulty->sound, data, length, priority);
        return status == MR_OK ? sound->writer_send(faulty->sound, faulty->held, held, priority) : status;
    }
    if (!faulty->armed || ++faulty->count != FAULTY_MESSAGE) {
        return sound->writer_send(faulty->sound, data, length, priority);
    }
    int status;
    switch (fault) {
    case FAULT_DROP:
        return MR_OK;
    case FAULT_REPEAT:
        status = sound->writer_send(faulty->sound, data, length, priority);
        return status == MR_OK ? sound->writer_send(faulty->sound, data, length, priority) : status;
    case FAULT_SWAP:
        memcpy(faulty->held, data, length);
        faulty->held_length = length;
        return MR_OK;
    case FAULT_GARBLE:
        memcpy(faulty->held, data, length);
        faulty->held[length / 2] ^= 0x10;
        return sound->writer_send(faulty->sound, faulty->held, length, priority);
    case FAULT_SLOT:
        return sound->writer_send(faulty->elsewhere, data, length, priority);
    case FAULT_ERROR:
        break;
    }
    return status_fail(MR_E_TIMEOUT, 0, "this peer fails on purpose");
}

static int faulty_flush(const struct peer *sound, void *writer, uint32_t timeout_ms)
{
    struct faulty *faulty = writer;
    int status = faulty->elsewhere == NULL ? MR_OK : sound->writer_flush(faulty->elsewhere, timeout_ms);
    return status == MR_OK ? sound->writer_flush(faulty->sound, timeout_ms) : status;
}

static void faulty_close(const struct peer *sound, void *writer)
{
    struct faulty *faulty = writer;
    sound->writer_close(faulty->sound);
    if (faulty->elsewhere != NULL) {
        sound->writer_close(faulty->elsewhere);
    }
    memory_free(faulty);
}

static int open_reader_ring(void **reader, const struct peer_options *options)
{
    return peer_mailroom_ring.reader_open(reader, options);
}

static int open_reader_plain(void **reader, const struct peer_options *options)
{
    return peer_mailroom_plain.reader_open(reader, options);
}

static int run_reader(void *reader, peer_sink sink, void *context, const atomic_bool *stop)
{
    return peer_mailroom_plain.reader_run(reader, sink, context, stop);
}

static void wake_reader(void *reader)
{
    peer_mailroom_plain.reader_wake(reader);
}

static void close_reader(void *reader)
{
    peer_mailroom_plain.reader_close(reader);
}

/* A peer for one lane and one fault. */
#define FAULTY_PEER(lane, word, fault)                                                                                 \
    static int open_##word##_##lane(void **writer, const struct peer_options *options, unsigned slot, unsigned number) \
    {                                                                                                                  \
        return faulty_open(&peer_mailroom_##lane, fault, writer, options, slot, number);                               \
    }                                                                                                                  \
    static int send_##word##_##lane(void *writer, const void *data, size_t length, unsigned priority)                  \
    {                                                                                                                  \
        return faulty_send(&peer_mailroom_##lane, fault, writer, data, length, priority);                              \
    }                                                                                                                  \
    static int flush_##word##_##lane(void *writer, uint32_t timeout_ms)                                                \
    {                                                                                                                  \
        return faulty_flush(&peer_mailroom_##lane, writer, timeout_ms);                                                \
    }                                                                                                                  \
    static void close_##word##_##lane(void *writer)                                                                    \
    {                                                                                                                  \
        faulty_close(&peer_mailroom_##lane, writer);                                                                   \
    }                                                                                                                  \
    static const struct peer faulty_##word##_##lane = {                                                                \
        .name = #word "-" #lane,                                                                                       \
        .summary = "fails on purpose",                                                                                 \
        .reader_open = open_reader_##lane,                                                                             \
        .reader_run = run_reader,                                                                                      \
        .reader_wake = wake_reader,                                                                                    \
        .reader_close = close_reader,                                                                                  \
        .writer_open = open_##word##_##lane,                                                                           \
        .writer_send = send_##word##_##lane,                                                                           \
        .writer_flush = flush_##word##_##lane,                                                                         \
        .writer_close = close_##word##_##lane,                                                                         \
    };

FAULTY_PEER(plain, drop, FAULT_DROP)
FAULTY_PEER(plain, repeat, FAULT_REPEAT)
FAULTY_PEER(plain, swap, FAULT_SWAP)
FAULTY_PEER(plain, garble, FAULT_GARBLE)
FAULTY_PEER(plain, error, FAULT_ERROR)
FAULTY_PEER(plain, slot, FAULT_SLOT)
FAULTY_PEER(ring, drop, FAULT_DROP)
FAULTY_PEER(ring, repeat, FAULT_REPEAT)
FAULTY_PEER(ring, swap, FAULT_SWAP)
FAULTY_PEER(ring, garble, FAULT_GARBLE)

/* Readers that fail. */
struct failing_sink {
    peer_sink sink;
    void *context;
    _Atomic uint64_t count; /* slots come on threads of their own */
    bool crash;
};

static void failing_take(void *context, unsigned slot, const void *data, size_t length)
{
    struct failing_sink *failing = context;
    uint64_t before = atomic_fetch_add_explicit(&failing->count, 1, memory_order_relaxed);
    if (before < FAULTY_MESSAGE) {
        failing->sink(failing->context, slot, data, length);
    } else if (failing->crash) {
        _exit(9);
    }
}

static int run_crash(void *reader, peer_sink sink, void *context, const atomic_bool *stop)
{
    struct failing_sink failing = {sink, context, 0, true};
    return run_reader(reader, failing_take, &failing, stop);
}

static int run_silent(void *reader, peer_sink sink, void *context, const atomic_bool *stop)
{
    /* Stays where it is until the process ends: a late message may still look at it. */
    static struct failing_sink failing;
    failing.sink = sink;
    failing.context = context;
    return run_reader(reader, failing_take, &failing, stop);
}

static int open_sound(void **writer, const struct peer_options *options, unsigned slot, unsigned connection)
{
    return peer_mailroom_plain.writer_open(writer, options, slot, connection);
}

static int send_sound(void *writer, const void *data, size_t length, unsigned priority)
{
    return peer_mailroom_plain.writer_send(writer, data, length, priority);
}

static void close_sound(void *writer)
{
    peer_mailroom_plain.writer_close(writer);
}

static const struct peer faulty_crash = {
    .name = "crash",
    .summary = "the reader ends",
    .reader_open = open_reader_plain,
    .reader_run = run_crash,
    .reader_wake = wake_reader,
    .reader_close = close_reader,
    .writer_open = open_sound,
    .writer_send = send_sound,
    .writer_close = close_sound,
};

static const struct peer faulty_silent = {
    .name = "silent",
    .summary = "the reader drops all it gets",
    .reader_open = open_reader_plain,
    .reader_run = run_silent,
    .reader_wake = wake_reader,
    .reader_close = close_reader,
    .writer_open = open_sound,
    .writer_send = send_sound,
    .writer_close = close_sound,
};

static const struct peer faulty_lane = {
    .name = "lane",
    .summary = "the wrong lane",
    .reader_open = open_reader_ring,
    .reader_run = run_reader,
    .reader_wake = wake_reader,
    .reader_close = close_reader,
    .writer_open = open_sound,
    .writer_send = send_sound,
    .writer_close = close_sound,
};

static const struct peer faulty_missing = {
    .name = "missing",
    .summary = "not here",
    .missing = "there is no such library",
};

const char *const peer_base = "mailroom-ring";

const struct peer *const peers[] = {
    &peer_mailroom_ring, &peer_mailroom_plain, &faulty_drop_plain,  &faulty_repeat_plain,
    &faulty_swap_plain,  &faulty_garble_plain, &faulty_error_plain, &faulty_slot_plain,
    &faulty_drop_ring,   &faulty_repeat_ring,  &faulty_swap_ring,   &faulty_garble_ring,
    &faulty_crash,       &faulty_silent,       &faulty_lane,        &faulty_missing,
};
const size_t peer_count = sizeof(peers) / sizeof(peers[0]);

const struct limit *const limits[] = {NULL};
const size_t limit_count = 0;
