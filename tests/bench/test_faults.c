/* test_faults.c: the bench notices. One message is dropped, repeated, delayed or changed on its way through a lane: the
 * run has exactly that count, and the program ends with the exit code that says so. */
#include <stdio.h>
#include <string.h>

#include <mailroom/status.h>

#include "bench.h"
#include "peers_faulty.h"
#include "run.h"
#include "say.h"
#include "test.h"

#define MESSAGES 5000u

static void plan_for(struct options *options, const char *peer, bool threads)
{
    options_default(options);
    snprintf(options->plan.peer_name, sizeof(options->plan.peer_name), "%s", peer);
    options->plan.duration = 0;
    options->plan.messages = MESSAGES;
    options->plan.writers = 2;
    options->plan.peer.slots = 2;
    options->plan.threads = threads;
    options->plan.settle = UINT64_C(300000000);
    CHECK(plan_complete(&options->plan) == NULL);
}

static int execute(const char *peer, bool threads, struct run_result *result)
{
    struct options options;
    char directory[PEER_TEXT_ROOM];
    plan_for(&options, peer, threads);
    CHECK_STATUS(directory_make(directory), MR_OK);
    int status = run_execute(&options.plan, directory, NULL, result);
    directory_remove(directory);
    return status;
}

/* Runs the whole program. */
static int program(const char *peer)
{
    char name[32];
    snprintf(name, sizeof(name), "%s", peer);
    char *arguments[] = {"mailroom-bench", "throughput", "--peer",   name,  "--messages", "5000", "--writers", "2",
                         "--slots",        "2",          "--settle", "0.3", NULL};
    return bench_main((int) (sizeof(arguments) / sizeof(arguments[0])) - 1, arguments);
}

static void check_fault(const char *peer, uint64_t lost, uint64_t repeated, uint64_t reordered, uint64_t garbled)
{
    for (int threads = 0; threads < 2; threads++) {
        struct run_result result;
        CHECK_STATUS(execute(peer, threads != 0, &result), MR_OK);
        CHECK_EQ(result.counts.sent, MESSAGES);
        CHECK_EQ(result.counts.received, MESSAGES - lost + repeated);
        CHECK_EQ(result.counts.lost, lost);
        CHECK_EQ(result.counts.repeated, repeated);
        CHECK_EQ(result.counts.reordered, reordered);
        CHECK_EQ(result.counts.garbled, garbled);
    }
    CHECK_EQ(program(peer), lost + repeated + reordered + garbled == 0 ? BENCH_DONE : BENCH_DAMAGED);
}

TEST(bench_faults, a_sound_lane_has_none)
{
    check_fault("mailroom-plain", 0, 0, 0, 0);
    check_fault("mailroom-ring", 0, 0, 0, 0);
}

TEST(bench_faults, a_dropped_message)
{
    check_fault("drop-plain", 1, 0, 0, 0);
    check_fault("drop-ring", 1, 0, 0, 0);
}

TEST(bench_faults, a_repeated_message)
{
    check_fault("repeat-plain", 0, 1, 0, 0);
    check_fault("repeat-ring", 0, 1, 0, 0);
}

TEST(bench_faults, a_message_out_of_order)
{
    check_fault("swap-plain", 0, 0, 1, 0);
    check_fault("swap-ring", 0, 0, 1, 0);
}

TEST(bench_faults, a_garbled_message)
{
    check_fault("garble-plain", 0, 0, 0, 1);
    check_fault("garble-ring", 0, 0, 0, 1);
}

TEST(bench_faults, messages_by_another_lane_than_the_one_asked_for_end_the_run)
{
    struct run_result result;
    CHECK_STATUS(execute("lane", false, &result), MR_E_PROTOCOL);
    CHECK_MSG(strstr(mr_last_error_text(), "by the lane plain instead of ring") != NULL, "%s", mr_last_error_text());
    CHECK_EQ(program("lane"), BENCH_ERROR);
}

TEST(bench_faults, a_message_in_the_wrong_slot)
{
    check_fault("slot-plain", 0, 0, 0, 1);
}

TEST(bench_faults, a_writer_that_fails_ends_the_run_with_its_sentence)
{
    struct run_result result;
    CHECK_STATUS(execute("error-plain", false, &result), MR_E_SYSTEM);
    CHECK_MSG(strstr(mr_last_error_text(), "this peer fails on purpose") != NULL, "%s", mr_last_error_text());
    CHECK_MSG(strstr(mr_last_error_text(), "writer 1") != NULL, "%s", mr_last_error_text());
    CHECK_EQ(program("error-plain"), BENCH_ERROR);
}

TEST(bench_faults, a_reader_that_ends_ends_the_run)
{
    struct run_result result;
    CHECK_STATUS(execute("crash", false, &result), MR_E_GONE);
    CHECK_MSG(strstr(mr_last_error_text(), "the reader's process ended") != NULL, "%s", mr_last_error_text());
    CHECK_EQ(program("crash"), BENCH_ERROR);
}

TEST(bench_faults, a_reader_that_takes_no_more_loses_the_rest)
{
    struct run_result result;
    CHECK_STATUS(execute("silent", false, &result), MR_OK);
    CHECK_EQ(result.counts.sent, MESSAGES);
    CHECK_EQ(result.counts.lost, MESSAGES - FAULTY_MESSAGE);
    CHECK_EQ(result.counts.received, FAULTY_MESSAGE);
}

TEST(bench_faults, a_missing_peer_is_named)
{
    CHECK_EQ(program("missing"), BENCH_ERROR);
}
