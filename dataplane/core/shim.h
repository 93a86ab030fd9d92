/* The EDF shim as its owner sees it: one egress loop and one deadline check, from start to end.
 *
 * Python binds this file (build_core.py reads it).  All functions are for one thread, the owner's. */

#ifndef SHIM_H
#define SHIM_H 1

#include <stdbool.h>
#include <stdint.h>

#include "report.h"
#include "terms.h"

struct shim_config {
    const char *inner;              /* The interface that real-time and best-effort frames come from. */
    const char *uplink;             /* The interface that they leave by, and whose arrivals are checked. */
    uint64_t rate_bps;              /* Of the uplink; 0: unpaced. */
    int64_t be_slack_ns;
    uint32_t queue_capacity;        /* Packets; at least 1. */
    bool bypass_qdisc;
    int state_fd;                   /* A file in memory, of this process alone, for the state; or -1.  Stays open. */
    const char *identity;           /* Of the shim whose state may be adopted. */
};

/* Why shim_open() failed: 'number' is an errno, 'interface' the one concerned or NULL. */
struct shim_error {
    int number;
    const char *interface;
};

/* What shim_start() got.  Without them the shim runs, but late whenever others are busy. */
struct shim_privileges {
    bool is_real_time;              /* SCHED_FIFO. */
    bool is_locked;                 /* Memory. */
};

struct shim;

/* Opening, starting, closing. */
struct shim *shim_open(const struct shim_config *, struct shim_error *);
int shim_start(struct shim *, int priority, struct shim_privileges *);
int shim_guard(struct shim *, int tap_fd, int priority);
void shim_close(struct shim *);
bool shim_die_with_parent(int parent_pid);

/* While it runs. */
void shim_configure(struct shim *, uint64_t rate_bps, int64_t be_slack_ns, int64_t allowance_ns);
int shim_set_channel(struct shim *, uint32_t label, const struct terms *);
void shim_remove_channels(struct shim *, const uint32_t *labels, uint32_t count);
void shim_ready(struct shim *);

/* What it says. */
enum adoption shim_adoption(const struct shim *);
void shim_configuration(const struct shim *, uint64_t *rate_bps, int64_t *be_slack_ns,
                        int64_t *allowance_ns);
uint32_t shim_labels(const struct shim *, uint32_t *labels);
int shim_event_fd(const struct shim *);
int shim_failure(const struct shim *);
int shim_guard_pid(const struct shim *);
uint32_t shim_take_misses(struct shim *, struct miss *, uint32_t max);
void shim_report(struct shim *, struct egress_counters *, struct ingress_counters *);
void shim_report_class(const struct shim *, uint32_t tc, struct books_report *);
void shim_report_channel(const struct shim *, uint32_t label, struct books_report *);

#endif /* shim.h */
