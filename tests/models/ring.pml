/* ring.pml: the wake-up protocol of one ring (src/slots/ring.h), for spin. tests/models/run checks it in every variant
 * and with every mutation; docs/ring.md says what follows from it.
 *
 * Path    writer   claim > (no room: want, look again, sleep on the socket) > commit > look at the epoch > doorbell
 *         reader   peek > acknowledge > release > look at what is wanted > packet; found empty: arm, look again > idle
 *
 * Owners  tail, wanted and the records: the writer. head and asleep: the reader. Each side has a store buffer: the other
 *         sees a store only when the drain has moved it into mem[]. Nobody loads a word that it stores itself, so nothing
 *         has to be forwarded from a buffer. A load is done at once, and loads are done in order.
 *
 * The tags are those of ring.h:
 *   W1 ring_commit stores tail              R1 ring_reload loads tail
 *   S2 ring_commit loads asleep after it    S1 ring_arm stores asleep; ring_arm_look: the second look at tail
 *   N1 ring_want stores wanted;             N2 ring_release stores head, ring_release_look loads wanted after it
 *      ring_refresh: the second look at head   (also when the ring is found empty)
 *   F1 ring_refresh loads head              H1 ring_release stores head
 *   B  the barriers, in two variants (below)
 *
 * Chosen at compile time:
 *   FENCE      the frequent side of S (S2) orders its store and its load itself: the writer's `fence` is true
 *   MEMBARRIER it has a compiler barrier only; the rare side (S1) calls membarrier between store and load
 *   WEAK       a store buffer keeps order per word and before a release only; without it: first in, first out (TSO)
 *   CAP, LAST  cells in the ring, and in all that the writer writes
 *   SIZES      records have 1..SIZES cells, and a wrap record comes on top
 *   KEEP       so many cells the user may keep unacknowledged until more messages come (chosen at every message)
 *   THREAD     another thread of the reader's acknowledges, with a store buffer of its own (ring_window.c)
 *   FLUSH      the writer may also wait until everything is acknowledged
 *   WRITER_DIES, READER_DIES   killed at any instant, or never
 *   LIVE       the marks for the claims at the end
 *   MUTANT     a fault that is built in (see run)
 */
#ifndef CAP
#define CAP 3
#endif
#ifndef LAST
#define LAST (2 * CAP)
#endif
#ifndef SIZES
#define SIZES 1
#endif
#ifndef KEEP
#define KEEP 0
#endif
#ifndef MUTANT
#define MUTANT 0
#endif

#define NO_SECOND_LOOK_READER 1
#define NO_SECOND_LOOK_WRITER 2
#define NO_BARRIER_COMMIT     3  /* FENCE, S2 */
#define NO_BARRIER_SLEEP      4  /* either, S1 */
#define NO_BARRIER_RELEASE    5  /* FENCE, N2 */
#define NO_BARRIER_WAIT       6  /* either, N1 */
#define HALF_ALWAYS           7  /* N1 asks for half of the ring at least, whatever the record needs */
#define NO_LOOK_WHEN_EMPTY    8  /* N2 after a release only */
#define RELAXED_TAIL          9  /* WEAK, W1 without release */
#define EPOCH_STAYS           10 /* S1 stores the same epoch again */
#define RUNG_FORGOTTEN        11 /* S2 rings without keeping the epoch */
#define END_WITHOUT_LOOK      12 /* WRITER_DIES: the end of the socket is taken for the end of the ring */
#define LOOK_BEFORE_STORE     13 /* S2 before W1 */
#define ONE_CELL_TOO_MANY     14 /* the writer takes a cell that is not free */
#define BELL_KEEPS_EPOCH      15 /* woken by the doorbell and finding nothing, the reader sleeps on in the same epoch */

#define TAIL   0
#define HEAD   1
#define ASLEEP 2
#define WANTED 3
#define CELL   4
#define WRAP   255 /* what a record's first cell holds: WRAP, or 4 * number + cells */

byte mem[4 + CAP];
chan wbuf = [4] of { byte, byte };
chan rbuf = [3] of { byte, byte };
#ifdef THREAD
chan abuf = [2] of { byte, byte }; /* of the thread that acknowledges */
byte head, position, told, keep, shown;
bool locked; /* the window's lock */
#define hbuf abuf
#else
#define shown position
#define hbuf rbuf
#endif

