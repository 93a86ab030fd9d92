"""When a guest is called up, and about what: literal times."""

from __future__ import annotations

from dataclasses import replace

from support.miss_handlers import CHANNEL, reported

from controller.guests.call_ups import PERIOD_NS, CallUps
from controller.handlers.turns import CHANNELS_MAX, Start


def test_a_channel_that_misses_all_the_time_is_told_of_at_once_and_then_by_sums() -> None:
    call_ups = CallUps()
    told: list[tuple[int, int, int]] = []
    for total in range(1, 27):
        now_ns = (total - 1) * PERIOD_NS // 10
        call_ups.add(CHANNEL, reported(total_misses=total), now_ns)
        told += [(now_ns, each.report.misses, each.report.total_misses) for each in call_ups.take(now_ns)]
    assert told == [(0, 1, 1), (PERIOD_NS, 10, 11), (2 * PERIOD_NS, 10, 21)]
    assert call_ups.due_ns == 3 * PERIOD_NS


def test_no_channel_waits_for_another_and_no_vm_has_the_room_of_another() -> None:
    call_ups = CallUps()
    assert (call_ups.due_ns, call_ups.take(0)) == (None, [])
    for number in range(CHANNELS_MAX + 2):
        call_ups.add(replace(CHANNEL, name=f"video-{number}"), reported(), 0)
    other = replace(CHANNEL, name="audio", talker="another")
    call_ups.add(other, reported("audio"), 5)
    found = call_ups.take(5)
    assert len(found) == CHANNELS_MAX + 1
    assert Start(other, reported("audio")) in found
    assert call_ups.dropped == {CHANNEL.talker: 2, "another": 0}
