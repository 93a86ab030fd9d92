/* Numbers that one thread writes and any thread may read while it runs. */

#ifndef COUNTER_H
#define COUNTER_H 1

#include <stddef.h>
#include <stdint.h>

#include "labels.h"
#include "report.h"

/* Adds 'amount' to '*counter'.  Only the thread that owns the counter may call it: no locked instruction is needed. */
static inline void
counter_add(uint64_t *counter, uint64_t amount)
{
    __atomic_store_n(counter, *counter + amount, __ATOMIC_RELAXED);
}

static inline uint64_t
counter_read(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* Counts a frame of 'bytes' bytes; as counter_add(). */
static inline void
counter_add_frame(struct traffic *traffic, uint32_t bytes)
{
    counter_add(&traffic->packets, 1);
    counter_add(&traffic->bytes, bytes);
}

/* Counts a frame of malformed 'kind' under its cause; as counter_add(). */
static inline void
counter_add_malformed(struct malformed *malformed, enum labels_kind kind)
{
    switch (kind) {
    case LABELS_SHORT:
        counter_add(&malformed->short_, 1);
        break;
    case LABELS_ONE_LABEL:
        counter_add(&malformed->one_label, 1);
        break;
    case LABELS_MANY_LABELS:
        counter_add(&malformed->many_labels, 1);
        break;
    case LABELS_BEST_EFFORT:
    case LABELS_LABELLED:
        break;
    }
}

/* Copies 'bytes' bytes of counters, and nothing but counters, from 'source' to 'target'. */
static inline void
counter_copy(void *target, const void *source, size_t bytes)
{
    const uint64_t *from = source;
    uint64_t *to = target;

    for (size_t i = 0; i < bytes / sizeof *to; i++) {
        to[i] = counter_read(&from[i]);
    }
}

#endif /* counter.h */
