/* test_rendezvous_files.c: what names become in the file system, traps laid there, and where slots are created. */
#include "claim_linux.h"

TEST(rendezvous_files, names_of_every_byte_and_of_full_length)
{
    char scratch[SCRATCH_ROOM];
    scratch_use(scratch);
    for (unsigned c = 0x20; c < 0x7F; c++) {
        char text[] = {'\\', '\\', '.', '\\', 'm', 'a', 'i', 'l', 's', 'l', 'o', 't', '\\', 'a', (char) c, 'b', '\0'};
        struct rendezvous *r;
        CHECK_STATUS(claim(&r, text), MR_OK);
        CHECK_STATUS(connect_once(text), MR_OK);
        rendezvous_release(r, false);
    }
    static const char *const characters[] = {"x", "\xC3\xA4", "\xF0\x9F\x93\xAC", "%", "\\x"};
    struct rendezvous *all[5][2];
    for (size_t i = 0; i < 5; i++) {
        char text[MR_NAME_MAX] = "";
        size_t each = i == 4 ? 2 : 1; /* characters */
        size_t end = 0;
        for (size_t length = 0; length + each < 242; length += each) {
            const char *next = i == 4 && length == 0 ? "yx" : characters[i];
            end += (size_t) snprintf(text + end, sizeof text - end, "%s", next);
        }
        for (size_t j = 0; j < 2; j++) { /* two long names that differ at their end only */
            text[end] = j == 0 ? '1' : '2';
            text[end + 1] = '\0';
            CHECK_STATUS(claim(&all[i][j], text), MR_OK);
        }
        for (size_t j = 0; j < 2; j++) {
            text[end] = j == 0 ? '1' : '2';
            CHECK_STATUS(connect_once(text), MR_OK);
            char path[512];
            CHECK_STATUS(mr_slot_path(text, path, sizeof path), MR_OK);
            CHECK(strlen(strrchr(path, '/')) <= 206);
        }
        text[end] = '3';
        CHECK_STATUS(connect_once(text), MR_E_NO_SLOT);
    }
    CHECK_EQ(scratch_count(scratch),
             0x7F - 0x20 - 26 + 5 * 2 * 4 - 0); /* lock files of the first loop; letters folded */
    for (size_t i = 0; i < 10; i++)
        rendezvous_release(all[i / 2][i % 2], false);
    scratch_remove(scratch);
}

TEST(rendezvous_files, no_name_leaves_the_directory)
{
    char outer[SCRATCH_ROOM], inner[SCRATCH_ROOM + 8];
    scratch_make(outer);
    snprintf(inner, sizeof inner, "%s/inner", outer);
    CHECK_EQ(mkdir(inner, 0755), 0);
    CHECK_EQ(setenv("MAILROOM_DIR", inner, 1), 0);
    static const char *const names[] = {"\\\\.\\mailslot\\../../x",
                                        "\\\\.\\mailslot\\/etc/x",
                                        "...",
                                        "..x",
                                        ".hidden",
                                        "%2e%2e",
                                        "~x",
                                        "\\\\.\\mailslot\\..\xC0",
                                        "x.page",
                                        "x.lock",
                                        "a\\...\\b",
                                        "-rf",
                                        "x\\y"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct slot_name name;
        if (name_parse(&name, names[i]) != MR_OK)
            continue;
        struct rendezvous *r;
        CHECK_STATUS(claim(&r, names[i]), MR_OK);
        CHECK_STATUS(connect_once(names[i]), MR_OK);
        CHECK_EQ(scratch_count(outer), 1);
        rendezvous_release(r, false);
    }
    CHECK_EQ(unsetenv("MAILROOM_DIR"), 0);
    scratch_remove(outer);
}

