/* test_ring_link_wait.c: the writing end of slots/backend.h over the ring: waiting for room and for acknowledgement. */
#include "ring_peer_linux.h"

/* ---- waiting ---- */
static void wait_for_room(bool refuse, uint32_t spin_us)
{
    struct pair pair;
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.spin_us = spin_us;
    options.ring_bytes = 16 << 10;
    ring_barrier_refuse(refuse);
    pair_make_with(&pair, &options);
    uint64_t sent = 1, taken = 1;
    for (unsigned n = 0; n < 200; n++) {
        sent = send_until_full(pair.link, sent, 64);
        if (n % 50 == 0)
            CHECK_STATUS(link_wait(pair.link, clock_deadline(20)), MR_E_TIMEOUT);
        struct waiter waiter = {.link = pair.link};
        CHECK_STATUS(thread_start(&waiter.thread, "waiter", waiter_run, &waiter), MR_OK);
        taken = peer_serve(&pair.peer, &waiter, taken);
        CHECK_EQ(taken, sent);
    }
    ring_barrier_refuse(false);
    pair_end(&pair);
}

TEST(ring_link_wait, a_full_ring_is_waited_for_with_barriers)
{
    wait_for_room(false, 0);
}

TEST(ring_link_wait, a_full_ring_is_waited_for_without_barriers)
{
    wait_for_room(true, 0);
}

TEST(ring_link_wait, a_full_ring_is_spun_for)
{
    wait_for_room(false, 200);
}

TEST(ring_link_wait, a_wait_is_ended_by_link_wake_before_or_during_it)
{
    struct pair pair;
    pair_make(&pair);
    (void) send_until_full(pair.link, 1, 4000);
    link_wake(pair.link);
    CHECK_STATUS(link_wait(pair.link, CLOCK_NEVER), MR_OK);
    CHECK_STATUS(link_wait(pair.link, clock_deadline(20)), MR_E_TIMEOUT);
    for (unsigned n = 0; n < 300; n++) {
        struct waiter waiter = {.link = pair.link};
        CHECK_STATUS(thread_start(&waiter.thread, "waiter", waiter_run, &waiter), MR_OK);
        link_wake(pair.link);
        thread_join(waiter.thread);
        CHECK_STATUS(waiter.status, MR_OK);
    }
    pair_end(&pair);
}

TEST(ring_link_wait, a_wait_ends_when_the_reader_goes)
{
    struct pair pair;
    pair_make(&pair);
    uint64_t next = send_until_full(pair.link, 1, 4000);
    struct waiter waiter = {.link = pair.link};
    CHECK_STATUS(thread_start(&waiter.thread, "waiter", waiter_run, &waiter), MR_OK);
    peer_die(&pair.peer);
    thread_join(waiter.thread);
    CHECK_STATUS(waiter.status, MR_OK);
    CHECK_STATUS(send_text(pair.link, "x", 0), MR_E_GONE);
    CHECK_EQ(link_unacknowledged(pair.link), next - 1);
    pair_end(&pair);
}

/* ---- marks ---- */

TEST(ring_link_wait, a_mark_is_passed_when_everything_before_it_is_acknowledged)
{
    struct pair pair;
    struct link_mark none, mark;
    pair_make(&pair);
    link_mark(pair.link, &none);
    CHECK(link_passed(pair.link, &none));
    CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
    CHECK_STATUS(send_text(pair.link, "b", 1), MR_OK);
    link_mark(pair.link, &mark);
    CHECK_STATUS(send_text(pair.link, "c", 0), MR_OK);
    CHECK(!link_passed(pair.link, &mark));
    CHECK_STATUS(link_await(pair.link, &mark, clock_deadline(20)), MR_E_TIMEOUT);
    peer_expect(&pair.peer, 0, "a", 1, false);
    CHECK(peer_acknowledge(&pair.peer, 0)); /* it was asked for */
    peer_send(&pair.peer, PACKET_REACHED);
    CHECK_EQ(link_unacknowledged(pair.link), 3); /* as far as the link has looked */
    CHECK(!link_passed(pair.link, &mark));
    CHECK_EQ(link_unacknowledged(pair.link), 2);
    CHECK_STATUS(link_await(pair.link, &mark, clock_deadline(20)), MR_E_TIMEOUT);
    struct waiter waiter = {.link = pair.link, .mark = &mark};
    CHECK_STATUS(thread_start(&waiter.thread, "waiter", waiter_run, &waiter), MR_OK);
    peer_expect(&pair.peer, 1, "b", 1, false);
    CHECK(peer_acknowledge(&pair.peer, 1));
    peer_send(&pair.peer, PACKET_REACHED);
    thread_join(waiter.thread);
    CHECK_STATUS(waiter.status, MR_OK);
    CHECK(link_passed(pair.link, &mark));
    CHECK_EQ(link_unacknowledged(pair.link), 1);
    pair_end(&pair);
}

