/* What the benchmarks need at the speed of C: a paced source, a measuring sink, the bare forwarder that the EDF shim is
 * compared with, and the cost of the shim's queue. No Python here; cffi reads this header as well (build_traffic.py).
 *
 * Each call blocks until its job is done or another thread sets 'stop'. It touches only its own struct, whose counters
 * another thread may read meanwhile. Returns 0, or a negative errno value. */
#ifndef RTVNIC_TRAFFIC_H
#define RTVNIC_TRAFFIC_H

#include <stdint.h>

enum {
    TRAFFIC_BATCH = 64,         /* Packets per sendmmsg or recvmmsg; the shim's limit too. */
    TRAFFIC_STAMP_BYTES = 16    /* Sequence number and wall clock in ns, 64 bits big-endian each. */
};

/* A source, on a connected datagram socket or a bound packet socket. Each wake-up sends 'burst' frames (1 to
 * TRAFFIC_BATCH): copies, by turns, of the 'templates' frames of 'length' bytes that lie at 'frames' one after another.
 * On average one every 'interval_ps' (0: as fast as possible), until 'count' are sent or 'duration_ns' is over (0: no
 * limit). A source that was held up makes up for one burst at most, so that a talker keeps to its contract. With
 * 'stamped', each frame carries at 'stamp_offset' its sequence number, from 0, and the time just before it was sent. */
struct traffic_source {
    int socket;
    const uint8_t *frames;
    uint32_t templates;
    uint32_t length;
    uint32_t burst;
    uint64_t interval_ps;
    uint64_t count;
    uint64_t duration_ns;
    int stamped;
    uint32_t stamp_offset;
    int stop;
    uint64_t sent;
    uint64_t retried;           /* Sends that found no room or no listener; tried again after a pause. */
};

/* Runs 'n' sources until the last has ended: one wake-up sends what is due of all of them. */
int traffic_send(struct traffic_source *const *, uint32_t n);

struct traffic_arrival {
    uint64_t sequence;
    int64_t sent_ns;            /* By the source, on the wall clock. */
    int64_t delay_ns;           /* The kernel's receive time less the source's. */
};

/* A sink: reads a bound datagram or packet socket. With 'arrivals' it stores one for each packet, in the order of
 * arrival, and ends when 'capacity' of them are there; without, it only counts. Ends also 'duration_ns' after the
 * start, or 'idle_ns' after the last packet (0: never). */
struct traffic_sink {
    int socket;
    uint32_t stamp_offset;
    struct traffic_arrival *arrivals;
    uint64_t capacity;
    uint64_t duration_ns;
    uint64_t idle_ns;
    int stop;
    uint64_t packets;
    uint64_t bytes;
    uint64_t recorded;          /* At most 'packets': one that is too short for a stamp has no arrival. */
};

/* Runs 'n' sinks until the last has ended: one wake-up reads what is there for all of them. */
int traffic_receive(struct traffic_sink *const *, uint32_t n);

/* The yardstick: what comes in on interface 'input' goes out on 'output', in order, at once, with no scheduling. The
 * receive ring has 'ring_slots' slots (a multiple of 512) of 2,048 bytes. */
struct bare_forwarder {
    int input;
    int output;
    uint32_t ring_slots;
    int stop;
    int is_ready;               /* From now on what comes in is forwarded. */
    uint64_t forwarded;
    uint64_t send_errors;
};

int bare_forward(struct bare_forwarder *);

/* Measures the mean cost, in ns, of one enqueue and one dequeue of the shim's queue while 'depth' packets stay in it:
 * 'rounds' pairs, each a packet that leaves and one of a random later deadline that comes. */
int queue_cost(uint32_t depth, uint32_t rounds, double *mean_ns);

#endif
