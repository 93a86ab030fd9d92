/* One instant on both clocks: scheduled is on the monotonic one, stamped from the wall clock, which may step. */

#ifndef MOMENT_H
#define MOMENT_H 1

#include <stdint.h>
#include <time.h>

struct moment {
    int64_t mono_ns;
    int64_t wall_ns;
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
    return (struct moment) { .mono_ns = moment_mono_ns(), .wall_ns = moment_read__(CLOCK_REALTIME) };
}

/* Returns how far the wall clock is ahead of the monotonic one.  It creeps while the clock is disciplined, and jumps
 * when the clock is set. */
static inline int64_t
moment_offset_ns(const struct moment *moment)
{
    return moment->wall_ns - moment->mono_ns;
}

#endif /* moment.h */
