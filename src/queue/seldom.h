/* seldom.h: marks for functions near the path of every message.
 *
 * SELDOM    Called seldom by one that is called for every message: it stays out of its caller, which then has nothing to save
 *           on its stack for it.
 * SEPARATE  The same, but not so seldom: the compiler optimises it as any other.
 * INLINED   Part of every caller, each with its own constants.
 * RARELY    A condition that seldom holds: what follows from it is put aside. */
#ifndef QUEUE_SELDOM_H
#define QUEUE_SELDOM_H

#if defined(__GNUC__)
#define SELDOM            __attribute__((noinline, cold))
#define SEPARATE          __attribute__((noinline))
#define INLINED           inline __attribute__((always_inline))
#define RARELY(condition) __builtin_expect((condition), 0)
#elif defined(_MSC_VER)
#define SELDOM            __declspec(noinline)
#define SEPARATE          __declspec(noinline)
#define INLINED           __forceinline
#define RARELY(condition) (condition)
#else
#define SELDOM
#define SEPARATE
#define INLINED           inline
#define RARELY(condition) (condition)
#endif

#endif
