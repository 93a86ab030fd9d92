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

/* A frame of 1,000 bits at once, and one in a millisecond. */
static struct terms
modest(bool is_shaped)
{
    return (struct terms) { .rate_bps = 1000000, .burst_bytes = 125, .is_shaped = is_shaped };
}

static void
pass(struct lab *lab, int64_t ns)
{
    now_ns += ns;
    turn(lab);
}

static void
offer_many(struct lab *lab, const struct terms *terms, int count)
{
    open_lab(lab, terms, 0, 0);
    for (int i = 0; i < count; i++) {
        offer(lab, 10 * MS);
    }
    turn(lab);
    CHECK((int) lab->state->egress.counters.excess.postponed == count - 1);
}

/* Excess of a shaped channel leaves as the contract allows, though the wire is free; best effort has that meanwhile. */
static void
check_excess_is_held(void)
{
    const struct terms terms = modest(true);
    static struct lab lab;

    offer_many(&lab, &terms, 3);
    CHECK(next_sent(&lab) == 0 && lab.state->egress.queued == 2);
    offer_best_effort(&lab);
    pass(&lab, MS - 1);
    CHECK(next_sent(&lab) == BEST_EFFORT && next_sent(&lab) == NOTHING);
    pass(&lab, 1);
    CHECK(next_sent(&lab) == 1 && next_sent(&lab) == NOTHING);
    pass(&lab, MS);
    CHECK(next_sent(&lab) == 2 && !lab.state->egress.queued);
    close_lab(&lab);
}

/* That of another channel leaves at once. */
static void
check_excess_is_not_held(void)
{
    const struct terms terms = modest(false);
    static struct lab lab;

    offer_many(&lab, &terms, 3);
    CHECK(next_sent(&lab) == 0 && next_sent(&lab) == 1 && next_sent(&lab) == 2 && !lab.state->egress.queued);
    close_lab(&lab);
}

/* A link on which nothing waits is no fresh start for a shaped channel: what has left may delay others further on. */
static void
check_fresh_starts(bool is_shaped)
{
    const struct terms terms = modest(is_shaped);
    static struct lab lab;

    open_lab(&lab, &terms, 0, 0);
    offer(&lab, 10 * MS);
    turn(&lab);
    pass(&lab, 500 * US);
    offer(&lab, 10 * MS);
    turn(&lab);
    CHECK(next_sent(&lab) == 0 && next_sent(&lab) == (is_shaped ? NOTHING : 1));
    pass(&lab, 500 * US);
    CHECK(next_sent(&lab) == (is_shaped ? 1 : NOTHING));
    close_lab(&lab);
}

/* What would be held for too long is dropped; what is held is in time for its deadline, which counts from then. */
static void
check_limits(void)
{
    const struct terms terms = { .rate_bps = 10000, .burst_bytes = 125, .is_shaped = true, .late = TERMS_LATE_DROP };
    static struct lab lab;

    open_lab(&lab, &terms, 0, 0);
    for (int i = 0; i < 3; i++) {
        offer(&lab, MS);
    }
    turn(&lab);
    CHECK(lab.state->egress.counters.excess.excess_dropped == 1);
    CHECK(next_sent(&lab) == 0 && next_sent(&lab) == NOTHING);
    pass(&lab, 100 * MS);
    CHECK(next_sent(&lab) == 1 && !lab.state->egress.counters.excess.late_dropped);
    close_lab(&lab);
}

/* A channel that is shaped no more while its packets are held stays in order, and so does one that is shaped again. */
static void
check_order_when_terms_change(void)
{
    const struct terms shaped = modest(true), free = modest(false);
    static struct lab lab;

    open_lab(&lab, &shaped, 0, 0);
    for (int i = 0; i < 6; i++) {
        CHECK(!channel_table_set(&lab.table, LABEL, i < 2 || i == 4 ? &shaped : &free));
        offer(&lab, 50 * MS);
        turn(&lab);
    }
    CHECK(next_sent(&lab) == 0 && next_sent(&lab) == NOTHING);
    pass(&lab, MS);
    CHECK(next_sent(&lab) == 1 && next_sent(&lab) == 2 && next_sent(&lab) == 3 && next_sent(&lab) == NOTHING);
    pass(&lab, 3 * MS);
    CHECK(next_sent(&lab) == 4 && next_sent(&lab) == 5 && next_sent(&lab) == NOTHING);
    close_lab(&lab);
}

/* Whatever comes when, on whatever terms: a channel's packets leave in order, and all that are not dropped. */
static void
check_order_at_random(void)
{
    static struct lab lab;
    struct terms terms = modest(true);
    int64_t last = -1, sent;
    uint64_t left = 0;

    open_lab(&lab, &terms, 0, 0);
    srandom(4711);
    for (int round = 0; round < 20000; round++) {
        switch (random() % 4) {
        case 0:
            terms = modest(random() % 2);
            terms.rate_bps <<= random() % 8;
            terms.late = TERMS_LATE_KEEP;
            terms.downstream_ns = random() % (5 * MS);
            CHECK(!channel_table_set(&lab.table, LABEL, &terms));
            break;
        case 1:
            now_ns += random() % (3 * MS);
            break;
        default:
            offer(&lab, 10 * MS);
        }
        turn(&lab);
        while ((sent = next_sent(&lab)) != NOTHING) {
            CHECK(sent > last);
            last = sent;
            left++;
        }
    }
    for (int i = 0; i < 2; i++) {
        pass(&lab, 200 * MS);
        while (next_sent(&lab) != NOTHING) {
            left++;
        }
    }
    CHECK(left + lab.state->egress.counters.excess.excess_dropped == lab.offered && left > lab.offered / 10);
    close_lab(&lab);
}

int
main(void)
{
    check_excess_is_held();
    check_excess_is_not_held();
    check_fresh_starts(true);
    check_fresh_starts(false);
    check_limits();
    check_order_when_terms_change();
    check_order_at_random();
    check_allowance_is_there_to_be_used();
    check_order_spares_the_allowance();
    printf("times passed\n");
    return 0;
}
