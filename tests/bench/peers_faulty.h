/* peers_faulty.h: a table of peers for tests in the place of the bench's own: Mailroom's lanes, and the same with one
 * fault each, that happens to exactly one message.
 *     drop-LANE, repeat-LANE, swap-LANE (one message comes after the next one), garble-LANE (one byte of it is changed)
 *     error     the writer's 1,000th send fails, with a time-out: waits of the bench's own have a use for that status, too
 *     crash     the reader's process ends at its 1,000th message
 *     silent    the reader takes nothing after its 1,000th message, and says nothing
 *     lane      the reader expects the ring, the writers take the plain lane
 *     slot      one message goes to another slot than its own */
#ifndef TEST_BENCH_PEERS_FAULTY_H
#define TEST_BENCH_PEERS_FAULTY_H

/* Which message it happens to, of the first connection. */
#define FAULTY_MESSAGE 1000u

#endif
