/* Frames that arrive on an interface, without a system call or a copy per frame: a TPACKET_V2 ring that the kernel
 * fills, from a classic BPF filter that admits one of three kinds of traffic.
 *
 * A frame that was taken stays where it is until it is released.  When all of the ring is taken or waits, the kernel
 * drops what arrives, at no cost to the reader, and counts it.
 *
 * For one thread; another one may take the drops. */

#ifndef RING_H
#define RING_H 1

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Each frame is of exactly one kind. */
enum ring_traffic {
    RING_CONTROL,               /* ARP and PTP. */
    RING_LABELLED,              /* MPLS, outermost. */
    RING_BULK,                  /* All the rest. */
};

/* Bytes of the ring per frame, of which the kernel's head takes RING_HEAD_BYTES. */
enum {
    RING_HEAD_BYTES = 128,
    RING_SLOT_WHOLE = 2048,
    RING_SLOT_HEADERS = 256,
};

struct ring {
    int fd;
    uint8_t *slots;
    uint32_t slot_bytes;
    uint32_t slot_count;        /* A power of two. */
    uint32_t taken;             /* Slots taken and released since the start; both wrap. */
    uint32_t released;
};

struct ring_frame {
    uint8_t *bytes;             /* Within the ring, writable. */
    uint32_t length;            /* Of what is at 'bytes'. */
    uint32_t wire_length;       /* Of the frame as it arrived; larger if the slot did not hold all of it. */
    int64_t stamp_ns;           /* The kernel's arrival stamp, on the wall clock. */
};

/* Opening and closing. */
int ring_open(struct ring *, int ifindex, enum ring_traffic, uint32_t slot_bytes, uint32_t slot_count);
void ring_close(struct ring *);

/* Reading. */
static inline bool ring_is_empty(const struct ring *);
bool ring_take(struct ring *, struct ring_frame *);
uint32_t ring_take_many(struct ring *, struct ring_frame *, uint32_t max);
void ring_release(struct ring *);
uint32_t ring_take_drops(const struct ring *);
bool ring_is_gone(int fd, int ifindex);

static inline volatile uint32_t *
ring_status__(const struct ring *ring, uint32_t number)
{
    size_t slot = number & (ring->slot_count - 1);

    return (volatile uint32_t *) (ring->slots + slot * ring->slot_bytes);
}

/* Returns true if ring_take() would find nothing. */
static inline bool
ring_is_empty(const struct ring *ring)
{
    const uint32_t user = 1;    /* TP_STATUS_USER. */

    return !(__atomic_load_n(ring_status__(ring, ring->taken), __ATOMIC_ACQUIRE) & user)
           || ring->taken - ring->released == ring->slot_count;
}

#endif /* ring.h */
