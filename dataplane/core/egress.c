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
    NAP_NS = 25000,             /* A shorter wait costs more than it gains. */
    POSTPONED_MOST_NS = 100000000,      /* Excess that would wait longer is of no use to anybody. */
    LATE_MOST_NS = 100000000,           /* So is a packet that is late by more. */
    LATE_PART = 4,              /* Late packets have one in so many places. */
    LOOK_NS = 1000000000,       /* A clock that is set is noticed so soon on an idle link. */
};

/* Where frames without a deadline that could be kept come from. */
enum source {
    SOURCE_CONTROL,
    SOURCE_BULK,
    SOURCE_LATE,
    SOURCES,
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
        packet_fifo_init(&egress->late, queue_capacity / LATE_PART + 1),
        edf_queue_init(&egress->queue, queue_capacity),
        edf_queue_init(&egress->held, queue_capacity),
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
    packet_fifo_destroy(&egress->late);
    edf_queue_destroy(&egress->queue);
    edf_queue_destroy(&egress->held);
}

/* Asks for a link rate (0: unpaced), a best-effort slack and an allowance, in force from the next turn on. */
void
egress_configure(struct egress *egress, uint64_t rate_bps, int64_t be_slack_ns, int64_t allowance_ns)
{
    __atomic_store_n(&egress->kept->rate_bps, rate_bps, __ATOMIC_RELAXED);
    __atomic_store_n(&egress->kept->be_slack_ns, be_slack_ns, __ATOMIC_RELAXED);
    __atomic_store_n(&egress->kept->allowance_ns, allowance_ns, __ATOMIC_RELAXED);
    loop_wake(&egress->loop);
}

static void
adopt_configuration(struct egress *egress)
{
    uint64_t rate_bps = __atomic_load_n(&egress->kept->rate_bps, __ATOMIC_RELAXED);

    if (rate_bps != egress->scheduler.rate_bps) {
        scheduler_set_rate(&egress->scheduler, rate_bps);
    }
    egress->scheduler.be_slack_ns = __atomic_load_n(&egress->kept->be_slack_ns, __ATOMIC_RELAXED);
    egress->scheduler.allowance_ns = __atomic_load_n(&egress->kept->allowance_ns, __ATOMIC_RELAXED);
}

/* Counts a packet of CHANNEL (may be NULL) and class TC under CAUSE, a member of struct excess. */
#define COUNT_EXCESS(EGRESS, CHANNEL, TC, CAUSE)                                    \
    do {                                                                            \
        counter_add(&(EGRESS)->kept->counters.excess.CAUSE, 1);                     \
        counter_add(&(EGRESS)->kept->classes[TC].excess.CAUSE, 1);                  \
        if (CHANNEL) {                                                              \
            counter_add(&(CHANNEL)->sent.excess.CAUSE, 1);                          \
        }                                                                           \
    } while (0)

/* Judges a frame with 'labels', of 'length' bytes and come at 'arrival_ns', by the contract of 'channel', in
 * 'terms'.  Returns by how much it is postponed, or -1 if it is dropped. */
static int64_t
police(struct egress *egress, struct channel *channel, const struct terms *terms, const struct labels *labels,
       uint32_t length, int64_t arrival_ns)
{
    const uint32_t wire_bytes = scheduler_wire_bytes(length);
    int64_t conforming_ns, postponed_ns;

    if (!channel || !labels_is_relative(labels)) {
        return 0;
    }
    if (!terms->is_shaped) {
        bucket_start(&channel->bucket, egress->kept->starts, arrival_ns);
    }
    conforming_ns = contract_conforming_ns(terms, &channel->bucket, wire_bytes, arrival_ns);
    postponed_ns = conforming_ns - arrival_ns;
    if (postponed_ns > POSTPONED_MOST_NS || (postponed_ns > 0 && packet_pool_is_scarce(&egress->pool))) {
        COUNT_EXCESS(egress, channel, labels->tc, excess_dropped);
        return -1;
    }
    contract_charge(terms, &channel->bucket, wire_bytes, conforming_ns);
    if (postponed_ns > 0) {
        COUNT_EXCESS(egress, channel, labels->tc, postponed);
    }
    return postponed_ns;
}

/* Returns the deadline that a stamp in 'labels' says.  One that says nothing now gives the packet the urgency at which
 * best effort lets it go first, in the order of arrival. */
static int64_t
stamped_ns(const struct egress *egress, const struct labels *labels, int64_t now_ns)
{
    const struct wall_clock *clock = &egress->kept->clock;

    if (!labels_is_sure(labels) || wall_clock_is_in_doubt(clock, now_ns)) {
        return now_ns + egress->scheduler.be_slack_ns;
    }
    return now_ns - labels_lateness_ns(labels->deadline, now_ns + clock->offset_ns);
}

