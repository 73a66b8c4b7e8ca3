/* peers_windows.c: the table of peers and limits on Windows, in the order in which they are shown. What there is on Linux
 * alone stays in it, with why. */
#include "limit_list.h"
#include "peer.h"

extern const struct peer peer_mailroom_native, peer_seed;

#define ELSEWHERE(title, why) (&(const struct peer){.name = title, .summary = "not measured", .missing = why})
#define UNIX_SOCKET           "a Unix socket, on Linux alone"
#define LOCAL_TRANSPORT       "measured over its local transport, Unix sockets: on Linux alone"
#define SERVER                "needs a local nats-server, which the bench starts and stops on Linux alone"

const char *const peer_base = "mailroom-native";

const struct peer *const peers[] = {
    &peer_mailroom_native,
    ELSEWHERE("mailroom-ring", "Mailroom's ring lane is on Linux alone"),
    ELSEWHERE("mailroom-plain", "Mailroom's plain lane is " UNIX_SOCKET),
    ELSEWHERE("seqpacket", UNIX_SOCKET),
    ELSEWHERE("seqpacket-mmsg", UNIX_SOCKET),
    ELSEWHERE("dgram", UNIX_SOCKET),
    ELSEWHERE("dgram-mmsg", UNIX_SOCKET),
    ELSEWHERE("mq", "POSIX message queues are on Linux alone"),
    ELSEWHERE("pipe", "a FIFO, on Linux alone"),
    ELSEWHERE("zeromq", LOCAL_TRANSPORT),
    ELSEWHERE("nng", LOCAL_TRANSPORT),
    ELSEWHERE("nanomsg", LOCAL_TRANSPORT),
    ELSEWHERE("nats", SERVER),
    ELSEWHERE("jetstream", SERVER),
    &peer_seed,
};
const size_t peer_count = sizeof(peers) / sizeof(peers[0]);

static const struct limit no_eventfd = {
    .name = "limit-eventfd", .summary = "not measured", .missing = "eventfd is on Linux alone"};
static const struct limit no_eventfd_epoll = {
    .name = "limit-eventfd-epoll", .summary = "not measured", .missing = "eventfd is on Linux alone"};
static const struct limit no_futex = {
    .name = "limit-futex", .summary = "not measured", .missing = "futexes are on Linux alone"};

const struct limit *const limits[] = {&limit_ring, &limit_memcpy, &no_eventfd, &no_eventfd_epoll, &no_futex};
const size_t limit_count = sizeof(limits) / sizeof(limits[0]);
