/* What one packet costs in the shim's own queue; see traffic.h. */
#include "traffic.h"

#include <errno.h>
#include <time.h>

#include "edf_queue.h"

enum { LONGEST_DEADLINE_NS = 20000000 };

static uint32_t
next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static int64_t
monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000000000 + now.tv_nsec;
}

int
queue_cost(uint32_t depth, uint32_t rounds, double *mean_ns)
{
    struct edf_queue queue;
    uint32_t random = 1;

    if (depth < 1 || rounds < 1) {
        return -EINVAL;
    }
    if (edf_queue_init(&queue, depth)) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < depth; i++) {
        edf_queue_push(&queue, next_random(&random) % LONGEST_DEADLINE_NS, i);
    }
    int64_t start_ns = monotonic_ns();
    for (uint32_t i = 0; i < rounds; i++) {
        int64_t now_ns = edf_queue_first_deadline(&queue);
        uint32_t item = edf_queue_pop(&queue);
        edf_queue_push(&queue, now_ns + next_random(&random) % LONGEST_DEADLINE_NS, item);
    }
    *mean_ns = (double) (monotonic_ns() - start_ns) / rounds;
    edf_queue_destroy(&queue);
    return 0;
}
