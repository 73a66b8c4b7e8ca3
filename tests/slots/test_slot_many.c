/* test_slot_many.c: many slots, many connections, no descriptors left, and nothing to do. */
#include "slot_support_linux.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* A sanitizer has memory, and some have threads, of their own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#define SLOTS       500
#define CONNECTIONS 1000
#define PROCESSES   8
#define EACH        40u

struct numbered {
    uint32_t connection;
    uint32_t number;
};

static struct counter arrived;
static _Atomic uint32_t next_number[CONNECTIONS];
static struct sockaddr_un addresses[SLOTS];
static mr_reader *readers[SLOTS];

static void need_descriptors(rlim_t count)
{
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < count) {
        limit.rlim_cur = limit.rlim_max < count ? limit.rlim_max : count;
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
        if (limit.rlim_cur < count)
            TEST_SKIP("the limit of open files is too low (ulimit -Hn)");
    }
}

static void numbered_message(mr_reader *reader, const mr_message *message, void *context)
{
    struct numbered numbered;
    CHECK_EQ(message->length, sizeof numbered);
    memcpy(&numbered, message->data, sizeof numbered);
    CHECK(reader == readers[numbered.connection % SLOTS]);
    CHECK_EQ(numbered.number, atomic_fetch_add(&next_number[numbered.connection], 1));
    CHECK_EQ(message->sequence, numbered.number + 1u);
    (void) context;
    counter_add(&arrived, 1);
}

static void open_slots(mr_port *port)
{
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.port = port;
    options.on_message = port == NULL ? NULL : numbered_message;
    for (int i = 0; i < SLOTS; i++) {
        char name[32];
        snprintf(name, sizeof name, "many-%03d", i);
        readers[i] = slots_reader(name, &options);
    }
}

static void write_share(void *argument)
{
    uint32_t share = *(uint32_t *) argument;
    int clients[CONNECTIONS];
    for (uint32_t c = share; c < CONNECTIONS; c += PROCESSES) {
        clients[c] = plain_dial(&addresses[c % SLOTS]);
        if (clients[c] < 0)
            _exit(1);
    }
    for (uint32_t number = 0; number < EACH; number++) {
        for (uint32_t c = share; c < CONNECTIONS; c += PROCESSES) {
            struct numbered numbered = {c, number};
            if (send(clients[c], &numbered, sizeof numbered, MSG_NOSIGNAL) != sizeof numbered)
                _exit(2);
        }
    }
}

TEST(many, five_hundred_slots_a_thousand_connections_exact_counts)
{
    need_descriptors(4096);
    slots_begin();
    counter_init(&arrived);
    mr_port *port = slots_port(0, 0);
    open_slots(port);
    for (int i = 0; i < SLOTS; i++) {
        char name[32];
        snprintf(name, sizeof name, "many-%03d", i);
        addresses[i] = plain_address(name);
    }
    pid_t children[PROCESSES];
    uint32_t shares[PROCESSES];
    for (uint32_t i = 0; i < PROCESSES; i++) {
        shares[i] = i;
        children[i] = slots_fork(write_share, &shares[i]);
    }
    for (int i = 0; i < PROCESSES; i++)
        slots_join(children[i]); /* first: one that failed is told by its status, not by a wait for its messages */
    counter_await(&arrived, CONNECTIONS * EACH);
    uint64_t messages = 0;
    for (int i = 0; i < SLOTS; i++) {
        mr_reader_statistics statistics = slots_statistics(readers[i]);
        CHECK_EQ(statistics.messages, CONNECTIONS / SLOTS * EACH);
        CHECK_EQ(statistics.delivered, statistics.messages);
        messages += statistics.messages;
        slots_close(readers[i]);
    }
    CHECK_EQ(messages, CONNECTIONS * EACH);
    CHECK_STATUS(mr_port_close(port), MR_OK);
}

/* ---- idle ---- */

/* The number behind each `label` at a line's beginning, summed; the file is one of /proc. */
static uint64_t labelled(const char *path, const char *label)
{
    FILE *file = fopen(path, "re");
    CHECK(file != NULL);
    char line[512];
    uint64_t sum = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, label, strlen(label)) == 0)
            sum += strtoull(line + strlen(label), NULL, 10);
    }
    fclose(file);
    return sum;
}

/* Kilobytes, from this process's own account of its memory. */
static long resident(void)
{
    return (long) labelled("/proc/self/smaps_rollup", "Rss:");
}

