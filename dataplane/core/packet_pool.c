#include "packet_pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct packet) / 64 % 2 == 1, "neighbouring packets would share cache sets");

/* Initializes 'pool' with 'capacity' free packets (at least 1).  Returns 0, or ENOMEM. */
int
packet_pool_init(struct packet_pool *pool, uint32_t capacity)
{
    *pool = (struct packet_pool) {
        .packets = aligned_alloc(64, capacity * sizeof *pool->packets),
        .capacity = capacity,
        .free = malloc(capacity * sizeof *pool->free),
    };
    if (!pool->packets || !pool->free) {
        packet_pool_destroy(pool);
        return ENOMEM;
    }
    memset(pool->packets, 0, capacity * sizeof *pool->packets);     /* So that the loop never waits for a page. */
    while (capacity-- > 0) {
        packet_pool_give(pool, capacity);
    }
    return 0;
}

/* Frees what 'pool' holds. */
void
packet_pool_destroy(struct packet_pool *pool)
{
    free(pool->packets);
    free(pool->free);
    *pool = (struct packet_pool) { 0 };
}
