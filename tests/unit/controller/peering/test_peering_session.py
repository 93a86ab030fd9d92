"""Two sessions over a wire that we hold: what is heard of what is said, and that nothing else ever is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from controller.clocks.clock import Clock, Source
from controller.domain.lifecycle import State
from controller.domain.reports import EndReport, Role
from controller.peering.messages import (
    Beat,
    ClockState,
    Ends,
    Frame,
    FrameError,
    Hello,
    Message,
    Misses,
    MissReport,
    all_ends,
    encode,
)
from controller.peering.session import (
    BEAT_NS,
    FIRST_PAUSE_NS,
    GREETING_MAX_NS,
    OUTBOX_MESSAGES_MAX,
    PAUSE_MAX_NS,
    QUIET_MAX_NS,
    TRANSITIONS,
    BackOff,
    Heard,
    HeardClock,
    HeardEnds,
    HeardMisses,
    Joined,
    Outbox,
    Phase,
    Session,
    Step,
)

END = EndReport(role=Role.LISTENER, state=State.INSTALLED)
REPORT = MissReport("video", 3, 10, 700, 500, 100, 33, 0, 99)
CLOCK = Clock(Source.CHRONY, 80_000, "UTC")
LEFT, RIGHT = Hello("left", 11, "here"), Hello("right", 22, "there")


class Side:
    """A session with its outbox, and all that it has heard."""

    def __init__(self, hello: Hello, allows: str = "") -> None:
        self.outbox = Outbox()
        self.session = Session(hello, self.outbox_for, 0)
        self.heard: list[Heard] = []
        self.allows = allows

    def outbox_for(self, domain: str) -> Outbox:
        if domain != self.allows:
            raise FrameError(f"is {domain}")
        return self.outbox

    def say(self) -> bytes:
        return b"".join(iter(self.session.bytes_to_send, b""))

    def hear(self, data: bytes, now_ns: int = 0) -> None:
        self.heard += self.session.receive(data, now_ns)


def pair() -> tuple[Side, Side]:
    return Side(LEFT, "right"), Side(RIGHT, "left")


def talk(left: Side, right: Side, now_ns: int = 0) -> None:
    """Until both have said all."""
    while (ours := left.say()) + (theirs := right.say()):
        right.hear(ours, now_ns)
        left.hear(theirs, now_ns)


def joined() -> tuple[Side, Side]:
    left, right = pair()
    talk(left, right)
    assert left.heard == [Joined("right", "there")] and right.heard == [Joined("left", "here")]
    return left, right


def test_what_is_said_is_heard_in_order() -> None:
    left, right = joined()
    left.outbox.put(Ends({"video": END}))
    left.outbox.put_reports((REPORT,))
    talk(left, right)
    assert right.heard[1:] == [HeardEnds({"video": END}), HeardMisses((REPORT,))]


def test_nothing_but_hello_is_said_before_the_others_hello() -> None:
    left, _ = pair()
    left.outbox.put(Ends({}))
    assert left.say() == encode(Frame(11, 0, LEFT))


def test_changes_are_merged_and_a_whole_round_replaces_all() -> None:
    left, right = joined()
    changed = END.model_copy(update={"state": State.DEGRADED})
    for message in (*all_ends({"a": END, "b": END}), Ends({"b": changed}), *all_ends({"b": END})):
        left.outbox.put(message)
    talk(left, right)
    assert right.heard[1:] == [HeardEnds({"a": END, "b": END}), HeardEnds({"a": END, "b": changed}),
                               HeardEnds({"b": END})]  # fmt: skip


def test_of_a_round_with_a_part_missing_nothing_is_taken_for_gone() -> None:
    left, right = joined()
    left.outbox.put(Ends({"old": END}))
    left.outbox.put(Ends({"a": END}, 0, 3))
    left.outbox.put(Ends({"c": END}, 2, 3))
    talk(left, right)
    assert right.heard[-1] == HeardEnds({"old": END, "a": END, "c": END})


@pytest.mark.parametrize(
    "told",
    [
        [Ends({"a": END, "b": END}), Ends({"c": END})],
        [Ends({"a": END, "b": END}, 0, 4), Ends({"c": END}, 1, 4)],
        [Ends({"a": END}), Ends({"b": END, "c": END}, 1, 2)],
    ],
)
def test_more_ends_than_there_can_be_end_it(told: list[Message], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.peering.session.ENDS_MAX", 2)
    left, right = joined()
    left.outbox.put(told[0])
    talk(left, right)
    assert right.session.phase is Phase.OPEN
    left.outbox.put(told[1])
    talk(left, right)
    assert (right.session.phase, right.session.is_refused) == (Phase.CLOSED, True)
    assert right.session.why == "tells of more ends than there can be channels"


def test_a_domain_that_is_not_allowed_ends_it() -> None:
    left, right = Side(LEFT, "right"), Side(replace(RIGHT, domain="middle"), "left")
    talk(left, right)
    assert (left.session.phase, left.session.why, left.heard) == (Phase.CLOSED, "is middle", [])


@pytest.mark.parametrize("times", [2, 3])
def test_a_frame_that_is_replayed_is_not_taken_again(times: int) -> None:
    left, right = joined()
    left.outbox.put_reports((REPORT,))
    right.hear(left.say() * times)
    assert right.heard[1:] == [HeardMisses((REPORT,))]
    assert (right.session.phase, right.session.why) == (Phase.CLOSED, "sent the frame 1 in place of 2")


def test_frames_out_of_order_are_not_taken() -> None:
    left, right = joined()
    frames = []
    for total in (1, 2):
        left.outbox.put_reports((replace(REPORT, total_misses=total),))
        frames.append(left.say())
    right.hear(frames[1] + frames[0])
    assert right.heard[1:] == [] and right.session.phase is Phase.CLOSED


def test_a_whole_session_that_is_replayed_tells_nothing() -> None:
    """Its frames have the session id that the receiver chose then."""
    left, right = pair()
    left.outbox.put_reports((REPORT,))
    hello = left.say()
    right.hear(hello)
    left.hear(right.say())
    recorded = hello + left.say()
    again = Side(replace(RIGHT, session_id=23), "left")
    again.hear(recorded)
    assert again.heard == [Joined("left", "here")] and again.session.why == "sent a frame of another session"


@given(st.data())
def test_bits_that_flip_are_never_heard(data: st.DataObject) -> None:
    left, right = joined()
    left.outbox.put_reports((REPORT,))
    said = bytearray(left.say())
    for bit in data.draw(st.sets(st.integers(0, len(said) * 8 - 1), min_size=1, max_size=3)):
        said[bit // 8] ^= 1 << bit % 8
    right.hear(bytes(said))
    assert right.heard[1:] == []


def test_a_hello_that_never_comes() -> None:
    left, _ = pair()
    left.session.tick(GREETING_MAX_NS)
    assert left.session.phase is Phase.GREETING
    left.session.tick(GREETING_MAX_NS + 1)
    assert (left.session.phase, left.session.why) == (Phase.CLOSED, "does not introduce itself")


def test_signs_of_life_and_the_round_trip() -> None:
    left, right = joined()
    left.session.tick(BEAT_NS)
    beat = left.say()
    right.hear(beat, 5 * BEAT_NS)
    left.hear(right.say(), BEAT_NS + 700)
    assert left.session.round_trip_ns == 700
    left.session.tick(BEAT_NS + QUIET_MAX_NS + 700)
    assert left.session.phase is Phase.OPEN
    left.session.tick(BEAT_NS + QUIET_MAX_NS + 701)
    assert (left.session.phase, left.session.why, left.say()) == (Phase.CLOSED, "does not answer", b"")


def test_questions_without_end_are_not_all_answered() -> None:
    left, right = joined()
    for sequence in range(1, 1001):
        right.hear(encode(Frame(22, sequence, Beat(0))))
    assert len(right.say()) < 1000 and right.session.phase is Phase.OPEN
    assert left.session.phase is Phase.OPEN


def test_a_full_outbox_drops_the_oldest_and_counts() -> None:
    outbox = Outbox()
    for total in range(OUTBOX_MESSAGES_MAX + 3):
        outbox.put_reports((replace(REPORT, total_misses=total),))
    first = outbox.take()
    assert outbox.dropped == 3 and isinstance(first, Misses) and first.reports[0].total_misses == 3


def test_old_ends_are_not_told_to_a_new_session() -> None:
    outbox = Outbox()
    outbox.put(Ends({"video": END}))
    outbox.put_reports((REPORT,))
    outbox.forget_ends()
    assert [outbox.take(), outbox.take()] == [Misses((REPORT,)), None]


@pytest.mark.parametrize(("random", "least"), [(0.0, FIRST_PAUSE_NS), (1.0, FIRST_PAUSE_NS // 2)])
def test_pauses_double_up_to_a_limit(random: float, least: int) -> None:
    back_off = BackOff(lambda: random)
    pauses = [back_off.pause_ns() for _ in range(100)]
    assert pauses[:3] == [least, 2 * least, 4 * least]
    assert pauses[-1] == PAUSE_MAX_NS * least // FIRST_PAUSE_NS
    back_off.reset()
    assert back_off.pause_ns() == least


class AnyInput(RuleBasedStateMachine):
    """Every phase with every kind of input: what is heard is what a right sender has said, in order, and no more."""

    def __init__(self) -> None:
        super().__init__()
        self.side = Side(RIGHT, "left")
        self.sequence = 0
        self.now_ns = 0
        self.expected: list[Heard] = []

    def give(self, frame: Frame, is_right: bool) -> None:
        before = self.side.session.phase
        step = Step.HELLO if isinstance(frame.message, Hello) else Step.TOLD
        after = TRANSITIONS.get((before, step)) if is_right else None
        self.side.hear(encode(frame), self.now_ns)
        assert self.side.session.phase is (after or Phase.CLOSED)
        if after:
            self.sequence += 1
            match frame.message:
                case Hello(domain, _, host):
                    self.expected.append(Joined(domain, host))
                case Misses(reports):
                    self.expected.append(HeardMisses(reports))
                case ClockState(clock):
                    self.expected.append(HeardClock(clock))

    @rule(domain=st.sampled_from(["left", "left", "left", "middle"]))
    def hello(self, domain: str) -> None:
        self.give(Frame(11, self.sequence, Hello(domain, 11, "here")), is_right=domain == "left")

    @rule(message=st.sampled_from([Beat(0), Beat(0, True), Misses((REPORT,)), Misses(()), ClockState(CLOCK)]))
    def told(self, message: Message) -> None:
        self.give(Frame(22, self.sequence, message), is_right=True)

    @rule(skew=st.integers(-3, 3).filter(bool))
    def out_of_order(self, skew: int) -> None:
        if self.sequence + skew >= 0:
            self.give(Frame(22, self.sequence + skew, Misses((REPORT,))), is_right=False)

    @rule()
    def of_another_session(self) -> None:
        self.give(Frame(21, self.sequence, Misses((REPORT,))), is_right=False)

    @rule(data=st.binary(min_size=4, max_size=40).filter(lambda data: data[:2] != b"\0\0"))
    def nonsense(self, data: bytes) -> None:
        self.side.hear(data, self.now_ns)
        assert self.side.session.phase is Phase.CLOSED

    @rule(step_ns=st.integers(0, QUIET_MAX_NS // 2))
    def time_passes(self, step_ns: int) -> None:
        self.now_ns += step_ns
        self.side.session.tick(self.now_ns)
        self.side.say()

    @invariant()
    def only_what_was_said_is_heard(self) -> None:
        assert self.side.heard == self.expected
        assert (self.side.session.why == "") == (self.side.session.phase is not Phase.CLOSED)


TestAnyInput = AnyInput.TestCase
