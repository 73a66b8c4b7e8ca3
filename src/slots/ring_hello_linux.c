/* ring_hello_linux.c: the packets of the ring's socket, and the memory that is passed with them.
 *
 * Path    ring_memory_make > HELLO > ring_packet_receive > ring_memory_take
 *         ring_large_make > LARGE > ring_packet_receive > ring_large_check > ring_large_read
 * I1      Whatever descriptors come with a packet that is not returned go to the janitor: closing them may block.
 * I2      A received descriptor is close-on-exec from its first instant (MSG_CMSG_CLOEXEC).
 * I3      There is room for as many descriptors as the kernel lets anyone pass. So MSG_CTRUNC means that this process
 *         had no number left for one of them, and nothing about the peer.
 * I4      A packet of no bytes is no packet of ours, and looks like the end of a connection unless something came with
 *         it: either way nothing more is read from that peer.
 * Hostile Seals are asked for as a set: more of them than required may be there. A memory that cannot be mapped for
 *         writing (sealed against that as well) breaks the rules like one that is too small.
 */
#include "slots/ring_hello_linux.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "queue/status.h"
#include "slots/janitor_linux.h"
#include "slots/plain_linux.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3; older ones answer EINVAL */
#endif

#define RING_SEALS  (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define LARGE_SEALS (RING_SEALS | F_SEAL_WRITE)

/* ---- memory ---- */

static int fail_system(int error, const char *what)
{
    switch (error) {
    case EMFILE:
    case ENFILE:
        return status_fail(MR_E_DESCRIPTORS, error, "%s: no descriptor left: raise the limit (ulimit -n)", what);
    case EFBIG:
        return status_fail(MR_E_MEMORY, error, "%s: it is larger than files may be: raise the limit (ulimit -f)", what);
    case ENOMEM:
    case ENOSPC:
        return status_fail(MR_E_MEMORY, error, "%s: %s", what, strerror(error));
    default:
        return status_fail(MR_E_SYSTEM, error, "%s: %s", what, strerror(error));
    }
}

static int memory_file(const char *name)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

/* Growing a file beyond the process's limit would raise SIGXFSZ, which ends a program that has not heard of it. */
static bool file_may_grow(size_t size)
{
    struct rlimit limit;
    bool may = getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || size <= limit.rlim_cur;
    if (!may)
        errno = EFBIG;
    return may;
}

static void *memory_map(int fd, size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return NULL;
    if (madvise(memory, size, MADV_DONTFORK) == 0)
        return memory;
    int error = errno;
    (void) munmap(memory, size);
    errno = error;
    return NULL;
}

int ring_memory_make(const struct ring_geometry *geometry, int *fd, void **memory)
{
    static const char what[] = "a ring's memory cannot be made";
    assert(ring_geometry_valid(geometry));
    size_t size = ring_memory_bytes(geometry);
    int file = memory_file("mailroom-ring");
    if (file < 0)
        return fail_system(errno, what);
    void *mapped = NULL;
    if (file_may_grow(size) && ftruncate(file, (off_t) size) == 0 && fcntl(file, F_ADD_SEALS, RING_SEALS) == 0)
        mapped = memory_map(file, size);
    if (mapped == NULL) {
        int error = errno;
        close(file);
        return fail_system(error, what);
    }
    *fd = file;
    *memory = mapped;
    return MR_OK;
}

/* Has the kernel say that `fd` is sealed memory of `size` bytes. */
static int memory_check(int fd, uint64_t size, int seals)
{
    int have = fcntl(fd, F_GET_SEALS);
    if (have < 0 || (have & seals) != seals)
        return status_fail(MR_E_ARGUMENT, 0, "passed memory is not sealed as it has to be");
    struct statfs system;
    if (fstatfs(fd, &system) != 0 || system.f_type != TMPFS_MAGIC)
        return status_fail(MR_E_ARGUMENT, 0, "passed memory is not on tmpfs");
    struct stat status;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || (uint64_t) status.st_size != size)
        return status_fail(MR_E_ARGUMENT, 0, "passed memory has not the size that was said");
    return MR_OK;
}

