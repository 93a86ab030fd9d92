/* A sender's egress and a receiver's deadline check while wall clocks are set, at virtual times: the linker has put
 * __wrap_clock_gettime() in the place of clock_gettime().
 *
 * Packets wait, travel and arrive as they would without any step, always on time, so that every miss, every negative
 * delay and every packet that is dropped or overtaken is the step's doing. */

#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "egress.h"
#include "ingress.h"
#include "lab.h"
#include "state.h"

#define US INT64_C(1000)
#define MS (1000 * US)
#define S (1000 * MS)
#define HOUR (3600 * S)

enum {
    LABEL = 4711,
    FRAME_BYTES = 100,
    SEQUENCE_AT = LABELS_ETHERNET_BYTES + LABELS_STACK_BYTES,
    DEADLINE_MS = 5,
    RATE_BPS = 100000000,
    PACKETS = 40,
    ROUNDS = 300,
};

static const int64_t READ_NS = 25, QUEUED_NS = 300 * US, TRAVEL_NS = 500 * US, PERIOD_NS = 1 * MS;

/* A machine has its wall clock; all have the same monotonic one. */
struct machine {
    int64_t ahead_ns;
};

static int64_t mono_ns;
static struct machine *here;
static int64_t interruption_ns;         /* Before the wall clock is read next. */
static struct {
    uint32_t reads;                     /* When so many more readings have been made, ... */
    struct machine *machine;            /* ... this one's wall clock is set. */
    int64_t ns;
} pending;

int __wrap_clock_gettime(clockid_t, struct timespec *);

int
__wrap_clock_gettime(clockid_t clock, struct timespec *time)
{
    int64_t now_ns;

    if (pending.reads && !--pending.reads) {
        pending.machine->ahead_ns += pending.ns;
    }
    mono_ns += READ_NS;
    if (clock == CLOCK_REALTIME) {
        mono_ns += interruption_ns;
        interruption_ns = 0;
    }
    now_ns = mono_ns + (clock == CLOCK_REALTIME ? here->ahead_ns : 0);
    *time = (struct timespec) { .tv_sec = now_ns / S, .tv_nsec = now_ns % S };
    return 0;
}

/* A fixed sequence (xorshift), so that a failure can be repeated. */
static uint64_t
next_random(void)
{
    static uint64_t state = 0x9e3779b97f4a7c15;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* Has 'frame' arrive at 'machine', number 'number' of its ring. */
static void
arrive(const struct machine *machine, struct ring *ring, uint32_t number, const uint8_t *frame)
{
    lab_arrive(ring, number, frame, FRAME_BYTES, mono_ns + machine->ahead_ns);
}

/* Two machines and the wire between them; the machines may be one. */
struct lab {
    struct machine machines[2];
    struct machine *sender, *receiver;
    struct state *state;
    struct channel_table table;
    struct egress egress;
    struct ingress ingress;
    int wire[2];
    uint32_t sent, received;            /* Frames so far. */
};

static struct lab *
open_lab(bool is_same_host)
{
    struct lab *lab = calloc(1, sizeof *lab);
    const struct terms terms = { .late = TERMS_LATE_DEMOTE };
    int event_fd = eventfd(0, EFD_NONBLOCK);
    enum adoption adoption;

    CHECK(lab && !state_open(&lab->state, -1, "clock", &adoption));
    CHECK(!channel_table_init(&lab->table, lab->state->labels, lab->state->channels));
    CHECK(!channel_table_set(&lab->table, LABEL, &terms));
    CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, lab->wire));
    mono_ns = 1000 * S;
    lab->machines[0].ahead_ns = lab->machines[1].ahead_ns = 400000 * HOUR;
    lab->sender = &lab->machines[0];
    lab->receiver = &lab->machines[!is_same_host];
    lab->state->egress.rate_bps = RATE_BPS;
    lab_open_egress(&lab->egress, lab->state, &lab->table, lab->wire[0], event_fd, 2 * LAB_SLOTS);
    CHECK(!loop_init(&lab->ingress.loop, "ingress", ingress_body, &lab->ingress, event_fd));
    lab->ingress.kept = &lab->state->ingress;
    lab->ingress.channels = &lab->table;
    lab_open_ring(&lab->ingress.ring, RING_SLOT_HEADERS);
    return lab;
}

static void
close_lab(struct lab *lab)
{
    close(lab->egress.loop.event_fd);
    lab_close_egress(&lab->egress);
    loop_destroy(&lab->ingress.loop);
    lab_close_ring(&lab->ingress.ring);
    channel_table_destroy(&lab->table);
    state_close(lab->state);
    close(lab->wire[0]);
    close(lab->wire[1]);
    free(lab);
}

static void
turn_egress(struct lab *lab)
{
    here = lab->sender;
    loop_wake(&lab->egress.loop);       /* It waits for nothing. */
    egress_turn(&lab->egress);
}

static void
turn_ingress(struct lab *lab)
{
    here = lab->receiver;
    loop_wake(&lab->ingress.loop);
    ingress_turn(&lab->ingress);
}

