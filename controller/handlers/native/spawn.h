/* Starts a program as a process of its own: a session, no descriptors but the three that every program has, the default
 * signals, limits, and the first place among those that go when memory is short.
 *
 * Hazard: the new process shares the memory of the one that asks, which has threads, until it is the program (vfork); so it
 * does nothing but ask the kernel. Rights are not given up here: who may send signals to a process that shares our memory could
 * stop us. */
#include <stdint.h>

struct spawn_limit {
    int resource;
    uint64_t most;
};

/* The process that runs words[0], a whole path, with `words` and `environment`, each ending with NULL. It reads nothing,
 * and writes to `output`. An error is negated (errno), and then there is no process. */
int spawn(char *const words[], char *const environment[], const struct spawn_limit limits[], int limit_count, int output);
