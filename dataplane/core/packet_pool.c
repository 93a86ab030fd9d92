#include "packet_pool.h"

#include <errno.h>

#include "memory.h"

_Static_assert(sizeof(struct packet) / 64 % 2 == 1, "neighbouring packets would share cache sets");

/* Initializes 'pool' with 'capacity' free packets (at least 1).  Returns 0, or ENOMEM. */
int
packet_pool_init(struct packet_pool *pool, uint32_t capacity)
{
    *pool = (struct packet_pool) {
        .packets = memory_take(capacity * sizeof *pool->packets),
        .capacity = capacity,
        .free = memory_take(capacity * sizeof *pool->free),
    };
    if (!pool->packets || !pool->free) {
        packet_pool_destroy(pool);
        return ENOMEM;
    }
    while (capacity-- > 0) {
        packet_pool_give(pool, capacity);
    }
    return 0;
}

/* Frees what 'pool' holds. */
void
packet_pool_destroy(struct packet_pool *pool)
{
    memory_give(pool->packets, pool->capacity * sizeof *pool->packets);
    memory_give(pool->free, pool->capacity * sizeof *pool->free);
    *pool = (struct packet_pool) { 0 };
}
