/* test_contract.c: rules C1 to C10 of src/iocp/backend.h: what becomes of an operation. test_contract_port.c has the
 * others. Each test is named after its rule; every backend runs all of them. */
#include "contract.h"

/* C1: what was started completes exactly once. */

TEST(contract, c01_exactly_once_when_it_completes_later)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    char buffer[16];
    operation o = operation_new();
    CHECK_EQ(port_receive(e, &o, buffer, sizeof buffer), STARTED_PENDING);
    packet_none(p);
    fixture_far_send(far_end, "one", 3);
    CHECK(packet_next(p) == &o);
    packet_none(p);
    fixture_far_send(far_end, "two", 3); /* nobody asked for it */
    packet_none(p);
    port_finish(p, e, NULL);
}

TEST(contract, c01_exactly_once_when_done_at_once)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    for (int i = 0; i < FIXTURE_ROOM; i++) {
        fixture_far_send(far_end, "ready", 5);
        char buffer[16];
        operation o = operation_new();
        operation_finish(p, &o, port_receive(e, &o, buffer, sizeof buffer));
        CHECK_STATUS(o.status, MR_OK);
        packet_none(p);
        operation_finish(p, &o, port_send(e, &o, "back", 4));
        packet_none(p);
        far_expect(far_end, "back");
    }
    port_finish(p, e, NULL);
}

TEST(contract, c01_exactly_once_when_cancelled)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    char buffer[16];
    operation o = operation_new(), later = operation_new();
    CHECK_EQ(port_receive(e, &o, buffer, sizeof buffer), STARTED_PENDING);
    CHECK_EQ(port_set_deadline(p, &later, clock_now() + HANG), STARTED_PENDING);
    for (int i = 0; i < 3; i++) {
        port_cancel(p, &o);
        port_cancel(p, &later);
    }
    operation *first = packet_next(p), *second = packet_next(p);
    CHECK((first == &o && second == &later) || (first == &later && second == &o));
    packet_none(p);
    port_finish(p, e, NULL);
}

TEST(contract, c01_exactly_once_when_stopped)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    char buffer[16];
    operation o = operation_new(), later = operation_new(), posted = operation_new();
    CHECK_EQ(port_receive(e, &o, buffer, sizeof buffer), STARTED_PENDING);
    CHECK_EQ(port_set_deadline(p, &later, CLOCK_NEVER), STARTED_PENDING);
    CHECK_STATUS(port_post(p, &posted), MR_OK);
    CHECK_EQ(port_drain(p), 3);
    fixture_far_send(far_end, "late", 4);
    CHECK_EQ(port_drain(p), 0);
    endpoint_close(e);
    port_close(p);
}

/* C2: after its packet, operation and buffer are the caller's again. */

TEST(contract, c02_memory_is_the_callers_again_after_the_packet)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    struct memory {
        operation o;
        char buffer[64];
    } memory, rubbish;
    memset(&rubbish, POISON, sizeof rubbish);

    memory.o = operation_new();
    CHECK_EQ(port_receive(e, &memory.o, memory.buffer, sizeof memory.buffer), STARTED_PENDING);
    fixture_far_send(far_end, "mine", 4);
    CHECK(packet_next(p) == &memory.o);
    memset(&memory, POISON, sizeof memory);
    fixture_far_send(far_end, "next", 4);
    packet_none(p);
    CHECK_MEM(&memory, &rubbish, sizeof memory);

    receive_message(p, e, "next");
    memory.o = operation_new();
    CHECK_EQ(port_receive(e, &memory.o, memory.buffer, sizeof memory.buffer), STARTED_PENDING);
    port_cancel(p, &memory.o);
    CHECK(packet_next(p) == &memory.o);
    memset(&memory, POISON, sizeof memory);
    fixture_far_send(far_end, "more", 4);
    packet_none(p);
    CHECK_MEM(&memory, &rubbish, sizeof memory);
    port_finish(p, e, NULL);
}

