/* Misses on their way from the deadline check to Python: a bounded queue for one producer and one consumer thread.
 * What does not fit is the producer's to count. */

#ifndef MISS_RING_H
#define MISS_RING_H 1

#include <stdbool.h>
#include <stdint.h>

#include "report.h"

enum { MISS_RING_CAPACITY = 4096 };     /* A power of two. */

struct miss_ring {
    uint32_t produced;          /* Both wrap. */
    uint32_t consumed;
    struct miss misses[MISS_RING_CAPACITY];
};

/* Appends 'miss' to 'ring'.  Returns false if it is full.  For the producer. */
static inline bool
miss_ring_put(struct miss_ring *ring, struct miss miss)
{
    uint32_t consumed = __atomic_load_n(&ring->consumed, __ATOMIC_ACQUIRE);

    if (ring->produced - consumed == MISS_RING_CAPACITY) {
        return false;
    }
    ring->misses[ring->produced % MISS_RING_CAPACITY] = miss;
    __atomic_store_n(&ring->produced, ring->produced + 1, __ATOMIC_RELEASE);
    return true;
}

/* Moves up to 'max' misses from 'ring' to 'misses', oldest first.  Returns how many.  For the consumer. */
static inline uint32_t
miss_ring_take(struct miss_ring *ring, struct miss *misses, uint32_t max)
{
    uint32_t count = __atomic_load_n(&ring->produced, __ATOMIC_ACQUIRE) - ring->consumed;

    if (count > max) {
        count = max;
    }
    for (uint32_t i = 0; i < count; i++) {
        misses[i] = ring->misses[(ring->consumed + i) % MISS_RING_CAPACITY];
    }
    __atomic_store_n(&ring->consumed, ring->consumed + count, __ATOMIC_RELEASE);
    return count;
}

#endif /* miss_ring.h */
