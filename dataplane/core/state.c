#include "state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "labels.h"
#include "memory.h"

#ifndef STATE_LAYOUT
#error "STATE_LAYOUT: a number that is another one whenever a header is, and not 0"
#endif

static struct state *
map(int fd)
{
    const int flags = MAP_SHARED | MAP_NORESERVE | (fd < 0 ? MAP_ANONYMOUS : 0);
    void *state = mmap(NULL, sizeof(struct state), PROT_READ | PROT_WRITE, flags, fd, 0);

    return state == MAP_FAILED ? NULL : state;
}

/* Returns true if the byte of a bool is one; to read another as a bool is undefined. */
static bool
is_bool(const bool *flag)
{
    return *(const uint8_t *) flag <= 1;
}

static bool
are_terms_sound(const struct terms *terms)
{
    return terms->burst_bytes < UINT64_C(1) << 31 && terms->clock_error_ns >= 0 && terms->late <= TERMS_LATE_KEEP
           && is_bool(&terms->strips_labels) && is_bool(&terms->is_shaped);
}

/* Returns true if 'channels' can be used, and has them in memory. */
static bool
are_channels_sound(struct state *state)
{
    bool *is_seen = calloc(LABELS_SPACE, sizeof *is_seen);
    bool are_sound = is_seen != NULL;

    for (uint32_t slot = 0; are_sound && slot < CHANNELS_MAX; slot++) {
        const uint32_t label = state->labels[slot];
        if (label) {
            are_sound = label >= LABELS_FIRST && label < LABELS_SPACE && !is_seen[label]
                        && !memory_populate(&state->channels[slot], sizeof state->channels[slot])
                        && are_terms_sound(&state->channels[slot].terms);
            is_seen[label % LABELS_SPACE] = true;
        }
    }
    free(is_seen);
    return are_sound;
}

/* Says whether 'state', which is of the right size, is what the shim of 'identity' has left. */
static enum adoption
judge(struct state *state, const char *identity)
{
    if (state->layout != STATE_LAYOUT) {
        return ADOPTION_UNREADABLE;
    }
    if (strncmp(state->identity, identity, sizeof state->identity)) {
        return ADOPTION_FOREIGN;
    }
    return is_bool(&state->is_ready) && is_bool(&state->is_changing) && are_channels_sound(state) ? ADOPTION_DONE
                                                                                                 : ADOPTION_UNREADABLE;
}

static int
populate(struct state *state)
{
    return memory_populate(state, offsetof(struct state, channels));
}

/* Makes 'state', mapped from 'fd', a new one of 'identity'.  Returns 0 or an errno. */
static int
begin(struct state *state, int fd, const char *identity)
{
    int error;

    if (fd >= 0 && (ftruncate(fd, 0) || ftruncate(fd, sizeof *state))) {
        return errno;
    }
    error = populate(state);
    if (!error) {
        strncpy(state->identity, identity, sizeof state->identity - 1);
        __atomic_store_n(&state->layout, STATE_LAYOUT, __ATOMIC_RELEASE);
    }
    return error;
}

/* Until state_end_change(), whoever adopts 'state' waits for settings. */
void
state_begin_change(struct state *state)
{
    __atomic_store_n(&state->is_changing, true, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);    /* A killed thread has done what comes first: the order suffices. */
}

void
state_end_change(struct state *state)
{
    __atomic_store_n(&state->is_changing, false, __ATOMIC_RELEASE);
}

/* Takes over what was going on when the former process ended: what was queued is lost, so that contracts start afresh,
 * and settings that were half changed must be given again. */
static void
settle(struct state *state)
{
    state->is_ready = state->is_ready && !state->is_changing;
    state_end_change(state);
    counter_add(&state->egress.counters.lost_at_end, state->egress.queued);
    state->egress.queued = 0;
    state->egress.starts++;
}

static int
open_mapped(struct state *state, int fd, const char *identity, enum adoption *adoption)
{
    struct stat file = { 0 };
    int error;

    if (fd >= 0 && fstat(fd, &file)) {
        return errno;
    }
    *adoption = file.st_size ? ADOPTION_UNREADABLE : ADOPTION_NOTHING;
    if (file.st_size == sizeof *state) {
        error = populate(state);
        if (error) {
            return error;
        }
        *adoption = judge(state, identity);
    }
    if (*adoption != ADOPTION_DONE) {
        return begin(state, fd, identity);
    }
    settle(state);
    return 0;
}

/* Opens the state in the file 'fd', which should be in memory and is nobody else's, or (-1) in memory that only child
 * processes share.  Adopts it if a shim of the same 'identity' (less than STATE_IDENTITY_BYTES long) and layout has left
 * it, else begins a new one; says so in '*adoption'.  Returns 0, ENOSPC if there is no room for it, or another errno. */
int
state_open(struct state **state, int fd, const char *identity, enum adoption *adoption)
{
    int error;

    *state = map(fd);
    if (!*state) {
        return errno;
    }
    error = open_mapped(*state, fd, identity, adoption);
    if (error) {
        state_close(*state);
    }
    return error;
}

/* Unmaps 'state'; the file keeps it. */
void
state_close(struct state *state)
{
    munmap(state, sizeof *state);
}