TEST(contract, c02_an_operation_starts_again_after_its_packet)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    char buffer[16];
    operation o = operation_new();
    for (int i = 0; i < 20; i++) { /* in every role, one after the other */
        CHECK_EQ(port_receive(e, &o, buffer, sizeof buffer), STARTED_PENDING);
        fixture_far_send(far_end, "in", 2);
        CHECK(packet_next(p) == &o);
        CHECK_STATUS(port_post(p, &o), MR_OK);
        CHECK(packet_next(p) == &o);
        CHECK_EQ(port_set_deadline(p, &o, clock_now()), STARTED_PENDING);
        CHECK(packet_next(p) == &o);
        operation_finish(p, &o, port_send(e, &o, "out", 3));
        far_expect(far_end, "out");
    }
    port_finish(p, e, NULL);
}

/* C3: STARTED_DONE means that the results are there, well or badly. */

TEST(contract, c03_results_are_there_when_done_at_once)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    fixture_far_send(far_end, "ready", 5);
    char buffer[16];
    operation o = operation_new();
    operation_finish(p, &o, port_receive(e, &o, buffer, sizeof buffer));
    CHECK_STATUS(o.status, MR_OK);
    CHECK_EQ(o.bytes, 5);
    CHECK_MEM(buffer, "ready", 5);
    operation_finish(p, &o, port_send(e, &o, "answer", 6));
    CHECK_STATUS(o.status, MR_OK);
    CHECK_EQ(o.bytes, 6);
    port_finish(p, e, NULL);
}

TEST(contract, c03_an_immediate_error_is_like_an_immediate_success)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    fixture_far_send(far_end, "too long for it", 15);
    char buffer[4];
    operation o = operation_new();
    operation_finish(p, &o, port_receive(e, &o, buffer, sizeof buffer));
    CHECK_STATUS(o.status, MR_E_SMALL);
    packet_none(p);
    receive_message(p, e, "too long for it");
    fixture_far_close(far_end);
    operation_finish(p, &o, port_receive(e, &o, buffer, sizeof buffer));
    CHECK_STATUS(o.status, MR_E_GONE);
    packet_none(p);
    port_finish(p, e, NULL);
}

/* C4: the backend runs no code of the caller's. Every operation of these tests has a handler that fails the test;
 * here all ways of completing are walked through once more. */

TEST(contract, c04_no_handler_is_called)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    char buffer[16];
    operation in = operation_new(), late = operation_new(), posted = operation_new();
    CHECK_EQ(port_receive(e, &in, buffer, sizeof buffer), STARTED_PENDING);
    fixture_far_send(far_end, "x", 1);
    CHECK(packet_next(p) == &in);
    CHECK_EQ(port_receive(e, &in, buffer, sizeof buffer), STARTED_PENDING);
    port_cancel(p, &in);
    CHECK(packet_next(p) == &in);
    CHECK_STATUS(port_post(p, &posted), MR_OK);
    CHECK(packet_next(p) == &posted);
    CHECK_EQ(port_set_deadline(p, &late, clock_now() + MILLISECOND), STARTED_PENDING);
    CHECK(packet_next(p) == &late);
    CHECK_EQ(port_receive(e, &in, buffer, sizeof buffer), STARTED_PENDING);
    CHECK_EQ(port_set_deadline(p, &late, CLOCK_NEVER), STARTED_PENDING);
    CHECK_EQ(port_drain(p), 2);
    operation_finish(p, &in, port_receive(e, &in, buffer, sizeof buffer));
    endpoint_close(e);
    port_close(p);
}

/* C5: one operation per direction. */

TEST(contract, c05_a_second_inward_operation_is_refused)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    char buffer[16], other[16];
    operation first = operation_new(), second = operation_new();
    CHECK_EQ(port_receive(e, &first, buffer, sizeof buffer), STARTED_PENDING);
    CHECK_EQ(port_receive(e, &second, other, sizeof other), STARTED_DONE);
    CHECK_STATUS(second.status, MR_E_ARGUMENT);
    CHECK_EQ(port_watch(e, &second, WAIT_IN), STARTED_DONE);
    CHECK_STATUS(second.status, MR_E_ARGUMENT);
    fixture_far_send(far_end, "first", 5);
    CHECK(packet_next(p) == &first);
    CHECK_EQ(first.bytes, 5);
    port_finish(p, e, NULL);
}

