/* follow_state.h: how far --follow has got, in memory and in the state file. */
#ifndef CLI_FOLLOW_STATE_H
#define CLI_FOLLOW_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lines.h"
#include "watch.h"

/* What lies before the offset is compared with what was there, to notice a truncation that has been overgrown. */
#define TAIL_BYTES 64

struct followed {
    struct file_identity identity;
    uint64_t offset;          /* every line before it was sent */
    uint64_t read_at;         /* offset and the bytes of a line that has no newline yet, held in `lines` */
    uint8_t tail[TAIL_BYTES]; /* the bytes before `offset` */
    size_t tail_length;
    bool finished;  /* a newer file has data: a last line without newline was sent */
    bool closed;    /* finished, and no longer looked at */
    int descriptor; /* -1: not open */
    int watch;
    struct lines lines;
};

struct followed_list {
    struct followed *files; /* oldest first */
    size_t count;
    uint64_t floor; /* files born before it were there before the first start, and are not sent */
};

/* A new entry at `position`, or NULL: out of memory. */
struct followed *followed_insert(struct followed_list *list, size_t position);
void followed_remove(struct followed_list *list, size_t position);
void followed_free(struct followed_list *list);

/* Writes the state file. An exit code; errors have been printed. */
int follow_state_save(const char *state, const char *path, const struct followed_list *list, bool durable);

/* Reads it into the empty list, nothing opened. `*found` is false where there is none yet. An exit code; errors have
 * been printed. */
int follow_state_load(const char *state, const char *path, struct followed_list *list, bool *found);

#endif
