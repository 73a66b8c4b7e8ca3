/* socket_linux.h: the Unix sockets of the peers seqpacket, dgram and seed, and the epoll set of a reader. */
#ifndef BENCH_SOCKET_LINUX_H
#define BENCH_SOCKET_LINUX_H

#include "peer.h"

/* The largest message that a socket's default send buffer, and the kernel's default ceiling for it, are sure to take. */
#define SOCKET_SIZE_MAX ((size_t) 128 * 1024)
/* Messages that are taken from one socket before the others have their turn. */
#define SOCKET_TURN 64

/* A bound socket of `type` for the slot, not blocking; a SOCK_SEQPACKET one listens. -1 after status_fail. */
int socket_bind_slot(const struct peer_options *options, int type, unsigned slot);
/* A socket of `type` that is connected to the slot, blocking. -1 after status_fail. */
int socket_connect_slot(const struct peer_options *options, int type, unsigned slot);
/* Sends one message, waiting for room. */
int socket_send(int descriptor, const void *data, size_t length);

/* One descriptor in a reader's epoll set. */
struct source {
    struct source *next;
    int descriptor;
    unsigned slot;
    bool listening;
};

/* An epoll set with an eventfd that wakes whoever waits in it. */
struct source_set {
    int epoll;
    int wake;
    struct source *sources;
    struct source waker; /* has the eventfd, and stands for it in the events */
};

int source_set_open(struct source_set *set);
/* Takes the descriptor over, also on an error. */
int source_set_add(struct source_set *set, int descriptor, unsigned slot, bool listening);
/* Takes all connections that wait at a listening source. */
int source_set_accept(struct source_set *set, const struct source *listener);
/* Closes the source and frees it. */
void source_set_remove(struct source_set *set, struct source *source);
void source_set_wake(struct source_set *set);
/* Closes everything in it. */
void source_set_close(struct source_set *set);

/* Waits for readable sources and calls `ready` for each, until *stop, or an error of `ready`. */
typedef int (*source_ready)(void *context, struct source *source);
int source_set_run(struct source_set *set, source_ready ready, void *context, const atomic_bool *stop);

#endif