TEST(contract, c05_a_second_outward_operation_is_refused)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    static char block[4096];
    operation first = operation_new(), second = operation_new();
    (void) send_until_pending(p, e, &first, block, sizeof block);
    CHECK_EQ(port_send(e, &second, block, sizeof block), STARTED_DONE);
    CHECK_STATUS(second.status, MR_E_ARGUMENT);
    port_cancel(p, &first);
    CHECK(packet_next(p) == &first);
    port_finish(p, e, NULL);
}

TEST(contract, c05_both_directions_are_pending_at_once)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    static char block[4096], received[sizeof block];
    char buffer[16];
    operation in = operation_new(), out = operation_new();
    CHECK_EQ(port_receive(e, &in, buffer, sizeof buffer), STARTED_PENDING);
    unsigned before = send_until_pending(p, e, &out, block, sizeof block);
    fixture_far_send(far_end, "in", 2);
    CHECK(packet_next(p) == &in);
    CHECK_STATUS(in.status, MR_OK);
    CHECK_EQ(port_receive(e, &in, buffer, sizeof buffer), STARTED_PENDING);
    for (unsigned i = 0; i < before; i++)
        CHECK_EQ(fixture_far_receive(far_end, received, sizeof received), (int64_t) sizeof block);
    CHECK(packet_next(p) == &out);
    CHECK_STATUS(out.status, MR_OK);
    CHECK_EQ(fixture_far_receive(far_end, received, sizeof received), (int64_t) sizeof block);
    /* Both become ready before anybody looks. */
    before = send_until_pending(p, e, &out, block, sizeof block);
    fixture_far_send(far_end, "in", 2);
    for (unsigned i = 0; i < before; i++)
        CHECK_EQ(fixture_far_receive(far_end, received, sizeof received), (int64_t) sizeof block);
    operation *a = packet_next(p), *b = packet_next(p);
    CHECK((a == &in && b == &out) || (a == &out && b == &in));
    CHECK_STATUS(in.status, MR_OK);
    CHECK_STATUS(out.status, MR_OK);
    packet_none(p);
    port_finish(p, e, NULL);
}

TEST(contract, c05_a_direction_is_taken_until_the_packet_is_taken_out)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    char buffer[16];
    operation first = operation_new(), second = operation_new();
    CHECK_EQ(port_receive(e, &first, buffer, sizeof buffer), STARTED_PENDING);
    port_cancel(p, &first);
    CHECK_EQ(port_receive(e, &second, buffer, sizeof buffer), STARTED_DONE);
    CHECK_STATUS(second.status, MR_E_ARGUMENT);
    CHECK(packet_next(p) == &first);
    CHECK_EQ(port_receive(e, &second, buffer, sizeof buffer), STARTED_PENDING);
    fixture_far_send(far_end, "second", 6);
    CHECK(packet_next(p) == &second);
    CHECK_STATUS(second.status, MR_OK);
    port_finish(p, e, NULL);
}

/* C6: receive. */

TEST(contract, c06_receive_takes_one_whole_message)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    fixture_far_send(far_end, "first", 5);
    fixture_far_send(far_end, "and second", 10);
    receive_message(p, e, "first");
    receive_message(p, e, "and second");
    char buffer[16];
    memset(buffer, POISON, sizeof buffer);
    operation o = operation_new();
    CHECK_EQ(port_receive(e, &o, buffer, sizeof buffer), STARTED_PENDING);
    fixture_far_send(far_end, "third", 5);
    CHECK(packet_next(p) == &o);
    CHECK_EQ(o.bytes, 5);
    CHECK_MEM(buffer, "third", 5);
    for (size_t i = 5; i < sizeof buffer; i++)
        CHECK_EQ((unsigned char) buffer[i], POISON);
    port_finish(p, e, NULL);
}

