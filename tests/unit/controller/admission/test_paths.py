"""Ways as rows of ports, and what serves these; from a network, whatever its channels."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.networks import hypervisor, two_hypervisors

from controller.admission.paths import Paths, Port, Server
from controller.model import Scheduler, SwitchKind
from controller.units import NS_PER_MS

NETWORK = two_hypervisors()
VIDEO = NETWORK.channels["video"]
UPLINK, LAST = Port("left", "middle", True), Port("middle", "right", False)


def test_a_way_leads_by_the_uplink_and_a_port_of_the_switch() -> None:
    paths = Paths(NETWORK)
    assert paths.way(VIDEO) == (UPLINK, LAST)
    assert paths.way(replace(VIDEO, listener=VIDEO.talker)) == ()
    assert [paths.server(port) for port in (UPLINK, LAST)] == [Server.EDF, Server.QUEUES]


def test_what_serves_a_port() -> None:
    paths = Paths(two_hypervisors(Scheduler.QUEUES, SwitchKind.PLAIN))
    assert [paths.server(port) for port in (UPLINK, LAST)] == [Server.QUEUES, Server.PLAIN]


def test_nothing_leads_to_or_from_an_uplink_that_is_first_in_first_out() -> None:
    paths = Paths(two_hypervisors(Scheduler.FIFO))
    assert (paths.way(VIDEO), paths.ports) == ((), ())


def test_between_two_ends_alone_nothing_queues_behind_the_uplink() -> None:
    for kind in SwitchKind:
        paths = Paths(two_hypervisors(kind=kind))
        assert not paths.is_shaped((UPLINK, LAST))


def test_a_slower_port_behind_the_uplink_has_channels_shaped() -> None:
    left = NETWORK.hypervisors["left"]
    faster = replace(left, uplink=replace(left.uplink, rate_bps=1 + left.uplink.rate_bps))
    paths = Paths(replace(NETWORK, hypervisors={**NETWORK.hypervisors, "left": faster}))
    assert paths.is_shaped((UPLINK, LAST))
    assert not paths.is_shaped((Port("right", "middle", True), Port("middle", "left", False)))


@pytest.mark.parametrize("scheduler", Scheduler)
def test_a_port_that_others_send_by_has_channels_shaped(scheduler: Scheduler) -> None:
    third = hypervisor("third", 3, "middle", scheduler)
    paths = Paths(replace(NETWORK, hypervisors={**NETWORK.hypervisors, "third": third}))
    assert paths.is_shaped((UPLINK, LAST))


def test_paths_are_of_every_network_that_differs_by_channels_only() -> None:
    paths, left = Paths(NETWORK), NETWORK.hypervisors["left"]
    assert paths.are_of(replace(NETWORK, channels={}))
    slower = replace(left, uplink=replace(left.uplink, be_slack_ns=NS_PER_MS))
    assert not paths.are_of(replace(NETWORK, hypervisors={**NETWORK.hypervisors, "left": slower}))
