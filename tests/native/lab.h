/* An egress without a kernel: rings that a test fills, and a wire that it reads. */

#ifndef LAB_H
#define LAB_H 1

#include <linux/if_packet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
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

/* An egress with all that it needs. */
struct sending {
    struct state *state;
    struct channel_table table;
    struct egress egress;
    int wire[2];                /* What has left is read from the second. */
    int event_fd;
    uint32_t offered;           /* Labelled frames so far. */
    uint32_t offered_best_effort;
};

/* Opens 'sending', without channels, with room for 'capacity' packets. */
static inline void
lab_open_sending(struct sending *sending, uint32_t capacity)
{
    enum adoption adoption;

    *sending = (struct sending) { .event_fd = eventfd(0, EFD_NONBLOCK) };
    CHECK(!state_open(&sending->state, -1, "lab", &adoption));
    CHECK(!channel_table_init(&sending->table, sending->state->labels, sending->state->channels));
    CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sending->wire));
    lab_open_egress(&sending->egress, sending->state, &sending->table, sending->wire[0], sending->event_fd, capacity);
}

static inline void
lab_close_sending(struct sending *sending)
{
    lab_close_egress(&sending->egress);
    channel_table_destroy(&sending->table);
    state_close(sending->state);
    close(sending->wire[0]);
    close(sending->wire[1]);
    close(sending->event_fd);
}

/* One turn of the loop, which waits for nothing. */
static inline void
lab_turn(struct sending *sending)
{
    loop_wake(&sending->egress.loop);
    egress_turn(&sending->egress);
}

#endif /* lab.h */
