/* test_ring_link.c: the writing end of slots/backend.h over the ring: how sessions begin, what they carry. */
#include "ring_peer_linux.h"

/* ---- beginning ---- */

TEST(ring_link, nothing_is_mapped_and_no_bound_is_known_before_a_slot_is_live)
{
    slots_begin();
    slot_link *l = link_make();
    CHECK_STATUS(link_connect(l, 0), MR_E_NO_SLOT);
    CHECK(!link_connected(l));
    CHECK_EQ(link_max_message(l), 0);
    CHECK_STATUS(send_text(l, "x", 0), MR_E_GONE);
    struct link_counts counts;
    link_get_counts(l, &counts);
    CHECK_EQ(counts.ring_bytes, 0);
    CHECK_EQ(link_unacknowledged(l), 0);
    struct rendezvous *rendezvous = slot_claim("link", 1000);
    CHECK_STATUS(link_connect(l, 0), MR_OK);
    CHECK_STATUS(link_connect(l, 0), MR_OK);
    CHECK_EQ(link_max_message(l), 1000); /* of the page */
    link_get_counts(l, &counts);
    CHECK_EQ(counts.ring_bytes, (4 + 256 + 64) << 10);
    link_close(l, false);
    rendezvous_release(rendezvous, false);
}

TEST(ring_link, other_lanes_and_ring_sizes_are_refused_with_a_sentence)
{
    struct slot_name name;
    slot_link *l;
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    struct link_config config = {.name = &name, .options = &options};
    CHECK_STATUS(name_parse(&name, "link"), MR_OK);
    options.levels = LEVELS;
    options.lane = MR_LANE_NATIVE;
    CHECK_STATUS(link_open(&l, &config), MR_E_ARGUMENT);
    CHECK(strstr(mr_last_error_text(), "ring") != NULL);
    options.lane = MR_LANE_REMOTE;
    CHECK_STATUS(link_open(&l, &config), MR_E_ARGUMENT);
    options.lane = MR_LANE_RING;
    options.ring_bytes = 100000;
    CHECK_STATUS(link_open(&l, &config), MR_E_ARGUMENT);
    options.ring_bytes = 8 << 10;
    CHECK_STATUS(link_open(&l, &config), MR_E_ARGUMENT);
    options.ring_bytes = 16 << 10;
    CHECK_STATUS(link_open(&l, &config), MR_OK);
    link_close(l, false);
}

TEST(ring_link, messages_may_be_committed_before_the_slot_has_looked)
{
    slots_begin();
    struct rendezvous *rendezvous = slot_claim("link", MR_MESSAGE_MAX_DEFAULT);
    slot_link *l = link_make();
    CHECK_STATUS(link_connect(l, 0), MR_OK);
    CHECK_STATUS(send_text(l, "one", 0), MR_OK);
    CHECK_STATUS(send_text(l, "soon", 1), MR_OK);
    CHECK_STATUS(send_text(l, "", 0), MR_OK);
    CHECK_EQ(link_unacknowledged(l), 3);
    struct peer peer;
    peer_accept(&peer, rendezvous);
    CHECK_EQ(peer.hello.geometry.capacity[0], 256 << 10);
    CHECK_EQ(peer.hello.geometry.capacity[1], 64 << 10);
    CHECK_EQ(peer.hello.sequence[0], 1);
    CHECK_EQ(peer.hello.redelivered[0], 0);
    peer_expect(&peer, 1, "soon", 1, false);
    peer_expect(&peer, 0, "one", 1, false);
    peer_expect(&peer, 0, "", 2, false);
    peer_expect_nothing(&peer, 0);
    peer_welcome(&peer);
    CHECK_STATUS(send_text(l, "two", 0), MR_OK);
    CHECK(peer_rung(&peer)); /* once when the answer comes */
    peer_expect(&peer, 0, "two", 3, false);
    peer_die(&peer);
    link_close(l, false);
    rendezvous_release(rendezvous, false);
}

