/* Two machines and a wire at virtual times, for tests of the loops without a kernel: an egress here, a deadline check
 * there, and rings that the test fills.  The linker has put __wrap_clock_gettime() in the place of clock_gettime(). */

#ifndef LAB_H
#define LAB_H 1

#include <linux/if_packet.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "egress.h"
#include "ingress.h"
#include "state.h"

#define US INT64_C(1000)
#define MS (1000 * US)
#define S (1000 * MS)
#define HOUR (3600 * S)

enum {
    LABEL = 4711,
    FRAME_BYTES = 100,
    SLOTS = 512,
    SEQUENCE_AT = LABELS_ETHERNET_BYTES + LABELS_STACK_BYTES,
    DEADLINE_MS = 5,
    RATE_BPS = 100000000,
};

static const int64_t READ_NS = 25;

/* A machine has its wall clock; all have the same monotonic one. */
struct machine {
    int64_t ahead_ns;
};

static int64_t mono_ns;
static struct machine *here;
static int64_t interruption_ns;         /* Before the wall clock is read next. */
static struct {
    uint32_t reads;                     /* When so many more readings have been made, ... */
    struct machine *machine;            /* ... this one's wall clock is set. */
    int64_t ns;
} pending;

int __wrap_clock_gettime(clockid_t, struct timespec *);

int
__wrap_clock_gettime(clockid_t clock, struct timespec *time)
{
    int64_t now_ns;

    if (pending.reads && !--pending.reads) {
        pending.machine->ahead_ns += pending.ns;
    }
    mono_ns += READ_NS;
    if (clock == CLOCK_REALTIME) {
        mono_ns += interruption_ns;
        interruption_ns = 0;
    }
    now_ns = mono_ns + (clock == CLOCK_REALTIME ? here->ahead_ns : 0);
    *time = (struct timespec) { .tv_sec = now_ns / S, .tv_nsec = now_ns % S };
    return 0;
}

/* A ring without a kernel. */
static inline void
open_ring(struct ring *ring, uint32_t slot_bytes)
{
    *ring = (struct ring) { .fd = eventfd(0, 0), .slot_bytes = slot_bytes, .slot_count = SLOTS };
    CHECK(ring->fd >= 0);
    ring->slots = calloc(SLOTS, slot_bytes);
    CHECK(ring->slots);
}

static inline void
close_ring(struct ring *ring)
{
    close(ring->fd);
    free(ring->slots);
}

/* Has 'frame' arrive at 'machine', number 'number' of its ring. */
static inline void
arrive(const struct machine *machine, struct ring *ring, uint32_t number, const uint8_t *frame)
{
    const int64_t stamp_ns = mono_ns + machine->ahead_ns;
    struct tpacket2_hdr *head = (struct tpacket2_hdr *) (ring->slots + number % SLOTS * ring->slot_bytes);

    head->tp_len = head->tp_snaplen = FRAME_BYTES;
    head->tp_mac = TPACKET_ALIGN(sizeof *head);
    head->tp_sec = stamp_ns / S;
    head->tp_nsec = stamp_ns % S;
    memcpy((uint8_t *) head + head->tp_mac, frame, FRAME_BYTES);
    __atomic_store_n(&head->tp_status, TP_STATUS_USER, __ATOMIC_RELEASE);
}

/* Two machines and the wire between them; the machines may be one. */
struct lab {
    struct machine machines[2];
    struct machine *sender, *receiver;
    struct state *state;
    struct channel_table table;
    struct egress egress;
    struct ingress ingress;
    int wire[2];
    uint32_t sent, received;            /* Frames so far. */
};

