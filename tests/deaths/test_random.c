/* test_random.c: killed at random instants, under full traffic of two writers: all sizes, large ones and urgent ones.
 * A round is some kills, and the whole reckoning behind them.
 *
 * R1      Both ends of a message must not die: a writer's unacknowledged messages are in its memory, and in its
 *         reader's alone once it has died. So before the side changes, everything that was taken until then is
 *         delivered.
 */
#include <stdio.h>
#include <stdlib.h>

#include "deaths.h"
#include "slots/scratch_linux.h"
#include "test_nap.h"

enum { KILLS_OF_A_ROUND = 20, INSTANT_MOST_NS = 8000000 };

/* How often each side is killed: MR_TEST_DEATHS, where the build says so. */
static unsigned kills_wanted(void)
{
    const char *text = getenv("MR_TEST_DEATHS");
    if (test_campaign())
        return 1000;
    return text == NULL ? 8 : (unsigned) strtoul(text, NULL, 10);
}

static uint64_t random_state;

static uint64_t random_next(void)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return random_state >> 33;
}

struct total {
    unsigned of_reader, of_writers;
    unsigned long long taken, in_doubt, delivered, repeated, changes;
};

static void round_kill(struct stage *stage, struct total *total, unsigned wanted)
{
    int last = -2;
    for (unsigned n = 0; n < KILLS_OF_A_ROUND; n++) {
        test_nap(random_next() % INSTANT_MOST_NS); /* which instant is the point, not the wait */
        bool reader = random_next() % 4 < 2;
        if (reader ? total->of_reader >= wanted : total->of_writers >= wanted)
            reader = !reader;
        int who = reader ? -1 : (int) (random_next() % WRITERS);
        if (last != -2 && reader != (last == -1)) { /* R1 */
            stage_settle(stage);
            total->changes++;
        }
        stage_kill(stage, who);
        last = who;
        if (reader)
            total->of_reader++;
        else
            total->of_writers++;
        if (total->of_reader >= wanted && total->of_writers >= wanted)
            break;
    }
    if (last == -1)
        return;
    stage_settle(stage);
}

static void round_reckon(struct board *board, const struct board *reference, struct total *total)
{
    struct outcome outcome = board_outcome(board, WRITERS);
    CHECK_MSG(board->fault[0] == '\0', "%s", board->fault);
    CHECK_MSG(outcome.lost == 0, "%llu of %llu are lost, %llu of them before others that were not",
              (unsigned long long) outcome.lost, (unsigned long long) outcome.taken,
              (unsigned long long) outcome.holes);
    holdings_compare(board, reference, WRITERS, "after a round of kills");
    total->taken += outcome.taken;
    total->in_doubt += outcome.in_doubt;
    total->delivered += atomic_load(&board->delivered);
    total->repeated += atomic_load(&board->repeated);
}

static void kill_at_random(enum traffic traffic, const char *name, unsigned wanted)
{
    struct plan plan = {.traffic = traffic, .writers = WRITERS, .total = 1000};
    struct board *reference = board_make();
    struct board *board = board_make();
    struct stage stage;
    struct total total = {0};
    random_state = test_seed() + (uint64_t) traffic;
    stage_open(&stage, reference, &plan);
    stage_finish(&stage);
    size_t files = stage_close(&stage);
    plan.total = NUMBERS - SPARE_NUMBERS;
    while (total.of_reader < wanted || total.of_writers < wanted) {
        stage_open(&stage, board, &plan);
        round_kill(&stage, &total, wanted);
        atomic_store(&board->stop, true);
        stage_finish(&stage);
        CHECK_EQ(stage_close(&stage), files);
        round_reckon(board, reference, &total);
    }
    printf("random, %s: the reader killed %u times, a writer %u times; %llu messages taken, "
           "0 lost, 0 garbled, 0 misordered, %llu repeated (flagged), 0 unflagged; %llu in doubt\n",
           name, total.of_reader, total.of_writers, total.taken, total.repeated, total.in_doubt);
    fflush(stdout);
}

static void at_random(enum traffic traffic, const char *name)
{
    char scratch[SCRATCH_ROOM];
    scratch_use(scratch);
    kill_at_random(traffic, name, (kills_wanted() + 2) / 3);
    scratch_remove(scratch);
}

TEST_TIMEOUT(deaths_random, delivered_directly, 600)
{
    at_random(TRAFFIC_DIRECT, "delivered directly");
}

TEST_TIMEOUT(deaths_random, acknowledged_by_hand, 600)
{
    at_random(TRAFFIC_BY_HAND, "acknowledged by hand");
}

TEST_TIMEOUT(deaths_random, read_by_calls, 600)
{
    at_random(TRAFFIC_CALLS, "read by calls");
}
