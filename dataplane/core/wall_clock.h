/* The wall clock, as an offset from the monotonic one that stays the same until somebody sets the clock.
 *
 * The kernel slews both clocks alike, so it is only then that the offset changes (or when the machine was suspended).
 * Each reading (moment.h) bounds it from both sides.  One that was interrupted bounds it loosely, and is no harm.
 *
 * Stamps that were made before the step are under way after it.  None can be told from those made later, so for a while
 * stamps say nothing.
 *
 * Pure; for one thread. */

#ifndef WALL_CLOCK_H
#define WALL_CLOCK_H 1

#include <stdbool.h>
#include <stdint.h>

#include "labels.h"
#include "moment.h"

/* A smaller step goes unnoticed, and into the lateness: ten ticks. */
#define WALL_CLOCK_STEP_NS INT64_C(100000)

/* So long a stamp may be under way: what is older or newer by more says nothing anyway (labels_lateness_ns()). */
#define WALL_CLOCK_DOUBT_NS (LABELS_PERIOD_NS / 2)

/* All zero is a clock that was not read yet. */
struct wall_clock {
    int64_t offset_ns;          /* Wall minus monotonic: this, ... */
    int64_t offset_most_ns;     /* ... or up to this. */
    int64_t doubt_end_ns;       /* From then on, by the monotonic clock, stamps can be compared. */
};

static inline int64_t
wall_clock_gap_ns__(const struct wall_clock *clock, int64_t least_ns, int64_t most_ns)
{
    if (least_ns > clock->offset_most_ns) {
        return least_ns - clock->offset_most_ns;
    }
    return most_ns < clock->offset_ns ? clock->offset_ns - most_ns : 0;
}

/* Learns from the reading 'now'.  Returns true if the wall clock was set since the one before. */
static inline bool
wall_clock_follow(struct wall_clock *clock, const struct moment *now)
{
    const int64_t least_ns = now->wall_ns - now->mono_ns, most_ns = now->wall_ns - now->earliest_ns;
    const bool is_first = !clock->offset_ns;
    const int64_t gap_ns = wall_clock_gap_ns__(clock, least_ns, most_ns);

    if (is_first || gap_ns) {
        clock->offset_ns = least_ns;
        clock->offset_most_ns = most_ns;
    } else {
        clock->offset_ns = least_ns > clock->offset_ns ? least_ns : clock->offset_ns;
        clock->offset_most_ns = most_ns < clock->offset_most_ns ? most_ns : clock->offset_most_ns;
    }
    if (is_first || gap_ns <= WALL_CLOCK_STEP_NS) {
        return false;
    }
    clock->doubt_end_ns = now->mono_ns + WALL_CLOCK_DOUBT_NS;
    return true;
}

/* Returns true if at 'mono_ns' a stamp may be under way that was made before the last step. */
static inline bool
wall_clock_is_in_doubt(const struct wall_clock *clock, int64_t mono_ns)
{
    return mono_ns < clock->doubt_end_ns;
}

#endif /* wall_clock.h */
