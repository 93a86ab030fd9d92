#include "shim.h"

#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel_table.h"
#include "egress.h"
#include "guard.h"
#include "ingress.h"
#include "state.h"

#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif

struct shim {
    int event_fd;
    pid_t guard_pid;            /* 0: none. */
    enum adoption adoption;
    struct state *state;
    struct channel_table channels;
    struct egress egress;
    struct ingress ingress;
};

/* Finds the Ethernet interface 'name' and returns 0 or an errno. */
static int
find_ethernet(const char *name, int *ifindex)
{
    struct ifreq request = { 0 };
    int fd, failed;

    *ifindex = if_nametoindex(name);
    if (!*ifindex) {
        return errno;
    }
    fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return errno;
    }
    strncpy(request.ifr_name, name, sizeof request.ifr_name - 1);
    failed = ioctl(fd, SIOCGIFHWADDR, &request);
    close(fd);
    return failed || request.ifr_hwaddr.sa_family != ARPHRD_ETHER ? EAFNOSUPPORT : 0;
}

/* What was configured goes on, unless 'config' is another one than the former process was given. */
static void
adopt_configuration(struct shim *shim, const struct shim_config *config)
{
    struct state *state = shim->state;

    if (config->rate_bps != state->given_rate_bps || config->be_slack_ns != state->given_be_slack_ns) {
        state_begin_change(state);
        state->given_rate_bps = config->rate_bps;
        state->given_be_slack_ns = config->be_slack_ns;
        egress_configure(&shim->egress, config->rate_bps, config->be_slack_ns, state->egress.allowance_ns);
        state_end_change(state);
    }
}

/* Opens all parts, also past a failed one, so that close_parts() may follow.  Returns 0 or an errno. */
static int
open_parts(struct shim *shim, const struct shim_config *config, int inner, int uplink)
{
    struct egress *egress = &shim->egress;
    struct ingress *ingress = &shim->ingress;
    int event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int errors[] = {
        event_fd < 0 ? errno : 0,
        channel_table_init(&shim->channels, shim->state->labels, shim->state->channels),
        loop_init(&egress->loop, "edf-egress", egress_body, egress, event_fd),
        loop_init(&ingress->loop, "edf-check", ingress_body, ingress, event_fd),
        egress_open(egress, inner, uplink, config->queue_capacity, config->bypass_qdisc),
        ingress_open(ingress, uplink),
    };

    shim->event_fd = event_fd;
    egress->channels = ingress->channels = &shim->channels;
    egress->kept = &shim->state->egress;
    ingress->kept = &shim->state->ingress;
    adopt_configuration(shim, config);
    for (uint32_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        if (errors[i]) {
            return errors[i];
        }
    }
    return 0;
}

/* Opens a shim as 'config' says, not yet started.  Returns NULL, and why in 'error', if it cannot. */
struct shim *
shim_open(const struct shim_config *config, struct shim_error *error)
{
    /* Shared with the guard, which is a process of its own. */
    struct shim *shim = mmap(NULL, sizeof *shim, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int inner, uplink;

    if (shim == MAP_FAILED) {
        *error = (struct shim_error) { .number = errno };
        return NULL;
    }
    *error = (struct shim_error) { .number = find_ethernet(config->inner, &inner), .interface = config->inner };
    if (!error->number) {
        *error = (struct shim_error) { .number = find_ethernet(config->uplink, &uplink), .interface = config->uplink };
    }
    if (!error->number) {
        error->interface = NULL;
        error->number = state_open(&shim->state, config->state_fd, config->identity, &shim->adoption);
    }
    if (error->number) {
        munmap(shim, sizeof *shim);
        return NULL;
    }
    *error = (struct shim_error) { .number = open_parts(shim, config, inner, uplink) };
    if (error->number) {
        shim_close(shim);
        return NULL;
    }
    return shim;
}

/* Locks the process's memory and starts both loops, the egress at SCHED_FIFO 'priority' (0: none), the check just
 * below.  Says in 'privileges' what the machine permitted.  Returns when both loops run: 0, or an errno. */
int
shim_start(struct shim *shim, int priority, struct shim_privileges *privileges)
{
    bool is_egress_real_time, is_check_real_time;
    int error;

    /* On fault: what is never touched, such as most of a large table, needs no memory. */
    privileges->is_locked = !mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
    error = loop_start(&shim->egress.loop, priority, &is_egress_real_time);
    if (!error) {
        error = loop_start(&shim->ingress.loop, priority - 1, &is_check_real_time);
    }
    privileges->is_real_time = !error && is_egress_real_time;
    return error;
}

/* Has a guard watch over the egress loop, which runs: 'tap_fd', a TAP without carrier, has one from shim_ready() on
 * while the loop turns.  The guard runs at SCHED_FIFO 'priority' (0: none), which should be above the loop's.  Returns
 * 0 or an errno; either way 'tap_fd' stays the caller's to close. */
int
shim_guard(struct shim *shim, int tap_fd, int priority)
{
    pid_t pid;
    int error = guard_start(&shim->egress.loop, &shim->state->is_ready, tap_fd, priority, &pid);

    shim->guard_pid = error ? 0 : pid;
    return error;
}

/* Stops 'shim', if it was started, and frees it.  What is queued is lost; the state stays in its file. */
void
shim_close(struct shim *shim)
{
    if (shim->guard_pid) {
        guard_stop(shim->guard_pid);
    }
    loop_destroy(&shim->egress.loop);
    loop_destroy(&shim->ingress.loop);
    egress_close(&shim->egress);
    ingress_close(&shim->ingress);
    channel_table_destroy(&shim->channels);
    state_close(shim->state);
    close(shim->event_fd);
    munmap(shim, sizeof *shim);
}

/* Has this process terminated (SIGTERM) when its parent ends.  Returns false if that is no longer 'parent_pid'. */
bool
shim_die_with_parent(int parent_pid)
{
    prctl(PR_SET_PDEATHSIG, (unsigned long) SIGTERM);
    return getppid() == parent_pid;
}

/* Sets the uplink's rate (0: unpaced), the best-effort slack, and what of each deadline the host may take. */
void
shim_configure(struct shim *shim, uint64_t rate_bps, int64_t be_slack_ns, int64_t allowance_ns)
{
    state_begin_change(shim->state);
    egress_configure(&shim->egress, rate_bps, be_slack_ns, allowance_ns);
    state_end_change(shim->state);
}

/* Ensures that the channel of 'label' (20 bits) is in the table, where it keeps its books, on 'terms'.  Returns 0,
 * ENOSPC if the table is full, or as memory_populate(). */
int
shim_set_channel(struct shim *shim, uint32_t label, const struct terms *terms)
{
    int error;

    state_begin_change(shim->state);
    error = channel_table_set(&shim->channels, label, terms);
    state_end_change(shim->state);
    return error;
}

/* Removes the channels of the 'count' 'labels' (20 bits), those that there are.  Returns when no loop uses them. */
void
shim_remove_channels(struct shim *shim, const uint32_t *labels, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        channel_table_remove(&shim->channels, labels[i]);
    }
    loop_synchronize(&shim->egress.loop);
    loop_synchronize(&shim->ingress.loop);
    channel_table_reclaim(&shim->channels);
}

