/* plot.c: drawings from results: of the comparison that has just been made (--plot), and of files that were written earlier
 * (the command plot).
 *
 * Path    comparison ► DIRECTORY/compare.json ► draw_files; files ► draw_files
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "compare.h"
#include "draw.h"
#include "file.h"
#include "process.h"
#include "say.h"

static int draw(const char *directory, const char *const *paths, size_t count)
{
    unsigned drawn = 0;
    int status = draw_files(directory, paths, count, &drawn);
    if (status != MR_OK) {
        return fail_status(status, directory);
    }
    remark("%u drawing%s in %s", drawn, drawn == 1 ? "" : "s", directory);
    return BENCH_DONE;
}

int plot_comparison(const struct comparison *comparison, const char *directory)
{
    char path[PEER_TEXT_ROOM * 4];
    const char *const paths[] = {path};
    int status = directory_ensure(directory);
    if (status != MR_OK) {
        return fail_status(status, "--plot");
    }
    if (snprintf(path, sizeof(path), "%s/compare.json", directory) >= (int) sizeof(path)) {
        return fail("--plot: the path is too long");
    }
    FILE *file = file_open(path, true);
    if (file == NULL) {
        return fail("cannot write %s: %s", path, strerror(errno));
    }
    comparison_json(comparison, file);
    bool bad = ferror(file) != 0;
    if (fclose(file) != 0 || bad) {
        return fail("cannot write %s: %s", path, strerror(errno));
    }
    return draw(directory, paths, 1);
}

static const char help[] =
    "usage: mailroom-bench plot DIR FILE...\n"
    "\n"
    "Draws results that were kept (mailroom-bench ... --json >FILE) into the folder DIR, as SVG by gnuplot, as far as they\n"
    "go: messages a second by size, by writers and by slots; latency by percentile; memory by slots. The scripts for gnuplot\n"
    "stay beside the drawings.\n";

static int run_plot(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            printf("%s", help);
            return BENCH_DONE;
        }
        if (argv[i][0] == '-') {
            return fail_usage("plot", "%s is no option here", argv[i]);
        }
    }
    if (argc < 3) {
        return fail_usage("plot", "it needs a folder and one file of results or more");
    }
    return draw(argv[1], (const char *const *) (argv + 2), (size_t) argc - 2);
}

const struct command command_plot = {"plot", "draw results that were kept as JSON", help, 0, run_plot};
