/* What of a shim outlives its process: its channels with their terms and books, its counters, its settings.
 *
 * It lies in a file that the next process of the same shim maps and adopts.  A process may be killed at any instant, and
 * leaves sound state: each number is stored whole, a channel is there once its label is, and 'is_changing' tells of
 * settings that are half changed.  Numbers that belong together may differ by the frame that was being counted. */

#ifndef STATE_H
#define STATE_H 1

#include <stdbool.h>
#include <stdint.h>

#include "channel_table.h"
#include "egress.h"
#include "ingress.h"
#include "report.h"

enum { STATE_IDENTITY_BYTES = 128 };

struct state {
    uint64_t layout;                    /* Of all that follows; stored last. */
    char identity[STATE_IDENTITY_BYTES];
    bool is_ready;                      /* The guard reads it. */
    bool is_changing;
    uint64_t given_rate_bps;            /* At the start; what is in force is the egress's. */
    int64_t given_be_slack_ns;
    struct egress_kept egress;
    struct ingress_kept ingress;
    uint32_t labels[CHANNELS_MAX];
    struct channel channels[CHANNELS_MAX];     /* Last: only those that are used take memory. */
};

/* Opening and closing. */
int state_open(struct state **, int fd, const char *identity, enum adoption *);
void state_close(struct state *);

/* Between the two, settings may be half changed. */
void state_begin_change(struct state *);
void state_end_change(struct state *);

#endif /* state.h */
