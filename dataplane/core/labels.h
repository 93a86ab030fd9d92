/* The label stack of a channel's frame, and the arithmetic of deadlines that wrap.
 *
 * Outermost the deadline label, then the channel label, 4 bytes each: label (20 bits), TC (3), S (1), TTL (8).  The
 * controller has the same definitions in controller/network/labels.py; a test holds the two together.
 *
 * Pure functions, for any thread. */

#ifndef LABELS_H
#define LABELS_H 1

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
    LABELS_ETHERTYPE = 0x8847,
    LABELS_ETHERTYPE_IPV4 = 0x0800,
    LABELS_ETHERTYPE_IPV6 = 0x86dd,
    LABELS_ETHERNET_BYTES = 14,
    LABELS_ENTRY_BYTES = 4,
    LABELS_STACK_BYTES = 2 * LABELS_ENTRY_BYTES,
    LABELS_FIRST = 16,                    /* 0-15 are reserved (RFC 7274). */
    LABELS_SPACE = 1 << 20,               /* Label values, reserved ones included. */
    LABELS_COUNT = LABELS_SPACE - LABELS_FIRST,
    LABELS_TC_COUNT = 8,
    LABELS_TTL_RELATIVE = 255,
    LABELS_TTL_STAMPED = 254,
    LABELS_TTL_UNSURE = 127,              /* Stamped as well, by a clock that had just been set. */
    LABELS_TICK_NS = 10000,
};

#define LABELS_PERIOD_NS ((int64_t) LABELS_COUNT * LABELS_TICK_NS)

/* What a frame is to the shim.  All kinds but the first two are malformed. */
enum labels_kind {
    LABELS_BEST_EFFORT,     /* No label stack. */
    LABELS_LABELLED,        /* Exactly two labels. */
    LABELS_SHORT,           /* Ends before its headers do. */
    LABELS_ONE_LABEL,       /* The outermost label is the last one. */
    LABELS_MANY_LABELS,     /* More than two labels. */
};

/* The label stack of a LABELS_LABELLED frame. */
struct labels {
    uint32_t deadline;      /* Relative or stamped: see 'ttl'. */
    uint32_t channel;
    uint8_t tc;
    uint8_t ttl;            /* Of the deadline label. */
};

/* Parsing and stamping. */
static inline enum labels_kind labels_parse(const uint8_t *frame, uint32_t length, struct labels *);
static inline bool labels_is_relative(const struct labels *);
static inline bool labels_is_sure(const struct labels *);
static inline void labels_stamp(uint8_t *frame, uint32_t deadline_label, bool is_sure);
static inline uint8_t *labels_strip(uint8_t *frame);

/* Deadlines. */
static inline int64_t labels_relative_ns(uint32_t label);
static inline uint32_t labels_absolute(int64_t deadline_wall_ns);
static inline int64_t labels_lateness_ns(uint32_t label, int64_t now_wall_ns);

static inline uint32_t
labels_get_be32__(const uint8_t *bytes)
{
    return (uint32_t) bytes[0] << 24 | (uint32_t) bytes[1] << 16 | (uint32_t) bytes[2] << 8 | bytes[3];
}

static inline bool
labels_is_bottom__(uint32_t entry)
{
    return entry & 0x100;
}

/* Returns the kind of the 'length' bytes at 'frame'.  Fills in 'labels' if they are LABELS_LABELLED, else leaves it
 * alone.  Reads nothing beyond 'length'. */
