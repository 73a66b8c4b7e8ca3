/* test_ring_link_end.c: the writing end of slots/backend.h over the ring: readers that die, leave their name, or break the rules. */
#include "ring_peer_linux.h"

/* ---- the reader dies ---- */

TEST(ring_link_end, a_killed_readers_messages_go_to_the_next_one_and_say_so)
{
    struct pair pair;
    pair_make(&pair);
    uint64_t writer = pair.peer.hello.writer;
    CHECK_STATUS(send_text(pair.link, "acknowledged", 0), MR_OK);
    CHECK_STATUS(send_text(pair.link, "handed", 0), MR_OK);
    CHECK_STATUS(send_text(pair.link, "waiting", 0), MR_OK);
    CHECK_STATUS(send_text(pair.link, "urgent", 1), MR_OK);
    peer_expect(&pair.peer, 0, "acknowledged", 1, false);
    (void) peer_acknowledge(&pair.peer, 0);
    peer_expect(&pair.peer, 0, "handed", 2, false);
    pair_kill(&pair);
    CHECK_EQ(link_unacknowledged(pair.link), 3);
    struct link_counts counts;
    link_get_counts(pair.link, &counts);
    CHECK_EQ(counts.ring_bytes, 0);
    pair_again(&pair);
    CHECK_EQ(pair.peer.hello.writer, writer);
    CHECK_STATUS(send_text(pair.link, "new", 0), MR_OK);
    peer_expect(&pair.peer, 0, "handed", 2, true);
    peer_expect(&pair.peer, 0, "waiting", 3, false);
    peer_expect(&pair.peer, 0, "new", 4, false);
    peer_expect(&pair.peer, 1, "urgent", 1, false);
    link_get_counts(pair.link, &counts);
    CHECK_EQ(counts.redelivered, 3);
    pair_end(&pair);
}

TEST(ring_link_end, what_was_handed_once_stays_flagged_over_any_number_of_readers)
{
    struct pair pair;
    pair_make(&pair);
    for (uint64_t n = 1; n <= 20; n++)
        CHECK_STATUS(send_number(pair.link, n, 8), MR_OK);
    static struct got got;
    for (unsigned n = 0; n < 10; n++)
        CHECK(peer_take(&pair.peer, 0, &got));
    pair_kill(&pair);
    pair_again(&pair);
    CHECK(peer_take(&pair.peer, 0, &got)); /* fewer than the one before */
    (void) peer_acknowledge(&pair.peer, 0);
    pair_kill(&pair);
    pair_again(&pair);
    for (uint64_t n = 2; n <= 20; n++) {
        CHECK(peer_take(&pair.peer, 0, &got));
        CHECK_EQ(got.sequence, n);
        CHECK_EQ(got.redelivered, n <= 10);
    }
    pair_end(&pair);
}

TEST(ring_link_end, a_full_ring_is_taken_over_in_parts_and_whole)
{
    struct pair pair;
    pair_make(&pair);
    CHECK_STATUS(send_number(pair.link, 1, 8), MR_OK); /* the answer is taken in */
    uint64_t next = 2, taken = 1;
    next = send_until_full(pair.link, next, 500);
    taken = peer_take_numbers(&pair.peer, 0, taken);
    for (unsigned n = 0; n < 4; n++) { /* so that the ring has wrapped */
        (void) peer_acknowledge(&pair.peer, 0);
        next = send_until_full(pair.link, next, 333);
        if (n < 3)
            taken = peer_take_numbers(&pair.peer, 0, taken);
    }
    CHECK_EQ(link_unacknowledged(pair.link), next - taken);
    pair_kill(&pair);
    CHECK_EQ(link_unacknowledged(pair.link), next - taken);
    CHECK_STATUS(link_connect(pair.link, 0), MR_OK);
    peer_accept(&pair.peer, pair.rendezvous);
    CHECK_EQ(pair.peer.hello.sequence[0], taken);
    static struct got got;
    CHECK(peer_take(&pair.peer, 0, &got));
    CHECK_EQ(got.sequence, taken);
    taken = peer_take_numbers(&pair.peer, 0, taken + 1);
    CHECK((taken - pair.peer.hello.sequence[0]) * 344 <= RING_FIRST_BYTES); /* not more before the answer */
    CHECK_STATUS(send_number(pair.link, next, 8), MR_E_FULL);
    peer_welcome(&pair.peer);
    CHECK_EQ(link_unacknowledged(pair.link), next - pair.peer.hello.sequence[0]);
    (void) peer_acknowledge(&pair.peer, 0);
    CHECK_STATUS(link_wait(pair.link, clock_deadline(LONG_MS)), MR_OK);
    CHECK_STATUS(send_number(pair.link, next, 8), MR_OK);
    CHECK_EQ(peer_take_numbers(&pair.peer, 0, taken), next + 1);
    pair_end(&pair);
}

