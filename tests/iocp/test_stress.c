/* test_stress.c: many threads start, complete, cancel, post and set deadlines at random; everything that was started
 * completes exactly once, every message arrives once and in order.
 *
 * Each actor owns a connected pair and four operations: a receive, a send, a deadline and a post. Their handlers, on
 * four workers, start them again. A driver plays all far ends; a canceller cancels whatever it likes. */
#include <stdlib.h>

#include "contract.h"

enum { ACTORS = 16, WORKERS = 4, ROLES = 4 };
enum role { RECEIVE, SEND, DEADLINE, POST };

struct role_state {
    operation operation; /* first: a handler finds its role by it */
    struct actor *actor;
    enum role role;
    atomic_bool busy;
    atomic_uint started;
    atomic_uint finished;
    uint32_t random;
};

struct actor {
    endpoint *endpoint;
    os_handle far_end;
    struct role_state roles[ROLES];
    uint32_t message;     /* the receive's buffer */
    uint32_t answer;      /* the send's data */
    atomic_uint received; /* at the near end */
    atomic_uint sent;     /* from the near end */
    unsigned far_sent;    /* the driver's */
    unsigned far_received;
};

static struct actor actors[ACTORS];
static port *stressed;
static unsigned messages;
static atomic_bool enough;

static uint32_t role_random(struct role_state *r, uint32_t bound)
{
    r->random = r->random * 1664525u + 1013904223u;
    return (r->random >> 8) % bound;
}

static enum started role_start(struct role_state *r)
{
    struct actor *a = r->actor;
    switch (r->role) {
    case RECEIVE:
        return port_receive(a->endpoint, &r->operation, &a->message, sizeof a->message);
    case SEND:
        a->answer = atomic_load(&a->sent);
        return port_send(a->endpoint, &r->operation, &a->answer, sizeof a->answer);
    case DEADLINE:
        return port_set_deadline(stressed, &r->operation, clock_now() + role_random(r, 200000));
    case POST:
        r->operation.status = MR_OK;
        if (port_post(stressed, &r->operation) == MR_OK)
            return STARTED_PENDING;
        r->operation.status = MR_E_STOPPED;
        return STARTED_DONE;
    }
    abort();
}

/* Looks at a result. Returns whether the role goes on. */
static bool role_finish(struct role_state *r)
{
    struct actor *a = r->actor;
    CHECK_MSG(atomic_exchange(&r->busy, false), "a packet came twice, or was never started");
    atomic_fetch_add(&r->finished, 1);
    int status = r->operation.status;
    if (status == MR_E_STOPPED)
        return false;
    CHECK_MSG(status == MR_OK || status == MR_E_CANCELLED, "status %s in role %d", mr_status_name(status), r->role);
    if (status == MR_OK && r->role == RECEIVE) {
        CHECK_EQ(r->operation.bytes, sizeof a->message);
        CHECK_EQ(a->message, atomic_fetch_add(&a->received, 1));
    }
    if (status == MR_OK && r->role == SEND)
        atomic_fetch_add(&a->sent, 1);
    if (r->role == RECEIVE)
        return atomic_load(&a->received) < messages;
    if (r->role == SEND)
        return atomic_load(&a->sent) < messages;
    return !atomic_load(&enough) && (r->role == DEADLINE || atomic_load(&r->started) < 4 * messages);
}

static void role_run(struct role_state *r)
{
    do {
        CHECK(!atomic_exchange(&r->busy, true));
        atomic_fetch_add(&r->started, 1);
        if (role_start(r) == STARTED_PENDING)
            return;
    } while (role_finish(r));
}

static void role_handle(operation *o)
{
    struct role_state *r = (struct role_state *) (void *) o;
    if (role_finish(r))
        role_run(r);
}

static void worker_run(void *argument)
{
    (void) argument;
    for (;;) {
        operation *o;
        int status = port_wait(stressed, &o, CLOCK_NEVER);
        if (status == MR_E_STOPPED)
            return;
        CHECK_STATUS(status, MR_OK);
        o->handler(o);
    }
}

