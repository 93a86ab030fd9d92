/* State that goes on in another process, that was left in the middle of a change, or that is not what it should be. */

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "state.h"

enum { LABELS = 50, KILLS = 200, CALM = 3000, DAMAGES = 300 };

static const char *const IDENTITY = "boot inner uplink";

/* A fixed sequence (xorshift), so that a failure can be repeated. */
static uint64_t
next_random(void)
{
    static uint64_t sequence = 0x9e3779b97f4a7c15;

    sequence ^= sequence << 13;
    sequence ^= sequence >> 7;
    sequence ^= sequence << 17;
    return sequence;
}

static int
new_file(void)
{
    int fd = memfd_create("state", MFD_CLOEXEC);

    CHECK(fd >= 0);
    return fd;
}

/* Opens the state and its table.  Returns what became of what was in 'fd'. */
static enum adoption
adopt(int fd, const char *identity, struct state **state, struct channel_table *table)
{
    enum adoption adoption;

    CHECK(!state_open(state, fd, identity, &adoption));
    CHECK(!channel_table_init(table, (*state)->labels, (*state)->channels));
    return adoption;
}

static void
leave(struct state *state, struct channel_table *table)
{
    channel_table_destroy(table);
    state_close(state);
}

/* Terms of which each field tells the others. */
static struct terms
terms_of(uint32_t seed)
{
    return (struct terms) { .rate_bps = seed, .burst_bytes = seed, .downstream_ns = seed, .late = seed % 3 };
}

static bool
are_whole(const struct terms *terms)
{
    const struct terms expected = terms_of(terms->rate_bps);

    return terms->burst_bytes == expected.burst_bytes && terms->downstream_ns == expected.downstream_ns
           && terms->late == expected.late;
}

/* Leaves a file with two channels, of labels 20 and 30, and some counts. */
static int
left_file(void)
{
    int fd = new_file();
    struct channel_table table;
    struct state *state;
    struct terms terms = terms_of(7);

    CHECK(adopt(fd, IDENTITY, &state, &table) == ADOPTION_NOTHING);
    CHECK(!channel_table_set(&table, 30, &terms) && !channel_table_set(&table, 20, &terms));
    books_enter_sent(&table.by_label[20]->sent, 100, 5000);
    counter_add(&state->egress.counters.send_errors, 3);
    state->egress.queued = 4;
    state->is_ready = true;
    leave(state, &table);
    return fd;
}

static void
check_adoption(void)
{
    int fd = left_file();
    struct channel_table table;
    struct state *state;
    struct summary delay;

    for (int round = 0; round < 2; round++) {
        CHECK(adopt(fd, IDENTITY, &state, &table) == ADOPTION_DONE);
        CHECK(state->is_ready && state->egress.counters.send_errors == 3);
        CHECK(state->egress.counters.lost_at_end == 4);     /* Counted once. */
        CHECK(state->egress.starts == (uint64_t) round + 1);
        CHECK(table.free_count == CHANNELS_MAX - 2 && channel_table_find(&table, 30) && !channel_table_find(&table, 40));
        CHECK(are_whole(&channel_table_find(&table, 20)->terms) && channel_table_find(&table, 20)->terms.rate_bps == 7);
        histogram_summarize(&channel_table_find(&table, 20)->sent.queueing_delay, &delay);
        CHECK(delay.count == 1 && delay.max == 5000);
        leave(state, &table);
    }
    close(fd);
}

/* A channel that comes to where a removed one was does not go on with its books. */
static void
check_place_is_clean(void)
{
    int fd = left_file();
    struct channel_table table;
    struct state *state;
    struct terms terms = terms_of(8);

    CHECK(adopt(fd, IDENTITY, &state, &table) == ADOPTION_DONE);
    channel_table_remove(&table, 20);
    leave(state, &table);           /* Not reclaimed. */
    CHECK(adopt(fd, IDENTITY, &state, &table) == ADOPTION_DONE);
    CHECK(!channel_table_find(&table, 20) && table.free_count == CHANNELS_MAX - 1);
    CHECK(!channel_table_set(&table, 21, &terms) && !channel_table_set(&table, 22, &terms));
    CHECK(!channel_table_find(&table, 21)->sent.traffic.packets && !channel_table_find(&table, 22)->sent.traffic.packets);
    leave(state, &table);
    close(fd);
}

static void
check_change_is_not_ready(void)
{
    int fd = left_file();
    struct channel_table table;
    struct state *state;

    CHECK(adopt(fd, IDENTITY, &state, &table) == ADOPTION_DONE);
    state_begin_change(state);
    leave(state, &table);
    CHECK(adopt(fd, IDENTITY, &state, &table) == ADOPTION_DONE);
    CHECK(!state->is_ready && !state->is_changing && channel_table_find(&table, 20));
    leave(state, &table);
    close(fd);
}

/* What 'damage' makes of the state is discarded as 'expected', and what begins is empty. */
static void
check_discarded(void (*damage)(int fd, struct state *), const char *identity, enum adoption expected)
{
    int fd = left_file();
    struct state *state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    struct channel_table table;

    CHECK(state != MAP_FAILED);
    damage(fd, state);
    state_close(state);
    CHECK(adopt(fd, identity, &state, &table) == expected);
    CHECK(!state->is_ready && !state->egress.counters.send_errors && table.free_count == CHANNELS_MAX);
    leave(state, &table);
    CHECK(adopt(fd, identity, &state, &table) == ADOPTION_DONE);        /* What began is sound. */
    leave(state, &table);
    close(fd);
}

