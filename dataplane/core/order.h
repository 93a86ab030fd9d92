/* The order of a channel's packets, which stays that of their arrival while its terms change: a packet is never due, nor
 * may go, before those of its channel that still wait.
 *
 * It begins afresh whenever no packet waits, as contracts do (contract.h).  Pure. */

#ifndef ORDER_H
#define ORDER_H 1

#include <stdint.h>

/* What waits of one channel. */
struct order {
    uint64_t start;             /* The number of the fresh start that it belongs to. */
    int64_t last_ns;            /* When the last of them is due. */
    int64_t release_ns;         /* When the last of them may go. */
    uint32_t waiting;
};

/* Returns how many packets of the channel wait; one that was demoted waits no more in this order. */
static inline uint32_t
order_waiting(const struct order *order, uint64_t start)
{
    return order->start == start ? order->waiting : 0;
}

/* Counts in a packet that would be due at 'due_ns'.  Returns when it is due. */
static inline int64_t
order_enter(struct order *order, uint64_t start, int64_t due_ns)
{
    if (order->start != start) {
        *order = (struct order) { .start = start };
    }
    order->last_ns = order->waiting && order->last_ns > due_ns ? order->last_ns : due_ns;
    order->waiting++;
    return order->last_ns;
}

/* Says of the packet that was counted in last that it may go at 'release_ns'.  Returns when it may go. */
static inline int64_t
order_release(struct order *order, int64_t release_ns)
{
    order->release_ns = order->release_ns > release_ns ? order->release_ns : release_ns;
    return order->release_ns;
}

/* Counts out the packet that leaves.  It may have come before its channel was removed, and came again. */
static inline void
order_leave(struct order *order)
{
    order->waiting -= order->waiting > 0;
}

#endif /* order.h */