/* Returns the deadline of 'packet', a copy of a frame with 'labels', by which it is to arrive.  The first shim on the
 * path stamps it; later ones go by the stamp. */
static int64_t
stamp(const struct egress *egress, struct packet *packet, const struct labels *labels, int64_t postponed_ns,
      int64_t now_ns)
{
    const struct wall_clock *clock = &egress->kept->clock;
    int64_t due_ns;

    if (!labels_is_relative(labels)) {
        return stamped_ns(egress, labels, now_ns);
    }
    due_ns = packet->arrival_ns + postponed_ns + labels_relative_ns(labels->deadline);
    labels_stamp(packet->bytes, labels_absolute(due_ns + clock->offset_ns), !wall_clock_is_in_doubt(clock, now_ns));
    return due_ns;
}

/* Has the packet of 'index' and 'channel' (may be NULL) wait for the wire; until 'release_ns' it is held. */
static void
await_turn(struct egress *egress, uint32_t index, struct channel *channel, int64_t release_ns, int64_t now_ns)
{
    struct packet *packet = &egress->pool.packets[index];

    if (channel) {
        packet->deadline_ns = order_enter(&channel->order, egress->kept->starts, packet->deadline_ns);
        release_ns = order_release(&channel->order, release_ns);
    }
    if (release_ns > now_ns) {
        edf_queue_push(&egress->held, release_ns, index);
    } else {
        edf_queue_push(&egress->queue, packet->deadline_ns, index);
    }
}

/* Returns true if a packet of 'channel' (may be NULL) may wait.  No channel has more that wait than there are free
 * packets, so that others always have some (dynamic threshold); what is of no channel takes no more than half. */
static bool
has_room(const struct egress *egress, const struct channel *channel)
{
    const struct packet_pool *pool = &egress->pool;

    if (!channel) {
        return pool->free_count && !packet_pool_is_scarce(pool);
    }
    return order_waiting(&channel->order, egress->kept->starts) < pool->free_count;
}

/* Queues a copy of 'frame', with 'labels' and come at 'arrival_ns', or drops and counts it.  Only what has room counts
 * towards its contract. */
static void
enqueue(struct egress *egress, const struct ring_frame *frame, const struct labels *labels, int64_t arrival_ns,
        int64_t now_ns)
{
    struct channel *channel = channel_table_find(egress->channels, labels->channel);
    struct terms terms = channel_terms(channel);
    struct packet *packet;
    int64_t postponed_ns;
    uint32_t index;

    if (!has_room(egress, channel)) {
        COUNT_EXCESS(egress, channel, labels->tc, queue_full);
        return;
    }
    postponed_ns = police(egress, channel, &terms, labels, frame->length, arrival_ns);
    if (postponed_ns < 0) {
        return;
    }
    index = packet_pool_take(&egress->pool);
    packet = &egress->pool.packets[index];
    packet->arrival_ns = arrival_ns;
    packet->channel = labels->channel;
    packet->tc = labels->tc;
    packet->length = frame->length;
    memcpy(packet->bytes, frame->bytes, frame->length);
    packet->deadline_ns = stamp(egress, packet, labels, postponed_ns, now_ns) - terms.downstream_ns
                          - egress->scheduler.allowance_ns;
    await_turn(egress, index, channel, arrival_ns + (terms.is_shaped ? postponed_ns : 0), now_ns);
}

/* Takes in 'frame', which came at 'arrival_ns', or drops and counts it. */
static void
accept_frame(struct egress *egress, const struct ring_frame *frame, int64_t arrival_ns, int64_t now_ns)
{
    struct labels labels;
    enum labels_kind kind = labels_parse(frame->bytes, frame->length, &labels);

    if (kind != LABELS_LABELLED) {
        counter_add_malformed(&egress->kept->counters.malformed, kind);
    } else if (frame->length < frame->wire_length) {
        counter_add(&egress->kept->counters.too_long, 1);
    } else {
        enqueue(egress, frame, &labels, arrival_ns, now_ns);
    }
}

/* Returns when a frame with the kernel's stamp 'stamp_ns' has come: not after 'now_ns'. */
static int64_t
arrived_ns(const struct egress *egress, int64_t stamp_ns, int64_t now_ns)
{
    int64_t arrival_ns = egress->are_ages_known ? stamp_ns - egress->kept->clock.offset_ns : now_ns;

    return arrival_ns < now_ns ? arrival_ns : now_ns;
}

