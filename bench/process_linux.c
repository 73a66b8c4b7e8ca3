/* process_linux.c: see process.h. Channels are socket pairs; a process is a fork that goes on in task_run.
 *
 * I1  A child keeps no descriptor but the three standard ones and its channel: when the parent closes a channel, that
 *     child sees its end, whatever siblings there are.
 * I2  A child dies with its parent (PR_SET_PDEATHSIG), also where the parent had gone before it was asked for.
 */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "peer.h"
#include "queue/memory.h"
#include "queue/thread.h"
#include "task.h"

#define NANOSECONDS   UINT64_C(1000000000)
#define CHILD_CHANNEL 3

static atomic_bool interrupted; /* lock-free, so a signal's handler may set it */

/* ------------------------------------------------------------------------------------------------ channels */

static int wait_readable(int descriptor, uint64_t deadline)
{
    for (;;) {
        struct pollfd poll = {descriptor, POLLIN, 0};
        uint64_t now = clock_now();
        uint64_t left = deadline > now ? deadline - now : 0;
        struct timespec time = {(time_t) (left / NANOSECONDS), (long) (left % NANOSECONDS)};
        int ready = ppoll(&poll, 1, deadline == CLOCK_NEVER ? NULL : &time, NULL);
        if (ready > 0) {
            return MR_OK;
        }
        if (ready == 0) {
            return MR_E_TIMEOUT;
        }
        if (errno != EINTR) {
            return status_fail(MR_E_SYSTEM, errno, "poll failed");
        }
    }
}

static int send_all(int descriptor, const void *data, size_t length)
{
    const char *from = data;
    while (length > 0) {
        ssize_t sent = send(descriptor, from, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0) {
            bool gone = errno == EPIPE || errno == ECONNRESET;
            return status_fail(gone ? MR_E_GONE : MR_E_SYSTEM, errno, "cannot write to another process of the run");
        }
        from += sent;
        length -= (size_t) sent;
    }
    return MR_OK;
}

static int receive_all(int descriptor, void *data, size_t length)
{
    char *to = data;
    while (length > 0) {
        ssize_t got = recv(descriptor, to, length, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got == 0 || (got < 0 && errno == ECONNRESET)) {
            return status_fail(MR_E_GONE, 0, "another process of the run has ended");
        }
        if (got < 0) {
            return status_fail(MR_E_SYSTEM, errno, "cannot read from another process of the run");
        }
        to += got;
        length -= (size_t) got;
    }
    return MR_OK;
}

int channel_send(struct channel *channel, uint32_t kind, const void *body, size_t length)
{
    uint32_t head[2] = {kind, (uint32_t) length};
    int status = send_all((int) channel->descriptor, head, sizeof(head));
    return status == MR_OK ? send_all((int) channel->descriptor, body, length) : status;
}

int channel_receive(struct channel *channel, struct packet *packet, uint64_t deadline)
{
    int descriptor = (int) channel->descriptor;
    int status = wait_readable(descriptor, deadline);
    uint32_t head[2];
    if (status != MR_OK || (status = receive_all(descriptor, head, sizeof(head))) != MR_OK) {
        return status;
    }
    if (packet->room < (size_t) head[1] + 1) {
        void *body = memory_realloc(packet->body, (size_t) head[1] + 1);
        if (body == NULL) {
            return status_fail(MR_E_MEMORY, 0, "no memory for %u bytes", head[1]);
        }
        packet->body = body;
        packet->room = (size_t) head[1] + 1;
    }
    packet->kind = head[0];
    packet->length = head[1];
    status = receive_all(descriptor, packet->body, head[1]);
    ((char *) packet->body)[head[1]] = '\0';
    return status;
}

void packet_free(struct packet *packet)
{
    memory_free(packet->body);
    *packet = (struct packet){0};
}

/* ------------------------------------------------------------------------------------------------ processes */

struct start {
    struct task task;
    struct channel channel;
};

