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

/* At an arbitrary time, with one channel. */
static void
open_sending(struct sending *sending, const struct terms *terms, int64_t be_slack_ns, int64_t allowance_ns)
{
    now_ns = 1000 * S;
    lab_open_sending(sending, LAB_SLOTS);
    CHECK(!channel_table_set(&sending->table, LABEL, terms));
    egress_configure(&sending->egress, LINK_RATE_BPS, be_slack_ns, allowance_ns);
    lab_turn(sending);
}

/* Has the next frame of the channel come, due in 'deadline_ns'. */
static void
offer(struct sending *sending, int64_t deadline_ns)
{
    const uint32_t deadline = deadline_ns / LABELS_TICK_NS << 12 | 5 << 9 | LABELS_TTL_RELATIVE;
    const uint32_t channel = LABEL << 12 | 5 << 9 | 1 << 8 | 64;
    const uint32_t stack[2] = { __builtin_bswap32(deadline), __builtin_bswap32(channel) };
    uint8_t frame[FRAME_BYTES] = { [12] = LABELS_ETHERTYPE >> 8, [13] = LABELS_ETHERTYPE & 0xff };

    memcpy(frame + LABELS_ETHERNET_BYTES, stack, sizeof stack);
    memcpy(frame + SEQUENCE_AT, &sending->offered, sizeof sending->offered);
    lab_arrive(&sending->egress.labelled, sending->offered++, frame, sizeof frame, now_ns);
}

static void
offer_best_effort(struct sending *sending)
{
    const uint32_t sequence = BEST_EFFORT;
    uint8_t frame[FRAME_BYTES] = { 0 };

    memcpy(frame + SEQUENCE_AT, &sequence, sizeof sequence);
    lab_arrive(&sending->egress.best_effort[1], sending->offered_best_effort++, frame, sizeof frame, now_ns);
}

/* Returns the sequence number of the next frame that has left, or NOTHING. */
static int64_t
next_sent(struct sending *sending)
{
    uint8_t frame[FRAME_BYTES];
    uint32_t sequence;

    if (recv(sending->wire[1], frame, sizeof frame, MSG_DONTWAIT) != FRAME_BYTES) {
        return NOTHING;
    }
    memcpy(&sequence, frame + SEQUENCE_AT, sizeof sequence);
    return sequence;
}

/* A packet due in 400 us, of which the host may take 200 us, and best effort have their turn after 'waited_ns'. */
static void
open_after(struct sending *sending, int64_t waited_ns)
{
    const struct terms terms = { .late = TERMS_LATE_DROP };

    open_sending(sending, &terms, 100 * US, 200 * US);
    offer(sending, 400 * US);
    offer_best_effort(sending);
    now_ns += waited_ns;
    lab_turn(sending);
}

/* Late is what cannot be there by its deadline; the allowance makes that no earlier. */
static void
check_allowance_is_there_to_be_used(void)
{
    static struct sending sending;

    open_after(&sending, 400 * US - FRAME_NS);
    CHECK(next_sent(&sending) == 0);
    CHECK(!sending.state->egress.counters.late_departures && !sending.state->egress.counters.excess.late_dropped);
    lab_close_sending(&sending);

    open_after(&sending, 400 * US - FRAME_NS + 1);
    CHECK(next_sent(&sending) == BEST_EFFORT && next_sent(&sending) == NOTHING);
    CHECK(sending.state->egress.counters.excess.late_dropped == 1);
    lab_close_sending(&sending);
}

/* In the order the allowance counts as gone: what the host takes later is then still there. */
static void
check_order_spares_the_allowance(void)
{
    static struct sending sending;

    open_after(&sending, 100 * US);
    CHECK(next_sent(&sending) == BEST_EFFORT && next_sent(&sending) == 0);
    lab_close_sending(&sending);

    open_after(&sending, 101 * US);
    CHECK(next_sent(&sending) == 0 && next_sent(&sending) == BEST_EFFORT);
    lab_close_sending(&sending);
}

/* A frame of 1,000 bits at once, and one in a millisecond. */
static struct terms
modest(bool is_shaped)
{
    return (struct terms) { .rate_bps = 1000000, .burst_bytes = 125, .is_shaped = is_shaped };
}