TEST(ring_link_end, waiting_for_acknowledgement_feeds_the_rest_of_a_backlog)
{
    struct pair pair;
    struct link_mark mark;
    pair_make(&pair);
    CHECK_STATUS(send_number(pair.link, 1, 8), MR_OK);
    uint64_t next = send_until_full(pair.link, 2, 500);
    pair_kill(&pair);
    pair_again(&pair);
    link_mark(pair.link, &mark);
    struct waiter waiter = {.link = pair.link, .mark = &mark};
    CHECK_STATUS(thread_start(&waiter.thread, "waiter", waiter_run, &waiter), MR_OK);
    CHECK_EQ(peer_serve(&pair.peer, &waiter, 1), next);
    CHECK_EQ(link_unacknowledged(pair.link), 0);
    pair_end(&pair);
}

TEST(ring_link_end, a_reader_that_was_only_frozen_moves_nothing_any_more)
{
    struct pair pair;
    pair_make(&pair);
    CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
    struct peer frozen = pair.peer;
    shutdown(frozen.socket, SHUT_RDWR); /* as the end of its connection looks from here */
    link_look(pair.link);
    CHECK_STATUS(send_text(pair.link, "b", 0), MR_E_GONE);
    uint64_t kept = link_unacknowledged(pair.link);
    peer_expect(&frozen, 0, "a", 1, false);
    (void) peer_acknowledge(&frozen, 0);
    CHECK_EQ(link_unacknowledged(pair.link), kept);
    pair_again(&pair);
    (void) peer_acknowledge(&frozen, 0);
    memset(frozen.memory, 0xff, ring_memory_bytes(&frozen.hello.geometry));
    CHECK_STATUS(send_text(pair.link, "c", 0), MR_OK);
    peer_expect(&pair.peer, 0, "a", 1, false);
    CHECK_EQ(link_unacknowledged(pair.link), kept + 1);
    peer_die(&frozen);
    pair_end(&pair);
}

TEST(ring_link_end, a_disconnected_links_messages_may_come_twice_and_say_so)
{
    struct pair pair;
    pair_make(&pair);
    CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
    link_disconnect(pair.link);
    CHECK(!link_connected(pair.link));
    struct peer old = pair.peer;
    peer_expect(&old, 0, "a", 1, false); /* it drains what was committed */
    pair_again(&pair);
    peer_expect(&pair.peer, 0, "a", 1, true);
    peer_die(&old);
    pair_end(&pair);
}

