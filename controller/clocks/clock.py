"""How far a machine's wall clock may be off: what chrony and linuxptp say of it, made into a bound. Pure.

A lateness is the difference of two clocks, so it is right within the sum of what both are off. That sum exists only
where both follow the same `reference`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from math import ceil

from controller.network.labels import TICK_NS
from controller.units import NS_PER_S

UNKNOWN_NS = 10 * NS_PER_S
"""Stands for what nobody knows: more than any lateness that a stamp can tell."""

ERROR_MOST_NS = NS_PER_S
"""A clock that may be off by more is not synchronised, whatever its program calls it."""

TRUST_NS = 30 * NS_PER_S
"""So long a clock is held to be as good as it was said to be last."""

READINGS_TO_BELIEVE = 3
PTP_MARGIN_NS = TICK_NS
"""For what pmc does not tell: how well phc2sys has the system's clock follow the card's."""

KERNEL_ERROR_MOST_US = 20_000
"""The kernel adds 500 us a second since somebody has last set its clock right: then that is 40 s ago."""

REFERENCE_MAX = 100
UTC = "UTC"
CHRONY_FIELDS = 14
CHRONY_LOCAL = "7F7F0101"
NUMBER = re.compile(r"[+-]?\d{1,18}(\.\d{1,18})?")


class Source(StrEnum):
    """Who says how far the clock may be off."""

    SAME_HOST = "same-host"
    """Nobody has to: all controllers concerned are on this machine."""
    CHRONY = "chrony"
    PTP = "ptp"
    NONE = "none"


@dataclass(frozen=True)
class Clock:
    """A clock that is within `error_ns` of `reference`; None: nobody knows, and `why` completes "the clock of NAME".

    `is_silent`: not that it is bad is known, but that nothing was heard.
    """

    source: Source = Source.NONE
    error_ns: int | None = None
    reference: str = ""
    why: str = ""
    is_silent: bool = False


SAME_HOST = Clock(Source.SAME_HOST, error_ns=0)
NOT_READ = Clock(why="was not looked at yet", is_silent=True)


def as_number_ns(known_ns: int | None) -> int:
    """For those who need a number."""
    return UNKNOWN_NS if known_ns is None else known_ns


def difference_ns(one: Clock, other: Clock) -> int | None:
    """How far two clocks of different machines are apart at most; None if that is not known."""
    if one.error_ns is None or other.error_ns is None or one.reference != other.reference:
        return None
    both_ns = one.error_ns + other.error_ns
    return both_ns if both_ns < UNKNOWN_NS else None


def chrony_clock(tracking: str) -> Clock:
    """By what `chronyc -c tracking` prints. The bound is chrony's own: offset, half the root delay, dispersion."""
    fields = tracking.strip().split(",")
    if len(fields) != CHRONY_FIELDS:
        return Clock(Source.CHRONY, why="is chrony's, which does not answer", is_silent=True)
    if fields[0] == CHRONY_LOCAL:
        return Clock(Source.CHRONY, why="follows nothing: chrony has no source but the clock itself (`local`)")
    if fields[-1] == "Not synchronised":
        return Clock(Source.CHRONY, why="is not synchronised: chrony has no source yet, or has lost it")
    try:
        offset, root_delay, root_dispersion = (_number(fields[place]) for place in (4, 10, 11))
    except ValueError:
        return Clock(Source.CHRONY, why="is chrony's, which answers badly", is_silent=True)
    return _within(Source.CHRONY, (abs(offset) + root_delay / 2 + root_dispersion) * NS_PER_S, UTC)


