/* test_options.c: the bench's options: what each takes, and that everything else is refused with exit code 2. */
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "options.h"
#include "say.h"
#include "test.h"

#define ARGUMENTS_MOST 16

/* Runs the program with a command line that is split at blanks. */
static int run_line(const char *line)
{
    static char text[512];
    char *arguments[ARGUMENTS_MOST] = {"mailroom-bench"};
    int count = 1;
    snprintf(text, sizeof(text), "%s", line);
    for (char *word = strtok(text, " "); word != NULL && count + 1 < ARGUMENTS_MOST; word = strtok(NULL, " ")) {
        arguments[count++] = word;
    }
    arguments[count] = NULL;
    return bench_main(count, arguments);
}

TEST(bench_options, wrong_lines_are_usage_errors)
{
    static const char *const lines[] = {
        "",
        "nonsense",
        "throughput extra",
        "throughput --nonsense",
        "throughput --writers",
        "throughput --writers 0",
        "throughput --writers many",
        "throughput --writers -1",
        "throughput --writers 8,9",
        "throughput --slots 1000000000",
        "throughput --size -5",
        "throughput --size 64-8",
        "throughput --size 4-64",
        "throughput --size 64:0",
        "throughput --size 12 --rate 1000",
        "throughput --size ,",
        "throughput --rate fast",
        "throughput --rate 0",
        "throughput --rate inf",
        "throughput --duration 0",
        "throughput --duration 1h",
        "throughput --messages 0",
        "throughput --priority-mix 0,0",
        "throughput --priority-mix 1,2,3,4,5,6,7,8,9",
        "throughput --priority-mix 1;2",
        "throughput --lane round",
        "throughput --peer nobody",
        "throughput --check some",
        "throughput --floods 1",
        "throughput --floods 1 --rate 100",
        "throughput --target %s",
        "throughput --quick",
        "latency --rate max",
        "compare --sizes 8",
        "compare --sizes 64,,1",
        "compare --sizes 64,",
        "compare --peers nobody",
        "compare --target a",
        "compare --repeat 0",
        "rows --only nothing",
        "memory --slots 0",
        "peers --json",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        int code = run_line(lines[i]);
        CHECK_MSG(code == BENCH_USAGE, "'%s' ended with %d", lines[i], code);
    }
}

TEST(bench_options, help_of_every_command)
{
    static const char *const names[] = {"throughput", "latency", "fan-in", "burst", "soak",
                                        "memory",     "compare", "rows",   "peers"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char line[64];
        snprintf(line, sizeof(line), "%s --help", names[i]);
        CHECK_EQ(run_line(line), BENCH_DONE);
    }
    CHECK_EQ(run_line("--help"), BENCH_DONE);
    CHECK_EQ(run_line("--version"), BENCH_DONE);
    CHECK_EQ(run_line("peers"), BENCH_DONE);
}

TEST(bench_options, sizes)
{
    struct sizes sizes;
    CHECK(options_sizes("64", &sizes) == NULL);
    CHECK_EQ(sizes.minimum, 64);
    CHECK_EQ(sizes.maximum, 64);
    CHECK(options_sizes("1KiB-1MiB", &sizes) == NULL);
    CHECK_EQ(sizes.minimum, 1024);
    CHECK_EQ(sizes.maximum, 1048576);
    CHECK(options_sizes("log:64-4k", &sizes) == NULL);
    CHECK_EQ(sizes.kind, SIZES_LOGARITHMIC);
    CHECK_EQ(sizes.maximum, 4000);
    CHECK(options_sizes("64:90,1KiB:9,65536", &sizes) == NULL);
    CHECK_EQ(sizes.kind, SIZES_LIST);
    CHECK_EQ(sizes.count, 3);
    CHECK_EQ(sizes.weights, 100);
    CHECK_EQ(sizes.minimum, 64);
    CHECK_EQ(sizes.maximum, 65536);
    CHECK(options_sizes("1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", &sizes) != NULL);
}

TEST(bench_options, picked_sizes_follow_their_distribution)
{
    static const char *const texts[] = {"64-127", "log:64-65536", "64:90,1024:10"};
    uint64_t state = test_seed();
    for (size_t i = 0; i < 3; i++) {
        struct sizes sizes;
        unsigned small = 0;
        CHECK(options_sizes(texts[i], &sizes) == NULL);
        for (unsigned n = 0; n < 10000; n++) {
            size_t size = sizes_pick(&sizes, random_next(&state));
            CHECK(size >= sizes.minimum && size <= sizes.maximum);
            CHECK(sizes.kind != SIZES_LIST || size == 64 || size == 1024);
            small += size < 128;
        }
        /* All; a tenth of the octaves; nine tenths. */
        static const unsigned expected[] = {10000, 1000, 9000};
        CHECK_MSG(small + 200 >= expected[i] && small <= expected[i] + 200, "%s: %u small ones", texts[i], small);
    }
}

TEST(bench_options, mixes_add_up_to_a_thousand)
{
    static const char *const texts[] = {"1", "99,1", "1,1,1", "0,0,5", "1,1,1,1,1,1,1,1", "100000,1", "33.3,66.7"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        unsigned mix[PLAN_LEVELS_MAX];
        unsigned sum = 0;
        CHECK_MSG(options_mix(texts[i], mix) == NULL, "%s", texts[i]);
        for (unsigned l = 0; l < PLAN_LEVELS_MAX; l++) {
            sum += mix[l];
        }
        CHECK_EQ(sum, 1000);
    }
}

TEST(bench_options, each_connection_has_one_writer_and_one_slot)
{
    static const struct {
        unsigned slots;
        unsigned writers;
        bool every;
        unsigned connections;
    } cases[] = {{1, 1, false, 1}, {1, 8, false, 8}, {8, 1, false, 8},      {3, 7, false, 7},
                 {7, 3, false, 7}, {5, 4, true, 20}, {500, 500, false, 500}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct plan plan = {.writers = cases[i].writers, .every = cases[i].every, .mix = {1000}};
        bool seen[512] = {false};
        bool served[512] = {false};
        unsigned count = 0;
        plan.peer.slots = cases[i].slots;
        plan.sizes.minimum = plan.sizes.maximum = 64;
        CHECK(plan_complete(&plan) == NULL);
        CHECK_EQ(plan_connections(&plan), cases[i].connections);
        for (unsigned w = 0; w < plan.writers; w++) {
            for (unsigned k = 0; k < plan_writer_connections(&plan, w); k++) {
                unsigned connection = plan_writer_connection(&plan, w, k);
                CHECK(connection < cases[i].connections);
                CHECK(!seen[connection]);
                seen[connection] = true;
                served[plan_slot(&plan, connection)] = true;
                count++;
            }
        }
        CHECK_EQ(count, cases[i].connections);
        for (unsigned s = 0; s < cases[i].slots; s++) {
            CHECK(served[s]);
        }
    }
}
