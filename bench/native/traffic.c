/* The paced source and the measuring sink; see traffic.h. */
#include "traffic.h"

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

#define NS_PER_S 1000000000ULL
#define PS_PER_NS 1000ULL
#define RETRY_PAUSE_NS 50000ULL
#define STOP_CHECK_MS 50

/* Between two reads of the sockets: one wake-up takes many packets, and arrival times are the kernel's anyway. */
#define DRAIN_PAUSE_NS 4000000ULL

/* Up to the largest UDP datagram's headers and stamp; the rest of a packet is only counted. */
#define HEAD_BYTES 256

static uint64_t
clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t) now.tv_sec * NS_PER_S + (uint64_t) now.tv_nsec;
}

static void
sleep_until(uint64_t monotonic_ns)
{
    struct timespec until = { .tv_sec = (time_t) (monotonic_ns / NS_PER_S),
                              .tv_nsec = (long) (monotonic_ns % NS_PER_S) };
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static void
pause_ns(uint64_t duration_ns)
{
    sleep_until(clock_ns(CLOCK_MONOTONIC) + duration_ns);
}

static int
stopped(const int *stop)
{
    return __atomic_load_n(stop, __ATOMIC_RELAXED);
}

static void
add(uint64_t *counter, uint64_t amount)
{
    __atomic_store_n(counter, *counter + amount, __ATOMIC_RELAXED);
}

/* Source. */

struct send_batch {
    struct mmsghdr messages[TRAFFIC_BATCH];
    struct iovec parts[TRAFFIC_BATCH];
    uint8_t *frames;
};

static int
send_batch_init(struct send_batch *batch, const struct traffic_source *source)
{
    memset(batch, 0, sizeof *batch);
    batch->frames = malloc((size_t) source->burst * source->length);
    if (!batch->frames) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < source->burst; i++) {
        uint8_t *frame = batch->frames + (size_t) i * source->length;
        memcpy(frame, source->frames + (size_t) (i % source->templates) * source->length, source->length);
        batch->parts[i] = (struct iovec) { .iov_base = frame, .iov_len = source->length };
        batch->messages[i].msg_hdr = (struct msghdr) { .msg_iov = &batch->parts[i], .msg_iovlen = 1 };
    }
    return 0;
}

static void
stamp(struct send_batch *batch, uint32_t n, const struct traffic_source *source)
{
    uint64_t now = htobe64(clock_ns(CLOCK_REALTIME));
    for (uint32_t i = 0; i < n; i++) {
        uint64_t sequence = htobe64(source->sent + i);
        uint8_t *at = (uint8_t *) batch->parts[i].iov_base + source->stamp_offset;
        memcpy(at, &sequence, sizeof sequence);
        memcpy(at + sizeof sequence, &now, sizeof now);
    }
}

static int
is_passing(int error)
{
    return error == EAGAIN || error == ENOBUFS || error == ECONNREFUSED || error == EINTR;
}

/* Sends 'n' packets, however many calls that takes. */
static int
send_burst(struct send_batch *batch, uint32_t n, struct traffic_source *source)
{
    while (n > 0 && !stopped(&source->stop)) {
        if (source->stamped) {
            stamp(batch, n, source);
        }
        int sent = sendmmsg(source->socket, batch->messages, n, 0);
        if (sent > 0) {
            add(&source->sent, (uint64_t) sent);
            n -= (uint32_t) sent;
        } else if (is_passing(errno)) {
            add(&source->retried, 1);
            pause_ns(RETRY_PAUSE_NS);
        } else {
            return -errno;
        }
    }
    return 0;
}

static uint32_t
next_burst(const struct traffic_source *source)
{
    uint64_t left = source->count ? source->count - source->sent : source->burst;
    return left < source->burst ? (uint32_t) left : source->burst;
}

/* One source on its way. */
struct stream {
    struct traffic_source *source;
    struct send_batch batch;
    uint64_t due_ps;            /* Since the start: exact, where an interval in ns would drift. */
    int is_over;
};

