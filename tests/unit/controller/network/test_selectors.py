"""Which channels cannot be told apart by their packets."""

from __future__ import annotations

from support.networks import FAST, channel, two_hypervisors

from controller.model import Protocol
from controller.network.selectors import Clash, Selector, clashes, selector

UDP = Protocol.UDP


def packets(
    protocol: Protocol | None = None, src: int | None = None, dst: int | None = None, to: str = "b"
) -> Selector:
    return Selector("a", to, protocol, src, dst)


def found(*selectors: Selector) -> list[Clash]:
    return list(clashes((f"c{number}", each) for number, each in enumerate(selectors)))


def test_a_channel_says_which_packets_it_takes() -> None:
    vms = two_hypervisors().vms
    made = channel("video", vms["vm1"], vms["vm2"], 17, FAST)
    assert selector(made) == Selector(made.source, made.destination, None, None, None)


def test_two_that_say_the_same_clash() -> None:
    assert found(packets(UDP, dst=80), packets(UDP, dst=80)) == [Clash("c1", "c0", are_same=True)]
    assert str(found(packets(), packets())[0]).startswith("selects the same packets as 'c0'")


def test_one_by_source_port_and_one_by_destination_port_clash() -> None:
    assert found(packets(UDP, src=80), packets(UDP, dst=80)) == [Clash("c1", "c0", are_same=False)]
    assert found(packets(UDP, dst=80), packets(UDP, dst=81), packets(UDP, src=7)) == [Clash("c2", "c0", are_same=False)]
    assert "give both ports in one of the two" in str(found(packets(UDP, src=80), packets(UDP, dst=80))[0])


def test_the_one_that_says_more_gets_the_packet() -> None:
    assert found(packets(), packets(UDP), packets(UDP, dst=80), packets(UDP, 5, 80), packets(UDP, dst=80, to="c")) == []
    assert found(packets(UDP, src=80), packets(Protocol.TCP, dst=80), packets(UDP, dst=80, to="c")) == []
