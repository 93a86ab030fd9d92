"""What is encoded is read again; of anything else the reader says FrameError and nothing else, and soon."""

from __future__ import annotations

import struct
import sys
import time
import zlib
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.clocks.clock import Clock, Source
from controller.domain.lifecycle import State
from controller.domain.reports import EndReport, Excess, Role, Summary
from controller.peering.messages import (
    ENDS_PER_FRAME,
    FRAME_BYTES_MAX,
    REPORTS_PER_FRAME,
    VERSION,
    WHY_BYTES_MAX,
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
    all_ends,
    changed_ends,
    encode,
)
from controller.units import NS_PER_MS

COUNTS = st.integers(0, 2**64 - 1)
KNOWN_OR_NOT = st.none() | st.integers(0, 2**63 - 1)
TIMES = st.integers(-(2**63), 2**63 - 1)
NAMES = st.text(max_size=60)
SUMMARIES = st.just(Summary()) | st.builds(
    Summary, count=st.integers(1, 2**64 - 1), **dict.fromkeys([*Summary.model_fields][1:], TIMES)
)
END_REPORTS = st.builds(
    EndReport,
    role=st.sampled_from(Role),
    state=st.sampled_from(State),
    why=st.text(max_size=100),
    version=KNOWN_OR_NOT,
    clock_error_ns=KNOWN_OR_NOT,
    since_ns=COUNTS,
    **dict.fromkeys(("packets", "bytes", "missed", "within_clock_error", "unjudged", "bypassed"), KNOWN_OR_NOT),
    excess=st.none() | st.builds(Excess, **dict.fromkeys(Excess.model_fields, st.integers(0, 2**63 - 1))),
    delay=SUMMARIES,
)
MISS_REPORTS = st.builds(
    MissReport,
    channel=NAMES,
    worst_ns=TIMES,
    mean_ns=TIMES,
    **dict.fromkeys(("misses", "packets", "window_ns", "total_misses", "clock_error_ns", "first_at_ns"), COUNTS),
)
MESSAGES = (
    st.builds(Hello, NAMES, COUNTS, NAMES)
    | st.builds(Beat, COUNTS, st.booleans())
    | st.builds(Ends, st.dictionaries(NAMES, END_REPORTS, max_size=5), st.just(0), st.integers(0, 9))
    | st.builds(Misses, st.lists(MISS_REPORTS, max_size=5).map(tuple))
    | st.builds(ClockState, st.builds(Clock, st.sampled_from(Source), KNOWN_OR_NOT, NAMES, NAMES))
)
FRAMES = st.builds(Frame, COUNTS, COUNTS, MESSAGES)
END = EndReport(role=Role.LISTENER, state=State.INSTALLED, missed=3)
MISS_REPORT = MissReport("video", 3, 10, 700, 500, 100, 33, 0, 99)


def read(data: bytes, reader: FrameReader | None = None) -> list[Frame]:
    return (reader or FrameReader()).feed(data)


def sealed(content: bytes) -> bytes:
    """`content` as a frame whose length and check are right."""
    counted = struct.pack(">I", len(content) + 4) + content
    return counted + struct.pack(">I", zlib.crc32(counted))


@given(st.lists(FRAMES, max_size=3), st.lists(st.integers(0, 2000), max_size=5))
def test_what_is_encoded_is_read_again_in_whatever_pieces_it_comes(frames: list[Frame], cuts: list[int]) -> None:
    data = b"".join(map(encode, frames))
    reader, found = FrameReader(), []
    for start, end in pieces(len(data), cuts):
        found += reader.feed(data[start:end])
    assert found == frames


def pieces(length: int, cuts: Iterable[int]) -> list[tuple[int, int]]:
    marks = [0, *sorted(min(cut, length) for cut in cuts), length]
    return list(pairwise(marks))


@given(st.binary(max_size=300))
def test_of_any_bytes_the_reader_says_frame_error_or_waits(data: bytes) -> None:
    with suppress(FrameError):
        assert read(data) == []