/* Has what was held until 'now_ns' wait for the wire. */
static void
release_held(struct egress *egress, int64_t now_ns)
{
    while (edf_queue_is_due(&egress->held, now_ns)) {
        uint32_t index = edf_queue_pop(&egress->held);

        edf_queue_push(&egress->queue, egress->pool.packets[index].deadline_ns, index);
    }
}

static bool
source_is_empty(const struct egress *egress, enum source source)
{
    return source == SOURCE_LATE ? egress->late.count == 0 : ring_is_empty(&egress->best_effort[source]);
}

/* Returns where the next frame is to come from while real-time frames have the time; SOURCES if none waits.  Control
 * takes turns with the rest, of which what is late goes first. */
static enum source
next_source(const struct egress *egress)
{
    enum source rest = source_is_empty(egress, SOURCE_LATE) ? SOURCE_BULK : SOURCE_LATE;
    bool has_control = !source_is_empty(egress, SOURCE_CONTROL);

    if (source_is_empty(egress, rest)) {
        return has_control ? SOURCE_CONTROL : SOURCES;
    }
    return has_control && egress->last_source != SOURCE_CONTROL ? SOURCE_CONTROL : rest;
}

/* Returns true if no frame waits, of whatever kind. */
static bool
is_idle(const struct egress *egress)
{
    return edf_queue_is_empty(&egress->queue) && edf_queue_is_empty(&egress->held) && next_source(egress) == SOURCES;
}

/* Takes in the first 'count' of 'arrivals', which have all come by 'now'.  Those that came before the wall clock was set
 * count as just come, until the ring has been found empty. */
static void
accept_arrivals(struct egress *egress, uint32_t count, const struct moment *now)
{
    bool has_stepped = wall_clock_follow(&egress->kept->clock, now);

    counter_add(&egress->kept->counters.clock_steps, has_stepped);
    egress->are_ages_known = egress->are_ages_known && !has_stepped;
    egress->kept->starts += is_idle(egress);
    for (uint32_t i = 0; i < count; i++) {
        const struct ring_frame *frame = &egress->arrivals[i];
        accept_frame(egress, frame, arrived_ns(egress, frame->stamp_ns, now->mono_ns), now->mono_ns);
    }
    ring_release(&egress->labelled);
    egress->are_ages_known |= !has_stepped && count < EGRESS_TURN_MAX;
}

/* Puts a frame into the batch. */
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
depart_packet(struct egress *egress, uint32_t index, int64_t now_ns)
{
    struct packet *packet = &egress->pool.packets[index];
    struct terms terms = channel_terms(channel_table_find(egress->channels, packet->channel));
    uint8_t *bytes = packet->bytes;

    if (terms.strips_labels) {
        bytes = labels_strip(packet->bytes);
        packet->length -= LABELS_STACK_BYTES;
    }
    depart(egress, bytes, packet->length, index, now_ns);
}

static void
drop_late(struct egress *egress, uint32_t index)
{
    struct packet *packet = &egress->pool.packets[index];
    struct channel *channel = channel_table_find(egress->channels, packet->channel);

    COUNT_EXCESS(egress, channel, packet->tc, late_dropped);
    packet_pool_give(&egress->pool, index);
}

/* Lets the packet of 'index' give way to all that can be on time.  Where too many do, the oldest one is dropped. */
static void
demote(struct egress *egress, uint32_t index)
{
    struct packet *packet = &egress->pool.packets[index];
    struct channel *channel = channel_table_find(egress->channels, packet->channel);

    COUNT_EXCESS(egress, channel, packet->tc, demoted);
    if (packet_fifo_is_full(&egress->late)) {
        drop_late(egress, packet_fifo_take(&egress->late));
    }
    packet_fifo_put(&egress->late, index);
}

/* Sends the packet with the earliest deadline; or, if that cannot be kept, does with it what its channel asks for. */
static void
depart_real_time(struct egress *egress, int64_t now_ns)
{
    uint32_t index = edf_queue_pop(&egress->queue);
    const struct packet *packet = &egress->pool.packets[index];
    struct channel *channel = channel_table_find(egress->channels, packet->channel);
    bool is_late = scheduler_is_late(&egress->scheduler, packet->length, packet->deadline_ns, now_ns);
    uint32_t late = is_late ? channel_terms(channel).late : TERMS_LATE_KEEP;

    if (channel) {
        order_leave(&channel->order);
    }
    if (late == TERMS_LATE_DEMOTE) {
        demote(egress, index);
    } else if (late == TERMS_LATE_DROP) {
        drop_late(egress, index);
    } else {
        depart_packet(egress, index, now_ns);
    }
}

