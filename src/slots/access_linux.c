/* access_linux.c: the access rule against what the kernel says of a connection's other end.
 *
 * A1      The reader's own user and root are always allowed, the overflow uid never: before any list is looked at.
 * A2      A peer whose credentials cannot be read in full (groups included, where they matter) is not allowed.
 * A3      The credentials are those of connect(2): a process that changes its user later keeps them on this connection.
 */
#include "slots/access.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "queue/memory.h"
#include "queue/status.h"

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59 /* Linux 4.13; parisc and sparc number it otherwise, and define it in their headers */
#endif

static int list_copy(uint32_t **to, size_t *to_count, const uint32_t *from, size_t count)
{
    if (count == 0)
        return MR_OK;
    if (from == NULL)
        return status_fail(MR_E_ARGUMENT, 0, "the access list of %zu entries is NULL", count);
    *to = memory_calloc(count, sizeof **to);
    if (*to == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for an access list of %zu entries", count);
    memcpy(*to, from, count * sizeof **to);
    *to_count = count;
    return MR_OK;
}

/* Reads a small file of /proc; an empty text if it cannot be. */
static void proc_read(const char *path, char *text, size_t room)
{
    text[0] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t length = read(fd, text, room - 1);
    text[length > 0 ? length : 0] = '\0';
    close(fd);
}

static uint32_t overflow_uid(void)
{
    char text[256];
    proc_read("/proc/self/uid_map", text, sizeof text);
    char *end = text;
    unsigned long map[3] = {1, 1, 1}; /* first uid inside, the one outside that it is, how many */
    for (size_t i = 0; i < 3; i++)
        map[i] = strtoul(end, &end, 10);
    if (map[0] == 0 && map[2] == UINT32_MAX)
        return UINT32_MAX;
    proc_read("/proc/sys/fs/overflowuid", text, sizeof text);
    unsigned long uid = strtoul(text, &end, 10);
    return end != text && uid < UINT32_MAX ? (uint32_t) uid : 65534;
}

int access_rule_init(struct access_rule *rule, const mr_reader_options *options)
{
    *rule = (struct access_rule){.mode = options->access, .owner = geteuid(), .group = options->access_group};
    if (options->access_sddl != NULL || options->access_remote)
        return status_fail(MR_E_UNSUPPORTED, 0,
                           "access_sddl and access_remote are for Windows; use access and its lists");
    rule->overflow_uid = overflow_uid();
    if (rule->group == UINT32_MAX)
        rule->group = getegid();
    switch (rule->mode) {
    case MR_ACCESS_OWNER:
    case MR_ACCESS_GROUP:
    case MR_ACCESS_EVERYONE:
        return MR_OK;
    case MR_ACCESS_LIST:
        break;
    default:
        return status_fail(MR_E_ARGUMENT, 0, "%d is no access mode", (int) rule->mode);
    }
    int status = list_copy(&rule->uids, &rule->uid_count, options->access_uids, options->access_uid_count);
    if (status == MR_OK)
        status = list_copy(&rule->gids, &rule->gid_count, options->access_gids, options->access_gid_count);
    if (status != MR_OK)
        access_rule_clear(rule);
    return status;
}

void access_rule_clear(struct access_rule *rule)
{
    memory_free(rule->uids);
    memory_free(rule->gids);
    *rule = (struct access_rule){
        .mode = MR_ACCESS_OWNER, .owner = UINT32_MAX, .group = UINT32_MAX, .overflow_uid = UINT32_MAX};
}

static bool list_holds(const uint32_t *list, size_t count, uint32_t id)
{
    for (size_t i = 0; i < count; i++)
        if (list[i] == id)
            return true;
    return false;
}

static bool rule_names_group(const struct access_rule *rule, uint32_t gid)
{
    return rule->mode == MR_ACCESS_GROUP ? gid == rule->group : list_holds(rule->gids, rule->gid_count, gid);
}

bool access_allows(const struct access_rule *rule, const struct access_peer *peer, const gid_t *groups,
                   size_t group_count)
{
    if (peer->uid == UINT32_MAX || peer->uid == rule->overflow_uid)
        return false;
    if (peer->uid == 0 || peer->uid == rule->owner)
        return true;
    switch (rule->mode) {
    case MR_ACCESS_EVERYONE:
        return true;
    case MR_ACCESS_LIST:
        if (list_holds(rule->uids, rule->uid_count, peer->uid))
            return true;
        break;
    case MR_ACCESS_GROUP:
        break;
    case MR_ACCESS_OWNER:
    default:
        return false;
    }
    if (peer->gid != UINT32_MAX && rule_names_group(rule, peer->gid))
        return true;
    for (size_t i = 0; i < group_count; i++)
        if (rule_names_group(rule, groups[i]))
            return true;
    return false;
}

/* Reads the peer's supplementary groups into `few`, or memory of its own. A kernel without SO_PEERGROUPS tells none. */
static int groups_read(int connection, gid_t *few, size_t few_count, gid_t **groups, size_t *count)
{
    socklen_t size = (socklen_t) (few_count * sizeof *few);
    *groups = few;
    *count = 0;
    if (getsockopt(connection, SOL_SOCKET, SO_PEERGROUPS, few, &size) == 0) {
        *count = size / sizeof *few;
        return MR_OK;
    }
    if (errno == ENOPROTOOPT || errno == ENODATA)
        return MR_OK;
    if (errno != ERANGE)
        return MR_E_SYSTEM;
    gid_t *many = memory_alloc(size); /* the kernel has said how much it needs, at most 65,536 groups */
    if (many == NULL)
        return MR_E_MEMORY;
    if (getsockopt(connection, SOL_SOCKET, SO_PEERGROUPS, many, &size) != 0) {
        memory_free(many);
        return MR_E_SYSTEM;
    }
    *groups = many;
    *count = size / sizeof *many;
    return MR_OK;
}

int access_check(const struct access_rule *rule, int connection, struct access_peer *peer)
{
    *peer = (struct access_peer){.pid = 0, .uid = UINT32_MAX, .gid = UINT32_MAX};
    struct ucred credentials;
    socklen_t size = sizeof credentials;
    if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0 || size != sizeof credentials)
        return status_fail(MR_E_SYSTEM, errno, "the credentials of a connection cannot be read: %s", strerror(errno));
    *peer = (struct access_peer){(uint32_t) credentials.pid, credentials.uid, credentials.gid};

    if (access_allows(rule, peer, NULL, 0))
        return MR_OK;
    if (rule->mode != MR_ACCESS_GROUP && !(rule->mode == MR_ACCESS_LIST && rule->gid_count > 0))
        return MR_E_ACCESS;
    gid_t few[64];
    gid_t *groups;
    size_t count;
    int status = groups_read(connection, few, sizeof few / sizeof few[0], &groups, &count);
    if (status != MR_OK)
        return status_fail(status, errno, "the groups of user %u's connection cannot be read", (unsigned) peer->uid);
    status = access_allows(rule, peer, groups, count) ? MR_OK : MR_E_ACCESS;
    if (groups != few)
        memory_free(groups);
    return status;
}
