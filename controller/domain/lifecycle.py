"""The life of an installation: entries that one bridge is to have, from waiting to confirmed.

Pure. The states and what may happen in each are the table TRANSITIONS; what is not in it is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from controller.openflow.pipeline import Entry


class State(StrEnum):
    """Where an installation, or the channel that it is a half of, stands."""

    WAITING = "waiting"
    INSTALLING = "installing"
    INSTALLED = "installed"
    REFUSED = "refused"
    OFF = "off"
    """Nothing is to be installed: an uplink of the channel is first in, first out."""
    DEGRADED = "degraded"
    """Installed, but what orders packets at this end's uplink does not: the shim does not answer, so that packets go
    past it, without EDF; or without one, the queue of the class is not proved."""


class Step(StrEnum):
    """What can happen to an installation."""

    FOUND = "found"
    """The switch has all of its entries already."""
    SENT = "sent"
    """Its entries are on their way to the switch."""
    CONFIRMED = "confirmed"
    """The switch has answered the barrier behind them."""
    REFUSED = "refused"
    """The switch has answered one of them with an error, or not at all."""
    LOST = "lost"
    """The switch is gone, or the entries are gone from it."""
    RETRIED = "retried"
    """A refusal is old enough to try again."""


TRANSITIONS: Mapping[tuple[State, Step], State] = {
    (State.WAITING, Step.FOUND): State.INSTALLED,
    (State.WAITING, Step.SENT): State.INSTALLING,
    (State.WAITING, Step.LOST): State.WAITING,
    (State.INSTALLING, Step.CONFIRMED): State.INSTALLED,
    (State.INSTALLING, Step.REFUSED): State.REFUSED,
    (State.INSTALLING, Step.LOST): State.WAITING,
    (State.INSTALLED, Step.LOST): State.WAITING,
    (State.REFUSED, Step.LOST): State.WAITING,
    (State.REFUSED, Step.RETRIED): State.WAITING,
}


def standing(state: State, why: str) -> str:
    """`state` in words, with the reason if there is one."""
    return f"{state}: {why}" if why else str(state)


class ImpossibleStepError(RuntimeError):
    """A step that the table does not allow: a mistake in this program."""


@dataclass
class Installation:
    """`entries` on `bridge`. `why` explains a state other than installed; `since_ns` is when the state began."""

    bridge: str
    entries: tuple[Entry, ...]
    state: State = field(default=State.WAITING, init=False)
    why: str = field(default="", init=False)
    since_ns: int = field(default=0, init=False)

    def take(self, step: Step, now_ns: int, why: str = "") -> None:
        """Go where the table leads. Raises ImpossibleStepError."""
        state = TRANSITIONS.get((self.state, step))
        if state is None:
            raise ImpossibleStepError(f"an installation on {self.bridge} that is {self.state} cannot be {step}")
        self.state, self.why, self.since_ns = state, why, now_ns