@given(st.integers(0, 255), st.binary(max_size=300))
def test_bodies_that_are_sealed_but_wrong(kind: int, body: bytes) -> None:
    with suppress(FrameError):
        (frame,) = read(sealed(struct.pack(">BBQQ", VERSION, kind, 5, 6) + body))
        assert read(encode(frame)) == [frame]


@given(FRAMES, st.data())
def test_a_frame_with_one_bit_changed_is_never_taken(frame: Frame, data: st.DataObject) -> None:
    content = bytearray(encode(frame))
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    content[bit // 8] ^= 1 << bit % 8
    with suppress(FrameError):
        assert read(bytes(content)) == []


@pytest.mark.parametrize("version", [0, 1, 2, 255])
def test_another_version_is_named(version: int) -> None:
    with pytest.raises(FrameError, match=rf"^speaks version {version} of the protocol, and this one 3$"):
        read(sealed(struct.pack(">BBQQ", version, 2, 0, 0) + bytes(9)))


@pytest.mark.parametrize("length", [0, 21, FRAME_BYTES_MAX + 1, 2**32 - 1])
def test_a_length_that_cannot_be_is_refused_at_once(length: int) -> None:
    with pytest.raises(FrameError, match=f"sent a frame of {length} bytes"):
        read(struct.pack(">I", length))


LONG_NAME = "x" * 255
LONG_END = END.model_copy(
    update={"why": "y" * 900, "delay": Summary(count=1, min=1, mean=1, p50=1, p90=1, p99=1, p999=1, max=1)}
)
LARGEST = (
    Ends({f"{number:03}{LONG_NAME[:252]}": LONG_END for number in range(ENDS_PER_FRAME)}),
    Misses((MissReport(LONG_NAME, *[2**60] * 8),) * REPORTS_PER_FRAME),
)


@pytest.mark.parametrize("message", LARGEST)
def test_the_largest_messages_fit(message: Message) -> None:
    (frame,) = read(encode(Frame(1, 1, message)))
    assert type(frame.message) is type(message)


@pytest.mark.parametrize("message", LARGEST)
def test_no_frame_takes_a_millisecond(message: Message) -> None:
    """Of processor time, where nothing traces the program and nobody else makes the processor slow."""
    data, tracer = encode(Frame(1, 1, message)), sys.gettrace()

    def taken_ns() -> int:
        begun_ns = time.process_time_ns()
        read(data)
        return time.process_time_ns() - begun_ns

    sys.settrace(None)
    try:
        assert any(taken_ns() < NS_PER_MS for _ in range(1000))
    finally:
        sys.settrace(tracer)


def test_a_long_reason_is_cut_between_letters() -> None:
    end = END.model_copy(update={"why": "ä" * 400})
    (frame,) = read(encode(Frame(1, 1, Ends({"video": end}))))
    assert isinstance(frame.message, Ends)
    assert frame.message.ends["video"].why == "ä" * (WHY_BYTES_MAX // 2)


@pytest.mark.parametrize(("count", "parts"), [(0, 1), (1, 1), (60, 1), (61, 2), (1000, 17)])
def test_all_ends_go_into_parts(count: int, parts: int) -> None:
    ends = {f"c{number}": END for number in range(count)}
    found = list(all_ends(ends))
    assert [(each.part, each.parts) for each in found] == [(part, parts) for part in range(parts)]
    assert {name: end for each in found for name, end in each.ends.items()} == ends
    assert {each.parts for each in changed_ends(ends)} == {0}


def test_reading_takes_time_proportional_to_the_length() -> None:
    """Byte by byte, a frame of the largest size is looked at no more often than its length."""
    data = struct.pack(">I", FRAME_BYTES_MAX) + bytes(FRAME_BYTES_MAX)
    begun_s = time.process_time()
    reader = FrameReader()
    with pytest.raises(FrameError):
        for at in range(len(data)):
            reader.feed(data[at : at + 1])
    assert time.process_time() - begun_s < 5, "65,540 steps; were each as long as the frame, it would be minutes"
