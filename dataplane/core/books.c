#include "books.h"

#define US 1000LL
#define MS (1000 * US)

/* Whoever watches adds and compares the histograms of many shims, so that all have the same bounds. */
const int64_t delay_bounds_ns[DELAY_BOUNDS] = {
    20 * US, 50 * US, 100 * US, 200 * US, 500 * US,
    1 * MS, 2 * MS, 5 * MS, 10 * MS, 20 * MS, 50 * MS, 100 * MS, 1000 * MS,
};
const int64_t lateness_bounds_ns[LATENESS_BOUNDS] = {
    -100 * MS, -50 * MS, -20 * MS, -10 * MS, -5 * MS, -2 * MS, -1 * MS, -500 * US, -200 * US, -100 * US,
    0,
    100 * US, 200 * US, 500 * US, 1 * MS, 2 * MS, 5 * MS, 10 * MS, 100 * MS, 1000 * MS,
};

/* Writes what the books hold at the moment to 'report'. */
void
books_report(const struct sent_books *sent, const struct received_books *received, struct books_report *report)
{
    counter_copy(&report->sent, &sent->traffic, sizeof report->sent);
    counter_copy(&report->received, &received->traffic, sizeof report->received);
    counter_copy(&report->excess, &sent->excess, sizeof report->excess);
    report->missed = counter_read(&received->missed);
    report->within_clock_error = counter_read(&received->within_clock_error);
    report->unjudged = counter_read(&received->unjudged);
    report->bypassed = counter_read(&received->bypassed);
    histogram_cumulate(&sent->queueing_delay, delay_bounds_ns, DELAY_BOUNDS, report->delay_up_to);
    histogram_cumulate(&received->lateness, lateness_bounds_ns, LATENESS_BOUNDS, report->lateness_up_to);
    report->delay_sum_ns = __atomic_load_n(&sent->queueing_delay.sum, __ATOMIC_RELAXED);
    histogram_summarize(&sent->queueing_delay, &report->queueing_delay);
    histogram_summarize(&received->lateness, &report->lateness);
}
