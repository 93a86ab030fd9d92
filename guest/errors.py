"""Every error that a guest raises on purpose, and the exit code of `rtvnic-guest` that each leads to.

GuestError                  base: one message for a person, no traceback
├── AnswerIsNo     exit 1   the question was understood; the answer is no
│   ├── Invalid             what is asked for is no channel
│   ├── Refused             the network cannot keep it; carries what it could
│   ├── OverQuota           more than this VM may have
│   ├── UnknownChannel      this VM has no such channel; its lease may have ended
│   ├── Conflict            somebody else has a channel for these packets
│   └── NotInstalled        accepted, but not installed in time
├── CannotAsk      exit 2   nothing is known of the answer
│   ├── NoService           nobody answers
│   └── Busy                the controller has too much to do
└── CannotRun      exit 2   the program that the channel is for does not start
"""

from __future__ import annotations


class GuestError(Exception):
    """Base of all errors meant for a person. `str(error)` is the whole message, one line."""

    exit_code = 2


class AnswerIsNo(GuestError):
    """The request was understood, and is not granted."""

    exit_code = 1


class Invalid(AnswerIsNo):
    """What is asked for is no channel: a value that is none, or a rule of all channels that it breaks."""


class Refused(AnswerIsNo):
    """Admission says no. What it would accept, each with the rest as asked; None: nothing."""

    def __init__(self, reason: str, smallest_deadline_ns: int | None, largest_rate_bps: int | None) -> None:
        super().__init__(reason)
        self.smallest_deadline_ns = smallest_deadline_ns
        self.largest_rate_bps = largest_rate_bps


class OverQuota(AnswerIsNo):
    """More channels, or more of the link, than the topology file lets this VM have."""


class UnknownChannel(AnswerIsNo):
    """No channel of this VM has the id; its lease may have ended."""


class Conflict(AnswerIsNo):
    """Somebody else, a file or REST, has a channel for these packets."""


class NotInstalled(AnswerIsNo):
    """The channel was accepted, but the network did not get it ready in time. One that was opened is closed again."""


class CannotAsk(GuestError):
    """Nothing is known of the answer. What was asked for may have been done."""


class NoService(CannotAsk):
    """Nobody answers."""


class Busy(CannotAsk):
    """The controller answers that it has too much to do."""


class CannotRun(GuestError):
    """The program that the channel is for does not start."""
