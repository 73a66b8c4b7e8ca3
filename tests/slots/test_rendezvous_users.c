/* test_rendezvous_users.c: two users, squatters and what they leave behind. */
#include "claim_linux.h"

static void shared_directory(char scratch[SCRATCH_ROOM])
{
    scratch_use(scratch);
    CHECK_EQ(chmod(scratch, 01777), 0);
}

static int child_connect_expect(void *argument)
{
    int status = connect_once("x");
    return status == MR_E_ACCESS && strstr(mr_last_error_text(), argument) == NULL ? 99 : -status;
}

TEST(rendezvous_users, access_by_file_mode)
{
    NEED_ROOT();
    char scratch[SCRATCH_ROOM];
    struct rendezvous *r;
    gid_t group = 4321;
    shared_directory(scratch);
    CHECK_STATUS(claim(&r, "x"), MR_OK);
    CHECK_EQ(child_run_as(OTHER, NULL, 0, child_connect_expect, "only user 0 and root"), -MR_E_ACCESS);
    rendezvous_release(r, false);
    CHECK_STATUS(claim_with(&r, "x", MR_ACCESS_GROUP, group), MR_OK);
    CHECK_EQ(file_mode(scratch, "x.sock"), 0660);
    CHECK_EQ(child_run_as(OTHER, NULL, 0, child_connect_expect, "only members of group 4321"), -MR_E_ACCESS);
    CHECK_EQ(child_run_as(OTHER, &group, 1, child_connect_expect, ""), 0);
    rendezvous_release(r, false);
    CHECK_STATUS(claim_with(&r, "x", MR_ACCESS_EVERYONE, UINT32_MAX), MR_OK);
    CHECK_EQ(file_mode(scratch, "x.sock"), 0666);
    CHECK_EQ(child_run_as(OTHER, NULL, 0, child_connect_expect, ""), 0);
    rendezvous_release(r, false);
    scratch_remove(scratch);
}

static int child_claim_group(void *argument)
{
    struct rendezvous *r;
    return -claim_with(&r, argument, MR_ACCESS_GROUP, 999);
}

TEST(rendezvous_users, a_group_that_one_is_not_in)
{
    NEED_ROOT();
    char scratch[SCRATCH_ROOM];
    shared_directory(scratch);
    CHECK_EQ(child_run_as(OTHER, NULL, 0, child_claim_group, "x"), -MR_E_ACCESS);
    CHECK_EQ(scratch_count(scratch), 1); /* the lock file */
    scratch_remove(scratch);
}

TEST(rendezvous_users, both_users_find_both_slots)
{
    NEED_ROOT();
    char scratch[SCRATCH_ROOM];
    struct rendezvous *r;
    shared_directory(scratch);
    pid_t child = holder_start("theirs", OTHER);
    CHECK_STATUS(claim_with(&r, "x", MR_ACCESS_EVERYONE, UINT32_MAX), MR_OK);
    CHECK_EQ(child_run_as(OTHER, NULL, 0, child_connect, "theirs"), 0);
    CHECK_EQ(child_run_as(OTHER, NULL, 0, child_connect, "x"), 0);
    CHECK_STATUS(connect_once("x"), MR_OK);
    int fd;
    CHECK_STATUS(connect_as("theirs", OTHER, 0, &fd), MR_OK);
    CHECK_EQ(child_run_as(OTHER, NULL, 0, child_claim, "x"), -MR_E_EXISTS);
    CHECK_EQ(child_run_as(OTHER + 1, NULL, 0, child_claim, "theirs"), -MR_E_EXISTS);
    struct rendezvous *second;
    CHECK_STATUS(claim(&second, "theirs"), MR_E_EXISTS);
    holder_kill(child);
    rendezvous_release(r, false);
    scratch_remove(scratch);
}

TEST(rendezvous_users, a_squatted_name_gets_nothing)
{
    NEED_ROOT();
    char scratch[SCRATCH_ROOM];
    shared_directory(scratch);
    pid_t child = holder_start("x", OTHER);
    CHECK_STATUS(connect_once("x"), MR_E_OWNER);
    CHECK(strstr(mr_last_error_text(), "user 12345") != NULL);
    CHECK_EQ(child_run_as(OTHER + 1, NULL, 0, child_connect, "x"), -MR_E_OWNER);
    CHECK_EQ(child_run_as(OTHER, NULL, 0, child_connect, "x"), 0);
    holder_kill(child);
    scratch_remove(scratch);
}

static int child_two_places(void *argument)
{
    struct places_scratch *p = argument;
    struct rendezvous *r;
    rendezvous_set_places(p->machine, p->run_user, p->tmp, 0);
    if (claim(&r, "x") != MR_E_EXISTS) /* another user's slot is seen, and the name taken */
        return 1;
    rendezvous_set_places("/nonexistent", p->run_user, p->tmp, 0);
    if (claim(&r, "x") != MR_OK)
        return 2;
    rendezvous_set_places(p->machine, p->run_user, p->tmp, 0);
    if (connect_once("x") != MR_OK || !is_below("x", p->tmp)) /* the own one behind it is found */
        return 3;
    return 0;
}

