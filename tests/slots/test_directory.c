/* test_directory.c: the list of live slots, and the path for plain clients. */
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "queue/thread.h"
#include "scratch_linux.h"
#include "slots/backend.h"
#include "slots/rendezvous_linux.h"

#include <mailroom/directory.h>

static struct rendezvous *claimed(const char *text)
{
    struct slot_name name;
    struct access_rule rule;
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    struct rendezvous *r;
    CHECK_STATUS(name_parse(&name, text), MR_OK);
    CHECK_STATUS(access_rule_init(&rule, &options), MR_OK);
    CHECK_STATUS(rendezvous_claim(&r, &name, &rule, 4711), MR_OK);
    access_rule_clear(&rule);
    return r;
}

struct listing {
    char text[4096];
    mr_slot_entry last;
    int stop_after;
};

static int collect(const mr_slot_entry *entry, void *context)
{
    struct listing *listing = context;
    CHECK_EQ(entry->size, sizeof *entry);
    size_t length = strlen(listing->text);
    snprintf(listing->text + length, sizeof listing->text - length, "%s ", entry->name + strlen("\\\\.\\mailslot\\"));
    listing->last = *entry;
    return --listing->stop_after == 0;
}

static struct listing listed(void)
{
    struct listing listing = {.stop_after = 1000};
    CHECK_STATUS(mr_slots_list(collect, &listing), MR_OK);
    return listing;
}

TEST(directory, lists_live_slots_in_the_order_of_their_names)
{
    char scratch[SCRATCH_ROOM];
    scratch_use(scratch);
    CHECK_STR(listed().text, "");
    struct rendezvous *b = claimed("Beta"), *a = claimed("alpha\\X"), *c = claimed("\xC3\x84x");
    CHECK_STR(listed().text, "alpha\\X Beta \xC3\x84x ");
    struct slot_figures figures = {.waiting = 1,
                                   .waiting_bytes = 2,
                                   .next_size = 3,
                                   .waiting_peak = 4,
                                   .messages = 5,
                                   .bytes = 6,
                                   .dropped = 7,
                                   .refused = 8,
                                   .connections = 9};
    statistics_page_publish(rendezvous_page(c), &figures);
    mr_slot_entry e = listed().last;
    CHECK(e.readable);
    CHECK_EQ(e.pid, getpid());
    CHECK_EQ(e.uid, geteuid());
    CHECK_EQ(e.max_message, 4711);
    CHECK_EQ(e.waiting, 1);
    CHECK_EQ(e.waiting_bytes, 2);
    CHECK_EQ(e.next_size, 3);
    CHECK_EQ(e.waiting_peak, 4);
    CHECK_EQ(e.messages, 5);
    CHECK_EQ(e.bytes, 6);
    CHECK_EQ(e.dropped, 7);
    CHECK_EQ(e.refused, 8);
    CHECK_EQ(e.connections, 9);
    struct listing two = {.stop_after = 2};
    CHECK_STATUS(mr_slots_list(collect, &two), MR_OK);
    CHECK_STR(two.text, "alpha\\X Beta ");
    CHECK_STATUS(mr_slots_list(NULL, NULL), MR_E_ARGUMENT);
    rendezvous_release(b, false);
    CHECK_STR(listed().text, "alpha\\X \xC3\x84x ");
    rendezvous_release(a, false);
    rendezvous_release(c, false);
    CHECK_STR(listed().text, "");
    scratch_remove(scratch);
}

/* The process's own locks survive its own looking around, from several threads. */
static void list_often(void *argument)
{
    (void) argument;
    for (int i = 0; i < 300; i++)
        (void) listed();
}

static int claim_expect(void *argument)
{
    struct slot_name name;
    struct access_rule rule;
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    struct rendezvous *r;
    if (name_parse(&name, argument) != MR_OK || access_rule_init(&rule, &options) != MR_OK)
        return 99;
    return -rendezvous_claim(&r, &name, &rule, 1);
}

TEST(directory, looking_around_does_not_drop_own_locks)
{
    char scratch[SCRATCH_ROOM];
    scratch_use(scratch);
    struct rendezvous *a = claimed("a");
    thread threads[3];
    for (int i = 0; i < 3; i++)
        CHECK_STATUS(thread_start(&threads[i], "lister", list_often, NULL), MR_OK);
    for (int i = 0; i < 50; i++) {
        char path[512];
        struct rendezvous *b = claimed("b");
        CHECK_STATUS(mr_slot_path("A", path, sizeof path), MR_OK);
        rendezvous_release(b, false);
    }
    for (int i = 0; i < 3; i++)
        thread_join(threads[i]);
    CHECK_EQ(child_run(claim_expect, "A"), -MR_E_EXISTS);
    CHECK_EQ(child_run(claim_expect, "b"), 0);
    rendezvous_release(a, false);
    scratch_remove(scratch);
}

