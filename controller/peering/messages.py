"""What controllers tell each other, as data and as binary frames. Pure.

A frame: length of all that follows (4 bytes), version, kind (1 each), session id, sequence number (8 each), the body,
and a CRC-32 of all before it; big endian. What the reader cannot make sense of it refuses by FrameError and by no other
error; it takes time proportional to what it is fed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass
from enum import IntEnum
from itertools import islice

from controller.clocks.clock import Clock, Source
from controller.domain.lifecycle import State
from controller.domain.reports import EndReport, Excess, Role, Summary

VERSION = 3
FRAME_BYTES_MAX = 1 << 16
NAME_BYTES_MAX = 255
WHY_BYTES_MAX = 500
ENDS_PER_FRAME = 60
REPORTS_PER_FRAME = 150

_LENGTH = struct.Struct(">I")
_HEADER = struct.Struct(">BBQQ")
_CHECK = struct.Struct(">I")
_LEAST_BYTES = _HEADER.size + _CHECK.size
_HELLO = struct.Struct(">Q")
_BEAT = struct.Struct(">Q?")
_PART = struct.Struct(">HHH")
_COUNT = struct.Struct(">H")
_END = struct.Struct(">BBqqQ11qQ")
_DISTRIBUTION = struct.Struct(">7q")
_REPORT = struct.Struct(">QQqqQQQQ")
_CLOCK = struct.Struct(">Bq")

_ROLES = tuple(Role)
_STATES = tuple(State)
_SOURCES = tuple(Source)
_COUNTS = ("packets", "bytes", "missed", "within_clock_error", "unjudged", "bypassed")
_EXCESS = tuple(Excess.model_fields)
_QUANTILES = tuple(name for name in Summary.model_fields if name != "count")


class FrameError(Exception):
    """What came is no frame of ours, or says what cannot be. The text completes "the controller of NAME"."""


class Kind(IntEnum):
    HELLO = 1
    BEAT = 2
    ENDS = 3
    MISSES = 4
    CLOCK = 5


@dataclass(frozen=True)
class Hello:
    """The first message each way. `host` is the same for all controllers of one machine, since it was started."""

    domain: str
    session_id: int
    host: str = ""


@dataclass(frozen=True)
class Beat:
    """A sign of life, sent at `at_ns` of the sender's clock; or the answer, which says the same time."""

    at_ns: int
    is_answer: bool = False


@dataclass(frozen=True)
class Ends:
    """Ends of shared channels by the channel's name: `part` (from 0) of the `parts` that are all of them.

    Where `parts` is 0 they are those that have changed.
    """

    ends: Mapping[str, EndReport]
    part: int = 0
    parts: int = 0


@dataclass(frozen=True)
class MissReport:
    """Of the packets that a channel delivered in the last `window_ns`, those that came after their deadline.

    `worst_ns` and `mean_ns` are their tardiness. `total_misses` counts since the shim's state began: it is right
    whatever reports were lost. The first of them came at `first_at_ns` of the listener's wall clock, which is right
    within `clock_error_ns`.
    """

    channel: str
    misses: int
    packets: int
    worst_ns: int
    mean_ns: int
    window_ns: int
    total_misses: int
    clock_error_ns: int
    first_at_ns: int


@dataclass(frozen=True)
class Misses:
    """Miss reports, at most one for each channel."""

    reports: tuple[MissReport, ...]


@dataclass(frozen=True)
class ClockState:
    """How the wall clock of the sender's machine is."""

    clock: Clock


Message = Hello | Beat | Ends | Misses | ClockState


@dataclass(frozen=True)
class Frame:
    """A message with its place: `session_id` is the receiver's own (in a Hello the sender's)."""

    session_id: int
    sequence: int
    message: Message