TEST(rendezvous_users, a_squatter_does_not_hide_an_own_slot)
{
    NEED_ROOT();
    struct places_scratch p;
    places_make(&p);
    CHECK_EQ(mkdir(p.machine, 0777), 0);
    CHECK_EQ(chmod(p.machine, 01777), 0);
    pid_t squatter = holder_start("x", OTHER + 1);
    CHECK_EQ(child_run_as(OTHER, NULL, 0, child_two_places, &p), 0);
    holder_kill(squatter);
    scratch_remove(p.root);
}

TEST(rendezvous_users, what_another_user_left)
{
    NEED_ROOT();
    char scratch[SCRATCH_ROOM];
    shared_directory(scratch);
    holder_kill(holder_start("x", OTHER));
    /* A third user cannot take it, its owner and root can. */
    CHECK_EQ(child_run_as(OTHER + 1, NULL, 0, child_claim, "x"), -MR_E_ACCESS);
    CHECK_EQ(child_run_as(OTHER, NULL, 0, child_claim, "x"), 0);
    holder_kill(holder_start("x", OTHER));
    struct rendezvous *r;
    CHECK_STATUS(claim(&r, "x"), MR_OK);
    CHECK_STATUS(connect_once("x"), MR_OK);
    struct stat s;
    char path[SCRATCH_ROOM + 16];
    snprintf(path, sizeof path, "%s/x.lock", scratch);
    CHECK_EQ(stat(path, &s), 0);
    CHECK_EQ(s.st_uid, 0); /* root's now: its former owner cannot exchange it under the lock */
    CHECK_EQ(child_run_as(OTHER, NULL, 0, child_claim, "x"), -MR_E_EXISTS);
    rendezvous_release(r, false);
    CHECK_EQ(child_run_as(OTHER, NULL, 0, child_claim, "x"), -MR_E_ACCESS);
    scratch_remove(scratch);
}

/* Another user puts files under our names into the shared directory: a sentence, or no effect. Then they go. */
TEST(rendezvous_users, files_of_another_user_in_the_way)
{
    NEED_ROOT();
    char scratch[SCRATCH_ROOM], path[SCRATCH_ROOM + 16];
    shared_directory(scratch);
    static const char *const files[] = {"x.lock", "x.sock", "x.page"};
    for (int i = 0; i < 3; i++) {
        for (int mode = 0; mode < 2; mode++) {
            snprintf(path, sizeof path, "%s/%s", scratch, files[i]);
            int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
            CHECK(fd >= 0);
            CHECK_EQ(fchmod(fd, mode == 0 ? 0600 : 0666), 0);
            CHECK_EQ(fchown(fd, OTHER + 1, OTHER + 1), 0);
            close(fd);
            CHECK_EQ(child_run_as(OTHER, NULL, 0, child_claim, "x"), -MR_E_ACCESS);
            CHECK_EQ(unlink(path), 0);
            CHECK_EQ(child_run_as(OTHER, NULL, 0, child_claim, "x"), 0);
            if (i == 0) {
                CHECK_EQ(unlink(path), 0); /* the lock file that the last one left */
            }
        }
    }
    for (int i = 1; i < 3; i++) { /* a folder is in the way of root too */
        snprintf(path, sizeof path, "%s/%s", scratch, files[i]);
        CHECK_EQ(mkdir(path, 0700), 0);
        CHECK_EQ(chown(path, OTHER, OTHER), 0);
        struct rendezvous *r;
        CHECK_STATUS(claim(&r, "x"), MR_E_ACCESS);
        CHECK(strstr(mr_last_error_text(), "it has to be removed first") != NULL);
        CHECK_EQ(rmdir(path), 0);
    }
    scratch_remove(scratch);
}

/* Nobody but its owner can lock a page, and so pretend that a dead slot lives. */
static int child_lock_page(void *argument)
{
    int fd = open(argument, O_RDONLY | O_CLOEXEC);
    struct flock shared = {.l_type = F_RDLCK, .l_whence = SEEK_SET},
                 exclusive = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fd < 0 || open(argument, O_RDWR | O_CLOEXEC) >= 0 || fcntl(fd, F_SETLK, &exclusive) == 0)
        return 1;
    if (fcntl(fd, F_SETLK, &shared) != 0) /* possible on a dead one */
        return 2;
    struct rendezvous *r;
    return connect_once("x") == MR_E_NO_SLOT && claim(&r, "x") == MR_E_ACCESS ? 0 : 3;
}

TEST(rendezvous_users, a_reader_of_the_page_cannot_fake_life)
{
    NEED_ROOT();
    char scratch[SCRATCH_ROOM], path[SCRATCH_ROOM + 16];
    shared_directory(scratch);
    holder_kill(holder_start("x", OTHER));
    snprintf(path, sizeof path, "%s/x.page", scratch);
    CHECK_EQ(child_run_as(OTHER + 1, NULL, 0, child_lock_page, path), 0);
    scratch_remove(scratch);
}
