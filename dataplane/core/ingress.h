/* The deadline check: looks at each labelled frame that comes in by the uplink and compares its stamp with the
 * kernel's arrival stamp.  Passive: it sees a copy, so it adds no delay and loses no frame.  What the clocks leave in
 * doubt it calls no miss.
 *
 * The loop owns all of it, save what is said to be for another thread. */

#ifndef INGRESS_H
#define INGRESS_H 1

#include "channel_table.h"
#include "loop.h"
#include "miss_ring.h"
#include "ring.h"
#include "wall_clock.h"

enum { INGRESS_TURN_MAX = 256 };    /* Frames judged in one turn. */

/* What outlives the process (state.h). */
struct ingress_kept {
    struct ingress_counters counters;
    struct received_books classes[LABELS_TC_COUNT];
    struct wall_clock clock;
};

struct ingress {
    struct loop loop;
    struct ingress_kept *kept;
    const struct channel_table *channels;
    int ifindex;
    struct ring ring;
    struct ring_frame arrivals[INGRESS_TURN_MAX];
    struct miss_ring misses;        /* To the thread that reads the loop's eventfd. */
};

/* Opening and closing; loop_start() and loop_destroy() are the caller's. */
int ingress_open(struct ingress *, int ifindex);
void ingress_close(struct ingress *);
void *ingress_body(void *ingress);
void ingress_turn(struct ingress *);

/* For another thread. */
void ingress_report(struct ingress *, struct ingress_counters *);

#endif /* ingress.h */
