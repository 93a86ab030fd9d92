/* How often each duration occurred: fixed log-linear buckets in nanoseconds, negative values mirrored.
 *
 * Up to 2 * HISTOGRAM_STEPS ns each value has a bucket; above, each power of two is cut into HISTOGRAM_STEPS buckets,
 * so that a quantile is within 1.6 % of the true one.  Values of 2^33 ns (8.6 s) and more share the last bucket.
 * 'min', 'max' and 'sum' are exact.
 *
 * One thread records; any thread may summarize meanwhile. */

#ifndef HISTOGRAM_H
#define HISTOGRAM_H 1

#include <stdint.h>

#include "counter.h"
#include "report.h"

enum {
    HISTOGRAM_STEP_BITS = 5,
    HISTOGRAM_STEPS = 1 << HISTOGRAM_STEP_BITS,
    HISTOGRAM_VALUE_BITS = 33,
    HISTOGRAM_BUCKETS = (HISTOGRAM_VALUE_BITS - HISTOGRAM_STEP_BITS + 1) * HISTOGRAM_STEPS,
};

/* All zero is an empty histogram. */
struct histogram {
    uint64_t count;
    int64_t sum;
    int64_t min;
    int64_t max;
    uint64_t positive[HISTOGRAM_BUCKETS];       /* Zero included. */
    uint64_t negative[HISTOGRAM_BUCKETS];       /* By magnitude. */
};

void histogram_summarize(const struct histogram *, struct summary *);
void histogram_cumulate(const struct histogram *, const int64_t bounds_ns[], uint32_t count, uint64_t up_to[]);

/* Returns the bucket of 'magnitude'. */
static inline uint32_t
histogram_bucket(uint64_t magnitude)
{
    uint32_t shift;

    if (magnitude < HISTOGRAM_STEPS) {
        return magnitude;
    }
    if (magnitude >> HISTOGRAM_VALUE_BITS) {
        return HISTOGRAM_BUCKETS - 1;
    }
    shift = 63 - HISTOGRAM_STEP_BITS - __builtin_clzll(magnitude);
    return (shift << HISTOGRAM_STEP_BITS) + (magnitude >> shift);
}

/* Adds 'value_ns' to 'histogram'. */
static inline void
histogram_record(struct histogram *histogram, int64_t value_ns)
{
    uint64_t *bucket = value_ns < 0 ? &histogram->negative[histogram_bucket(-(uint64_t) value_ns)]
                                    : &histogram->positive[histogram_bucket(value_ns)];

    if (!histogram->count || value_ns < histogram->min) {
        __atomic_store_n(&histogram->min, value_ns, __ATOMIC_RELAXED);
    }
    if (!histogram->count || value_ns > histogram->max) {
        __atomic_store_n(&histogram->max, value_ns, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&histogram->sum, (int64_t) ((uint64_t) histogram->sum + value_ns), __ATOMIC_RELAXED);
    counter_add(bucket, 1);
    __atomic_store_n(&histogram->count, histogram->count + 1, __ATOMIC_RELEASE);
}

#endif /* histogram.h */
