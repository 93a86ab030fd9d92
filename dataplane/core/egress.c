#include "egress.h"

#include <errno.h>
#include <string.h>

#include "counter.h"
#include "labels.h"
#include "moment.h"

enum {
    LABELLED_SLOTS = 4096,
    CONTROL_SLOTS = 256,
    BULK_SLOTS = 1024,
    ACCEPT_MAX = 256,           /* Frames accepted in one turn, so that a burst does not hold up the wire. */
    STEP_NS = 1000000,          /* A jump of the wall clock by more is no creeping. */
    NAP_NS = 25000,             /* A shorter wait for the wire costs more than it gains. */
};

_Static_assert(PACKET_BYTES >= RING_SLOT_WHOLE - RING_HEAD_BYTES, "a packet holds what a slot holds");

/* Opens what the egress needs.  Returns 0 or an errno; either way it may be closed. */
int
egress_open(struct egress *egress, int inner_ifindex, int uplink_ifindex, uint32_t queue_capacity, bool bypass_qdisc)
{
    struct ring *control = &egress->best_effort[0], *bulk = &egress->best_effort[1];
    int errors[] = {
        ring_open(&egress->labelled, inner_ifindex, RING_LABELLED, RING_SLOT_WHOLE, LABELLED_SLOTS),
        ring_open(control, inner_ifindex, RING_CONTROL, RING_SLOT_WHOLE, CONTROL_SLOTS),
        ring_open(bulk, inner_ifindex, RING_BULK, RING_SLOT_WHOLE, BULK_SLOTS),
        sender_open(&egress->sender, uplink_ifindex, bypass_qdisc),
        packet_pool_init(&egress->pool, queue_capacity),
        edf_queue_init(&egress->queue, queue_capacity),
    };

    egress->inner_ifindex = inner_ifindex;
    egress->scheduler.ahead_ns = SCHEDULER_AHEAD_NS;
    for (uint32_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        if (errors[i]) {
            return errors[i];
        }
    }
    return 0;
}

/* Frees what egress_open() opened. */
void
egress_close(struct egress *egress)
{
    ring_close(&egress->labelled);
    ring_close(&egress->best_effort[0]);
    ring_close(&egress->best_effort[1]);
    sender_close(&egress->sender);
    packet_pool_destroy(&egress->pool);
    edf_queue_destroy(&egress->queue);
}

/* Asks for a link rate (0: unpaced) and a best-effort slack, in force from the next turn on. */
void
egress_configure(struct egress *egress, uint64_t rate_bps, int64_t be_slack_ns)
{
    __atomic_store_n(&egress->rate_bps, rate_bps, __ATOMIC_RELAXED);
    __atomic_store_n(&egress->be_slack_ns, be_slack_ns, __ATOMIC_RELAXED);
    loop_wake(&egress->loop);
}

static void
adopt_configuration(struct egress *egress)
{
    uint64_t rate_bps = __atomic_load_n(&egress->rate_bps, __ATOMIC_RELAXED);

    if (rate_bps != egress->scheduler.rate_bps) {
        scheduler_set_rate(&egress->scheduler, rate_bps);
    }
    egress->scheduler.be_slack_ns = __atomic_load_n(&egress->be_slack_ns, __ATOMIC_RELAXED);
}

/* Returns true if the wall clock was set since the last turn, so that the stamps of what arrived meanwhile do not tell
 * its age. */
static bool
wall_clock_has_stepped(struct egress *egress, const struct moment *now)
{
    int64_t step_ns = moment_offset_ns(now) - egress->wall_offset_ns;

    egress->wall_offset_ns += step_ns;
    return step_ns < -STEP_NS || step_ns > STEP_NS;
}

/* Sets the deadline of 'packet', a copy of a frame with 'labels' that has waited 'age_ns' in the ring.  The first shim
 * on the path stamps it; later ones go by the stamp. */
static void
set_deadline(struct packet *packet, const struct labels *labels, int64_t age_ns, const struct moment *now)
{
    packet->arrival_ns = now->mono_ns - age_ns;
    if (labels_is_relative(labels)) {
        int64_t relative_ns = labels_relative_ns(labels->deadline);
        packet->deadline_ns = packet->arrival_ns + relative_ns;
        labels_stamp(packet->bytes, labels_absolute(now->wall_ns - age_ns + relative_ns));
    } else {
        packet->deadline_ns = now->mono_ns - labels_lateness_ns(labels->deadline, now->wall_ns);
    }
}

