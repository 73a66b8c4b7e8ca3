/* board.c: each message's fate, on a page that all processes share.
 *
 * Path    board_compose > … > board_deliver: every byte, then order, repetition, sequence > board_outcome
 * I1      Nobody else writes to a record's `seen`, `sequence` and the writer's `newest` than the reader that lives; a
 *         reader that was killed has gone before the next one starts.
 */
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "deaths.h"

#define MAGIC UINT32_C(0x64656164)

struct head {
    uint32_t magic;
    uint32_t writer;
    uint32_t life;
    uint32_t level;
    uint64_t number;
    uint64_t length;
};

static unsigned char noise[1 << 17];

static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* What follows the head of a message. */
static const unsigned char *body_of(unsigned writer, uint64_t number)
{
    if (noise[0] == 0 && noise[1] == 0) {
        for (size_t n = 0; n < sizeof noise; n++)
            noise[n] = (unsigned char) (mix(n) | 1);
    }
    return noise + mix(number * WRITERS + writer) % (sizeof noise - MESSAGE_MOST);
}

size_t board_compose(unsigned writer, unsigned life, uint64_t number, void *buffer, uint32_t *priority)
{
    uint64_t random = mix(number * 7 + writer);
    size_t length = sizeof(struct head);
    switch (random % 16) {
    case 0: /* beside the ring */
        length += 4200 + random / 256 % (MESSAGE_MOST - 4200 - sizeof(struct head));
        break;
    case 1:
    case 2:
    case 3: /* up to a quarter of it */
        length += 500 + random / 256 % 3500;
        break;
    default:
        length += random / 256 % 300;
    }
    *priority = (random >> 32) % 8 == 0 ? MR_URGENT : MR_NORMAL;
    struct head head = {
        .magic = MAGIC, .writer = writer, .life = life, .level = *priority, .number = number, .length = length};
    memcpy(buffer, &head, sizeof head);
    memcpy((unsigned char *) buffer + sizeof head, body_of(writer, number), length - sizeof head);
    return length;
}