/* Sends a burst if one is due, and sets when the next one is. */
static int
send_due(struct stream *stream, uint64_t elapsed_ns)
{
    struct traffic_source *source = stream->source;
    uint64_t burst_ps = source->interval_ps * source->burst;
    uint32_t n = next_burst(source);

    stream->is_over = !n || stopped(&source->stop) || (source->duration_ns && elapsed_ns >= source->duration_ns);
    if (stream->is_over || elapsed_ns < stream->due_ps / PS_PER_NS) {
        return 0;
    }
    int error = send_burst(&stream->batch, n, source);
    stream->due_ps += burst_ps;
    if (burst_ps && elapsed_ns * PS_PER_NS > stream->due_ps + burst_ps) {
        stream->due_ps = elapsed_ns * PS_PER_NS;
    }
    return error;
}

static int
send_paced(struct stream *streams, uint32_t n)
{
    uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);
    for (;;) {
        uint64_t elapsed_ns = clock_ns(CLOCK_MONOTONIC) - start_ns;
        uint64_t next_ps = UINT64_MAX;
        for (uint32_t i = 0; i < n; i++) {
            int error = streams[i].is_over ? 0 : send_due(&streams[i], elapsed_ns);
            if (error) {
                return error;
            }
            if (!streams[i].is_over && streams[i].due_ps < next_ps) {
                next_ps = streams[i].due_ps;
            }
        }
        if (next_ps == UINT64_MAX) {
            return 0;
        }
        if (next_ps) {
            sleep_until(start_ns + next_ps / PS_PER_NS);
        }
    }
}

static int
stream_init(struct stream *stream, struct traffic_source *source)
{
    int stamp_fits = !source->stamped || source->stamp_offset + TRAFFIC_STAMP_BYTES <= source->length;
    stream->source = source;
    if (source->burst < 1 || source->burst > TRAFFIC_BATCH || source->templates < 1 || !stamp_fits) {
        return -EINVAL;
    }
    return send_batch_init(&stream->batch, source);
}

int
traffic_send(struct traffic_source *const *sources, uint32_t n)
{
    struct stream *streams = calloc(n, sizeof *streams);
    int error = streams ? 0 : -ENOMEM;
    for (uint32_t i = 0; i < n && !error; i++) {
        error = stream_init(&streams[i], sources[i]);
    }
    if (!error) {
        prctl(PR_SET_TIMERSLACK, 1);
        error = send_paced(streams, n);
    }
    for (uint32_t i = 0; streams && i < n; i++) {
        free(streams[i].batch.frames);
    }
    free(streams);
    return error;
}

/* Sink. */

struct receive_batch {
    struct mmsghdr messages[TRAFFIC_BATCH];
    struct iovec parts[TRAFFIC_BATCH];
    uint8_t heads[TRAFFIC_BATCH][HEAD_BYTES];
    union {
        struct cmsghdr align;
        uint8_t bytes[CMSG_SPACE(sizeof(struct timespec))];
    } controls[TRAFFIC_BATCH];
};

/* The kernel overwrites lengths, so this is due before each read. */
static void
receive_batch_rearm(struct receive_batch *batch)
{
    for (int i = 0; i < TRAFFIC_BATCH; i++) {
        batch->parts[i] = (struct iovec) { .iov_base = batch->heads[i], .iov_len = HEAD_BYTES };
        batch->messages[i].msg_hdr = (struct msghdr) {
            .msg_iov = &batch->parts[i], .msg_iovlen = 1,
            .msg_control = batch->controls[i].bytes, .msg_controllen = sizeof batch->controls[i].bytes };
    }
}

/* The wall clock when the kernel got the packet; 0 where it did not say. */
static uint64_t
kernel_time_ns(struct msghdr *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec at;
            memcpy(&at, CMSG_DATA(c), sizeof at);
            return (uint64_t) at.tv_sec * NS_PER_S + (uint64_t) at.tv_nsec;
        }
    }
    return 0;
}

static void
record(struct traffic_sink *sink, struct mmsghdr *message)
{
    if (sink->recorded == sink->capacity || message->msg_len < sink->stamp_offset + TRAFFIC_STAMP_BYTES) {
        return;
    }
    uint64_t sequence, sent_ns;
    const uint8_t *at = (const uint8_t *) message->msg_hdr.msg_iov->iov_base + sink->stamp_offset;
    memcpy(&sequence, at, sizeof sequence);
    memcpy(&sent_ns, at + sizeof sequence, sizeof sent_ns);
    sink->arrivals[sink->recorded] = (struct traffic_arrival) {
        .sequence = be64toh(sequence),
        .sent_ns = (int64_t) be64toh(sent_ns),
        .delay_ns = (int64_t) (kernel_time_ns(&message->msg_hdr) - be64toh(sent_ns)) };
    add(&sink->recorded, 1);
}