static void carry_out(void *argument)
{
    struct start *start = argument;
    task_run(&start->task, &start->channel);
    close((int) start->channel.descriptor);
}

static _Noreturn void child_main(struct start *start, pid_t parent)
{
    struct sigaction action = {.sa_handler = SIG_IGN};
    sigaction(SIGINT, &action, NULL);
    action.sa_handler = SIG_DFL;
    sigaction(SIGTERM, &action, NULL);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) {
        _exit(1);
    }
    if (start->channel.descriptor != CHILD_CHANNEL) {
        if (dup3((int) start->channel.descriptor, CHILD_CHANNEL, O_CLOEXEC) < 0) {
            _exit(1);
        }
        start->channel.descriptor = CHILD_CHANNEL;
    }
    if (close_range(CHILD_CHANNEL + 1, ~0u, 0) != 0) {
        _exit(1);
    }
    carry_out(start);
    _exit(0);
}

int process_start(struct process *process, const struct task *task, bool as_thread)
{
    int ends[2];
    *process = (struct process){.channel = {-1}};
    struct start *start = memory_alloc(sizeof(*start));
    if (start == NULL) {
        return status_fail(MR_E_MEMORY, 0, "no memory for another process");
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        int error = errno;
        memory_free(start);
        return status_fail(error == EMFILE || error == ENFILE ? MR_E_DESCRIPTORS : MR_E_SYSTEM, error,
                           "socketpair failed");
    }
    *start = (struct start){*task, {ends[1]}};
    process->channel.descriptor = ends[0];
    if (as_thread) {
        process->start = start;
        thread t;
        int status = thread_start(&t, "bench", carry_out, start);
        if (status != MR_OK) {
            close(ends[0]);
            close(ends[1]);
            memory_free(start);
            *process = (struct process){.channel = {-1}};
            return status;
        }
        process->thread = t.handle;
        return MR_OK;
    }
    fflush(NULL);
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        child_main(start, parent);
    }
    int error = errno;
    memory_free(start);
    close(ends[1]);
    if (child < 0) {
        close(ends[0]);
        *process = (struct process){.channel = {-1}};
        return status_fail(MR_E_SYSTEM, error, "fork failed");
    }
    process->handle = child;
    return MR_OK;
}

int process_wait(struct process *processes, size_t count, size_t after, uint64_t deadline, size_t *index)
{
    int status = MR_E_MEMORY;
    struct pollfd *polls = memory_alloc((count == 0 ? 1 : count) * sizeof(*polls));
    for (size_t i = 0; polls != NULL && i < count; i++) {
        polls[i] = (struct pollfd){(int) processes[i].channel.descriptor, POLLIN, 0};
    }
    while (polls != NULL) {
        uint64_t now = clock_now();
        uint64_t left = deadline > now ? deadline - now : 0;
        struct timespec time = {(time_t) (left / NANOSECONDS), (long) (left % NANOSECONDS)};
        int ready = process_interrupted() ? -1 : ppoll(polls, count, deadline == CLOCK_NEVER ? NULL : &time, NULL);
        if (process_interrupted()) {
            status = MR_E_STOPPED;
            break;
        }
        if (ready < 0 && errno != EINTR) {
            status = status_fail(MR_E_SYSTEM, errno, "poll failed");
            break;
        }
        if (ready == 0) {
            status = MR_E_TIMEOUT;
            break;
        }
        size_t i = 0;
        while (ready > 0 && i < count && polls[(after + i) % count].revents == 0) {
            i++;
        }
        if (ready > 0 && i < count) {
            *index = (after + i) % count;
            status = MR_OK;
            break;
        }
    }
    memory_free(polls);
    return status;
}

/* Waits for the process's end; false where it did not come in time. */
static bool wait_end(pid_t child, uint32_t patience)
{
    int descriptor = (int) syscall(SYS_pidfd_open, child, 0);
    if (descriptor < 0) {
        return false;
    }
    int status = wait_readable(descriptor, clock_deadline(patience));
    close(descriptor);
    return status == MR_OK;
}

