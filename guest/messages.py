"""The datagrams between a guest and its hypervisor's controller: fixed layouts, big-endian. Pure.

A guest sends a request by UDP to the service address, which Open vSwitch hands to the controller of its hypervisor. The
answer comes back from there, and later the call-ups that the guest has subscribed to. Datagrams may be lost: a guest
asks again with the same nonce, and what is asked twice is done once. Every datagram repeats the guest's random nonce,
so that nobody who did not see the request can forge what follows from it.

`rtvnic_guest.h` is the same for C; a test holds the two equal.
"""

from __future__ import annotations

import struct
from dataclasses import astuple, dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Any, ClassVar

SERVICE_IPV4 = IPv4Address("169.254.82.86")
SERVICE_IPV6 = IPv6Address("fe80::5256")
SERVICE_PORT = 1021
"""A port for experiments (RFC 4727), and addresses that no router forwards (RFC 3927, RFC 4291)."""

VERSION = 1
DATAGRAM_MAX = 1232
"""Fits whole into the least IPv6 MTU."""

REASON_MAX = 1024
CHANNELS_MAX = 16
"""Of one Listed: a guest asks for the next ones from there."""

_MAGIC = b"RTVG"
_HEADER = struct.Struct("!4sBBHQ")

IpAddress = IPv4Address | IPv6Address


class Kind(IntEnum):
    """What a datagram is."""

    OPEN = 1
    RENEW = 2
    CHANGE = 3
    CLOSE = 4
    LIST = 5
    SUBSCRIBE = 6
    ANSWER = 129
    LISTED = 133
    MISSED = 134


class Status(IntEnum):
    """How a request ended."""

    DONE = 0
    INVALID = 1
    REFUSED = 2
    """By admission: the answer says what would be accepted."""
    OVER_QUOTA = 3
    UNKNOWN = 4
    """No such channel of this guest; its lease may have ended."""
    CONFLICT = 5
    """Somebody else has a channel for these packets."""
    BUSY = 6
    """Ask again later."""


class State(IntEnum):
    """Of a channel as its talker's controller sees it. Its guarantee holds while it is installed."""

    WAITING = 0
    INSTALLING = 1
    INSTALLED = 2
    DEGRADED = 3
    REFUSED = 4


class BadMessage(ValueError):
    """A datagram that is not one of ours. Its text says why."""


@dataclass(frozen=True)
class Message:
    """Base of all: `layout` of the body's fields in their order, after the header with `kind`, status and nonce."""

    kind: ClassVar[Kind]
    layout: ClassVar[struct.Struct]

    def body(self) -> bytes:
        return self.layout.pack(*map(_packed, astuple(self)))

    @classmethod
    def read(cls, body: bytes) -> Message:
        """Raises BadMessage."""
        if len(body) != cls.layout.size:
            raise BadMessage(f"a {cls.__name__} has {cls.layout.size} bytes after its header, not {len(body)}")
        return cls(*map(_unpacked, cls.layout.unpack(body)))


@dataclass(frozen=True)
class Open(Message):
    """There is to be a channel to `destination`, with this contract, for `lease_s` from now on.

    0 stands for any protocol (else 6 or 17) and port, and for the default burst and packet size. `source` is an address
    of the guest's own. The same again renews its lease.
    """

    kind = Kind.OPEN
    layout = struct.Struct("!16s16sHHB3xIIQQI")

    destination: IpAddress
    source: IpAddress
    src_port: int
    dst_port: int
    protocol: int
    burst_bytes: int
    packet_bytes: int
    deadline_ns: int
    rate_bps: int
    lease_s: int


@dataclass(frozen=True)
class Renew(Message):
    """The channel is to last for `lease_s` from now on."""

    kind = Kind.RENEW
    layout = struct.Struct("!II")

    channel_id: int
    lease_s: int


@dataclass(frozen=True)
class Change(Message):
    """The channel is to have this contract. What is 0 stays as it is."""

    kind = Kind.CHANGE
    layout = struct.Struct("!IIIQQ")

    channel_id: int
    burst_bytes: int
    packet_bytes: int
    deadline_ns: int
    rate_bps: int


@dataclass(frozen=True)
class Close(Message):
    """There is to be no such channel."""

    kind = Kind.CLOSE
    layout = struct.Struct("!I")

    channel_id: int


@dataclass(frozen=True)
class List(Message):
    """Which channels talk from the guest? Those whose ids come after `after_id`, in their order."""

    kind = Kind.LIST
    layout = struct.Struct("!I")

    after_id: int


@dataclass(frozen=True)
class Subscribe(Message):
    """Tell of misses on the channel, or on all that talk from the guest (0), for `lease_s` from now on.

    Missed comes to the address and port that asked, with the same nonce. A `lease_s` of 0 ends it.
    """

    kind = Kind.SUBSCRIBE
    layout = struct.Struct("!II")

    channel_id: int
    lease_s: int


