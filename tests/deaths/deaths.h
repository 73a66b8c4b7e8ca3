/* deaths.h: a reader and writers in processes of their own, that are killed and started again, and a page that all of
 * them share, on which is noted what was taken and what was delivered.
 *
 *   test_points.c, test_random.c   whom to kill where
 *   stage.c                        starts, kills and restarts the processes; what has to be true at the end
 *   writer_life.c, reader_life.c   what the processes do
 *   board.c                        the page: each message's fate
 *   kill_point.c                   how a process dies at a point
 *
 * Path    writer_life: record BEGUN > mr_writer_write > TAKEN > … > reader_life: board_deliver > seen > stage_end:
 *         every TAKEN one is seen
 * Owners  The processes are forked from the test, which has no threads and does not use the library. A record belongs
 *         to its writer until it is TAKEN, `seen` and what stands beside it to the one reader that lives.
 */
#ifndef TEST_DEATHS_H
#define TEST_DEATHS_H

#include <mailroom/mailroom.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "test.h"

enum { WRITERS = 2, NUMBERS = 1 << 18, SPARE_NUMBERS = 256, LIVES = 512, LEVELS = 2, MESSAGE_MOST = 40000 };

#define SLOT_NAME       "deaths"
#define SLOT_OTHER_NAME "deaths/elsewhere"
/* A hang guard. */
#define GUARD_MS 60000u

/* What goes on while somebody is killed. */
enum traffic {
    TRAFFIC_DIRECT,     /* on_message, acknowledged when it returns */
    TRAFFIC_BY_HAND,    /* on_message, acknowledged by hand, late, out of order, on another thread */
    TRAFFIC_CALLS,      /* mr_reader_receive_many */
    TRAFFIC_DROPS,      /* messages are posted, and some are dropped by the writer */
    TRAFFIC_CHANGES,    /* the reader changes its name, and is closed and opened again, all the time */
    TRAFFIC_RECONNECTS, /* the reader is killed once by the test, besides whoever is to die at a point */
    TRAFFIC_COUNT
};

struct plan {
    enum traffic traffic;
    unsigned writers;
    uint64_t total; /* messages of each writer */
    bool victim_is_writer;
    const char *kill; /* MAILROOM_KILL for the first life of the victim; NULL: nobody dies by himself */
};

/* ---- the board ---- */

enum record_state {
    RECORD_NONE,
    RECORD_BEGUN,  /* inside mr_writer_write: if the writer dies now, either is right */
    RECORD_TAKEN,  /* it said MR_OK */
    RECORD_DROPPED /* on_posted said that it was dropped */
};

struct record {
    _Atomic uint8_t state;
    _Atomic uint8_t seen; /* times that it was delivered */
    _Atomic uint16_t life;
    _Atomic uint32_t sequence; /* as it was delivered first */
};

/* What a process holds that it has to let go of some time. */
struct holdings {
    uint32_t sockets;
    uint32_t events;   /* eventfds */
    uint32_t memories; /* memfds */
    uint32_t others;
    uint32_t mappings;  /* of memfds */
    uint64_t pool_used; /* bytes of messages */
    uint64_t pool_charged;
};

struct writer_side {
    _Atomic uint64_t next; /* number of its next message */
    struct holdings holdings;
    _Atomic uint64_t newest[LIVES][LEVELS]; /* the highest number (+ 1) that was delivered, of each life */
    struct record records[NUMBERS];
};

struct board {
    _Atomic bool stop; /* writers come to an end */
    _Atomic uint64_t delivered;
    _Atomic uint64_t repeated;
    _Atomic uint64_t unflagged; /* repeated without `redelivered` */
    _Atomic uint64_t garbled;
    _Atomic uint64_t misordered;
    _Atomic uint64_t unread; /* a dead writer's, as the reader said when it closed */
    char fault[256];         /* the first one, in words */
    struct holdings reader;
    struct writer_side writers[WRITERS];
};

struct outcome {
    uint64_t lost;  /* TAKEN and never seen */
    uint64_t holes; /* … though a later one of the same life and level was */
    uint64_t in_doubt;
    uint64_t taken;
};

/* Writes message `number` into `buffer` (MESSAGE_MOST); returns its length. */
size_t board_compose(unsigned writer, unsigned life, uint64_t number, void *buffer, uint32_t *priority);
/* What one life of a reader has seen; zeroed at its beginning. */
struct reader_sight {
    struct {
        uint64_t number; /* + 1 */
        uint64_t sequence;
    } last[WRITERS][LIVES][LEVELS];
};
/* Notes a delivery, and finds fault with it. `gaps`: writers drop messages. */
void board_deliver(struct board *board, struct reader_sight *sight, const mr_message *message, bool gaps);
struct outcome board_outcome(struct board *board, unsigned writers);
/* A message that has been taken, before `upto` (of each writer), and has not been seen; NULL: there is none. */
const struct record *board_missing(struct board *board, unsigned writers, const uint64_t *upto);
/* Has each writer had a message delivered that is not before `after`, or is it through with all of them? */
bool board_goes_on(struct board *board, const struct plan *plan, const uint64_t *after);
void holdings_note(struct holdings *holdings);

/* ---- lives ---- */

/* What the test says to a process, and what that says to the test, is one byte each. */
enum saying {
    SAY_AGAIN = 'a', /* to a writer: one more message */
    SAY_QUIT = 'q',  /* close, and exit with 0 */
    SAY_NOTE =
        'n', /* to a reader: note what you hold, as soon as so many writers are connected as the next byte says */
    SAY_STAY = 's',  /* … change no more */
    SAID_OPEN = 'o', /* a reader: the slot is there */
    SAID_HALF = 'h', /* a writer: half of its messages */
    SAID_DONE = 'd', /* a writer: all of them are acknowledged, and what it holds is noted */
    SAID_NOTED = 'N' /* … or stays */
};

_Noreturn void writer_life(struct board *board, const struct plan *plan, unsigned writer, unsigned life, int socket);
_Noreturn void reader_life(struct board *board, const struct plan *plan, int socket);

void say(int socket, enum saying what);
/* Waits for one. The test's process has gone: exits. */
enum saying hear(int socket);

/* ---- the stage ---- */

struct actor {
    pid_t pid;
    int socket;
    unsigned life;
    bool said; /* SAID_DONE or SAID_NOTED, for what it was asked last */
};

struct stage {
    struct board *board;
    const struct plan *plan;
    struct actor writers[WRITERS];
    struct actor reader;
    bool again;      /* the reader has died since the writers were done */
    unsigned deaths; /* by itself, at the point */
};

void stage_open(struct stage *stage, struct board *board, const struct plan *plan);
/* Kills a writer, or the reader (writer < 0), and starts it again. */
void stage_kill(struct stage *stage, int writer);
/* Waits until everything that was taken has been delivered by those who live now. */
void stage_settle(struct stage *stage);
/* Lets everybody come to the end, and notes what they hold then. */
void stage_finish(struct stage *stage);
/* Lets everybody close. Returns how many files are left in the slot directory. */
size_t stage_close(struct stage *stage);

struct board *board_make(void);
void board_clear(struct board *board);
/* Nothing is held that `reference`, a run without deaths, has not at its end. */
void holdings_compare(const struct board *board, const struct board *reference, unsigned writers, const char *what);

const char *kill_point_name(unsigned point);

#endif
