"""Do the queues of a port work? Marked frames of each class are sent out of it, and the kernel's classes counted.

A probe frame has two labels, the channel label a reserved one, so that nobody takes it for a channel's. Its destination
is a group address that no bridge forwards (IEEE 802.1Q, table 8-1). In the bytes of the frame the EtherType is MPLS
multicast, which no shim looks at, while the kernel is told MPLS: qdiscs and their filters go by what it is told.
"""

from __future__ import annotations

import socket
import struct

from pyroute2 import IPRoute

from controller.domain.events import Proof
from controller.network.labels import FIRST_LABEL, TTL_CHANNEL, TTL_STAMPED
from ovs_config.filters import ETHERTYPE_MPLS, class_of, classes_of, has_queues
from ovs_config.plan import BEST_EFFORT_QUEUE, QosPlan
from ovs_config.waiting import wait_until

FRAMES = 32
ATTEMPTS = 3
"""Best effort that passes meanwhile may hide that the default class did not take the frames."""

COUNT_TIMEOUT_S = 0.5
CHANNEL_LABEL = 15
ETHERTYPE_MPLS_MULTICAST = 0x8848
NEAREST_BRIDGE = bytes.fromhex("0180c200000e")
SOURCE = bytes.fromhex("025254000001")
FRAME_BYTES = 60


def probe_port(ip: IPRoute, interface: str, qos: QosPlan) -> dict[int, Proof]:
    """What is proved of each queue of `qos`, by queue id. Blocks for milliseconds where all is well. Raises OSError."""
    if not has_queues(classes_of(ip, interface), qos):
        return {queue.queue_id: Proof.NOT_SUPPORTED for queue in qos.queues}
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as packets:
        return {queue.queue_id: _proof(ip, packets, interface, queue.queue_id) for queue in qos.queues}


def frame(queue_id: int) -> bytes:
    """A probe frame; a deadline class's queue id is its TC."""
    deadline = FIRST_LABEL << 12 | queue_id << 9 | TTL_STAMPED
    channel = CHANNEL_LABEL << 12 | queue_id << 9 | 1 << 8 | TTL_CHANNEL
    content = struct.pack("!HII", ETHERTYPE_MPLS_MULTICAST, deadline, channel)
    return (NEAREST_BRIDGE + SOURCE + content).ljust(FRAME_BYTES, b"\0")


def _proof(ip: IPRoute, packets: socket.socket, interface: str, queue_id: int) -> Proof:
    """The default class, queue 0, takes what no filter takes."""
    if queue_id == BEST_EFFORT_QUEUE:
        return Proof.PROVED
    is_proved = any(_takes_frames(ip, packets, interface, queue_id) for _ in range(ATTEMPTS))
    return Proof.PROVED if is_proved else Proof.NOT_PROVED


def _takes_frames(ip: IPRoute, packets: socket.socket, interface: str, queue_id: int) -> bool:
    """Whether the class of `queue_id` took what was sent, and the default class did not."""
    before = classes_of(ip, interface)
    for _ in range(FRAMES):
        packets.sendto(frame(queue_id), (interface, ETHERTYPE_MPLS))

    def took(taker: int) -> bool:
        class_id = class_of(taker)
        return classes_of(ip, interface).get(class_id, 0) - before.get(class_id, 0) >= FRAMES

    wait_until(lambda: took(queue_id) or took(BEST_EFFORT_QUEUE), COUNT_TIMEOUT_S)
    return took(queue_id) and not took(BEST_EFFORT_QUEUE)