TEST(ring_link_end, a_reader_of_another_user_does_not_get_what_the_first_one_left)
{
    if (geteuid() != 0)
        TEST_SKIP("needs root");
    struct pair pair;
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.reader_uid = 12345;
    pair_make_with(&pair, &options);
    CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
    pair_kill(&pair);
    rendezvous_release(pair.rendezvous, false);
    char directory[64];
    const char *first = getenv("MAILROOM_DIR");
    CHECK(first != NULL && strlen(first) < sizeof directory);
    memcpy(directory, first, strlen(first) + 1);
    slots_begin(); /* the files of the first one would stand in the other's way */
    int done[2], ready[2];
    CHECK_EQ(pipe2(done, O_CLOEXEC), 0);
    CHECK_EQ(pipe2(ready, O_CLOEXEC), 0);
    const char *second = getenv("MAILROOM_DIR");
    CHECK(second != NULL);
    CHECK_EQ(chmod(second, 01777), 0);
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        char byte;
        close(done[1]);
        if (setresgid(12345, 12345, 12345) != 0 || setresuid(12345, 12345, 12345) != 0)
            _exit(1);
        struct rendezvous *r = slot_claim("link", 1000);
        if (write(ready[1], "x", 1) != 1 || read(done[0], &byte, 1) < 0)
            _exit(2);
        rendezvous_release(r, false);
        _exit(0);
    }
    char byte;
    close(ready[1]);
    CHECK_EQ(read(ready[0], &byte, 1), 1);
    CHECK_STATUS(link_connect(pair.link, 0), MR_E_OWNER);
    CHECK(strstr(mr_last_error_text(), "12345") != NULL);
    CHECK_EQ(link_unacknowledged(pair.link), 1);
    slot_link *fresh = link_make_with(&options); /* one that owes nothing */
    CHECK_STATUS(link_connect(fresh, 0), MR_OK);
    link_close(fresh, false);
    close(done[1]);
    slots_join(child);
    CHECK_EQ(setenv("MAILROOM_DIR", directory, 1), 0);
    pair.rendezvous = slot_claim("link", 1000);
    pair_again(&pair);
    peer_expect(&pair.peer, 0, "a", 1, false);
    pair_end(&pair);
}

/* ---- the slot is renamed ---- */

TEST(ring_link_end, a_reader_that_leaves_the_name_acknowledges_what_it_has_and_the_rest_goes_to_the_next)
{
    struct pair pair;
    pair_make(&pair);
    CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
    CHECK_STATUS(send_text(pair.link, "b", 0), MR_OK);
    peer_send(&pair.peer, PACKET_RENAMED);
    rendezvous_release(pair.rendezvous, false);
    struct link_mark mark;
    link_mark(pair.link, &mark);
    CHECK(!link_passed(pair.link, &mark)); /* looks */
    CHECK(!link_connected(pair.link));
    CHECK_STATUS(send_text(pair.link, "x", 0), MR_E_GONE);
    CHECK_STATUS(link_connect(pair.link, clock_deadline(LONG_MS)), MR_E_NO_SLOT); /* at once */
    pair.rendezvous = slot_claim("link", 1000);
    uint64_t begin = clock_now();
    CHECK_STATUS(link_connect(pair.link, clock_deadline(30)), MR_E_TIMEOUT);
    CHECK(elapsed_ms(begin) >= 29);
    CHECK_STATUS(link_keep(pair.link, "kept", 4, 0), MR_OK);
    CHECK_EQ(link_unacknowledged(pair.link), 3);
    peer_expect(&pair.peer, 0, "a", 1, false);
    (void) peer_acknowledge(&pair.peer, 0);
    CHECK_EQ(link_passed(pair.link, &mark), false);
    CHECK_EQ(link_unacknowledged(pair.link), 2);
    peer_expect(&pair.peer, 0, "b", 2, false);
    peer_die(&pair.peer); /* not acknowledged */
    pair_again(&pair);
    peer_expect(&pair.peer, 0, "b", 2, true);
    peer_expect(&pair.peer, 0, "kept", 3, false);
    pair_end(&pair);
}

