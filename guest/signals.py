"""Call-ups as real-time signals, which queue: the paper's way to tell an application that it was late.

The signal's value has 64 bits: the channel id (20 bits) above the worst lateness in nanoseconds (44 bits). In C that is
`info->si_value.sival_ptr` with the macros of `rtvnic_guest.h`. Python itself does not show it to a handler; there
a callback says more.
"""

from __future__ import annotations

import ctypes
import signal

from guest.errors import Invalid
from guest.messages import Missed

LATENESS_BITS = 44


def real_time_signal(number: int) -> int:
    """`number`, if this system can queue it with a value of 64 bits. Raises Invalid."""
    if not signal.SIGRTMIN <= number <= signal.SIGRTMAX:
        raise Invalid(f"signal {number} does not queue; take one of {signal.SIGRTMIN:d} to {signal.SIGRTMAX:d}")
    if ctypes.sizeof(ctypes.c_void_p) < 8:
        raise Invalid("a signal's value has 32 bits on this system, too few for a call-up; take a callback")
    return number


def value_of(missed: Missed) -> int:
    """The signal's value that says `missed`."""
    return missed.channel_id << LATENESS_BITS | min(missed.worst_ns, (1 << LATENESS_BITS) - 1)


def send(pid: int, number: int, missed: Missed) -> None:
    """Queue the signal for process `pid`. One that is gone, or whose queue is full, is not told."""
    ctypes.CDLL(None).sigqueue(ctypes.c_int(pid), ctypes.c_int(number), ctypes.c_void_p(value_of(missed)))
