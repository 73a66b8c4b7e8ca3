/* contract.h: what the two files of the contract's tests share. */
#ifndef TESTS_IOCP_CONTRACT_H
#define TESTS_IOCP_CONTRACT_H

#include <stdatomic.h>
#include <string.h>

#include "fixture.h"
#include "queue/thread.h"
#include "test.h"

#define MILLISECOND UINT64_C(1000000)
/* How long something that must come may take: a guard against hanging, no measure. seed-faults shortens it. */
#ifndef CONTRACT_HANG_MILLISECONDS
#define CONTRACT_HANG_MILLISECONDS 20000
#endif
#define HANG (CONTRACT_HANG_MILLISECONDS * MILLISECOND)
/* How long nothing must come, where nothing is expected. */
#define QUIET (10 * MILLISECOND)

#define POISON 0xA5

/* A handler that no backend may call (C4). */
static inline void handler_forbidden(operation *completed)
{
    (void) completed;
    test_fail(__FILE__, __LINE__, "the backend called a handler");
}

/* An operation before its first start, its results full of rubbish. */
static inline operation operation_new(void)
{
    operation o;
    memset(&o, 0, sizeof o);
    o.handler = handler_forbidden;
    o.status = 12345;
    o.os_error = 12345;
    o.bytes = 12345;
    o.accepted = 12345;
    return o;
}

static inline port *port_new(void)
{
    port *p;
    CHECK_STATUS(port_open(&p, NULL), MR_OK);
    return p;
}

static inline endpoint *endpoint_new(port *p, os_handle handle)
{
    endpoint *e;
    CHECK_STATUS(endpoint_open(&e, p, handle), MR_OK);
    return e;
}

/* The next packet, which must come. */
static inline operation *packet_next(port *p)
{
    operation *o = NULL;
    CHECK_STATUS(port_wait(p, &o, clock_now() + HANG), MR_OK);
    CHECK(o != NULL);
    return o;
}

/* No packet is there, and none comes for a while. */
static inline void packet_none(port *p)
{
    operation *o;
    CHECK_STATUS(port_wait(p, &o, 0), MR_E_TIMEOUT);
    CHECK_STATUS(port_wait(p, &o, clock_now() + QUIET), MR_E_TIMEOUT);
}

/* Lets time pass on a port where nothing happens. */
static inline void time_pass(port *clock, uint64_t nanoseconds)
{
    operation *none;
    CHECK_STATUS(port_wait(clock, &none, clock_now() + nanoseconds), MR_E_TIMEOUT);
}

/* Waits until the threads of this name sleep and nobody wakes them. Returns their count of wake-ups. */
static inline uint64_t wakeups_settle(port *clock, const char *threads)
{
    uint64_t guard = clock_now() + HANG, before, after = fixture_wakeups(threads);
    do {
        before = after;
        CHECK_MSG(clock_now() < guard, "the threads \"%s\" never come to rest", threads);
        time_pass(clock, 50 * MILLISECOND);
        after = fixture_wakeups(threads);
    } while (after != before);
    return after;
}

/* `o` completes: at once as `started` says, or by the next packet. */
static inline void operation_finish(port *p, operation *o, enum started started)
{
    if (started == STARTED_PENDING)
        CHECK(packet_next(p) == o);
}

static inline void receive_message(port *p, endpoint *e, const char *expected)
{
    char buffer[256];
    operation o = operation_new();
    operation_finish(p, &o, port_receive(e, &o, buffer, sizeof buffer));
    CHECK_STATUS(o.status, MR_OK);
    CHECK_EQ(o.bytes, strlen(expected));
    CHECK_MEM(buffer, expected, strlen(expected));
}

static inline void far_expect(os_handle far_end, const char *expected)
{
    char buffer[256];
    CHECK_EQ(fixture_far_receive(far_end, buffer, sizeof buffer), (int64_t) strlen(expected));
    CHECK_MEM(buffer, expected, strlen(expected));
}

/* Stops and drains the port. Returns how many packets there were. */
static inline unsigned port_drain(port *p)
{
    unsigned count = 0;
    port_stop(p);
    for (;;) {
        operation *o;
        int status = port_wait(p, &o, clock_now() + HANG);
        if (status == MR_E_STOPPED)
            return count;
        CHECK_STATUS(status, MR_OK);
        count++;
    }
}

/* Ends a port on which nothing is pending, with up to two endpoints. */
static inline void port_finish(port *p, endpoint *a, endpoint *b)
{
    CHECK_EQ(port_drain(p), 0);
    if (a != NULL)
        endpoint_close(a);
    if (b != NULL)
        endpoint_close(b);
    port_close(p);
}

/* Sends until a send is PENDING because the far end does not receive. Returns how many went before. */
static inline unsigned send_until_pending(port *p, endpoint *e, operation *o, const void *data, size_t length)
{
    for (unsigned sent = 0; sent < 1000000; sent++) {
        if (port_send(e, o, data, length) == STARTED_PENDING) {
            operation *packet;
            int status = port_wait(p, &packet, clock_now() + QUIET);
            if (status == MR_E_TIMEOUT)
                return sent;
            CHECK_STATUS(status, MR_OK);
            CHECK(packet == o);
        }
        CHECK_STATUS(o->status, MR_OK);
    }
    test_fail(__FILE__, __LINE__, "a million messages went, and nobody received");
}

#endif
