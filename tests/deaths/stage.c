/* stage.c: starts the processes, kills them, starts them again, and brings them to the end.
 *
 * Path    stage_open > [ somebody dies > actor_start ]* > stage_finish: all writers done > noted > stage_close
 * Owners  Single-threaded; does not use the library. Each process has one end of a socket pair whose other end is
 *         here: it says what it has come to, and its end says that it has died.
 * I1      Who dies by SIGKILL was killed by us or at its point (once in a plan). Every other end but exit 0 after
 *         SAY_QUIT is a failure.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "deaths.h"
#include "slots/scratch_linux.h"
#include "test_nap.h"

void say(int socket, enum saying what)
{
    char byte = (char) what;
    /* Who has died meanwhile hears nothing; that is found out elsewhere. */
    CHECK(send(socket, &byte, 1, MSG_NOSIGNAL) == 1 || errno == EPIPE || errno == ECONNRESET);
}

enum saying hear(int socket)
{
    char byte = 0;
    if (recv(socket, &byte, 1, 0) != 1)
        _exit(1);
    return (enum saying) byte;
}

/* ---- actors ---- */

static bool is_reader(const struct stage *stage, const struct actor *actor)
{
    return actor == &stage->reader;
}

static void actor_start(struct stage *stage, struct actor *actor)
{
    int pair[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    bool victim = is_reader(stage, actor) != stage->plan->victim_is_writer &&
                  (is_reader(stage, actor) || actor == &stage->writers[0]);
    bool armed = stage->plan->kill != NULL && victim && actor->life == 0;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        close(pair[0]);
        if (stage->reader.pid > 0)
            close(stage->reader.socket);
        for (unsigned w = 0; w < stage->plan->writers; w++) {
            if (stage->writers[w].pid > 0)
                close(stage->writers[w].socket);
        }
        if (armed)
            CHECK_EQ(setenv("MAILROOM_KILL", stage->plan->kill, 1), 0);
        if (is_reader(stage, actor))
            reader_life(stage->board, stage->plan, pair[1]);
        writer_life(stage->board, stage->plan, (unsigned) (actor - stage->writers), actor->life, pair[1]);
    }
    close(pair[1]);
    actor->pid = pid;
    actor->socket = pair[0];
    actor->said = false;
    actor->life++;
    CHECK(actor->life < LIVES);
}

/* It has ended, or is about to: how? True: by SIGKILL. */
static bool actor_reap(struct actor *actor)
{
    int status;
    CHECK_EQ(waitpid(actor->pid, &status, 0), actor->pid);
    close(actor->socket);
    actor->pid = 0;
    CHECK_MSG((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) || (WIFEXITED(status) && WEXITSTATUS(status) == 0),
              "a process has ended by itself, with status %x", (unsigned) status);
    return WIFSIGNALED(status);
}

static void actor_died(struct stage *stage, struct actor *actor)
{
    CHECK_MSG(actor_reap(actor), "a process has ended without being told to");
    stage->deaths++;
    stage->again = stage->again || is_reader(stage, actor);
    CHECK_EQ(stage->deaths, 1); /* I1 */
    actor_start(stage, actor);
}

static void reader_kill(struct stage *stage)
{
    CHECK_EQ(kill(stage->reader.pid, SIGKILL), 0);
    CHECK(actor_reap(&stage->reader));
    stage->again = true;
}

/* So that something is left in its rings, and its absence is noticed. */
static void reader_freeze_and_kill(struct stage *stage)
{
    CHECK_EQ(kill(stage->reader.pid, SIGSTOP), 0);
    test_nap(5000000);
    reader_kill(stage);
    test_nap(20000000);
    actor_start(stage, &stage->reader);
}

/* Takes what one of them has said. */
static void actor_hear(struct stage *stage, struct actor *actor)
{
    char byte = 0;
    ssize_t got = recv(actor->socket, &byte, 1, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got != 1)
        actor_died(stage, actor);
    else if (byte == SAID_DONE || byte == SAID_NOTED)
        actor->said = true;
    else if (byte == SAID_HALF && stage->plan->traffic == TRAFFIC_RECONNECTS && actor->life == 1)
        reader_freeze_and_kill(stage);
}

/* Waits for something to be said, and takes it. */
static void stage_hear(struct stage *stage)
{
    struct pollfd polled[WRITERS + 1] = {{.fd = stage->reader.socket, .events = POLLIN}};
    struct actor *actors[WRITERS + 1] = {&stage->reader};
    nfds_t count = 1;
    for (unsigned w = 0; w < stage->plan->writers; w++) {
        actors[count] = &stage->writers[w];
        polled[count++] = (struct pollfd){.fd = stage->writers[w].socket, .events = POLLIN};
    }
    CHECK_MSG(poll(polled, count, (int) GUARD_MS) > 0, "nobody says anything; %s", stage->board->fault);
    for (nfds_t n = 0; n < count; n++) {
        if (polled[n].revents != 0 && polled[n].fd == actors[n]->socket)
            actor_hear(stage, actors[n]);
    }
}