/* Sends the packet that has been late for longest, or drops it if that is too long. */
static void
depart_late(struct egress *egress, int64_t now_ns)
{
    uint32_t index = packet_fifo_take(&egress->late);
    int64_t latest_ns = scheduler_latest_ns(&egress->scheduler, egress->pool.packets[index].deadline_ns);

    if (now_ns - latest_ns > LATE_MOST_NS) {
        drop_late(egress, index);
    } else {
        depart_packet(egress, index, now_ns);
    }
}

static void
depart_best_effort(struct egress *egress, enum source source, int64_t now_ns)
{
    struct ring_frame frame;

    egress->last_source = source;
    if (source == SOURCE_LATE) {
        depart_late(egress, now_ns);
        return;
    }
    ring_take(&egress->best_effort[source], &frame);
    if (frame.length < frame.wire_length) {
        counter_add(&egress->kept->counters.too_long, 1);
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
        enum source source = next_source(egress);
        choice = scheduler_choose(&egress->scheduler, &egress->queue, source != SOURCES, now_ns);
        if (choice == SCHEDULER_REAL_TIME) {
            depart_real_time(egress, now_ns);
        } else if (choice == SCHEDULER_BEST_EFFORT) {
            depart_best_effort(egress, source, now_ns);
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

    counter_add_frame(&egress->kept->counters.real_time, departure->length);
    books_enter_sent(&egress->kept->classes[packet->tc], departure->length, delay_ns);
    if (departure->end_ns > scheduler_latest_ns(&egress->scheduler, packet->deadline_ns)) {
        counter_add(&egress->kept->counters.late_departures, 1);
    }
    if (channel) {
        books_enter_sent(&channel->sent, departure->length, delay_ns);
    } else {
        counter_add(&egress->kept->counters.unknown_channel, 1);
    }
}

static void
account(struct egress *egress, const struct departure *departure, bool is_sent)
{
    if (!is_sent) {
        counter_add(&egress->kept->counters.send_errors, 1);
    } else if (departure->packet != PACKET_POOL_NONE) {
        account_real_time(egress, departure);
    } else {
        counter_add_frame(&egress->kept->counters.best_effort, departure->length);
        counter_add_frame(&egress->kept->classes[0].traffic, departure->length);
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

/* Returns how long there may be nothing to do until a frame comes. */
static int64_t
patience_ns(const struct egress *egress)
{
    int64_t held_ns;

    if (edf_queue_is_empty(&egress->held)) {
        return LOOK_NS;
    }
    held_ns = edf_queue_first_deadline(&egress->held) - moment_mono_ns();
    return held_ns > NAP_NS ? held_ns : NAP_NS;
}

/* Sleeps until a frame comes, or what is held may go. */
static void
wait_for_frames(struct egress *egress)
{
    struct pollfd fds[4] = {
        { .fd = egress->labelled.fd, .events = POLLIN },
        { .fd = egress->best_effort[0].fd, .events = POLLIN },
        { .fd = egress->best_effort[1].fd, .events = POLLIN },
    };

    if (!ring_is_empty(&egress->labelled) || next_source(egress) != SOURCES) {
        return;
    }
    loop_wait(&egress->loop, fds, 3, patience_ns(egress));
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

/* One turn of the loop.  The clock is looked at when the arrivals are there: none of them is younger. */
void
egress_turn(struct egress *egress)
{
    uint32_t count = ring_take_many(&egress->labelled, egress->arrivals, EGRESS_TURN_MAX);
    struct moment now = moment_now();
    enum scheduler_choice choice;

    adopt_configuration(egress);
    release_held(egress, now.mono_ns);
    accept_arrivals(egress, count, &now);
    choice = fill_batch(egress, now.mono_ns);
    send_batch(egress);
    __atomic_store_n(&egress->kept->queued, packet_pool_taken(&egress->pool), __ATOMIC_RELAXED);
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
        egress_turn(egress);
    }
    return NULL;
}

/* Writes the counters of the moment to 'counters'. */
void
egress_report(struct egress *egress, struct egress_counters *counters)
{
    struct egress_counters *kept = &egress->kept->counters;

    counter_add(&kept->ring_dropped_real_time, ring_take_drops(&egress->labelled));
    for (uint32_t i = 0; i < 2; i++) {
        counter_add(&kept->ring_dropped_best_effort, ring_take_drops(&egress->best_effort[i]));
    }
    counter_copy(counters, kept, sizeof *counters);
}
