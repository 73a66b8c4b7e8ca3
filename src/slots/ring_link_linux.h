/* ring_link_linux.h: a link over the ring, behind link_linux.c (backend.h says what each function does), and what its
 * files share.
 *
 *   ring_link_linux.c     the link's life: opening, connecting, the name's end, keeping, counting, closing
 *   ring_session_linux.c  one session: the hello, the reader's packets, the end, what is left then
 *   ring_send_linux.c     messages into the ring
 *   ring_wait_linux.c     waiting for room, for acknowledgement, for the reader
 *
 * Owners  Everything belongs to who may call link_send. The memory is shared with the reader as ring.h says.
 * I1      The ring's memory is mapped in every state but SESSION_NONE. The socket is there in all but SESSION_NONE and
 *         SESSION_OVER.
 * I2      Per level, what has been taken and not acknowledged is, in order: the ring's [head, tail), then the backlog.
 *         Nothing is committed to a ring while there is a backlog of its level, but the backlog itself.
 * I3      `next` is the number of the next message of the level; the ring's end has next - backlog.numbers.
 * I4      `fast` is not 0 only where nothing but room, length and the reader's sleep has to be looked at:
 *         SESSION_OPEN, no backlog, no gap to be told. `brief` is the same for messages of up to COPY_SHORT.
 * I5      A large message's descriptor is kept from link_send until head has passed its record.
 * I6      Every session has its own memory. What is left of it goes to private memory when it ends, so a reader that
 *         was only frozen moves nothing any more, and nothing that it writes is read again.
 * Time    The reader's packets, its end above all, are looked for at least once in each tick of clock_coarse in which
 *         something is sent, before each doorbell, and before and during each wait. They cannot pile up: a reader that
 *         sends more than PACKETS_MOST between two looks is dropped.
 */
#ifndef SLOTS_RING_LINK_LINUX_H
#define SLOTS_RING_LINK_LINUX_H

#include "queue/copy.h"
#include "slots/link_linux.h"
#include "slots/ring_backlog.h"
#include "slots/ring_hello_linux.h"

#define PACKETS_MOST 32u
/* So much is used of a ring whose size the user leaves to us, at first. */
#define RING_SPAN_FIRST ((uint32_t) 64 << 10)
/* Of all the process's rings of that kind so much is used, if they are few. */
#define RING_SPANS_BYTES ((uint64_t) 8 << 20)

enum session_state {
    SESSION_NONE,    /* no session */
    SESSION_ASKING,  /* after a refusal: the hello is sent, and not connected before the answer has come */
    SESSION_FIRST,   /* the hello is sent, RING_FIRST_BYTES may be committed */
    SESSION_OPEN,    /* accepted */
    SESSION_PARTING, /* the reader has left the name: it still acknowledges what it has, and then hangs up */
    SESSION_OVER     /* ended, and there was no memory yet to take over what is left in the ring */
};

struct link_level {
    struct ring_writer ring;
    size_t brief;         /* I4: … and shorter than this the briefest one; never more than `fast` */
    size_t fast;          /* I4: messages shorter than this may go the fast way */
    uint64_t next;        /* I3 */
    uint64_t gap;         /* dropped messages that are not told yet */
    uint64_t redelivered; /* position in this session: before it, what may have been delivered already */
    uint64_t copied;      /* position in this session: the end of the backlog */
    uint64_t needs; /* position of head at which it is worth trying again, where `needy` or `hungry` has the level */
    struct backlog backlog;
};

/* I5. Free: descriptor is NO_DESCRIPTOR. */
struct ring_large_kept {
    int descriptor;
    uint32_t level;
    uint64_t length;
    uint64_t number; /* of the table's own: what the backlog says */
    uint64_t end;    /* position behind its record, where it is in the ring */
    bool in_backlog;
};

struct ring_link {
    struct slot_link base; /* first */
    uint64_t looked;       /* clock_coarse, when the socket was last looked at */
    uint32_t unasked;      /* so many messages more, and the clock is asked: ring_send_linux.c, F1 */
    uint32_t asked;        /* how often it was since then, as far as that matters */
    enum session_state state;
    int socket;
    int doorbell;
    uint32_t levels;
    uint32_t full;     /* levels (bits) that have to be acknowledged up to `needs` for what was just MR_E_FULL */
    uint32_t needy;    /* … for the last link_send */
    uint32_t hungry;   /* … for the backlog */
    bool room_refused; /* the last link_send was MR_E_FULL */
    bool look_due;     /* a sleeping reader, and no doorbell yet */
    size_t max_message;
    struct link_level level[MR_LEVELS_MAX];

    void *memory;
    struct ring_geometry geometry; /* of this session */
    uint32_t ring_bytes;           /* what the user wants */
    bool widens;                   /* the user leaves it to us: ring_send_linux.c, F4 */
    uint32_t ring_limit;           /* what the reader has said it allows; 0: nothing was said */
    bool barrier;                  /* ring.h, B: the reader's reach us */
    bool answered;
    bool withdraws; /* the session that is over: ring_session_linux.c, S4 */
    bool cautious;  /* the last reader has refused: ask before sending */
    int refused;    /* why the last session was refused; MR_OK: it was not */
    uint64_t session;
    uint64_t writer; /* the identity */
    uint32_t reader; /* uid of the session's slot */
    uint32_t owner;  /* uid of the user whose slots alone get the backlog; UINT32_MAX: nobody has seen any of it */

