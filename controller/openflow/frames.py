"""Looks through one OpenFlow 1.3 message of a switch before os-ken's parser does.

Hazard: that parser steps through a message by the lengths that it finds there, and a length of 0 keeps it for ever.
Guarantee: in what passes here every structure that the parser steps over has the size that it will step by, and lies
whole inside the one around it; so the parser ends, in at most some 20 ms. Pure; any thread.

What is read has a layout below. What a switch may say but nobody here reads never reaches the parser; groups and meters
of other controllers are cut out of the lists that they are in.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import IntEnum

HEADER_BYTES = 8
VERSION = 4
HELLO_BYTES_MAX = 256
"""Version bitmaps have 8 bytes; the parser would look at each bit of 64 KiB."""

PACKET_IN_BYTES_MAX = 2048
"""More than our flows hand up."""


class Kind(IntEnum):
    """The messages that a switch may send to a controller."""

    HELLO = 0
    ERROR = 1
    ECHO_REQUEST = 2
    ECHO_REPLY = 3
    EXPERIMENTER = 4
    FEATURES_REPLY = 6
    GET_CONFIG_REPLY = 8
    PACKET_IN = 10
    FLOW_REMOVED = 11
    PORT_STATUS = 12
    MULTIPART_REPLY = 19
    BARRIER_REPLY = 21
    QUEUE_GET_CONFIG_REPLY = 23
    ROLE_REPLY = 25
    GET_ASYNC_REPLY = 27


class Part(IntEnum):
    """What the body of a MULTIPART_REPLY tells of."""

    DESC = 0
    FLOW = 1
    AGGREGATE = 2
    TABLE = 3
    PORT = 4
    QUEUE = 5
    GROUP = 6
    GROUP_DESC = 7
    GROUP_FEATURES = 8
    METER = 9
    METER_CONFIG = 10
    METER_FEATURES = 11
    TABLE_FEATURES = 12
    PORT_DESC = 13
    EXPERIMENTER = 0xFFFF


class BadFrame(ValueError):
    """A message whose lengths contradict each other, or that no switch sends. Its text says where."""


SAID_FIRST = frozenset({Kind.HELLO, Kind.ERROR, Kind.ECHO_REQUEST, Kind.ECHO_REPLY, Kind.FEATURES_REPLY})
"""What is listened to before the switch has told its datapath id."""


class _NotRead(Exception):
    """Something that only other controllers use. `spans` are where it is if the rest can be read without it."""

    def __init__(self, spans: Sequence[tuple[int, int]] = ()) -> None:
        super().__init__()
        self.spans = spans


Layout = Callable[[bytes, int, int], None]
"""Raises BadFrame if what is in the frame from a start to an end is not laid out so."""

_HEADER = struct.Struct("!BBHI")
_U16 = struct.Struct("!H")
_OXM = struct.Struct("!HBB")
_NX_HEADER = struct.Struct("!IH")


def length_of(header: bytes) -> int:
    """How long the message is that begins with `header`, HEADER_BYTES of it. Raises BadFrame."""
    version, kind, length, _ = _HEADER.unpack(header)
    if kind not in iter(Kind):
        raise BadFrame(f"no switch sends messages of type {kind}")
    if version != VERSION and kind != Kind.HELLO:
        raise BadFrame(f"a {Kind(kind).name} of OpenFlow version {version}")
    if length < HEADER_BYTES:
        raise BadFrame(f"a {Kind(kind).name} of {length} bytes")
    return int(length)


def readable(frame: bytes) -> bytes:
    """What the parser is to have of `frame`, one whole message: all, all but other controllers' groups and meters, or
    nothing. Raises BadFrame.
    """
    kind = Kind(frame[1])
    layout = _LAYOUTS.get(kind)
    if layout is None:
        return b""
    try:
        layout(frame, HEADER_BYTES, len(frame))
    except BadFrame as error:
        raise BadFrame(f"{kind.name} of {len(frame)} bytes: {error}") from None
    except _NotRead as found:
        return _without(frame, found.spans) if found.spans else b""
    return frame


def _without(frame: bytes, spans: Sequence[tuple[int, int]]) -> bytes:
    """The message without what is in `spans`, which are in order."""
    rest = bytearray(frame)
    for start, end in reversed(spans):
        del rest[start:end]
    _U16.pack_into(rest, 2, len(rest))
    return bytes(rest)


def _sized(least: int, most: int) -> Layout:
    """Anything of `least` to `most` bytes."""

    def check(_: bytes, start: int, end: int) -> None:
        if not least <= end - start <= most:
            raise BadFrame(f"{end - start} bytes at {start}, where {least} to {most} are possible")

    return check


def _exactly(size: int) -> Layout:
    def check(_: bytes, start: int, end: int) -> None:
        if end - start != size:
            raise BadFrame(f"{end - start} bytes at {start}, where {size} are right")

    return check


def _after(size: int, rest: Layout) -> Layout:
    """`size` bytes, then `rest`."""

    def check(frame: bytes, start: int, end: int) -> None:
        if end - start < size:
            raise BadFrame(f"{end - start} bytes at {start}, where {size} are the least")
        rest(frame, start + size, end)

    return check


def _each(size: int) -> Layout:
    """Structures of `size` bytes, one after the other, to the end."""

    def check(_: bytes, start: int, end: int) -> None:
        if (end - start) % size:
            raise BadFrame(f"{end - start} bytes at {start}, where each structure has {size}")

    return check


def _list(what: str, size: int, length_at: int, inside: Layout) -> Layout:
    """Structures of at least `size` bytes to the end; each tells its length at `length_at` and is laid out `inside`."""

    def check(frame: bytes, start: int, end: int) -> None:
        while start < end:
            length = _U16.unpack_from(frame, start + length_at)[0] if end - start >= size else 0
            if not size <= length <= end - start:
                raise BadFrame(f"{what} at {start} has length {length}, with {end - start} bytes left")
            inside(frame, start, start + length)
            start += length

    return check


def _shared_list(what: str, size: int, length_at: int, inside: Layout) -> Layout:
    """As `_list`, of what other controllers have in the switch too: the rest is read without theirs."""

    def check(frame: bytes, start: int, end: int) -> None:
        others = []

        def note(_: bytes, start: int, end: int) -> None:
            try:
                inside(frame, start, end)
            except _NotRead:
                others.append((start, end))

        _list(what, size, length_at, note)(frame, start, end)
        if others:
            raise _NotRead(others)

    return check


def _by_kind(layouts: Mapping[int, Layout]) -> Layout:
    """The layout for the number in the first two bytes. Another number is something that nobody here reads."""

    def check(frame: bytes, start: int, end: int) -> None:
        layout = layouts.get(_U16.unpack_from(frame, start)[0])
        if layout is None:
            raise _NotRead
        layout(frame, start, end)

    return check


def _fields(frame: bytes, start: int, end: int) -> Iterator[int]:
    """The class and field of each match field from `start` to `end`, as one number."""
    while start < end:
        if end - start < _OXM.size:
            raise BadFrame(f"a match field at {start} is cut short")
        group, field, length = _OXM.unpack_from(frame, start)
        taken = _OXM.size + length
        if not length or taken > end - start:
            raise BadFrame(f"a match field at {start} has length {length}, with {end - start} bytes left")
        if group == _EXPERIMENTER:
            raise _NotRead
        yield group << 7 | field >> 1
        start += taken


def _match(frame: bytes, start: int, end: int) -> int:
    """Where the match at `start` ends, with its padding. Each field may come once: they are slow to parse."""
    length: int = _U16.unpack_from(frame, start + 2)[0]
    padded = start + (length + 7) // 8 * 8
    if length < _OXM.size or padded > end:
        raise BadFrame(f"a match at {start} has length {length}, with {end - start} bytes left")
    seen = set()
    for field in _fields(frame, start + _OXM.size, start + length):
        if field in seen:
            raise BadFrame(f"a match at {start} has field {field} twice")
        seen.add(field)
    return padded


def _set_field(frame: bytes, start: int, end: int) -> None:
    """One match field, padded. The parser steps by the action's length, but reads the field by its own."""
    length = frame[start + 7]
    if (_OXM.size + length + 4 + 7) // 8 * 8 != end - start:
        raise BadFrame(f"an action at {start} sets a field of {length} bytes")
    for _ in _fields(frame, start + 4, start + 4 + _OXM.size + length):
        pass