/* How many pages of the normal ring there are. */
static unsigned pages_used(const struct peer *peer)
{
    unsigned char pages[257];
    unsigned used = 0;
    CHECK_EQ(mincore(peer->memory, sizeof pages * 4096, pages), 0);
    for (size_t page = 1; page < sizeof pages; page++) /* behind the controls' */
        used += pages[page] & 1;
    return used;
}

TEST(ring_link, a_reader_that_keeps_up_is_sent_everything_through_a_few_pages)
{
    enum { MESSAGES = 40, ROUNDS = 2000 };
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    struct pair pair;
    pair_make_with(&pair, &options);
    uint64_t next = 1;
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t sent = next;
        while (sent < next + MESSAGES)
            CHECK_STATUS(send_number(pair.link, sent++, 64), MR_OK);
        CHECK_EQ(peer_take_numbers(&pair.peer, 0, next), sent);
        (void) peer_acknowledge(&pair.peer, 0);
        next = sent;
        CHECK(pages_used(&pair.peer) <= 12); /* twice 16 KiB, and what a round writes beyond */
    }
    /* And when it does not keep up any more, there is as much room as ever. */
    uint64_t sent = send_until_full(pair.link, next, 64);
    CHECK(sent - next >= ((uint64_t) 512 << 10) / 72 - 1); /* what lies before the half that it is in is left out */
    CHECK_EQ(peer_take_numbers(&pair.peer, 0, next), sent);
    pair_end(&pair);
}

/* A reader that is behind is let be behind by the whole ring, and nothing that was left out before is missing from it. */
TEST(ring_link, a_ring_whose_reader_is_behind_is_used_to_its_end)
{
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    struct pair pair;
    pair_make_with(&pair, &options);
    const uint64_t whole = ((uint64_t) 1 << 20) / 72;
    uint64_t next = 1;
    for (unsigned lap = 0; lap < 5; lap++) {
        uint64_t sent = send_until_full(pair.link, next, 64);
        CHECK(sent - next >= (lap == 0 ? whole : whole / 2) - 1);
        CHECK_EQ(peer_take_numbers(&pair.peer, 0, next), sent);
        (void) peer_acknowledge(&pair.peer, 0);
        next = sent;
    }
    pair_end(&pair);
}

/* The size being left to the writer, a process with many of them uses little of each; a large message that finds no room opens
 * all of it. */
TEST(ring_link, a_ring_beside_many_others_is_used_in_part_until_a_large_message_needs_it)
{
    slots_begin();
    struct rendezvous *rendezvous = slot_claim("link", MR_MESSAGE_MAX_DEFAULT);
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    slot_link *others[127];
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        others[i] = link_make_with(&options);
    slot_link *l = link_make_with(&options);
    CHECK_STATUS(link_connect(l, 0), MR_OK);
    struct peer peer;
    peer_accept(&peer, rendezvous);
    CHECK_EQ(peer.hello.geometry.capacity[0], 1 << 20);
    peer_welcome(&peer);
    const uint64_t span = (uint64_t) 64 << 10;
    const uint64_t part = span / 72;
    uint64_t next = 1, sent;
    for (unsigned lap = 0; lap < 10; lap++) {
        sent = send_until_full(l, next, 64);
        CHECK(lap > 0 || sent - next <= part);
        CHECK(sent - next >= part - 1);
        next = peer_take_numbers(&peer, 0, next);
        CHECK_EQ(next, sent);
        (void) peer_acknowledge(&peer, 0);
        CHECK(pages_used(&peer) <= 2 * span / 4096 + 1);
    }
    for (unsigned lap = 0; lap < 10; lap++) {
        sent = send_until_full(l, next, 60000);
        CHECK(sent - next >= (lap == 0 ? 3u : 15u)); /* the first lap has turned back early, perhaps */
        CHECK_EQ(peer_take_numbers(&peer, 0, next), sent);
        (void) peer_acknowledge(&peer, 0);
        next = sent;
    }
    peer_die(&peer);
    link_close(l, false);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        link_close(others[i], false);
    rendezvous_release(rendezvous, false);
}

