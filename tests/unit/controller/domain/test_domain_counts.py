"""What is asked once a second, and what is only noted."""

from __future__ import annotations

from collections.abc import Mapping

from support.script import Script

from controller.domain.events import (
    AskContents,
    AskQueues,
    AskShim,
    Missed,
    QueueCount,
    QueuesReported,
    ShimGone,
    ShimReady,
    ShimReported,
    SwitchConnected,
    Tick,
)
from controller.domain.known import MISSES_KEPT
from controller.domain.parts import Miss
from controller.openflow.counts import Traffic


def test_each_second_everything_that_is_there_is_asked(left: Script) -> None:
    assert left.hear(Tick()) == []
    assert left.hear(ShimReady(1)) == [AskShim()], "a shim that is new to us at once"
    assert left.hear(Tick()) == [AskShim()]
    left.hear(ShimReported({"classes": {}}))
    assert left.hear(ShimReady(1)) == []
    left.hear(SwitchConnected("left"))
    assert left.hear(Tick()) == [AskContents("left"), AskQueues("left"), AskShim()]
    left.hear(ShimGone("is not running"))
    assert left.hear(Tick()) == [AskContents("left"), AskQueues("left")]


def test_what_the_switch_and_the_shim_count_is_kept(left: Script) -> None:
    queues = (QueueCount(1, 5, Traffic(3, 300), 0),)
    assert left.hear(QueuesReported("left", queues)) == []
    assert left.hear(ShimReported({"classes": {}})) == []
    assert left.domain.bridges["left"].queues == queues
    assert left.domain.shim.statistics == {"classes": {}}


def miss(label: int, lateness_ns: int = 5) -> Mapping[str, int]:
    return {"label": label, "lateness_ns": lateness_ns, "at_ns": 99}


def test_misses_are_those_of_the_domains_channels(right: Script) -> None:
    assert right.hear(Missed((miss(17), miss(4711), miss(18, 6)))) == []
    assert list(right.domain.misses) == [Miss("video", 5, 99, 0), Miss("audio", 6, 99, 0)]


def test_only_the_last_misses_are_kept(right: Script) -> None:
    right.hear(Missed(tuple(miss(17, number) for number in range(MISSES_KEPT + 5))))
    assert len(right.domain.misses) == MISSES_KEPT
    assert right.domain.misses[0].lateness_ns == 5