bool bell;                   /* the doorbell's event, edge-triggered: gone when it has been waited for */
bool packet;                 /* "it is free" waits on the socket; what cannot be sent beside it would wake no better */
bool hup_reader, hup_writer; /* the socket's end, as the reader and as the writer see it */
bool kill_writer, kill_reader;

/* For the checks alone. */
byte behind;                 /* messages committed and not delivered */
bool writer_sleeps, writer_ended;
byte marked, marked_end;     /* LIVE: 1, one message has been chosen at its commit; 2, it has been delivered */

/* ---- the store buffers ---- */

/* B, the rare side's: a full barrier here, one on the other side at some instant of the call, one here again. */
inline membarrier(mine, other)
{
    empty(mine);
    atomic {
        do
        :: other?word, value -> mem[word] = value
        :: empty(other) -> break
        od;
#ifdef THREAD
        do
        :: abuf?word, value -> mem[word] = value
        :: empty(abuf) -> break
        od;
#endif
        word = 0;
        value = 0
    };
    empty(mine)
}

inline overtake(buffer, which)
{
    d_step { buffer??eval(which), value -> mem[which] = value; value = 0 }
}

proctype w_drain()
{
    byte word, value;
end:
    do
    :: d_step { wbuf?word, value -> mem[word] = value; word = 0; value = 0 }
#ifdef WEAK
    :: overtake(wbuf, CELL + 0)
    :: overtake(wbuf, CELL + 1)
#if CAP > 2
    :: overtake(wbuf, CELL + 2)
#endif
#if CAP > 3
    :: overtake(wbuf, CELL + 3)
#endif
#if MUTANT == RELAXED_TAIL
    :: overtake(wbuf, TAIL)
#endif
#endif
    od
}

proctype r_drain()
{
    byte word, value;
end:
    do
    :: d_step { rbuf?word, value -> mem[word] = value; word = 0; value = 0 }
    od
}

#ifdef THREAD
proctype a_drain()
{
    byte word, value;
end:
    do
    :: d_step { abuf?word, value -> mem[word] = value; word = 0; value = 0 }
    od
}
#endif

/* In both: a step, which is one atomic, does one thing that the other side can notice or that notices the other side
 * (a load, stores into one's own buffer, a barrier and the load behind it, a system call), and whatever is private. */

/* ---- the writer: its own tail, and head as last `seen` ---- */

#if MUTANT == ONE_CELL_TOO_MANY
#define fits (tail - seen + need <= CAP + 1)
#else
#define fits (tail - seen + need <= CAP)
#endif

inline ring_refresh() /* F1 */
{
    assert(mem[HEAD] >= seen && mem[HEAD] <= tail); /* I1 I3 */
    seen = mem[HEAD]
}

inline choose()
{
    if
    :: goto stopped /* it has no more to say */
    :: tail < LAST -> size = 1
#if SIZES > 1
    :: tail < LAST -> size = 2
#endif
#ifdef FLUSH
    :: tail > seen -> size = 0
#endif
    fi;
    if
    :: size == 0 -> need = CAP
    :: size > 0 && tail % CAP + size > CAP -> need = size + CAP - tail % CAP
    :: else -> need = size
    fi
}

inline ring_want()
{
#if MUTANT == HALF_ALWAYS
    wbuf!WANTED, tail + (need * 2 < CAP -> (CAP + 1) / 2 : need) - CAP
#else
    wbuf!WANTED, tail + need - CAP /* N1 */
#endif
}

inline store_records()
{
    if
    :: need > size -> wbuf!CELL + tail % CAP, WRAP; tail = tail + need - size
    :: else
    fi;
    wbuf!CELL + tail % CAP, 4 * number + size;
    need = 0
}

inline ring_commit()
{
    nfull(wbuf) ->
    tail = tail + size;
    number++;
    size = 0;
    wbuf!TAIL, tail; /* W1 */
    behind++;
#ifdef LIVE
    if
    :: marked == 0 -> marked = 1; marked_end = tail
    :: skip
    fi
#endif
}

