#include "guard.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    PERIOD_NS = 5000000,
    STILL = 4,                  /* Periods without a turn: no carrier.  They are counted, not timed: when the whole
                                 * machine stands still, this process does so too, and no harm is done. */
    GIVEN_UP = 200,             /* Periods without a turn: killed. */
};

static void
set_carrier(int tap_fd, int has_carrier)
{
    ioctl(tap_fd, TUNSETCARRIER, &has_carrier);     /* A TAP that is gone needs none. */
}

/* Watches 'loop', of the process 'parent', for ever.  The TAP has no carrier yet. */
static void
watch(const struct loop *loop, const bool *is_ready, int tap_fd, pid_t parent)
{
    const struct timespec period = { .tv_nsec = PERIOD_NS };
    bool has_carrier = false;
    uint64_t seen = 0;

    for (uint32_t still = 0;; still++) {
        uint64_t turns = __atomic_load_n(&loop->turns, __ATOMIC_RELAXED);
        bool works;

        if (turns != seen) {
            seen = turns;
            still = 0;
        } else if (still == GIVEN_UP) {
            kill(parent, SIGKILL);
        }
        works = still < STILL && __atomic_load_n(is_ready, __ATOMIC_ACQUIRE);
        if (works != has_carrier) {
            set_carrier(tap_fd, works);
            has_carrier = works;
        }
        loop_signal(loop->wake_fd);
        nanosleep(&period, NULL);
    }
}

/* Closes all descriptors but two. */
static void
close_others(int one, int other)
{
    unsigned int low = one < other ? one : other, high = one < other ? other : one;

    if (low > 0) {
        close_range(0, low - 1, 0);
    }
    if (high > low + 1) {
        close_range(low + 1, high - 1, 0);
    }
    close_range(high + 1, ~0U, 0);
}

/* The life of the guard: it ends with its parent, or by guard_stop().  What a terminal does to the shim's process group
 * does not reach it. */
static void
live(const struct loop *loop, const bool *is_ready, int tap_fd, int priority, pid_t parent)
{
    const struct sched_param parameters = { .sched_priority = priority };

    setsid();
    prctl(PR_SET_PDEATHSIG, (unsigned long) SIGKILL);
    prctl(PR_SET_NAME, "edf-guard");
    prctl(PR_SET_TIMERSLACK, 1UL);
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    close_others(tap_fd, loop->wake_fd);
    if (priority > 0) {
        sched_setscheduler(0, SCHED_FIFO, &parameters);
    }
    if (getppid() == parent) {
        watch(loop, is_ready, tap_fd, parent);
    }
}

/* Starts the guard of 'loop', which like 'is_ready' must be in memory that processes share.  It holds 'tap_fd', an
 * attached TAP without carrier; the caller closes its own.  Runs at SCHED_FIFO 'priority' if that is positive and
 * permitted.  Writes its process id to '*pid' and returns 0, or returns an errno. */
int
guard_start(const struct loop *loop, const bool *is_ready, int tap_fd, int priority, pid_t *pid)
{
    pid_t parent = getpid();

    *pid = fork();
    if (*pid == 0) {
        live(loop, is_ready, tap_fd, priority, parent);
        _exit(0);
    }
    return *pid < 0 ? errno : 0;
}

/* Ends the guard 'pid', and with it the TAP's carrier. */
void
guard_stop(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
