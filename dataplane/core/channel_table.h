/* The channels that the shim keeps books on, by channel label.
 *
 * One thread adds and removes; any thread may find meanwhile, and does so with one load.  A channel that was found
 * stays valid until the finder's loop has turned: the remover waits for that (loop_synchronize()) before it frees. */

#ifndef CHANNEL_TABLE_H
#define CHANNEL_TABLE_H 1

#include <stdint.h>

#include "books.h"
#include "labels.h"

enum { CHANNEL_TABLE_MAX = 10000 };

struct channel {
    struct sent_books sent;
    struct received_books received;
    struct channel *next_removed;
};

struct channel_table {
    struct channel **by_label;          /* LABELS_SPACE elements, mostly untouched. */
    uint32_t count;
};

int channel_table_init(struct channel_table *);
void channel_table_destroy(struct channel_table *);
int channel_table_add(struct channel_table *, uint32_t label);
struct channel *channel_table_remove(struct channel_table *, uint32_t label);

/* Returns the channel of 'label' (20 bits), or NULL. */
static inline struct channel *
channel_table_find(const struct channel_table *table, uint32_t label)
{
    return __atomic_load_n(&table->by_label[label], __ATOMIC_ACQUIRE);
}

#endif /* channel_table.h */