/* Reads until the socket is empty or all arrivals are there. Returns the number of packets. */
static int64_t
drain(struct receive_batch *batch, struct traffic_sink *sink)
{
    int64_t packets = 0;
    while (!sink->arrivals || sink->recorded < sink->capacity) {
        receive_batch_rearm(batch);
        /* With MSG_TRUNC the length is the packet's, however little of it was copied. */
        int n = recvmmsg(sink->socket, batch->messages, TRAFFIC_BATCH, MSG_DONTWAIT | MSG_TRUNC, NULL);
        if (n < 0) {
            return is_passing(errno) ? packets : -errno;
        }
        for (int i = 0; i < n; i++) {
            add(&sink->bytes, batch->messages[i].msg_len);
            if (sink->arrivals) {
                record(sink, &batch->messages[i]);
            }
        }
        add(&sink->packets, (uint64_t) n);
        packets += n;
    }
    return packets;
}

/* One sink at work. */
struct listener {
    struct traffic_sink *sink;
    uint64_t last_ns;           /* When packets were last found; at first the start. */
};

static int
is_over(const struct listener *listener, uint64_t now_ns, uint64_t start_ns)
{
    const struct traffic_sink *sink = listener->sink;
    return stopped(&sink->stop)
        || (sink->arrivals && sink->recorded == sink->capacity)
        || (sink->duration_ns && now_ns - start_ns >= sink->duration_ns)
        || (sink->idle_ns && sink->packets && now_ns - listener->last_ns >= sink->idle_ns);
}

/* Forgets those that are over. poll() passes over a descriptor of -1. */
static uint32_t
count_open(const struct listener *listeners, struct pollfd *sockets, uint32_t n, uint64_t start_ns)
{
    uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
    uint32_t open = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (is_over(&listeners[i], now_ns, start_ns)) {
            sockets[i].fd = -1;
        }
        open += sockets[i].fd >= 0;
    }
    return open;
}

static int
drain_all(struct receive_batch *batch, struct listener *listeners, const struct pollfd *sockets, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        int64_t packets = sockets[i].fd < 0 ? 0 : drain(batch, listeners[i].sink);
        if (packets < 0) {
            return (int) packets;
        }
        if (packets) {
            listeners[i].last_ns = clock_ns(CLOCK_MONOTONIC);
        }
    }
    return 0;
}

static int
receive_until_over(struct receive_batch *batch, struct listener *listeners, struct pollfd *sockets, uint32_t n)
{
    uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);
    for (uint32_t i = 0; i < n; i++) {
        listeners[i].last_ns = start_ns;
    }
    int error = 0;
    while (!error && count_open(listeners, sockets, n, start_ns)) {
        if (poll(sockets, n, STOP_CHECK_MS) > 0) {
            pause_ns(DRAIN_PAUSE_NS);
            error = drain_all(batch, listeners, sockets, n);
        }
    }
    return error;
}

static int
listener_init(struct listener *listener, struct pollfd *socket, struct traffic_sink *sink)
{
    int on = sink->arrivals != NULL;
    listener->sink = sink;
    *socket = (struct pollfd) { .fd = sink->socket, .events = POLLIN };
    if (sink->stamp_offset + TRAFFIC_STAMP_BYTES > HEAD_BYTES) {
        return -EINVAL;
    }
    return setsockopt(sink->socket, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) ? -errno : 0;
}

int
traffic_receive(struct traffic_sink *const *sinks, uint32_t n)
{
    struct receive_batch *batch = calloc(1, sizeof *batch);
    struct listener *listeners = calloc(n, sizeof *listeners);
    struct pollfd *sockets = calloc(n, sizeof *sockets);
    int error = batch && listeners && sockets ? 0 : -ENOMEM;
    for (uint32_t i = 0; i < n && !error; i++) {
        error = listener_init(&listeners[i], &sockets[i], sinks[i]);
    }
    if (!error) {
        error = receive_until_over(batch, listeners, sockets, n);
    }
    free(sockets);
    free(listeners);
    free(batch);
    return error;
}