TEST(ring_link_wait, a_mark_of_an_older_session_is_passed_with_what_was_taken_over)
{
    struct pair pair;
    struct link_mark mark, between;
    pair_make(&pair);
    CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
    link_mark(pair.link, &mark);
    pair_kill(&pair);
    CHECK(!link_passed(pair.link, &mark));
    CHECK_STATUS(link_keep(pair.link, "b", 1, 0), MR_OK);
    link_mark(pair.link, &between);
    pair_again(&pair);
    CHECK_STATUS(send_text(pair.link, "c", 0), MR_OK);
    CHECK(!link_passed(pair.link, &mark));
    peer_expect(&pair.peer, 0, "a", 1, false);
    (void) peer_acknowledge(&pair.peer, 0);
    CHECK(!link_passed(pair.link, &between));
    peer_expect(&pair.peer, 0, "b", 2, false);
    (void) peer_acknowledge(&pair.peer, 0);
    CHECK(link_passed(pair.link, &mark));
    CHECK(link_passed(pair.link, &between));
    CHECK_EQ(link_unacknowledged(pair.link), 1);
    pair_end(&pair);
}

/* ---- with a port ---- */

struct watch {
    operation operation;
    bool completed;
};

static void on_watched(operation *completed)
{
    ((struct watch *) (void *) completed)->completed = true;
}

static void port_step(port *p)
{
    operation *o;
    CHECK_STATUS(port_wait(p, &o, clock_deadline(LONG_MS)), MR_OK);
    o->handler(o);
}

static void port_expect_nothing(port *p)
{
    operation *o;
    CHECK_STATUS(port_wait(p, &o, clock_deadline(20)), MR_E_TIMEOUT);
}

TEST(ring_link_wait, a_watch_completes_with_room_with_the_readers_end_and_with_a_disconnect)
{
    struct pair pair;
    pair_make(&pair);
    port *p;
    CHECK_STATUS(port_open(&p, NULL), MR_OK);
    struct watch watch = {.operation.handler = on_watched};
    uint64_t next = 1;
    for (unsigned n = 0; n < 60; n++) {
        CHECK_STATUS(send_number(pair.link, next++, 8), MR_OK); /* the answer is taken in */
        next = send_until_full(pair.link, next, 4000);
        watch.completed = false;
        CHECK_EQ(link_watch(pair.link, p, &watch.operation), STARTED_PENDING);
        if (n % 20 == 0)
            port_expect_nothing(p);
        struct peer old = pair.peer;
        switch (n % 3) {
        case 0:
            (void) peer_take_numbers(&pair.peer, 0, pair.peer.sequence[0]);
            CHECK(peer_acknowledge(&pair.peer, 0));
            peer_send(&pair.peer, PACKET_REACHED);
            break;
        case 1:
            peer_die(&pair.peer);
            break;
        case 2:
            link_disconnect(pair.link);
            break;
        }
        port_step(p);
        CHECK(watch.completed);
        CHECK(watch.operation.status == MR_OK || watch.operation.status == MR_E_CANCELLED);
        if (n % 3 == 1)
            link_look(pair.link);
        if (n % 3 == 2)
            peer_die(&old);
        if (n % 3 != 0) {
            pair_again(&pair);
            uint64_t taken = pair.peer.sequence[0];
            while (taken < next) {
                struct link_mark mark;
                link_mark(pair.link, &mark);
                taken = peer_take_numbers(&pair.peer, 0, taken);
                (void) peer_acknowledge(&pair.peer, 0);
                (void) link_passed(pair.link, &mark); /* feeds */
            }
            peer_send(&pair.peer, PACKET_REACHED); /* told or not */
        }
    }
    pair_end(&pair);
    port_close(p);
}

TEST(ring_link_wait, a_watch_for_acknowledgement_completes_with_it_and_one_for_nothing_with_the_end)
{
    struct pair pair;
    pair_make(&pair);
    port *p;
    CHECK_STATUS(port_open(&p, NULL), MR_OK);
    struct watch watch = {.operation.handler = on_watched};
    struct link_mark mark;
    CHECK_STATUS(send_text(pair.link, "a", 0), MR_OK);
    link_mark(pair.link, &mark);
    CHECK_EQ(link_watch_mark(pair.link, &mark, p, &watch.operation), STARTED_PENDING);
    port_expect_nothing(p);
    peer_expect(&pair.peer, 0, "a", 1, false);
    CHECK(peer_acknowledge(&pair.peer, 0));
    peer_send(&pair.peer, PACKET_REACHED);
    port_step(p);
    CHECK(link_passed(pair.link, &mark));
    CHECK_EQ(link_watch_mark(pair.link, &mark, p, &watch.operation), STARTED_DONE);
    CHECK_STATUS(watch.operation.status, MR_OK);
    CHECK_STATUS(send_text(pair.link, "b", 0), MR_OK);
    watch.completed = false;
    CHECK_EQ(link_watch_mark(pair.link, NULL, p, &watch.operation), STARTED_PENDING);
    peer_expect(&pair.peer, 0, "b", 2, false);
    CHECK(!peer_acknowledge(&pair.peer, 0)); /* nothing is asked of the reader */
    port_expect_nothing(p);
    peer_die(&pair.peer);
    port_step(p);
    CHECK(watch.completed);
    CHECK(link_passed(pair.link, &mark));
    CHECK(!link_connected(pair.link));
    CHECK_EQ(link_watch_mark(pair.link, NULL, p, &watch.operation), STARTED_DONE);
    CHECK_STATUS(watch.operation.status, MR_E_GONE);
    pair_end(&pair);
    port_close(p);
}
