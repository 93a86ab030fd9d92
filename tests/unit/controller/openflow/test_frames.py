"""What `frames` lets through to os-ken's parser, which really runs here, with its steps counted."""

from __future__ import annotations

import struct
import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.fake_datapath import FakeDatapath

from bench.openflow_frames import (
    DROP_BAND,
    GENUINE,
    HANGING,
    HELLO,
    LARGE,
    MULTIPART_REPLY,
    OUTPUT,
    PACKET_IN,
    RESUBMIT,
    SET_LABEL,
    SET_QUEUE,
    apply,
    bucket,
    flow,
    group_desc,
    match,
    message,
    multipart,
    oxm,
)
from controller.openflow import messages
from controller.openflow.frames import BadFrame, Kind, length_of, readable

DATAPATH = FakeDatapath()
STEPS_MAX = 300_000
"""Of lines of the parser; a message of the tests needs some thousand."""


class EndlessError(BaseException):
    """Not one that the parser catches."""


def parse(frame: bytes) -> Any:
    """What os-ken makes of `frame`. Raises EndlessError, and what os-ken raises."""
    steps = 0

    def count(_: FrameType, event: str, __: Any) -> Any:
        nonlocal steps
        steps += event == "line"
        if steps > STEPS_MAX:
            raise EndlessError
        return count

    former = sys.gettrace()
    sys.settrace(count)
    try:
        return messages.parsed(DATAPATH, frame)
    finally:
        sys.settrace(former)


def verdict(frame: bytes) -> bool | str:
    try:
        return length_of(frame[:8]) == len(frame) and bool(readable(frame))
    except BadFrame as error:
        return str(error)


@pytest.mark.parametrize("frame", GENUINE.values(), ids=GENUINE)
def test_what_a_switch_says_is_read(frame: bytes) -> None:
    assert verdict(frame) is True
    assert parse(frame).xid == 7


@pytest.mark.parametrize("frame", LARGE.values(), ids=LARGE)
def test_the_largest_are_read(frame: bytes) -> None:
    assert verdict(frame) is True
    assert messages.parsed(DATAPATH, frame).body


@pytest.mark.parametrize("frame", HANGING.values(), ids=HANGING)
def test_what_hangs_the_parser_never_reaches_it(frame: bytes) -> None:
    with pytest.raises(EndlessError):
        parse(frame)
    assert verdict(frame) is not True


@pytest.mark.parametrize("kind", sorted(set(range(256)) - set(Kind)))
def test_what_no_switch_sends_is_bad(kind: int) -> None:
    assert verdict(message(kind)) == f"no switch sends messages of type {kind}"


@pytest.mark.parametrize("kind", [8, 11, 23, 25, 27])
def test_what_nobody_reads_is_not_parsed(kind: int) -> None:
    assert verdict(message(kind, bytes(3))) is False


def test_only_a_hello_may_be_of_another_version() -> None:
    assert verdict(message(PACKET_IN, version=1)) == "a PACKET_IN of OpenFlow version 1"
    assert verdict(message(HELLO, version=1)) is True


def test_a_message_is_as_long_as_its_header_at_least() -> None:
    assert verdict(struct.pack("!BBHI", 4, 2, 7, 0)) == "a ECHO_REQUEST of 7 bytes"


@pytest.mark.parametrize("what", [14, 0xFFFE])
def test_an_unknown_multipart_is_bad(what: int) -> None:
    assert verdict(multipart(what)) == f"MULTIPART_REPLY of 16 bytes: no multipart reply has type {what}"


@pytest.mark.parametrize("what", [12, 0xFFFF])
def test_multiparts_that_nobody_asks_for_are_not_parsed(what: int) -> None:
    assert verdict(multipart(what, bytes(64))) is False


