/* fixture_simulated.c: the contract's tests on the simulated port (tests/support/port_simulated.h). */
#include "fixture.h"

#include "port_simulated.h"
#include "test.h"

/* The order of completions follows the run's seed from the program's start. */
TEST_BEFORE_MAIN(seed)
{
    simulated_seed(test_seed());
}

bool fixture_can(enum fixture_ability ability)
{
    (void) ability;
    return true;
}

void fixture_threads(void)
{
    simulated_threads();
}

void fixture_pair(os_handle *near_end, os_handle *far_end)
{
    simulated_pair(near_end, far_end);
}

void fixture_far_send(os_handle far_end, const void *data, size_t length)
{
    CHECK(simulated_send(far_end, data, length));
}

int64_t fixture_far_receive(os_handle far_end, void *buffer, size_t size)
{
    int64_t length = simulated_receive(far_end, buffer, size);
    CHECK_MSG(length != -2, "there is no message, and a thread that is alone would wait for ever");
    return length;
}

void fixture_far_close(os_handle far_end)
{
    simulated_close(far_end);
}

os_handle fixture_listen(void)
{
    return simulated_listener();
}

os_handle fixture_connect(os_handle listener)
{
    return simulated_connect(listener);
}

os_handle fixture_event(void)
{
    return simulated_event();
}

void fixture_signal(os_handle event)
{
    simulated_signal(event, true);
}

void fixture_unsignal(os_handle event)
{
    simulated_signal(event, false);
}

os_handle fixture_one_way(void)
{
    return simulated_event();
}

os_handle fixture_closed(void)
{
    os_handle event = simulated_event();
    simulated_close(event);
    return event;
}

enum started fixture_start_failing(endpoint *e, operation *o)
{
    static char buffer[64];
    simulated_fail(SIMULATED_RECEIVE, 0, MR_E_SYSTEM, 14);
    return port_receive(e, o, buffer, sizeof buffer);
}

bool fixture_is_private(os_handle handle)
{
    (void) handle;
    return true; /* there is no process to inherit it */
}

void fixture_close(os_handle handle)
{
    simulated_close(handle);
}

uint64_t fixture_wakeups(const char *threads)
{
    (void) threads;
    return simulated_wakeups();
}
