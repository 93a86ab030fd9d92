#include "channel_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

/* Initializes 'table' with those of 'channels' that 'labels' has a label for, each another one; both, of
 * CHANNELS_MAX elements, stay the caller's.  Returns 0, or ENOMEM. */
int
channel_table_init(struct channel_table *table, uint32_t *labels, struct channel *channels)
{
    *table = (struct channel_table) {
        .by_label = calloc(LABELS_SPACE, sizeof *table->by_label),
        .labels = labels,
        .channels = channels,
    };
    if (!table->by_label) {
        return ENOMEM;
    }
    for (uint32_t slot = CHANNELS_MAX; slot-- > 0;) {
        if (labels[slot]) {
            table->by_label[labels[slot]] = &channels[slot];
        } else {
            table->free[table->free_count++] = slot;
        }
    }
    return 0;
}

/* Frees 'table'; its channels stay where they are.
 *
 * The caller must ensure that no other thread uses them. */
void
channel_table_destroy(struct channel_table *table)
{
    free(table->by_label);
    table->by_label = NULL;
}

static void
set_terms(struct channel *channel, const struct terms *terms)
{
    __atomic_store_n(&channel->terms.rate_bps, terms->rate_bps, __ATOMIC_RELAXED);
    __atomic_store_n(&channel->terms.burst_bytes, terms->burst_bytes, __ATOMIC_RELAXED);
    __atomic_store_n(&channel->terms.downstream_ns, terms->downstream_ns, __ATOMIC_RELAXED);
    __atomic_store_n(&channel->terms.clock_error_ns, terms->clock_error_ns, __ATOMIC_RELAXED);
    __atomic_store_n(&channel->terms.late, terms->late, __ATOMIC_RELAXED);
    __atomic_store_n(&channel->terms.strips_labels, terms->strips_labels, __ATOMIC_RELAXED);
    __atomic_store_n(&channel->terms.is_shaped, terms->is_shaped, __ATOMIC_RELAXED);
}

/* Ensures that 'table' has the channel of 'label', on 'terms'; one that it has already keeps its books.  Returns 0,
 * ENOSPC if the table is full, or as memory_populate().
 *
 * The caller must ensure that what was removed is reclaimed. */
int
channel_table_set(struct channel_table *table, uint32_t label, const struct terms *terms)
{
    struct channel *channel = table->by_label[label];
    uint32_t slot;
    int error;

    if (channel) {
        set_terms(channel, terms);
        return 0;
    }
    if (!table->free_count) {
        return ENOSPC;
    }
    slot = table->free[table->free_count - 1];
    channel = &table->channels[slot];
    error = memory_populate(channel, sizeof *channel);
    if (error) {
        return error;
    }
    memset(channel, 0, sizeof *channel);
    set_terms(channel, terms);
    __atomic_store_n(&table->labels[slot], label, __ATOMIC_RELEASE);
    __atomic_store_n(&table->by_label[label], channel, __ATOMIC_RELEASE);
    table->free_count--;
    return 0;
}

/* Takes the channel of 'label' out of 'table', if it is there.  Other threads may still use it: see the head of
 * channel_table.h. */
void
channel_table_remove(struct channel_table *table, uint32_t label)
{
    const struct channel *channel = table->by_label[label];

    if (channel) {
        const uint32_t slot = channel - table->channels;

        __atomic_store_n(&table->labels[slot], 0, __ATOMIC_RELAXED);
        __atomic_store_n(&table->by_label[label], NULL, __ATOMIC_SEQ_CST);
        table->free[table->free_count + table->removed_count++] = slot;
    }
}

/* Has the places of the channels that were removed free again.
 *
 * The caller must ensure that no other thread uses those channels. */
void
channel_table_reclaim(struct channel_table *table)
{
    table->free_count += table->removed_count;
    table->removed_count = 0;
}