/* User and system time of a thread, in ticks: the fields 14 and 15 of its stat file, of which the second ends in ')'. */
static uint64_t thread_ticks(const char *path)
{
    FILE *file = fopen(path, "re");
    CHECK(file != NULL);
    char line[1024];
    CHECK(fgets(line, sizeof line, file) != NULL);
    fclose(file);
    char *rest = strrchr(line, ')');
    CHECK(rest != NULL);
    for (int field = 2; field < 14; field++) {
        rest = strchr(rest + 1, ' ');
        CHECK(rest != NULL);
    }
    uint64_t user = strtoull(rest, &rest, 10);
    return user + strtoull(rest, NULL, 10);
}

struct activity {
    unsigned threads;
    uint64_t switches; /* voluntary or not */
    uint64_t ticks;    /* of the processor, user and system */
};

/* Of every thread but the calling one, which has to sleep and look. */
static struct activity other_threads(void)
{
    struct activity activity = {0};
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks != NULL);
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
        if (entry->d_name[0] == '.' || strtol(entry->d_name, NULL, 10) == getpid())
            continue;
        char path[600];
        snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
        activity.switches += labelled(path, "voluntary_ctxt_switches:");
        activity.switches += labelled(path, "nonvoluntary_ctxt_switches:");
        snprintf(path, sizeof path, "/proc/self/task/%s/stat", entry->d_name);
        activity.ticks += thread_ticks(path);
        activity.threads++;
    }
    closedir(tasks);
    return activity;
}

/* When they have not run for a while: after that they have no reason to run again. */
static struct activity other_threads_at_rest(void)
{
    struct activity before;
    struct activity now = other_threads();
    do {
        before = now;
        usleep(300000);
        now = other_threads();
    } while (!SANITIZED && (now.switches != before.switches || now.threads != before.threads));
    return now;
}

TEST_TIMEOUT(many, five_hundred_idle_slots_take_under_10_mb_and_no_context_switch, 120)
{
    need_descriptors(4096);
    slots_begin();
    mr_port *port = slots_port(0, 0);
    slots_close(slots_reader("first", NULL)); /* what the process needs once */
    long before = resident();
    open_slots(port);
    long growth = resident() - before;
    fprintf(stderr, "500 idle slots: resident memory grew by %ld kB (Rss in /proc/self/smaps_rollup)\n", growth);
    CHECK_MSG(SANITIZED || growth < 10000, "500 idle slots grew the resident memory by %ld kB", growth);
    struct activity first = other_threads_at_rest();
    sleep(test_campaign() ? 30 : 3);
    struct activity second = other_threads();
    CHECK(first.threads >= 2);
    CHECK(first.switches > 0); /* the account is read rightly */
    CHECK(before > 0);
    CHECK_EQ(second.threads, first.threads);
    CHECK_MSG(SANITIZED || second.switches == first.switches, "%llu context switches of idle threads",
              (unsigned long long) (second.switches - first.switches));
    CHECK_MSG(SANITIZED || second.ticks == first.ticks, "%llu ticks of idle threads",
              (unsigned long long) (second.ticks - first.ticks));
    for (int i = 0; i < SLOTS; i++)
        slots_close(readers[i]);
    CHECK_STATUS(mr_port_close(port), MR_OK);
}

/* ---- no descriptor left ---- */

struct dialler {
    struct sockaddr_un address;
    int go;     /* a byte for each connection to make */
    int report; /* a byte for each that was refused: 'r', or 'o' for one that stays open */
    struct rlimit limit;
};

/* Connects on request, and says of each connection whether the slot closed it or took a message of it. */
static void dial_on_request(void *argument)
{
    struct dialler *dialler = argument;
    char byte;
    if (setrlimit(RLIMIT_NOFILE, &dialler->limit) != 0)
        _exit(1);
    while (read(dialler->go, &byte, 1) == 1) {
        int client = plain_dial(&dialler->address);
        if (client < 0)
            _exit(2);
        if (byte == 's' && send(client, "through", 7, MSG_NOSIGNAL) != 7)
            _exit(3);
        if (byte == 'w') {
            struct pollfd end = {.fd = client, .events = POLLRDHUP};
            while (poll(&end, 1, -1) < 0) {}
        }
        if (write(dialler->report, "r", 1) != 1)
            _exit(4);
        /* It stays open until this process ends. */
    }
}

struct descriptor_test {
    mr_port *port;
    mr_reader *reader;
    int client;
    int go[2];
    int report[2];
    pid_t child;
    struct rlimit limit;
};

static struct counter texts;

static void text_message(mr_reader *reader, const mr_message *message, void *context)
{
    (void) reader;
    (void) message;
    (void) context;
    counter_add(&texts, 1);
}