PRINTF_FORMAT(3, 4) static void fault(struct board *board, _Atomic uint64_t *counter, const char *format, ...)
{
    atomic_fetch_add(counter, 1);
    if (board->fault[0] != '\0')
        return;
    va_list arguments;
    va_start(arguments, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it has just been started */
    vsnprintf(board->fault, sizeof board->fault, format, arguments);
    va_end(arguments);
}

/* Is it what board_compose has made, and of a message that was begun? */
static bool message_whole(struct board *board, const mr_message *message, struct head *head)
{
    if (message->length < sizeof *head)
        return false;
    memcpy(head, message->data, sizeof *head);
    if (head->magic != MAGIC || head->writer >= WRITERS || head->number >= NUMBERS || head->life >= LIVES ||
        head->length != message->length || head->level != message->priority || head->level >= LEVELS)
        return false;
    const struct record *record = &board->writers[head->writer].records[head->number];
    uint8_t state = atomic_load(&record->state);
    return (state == RECORD_BEGUN || state == RECORD_TAKEN) && atomic_load(&record->life) == head->life &&
           memcmp((const unsigned char *) message->data + sizeof *head, body_of(head->writer, head->number),
                  message->length - sizeof *head) == 0;
}

void board_deliver(struct board *board, struct reader_sight *sight, const mr_message *message, bool gaps)
{
    struct head head;
    atomic_fetch_add(&board->delivered, 1);
    if (!message_whole(board, message, &head)) {
        fault(board, &board->garbled, "a message of %zu bytes, sequence %llu, is none that was written",
              message->length, (unsigned long long) message->sequence);
        return;
    }
    struct writer_side *side = &board->writers[head.writer];
    struct record *record = &side->records[head.number];
    unsigned long long number = head.number, sequence = message->sequence;
    bool seen = atomic_load(&record->seen) > 0;
    if (seen && message->redelivered == 0)
        fault(board, &board->unflagged, "writer %u's message %llu came again without a flag", head.writer, number);
    if (seen)
        atomic_fetch_add(&board->repeated, 1);
    if (seen && atomic_load(&record->sequence) != (uint32_t) sequence)
        fault(board, &board->misordered, "message %llu came again with another sequence, %llu", number, sequence);
    uint64_t *last = &sight->last[head.writer][head.life][head.level].number;
    uint64_t *last_sequence = &sight->last[head.writer][head.life][head.level].sequence;
    if (*last > head.number)
        fault(board, &board->misordered, "message %llu came after %llu", number, (unsigned long long) *last - 1);
    if (*last_sequence != 0 && (gaps ? sequence <= *last_sequence : sequence != *last_sequence + 1))
        fault(board, &board->misordered, "message %llu has sequence %llu after %llu", number, sequence,
              (unsigned long long) *last_sequence);
    *last = head.number + 1;
    *last_sequence = sequence;
    _Atomic uint64_t *newest = &side->newest[head.life][head.level];
    if (message->redelivered == 0 && atomic_load(newest) > head.number)
        fault(board, &board->misordered, "message %llu came first after %llu had", number,
              (unsigned long long) atomic_load(newest) - 1);
    atomic_store(&record->sequence, (uint32_t) sequence);
    if (atomic_load(&record->seen) < UINT8_MAX)
        atomic_fetch_add(&record->seen, 1);
    /* Last: a reader that dies in here has not delivered anything newer than what it has not delivered. */
    if (atomic_load(newest) < head.number + 1)
        atomic_store(newest, head.number + 1);
}

struct outcome board_outcome(struct board *board, unsigned writers)
{
    struct outcome outcome = {0};
    static unsigned char buffer[MESSAGE_MOST];
    for (unsigned w = 0; w < writers; w++) {
        struct writer_side *side = &board->writers[w];
        uint64_t next = atomic_load(&side->next);
        for (uint64_t n = 0; n < next; n++) {
            struct record *record = &side->records[n];
            uint8_t state = atomic_load(&record->state);
            outcome.in_doubt += state == RECORD_BEGUN;
            outcome.taken += state == RECORD_TAKEN;
            if (state != RECORD_TAKEN || atomic_load(&record->seen) > 0)
                continue;
            uint32_t level;
            (void) board_compose(w, 0, n, buffer, &level);
            outcome.lost++;
            outcome.holes += atomic_load(&side->newest[atomic_load(&record->life)][level]) > n;
        }
    }
    return outcome;
}

const struct record *board_missing(struct board *board, unsigned writers, const uint64_t *upto)
{
    for (unsigned w = 0; w < writers; w++) {
        for (uint64_t n = 0; n < upto[w]; n++) {
            struct record *record = &board->writers[w].records[n];
            if (atomic_load(&record->state) == RECORD_TAKEN && atomic_load(&record->seen) == 0)
                return record;
        }
    }
    return NULL;
}

bool board_goes_on(struct board *board, const struct plan *plan, const uint64_t *after)
{
    for (unsigned w = 0; w < plan->writers; w++) {
        struct writer_side *side = &board->writers[w];
        uint64_t next = atomic_load(&side->next), n = after[w];
        while (n < next && atomic_load(&side->records[n].seen) == 0)
            n++;
        if (n == next && (next < plan->total || atomic_load(&side->records[next - 1].state) != RECORD_TAKEN))
            return false;
    }
    return true;
}

struct board *board_make(void)
{
    struct board *board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(board != MAP_FAILED);
    return board;
}

/* Gives the memory back, so that what was not used costs nothing. */
void board_clear(struct board *board)
{
    CHECK_EQ(madvise(board, sizeof *board, MADV_REMOVE), 0);
}

/* ---- what a process holds ---- */

void holdings_note(struct holdings *holdings)
{
    DIR *directory = opendir("/proc/self/fd");
    CHECK(directory != NULL);
    *holdings = (struct holdings){.pool_used = holdings->pool_used, .pool_charged = holdings->pool_charged};
    for (struct dirent *file; (file = readdir(directory)) != NULL;) {
        char target[128] = "";
        if (readlinkat(dirfd(directory), file->d_name, target, sizeof target - 1) <= 0)
            continue;
        if (strncmp(target, "socket:", 7) == 0)
            holdings->sockets++;
        else if (strcmp(target, "anon_inode:[eventfd]") == 0)
            holdings->events++;
        else if (strncmp(target, "/memfd:", 7) == 0)
            holdings->memories++;
        else
            holdings->others++;
    }
    closedir(directory);
    FILE *maps = fopen("/proc/self/maps", "re");
    CHECK(maps != NULL);
    char line[512];
    while (fgets(line, sizeof line, maps) != NULL)
        holdings->mappings += strstr(line, "/memfd:") != NULL;
    fclose(maps);
}

static void one_compare(const struct holdings *holds, const struct holdings *reference, const char *what,
                        const char *who)
{
    /* A process makes one eventfd when it first has to wait for somebody, and keeps it. */
    bool same = holds->sockets == reference->sockets && holds->memories == reference->memories &&
                holds->mappings == reference->mappings && holds->others <= reference->others &&
                holds->events <= reference->events + 1 && holds->pool_used == reference->pool_used &&
                holds->pool_charged == reference->pool_charged;
    CHECK_MSG(same,
              "%s: the %s holds %u sockets, %u eventfds, %u memories, %u other descriptors, %u mappings, %llu + %llu "
              "bytes; without deaths %u, %u, %u, %u, %u, %llu + %llu",
              what, who, holds->sockets, holds->events, holds->memories, holds->others, holds->mappings,
              (unsigned long long) holds->pool_used, (unsigned long long) holds->pool_charged, reference->sockets,
              reference->events, reference->memories, reference->others, reference->mappings,
              (unsigned long long) reference->pool_used, (unsigned long long) reference->pool_charged);
}

void holdings_compare(const struct board *board, const struct board *reference, unsigned writers, const char *what)
{
    one_compare(&board->reader, &reference->reader, what, "reader");
    for (unsigned w = 0; w < writers; w++)
        one_compare(&board->writers[w].holdings, &reference->writers[w].holdings, what, "writer");
}