TEST(ring_link, until_the_answer_a_reader_has_little_to_take_at_most)
{
    slots_begin();
    struct rendezvous *rendezvous = slot_claim("link", MR_MESSAGE_MAX_DEFAULT);
    slot_link *l = link_make();
    CHECK_STATUS(link_connect(l, 0), MR_OK);
    uint64_t next = send_until_full(l, 1, 1000);
    CHECK_EQ(next - 1, RING_FIRST_BYTES / 1008);
    CHECK_STATUS(link_wait(l, clock_deadline(20)), MR_E_TIMEOUT);
    struct peer peer;
    peer_accept(&peer, rendezvous);
    peer_welcome(&peer);
    CHECK_STATUS(link_wait(l, clock_deadline(LONG_MS)), MR_OK); /* the answer brings room */
    next = send_until_full(l, next, 1000);
    CHECK(next - 1 >= (256u << 10) / 1008 - 1);
    CHECK_EQ(peer_take_numbers(&peer, 0, 1), next);
    peer_die(&peer);
    link_close(l, false);
    rendezvous_release(rendezvous, false);
}

TEST(ring_link, a_sleeping_reader_is_rung_for_once_for_each_sleep)
{
    for (unsigned refuse = 0; refuse < 4; refuse++) { /* barriers on both sides, on one, on none */
        struct pair pair;
        struct link_counts before, after;
        ring_barrier_refuse((refuse & 1) != 0);
        slots_begin();
        pair.rendezvous = slot_claim("link", MR_MESSAGE_MAX_DEFAULT);
        pair.link = link_make();
        CHECK_STATUS(link_connect(pair.link, 0), MR_OK);
        peer_accept(&pair.peer, pair.rendezvous);
        ring_barrier_refuse(false);
        bool works = ring_barrier_prepare();
        CHECK_EQ((pair.peer.hello.packet.flags & RING_FLAG_BARRIER) != 0, works && (refuse & 1) == 0);
        peer_answer(&pair.peer, MR_OK, 0, 1000, works && (refuse & 2) == 0 ? RING_FLAG_BARRIER : 0);
        CHECK_STATUS(send_text(pair.link, "x", 0), MR_OK);
        CHECK_STATUS(send_text(pair.link, "x", 0), MR_OK);
        CHECK(!peer_rung(&pair.peer)); /* it has never slept */
        link_get_counts(pair.link, &before);
        for (unsigned n = 0; n < 100; n++) {
            struct ring_reader *ring = &pair.peer.ring[0];
            static struct got got;
            while (peer_take(&pair.peer, 0, &got)) {}
            (void) peer_acknowledge(&pair.peer, 0);
            ring_arm(ring);
            CHECK(ring_arm_look(ring));
            CHECK(!peer_rung(&pair.peer));
            CHECK_STATUS(send_text(pair.link, "x", 0), MR_OK);
            CHECK(peer_rung(&pair.peer));
            CHECK_STATUS(send_text(pair.link, "x", 0), MR_OK);
            CHECK(!peer_rung(&pair.peer));
        }
        link_get_counts(pair.link, &after);
        CHECK_EQ(after.doorbells - before.doorbells, 100);
        pair_end(&pair);
    }
}

TEST(ring_link, a_reader_that_arms_before_its_answer_is_rung_for_when_the_answer_comes)
{
    slots_begin();
    struct rendezvous *rendezvous = slot_claim("link", MR_MESSAGE_MAX_DEFAULT);
    slot_link *l = link_make();
    CHECK_STATUS(link_connect(l, 0), MR_OK);
    struct peer peer;
    peer_accept(&peer, rendezvous);
    ring_arm(&peer.ring[0]);
    CHECK_STATUS(send_text(l, "x", 0), MR_OK); /* nothing to ring with */
    peer_welcome(&peer);
    CHECK_STATUS(send_text(l, "y", 0), MR_OK);
    CHECK(peer_rung(&peer));
    peer_die(&peer);
    link_close(l, false);
    rendezvous_release(rendezvous, false);
}