/* Has the talker send the next packet. */
static void
offer(struct lab *lab)
{
    const uint32_t deadline = DEADLINE_MS * MS / LABELS_TICK_NS << 12 | 5 << 9 | LABELS_TTL_RELATIVE;
    const uint32_t channel = LABEL << 12 | 5 << 9 | 1 << 8 | 64;
    const uint32_t stack[2] = { __builtin_bswap32(deadline), __builtin_bswap32(channel) };
    uint8_t frame[FRAME_BYTES] = { [12] = LABELS_ETHERTYPE >> 8, [13] = LABELS_ETHERTYPE & 0xff };

    memcpy(frame + LABELS_ETHERNET_BYTES, stack, sizeof stack);
    memcpy(frame + SEQUENCE_AT, &lab->sent, sizeof lab->sent);
    arrive(lab->sender, &lab->egress.labelled, lab->sent++, frame);
}

/* Has what is on the wire arrive.  All came, and in order. */
static void
deliver(struct lab *lab)
{
    uint8_t frame[FRAME_BYTES];
    uint32_t sequence;

    while (recv(lab->wire[1], frame, sizeof frame, MSG_DONTWAIT) == FRAME_BYTES) {
        memcpy(&sequence, frame + SEQUENCE_AT, sizeof sequence);
        CHECK(sequence == lab->received);
        arrive(lab->receiver, &lab->ingress.ring, lab->received++, frame);
    }
}

/* Where on a packet's way a clock is set. */
enum place { BEFORE, IN_RING, ON_WIRE, ARRIVED, PLACES };

/* Sends one packet and judges it; 'machine' has its clock set by 'ns' at 'place'. */
static void
step_packet(struct lab *lab, int64_t travel_ns, struct machine *machine, int64_t ns, enum place place)
{
    machine->ahead_ns += place == BEFORE ? ns : 0;
    offer(lab);
    mono_ns += QUEUED_NS;
    machine->ahead_ns += place == IN_RING ? ns : 0;
    turn_egress(lab);
    mono_ns += travel_ns / 2;
    machine->ahead_ns += place == ON_WIRE ? ns : 0;
    mono_ns += travel_ns / 2;
    deliver(lab);
    machine->ahead_ns += place == ARRIVED ? ns : 0;
    turn_ingress(lab);
    mono_ns += PERIOD_NS - QUEUED_NS - TRAVEL_NS;
}

static void
send_packet(struct lab *lab)
{
    step_packet(lab, TRAVEL_NS, lab->sender, 0, BEFORE);
}

static void
send_late_packet(struct lab *lab)
{
    step_packet(lab, 2 * DEADLINE_MS * MS, lab->sender, 0, BEFORE);
}

/* A silence after which nothing is in doubt; looked at in between, as the loops do. */
static void
rest(struct lab *lab)
{
    for (int second = 0; second < 6; second++) {
        mono_ns += S;
        turn_egress(lab);
        turn_ingress(lab);
    }
}

static const struct received_books *
received(const struct lab *lab)
{
    return &channel_table_find(&lab->table, LABEL)->received;
}

/* Nobody was wronged: all packets came, none was a miss, none took less than no time or longer than it did. */
static void
check_nothing_wrong(const struct lab *lab)
{
    const struct channel *channel = channel_table_find(&lab->table, LABEL);
    const struct histogram *delay = &channel->sent.queueing_delay, *lateness = &channel->received.lateness;

    CHECK(lab->received == lab->sent && channel->received.traffic.packets == lab->sent);
    CHECK(!channel->received.missed && !lab->ingress.misses.produced && !lab->ingress.kept->counters.missed);
    CHECK(!channel->sent.excess.demoted && !channel->sent.excess.late_dropped && !channel->sent.excess.postponed);
    CHECK(!lab->egress.kept->counters.late_departures);
    CHECK(delay->count == lab->sent && delay->min >= 0 && delay->max < DEADLINE_MS * MS);
    CHECK(!lateness->count || (lateness->min >= -DEADLINE_MS * MS && lateness->max < 0));
}

/* A clock is set once, in the midst of a stream. */
static void
check_step(bool is_same_host, bool is_at_sender, int64_t ns, enum place place)
{
    struct lab *lab = open_lab(is_same_host);
    struct machine *machine = is_at_sender ? lab->sender : lab->receiver;
    uint64_t unjudged;

    for (int i = 0; i < PACKETS; i++) {
        send_packet(lab);
    }
    CHECK(!received(lab)->unjudged);
    step_packet(lab, TRAVEL_NS, machine, ns, place);
    for (int i = 0; i < PACKETS; i++) {
        send_packet(lab);
    }
    send_late_packet(lab);                      /* Late or not, nobody can tell. */
    check_nothing_wrong(lab);
    unjudged = received(lab)->unjudged;
    CHECK(unjudged >= PACKETS + 1 && unjudged <= PACKETS + 2);

    rest(lab);
    if (is_same_host) {                         /* The clock is what it is, and both go by it. */
        send_packet(lab);
        check_nothing_wrong(lab);
        send_late_packet(lab);
        CHECK(received(lab)->missed == 1 && received(lab)->unjudged == unjudged);
    }
    close_lab(lab);
}

