/* An egress without a kernel: rings that a test fills, and a wire that it reads. */

#ifndef LAB_H
#define LAB_H 1

#include <linux/if_packet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "check.h"
#include "egress.h"
#include "state.h"

enum { LAB_SLOTS = 512 };

static inline void
lab_open_ring(struct ring *ring, uint32_t slot_bytes)
{
    *ring = (struct ring) { .fd = eventfd(0, 0), .slot_bytes = slot_bytes, .slot_count = LAB_SLOTS };
    CHECK(ring->fd >= 0);
    ring->slots = calloc(LAB_SLOTS, slot_bytes);
    CHECK(ring->slots);
}

static inline void
lab_close_ring(struct ring *ring)
{
    close(ring->fd);
    free(ring->slots);
}

/* Has 'frame', of 'bytes' bytes, arrive at 'stamp_ns' of the wall clock, number 'number' of 'ring'. */
static inline void
lab_arrive(struct ring *ring, uint32_t number, const uint8_t *frame, uint32_t bytes, int64_t stamp_ns)
{
    struct tpacket2_hdr *head = (struct tpacket2_hdr *) (ring->slots + number % LAB_SLOTS * ring->slot_bytes);

    head->tp_len = head->tp_snaplen = bytes;
    head->tp_mac = TPACKET_ALIGN(sizeof *head);
    head->tp_sec = stamp_ns / 1000000000;
    head->tp_nsec = stamp_ns % 1000000000;
    memcpy((uint8_t *) head + head->tp_mac, frame, bytes);
    __atomic_store_n(&head->tp_status, TP_STATUS_USER, __ATOMIC_RELEASE);
}

/* Opens 'egress', which keeps what it counts in 'state' and holds up to 'capacity' packets. */
static inline void
lab_open_egress(struct egress *egress, struct state *state, const struct channel_table *channels, int wire_fd,
                int event_fd, uint32_t capacity)
{
    CHECK(!loop_init(&egress->loop, "egress", egress_body, egress, event_fd));
    egress->kept = &state->egress;
    egress->channels = channels;
    egress->scheduler.ahead_ns = SCHEDULER_AHEAD_NS;
    lab_open_ring(&egress->labelled, RING_SLOT_WHOLE);
    lab_open_ring(&egress->best_effort[0], RING_SLOT_WHOLE);
    lab_open_ring(&egress->best_effort[1], RING_SLOT_WHOLE);
    CHECK(!packet_pool_init(&egress->pool, capacity) && !packet_fifo_init(&egress->late, capacity));
    CHECK(!edf_queue_init(&egress->queue, capacity) && !edf_queue_init(&egress->held, capacity));
    egress->sender.fd = wire_fd;
    for (uint32_t i = 0; i < SENDER_BATCH; i++) {
        egress->sender.messages[i].msg_hdr = (struct msghdr) { .msg_iov = &egress->sender.frames[i], .msg_iovlen = 1 };
    }
}

/* Closes 'egress'; its descriptors of the wire and of events stay open. */
static inline void
lab_close_egress(struct egress *egress)
{
    loop_destroy(&egress->loop);
    lab_close_ring(&egress->labelled);
    lab_close_ring(&egress->best_effort[0]);
    lab_close_ring(&egress->best_effort[1]);
    packet_pool_destroy(&egress->pool);
    packet_fifo_destroy(&egress->late);
    edf_queue_destroy(&egress->queue);
    edf_queue_destroy(&egress->held);
}

#endif /* lab.h */
