#include "ingress.h"

#include <errno.h>

#include "counter.h"
#include "labels.h"
#include "moment.h"

enum {
    SLOTS = 4096,
    NAP_NS = 250000,            /* A busy link costs a wake-up per nap, not per frame; a miss is told as much later. */
    LOOK_NS = 1000000000,       /* A clock that is set is noticed so soon on an idle link. */
};

/* Opens what the check needs.  Returns 0 or an errno; either way it may be closed. */
int
ingress_open(struct ingress *ingress, int ifindex)
{
    ingress->ifindex = ifindex;
    return ring_open(&ingress->ring, ifindex, RING_LABELLED, RING_SLOT_HEADERS, SLOTS);
}

/* Frees what ingress_open() opened. */
void
ingress_close(struct ingress *ingress)
{
    ring_close(&ingress->ring);
}

/* Tells of a packet of 'channel_label' that came 'lateness_ns' after its deadline. */
static void
tell_miss(struct ingress *ingress, uint32_t channel_label, int64_t lateness_ns, int64_t at_ns)
{
    struct miss miss = { .label = channel_label, .lateness_ns = lateness_ns, .at_ns = at_ns };

    if (miss_ring_put(&ingress->misses, miss)) {
        loop_signal(ingress->loop.event_fd);
    } else {
        counter_add(&ingress->kept->counters.miss_events_dropped, 1);
    }
}

static void
judge_bypassed(struct ingress *ingress, const struct labels *labels, struct channel *channel, uint32_t length)
{
    counter_add(&ingress->kept->counters.bypassed, 1);
    books_enter_bypassed(&ingress->kept->classes[labels->tc], length);
    if (channel) {
        books_enter_bypassed(&channel->received, length);
    }
}

static void
judge_stamped(struct ingress *ingress, const struct labels *labels, struct channel *channel, uint32_t length,
              int64_t at_ns)
{
    struct ingress_counters *counters = &ingress->kept->counters;
    int64_t lateness_ns = labels_lateness_ns(labels->deadline, at_ns);
    int64_t clock_error_ns = channel_terms(channel).clock_error_ns;
    bool is_miss = books_is_miss(lateness_ns, clock_error_ns);

    counter_add(&counters->missed, is_miss);
    counter_add(&counters->within_clock_error, books_is_uncertain(lateness_ns, clock_error_ns));
    books_enter_received(&ingress->kept->classes[labels->tc], length, lateness_ns, clock_error_ns);
    if (channel) {
        books_enter_received(&channel->received, length, lateness_ns, clock_error_ns);
        if (is_miss) {
            tell_miss(ingress, labels->channel, lateness_ns, at_ns);
        }
    }
}

/* For a stamp that cannot be compared with this clock. */
static void
pass_over(struct ingress *ingress, const struct labels *labels, struct channel *channel, uint32_t length)
{
    counter_add(&ingress->kept->counters.unjudged, 1);
    books_enter_unjudged(&ingress->kept->classes[labels->tc], length);
    if (channel) {
        books_enter_unjudged(&channel->received, length);
    }
}

static void
judge(struct ingress *ingress, const struct ring_frame *frame, bool is_in_doubt)
{
    struct labels labels;
    enum labels_kind kind = labels_parse(frame->bytes, frame->length, &labels);
    struct channel *channel;

    if (kind != LABELS_LABELLED) {
        counter_add_malformed(&ingress->kept->counters.malformed, kind);
        return;
    }
    counter_add(&ingress->kept->counters.packets, 1);
    channel = channel_table_find(ingress->channels, labels.channel);
    counter_add(&ingress->kept->counters.unknown_channel, !channel);
    if (labels_is_relative(&labels)) {
        judge_bypassed(ingress, &labels, channel, frame->wire_length);
    } else if (is_in_doubt || !labels_is_sure(&labels)) {
        pass_over(ingress, &labels, channel, frame->wire_length);
    } else {
        judge_stamped(ingress, &labels, channel, frame->wire_length, frame->stamp_ns);
    }
}

/* Judges what waits in the ring.  Returns how many frames it found.  The clock is looked at when they are all there: a
 * step before the arrival of any of them is seen. */
static uint32_t
judge_arrivals(struct ingress *ingress)
{
    struct wall_clock *clock = &ingress->kept->clock;
    uint32_t count = ring_take_many(&ingress->ring, ingress->arrivals, INGRESS_TURN_MAX);
    struct moment now = moment_now();
    bool is_in_doubt;

    counter_add(&ingress->kept->counters.clock_steps, wall_clock_follow(clock, &now));
    is_in_doubt = wall_clock_is_in_doubt(clock, now.mono_ns);
    for (uint32_t i = 0; i < count; i++) {
        judge(ingress, &ingress->arrivals[i], is_in_doubt);
    }
    ring_release(&ingress->ring);
    return count;
}

static void
wait_for_frames(struct ingress *ingress)
{
    struct pollfd fds[2] = { { .fd = ingress->ring.fd, .events = POLLIN } };

    loop_wait(&ingress->loop, fds, 1, LOOK_NS);
    if (fds[0].revents & POLLERR && ring_is_gone(ingress->ring.fd, ingress->ifindex)) {
        loop_fail(&ingress->loop, ENODEV);
    }
}

static void
nap(struct ingress *ingress)
{
    struct pollfd fds[1];

    loop_wait(&ingress->loop, fds, 0, NAP_NS);
}

/* One turn of the loop. */
void
ingress_turn(struct ingress *ingress)
{
    uint32_t count = judge_arrivals(ingress);

    if (!count) {
        wait_for_frames(ingress);
    } else if (count < INGRESS_TURN_MAX) {
        nap(ingress);
    }
}

/* The loop's body. */
void *
ingress_body(void *ingress_)
{
    struct ingress *ingress = ingress_;

    while (loop_turn(&ingress->loop)) {
        ingress_turn(ingress);
    }
    return NULL;
}

/* Writes the counters of the moment to 'counters'. */
void
ingress_report(struct ingress *ingress, struct ingress_counters *counters)
{
    counter_add(&ingress->kept->counters.ring_dropped, ring_take_drops(&ingress->ring));
    counter_copy(counters, &ingress->kept->counters, sizeof *counters);
}
