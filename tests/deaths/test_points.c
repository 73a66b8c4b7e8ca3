/* test_points.c: killed at each point of each end (queue/kill_point.h): the first time that it comes by there, the
 * second, and later ones. A line per point says what came of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deaths.h"
#include "queue/kill_point.h"
#include "slots/scratch_linux.h"

/* Who falls asleep, or finds the ring full, and when, differs from run to run. */
enum { ATTEMPTS = 100, MESSAGES = 400, MESSAGES_OF_CHANGES = 6000 };

static uint64_t messages_in(enum traffic traffic)
{
    return traffic == TRAFFIC_CHANGES ? MESSAGES_OF_CHANGES : MESSAGES; /* time for some changes */
}

/* Where a point is passed at all; the others are passed in every traffic, and are tried in TRAFFIC_DIRECT. */
static const enum traffic where[KILL_POINT_COUNT] = {
    [KILL_writer_gap] = TRAFFIC_DROPS,
    [KILL_writer_gap_told] = TRAFFIC_DROPS,
    [KILL_writer_parting] = TRAFFIC_CHANGES,
    [KILL_writer_end] = TRAFFIC_RECONNECTS,
    [KILL_writer_salvage] = TRAFFIC_RECONNECTS,
    [KILL_writer_salvaged] = TRAFFIC_RECONNECTS,
    [KILL_writer_keep] = TRAFFIC_RECONNECTS,
    [KILL_writer_feed] = TRAFFIC_RECONNECTS,
    [KILL_writer_fed] = TRAFFIC_RECONNECTS,
    [KILL_reader_added] = TRAFFIC_BY_HAND,
    [KILL_reader_delivered] = TRAFFIC_CALLS,
    [KILL_reader_skip] = TRAFFIC_DROPS,
    [KILL_reader_marked] = TRAFFIC_BY_HAND,
    [KILL_reader_limit] = TRAFFIC_CHANGES,
    [KILL_reader_drop] = TRAFFIC_CHANGES,
    [KILL_reader_dropped] = TRAFFIC_CHANGES,
    [KILL_reader_rename_claimed] = TRAFFIC_CHANGES,
    [KILL_reader_rename_deaf] = TRAFFIC_CHANGES,
    [KILL_reader_rename_told] = TRAFFIC_CHANGES,
    [KILL_reader_rename_done] = TRAFFIC_CHANGES,
    [KILL_reader_close_deaf] = TRAFFIC_CHANGES,
    [KILL_reader_close_session] = TRAFFIC_CHANGES,
    [KILL_reader_close_release] = TRAFFIC_CHANGES,
    [KILL_reader_closed] = TRAFFIC_CHANGES,
};

static const unsigned passes[] = {1, 2, 3, 17, 101, 333};

struct tally {
    unsigned kills;
    unsigned long long lost, with_reader, garbled, repeated, unflagged, misordered;
};

static struct board *reference[TRAFFIC_COUNT];
static size_t reference_files; /* a lock for each name that there has been */

static void reference_run(enum traffic traffic)
{
    static const char *const names[] = {"direct", "by hand", "calls", "drops", "changes", "reconnects"};
    struct plan plan = {.traffic = traffic, .writers = 1, .total = messages_in(traffic)};
    struct stage stage;
    reference[traffic] = board_make();
    stage_open(&stage, reference[traffic], &plan);
    stage_finish(&stage);
    reference_files = stage_close(&stage);
    struct board *board = reference[traffic];
    struct outcome outcome = board_outcome(board, 1);
    CHECK_STR(board->fault, "");
    CHECK_EQ(outcome.lost, 0);
    CHECK_EQ(outcome.in_doubt, 0);
    CHECK_EQ(board->reader.memories + board->writers[0].holdings.memories, 0);
    if (traffic != TRAFFIC_DROPS)
        CHECK_EQ(outcome.taken, atomic_load(&board->writers[0].next));
    printf("traffic %s, nobody dies: %llu messages, %llu delivered, %llu repeated\n", names[traffic],
           (unsigned long long) outcome.taken, (unsigned long long) atomic_load(&board->delivered),
           (unsigned long long) atomic_load(&board->repeated));
    fflush(stdout);
}

