"""Until when guests' channels last. Pure.

Leases are this controller's alone. One that begins anew finds the channels in the store, and gives each the longest
lease: whoever lives renews it meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from controller.model import Channel
from controller.units import NS_PER_S

LEASE_MAX_S = 3600
SETTLING_NS = 5 * NS_PER_S
"""So long a channel may take from the store to the domain."""

RETRY_NS = 2 * NS_PER_S


class Stage(Enum):
    """Of a lease: it goes on; the store is told of its end; the channel is gone, and the domain may not know it yet."""

    LASTING = 1
    ENDING = 2
    OVER = 3


@dataclass
class Lease:
    """Of a channel that `vm` has opened: it ends at `until_ns`. Begun, or over, since `since_ns`."""

    vm: str
    since_ns: int
    until_ns: int
    stage: Stage = Stage.LASTING


class Leases:
    """Of channels, by label."""

    def __init__(self) -> None:
        self._leases: dict[int, Lease] = {}

    def begin(self, vm: str, label: int, lease_s: int, now_ns: int) -> None:
        """`vm` has opened the channel `label`, or asked for it again."""
        self._leases[label] = Lease(vm, now_ns, now_ns + lease_s * NS_PER_S)

    def renew(self, label: int, lease_s: int, now_ns: int) -> None:
        self._leases[label].until_ns = now_ns + lease_s * NS_PER_S

    def end(self, vm: str, label: int, now_ns: int) -> None:
        """The channel of `vm` is gone from the store; the label may be another's already."""
        lease = self._leases.get(label)
        if lease is None or lease.vm == vm:
            self._leases[label] = Lease(vm, now_ns, now_ns, Stage.OVER)

    def retry(self, vm: str, label: int, now_ns: int) -> None:
        """The store did not take the end of it: it is to be told again after a while."""
        lease = self._leases.get(label)
        if lease is not None and lease.vm == vm and lease.stage is Stage.ENDING:
            lease.stage, lease.until_ns = Stage.LASTING, now_ns + RETRY_NS

    def is_of(self, vm: str, label: int) -> bool:
        """Whether `vm` has opened the channel, and its lease goes on."""
        lease = self._leases.get(label)
        return lease is not None and lease.vm == vm and lease.stage is Stage.LASTING

    def left_s(self, label: int, now_ns: int) -> int:
        """Begun seconds; 0 for a channel without a lease."""
        lease = self._leases.get(label)
        return max(1, -(-(lease.until_ns - now_ns) // NS_PER_S)) if lease else 0

    def follow_one(self, label: int, channel: Channel, now_ns: int) -> None:
        """The domain knows that a guest has opened this one."""
        if label not in self._leases:
            self.begin(channel.talker, label, LEASE_MAX_S, now_ns)

    def follow(self, opened: Mapping[int, Channel], now_ns: int) -> None:
        """The domain knows that guests have `opened` these: those without a lease get one, others have gone."""
        for label, channel in opened.items():
            self.follow_one(label, channel, now_ns)
        settled = {label for label, lease in self._leases.items()
                   if lease.stage is not Stage.ENDING and now_ns - lease.since_ns >= SETTLING_NS}  # fmt: skip
        for label in settled - opened.keys():
            del self._leases[label]

    def take_ended(self, vms: Collection[str], now_ns: int) -> Iterator[tuple[str, int]]:
        """VM and label of channels of `vms` whose leases have ended; each once, until `retry`."""
        for label, lease in self._leases.items():
            if lease.vm in vms and now_ns >= lease.until_ns and lease.stage is Stage.LASTING:
                lease.stage = Stage.ENDING
                yield lease.vm, label