/* Names whose files could be taken for another's. */
TEST(rendezvous_files, file_names_do_not_meet)
{
    char scratch[SCRATCH_ROOM];
    scratch_use(scratch);
    static const char *const names[] = {"x",      "x.lock", "x.page", "x.sock", "x.sock.page", "x.page.sock",
                                        "x.ring", "%78",    "x%",     "x%2e",   "x.",          "_x"};
    enum { COUNT = sizeof names / sizeof names[0] };
    struct rendezvous *all[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        CHECK_STATUS(claim(&all[i], names[i]), MR_OK);
    CHECK_EQ(scratch_count(scratch), 4 * COUNT);
    for (size_t i = 0; i < COUNT; i++)
        CHECK_STATUS(connect_once(names[i]), MR_OK);
    for (size_t i = 0; i < COUNT; i++)
        rendezvous_release(all[i], false);
    scratch_remove(scratch);
}

/* Links, folders, pipes and hard links in the place of each file: nothing outside is touched, nothing hangs. */
TEST(rendezvous_files, traps_in_the_directory)
{
    char scratch[SCRATCH_ROOM], target[SCRATCH_ROOM + 16], path[SCRATCH_ROOM + 16];
    scratch_use(scratch);
    snprintf(target, sizeof target, "%s/.precious", scratch);
    int fd = open(target, O_CREAT | O_WRONLY | O_CLOEXEC, 0640);
    CHECK_EQ(fchmod(fd, 0640), 0); /* whatever the umask is */
    CHECK_EQ(write(fd, "precious", 8), 8);
    close(fd);
    static const char *const files[] = {"lock", "sock", "ring", "page"};
    for (int file = 0; file < 4; file++) {
        for (int trap = 0; trap < 5; trap++) {
            snprintf(path, sizeof path, "%s/x.%s", scratch, files[file]);
            int made = trap == 0   ? symlink(target, path)
                       : trap == 1 ? symlink("/nonexistent/x", path)
                       : trap == 2 ? mkdir(path, 0777)
                       : trap == 3 ? mkfifo(path, 0666)
                                   : link(target, path);
            CHECK_MSG(made == 0, "%s, trap %d: %s", path, trap, strerror(errno));
            struct rendezvous *r;
            int status = claim(&r, "x");
            if (status == MR_OK) { /* replaced by rename: what it pointed to is as it was */
                CHECK_STATUS(connect_once("x"), MR_OK);
                rendezvous_release(r, false);
                CHECK(file != 0);
            } else {
                CHECK_STATUS(status, file == 0 ? MR_E_ACCESS : MR_E_SYSTEM);
                CHECK(file == 0 || trap == 2);
                CHECK(strstr(mr_last_error_text(), "x.") != NULL);
            }
            CHECK(remove(path) == 0 || errno == ENOENT);
            struct stat s;
            CHECK_EQ(stat(target, &s), 0);
            CHECK_EQ(s.st_size, 8);
            CHECK_EQ(s.st_mode & 07777, 0640);
        }
    }
    CHECK_EQ(access("/nonexistent/x", F_OK), -1);
    scratch_remove(scratch);
}

TEST(rendezvous_files, machine_wide_directory_is_made_by_its_owner)
{
    struct places_scratch p;
    struct rendezvous *r;
    places_make(&p);
    CHECK_STATUS(connect_once("x"), MR_E_NO_SLOT);
    CHECK_EQ(file_mode(p.root, "run-mailroom"), -ENOENT); /* looking makes nothing */
    CHECK_STATUS(claim(&r, "x"), MR_OK);
    CHECK_EQ(file_mode(p.root, "run-mailroom"), 01777);
    CHECK(is_below("x", p.machine));
    CHECK_EQ(scratch_count(p.root), 3);
    rendezvous_release(r, false);
    scratch_remove(p.root);
}

TEST(rendezvous_files, own_directories_where_the_machine_wide_one_cannot_be_used)
{
    struct places_scratch p;
    struct rendezvous *a, *b, *c;
    places_make(&p);
    /* Only its owner makes it, and this is somebody else now. */
    rendezvous_set_places(p.machine, p.run_user, p.tmp, geteuid() + 1);
    CHECK_STATUS(claim(&a, "a"), MR_OK);
    CHECK(is_below("a", p.tmp));
    char own[32];
    snprintf(own, sizeof own, "mailroom-%u", (unsigned) geteuid());
    CHECK_EQ(file_mode(p.tmp, own), 0700);
    /* The session's directory turns up: new slots go there, old ones are still found and still taken. */
    CHECK_EQ(mkdir(p.own, 0700), 0);
    CHECK_STATUS(claim(&b, "b"), MR_OK);
    CHECK(is_below("b", p.own));
    CHECK_STATUS(connect_once("a"), MR_OK);
    CHECK_STATUS(connect_once("b"), MR_OK);
    CHECK_STATUS(claim(&c, "A"), MR_E_EXISTS);
    rendezvous_release(a, false);
    CHECK_STATUS(claim(&c, "A"), MR_OK);
    CHECK(is_below("a", p.own));
    rendezvous_release(b, false);
    rendezvous_release(c, false);
    /* One that belongs to somebody else is not used, even if it could be. */
    CHECK_EQ(mkdir(p.machine, 01777), 0);
    CHECK_STATUS(claim(&a, "a"), MR_OK);
    CHECK(is_below("a", p.own));
    rendezvous_release(a, false);
    scratch_remove(p.root);
}

static int claim_text_has(const char *text, const char *what)
{
    struct rendezvous *r;
    CHECK_STATUS(claim(&r, text), MR_E_ACCESS);
    CHECK_MSG(strstr(mr_last_error_text(), what) != NULL, "'%s' does not say '%s'", mr_last_error_text(), what);
    return 0;
}

TEST(rendezvous_files, directories_with_wrong_owner_mode_or_kind)
{
    struct places_scratch p;
    char own[SCRATCH_ROOM + 64];
    places_make(&p);
    rendezvous_set_places(p.machine, p.run_user, p.tmp, geteuid() + 1);
    snprintf(own, sizeof own, "%s/mailroom-%u", p.tmp, (unsigned) geteuid());
    CHECK_EQ(mkdir(own, 0700), 0);
    CHECK_EQ(chmod(own, 0750), 0);
    claim_text_has("x", "its mode is 750");
    CHECK_STATUS(connect_once("x"), MR_E_NO_SLOT);
    CHECK(strstr(mr_last_error_text(), "750") != NULL);
    CHECK_EQ(rmdir(own), 0);
    CHECK_EQ(symlink(p.root, own), 0);
    claim_text_has("x", "no directory");
    CHECK_EQ(unlink(own), 0);
    CHECK_EQ(mkfifo(own, 0700), 0);
    claim_text_has("x", "no directory");
    CHECK_EQ(unlink(own), 0);
    CHECK_EQ(chmod(p.tmp, 0777), 0);
    claim_text_has("x", "exchange");
    CHECK_EQ(chmod(p.tmp, 01777), 0);
    if (geteuid() == 0) {
        CHECK_EQ(mkdir(own, 0700), 0);
        CHECK_EQ(chown(own, OTHER, OTHER), 0);
        claim_text_has("x", "belongs to user 12345");
    }
    scratch_remove(p.root);
}

TEST(rendezvous_files, mailroom_dir_is_checked_as_well)
{
    char scratch[SCRATCH_ROOM], link_path[SCRATCH_ROOM + 8];
    scratch_use(scratch);
    CHECK_EQ(chmod(scratch, 0777), 0);
    claim_text_has("x", "exchange");
    CHECK_EQ(chmod(scratch, 0755), 0);
    snprintf(link_path, sizeof link_path, "%s/.l", scratch);
    CHECK_EQ(symlink("/tmp", link_path), 0);
    CHECK_EQ(setenv("MAILROOM_DIR", link_path, 1), 0);
    claim_text_has("x", "no directory");
    CHECK_EQ(setenv("MAILROOM_DIR", "relative", 1), 0);
    claim_text_has("x", "absolute");
    static char endless[8192];
    memset(endless, 'a', sizeof endless - 1);
    endless[0] = '/';
    CHECK_EQ(setenv("MAILROOM_DIR", endless, 1), 0);
    claim_text_has("x", "too long");
    CHECK(strstr(mr_last_error_text(), "absolute") == NULL);
    CHECK_EQ(setenv("MAILROOM_DIR", "/proc", 1), 0); /* nobody can make a file there, and root alone may try */
    claim_text_has("x", geteuid() == 0 ? "takes no files" : "cannot be written to");
    snprintf(link_path, sizeof link_path, "%s/new", scratch);
    CHECK_EQ(setenv("MAILROOM_DIR", link_path, 1), 0);
    struct rendezvous *r;
    CHECK_STATUS(claim(&r, "x"), MR_OK);
    CHECK_EQ(file_mode(scratch, "new"), 0700);
    rendezvous_release(r, false);
    scratch_remove(scratch);
}