def all_ends(ends: Mapping[str, EndReport]) -> Iterator[Ends]:
    """All of `ends`, in parts that fit into frames; one part if there are none."""
    parts = max(-(-len(ends) // ENDS_PER_FRAME), 1)
    items = iter(ends.items())
    for part in range(parts):
        yield Ends(dict(islice(items, ENDS_PER_FRAME)), part, parts)


def changed_ends(ends: Mapping[str, EndReport]) -> Iterator[Ends]:
    """The same for those that have changed."""
    for part in all_ends(ends):
        yield Ends(part.ends)


def encode(frame: Frame) -> bytes:
    """`frame` as bytes. Its names have at most NAME_BYTES_MAX bytes; a longer `why` is cut off."""
    kind, body = _body(frame.message)
    content = _HEADER.pack(VERSION, kind, frame.session_id, frame.sequence) + body
    counted = _LENGTH.pack(len(content) + _CHECK.size) + content
    return counted + _CHECK.pack(zlib.crc32(counted))


class FrameReader:
    """Makes frames of a stream of bytes. Of no more use once it has raised FrameError."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes. Raises FrameError."""
        self._data += data
        frames, at = [], 0
        while (length := self._length(at)) is not None and len(self._data) - at >= _LENGTH.size + length:
            end = at + _LENGTH.size + length
            frames.append(_decode(bytes(self._data[at:end])))
            at = end
        del self._data[:at]
        return frames

    def _length(self, at: int) -> int | None:
        """Of the frame that begins there, once that is known."""
        if len(self._data) - at < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._data, at)
        if not _LEAST_BYTES <= length <= FRAME_BYTES_MAX:
            raise FrameError(f"sent a frame of {length} bytes")
        return int(length)


def _decode(data: bytes) -> Frame:
    version, kind, session_id, sequence = _HEADER.unpack_from(data, _LENGTH.size)
    if version != VERSION:
        raise FrameError(f"speaks version {version} of the protocol, and this one {VERSION}")
    if _CHECK.unpack_from(data, len(data) - _CHECK.size) != (zlib.crc32(data[: -_CHECK.size]),):
        raise FrameError("sent a frame that was damaged")
    if kind not in _READERS:
        raise FrameError(f"sent a frame of the unknown kind {kind}")
    body = _Body(data[_LENGTH.size + _HEADER.size : -_CHECK.size])
    message = _READERS[kind](body)
    body.end()
    return Frame(session_id, sequence, message)


class _Body:
    """Reads a body from its start. Raises FrameError for what is not there."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, form: struct.Struct) -> tuple[int, ...]:
        try:
            values = form.unpack_from(self._data, self._at)
        except struct.error:
            raise FrameError("sent a frame that is too short for what it says") from None
        self._at += form.size
        return values

    def text(self, most: int) -> str:
        (size,) = self.take(_COUNT)
        content = self._data[self._at : self._at + size]
        if size > most or len(content) < size:
            raise FrameError("sent a text that is too long")
        self._at += size
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise FrameError("sent a text that is none") from None

    def end(self) -> None:
        if self._at != len(self._data):
            raise FrameError("sent a frame that is too long for what it says")


def _body(message: Message) -> tuple[Kind, bytes]:
    match message:
        case Hello(domain, session_id, host):
            return Kind.HELLO, _HELLO.pack(session_id) + _text(domain) + _text(host)
        case Beat(at_ns, is_answer):
            return Kind.BEAT, _BEAT.pack(at_ns, is_answer)
        case Ends(ends, part, parts):
            head = _PART.pack(part, parts, len(ends))
            return Kind.ENDS, head + b"".join(_text(name) + _end(end) for name, end in ends.items())
        case Misses(reports):
            head = _COUNT.pack(len(reports))
            bodies = (_text(each.channel) + _REPORT.pack(*astuple(each)[1:]) for each in reports)
            return Kind.MISSES, head + b"".join(bodies)
        case ClockState(clock):
            head = _CLOCK.pack(_SOURCES.index(clock.source), _number(clock.error_ns))
            return Kind.CLOCK, head + _text(clock.reference) + _text(_cut(clock.why))


def _number(known: int | None) -> int:
    return -1 if known is None else known


def _known(number: int) -> int | None:
    return None if number == -1 else number


def _cut(why: str) -> str:
    return why.encode()[:WHY_BYTES_MAX].decode(errors="ignore")


def _text(text: str) -> bytes:
    content = text.encode()
    return _COUNT.pack(len(content)) + content


def _end(end: EndReport) -> bytes:
    delay = end.delay
    head = _END.pack(
        *(_ROLES.index(end.role), _STATES.index(end.state), _number(end.version), _number(end.clock_error_ns)),
        end.since_ns,
        *(_number(getattr(end, name)) for name in _COUNTS),
        *(_number(getattr(end.excess, name, None)) for name in _EXCESS),
        delay.count,
    )
    quantiles = (getattr(delay, name) for name in _QUANTILES)
    return head + _text(_cut(end.why)) + (_DISTRIBUTION.pack(*quantiles) if delay.count else b"")


def _read_hello(body: _Body) -> Hello:
    (session_id,) = body.take(_HELLO)
    return Hello(body.text(NAME_BYTES_MAX), session_id, body.text(NAME_BYTES_MAX))


def _read_beat(body: _Body) -> Beat:
    at_ns, is_answer = body.take(_BEAT)
    return Beat(at_ns, bool(is_answer))


def _read_ends(body: _Body) -> Ends:
    part, parts, count = body.take(_PART)
    if count > ENDS_PER_FRAME or (parts and part >= parts):
        raise FrameError("sent ends that cannot be")
    return Ends({body.text(NAME_BYTES_MAX): _read_end(body) for _ in range(count)}, part, parts)


def _read_end(body: _Body) -> EndReport:
    role, state, version, clock_error_ns, since_ns, *numbers, count = body.take(_END)
    if role >= len(_ROLES) or state >= len(_STATES) or min(version, clock_error_ns, *numbers) < -1:
        raise FrameError("sent an end that cannot be")
    why = body.text(WHY_BYTES_MAX)
    quantiles = dict(zip(_QUANTILES, body.take(_DISTRIBUTION), strict=True)) if count else {}
    excess = numbers[len(_COUNTS) :]
    return EndReport(
        role=_ROLES[role],
        state=_STATES[state],
        why=why,
        version=_known(version),
        since_ns=since_ns,
        **dict(zip(_COUNTS, map(_known, numbers), strict=False)),
        clock_error_ns=_known(clock_error_ns),
        excess=None if -1 in excess else Excess(**dict(zip(_EXCESS, excess, strict=True))),
        delay=Summary(count=count, **quantiles),
    )


def _read_misses(body: _Body) -> Misses:
    (count,) = body.take(_COUNT)
    if count > REPORTS_PER_FRAME:
        raise FrameError("sent more miss reports than fit")
    return Misses(tuple(MissReport(body.text(NAME_BYTES_MAX), *body.take(_REPORT)) for _ in range(count)))


def _read_clock(body: _Body) -> ClockState:
    source, error_ns = body.take(_CLOCK)
    if source >= len(_SOURCES) or error_ns < -1:
        raise FrameError("sent a clock that cannot be")
    return ClockState(Clock(_SOURCES[source], _known(error_ns), body.text(NAME_BYTES_MAX), body.text(WHY_BYTES_MAX)))


_READERS: Mapping[int, Callable[[_Body], Message]] = {
    Kind.HELLO: _read_hello,
    Kind.BEAT: _read_beat,
    Kind.ENDS: _read_ends,
    Kind.MISSES: _read_misses,
    Kind.CLOCK: _read_clock,
}
