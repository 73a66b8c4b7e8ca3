/* claim_linux.h: claiming and connecting in one line, children that hold slots, and directories to search. */
#ifndef TEST_SLOTS_CLAIM_LINUX_H
#define TEST_SLOTS_CLAIM_LINUX_H

#include "scratch_linux.h"
#include "slots/rendezvous_linux.h"

#include <mailroom/directory.h>

#define OTHER 12345u /* a user who is nobody on this machine */

static inline struct slot_name name_of(const char *text)
{
    struct slot_name name;
    CHECK_STATUS(name_parse(&name, text), MR_OK);
    return name;
}

static inline int claim_with(struct rendezvous **r, const char *text, mr_access access, uint32_t group)
{
    struct slot_name name = name_of(text);
    struct access_rule rule;
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.access = access;
    options.access_group = group;
    CHECK_STATUS(access_rule_init(&rule, &options), MR_OK);
    int status = rendezvous_claim(r, &name, &rule, 1000);
    access_rule_clear(&rule);
    return status;
}

static inline int claim(struct rendezvous **r, const char *text)
{
    return claim_with(r, text, MR_ACCESS_OWNER, UINT32_MAX);
}

static inline int connect_as(const char *text, uint32_t reader_uid, uint64_t deadline, int *fd)
{
    struct slot_name name = name_of(text);
    struct slot_limits limits = {0};
    int status = rendezvous_connect(&name, RENDEZVOUS_PLAIN, reader_uid, deadline, fd, &limits);
    if (status == MR_OK)
        CHECK_EQ(limits.max_message, 1000);
    return status;
}

static inline int connect_once(const char *text)
{
    int fd = -1;
    int status = connect_as(text, UINT32_MAX, 0, &fd);
    if (status == MR_OK)
        close(fd);
    else
        CHECK_EQ(fd, -1);
    return status;
}

/* For children: the status as an exit code. */
static inline int child_claim(void *argument)
{
    struct rendezvous *r;
    int status = claim(&r, argument);
    if (status == MR_OK)
        rendezvous_release(r, false);
    return -status;
}

static inline int child_connect(void *argument)
{
    return -connect_once(argument);
}

/* A child that holds a slot until it is killed. */
static inline pid_t holder_start(const char *text, unsigned uid)
{
    int ready[2];
    CHECK_EQ(pipe2(ready, O_CLOEXEC), 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct rendezvous *r;
        if (uid != 0 && (setgroups(0, NULL) != 0 || setresgid(uid, uid, uid) != 0 || setresuid(uid, uid, uid) != 0))
            _exit(120);
        char status = (char) -claim_with(&r, text, MR_ACCESS_EVERYONE, UINT32_MAX);
        if (write(ready[1], &status, 1) != 1 || status != 0)
            _exit(1);
        for (;;)
            pause();
    }
    char status = 99;
    close(ready[1]);
    CHECK_EQ(read(ready[0], &status, 1), 1);
    CHECK_STATUS(-status, MR_OK);
    close(ready[0]);
    return child;
}

static inline void holder_kill(pid_t child)
{
    int status;
    CHECK(child > 0); /* what a failed fork returns would be everybody */
    CHECK_EQ(kill(child, SIGKILL), 0);
    CHECK_EQ(waitpid(child, &status, 0), child);
}

static inline int file_mode(const char *directory, const char *file)
{
    char path[SCRATCH_ROOM + 300];
    struct stat s;
    snprintf(path, sizeof path, "%s/%s", directory, file);
    return lstat(path, &s) == 0 ? (int) (s.st_mode & 07777) : -errno;
}

struct places_scratch {
    char root[SCRATCH_ROOM];
    char machine[SCRATCH_ROOM + 32];
    char run_user[SCRATCH_ROOM + 32];
    char own[SCRATCH_ROOM + 64];
    char tmp[SCRATCH_ROOM + 32];
};

static inline void places_make(struct places_scratch *p)
{
    scratch_make(p->root);
    CHECK_EQ(unsetenv("MAILROOM_DIR"), 0);
    snprintf(p->machine, sizeof p->machine, "%s/run-mailroom", p->root);
    snprintf(p->run_user, sizeof p->run_user, "%s/run-user", p->root);
    snprintf(p->own, sizeof p->own, "%s/%u", p->run_user, (unsigned) geteuid());
    snprintf(p->tmp, sizeof p->tmp, "%s/tmp", p->root);
    CHECK_EQ(mkdir(p->run_user, 0755), 0);
    CHECK_EQ(mkdir(p->tmp, 0777), 0);
    CHECK_EQ(chmod(p->tmp, 01777), 0);
    rendezvous_set_places(p->machine, p->run_user, p->tmp, geteuid());
}

static inline bool is_below(const char *name, const char *directory)
{
    char path[512];
    CHECK_STATUS(mr_slot_path(name, path, sizeof path), MR_OK);
    return strncmp(path, directory, strlen(directory)) == 0;
}

#endif