/* Queues a copy of 'frame', which has waited 'age_ns' in the ring, or drops and counts it. */
static void
accept_frame(struct egress *egress, const struct ring_frame *frame, int64_t age_ns, const struct moment *now)
{
    struct labels labels;
    enum labels_kind kind = labels_parse(frame->bytes, frame->length, &labels);
    struct packet *packet;
    uint32_t index;

    if (kind != LABELS_LABELLED) {
        counter_add_malformed(&egress->counters.malformed, kind);
        return;
    }
    if (frame->length < frame->wire_length) {
        counter_add(&egress->counters.too_long, 1);
        return;
    }
    index = packet_pool_take(&egress->pool);
    if (index == PACKET_POOL_NONE) {
        counter_add(&egress->counters.queue_full, 1);
        return;
    }
    packet = &egress->pool.packets[index];
    packet->channel = labels.channel;
    packet->tc = labels.tc;
    packet->length = frame->length;
    memcpy(packet->bytes, frame->bytes, frame->length);
    set_deadline(packet, &labels, age_ns, now);
    edf_queue_push(&egress->queue, packet->deadline_ns, index);
}

static void
accept_arrivals(struct egress *egress, const struct moment *now)
{
    bool are_ages_known = !wall_clock_has_stepped(egress, now);
    struct ring_frame frame;

    for (uint32_t i = 0; i < ACCEPT_MAX && ring_take(&egress->labelled, &frame); i++) {
        accept_frame(egress, &frame, are_ages_known ? now->wall_ns - frame.stamp_ns : 0, now);
        ring_release(&egress->labelled);
    }
}

/* Returns the best-effort ring whose turn it is, of those in which a frame waits; NULL if none does. */
static struct ring *
next_best_effort(struct egress *egress)
{
    struct ring *next = &egress->best_effort[egress->best_effort_turn];
    struct ring *other = &egress->best_effort[!egress->best_effort_turn];

    if (!ring_is_empty(next)) {
        return next;
    }
    return ring_is_empty(other) ? NULL : other;
}

static void
depart(struct egress *egress, uint8_t *bytes, uint32_t length, uint32_t packet, int64_t now_ns)
{
    struct departure *departure = &egress->departures[egress->sender.count];
    int64_t start_ns = scheduler_send(&egress->scheduler, length, now_ns);

    sender_add(&egress->sender, bytes, length, packet != PACKET_POOL_NONE);
    *departure = (struct departure) {
        .packet = packet,
        .length = length,
        .start_ns = start_ns,
        .end_ns = egress->scheduler.wire_free_ns,
    };
}

static void
depart_real_time(struct egress *egress, int64_t now_ns)
{
    uint32_t index = edf_queue_pop(&egress->queue);
    struct packet *packet = &egress->pool.packets[index];

    depart(egress, packet->bytes, packet->length, index, now_ns);
}

static void
depart_best_effort(struct egress *egress, struct ring *ring, int64_t now_ns)
{
    struct ring_frame frame;

    egress->best_effort_turn = ring == &egress->best_effort[0];
    ring_take(ring, &frame);
    if (frame.length < frame.wire_length) {
        counter_add(&egress->counters.too_long, 1);
        return;
    }
    depart(egress, frame.bytes, frame.length, PACKET_POOL_NONE, now_ns);
}

/* Chooses what leaves in this turn.  Returns the choice at which it ended: SCHEDULER_NOTHING or SCHEDULER_WAIT, or
 * another if the batch is full. */
static enum scheduler_choice
fill_batch(struct egress *egress, int64_t now_ns)
{
    enum scheduler_choice choice;

    do {
        struct ring *best_effort = next_best_effort(egress);
        choice = scheduler_choose(&egress->scheduler, &egress->queue, best_effort, now_ns);
        if (choice == SCHEDULER_REAL_TIME) {
            depart_real_time(egress, now_ns);
        } else if (choice == SCHEDULER_BEST_EFFORT) {
            depart_best_effort(egress, best_effort, now_ns);
        } else {
            return choice;
        }
    } while (egress->sender.count < SENDER_BATCH);
    return choice;
}

