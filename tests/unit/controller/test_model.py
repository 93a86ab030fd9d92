"""The model: copies of a network, and what a channel takes of a link."""

from dataclasses import replace
from ipaddress import ip_address

import pytest
from support.networks import FAST, channel, two_hypervisors, vm

from controller.model import Channel, Scheduler


def of_packets(packet_bytes: int, source: str = "10.0.0.1", rate_bps: int = 2_000_000) -> Channel:
    made = channel("c", vm("vm1", "left", 1), vm("vm2", "right", 2), 17, FAST, rate_bps)
    return replace(made, packet_bytes=packet_bytes, source=ip_address(source))


@pytest.mark.parametrize(
    ("packet_bytes", "source", "wire_bytes"),
    [
        (1472, "10.0.0.1", 1472 + 28 + 14 + 8 + 24),
        (1452, "fd00::1", 1452 + 48 + 14 + 8 + 24),
        (160, "10.0.0.1", 160 + 28 + 14 + 8 + 24),
        (160, "fd00::1", 160 + 48 + 14 + 8 + 24),
        (18, "10.0.0.1", 60 + 8 + 24),
        (17, "10.0.0.1", 60 + 8 + 24),
        (1, "10.0.0.1", 60 + 8 + 24),
        (1, "fd00::1", 1 + 48 + 14 + 8 + 24),
    ],
)
def test_a_rate_takes_its_headers_too_and_frames_of_60_bytes_at_least(
    packet_bytes: int, source: str, wire_bytes: int
) -> None:
    """Payload, UDP and IP, Ethernet, two labels; preamble, FCS and gap. A thousand packets a second."""
    made = of_packets(packet_bytes, source, rate_bps=8000 * packet_bytes)
    assert made.wire_rate_bps == 8000 * wire_bytes


def test_a_part_of_a_bit_on_the_wire_is_a_whole_one() -> None:
    """2 Mb/s in full packets are 2,100,543.48 b/s."""
    assert of_packets(1472).wire_rate_bps == 2_100_544
    assert of_packets(1472, rate_bps=1).wire_rate_bps == 2


@pytest.mark.parametrize(("burst_bytes", "wire_bytes"), [(64, 1546), (1546, 1546), (1547, 1547)])
def test_a_burst_is_a_full_packet_at_least(burst_bytes: int, wire_bytes: int) -> None:
    assert replace(of_packets(1472), burst_bytes=burst_bytes).wire_burst_bytes == wire_bytes


def test_with_scheduler_changes_every_uplink_and_nothing_else() -> None:
    network = two_hypervisors(Scheduler.EDF)
    fifo = network.with_scheduler(Scheduler.FIFO)
    assert {each.uplink.scheduler for each in fifo.hypervisors.values()} == {Scheduler.FIFO}
    assert fifo.with_scheduler(Scheduler.EDF) == network
    assert {each.uplink.scheduler for each in network.hypervisors.values()} == {Scheduler.EDF}