static inline void
open_egress(struct egress *egress, struct lab *lab, int event_fd)
{
    CHECK(!loop_init(&egress->loop, "egress", egress_body, egress, event_fd));
    egress->kept = &lab->state->egress;
    egress->kept->rate_bps = RATE_BPS;
    egress->channels = &lab->table;
    egress->scheduler.ahead_ns = SCHEDULER_AHEAD_NS;
    open_ring(&egress->labelled, RING_SLOT_WHOLE);
    open_ring(&egress->best_effort[0], RING_SLOT_WHOLE);
    open_ring(&egress->best_effort[1], RING_SLOT_WHOLE);
    CHECK(!packet_pool_init(&egress->pool, SLOTS) && !packet_fifo_init(&egress->late, SLOTS));
    CHECK(!edf_queue_init(&egress->queue, SLOTS));
    egress->sender.fd = lab->wire[0];
    for (uint32_t i = 0; i < SENDER_BATCH; i++) {
        egress->sender.messages[i].msg_hdr = (struct msghdr) { .msg_iov = &egress->sender.frames[i], .msg_iovlen = 1 };
    }
}

static inline struct lab *
open_lab(bool is_same_host)
{
    struct lab *lab = calloc(1, sizeof *lab);
    const struct terms terms = { .late = TERMS_LATE_DEMOTE };
    int event_fd = eventfd(0, EFD_NONBLOCK);
    enum adoption adoption;

    CHECK(lab && !state_open(&lab->state, -1, "clock", &adoption));
    CHECK(!channel_table_init(&lab->table, lab->state->labels, lab->state->channels));
    CHECK(!channel_table_set(&lab->table, LABEL, &terms));
    CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, lab->wire));
    mono_ns = 1000 * S;
    lab->machines[0].ahead_ns = lab->machines[1].ahead_ns = 400000 * HOUR;
    lab->sender = &lab->machines[0];
    lab->receiver = &lab->machines[!is_same_host];
    open_egress(&lab->egress, lab, event_fd);
    CHECK(!loop_init(&lab->ingress.loop, "ingress", ingress_body, &lab->ingress, event_fd));
    lab->ingress.kept = &lab->state->ingress;
    lab->ingress.channels = &lab->table;
    open_ring(&lab->ingress.ring, RING_SLOT_HEADERS);
    return lab;
}

static inline void
close_lab(struct lab *lab)
{
    close(lab->egress.loop.event_fd);
    loop_destroy(&lab->egress.loop);
    loop_destroy(&lab->ingress.loop);
    close_ring(&lab->egress.labelled);
    close_ring(&lab->egress.best_effort[0]);
    close_ring(&lab->egress.best_effort[1]);
    close_ring(&lab->ingress.ring);
    packet_pool_destroy(&lab->egress.pool);
    packet_fifo_destroy(&lab->egress.late);
    edf_queue_destroy(&lab->egress.queue);
    channel_table_destroy(&lab->table);
    state_close(lab->state);
    close(lab->wire[0]);
    close(lab->wire[1]);
    free(lab);
}

static inline void
turn_egress(struct lab *lab)
{
    here = lab->sender;
    loop_wake(&lab->egress.loop);       /* It waits for nothing. */
    egress_turn(&lab->egress);
}

static inline void
turn_ingress(struct lab *lab)
{
    here = lab->receiver;
    loop_wake(&lab->ingress.loop);
    ingress_turn(&lab->ingress);
}

/* Has the talker send the next packet on the channel of 'label', due in 'deadline_ns'. */
static inline void
offer_on(struct lab *lab, uint32_t label, int64_t deadline_ns)
{
    const uint32_t deadline = deadline_ns / LABELS_TICK_NS << 12 | 5 << 9 | LABELS_TTL_RELATIVE;
    const uint32_t channel = label << 12 | 5 << 9 | 1 << 8 | 64;
    const uint32_t stack[2] = { __builtin_bswap32(deadline), __builtin_bswap32(channel) };
    uint8_t frame[FRAME_BYTES] = { [12] = LABELS_ETHERTYPE >> 8, [13] = LABELS_ETHERTYPE & 0xff };

    memcpy(frame + LABELS_ETHERNET_BYTES, stack, sizeof stack);
    memcpy(frame + SEQUENCE_AT, &lab->sent, sizeof lab->sent);
    arrive(lab->sender, &lab->egress.labelled, lab->sent++, frame);
}

static inline void
offer(struct lab *lab)
{
    offer_on(lab, LABEL, DEADLINE_MS * MS);
}

#endif /* lab.h */