def ptp_clock(answer: str, kernel_error_us: int | None) -> Clock:
    """By what `pmc` prints of TIME_STATUS_NP, CURRENT_DATA_SET and PORT_DATA_SET.

    A slave is off by its offset and, where the way to the master and back differ as much as they can, the path delay.
    A grandmaster is its own reference. `kernel_error_us` is the kernel's estimate; None: it calls its clock
    unsynchronised.
    """
    fields, states = _pmc_fields(answer)
    if not fields:
        return Clock(Source.PTP, why="is ptp4l's, which does not answer", is_silent=True)
    try:
        grandmaster, is_slave = fields["gmIdentity"][:REFERENCE_MAX], fields["gmPresent"] == "true"
        offset_ns = abs(_number(fields["master_offset"])) + abs(_number(fields["meanPathDelay"]))
    except (KeyError, ValueError):
        return Clock(Source.PTP, why="is ptp4l's, which answers badly", is_silent=True)
    if not is_slave and set(states) == {"MASTER"}:
        return _within(Source.PTP, Decimal(PTP_MARGIN_NS), grandmaster)
    if "SLAVE" not in states:
        return Clock(Source.PTP, why=f"is not synchronised: ports of ptp4l are {', '.join(sorted(set(states)))[:100]}")
    if kernel_error_us is None or kernel_error_us > KERNEL_ERROR_MOST_US:
        return Clock(Source.PTP, why="does not follow the network card's: does phc2sys run?")
    return _within(Source.PTP, offset_ns + PTP_MARGIN_NS, grandmaster)


def _pmc_fields(answer: str) -> tuple[Mapping[str, str], Sequence[str]]:
    """The values by name, and the states of the ports."""
    found = re.findall(r"^[ \t]+(\w+)[ \t]+(\S+)[ \t]*$", answer, re.MULTILINE)
    return dict(found), [value for name, value in found if name == "portState"]


def _number(text: str) -> Decimal:
    """Raises ValueError for what is none of a reasonable length."""
    if not NUMBER.fullmatch(text):
        raise ValueError
    return Decimal(text)


def _within(source: Source, error_ns: Decimal, reference: str) -> Clock:
    if error_ns > ERROR_MOST_NS:
        return Clock(source, why=f"is not synchronised: {source} says that it may be off by more than a second")
    return Clock(source, ceil(error_ns), reference)


def chosen(chrony: Clock | None, ptp: Clock | None) -> Clock:
    """Of those programs that this machine has (None: it has not), the one that says most of its clock.

    If both do, PTP: who follows a grandmaster can be compared with it only by what both follow.
    """
    there = [clock for clock in (ptp, chrony) if clock is not None]
    return min(
        there,
        key=lambda clock: (clock.error_ns is None, clock.is_silent),
        default=Clock(why="is not synchronised: this machine has neither chrony nor linuxptp"),
    )


class SteadyClock:
    """From readings of a clock, what is gone by: it is never better than the last reading, and changes seldom.

    A bad word counts at once. A good one counts after a bad one when it was heard READINGS_TO_BELIEVE times in a row.
    Silence counts after TRUST_NS.
    """

    def __init__(self) -> None:
        self.clock = NOT_READ
        self._good = READINGS_TO_BELIEVE
        self._heard_ns = 0

    def take(self, found: Clock, now_ns: int) -> None:
        """Note what was read at `now_ns`."""
        if found.is_silent:
            if self.clock.error_ns is None or now_ns - self._heard_ns > TRUST_NS:
                self._distrust(found)
            return
        self._heard_ns = now_ns
        if found.error_ns is None:
            self._distrust(found)
            return
        self._good += 1
        if self._good >= READINGS_TO_BELIEVE:
            self.clock = replace(found, error_ns=self._bound_ns(found, found.error_ns))

    def _distrust(self, found: Clock) -> None:
        self.clock, self._good = found, 0

    def _bound_ns(self, found: Clock, error_ns: int) -> int:
        """The former bound as long as it holds and is no more than twice what is needed."""
        former_ns = self.clock.error_ns
        is_same = (found.source, found.reference) == (self.clock.source, self.clock.reference)
        if is_same and former_ns is not None and error_ns <= former_ns <= 2 * error_ns:
            return former_ns
        return -(-error_ns * 5 // (4 * TICK_NS)) * TICK_NS
