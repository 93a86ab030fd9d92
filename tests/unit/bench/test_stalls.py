"""Moments when a processor stood still."""

from __future__ import annotations

import pytest

from bench import stalls
from bench.stalls import NS_PER_MS, Stall


@pytest.mark.parametrize(
    ("start_ns", "end_ns", "does"),
    [(0, 9, False), (0, 10, True), (12, 15, True), (0, 99, True), (20, 30, True), (21, 30, False)],
)
def test_overlap(start_ns: int, end_ns: int, does: bool) -> None:
    assert Stall(10, 20).overlaps(start_ns, end_ns) is does


def test_a_late_wake_up_is_a_stall_and_a_timely_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    lateness_ns = [0, 5 * NS_PER_MS, 100_000]
    is_over: list[bool] = []
    clock = FakeClock(lateness_ns, is_over)
    monkeypatch.setattr(stalls, "time", clock)
    assert stalls.watch(is_over) == [(2 * NS_PER_MS, 7 * NS_PER_MS)]


class FakeClock:
    """Each sleep takes as long as asked and the next of `lateness_ns`; the last one sets `is_over`."""

    def __init__(self, lateness_ns: list[int], is_over: list[bool]) -> None:
        self._now_ns = 0
        self._lateness_ns = list(lateness_ns)
        self._is_over = is_over

    def monotonic_ns(self) -> int:
        return self._now_ns

    time_ns = monotonic_ns

    def sleep(self, seconds: float) -> None:
        self._now_ns += round(seconds * 1e9) + self._lateness_ns.pop(0)
        if not self._lateness_ns:
            self._is_over.append(True)
