"""The C queue and choice behind the interface of dataplane.reference, so that one test drives both."""

from __future__ import annotations

from collections import deque
from typing import Any

from dataplane._core import ffi, lib
from dataplane.reference import Departure, Packet, Wait

CAPACITY = 1024


class CoreScheduler:
    """As dataplane.reference.ReferenceScheduler. Best effort, which the core leaves in its ring, waits in a deque."""

    def __init__(self, rate_bps: int, be_slack_ns: int, ahead_ns: int) -> None:
        numbers = {"rate_bps": rate_bps, "be_slack_ns": be_slack_ns, "ahead_ns": ahead_ns}
        self._scheduler = ffi.new("struct scheduler *", numbers)
        self._queue, self._held = _queue(), _queue()
        self._packets: list[Packet] = []
        self._best_effort: deque[Packet] = deque()

    def arrive(self, packet: Packet, now_ns: int) -> None:
        self._release(now_ns)
        if packet.deadline_ns is None:
            self._best_effort.append(packet)
            return
        if packet.release_ns > now_ns:
            assert lib.edf_queue_push(self._held, packet.release_ns, len(self._packets))
        else:
            assert lib.edf_queue_push(self._queue, packet.deadline_ns, len(self._packets))
        self._packets.append(packet)

    def next(self, now_ns: int) -> Departure | Wait | None:
        self._release(now_ns)
        choice = lib.scheduler_choose(self._scheduler, self._queue, bool(self._best_effort), now_ns)
        if choice == lib.SCHEDULER_NOTHING:
            is_idle = lib.edf_queue_is_empty(self._held)
            return None if is_idle else Wait(lib.edf_queue_first_deadline(self._held))
        if choice == lib.SCHEDULER_WAIT:
            return Wait(lib.scheduler_wake_ns(self._scheduler))
        if choice == lib.SCHEDULER_REAL_TIME:
            packet = self._packets[lib.edf_queue_pop(self._queue)]
        else:
            packet = self._best_effort.popleft()
        return Departure(packet, lib.scheduler_send(self._scheduler, packet.frame_bytes, now_ns))

    def _release(self, now_ns: int) -> None:
        while lib.edf_queue_is_due(self._held, now_ns):
            item = lib.edf_queue_pop(self._held)
            assert lib.edf_queue_push(self._queue, self._packets[item].deadline_ns, item)


def _queue() -> Any:
    queue = ffi.gc(ffi.new("struct edf_queue *"), lib.edf_queue_destroy)
    assert lib.edf_queue_init(queue, CAPACITY) == 0
    return queue