static void nothing(int fd, struct state *state) { (void) fd; (void) state; }
static void truncated(int fd, struct state *state) { (void) state; CHECK(!ftruncate(fd, 1000)); }
static void extended(int fd, struct state *state) { CHECK(!ftruncate(fd, sizeof *state + 1)); }
static void other_layout(int fd, struct state *state) { (void) fd; state->layout++; }
static void unfinished(int fd, struct state *state) { (void) fd; state->layout = 0; }
static void label_twice(int fd, struct state *state) { (void) fd; state->labels[1] = state->labels[0]; }
static void label_too_large(int fd, struct state *state) { (void) fd; state->labels[0] = LABELS_SPACE; }
static void label_reserved(int fd, struct state *state) { (void) fd; state->labels[0] = LABELS_FIRST - 1; }
static void late_unknown(int fd, struct state *state) { (void) fd; state->channels[0].terms.late = 3; }
static void burst_too_large(int fd, struct state *state) { (void) fd; state->channels[0].terms.burst_bytes = 1U << 31; }
static void no_bool(int fd, struct state *state) { (void) fd; memset(&state->channels[0].terms.strips_labels, 2, 1); }
static void not_ready(int fd, struct state *state) { (void) fd; memset(&state->is_ready, 2, 1); }

static void
check_all_discarded(void)
{
    void (*const damages[])(int, struct state *) = {
        truncated, extended, other_layout, unfinished, label_twice, label_too_large, label_reserved, late_unknown,
        burst_too_large, no_bool, not_ready,
    };

    for (uint32_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        check_discarded(damages[i], IDENTITY, ADOPTION_UNREADABLE);
    }
    check_discarded(nothing, "boot inner other", ADOPTION_FOREIGN);
    check_discarded(nothing, "boot inner uplink2", ADOPTION_FOREIGN);
}

/* Whatever bytes are changed, the state is discarded, or can be used and read. */
static void
check_random_damage(void)
{
    struct books_report report;

    for (int round = 0; round < DAMAGES; round++) {
        int fd = left_file();
        struct state *state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        struct channel_table table;

        CHECK(state != MAP_FAILED);
        for (uint64_t i = next_random() % 8; i-- > 0;) {
            uint8_t *part = next_random() % 2 ? (uint8_t *) state->labels : (uint8_t *) &state->channels[0];
            part[next_random() % 64] = next_random();
        }
        state_close(state);
        adopt(fd, IDENTITY, &state, &table);
        for (uint32_t label = 0; label < LABELS_SPACE; label += next_random() % 100) {
            const struct channel *channel = channel_table_find(&table, label);
            if (channel) {
                books_report(&channel->sent, &channel->received, &report);
            }
        }
        leave(state, &table);
        close(fd);
    }
}

/* Counts, and changes the table at times, until it is killed. */
static void
live(int fd, uint32_t seed)
{
    struct channel_table table;
    struct state *state;

    CHECK(adopt(fd, IDENTITY, &state, &table) != ADOPTION_UNREADABLE);
    state->is_ready = true;
    for (;; seed++) {
        uint32_t label = LABELS_FIRST + seed * UINT32_C(2654435761) % LABELS;
        struct terms terms = terms_of(seed & 0xffffff);

        for (int i = 0; i < CALM; i++) {
            counter_add(&state->egress.counters.send_errors, 1);
        }
        if (seed % 5) {
            state_begin_change(state);
            CHECK(!channel_table_set(&table, label, &terms));
            state_end_change(state);
        } else {
            channel_table_remove(&table, label);
            channel_table_reclaim(&table);
        }
    }
}

/* A killed process leaves only whole channels, or says that it does not; and no count goes back. */
static void
check_kills(void)
{
    int fd = new_file();
    uint64_t counted = 0, ready = 0, channels = 0;

    for (int round = 0; round < KILLS; round++) {
        pid_t child = fork();
        struct channel_table table;
        struct state *state;

        CHECK(child >= 0);
        if (!child) {
            live(fd, next_random() + round);
        }
        usleep(2000 + next_random() % 2000);
        CHECK(!kill(child, SIGKILL) && waitpid(child, NULL, 0) == child);
        CHECK(adopt(fd, IDENTITY, &state, &table) != ADOPTION_UNREADABLE || !counted);
        CHECK(state->egress.counters.send_errors >= counted);
        counted = state->egress.counters.send_errors;
        ready += state->is_ready;
        for (uint32_t label = 0; label < LABELS_SPACE; label++) {
            const struct channel *channel = channel_table_find(&table, label);
            CHECK(!channel || !state->is_ready || are_whole(&channel->terms));
            channels += channel != NULL;
        }
        leave(state, &table);
    }
    CHECK(counted > 0 && ready > 0 && ready < KILLS && channels > 0);   /* All of it was tried. */
    close(fd);
}

int
main(void)
{
    check_adoption();
    check_place_is_clean();
    check_change_is_not_ready();
    check_all_discarded();
    check_random_damage();
    check_kills();
    printf("state passed\n");
    return 0;
}