static void small_check(port *p, endpoint *e, operation *o, enum started started, size_t needed)
{
    operation_finish(p, o, started);
    CHECK_STATUS(o->status, MR_E_SMALL);
    CHECK_EQ(o->bytes, fixture_can(FIXTURE_SMALL_SIZE) ? needed : 0);
    (void) e;
}

TEST(contract, c06_too_small_a_buffer_leaves_the_message)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    char buffer[8];
    operation o = operation_new();
    fixture_far_send(far_end, "twelve bytes", 12);
    fixture_far_send(far_end, "next", 4);
    for (size_t size = 0; size < sizeof buffer; size++)
        small_check(p, e, &o, port_receive(e, &o, buffer, size), 12);
    receive_message(p, e, "twelve bytes");
    receive_message(p, e, "next");
    /* The same for a receive that was waiting. */
    CHECK_EQ(port_receive(e, &o, buffer, sizeof buffer), STARTED_PENDING);
    fixture_far_send(far_end, "thirteen byte", 13);
    small_check(p, e, &o, STARTED_PENDING, 13);
    receive_message(p, e, "thirteen byte");
    port_finish(p, e, NULL);
}

TEST(contract, c06_a_buffer_of_exactly_the_size_is_enough)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    char buffer[5];
    operation o = operation_new();
    fixture_far_send(far_end, "exact", 5);
    operation_finish(p, &o, port_receive(e, &o, buffer, sizeof buffer));
    CHECK_STATUS(o.status, MR_OK);
    CHECK_EQ(o.bytes, 5);
    port_finish(p, e, NULL);
}

TEST(contract, c06_an_empty_message_is_a_message)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    fixture_far_send(far_end, "", 0); /* before anybody prepared the handle for it */
    endpoint *e = endpoint_new(p, near_end);
    receive_message(p, e, "");
    fixture_far_send(far_end, "", 0);
    receive_message(p, e, "");
    char buffer[16];
    operation o = operation_new();
    CHECK_EQ(port_receive(e, &o, buffer, sizeof buffer), STARTED_PENDING);
    fixture_far_send(far_end, "", 0);
    CHECK(packet_next(p) == &o);
    CHECK_STATUS(o.status, MR_OK);
    CHECK_EQ(o.bytes, 0);
    fixture_far_send(far_end, "after", 5);
    receive_message(p, e, "after");
    port_finish(p, e, NULL);
}

TEST(contract, c06_a_peer_that_has_gone_is_told_after_what_it_sent)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    char buffer[16];
    operation o = operation_new();
    fixture_far_send(far_end, "last", 4);
    fixture_far_send(far_end, "", 0);
    fixture_far_send(far_end, "words", 5);
    fixture_far_close(far_end);
    receive_message(p, e, "last");
    receive_message(p, e, "");
    receive_message(p, e, "words");
    for (int i = 0; i < 2; i++) { /* and it stays so */
        operation_finish(p, &o, port_receive(e, &o, buffer, sizeof buffer));
        CHECK_STATUS(o.status, MR_E_GONE);
        CHECK_EQ(o.bytes, 0);
    }
    port_finish(p, e, NULL);
}

TEST(contract, c06_a_peer_that_goes_completes_a_pending_receive)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    char buffer[16];
    operation o = operation_new();
    CHECK_EQ(port_receive(e, &o, buffer, sizeof buffer), STARTED_PENDING);
    fixture_far_close(far_end);
    CHECK(packet_next(p) == &o);
    CHECK_STATUS(o.status, MR_E_GONE);
    port_finish(p, e, NULL);
}

TEST(contract, c06_a_peer_that_goes_with_messages_unread_loses_none_of_its_own)
{
    if (!fixture_can(FIXTURE_FAR_RESET))
        return; /* what the system throws away no backend can bring back */
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    operation o = operation_new();
    char buffer[16];
    operation_finish(p, &o, port_send(e, &o, "unread", 6));
    fixture_far_send(far_end, "last", 4);
    fixture_far_send(far_end, "words", 5);
    fixture_far_close(far_end);
    receive_message(p, e, "last");
    receive_message(p, e, "words");
    operation_finish(p, &o, port_receive(e, &o, buffer, sizeof buffer));
    CHECK_STATUS(o.status, MR_E_GONE);
    port_finish(p, e, NULL);
}

