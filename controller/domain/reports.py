"""What one controller tells another of its end of a channel, and what both make of it together. Pure.

Counts are packets and bytes since the switch or the shim started; durations are ns.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from controller.domain.lifecycle import State


class Role(StrEnum):
    """Which end of a channel."""

    TALKER = "talker"
    LISTENER = "listener"


class Model(BaseModel):
    """Base of all that REST says: immutable, and with a schema in which every field is there."""

    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)


class Summary(Model):
    """A distribution in ns. All but `count` are null where nothing was counted."""

    count: int = 0
    min: int | None = None
    mean: int | None = None
    p50: int | None = None
    p90: int | None = None
    p99: int | None = None
    p999: int | None = None
    max: int | None = None


class Excess(Model):
    """Packets for which the contract, the time, or the room was not enough. All zero when all is well.

    `postponed`: due later, for they were more than the contract allows. `excess_dropped`: far more than that, or
    beyond the meter of a channel that wants it so. `demoted`: given way to others, for they could no longer be on time.
    `late_dropped`: dropped for the same reason. `queue_full`: dropped, for more of the channel waited than the shim had
    room left.
    """

    postponed: int = 0
    excess_dropped: int = 0
    demoted: int = 0
    late_dropped: int = 0
    queue_full: int = 0


class EndReport(Model):
    """One end of a channel.

    `since_ns` is when the state began, on the wall clock. `packets` and `bytes`: what the talker's switch labelled, or
    the listener's delivered. `delay`: the queueing delay at the talker's shim, or the lateness at the listener's
    (negative: early). `missed`, `within_clock_error`, `unjudged` and `bypassed` are the listener's, `excess` is the
    talker's. `clock_error_ns` is how far the clocks of both ends may be apart. `version` is that of the channel, as its
    controller knows it. None: nobody knows, or the shim has not told yet.
    """

    role: Role
    state: State
    why: str = ""
    version: int | None = None
    since_ns: int = 0
    packets: int | None = 0
    bytes: int | None = 0
    missed: int | None = 0
    within_clock_error: int | None = 0
    unjudged: int | None = 0
    bypassed: int | None = 0
    clock_error_ns: int | None = 0
    excess: Excess | None = Excess()
    delay: Summary = Summary()


def unknown_end(role: Role, why: str = "") -> EndReport:
    """An end of which nobody tells."""
    return EndReport(
        role=role,
        state=State.WAITING,
        why=why,
        packets=None,
        bytes=None,
        missed=None,
        within_clock_error=None,
        unjudged=None,
        bypassed=None,
        clock_error_ns=None,
        excess=None,
    )


class EndReports(Model):
    """All ends of channels in one domain, by the channel's name. A channel within a domain has no entry."""

    domain: str
    ends: dict[str, EndReport]
