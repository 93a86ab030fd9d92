/* Packets in the order in which they came, told by their index in a packet_pool: a ring of fixed capacity.
 *
 * Not thread-safe: a fifo belongs to one thread. */

#ifndef PACKET_FIFO_H
#define PACKET_FIFO_H 1

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "memory.h"

struct packet_fifo {
    uint32_t *packets;
    uint32_t capacity;
    uint32_t first;
    uint32_t count;
};

/* Initializes 'fifo' as empty, for up to 'capacity' packets (at least 1).  Returns 0, or ENOMEM. */
static inline int
packet_fifo_init(struct packet_fifo *fifo, uint32_t capacity)
{
    *fifo = (struct packet_fifo) { .packets = memory_take(capacity * sizeof *fifo->packets), .capacity = capacity };
    return fifo->packets ? 0 : ENOMEM;
}

/* Frees what 'fifo' holds. */
static inline void
packet_fifo_destroy(struct packet_fifo *fifo)
{
    memory_give(fifo->packets, fifo->capacity * sizeof *fifo->packets);
    fifo->packets = NULL;
}

static inline bool
packet_fifo_is_full(const struct packet_fifo *fifo)
{
    return fifo->count == fifo->capacity;
}

/* Adds 'packet' at the end.
 *
 * The caller must ensure that 'fifo' is not full. */
static inline void
packet_fifo_put(struct packet_fifo *fifo, uint32_t packet)
{
    fifo->packets[(fifo->first + fifo->count++) % fifo->capacity] = packet;
}

/* Takes out the packet that came first.
 *
 * The caller must ensure that 'fifo' is not empty. */
static inline uint32_t
packet_fifo_take(struct packet_fifo *fifo)
{
    uint32_t packet = fifo->packets[fifo->first];

    fifo->first = (fifo->first + 1) % fifo->capacity;
    fifo->count--;
    return packet;
}

#endif /* packet_fifo.h */
