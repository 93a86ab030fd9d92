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
    int64_t release_us;
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
    frame->is_real_time = sscanf(line, "arrive %" SCNd64 " real-time %15s bytes %" SCNu32 " deadline %" SCNd64
                                 " release %" SCNd64, &frame->arrival_us, frame->name, &frame->bytes,
                                 &frame->deadline_us, &frame->release_us) >= 4;
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

/* What waits. */
struct waiting {
    struct edf_queue queue, held;
    struct fifo best_effort;
};

static void
arrive(const struct trace *trace, uint32_t index, struct waiting *waiting, int64_t now_ns)
{
    const struct frame *frame = &trace->frames[index];
    struct fifo *fifo = &waiting->best_effort;

    if (!frame->is_real_time) {
        fifo->items[fifo->first + fifo->count++] = index;
    } else if (frame->release_us * NS_PER_US > now_ns) {
        CHECK(edf_queue_push(&waiting->held, frame->release_us * NS_PER_US, index));
    } else {
        CHECK(edf_queue_push(&waiting->queue, frame->deadline_us * NS_PER_US, index));
    }
}

static void
release(const struct trace *trace, struct waiting *waiting, int64_t now_ns)
{
    while (edf_queue_is_due(&waiting->held, now_ns)) {
        uint32_t index = edf_queue_pop(&waiting->held);
        CHECK(edf_queue_push(&waiting->queue, trace->frames[index].deadline_us * NS_PER_US, index));
    }
}

/* Returns the first instant, not after 'until_ns', at which something arrives or is released. */
static int64_t
next_ns(const struct trace *trace, uint32_t arrived, const struct waiting *waiting, int64_t until_ns)
{
    if (arrived < trace->frame_count && trace->frames[arrived].arrival_us * NS_PER_US < until_ns) {
        until_ns = trace->frames[arrived].arrival_us * NS_PER_US;
    }
    return edf_queue_is_due(&waiting->held, until_ns) ? edf_queue_first_deadline(&waiting->held) : until_ns;
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
run_trace(struct trace *trace, struct waiting *waiting)
{
    struct fifo *fifo = &waiting->best_effort;
    uint32_t arrived = 0, departed = 0;
    int64_t now_ns = 0;

    while (departed < trace->departure_count) {
        release(trace, waiting, now_ns);
        while (arrived < trace->frame_count && trace->frames[arrived].arrival_us * NS_PER_US <= now_ns) {
            arrive(trace, arrived++, waiting, now_ns);
        }
        switch (scheduler_choose(&trace->scheduler, &waiting->queue, fifo->count, now_ns)) {
        case SCHEDULER_REAL_TIME:
            depart(trace, &trace->departures[departed++], edf_queue_pop(&waiting->queue), now_ns);
            break;
        case SCHEDULER_BEST_EFFORT:
            fifo->count--;
            depart(trace, &trace->departures[departed++], fifo->items[fifo->first++], now_ns);
            break;
        case SCHEDULER_WAIT:
            now_ns = next_ns(trace, arrived, waiting, scheduler_wake_ns(&trace->scheduler));
            break;
        case SCHEDULER_NOTHING:
            CHECK(arrived < trace->frame_count || !edf_queue_is_empty(&waiting->held));
            now_ns = next_ns(trace, arrived, waiting, INT64_MAX);
            break;
        }
    }
    CHECK(edf_queue_is_empty(&waiting->queue) && edf_queue_is_empty(&waiting->held) && !fifo->count);
}

int
main(int argc, char *argv[])
{
    CHECK(argc > 1);
    for (int i = 1; i < argc; i++) {
        struct waiting waiting = { .best_effort.count = 0 };
        struct trace trace;

        read_trace(&trace, argv[i]);
        CHECK(!edf_queue_init(&waiting.queue, MAX) && !edf_queue_init(&waiting.held, MAX));
        run_trace(&trace, &waiting);
        edf_queue_destroy(&waiting.queue);
        edf_queue_destroy(&waiting.held);
    }
    printf("%d traces passed\n", argc - 1);
    return 0;
}
