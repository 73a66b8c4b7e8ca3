/* slot_support.c: see slot_support.h. */
#include "slot_support.h"

#include <string.h>

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
