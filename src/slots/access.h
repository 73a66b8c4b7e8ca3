/* access.h: who may write to a slot (Linux), decided for each connection when it is accepted.
 *
 * The mode of the socket's file keeps most of the others out already; this is the check that counts, by what the
 * kernel says of the peer (SO_PEERCRED, SO_PEERGROUPS), and the only one for lists.
 */
#ifndef SLOTS_ACCESS_H
#define SLOTS_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <mailroom/reader.h>

struct access_rule {
    mr_access mode;
    uint32_t owner; /* the reader's own user: always allowed, like root */
    uint32_t group; /* MR_ACCESS_GROUP: the gid */
    /* Refused whatever the rule says: the kernel shows it for every user that this user namespace does not map, so it
     * names nobody in particular. UINT32_MAX where every user is mapped (outside of containers): there it is a user like
     * any other. */
    uint32_t overflow_uid;
    uint32_t *uids; /* MR_ACCESS_LIST: own copies */
    size_t uid_count;
    uint32_t *gids;
    size_t gid_count;
};

/* The other end of a connection, as it was when it connected. */
struct access_peer {
    uint32_t pid; /* 0: a process that this one's pid namespace does not show */
    uint32_t uid;
    uint32_t gid;
};

/* Fills in the rule of `options` for this process's (effective) user. MR_E_ARGUMENT (no such mode, a list without its
 * array), MR_E_UNSUPPORTED (access_sddl, access_remote), MR_E_MEMORY. access_rule_clear frees it; of a rule of zeros too. */
int access_rule_init(struct access_rule *rule, const mr_reader_options *options);
void access_rule_clear(struct access_rule *rule);

/* May the other end of this accepted connection write? Fills in `peer` in any case where the kernel tells it. MR_OK;
 * MR_E_ACCESS; MR_E_MEMORY (thousands of groups), MR_E_SYSTEM: not allowed either. Leaves mr_last_error_text alone with
 * MR_E_ACCESS (it is no error of the reader's). */
int access_check(const struct access_rule *rule, int connection, struct access_peer *peer);

/* The rule itself, without a connection. */
bool access_allows(const struct access_rule *rule, const struct access_peer *peer, const gid_t *groups,
                   size_t group_count);

#endif
