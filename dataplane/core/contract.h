/* A channel's contract: a rate and a burst, and when a packet that exceeds them would have conformed.
 *
 * Excess is not refused but postponed: it is due as if it had waited until the contract allowed it (deadline
 * postponement, as in the Constant Bandwidth Server of Abeni and Buttazzo, 1998).  So what is due never exceeds the
 * contract, whatever is sent, and nobody else's deadline depends on it.
 *
 * All contracts start afresh whenever no packet waits: what has left by then cannot delay what comes later, and was
 * taken from nobody.  Best effort that waits has a right to what contracts do not allow.
 * Not so those of shaped channels, whose excess waits in earnest: what has left may delay others further on.
 *
 * Pure; bytes are counted on the wire. */

#ifndef CONTRACT_H
#define CONTRACT_H 1

#include <stdint.h>

#include "terms.h"

/* The token bucket of a contract, told by the instant from which it is full. */
struct bucket {
    int64_t full_ns;
    uint64_t start;             /* The number of the fresh start that it belongs to. */
};

static inline int64_t
contract_duration_ns__(const struct terms *terms, uint64_t bytes)
{
    return 8 * bytes * 1000000000 / terms->rate_bps;
}

/* Begins 'bucket' afresh, if it has not seen 'start' yet. */
static inline void
bucket_start(struct bucket *bucket, uint64_t start, int64_t now_ns)
{
    if (bucket->start != start) {
        *bucket = (struct bucket) { .full_ns = now_ns, .start = start };
    }
}

/* Returns when a packet of 'wire_bytes' that arrives at 'arrival_ns' conforms to 'terms': then or later. */
static inline int64_t
contract_conforming_ns(const struct terms *terms, const struct bucket *bucket, uint32_t wire_bytes,
                       int64_t arrival_ns)
{
    int64_t conforming_ns;

    if (!terms->rate_bps) {
        return arrival_ns;
    }
    conforming_ns = bucket->full_ns + contract_duration_ns__(terms, wire_bytes)
                    - contract_duration_ns__(terms, terms->burst_bytes);
    return conforming_ns > arrival_ns ? conforming_ns : arrival_ns;
}

/* Takes the packet that conforms at 'conforming_ns' out of 'bucket'. */
static inline void
contract_charge(const struct terms *terms, struct bucket *bucket, uint32_t wire_bytes, int64_t conforming_ns)
{
    if (terms->rate_bps) {
        bucket->full_ns = (bucket->full_ns > conforming_ns ? bucket->full_ns : conforming_ns)
                          + contract_duration_ns__(terms, wire_bytes);
    }
}

#endif /* contract.h */
