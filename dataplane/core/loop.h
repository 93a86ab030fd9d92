/* A thread that turns until it is stopped or fails.
 *
 * The body calls loop_turn() at the head of each turn and sleeps only in loop_wait(), from which the others can wake
 * it.  Everything else is for the thread that owns the loop. */

#ifndef LOOP_H
#define LOOP_H 1

#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct loop {
    const char *name;
    void *(*body)(void *owner);
    void *owner;
    int wake_fd;                /* Eventfd: wakes the thread. */
    int event_fd;               /* Eventfd of the owner's: written when the thread fails. */
    bool is_started;
    pthread_t thread;

    bool is_stopping;           /* Atomic from here on. */
    bool is_running;
    uint64_t turns;
    int failure;                /* Errno, or 0. */
};

/* For the owner. */
int loop_init(struct loop *, const char *name, void *(*body)(void *owner), void *owner, int event_fd);
int loop_start(struct loop *, int priority, bool *is_real_time);
void loop_synchronize(struct loop *);
void loop_wake(struct loop *);
void loop_destroy(struct loop *);

/* For the body. */
bool loop_turn(struct loop *);
int loop_wait(struct loop *, struct pollfd *, uint32_t count, int64_t timeout_ns);
void loop_fail(struct loop *, int error);
void loop_signal(int event_fd);

#endif /* loop.h */