proctype writer()
{
    byte tail, seen, rung, size, need, number, epoch;
    byte word, value;
#if MUTANT == RUNG_FORGOTTEN
    byte last_rung;
#endif
    bool impatient;
#ifdef WRITER_DIES
    {
    skip;
#endif
next:
    atomic {
        choose();
        if
        :: fits -> goto claimed
        :: else -> goto again
        fi
    };
again:
    atomic {
        ring_refresh();
        if
        :: fits -> goto claimed
        :: else
        fi
    };
    ring_want();
    atomic {
#if MUTANT != NO_BARRIER_WAIT
        empty(wbuf); /* B */
#endif
#if MUTANT != NO_SECOND_LOOK_WRITER
        ring_refresh(); /* N1 */
        if
        :: fits -> goto claimed
        :: else
        fi;
#endif
        writer_sleeps = 1;
        if
        :: skip
        :: impatient = 1 /* its time may run out */
        fi
    };
    if
    :: atomic { packet -> packet = 0; writer_sleeps = 0; impatient = 0; goto again }
    :: atomic { hup_writer -> writer_sleeps = 0; goto stopped }
    :: atomic { impatient -> writer_sleeps = 0; impatient = 0; size = 0; need = 0; goto next }
    fi;

claimed:
    atomic {
        if
        :: size == 0 -> need = 0; goto next
        :: else
        fi;
        store_records();
#if MUTANT == LOOK_BEFORE_STORE
        epoch = mem[ASLEEP]
    };
    atomic {
#endif
        ring_commit()
    };
    atomic {
#if defined(FENCE) && MUTANT != NO_BARRIER_COMMIT
        empty(wbuf); /* B */
#endif
#if MUTANT != LOOK_BEFORE_STORE
        epoch = mem[ASLEEP]; /* S2 */
#endif
        if
        :: epoch == rung -> epoch = 0; goto next
        :: else
        fi;
#if MUTANT == RUNG_FORGOTTEN
        assert(epoch > last_rung);
        last_rung = epoch;
#else
        assert(epoch > rung); /* so at most one ring for each epoch */
        rung = epoch;
#endif
        epoch = 0
    };
    atomic { bell = 1; goto next };
#ifdef WRITER_DIES
    } unless { kill_writer };
#endif
stopped:
    atomic { empty(wbuf) -> writer_sleeps = 0; writer_ended = 1; size = 0; need = 0; epoch = 0; impatient = 0 };
#ifdef WRITER_DIES
    hup_reader = 1
#endif
}

/* ---- the reader: its own head, the position up to which it has delivered, and tail as last seen ---- */

#define due (position - head > keep)

inline ring_reload() /* R1 */
{
    assert(mem[TAIL] >= tail && mem[TAIL] - head <= CAP); /* I1 I3 */
    tail = mem[TAIL]
}

inline ring_release_look()
{
    atomic {
        want = mem[WANTED]; /* N2 */
        if
        :: want != told && head >= want
        :: else -> want = 0
        fi
    };
    if
    :: want != 0 ->
        atomic {
#if MUTANT == HALF_ALWAYS
            told = want
#else
            assert(mem[TAIL] >= shown && mem[TAIL] - head <= CAP);
            if
            :: (mem[TAIL] - head) * 2 <= CAP || shown == mem[TAIL] -> told = want
            :: else -> want = 0
            fi
#endif
        };
        if
        :: atomic { want != 0 -> want = 0; packet = 1 }
        :: want == 0
        fi
    :: want == 0
    fi
}

/* When it is found empty. */
inline look_when_empty()
{
#ifdef THREAD
    atomic { !locked -> locked = 1; shown = position };
    ring_release_look();
    locked = 0
#else
    ring_release_look()
#endif
}

inline take()
{
    record = mem[CELL + position % CAP];
    if
    :: record == WRAP -> position = position + CAP - position % CAP
    :: else ->
        assert(record / 4 == number && record % 4 >= 1); /* each once, in order, none garbled */
        position = position + record % 4;
        number++;
        behind--;
#ifdef LIVE
        if
        :: marked == 1 && marked_end == position -> marked = 2; marked_end = 0
        :: else
        fi;
#endif
#if KEEP > 0
        if
        :: keep = 0
        :: keep = KEEP
        fi;
#endif
    fi;
    assert(position <= tail); /* I2 */
    record = 0
}

/* One record, or all that were delivered. */
inline acknowledge()
{
    atomic {
#ifdef THREAD
        due && !locked -> locked = 1;
#else
        due;
#endif
        if
        :: mem[CELL + head % CAP] == WRAP -> head = head + CAP - head % CAP
        :: else -> head = head + mem[CELL + head % CAP] % 4
        :: keep == 0 -> head = position
        fi;
        hbuf!HEAD, head /* H1 */
    };
#if MUTANT != NO_BARRIER_RELEASE
    empty(hbuf); /* B */
#endif
    ring_release_look()
#ifdef THREAD
    ; atomic { empty(abuf) -> locked = 0 } /* the unlocking store comes behind */
#endif
}

