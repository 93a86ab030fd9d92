#include "edf_queue.h"

#include <errno.h>

#include "memory.h"

/* Initializes 'queue' as an empty queue for up to 'capacity' items (at least 1).  Returns 0, or ENOMEM. */
int
edf_queue_init(struct edf_queue *queue, uint32_t capacity)
{
    *queue = (struct edf_queue) { .nodes = memory_take(capacity * sizeof *queue->nodes), .capacity = capacity };
    return queue->nodes ? 0 : ENOMEM;
}

/* Frees what 'queue' holds. */
void
edf_queue_destroy(struct edf_queue *queue)
{
    memory_give(queue->nodes, queue->capacity * sizeof *queue->nodes);
    queue->nodes = NULL;
}

static inline bool
goes_before(const struct edf_node *a, const struct edf_node *b)
{
    if (a->deadline_ns != b->deadline_ns) {
        return a->deadline_ns < b->deadline_ns;
    }
    return (int32_t) (a->sequence - b->sequence) < 0;
}

/* Puts 'item' into 'queue'.  Returns false, and changes nothing, if 'queue' is full. */
bool
edf_queue_push(struct edf_queue *queue, int64_t deadline_ns, uint32_t item)
{
    struct edf_node node = { .deadline_ns = deadline_ns, .sequence = queue->next_sequence, .item = item };
    struct edf_node *nodes = queue->nodes;
    uint32_t hole;

    if (queue->count == queue->capacity) {
        return false;
    }
    queue->next_sequence++;
    for (hole = queue->count++; hole > 0; hole = (hole - 1) / 2) {
        const struct edf_node *parent = &nodes[(hole - 1) / 2];
        if (!goes_before(&node, parent)) {
            break;
        }
        nodes[hole] = *parent;
    }
    nodes[hole] = node;
    return true;
}

/* Removes the item with the earliest deadline from 'queue' and returns it.
 *
 * The caller must ensure that 'queue' is not empty. */
uint32_t
edf_queue_pop(struct edf_queue *queue)
{
    struct edf_node *nodes = queue->nodes;
    uint32_t count = --queue->count;
    uint32_t item = nodes[0].item;
    struct edf_node last = nodes[count];
    uint32_t hole = 0;

    for (uint32_t child = 1; child < count; child = 2 * hole + 1) {
        if (child + 1 < count && goes_before(&nodes[child + 1], &nodes[child])) {
            child++;
        }
        if (!goes_before(&nodes[child], &last)) {
            break;
        }
        nodes[hole] = nodes[child];
        hole = child;
    }
    nodes[hole] = last;
    return item;
}
