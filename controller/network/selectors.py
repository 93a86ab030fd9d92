"""Which packets a channel takes, and where two channels would take the same.

Pure. Where a packet could belong to two channels, the one that says more about its packets gets it. Only two that say
the same, and a channel by source port beside one by destination port, cannot be told apart by that.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import NamedTuple

from controller.model import Channel, Protocol


class Selector(NamedTuple):
    """The packets from `source` to `destination`, of a protocol and ports where these are given."""

    source: Hashable
    destination: Hashable
    protocol: Protocol | None
    src_port: int | None
    dst_port: int | None


class Clash(NamedTuple):
    """Packets of `name` may be those of `other` too, which comes first: all of them, or some."""

    name: str
    other: str
    are_same: bool

    def __str__(self) -> str:
        if self.are_same:
            return f"selects the same packets as '{self.other}'; tell them apart by protocol, src_port and dst_port"
        return f"a packet may belong to this channel and to '{self.other}'; give both ports in one of the two"


def selector(channel: Channel) -> Selector:
    return Selector(channel.source, channel.destination, channel.protocol, channel.src_port, channel.dst_port)


def clashes(selectors: Iterable[tuple[str, Selector]]) -> Iterator[Clash]:
    """Of channels with these names, those whose packets cannot be told from an earlier one's."""
    alike: dict[Selector, str] = {}
    by_one_port: dict[Hashable, str] = {}
    for name, each in selectors:
        if (first := alike.setdefault(each, name)) != name:
            yield Clash(name, first, are_same=True)
        has_src, has_dst = each.src_port is not None, each.dst_port is not None
        if has_src != has_dst:
            packets = each[:3]
            by_one_port.setdefault((packets, has_src), name)
            if other := by_one_port.get((packets, has_dst)):
                yield Clash(name, other, are_same=False)
