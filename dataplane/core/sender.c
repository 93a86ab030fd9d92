#include "sender.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <time.h>
#include <unistd.h>

enum {
    BUFFER_BYTES = 4 << 20,
    URGENT_TRIES = 5,
    PAUSE_NS = 20000,
};

/* Opens 'sender' on 'ifindex', past the interface's queueing discipline if 'bypass_qdisc'.  Returns 0 or an errno;
 * either way the sender may be closed. */
int
sender_open(struct sender *sender, int ifindex, bool bypass_qdisc)
{
    /* Protocol 0: the kernel reads it from each frame, so that filters of tc see the right one. */
    struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_ifindex = ifindex };
    const int bypass = bypass_qdisc, buffer_bytes = BUFFER_BYTES;

    *sender = (struct sender) { .fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0) };
    if (sender->fd < 0
        || setsockopt(sender->fd, SOL_PACKET, PACKET_QDISC_BYPASS, &bypass, sizeof bypass)
        || setsockopt(sender->fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer_bytes, sizeof buffer_bytes)
        || bind(sender->fd, (struct sockaddr *) &address, sizeof address)) {
        return errno;
    }
    for (uint32_t i = 0; i < SENDER_BATCH; i++) {
        sender->messages[i].msg_hdr = (struct msghdr) { .msg_iov = &sender->frames[i], .msg_iovlen = 1 };
    }
    return 0;
}

/* Closes 'sender'; sender_open() was called before. */
void
sender_close(struct sender *sender)
{
    if (sender->fd >= 0) {
        close(sender->fd);
    }
}

/* Adds a frame to the batch.  Its bytes must stay where they are until sender_flush(); an urgent frame is tried
 * several times.
 *
 * The caller must ensure that the batch has fewer than SENDER_BATCH frames. */
void
sender_add(struct sender *sender, void *bytes, uint32_t length, bool is_urgent)
{
    sender->frames[sender->count] = (struct iovec) { .iov_base = bytes, .iov_len = length };
    sender->is_urgent[sender->count++] = is_urgent;
}

/* What is full may have room in a moment; what is gone stays gone. */
static bool
may_pass(int error)
{
    return error == ENOBUFS || error == EAGAIN || error == EINTR;
}

static bool
is_gone(int error)
{
    return error == ENXIO || error == ENODEV;
}

/* Sends the batch in order, and empties it.  Says of each of its frames in 'is_sent' whether the kernel took it.
 * Returns 0, or an errno if the interface is gone. */
int
sender_flush(struct sender *sender, bool is_sent[SENDER_BATCH])
{
    const struct timespec pause = { .tv_nsec = PAUSE_NS };
    uint32_t done = 0, tries = 0;
    int error = 0;

    while (done < sender->count && !is_gone(error)) {
        int accepted = sendmmsg(sender->fd, &sender->messages[done], sender->count - done, MSG_DONTWAIT);
        if (accepted > 0) {
            for (; accepted > 0; accepted--) {
                is_sent[done++] = true;
            }
            tries = 0;
            continue;
        }
        error = errno;
        if (sender->is_urgent[done] && may_pass(error) && ++tries < URGENT_TRIES) {
            nanosleep(&pause, NULL);
        } else {
            is_sent[done++] = false;
            tries = 0;
        }
    }
    while (done < sender->count) {
        is_sent[done++] = false;
    }
    sender->count = 0;
    return is_gone(error) ? error : 0;
}
