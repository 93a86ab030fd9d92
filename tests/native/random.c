/* The parts of the C core that need no interface, on random input, for the sanitizers to watch. */

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "channel_table.h"
#include "check.h"
#include "edf_queue.h"
#include "histogram.h"
#include "labels.h"
#include "loop.h"
#include "miss_ring.h"
#include "packet_fifo.h"
#include "packet_pool.h"
#include "state.h"

enum { ROUNDS = 20000 };

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

/* Parses frames that end exactly where their memory does. */
static void
check_labels(void)
{
    uint32_t kinds[LABELS_MANY_LABELS + 1] = { 0 };

    for (int round = 0; round < ROUNDS; round++) {
        uint32_t length = next_random() % 32;
        uint8_t *frame = malloc(length + !length);
        struct labels labels;
        enum labels_kind kind;

        for (uint32_t i = 0; i < length; i++) {
            frame[i] = next_random();
        }
        if (length >= LABELS_ETHERNET_BYTES && next_random() % 4) {
            frame[12] = 0x88;
            frame[13] = 0x47;
        }
        kind = labels_parse(frame, length, &labels);
        kinds[kind]++;
        if (kind == LABELS_LABELLED) {
            CHECK(labels.deadline < LABELS_SPACE && labels.channel < LABELS_SPACE && labels.tc < LABELS_TC_COUNT);
            labels_stamp(frame, labels_absolute(next_random() >> 1), next_random() % 2);
            CHECK(labels_parse(frame, length, &labels) == LABELS_LABELLED && !labels_is_relative(&labels));
        }
        free(frame);
    }
    for (int kind = LABELS_BEST_EFFORT; kind <= LABELS_MANY_LABELS; kind++) {
        CHECK(kinds[kind] > 0);
    }
}

static void
check_edf_queue(void)
{
    struct edf_queue queue;

    CHECK(!edf_queue_init(&queue, 100));
    queue.next_sequence = UINT32_MAX - ROUNDS / 2;
    for (int round = 0; round < ROUNDS; round++) {
        if (next_random() % 5 < 3) {
            bool was_full = queue.count == queue.capacity;
            CHECK(edf_queue_push(&queue, next_random() % 50, round) == !was_full);
        } else if (!edf_queue_is_empty(&queue)) {
            int64_t first = edf_queue_first_deadline(&queue);
            edf_queue_pop(&queue);
            CHECK(edf_queue_is_empty(&queue) || edf_queue_first_deadline(&queue) >= first);
        }
    }
    edf_queue_destroy(&queue);
}

static void
check_packet_pool(void)
{
    struct packet_pool pool;

    CHECK(!packet_pool_init(&pool, 10));
    for (int i = 0; i < 10; i++) {
        uint32_t index = packet_pool_take(&pool);
        CHECK(index < 10);
        memset(pool.packets[index].bytes, i, PACKET_BYTES);
    }
    CHECK(packet_pool_take(&pool) == PACKET_POOL_NONE);
    packet_pool_give(&pool, 3);
    CHECK(packet_pool_take(&pool) == 3);
    packet_pool_destroy(&pool);
}

static void
check_histogram(void)
{
    static struct histogram histogram;
    struct summary summary;

    histogram_record(&histogram, INT64_MIN);
    histogram_record(&histogram, INT64_MAX);
    for (int round = 0; round < ROUNDS; round++) {
        histogram_record(&histogram, (int64_t) next_random() >> next_random() % 64);
    }
    histogram_summarize(&histogram, &summary);
    CHECK(summary.count == ROUNDS + 2 && summary.min == INT64_MIN && summary.max == INT64_MAX);
    CHECK(summary.p50 <= summary.p90 && summary.p90 <= summary.p99 && summary.p99 <= summary.p999);
}