TEST(ring_link, the_answers_bound_counts_and_a_message_above_it_leaves_the_session_alone)
{
    slots_begin();
    struct rendezvous *rendezvous = slot_claim("link", MR_MESSAGE_MAX_DEFAULT);
    slot_link *l = link_make();
    CHECK_STATUS(link_connect(l, 0), MR_OK);
    struct peer peer;
    peer_accept(&peer, rendezvous);
    peer_answer(&peer, MR_OK, 0, 1000, 0);
    CHECK_STATUS(send_number(l, 1, 1000), MR_OK);
    CHECK_EQ(link_max_message(l), 1000);
    CHECK_STATUS(send_number(l, 2, 1001), MR_E_TOO_BIG);
    CHECK(link_connected(l));
    CHECK_STATUS(send_number(l, 2, 1000), MR_OK);
    CHECK_EQ(peer_take_numbers(&peer, 0, 1), 3);
    peer_die(&peer);
    link_close(l, false);
    rendezvous_release(rendezvous, false);
}

/* ---- refusals ---- */

TEST(ring_link, a_refused_writer_is_told_and_from_then_on_asks_first)
{
    slots_begin();
    struct rendezvous *rendezvous = slot_claim("link", MR_MESSAGE_MAX_DEFAULT);
    slot_link *l = link_make();
    CHECK_STATUS(link_connect(l, 0), MR_OK);
    CHECK_STATUS(send_text(l, "early", 0), MR_OK);
    struct peer peer;
    peer_accept(&peer, rendezvous);
    peer_answer(&peer, MR_E_ACCESS, 0, 0, 0);
    peer_die(&peer);
    CHECK_STATUS(send_text(l, "x", 0), MR_E_ACCESS);
    CHECK(strstr(mr_last_error_text(), "link") != NULL);
    CHECK(!link_connected(l));
    CHECK_STATUS(send_text(l, "x", 0), MR_E_ACCESS);
    CHECK_EQ(link_unacknowledged(l), 1);
    CHECK_STATUS(link_connect(l, 0), MR_E_TIMEOUT); /* the answer has not come */
    CHECK(!link_connected(l));
    peer_accept(&peer, rendezvous);
    peer_answer(&peer, MR_E_ACCESS, 0, 0, 0);
    peer_die(&peer);
    CHECK_STATUS(link_connect(l, clock_deadline(LONG_MS)), MR_E_ACCESS);
    CHECK_STATUS(link_connect(l, 0), MR_E_TIMEOUT);
    peer_accept(&peer, rendezvous);
    peer_welcome(&peer);
    CHECK_STATUS(link_connect(l, clock_deadline(LONG_MS)), MR_OK);
    CHECK_STATUS(send_text(l, "late", 0), MR_OK);
    peer_expect(&peer, 0, "early", 1, false);
    peer_expect(&peer, 0, "late", 2, false);
    peer_die(&peer);
    link_look(l);
    CHECK_STATUS(send_text(l, "x", 0), MR_E_GONE);
    link_close(l, false);
    rendezvous_release(rendezvous, false);
}

TEST(ring_link, a_smaller_ring_is_offered_when_the_reader_has_no_more)
{
    slots_begin();
    struct rendezvous *rendezvous = slot_claim("link", MR_MESSAGE_MAX_DEFAULT);
    slot_link *l = link_make();
    CHECK_STATUS(link_connect(l, 0), MR_OK);
    uint64_t next = send_until_full(l, 1, 30000); /* more than a quarter of what comes */
    CHECK_EQ(next, 3);
    struct peer peer;
    peer_accept(&peer, rendezvous);
    peer_answer(&peer, MR_E_FULL, 100000, 0, 0);
    peer_die(&peer);
    CHECK_STATUS(send_number(l, next, 8), MR_E_GONE);
    CHECK_STATUS(link_connect(l, 0), MR_OK);
    peer_accept(&peer, rendezvous);
    CHECK_EQ(peer.hello.geometry.capacity[0], 64 << 10);
    CHECK_EQ(peer.hello.geometry.capacity[1], 64 << 10);
    peer_welcome(&peer);
    CHECK_STATUS(send_number(l, 3, 8), MR_OK);
    static struct got got;
    for (uint64_t n = 1; n <= 2; n++) { /* the two are large ones now */
        union ring_any_packet packet;
        int file;
        static char data[30000];
        CHECK_STATUS(ring_packet_receive(peer.socket, &packet, &file), MR_OK);
        CHECK_EQ(packet.packet.type, PACKET_LARGE);
        CHECK_EQ(packet.large.sequence, n);
        CHECK_EQ(packet.large.length, 30000);
        CHECK_STATUS(ring_large_read(file, data, sizeof data), MR_OK);
        CHECK_MEM(data, &n, sizeof n);
        close(file);
        CHECK(peer_take(&peer, 0, &got));
        CHECK_EQ(got.kind, RING_LARGE);
        CHECK_EQ(got.number, 30000);
    }
    CHECK_EQ(peer_take_numbers(&peer, 0, 3), 4);
    peer_die(&peer);
    link_close(l, false);
    rendezvous_release(rendezvous, false);
}

