/* A channel's terms: what it may send, by when that is due here, and what becomes of what is late.
 *
 * Python sees this structure too (build_core.py reads this file). */

#ifndef TERMS_H
#define TERMS_H 1

#include <stdbool.h>
#include <stdint.h>

/* Of a shim. */
enum { CHANNELS_MAX = 10000 };

/* What becomes of a packet that can no longer be on time. */
enum terms_late {
    TERMS_LATE_DEMOTE,          /* It gives way to all that can be, so that it makes no other one late. */
    TERMS_LATE_DROP,
    TERMS_LATE_KEEP,            /* It stays where its deadline puts it: plain EDF. */
};

struct terms {
    uint64_t rate_bps;          /* On the wire; 0: no contract.  Policed by the first shim on the path. */
    uint64_t burst_bytes;       /* On the wire; at least a frame, below 2^31. */
    int64_t downstream_ns;      /* Of the deadline, what the path after this link needs. */
    int64_t clock_error_ns;     /* So much of a lateness may be the clocks': the stamping one's and this one's. */
    uint32_t late;              /* An enum terms_late. */
    bool strips_labels;         /* The other end knows nothing of labels. */
    bool is_shaped;             /* Excess waits until it conforms: further on it could delay others. */
};

#endif /* terms.h */