TEST(ring_link_end, once_all_is_acknowledged_the_writer_leaves_a_renamed_reader)
{
    struct pair pair;
    pair_make(&pair);
    CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
    peer_expect(&pair.peer, 0, "a", 1, false);
    peer_send(&pair.peer, PACKET_RENAMED);
    (void) peer_acknowledge(&pair.peer, 0);
    struct peer old = pair.peer;
    link_look(pair.link);
    CHECK_STATUS(send_text(pair.link, "b", 0), MR_E_GONE);
    pair_again(&pair);
    struct pollfd end = {.fd = old.socket, .events = POLLIN};
    CHECK_EQ(poll(&end, 1, 0), 1);
    CHECK((end.revents & POLLHUP) != 0);
    CHECK_STATUS(send_text(pair.link, "b", 0), MR_OK);
    peer_expect(&pair.peer, 0, "b", 2, false);
    peer_die(&old);
    pair_end(&pair);
}

TEST(ring_link_end, another_name_forgets_what_was_left)
{
    struct pair pair;
    pair_make(&pair);
    static char data[100000];
    CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
    CHECK_STATUS(link_send(pair.link, data, sizeof data, 0), MR_OK);
    struct slot_name name;
    CHECK_STATUS(name_parse(&name, "other"), MR_OK);
    struct rendezvous *other = slot_claim("other", 1000);
    CHECK_STATUS(link_rename(pair.link, &name), MR_OK);
    CHECK(link_is_named(pair.link, &name));
    CHECK_EQ(link_unacknowledged(pair.link), 0);
    struct peer old = pair.peer, peer;
    CHECK_STATUS(link_connect(pair.link, 0), MR_OK);
    peer_accept(&peer, other);
    CHECK_STATUS(send_text(pair.link, "b", 0), MR_OK);
    peer_expect(&peer, 0, "b", 3, false);
    peer_expect(&old, 0, "a", 1, false);
    peer_die(&peer);
    peer_die(&old);
    rendezvous_release(other, false);
    pair.peer.memory = NULL;
    pair_end(&pair);
}

/* ---- readers that break the rules ---- */

TEST(ring_link_end, a_head_that_breaks_the_rules_ends_the_session_and_the_last_valid_one_counts)
{
    static const int64_t wrong[] = {8, 4, -1, INT64_MIN, -4096};
    for (size_t n = 0; n < sizeof wrong / sizeof wrong[0]; n++) {
        struct pair pair;
        struct link_mark mark;
        pair_make(&pair);
        CHECK_STATUS(send_text(pair.link, "one", 0), MR_OK);
        CHECK_STATUS(send_text(pair.link, "two", 0), MR_OK);
        CHECK_STATUS(send_text(pair.link, "three", 0), MR_OK);
        peer_expect(&pair.peer, 0, "one", 1, false);
        (void) peer_acknowledge(&pair.peer, 0);
        link_mark(pair.link, &mark);
        CHECK(!link_passed(pair.link, &mark)); /* sees the valid one */
        struct ring_control *control = pair.peer.ring[0].control;
        uint64_t tail = atomic_load_explicit(&control->tail, memory_order_relaxed);
        uint64_t base = n == 4 ? 0 : n >= 2 ? pair.peer.ring[0].head : tail;
        atomic_store_explicit(&control->head, base + (uint64_t) wrong[n], memory_order_release);
        CHECK(!link_passed(pair.link, &mark));
        CHECK(!link_connected(pair.link));
        CHECK_STATUS(send_text(pair.link, "x", 0), MR_E_GONE);
        struct peer old = pair.peer;
        pair_again(&pair);
        peer_expect(&pair.peer, 0, "two", 2, true);
        peer_expect(&pair.peer, 0, "three", 3, true);
        peer_die(&old);
        pair_end(&pair);
    }
}

TEST(ring_link_end, a_handed_that_cannot_be_flags_everything)
{
    struct pair pair;
    pair_make(&pair);
    CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
    atomic_store_explicit(&pair.peer.ring[0].control->handed, 1 << 20, memory_order_relaxed);
    pair_kill(&pair);
    pair_again(&pair);
    peer_expect(&pair.peer, 0, "a", 1, true);
    pair_end(&pair);
}