static void
check_miss_ring(void)
{
    static struct miss_ring ring = { .produced = UINT32_MAX - 10, .consumed = UINT32_MAX - 10 };
    struct miss misses[100];
    uint32_t put = 0, taken = 0;

    for (int round = 0; round < ROUNDS; round++) {
        bool was_full = put - taken == MISS_RING_CAPACITY;
        CHECK(miss_ring_put(&ring, (struct miss) { .label = put }) == !was_full);
        put += !was_full;
        if (next_random() % 500 == 0) {
            uint32_t count = miss_ring_take(&ring, misses, 100);
            for (uint32_t i = 0; i < count; i++) {
                CHECK(misses[i].label == taken++);
            }
        }
    }
    CHECK(put < ROUNDS);            /* It was full at times, and refused. */
}

struct reader {
    struct loop loop;
    struct channel_table table;
    uint64_t found;
};

/* Does as the egress: finds channels and writes to their books. */
static void *
reader_body(void *reader_)
{
    struct reader *reader = reader_;

    while (loop_turn(&reader->loop)) {
        for (uint32_t label = LABELS_FIRST; label < LABELS_FIRST + 100; label++) {
            struct channel *channel = channel_table_find(&reader->table, label);
            if (channel) {
                books_enter_sent(&channel->sent, channel_terms(channel).burst_bytes, label);
                counter_add(&reader->found, 1);
            }
        }
    }
    return NULL;
}

/* A fifo beside an array of what should be in it. */
static void
check_packet_fifo(void)
{
    enum { CAPACITY = 7 };
    struct packet_fifo fifo;
    uint32_t put = 0, taken = 0;

    CHECK(!packet_fifo_init(&fifo, CAPACITY));
    for (int round = 0; round < 100000; round++) {
        CHECK(fifo.count == put - taken);
        CHECK(packet_fifo_is_full(&fifo) == (put - taken == CAPACITY));
        if (next_random() % 2 && !packet_fifo_is_full(&fifo)) {
            packet_fifo_put(&fifo, put++);
        } else if (fifo.count) {
            CHECK(packet_fifo_take(&fifo) == taken++);
        }
    }
    packet_fifo_destroy(&fifo);
}

/* Adds, removes and reclaims channels under a running loop. */
static void
check_channel_table(void)
{
    static struct reader reader;
    const struct terms none = { 0 };
    int event_fd = eventfd(0, EFD_NONBLOCK);
    enum adoption adoption;
    struct state *state;
    bool is_real_time;

    CHECK(!state_open(&state, -1, "random", &adoption));
    CHECK(!channel_table_init(&reader.table, state->labels, state->channels));
    CHECK(!loop_init(&reader.loop, "reader", reader_body, &reader, event_fd));
    CHECK(!loop_start(&reader.loop, 0, &is_real_time));
    for (int round = 0; round < 2000; round++) {
        uint32_t label = LABELS_FIRST + next_random() % 100;
        struct terms terms = { .burst_bytes = next_random(), .late = TERMS_LATE_DROP };

        if (next_random() % 2) {
            channel_table_remove(&reader.table, label);
            loop_synchronize(&reader.loop);
            channel_table_reclaim(&reader.table);
        } else {
            CHECK(!channel_table_set(&reader.table, label, &terms));
        }
    }
    loop_destroy(&reader.loop);
    CHECK(reader.found > 0);
    for (uint32_t label = LABELS_SPACE - CHANNELS_MAX; reader.table.free_count > 0; label++) {
        CHECK(!channel_table_set(&reader.table, label, &none));
    }
    CHECK(channel_table_set(&reader.table, LABELS_SPACE / 2, &none) == ENOSPC);
    channel_table_destroy(&reader.table);
    state_close(state);
    close(event_fd);
}

int
main(void)
{
    check_labels();
    check_edf_queue();
    check_packet_pool();
    check_packet_fifo();
    check_histogram();
    check_miss_ring();
    check_channel_table();
    printf("random input passed\n");
    return 0;
}
