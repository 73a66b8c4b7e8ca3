/* seed_slot_linux.c: the peer seed's slot as a SOCK_SEQPACKET socket.
 *
 * Path    seed_end_write ► send ► the connection ► recv ► seed_slot_read
 * Owners  A slot belongs to the one thread that reads it; seed_slot_stop alone comes from others. An end belongs to its
 *         writer's own thread.
 * I1      A mailslot has one handle, this has a connection per writer: a read first takes what the current connection still
 *         has and asks the kernel for another (epoll) only when that is empty, so that a message costs one system call
 *         while there are any, as ReadFile does. TURN messages, and the next has its turn.
 * I2      epoll is level-triggered: a connection that was left with messages comes up again.
 */
#include "seed_slot.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "queue/memory.h"
#include "socket_linux.h"

#define TURN SOCKET_TURN

const char seed_slot_summary[] =
    "the article's design on the plain lane's kind of socket: a thread per slot, 64 KiB and a copy per message, "
    "a deque and a thread per writer";

struct seed_slot {
    struct source_set set;
    struct source *current; /* NULL: none has messages that is known of */
    unsigned turn;
};

int seed_slot_create(struct seed_slot **slot, const struct peer_options *options, unsigned number)
{
    struct seed_slot *created = memory_zalloc(sizeof *created);
    if (created == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a slot");
    int status = source_set_open(&created->set);
    if (status != MR_OK) {
        memory_free(created);
        return status;
    }
    int descriptor = socket_bind_slot(options, SOCK_SEQPACKET, number);
    status = descriptor < 0 ? MR_E_SYSTEM : source_set_add(&created->set, descriptor, number, true);
    if (status != MR_OK) {
        seed_slot_close(created);
        return status;
    }
    *slot = created;
    return MR_OK;
}

/* Waits for a connection with messages. NULL is left where the stop event, which stays set, came. */
static int current_await(struct seed_slot *slot)
{
    while (slot->current == NULL) {
        struct epoll_event event;
        int count = epoll_wait(slot->set.epoll, &event, 1, -1);
        if (count < 0 && errno != EINTR)
            return status_fail(MR_E_SYSTEM, errno, "epoll_wait failed: %s", strerror(errno));
        if (count <= 0)
            continue;
        struct source *source = event.data.ptr;
        if (source == &slot->set.waker)
            return MR_OK;
        if (!source->listening) {
            slot->current = source;
            slot->turn = 0;
            return MR_OK;
        }
        int status = source_set_accept(&slot->set, source);
        if (status != MR_OK)
            return status;
    }
    return MR_OK;
}

int seed_slot_read(struct seed_slot *slot, void *buffer, size_t room, size_t *length)
{
    *length = 0;
    for (;;) {
        int status = current_await(slot);
        struct source *source = slot->current;
        if (status != MR_OK || source == NULL)
            return status;
        ssize_t received = recv(source->descriptor, buffer, room, 0);
        if (received > 0) {
            *length = (size_t) received;
            if (++slot->turn == TURN)
                slot->current = NULL;
            return MR_OK;
        }
        slot->current = NULL;
        if (received == 0 || errno == ECONNRESET)
            source_set_remove(&slot->set, source); /* no packet is empty: the writer has gone */
        else if (errno != EAGAIN && errno != EINTR)
            return status_fail(MR_E_SYSTEM, errno, "recv failed: %s", strerror(errno));
    }
}

void seed_slot_stop(struct seed_slot *slot)
{
    source_set_wake(&slot->set);
}

void seed_slot_close(struct seed_slot *slot)
{
    source_set_close(&slot->set);
    memory_free(slot);
}

struct seed_end {
    int descriptor;
};

int seed_end_connect(struct seed_end **end, const struct peer_options *options, unsigned number)
{
    struct seed_end *connected = memory_alloc(sizeof *connected);
    if (connected == NULL)
        return status_fail(MR_E_MEMORY, 0, "no memory for a connection");
    connected->descriptor = socket_connect_slot(options, SOCK_SEQPACKET, number);
    if (connected->descriptor < 0) {
        memory_free(connected);
        return MR_E_SYSTEM;
    }
    *end = connected;
    return MR_OK;
}

int seed_end_write(struct seed_end *end, const void *data, size_t length)
{
    return socket_send(end->descriptor, data, length);
}

void seed_end_close(struct seed_end *end)
{
    close(end->descriptor);
    memory_free(end);
}
