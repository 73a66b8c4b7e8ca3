/* test_access.c: the access rules, as a table and against real connections of other users. */
#include <sys/socket.h>
#include <sys/un.h>

#include "scratch_linux.h"
#include "slots/access.h"

#define NONE UINT32_MAX

static struct access_rule rule_of(mr_access mode)
{
    return (struct access_rule){.mode = mode, .owner = 1000, .group = 50, .overflow_uid = 65534};
}

static bool allows(const struct access_rule *rule, uint32_t uid, uint32_t gid)
{
    struct access_peer peer = {1, uid, gid};
    return access_allows(rule, &peer, NULL, 0);
}

TEST(access, owner_and_root_only)
{
    struct access_rule rule = rule_of(MR_ACCESS_OWNER);
    CHECK(allows(&rule, 1000, 5));
    CHECK(allows(&rule, 0, 5));
    CHECK(!allows(&rule, 1001, 50));
    CHECK(!allows(&rule, NONE, NONE));
    struct access_peer peer = {1, 1001, 7};
    gid_t groups[] = {50};
    CHECK(!access_allows(&rule, &peer, groups, 1));
}

TEST(access, group)
{
    struct access_rule rule = rule_of(MR_ACCESS_GROUP);
    CHECK(allows(&rule, 1000, 5));
    CHECK(allows(&rule, 0, 5));
    CHECK(allows(&rule, 1001, 50));
    CHECK(!allows(&rule, 1001, 51));
    struct access_peer peer = {1, 1001, 7};
    gid_t groups[] = {8, 9, 50};
    CHECK(access_allows(&rule, &peer, groups, 3));
    CHECK(!access_allows(&rule, &peer, groups, 2));
    rule.group = NONE;
    CHECK(!allows(&rule, 1001, NONE));
}

TEST(access, everyone_but_the_overflow_uid)
{
    struct access_rule rule = rule_of(MR_ACCESS_EVERYONE);
    CHECK(allows(&rule, 1000, 5));
    CHECK(allows(&rule, 4242, 4242));
    CHECK(!allows(&rule, 65534, 65534));
    CHECK(!allows(&rule, NONE, 1));
    rule.owner = 65534; /* even the own user: it cannot be told from any unmapped one */
    CHECK(!allows(&rule, 65534, 65534));
    rule.overflow_uid = NONE; /* all users are mapped: 65534 is a user */
    CHECK(allows(&rule, 65534, 65534));
}

TEST(access, list)
{
    uint32_t uids[] = {7, 1234}, gids[] = {60, 61};
    struct access_rule rule = rule_of(MR_ACCESS_LIST);
    CHECK(!allows(&rule, 1234, 60));
    rule.uids = uids;
    rule.uid_count = 2;
    rule.gids = gids;
    rule.gid_count = 2;
    CHECK(allows(&rule, 1000, 5));
    CHECK(allows(&rule, 0, 5));
    CHECK(allows(&rule, 7, 5));
    CHECK(allows(&rule, 1234, 5));
    CHECK(allows(&rule, 999, 61));
    CHECK(!allows(&rule, 999, 50)); /* `group` is of the other mode */
    CHECK(!allows(&rule, 8, 5));
    struct access_peer peer = {1, 8, 5};
    gid_t groups[] = {1, 60};
    CHECK(access_allows(&rule, &peer, groups, 2));
    uids[0] = 65534;
    CHECK(!allows(&rule, 65534, 60));
}

TEST(access, rule_from_options)
{
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    struct access_rule rule;
    CHECK_STATUS(access_rule_init(&rule, &options), MR_OK);
    CHECK_EQ(rule.owner, geteuid());
    access_rule_clear(&rule);
    access_rule_clear(&rule);
    CHECK(!allows(&rule, geteuid() == 0 ? 1 : geteuid(), 0));
    options.access = MR_ACCESS_GROUP;
    CHECK_STATUS(access_rule_init(&rule, &options), MR_OK);
    CHECK_EQ(rule.group, getegid());
    uint32_t uids[] = {1, 2, 3}, gids[] = {4};
    options = (mr_reader_options) MR_READER_OPTIONS_INIT;
    options.access = MR_ACCESS_LIST;
    options.access_uids = uids;
    options.access_uid_count = 3;
    options.access_gids = gids;
    options.access_gid_count = 1;
    CHECK_STATUS(access_rule_init(&rule, &options), MR_OK);
    uids[2] = gids[0] = 99;
    CHECK_EQ(rule.uids[2], 3);
    CHECK_EQ(rule.gids[0], 4);
    access_rule_clear(&rule);
    options.access_gids = NULL;
    CHECK_STATUS(access_rule_init(&rule, &options), MR_E_ARGUMENT);
    options.access = (mr_access) 17;
    CHECK_STATUS(access_rule_init(&rule, &options), MR_E_ARGUMENT);
}

