/* The egress, of one channel with a contract and one without: what it charges for a packet, and what a fork costs it. */

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "check.h"
#include "egress.h"
#include "labels.h"
#include "lab.h"
#include "state.h"

enum {
    CONTRACTED = 4711,
    FREE = 4712,
    UNKNOWN = 4713,
    SHORT_BYTES = LABELS_ETHERNET_BYTES + LABELS_STACK_BYTES + 28,      /* An empty UDP datagram. */
    SHORT_WIRE_BYTES = 84,
    BURST = 10,                         /* Short frames that the contract allows at once. */
    ROOM = 12,
    PACKETS = 4096,
};

static void
open_sending(struct sending *sending, uint64_t link_rate_bps, uint32_t capacity)
{
    const struct terms contract = { .rate_bps = 8 * 1000, .burst_bytes = BURST * SHORT_WIRE_BYTES };
    const struct terms none = { .late = TERMS_LATE_KEEP };

    lab_open_sending(sending, capacity);
    CHECK(!channel_table_set(&sending->table, CONTRACTED, &contract));
    CHECK(!channel_table_set(&sending->table, FREE, &none));
    sending->state->egress.rate_bps = link_rate_bps;
}

/* Has 'count' short frames of the channel 'label' come at once. */
static void
offer(struct sending *sending, uint32_t label, uint32_t count)
{
    const uint32_t deadline = 1000 << 12 | 5 << 9 | LABELS_TTL_RELATIVE;
    const uint32_t channel = label << 12 | 5 << 9 | 1 << 8 | 64;
    const uint32_t stack[2] = { __builtin_bswap32(deadline), __builtin_bswap32(channel) };
    uint8_t frame[SHORT_BYTES] = { [12] = LABELS_ETHERTYPE >> 8, [13] = LABELS_ETHERTYPE & 0xff };

    memcpy(frame + LABELS_ETHERNET_BYTES, stack, sizeof stack);
    while (count-- > 0) {
        lab_arrive(&sending->egress.labelled, sending->offered++, frame, sizeof frame, 0);
    }
    lab_turn(sending);
}

/* A frame is charged with what it takes of the wire, padding included. */
static void
check_short_frames(void)
{
    static struct sending sending;

    open_sending(&sending, 0, PACKETS);
    offer(&sending, CONTRACTED, BURST + 1);
    CHECK(sending.state->egress.counters.excess.postponed == 1);
    lab_close_sending(&sending);
}

/* Has the wire taken, for ever, and all that comes from now on wait. */
static void
open_blocked(struct sending *sending)
{
    open_sending(sending, 1, ROOM);
    offer(sending, FREE, 1);
    CHECK(!sending->state->egress.queued);
}

/* A channel has no more packets that wait than are free; what it sends beyond that is its own loss, and not charged. */
static void
check_no_room(void)
{
    static struct sending sending;
    struct channel *contracted;
    int64_t full_ns;

    open_blocked(&sending);
    contracted = channel_table_find(&sending.table, CONTRACTED);
    offer(&sending, CONTRACTED, BURST);
    CHECK(sending.state->egress.queued == ROOM / 2);
    CHECK(sending.state->egress.counters.excess.queue_full == BURST - ROOM / 2);
    CHECK(contracted->sent.excess.queue_full == BURST - ROOM / 2);
    full_ns = contracted->bucket.full_ns;
    offer(&sending, FREE, ROOM / 4);
    CHECK(sending.state->egress.queued == ROOM / 2 + ROOM / 4);
    offer(&sending, CONTRACTED, 1);
    CHECK(sending.state->egress.counters.excess.queue_full == BURST - ROOM / 2 + 1);
    CHECK(contracted->bucket.full_ns == full_ns);
    CHECK(!channel_table_find(&sending.table, FREE)->sent.excess.queue_full);
    lab_close_sending(&sending);
}

/* What is of no channel leaves half of the room to those that have one. */
static void
check_room_of_strangers(void)
{
    static struct sending sending;

    open_blocked(&sending);
    offer(&sending, UNKNOWN, ROOM);
    CHECK(sending.state->egress.counters.excess.queue_full == ROOM - (ROOM / 2 + 1));
    offer(&sending, CONTRACTED, 2);
    CHECK(sending.state->egress.queued == ROOM / 2 + 3);
    lab_close_sending(&sending);
}

/* What waited in a former process does not count. */
static void
check_room_after_a_restart(void)
{
    static struct sending sending;

    open_blocked(&sending);
    channel_table_find(&sending.table, CONTRACTED)->order.waiting = ROOM;
    sending.state->egress.starts++;
    offer(&sending, CONTRACTED, 1);
    CHECK(sending.state->egress.queued == 1);
    lab_close_sending(&sending);
}

/* Writes to all that the egress has for packets.  Returns how many pages it had to wait for. */
static long
waits_of_use(struct packet_pool *pool, struct edf_queue *queue, struct packet_fifo *fifo)
{
    struct rusage before, after;

    CHECK(!getrusage(RUSAGE_THREAD, &before));
    for (uint32_t i = 0; i < PACKETS; i++) {
        uint32_t index = packet_pool_take(pool);
        memset(&pool->packets[index], i, sizeof pool->packets[index]);
        CHECK(edf_queue_push(queue, i, index));
    }
    while (!edf_queue_is_empty(queue)) {
        packet_fifo_put(fifo, edf_queue_pop(queue));
    }
    while (fifo->count) {
        packet_pool_give(pool, packet_fifo_take(fifo));
    }
    CHECK(!getrusage(RUSAGE_THREAD, &after));
    return after.ru_minflt - before.ru_minflt;
}

/* The guard is a fork; the loop must not wait for pages because of it. */
static void
check_fork(void)
{
    struct packet_pool pool;
    struct edf_queue queue;
    struct packet_fifo fifo;
    pid_t child;

    CHECK(!packet_pool_init(&pool, PACKETS) && !edf_queue_init(&queue, PACKETS) && !packet_fifo_init(&fifo, PACKETS));
    waits_of_use(&pool, &queue, &fifo);
    child = fork();
    CHECK(child >= 0);
    if (!child) {
        pause();
        _exit(0);
    }
    CHECK(waits_of_use(&pool, &queue, &fifo) < PACKETS / 100);
    CHECK(!kill(child, SIGKILL) && waitpid(child, NULL, 0) == child);
    packet_pool_destroy(&pool);
    edf_queue_destroy(&queue);
    packet_fifo_destroy(&fifo);
}

int
main(void)
{
    check_short_frames();
    check_no_room();
    check_room_of_strangers();
    check_room_after_a_restart();
    check_fork();
    printf("egress passed\n");
    return 0;
}