#ifdef THREAD
proctype user()
{
    byte want;
end:
    do
    :: acknowledge()
    od
}
#endif

/* The socket's end has been seen: whatever was committed is in the ring by now. */
inline hung_up()
{
    atomic { hup_reader && !ending -> ending = 1 };
#if MUTANT != END_WITHOUT_LOOK
    atomic { ring_reload() }
#endif
}

proctype reader()
{
    byte tail, epoch, want, number, record;
#ifndef THREAD
    byte head, position, told, keep;
#endif
    byte word, value;
    bool look_late;
#if MUTANT == BELL_KEEPS_EPOCH
    bool armed;
#endif
#ifdef WRITER_DIES
    bool ending;
#endif
#ifdef READER_DIES
    {
    skip;
#endif
awake:
    do
#if MUTANT == BELL_KEEPS_EPOCH
    :: atomic { position < tail -> armed = 0; take() }
#else
    :: atomic { position < tail -> take() }
#endif
#ifndef THREAD
    :: acknowledge()
#endif
    :: atomic { bell -> bell = 0 } /* of a sleep that is over */
#ifdef WRITER_DIES
    :: hung_up()
    :: atomic { ending && position == tail -> goto ended }
    :: atomic { position == tail && !ending ->
#else
    :: atomic { position == tail ->
#endif
            ring_reload();
            if
            :: position < tail -> goto awake
            :: else
            fi
#if MUTANT == BELL_KEEPS_EPOCH
            ;
            if
            :: armed -> goto idle
            :: else
            fi
#endif
        };
        atomic {
#if MUTANT == EPOCH_STAYS
            epoch = 1;
#else
            epoch++;
#endif
            rbuf!ASLEEP, epoch /* S1 */
        };
#if MUTANT != NO_LOOK_WHEN_EMPTY
        if
        :: look_late = 1 /* here or after the second look: both will do */
        :: look_when_empty() /* N2 */
        fi;
#endif
#if MUTANT != NO_BARRIER_SLEEP && !defined(FENCE)
        membarrier(rbuf, wbuf); /* B */
#endif
        atomic {
#if MUTANT != NO_BARRIER_SLEEP && defined(FENCE)
            empty(rbuf); /* B */
#endif
#if MUTANT != NO_SECOND_LOOK_READER
            if
            :: mem[TAIL] != position -> look_late = 0; goto awake /* S1 */
            :: else
            fi
#else
            skip
#endif
        };
        if
        :: look_late -> look_late = 0; look_when_empty()
        :: else
        fi;
#if MUTANT == BELL_KEEPS_EPOCH
idle:
        armed = 1;
#endif
end_idle:
        do
        :: atomic { bell -> bell = 0; goto awake }
#ifdef WRITER_DIES
        :: hung_up(); goto awake
#endif
#ifndef THREAD
        :: acknowledge() /* while it is idle otherwise */
#endif
        od
    od;
#ifdef READER_DIES
    } unless { kill_reader };
#endif
ended:
    atomic { empty(rbuf) -> hup_writer = 1 }
#ifdef WRITER_DIES
    ; assert(kill_reader || behind == 0)
#endif
}

/* When nothing can happen any more, what was committed has been delivered, and the writer does not sleep. */
proctype at_rest()
{
end:
    timeout -> assert((behind == 0 || kill_reader) && !writer_sleeps && writer_ended)
}

proctype killer()
{
end:
    if
#ifdef WRITER_DIES
    :: kill_writer = 1
#endif
#ifdef READER_DIES
    :: kill_reader = 1
#endif
    :: skip
    fi
}

init
{
    atomic {
        run writer();
        run reader();
        run w_drain();
        run r_drain();
#ifdef THREAD
        run a_drain();
        run user();
#endif
#if defined(WRITER_DIES) || defined(READER_DIES)
        run killer();
#endif
#ifndef LIVE
        run at_rest()
#endif
    }
}

#ifdef LIVE
/* Whichever message is chosen, once committed it is delivered; whenever the writer sleeps, it is woken. */
ltl delivered { [] ((marked == 1) -> <> (marked == 2)) }
ltl woken { [] (writer_sleeps -> <> !writer_sleeps) }
#endif
