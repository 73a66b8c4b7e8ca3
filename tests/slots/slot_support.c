/* slot_support.c: see slot_support.h. */
#include "slot_support.h"

#include <stdlib.h>
#include <string.h>

/* ---- lanes ---- */

static const struct slot_lane lanes[] = {
    {.name = "ring", .lane = MR_LANE_RING, .acknowledges = true, .stays = true, .levels = true, .refuses = true},
    {.name = "plain", .lane = MR_LANE_PLAIN, .raw = true, .largest = (size_t) 256 * 1024},
    {.name = "native", .lane = MR_LANE_NATIVE, .raw = true},
};

const struct slot_lane *slots_lane(void)
{
    const char *name = getenv("MR_TEST_LANE");
    if (name == NULL)
        name = slots_default_lane;
    for (size_t i = 0; i < sizeof lanes / sizeof *lanes; i++) {
        if (strcmp(lanes[i].name, name) == 0)
            return &lanes[i];
    }
    CHECK_MSG(false, "MR_TEST_LANE: there is no lane \"%s\"", name);
    return NULL;
}

uint64_t slots_lost(uint64_t unread)
{
    return slots_lane()->acknowledges ? 0 : unread;
}

mr_writer_options slots_writer_options(void)
{
    mr_writer_options options = MR_WRITER_OPTIONS_INIT;
    options.lane = getenv("MR_TEST_LANE") == NULL ? MR_LANE_NONE : slots_lane()->lane;
    return options;
}

mr_writer *slots_writer(const char *name, const mr_writer_options *options)
{
    mr_writer *writer = NULL;
    mr_writer_options defaults = slots_writer_options();
    CHECK_STATUS(mr_writer_open(&writer, name, options == NULL ? &defaults : options), MR_OK);
    return writer;
}

uint64_t slots_unacknowledged(mr_writer *writer)
{
    mr_writer_statistics statistics = {.size = sizeof statistics};
    CHECK_STATUS(mr_writer_get_statistics(writer, &statistics), MR_OK);
    return statistics.unacknowledged;
}

/* ---- clients ---- */

enum { CLIENTS_MAX = 8192 };

/* Those of a lane that is not raw; the number of a closed one is not used again. */
static mr_writer *clients[CLIENTS_MAX];
static int client_count; /* the test's first thread alone makes clients */

int client_connect(const char *name)
{
    if (slots_lane()->raw)
        return plain_connect(name);
    CHECK(client_count < CLIENTS_MAX);
    mr_writer_options options = slots_writer_options();
    options.require_slot = 1;
    options.timeout_ms = MR_FOREVER;
    options.linger_ms = 0;
    clients[client_count] = slots_writer(name, &options);
    return client_count++;
}

void client_close(int client)
{
    if (slots_lane()->raw)
        plain_close(client);
    else
        (void) mr_writer_close(clients[client], NULL); /* what is unread is no matter of a client's */
}

void client_send(int client, const void *data, size_t length)
{
    if (slots_lane()->raw)
        plain_send(client, data, length);
    else
        CHECK_STATUS(mr_writer_write(clients[client], data, length, MR_NORMAL), MR_OK);
}

void client_text(int client, const char *text)
{
    client_send(client, text, strlen(text));
}

void client_send_too_big(int client, const void *data, size_t length)
{
    if (slots_lane()->refuses)
        CHECK_STATUS(mr_writer_write(clients[client], data, length, MR_NORMAL), MR_E_TOO_BIG);
    else
        client_send(client, data, length);
}

bool client_gone(int client)
{
    if (slots_lane()->raw)
        return plain_gone(client);
    return mr_writer_write_timed(clients[client], "x", 1, MR_NORMAL, 0) == MR_E_NO_SLOT;
}

mr_writer *client_writer(int client)
{
    return slots_lane()->raw ? NULL : clients[client];
}

void client_await_end(int client)
{
    if (slots_lane()->raw)
        plain_await_end(client);
    else
        CHECK(client_gone(client)); /* a writer looks when it writes */
}

/* ---- readers ---- */

mr_port *slots_port(uint32_t concurrency, uint32_t workers_max)
{
    mr_port_options options = MR_PORT_OPTIONS_INIT;
    options.concurrency = concurrency;
    options.workers_max = workers_max;
    mr_port *port = NULL;
    CHECK_STATUS(mr_port_open(&port, &options), MR_OK);
    return port;
}

mr_reader *slots_reader(const char *name, const mr_reader_options *options)
{
    mr_reader *reader = NULL;
    CHECK_STATUS(mr_reader_open(&reader, name, options), MR_OK);
    return reader;
}

void slots_close(mr_reader *reader)
{
    uint64_t lost = 99;
    CHECK_STATUS(mr_reader_close(reader, &lost), MR_OK);
    CHECK_EQ(lost, 0);
}

void slots_expect(mr_reader *reader, const char *text)
{
    char buffer[4096];
    size_t length = 0;
    CHECK_STATUS(mr_reader_read(reader, buffer, sizeof buffer, &length, MR_FOREVER), MR_OK);
    CHECK_STR(buffer, text);
    CHECK_EQ(length, strlen(text));
}

mr_reader_statistics slots_statistics(mr_reader *reader)
{
    mr_reader_statistics statistics = {.size = sizeof statistics};
    CHECK_STATUS(mr_reader_get_statistics(reader, &statistics), MR_OK);
    return statistics;
}

void counter_init(struct counter *counter)
{
    mutex_init(&counter->lock);
    condition_init(&counter->changed);
    counter->value = 0;
}

void counter_add(struct counter *counter, uint64_t amount)
{
    mutex_lock(&counter->lock);
    counter->value += amount;
    condition_broadcast(&counter->changed);
    mutex_unlock(&counter->lock);
}

void counter_await(struct counter *counter, uint64_t least)
{
    mutex_lock(&counter->lock);
    while (counter->value < least)
        condition_wait(&counter->changed, &counter->lock);
    mutex_unlock(&counter->lock);
}

uint64_t counter_get(struct counter *counter)
{
    mutex_lock(&counter->lock);
    uint64_t value = counter->value;
    mutex_unlock(&counter->lock);
    return value;
}

void plain_text(int client, const char *text)
{
    plain_send(client, text, strlen(text));
}
