/* The egress: frames from the inner interface go out of the uplink, earliest deadline first, at the uplink's rate.
 *
 * Labelled frames are taken at once, judged by their channel's contract, stamped, and queued; excess of a shaped
 * channel is held until it conforms, and queued then.  Best effort stays in its rings until its turn.  A labelled frame
 * that can no longer be on time gives way to all that can.  Each frame either leaves, or is dropped under the counter
 * that names the cause.
 *
 * The loop owns all of it, save what is said to be for another thread. */

#ifndef EGRESS_H
#define EGRESS_H 1

#include "channel_table.h"
#include "edf_queue.h"
#include "loop.h"
#include "packet_fifo.h"
#include "packet_pool.h"
#include "ring.h"
#include "scheduler.h"
#include "sender.h"
#include "wall_clock.h"

/* Frames accepted in one turn, so that a burst does not hold up the wire. */
enum { EGRESS_TURN_MAX = 256 };

/* A frame in the batch that is about to leave. */
struct departure {
    uint32_t packet;                /* PACKET_POOL_NONE: best effort. */
    uint32_t length;
    int64_t start_ns;               /* First and last bit on the wire. */
    int64_t end_ns;
};

/* What outlives the process (state.h). */
struct egress_kept {
    uint64_t rate_bps;              /* Atomic: what the other thread asks for. */
    int64_t be_slack_ns;
    int64_t allowance_ns;           /* What the host may take of a deadline. */
    uint64_t starts;                /* How often no frame was waiting: contracts start afresh then. */
    uint64_t queued;                /* Labelled frames that wait, those that are held too. */
    struct egress_counters counters;
    struct sent_books classes[LABELS_TC_COUNT];
    struct wall_clock clock;
};

struct egress {
    struct loop loop;
    struct egress_kept *kept;
    const struct channel_table *channels;
    int inner_ifindex;

    struct ring labelled;
    struct ring best_effort[2];     /* Control and bulk. */
    struct packet_fifo late;        /* Labelled frames that were demoted. */
    uint32_t last_source;           /* Control takes turns with the others: neither starves. */
    struct ring_frame arrivals[EGRESS_TURN_MAX];
    bool are_ages_known;            /* The kernel's stamps in 'labelled' are of the wall clock as it is now. */
    struct packet_pool pool;
    struct edf_queue queue;
    struct edf_queue held;          /* What may not go yet, by when it may. */
    struct scheduler scheduler;
    struct sender sender;
    struct departure departures[SENDER_BATCH];
};

/* Opening and closing; loop_start() and loop_destroy() are the caller's. */
int egress_open(struct egress *, int inner_ifindex, int uplink_ifindex, uint32_t queue_capacity, bool bypass_qdisc);
void egress_close(struct egress *);
void *egress_body(void *egress);
void egress_turn(struct egress *);

/* For another thread. */
void egress_configure(struct egress *, uint64_t rate_bps, int64_t be_slack_ns, int64_t allowance_ns);
void egress_report(struct egress *, struct egress_counters *);

#endif /* egress.h */
