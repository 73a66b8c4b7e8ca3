/* test_lines.c: a stream cut into lines, in whatever pieces it comes. */
#include <stdlib.h>
#include <string.h>

#include "cli/lines.h"
#include "test.h"

struct seen {
    char *bytes; /* of all lines, a newline behind each */
    size_t length;
    size_t lines;
    size_t too_long;
    size_t stop_after; /* 0: never */
};

static bool see(void *context, const void *line, size_t length, bool too_long)
{
    struct seen *seen = context;
    seen->lines++;
    seen->too_long += too_long;
    if (!too_long) {
        memcpy(seen->bytes + seen->length, line, length);
        seen->bytes[seen->length + length] = '\n';
        seen->length += length + 1;
    }
    return seen->lines != seen->stop_after;
}

/* Feeds the bytes in pieces of a size that `state` chooses. */
static void feed(struct lines *lines, const char *bytes, size_t length, uint64_t state, struct seen *seen)
{
    size_t at = 0;
    while (at < length) {
        size_t room = 0;
        char *to = lines_room(lines, &room);
        CHECK(to != NULL);
        CHECK(room > 0);
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t piece = 1 + (size_t) (state >> 33) % (length / 3 + 1);
        piece = piece < room ? piece : room;
        piece = piece < length - at ? piece : length - at;
        memcpy(to, bytes + at, piece);
        CHECK(lines_split(lines, piece, see, seen));
        at += piece;
    }
}

TEST(lines, any_pieces_give_the_same_lines)
{
    uint64_t state = test_seed();
    for (int round = 0; round < 500; round++) {
        char bytes[400];
        char got[801];
        struct lines lines = {0};
        struct seen seen = {.bytes = got};
        for (size_t i = 0; i < sizeof(bytes); i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            bytes[i] = (state >> 40) % 5 == 0 ? '\n' : (char) (state >> 50);
        }
        feed(&lines, bytes, sizeof(bytes), state, &seen);
        lines_end(&lines, see, &seen);
        /* The lines joined again are the bytes, with a newline at the end in any case. */
        size_t expected = sizeof(bytes) + (bytes[sizeof(bytes) - 1] != '\n');
        CHECK_EQ(seen.length, expected);
        CHECK_MEM(got, bytes, sizeof(bytes));
        CHECK_EQ(seen.too_long, 0);
        lines_free(&lines);
    }
}

TEST(lines, nothing_gives_no_line)
{
    struct lines lines = {0};
    struct seen seen = {0};
    lines_end(&lines, see, &seen);
    CHECK_EQ(seen.lines, 0);
    lines_free(&lines);
}

TEST(lines, a_line_grows_to_its_bound_and_no_further)
{
    struct lines lines = {0};
    char *got = malloc(LINE_BYTES_MAX + 16);
    struct seen seen = {.bytes = got};
    CHECK(got != NULL);
    /* Just inside the bound, with the newline in a piece of its own. */
    for (size_t fed = 0; fed < LINE_BYTES_MAX - 1;) {
        size_t room = 0;
        char *to = lines_room(&lines, &room);
        CHECK(to != NULL);
        room = room < LINE_BYTES_MAX - 1 - fed ? room : LINE_BYTES_MAX - 1 - fed;
        memset(to, 'x', room);
        CHECK(lines_split(&lines, room, see, &seen));
        fed += room;
    }
    feed(&lines, "\nshort\n", 7, 1, &seen);
    CHECK_EQ(seen.lines, 2);
    CHECK_EQ(seen.too_long, 0);
    CHECK_EQ(seen.length, LINE_BYTES_MAX + 6);
    /* Three times the bound: told once, and the next line is whole again. */
    seen.length = seen.lines = 0;
    for (size_t fed = 0; fed < 3 * LINE_BYTES_MAX;) {
        size_t room = 0;
        char *to = lines_room(&lines, &room);
        CHECK(to != NULL);
        memset(to, 'y', room);
        CHECK(lines_split(&lines, room, see, &seen));
        fed += room;
        CHECK(lines.capacity <= LINE_BYTES_MAX);
    }
    feed(&lines, "\nnext\n", 6, 1, &seen);
    CHECK_EQ(seen.lines, 2);
    CHECK_EQ(seen.too_long, 1);
    CHECK_EQ(seen.length, 5);
    CHECK_MEM(got, "next\n", 5);
    lines_free(&lines);
    free(got);
}

TEST(lines, the_visitor_ends_it)
{
    struct lines lines = {0};
    char got[16];
    struct seen seen = {.bytes = got, .stop_after = 2};
    size_t room = 0;
    char *to = lines_room(&lines, &room);
    CHECK(to != NULL);
    memcpy(to, "1\n2\n3\n4", 7);
    CHECK(!lines_split(&lines, 7, see, &seen));
    CHECK_EQ(seen.lines, 2);
    /* What follows the line at which it ended is still there. */
    CHECK_MEM(lines.data + lines.begin, "3\n4", lines.end - lines.begin);
    lines_free(&lines);
}
