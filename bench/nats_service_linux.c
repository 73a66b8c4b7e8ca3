/* nats_service_linux.c: starts and ends the nats-server that the peers nats and jetstream are measured with.
 *
 * Path    configuration written ► fork, exec ► the server writes its port into a file ► inotify tells ► URL
 *         nats_service_stop ► SIGTERM ► waits for the end ► SIGKILL when that does not come
 * Owners  The server is a child of the process that started it. It dies with the thread that started it
 *         (PR_SET_PDEATHSIG), so a bench that is killed leaves none behind; start it from the main thread.
 * I1      Nothing outside `directory` is written, and the server listens on 127.0.0.1 only, on a port that it found free.
 * I2      A server that ends before it has a port is an error at once, not after the time-out: its pidfd is waited for, too.
 */
#include "nats_service.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "queue/memory.h"
#include "queue/thread.h"

#define START_MS  20000u
#define STOP_MS   5000
#define PATH_ROOM (PEER_TEXT_ROOM + 64)

struct service {
    pid_t process;
    int pidfd;
};

/* max_pending and write_deadline are raised so that the server cuts off no reader that is merely behind: the writers' own
 * windows bound what can be on its way (peer_nats.c). */
static int configuration_write(const char *path, const char *directory, bool jetstream)
{
    FILE *file = fopen(path, "we");
    if (file == NULL)
        return status_fail(MR_E_SYSTEM, errno, "writing %s failed: %s", path, strerror(errno));
    (void) fprintf(file,
                   "listen: \"127.0.0.1:-1\"\n"
                   "ports_file_dir: \"%s/ports\"\n"
                   "log_file: \"%s/log\"\n"
                   "max_payload: 1048576\n"
                   "max_pending: 268435456\n"
                   "write_deadline: \"60s\"\n",
                   directory, directory);
    if (jetstream)
        (void) fprintf(file, "jetstream { store_dir: \"%s/store\", max_file_store: 4294967296 }\n", directory);
    if (ferror(file) != 0 || fclose(file) != 0)
        return status_fail(MR_E_SYSTEM, errno, "writing %s failed: %s", path, strerror(errno));
    return MR_OK;
}

/* In the child: ends with it. */
static _Noreturn void server_become(const char *configuration, pid_t parent)
{
    sigset_t none;
    (void) sigemptyset(&none);
    (void) sigprocmask(SIG_SETMASK, &none, NULL);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        _exit(126);
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
        _exit(126);
    execlp("nats-server", "nats-server", "-c", configuration, (char *) NULL);
    execl("/usr/sbin/nats-server", "nats-server", "-c", configuration, (char *) NULL);
    _exit(127);
}

/* The port, once the server has written it: {"nats":["nats://127.0.0.1:PORT"]}. False: not yet. */
static bool address_read(const char *ports, char *address)
{
    DIR *directory = opendir(ports);
    if (directory == NULL)
        return false;
    bool found = false;
    const struct dirent *entry;
    while (!found && (entry = readdir(directory)) != NULL) {
        char path[PATH_ROOM + 256];
        char text[1024];
        (void) snprintf(path, sizeof path, "%s/%s", ports, entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
        if (file == NULL)
            continue;
        size_t length = fread(text, 1, sizeof text - 1, file);
        (void) fclose(file);
        text[length] = '\0';
        const char *url = strstr(text, "\"nats://");
        const char *end = url == NULL ? NULL : strchr(url + 1, '"');
        if (end != NULL && (size_t) (end - url) < PEER_TEXT_ROOM) {
            memcpy(address, url + 1, (size_t) (end - url - 1));
            address[end - url - 1] = '\0';
            found = true;
        }
    }
    (void) closedir(directory);
    return found;
}

static int server_ended(const struct service *service, const char *directory)
{
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t) service->process, &info, WEXITED | WNOWAIT) == 0 && info.si_code == CLD_EXITED &&
        info.si_status == 127)
        return status_fail(MR_E_UNSUPPORTED, 0, "no program nats-server: apt-get install nats-server");
    return status_fail(MR_E_SYSTEM, 0, "nats-server ended at once, and says why in %s/log", directory);
}

static int address_await(const struct service *service, int notify, const char *directory, const char *ports,
                         char *address)
{
    uint64_t deadline = clock_deadline(START_MS);
    while (!address_read(ports, address)) {
        uint64_t now = clock_now();
        struct pollfd waits[2] = {{notify, POLLIN, 0}, {service->pidfd, POLLIN, 0}};
        int ready = now >= deadline ? 0 : poll(waits, 2, (int) ((deadline - now) / 1000000) + 1);
        if (ready == 0)
            return status_fail(MR_E_TIMEOUT, 0, "nats-server has no port after %u s; its log is %s/log",
                               START_MS / 1000, directory);
        if (ready < 0 && errno != EINTR)
            return status_fail(MR_E_SYSTEM, errno, "poll failed: %s", strerror(errno));
        if (waits[1].revents != 0)
            return server_ended(service, directory);
        char events[4096];
        if (waits[0].revents != 0 && read(notify, events, sizeof events) < 0 && errno != EINTR)
            return status_fail(MR_E_SYSTEM, errno, "inotify failed: %s", strerror(errno));
    }
    return MR_OK;
}

static int server_start(struct service *service, const char *configuration)
{
    pid_t parent = getpid();
    service->process = fork();
    if (service->process < 0)
        return status_fail(MR_E_SYSTEM, errno, "fork failed: %s", strerror(errno));
    if (service->process == 0)
        server_become(configuration, parent);
    service->pidfd = (int) syscall(SYS_pidfd_open, service->process, 0);
    if (service->pidfd < 0)
        return status_fail(MR_E_SYSTEM, errno, "pidfd_open failed: %s", strerror(errno));
    return MR_OK;
}

int nats_service_start(void **service, const char *directory, char *address, bool jetstream)
{
    char configuration[PATH_ROOM];
    char ports[PATH_ROOM];
    (void) snprintf(configuration, sizeof configuration, "%s/configuration", directory);
    (void) snprintf(ports, sizeof ports, "%s/ports", directory);
    int status = configuration_write(configuration, directory, jetstream);
    if (status != MR_OK)
        return status;
    if (mkdir(ports, 0700) != 0)
        return status_fail(MR_E_SYSTEM, errno, "making %s failed: %s", ports, strerror(errno));
    struct service *server = memory_alloc(sizeof *server);
    if (server == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a service");
    *server = (struct service){-1, -1};
    int notify = inotify_init1(IN_CLOEXEC);
    if (notify < 0 || inotify_add_watch(notify, ports, IN_CLOSE_WRITE | IN_MOVED_TO) < 0)
        status = status_fail(MR_E_SYSTEM, errno, "inotify failed: %s", strerror(errno));
    if (status == MR_OK)
        status = server_start(server, configuration);
    if (status == MR_OK)
        status = address_await(server, notify, directory, ports, address);
    if (notify >= 0)
        close(notify);
    if (status != MR_OK) {
        nats_service_stop(server);
        return status;
    }
    *service = server;
    return MR_OK;
}

void nats_service_stop(void *service)
{
    struct service *server = service;
    if (server->process > 0) {
        (void) kill(server->process, SIGTERM);
        struct pollfd end = {server->pidfd, POLLIN, 0};
        if (server->pidfd < 0 || poll(&end, 1, STOP_MS) <= 0)
            (void) kill(server->process, SIGKILL);
        while (waitpid(server->process, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    if (server->pidfd >= 0)
        close(server->pidfd);
    memory_free(server);
}
