/* What the egress does with contracts and deadlines, at virtual times. */

#include "lab.h"

enum { BEST_EFFORT = 1000, NOTHING = -1 };      /* As sequence numbers. */

static const int64_t FRAME_NS = 9920;           /* Of the wire, with what is around it. */

/* Returns the sequence number of the next frame that has left. */
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

static void
offer_best_effort(struct lab *lab)
{
    const uint32_t sequence = BEST_EFFORT;
    uint8_t frame[FRAME_BYTES] = { 0 };

    memcpy(frame + SEQUENCE_AT, &sequence, sizeof sequence);
    arrive(lab->sender, &lab->egress.best_effort[1], 0, frame);
}

/* A packet that is due in 'deadline_ns', of which the host may take 'allowance_ns', has its turn after
 * 'waited_ns', beside best effort.  Returns a lab in which that is over. */
static struct lab *
wait_in_ring(int64_t deadline_ns, int64_t allowance_ns, int64_t waited_ns)
{
    struct lab *lab = open_lab(true);
    const struct terms terms = { .late = TERMS_LATE_DROP };

    CHECK(!channel_table_set(&lab->table, LABEL, &terms));
    egress_configure(&lab->egress, RATE_BPS, 100 * US, allowance_ns);
    turn_egress(lab);
    offer_on(lab, LABEL, deadline_ns);
    offer_best_effort(lab);
    mono_ns += waited_ns;
    turn_egress(lab);
    return lab;
}

/* Late is what cannot be there by its deadline; the allowance makes it no shorter. */
static void
check_allowance_is_there_to_be_used(void)
{
    struct lab *lab = wait_in_ring(400 * US, 200 * US, 400 * US - FRAME_NS - US);

    CHECK(next_sent(lab) == 0);
    CHECK(!lab->egress.kept->counters.late_departures && !lab->egress.kept->counters.excess.late_dropped);
    close_lab(lab);

    lab = wait_in_ring(400 * US, 200 * US, 400 * US - FRAME_NS + US);
    CHECK(next_sent(lab) == BEST_EFFORT && next_sent(lab) == NOTHING);
    CHECK(lab->egress.kept->counters.excess.late_dropped == 1);
    close_lab(lab);
}

/* The shim goes by what the allowance leaves: so the host finds it untouched. */
static void
check_order_spares_the_allowance(void)
{
    struct lab *lab = wait_in_ring(400 * US, 200 * US, 90 * US);

    CHECK(next_sent(lab) == BEST_EFFORT);
    close_lab(lab);

    lab = wait_in_ring(400 * US, 200 * US, 110 * US);
    CHECK(next_sent(lab) == 0);
    close_lab(lab);
}

int
main(void)
{
    check_allowance_is_there_to_be_used();
    check_order_spares_the_allowance();
    printf("egress passed\n");
    return 0;
}
