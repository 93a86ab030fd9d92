"""Networks whose flows are tried: every network of the examples, and what the tests ask of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from support.examples import all_networks
from support.fake_table import STAMP, Label
from support.networks import FAST, channel, two_hypervisors

from controller.model import Channel, Network, Scheduler, Vm
from controller.network.labels import TTL_CHANNEL, TTL_STAMPED

NETWORKS = {
    f"{name}-{scheduler}": network for scheduler in Scheduler for name, network in all_networks(scheduler).items()
}
SCHEDULED = {name: network for name, network in NETWORKS.items() if name.endswith(f"-{Scheduler.EDF}")}
LLDP = 0x88CC
ALL_NODES = "33:33:00:00:00:01"
STAMPED = Label(STAMP, 5, TTL_STAMPED)
VIDEO = Label(17, 5, TTL_CHANNEL)


def to_vms(network: Network) -> list[Channel]:
    return [channel for channel in network.channels.values() if channel.listener in network.vms]


each_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
each_channel = pytest.mark.parametrize(
    ("network", "channel"),
    [(network, each) for network in SCHEDULED.values() for each in to_vms(network)],
    ids=[f"{name}-{each.name}" for name, network in SCHEDULED.items() for each in to_vms(network)],
)


def pairs(network: Network) -> Iterator[tuple[Vm, Vm]]:
    vms = network.vms.values()
    return ((talker, listener) for talker in vms for listener in vms if talker is not listener)


def addresses(vm: Vm, version: int) -> list[str]:
    return [str(interface.ip) for interface in vm.addresses if interface.version == version]


def on_one_hypervisor() -> Network:
    """`two_hypervisors` with a third VM on `left`, and the channel `near` to it."""
    network = two_hypervisors()
    first = network.vms["vm1"]
    third = replace(
        first, name="vm3", mac="02:00:00:00:00:03", addresses=network.vms["vm2"].addresses, interface="vm3-nic"
    )
    near = channel("near", first, third, 19, FAST)
    vms = {"vm1": first, "vm3": third}
    return replace(network, vms=vms, channels={"near": near})