/* C7: send. */

TEST(contract, c07_send_takes_the_whole_message)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    operation o = operation_new();
    operation_finish(p, &o, port_send(e, &o, "whole", 5));
    CHECK_STATUS(o.status, MR_OK);
    CHECK_EQ(o.bytes, 5);
    operation_finish(p, &o, port_send(e, &o, "", 0));
    CHECK_STATUS(o.status, MR_OK);
    CHECK_EQ(o.bytes, 0);
    operation_finish(p, &o, port_send(e, &o, "message", 7));
    far_expect(far_end, "whole");
    far_expect(far_end, "");
    far_expect(far_end, "message");
    port_finish(p, e, NULL);
}

TEST(contract, c07_send_waits_for_room_and_then_takes_all)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    static char block[4096], received[sizeof block];
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = (char) (i * 7);
    operation o = operation_new();
    unsigned before = send_until_pending(p, e, &o, block, sizeof block);
    for (unsigned i = 0; i < before; i++)
        CHECK_EQ(fixture_far_receive(far_end, received, sizeof received), (int64_t) sizeof block);
    CHECK(packet_next(p) == &o);
    CHECK_STATUS(o.status, MR_OK);
    CHECK_EQ(o.bytes, sizeof block);
    CHECK_EQ(fixture_far_receive(far_end, received, sizeof received), (int64_t) sizeof block);
    CHECK_MEM(received, block, sizeof block);
    operation_finish(p, &o, port_send(e, &o, "end", 3)); /* nothing lies between */
    far_expect(far_end, "end");
    port_finish(p, e, NULL);
}

TEST(contract, c07_a_peer_that_has_gone_is_told_without_a_signal)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    fixture_far_close(far_end);
    for (int i = 0; i < 2; i++) {
        operation o = operation_new();
        operation_finish(p, &o, port_send(e, &o, "hello?", 6));
        CHECK_STATUS(o.status, MR_E_GONE);
        CHECK_EQ(o.bytes, 0);
    }
    port_finish(p, e, NULL);
}

TEST(contract, c07_a_peer_that_goes_completes_a_pending_send)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    static char block[4096];
    operation o = operation_new();
    (void) send_until_pending(p, e, &o, block, sizeof block);
    fixture_far_close(far_end);
    CHECK(packet_next(p) == &o);
    CHECK_STATUS(o.status, MR_E_GONE);
    port_finish(p, e, NULL);
}

/* C8: accept. */

static bool accept_cannot(port *p, endpoint *listener)
{
    if (fixture_can(FIXTURE_ACCEPT))
        return false;
    operation o = operation_new();
    CHECK_EQ(port_accept(listener, &o), STARTED_DONE);
    CHECK_STATUS(o.status, MR_E_UNSUPPORTED);
    port_finish(p, listener, NULL);
    return true;
}

TEST(contract, c08_accept_completes_when_a_peer_connects)
{
    port *p = port_new();
    os_handle listening = fixture_listen();
    endpoint *listener = endpoint_new(p, listening);
    if (accept_cannot(p, listener))
        return;
    operation o = operation_new();
    CHECK_EQ(port_accept(listener, &o), STARTED_PENDING);
    packet_none(p);
    os_handle far_end = fixture_connect(listening);
    CHECK(packet_next(p) == &o);
    CHECK_STATUS(o.status, MR_OK);
    CHECK(o.accepted != HANDLE_NONE);

    endpoint *connection = endpoint_new(p, o.accepted); /* it can be associated, and it is the peer's */
    fixture_far_send(far_end, "hello", 5);
    receive_message(p, connection, "hello");
    operation_finish(p, &o, port_send(connection, &o, "welcome", 7));
    far_expect(far_end, "welcome");
    port_finish(p, listener, connection);
}

