"""Packets of a channel that are late already, sent onto a running network. Needs root."""

from __future__ import annotations

import socket
import time

from bench.forged_misses import frame
from controller.model import Channel
from controller.units import NS_PER_MS
from topologies.testbed import Testbed

LATE_NS = 20 * NS_PER_MS


def send_late(testbed: Testbed, channel: Channel, count: int = 1, late_ns: int = LATE_NS) -> None:
    """Frames of `channel`, as its talker's shim would have sent them, whose deadline was `late_ns` ago."""
    network = testbed.network
    macs = [network.vms[end].mac for end in (channel.listener, channel.talker)]
    addresses = bytes.fromhex("".join(macs).replace(":", ""))
    uplink = network.hypervisors[network.talker_domain(channel)].uplink.interface
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
        wire.bind((uplink, 0))
        for _ in range(count):
            wire.send(frame(addresses, channel.label, channel.deadline_class.queue_id, time.time_ns() - late_ns))
