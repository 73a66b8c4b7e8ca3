/* kill_point.h: the places at which tests have a process die.
 *
 * In a build with MAILROOM_KILL_POINTS (the tests' own copy of the slots, src/CMakeLists.txt) a process whose
 * environment says MAILROOM_KILL=side.point:N gets SIGKILL at its Nth pass of that point. In every other build there
 * is nothing here. The list is in the order in which a message, a session and a slot go through it. */
#ifndef MAILROOM_QUEUE_KILL_POINT_H
#define MAILROOM_QUEUE_KILL_POINT_H

#ifdef MAILROOM_KILL_POINTS

#include <stddef.h>

#define KILL_POINTS(X)                                                                \
    X(writer, connected)       /* to the slot's second socket */                      \
    X(writer, hello)           /* memory made, nothing said */                        \
    X(writer, hello_sent)      /* … said */                                         \
    X(writer, answered)        /* accepted, the doorbell taken */                     \
    X(writer, claim)           /* room claimed */                                     \
    X(writer, wrap)            /* the ring's end filled */                            \
    X(writer, copy)            /* half of the payload is there */                     \
    X(writer, commit)          /* the header is there, before tail */                 \
    X(writer, committed)       /* after tail, before the look at `asleep` */          \
    X(writer, doorbell)        /* before the doorbell */                              \
    X(writer, rung)            /* after it */                                         \
    X(writer, gap)             /* dropped messages to be told */                      \
    X(writer, gap_told)        /* … told, before they are counted */                \
    X(writer, large_made)      /* a large message's memory is made */                 \
    X(writer, large_sent)      /* … sent, its record is not committed */            \
    X(writer, large_committed) /* … committed */                                    \
    X(writer, want)            /* `wanted` is stored, before the barrier */           \
    X(writer, acknowledged)    /* a head that has moved was seen */                   \
    X(writer, large_collect)   /* before a large message's memory is let go */        \
    X(writer, parting)         /* heard that the name has gone */                     \
    X(writer, end)             /* the session is to end */                            \
    X(writer, salvage)         /* one level is in private memory */                   \
    X(writer, salvaged)        /* all are, and the ring is unmapped */                \
    X(writer, keep)            /* taken without a session */                          \
    X(writer, feed)            /* a record of the backlog is in the ring, and both */ \
    X(writer, fed)             /* some of the backlog is in the ring */               \
    X(reader, accept)          /* a connection accepted */                            \
    X(reader, hello)           /* the hello received */                               \
    X(reader, mapped)          /* the ring mapped */                                  \
    X(reader, entered)         /* the session is the slot's, before the answer */     \
    X(reader, answered)        /* after the answer */                                 \
    X(reader, peek)            /* a record seen */                                    \
    X(reader, wrap)            /* the ring's end stepped over */                      \
    X(reader, copy)            /* half of the payload copied */                       \
    X(reader, copied)          /* all of it */                                        \
    X(reader, large_received)  /* a large message's descriptor is here */             \
    X(reader, large_read)      /* … and its bytes */                                \
    X(reader, added)           /* in the window, before `handed` */                   \
    X(reader, handed)          /* after it, before the callback */                    \
    X(reader, callback)        /* inside of it */                                     \
    X(reader, delivered)       /* after it */                                         \
    X(reader, skip)            /* before a record without a message is released */    \
    X(reader, marked)          /* acknowledged late, in the window */                 \
    X(reader, release)         /* before head is stored */                            \
    X(reader, released)        /* after it */                                         \
    X(reader, tell)            /* before a waiting writer is told */                  \
    X(reader, told)            /* after it */                                         \
    X(reader, arm)             /* `asleep` is stored, before the barrier */           \
    X(reader, look)            /* after the barrier, before the look at tail */       \
    X(reader, limit)           /* a writer that has hung up: its end is noted */      \
    X(reader, drop)            /* a session is to go */                               \
    X(reader, dropped)         /* it has gone */                                      \
    X(reader, rename_claimed)  /* both names are held */                              \
    X(reader, rename_deaf)     /* nobody connects to the old one any more */          \
    X(reader, rename_told)     /* its writers have been told */                       \
    X(reader, rename_done)     /* the old one has gone */                             \
    X(reader, close_deaf)      /* the same for the slot's end */                      \
    X(reader, close_session)   /* before each session is dropped */                   \
    X(reader, close_release)   /* before the name goes */                             \
    X(reader, closed)          /* after it */

#define KILL_POINT_ENUM(side, point) KILL_##side##_##point,
enum kill_point_number { KILL_POINTS(KILL_POINT_ENUM) KILL_POINT_COUNT };

void kill_point_pass(enum kill_point_number point);
void kill_point_half(enum kill_point_number point, void *to, const void *from, size_t length);

#define KILL_POINT(side, point) kill_point_pass(KILL_##side##_##point)
#define KILL_POINT_IF(condition, side, point) \
    do {                                      \
        if (condition)                        \
            KILL_POINT(side, point);          \
    } while (0)
/* Before a copy: half of it is made, and the point passed. */
#define KILL_POINT_HALF(side, point, to, from, length) kill_point_half(KILL_##side##_##point, to, from, length)

#else

#define KILL_POINT(side, point)                        ((void) 0)
#define KILL_POINT_IF(condition, side, point)          ((void) 0)
#define KILL_POINT_HALF(side, point, to, from, length) ((void) 0)

#endif

#endif