TEST(ring_link, a_reader_without_a_place_is_asked_again_after_a_while)
{
    slots_begin();
    struct rendezvous *rendezvous = slot_claim("link", MR_MESSAGE_MAX_DEFAULT);
    slot_link *l = link_make();
    CHECK_STATUS(link_connect(l, 0), MR_OK);
    CHECK_STATUS(send_text(l, "x", 0), MR_OK);
    struct peer peer;
    for (unsigned n = 0; n < 3; n++) {
        peer_accept(&peer, rendezvous);
        peer_answer(&peer, MR_E_FULL, 0, 0, 0);
        peer_die(&peer);
        CHECK_STATUS(send_text(l, "y", 0), MR_E_GONE); /* the refusal is seen */
        CHECK_STATUS(link_connect(l, 0), MR_E_TIMEOUT);
        CHECK_MSG(accept(rendezvous_listener(rendezvous, RENDEZVOUS_RING), NULL, NULL) < 0, "at once, time %u", n);
        uint64_t begin = clock_now();
        CHECK_STATUS(link_connect(l, begin + (100u << n) * MS), MR_E_TIMEOUT); /* no answer in that time */
        CHECK(elapsed_ms(begin) >= 100u << n);
    }
    peer_accept(&peer, rendezvous);
    peer_welcome(&peer);
    CHECK_STATUS(link_connect(l, clock_deadline(LONG_MS)), MR_OK);
    peer_expect(&peer, 0, "x", 1, false);
    peer_die(&peer);
    link_close(l, false);
    rendezvous_release(rendezvous, false);
}

/* ---- large messages ---- */

static int large_receive(struct peer *peer, uint64_t sequence, size_t length)
{
    union ring_any_packet packet;
    int file;
    CHECK_STATUS(ring_packet_receive(peer->socket, &packet, &file), MR_OK);
    CHECK_EQ(packet.packet.type, PACKET_LARGE);
    CHECK_EQ(packet.large.level, 0);
    CHECK_EQ(packet.large.sequence, sequence);
    CHECK_EQ(packet.large.length, length);
    return file;
}

TEST(ring_link, large_messages_go_beside_the_ring_a_few_at_a_time)
{
    struct pair pair;
    pair_make(&pair);
    static char data[300000], back[300000];
    for (size_t n = 0; n < sizeof data; n++)
        data[n] = (char) (n * 31 + n / 977);
    CHECK_STATUS(send_text(pair.link, "before", 0), MR_OK);
    size_t before = slots_descriptors();
    unsigned sent = 0;
    int status;
    while ((status = link_send(pair.link, data, sizeof data, 0)) == MR_OK)
        sent++;
    CHECK_STATUS(status, MR_E_FULL);
    CHECK_EQ(sent, RING_LARGE_MOST);
    CHECK_EQ(slots_descriptors(), before + sent);
    CHECK_STATUS(link_wait(pair.link, clock_deadline(20)), MR_E_TIMEOUT);
    CHECK_STATUS(send_text(pair.link, "small", 0), MR_OK); /* these have room */
    CHECK_EQ(link_unacknowledged(pair.link), sent + 2);
    peer_expect(&pair.peer, 0, "before", 1, false);
    static struct got got;
    CHECK(peer_take(&pair.peer, 0, &got));
    CHECK_EQ(got.kind, RING_LARGE);
    CHECK_EQ(got.number, sizeof data);
    int file = large_receive(&pair.peer, 2, sizeof data);
    CHECK_STATUS(ring_large_read(file, back, sizeof back), MR_OK);
    CHECK_MEM(back, data, sizeof data);
    close(file);
    CHECK_STATUS(link_send(pair.link, data, sizeof data, 0), MR_E_FULL);
    CHECK_STATUS(link_wait(pair.link, clock_deadline(20)), MR_E_TIMEOUT);
    CHECK(peer_acknowledge(&pair.peer, 0));
    peer_send(&pair.peer, PACKET_REACHED);
    CHECK_STATUS(link_wait(pair.link, clock_deadline(LONG_MS)), MR_OK);
    CHECK_STATUS(link_send(pair.link, data, sizeof data, 0), MR_OK);
    pair_end(&pair);
    slots_await_descriptors(before - 1); /* the doorbell's copy and the sockets went as well */
}