/* What a writer holds when its reader has gone, and it dies then, has gone with it; but there is no hole in what was
 * delivered. */
static bool dies_with_reader(const struct plan *plan)
{
    return (plan->traffic == TRAFFIC_RECONNECTS || plan->traffic == TRAFFIC_CHANGES) && plan->victim_is_writer;
}

static void point_run(struct board *board, const struct plan *plan, struct tally *tally)
{
    struct stage stage;
    stage_open(&stage, board, plan);
    stage_finish(&stage);
    size_t files = stage_close(&stage);
    if (stage.deaths == 0)
        return; /* it does not come by there so often */
    struct outcome outcome = board_outcome(board, plan->writers);
    tally->kills++;
    tally->garbled += atomic_load(&board->garbled);
    tally->repeated += atomic_load(&board->repeated);
    tally->unflagged += atomic_load(&board->unflagged);
    tally->misordered += atomic_load(&board->misordered);
    tally->lost += dies_with_reader(plan) ? outcome.holes : outcome.lost;
    tally->with_reader += dies_with_reader(plan) ? outcome.lost - outcome.holes : 0;
    CHECK_MSG(board->fault[0] == '\0', "%s: %s", plan->kill, board->fault);
    CHECK_MSG(outcome.holes == 0 && (outcome.lost == 0 || dies_with_reader(plan)), "%s: %llu lost", plan->kill,
              (unsigned long long) outcome.lost);
    CHECK_MSG(atomic_load(&board->unread) <= outcome.lost + outcome.in_doubt, "%s: %llu lost, %llu called unread",
              plan->kill, (unsigned long long) outcome.lost, (unsigned long long) atomic_load(&board->unread));
    holdings_compare(board, reference[plan->traffic], plan->writers, plan->kill);
    CHECK_MSG(files == reference_files, "%s: %zu files are left, without deaths %zu", plan->kill, files,
              reference_files);
}

static void point_try(struct board *board, unsigned point)
{
    const char *name = kill_point_name(point);
    struct plan plan = {.traffic = where[point],
                        .writers = 1,
                        .total = messages_in(where[point]),
                        .victim_is_writer = strncmp(name, "writer", 6) == 0};
    struct tally tally = {0};
    for (size_t n = 0; n < sizeof passes / sizeof passes[0]; n++) {
        char text[64];
        snprintf(text, sizeof text, "%s:%u", name, passes[n]);
        plan.kill = text;
        unsigned before = tally.kills;
        for (unsigned attempt = 0; tally.kills == before && attempt < (n == 0 ? ATTEMPTS : 1); attempt++)
            point_run(board, &plan, &tally);
        if (tally.kills == before)
            break;
    }
    printf("point %s: %u kills, %llu lost, %llu garbled, %llu misordered, %llu repeated (flagged), %llu unflagged",
           name, tally.kills, tally.lost, tally.garbled, tally.misordered, tally.repeated - tally.unflagged,
           tally.unflagged);
    if (tally.with_reader > 0)
        printf("; %llu went with both ends", tally.with_reader);
    printf("\n");
    fflush(stdout);
    CHECK_MSG(tally.kills > 0, "nobody ever came by the point %s", name);
}

TEST_TIMEOUT(deaths, at_each_point_of_each_end, 600)
{
    char scratch[SCRATCH_ROOM];
    scratch_use(scratch);
    for (int traffic = 0; traffic < TRAFFIC_COUNT; traffic++)
        reference_run((enum traffic) traffic);
    struct board *board = board_make();
    for (unsigned point = 0; point < KILL_POINT_COUNT; point++)
        point_try(board, point);
    scratch_remove(scratch);
}
