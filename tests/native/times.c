/* What the egress does when, at virtual times: the linker has put __wrap_clock_gettime() in the place of
 * clock_gettime().  The wire is a socket that is read, and that takes as long as the egress thinks. */

#include <sys/socket.h>
#include <time.h>

#include "check.h"
#include "egress.h"
#include "labels.h"
#include "lab.h"
#include "state.h"

#define US INT64_C(1000)
#define MS (1000 * US)
#define S (1000 * MS)

enum {
    LABEL = 4711,
    FRAME_BYTES = 101,                  /* 125 on the wire: 1,000 bits. */
    SEQUENCE_AT = LABELS_ETHERNET_BYTES + LABELS_STACK_BYTES,
    LINK_RATE_BPS = 100000000,
    FRAME_NS = 10000,                   /* On that link. */
    BEST_EFFORT = 1000,                 /* As sequence numbers. */
    NOTHING = -1,
};

static int64_t now_ns;

int __wrap_clock_gettime(clockid_t, struct timespec *);

int
__wrap_clock_gettime(clockid_t clock, struct timespec *time)
{
    (void) clock;
    *time = (struct timespec) { .tv_sec = now_ns / S, .tv_nsec = now_ns % S };
    return 0;
}

struct lab {
    struct state *state;
    struct channel_table table;
    struct egress egress;
    int wire[2];
    int event_fd;
    uint32_t offered;
};

static void
turn(struct lab *lab)
{
    loop_wake(&lab->egress.loop);       /* It waits for nothing. */
    egress_turn(&lab->egress);
}

/* At an arbitrary time, with one channel. */
static void
open_lab(struct lab *lab, const struct terms *terms, int64_t be_slack_ns, int64_t allowance_ns)
{
    enum adoption adoption;

    now_ns = 1000 * S;
    *lab = (struct lab) { .event_fd = eventfd(0, EFD_NONBLOCK) };
    CHECK(!state_open(&lab->state, -1, "times", &adoption));
    CHECK(!channel_table_init(&lab->table, lab->state->labels, lab->state->channels));
    CHECK(!channel_table_set(&lab->table, LABEL, terms));
    CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, lab->wire));
    lab_open_egress(&lab->egress, lab->state, &lab->table, lab->wire[0], lab->event_fd, LAB_SLOTS);
    egress_configure(&lab->egress, LINK_RATE_BPS, be_slack_ns, allowance_ns);
    turn(lab);
}

static void
close_lab(struct lab *lab)
{
    lab_close_egress(&lab->egress);
    channel_table_destroy(&lab->table);
    state_close(lab->state);
    close(lab->wire[0]);
    close(lab->wire[1]);
    close(lab->event_fd);
}

/* Has the next frame of the channel come, due in 'deadline_ns'. */
static void
offer(struct lab *lab, int64_t deadline_ns)
{
    const uint32_t deadline = deadline_ns / LABELS_TICK_NS << 12 | 5 << 9 | LABELS_TTL_RELATIVE;
    const uint32_t channel = LABEL << 12 | 5 << 9 | 1 << 8 | 64;
    const uint32_t stack[2] = { __builtin_bswap32(deadline), __builtin_bswap32(channel) };
    uint8_t frame[FRAME_BYTES] = { [12] = LABELS_ETHERTYPE >> 8, [13] = LABELS_ETHERTYPE & 0xff };

    memcpy(frame + LABELS_ETHERNET_BYTES, stack, sizeof stack);
    memcpy(frame + SEQUENCE_AT, &lab->offered, sizeof lab->offered);
    lab_arrive(&lab->egress.labelled, lab->offered++, frame, sizeof frame, now_ns);
}

static void
offer_best_effort(struct lab *lab)
{
    const uint32_t sequence = BEST_EFFORT;
    uint8_t frame[FRAME_BYTES] = { 0 };

    memcpy(frame + SEQUENCE_AT, &sequence, sizeof sequence);
    lab_arrive(&lab->egress.best_effort[1], 0, frame, sizeof frame, now_ns);
}

/* Returns the sequence number of the next frame that has left, or NOTHING. */
static int64_t
next_sent(struct lab *lab)
{
    uint8_t frame[FRAME_BYTES];
    uint32_t sequence;

    if (recv(lab->wire[1], frame, sizeof frame, MSG_DONTWAIT) != FRAME_BYTES) {
        return NOTHING;
    }
    memcpy(&sequence, frame + SEQUENCE_AT, sizeof sequence);
    return sequence;
}

/* A packet due in 400 us, of which the host may take 200 us, and best effort have their turn after 'waited_ns'. */
static void
open_after(struct lab *lab, int64_t waited_ns)
{
    const struct terms terms = { .late = TERMS_LATE_DROP };

    open_lab(lab, &terms, 100 * US, 200 * US);
    offer(lab, 400 * US);
    offer_best_effort(lab);
    now_ns += waited_ns;
    turn(lab);
}

/* Late is what cannot be there by its deadline; the allowance makes that no earlier. */
static void
check_allowance_is_there_to_be_used(void)
{
    static struct lab lab;

    open_after(&lab, 400 * US - FRAME_NS);
    CHECK(next_sent(&lab) == 0);
    CHECK(!lab.state->egress.counters.late_departures && !lab.state->egress.counters.excess.late_dropped);
    close_lab(&lab);

    open_after(&lab, 400 * US - FRAME_NS + 1);
    CHECK(next_sent(&lab) == BEST_EFFORT && next_sent(&lab) == NOTHING);
    CHECK(lab.state->egress.counters.excess.late_dropped == 1);
    close_lab(&lab);
}

/* In the order the allowance counts as gone: what the host takes later is then still there. */
static void
check_order_spares_the_allowance(void)
{
    static struct lab lab;

    open_after(&lab, 100 * US);
    CHECK(next_sent(&lab) == BEST_EFFORT && next_sent(&lab) == 0);
    close_lab(&lab);

    open_after(&lab, 101 * US);
    CHECK(next_sent(&lab) == 0 && next_sent(&lab) == BEST_EFFORT);
    close_lab(&lab);
}

int
main(void)
{
    check_allowance_is_there_to_be_used();
    check_order_spares_the_allowance();
    printf("times passed\n");
    return 0;
}
