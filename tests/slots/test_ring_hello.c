/* test_ring_hello.c: the packets and the memory of the ring's socket, from an honest peer and from any other. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "slot_support_linux.h"
#include "slots/janitor_linux.h"
#include "slots/ring_hello_linux.h"

static const struct ring_geometry two = {.levels = 2, .capacity = {(uint32_t) 256 << 10, (uint32_t) 64 << 10}};

struct pair {
    int ours;
    int theirs;
};

static struct pair pair_make(void)
{
    int ends[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    return (struct pair){ends[0], ends[1]};
}

static void pair_end(const struct pair *pair)
{
    close(pair->ours);
    if (pair->theirs >= 0)
        close(pair->theirs);
}

/* Sends any bytes with any number of descriptors. */
static void send_raw(int socket, const void *data, size_t size, const int *descriptors, size_t count)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(253 * sizeof(int))];
    } control;
    memset(&control, 0, sizeof control);
    struct iovec part = {(void *) (uintptr_t) data, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(header), descriptors, count * sizeof(int));
    }
    CHECK_EQ(sendmsg(socket, &message, MSG_NOSIGNAL), (ssize_t) size);
}

static struct ring_hello hello_make(void)
{
    struct ring_hello hello = {.writer = 77, .geometry = two, .sequence = {5, 6}, .redelivered = {8, 0}};
    ring_packet_init(&hello.packet, PACKET_HELLO, RING_FLAG_BARRIER);
    return hello;
}

static int receive_status(int socket)
{
    union ring_any_packet packet;
    int descriptor = 99;
    int status = ring_packet_receive(socket, &packet, &descriptor);
    if (status != MR_OK)
        CHECK_EQ(descriptor, -1);
    else if (descriptor >= 0)
        close(descriptor);
    return status;
}

/* ---- memory ---- */