/* Lets traffic come: within milliseconds the guard gives the TAP its carrier. */
void
shim_ready(struct shim *shim)
{
    __atomic_store_n(&shim->state->is_ready, true, __ATOMIC_RELEASE);
}

/* Says what became of what a former process of this shim has left. */
enum adoption
shim_adoption(const struct shim *shim)
{
    return shim->adoption;
}

/* Writes the uplink's rate, the best-effort slack and the allowance that were asked for last. */
void
shim_configuration(const struct shim *shim, uint64_t *rate_bps, int64_t *be_slack_ns, int64_t *allowance_ns)
{
    *rate_bps = shim->state->egress.rate_bps;
    *be_slack_ns = shim->state->egress.be_slack_ns;
    *allowance_ns = shim->state->egress.allowance_ns;
}

/* Writes the labels of all channels to 'labels', of CHANNELS_MAX elements.  Returns how many. */
uint32_t
shim_labels(const struct shim *shim, uint32_t *labels)
{
    uint32_t count = 0;

    for (uint32_t slot = 0; slot < CHANNELS_MAX; slot++) {
        if (shim->state->labels[slot]) {
            labels[count++] = shim->state->labels[slot];
        }
    }
    return count;
}

/* Returns an eventfd that is readable when there is a miss to take or a failure to see. */
int
shim_event_fd(const struct shim *shim)
{
    return shim->event_fd;
}

/* Returns the errno with which a loop has ended, or 0 if both run. */
int
shim_failure(const struct shim *shim)
{
    int egress = __atomic_load_n(&shim->egress.loop.failure, __ATOMIC_ACQUIRE);

    return egress ? egress : __atomic_load_n(&shim->ingress.loop.failure, __ATOMIC_ACQUIRE);
}

/* Returns the guard's process id, or 0 if there is none. */
int
shim_guard_pid(const struct shim *shim)
{
    return shim->guard_pid;
}

/* Moves up to 'max' misses, oldest first, to 'misses'.  Returns how many. */
uint32_t
shim_take_misses(struct shim *shim, struct miss *misses, uint32_t max)
{
    return miss_ring_take(&shim->ingress.misses, misses, max);
}

/* Writes the counters of the moment. */
void
shim_report(struct shim *shim, struct egress_counters *egress, struct ingress_counters *ingress)
{
    egress_report(&shim->egress, egress);
    ingress_report(&shim->ingress, ingress);
}

/* Writes the books of class 'tc' (below 8) to 'report'.  Best effort is of class 0. */
void
shim_report_class(const struct shim *shim, uint32_t tc, struct books_report *report)
{
    books_report(&shim->state->egress.classes[tc], &shim->state->ingress.classes[tc], report);
}

/* Writes the books of the channel of 'label' to 'report'.
 *
 * The caller must ensure that the channel is in the table. */
void
shim_report_channel(const struct shim *shim, uint32_t label, struct books_report *report)
{
    const struct channel *channel = channel_table_find(&shim->channels, label);

    books_report(&channel->sent, &channel->received, report);
}
