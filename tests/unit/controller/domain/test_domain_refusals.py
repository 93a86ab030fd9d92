"""Switches that refuse what they are sent, and say so or do not."""

from __future__ import annotations

from support.script import TABLE_FULL, S, Script

from controller.domain.domain import RETRY_NS
from controller.domain.events import (
    AskContents,
    AskQueues,
    Contents,
    ContentsReported,
    Refused,
    Send,
    ShimReady,
    SwitchConnected,
    Tick,
)
from controller.domain.lifecycle import State
from controller.openflow.flows import talker_entries


def refused_base(script: Script, at_ns: int) -> Send:
    script.hear(SwitchConnected("left"))
    batch = script.one_send(ContentsReported("left", Contents()), at_ns)
    assert script.hear(Refused("left", batch.batch, batch.entries[3], TABLE_FULL)) == []
    assert script.confirm(batch) == []
    return batch


def test_a_refused_base_says_why_and_so_do_the_ends_that_need_it(left: Script) -> None:
    refused_base(left, at_ns=5 * S)
    assert (left.base.state, left.base.why, left.base.since_ns) == (State.REFUSED, TABLE_FULL, 5 * S)
    assert left.end("video") == (State.WAITING, f"the switch left is not set up: {TABLE_FULL}")


def test_a_refusal_is_tried_again_after_a_while_and_not_before(left: Script) -> None:
    first = refused_base(left, at_ns=5 * S)
    assert left.hear(Tick(), at_ns=5 * S + RETRY_NS - 1) == [AskContents("left"), AskQueues("left")]
    assert left.base.state is State.REFUSED
    *questions, again = left.hear(Tick(), at_ns=5 * S + RETRY_NS)
    assert questions == [AskContents("left"), AskQueues("left")]
    assert again == Send("left", first.batch + 1, first.entries)
    left.confirm(again)
    assert left.base.state is State.INSTALLED


def test_only_the_channel_with_the_refused_flow_is_refused(left: Script) -> None:
    left.set_up("left")
    left.hear(ShimReady(1))
    (batch,) = left.tell_listeners(State.INSTALLED)
    assert isinstance(batch, Send)
    (audio,) = talker_entries(left.domain.network, left.domain.network.channels["audio"])
    left.hear(Refused("left", batch.batch, audio, TABLE_FULL))
    assert (left.end("audio"), left.end("video")[0]) == ((State.REFUSED, TABLE_FULL), State.INSTALLING)
    left.confirm(batch)
    assert (left.end("audio"), left.end("video")) == ((State.REFUSED, TABLE_FULL), (State.INSTALLED, ""))


def test_no_answer_at_all_refuses_the_whole_batch(left: Script) -> None:
    left.set_up("left")
    left.hear(ShimReady(1))
    (batch,) = left.tell_listeners(State.INSTALLED)
    assert isinstance(batch, Send)
    left.hear(Refused("left", batch.batch, None, "no answer within 5 s"))
    left.confirm(batch)
    assert left.end("audio") == left.end("video") == (State.REFUSED, "no answer within 5 s")


def test_a_second_refusal_in_a_batch_changes_nothing(left: Script) -> None:
    left.hear(SwitchConnected("left"))
    batch = left.one_send(ContentsReported("left", Contents()))
    for entry, why in zip(batch.entries[:2], ("one", "two"), strict=True):
        left.hear(Refused("left", batch.batch, entry, why))
    assert (left.base.state, left.base.why) == (State.REFUSED, "one")
