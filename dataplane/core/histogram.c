#include "histogram.h"

/* Returns the middle of 'bucket'. */
static int64_t
bucket_value(uint32_t bucket)
{
    uint32_t shift;
    int64_t low;

    if (bucket < 2 * HISTOGRAM_STEPS) {
        return bucket;
    }
    shift = (bucket >> HISTOGRAM_STEP_BITS) - 1;
    low = (int64_t) (bucket - (shift << HISTOGRAM_STEP_BITS)) << shift;
    return low + (1LL << shift) / 2;
}

/* Returns about the 'rank'-th smallest value of 'histogram', counted from 1. */
static int64_t
value_at(const struct histogram *histogram, uint64_t rank)
{
    uint64_t seen = 0;

    for (uint32_t bucket = HISTOGRAM_BUCKETS; bucket-- > 0;) {
        seen += counter_read(&histogram->negative[bucket]);
        if (seen >= rank) {
            return -bucket_value(bucket);
        }
    }
    for (uint32_t bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        seen += counter_read(&histogram->positive[bucket]);
        if (seen >= rank) {
            return bucket_value(bucket);
        }
    }
    return INT64_MAX;
}

/* Returns the smallest value that 'permille' of all values do not exceed, within [min, max] of 'summary'. */
static int64_t
quantile(const struct histogram *histogram, const struct summary *summary, uint64_t permille)
{
    uint64_t rank = (summary->count * permille + 999) / 1000;
    int64_t value = value_at(histogram, rank);

    if (value < summary->min) {
        return summary->min;
    }
    return value > summary->max ? summary->max : value;
}

/* Writes what 'histogram' holds at the moment to 'summary'. */
void
histogram_summarize(const struct histogram *histogram, struct summary *summary)
{
    *summary = (struct summary) { .count = __atomic_load_n(&histogram->count, __ATOMIC_ACQUIRE) };
    if (!summary->count) {
        return;
    }
    summary->min = __atomic_load_n(&histogram->min, __ATOMIC_RELAXED);
    summary->max = __atomic_load_n(&histogram->max, __ATOMIC_RELAXED);
    summary->mean = __atomic_load_n(&histogram->sum, __ATOMIC_RELAXED) / (int64_t) summary->count;
    summary->p50 = quantile(histogram, summary, 500);
    summary->p90 = quantile(histogram, summary, 900);
    summary->p99 = quantile(histogram, summary, 990);
    summary->p999 = quantile(histogram, summary, 999);
}

/* Writes for each of 'count' ascending 'bounds_ns' to 'up_to' how many values of 'histogram' do not exceed it, to the
 * precision of a bucket. */
void
histogram_cumulate(const struct histogram *histogram, const int64_t bounds_ns[], uint32_t count, uint64_t up_to[])
{
    uint64_t seen = 0;
    uint32_t next = 0;

    for (uint32_t bucket = HISTOGRAM_BUCKETS; bucket-- > 0;) {
        for (; next < count && bounds_ns[next] < -bucket_value(bucket); next++) {
            up_to[next] = seen;
        }
        seen += counter_read(&histogram->negative[bucket]);
    }
    for (uint32_t bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        for (; next < count && bounds_ns[next] < bucket_value(bucket); next++) {
            up_to[next] = seen;
        }
        seen += counter_read(&histogram->positive[bucket]);
    }
    for (; next < count; next++) {
        up_to[next] = seen;
    }
}