static pid_t slot_in_child(const char *name)
{
    int ready[2];
    CHECK_EQ(pipe2(ready, O_CLOEXEC), 0);
    pid_t child = fork();
    if (child == 0) {
        if (claim_expect((void *) (uintptr_t) name) != 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    char byte;
    close(ready[1]);
    CHECK_EQ(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

TEST(directory, a_frozen_owner_is_listed_a_dead_one_is_not)
{
    char scratch[SCRATCH_ROOM];
    scratch_use(scratch);
    pid_t child = slot_in_child("frozen");
    CHECK_STR(listed().text, "frozen ");
    CHECK_EQ(listed().last.pid, child);
    CHECK_EQ(kill(child, SIGSTOP), 0);
    int status;
    CHECK_EQ(waitpid(child, &status, WUNTRACED), child);
    CHECK(WIFSTOPPED(status));
    CHECK_STR(listed().text, "frozen ");
    CHECK(listed().last.readable);
    CHECK_EQ(kill(child, SIGKILL), 0);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_STR(listed().text, "");
    scratch_remove(scratch);
}

static int list_count(void *argument)
{
    struct listing listing = {.stop_after = 1000};
    return mr_slots_list(collect, &listing) == MR_OK && strcmp(listing.text, argument) == 0 ? 0 : 1;
}

TEST(directory, other_users_see_the_list)
{
    NEED_ROOT();
    char scratch[SCRATCH_ROOM];
    scratch_use(scratch);
    CHECK_EQ(chmod(scratch, 01777), 0);
    struct rendezvous *a = claimed("of root");
    CHECK_EQ(child_run_as(1234, NULL, 0, list_count, "of root "), 0);
    rendezvous_release(a, false);
    CHECK_EQ(child_run_as(1234, NULL, 0, list_count, ""), 0);
    scratch_remove(scratch);
}

static int write_good(void *argument)
{
    int fd = open(argument, O_RDWR | O_CLOEXEC);
    char name[5] = "";
    off_t at = 512 + (off_t) strlen("\\\\.\\mailslot\\");
    return pread(fd, name, 4, at) == 4 && strcmp(name, "liar") == 0 && pwrite(fd, "good", 4, at) == 4 ? 0 : 1;
}

/* An escape as the first character of the name in a page that is whole otherwise. */
static int write_escape(void *path)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && pwrite(fd, "\x1b", 1, 512 + sizeof "\\\\.\\mailslot\\" - 1) == 1 ? 0 : 1;
}

/* Whatever lies in a slot directory: no crash, no hang, no foreign name. */
TEST(directory, hostile_pages)
{
    char scratch[SCRATCH_ROOM], path[SCRATCH_ROOM + 300];
    scratch_use(scratch);
    struct rendezvous *a = claimed("good"), *liar = claimed("liar");
    /* A page that shows another slot's name: it is listed under the name of its file, and not readable. */
    snprintf(path, sizeof path, "%s/liar.page", scratch);
    CHECK_EQ(child_run(write_good, path),
             0); /* a child: the owner's lock goes with any descriptor that the owner closes */
    CHECK_STR(listed().text, "good liar ");
    CHECK(!listed().last.readable);
    /* A name that is none: no error of the call that lists it. */
    CHECK_EQ(child_run(write_escape, path), 0);
    CHECK_STATUS(mr_slots_list(NULL, NULL), MR_E_ARGUMENT);
    char before[512];
    snprintf(before, sizeof before, "%s", mr_last_error_text());
    CHECK_STR(listed().text, "good liar ");
    CHECK(!listed().last.readable);
    CHECK_STR(mr_last_error_text(), before);
    CHECK_EQ(truncate(path, 0), 0);
    CHECK_STR(listed().text, "good liar ");
    snprintf(path, sizeof path, "%s/fifo.page", scratch);
    CHECK_EQ(mkfifo(path, 0666), 0);
    snprintf(path, sizeof path, "%s/folder.page", scratch);
    CHECK_EQ(mkdir(path, 0755), 0);
    snprintf(path, sizeof path, "%s/link.page", scratch);
    CHECK_EQ(symlink("good.page", path), 0);
    snprintf(path, sizeof path, "%s/dangling.page", scratch);
    CHECK_EQ(symlink("/nowhere/at/all", path), 0);
    static const char *const names[] = {"empty.page", ".page",     "%2e%2e.page",  "UPPER.page", "%zz.page", "%4",
                                        "%.page",     "a%61.page", "\x1b[2J.page", "\xff.page",  "~x.page"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", scratch, names[i]);
        int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
        CHECK(fd >= 0);
        close(fd);
    }
    CHECK_STR(listed().text, "good liar ");
    rendezvous_release(liar, false);
    rendezvous_release(a, false);
    CHECK_STR(listed().text, "");
    scratch_remove(scratch);
}

TEST(directory, path_is_where_plain_clients_connect)
{
    char scratch[SCRATCH_ROOM], path[512], expected[512];
    scratch_use(scratch);
    CHECK_STATUS(mr_slot_path("gone", path, sizeof path), MR_E_NO_SLOT);
    CHECK_STATUS(mr_slot_path("a\\..", path, sizeof path), MR_E_NAME);
    CHECK_STATUS(mr_slot_path("\\\\far-away-5\\mailslot\\x", path, sizeof path), MR_E_NAME);
    CHECK_STATUS(mr_slot_path("x", NULL, 0), MR_E_ARGUMENT);
    struct rendezvous *r = claimed("Door Bell\\1");
    snprintf(expected, sizeof expected, "%s/door%%20bell%%5c1.sock", scratch);
    CHECK_STATUS(mr_slot_path("door bell/1", path, sizeof path), MR_OK);
    CHECK_STR(path, expected);
    CHECK_STATUS(mr_slot_path("door bell/1", path, strlen(expected)), MR_E_SMALL);
    CHECK_STATUS(mr_slot_path("door bell/1", path, strlen(expected) + 1), MR_OK);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%.107s", path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    CHECK_EQ(connect(fd, (struct sockaddr *) &address, sizeof address), 0);
    close(fd);
    rendezvous_release(r, false);
    CHECK_STATUS(mr_slot_path("door bell/1", path, sizeof path), MR_E_NO_SLOT);
    scratch_remove(scratch);
}
