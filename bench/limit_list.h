/* limit_list.h: the limits that peers_linux.c and peers_windows.c list. */
#ifndef BENCH_LIMIT_LIST_H
#define BENCH_LIMIT_LIST_H

#include "peer.h"

extern const struct limit limit_ring;
extern const struct limit limit_memcpy;
extern const struct limit limit_eventfd;
extern const struct limit limit_eventfd_epoll;
extern const struct limit limit_futex;

#endif
