/* What the shim says of itself, as plain numbers.
 *
 * Python sees these structures too (build_core.py reads this file), and passes them on under the names that they have
 * here: 'sent' of struct traffic as "sent_packets" and "sent_bytes", 'malformed' without a prefix. */

#ifndef REPORT_H
#define REPORT_H 1

#include <stdint.h>

/* Packets and their bytes, as they are sent or received: labels included, save of what is sent to a host, which has none;
 * Ethernet's padding, preamble, FCS and gap not. */
struct traffic {
    uint64_t packets;
    uint64_t bytes;
};

/* Frames with a label stack that is not one of ours, by cause; dropped by the egress. */
struct malformed {
    uint64_t short_;            /* Ends before its headers do. */
    uint64_t one_label;
    uint64_t many_labels;       /* More than two. */
};

/* What became of packets for which a channel's contract, the time, or the room was not enough.  All should be zero: a talker
 * sends more than it asked for, or the link has more to keep than it can. */
struct excess {
    uint64_t postponed;         /* Beyond rate and burst: sent, and due as if they had waited for the contract. */
    uint64_t excess_dropped;    /* Too far beyond for waiting to make sense. */
    uint64_t demoted;           /* Too late to be on time: given way to all that can be, yet before best effort. */
    uint64_t late_dropped;      /* Too late to be on time, and dropped for it. */
    uint64_t queue_full;        /* Dropped: of its channel more waited than there was room left. */
};

/* What became of what a former process of this shim has left. */
enum adoption {
    ADOPTION_NOTHING,           /* It has left nothing. */
    ADOPTION_DONE,              /* All of it goes on. */
    ADOPTION_UNREADABLE,        /* Discarded: another version of the program has left it, or it is damaged. */
    ADOPTION_FOREIGN,           /* Discarded: it is of other interfaces, or from before the machine started. */
};

/* The egress since the start of its state (state.h), which outlives the process.  From 'excess' on, all should be zero, save 'ring_dropped_best_effort': that is how best
 * effort learns that the link is full. */
struct egress_counters {
    struct traffic real_time;
    struct traffic best_effort;
    struct excess excess;
    uint64_t ring_dropped_real_time;        /* The loop did not run for too long. */
    uint64_t ring_dropped_best_effort;
    uint64_t too_long;                      /* Dropped: larger than the shim carries. */
    struct malformed malformed;
    uint64_t unknown_channel;               /* Sent all the same. */
    uint64_t late_departures;               /* Sent, last bit after the deadline. */
    uint64_t send_errors;                   /* Dropped: the uplink would not take it. */
    uint64_t lost_at_end;                   /* Real-time that waited when a process of this shim ended. */
    uint64_t clock_steps;                   /* How often the wall clock was set. */
};

/* The deadline check, likewise.  All but 'packets' should be zero. */
struct ingress_counters {
    uint64_t packets;                       /* With two labels. */
    uint64_t missed;                        /* Late, and by more than the clocks may be wrong. */
    uint64_t within_clock_error;            /* Late, if the clocks are right. */
    uint64_t unjudged;                      /* A clock had just been set, here or where they were stamped. */
    uint64_t bypassed;                      /* Came past a dead shim: without a stamp. */
    struct malformed malformed;
    uint64_t unknown_channel;               /* Judged all the same. */
    uint64_t ring_dropped;                  /* Not judged. */
    uint64_t miss_events_dropped;           /* Counted as missed, but not told. */
    uint64_t clock_steps;                   /* How often the wall clock was set. */
};

/* A histogram in short; all zero if it is empty. */
struct summary {
    uint64_t count;
    int64_t min;
    int64_t mean;
    int64_t p50;
    int64_t p90;
    int64_t p99;
    int64_t p999;
    int64_t max;
};

enum {
    DELAY_BOUNDS = 13,
    LATENESS_BOUNDS = 20,
};

/* The values at which the 'up_to' of struct books_report count, ascending. */
extern const int64_t delay_bounds_ns[DELAY_BOUNDS];
extern const int64_t lateness_bounds_ns[LATENESS_BOUNDS];

/* One channel since it is in the table, or one class, likewise.  'up_to': how many packets took at most the bound of
 * the same place, to the precision of the histogram. */
struct books_report {
    struct traffic sent;
    struct traffic received;
    struct excess excess;
    uint64_t missed;
    uint64_t within_clock_error;
    uint64_t unjudged;
    uint64_t bypassed;
    struct summary queueing_delay;
    struct summary lateness;
    int64_t delay_sum_ns;
    uint64_t delay_up_to[DELAY_BOUNDS];
    uint64_t lateness_up_to[LATENESS_BOUNDS];
};

/* One packet that arrived after its deadline, certainly. */
struct miss {
    uint32_t label;             /* Of its channel. */
    int64_t lateness_ns;
    int64_t at_ns;              /* Arrival, on the wall clock. */
};

#endif /* report.h */