static void
pass(struct sending *sending, int64_t ns)
{
    now_ns += ns;
    lab_turn(sending);
}

static void
offer_many(struct sending *sending, const struct terms *terms, int count)
{
    open_sending(sending, terms, 0, 0);
    for (int i = 0; i < count; i++) {
        offer(sending, 10 * MS);
    }
    lab_turn(sending);
    CHECK((int) sending->state->egress.counters.excess.postponed == count - 1);
}

/* Excess of a shaped channel leaves as the contract allows, though the wire is free; best effort has that meanwhile. */
static void
check_excess_is_held(void)
{
    const struct terms terms = modest(true);
    static struct sending sending;

    offer_many(&sending, &terms, 3);
    CHECK(next_sent(&sending) == 0 && sending.state->egress.queued == 2);
    offer_best_effort(&sending);
    pass(&sending, MS - 1);
    CHECK(next_sent(&sending) == BEST_EFFORT && next_sent(&sending) == NOTHING);
    pass(&sending, 1);
    CHECK(next_sent(&sending) == 1 && next_sent(&sending) == NOTHING);
    pass(&sending, MS);
    CHECK(next_sent(&sending) == 2 && !sending.state->egress.queued);
    lab_close_sending(&sending);
}

/* That of another channel leaves at once. */
static void
check_excess_is_not_held(void)
{
    const struct terms terms = modest(false);
    static struct sending sending;

    offer_many(&sending, &terms, 3);
    CHECK(next_sent(&sending) == 0 && next_sent(&sending) == 1 && next_sent(&sending) == 2);
    CHECK(!sending.state->egress.queued);
    lab_close_sending(&sending);
}

/* A link on which nothing waits is no fresh start for a shaped channel: what has left may delay others further on. */
static void
check_fresh_starts(bool is_shaped)
{
    const struct terms terms = modest(is_shaped);
    static struct sending sending;

    open_sending(&sending, &terms, 0, 0);
    offer(&sending, 10 * MS);
    lab_turn(&sending);
    pass(&sending, 500 * US);
    offer(&sending, 10 * MS);
    lab_turn(&sending);
    CHECK(next_sent(&sending) == 0 && next_sent(&sending) == (is_shaped ? NOTHING : 1));
    pass(&sending, 500 * US);
    CHECK(next_sent(&sending) == (is_shaped ? 1 : NOTHING));
    lab_close_sending(&sending);
}

/* Has at least 'count' frames of best effort wait. */
static void
flood(struct sending *sending, uint32_t count)
{
    while (sending->offered_best_effort - sending->egress.best_effort[1].taken < count) {
        offer_best_effort(sending);
    }
}

/* Sends all bursts of 'count' frames, one in each millisecond, that fit into 'duration_ns', against a flood. */
static void
offer_bursts(struct sending *sending, uint32_t count, int64_t duration_ns)
{
    const int64_t step_ns = 50 * US;

    for (int64_t passed_ns = 0; passed_ns < duration_ns; passed_ns += step_ns) {
        for (uint32_t i = 0; i < count && passed_ns % MS == 0; i++) {
            offer(sending, 2 * MS);
        }
        flood(sending, 64);
        pass(sending, step_ns);
        while (next_sent(sending) != NOTHING) {
        }
    }
}

/* While best effort waits no contract starts afresh, though no labelled frame waits: what the contract does not allow is
 * best effort's.  On an idle link it is the talker's. */
static void
check_no_fresh_start_while_best_effort_waits(void)
{
    const struct terms terms = { .rate_bps = 1000000, .burst_bytes = 4 * 125 };
    const struct egress_counters *counters;
    static struct sending sending;
    uint64_t postponed;

    open_sending(&sending, &terms, MS, 0);
    counters = &sending.state->egress.counters;
    offer_bursts(&sending, 4, 50 * MS);
    CHECK(counters->real_time.packets <= 4 + 50);
    CHECK(counters->best_effort.packets >= 100 * 50 - (4 + 50));

    for (int i = 0; i < 64; i++) {
        pass(&sending, MS);
        while (next_sent(&sending) != NOTHING) {
        }
    }
    postponed = counters->excess.postponed;
    for (int i = 0; i < 2; i++) {
        for (int burst = 0; burst < 4; burst++) {
            offer(&sending, 2 * MS);
        }
        lab_turn(&sending);
        CHECK(next_sent(&sending) >= 0 && next_sent(&sending) >= 0 && next_sent(&sending) >= 0);
        CHECK(next_sent(&sending) >= 0 && next_sent(&sending) == NOTHING);
        pass(&sending, 100 * US);
    }
    CHECK(counters->excess.postponed == postponed);
    lab_close_sending(&sending);
}

