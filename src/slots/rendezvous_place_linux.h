/* rendezvous_place_linux.h: the directories that slots live in. */
#ifndef SLOTS_RENDEZVOUS_PLACE_LINUX_H
#define SLOTS_RENDEZVOUS_PLACE_LINUX_H

#include <stddef.h>
#include <stdint.h>

enum { PLACES_MAX = 3, PLACE_WHY_ROOM = 160 };

enum place_kind {
    PLACE_GIVEN,    /* MAILROOM_DIR */
    PLACE_MACHINE,  /* /run/mailroom */
    PLACE_RUN_USER, /* /run/user/UID/mailroom */
    PLACE_TMP       /* /tmp/mailroom-UID */
};

struct place {
    enum place_kind kind;
    char *path;
    int fd;                   /* open and checked, or -1 */
    uint32_t uid;             /* its owner, where open */
    int error;                /* where not: the system's code, or 0 where the check failed; ENOENT: not there */
    char why[PLACE_WHY_ROOM]; /* where not: why, for a sentence */
};

struct places {
    struct place list[PLACES_MAX]; /* in the order of search */
    size_t count;
};

/* Opens what there is; a directory that is missing, or not to be trusted, is in the list with fd -1. MR_E_MEMORY,
 * MR_E_DESCRIPTORS. */
int places_open(struct places *places);
void places_close(struct places *places);

/* The place where this user creates slots: the first one that can be written to, made if need be.
 * MR_E_ACCESS with a sentence, MR_E_DESCRIPTORS, MR_E_SYSTEM. */
int places_choose(struct places *places, struct place **chosen);

/* Why a place was not looked into, for the sentence of a slot that was not found; NULL: all that exist were. */
const char *places_unseen(const struct places *places);

#endif