TEST(ring_hello, the_writers_memory_is_what_a_reader_takes)
{
    int fd;
    void *ours, *theirs;
    CHECK_STATUS(ring_memory_make(&two, &fd, &ours), MR_OK);
    CHECK_EQ(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    CHECK_EQ(fcntl(fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | F_SEAL_WRITE),
             F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    CHECK_EQ(lseek(fd, 0, SEEK_END), (off_t) ring_memory_bytes(&two));
    CHECK_STATUS(ring_memory_take(&two, fd, &theirs), MR_OK);
    CHECK(ours != theirs);
    for (size_t at = 0; at < ring_memory_bytes(&two); at += 4096)
        CHECK_EQ(((unsigned char *) theirs)[at], 0);
    memcpy(ours, "seen", 5);
    CHECK_STR((char *) theirs, "seen");
    ring_memory_free(&two, ours);
    CHECK_STR((char *) theirs, "seen");
    ring_memory_free(&two, theirs);
    close(fd);
}

TEST(ring_hello, memory_above_the_limit_of_files_is_an_error_and_no_signal)
{
    static char data[128 << 10];
    struct rlimit limit;
    int fd = -1;
    void *memory = NULL;
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = (rlim_t) 64 << 10; /* growing a file beyond it would be SIGXFSZ, the process's end */
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
    CHECK_STATUS(ring_memory_make(&two, &fd, &memory), MR_E_MEMORY);
    CHECK_EQ(mr_last_os_error(), EFBIG);
    CHECK_STATUS(ring_large_make(data, sizeof data, &fd), MR_E_MEMORY);
    CHECK_EQ(mr_last_os_error(), EFBIG);
    CHECK_STATUS(ring_large_make(data, (size_t) 64 << 10, &fd), MR_OK);
    close(fd);
}

TEST(ring_hello, the_memory_is_not_there_in_a_forked_child)
{
    int fd;
    void *memory;
    CHECK_STATUS(ring_memory_make(&two, &fd, &memory), MR_OK);
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) /* mincore: ENOMEM where nothing is mapped */
        _exit(mincore(memory, 4096, (unsigned char[]){0}) == -1 && errno == ENOMEM ? 0 : 1);
    slots_join(child);
    ring_memory_free(&two, memory);
    close(fd);
}

static int take(int fd)
{
    void *memory = NULL;
    int status = ring_memory_take(&two, fd, &memory);
    if (status == MR_OK)
        ring_memory_free(&two, memory);
    else
        CHECK(memory == NULL);
    close(fd);
    return status;
}

static int memory_with(off_t size, int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(fd >= 0);
    CHECK_EQ(ftruncate(fd, size), 0);
    CHECK_EQ(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

TEST(ring_hello, memory_without_a_seal_or_of_another_size_is_refused)
{
    static const int all[] = {F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL};
    off_t size = (off_t) ring_memory_bytes(&two);
    int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    CHECK_STATUS(take(memory_with(size, seals)), MR_OK);
    for (size_t n = 0; n < 3; n++)
        CHECK_STATUS(take(memory_with(size, seals & ~all[n])), MR_E_ARGUMENT);
    CHECK_STATUS(take(memory_with(size + 4096, seals)), MR_E_ARGUMENT);
    CHECK_STATUS(take(memory_with(size - 1, seals)), MR_E_ARGUMENT);
    CHECK_STATUS(take(memory_with(0, seals)), MR_E_ARGUMENT);
    CHECK_STATUS(take(memory_with(size, seals | F_SEAL_WRITE)), MR_E_ARGUMENT); /* it could not be written */
    CHECK_STATUS(take(memory_with(size, seals | F_SEAL_FUTURE_WRITE)), MR_E_ARGUMENT);
}

TEST(ring_hello, what_is_no_memory_on_tmpfs_is_refused)
{
    char path[] = "/tmp/mr-hello-XXXXXX";
    int file = mkstemp(path);
    CHECK(file >= 0);
    CHECK_EQ(unlink(path), 0);
    CHECK_EQ(ftruncate(file, (off_t) ring_memory_bytes(&two)), 0);
    CHECK_STATUS(take(file), MR_E_ARGUMENT);
    CHECK_STATUS(take(eventfd(0, EFD_CLOEXEC)), MR_E_ARGUMENT);
    int ends[2];
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    CHECK_STATUS(take(ends[0]), MR_E_ARGUMENT);
    close(ends[1]);
    int huge = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);
    if (huge >= 0) { /* sealed and of a size of its own: another file system's pages */
        struct ring_geometry geometry = {.levels = 1, .capacity = {(uint32_t) 2 << 20}};
        void *memory;
        CHECK_EQ(ftruncate(huge, (off_t) 4 << 20), 0);
        CHECK_EQ(fcntl(huge, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
        CHECK_STATUS(ring_memory_take(&geometry, huge, &memory), MR_E_ARGUMENT);
        close(huge);
    }
    struct ring_geometry wrong = two;
    wrong.capacity[1]++;
    void *memory;
    int fd = memory_with(0, 0);
    CHECK_STATUS(ring_memory_take(&wrong, fd, &memory), MR_E_ARGUMENT);
    close(fd);
}

TEST(ring_hello, a_large_message_is_sealed_whole_and_read_whole)
{
    static char data[300001], back[300001];
    for (size_t n = 0; n < sizeof data; n++)
        data[n] = (char) (n * 7 + n / 1000);
    int fd;
    CHECK_STATUS(ring_large_make(data, sizeof data, &fd), MR_OK);
    CHECK(pwrite(fd, "x", 1, 0) < 0);
    CHECK_EQ(errno, EPERM);
    CHECK(ftruncate(fd, 1) < 0);
    CHECK_STATUS(ring_large_check(fd, sizeof back), MR_OK);
    CHECK_STATUS(ring_large_read(fd, back, sizeof back), MR_OK);
    CHECK_MEM(back, data, sizeof data);
    CHECK_STATUS(ring_large_check(fd, sizeof back - 1), MR_E_ARGUMENT);
    close(fd);
    int unsealed = memory_with(100, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    CHECK_STATUS(ring_large_check(unsealed, 100), MR_E_ARGUMENT);
    close(unsealed);
    int event = eventfd(0, EFD_CLOEXEC);
    CHECK_STATUS(ring_large_check(event, 8), MR_E_ARGUMENT);
    close(event);
}

/* ---- packets ---- */

TEST(ring_hello, a_hello_arrives_with_its_memory_close_on_exec)
{
    struct pair pair = pair_make();
    struct ring_hello hello = hello_make();
    int fd;
    void *memory, *mapped;
    CHECK_STATUS(ring_memory_make(&two, &fd, &memory), MR_OK);
    memcpy(memory, "mine", 5);
    CHECK_STATUS(ring_packet_send(pair.theirs, &hello, sizeof hello, fd), MR_OK);
    union ring_any_packet packet;
    int descriptor;
    CHECK_STATUS(ring_packet_receive(pair.ours, &packet, &descriptor), MR_OK);
    CHECK_EQ(packet.packet.type, PACKET_HELLO);
    CHECK_MEM(&packet.hello, &hello, sizeof hello);
    CHECK(descriptor >= 0 && descriptor != fd);
    CHECK_EQ(fcntl(descriptor, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    CHECK_STATUS(ring_memory_take(&packet.hello.geometry, descriptor, &mapped), MR_OK);
    CHECK_STR((char *) mapped, "mine");
    ring_memory_free(&two, mapped);
    ring_memory_free(&two, memory);
    close(descriptor);
    close(fd);
    CHECK_STATUS(receive_status(pair.ours), MR_E_FULL);
    pair_end(&pair);
}

TEST(ring_hello, each_type_has_its_number_of_descriptors_and_the_others_are_closed)
{
    static const struct {
        uint16_t type;
        size_t size;
        size_t least;
        size_t most;
    } table[] = {{PACKET_HELLO, sizeof(struct ring_hello), 1, 1},
                 {PACKET_ANSWER, sizeof(struct ring_answer), 0, 1},
                 {PACKET_LARGE, sizeof(struct ring_large), 1, 1},
                 {PACKET_REACHED, sizeof(struct ring_packet), 0, 0},
                 {PACKET_RENAMED, sizeof(struct ring_packet), 0, 0},
                 {6, sizeof(struct ring_packet), 1, 0},
                 {0, sizeof(struct ring_packet), 1, 0}};
    slots_begin();
    CHECK_STATUS(janitor_prepare(), MR_OK);
    struct pair pair = pair_make();
    int passed[253];
    for (size_t n = 0; n < 253; n++)
        passed[n] = pair.theirs;
    size_t before = slots_descriptors();
    for (size_t n = 0; n < sizeof table / sizeof table[0]; n++) {
        for (size_t count = 0; count <= 3; count++) {
            size_t rights = count < 3 ? count : 253;
            union ring_any_packet packet = {.packet = {.magic = 0}};
            ring_packet_init(&packet.packet, (enum ring_packet_type) table[n].type, 0);
            send_raw(pair.theirs, &packet, table[n].size, passed, rights);
            bool right = rights >= table[n].least && rights <= table[n].most;
            CHECK_STATUS(receive_status(pair.ours), right ? MR_OK : MR_E_ARGUMENT);
            slots_await_descriptors(before); /* each time: five times so many are more than many a process may have */
        }
    }
    pair_end(&pair);
}

TEST(ring_hello, a_packet_of_another_form_is_refused_and_its_descriptor_closed)
{
    slots_begin();
    CHECK_STATUS(janitor_prepare(), MR_OK);
    struct pair pair = pair_make();
    size_t before = slots_descriptors();
    struct ring_hello hello = hello_make();
    static const size_t sizes[] = {1, 15, 16, sizeof hello - 1};
    for (size_t n = 0; n < 4; n++) {
        send_raw(pair.theirs, &hello, sizes[n], &pair.theirs, 1);
        CHECK_STATUS(receive_status(pair.ours), MR_E_ARGUMENT);
    }
    char longer[4096] = {0}; /* truncated where it is received */
    memcpy(longer, &hello, sizeof hello);
    send_raw(pair.theirs, longer, sizeof hello + 1, &pair.theirs, 1);
    CHECK_STATUS(receive_status(pair.ours), MR_E_ARGUMENT);
    send_raw(pair.theirs, longer, sizeof longer, &pair.theirs, 1);
    CHECK_STATUS(receive_status(pair.ours), MR_E_ARGUMENT);
    send_raw(pair.theirs, "", 0, &pair.theirs, 1);
    CHECK_STATUS(receive_status(pair.ours), MR_E_ARGUMENT);
    for (unsigned n = 0; n < 4; n++) {
        struct ring_hello wrong = hello;
        wrong.packet.magic ^= n == 0;
        wrong.packet.version = (uint16_t) (wrong.packet.version + (n == 1));
        wrong.packet.zero = n == 2;
        wrong.zero = n == 3;
        send_raw(pair.theirs, &wrong, sizeof wrong, &pair.theirs, 1);
        CHECK_STATUS(receive_status(pair.ours), MR_E_ARGUMENT);
    }
    struct ring_large large = {.zero = 1};
    ring_packet_init(&large.packet, PACKET_LARGE, 0);
    send_raw(pair.theirs, &large, sizeof large, &pair.theirs, 1);
    CHECK_STATUS(receive_status(pair.ours), MR_E_ARGUMENT);
    send_raw(pair.theirs, &hello, sizeof hello, &pair.theirs, 1); /* it was not the socket's fault */
    CHECK_STATUS(receive_status(pair.ours), MR_OK);
    slots_await_descriptors(before);
    pair_end(&pair);
}

TEST(ring_hello, no_number_left_for_a_descriptor_is_told_from_a_wrong_packet)
{
    slots_begin();
    CHECK_STATUS(janitor_prepare(), MR_OK);
    struct pair pair = pair_make();
    struct ring_hello hello = hello_make();
    send_raw(pair.theirs, &hello, sizeof hello, &pair.theirs, 1);
    send_raw(pair.theirs, &hello, sizeof hello, &pair.theirs, 1);
    struct rlimit before, none;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    int status = receive_status(pair.ours);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    CHECK_STATUS(status, MR_E_DESCRIPTORS);
    CHECK_STATUS(receive_status(pair.ours), MR_OK);
    pair_end(&pair);
}

TEST(ring_hello, the_end_is_told_after_what_was_sent_and_a_full_socket_does_not_block)
{
    struct pair pair = pair_make();
    struct ring_packet reached;
    ring_packet_init(&reached, PACKET_REACHED, 0);
    CHECK_STATUS(receive_status(pair.ours), MR_E_FULL);
    int status;
    size_t sent = 0, received = 0;
    while ((status = ring_packet_send(pair.theirs, &reached, sizeof reached, -1)) == MR_OK)
        sent++;
    CHECK_STATUS(status, MR_E_FULL);
    CHECK_STATUS(ring_packet_send(pair.ours, &reached, sizeof reached, -1), MR_OK); /* unread there: a reset here */
    close(pair.theirs);
    pair.theirs = -1;
    while ((status = receive_status(pair.ours)) == MR_OK)
        received++;
    CHECK_STATUS(status, MR_E_GONE);
    CHECK_EQ(received, sent);
    CHECK_STATUS(receive_status(pair.ours), MR_E_GONE);
    CHECK_STATUS(ring_packet_send(pair.ours, &reached, sizeof reached, -1), MR_E_GONE);
    pair_end(&pair);
}

TEST(ring_hello, credentials_besides_a_packet_are_no_matter)
{
    struct pair pair = pair_make();
    int on = 1;
    CHECK_EQ(setsockopt(pair.ours, SOL_SOCKET, SO_PASSCRED, &on, sizeof on), 0); /* as a port does it */
    struct ring_hello hello = hello_make();
    send_raw(pair.theirs, &hello, sizeof hello, &pair.theirs, 1);
    CHECK_STATUS(receive_status(pair.ours), MR_OK);
    close(pair.theirs);
    pair.theirs = -1;
    CHECK_STATUS(receive_status(pair.ours), MR_E_GONE);
    pair_end(&pair);
}
