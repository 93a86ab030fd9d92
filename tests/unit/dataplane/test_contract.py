"""Deadline postponement in the C core, against the definition of a token bucket in exact arithmetic."""

from __future__ import annotations

from fractions import Fraction
from itertools import accumulate
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dataplane._core import ffi, lib

NS_PER_S = 10**9
ROUNDING_NS = 2
"""Of each duration the part of a nanosecond is left out: two for each packet."""


class Bucket:
    """A contract and its bucket, full at 0."""

    def __init__(self, rate_bps: int, burst_bytes: int) -> None:
        self._terms: Any = ffi.new("struct terms *", {"rate_bps": rate_bps, "burst_bytes": burst_bytes})
        self._bucket: Any = ffi.new("struct bucket *")

    def start(self, number: int, now_ns: int) -> None:
        lib.bucket_start(self._bucket, number, now_ns)

    def take(self, wire_bytes: int, arrival_ns: int) -> int:
        """When the packet conforms; it is taken out of the bucket."""
        conforming_ns = int(lib.contract_conforming_ns(self._terms, self._bucket, wire_bytes, arrival_ns))
        lib.contract_charge(self._terms, self._bucket, wire_bytes, conforming_ns)
        return conforming_ns


def conforming(rate_bps: int, burst_bytes: int, packets: list[tuple[int, int]]) -> list[Fraction]:
    """By the definition: the first instant, not before the packet or its predecessor, at which the tokens suffice."""
    tokens, last_ns, found = Fraction(8 * burst_bytes), Fraction(0), []
    for arrival_ns, wire_bytes in packets:
        now_ns = max(Fraction(arrival_ns), last_ns)
        tokens = min(Fraction(8 * burst_bytes), tokens + Fraction(rate_bps, NS_PER_S) * (now_ns - last_ns))
        wait_ns = max(Fraction(0), (8 * wire_bytes - tokens) * NS_PER_S / rate_bps)
        tokens += Fraction(rate_bps, NS_PER_S) * wait_ns - 8 * wire_bytes
        last_ns = now_ns + wait_ns
        found.append(last_ns)
    return found


packets_of_a_channel = st.lists(
    st.tuples(st.integers(0, 10_000_000), st.integers(84, 1546)), min_size=1, max_size=40
).map(lambda steps: list(zip(accumulate(step for step, _ in steps), (size for _, size in steps), strict=True)))
rates_bps = st.integers(1000, 10**11)
bursts_bytes = st.integers(1546, 1 << 24)


@given(rates_bps, bursts_bytes, packets_of_a_channel)
def test_a_packet_conforms_when_the_bucket_has_its_tokens(
    rate_bps: int, burst_bytes: int, packets: list[tuple[int, int]]
) -> None:
    bucket = Bucket(rate_bps, burst_bytes)
    for number, (packet, exactly_ns) in enumerate(
        zip(packets, conforming(rate_bps, burst_bytes, packets), strict=True), start=1
    ):
        arrival_ns, wire_bytes = packet
        assert abs(bucket.take(wire_bytes, arrival_ns) - exactly_ns) <= ROUNDING_NS * number


@given(rates_bps, bursts_bytes, packets_of_a_channel)
def test_what_is_due_keeps_to_the_contract_in_every_interval(
    rate_bps: int, burst_bytes: int, packets: list[tuple[int, int]]
) -> None:
    bucket = Bucket(rate_bps, burst_bytes)
    due = [(bucket.take(wire_bytes, arrival_ns), wire_bytes) for arrival_ns, wire_bytes in packets]
    assert due == sorted(due, key=lambda each: each[0]), "order is kept"
    for first in range(len(due)):
        for last in range(first, len(due)):
            bits = 8 * sum(size for _, size in due[first : last + 1])
            length_ns = due[last][0] - due[first][0] + ROUNDING_NS * len(due)
            assert bits * NS_PER_S <= 8 * burst_bytes * NS_PER_S + rate_bps * length_ns


@given(packets_of_a_channel)
def test_without_a_rate_everything_conforms(packets: list[tuple[int, int]]) -> None:
    bucket = Bucket(0, 0)
    assert [bucket.take(size, arrival_ns) for arrival_ns, size in packets] == [at for at, _ in packets]


def test_a_bucket_that_starts_afresh_is_full() -> None:
    """1,000 bytes at 1 Mbit/s are 8 ms."""
    bucket = Bucket(1_000_000, 1000)
    assert [bucket.take(1000, 0) for _ in range(3)] == [0, 8_000_000, 16_000_000]
    bucket.start(0, 1)
    assert bucket.take(1000, 1) == 24_000_000, "that was the start it had seen"
    bucket.start(1, 2)
    assert [bucket.take(1000, 2) for _ in range(2)] == [2, 8_000_002]