/* Clocks that differ and are known to: what is late by less than that is no miss. */
static void
check_clock_error(void)
{
    struct lab *lab = open_lab(false);
    const struct terms terms = { .late = TERMS_LATE_DEMOTE, .clock_error_ns = 10 * MS };

    CHECK(!channel_table_set(&lab->table, LABEL, &terms));
    lab->receiver->ahead_ns += 10 * MS;
    for (int i = 0; i < PACKETS; i++) {
        send_packet(lab);
    }
    CHECK(received(lab)->within_clock_error == PACKETS && lab->ingress.kept->counters.within_clock_error == PACKETS);
    CHECK(!received(lab)->missed && !lab->ingress.misses.produced && !received(lab)->unjudged);
    send_late_packet(lab);
    CHECK(received(lab)->missed == 1 && lab->ingress.misses.produced == 1);
    close_lab(lab);
}

/* More packets wait than a turn accepts, and the clock is set meanwhile. */
static void
check_backlog(int64_t ns)
{
    struct lab *lab = open_lab(true);
    const uint32_t count = EGRESS_TURN_MAX + 50;

    send_packet(lab);
    send_packet(lab);
    for (uint32_t i = 0; i < count; i++) {
        offer(lab);
    }
    lab->sender->ahead_ns += ns;
    for (uint32_t i = 0; i < count; i++) {
        mono_ns += 10 * US;
        turn_egress(lab);
        deliver(lab);
        turn_ingress(lab);
    }
    check_nothing_wrong(lab);
    close_lab(lab);
}

/* A thread that loses its processor while it reads the clocks has seen no step. */
static void
check_interruptions(void)
{
    struct lab *lab = open_lab(true);

    for (int round = 0; round < ROUNDS; round++) {
        interruption_ns = next_random() % 2 ? 0 : next_random() % (2 * MS);
        send_packet(lab);
    }
    CHECK(!lab->egress.kept->counters.clock_steps && !lab->ingress.kept->counters.clock_steps);
    CHECK(!received(lab)->unjudged && !received(lab)->missed && received(lab)->lateness.max < 0);
    CHECK(lab->state->egress.clock.offset_most_ns - lab->state->egress.clock.offset_ns <= 2 * READ_NS);
    close_lab(lab);
}

/* The clock of one machine is set at any time, by anything, between any two readings. */
static void
check_random_steps(void)
{
    struct lab *lab = open_lab(true);

    for (int round = 0; round < 100 * ROUNDS; round++) {
        if (next_random() % 20 == 0 && !pending.reads) {
            pending.reads = 1 + next_random() % 12;
            pending.machine = lab->sender;
            pending.ns = (int64_t) (next_random() % (2 * HOUR)) - HOUR;
        }
        send_packet(lab);
        if (next_random() % 300 == 0) {
            rest(lab);
        }
    }
    check_nothing_wrong(lab);
    CHECK(received(lab)->unjudged && received(lab)->lateness.count);        /* Both were tried. */
    close_lab(lab);
    pending.reads = 0;
}

/* A shim on the way goes by stamps, unless they say nothing: then first come, first served, and nothing is dropped. */
static void
check_transit(int64_t ns)
{
    struct lab *lab = open_lab(false);
    uint8_t frame[FRAME_BYTES];

    lab->egress.kept->be_slack_ns = 2 * MS;
    turn_egress(lab);
    for (int i = 0; i < PACKETS; i++) {
        offer(lab);
        mono_ns += QUEUED_NS;
        turn_egress(lab);
        CHECK(recv(lab->wire[1], frame, sizeof frame, MSG_DONTWAIT) == FRAME_BYTES);
        arrive(lab->sender, &lab->egress.labelled, lab->sent++, frame);         /* Stamped; and once more through it. */
        lab->sender->ahead_ns += i == PACKETS / 2 ? ns : 0;
        turn_egress(lab);
        CHECK(recv(lab->wire[1], frame, sizeof frame, MSG_DONTWAIT) == FRAME_BYTES);
        mono_ns += PERIOD_NS;
    }
    CHECK(!lab->egress.kept->counters.excess.demoted && !lab->egress.kept->counters.late_departures);
    close_lab(lab);
}

int
main(void)
{
    const int64_t steps_ns[] = { 10 * MS, -10 * MS, HOUR, -HOUR };

    for (uint32_t i = 0; i < sizeof steps_ns / sizeof steps_ns[0]; i++) {
        for (enum place place = BEFORE; place < PLACES; place++) {
            check_step(true, true, steps_ns[i], place);
            check_step(false, true, steps_ns[i], place);
            check_step(false, false, steps_ns[i], place);
        }
        check_backlog(steps_ns[i]);
        check_transit(steps_ns[i]);
    }
    check_clock_error();
    check_interruptions();
    check_random_steps();
    printf("clocks passed\n");
    return 0;
}