def _vendor_action(frame: bytes, start: int, end: int) -> None:
    """Of Nicira's actions only what RTvNIC itself installs: the parser has loops for some of the others."""
    if end - start != _NX_RESUBMIT_BYTES or _NX_HEADER.unpack_from(frame, start + 4) != (_NICIRA, _NX_RESUBMIT_TABLE):
        raise _NotRead


def _flow(frame: bytes, start: int, end: int) -> None:
    _instructions(frame, _match(frame, start + _FLOW_BYTES, end), end)


def _bundle(frame: bytes, start: int, end: int) -> None:
    """A reply to a bundle's control message; no property is defined for it. Other vendors' messages are not read."""
    if end - start < len(_BUNDLE_CONTROL):
        raise BadFrame(f"{end - start} bytes, where {len(_BUNDLE_CONTROL)} are the least")
    if frame[start : start + len(_BUNDLE_CONTROL)] != _BUNDLE_CONTROL:
        raise _NotRead
    _exactly(16)(frame, start, end)


def _hello(frame: bytes, start: int, end: int) -> None:
    _sized(0, HELLO_BYTES_MAX)(frame, start, end)
    _elements(frame, start, end)


def _packet_in(frame: bytes, start: int, end: int) -> None:
    """A match after what says where from, two bytes of padding, and the packet."""
    if end - start < _PACKET_IN_BYTES + _EMPTY_MATCH_BYTES:
        raise BadFrame(f"{end - start} bytes, where {_PACKET_IN_BYTES + _EMPTY_MATCH_BYTES} are the least")
    packet = _match(frame, start + _PACKET_IN_BYTES, end) + 2
    _sized(0, 1 << 16)(frame, packet, end)
    if end - packet > PACKET_IN_BYTES_MAX:
        raise _NotRead


