"""What chrony 4.3 and linuxptp 3.1.1 print, and what a controller makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.clocks.clock import (
    NOT_READ,
    PTP_MARGIN_NS,
    READINGS_TO_BELIEVE,
    TRUST_NS,
    UNKNOWN_NS,
    Clock,
    Source,
    SteadyClock,
    as_number_ns,
    chosen,
    chrony_clock,
    difference_ns,
    ptp_clock,
)

S = 1_000_000_000
TRACKING = (
    "0A000002,10.0.0.2,3,1709727533.139866748,-0.000004315,-0.000003372,0.000002759,1.274,-0.005,0.161,"
    "0.000100001,0.000029493,8.0,Normal\n"
)
NOT_SYNCHRONISED = (
    "00000000,,0,0.000000000,0.000000000,0.000000000,0.000000000,0.000,0.000,0.000,1.000000000,1.000000000,0.0,"
    "Not synchronised\n"
)
LOCAL = (
    "7F7F0101,,10,1795856775.760990697,0.000000000,0.000000000,0.000000000,0.000,0.000,0.000,0.000000000,0.000000000,"
    "0.0,Normal\n"
)

SLAVE = """\
sending: GET TIME_STATUS_NP
sending: GET CURRENT_DATA_SET
\t926d27.fffe.87ed0a-0 seq 0 RESPONSE MANAGEMENT TIME_STATUS_NP\x20
\t\tmaster_offset              -1060
\t\tingress_time               1795856834531505032
\t\tcumulativeScaledRateOffset +0.000000000
\t\tscaledLastGmPhaseChange    0
\t\tgmTimeBaseIndicator        0
\t\tlastGmPhaseChange          0x0000'0000000000000000.0000
\t\tgmPresent                  true
\t\tgmIdentity                 beb8b9.fffe.fd8fab
sending: GET PORT_DATA_SET
\t926d27.fffe.87ed0a-0 seq 1 RESPONSE MANAGEMENT CURRENT_DATA_SET\x20
\t\tstepsRemoved     1
\t\toffsetFromMaster -1060.0
\t\tmeanPathDelay    1904.0
\t926d27.fffe.87ed0a-1 seq 2 RESPONSE MANAGEMENT PORT_DATA_SET\x20
\t\tportIdentity            926d27.fffe.87ed0a-1
\t\tportState               SLAVE
\t\tlogMinDelayReqInterval  0
\t\tpeerMeanPathDelay       0
\t\tdelayMechanism          1
\t\tversionNumber           2
"""
GRANDMASTER = (
    SLAVE.replace("-1060", "0")
    .replace("1904.0", "0.0")
    .replace("gmPresent                  true", "gmPresent                  false")
    .replace("SLAVE", "MASTER")
    .replace("926d27.fffe.87ed0a", "beb8b9.fffe.fd8fab")
)
NOBODY_THERE = "sending: GET TIME_STATUS_NP\nsending: GET CURRENT_DATA_SET\nsending: GET PORT_DATA_SET\n"


def test_chronys_bound_is_offset_half_the_delay_and_dispersion() -> None:
    assert chrony_clock(TRACKING) == Clock(Source.CHRONY, 4_315 + 50_001 + 29_493, "UTC")


@pytest.mark.parametrize(
    ("tracking", "is_silent", "why"),
    [
        (NOT_SYNCHRONISED, False, "is not synchronised"),
        (LOCAL, False, "follows nothing"),
        ("506 Cannot talk to daemon\n", True, "does not answer"),
        ("", True, "does not answer"),
        (TRACKING.replace("0.000100001", "much"), True, "answers badly"),
        (TRACKING.replace("0.000100001", "nan"), True, "answers badly"),
        (TRACKING.replace("0.000100001", "1e999999999"), True, "answers badly"),
        (TRACKING.replace("0.000100001", "2.000000001"), False, "off by more than a second"),
    ],
)
def test_a_chrony_that_does_not_know(tracking: str, is_silent: bool, why: str) -> None:
    found = chrony_clock(tracking)
    assert (found.error_ns, found.is_silent) == (None, is_silent)
    assert why in found.why


def test_a_slave_of_ptp_is_off_by_its_offset_and_the_path_at_most() -> None:
    assert ptp_clock(SLAVE, 500) == Clock(Source.PTP, 1_060 + 1_904 + PTP_MARGIN_NS, "beb8b9.fffe.fd8fab")


def test_a_grandmaster_is_its_own_reference_and_its_slaves() -> None:
    grandmaster, slave = ptp_clock(GRANDMASTER, None), ptp_clock(SLAVE, 500)
    assert grandmaster == Clock(Source.PTP, PTP_MARGIN_NS, "beb8b9.fffe.fd8fab")
    assert difference_ns(grandmaster, slave) == 1_060 + 1_904 + 2 * PTP_MARGIN_NS


@pytest.mark.parametrize(
    ("answer", "kernel_error_us", "is_silent", "why"),
    [
        (SLAVE.replace("SLAVE", "UNCALIBRATED"), 500, False, "ports of ptp4l are UNCALIBRATED"),
        (SLAVE.replace("SLAVE", "MASTER"), 500, False, "ports of ptp4l are MASTER"),
        (GRANDMASTER.replace("MASTER", "LISTENING"), 500, False, "ports of ptp4l are LISTENING"),
        (SLAVE, None, False, "does phc2sys run?"),
        (SLAVE, 20_001, False, "does phc2sys run?"),
        (NOBODY_THERE, 500, True, "does not answer"),
        ("", 500, True, "does not answer"),
        (SLAVE.replace("meanPathDelay    1904.0", ""), 500, True, "answers badly"),
        (SLAVE.replace("-1060", "far"), 500, True, "answers badly"),
        (SLAVE.replace("1904.0", "1e999999999"), 500, True, "answers badly"),
        (SLAVE.replace("-1060", "-999990000"), 500, False, "off by more than a second"),
    ],
)
def test_a_ptp_that_does_not_know(answer: str, kernel_error_us: int | None, is_silent: bool, why: str) -> None:
    found = ptp_clock(answer, kernel_error_us)
    assert (found.error_ns, found.is_silent) == (None, is_silent)
    assert why in found.why


texts = st.text() | st.lists(st.sampled_from([*TRACKING.split(","), *SLAVE.split(), ",", "\n\t\t", " "])).map("".join)


@given(texts, st.none() | st.integers(0, 10**6))
def test_any_text_makes_a_clock(text: str, kernel_error_us: int | None) -> None:
    for found in (chrony_clock(text), ptp_clock(text, kernel_error_us)):
        assert (found.error_ns is None) == bool(found.why)
        assert (found.error_ns or 0) >= 0


def test_a_long_answer_is_read_soon() -> None:
    for text in ("\n" * 65_536, " " * 65_536, "\t\tx " * 13_000, "\t\tgmPresent x\n" * 4_000):
        assert ptp_clock(text, 0).error_ns is None


def test_of_two_programs_the_one_counts_that_knows_or_else_the_one_that_answers() -> None:
    good, bad, silent = chrony_clock(TRACKING), ptp_clock(SLAVE, None), chrony_clock("")
    assert chosen(good, bad) == good
    assert chosen(good, ptp_clock(GRANDMASTER, None)) == ptp_clock(GRANDMASTER, None), "as its slaves do"
    assert chosen(chrony_clock(NOT_SYNCHRONISED), ptp_clock(SLAVE, 0)) == ptp_clock(SLAVE, 0)
    assert chosen(silent, bad) == bad
    assert chosen(silent, None) == silent
    assert "neither chrony nor linuxptp" in chosen(None, None).why


def test_clocks_that_follow_different_things_cannot_be_compared() -> None:
    one, other = Clock(Source.CHRONY, 100, "UTC"), Clock(Source.CHRONY, 30, "UTC")
    assert difference_ns(one, other) == 130
    assert difference_ns(one, Clock(Source.PTP, 1, "a grandmaster")) is None
    assert difference_ns(one, NOT_READ) is None
    assert difference_ns(NOT_READ, one) is None
    assert difference_ns(one, Clock(Source.CHRONY, 2**63 - 1, "UTC")) is None, "whatever a peer says"
    assert [as_number_ns(each) for each in (None, 0, 130)] == [UNKNOWN_NS, 0, 130]


# From reading to reading


GOOD = Clock(Source.CHRONY, 100_000, "UTC")
BAD = chrony_clock(NOT_SYNCHRONISED)
SILENT = chrony_clock("")


def steady(*readings: Clock, now_ns: int = 0) -> SteadyClock:
    made = SteadyClock()
    for reading in readings:
        made.take(reading, now_ns)
    return made


def test_the_first_good_word_counts_and_a_bad_one_always() -> None:
    assert SteadyClock().clock == NOT_READ
    assert steady(GOOD).clock.error_ns == 130_000, "a quarter more, in whole ticks"
    assert steady(GOOD, BAD).clock == BAD


def test_after_a_bad_word_a_good_one_must_be_heard_again_and_again() -> None:
    for number in range(1, READINGS_TO_BELIEVE):
        assert steady(BAD, *[GOOD] * number).clock == BAD
    assert steady(BAD, *[GOOD] * READINGS_TO_BELIEVE).clock.error_ns is not None
    assert steady(BAD, GOOD, GOOD, BAD, GOOD, GOOD).clock == BAD


def test_silence_counts_after_a_while() -> None:
    made = steady(GOOD)
    made.take(SILENT, TRUST_NS)
    assert made.clock.error_ns is not None
    made.take(SILENT, TRUST_NS + 1)
    assert made.clock == SILENT


def test_a_program_that_is_silent_from_the_start_is_named() -> None:
    assert steady(SILENT).clock == SILENT


def test_a_bound_stays_while_it_holds_and_is_not_far_too_large() -> None:
    made = steady(GOOD)
    for error_ns, expected_ns in ((130_000, 130_000), (65_000, 130_000), (64_000, 80_000), (80_001, 110_000), (0, 0)):
        made.take(replace(GOOD, error_ns=error_ns), 0)
        assert made.clock.error_ns == expected_ns


def test_another_reference_is_taken_at_once() -> None:
    made = steady(GOOD)
    other = Clock(Source.PTP, 100_000, "a grandmaster")
    made.take(other, 0)
    assert (made.clock.source, made.clock.reference) == (Source.PTP, "a grandmaster")


@given(st.lists(st.integers(0, 10**9).map(lambda error_ns: replace(GOOD, error_ns=error_ns)) | st.just(BAD)))
def test_it_is_never_better_than_the_last_reading(readings: list[Clock]) -> None:
    made = SteadyClock()
    for reading in readings:
        made.take(reading, 0)
        if reading.error_ns is None:
            assert made.clock.error_ns is None
        elif made.clock.error_ns is not None:
            assert made.clock.error_ns >= reading.error_ns