TEST(ring_link, large_messages_in_flight_are_sent_again_to_the_next_reader)
{
    struct pair pair;
    pair_make(&pair);
    static char data[100000], back[100000];
    static struct got got;
    for (char n = 0; n < 3; n++) {
        memset(data, n, sizeof data);
        CHECK_STATUS(link_send(pair.link, data, sizeof data, 0), MR_OK);
        CHECK_STATUS(link_send(pair.link, &n, 1, 0), MR_OK);
    }
    CHECK(peer_take(&pair.peer, 0, &got));
    CHECK(peer_take(&pair.peer, 0, &got));
    (void) peer_acknowledge(&pair.peer, 0); /* the first pair is done with */
    CHECK(peer_take(&pair.peer, 0, &got));
    pair_kill(&pair);
    CHECK_EQ(link_unacknowledged(pair.link), 4);
    pair_again(&pair);
    for (char n = 1; n < 3; n++) {
        CHECK(peer_take(&pair.peer, 0, &got));
        CHECK_EQ(got.kind, RING_LARGE);
        CHECK_EQ(got.sequence, 1 + 2 * n);
        CHECK_EQ(got.redelivered, n == 1);
        int file = large_receive(&pair.peer, got.sequence, sizeof data);
        CHECK_STATUS(ring_large_read(file, back, sizeof back), MR_OK);
        memset(data, n, sizeof data);
        CHECK_MEM(back, data, sizeof data);
        close(file);
        CHECK(peer_take(&pair.peer, 0, &got));
        CHECK_EQ(got.data[0], n);
    }
    (void) peer_acknowledge(&pair.peer, 0);
    struct link_mark mark;
    link_mark(pair.link, &mark);
    CHECK(link_passed(pair.link, &mark));
    pair_end(&pair);
}

/* ---- gaps, and what is kept ---- */

TEST(ring_link, a_gap_comes_before_the_next_message_and_takes_its_numbers)
{
    struct pair pair;
    static struct got got;
    pair_make(&pair);
    CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
    link_gap(pair.link, 0, 3);
    link_gap(pair.link, 0, 2);
    CHECK_STATUS(send_text(pair.link, "other", 1), MR_OK);
    CHECK_STATUS(send_text(pair.link, "b", 0), MR_OK);
    peer_expect(&pair.peer, 0, "a", 1, false);
    CHECK(peer_take(&pair.peer, 0, &got));
    CHECK_EQ(got.kind, RING_GAP);
    CHECK_EQ(got.number, 5);
    peer_expect(&pair.peer, 0, "b", 7, false);
    peer_expect(&pair.peer, 1, "other", 1, false);
    link_gap(pair.link, 1, 1);
    CHECK_STATUS(link_tell_gaps(pair.link), MR_OK);
    CHECK_STATUS(link_tell_gaps(pair.link), MR_OK); /* once */
    CHECK(peer_take(&pair.peer, 1, &got));
    CHECK_EQ(got.kind, RING_GAP);
    CHECK_EQ(got.number, 1);
    peer_expect_nothing(&pair.peer, 1);
    CHECK_EQ(link_unacknowledged(pair.link), 3); /* messages */
    pair_kill(&pair);
    link_gap(pair.link, 0, 9);
    CHECK_STATUS(link_tell_gaps(pair.link), MR_E_GONE);
    pair_again(&pair);
    CHECK_STATUS(send_text(pair.link, "c", 0), MR_OK);
    peer_expect(&pair.peer, 0, "a", 1, true);
    CHECK(peer_take(&pair.peer, 0, &got));
    CHECK_EQ(got.number, 5);
    peer_expect(&pair.peer, 0, "b", 7, true);
    CHECK(peer_take(&pair.peer, 0, &got));
    CHECK_EQ(got.number, 9);
    peer_expect(&pair.peer, 0, "c", 17, false);
    pair_end(&pair);
}

