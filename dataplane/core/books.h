/* The books that the shim keeps on a channel, and likewise on a class (all packets of one TC).
 *
 * The egress loop enters what it sends, the deadline check what it receives; any thread may read. */

#ifndef BOOKS_H
#define BOOKS_H 1

#include <stdbool.h>

#include "counter.h"
#include "histogram.h"
#include "report.h"

struct sent_books {
    struct traffic traffic;
    struct excess excess;
    struct histogram queueing_delay;
};

struct received_books {
    struct traffic traffic;
    uint64_t missed;
    uint64_t within_clock_error;
    uint64_t unjudged;
    uint64_t bypassed;
    struct histogram lateness;
};

/* Enters a frame of 'bytes' bytes that was sent 'queueing_delay_ns' after it had come. */
static inline void
books_enter_sent(struct sent_books *books, uint32_t bytes, int64_t queueing_delay_ns)
{
    counter_add_frame(&books->traffic, bytes);
    histogram_record(&books->queueing_delay, queueing_delay_ns);
}

/* What 'lateness_ns' means where the clocks may be wrong by 'clock_error_ns' (not negative): a miss, or that nobody
 * knows.  Neither: the packet was on time. */
static inline bool
books_is_miss(int64_t lateness_ns, int64_t clock_error_ns)
{
    return lateness_ns > clock_error_ns;
}

static inline bool
books_is_uncertain(int64_t lateness_ns, int64_t clock_error_ns)
{
    return lateness_ns > 0 && lateness_ns <= clock_error_ns;
}

/* Enters a frame of 'bytes' bytes that was received 'lateness_ns' after its deadline, by clocks that may be wrong by
 * 'clock_error_ns'. */
static inline void
books_enter_received(struct received_books *books, uint32_t bytes, int64_t lateness_ns, int64_t clock_error_ns)
{
    counter_add_frame(&books->traffic, bytes);
    counter_add(&books->missed, books_is_miss(lateness_ns, clock_error_ns));
    counter_add(&books->within_clock_error, books_is_uncertain(lateness_ns, clock_error_ns));
    histogram_record(&books->lateness, lateness_ns);
}

/* Enters a frame of 'bytes' bytes that was received with a stamp that says nothing. */
static inline void
books_enter_unjudged(struct received_books *books, uint32_t bytes)
{
    counter_add_frame(&books->traffic, bytes);
    counter_add(&books->unjudged, 1);
}

/* Enters a frame of 'bytes' bytes that was received without a stamp. */
static inline void
books_enter_bypassed(struct received_books *books, uint32_t bytes)
{
    counter_add_frame(&books->traffic, bytes);
    counter_add(&books->bypassed, 1);
}

void books_report(const struct sent_books *, const struct received_books *, struct books_report *);

#endif /* books.h */
