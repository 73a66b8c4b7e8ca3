/* seldom.h: marks a function that is called seldom by one that is called for every message: it stays out of its
 * caller, which then has nothing to save on its stack for it. */
#ifndef QUEUE_SELDOM_H
#define QUEUE_SELDOM_H

#define SELDOM __attribute__((noinline, cold))

#endif