TEST(ring_link, messages_are_kept_for_a_slot_that_is_not_there)
{
    slots_begin();
    slot_link *l = link_make();
    static char data[200000];
    CHECK_STATUS(link_connect(l, 0), MR_E_NO_SLOT);
    CHECK_STATUS(link_keep(l, "a", 1, 0), MR_OK);
    link_gap(l, 0, 2);
    CHECK_STATUS(link_keep(l, "b", 1, 0), MR_OK);
    CHECK_STATUS(link_keep(l, data, sizeof data, 0), MR_OK);
    CHECK_STATUS(link_keep(l, "", 0, 1), MR_OK);
    CHECK_EQ(link_unacknowledged(l), 4);
    struct rendezvous *rendezvous = slot_claim("link", MR_MESSAGE_MAX_DEFAULT);
    CHECK_STATUS(link_connect(l, 0), MR_OK);
    CHECK_STATUS(send_text(l, "c", 0), MR_OK);
    struct peer peer;
    static struct got got;
    peer_accept(&peer, rendezvous);
    CHECK_EQ(peer.hello.sequence[0], 1);
    peer_expect(&peer, 0, "a", 1, false);
    CHECK(peer_take(&peer, 0, &got));
    CHECK_EQ(got.kind, RING_GAP);
    CHECK_EQ(got.number, 2);
    peer_expect(&peer, 0, "b", 4, false);
    CHECK(peer_take(&peer, 0, &got));
    CHECK_EQ(got.kind, RING_LARGE);
    close(large_receive(&peer, 5, sizeof data));
    peer_expect(&peer, 0, "c", 6, false);
    peer_expect(&peer, 1, "", 1, false);
    struct link_counts counts;
    link_get_counts(l, &counts);
    CHECK_EQ(counts.redelivered, 0);
    peer_die(&peer);
    link_close(l, false);
    rendezvous_release(rendezvous, false);
}

TEST(ring_link, what_is_kept_has_the_rings_bounds)
{
    slots_begin();
    slot_link *l = link_make();
    static char data[70000];
    uint64_t kept = 0;
    int status;
    while ((status = link_keep(l, data, 1000, 0)) == MR_OK)
        kept++;
    CHECK_STATUS(status, MR_E_FULL);
    CHECK_EQ(kept, (256u << 10) / 1008);
    CHECK_EQ(link_unacknowledged(l), kept);
    kept = 0;
    while ((status = link_keep(l, data, 20000, 1)) == MR_OK) /* large ones at this level */
        kept++;
    CHECK_STATUS(status, MR_E_FULL);
    CHECK_EQ(kept, RING_LARGE_MOST);
    link_close(l, false);
}

/* ---- fork ---- */

static void child_closes(void *argument)
{
    struct pair *pair = argument;
    link_close(pair->link, true);
}

TEST(ring_link, closing_in_a_forked_child_leaves_the_parents_session_alone)
{
    struct pair pair;
    pair_make(&pair);
    static char data[100000];
    CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
    CHECK_STATUS(link_send(pair.link, data, sizeof data, 0), MR_OK);
    slots_join(slots_fork(child_closes, &pair));
    CHECK_STATUS(send_text(pair.link, "b", 0), MR_OK);
    CHECK(link_connected(pair.link));
    peer_expect(&pair.peer, 0, "a", 1, false);
    static struct got got;
    CHECK(peer_take(&pair.peer, 0, &got));
    peer_expect(&pair.peer, 0, "b", 3, false);
    pair_end(&pair);
}