@pytest.mark.parametrize(
    ("frame", "why"),
    {
        "element": (message(HELLO, bytes.fromhex("0001000400010003")),
                    "an element at 12 has length 3, with 4 bytes left"),
        "bitmaps": (message(HELLO, struct.pack("!HH", 1, 300) + bytes(296)),
                    "300 bytes at 8, where 0 to 256 are possible"),
        "flow": (multipart(1, flow() + bytes(2)), "FLOW: a flow at 72 has length 0, with 2 bytes left"),
        "match": (multipart(1, flow(b"\0\1\0\3" + bytes(4))), "FLOW: a match at 64 has length 3, with 8 bytes left"),
        "field": (multipart(1, flow(b"\0\1\0\x0a" + oxm(0, bytes(4)) + bytes(4))),
                  "FLOW: a match field at 68 has length 4, with 6 bytes left"),
        "field twice": (multipart(1, flow(match(oxm(5, bytes(2)), oxm(5, bytes(2))))),
                        "FLOW: a match at 64 has field 4194309 twice"),
        "output": (multipart(1, flow(match(), apply(struct.pack("!HH20x", 0, 24)))),
                   "FLOW: 24 bytes at 80, where 16 are right"),
        "set field": (multipart(1, flow(match(), apply(struct.pack("!HH", 25, 24) + oxm(34, bytes(4)) + bytes(12)))),
                      "FLOW: an action at 80 sets a field of 4 bytes"),
        "bucket": (multipart(7, group_desc(bucket(OUTPUT[:8]))),
                   "GROUP_DESC: an action at 40 has length 16, with 8 bytes left"),
        "port": (multipart(13, bytes(65)), "PORT_DESC: 65 bytes at 16, where each structure has 64"),
        "header": (message(MULTIPART_REPLY, bytes(7)), "its multipart header is cut short"),
        "error": (message(1, b"\xff\xff\0\0"), "4 bytes at 8, where 8 to 65536 are possible"),
        "vendor": (message(4, bytes(7)), "7 bytes, where 8 are the least"),
        "group": (multipart(7, struct.pack("!HBxI", 9, 0, 1)),
                  "GROUP_DESC: a group at 16 has length 9, with 8 bytes left"),
    }.values(),
)  # fmt: skip
def test_says_what_is_wrong(frame: bytes, why: str) -> None:
    assert str(verdict(frame)).endswith(f": {why}")


@pytest.mark.parametrize(
    "action",
    [
        struct.pack("!HHIHH4x", 0xFFFF, 16, 0x2320, 16, 0),  # learn
        struct.pack("!HHIHH4x", 0xFFFF, 16, 0x1234, 14, 0),
        struct.pack("!HHI", 77, 8, 0),
        struct.pack("!HH", 25, 16) + b"\xff\xff\0\4" + bytes(8),
    ],
)
def test_an_action_that_is_never_ours_is_not_parsed(action: bytes) -> None:
    assert verdict(multipart(1, flow(match(), apply(SET_QUEUE, action)))) is False


def test_other_vendors_are_not_parsed() -> None:
    assert verdict(message(4, bytes(8))) is False
    assert verdict(multipart(1, flow(match(b"\xff\xff\0\4" + bytes(4))))) is False


FOREIGN_GROUP = group_desc(bucket(struct.pack("!HHIH14x", 0xFFFF, 24, 0x2320, 35), OUTPUT))
"""That commits connections: ct(commit)."""

FOREIGN_METER = struct.pack("!HHI", 24, 0, 2) + struct.pack("!HH12x", 0xFFFF, 16)


@pytest.mark.parametrize(
    ("what", "ours", "foreign"),
    [
        (7, [group_desc(bucket(OUTPUT)), group_desc(bucket(RESUBMIT))], FOREIGN_GROUP),
        (7, [group_desc(bucket(OUTPUT)), group_desc(bucket(RESUBMIT))], group_desc(bucket(SET_LABEL, OUTPUT))),
        (10, [struct.pack("!HHI", 24, 0, 1) + DROP_BAND, struct.pack("!HHI", 8, 0, 3)], FOREIGN_METER),
    ],
)
def test_groups_and_meters_are_read_without_those_of_others(what: int, ours: list[bytes], foreign: bytes) -> None:
    one, other = ours
    alone = multipart(what, one + other)
    assert readable(alone) == alone
    assert readable(multipart(what, foreign + one + foreign + foreign + other + foreign)) == alone
    assert readable(multipart(what, foreign)) == multipart(what)
    with pytest.raises(BadFrame):
        readable(multipart(what, foreign + one + bytes(8)))


MIXED = [
    multipart(7, FOREIGN_GROUP + group_desc(bucket(OUTPUT)) + FOREIGN_GROUP),
    multipart(10, struct.pack("!HHI", 24, 0, 1) + DROP_BAND + FOREIGN_METER),
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A genuine or a hanging message with some bytes changed, cut out or put in. Its own length is right or not."""
    frame = bytearray(draw(st.sampled_from([*GENUINE.values(), *HANGING.values(), *MIXED])))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(8, max(8, len(frame) - 1)))
        new = draw(st.binary(max_size=4) | st.sampled_from([b"\0\0", b"\xff\xff", b"\0\4", b"\0\x08", b"\0\x10"]))
        frame[at : at + draw(st.sampled_from([0, len(new), len(new) + 8]))] = new
    frame[2:4] = struct.pack("!H", len(frame))
    return bytes(frame)


@given(mutated())
@example(HANGING["hello"])
def test_what_is_let_through_is_parsed_to_an_end(frame: bytes) -> None:
    if verdict(frame) is True:
        try:
            parse(readable(frame))
        except Exception as error:
            assert not isinstance(error, MemoryError)


@given(st.binary(min_size=8, max_size=200))
def test_any_bytes_get_a_verdict(data: bytes) -> None:
    frame = data[:2] + struct.pack("!H", len(data)) + data[4:]
    assert isinstance(verdict(frame), bool | str)