def _error(frame: bytes, start: int, end: int) -> None:
    least = 8 if end - start >= 2 and _U16.unpack_from(frame, start)[0] == _EXPERIMENTER else 4
    _sized(least, 1 << 16)(frame, start, end)


def _multipart(frame: bytes, start: int, end: int) -> None:
    if end - start < 8:
        raise BadFrame("its multipart header is cut short")
    number = _U16.unpack_from(frame, start)[0]
    if number not in iter(Part):
        raise BadFrame(f"no multipart reply has type {number}")
    layout = _PARTS.get(Part(number))
    if layout is None:
        raise _NotRead
    try:
        layout(frame, start + 8, end)
    except BadFrame as error:
        raise BadFrame(f"{Part(number).name}: {error}") from None


_EXPERIMENTER = 0xFFFF
_NICIRA, _NX_RESUBMIT_TABLE, _NX_RESUBMIT_BYTES = 0x2320, 14, 16
_BUNDLE_CONTROL = bytes.fromhex("4f4e4600000008fc")
_FLOW_BYTES, _PACKET_IN_BYTES, _EMPTY_MATCH_BYTES = 48, 16, 8

_elements = _list("an element", 4, 2, _sized(4, HELLO_BYTES_MAX))

_SHORT_ACTIONS = (11, 12, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 26, 27)
"""From COPY_TTL_OUT to POP_PBB: of 8 bytes each."""

_ACTIONS_OF_GROUPS = {
    0: _exactly(16),
    **dict.fromkeys(_SHORT_ACTIONS, _exactly(8)),
    _EXPERIMENTER: _vendor_action,
}
"""Groups of ours set no field, and os-ken does not know all fields of those that do."""

_actions = _list("an action", 8, 2, _by_kind({**_ACTIONS_OF_GROUPS, 25: _set_field}))
_action_list = _after(8, _actions)
_instructions = _list(
    "an instruction", 8, 2,
    _by_kind({
        1: _exactly(8),  # GOTO_TABLE
        2: _exactly(24),  # WRITE_METADATA
        **dict.fromkeys((3, 4, 5), _action_list),
        6: _exactly(8),  # METER
    }),
)  # fmt: skip
_bucket = _after(16, _list("an action", 8, 2, _by_kind(_ACTIONS_OF_GROUPS)))
_bands = _list("a meter band", 16, 2, _by_kind(dict.fromkeys((1, 2), _exactly(16))))

_PARTS: Mapping[Part, Layout] = {
    Part.DESC: _exactly(1056),
    Part.FLOW: _list("a flow", _FLOW_BYTES + _EMPTY_MATCH_BYTES, 0, _flow),
    Part.AGGREGATE: _exactly(24),
    Part.TABLE: _each(24),
    Part.PORT: _each(112),
    Part.QUEUE: _each(40),
    Part.GROUP: _list("a group", 40, 0, _after(40, _each(16))),
    Part.GROUP_DESC: _shared_list("a group", 8, 0, _after(8, _list("a bucket", 16, 0, _bucket))),
    Part.GROUP_FEATURES: _exactly(40),
    Part.METER: _list("a meter", 40, 4, _after(40, _each(16))),
    Part.METER_CONFIG: _shared_list("a meter", 8, 0, _after(8, _bands)),
    Part.METER_FEATURES: _exactly(16),
    Part.PORT_DESC: _each(64),
}

_LAYOUTS: Mapping[Kind, Layout] = {
    Kind.HELLO: _hello,
    Kind.ERROR: _error,
    Kind.ECHO_REQUEST: _sized(0, 1 << 16),
    Kind.ECHO_REPLY: _sized(0, 1 << 16),
    Kind.EXPERIMENTER: _bundle,
    Kind.FEATURES_REPLY: _exactly(24),
    Kind.PACKET_IN: _packet_in,
    Kind.PORT_STATUS: _exactly(72),
    Kind.MULTIPART_REPLY: _multipart,
    Kind.BARRIER_REPLY: _exactly(0),
}