int ring_memory_take(const struct ring_geometry *geometry, int fd, void **memory)
{
    if (!ring_geometry_valid(geometry))
        return status_fail(MR_E_ARGUMENT, 0, "a ring's sizes are out of their ranges");
    size_t size = ring_memory_bytes(geometry);
    int status = memory_check(fd, size, RING_SEALS);
    if (status != MR_OK)
        return status;
    void *mapped = memory_map(fd, size);
    if (mapped == NULL && (errno == EPERM || errno == EACCES))
        return status_fail(MR_E_ARGUMENT, errno, "passed memory cannot be written");
    if (mapped == NULL)
        return fail_system(errno, "a ring's memory cannot be mapped");
    *memory = mapped;
    return MR_OK;
}

void ring_memory_free(const struct ring_geometry *geometry, void *memory)
{
    if (memory != NULL && munmap(memory, ring_memory_bytes(geometry)) != 0)
        assert(false);
}

/* 0, or the system's code. */
static int file_write(int fd, const unsigned char *data, size_t length)
{
    size_t done = 0;
    while (done < length) {
        ssize_t written = pwrite(fd, data + done, length - done, (off_t) done);
        if (written < 0 && errno != EINTR)
            return errno;
        if (written > 0)
            done += (size_t) written;
    }
    return 0;
}

int ring_large_make(const void *data, size_t length, int *fd)
{
    static const char what[] = "memory for a large message cannot be made";
    int file = memory_file("mailroom-large");
    if (file < 0)
        return fail_system(errno, what);
    int error = file_may_grow(length) ? file_write(file, data, length) : errno;
    if (error == 0 && fcntl(file, F_ADD_SEALS, LARGE_SEALS) != 0)
        error = errno;
    if (error != 0) {
        close(file);
        return fail_system(error, what);
    }
    *fd = file;
    return MR_OK;
}

int ring_large_check(int fd, uint64_t length)
{
    return memory_check(fd, length, LARGE_SEALS);
}

int ring_large_read(int fd, void *data, size_t length)
{
    int status = MR_OK;
    size_t done = 0;
    while (status == MR_OK && done < length) {
        ssize_t got = pread(fd, (unsigned char *) data + done, length - done, (off_t) done);
        if (got > 0)
            done += (size_t) got;
        else if (got == 0 || errno != EINTR)
            status = status_fail(MR_E_ARGUMENT, got == 0 ? 0 : errno, "a large message's memory cannot be read");
    }
    return status;
}

/* ---- packets ---- */

void ring_packet_init(struct ring_packet *packet, enum ring_packet_type type, uint32_t flags)
{
    *packet =
        (struct ring_packet){.magic = RING_MAGIC, .version = RING_VERSION, .type = (uint16_t) type, .flags = flags};
}

int ring_packet_send(int socket, const void *packet, size_t size, int descriptor)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.room = {0}};
    struct iovec part = {(void *) (uintptr_t) packet, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (descriptor >= 0) {
        message.msg_control = control.room;
        message.msg_controllen = sizeof control.room;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof descriptor);
        memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
    }
    ssize_t sent;
    do
        sent = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return MR_OK;
    switch (errno) {
    case EAGAIN:
    case ENOBUFS:
    case ENOMEM:
    case ETOOMANYREFS: /* of this user's descriptors too many are on their way */
        return MR_E_FULL;
    case EPIPE:
    case ECONNRESET:
    case ECONNREFUSED:
    case ENOTCONN:
        return MR_E_GONE;
    default:
        return status_fail(MR_E_SYSTEM, errno, "a ring's packet cannot be sent: %s", strerror(errno));
    }
}

