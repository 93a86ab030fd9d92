"""Which packets of a VM its controller gets to see: none but questions to the service, of a VM with a quota."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.examples import example
from support.fake_table import FakeNetwork, Packet, arp, ipv4, switch_of

from controller.domain.events import Contents
from controller.guests.entries import FRAME_MAX, METER_BASE, REQUESTS_AT_ONCE, REQUESTS_PER_S, link_local, meter_id
from controller.model import Network, Vm
from controller.network.wiring import FIRST_VM_PORT, UPLINK_PORT
from controller.openflow.flows import base_entries
from controller.openflow.pipeline import ETH_IPV6, FlowEntry, MeterWithdrawal, PacketMeter, Purpose, ToController
from controller.openflow.reconcile import unwanted
from guest.messages import SERVICE_IPV4, SERVICE_IPV6, SERVICE_PORT

NETWORK = example("guests")
CAMERA, SENSOR, ARCHIVE = (NETWORK.vms[name] for name in ("camera", "sensor", "archive"))
LEFT = switch_of(NETWORK, "left")
PORTS = {vm.name: FIRST_VM_PORT + index for index, vm in enumerate(NETWORK.vms_of("left"))}


def question(vm: Vm, **fields: object) -> Packet:
    packet = replace(ipv4(vm, ARCHIVE), destination=str(SERVICE_IPV4), dst_port=SERVICE_PORT)
    return replace(packet, **fields)


def question_by_ipv6(vm: Vm, **fields: object) -> Packet:
    packet = replace(ipv4(vm, ARCHIVE), eth_type=ETH_IPV6, source=str(link_local(vm.mac)))
    return replace(packet, **{"destination": str(SERVICE_IPV6), "dst_port": SERVICE_PORT} | fields)


@pytest.mark.parametrize("vm", [CAMERA, SENSOR], ids=lambda vm: vm.name)
def test_a_question_goes_to_the_controller_and_nowhere_else(vm: Vm) -> None:
    outcome = LEFT.forward(question(vm), PORTS[vm.name])
    assert (len(outcome.handed_up), outcome.departures) == (1, ())
    assert outcome.flows[-1].meter_id == meter_id(PORTS[vm.name])
    assert outcome.flows[-1].actions == (ToController(FRAME_MAX),)


def test_so_does_who_asks_for_the_services_address() -> None:
    outcome = LEFT.forward(arp(CAMERA, str(SERVICE_IPV4)), PORTS["camera"])
    assert (len(outcome.handed_up), outcome.departures) == (1, ())


def test_the_same_over_ipv6() -> None:
    solicitation = replace(
        question_by_ipv6(CAMERA), destination="ff02::1:ff00:5256", ip_proto=58, icmpv6_type=135, nd_target="fe80::5256"
    )
    for packet in (question_by_ipv6(CAMERA), solicitation):
        outcome = LEFT.forward(packet, PORTS["camera"])
        assert (len(outcome.handed_up), outcome.departures) == (1, ())


@pytest.mark.parametrize(
    "packet",
    [
        question(ARCHIVE),
        arp(ARCHIVE, str(SERVICE_IPV4)),
        question(CAMERA, dst_port=80),
        question(CAMERA, ip_proto=1),
        question_by_ipv6(CAMERA, dst_port=80),
    ],
    ids=["without a quota", "ARP without a quota", "another port", "no UDP", "another port by IPv6"],
)
def test_whatever_else_goes_to_the_service_goes_nowhere(packet: Packet) -> None:
    name = next(vm.name for vm in NETWORK.vms.values() if vm.mac == packet.eth_src)
    outcome = LEFT.forward(packet, PORTS[name])
    assert (outcome.dropped, outcome.handed_up) == (Purpose.UNKNOWN_DESTINATION, ())


@pytest.mark.parametrize(
    "changes", [{"source": "10.0.0.2"}, {"eth_src": SENSOR.mac}, {"vlan": 1}], ids=["address", "MAC address", "tag"]
)
def test_nobody_asks_in_anothers_name(changes: dict[str, object]) -> None:
    outcome = LEFT.forward(replace(question(CAMERA), **changes), PORTS["camera"])
    assert (outcome.dropped, outcome.handed_up) == (Purpose.SPOOFED, ())


def test_no_question_comes_from_the_network() -> None:
    assert LEFT.forward(question(CAMERA), UPLINK_PORT).handed_up == ()


def test_other_packets_go_on_as_before() -> None:
    delivery = FakeNetwork(NETWORK).send("camera", ipv4(CAMERA, NETWORK.vms["screen"]))
    assert list(delivery.receivers) == ["screen"]


def test_each_port_has_a_meter_of_its_own_beyond_those_of_channels() -> None:
    meters = [entry for entry in base_entries(NETWORK, "left") if isinstance(entry, PacketMeter)]
    assert meters == [
        PacketMeter(METER_BASE + PORTS[name], REQUESTS_PER_S, REQUESTS_AT_ONCE) for name in ("camera", "sensor")
    ]


def test_the_meter_of_a_vm_that_has_lost_its_quota_is_withdrawn_with_its_flows() -> None:
    bridge = switch_of(NETWORK, "left")
    kept = {entry.cookie for entry in base_entries(without_quotas(NETWORK), "left") if isinstance(entry, FlowEntry)}
    contents: Contents = bridge.contents
    entries = unwanted(contents, lambda cookie: cookie in kept, lambda _: False)
    assert {entry for entry in entries if isinstance(entry, MeterWithdrawal)} == {
        MeterWithdrawal(meter_id(PORTS[name])) for name in ("camera", "sensor")
    }
    bridge.take(entries)
    assert bridge.forward(question(CAMERA), PORTS["camera"]).handed_up == ()


def without_quotas(network: Network) -> Network:
    return replace(network, vms={name: replace(vm, quota=None) for name, vm in network.vms.items()})