void stage_open(struct stage *stage, struct board *board, const struct plan *plan)
{
    *stage = (struct stage){.board = board, .plan = plan};
    board_clear(board);
    actor_start(stage, &stage->reader);
    CHECK_EQ(hear(stage->reader.socket), SAID_OPEN); /* before that, what is taken is its writer's alone */
    for (unsigned w = 0; w < plan->writers; w++)
        actor_start(stage, &stage->writers[w]);
}

void stage_kill(struct stage *stage, int writer)
{
    if (writer < 0) {
        reader_kill(stage);
        actor_start(stage, &stage->reader);
        return;
    }
    struct actor *actor = &stage->writers[writer];
    CHECK_EQ(kill(actor->pid, SIGKILL), 0);
    CHECK(actor_reap(actor));
    actor_start(stage, actor);
}

/* Each writer has found the reader that lives: something that it began only now has been delivered. Or else what is
 * delivered may be the dead one's work, and the writer, which has not noticed, goes on writing to that one's ring. */
static void stage_await_all_connected(struct stage *stage)
{
    uint64_t after[WRITERS];
    for (unsigned w = 0; w < stage->plan->writers; w++)
        after[w] = atomic_load(&stage->board->writers[w].next);
    for (uint64_t end = clock_deadline(GUARD_MS); !board_goes_on(stage->board, stage->plan, after);) {
        CHECK_MSG(clock_now() < end, "a writer does not get on; %s", stage->board->fault);
        test_nap(500000);
    }
}

/* Twice: what a writer has taken over from a dead reader is in the next one's ring only when all that it had taken
 * until it connected has been delivered. */
void stage_settle(struct stage *stage)
{
    stage_await_all_connected(stage);
    unsigned writers = stage->plan->writers;
    for (unsigned round = 0; round < 2; round++) {
        uint64_t upto[WRITERS];
        for (unsigned w = 0; w < writers; w++)
            upto[w] = atomic_load(&stage->board->writers[w].next);
        uint64_t end = clock_deadline(GUARD_MS);
        const struct record *missing;
        while ((missing = board_missing(stage->board, writers, upto)) != NULL) {
            CHECK_MSG(clock_now() < end,
                      "what life %u of a writer has taken (it is in life %u and %u) is not delivered; %s",
                      atomic_load(&missing->life), stage->writers[0].life - 1, stage->writers[1].life - 1,
                      stage->board->fault);
            test_nap(500000);
        }
    }
}

/* ---- the end ---- */

static bool writers_done(const struct stage *stage)
{
    for (unsigned w = 0; w < stage->plan->writers; w++) {
        if (!stage->writers[w].said)
            return false;
    }
    return true;
}

/* Asks the reader for something and waits until it has said so. False: it has died. */
static bool reader_ask(struct stage *stage, enum saying what)
{
    stage->reader.said = false;
    say(stage->reader.socket, what);
    if (what == SAY_NOTE)
        say(stage->reader.socket, (enum saying)('0' + stage->plan->writers));
    while (!stage->reader.said && !stage->again)
        stage_hear(stage);
    return !stage->again;
}

/* A reader that dies, or changes, after a writer is done has that one write once more: nothing else has it connect. */
void stage_finish(struct stage *stage)
{
    bool changes = stage->plan->traffic == TRAFFIC_CHANGES;
    for (;;) {
        while (!writers_done(stage))
            stage_hear(stage);
        if (!stage->again && reader_ask(stage, changes ? SAY_STAY : SAY_NOTE) && !changes)
            return;
        changes = changes && stage->again;
        stage->again = false;
        for (unsigned w = 0; w < stage->plan->writers; w++) {
            stage->writers[w].said = false;
            say(stage->writers[w].socket, SAY_AGAIN);
        }
    }
}

/* True: it has closed. False: it died at its point. */
static bool actor_quit(struct stage *stage, struct actor *actor)
{
    char byte;
    say(actor->socket, SAY_QUIT);
    while (recv(actor->socket, &byte, 1, 0) == 1) {}
    if (!actor_reap(actor))
        return true;
    stage->deaths++;
    CHECK_EQ(stage->deaths, 1);
    return false;
}

size_t stage_close(struct stage *stage)
{
    for (unsigned w = 0; w < stage->plan->writers; w++)
        (void) actor_quit(stage, &stage->writers[w]);
    while (!actor_quit(stage, &stage->reader))
        actor_start(stage, &stage->reader); /* takes over what the dead one left */
    const char *directory = getenv("MAILROOM_DIR");
    CHECK(directory != NULL);
    return scratch_count(directory);
}
