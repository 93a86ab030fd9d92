/* The bare forwarder: a TPACKET_V2 ring whose slots go straight to sendmmsg; see traffic.h. */
#include "traffic.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define SLOT_BYTES 2048U
#define BLOCK_BYTES (512U * SLOT_BYTES)
#define STOP_CHECK_MS 50

struct forwarder {
    int rx;
    int tx;
    uint8_t *ring;
    uint32_t slots;
    uint32_t next;              /* First slot that has not been taken. */
    struct mmsghdr messages[TRAFFIC_BATCH];
    struct iovec parts[TRAFFIC_BATCH];
};

static size_t
ring_bytes(const struct forwarder *f)
{
    return (size_t) f->slots * SLOT_BYTES;
}

static struct tpacket2_hdr *
slot(const struct forwarder *f, uint32_t index)
{
    return (struct tpacket2_hdr *) (void *) (f->ring + (size_t) (index % f->slots) * SLOT_BYTES);
}

static int
bind_to(int socket, int interface, uint16_t protocol)
{
    struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(protocol), .sll_ifindex = interface };
    return bind(socket, (struct sockaddr *) &address, sizeof address);
}

static int
open_input(struct forwarder *f, int interface)
{
    int version = TPACKET_V2, on = 1;
    struct tpacket_req ring = { .tp_block_size = BLOCK_BYTES, .tp_block_nr = (unsigned) (ring_bytes(f) / BLOCK_BYTES),
                                .tp_frame_size = SLOT_BYTES, .tp_frame_nr = f->slots };
    f->rx = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (f->rx < 0
        || setsockopt(f->rx, SOL_PACKET, PACKET_VERSION, &version, sizeof version)
        || setsockopt(f->rx, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on)
        || setsockopt(f->rx, SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring)) {
        return -errno;
    }
    f->ring = mmap(NULL, ring_bytes(f), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, f->rx, 0);
    if (f->ring == MAP_FAILED || bind_to(f->rx, interface, ETH_P_ALL)) {
        return -errno;
    }
    return 0;
}

static int
open_output(struct forwarder *f, int interface)
{
    int on = 1;
    f->tx = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (f->tx < 0
        || setsockopt(f->tx, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on)
        || bind_to(f->tx, interface, 0)) {
        return -errno;
    }
    return 0;
}

static void
forwarder_close(struct forwarder *f)
{
    if (f->ring != MAP_FAILED) {
        munmap(f->ring, ring_bytes(f));
    }
    if (f->rx >= 0) {
        close(f->rx);
    }
    if (f->tx >= 0) {
        close(f->tx);
    }
}

static int
is_filled(const struct tpacket2_hdr *header)
{
    return (__atomic_load_n(&header->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER) != 0;
}

/* Points the messages at the filled slots, up to a batch. Returns how many. */
static uint32_t
take(struct forwarder *f)
{
    uint32_t n = 0;
    for (; n < TRAFFIC_BATCH; n++) {
        struct tpacket2_hdr *header = slot(f, f->next + n);
        if (!is_filled(header)) {
            break;
        }
        f->parts[n] = (struct iovec) { .iov_base = (uint8_t *) header + header->tp_mac, .iov_len = header->tp_snaplen };
    }
    return n;
}

/* Sends 'n' messages. One that the kernel refuses is skipped and counted. */
static void
send_all(struct forwarder *f, uint32_t n, struct bare_forwarder *counters)
{
    for (uint32_t done = 0; done < n;) {
        int sent = sendmmsg(f->tx, f->messages + done, n - done, 0);
        if (sent > 0) {
            done += (uint32_t) sent;
            __atomic_store_n(&counters->forwarded, counters->forwarded + (uint64_t) sent, __ATOMIC_RELAXED);
        } else {
            done++;
            __atomic_store_n(&counters->send_errors, counters->send_errors + 1, __ATOMIC_RELAXED);
        }
    }
}

static void
give_back(struct forwarder *f, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        __atomic_store_n(&slot(f, f->next + i)->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
    }
    f->next = (f->next + n) % f->slots;
}

static void
forward_until_stopped(struct forwarder *f, struct bare_forwarder *bare)
{
    for (uint32_t i = 0; i < TRAFFIC_BATCH; i++) {
        f->messages[i].msg_hdr = (struct msghdr) { .msg_iov = &f->parts[i], .msg_iovlen = 1 };
    }
    __atomic_store_n(&bare->is_ready, 1, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&bare->stop, __ATOMIC_RELAXED)) {
        uint32_t n = take(f);
        if (n == 0) {
            struct pollfd readable = { .fd = f->rx, .events = POLLIN };
            poll(&readable, 1, STOP_CHECK_MS);
        } else {
            send_all(f, n, bare);
            give_back(f, n);
        }
    }
}

int
bare_forward(struct bare_forwarder *bare)
{
    struct forwarder f = { .rx = -1, .tx = -1, .ring = MAP_FAILED, .slots = bare->ring_slots };
    if (f.slots == 0 || f.slots % (BLOCK_BYTES / SLOT_BYTES)) {
        return -EINVAL;
    }
    int error = open_output(&f, bare->output);
    if (!error) {
        error = open_input(&f, bare->input);
    }
    if (!error) {
        forward_until_stopped(&f, bare);
    }
    forwarder_close(&f);
    return error;
}
