"""One conversation between two controllers, from the first HELLO to its end; and when to try the next one. Sans-IO.

Bytes and times come in, what was heard and bytes go out. What may come in which phase is the table TRANSITIONS; what is
not in it ends the session. Each frame has the next sequence number of its direction and the session id that its
receiver has chosen, so none is taken twice, out of order, or from another session.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from controller.clocks.clock import Clock
from controller.domain.reports import EndReport
from controller.network.labels import CHANNEL_LABEL_COUNT
from controller.peering.messages import (
    REPORTS_PER_FRAME,
    Beat,
    ClockState,
    Ends,
    Frame,
    FrameError,
    FrameReader,
    Hello,
    Message,
    Misses,
    MissReport,
    encode,
)
from controller.units import NS_PER_MS, NS_PER_S

GREETING_MAX_NS = 5 * NS_PER_S
BEAT_NS = 500 * NS_PER_MS
QUIET_MAX_NS = 3 * NS_PER_S
OUTBOX_MESSAGES_MAX = 1024
REPLIES_MAX = 8
"""Who asks for signs of life and reads none does not fill our memory."""

ENDS_MAX = CHANNEL_LABEL_COUNT
"""There are no more channels."""

FIRST_PAUSE_NS = 100 * NS_PER_MS
PAUSE_MAX_NS = 2 * NS_PER_S


class Phase(StrEnum):
    GREETING = "greeting"
    """Connected, and waiting for the other's HELLO."""
    OPEN = "open"
    CLOSED = "closed"


class Step(StrEnum):
    """What can happen to a session."""

    HELLO = "hello"
    TOLD = "told"
    """Anything else that is said as it should be."""
    FAULT = "fault"
    """Something is said as it should not be, or too late."""


TRANSITIONS: Mapping[tuple[Phase, Step], Phase] = {
    (Phase.GREETING, Step.HELLO): Phase.OPEN,
    (Phase.GREETING, Step.FAULT): Phase.CLOSED,
    (Phase.OPEN, Step.TOLD): Phase.OPEN,
    (Phase.OPEN, Step.FAULT): Phase.CLOSED,
}


@dataclass(frozen=True)
class Joined:
    """When the other side has introduced itself: it is the controller of `domain`, on the machine `host`."""

    domain: str
    host: str


@dataclass(frozen=True)
class HeardEnds:
    """When the other side has told how its ends stand: all that are known of it now."""

    ends: Mapping[str, EndReport]


@dataclass(frozen=True)
class HeardMisses:
    """When the other side has told of misses on channels that it receives."""

    reports: tuple[MissReport, ...]


@dataclass(frozen=True)
class HeardClock:
    """When the other side has told how its machine's wall clock is."""

    clock: Clock


Heard = Joined | HeardEnds | HeardMisses | HeardClock


@dataclass(frozen=True)
class Link:
    """The connection to another controller, and what went over it and its predecessors.

    `sent` and `received` are frames. These should be zero: `dropped` are messages for which the outbox had no room,
    `refused` connections that ended because of what the other side said or showed. `reconnects` counts sessions
    after the first. `round_trip_ns` is None until it was measured.
    """

    phase: Phase = Phase.CLOSED
    sent: int = 0
    received: int = 0
    dropped: int = 0
    refused: int = 0
    reconnects: int = 0
    round_trip_ns: int | None = None


class Outbox:
    """What is to be said, oldest first. When it is full the oldest is dropped and counted."""

    def __init__(self, most: int = OUTBOX_MESSAGES_MAX) -> None:
        self._messages: deque[Message] = deque(maxlen=most)
        self.dropped = 0

    def put(self, message: Message) -> None:
        self.dropped += len(self._messages) == self._messages.maxlen
        self._messages.append(message)

    def put_reports(self, reports: tuple[MissReport, ...]) -> None:
        for start in range(0, len(reports), REPORTS_PER_FRAME):
            self.put(Misses(reports[start : start + REPORTS_PER_FRAME]))

    def forget_ends(self) -> None:
        """What was to be said of ends is old; they will be told anew."""
        self._messages = deque((m for m in self._messages if not isinstance(m, Ends)), self._messages.maxlen)

    def take(self) -> Message | None:
        return self._messages.popleft() if self._messages else None


