#include "channel_table.h"

#include <errno.h>
#include <stdlib.h>

/* Initializes 'table' as empty.  Returns 0, or ENOMEM. */
int
channel_table_init(struct channel_table *table)
{
    *table = (struct channel_table) { .by_label = calloc(LABELS_SPACE, sizeof *table->by_label) };
    return table->by_label ? 0 : ENOMEM;
}

/* Frees 'table' and its channels.
 *
 * The caller must ensure that no other thread uses them. */
void
channel_table_destroy(struct channel_table *table)
{
    for (uint32_t label = 0; table->count > 0; label++) {
        free(channel_table_remove(table, label));
    }
    free(table->by_label);
    table->by_label = NULL;
}

static void
set_terms(struct channel *channel, const struct terms *terms)
{
    __atomic_store_n(&channel->terms.rate_bps, terms->rate_bps, __ATOMIC_RELAXED);
    __atomic_store_n(&channel->terms.burst_bytes, terms->burst_bytes, __ATOMIC_RELAXED);
    __atomic_store_n(&channel->terms.downstream_ns, terms->downstream_ns, __ATOMIC_RELAXED);
    __atomic_store_n(&channel->terms.late, terms->late, __ATOMIC_RELAXED);
    __atomic_store_n(&channel->terms.strips_labels, terms->strips_labels, __ATOMIC_RELAXED);
}

/* Ensures that 'table' has the channel of 'label', on 'terms'; one that it has already keeps its books.  Returns 0,
 * ENOSPC if the table is full, or ENOMEM. */
int
channel_table_set(struct channel_table *table, uint32_t label, const struct terms *terms)
{
    struct channel *channel = table->by_label[label];

    if (channel) {
        set_terms(channel, terms);
        return 0;
    }
    if (table->count == CHANNEL_TABLE_MAX) {
        return ENOSPC;
    }
    channel = calloc(1, sizeof *channel);
    if (!channel) {
        return ENOMEM;
    }
    set_terms(channel, terms);
    __atomic_store_n(&table->by_label[label], channel, __ATOMIC_RELEASE);
    table->count++;
    return 0;
}

/* Takes the channel of 'label' out of 'table' and returns it, or NULL if there is none.  Other threads may still use
 * it: see the head of channel_table.h. */
struct channel *
channel_table_remove(struct channel_table *table, uint32_t label)
{
    struct channel *channel = table->by_label[label];

    if (channel) {
        __atomic_store_n(&table->by_label[label], NULL, __ATOMIC_SEQ_CST);
        table->count--;
    }
    return channel;
}
