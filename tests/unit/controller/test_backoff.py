"""How long to wait before a process is started again."""

from __future__ import annotations

from controller.backoff import BACKOFF_MOST_S, BACKOFF_S, LASTING_S, Backoff


def test_what_has_lasted_starts_at_once_and_what_dies_soon_later_each_time() -> None:
    backoff = Backoff()
    assert [backoff.pause_s(0.0) for _ in range(3)] == [BACKOFF_S, 2 * BACKOFF_S, 4 * BACKOFF_S]
    assert [backoff.pause_s(1.0) for _ in range(6)][-1] == BACKOFF_MOST_S
    assert backoff.pause_s(LASTING_S) == 0.0
    assert backoff.pause_s(0.0) == BACKOFF_S
