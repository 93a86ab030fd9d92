"""The example files are valid, and show what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.model import Network, Protocol, Scheduler, SwitchKind
from controller.network.routing import blocked_ports
from controller.topology_file.load import load

TOPOLOGIES = Path(__file__).parents[4] / "topologies"


def example(name: str) -> Network:
    return load(TOPOLOGIES / f"{name}.yaml")


@pytest.mark.parametrize("file", sorted(TOPOLOGIES.glob("*.yaml")), ids=lambda file: file.stem)
def test_is_valid(file: Path) -> None:
    assert load(file).channels


def test_one_channel_is_about_ten_lines() -> None:
    lines = (TOPOLOGIES / "one_channel.yaml").read_text().splitlines()
    assert len(lines) <= 12
    assert len(example("one_channel").channels) == 1


def test_two_hypervisors_shows_every_kind_of_channel() -> None:
    network = example("two_hypervisors")
    channels = network.channels.values()
    assert [len(network.vms_of(name)) for name in network.hypervisors] == [3, 3]
    assert {channel.source.version for channel in channels} == {4, 6}
    assert {channel.protocol for channel in channels} == {None, Protocol.UDP}
    with_channel = {name for channel in channels for name in (channel.talker, channel.listener)}
    assert set(network.vms) - with_channel == {"archive", "backup"}


@pytest.mark.parametrize(
    ("name", "rate_bps", "deadlines_ms"),
    [("paper_experiment1", 10**9, [3, 5, 8, 10, 15, 20]), ("paper_experiment2", 10**8, [3, 5, 8])],
)
def test_paper_experiments(name: str, rate_bps: int, deadlines_ms: list[int]) -> None:
    network = example(name)
    left = network.hypervisors["left"].uplink
    assert (left.rate_bps, left.be_slack_ns, left.scheduler) == (rate_bps, 2_000_000, Scheduler.EDF)
    assert [channel.deadline_ns // 1_000_000 for channel in network.channels.values()] == deadlines_ms
    assert {channel.rate_bps for channel in network.channels.values()} == {2_000_000}
    assert network.vms["noise"].hypervisor == "left" and network.vms["sink"].hypervisor == "right"
    assert [switch.kind for switch in network.switches.values()] == [SwitchKind.PLAIN]


def test_ovs_core_has_a_redundant_link_that_a_controller_blocks() -> None:
    network = example("ovs_core")
    kinds = [switch.kind for switch in network.switches.values()]
    assert sorted(kinds) == [SwitchKind.OVS, SwitchKind.OVS, SwitchKind.PLAIN]
    assert any(blocked_ports(network, name) for name in network.switches if network.switches[name].domain)
