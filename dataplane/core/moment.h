/* The monotonic clock and the wall clock, read together: scheduled is on the one, stamped from the other, which may be
 * set. */

#ifndef MOMENT_H
#define MOMENT_H 1

#include <stdint.h>
#include <time.h>

/* The wall clock showed 'wall_ns' at some instant from 'earliest_ns' to 'mono_ns' of the monotonic one: close together,
 * unless the reader was interrupted. */
struct moment {
    int64_t earliest_ns;
    int64_t wall_ns;
    int64_t mono_ns;
};

static inline int64_t
moment_read__(clockid_t clock)
{
    struct timespec time;

    clock_gettime(clock, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static inline int64_t
moment_mono_ns(void)
{
    return moment_read__(CLOCK_MONOTONIC);
}

static inline struct moment
moment_now(void)
{
    struct moment now;

    now.earliest_ns = moment_mono_ns();
    now.wall_ns = moment_read__(CLOCK_REALTIME);
    now.mono_ns = moment_mono_ns();
    return now;
}

#endif /* moment.h */
