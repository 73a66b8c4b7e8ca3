/* process.h: the processes of a run, the channels to them, and what the system knows of them. One file per platform:
 * process_linux.c, process_windows.c (with system_windows.c, wine_windows.c).
 *
 * A task is a plain struct that a new process gets as it is. Where the system can fork, the child goes on in task_run;
 * a platform without starts the program again and sends the task through the channel (main calls process_main first).
 *
 * Owners  The bench's own process starts all others, before it has any thread of its own (but with --threads, where all
 *         tasks are threads of it). A process ends when its task returns, when its channel's other end is closed, or
 *         with its parent, however that ends.
 */
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct task;

/* Both directions, in order, and closed when the other process ends. */
struct channel {
    intptr_t descriptor; /* -1: none */
};

/* What goes through a channel: a kind and a body. The body is the receiver's memory, kept for the next one. */
struct packet {
    uint32_t kind;
    uint32_t length;
    void *body;
    size_t room;
};

/* MR_OK; MR_E_GONE where the other end has gone; MR_E_SYSTEM. */
int channel_send(struct channel *channel, uint32_t kind, const void *body, size_t length);
/* Waits for a packet up to clock_now() == deadline. MR_OK; MR_E_TIMEOUT; MR_E_GONE; MR_E_MEMORY; MR_E_SYSTEM. */
int channel_receive(struct channel *channel, struct packet *packet, uint64_t deadline);
void packet_free(struct packet *packet);

struct process {
    struct channel channel;
    intptr_t handle; /* of the process; 0: none, or a thread */
    uintptr_t thread;
    void *start;
};

/* Starts a process, or a thread of this one, that carries out a copy of the task. MR_OK, MR_E_SYSTEM, MR_E_MEMORY. */
int process_start(struct process *process, const struct task *task, bool thread);
/* Waits for one of them to have something to receive (or to have gone), up to the deadline: MR_OK and its index.
 * MR_E_TIMEOUT; MR_E_STOPPED when the user asked the program to end. `after` is where to look first: the index behind
 * the last one keeps it fair. Processes that have been closed are passed over. */
int process_wait(struct process *processes, size_t count, size_t after, uint64_t deadline, size_t *index);
/* Closes the channel, which ends the task. */
void process_hang_up(struct process *process);
/* Closes the channel if it is open, and waits for the end; after `patience` milliseconds a process is killed. What the
 * process used of the processors, in nanoseconds, where that is known (0 for threads). */
void process_close(struct process *process, uint32_t patience, uint64_t *processor_time);

/* What a process has in memory. Shared pages are divided among those who share them (proportional set). Bytes. */
struct process_memory {
    uint64_t resident;     /* all of it, shared pages in full */
    uint64_t proportional; /* 0: the system cannot tell */
    uint64_t threads;
};
bool process_memory(const struct process *process, struct process_memory *memory);

/* In main, before all else: where this process was started by process_start, its task is carried out, and this is the exit
 * code. -1: it was started by a user. */
int process_main(int argc, char **argv);

/* Once, at the start of main. Ctrl-C and SIGTERM then only set what process_interrupted tells, and processes that were
 * started ignore Ctrl-C: their parent ends them. Raises the limit of descriptors as far as allowed. */
void process_prepare(void);
bool process_interrupted(void);

/* Sleeps until clock_now() reaches `time`, as exactly as the system can. */
void sleep_until(uint64_t time);
/* For a writer that keeps time: asks the system not to put its awakening together with others'. */
void sleep_exactly(void);
/* For a writer that keeps time beside others that never rest: asks the system to let this thread run as soon as it awakes.
 * What it was given. */
enum punctuality { PUNCTUAL_NOT, PUNCTUAL_SLICE, PUNCTUAL_REAL_TIME };
enum punctuality sleep_punctually(void);
const char *punctuality_text(enum punctuality punctuality);

/* A folder of this process's own, for sockets and queues: PEER_TEXT_ROOM bytes. */
int directory_make(char *path);
int directory_make_in(const char *parent, const char *name, char *path);
/* With everything in it. */
void directory_remove(const char *path);
/* Makes it if it is not there. */
int directory_ensure(const char *path);
/* Runs a program of the search path in a folder, and waits for it. MR_OK where it ends with 0. */
int process_command(const char *directory, const char *const *arguments);
/* Slots are looked for, and made, in this folder from now on. */
int directory_use(const char *path);

/* What the system says about one of its error codes. */
void os_error_text(int64_t error, char *text, size_t size);

/* This process's use of the processors in nanoseconds, and how often it waited (0: the system does not tell). The main
 * thread's to call, or of the thread that is the task. */
void process_usage(uint64_t *processor_time, uint64_t *waits);

/* The machine, for the head of a report. */
struct machine {
    char system[128];
    char processor[128];
    unsigned processors; /* that this process may use */
    uint64_t memory;     /* bytes */
};
void machine_describe(struct machine *machine);

/* True and its width in characters where the descriptor is a terminal that can move its cursor. */
bool terminal_width(int descriptor, unsigned *columns);

#endif
