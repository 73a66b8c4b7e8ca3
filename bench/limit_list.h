/* limit_list.h: the limits that peers.c lists. */
#ifndef BENCH_LIMIT_LIST_H
#define BENCH_LIMIT_LIST_H

#include "peer.h"

extern const struct limit limit_ring;
extern const struct limit limit_memcpy;
extern const struct limit limit_eventfd;
extern const struct limit limit_eventfd_epoll;
extern const struct limit limit_futex;

#endif