static void
account_real_time(struct egress *egress, const struct departure *departure)
{
    const struct packet *packet = &egress->pool.packets[departure->packet];
    struct channel *channel = channel_table_find(egress->channels, packet->channel);
    int64_t delay_ns = departure->start_ns - packet->arrival_ns;

    /* A frame that came while the turn ran is younger than the turn's own clock. */
    delay_ns = delay_ns > 0 ? delay_ns : 0;
    counter_add_frame(&egress->counters.real_time, departure->length);
    books_enter_sent(&egress->classes[packet->tc], departure->length, delay_ns);
    if (departure->end_ns > packet->deadline_ns) {
        counter_add(&egress->counters.late_departures, 1);
    }
    if (channel) {
        books_enter_sent(&channel->sent, departure->length, delay_ns);
    } else {
        counter_add(&egress->counters.unknown_channel, 1);
    }
}

static void
account(struct egress *egress, const struct departure *departure, bool is_sent)
{
    if (!is_sent) {
        counter_add(&egress->counters.send_errors, 1);
    } else if (departure->packet != PACKET_POOL_NONE) {
        account_real_time(egress, departure);
    } else {
        counter_add_frame(&egress->counters.best_effort, departure->length);
        counter_add_frame(&egress->classes[0].traffic, departure->length);
    }
    if (departure->packet != PACKET_POOL_NONE) {
        packet_pool_give(&egress->pool, departure->packet);
    }
}

static void
send_batch(struct egress *egress)
{
    uint32_t count = egress->sender.count;
    bool is_sent[SENDER_BATCH];
    int error = sender_flush(&egress->sender, is_sent);

    for (uint32_t i = 0; i < count; i++) {
        account(egress, &egress->departures[i], is_sent[i]);
    }
    ring_release(&egress->best_effort[0]);
    ring_release(&egress->best_effort[1]);
    if (error) {
        loop_fail(&egress->loop, error);
    }
}

/* Sleeps until a frame comes. */
static void
wait_for_frames(struct egress *egress)
{
    struct pollfd fds[4] = {
        { .fd = egress->labelled.fd, .events = POLLIN },
        { .fd = egress->best_effort[0].fd, .events = POLLIN },
        { .fd = egress->best_effort[1].fd, .events = POLLIN },
    };

    if (!ring_is_empty(&egress->labelled) || next_best_effort(egress)) {
        return;
    }
    loop_wait(&egress->loop, fds, 3, -1);
    for (uint32_t i = 0; i < 3; i++) {
        if (fds[i].revents & POLLERR && ring_is_gone(fds[i].fd, egress->inner_ifindex)) {
            loop_fail(&egress->loop, ENODEV);
        }
    }
}

/* Sleeps until the wire can take the next frame.  What arrives meanwhile can wait: its stamp says when it came. */
static void
wait_for_wire(struct egress *egress, int64_t turn_began_ns)
{
    struct pollfd fds[1];
    int64_t wake_ns = scheduler_wake_ns(&egress->scheduler);
    int64_t earliest_ns = turn_began_ns + NAP_NS;
    int64_t timeout_ns = (wake_ns > earliest_ns ? wake_ns : earliest_ns) - moment_mono_ns();

    if (timeout_ns > 0) {
        loop_wait(&egress->loop, fds, 0, timeout_ns);
    }
}

static void
turn(struct egress *egress)
{
    struct moment now = moment_now();
    enum scheduler_choice choice;

    adopt_configuration(egress);
    accept_arrivals(egress, &now);
    choice = fill_batch(egress, now.mono_ns);
    send_batch(egress);
    if (choice == SCHEDULER_NOTHING) {
        wait_for_frames(egress);
    } else if (choice == SCHEDULER_WAIT) {
        wait_for_wire(egress, now.mono_ns);
    }
}

/* The loop's body. */
void *
egress_body(void *egress_)
{
    struct egress *egress = egress_;

    while (loop_turn(&egress->loop)) {
        turn(egress);
    }
    return NULL;
}

/* Writes the counters of the moment to 'counters'. */
void
egress_report(struct egress *egress, struct egress_counters *counters)
{
    counter_copy(counters, &egress->counters, sizeof *counters);
    counters->ring_dropped_real_time = ring_drops(&egress->labelled);
    counters->ring_dropped_best_effort = ring_drops(&egress->best_effort[0]) + ring_drops(&egress->best_effort[1]);
}