TEST(ring_link_end, headers_that_the_reader_wrote_over_cost_their_messages_and_nothing_else)
{
    struct pair pair;
    static struct got got;
    pair_make(&pair);
    for (uint64_t n = 1; n <= 5; n++)
        CHECK_STATUS(send_number(pair.link, n, 8), MR_OK);
    unsigned char *data = (unsigned char *) pair.peer.memory + RING_CONTROL_BYTES;
    memset(data + 2 * 16, 0xff, 8); /* the third's */
    CHECK(link_unacknowledged(pair.link) >= 3);
    pair_kill(&pair);
    pair_again(&pair);
    CHECK_STATUS(send_number(pair.link, 6, 8), MR_OK);
    for (unsigned n = 0; n < 2; n++) {
        CHECK(peer_take(&pair.peer, 0, &got));
        CHECK_EQ(got.kind, RING_DATA);
    }
    CHECK(peer_take(&pair.peer, 0, &got));
    CHECK_EQ(got.kind, RING_GAP);
    CHECK_EQ(got.number, 1);
    CHECK(peer_take(&pair.peer, 0, &got));
    CHECK_EQ(got.sequence, 6);
    peer_expect_nothing(&pair.peer, 0);
    pair_end(&pair);
}

TEST(ring_link_end, wrong_packets_and_wrong_doorbells_end_the_session)
{
    for (unsigned n = 0; n < 7; n++) {
        struct pair pair;
        pair_make(&pair);
        CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
        int ends[2];
        CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
        close(ends[0]); /* a write to the other would raise SIGPIPE */
        struct ring_hello hello = {.writer = 1};
        ring_packet_init(&hello.packet, PACKET_HELLO, 0);
        struct ring_answer answer = {.status = MR_OK};
        ring_packet_init(&answer.packet, PACKET_ANSWER, 0);
        switch (n) {
        case 0:
            CHECK_EQ(send(pair.peer.socket, "garbage", 7, 0), 7);
            break;
        case 1:
            CHECK_STATUS(ring_packet_send(pair.peer.socket, &hello, sizeof hello, ends[1]), MR_OK);
            break;
        case 2: /* a second answer */
            peer_welcome(&pair.peer);
            break;
        case 3:
            for (unsigned k = 0; k < 40; k++)
                peer_send(&pair.peer, PACKET_REACHED);
            break;
        default: /* an answer whose doorbell is none */
            link_disconnect(pair.link);
            CHECK_STATUS(link_connect(pair.link, 0), MR_OK);
            peer_die(&pair.peer);
            peer_accept(&pair.peer, pair.rendezvous);
            answer.status = n == 6 ? MR_E_ACCESS : MR_OK; /* a refusal with one */
            CHECK_STATUS(ring_packet_send(pair.peer.socket, &answer, sizeof answer, n == 4 ? -1 : ends[1]), MR_OK);
            break;
        }
        link_look(pair.link);
        CHECK_STATUS(send_text(pair.link, "b", 0), n == 6 ? MR_E_ACCESS : MR_E_GONE);
        CHECK(!link_connected(pair.link));
        CHECK(link_unacknowledged(pair.link) >= 1);
        close(ends[1]);
        pair_end(&pair);
    }
}

TEST(ring_link_end, a_doorbell_that_is_full_and_blocking_does_not_block)
{
    struct pair pair;
    pair_make(&pair);
    uint64_t most = UINT64_MAX - 1;
    int flags = fcntl(pair.peer.doorbell, F_GETFL);
    CHECK_EQ(write(pair.peer.doorbell, &most, sizeof most), sizeof most);
    CHECK_EQ(fcntl(pair.peer.doorbell, F_SETFL, flags & ~O_NONBLOCK), 0);
    for (unsigned n = 0; n < 10; n++) {
        ring_arm(&pair.peer.ring[0]);
        CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
    }
    pair_end(&pair);
}