    uint64_t pause_ns;   /* no memory for a packet: time is what is waited for */
    uint64_t not_before; /* no hello sooner: the reader has no place for us */
    uint64_t backoff_ns;
    uint64_t spin_ns; /* as long as it pays */
    uint64_t spin_most_ns;
    uint32_t sleeps; /* without spinning */

    endpoint *watched; /* as in plain_link_linux.c, L1 and L2 */
    endpoint *retired;

    struct ring_large_kept large[RING_LARGE_MOST];
    uint64_t large_numbers;
    struct link_counts counts;
};

/* One link's share of RING_SPANS_BYTES. Any thread. */
uint64_t ring_link_share(void);

/* ---- link_linux.c calls these ---- */

int ring_link_make(slot_link **out, const mr_writer_options *options);
void ring_link_clear(struct ring_link *l, bool in_child);
int ring_link_connect(struct ring_link *l, uint64_t deadline);
bool ring_link_connected(const struct ring_link *l);
void ring_link_disconnect(struct ring_link *l);
/* Disconnects, and forgets what is unacknowledged. */
void ring_link_forget(struct ring_link *l);
size_t ring_link_max_message(const struct ring_link *l);
int ring_link_send(struct ring_link *l, const void *data, size_t length, uint32_t priority);
int ring_link_keep(struct ring_link *l, const void *data, size_t length, uint32_t priority);
void ring_link_gap(struct ring_link *l, uint32_t priority, uint64_t count);
int ring_link_tell_gaps(struct ring_link *l);
void ring_link_mark(const struct ring_link *l, struct link_mark *mark);
bool ring_link_passed(struct ring_link *l, const struct link_mark *mark);
int ring_link_await(struct ring_link *l, const struct link_mark *mark, uint64_t deadline);
enum started ring_link_watch_mark(struct ring_link *l, const struct link_mark *mark, port *p, operation *o);
uint64_t ring_link_unacknowledged(struct ring_link *l);
void ring_link_get_counts(const struct ring_link *l, struct link_counts *counts);
int ring_link_wait(struct ring_link *l, uint64_t deadline);
enum started ring_link_watch(struct ring_link *l, port *p, operation *o);

/* ---- ring_session_linux.c ---- */

/* Sends the hello over `socket`, which is the session's from now on. MR_OK; MR_E_GONE: it has ended already;
 * MR_E_MEMORY, MR_E_DESCRIPTORS, MR_E_SYSTEM: the socket is closed. */
int session_begin(struct ring_link *l, int socket);
/* Takes in what the reader has said. Never blocks. `state` tells what has come of it. */
void session_look(struct ring_link *l);
/* Ends the session. `perhaps`: whatever it was, the reader may still deliver what is in the ring. */
void session_end(struct ring_link *l, bool perhaps);
/* The same, where nobody else is to get what is in the ring: its reader may read on. */
void session_leave(struct ring_link *l);
/* SESSION_OVER to SESSION_NONE. MR_OK, MR_E_MEMORY. */
int session_salvage(struct ring_link *l);
/* Is the link in a state with a socket? */
static inline bool session_alive(const struct ring_link *l)
{
    return l->state != SESSION_NONE && l->state != SESSION_OVER;
}
/* After the end of a session that was never connected: MR_E_ACCESS, MR_E_TIMEOUT or MR_E_NO_SLOT, with a sentence. */
int session_refused(const struct ring_link *l);
/* Is everything in the rings acknowledged? */
bool session_acknowledged(const struct ring_link *l);
/* Loads the heads anew. False: the reader has broken the rules, and the session is over. */
bool session_refresh(struct ring_link *l);
/* Sets `fast` and `brief` of each level (I4). */
void session_pace(struct ring_link *l);
/* Messages in the ring, by walking it. */
uint64_t session_messages(const struct ring_link *l, uint32_t level);

/* ---- ring_send_linux.c ---- */

/* Moves what fits from the backlog to the rings; `hungry` says what the rest waits for. *moved (may be NULL): it was
 * something. MR_OK, also with some left; MR_E_GONE: the session is over; MR_E_DESCRIPTORS, MR_E_MEMORY, MR_E_SYSTEM: no
 * memory for a large message. */
int ring_feed(struct ring_link *l, bool *moved);
/* Wakes the reader. */
void ring_doorbell(struct ring_link *l);
/* Lets go of the large messages that head has passed. */
void large_collect(struct ring_link *l);
/* A free entry; NULL: RING_LARGE_MOST are in flight. */
struct ring_large_kept *large_free(struct ring_link *l);
/* The socket, or memory for it, was full: try again later. */
void ring_pause(struct ring_link *l);

#endif