/* The first descriptor that came with the message, and how many did; the others are closed (I1). */
static size_t rights_take(struct msghdr *message, int *descriptor)
{
    size_t taken = 0;
    *descriptor = -1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        int descriptors[PLAIN_RIGHTS_MAX];
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        if (count > PLAIN_RIGHTS_MAX)
            count = PLAIN_RIGHTS_MAX;
        memcpy(descriptors, CMSG_DATA(c), count * sizeof(int));
        size_t kept = taken == 0 && count > 0;
        if (kept > 0)
            *descriptor = descriptors[0];
        janitor_close(descriptors + kept, count - kept);
        taken += count;
    }
    return taken;
}

static int fail_packet(int *descriptor, int status, const char *what)
{
    if (*descriptor >= 0)
        janitor_close(descriptor, 1); /* I1 */
    *descriptor = -1;
    return status_fail(status, 0, "the other end of a ring has sent %s", what);
}

/* Is this, of `size` bytes and with `rights` descriptors, a packet as it has to be? NULL, or what it is. */
static const char *packet_fault(const union ring_any_packet *packet, size_t size, size_t rights)
{
    if (size < sizeof packet->packet || packet->packet.magic != RING_MAGIC || packet->packet.version != RING_VERSION ||
        packet->packet.zero != 0)
        return "something that is no packet of this protocol";
    size_t needed = sizeof packet->packet;
    size_t least = 0, most = 0;
    uint32_t zero = 0;
    switch (packet->packet.type) {
    case PACKET_HELLO:
        needed = sizeof packet->hello;
        least = most = 1;
        zero = packet->hello.zero;
        break;
    case PACKET_ANSWER:
        needed = sizeof packet->answer;
        most = 1;
        break;
    case PACKET_LARGE:
        needed = sizeof packet->large;
        least = most = 1;
        zero = packet->large.zero;
        break;
    case PACKET_REACHED:
    case PACKET_RENAMED:
        break;
    default:
        return "a packet of an unknown type";
    }
    if (size != needed || zero != 0)
        return "a packet of the wrong form";
    if (rights < least || rights > most)
        return "a packet with the wrong number of descriptors";
    return NULL;
}

int ring_packet_receive(int socket, union ring_any_packet *packet, int *descriptor)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(PLAIN_RIGHTS_MAX * sizeof(int)) + CMSG_SPACE(3 * sizeof(int))]; /* I3; and credentials */
    } control;
    struct iovec part = {packet, sizeof *packet};
    struct msghdr message;
    ssize_t length;
    int resets = 0;
    *descriptor = -1;
    memset(packet, 0, sizeof *packet);
    for (;;) {
        message = (struct msghdr){
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        length = recvmsg(socket, &message, MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC); /* I2 */
        /* A reset is reported once, before what had been sent. */
        if (length >= 0 || (errno != EINTR && (errno != ECONNRESET || ++resets > 1)))
            break;
    }
    if (length < 0 && errno == EAGAIN)
        return MR_E_FULL;
    if (length < 0 && (errno == ECONNRESET || errno == ENOTCONN || errno == EPIPE))
        return MR_E_GONE;
    if (length < 0)
        return status_fail(MR_E_SYSTEM, errno, "a ring's packet cannot be received: %s", strerror(errno));
    size_t rights = rights_take(&message, descriptor);
    if (length == 0 && rights == 0 && (message.msg_flags & MSG_CTRUNC) == 0)
        return MR_E_GONE; /* I4 */
    if ((message.msg_flags & MSG_CTRUNC) != 0 && rights < PLAIN_RIGHTS_MAX) {
        (void) fail_packet(descriptor, MR_E_DESCRIPTORS, "a descriptor");
        return status_fail(MR_E_DESCRIPTORS, EMFILE,
                           "no descriptor left for what the other end of a ring has sent: raise "
                           "the limit (ulimit -n)");
    }
    const char *fault = packet_fault(packet, (size_t) length, rights);
    return fault == NULL ? MR_OK : fail_packet(descriptor, MR_E_ARGUMENT, fault);
}