struct visitor {
    struct sockaddr_un address;
    int connection; /* the visitor's end, for its child */
};

static int visit(void *argument)
{
    struct visitor *visitor = argument;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    /* Left open at _exit: the listener has the connection in its queue, and the credentials are those of this moment. */
    return connect(fd, (struct sockaddr *) &visitor->address, sizeof visitor->address) == 0 ? 0 : 1;
}

/* Connects as another user and asks the rule. */
static int check_as(int listener, struct visitor *visitor, const struct access_rule *rule, unsigned uid,
                    const gid_t *groups, size_t count)
{
    struct access_peer peer;
    CHECK_EQ(child_run_as(uid, groups, count, visit, visitor), 0);
    int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK(connection >= 0);
    int status = access_check(rule, connection, &peer);
    CHECK_EQ(peer.uid, uid == 0 ? geteuid() : uid);
    CHECK_EQ(peer.gid, uid == 0 ? getegid() : uid);
    CHECK(peer.pid != 0 && peer.pid != (uint32_t) getpid());
    close(connection);
    return status;
}

static int listener_open(const char *scratch, struct visitor *visitor)
{
    visitor->address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(visitor->address.sun_path, sizeof visitor->address.sun_path, "%.80s/s", scratch);
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    CHECK_EQ(bind(listener, (struct sockaddr *) &visitor->address, sizeof visitor->address), 0);
    CHECK_EQ(chmod(visitor->address.sun_path, 0666), 0);
    CHECK_EQ(listen(listener, 16), 0);
    return listener;
}

TEST(access, own_connection)
{
    char scratch[SCRATCH_ROOM];
    struct visitor visitor;
    scratch_make(scratch);
    int listener = listener_open(scratch, &visitor);
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    struct access_rule rule;
    CHECK_STATUS(access_rule_init(&rule, &options), MR_OK);
    CHECK_STATUS(check_as(listener, &visitor, &rule, 0, NULL, 0), MR_OK);
    struct access_peer peer;
    CHECK_STATUS(access_check(&rule, STDIN_FILENO, &peer), MR_E_SYSTEM);
    CHECK_EQ(peer.uid, UINT32_MAX);
    scratch_remove(scratch);
}

TEST(access, connections_of_other_users)
{
    NEED_ROOT();
    char scratch[SCRATCH_ROOM];
    struct visitor visitor;
    scratch_make(scratch);
    int listener = listener_open(scratch, &visitor);
    struct access_rule rule = rule_of(MR_ACCESS_OWNER);
    CHECK_STATUS(check_as(listener, &visitor, &rule, 1000, NULL, 0), MR_OK);
    CHECK_STATUS(check_as(listener, &visitor, &rule, 0, NULL, 0), MR_OK);
    CHECK_STATUS(check_as(listener, &visitor, &rule, 1001, NULL, 0), MR_E_ACCESS);
    rule.mode = MR_ACCESS_GROUP;
    gid_t groups[300];
    for (size_t i = 0; i < 300; i++)
        groups[i] = (gid_t) (2000 + i);
    CHECK_STATUS(check_as(listener, &visitor, &rule, 50, NULL, 0), MR_OK);
    CHECK_STATUS(check_as(listener, &visitor, &rule, 1001, groups, 3), MR_E_ACCESS);
    rule.group = 2002;
    CHECK_STATUS(check_as(listener, &visitor, &rule, 1001, groups, 3), MR_OK);
    rule.group = 2299; /* more groups than fit into the first try */
    CHECK_STATUS(check_as(listener, &visitor, &rule, 1001, groups, 300), MR_OK);
    CHECK_STATUS(check_as(listener, &visitor, &rule, 1001, groups, 299), MR_E_ACCESS);
    uint32_t uids[] = {1234}, gids[] = {2001};
    rule = rule_of(MR_ACCESS_LIST);
    rule.uids = uids;
    rule.uid_count = 1;
    CHECK_STATUS(check_as(listener, &visitor, &rule, 1234, NULL, 0), MR_OK);
    CHECK_STATUS(check_as(listener, &visitor, &rule, 1235, groups, 3), MR_E_ACCESS);
    rule.gids = gids;
    rule.gid_count = 1;
    CHECK_STATUS(check_as(listener, &visitor, &rule, 1235, groups, 3), MR_OK);
    rule.mode = MR_ACCESS_EVERYONE;
    CHECK_STATUS(check_as(listener, &visitor, &rule, 4321, NULL, 0), MR_OK);
    CHECK_STATUS(check_as(listener, &visitor, &rule, 65534, NULL, 0), MR_E_ACCESS);
    close(listener);
    scratch_remove(scratch);
}