void process_hang_up(struct process *process)
{
    if (process->channel.descriptor >= 0) {
        close((int) process->channel.descriptor);
        process->channel.descriptor = -1;
    }
}

void process_close(struct process *process, uint32_t patience, uint64_t *processor_time)
{
    if (processor_time != NULL) {
        *processor_time = 0;
    }
    process_hang_up(process);
    if (process->start != NULL) {
        thread_join((thread){process->thread});
        memory_free(process->start);
    }
    if (process->handle != 0) {
        struct rusage usage = {0};
        pid_t child = (pid_t) process->handle;
        if (!wait_end(child, patience)) {
            kill(child, SIGKILL);
        }
        while (wait4(child, NULL, 0, &usage) < 0 && errno == EINTR) {}
        if (processor_time != NULL) {
            *processor_time = (uint64_t) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * NANOSECONDS +
                              (uint64_t) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
        }
    }
    *process = (struct process){.channel = {-1}};
}

void process_usage(uint64_t *processor_time, uint64_t *waits)
{
    struct rusage usage = {0};
    getrusage(RUSAGE_SELF, &usage);
    *processor_time = (uint64_t) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * NANOSECONDS +
                      (uint64_t) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
    *waits = (uint64_t) usage.ru_nvcsw;
}

/* The number behind `field` in a file of /proc, times 1,024 where it says kB. */
static bool proc_number(const char *path, const char *field, uint64_t *number)
{
    char line[512];
    FILE *file = fopen(path, "re");
    bool found = false;
    while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, field, strlen(field)) == 0) {
            *number = strtoull(line + strlen(field), NULL, 10) * (strstr(line, " kB") != NULL ? 1024 : 1);
            found = true;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return found;
}

bool process_memory(const struct process *process, struct process_memory *memory)
{
    char path[64];
    pid_t child = process->handle != 0 ? (pid_t) process->handle : getpid();
    *memory = (struct process_memory){0};
    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", child);
    if (!proc_number(path, "Pss:", &memory->proportional)) {
        memory->proportional = 0; /* a kernel without it */
    }
    snprintf(path, sizeof(path), "/proc/%d/status", child);
    return proc_number(path, "VmRSS:", &memory->resident) && proc_number(path, "Threads:", &memory->threads);
}

static void take_signal(int number)
{
    (void) number;
    atomic_store_explicit(&interrupted, true, memory_order_relaxed);
}

int process_main(int argc, char **argv)
{
    (void) argc;
    (void) argv;
    return -1; /* a process of a run is a fork */
}

