/* The datagrams between a guest and its hypervisor's controller, for any program in C11: the same as messages.py.
 *
 * A guest sends a header and a body by UDP to the service address, and sends it again, with the same nonce, until the
 * answer comes. All numbers are big-endian (htobe32 and the like of <endian.h>); all structs are as they are on the
 * wire, without padding. 0 stands for a default wherever a value is one. docs/guests.md explains each field. */
#ifndef RTVNIC_GUEST_H
#define RTVNIC_GUEST_H

#include <stdint.h>

#define RTVNIC_SERVICE_IPV4 "169.254.82.86"
#define RTVNIC_SERVICE_IPV6 "fe80::5256"
#define RTVNIC_SERVICE_PORT 1021

#define RTVNIC_MAGIC "RTVG"
#define RTVNIC_VERSION 1
#define RTVNIC_DATAGRAM_MAX 1232
#define RTVNIC_REASON_MAX 1024
#define RTVNIC_CHANNELS_MAX 16

enum rtvnic_kind {
    RTVNIC_KIND_OPEN = 1,
    RTVNIC_KIND_RENEW = 2,
    RTVNIC_KIND_CHANGE = 3,
    RTVNIC_KIND_CLOSE = 4,
    RTVNIC_KIND_LIST = 5,
    RTVNIC_KIND_SUBSCRIBE = 6,
    RTVNIC_KIND_ANSWER = 129,
    RTVNIC_KIND_LISTED = 133,
    RTVNIC_KIND_MISSED = 134,
};

/* How a request ended. */
enum rtvnic_status {
    RTVNIC_STATUS_DONE = 0,
    RTVNIC_STATUS_INVALID = 1,
    RTVNIC_STATUS_REFUSED = 2, /* by admission: the answer says what would be accepted */
    RTVNIC_STATUS_OVER_QUOTA = 3,
    RTVNIC_STATUS_UNKNOWN = 4, /* no such channel of this guest; its lease may have ended */
    RTVNIC_STATUS_CONFLICT = 5, /* somebody else has a channel for these packets */
    RTVNIC_STATUS_BUSY = 6, /* ask again later */
};

/* Of a channel. Its guarantee holds while it is installed. */
enum rtvnic_state {
    RTVNIC_STATE_WAITING = 0,
    RTVNIC_STATE_INSTALLING = 1,
    RTVNIC_STATE_INSTALLED = 2,
    RTVNIC_STATE_DEGRADED = 3,
    RTVNIC_STATE_REFUSED = 4,
};

#pragma pack(push, 1)

/* In front of every body. The answer, and all call-ups of a subscription, have the nonce of the request. */
struct rtvnic_header {
    char magic[4];
    uint8_t version;
    uint8_t kind;
    uint16_t reserved;
    uint64_t nonce;
};

/* An IPv4 address is ::ffff:a.b.c.d. */
struct rtvnic_open {
    uint8_t destination[16];
    uint8_t source[16]; /* an address of the guest's own */
    uint16_t src_port;
    uint16_t dst_port;
    uint8_t protocol; /* IPPROTO_UDP, IPPROTO_TCP, 0: any */
    uint8_t reserved[3];
    uint32_t burst_bytes;
    uint32_t packet_bytes;
    uint64_t deadline_ns;
    uint64_t rate_bps;
    uint32_t lease_s;
};

struct rtvnic_renew {
    uint32_t channel_id;
    uint32_t lease_s;
};

/* What is 0 stays as it is. */
struct rtvnic_change {
    uint32_t channel_id;
    uint32_t burst_bytes;
    uint32_t packet_bytes;
    uint64_t deadline_ns;
    uint64_t rate_bps;
};

struct rtvnic_close {
    uint32_t channel_id;
};

/* The answer is a Listed: RTVNIC_CHANNELS_MAX structs rtvnic_listed_channel, or fewer if these are the last ones. */
struct rtvnic_list {
    uint32_t after_id;
};

/* Misses of a channel, or of all that talk from the guest (0). A lease of 0 ends it. */
struct rtvnic_subscribe {
    uint32_t channel_id;
    uint32_t lease_s;
};

/* The reason follows to the datagram's end, in UTF-8, without a 0. Where admission has refused, deadline and rate are the
 * smallest and the largest that it would accept, each with the rest as asked. */
struct rtvnic_answer {
    uint16_t status;
    uint8_t state;
    uint8_t reserved;
    uint32_t channel_id;
    uint32_t lease_s;
    uint64_t bound_ns;
    uint64_t deadline_ns;
    uint64_t rate_bps;
};

struct rtvnic_listed_channel {
    uint32_t channel_id;
    uint32_t lease_s; /* 0: not opened by a guest */
    uint8_t state;
    uint8_t reserved[3];
    uint8_t destination[16];
    uint8_t source[16];
    uint16_t src_port;
    uint16_t dst_port;
    uint8_t protocol;
    uint8_t reserved2[3];
    uint64_t deadline_ns;
    uint64_t rate_bps;
    uint32_t burst_bytes;
};

/* The call-up: `misses` of `packets` in the last `window_ns` came after their deadline, by `worst_ns` at most.
 * `total_misses` is of all since the listener's shim began: it counts on where a call-up was lost, and may begin anew. */
struct rtvnic_missed {
    uint32_t channel_id;
    uint32_t misses;
    uint64_t packets;
    uint64_t total_misses;
    uint64_t worst_ns;
    uint64_t mean_ns;
    uint64_t window_ns;
    uint64_t clock_error_ns;
};

#pragma pack(pop)

_Static_assert(sizeof(struct rtvnic_header) == 16, "as on the wire");
_Static_assert(sizeof(struct rtvnic_open) == 68, "as on the wire");
_Static_assert(sizeof(struct rtvnic_renew) == 8, "as on the wire");
_Static_assert(sizeof(struct rtvnic_change) == 28, "as on the wire");
_Static_assert(sizeof(struct rtvnic_close) == 4, "as on the wire");
_Static_assert(sizeof(struct rtvnic_list) == 4, "as on the wire");
_Static_assert(sizeof(struct rtvnic_subscribe) == 8, "as on the wire");
_Static_assert(sizeof(struct rtvnic_answer) == 36, "as on the wire");
_Static_assert(sizeof(struct rtvnic_listed_channel) == 72, "as on the wire");
_Static_assert(sizeof(struct rtvnic_missed) == 56, "as on the wire");

/* What `si_value.sival_ptr` of a call-up by signal says: from realtime_channel(signal=...) or rtvnic-guest run --signal. */
#define RTVNIC_SIGNAL_LATENESS_BITS 44
#define RTVNIC_SIGNAL_CHANNEL_ID(value) ((uint32_t)((uint64_t)(uintptr_t)(value) >> RTVNIC_SIGNAL_LATENESS_BITS))
#define RTVNIC_SIGNAL_LATENESS_NS(value) \
    ((uint64_t)(uintptr_t)(value) & ((UINT64_C(1) << RTVNIC_SIGNAL_LATENESS_BITS) - 1))

#endif