TEST(contract, c08_accept_takes_a_peer_that_was_there_before)
{
    port *p = port_new();
    os_handle listening = fixture_listen();
    endpoint *listener = endpoint_new(p, listening);
    if (accept_cannot(p, listener))
        return;
    (void) fixture_connect(listening);
    (void) fixture_connect(listening);
    operation o = operation_new();
    os_handle accepted[2];
    for (int i = 0; i < 2; i++) {
        operation_finish(p, &o, port_accept(listener, &o));
        CHECK_STATUS(o.status, MR_OK);
        accepted[i] = o.accepted;
    }
    CHECK(accepted[0] != accepted[1]);
    CHECK_EQ(port_accept(listener, &o), STARTED_PENDING);
    port_cancel(p, &o);
    CHECK(packet_next(p) == &o);
    CHECK_EQ(o.accepted, HANDLE_NONE);
    fixture_close(accepted[0]);
    fixture_close(accepted[1]);
    port_finish(p, listener, NULL);
}

TEST(contract, c08_an_accepted_handle_is_not_inherited)
{
    port *p = port_new();
    os_handle listening = fixture_listen();
    endpoint *listener = endpoint_new(p, listening);
    if (accept_cannot(p, listener))
        return;
    operation o = operation_new();
    (void) fixture_connect(listening);
    operation_finish(p, &o, port_accept(listener, &o));
    CHECK_STATUS(o.status, MR_OK);
    CHECK(fixture_is_private(o.accepted));
    fixture_close(o.accepted);
    port_finish(p, listener, NULL);
}

/* C9: wait. */

static bool watch_cannot(port *p, endpoint *e, enum fixture_ability ability)
{
    if (fixture_can(ability))
        return false;
    operation o = operation_new();
    CHECK_EQ(port_watch(e, &o, WAIT_IN), STARTED_DONE);
    CHECK_STATUS(o.status, MR_E_UNSUPPORTED);
    port_finish(p, e, NULL);
    return true;
}

TEST(contract, c09_wait_completes_when_the_handle_is_signalled)
{
    port *p = port_new();
    os_handle event = fixture_event();
    endpoint *e = endpoint_new(p, event);
    if (watch_cannot(p, e, FIXTURE_WATCH))
        return;
    operation o = operation_new();
    CHECK_EQ(port_watch(e, &o, WAIT_IN), STARTED_PENDING);
    packet_none(p);
    fixture_signal(event);
    CHECK(packet_next(p) == &o);
    CHECK_STATUS(o.status, MR_OK);
    packet_none(p);
    port_finish(p, e, NULL);
}

TEST(contract, c09_readiness_before_the_start_counts_and_is_not_taken)
{
    port *p = port_new();
    os_handle event = fixture_event();
    endpoint *e = endpoint_new(p, event);
    if (watch_cannot(p, e, FIXTURE_WATCH))
        return;
    operation o = operation_new();
    fixture_signal(event);
    for (int i = 0; i < 3; i++) {
        operation_finish(p, &o, port_watch(e, &o, WAIT_IN));
        CHECK_STATUS(o.status, MR_OK);
    }
    fixture_unsignal(event);
    CHECK_EQ(port_watch(e, &o, WAIT_IN), STARTED_PENDING);
    packet_none(p);
    fixture_signal(event);
    CHECK(packet_next(p) == &o);
    port_finish(p, e, NULL);
}

TEST(contract, c09_wait_for_a_message_takes_none)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    if (watch_cannot(p, e, FIXTURE_WATCH_PAIR))
        return;
    operation o = operation_new();
    CHECK_EQ(port_watch(e, &o, WAIT_IN), STARTED_PENDING);
    fixture_far_send(far_end, "still there", 11);
    CHECK(packet_next(p) == &o);
    receive_message(p, e, "still there");
    port_finish(p, e, NULL);
}