static void canceller_run(void *argument)
{
    (void) argument;
    uint32_t random = 1;
    port *clock = port_new();
    while (!atomic_load(&enough)) {
        for (int i = 0; i < 50; i++) {
            random = random * 1664525u + 1013904223u;
            port_cancel(stressed, &actors[(random >> 8) % ACTORS].roles[(random >> 20) % ROLES].operation);
        }
        operation *none; /* in bursts: whoever cancels all the time keeps anything from being done */
        CHECK_STATUS(port_wait(clock, &none, clock_now() + 50000), MR_E_TIMEOUT);
    }
    port_finish(clock, NULL, NULL);
}

/* Plays the far ends until every message has gone both ways. */
static void far_ends_run(void)
{
    uint64_t guard = clock_now() + 20 * HANG;
    unsigned done;
    do {
        done = 0;
        for (int i = 0; i < ACTORS; i++) {
            struct actor *a = &actors[i];
            while (a->far_sent < messages && a->far_sent - atomic_load(&a->received) < FIXTURE_ROOM) {
                fixture_far_send(a->far_end, &a->far_sent, sizeof a->far_sent);
                a->far_sent++;
            }
            while (a->far_received < atomic_load(&a->sent)) {
                uint32_t number;
                CHECK_EQ(fixture_far_receive(a->far_end, &number, sizeof number), (int64_t) sizeof number);
                CHECK_EQ(number, a->far_received);
                a->far_received++;
            }
            done += atomic_load(&a->received) == messages && a->far_received == messages;
        }
        CHECK_MSG(clock_now() < guard, "only %u of %d actors have finished", done, ACTORS);
    } while (done < ACTORS);
}

static void stress(unsigned count)
{
    fixture_threads();
    messages = count;
    atomic_store(&enough, false);
    stressed = port_new();
    for (unsigned i = 0; i < ACTORS; i++) {
        struct actor *a = &actors[i];
        memset(a, 0, sizeof *a);
        os_handle near_end;
        fixture_pair(&near_end, &a->far_end);
        a->endpoint = endpoint_new(stressed, near_end);
        for (unsigned role = 0; role < ROLES; role++) {
            struct role_state *r = &a->roles[role];
            r->actor = a;
            r->role = (enum role) role;
            r->random = (uint32_t) test_seed() + i * ROLES + role;
            r->operation.handler = role_handle;
        }
    }
    thread workers[WORKERS], canceller;
    for (int i = 0; i < WORKERS; i++)
        CHECK_STATUS(thread_start(&workers[i], "worker", worker_run, NULL), MR_OK);
    CHECK_STATUS(thread_start(&canceller, "canceller", canceller_run, NULL), MR_OK);
    for (int i = 0; i < ACTORS; i++)
        for (int role = 0; role < ROLES; role++)
            role_run(&actors[i].roles[role]);
    far_ends_run();
    atomic_store(&enough, true);
    thread_join(canceller);
    port_stop(stressed);
    for (int i = 0; i < WORKERS; i++)
        thread_join(workers[i]);
    for (int i = 0; i < ACTORS; i++) {
        for (int role = 0; role < ROLES; role++) {
            struct role_state *r = &actors[i].roles[role];
            CHECK(!atomic_load(&r->busy));
            CHECK_EQ(atomic_load(&r->finished), atomic_load(&r->started));
        }
        endpoint_close(actors[i].endpoint);
        fixture_far_close(actors[i].far_end);
    }
    port_close(stressed);
}

TEST_TIMEOUT(stress, everything_started_completes_exactly_once, 600)
{
    stress(test_campaign() ? 200000 : 1500);
}

TEST_TIMEOUT(stress, stopping_in_the_middle_completes_everything_exactly_once, 600)
{
    unsigned rounds = test_campaign() ? 2000 : 40;
    for (unsigned i = 0; i < rounds; i++)
        stress(i % 8 + 1);
}
