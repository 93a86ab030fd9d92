#include "ring.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BLOCK_BYTES = 1 << 16,
    ETHERTYPE_PTP = 0x88f7,
    MAC_ADDRESSES_BYTES = 12,
    VLAN_TAG_BYTES = 4,
};

_Static_assert(TP_STATUS_USER == 1, "ring_is_empty() says so");

/* One program sorts the frames for all rings, so that each frame goes to exactly one: of its three answers, all but
 * 'traffic' mean "not mine".  A VLAN tag is not in the bytes: the kernel keeps it aside. */
static int
attach_filter(int fd, enum ring_traffic traffic, uint32_t snap_bytes)
{
    const uint32_t control = traffic == RING_CONTROL ? snap_bytes : 0;
    const uint32_t labelled = traffic == RING_LABELLED ? snap_bytes : 0;
    const uint32_t bulk = traffic == RING_BULK ? snap_bytes : 0;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, MAC_ADDRESSES_BYTES),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_ARP, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETHERTYPE_PTP, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_MPLS_UC, 0, 4),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (uint32_t) (SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 2),
        BPF_STMT(BPF_RET | BPF_K, control),
        BPF_STMT(BPF_RET | BPF_K, labelled),
        BPF_STMT(BPF_RET | BPF_K, bulk),
    };
    struct sock_fprog program = { .len = sizeof code / sizeof code[0], .filter = code };

    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

static int
set_option(int fd, int option, int value)
{
    return setsockopt(fd, SOL_PACKET, option, &value, sizeof value);
}

static int
map_slots(struct ring *ring)
{
    const uint32_t slots_per_block = BLOCK_BYTES / ring->slot_bytes;
    struct tpacket_req request = {
        .tp_block_size = BLOCK_BYTES,
        .tp_block_nr = ring->slot_count / slots_per_block,
        .tp_frame_size = ring->slot_bytes,
        .tp_frame_nr = ring->slot_count,
    };

    if (set_option(ring->fd, PACKET_VERSION, TPACKET_V2) || set_option(ring->fd, PACKET_RESERVE, VLAN_TAG_BYTES)
        || setsockopt(ring->fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof request)) {
        return -1;
    }
    ring->slots = mmap(NULL, (size_t) ring->slot_count * ring->slot_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                       ring->fd, 0);
    return ring->slots == MAP_FAILED ? -1 : 0;
}

static int
listen_to(int fd, int ifindex)
{
    struct packet_mreq membership = { .mr_ifindex = ifindex, .mr_type = PACKET_MR_PROMISC };
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET,
        .sll_protocol = htons(ETH_P_ALL),
        .sll_ifindex = ifindex,
    };

    if (set_option(fd, PACKET_IGNORE_OUTGOING, 1)
        || setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &membership, sizeof membership)) {
        return -1;
    }
    return bind(fd, (struct sockaddr *) &address, sizeof address);
}

/* Opens 'ring' for the 'traffic' that arrives on 'ifindex', addressed to whomever: 'slot_count' slots (a power of two
 * that fills blocks of 64 KiB) of 'slot_bytes' bytes.  Returns 0 or an errno; either way the ring may be closed. */
int
ring_open(struct ring *ring, int ifindex, enum ring_traffic traffic, uint32_t slot_bytes, uint32_t slot_count)
{
    *ring = (struct ring) { .slots = MAP_FAILED, .slot_bytes = slot_bytes, .slot_count = slot_count };

    /* Protocol 0 receives nothing: no frame comes in before the filter is in place. */
    ring->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (ring->fd < 0 || attach_filter(ring->fd, traffic, slot_bytes - RING_HEAD_BYTES) || map_slots(ring)
        || listen_to(ring->fd, ifindex)) {
        return errno;
    }
    return 0;
}

/* Closes 'ring'; ring_open() was called before. */
void
ring_close(struct ring *ring)
{
    if (ring->slots != MAP_FAILED) {
        munmap(ring->slots, (size_t) ring->slot_count * ring->slot_bytes);
    }
    if (ring->fd >= 0) {
        close(ring->fd);
    }
}

static bool
has_vlan_tag(const struct tpacket2_hdr *head)
{
    return head->tp_status & TP_STATUS_VLAN_VALID;
}

/* Puts the VLAN tag, which the kernel took out, back into 'frame'. */
static void
restore_vlan_tag(const struct tpacket2_hdr *head, struct ring_frame *frame)
{
    const uint16_t tag[2] = {
        htons(head->tp_status & TP_STATUS_VLAN_TPID_VALID ? head->tp_vlan_tpid : ETH_P_8021Q),
        htons(head->tp_vlan_tci),
    };

    frame->bytes -= VLAN_TAG_BYTES;
    frame->length += VLAN_TAG_BYTES;
    frame->wire_length += VLAN_TAG_BYTES;
    memmove(frame->bytes, frame->bytes + VLAN_TAG_BYTES, MAC_ADDRESSES_BYTES);
    memcpy(frame->bytes + MAC_ADDRESSES_BYTES, tag, sizeof tag);
}

/* Has the head of the next slot, and the frame's own, fetched while the caller is busy with this one. */
static void
prefetch_next(const struct ring *ring)
{
    const uint8_t *slot = (const uint8_t *) ring_status__(ring, ring->taken);

    __builtin_prefetch(slot);
    __builtin_prefetch(slot + 64);
}

/* Takes the oldest frame that waits and describes it in 'frame'.  Returns false if there is none. */
bool
ring_take(struct ring *ring, struct ring_frame *frame)
{
    struct tpacket2_hdr *head = (struct tpacket2_hdr *) ring_status__(ring, ring->taken);

    if (ring_is_empty(ring)) {
        return false;
    }
    ring->taken++;
    prefetch_next(ring);
    *frame = (struct ring_frame) {
        .bytes = (uint8_t *) head + head->tp_mac,
        .length = head->tp_snaplen,
        .wire_length = head->tp_len,
        .stamp_ns = head->tp_sec * INT64_C(1000000000) + head->tp_nsec,
    };
    if (has_vlan_tag(head)) {
        restore_vlan_tag(head, frame);
    }
    return true;
}

/* Takes up to 'max' of the frames that wait, oldest first, and describes them in 'frames'.  Returns how many. */
uint32_t
ring_take_many(struct ring *ring, struct ring_frame *frames, uint32_t max)
{
    uint32_t count = 0;

    while (count < max && ring_take(ring, &frames[count])) {
        count++;
    }
    return count;
}

/* Gives all frames that were taken back to the kernel. */
void
ring_release(struct ring *ring)
{
    for (; ring->released != ring->taken; ring->released++) {
        __atomic_store_n(ring_status__(ring, ring->released), TP_STATUS_KERNEL, __ATOMIC_RELEASE);
    }
}

/* Returns how many frames the kernel has dropped because 'ring' was full, since this was asked last. */
uint32_t
ring_take_drops(const struct ring *ring)
{
    struct tpacket_stats since_last;
    socklen_t size = sizeof since_last;

    return getsockopt(ring->fd, SOL_PACKET, PACKET_STATISTICS, &since_last, &size) ? 0 : since_last.tp_drops;
}

/* Clears the error that poll() reported for 'fd', a ring on 'ifindex'.  Returns true if the interface is gone; false
 * if it is only down, and may come back. */
bool
ring_is_gone(int fd, int ifindex)
{
    char name[IF_NAMESIZE];
    socklen_t size = sizeof(int);
    int error;

    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) || !if_indextoname(ifindex, name);
}