TEST(contract, c09_wait_for_room_completes_when_there_is_some)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    if (watch_cannot(p, e, FIXTURE_WATCH_PAIR))
        return;
    static char block[4096];
    operation o = operation_new();
    operation_finish(p, &o, port_watch(e, &o, WAIT_OUT)); /* there is room */
    CHECK_STATUS(o.status, MR_OK);
    unsigned before = send_until_pending(p, e, &o, block, sizeof block);
    port_cancel(p, &o);
    CHECK(packet_next(p) == &o);
    CHECK_EQ(port_watch(e, &o, WAIT_OUT), STARTED_PENDING);
    packet_none(p);
    for (unsigned i = 0; i < before; i++)
        CHECK_EQ(fixture_far_receive(far_end, block, sizeof block), (int64_t) sizeof block);
    CHECK(packet_next(p) == &o);
    CHECK_STATUS(o.status, MR_OK);
    port_finish(p, e, NULL);
}

TEST(contract, c09_a_hang_up_counts_in_both_directions)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    if (watch_cannot(p, e, FIXTURE_WATCH_PAIR))
        return;
    static char block[4096];
    operation in = operation_new(), out = operation_new();
    (void) send_until_pending(p, e, &out, block, sizeof block);
    port_cancel(p, &out);
    CHECK(packet_next(p) == &out);
    CHECK_EQ(port_watch(e, &in, WAIT_IN), STARTED_PENDING);
    CHECK_EQ(port_watch(e, &out, WAIT_OUT), STARTED_PENDING);
    fixture_far_close(far_end);
    operation *a = packet_next(p), *b = packet_next(p);
    CHECK((a == &in && b == &out) || (a == &out && b == &in));
    port_finish(p, e, NULL);
}

TEST(contract, c09_a_direction_that_cannot_be_told_is_unsupported)
{
    port *p = port_new();
    endpoint *e = endpoint_new(p, fixture_one_way());
    operation o = operation_new();
    CHECK_EQ(port_watch(e, &o, WAIT_OUT), STARTED_DONE);
    CHECK_STATUS(o.status, MR_E_UNSUPPORTED);
    port_finish(p, e, NULL);
}

/* C10: cancel. */

TEST(contract, c10_a_cancelled_receive_has_taken_no_message)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    char buffer[16];
    operation o = operation_new();
    CHECK_EQ(port_receive(e, &o, buffer, sizeof buffer), STARTED_PENDING);
    port_cancel(p, &o);
    fixture_far_send(far_end, "kept", 4);
    CHECK(packet_next(p) == &o);
    CHECK_STATUS(o.status, MR_E_CANCELLED);
    CHECK_EQ(o.bytes, 0);
    packet_none(p);
    receive_message(p, e, "kept");
    port_finish(p, e, NULL);
}

TEST(contract, c10_a_result_that_came_first_is_not_lost)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    char buffer[16];
    operation o = operation_new();
    CHECK_EQ(port_receive(e, &o, buffer, sizeof buffer), STARTED_PENDING);
    fixture_far_send(far_end, "there", 5);
    port_cancel(p, &o);
    CHECK(packet_next(p) == &o);
    if (o.status == MR_OK) {
        CHECK_EQ(o.bytes, 5);
        CHECK_MEM(buffer, "there", 5);
    } else {
        CHECK_STATUS(o.status, MR_E_CANCELLED);
        receive_message(p, e, "there");
    }
    packet_none(p);
    port_finish(p, e, NULL);
}

TEST(contract, c10_a_cancelled_send_has_sent_nothing)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    static char block[4096], received[sizeof block];
    operation o = operation_new();
    unsigned before = send_until_pending(p, e, &o, block, sizeof block);
    port_cancel(p, &o);
    CHECK(packet_next(p) == &o);
    CHECK_STATUS(o.status, MR_E_CANCELLED);
    CHECK_EQ(o.bytes, 0);
    for (unsigned i = 0; i < before; i++)
        CHECK_EQ(fixture_far_receive(far_end, received, sizeof received), (int64_t) sizeof block);
    operation_finish(p, &o, port_send(e, &o, "after it", 8));
    far_expect(far_end, "after it");
    port_finish(p, e, NULL);
}