static inline enum labels_kind
labels_parse(const uint8_t *frame, uint32_t length, struct labels *labels)
{
    const uint8_t *stack;
    uint32_t outer, inner;

    if (length < LABELS_ETHERNET_BYTES) {
        return LABELS_SHORT;
    }
    if ((frame[12] << 8 | frame[13]) != LABELS_ETHERTYPE) {
        return LABELS_BEST_EFFORT;
    }
    if (length < LABELS_ETHERNET_BYTES + LABELS_ENTRY_BYTES) {
        return LABELS_SHORT;
    }
    stack = frame + LABELS_ETHERNET_BYTES;
    outer = labels_get_be32__(stack);
    if (labels_is_bottom__(outer)) {
        return LABELS_ONE_LABEL;
    }
    if (length < LABELS_ETHERNET_BYTES + 2 * LABELS_ENTRY_BYTES) {
        return LABELS_SHORT;
    }
    inner = labels_get_be32__(stack + LABELS_ENTRY_BYTES);
    if (!labels_is_bottom__(inner)) {
        return LABELS_MANY_LABELS;
    }
    *labels = (struct labels) {
        .deadline = outer >> 12,
        .channel = inner >> 12,
        .tc = outer >> 9 & 7,
        .ttl = outer & 0xff,
    };
    return LABELS_LABELLED;
}

/* Returns true if no shim has stamped the frame yet.  Every other TTL means a stamp: a router may have counted it
 * down. */
static inline bool
labels_is_relative(const struct labels *labels)
{
    return labels->ttl == LABELS_TTL_RELATIVE;
}

/* Returns true if the stamp can be compared with a clock.  Routers may have counted down a few of either kind. */
static inline bool
labels_is_sure(const struct labels *labels)
{
    return labels->ttl > LABELS_TTL_UNSURE;
}

/* Replaces the deadline label of the LABELS_LABELLED 'frame' by the stamp 'deadline_label', and its TTL to say so, and
 * whether it 'is_sure'.  TC and S stay. */
static inline void
labels_stamp(uint8_t *frame, uint32_t deadline_label, bool is_sure)
{
    uint8_t *entry = frame + LABELS_ETHERNET_BYTES;

    entry[0] = deadline_label >> 12;
    entry[1] = deadline_label >> 4;
    entry[2] = (uint8_t) (deadline_label << 4) | (entry[2] & 0x0f);
    entry[3] = is_sure ? LABELS_TTL_STAMPED : LABELS_TTL_UNSURE;
}

/* Takes both labels out of the LABELS_LABELLED 'frame', of IPv4 or IPv6.  Returns where the frame now begins,
 * LABELS_STACK_BYTES further on. */
static inline uint8_t *
labels_strip(uint8_t *frame)
{
    uint8_t *stripped = frame + LABELS_STACK_BYTES;
    bool is_ipv6 = frame[LABELS_ETHERNET_BYTES + LABELS_STACK_BYTES] >> 4 == 6;
    uint16_t ethertype = is_ipv6 ? LABELS_ETHERTYPE_IPV6 : LABELS_ETHERTYPE_IPV4;

    memmove(stripped, frame, LABELS_ETHERNET_BYTES - 2);
    stripped[LABELS_ETHERNET_BYTES - 2] = ethertype >> 8;
    stripped[LABELS_ETHERNET_BYTES - 1] = ethertype & 0xff;
    return stripped;
}

/* Returns the relative deadline that 'label' stands for before the shim. */
static inline int64_t
labels_relative_ns(uint32_t label)
{
    return (int64_t) label * LABELS_TICK_NS;
}

/* Returns the stamp of 'deadline_wall_ns' (not negative): in ticks, rounded down so that a late packet is never called
 * on time, modulo the label space. */
static inline uint32_t
labels_absolute(int64_t deadline_wall_ns)
{
    return LABELS_FIRST + deadline_wall_ns / LABELS_TICK_NS % LABELS_COUNT;
}

/* Returns how long after the stamp 'label' the instant 'now_wall_ns' (not negative) is; negative when early.  Valid
 * within half a wrap (5.2 s). */
static inline int64_t
labels_lateness_ns(uint32_t label, int64_t now_wall_ns)
{
    int64_t stamp_ns = ((int64_t) label - LABELS_FIRST) * LABELS_TICK_NS;
    int64_t ahead_ns = (now_wall_ns - stamp_ns + LABELS_PERIOD_NS) % LABELS_PERIOD_NS;

    return ahead_ns >= LABELS_PERIOD_NS / 2 ? ahead_ns - LABELS_PERIOD_NS : ahead_ns;
}

#endif /* labels.h */
