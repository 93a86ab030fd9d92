/* What waits, earliest absolute deadline first, first in first out among equals: for the wire, or, with instants before
 * which it may not go in the place of deadlines, for these.
 *
 * A min-heap of fixed capacity: no operation allocates after edf_queue_init().  Items are numbers that the caller
 * gives a meaning, such as the index of a packet.
 *
 * Not thread-safe: a queue belongs to one thread. */

#ifndef EDF_QUEUE_H
#define EDF_QUEUE_H 1

#include <stdbool.h>
#include <stdint.h>

struct edf_node {
    int64_t deadline_ns;
    uint32_t sequence;          /* Order of arrival; wraps, so compare by difference. */
    uint32_t item;
};

struct edf_queue {
    struct edf_node *nodes;     /* A heap in elements 0...count-1. */
    uint32_t count;
    uint32_t capacity;
    uint32_t next_sequence;
};

/* Initialization. */
int edf_queue_init(struct edf_queue *, uint32_t capacity);
void edf_queue_destroy(struct edf_queue *);

/* Insertion and removal, O(log count). */
bool edf_queue_push(struct edf_queue *, int64_t deadline_ns, uint32_t item);
uint32_t edf_queue_pop(struct edf_queue *);

/* Returns true if nothing waits in 'queue'. */
static inline bool
edf_queue_is_empty(const struct edf_queue *queue)
{
    return queue->count == 0;
}

/* Returns the earliest deadline in 'queue'.
 *
 * The caller must ensure that 'queue' is not empty. */
static inline int64_t
edf_queue_first_deadline(const struct edf_queue *queue)
{
    return queue->nodes[0].deadline_ns;
}

/* Returns true if 'queue' has a deadline that is 'now_ns' or has passed. */
static inline bool
edf_queue_is_due(const struct edf_queue *queue, int64_t now_ns)
{
    return !edf_queue_is_empty(queue) && edf_queue_first_deadline(queue) <= now_ns;
}

#endif /* edf_queue.h */
