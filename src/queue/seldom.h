/* seldom.h: marks for functions near the path of every message.
 *
 * SELDOM    Called seldom by one that is called for every message: it stays out of its caller, which then has nothing to save
 *           on its stack for it.
 * SEPARATE  The same, but not so seldom: the compiler optimises it as any other.
 * INLINED   Part of every caller, each with its own constants. */
#ifndef QUEUE_SELDOM_H
#define QUEUE_SELDOM_H

#define SELDOM   __attribute__((noinline, cold))
#define SEPARATE __attribute__((noinline))
#define INLINED  inline __attribute__((always_inline))

#endif
