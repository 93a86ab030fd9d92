/* The books that the shim keeps on a channel, and likewise on a class (all packets of one TC).
 *
 * The egress loop enters what it sends, the deadline check what it receives; any thread may read. */

#ifndef BOOKS_H
#define BOOKS_H 1

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

/* Enters a frame of 'bytes' bytes that was received 'lateness_ns' after its deadline; missed if that is positive. */
static inline void
books_enter_received(struct received_books *books, uint32_t bytes, int64_t lateness_ns)
{
    counter_add_frame(&books->traffic, bytes);
    counter_add(&books->missed, lateness_ns > 0);
    histogram_record(&books->lateness, lateness_ns);
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
