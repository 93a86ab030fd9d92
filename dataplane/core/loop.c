#include "loop.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

/* Initializes 'loop', not yet started.  'event_fd' stays the caller's.  Returns 0 or an errno. */
int
loop_init(struct loop *loop, const char *name, void *(*body)(void *owner), void *owner, int event_fd)
{
    *loop = (struct loop) { .name = name, .body = body, .owner = owner, .event_fd = event_fd };
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return loop->wake_fd < 0 ? errno : 0;
}

static void *
run(void *loop_)
{
    struct loop *loop = loop_;

    pthread_setname_np(pthread_self(), loop->name);
    prctl(PR_SET_TIMERSLACK, 1UL);
    loop->body(loop->owner);
    __atomic_store_n(&loop->is_running, false, __ATOMIC_RELEASE);
    return NULL;
}

/* Starts the thread, at SCHED_FIFO 'priority' if it is positive and permitted, and waits until it has turned once.
 * Says in '*is_real_time' whether the priority is in force.  Returns 0 or an errno. */
int
loop_start(struct loop *loop, int priority, bool *is_real_time)
{
    struct sched_param parameters = { .sched_priority = priority };
    int error;

    loop->is_running = true;
    error = pthread_create(&loop->thread, NULL, run, loop);
    if (error) {
        loop->is_running = false;
        return error;
    }
    loop->is_started = true;
    *is_real_time = priority > 0 && !pthread_setschedparam(loop->thread, SCHED_FIFO, &parameters);
    loop_synchronize(loop);
    return 0;
}

/* Waits until the turn that 'loop' is in, if any, is over. */
void
loop_synchronize(struct loop *loop)
{
    const struct timespec pause = { .tv_nsec = 50000 };
    uint64_t seen = __atomic_load_n(&loop->turns, __ATOMIC_SEQ_CST);

    loop_wake(loop);
    while (__atomic_load_n(&loop->is_running, __ATOMIC_ACQUIRE)
           && __atomic_load_n(&loop->turns, __ATOMIC_SEQ_CST) == seen) {
        nanosleep(&pause, NULL);
    }
}

/* Ends the wait that 'loop' is in, or else its next one. */
void
loop_wake(struct loop *loop)
{
    loop_signal(loop->wake_fd);
}

/* Stops the thread, if it was started, and frees what 'loop' holds. */
void
loop_destroy(struct loop *loop)
{
    __atomic_store_n(&loop->is_stopping, true, __ATOMIC_RELEASE);
    loop_wake(loop);
    if (loop->is_started) {
        pthread_join(loop->thread, NULL);
    }
    close(loop->wake_fd);
}

/* Begins a turn of the body.  Returns false if it is to end instead. */
bool
loop_turn(struct loop *loop)
{
    /* A full barrier: what the turn finds in shared tables, it finds after loop_synchronize() can see the turn. */
    __atomic_fetch_add(&loop->turns, 1, __ATOMIC_SEQ_CST);
    return !__atomic_load_n(&loop->is_stopping, __ATOMIC_ACQUIRE)
           && !__atomic_load_n(&loop->failure, __ATOMIC_RELAXED);
}

/* Sleeps until one of the 'count' descriptors of 'fds' is ready, 'timeout_ns' have passed (negative: for ever) or
 * loop_wake() is called.  'fds' has 'count' + 1 elements; the last one is for this function.  Returns as ppoll(). */
int
loop_wait(struct loop *loop, struct pollfd *fds, uint32_t count, int64_t timeout_ns)
{
    struct timespec timeout = { .tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000 };
    uint64_t wakes;
    int ready;

    fds[count] = (struct pollfd) { .fd = loop->wake_fd, .events = POLLIN };
    ready = ppoll(fds, count + 1, timeout_ns < 0 ? NULL : &timeout, NULL);
    if (ready > 0 && fds[count].revents && read(loop->wake_fd, &wakes, sizeof wakes) > 0) {
        ready--;
    }
    return ready;
}

/* Makes this turn the last one, because of 'error' (an errno), and tells the owner. */
void
loop_fail(struct loop *loop, int error)
{
    __atomic_store_n(&loop->failure, error, __ATOMIC_RELEASE);
    loop_signal(loop->event_fd);
}

/* Makes the eventfd 'event_fd' readable. */
void
loop_signal(int event_fd)
{
    eventfd_write(event_fd, 1);     /* Fails only if it is readable already. */
}
