/* Runs the traces of tests/traces through the C queue and choice; tests/traces/README.md explains the format. */

#include <inttypes.h>
#include <string.h>

#include "check.h"
#include "edf_queue.h"
#include "scheduler.h"

enum { MAX = 64, NS_PER_US = 1000 };

struct frame {
    char name[16];
    int64_t arrival_us;
    int64_t deadline_us;
    uint32_t bytes;
    bool is_real_time;
};

struct departure {
    char name[16];
    int64_t start_us;
};

struct trace {
    struct scheduler scheduler;
    struct frame frames[MAX];
    struct departure departures[MAX];
    uint32_t frame_count, departure_count;
};

/* Takes in one line.  Returns false if it is not understood. */
static bool
read_line(struct trace *trace, const char *line)
{
    struct frame *frame = &trace->frames[trace->frame_count];
    struct departure *departure = &trace->departures[trace->departure_count];
    int64_t us;

    if (line[strspn(line, " \n")] == '\0' || line[0] == '#') {
        return true;
    }
    if (sscanf(line, "rate %" SCNu64, &trace->scheduler.rate_bps) == 1) {
        return true;
    }
    if (sscanf(line, "slack %" SCNd64, &us) == 1) {
        trace->scheduler.be_slack_ns = us * NS_PER_US;
        return true;
    }
    if (sscanf(line, "ahead %" SCNd64, &us) == 1) {
        trace->scheduler.ahead_ns = us * NS_PER_US;
        return true;
    }
    if (sscanf(line, "depart %" SCNd64 " %15s", &departure->start_us, departure->name) == 2) {
        return ++trace->departure_count < MAX;
    }
    frame->is_real_time = sscanf(line, "arrive %" SCNd64 " real-time %15s bytes %" SCNu32 " deadline %" SCNd64,
                                 &frame->arrival_us, frame->name, &frame->bytes, &frame->deadline_us) == 4;
    if (frame->is_real_time
        || sscanf(line, "arrive %" SCNd64 " best-effort %15s bytes %" SCNu32, &frame->arrival_us, frame->name,
                  &frame->bytes) == 3) {
        return ++trace->frame_count < MAX;
    }
    return false;
}

static void
read_trace(struct trace *trace, const char *file)
{
    FILE *stream = fopen(file, "r");
    char line[256];

    CHECK(stream);
    memset(trace, 0, sizeof *trace);
    while (fgets(line, sizeof line, stream)) {
        if (!read_line(trace, line)) {
            fprintf(stderr, "%s: %s", file, line);
            exit(1);
        }
    }
    fclose(stream);
    CHECK(trace->frame_count && trace->frame_count == trace->departure_count);
}

/* Best effort as the ring holds it: indexes of frames, first in, first out. */
struct fifo {
    uint32_t items[MAX];
    uint32_t first, count;
};

static void
arrive(struct trace *trace, uint32_t index, struct edf_queue *queue, struct fifo *fifo)
{
    const struct frame *frame = &trace->frames[index];

    if (frame->is_real_time) {
        CHECK(edf_queue_push(queue, frame->deadline_us * NS_PER_US, index));
    } else {
        fifo->items[fifo->first + fifo->count++] = index;
    }
}

static void
depart(struct trace *trace, const struct departure *expected, uint32_t index, int64_t now_ns)
{
    const struct frame *frame = &trace->frames[index];
    int64_t start_ns = scheduler_send(&trace->scheduler, frame->bytes, now_ns);

    if (strcmp(frame->name, expected->name) || start_ns != expected->start_us * NS_PER_US) {
        fprintf(stderr, "%s departs at %" PRId64 " ns, but %s should at %" PRId64 " us\n", frame->name, start_ns,
                expected->name, expected->start_us);
        exit(1);
    }
}

static void
run_trace(struct trace *trace, struct edf_queue *queue)
{
    struct fifo fifo = { .count = 0 };
    uint32_t arrived = 0, departed = 0;
    int64_t now_ns = 0;

    while (departed < trace->departure_count) {
        while (arrived < trace->frame_count && trace->frames[arrived].arrival_us * NS_PER_US <= now_ns) {
            arrive(trace, arrived++, queue, &fifo);
        }
        switch (scheduler_choose(&trace->scheduler, queue, fifo.count, now_ns)) {
        case SCHEDULER_REAL_TIME:
            depart(trace, &trace->departures[departed++], edf_queue_pop(queue), now_ns);
            break;
        case SCHEDULER_BEST_EFFORT:
            fifo.count--;
            depart(trace, &trace->departures[departed++], fifo.items[fifo.first++], now_ns);
            break;
        case SCHEDULER_WAIT:
            now_ns = scheduler_wake_ns(&trace->scheduler);
            break;
        case SCHEDULER_NOTHING:
            CHECK(arrived < trace->frame_count);
            now_ns = trace->frames[arrived].arrival_us * NS_PER_US;
            break;
        }
    }
    CHECK(edf_queue_is_empty(queue) && !fifo.count);
}

int
main(int argc, char *argv[])
{
    CHECK(argc > 1);
    for (int i = 1; i < argc; i++) {
        struct edf_queue queue;
        struct trace trace;

        read_trace(&trace, argv[i]);
        CHECK(!edf_queue_init(&queue, MAX));
        run_trace(&trace, &queue);
        edf_queue_destroy(&queue);
    }
    printf("%d traces passed\n", argc - 1);
    return 0;
}