@dataclass(frozen=True)
class Answer(Message):
    """How a request ended, `reason` in words. `lease_s` is what is left of the channel's lease.

    `deadline_ns` and `rate_bps` are the channel's; where admission has refused it, the smallest deadline and the
    largest rate, each with the rest as asked, that it would accept (0: none). `bound_ns` is what the channel is assured
    of (0: not known yet).
    """

    kind = Kind.ANSWER
    layout = struct.Struct("!HBxIIQQQ")

    status: int
    state: int
    channel_id: int
    lease_s: int
    bound_ns: int
    deadline_ns: int
    rate_bps: int
    reason: str = ""

    def body(self) -> bytes:
        return self.layout.pack(*astuple(self)[:-1]) + _cut(self.reason)

    @classmethod
    def read(cls, body: bytes) -> Answer:
        size = cls.layout.size
        if not size <= len(body) <= size + REASON_MAX:
            raise BadMessage(f"an Answer has {size} to {size + REASON_MAX} bytes after its header, not {len(body)}")
        return cls(*cls.layout.unpack(body[:size]), body[size:].decode("utf-8", "replace"))  # type: ignore[call-arg]


@dataclass(frozen=True)
class ListedChannel:
    """A channel that talks from the guest. One that the guest did not open has no lease (0)."""

    layout: ClassVar[struct.Struct] = struct.Struct("!IIB3x16s16sHHB3xQQI")

    channel_id: int
    lease_s: int
    state: int
    destination: IpAddress
    source: IpAddress
    src_port: int
    dst_port: int
    protocol: int
    deadline_ns: int
    rate_bps: int
    burst_bytes: int


@dataclass(frozen=True)
class Listed(Message):
    """Channels of the guest, in the order of their ids. The last ones, if there are fewer than CHANNELS_MAX."""

    kind = Kind.LISTED

    channels: tuple[ListedChannel, ...] = ()

    def body(self) -> bytes:
        return b"".join(ListedChannel.layout.pack(*map(_packed, astuple(each))) for each in self.channels)

    @classmethod
    def read(cls, body: bytes) -> Listed:
        if len(body) % ListedChannel.layout.size or len(body) > CHANNELS_MAX * ListedChannel.layout.size:
            raise BadMessage(f"a Listed has up to {CHANNELS_MAX} channels of {ListedChannel.layout.size} bytes")
        return cls(tuple(ListedChannel(*map(_unpacked, row)) for row in ListedChannel.layout.iter_unpack(body)))


@dataclass(frozen=True)
class Missed(Message):
    """Packets of the channel came after their deadline: `misses` of `packets` in the last `window_ns`.

    Later than it by `worst_ns` at most and `mean_ns` on average, with clocks that may differ by `clock_error_ns`.
    `total_misses` counts since the listener's shim began: on where a Missed was lost, anew where the shim begins anew.
    """

    kind = Kind.MISSED
    layout = struct.Struct("!IIQQQQQQ")

    channel_id: int
    misses: int
    packets: int
    total_misses: int
    worst_ns: int
    mean_ns: int
    window_ns: int
    clock_error_ns: int


Request = Open | Renew | Change | Close | List | Subscribe
Reply = Answer | Listed | Missed

_REQUESTS: dict[int, type[Message]] = {each.kind: each for each in (Open, Renew, Change, Close, List, Subscribe)}
_REPLIES: dict[int, type[Message]] = {each.kind: each for each in (Answer, Listed, Missed)}


def encoded(message: Message, nonce: int) -> bytes:
    """The datagram that says `message`; `nonce` has 64 bits."""
    return _HEADER.pack(_MAGIC, VERSION, message.kind, 0, nonce) + message.body()


def decoded_request(datagram: bytes) -> tuple[Request, int]:
    """What a guest asks, and its nonce. Raises BadMessage."""
    return _decoded(datagram, _REQUESTS)  # type: ignore[return-value]


def decoded_reply(datagram: bytes) -> tuple[Reply, int]:
    """What the controller says, and the nonce of the request that it follows from. Raises BadMessage."""
    return _decoded(datagram, _REPLIES)  # type: ignore[return-value]


def _decoded(datagram: bytes, known: dict[int, type[Message]]) -> tuple[Message, int]:
    if not _HEADER.size <= len(datagram) <= DATAGRAM_MAX:
        raise BadMessage(f"it has {len(datagram)} bytes; allowed are {_HEADER.size} to {DATAGRAM_MAX}")
    magic, version, kind, _, nonce = _HEADER.unpack_from(datagram)
    if magic != _MAGIC:
        raise BadMessage(f"it begins with {magic.hex()}, not with {_MAGIC.hex()}")
    if version != VERSION:
        raise BadMessage(f"it has version {version}; this is version {VERSION}")
    if kind not in known:
        raise BadMessage(f"kind {kind} is none of {', '.join(map(str, sorted(known)))}")
    return known[kind].read(datagram[_HEADER.size :]), nonce


def _packed(value: int | IpAddress) -> int | bytes:
    """An address has 16 bytes, one of IPv4 as IPv6 maps it (RFC 4291)."""
    if isinstance(value, IPv4Address):
        return IPv6Address(f"::ffff:{value}").packed
    return value.packed if isinstance(value, IPv6Address) else value


def _unpacked(value: int | bytes) -> Any:
    if isinstance(value, int):
        return value
    address = IPv6Address(value)
    return address.ipv4_mapped or address


def _cut(text: str) -> bytes:
    """UTF-8 of at most REASON_MAX bytes."""
    return text.encode("utf-8", "replace")[:REASON_MAX].decode("utf-8", "ignore").encode()