TEST(contract, c10_a_cancelled_accept_leaves_the_peer)
{
    port *p = port_new();
    os_handle listening = fixture_listen();
    endpoint *listener = endpoint_new(p, listening);
    if (accept_cannot(p, listener))
        return;
    operation o = operation_new();
    CHECK_EQ(port_accept(listener, &o), STARTED_PENDING);
    port_cancel(p, &o);
    (void) fixture_connect(listening);
    CHECK(packet_next(p) == &o);
    if (o.status != MR_OK) {
        CHECK_STATUS(o.status, MR_E_CANCELLED);
        CHECK_EQ(o.accepted, HANDLE_NONE);
        operation_finish(p, &o, port_accept(listener, &o));
        CHECK_STATUS(o.status, MR_OK);
    }
    fixture_close(o.accepted);
    port_finish(p, listener, NULL);
}

TEST(contract, c10_a_cancelled_wait_and_deadline_complete)
{
    port *p = port_new();
    os_handle event = fixture_event();
    endpoint *e = endpoint_new(p, event);
    operation o = operation_new(), later = operation_new();
    if (fixture_can(FIXTURE_WATCH)) {
        CHECK_EQ(port_watch(e, &o, WAIT_IN), STARTED_PENDING);
        port_cancel(p, &o);
        CHECK(packet_next(p) == &o);
        CHECK_STATUS(o.status, MR_E_CANCELLED);
        fixture_signal(event);
        packet_none(p);
    }
    CHECK_EQ(port_set_deadline(p, &later, clock_now() + HANG), STARTED_PENDING);
    port_cancel(p, &later);
    CHECK(packet_next(p) == &later);
    CHECK_STATUS(later.status, MR_E_CANCELLED);
    packet_none(p);
    port_finish(p, e, NULL);
}

TEST(contract, c10_cancel_does_nothing_to_an_idle_operation)
{
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    operation o = operation_new();
    port_cancel(p, &o); /* never started */
    packet_none(p);
    char buffer[16];
    fixture_far_send(far_end, "done", 4);
    operation_finish(p, &o, port_receive(e, &o, buffer, sizeof buffer));
    port_cancel(p, &o); /* has completed */
    CHECK_STATUS(o.status, MR_OK);
    CHECK_EQ(o.bytes, 4);
    packet_none(p);
    CHECK_STATUS(port_post(p, &o), MR_OK);
    port_cancel(p, &o); /* a posted packet has its result already */
    CHECK(packet_next(p) == &o);
    CHECK_STATUS(o.status, MR_OK);
    packet_none(p);
    port_finish(p, e, NULL);
}

struct canceller {
    port *port;
    operation *operation;
    atomic_bool enough;
};

static void canceller_run(void *argument)
{
    struct canceller *c = argument;
    while (!atomic_load_explicit(&c->enough, memory_order_relaxed))
        port_cancel(c->port, c->operation);
}

TEST(contract, c10_cancel_from_another_thread_while_the_packet_is_taken)
{
    fixture_threads();
    port *p = port_new();
    os_handle near_end, far_end;
    fixture_pair(&near_end, &far_end);
    endpoint *e = endpoint_new(p, near_end);
    char buffer[16];
    operation o = operation_new(), again = operation_new();
    struct canceller c = {.port = p, .operation = &o};
    thread t;
    CHECK_STATUS(thread_start(&t, "canceller", canceller_run, &c), MR_OK);
    for (unsigned i = 0; i < 2000; i++) {
        CHECK_EQ(port_receive(e, &o, buffer, sizeof buffer), STARTED_PENDING);
        fixture_far_send(far_end, "race", 4);
        CHECK(packet_next(p) == &o);
        if (o.status == MR_E_CANCELLED) {
            CHECK_EQ(o.bytes, 0);
            operation_finish(p, &again, port_receive(e, &again, buffer, sizeof buffer));
            CHECK_STATUS(again.status, MR_OK);
        } else {
            CHECK_STATUS(o.status, MR_OK);
        }
        CHECK_MEM(buffer, "race", 4);
        memset(buffer, 0, sizeof buffer);
    }
    atomic_store_explicit(&c.enough, true, memory_order_relaxed);
    thread_join(t);
    packet_none(p);
    port_finish(p, e, NULL);
}