void process_prepare(void)
{
    struct sigaction action = {.sa_handler = take_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

bool process_interrupted(void)
{
    return atomic_load_explicit(&interrupted, memory_order_relaxed);
}

/* ---------------------------------------------------------------------------------- time, folders, the machine */

void sleep_until(uint64_t time)
{
    struct timespec until = {(time_t) (time / NANOSECONDS), (long) (time % NANOSECONDS)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {}
}

void sleep_exactly(void)
{
    prctl(PR_SET_TIMERSLACK, 1ul);
}

enum punctuality sleep_punctually(void)
{
    struct sched_param least = {.sched_priority = sched_get_priority_min(SCHED_FIFO)};
    if (sched_setscheduler(0, SCHED_FIFO, &least) == 0) {
        return PUNCTUAL_REAL_TIME;
    }
    return thread_set_prompt(true) ? PUNCTUAL_SLICE : PUNCTUAL_NOT;
}

const char *punctuality_text(enum punctuality punctuality)
{
    return punctuality == PUNCTUAL_REAL_TIME ? "SCHED_FIFO" : punctuality == PUNCTUAL_SLICE ? "a short slice" : "usual";
}

int directory_make(char *path)
{
    const char *parent = getenv("TMPDIR");
    int length = snprintf(path, PEER_TEXT_ROOM, "%s/mailroom-bench-XXXXXX", parent == NULL ? "/tmp" : parent);
    if (length >= (int) PEER_TEXT_ROOM || mkdtemp(path) == NULL) {
        return status_fail(MR_E_SYSTEM, errno, "cannot make a folder %s (TMPDIR names another place)", path);
    }
    return MR_OK;
}

int directory_make_in(const char *parent, const char *name, char *path)
{
    int length = snprintf(path, PEER_TEXT_ROOM, "%s/%s", parent, name);
    if (length >= (int) PEER_TEXT_ROOM || mkdir(path, 0700) != 0) {
        return status_fail(MR_E_SYSTEM, errno, "cannot make the folder %s/%s", parent, name);
    }
    return MR_OK;
}

int directory_ensure(const char *path)
{
    if (mkdir(path, 0777) != 0 && errno != EEXIST) {
        return status_fail(MR_E_SYSTEM, errno, "cannot make the folder %s: %s", path, strerror(errno));
    }
    return MR_OK;
}

void os_error_text(int64_t error, char *text, size_t size)
{
    snprintf(text, size, "%s", strerror((int) error));
}

int process_command(const char *directory, const char *const *arguments)
{
    int state = 0;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        /* What the program prints is no result of ours. */
        if (chdir(directory) == 0 && dup2(2, 1) == 1) {
            execvp(arguments[0], (char *const *) (uintptr_t) arguments);
        }
        _exit(127);
    }
    if (child < 0) {
        return status_fail(MR_E_SYSTEM, errno, "fork failed");
    }
    while (waitpid(child, &state, 0) < 0 && errno == EINTR) {}
    if (WIFEXITED(state) && WEXITSTATUS(state) == 127) {
        return status_fail(MR_E_SYSTEM, 0, "%s is not here (Debian: apt-get install %s-nox)", arguments[0],
                           arguments[0]);
    }
    if (!WIFEXITED(state) || WEXITSTATUS(state) != 0) {
        return status_fail(MR_E_SYSTEM, 0, "%s failed", arguments[0]);
    }
    return MR_OK;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void) status;
    (void) type;
    (void) place;
    return remove(path) != 0 && errno != ENOENT ? -1 : 0;
}

void directory_remove(const char *path)
{
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0 && errno != ENOENT) {
        fprintf(stderr, "mailroom-bench: cannot remove %s: %s\n", path, strerror(errno));
    }
}

int directory_use(const char *path)
{
    if (setenv("MAILROOM_DIR", path, 1) != 0) {
        return status_fail(MR_E_SYSTEM, errno, "setenv failed");
    }
    return MR_OK;
}

void machine_describe(struct machine *machine)
{
    struct utsname names;
    struct sysinfo info;
    cpu_set_t set;
    char line[512];
    *machine = (struct machine){.processors = 1};
    if (uname(&names) == 0) {
        snprintf(machine->system, sizeof(machine->system), "%.40s %.64s %.20s", names.sysname, names.release,
                 names.machine);
    }
    if (sysinfo(&info) == 0) {
        machine->memory = (uint64_t) info.totalram * info.mem_unit;
    }
    if (sched_getaffinity(0, sizeof(set), &set) == 0) {
        machine->processors = (unsigned) CPU_COUNT(&set);
    }
    FILE *file = fopen("/proc/cpuinfo", "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        const char *value = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && value != NULL) {
            snprintf(machine->processor, sizeof(machine->processor), "%.*s", (int) strcspn(value + 2, "\n"), value + 2);
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

bool terminal_width(int descriptor, unsigned *columns)
{
    struct winsize size;
    const char *kind = getenv("TERM");
    *columns = 80;
    if (!isatty(descriptor) || kind == NULL || strcmp(kind, "dumb") == 0) {
        return false;
    }
    if (ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        *columns = size.ws_col;
    }
    return true;
}
