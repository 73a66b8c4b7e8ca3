/* peers_linux.c: the table of peers and limits on Linux, in the order in which they are shown. What was not found when this was built
 * stays in it, with what is missing. */
#include "limit_list.h"
#include "peer.h"

extern const struct peer peer_mailroom_ring, peer_mailroom_plain, peer_seqpacket, peer_seqpacket_mmsg, peer_dgram,
    peer_dgram_mmsg, peer_mq, peer_pipe, peer_zeromq, peer_nng, peer_nanomsg, peer_nats, peer_jetstream, peer_seed;

const char *const peer_base = "mailroom-ring";

const struct peer *const peers[] = {
    &peer_mailroom_ring,
    &peer_mailroom_plain,
    &peer_seqpacket,
    &peer_seqpacket_mmsg,
    &peer_dgram,
    &peer_dgram_mmsg,
    &peer_mq,
    &peer_pipe,
    &peer_zeromq,
    &peer_nng,
    &peer_nanomsg,
    &peer_nats,
    &peer_jetstream,
    &peer_seed,
};
const size_t peer_count = sizeof(peers) / sizeof(peers[0]);

const struct limit *const limits[] = {&limit_ring, &limit_memcpy, &limit_eventfd, &limit_eventfd_epoll, &limit_futex};
const size_t limit_count = sizeof(limits) / sizeof(limits[0]);
