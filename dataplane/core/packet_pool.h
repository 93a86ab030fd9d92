/* Room for the labelled frames that wait for the wire: a fixed number of packets, allocated and touched once.
 *
 * Not thread-safe: a pool belongs to one thread. */

#ifndef PACKET_POOL_H
#define PACKET_POOL_H 1

#include <stdbool.h>
#include <stdint.h>

enum {
    PACKET_BYTES = 1952,                /* The largest frame. */
    PACKET_POOL_NONE = UINT32_MAX,
};

/* An odd number of cache lines long, so that the heads of neighbours do not compete for the same few. */
struct packet {
    int64_t arrival_ns;                 /* Monotonic, like all that is scheduled. */
    int64_t deadline_ns;
    uint32_t channel;
    uint32_t tc;
    uint32_t length;
    uint8_t bytes[PACKET_BYTES];
} __attribute__((aligned(64)));

struct packet_pool {
    struct packet *packets;
    uint32_t capacity;
    uint32_t *free;                     /* A stack: what was used last is still in the cache. */
    uint32_t free_count;
};

int packet_pool_init(struct packet_pool *, uint32_t capacity);
void packet_pool_destroy(struct packet_pool *);

/* Returns the index of a packet that is now the caller's, or PACKET_POOL_NONE if all are taken. */
static inline uint32_t
packet_pool_take(struct packet_pool *pool)
{
    return pool->free_count ? pool->free[--pool->free_count] : PACKET_POOL_NONE;
}

/* Returns true if less than half of the packets are free. */
static inline bool
packet_pool_is_scarce(const struct packet_pool *pool)
{
    return pool->free_count < pool->capacity / 2;
}

/* Returns how many packets are taken. */
static inline uint32_t
packet_pool_taken(const struct packet_pool *pool)
{
    return pool->capacity - pool->free_count;
}

/* Gives back the packet of 'index', which packet_pool_take() returned. */
static inline void
packet_pool_give(struct packet_pool *pool, uint32_t index)
{
    pool->free[pool->free_count++] = index;
}

#endif /* packet_pool.h */