class Session:
    """One side of a connection: says `hello` first, then what is in the outbox that `outbox_for` gives for the other.

    That raises FrameError if the other side may not be the controller of the domain that it claims. `why` completes
    "the controller of NAME" once the session is closed; `is_refused` if the other side said what it should not.
    `round_trip_ns` is None until it was measured.
    """

    def __init__(self, hello: Hello, outbox_for: Callable[[str], Outbox], now_ns: int) -> None:
        self.phase = Phase.GREETING
        self.why = ""
        self.is_refused = False
        self.received = self.sent = 0
        self.round_trip_ns: int | None = None
        self._hello = hello
        self._outbox_for = outbox_for
        self._outbox = Outbox()
        self._reader = FrameReader()
        self._other_id = hello.session_id
        self._begun_ns = self._heard_ns = now_ns
        self._beat_ns = now_ns
        self._replies: deque[Message] = deque((hello,))
        self._ends: Mapping[str, EndReport] = {}
        self._round: Mapping[str, EndReport] = {}
        self._parts_heard = 0

    def receive(self, data: bytes, now_ns: int) -> Iterator[Heard]:
        """What `data` tells. After a fault nothing more is heard."""
        if self.phase is Phase.CLOSED:
            return
        try:
            for frame in self._reader.feed(data):
                yield from self._take(frame, now_ns)
        except FrameError as error:
            self.is_refused = True
            self.fail(str(error))

    def tick(self, now_ns: int) -> None:
        """Note what time it is: send signs of life, miss the other's."""
        if self.phase is Phase.GREETING and now_ns - self._begun_ns > GREETING_MAX_NS:
            self.fail("does not introduce itself")
        elif self.phase is Phase.OPEN and now_ns - self._heard_ns > QUIET_MAX_NS:
            self.fail("does not answer")
        elif self.phase is Phase.OPEN and now_ns >= self._beat_ns:
            self._beat_ns = now_ns + BEAT_NS
            self._replies.append(Beat(now_ns))

    def bytes_to_send(self) -> bytes:
        """The next frame; empty when there is nothing to say now."""
        if self.phase is Phase.CLOSED:
            return b""
        message = self._replies.popleft() if self._replies else None
        if message is None and self.phase is Phase.OPEN:
            message = self._outbox.take()
        if message is None:
            return b""
        session_id = self._hello.session_id if isinstance(message, Hello) else self._other_id
        frame = encode(Frame(session_id, self.sent, message))
        self.sent += 1
        return frame

    def fail(self, why: str) -> None:
        """End the session; a first reason stays."""
        if self.phase is not Phase.CLOSED:
            self.phase, self.why = TRANSITIONS[self.phase, Step.FAULT], why

    def _take(self, frame: Frame, now_ns: int) -> list[Heard]:
        message = frame.message
        step = Step.HELLO if isinstance(message, Hello) else Step.TOLD
        phase = TRANSITIONS.get((self.phase, step))
        if phase is None:
            raise FrameError(f"said {type(message).__name__.lower()} when it was not its turn")
        self._check(frame)
        heard = self._hear(message, now_ns)
        self.phase, self._heard_ns = phase, now_ns
        self.received += 1
        return heard

    def _check(self, frame: Frame) -> None:
        """That it is the next frame, and said to us."""
        if frame.sequence != self.received:
            raise FrameError(f"sent the frame {frame.sequence} in place of {self.received}")
        if not isinstance(frame.message, Hello) and frame.session_id != self._hello.session_id:
            raise FrameError("sent a frame of another session")

    def _hear(self, message: Message, now_ns: int) -> list[Heard]:
        match message:
            case Hello():
                return [self._join(message)]
            case Beat():
                self._hear_beat(message, now_ns)
                return []
            case Ends():
                return self._hear_ends(message)
            case Misses(reports):
                return [HeardMisses(reports)]
            case ClockState(clock):
                return [HeardClock(clock)]

    def _hear_beat(self, beat: Beat, now_ns: int) -> None:
        if beat.is_answer:
            self.round_trip_ns = max(now_ns - beat.at_ns, 0)
        elif len(self._replies) < REPLIES_MAX:
            self._replies.append(Beat(beat.at_ns, is_answer=True))

    def _join(self, hello: Hello) -> Joined:
        self._outbox = self._outbox_for(hello.domain)
        self._other_id = hello.session_id
        return Joined(hello.domain, hello.host)

    def _hear_ends(self, message: Ends) -> list[Heard]:
        if message.parts == 0:
            self._ends = _together(self._ends, message.ends)
            return [HeardEnds(self._ends)]
        if message.part == 0:
            self._round, self._parts_heard = {}, 0
        self._round = _together(self._round, message.ends)
        self._parts_heard += 1
        if message.part + 1 < message.parts:
            return []
        is_complete = self._parts_heard == message.parts  # or parts were dropped: then nothing is known to be gone
        self._ends = self._round if is_complete else _together(self._ends, self._round)
        return [HeardEnds(self._ends)]


def _together(known: Mapping[str, EndReport], told: Mapping[str, EndReport]) -> Mapping[str, EndReport]:
    """`known` with what was `told`. Raises FrameError."""
    ends = {**known, **told}
    if len(ends) > ENDS_MAX:
        raise FrameError("tells of more ends than there can be channels")
    return ends


class BackOff:
    """How long to wait before the next try: twice as long each time, less up to a half at random.

    So controllers that lost each other at once do not all come back at once. `random` gives numbers from 0 to 1.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._tries = 0

    def pause_ns(self) -> int:
        pause_ns = min(FIRST_PAUSE_NS << self._tries, PAUSE_MAX_NS)
        self._tries = min(self._tries + 1, PAUSE_MAX_NS.bit_length())
        return pause_ns - round(self._random() * pause_ns / 2)

    def reset(self) -> None:
        """After a session that was open."""
        self._tries = 0