/* What would be held for too long is dropped; what is held is in time for its deadline, which counts from then. */
static void
check_limits(void)
{
    const struct terms terms = { .rate_bps = 10000, .burst_bytes = 125, .is_shaped = true, .late = TERMS_LATE_DROP };
    static struct sending sending;

    open_sending(&sending, &terms, 0, 0);
    for (int i = 0; i < 3; i++) {
        offer(&sending, MS);
    }
    lab_turn(&sending);
    CHECK(sending.state->egress.counters.excess.excess_dropped == 1);
    CHECK(next_sent(&sending) == 0 && next_sent(&sending) == NOTHING);
    pass(&sending, 100 * MS);
    CHECK(next_sent(&sending) == 1 && !sending.state->egress.counters.excess.late_dropped);
    lab_close_sending(&sending);
}

/* A channel that is shaped no more while its packets are held stays in order, and so does one that is shaped again. */
static void
check_order_when_terms_change(void)
{
    const struct terms shaped = modest(true), free = modest(false);
    static struct sending sending;

    open_sending(&sending, &shaped, 0, 0);
    for (int i = 0; i < 6; i++) {
        CHECK(!channel_table_set(&sending.table, LABEL, i < 2 || i == 4 ? &shaped : &free));
        offer(&sending, 50 * MS);
        lab_turn(&sending);
    }
    CHECK(next_sent(&sending) == 0 && next_sent(&sending) == NOTHING);
    pass(&sending, MS);
    CHECK(next_sent(&sending) == 1 && next_sent(&sending) == 2 && next_sent(&sending) == 3);
    CHECK(next_sent(&sending) == NOTHING);
    pass(&sending, 3 * MS);
    CHECK(next_sent(&sending) == 4 && next_sent(&sending) == 5 && next_sent(&sending) == NOTHING);
    lab_close_sending(&sending);
}

/* Whatever comes when, on whatever terms: a channel's packets leave in order, and all that are not dropped. */
static void
check_order_at_random(void)
{
    static struct sending sending;
    struct terms terms = modest(true);
    int64_t last = -1, sent;
    uint64_t left = 0;

    open_sending(&sending, &terms, 0, 0);
    srandom(4711);
    for (int round = 0; round < 20000; round++) {
        switch (random() % 4) {
        case 0:
            terms = modest(random() % 2);
            terms.rate_bps <<= random() % 8;
            terms.late = TERMS_LATE_KEEP;
            terms.downstream_ns = random() % (5 * MS);
            CHECK(!channel_table_set(&sending.table, LABEL, &terms));
            break;
        case 1:
            now_ns += random() % (3 * MS);
            break;
        default:
            offer(&sending, 10 * MS);
        }
        lab_turn(&sending);
        while ((sent = next_sent(&sending)) != NOTHING) {
            CHECK(sent > last);
            last = sent;
            left++;
        }
    }
    for (int i = 0; i < 2; i++) {
        pass(&sending, 200 * MS);
        while (next_sent(&sending) != NOTHING) {
            left++;
        }
    }
    CHECK(left + sending.state->egress.counters.excess.excess_dropped == sending.offered);
    CHECK(left > sending.offered / 10);
    lab_close_sending(&sending);
}

int
main(void)
{
    check_excess_is_held();
    check_excess_is_not_held();
    check_fresh_starts(true);
    check_fresh_starts(false);
    check_no_fresh_start_while_best_effort_waits();
    check_limits();
    check_order_when_terms_change();
    check_order_at_random();
    check_allowance_is_there_to_be_used();
    check_order_spares_the_allowance();
    printf("times passed\n");
    return 0;
}
