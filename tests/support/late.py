"""Frames that are late when they come, as a neighbour on the network would forge them."""

from __future__ import annotations

import socket
import time

from bench.forged_misses import frame
from controller.model import Channel
from topologies.testbed import Testbed


def send_late(testbed: Testbed, channel: Channel, late_ns: int, count: int) -> None:
    """Frames of `channel` with a deadline `late_ns` ago, from its talker's uplink."""
    macs = [testbed.network.vms[name].mac for name in (channel.listener, channel.talker)]
    addresses = bytes.fromhex("".join(macs).replace(":", ""))
    uplink = testbed.network.hypervisors[testbed.network.talker_domain(channel)].uplink.interface
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
        wire.bind((uplink, 0))
        for _ in range(count):
            wire.send(frame(addresses, channel.label, channel.deadline_class.queue_id, time.time_ns() - late_ns))
