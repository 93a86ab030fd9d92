/* The channels that the shim keeps books on, by channel label.
 *
 * They lie in the state (state.h), where the next process finds them; the way to them is this process's own.
 *
 * One thread adds and removes; any thread may find meanwhile, and does so with one load.  A channel that was found
 * stays valid until the finder's loop has turned: the remover waits for that (loop_synchronize()) before it reclaims. */

#ifndef CHANNEL_TABLE_H
#define CHANNEL_TABLE_H 1

#include <stdint.h>

#include "books.h"
#include "contract.h"
#include "labels.h"
#include "order.h"
#include "terms.h"

struct channel {
    struct terms terms;                 /* Each field atomic: it may change while others look. */
    struct bucket bucket;               /* The egress loop's own, like the next. */
    struct order order;
    struct sent_books sent;
    struct received_books received;
};

struct channel_table {
    struct channel **by_label;          /* LABELS_SPACE elements, mostly untouched. */
    uint32_t *labels;                   /* CHANNELS_MAX elements, as of the next: whose it is; 0: nobody's. */
    struct channel *channels;
    uint32_t free[CHANNELS_MAX];   /* A stack of elements; those removed, not yet reclaimed, are above its top. */
    uint32_t free_count;
    uint32_t removed_count;
};

int channel_table_init(struct channel_table *, uint32_t *labels, struct channel *channels);
void channel_table_destroy(struct channel_table *);
int channel_table_set(struct channel_table *, uint32_t label, const struct terms *);
void channel_table_remove(struct channel_table *, uint32_t label);
void channel_table_reclaim(struct channel_table *);

/* Returns the channel of 'label' (20 bits), or NULL. */
static inline struct channel *
channel_table_find(const struct channel_table *table, uint32_t label)
{
    return __atomic_load_n(&table->by_label[label], __ATOMIC_ACQUIRE);
}

/* Returns the terms of 'channel' as they are now; without a channel, terms that ask for nothing. */
static inline struct terms
channel_terms(const struct channel *channel)
{
    if (!channel) {
        return (struct terms) { .late = TERMS_LATE_DEMOTE };
    }
    return (struct terms) {
        .rate_bps = __atomic_load_n(&channel->terms.rate_bps, __ATOMIC_RELAXED),
        .burst_bytes = __atomic_load_n(&channel->terms.burst_bytes, __ATOMIC_RELAXED),
        .downstream_ns = __atomic_load_n(&channel->terms.downstream_ns, __ATOMIC_RELAXED),
        .clock_error_ns = __atomic_load_n(&channel->terms.clock_error_ns, __ATOMIC_RELAXED),
        .late = __atomic_load_n(&channel->terms.late, __ATOMIC_RELAXED),
        .strips_labels = __atomic_load_n(&channel->terms.strips_labels, __ATOMIC_RELAXED),
        .is_shaped = __atomic_load_n(&channel->terms.is_shaped, __ATOMIC_RELAXED),
    };
}

#endif /* channel_table.h */
