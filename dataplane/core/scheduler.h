/* The choice: what goes on the wire next, and when.
 *
 * If best effort waits and every queued real-time packet has at least 'be_slack_ns' left, best effort goes; else the
 * earliest deadline.  With no best effort waiting, real-time goes at once.  The wire is a clock: it says when the last
 * bit of what was sent is out.  A packet is handed over at most 'ahead_ns' before its first bit can go, so that
 * nothing queues below, where order is lost.
 *
 * Pure: time comes in as 'now_ns', on a clock that never steps back.  Not thread-safe. */

#ifndef SCHEDULER_H
#define SCHEDULER_H 1

#include <stdbool.h>
#include <stdint.h>

#include "edf_queue.h"

enum {
    SCHEDULER_LEAST_FRAME_BYTES = 60,       /* Ethernet pads what is shorter. */
    SCHEDULER_WIRE_OVERHEAD_BYTES = 24,     /* Preamble 7, start 1, FCS 4, gap 12. */
    SCHEDULER_AHEAD_NS = 100000,
};

enum scheduler_choice {
    SCHEDULER_NOTHING,          /* Nothing waits. */
    SCHEDULER_WAIT,             /* The wire is taken: choose again at scheduler_wake_ns(). */
    SCHEDULER_REAL_TIME,        /* The earliest deadline. */
    SCHEDULER_BEST_EFFORT,      /* The oldest best-effort frame. */
};

struct scheduler {
    uint64_t rate_bps;          /* Of the wire; 0 if it takes no time. */
    int64_t be_slack_ns;
    int64_t allowance_ns;       /* What the host may take: deadlines are without it, lateness is beyond it. */
    int64_t ahead_ns;
    int64_t wire_free_ns;       /* When the last bit of all that was sent is out. */
};

/* Changes the wire's rate.  What was sent at the old rate counts as out. */
static inline void
scheduler_set_rate(struct scheduler *scheduler, uint64_t rate_bps)
{
    scheduler->rate_bps = rate_bps;
    scheduler->wire_free_ns = 0;
}

/* Returns when the first bit of a packet chosen at 'now_ns' goes. */
static inline int64_t
scheduler_start_ns(const struct scheduler *scheduler, int64_t now_ns)
{
    return scheduler->wire_free_ns > now_ns ? scheduler->wire_free_ns : now_ns;
}

/* Returns the first instant at which the choice is not SCHEDULER_WAIT. */
static inline int64_t
scheduler_wake_ns(const struct scheduler *scheduler)
{
    return scheduler->wire_free_ns - scheduler->ahead_ns;
}

/* Returns what to send at 'now_ns' of 'queue' and, if 'best_effort_waits', of best effort. */
static inline enum scheduler_choice
scheduler_choose(const struct scheduler *scheduler, const struct edf_queue *queue, bool best_effort_waits,
                 int64_t now_ns)
{
    int64_t slack_ns;

    if (edf_queue_is_empty(queue) && !best_effort_waits) {
        return SCHEDULER_NOTHING;
    }
    if (now_ns < scheduler_wake_ns(scheduler)) {
        return SCHEDULER_WAIT;
    }
    if (edf_queue_is_empty(queue)) {
        return SCHEDULER_BEST_EFFORT;
    }
    slack_ns = edf_queue_first_deadline(queue) - scheduler_start_ns(scheduler, now_ns);
    return best_effort_waits && slack_ns >= scheduler->be_slack_ns ? SCHEDULER_BEST_EFFORT : SCHEDULER_REAL_TIME;
}

/* Returns what a frame of 'frame_bytes' occupies on the wire, in bytes. */
static inline uint32_t
scheduler_wire_bytes(uint32_t frame_bytes)
{
    return (frame_bytes > SCHEDULER_LEAST_FRAME_BYTES ? frame_bytes : SCHEDULER_LEAST_FRAME_BYTES)
           + SCHEDULER_WIRE_OVERHEAD_BYTES;
}

/* Returns how long a frame of 'frame_bytes' takes the wire.  Rounds up: never faster than the wire. */
static inline int64_t
scheduler_wire_time_ns(const struct scheduler *scheduler, uint32_t frame_bytes)
{
    uint64_t bits = 8 * (uint64_t) scheduler_wire_bytes(frame_bytes);

    return scheduler->rate_bps ? (bits * 1000000000 + scheduler->rate_bps - 1) / scheduler->rate_bps : 0;
}

/* Returns from when on a packet with 'deadline_ns' is late: the allowance is there to be used up. */
static inline int64_t
scheduler_latest_ns(const struct scheduler *scheduler, int64_t deadline_ns)
{
    return deadline_ns + scheduler->allowance_ns;
}

/* Returns true if a frame of 'frame_bytes' and 'deadline_ns', chosen at 'now_ns', is not out before it is late. */
static inline bool
scheduler_is_late(const struct scheduler *scheduler, uint32_t frame_bytes, int64_t deadline_ns, int64_t now_ns)
{
    return scheduler_start_ns(scheduler, now_ns) + scheduler_wire_time_ns(scheduler, frame_bytes)
           > scheduler_latest_ns(scheduler, deadline_ns);
}

/* Notes that a frame of 'frame_bytes' is sent at 'now_ns'.  Returns when its first bit goes; 'wire_free_ns' is when
 * its last one does. */
static inline int64_t
scheduler_send(struct scheduler *scheduler, uint32_t frame_bytes, int64_t now_ns)
{
    int64_t start_ns = scheduler_start_ns(scheduler, now_ns);

    scheduler->wire_free_ns = start_ns + scheduler_wire_time_ns(scheduler, frame_bytes);
    return start_ns;
}

#endif /* scheduler.h */