static void descriptor_test_begin(struct descriptor_test *test)
{
    slots_begin();
    counter_init(&texts);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &test->limit), 0);
    test->port = slots_port(2, 0);
    mr_reader_options options = MR_READER_OPTIONS_INIT;
    options.port = test->port;
    options.on_message = text_message;
    test->reader = slots_reader("limit", &options);
    test->client = plain_connect("limit");
    plain_text(test->client, "before");
    counter_await(&texts, 1);
    CHECK_EQ(pipe(test->go), 0);
    CHECK_EQ(pipe(test->report), 0);
    struct dialler dialler = {
        .address = plain_address("limit"), .go = test->go[0], .report = test->report[1], .limit = test->limit};
    test->child = fork();
    CHECK(test->child >= 0);
    if (test->child == 0) {
        close(test->go[1]);
        dial_on_request(&dialler);
        _exit(0);
    }
}

static void descriptor_test_dial(struct descriptor_test *test, char what)
{
    char byte;
    CHECK_EQ(write(test->go[1], &what, 1), 1);
    CHECK_EQ(read(test->report[0], &byte, 1), 1);
}

static void descriptor_test_end(struct descriptor_test *test)
{
    close(test->go[1]);
    slots_join(test->child);
    close(test->client);
    slots_close(test->reader);
    CHECK_STATUS(mr_port_close(test->port), MR_OK);
}

TEST(many, at_the_descriptor_limit_connections_are_refused_and_everything_else_goes_on)
{
    struct descriptor_test test;
    descriptor_test_begin(&test);
    int filler[64];
    int count = 0;
    struct rlimit few = {.rlim_cur = 64, .rlim_max = test.limit.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    while (count < 64 && (filler[count] = dup(0)) >= 0)
        count++;
    CHECK_EQ(errno, EMFILE);
    for (uint64_t i = 1; i <= 20; i++) {
        descriptor_test_dial(&test, 'w'); /* returns when the slot has closed it */
        plain_text(test.client, "goes on");
        counter_await(&texts, i + 1);
        CHECK_EQ(slots_statistics(test.reader).refused_descriptors, i);
    }
    mr_reader *another = NULL;
    CHECK_STATUS(mr_reader_open(&another, "one more", NULL), MR_E_DESCRIPTORS);
    CHECK_MSG(strstr(mr_last_error_text(), "descriptor") != NULL, "the sentence: %s", mr_last_error_text());
    while (count > 0)
        close(filler[--count]);
    descriptor_test_dial(&test, 's');
    counter_await(&texts, 22);
    CHECK_EQ(slots_statistics(test.reader).refused_descriptors, 20);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &test.limit), 0);
    descriptor_test_end(&test);
}

/* Nanoseconds, user and system. */
static uint64_t processor_time(const struct rusage *usage)
{
    uint64_t seconds = (uint64_t) usage->ru_utime.tv_sec + (uint64_t) usage->ru_stime.tv_sec;
    uint64_t microseconds = (uint64_t) usage->ru_utime.tv_usec + (uint64_t) usage->ru_stime.tv_usec;
    return (seconds * 1000000 + microseconds) * 1000;
}

TEST(many, without_even_the_spare_descriptor_the_listener_is_masked_until_one_frees)
{
    struct descriptor_test test;
    descriptor_test_begin(&test);
    struct rlimit none = {.rlim_cur = 0, .rlim_max = test.limit.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0); /* open ones stay open, but no new one is to be had */
    descriptor_test_dial(&test, 's');
    descriptor_test_dial(&test, 's');
    plain_text(test.client, "goes on");
    counter_await(&texts, 2);
    CHECK_EQ(slots_statistics(test.reader).refused_descriptors, 0);
    CHECK_EQ(slots_statistics(test.reader).connections, 1);
    struct rusage before;
    struct rusage after;
    uint64_t begin = clock_now();
    CHECK_EQ(getrusage(RUSAGE_SELF, &before), 0);
    usleep(500000);
    CHECK_EQ(getrusage(RUSAGE_SELF, &after), 0);
    /* The janitor looks ten times a second, and nobody spins, asleep in between or not. */
    uint64_t elapsed = clock_now() - begin;
    CHECK((uint64_t) (after.ru_nvcsw - before.ru_nvcsw) < 50 + elapsed / 50000000);
    CHECK(processor_time(&after) - processor_time(&before) < elapsed / 10);
    CHECK_EQ(counter_get(&texts), 2);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &test.limit), 0);
    counter_await(&texts, 4); /* both had stayed in the queue of connections */
    CHECK_EQ(slots_statistics(test.reader).connections, 3);
    descriptor_test_end(&test);
}
