/* test_workers_prompt_linux.c: which worker asks the scheduler to let it run soon (workers.c, W7), by its slice as the kernel
 * tells it. */
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "contract.h"
#include "iocp/workers.h"
#include "test_nap.h"

enum { BURST = 64 };

static mutex lock = MUTEX_INIT;
static condition changed;
static unsigned handled;
static uint64_t slice; /* of the worker that handled last */

static uint64_t slice_now(void)
{
    uint64_t attributes[6] = {0}; /* struct sched_attr: sched_runtime is the fourth */
    CHECK_EQ(syscall(SYS_sched_getattr, 0, attributes, sizeof attributes, 0), 0);
    return attributes[3];
}

static void handle(operation *o)
{
    (void) o;
    mutex_lock(&lock);
    slice = slice_now();
    handled++;
    condition_broadcast(&changed);
    mutex_unlock(&lock);
}

/* So many packets at once. Returns the slice that the last one met. */
static uint64_t handle_all(mr_port *p, operation *operations, unsigned count)
{
    mutex_lock(&lock);
    handled = 0;
    mutex_unlock(&lock);
    for (unsigned n = 0; n < count; n++)
        CHECK_STATUS(port_post(mr_port_backend(p), &operations[n]), MR_OK);
    mutex_lock(&lock);
    while (handled < count)
        condition_wait(&changed, &lock);
    uint64_t seen = slice;
    mutex_unlock(&lock);
    return seen;
}

TEST(workers_prompt, a_worker_that_rests_between_packets_is_prompt_and_one_that_does_not_is_no_longer)
{
    condition_init(&changed);
    uint64_t usual = slice_now();
    bool can = thread_set_prompt(true);
    CHECK_EQ(slice_now(), can ? THREAD_PROMPT_NS : usual);
    if (can)
        CHECK(thread_set_prompt(false));
    CHECK_EQ(slice_now(), usual);
    mr_port_options options = MR_PORT_OPTIONS_INIT;
    options.concurrency = options.workers_max = 1;
    mr_port *p;
    CHECK_STATUS(mr_port_open(&p, &options), MR_OK);
    operation operations[BURST];
    for (unsigned n = 0; n < BURST; n++) {
        operations[n] = operation_new();
        operations[n].handler = handle;
    }
    CHECK_EQ(handle_all(p, operations, 1), usual);
    for (unsigned n = 0; can ? handle_all(p, operations, 1) == usual : n < 20; n++)
        test_nap(1000000); /* the worker's rest */
    CHECK_EQ(handle_all(p, operations, 1), can ? THREAD_PROMPT_NS : usual);
    while (handle_all(p, operations, BURST) != usual) {} /* the next one is there before the last one is done */
    CHECK_STATUS(mr_port_close(p), MR_OK);
}
