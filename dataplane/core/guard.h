/* A process of its own that watches over a loop: the liveness TAP has a carrier only while the loop turns, and not
 * before the shim is ready.
 *
 * The shim's own process may die, be stopped, or hang; whatever happens to it, Open vSwitch sees the TAP's carrier go
 * and sends past the shim.  A loop that turns again gets the carrier back.  One that does not for long is killed, so
 * that whoever supervises it can start it again. */

#ifndef GUARD_H
#define GUARD_H 1

#include <stdbool.h>
#include <sys/types.h>

#include "loop.h"

/* Starting and stopping. */
int guard_start(const struct loop *, const bool *is_ready, int tap_fd, int priority, pid_t *);
void guard_stop(pid_t);

#endif /* guard.h */
